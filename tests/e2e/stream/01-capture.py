"""Messages that are captured in streams by a rule, and read again: `keel ctl stream`, $stream/NAME, keel-from."""
import datetime
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import harness
from rawmqtt import *


def ctl(server, *words, ok=True):
    done = harness.run(harness.BUILD / "keel", "ctl", "stream", *words, "--admin", server.admin)
    assert (done.returncode == 0) == ok, f"keel ctl stream {words}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stdout if ok else done.stderr


def create(server, name, filter, *more):
    return ctl(server, "create", name, "--filter", filter, *more)


def info(server, name):
    return dict(line.split(": ", 1) for line in ctl(server, "info", name).splitlines())


def count(server, name, wanted):
    harness.await_true(lambda: int(info(server, name)["messages"]) == wanted, f"{wanted} messages in {name}: {info(server, name)}")


def read(server, stream, number, start=None, qos=1, version=5):
    """The payloads of so many messages from a position on, and that no more come."""
    with Client(server, "", version=version) as c:
        if version == 5:
            props = {"user": [("keel-from", start)]} if start else None
            assert c.subscribe("$stream/" + stream, qos, props=props) == [min(qos, 1)]
        else:
            assert c.subscribe("$stream/" + stream + (f"/from/{start}" if start else ""), qos) == [min(qos, 1)]
        got = [m.payload.decode() for m in c.messages(number)]
        assert c.settle() == []
        return got


def test_ctl_makes_shows_changes_and_deletes_rules(server):
    assert "7d" in create(server, "ctl-1", "ctl/#")
    create(server, "ctl-2", "ctl/+/x", "--max-age", "90s", "--max-bytes", "10M", "--max-count", "5k", "--last-value")
    assert "ctl-1\tctl/#\tlog\t604800000000000\t1073741824\t0" in ctl(server, "list").splitlines()
    assert "ctl-2\tctl/+/x\tlast-value\t90000000000\t10485760\t5000" in ctl(server, "list").splitlines()
    create(server, "ctl-1", "other/#", "--max-count", "3")
    shown = info(server, "ctl-1")
    assert shown["filter"] == "other/#" and shown["max_count"] == "3" and shown["messages"] == "0" and shown["first_time"] == "-"
    assert "other kind" in ctl(server, "create", "ctl-1", "--filter", "x", "--last-value", ok=False)
    assert "letters" in ctl(server, "create", "a/b", "--filter", "x", ok=False)
    wrong = ctl(server, "create", "a", "--filter", "x/#/y", ok=False)
    assert "valid topic filter" in wrong and "letters" not in wrong, wrong
    assert "shared" in ctl(server, "create", "a", "--filter", "$share/g/y", ok=False)
    assert "creat: unknown; it is one of create|list|info|delete" in ctl(server, "creat", "a", ok=False)
    assert "info: words are missing, or there are too many" in ctl(server, "info", ok=False)
    assert "--filter" in ctl(server, "create", "a", ok=False)
    assert "--max-age" in ctl(server, "create", "a", "--filter", "x", "--max-age", "7", ok=False)
    assert "--max-bytes" in ctl(server, "create", "a", "--filter", "x", "--max-bytes", "7q", ok=False)
    assert "no stream" in ctl(server, "info", "none", ok=False)
    assert "no stream" in ctl(server, "delete", "none", ok=False)
    ctl(server, "delete", "ctl-1")
    ctl(server, "delete", "ctl-2")
    assert "ctl-" not in ctl(server, "list")


