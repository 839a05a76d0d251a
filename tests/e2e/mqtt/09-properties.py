"""What passes through unaltered, and what counts down on its way. [MQTT-3.3.2.3]"""
import harness
from rawmqtt import *

PASSED = {"payload_format": 1, "content_type": "application/json", "response_topic": "reply/here", "correlation_data": bytes(range(256)),
          "user": [("k", "v"), ("k", "again"), ("", ""), ("ключ", "значение")]}


def test_properties_of_a_message_arrive_as_they_were_sent(server):
    with Client(server, "props-sub") as sub, Client(server, "props-pub") as pub:
        for qos in (0, 1, 2):
            sub.subscribe("props/live", qos)
            pub.publish("props/live", b"{}", qos, props=PASSED)
            assert sub.message().props == PASSED


def test_they_arrive_through_a_stored_session_too(server):
    keep = {"session_expiry": 60}
    with Client(server, "props-stored", clean=False, props=keep) as c:
        c.subscribe("props/stored", 1)
    with Client(server, "props-stored-pub") as pub:
        pub.publish("props/stored", b"{}", 1, props=PASSED)
    with Client(server, "props-stored", clean=False, props=keep) as c:
        assert c.message().props == PASSED


def test_correlation_data_may_be_empty_or_long(server):
    with Client(server, "props-corr") as c:
        c.subscribe("props/corr", 1)
        for data in (b"", b"\xff" * 65535):
            c.publish("props/corr", b"x", 1, props={"correlation_data": data})
            assert c.message().props == {"correlation_data": data}


def test_version_4_receives_the_message_without_properties(server):
    with Client(server, "props-4", 4) as sub, Client(server, "props-4-pub") as pub:
        sub.subscribe("props/4", 1)
        pub.publish("props/4", b"payload", 1, props=PASSED)
        got = sub.message()
        assert got.payload == b"payload"


def test_the_remaining_expiry_is_passed_on(server):
    with Client(server, "props-expiry") as c:
        c.subscribe("props/expiry", 1)
        c.publish("props/expiry", b"x", 1, props={"message_expiry": 100})
        assert 98 <= c.message().props["message_expiry"] <= 100
        c.publish("props/expiry", b"x", 1)
        assert "message_expiry" not in c.message().props, "the server invents none"


def test_what_expires_in_a_queue_is_not_delivered(server):
    keep = {"session_expiry": 60}
    with Client(server, "props-queue", clean=False, props=keep) as c:
        c.subscribe("props/queue", 1)
    with Client(server, "props-queue-pub") as pub, Client(server, "props-clock") as clock:
        pub.publish("props/queue", b"short", 1, props={"message_expiry": 1})
        pub.publish("props/queue", b"long", 1, props={"message_expiry": 100})
        pub.publish("props/clock", b"tick", 1, retain=True, props={"message_expiry": 2})  # a clock that the server keeps

        def passed():
            clock.unsubscribe("props/clock")
            clock.subscribe("props/clock", 1)
            return clock.settle() == []
        harness.await_true(passed, "two seconds have passed")
    with Client(server, "props-queue", clean=False, props=keep) as c:
        got = c.message()
        assert got.payload == b"long" and got.props["message_expiry"] <= 99
        assert c.settle() == []


def test_subscription_ids_are_those_of_the_receiver(server):
    with Client(server, "props-ids") as c, Client(server, "props-ids-pub") as pub:
        c.subscribe("props/ids/a", 1, props={"subscription_id": 1})
        c.subscribe("props/ids/+", 1, props={"subscription_id": 268435455})
        c.subscribe("props/ids/#", 1)
        pub.publish("props/ids/a", b"x", 1)
        got = [c.message()] + [m for m in c.settle() if m.kind == PUBLISH]
        assert sorted(i for m in got for i in m.props.get("subscription_id", [])) == [1, 268435455], got
        c.subscribe("props/ids/a", 1, props={"subscription_id": 7})  # replaced
        c.settle()
        pub.publish("props/ids/a", b"x", 1)
        got = [c.message()] + [m for m in c.settle() if m.kind == PUBLISH]
        assert sorted(i for m in got for i in m.props.get("subscription_id", [])) == [7, 268435455], got


def test_the_topic_may_be_any_utf8(server):
    with Client(server, "props-topic") as c:
        for topic in ("props/温度/°C", "/", "//", "/props/", "props//x", "props/ /y", "a" * 1000, "/".join("l" * 120)):
            c.subscribe(topic, 1)
            c.publish(topic, b"x", 1)
            assert c.message().topic == topic
            c.unsubscribe(topic)
