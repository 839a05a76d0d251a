"""$exclusive/<filter>: one subscriber at a time, wherever it is connected."""
import harness
from rawmqtt import *


def test_the_second_is_refused_with_quota_exceeded():
    with harness.Keel("--shards", "2") as keel:
        clients = [Client(keel, f"exclusive-{i}") for i in range(6)]  # on both shards
        for name in ("a", "b/+", "c/#"):
            codes = [c.subscribe(f"$exclusive/exclusive/{name}", 1)[0] for c in clients]
            assert codes == [1] + [0x97] * 5, codes
        with Client(keel, "exclusive-pub") as pub:
            pub.publish("exclusive/a", b"x", 1)
            pub.publish("exclusive/b/1", b"y", 2)
        assert [m.payload for m in clients[0].messages(2)] == [b"x", b"y"]
        assert clients[0].unsubscribe("$exclusive/exclusive/a") == [0]
        assert clients[3].subscribe("$exclusive/exclusive/a", 1) == [1]
        clients[0].close()
        harness.await_true(lambda: clients[5].subscribe("$exclusive/exclusive/b/+", 0) == [0], "released with the connection")
        with Client(keel, "exclusive-v3", version=4) as old:
            assert old.subscribe("$exclusive/exclusive/a", 1) == [0x80]
        with Client(keel, "exclusive-v31", version=3, name="MQIsdp") as oldest:  # has no word for no
            oldest.send(subscribe([("exclusive/x", 1), ("$exclusive/exclusive/a", 1)], version=3))
            assert oldest.recv() is None
        [c.close() for c in clients]


def test_other_subscriptions_do_not_matter(server):
    with Client(server, "exclusive-other") as other, Client(server, "exclusive-one") as one:
        assert other.subscribe(["exclusive-two", "$share/g/exclusive-two"], 1) == [1, 1]
        assert one.subscribe("$exclusive/exclusive-two", 1) == [1]
        one.publish("exclusive-two", b"x", 1)
        assert one.message().payload == b"x"
        assert len(other.messages(2)) == 2


def test_a_stored_session_keeps_it_over_a_restart():
    with harness.Keel() as keel:
        with Client(keel, "exclusive-kept", clean=False, props={"session_expiry": 1000}) as c:
            assert c.subscribe("$exclusive/kept", 1) == [1]
        keel.restart()
        with Client(keel, "exclusive-late") as late:
            assert late.subscribe("$exclusive/kept", 1) == [0x97]
            late.publish("kept", b"x", 1)
            with Client(keel, "exclusive-kept", clean=False, props={"session_expiry": 1000}) as c:
                assert c.message().payload == b"x"
                c.send(disconnect(0, {"session_expiry": 0}))
                c.expect_closed()
            harness.await_true(lambda: late.subscribe("$exclusive/kept", 1) == [1], "released with the session")


def test_filters_that_are_none_are_refused(server):
    for name in ("$exclusive/", "$exclusive/a#", "$exclusive/$share/g/a", "$share/g/$exclusive/a", "$exclusive/$exclusive/a"):
        with Client(server, "exclusive-bad") as c:
            c.send(subscribe([(name, 1)], 5))
            c.expect_closed((0x81, 0x82, 0x8F))
