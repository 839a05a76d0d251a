"""What an operator may bound: topics, names, rates. Each refusal is told with its reason code and counted."""
import time

from harness import Keel, await_true, patience
from rawmqtt import *


def keel(*settings):
    return Keel(*(word for each in settings for word in ("--set", each)))


def test_topics_of_too_many_levels_or_bytes_are_refused():
    with keel("mqtt.topic_levels_max=4", "mqtt.topic_max=20") as server, Client(server, "bounds") as c:
        assert c.subscribe("a/b/c/d", 1) == [1]
        assert c.subscribe(["a/b/c/d/#", "x" * 21, "a/+/c/d/e", "fits/#"], 1) == [0x8F, 0x8F, 0x8F, 1]
        c.publish("a/b/c/d", b"fits", 1)
        assert c.message().payload == b"fits"
        c.publish("a/b/c/d/e", b"too deep", 1, reason=0x90)
        c.publish("x" * 21, b"too long", 1, reason=0x90)
        c.publish("a/b/c/d/e", b"nobody is told", 0)
        c.publish("x" * 20, b"just", 1, reason=0x10)
        await_true(lambda: server.metric("keel_over_limit_total") == 6, "all that was refused is counted")
        with Client(server, "bounds-3", version=4) as old:
            assert old.subscribe("a/b/c/d/e", 1) == [0x80]
            old.send(publish("a/b/c/d/e", b"x", 1, id=1, version=4))
            old.expect_closed()


def test_a_will_whose_topic_is_too_deep_is_refused():
    with keel("mqtt.topic_levels_max=2") as server, Client(server, open=False) as c:
        c.send(connect("bounds-will", will={"topic": "a/b/c", "payload": b"x"}))
        assert c.expect(CONNACK).reason == 0x90


def test_a_client_identifier_that_is_too_long_is_refused():
    with keel("mqtt.client_id_max=30") as server:
        with Client(server, "x" * 30):
            pass
        for version, reason in ((5, 0x85), (4, 2)):
            with Client(server, open=False, version=version) as c:
                c.send(connect("x" * 31, version=version))
                assert c.expect(CONNACK).reason == reason


def test_a_client_that_publishes_too_fast_is_slowed_down_and_loses_nothing():
    with keel("mqtt.publish_rate=100") as server, Client(server, "slow-sub") as sub, Client(server, "slow-pub") as pub:
        sub.subscribe("slow", 0)
        started = time.monotonic()
        for n in range(250):
            pub.send(publish("slow", b"%d" % n, 0))
        other = Client(server, "slow-other")
        other.publish("slow/other", b"x", 1, reason=0x10)  # others are not held up
        assert time.monotonic() - started < patience(1)
        other.close()
        assert [m.payload for m in sub.messages(250)] == [b"%d" % n for n in range(250)]
        took = time.monotonic() - started
        assert 1.3 < took < 1.5 + patience(2), took  # 100 at once, then 100 a second
        await_true(lambda: server.metric("keel_held_back_total") > 0, "it is counted")
        pub.until_ping()


def test_bytes_are_a_rate_of_their_own():
    with keel("mqtt.publish_bytes_rate=100000") as server, Client(server, "bytes") as c:
        c.subscribe("bytes", 0)
        started = time.monotonic()
        for n in range(20):
            c.send(publish("bytes", b"x" * 10000, 0))
        c.messages(20)
        assert 0.8 < time.monotonic() - started, "100 kB at once, the rest at 100 kB a second"


def test_one_that_does_not_stop_is_disconnected_with_0x96():
    with keel("mqtt.publish_rate=50", "mqtt.publish_patience=1") as server, Client(server, "never-stops") as c:
        for n in range(400):
            c.send(publish("never", b"x", 0))
        c.expect_closed(0x96)


def test_one_that_stops_in_between_is_not():
    with keel("mqtt.publish_rate=50", "mqtt.publish_patience=1") as server, Client(server, "stops") as c:
        for _ in range(3):
            for n in range(60):
                c.send(publish("stops", b"x", 0))
            c.until_ping()
            quiet = time.monotonic() + 1.3
            await_true(lambda: time.monotonic() > quiet, "its bucket is full again")


def test_connections_over_the_rate_are_refused_with_0x9f():
    with keel("mqtt.connection_rate=5", "shards=1") as server:
        reasons = {}
        for n in range(20):
            with Client(server, open=False) as c:
                c.send(connect(f"rate-{n}"))
                reason = c.expect(CONNACK).reason
                reasons[reason] = reasons.get(reason, 0) + 1
        assert set(reasons) == {0, 0x9F} and 5 <= reasons[0] <= 10, reasons
        with Client(server, open=False, version=4) as c:
            c.send(connect("rate-old", version=4))
            assert c.expect(CONNACK).reason in (0, 3)

        def again():
            with Client(server, open=False) as c:
                c.send(connect("rate-later"))
                return c.expect(CONNACK).reason == 0
        await_true(again, "and let in later")