def test_every_message_is_kept_and_read_with_its_topic_and_properties(server):
    create(server, "all", "all/#")
    with Client(server, "all-pub") as c, Client(server, "all-pub4", 4) as old:
        c.publish("all/0", b"0", 0)
        c.publish("all/1", b"1", 1, props={"content_type": "text/plain", "user": [("a", "b")]})
        old.publish("all/2", b"2", 2)
        c.publish("all/3", b"3", 1, retain=True)
        c.publish("none/4", b"4", 1)
    count(server, "all", 4)
    with Client(server, "all-sub") as c:
        assert c.subscribe("$stream/all", 2, props={"subscription_id": 9}) == [1]
        got = list(c.messages(4))
        assert [(m.topic, m.payload, m.qos, m.retain) for m in got] == \
            [("all/0", b"0", 0, False), ("all/1", b"1", 1, False), ("all/2", b"2", 1, False), ("all/3", b"3", 1, False)]
        own = [dict(m.props["user"]) for m in got]
        assert [p["keel-offset"] for p in own] == ["0", "1", "2", "3"] and own[1]["a"] == "b"
        assert got[1].props["content_type"] == "text/plain" and got[0].props["subscription_id"] == [9]
        times = [p["keel-time"] for p in own]
        assert times == sorted(times)
        age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(times[0].replace("Z", "+00:00"))
        assert 0 <= age.total_seconds() < 60, times
        with Client(server, "all-late") as p:
            p.publish("all/5", b"5", 1)
        assert c.message().payload == b"5"
        assert c.unsubscribe("$stream/all") == [0] and c.unsubscribe("$stream/all") == [0x11]
    harness.await_true(lambda: server.metric("keel_captured_total") >= 5, "captured messages are counted")


def test_where_to_begin(server):
    create(server, "where", "where")
    with Client(server, "where-pub") as c:
        for i in range(5):
            c.publish("where", str(i).encode(), 1)
        time.sleep(1.2)  # the two halves differ in time, and that is what is looked for
        middle = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
        for i in range(5, 8):
            c.publish("where", str(i).encode(), 1)
    every = [str(i) for i in range(8)]
    for version in (5, 4):
        assert read(server, "where", 8, version=version) == every
        assert read(server, "where", 8, "first", version=version) == every
        assert read(server, "where", 1, "last", version=version) == ["7"]
        assert read(server, "where", 0, "next", version=version) == []
        assert read(server, "where", 2, "offset:6", version=version) == ["6", "7"]
        assert read(server, "where", 0, "offset:600", version=version) == []
        assert read(server, "where", 3, "time:" + middle, version=version) == ["5", "6", "7"]
        assert read(server, "where", 8, "time:2020-01-01T00:00:00Z", version=version) == every
        assert read(server, "where", 8, qos=0, version=version) == every
    with Client(server, "where-bad") as c, Client(server, "where-bad4", 4) as old:
        bad = ["$stream/none", "$stream/where/from/soon", "$stream/where/x", "$stream/#", "$stream/where"]
        assert c.subscribe(bad, 1) == [0x8f, 0x8f, 0x8f, 0x8f, 1]
        assert old.subscribe(bad, 1) == [0x80, 0x80, 0x80, 0x80, 1]
        assert c.subscribe("$stream/where", 1, props={"user": [("keel-from", "time:yesterday")]}) == [0x8f]


def test_limits_of_count_bytes_and_age(server):
    create(server, "few", "few", "--max-count", "3")
    create(server, "small", "few", "--max-bytes", "2000")
    create(server, "young", "few", "--max-age", "2s")
    with Client(server, "few-pub") as c:
        for i in range(40):
            c.publish("few", b"%02d" % i + b"x" * 98, 1)
    assert [p[:2] for p in read(server, "few", 3)] == ["37", "38", "39"]
    kept = int(info(server, "small")["messages"])
    assert 8 <= kept <= 14 and int(info(server, "small")["bytes"]) <= 2000, info(server, "small")
    count(server, "young", 0)
    assert info(server, "young")["next_offset"] == "40"
    for name in ("few", "small", "young"):
        ctl(server, "delete", name)


def test_the_last_value_of_each_topic(server):
    create(server, "last", "last/#", "--last-value")
    with Client(server, "last-pub") as c:
        for i in range(50):
            c.publish(f"last/{i % 3}", str(i).encode(), 1)
        assert read(server, "last", 3) == ["47", "48", "49"]
        with Client(server, "last-sub") as s:
            s.subscribe("$stream/last", 1)
            assert [m.payload for m in s.messages(3)] == [b"47", b"48", b"49"]
            c.publish("last/new", b"n", 1)
            assert s.message().topic == "last/new"
    assert info(server, "last")["messages"] == "4" and info(server, "last")["next_offset"] == "51"


