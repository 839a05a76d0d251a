"""Retained messages: kept, replaced, cleared, shown to new subscriptions. [MQTT-3.3.1-5 .. 13]"""
from rawmqtt import *

NO_LOCAL, AS_PUBLISHED, HANDLING_NEW, HANDLING_NONE = 4, 8, 0x10, 0x20


def test_a_new_subscription_is_shown_what_is_retained(server):
    for version in (4, 5):
        with Client(server, f"retain-{version}", version) as c:
            c.publish(f"retain/{version}/a", b"one", 1, retain=True)
            c.publish(f"retain/{version}/b", b"two", 0, retain=True)
            c.publish(f"retain/{version}/c", b"not kept", 1)
            c.subscribe(f"retain/{version}/+", 2)
            got = {m.topic[-1]: (m.payload, m.qos, m.retain) for m in c.messages(2)}
            assert got == {"a": (b"one", 1, True), "b": (b"two", 0, True)}, got


def test_the_last_one_is_kept_and_an_empty_one_clears(server):
    with Client(server, "retain-last") as c, Client(server, "retain-last-live") as live:
        live.subscribe("retain/last", 1)
        for payload in (b"1", b"2", b""):
            c.publish("retain/last", payload, 1, retain=True)
            got = live.message()
            assert (got.payload, got.retain) == (payload, False), "live deliveries are not marked"
            with Client(server, "retain-last-probe") as probe:
                probe.subscribe("retain/last", 1)
                assert [m.payload for m in probe.settle()] == ([payload] if payload else [])


def test_retain_handling_says_whether_to_show_them(server):
    with Client(server, "retain-handling") as c:
        c.publish("retain/handling", b"x", 1, retain=True)
        c.subscribe("retain/handling", 1, HANDLING_NONE)
        assert c.settle() == []
        c.subscribe("retain/handling", 1, HANDLING_NEW)
        assert c.settle() == [], "the subscription is not new"
        c.subscribe("retain/handling", 1)
        assert c.message().payload == b"x"
        c.unsubscribe("retain/handling")
        c.subscribe("retain/handling", 1, HANDLING_NEW)
        assert c.message().payload == b"x"


def test_retain_as_published_keeps_the_flag(server):
    with Client(server, "retain-rap") as c:
        c.subscribe("retain/rap/yes", 1, AS_PUBLISHED)
        c.subscribe("retain/rap/no", 1)
        for topic, flag in (("yes", True), ("no", False)):
            c.publish(f"retain/rap/{topic}", b"x", 1, retain=True)
            assert c.message().retain == flag


def test_a_shared_subscription_is_shown_none(server):
    with Client(server, "retain-shared") as c:
        c.publish("retain/shared", b"x", 1, retain=True)
        c.subscribe("$share/g/retain/shared", 1)
        assert c.settle() == []


def test_they_carry_properties_and_subscription_ids(server):
    props = {"content_type": "text/plain", "user": [("a", "1"), ("a", "2")], "correlation_data": b"\0\1", "payload_format": 1}
    with Client(server, "retain-props") as c:
        c.publish("retain/props", b"x", 1, retain=True, props=props)
        c.subscribe("retain/props", 1, props={"subscription_id": 9})
        assert c.message().props == {**props, "subscription_id": [9]}


def test_they_expire(server):
    with Client(server, "retain-expiry") as c:
        c.publish("retain/expiry/short", b"x", 1, retain=True, props={"message_expiry": 1})
        c.publish("retain/expiry/long", b"x", 1, retain=True, props={"message_expiry": 100})

        def shown():
            with Client(server, "retain-expiry-probe") as probe:
                probe.subscribe("retain/expiry/+", 1)
                return {m.topic[14:]: m.props.get("message_expiry") for m in probe.settle()}
        first = shown()
        assert 0 < first["long"] <= 100
        import harness
        harness.await_true(lambda: "short" not in shown(), "the short one has expired")
        assert "long" in shown()


def test_they_survive_a_restart(server):
    with Client(server, "retain-restart") as c:
        for n in range(50):
            c.publish(f"retain/restart/{n}", b"%d" % n, 1, retain=True)
        for n in range(0, 50, 2):
            c.publish(f"retain/restart/{n}", b"", 1, retain=True)
    server.restart()
    with Client(server, "retain-restart") as c:
        c.subscribe("retain/restart/#", 1)
        got = {m.topic: m.payload for m in c.messages(25)}
        assert got == {f"retain/restart/{n}": b"%d" % n for n in range(1, 50, 2)}
        assert c.settle() == []


def test_many_are_shown_to_a_wildcard(server):
    with Client(server, "retain-many") as c:
        for first in range(0, 1000, 50):
            c.send(b"".join(publish(f"retain/many/{n}", b"%d" % n, 1, True, id=n % 50 + 1) for n in range(first, first + 50)))
            for _ in range(50):
                c.expect(PUBACK)
        c.subscribe("retain/many/#", 1)
        assert {int(m.payload) for m in c.messages(1000)} == set(range(1000))
