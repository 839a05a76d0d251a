"""Sessions that outlive their connection: what is kept, for how long, who may have it. [MQTT-3.1.2-4 .. 6, 4.1, 4.4]"""
import threading

from harness import await_true
from rawmqtt import *

KEEP = {"session_expiry": 300}


def stored(server, client_id, **more):
    return Client(server, client_id, clean=False, props={**KEEP, **more.pop("props", {})}, **more)


def test_a_stored_session_keeps_subscriptions_and_messages(server):
    for version in (4, 5):
        name = f"session-keep-{version}"
        with Client(server, name, version, clean=False, props=KEEP) as c:
            assert c.connack.session_present == 0
            c.subscribe(f"session/keep/{version}", 2)
        with Client(server, f"{name}-pub", version) as pub:
            for n in range(20):
                pub.publish(f"session/keep/{version}", b"%d" % n, n % 3)
        with Client(server, name, version, clean=False, props=KEEP) as c:
            assert c.connack.session_present == 1
            kept = [n for n in range(20) if n % 3 != 0]  # QoS 0 need not be stored
            got = [int(m.payload) for m in c.messages(len(kept))]
            assert [n for n in got if n % 3 != 0] == kept[:len([n for n in got if n % 3 != 0])], got


def test_clean_start_discards_what_was_kept(server):
    with stored(server, "session-clean") as c:
        c.subscribe("session/clean", 1)
    with Client(server, "session-clean-pub") as pub:
        pub.publish("session/clean", b"old", 1)
    with Client(server, "session-clean", clean=True, props=KEEP) as c:
        assert c.connack.session_present == 0
        assert c.until_ping() == []
        c.subscribe("session/clean", 1)
        c.publish("session/clean", b"new", 1)
        assert c.message().payload == b"new"


def test_a_session_without_expiry_ends_with_its_connection(server):
    with Client(server, "session-none", clean=False) as c:
        c.subscribe("session/none", 1)
    with Client(server, "session-none", clean=False) as c:
        assert c.connack.session_present == 0


def test_a_session_expires(server):
    with Client(server, "session-expires", clean=False, props={"session_expiry": 1}) as c:
        c.subscribe("session/expires", 1)
        c.disconnect()

    def gone():
        with Client(server, "session-expires-probe") as pub:
            return pub.publish("session/expires", b"x", 1).reason == 0x10
    await_true(gone, "the session has expired")
    with Client(server, "session-expires", clean=False, props={"session_expiry": 1}) as c:
        assert c.connack.session_present == 0


def test_disconnect_may_change_the_expiry(server):
    with stored(server, "session-change") as c:
        c.subscribe("session/change", 1)
        c.disconnect(0, {"session_expiry": 0})
    with stored(server, "session-change") as c:
        assert c.connack.session_present == 0


def test_disconnect_may_not_give_an_expiry_to_a_session_that_had_none(server):
    with Client(server, "session-zero") as c:
        c.send(disconnect(0, {"session_expiry": 10}))
        c.expect_closed(0x82)


def test_take_over_tells_the_old_side_and_keeps_everything(server):
    with stored(server, "session-over") as old:
        old.subscribe("session/over", 1)
        old.publish("session/over", b"one", 1)
        first = old.message(acknowledge=False)
        with stored(server, "session-over") as new:
            assert new.connack.session_present == 1
            old.expect_closed(0x8E)
            again = new.message()
            assert (again.payload, again.id, again.dup) == (b"one", first.id, True), again


def test_take_over_of_a_live_session(server):
    with Client(server, "session-live") as old, Client(server, "session-live") as new:
        old.expect_closed(0x8E)
        assert new.connack.session_present == 0
        assert new.until_ping() == []


