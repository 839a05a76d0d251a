"""Shared subscriptions: each message to one member of the group. [MQTT-4.8.2]"""
from collections import Counter

import harness
from rawmqtt import *


def drain(clients):
    return [[m.payload for m in c.until_ping() if m.kind == PUBLISH] for c in clients]


def test_each_message_goes_to_one_member(server):
    for qos in (0, 1, 2):
        topic = f"shared/one/{qos}"
        members = [Client(server, f"shared-one-{qos}-{i}", props={"receive_max": 1000}) for i in range(4)]
        for m in members:
            m.subscribe(f"$share/g/{topic}", qos)
        with Client(server, f"shared-one-pub-{qos}") as pub:
            for n in range(80):
                pub.publish(topic, b"%d" % n, qos)
            pub.until_ping()
        got = [[] for _ in members]

        def all_came():
            for i, batch in enumerate(drain(members)):
                got[i] += batch
            return sum(map(len, got)) >= 80
        harness.await_true(all_came, "80 messages")
        counts = Counter(p for g in got for p in g)
        assert len(counts) == 80 and set(counts.values()) == {1}, counts
        assert all(len(g) > 0 for g in got), [len(g) for g in got]
        [m.close() for m in members]


def test_two_groups_and_a_plain_subscription_each_get_it(server):
    with Client(server, "shared-groups") as c:
        c.subscribe(["$share/g1/shared/groups", "$share/g2/shared/groups", "shared/groups"], 1)
        c.publish("shared/groups", b"x", 1)
        assert len(c.messages(3)) == 3
        assert c.until_ping() == []


def test_a_member_that_leaves_gets_no_more(server):
    with Client(server, "shared-stay") as stay, Client(server, "shared-leave") as leave:
        for c in (stay, leave):
            c.subscribe("$share/g/shared/leave", 1)
        assert leave.unsubscribe("$share/g/shared/leave") == [0]
        with Client(server, "shared-leave-pub") as pub:
            for n in range(10):
                pub.publish("shared/leave", b"%d" % n, 1)
        assert [m.payload for m in stay.messages(10)] == [b"%d" % n for n in range(10)]


def test_invalid_group_names_are_refused(server):
    for name in ("$share/", "$share/g", "$share//t", "$share/g+/t", "$share/g#/t", "$share/g/"):
        with Client(server, "shared-invalid") as c:
            c.send(subscribe([(name, 1)], 5))
            got = c.recv()
            assert got is not None and (got.kind == SUBACK and got.codes[0] >= 0x80 or got.kind == DISCONNECT and got.reason in (0x81, 0x82, 0x8F)), (name, got)


def test_no_local_on_a_shared_subscription_is_a_protocol_error(server):
    with Client(server, "shared-nolocal") as c:
        c.send(subscribe([("$share/g/t", 1 | 4)], 5))
        c.expect_closed(0x82)


def flood(server, name, topic, count, qos=1):
    with Client(server, name) as pub:
        for n in range(count):
            pub.publish(topic, b"%d" % n, qos)


def test_strategies_are_configured_with_an_own_one_for_a_group():
    with harness.Keel("--shards", "2", "--set", "share.strategy=sticky", "--set", "share.strategies=turns=round_robin",
                      "--set", "share.strategies=topics=hash_topic") as keel:
        members = [Client(keel, f"strategy-{i}") for i in range(4)]
        for m in members:
            m.subscribe("$share/one/s/t", 1)
        flood(keel, "strategy-pub", "s/t", 20)
        counts = [len(got) for got in drain(members)]
        assert sorted(counts) == [0, 0, 0, 20], counts
        for m in members:
            m.unsubscribe("$share/one/s/t")
            m.subscribe("$share/turns/s/u", 0)
        flood(keel, "strategy-pub", "s/u", 20)
        counts = [len(got) for got in drain(members)]
        assert counts == [5, 5, 5, 5], counts
        for m in members:
            m.subscribe("$share/topics/s/v/+", 0)
        for name in ("strategy-pub", "strategy-pub-too"):
            flood(keel, name, "s/v/1", 10)
        assert sorted(len(got) for got in drain(members)) == [0, 0, 0, 20]
        [m.close() for m in members]


def test_a_rule_that_is_not_understood_is_named():
    got = harness.run(harness.BUILD / "keel-broker", "--set", "share.strategies=g=fastest")
    assert got.returncode == 2 and '"g=fastest" is not GROUP=STRATEGY' in got.stderr, got


def test_what_a_member_did_not_acknowledge_goes_to_another_when_it_goes():
    for shards in ("1", "2"):
        with harness.Keel("--shards", shards, "--set", "share.strategy=sticky") as keel:
            first = [Client(keel, f"reshare-first-{i}", props={"receive_max": 5}) for i in range(3)]
            for c in first:
                c.subscribe("$share/g/reshare", 1)
            with Client(keel, "reshare-pub") as pub:
                for n in range(12):
                    pub.publish("reshare", b"%d" % n, 1)
            seen = []
            # Two of them are full. What one got before another shard knew that it is waits in memory for it: with two shards that may be all.
            least = 10 if shards == "1" else 5
            harness.await_true(lambda: seen.extend(m for c in first for m in c.until_ping()) or len(seen) >= least, f"{least} messages")
            with Client(keel, "reshare-second") as second:
                second.subscribe("$share/g/reshare", 1)
                for c in first:
                    c.close()
                got = {m.payload for m in second.messages(12)}
                assert got == {b"%d" % n for n in range(12)}


def test_what_a_stored_member_had_goes_to_another_when_its_session_ends():
    for how in ("expires", "is discarded", "expires while both processes are down"):
        with harness.Apart(broker_args=["--set", "share.strategy=sticky"]) as keel:
            gone = Client(keel, "stored-gone", clean=False, props={"session_expiry": 2})
            gone.subscribe(["$share/g/stored/a", "stored/own"], 1)
            with Client(keel, "stored-pub") as pub:
                for n in range(5):
                    pub.publish("stored/a", b"%d" % n, 1)
                pub.publish("stored/own", b"own", 1)
            assert gone.message().payload == b"0"  # and no other is acknowledged
            gone.until_ping()
            gone.close()
            with Client(keel, "stored-other", clean=False, props={"session_expiry": 1000}) as other:
                other.subscribe("$share/g/stored/a", 1)
                assert other.until_ping() == []
            if how == "is discarded":
                Client(keel, "stored-gone").close()
            elif how != "expires":
                keel.kill_broker()
                keel.kill_store()
                keel.start_store()
                keel.start_broker()
            with Client(keel, "stored-other", clean=False, props={"session_expiry": 1000}) as other:
                assert [m.payload for m in other.messages(4)] == [b"1", b"2", b"3", b"4"], how
                assert other.until_ping() == []
            with Client(keel, "stored-gone", clean=False, props={"session_expiry": 2}) as again:
                assert not again.connack.session_present
                assert again.until_ping() == []