def test_a_stored_session_goes_on_where_it_stopped(server):
    create(server, "go-on", "go-on")
    keep = {"session_expiry": 600}
    with Client(server, "go-on-pub") as c:
        for i in range(10):
            c.publish("go-on", str(i).encode(), 1)
    c = Client(server, "go-on-sub", clean=True, props={**keep, "receive_max": 6})
    c.subscribe("$stream/go-on", 1)
    got = [c.message(acknowledge=False) for _ in range(3)]
    assert [m.payload for m in got] == [b"0", b"1", b"2"]
    c.send(ack(PUBACK, got[0].id))
    c.send(ack(PUBACK, got[1].id))
    assert [m.payload for m in (c.message(acknowledge=False), c.message(acknowledge=False))] == [b"3", b"4"]
    c.disconnect()
    with Client(server, "go-on-sub", clean=False, props=keep) as c:
        assert [m.payload for m in c.messages(8)] == [str(i).encode() for i in range(2, 10)]
        c.subscribe("$stream/go-on", 1)  # as libraries do
        assert c.settle() == []
        assert c.subscribe("$stream/go-on", 1, props={"user": [("keel-from", "offset:8")]}) == [1]
        assert [m.payload for m in c.messages(2)] == [b"8", b"9"]
        c.disconnect(0, {"session_expiry": 0})


def test_a_slow_reader_holds_nobody_up(server):
    create(server, "slow", "slow")
    body = b"x" * 10000
    with Client(server, "slow-pub") as p, Client(server, "slow-sub") as slow, Client(server, "quick-sub") as quick:
        slow.send(subscribe([("$stream/slow", 0)], 1))
        quick.subscribe("$stream/slow", 1)
        for i in range(1500):  # 15 MB, none of it read by the slow one
            p.send(publish("slow", b"%05d" % i + body, 1, id=i % 200 + 1))
            if i % 200 == 199:
                for _ in range(200):
                    p.expect(PUBACK)
                assert [m.payload[:5] for m in quick.messages(200)] == [b"%05d" % n for n in range(i - 199, i + 1)]
        for _ in range(100):
            p.expect(PUBACK)
        slow.expect(SUBACK)
        assert [m.payload[:5] for m in slow.messages(1500)] == [b"%05d" % n for n in range(1500)], "all of it, in order, once it reads"


def test_kills_of_either_process_lose_nothing_that_was_captured():
    with harness.Apart(broker_args=["--shards", "2"], store_args=["--shards", "2"]) as keel:
        create(keel, "kill", "kill/#")
        keep = {"session_expiry": 600}
        sent, seen = 0, []
        Client(keel, "kill-sub", clean=True, props=keep).close()
        for turn in range(6):
            with Client(keel, f"kill-pub-{turn}") as p:
                for _ in range(50):
                    p.publish(f"kill/{sent % 3}", str(sent).encode(), 1)
                    sent += 1
            with Client(keel, "kill-sub", clean=False, props=keep) as s:
                s.subscribe("$stream/kill", 1)
                while len(set(seen)) < sent - 20:
                    seen.append(int(s.message().payload))
                if turn % 3 == 0:
                    keel.kill_broker()
                    keel.start_broker()
                elif turn % 3 == 1:
                    keel.kill_store()
                    keel.start_store()
                else:
                    keel.kill_broker()
                    keel.kill_store()
                    keel.start_store()
                    keel.start_broker()
        with Client(keel, "kill-sub", clean=False, props=keep) as s:
            while len(set(seen)) < sent:
                seen.append(int(s.message().payload))
        first = list(dict.fromkeys(seen))
        assert first == list(range(sent)), "each at least once, in order of first arrival"
        assert read(keel, "kill", sent) == [str(i) for i in range(sent)]