def test_a_storm_of_connects_with_one_id_leaves_one(server):
    clients, lock = [], threading.Lock()

    def one():
        c = Client(server, "session-storm", open=False)
        c.send(connect("session-storm"))
        with lock:
            clients.append(c)

    threads = [threading.Thread(target=one) for _ in range(40)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for c in clients:
        c.recv()  # CONNACK, or the end: none of the storm comes behind the last one
    alive = 0
    with Client(server, "session-storm") as last:
        for c in clients:
            c.expect_closed()
            c.close()
        last.subscribe("session/storm")
        last.publish("session/storm", b"alive")
        alive += last.message().payload == b"alive"
    assert alive == 1


def test_unacknowledged_messages_come_again_with_dup_and_the_same_id_in_order(server):
    with stored(server, "session-again") as c:
        c.subscribe("session/again", 2)
        for n in range(6):
            c.publish("session/again", b"%d" % n, 1 + n % 2)
        before = [c.message(acknowledge=False) for _ in range(6)]
    with stored(server, "session-again") as c:
        again = [c.message(acknowledge=False) for _ in range(6)]
        assert [(m.id, m.payload, m.qos) for m in again] == [(m.id, m.payload, m.qos) for m in before]
        assert all(m.dup for m in again)
        c.publish("session/again", b"new", 1)
        got = c.message()
        assert got.payload == b"new" and not got.dup
    with stored(server, "session-again") as c:  # the six were never acknowledged
        assert [c.message().payload for _ in range(6)] == [b"%d" % n for n in range(6)]
    with stored(server, "session-again") as c:
        assert c.until_ping() == []


def test_a_qos_2_delivery_that_was_received_goes_on_with_pubrel(server):
    with stored(server, "session-rel") as c:
        c.subscribe("session/rel", 2)
        c.publish("session/rel", b"once", 2)
        got = c.message(acknowledge=False)
        c.send(ack(PUBREC, got.id))
        c.expect(PUBREL, id=got.id)
    with stored(server, "session-rel") as c:
        c.expect(PUBREL, id=got.id)
        c.send(ack(PUBCOMP, got.id))
        assert c.until_ping() == []
    with stored(server, "session-rel") as c:
        assert c.until_ping() == []


def test_a_qos_2_publish_is_recognised_again_on_the_next_connection(server):
    with Client(server, "session-twice-sub") as sub:
        sub.subscribe("session/twice", 2)
        with stored(server, "session-twice") as c:
            c.send(publish("session/twice", b"once", 2, id=3))
            c.expect(PUBREC, id=3)
        with stored(server, "session-twice") as c:
            c.send(publish("session/twice", b"once", 2, dup=True, id=3))
            c.expect(PUBREC, id=3)
            c.send(ack(PUBREL, 3))
            c.expect(PUBCOMP, id=3, reason=0)
            assert sub.message().payload == b"once"
            assert sub.until_ping() == []


def test_nothing_is_sent_again_while_the_connection_lives(server):
    with stored(server, "session-quiet", keep_alive=60) as c:
        c.subscribe("session/quiet", 1)
        c.publish("session/quiet", b"x", 1)
        c.message(acknowledge=False)
        for _ in range(20):
            assert c.until_ping() == []


def test_sessions_survive_a_restart_of_everything(server):
    with stored(server, "session-restart") as c:
        c.subscribe("session/restart/#", 1)
    with Client(server, "session-restart-pub") as pub:
        for n in range(100):
            pub.publish("session/restart/x", b"%d" % n, 1)
    server.restart()
    with stored(server, "session-restart") as c:
        assert c.connack.session_present == 1
        assert [int(m.payload) for m in c.messages(100)] == list(range(100))
        c.publish("session/restart/y", b"after", 1)
        assert c.message().payload == b"after"


def test_a_backlog_is_delivered_whole_and_in_order(server):
    with stored(server, "session-backlog") as c:
        c.subscribe("session/backlog", 1)
    with Client(server, "session-backlog-pub") as pub:
        for first in range(0, 5000, 50):
            pub.send(b"".join(publish("session/backlog", b"%05d" % n, 1, id=n % 50 + 1) for n in range(first, first + 50)))
            for _ in range(50):
                pub.expect(PUBACK)
    with stored(server, "session-backlog", props={"receive_max": 100}) as c:
        for n in range(5000):
            assert c.message().payload == b"%05d" % n
        assert c.until_ping() == []