def test_retained_messages_are_bounded():
    with Keel("--set", "segstore.stripes=1", "--shards", "1", "--set", "segstore.retained_max=3") as server, Client(server, "retains") as c:
        for n in range(4):  # a stripe's share is rounded up
            c.publish(f"retained/{n}", b"x", 1, retain=True, reason=0x10)
        c.publish("retained/one-too-many", b"x", 1, retain=True, reason=0x97)
        c.publish("retained/0", b"another", 1, retain=True, reason=0x10)
        c.publish("retained/1", b"", 1, retain=True, reason=0x10)
        c.publish("retained/one-too-many", b"x", 1, retain=True, reason=0x10)
        c.subscribe("retained/#", 1)
        assert sorted(m.topic for m in c.messages(4)) == ["retained/0", "retained/2", "retained/3", "retained/one-too-many"]
        c.publish("not/retained", b"x", 1, reason=0x10)


def test_a_limit_that_is_lowered_takes_nothing_that_was_acknowledged():
    wide = ["--set", "segstore.stripes=1", "--shards", "1"]
    with Keel(*wide) as server:
        with Client(server, "lowers") as c:
            for n in range(20):
                c.publish(f"lowered/{n}", b"x" * 100, 1, retain=True, reason=0x10)
        for kill in (True, False, True):  # what is replayed, and what an image holds
            if kill:
                server.process.kill()
            else:
                server.process.stop()
            server.args = wide + ["--set", "segstore.retained_max=3", "--set", "segstore.retained_bytes_max=200"]
            server.start()
            with Client(server, "lowers") as c:
                c.subscribe("lowered/#", 1)
                assert len({m.topic for m in c.messages(20)}) == 20
                c.publish("lowered/one-too-many", b"x", 1, retain=True, reason=0x97)
                c.publish("lowered/7", b"y" * 100, 1, retain=True, reason=0)
        server.process.kill()
        server.args = wide
        server.start()
        with Client(server, "lowers") as c:
            c.publish("lowered/one-more", b"x", 1, retain=True, reason=0x10)


def fill(pub, topic, most):
    """Publishes 1 KiB after another until it is refused; returns how many were taken."""
    for n in range(most):
        pub.send(publish(topic, b"%06d" % n + b"x" * 1018, 1, id=1))
        if (got := pub.expect(PUBACK, id=1)).reason == 0x97:
            return n
        assert got.reason == 0, got
    raise AssertionError(f"{most} were taken")


def waits(server, client_id, topic, count):
    """The session comes back and gets so many, in their order, and no more."""
    with Client(server, client_id, clean=False, props={"session_expiry": 600}) as c:
        assert c.connack.session_present == 1
        assert [m.payload[:6] for m in c.messages(count)] == [b"%06d" % n for n in range(count)]
        assert c.settle() == []
        c.disconnect()


def test_the_bytes_that_wait_for_a_stored_session_are_bounded():
    args = ["--set", "segstore.stripes=1", "--shards", "1", "--set", "segstore.backlog_bytes_max=64KiB"]
    with Keel(*args) as server:
        with Client(server, "away", props={"session_expiry": 600}) as c:
            c.subscribe("away/#", 1)
            c.disconnect()
        for kill in (None, True, False):  # what counts is in the log, then in an image
            with Client(server, "bounds-pub") as pub, Client(server, "bounds-3", version=4) as old:
                taken = fill(pub, "away/x", 70)
                assert 55 <= taken < 64, taken
                old.send(publish("away/x", b"x" * 1024, 1, id=1, version=4))
                assert old.recv() is None, "there is no word for no before MQTT 5"
                with Client(server, "bounds-other", props={"session_expiry": 600}) as other:
                    other.subscribe("away/other", 1)
                    pub.publish("away/other", b"y" * 1024, 1, reason=0)
                    assert other.message().payload == b"y" * 1024
            if kill is not None:
                server.process.kill() if kill else server.process.stop()
                server.start()
                with Client(server, "bounds-pub") as pub:
                    pub.publish("away/x", b"x" * 1024, 1, reason=0x97)
            waits(server, "away", "away/x", taken)
            with Client(server, "bounds-pub") as pub:
                pub.publish("away/x", b"000000" + b"x" * 100000, 1, reason=0)  # whatever its size, when nothing waits
                pub.publish("away/x", b"x", 1, reason=0x97)
            waits(server, "away", "away/x", 1)
        server.process.stop()
        server.args = args[:-1] + ["segstore.backlog_bytes_max=0"]
        server.start()
        with Client(server, "bounds-pub") as pub:
            for n in range(100):
                pub.publish("away/x", b"%06d" % n + b"x" * 1018, 1, reason=0)
        waits(server, "away", "away/x", 100)
