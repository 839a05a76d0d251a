"""SUBSCRIBE and UNSUBSCRIBE: filters, codes, options. [MQTT-3.8 .. 3.11, 4.7]"""
from rawmqtt import *


def test_codes_come_one_per_filter_in_order(server):
    for version in (4, 5):
        with Client(server, f"sub-codes-{version}", version) as c:
            c.send(subscribe([("a/b", 0), ("c/+", 1), ("#", 2)], 12, version=version))
            assert c.expect(SUBACK, id=12).codes == [0, 1, 2]


def test_unsubscribe_says_what_was_there(server):
    with Client(server, "sub-un") as c:
        c.subscribe(["un/a", "un/b"], 1)
        assert c.unsubscribe(["un/a", "un/never", "un/b"]) == [0, 0x11, 0]
        c.publish("un/a", b"x", 1)
        assert c.settle() == []
    with Client(server, "sub-un-4", 4) as c:
        c.send(unsubscribe(["un/never"], 3, version=4))
        assert c.expect(UNSUBACK, id=3).body == b"\0\3"


def test_wildcards_match_as_written(server):
    table = [
        ("w/+", "w/a", True), ("w/+", "w/", True), ("w/+", "w", False), ("w/+", "w/a/b", False), ("w/#", "w", True), ("w/#", "w/a/b", True),
        ("w/+/c", "w/b/c", True), ("w/+/c", "w//c", True), ("+/w2", "a/w2", True), ("+/w2", "/w2", True), ("w3", "w3/", False), ("w4/+/+", "w4/a", False),
        ("+", "w5", True), ("/+", "/w6", True), ("+", "/w7", False), ("w8/#", "w9", False),
    ]
    with Client(server, "sub-wild") as c:
        for filter, topic, matches in table:
            c.subscribe(filter, 1)
            c.publish(topic, b"x", 1)
            got = [m.topic for m in c.settle() if m.kind == PUBLISH and m.topic == topic]
            assert got == ([topic] if matches else []), (filter, topic, got)
            c.unsubscribe(filter)


def test_wildcards_do_not_match_topics_that_begin_with_dollar(server):
    with Client(server, "sub-dollar") as c, Client(server, "sub-dollar-pub") as pub:
        c.subscribe(["#", "+/dollar"], 0)
        pub.publish("$keel/dollar", b"x", 0)
        pub.settle()
        pub.publish("plain/dollar", b"x", 0)
        assert c.message().topic == "plain/dollar"
        c.subscribe("$own/#", 0)
        pub.publish("$own/dollar", b"x", 0)
        assert c.message().topic == "$own/dollar"
        assert c.settle() == []


def test_invalid_filters_are_refused(server):
    for filter in ("a/#/b", "a#", "+a", "a/+b", "#/", "", "a/##"):
        with Client(server, "sub-invalid") as c:
            c.send(subscribe([(filter, 0)], 3))
            got = c.recv()
            assert got is not None and (got.kind == SUBACK and got.codes[0] == 0x8F or got.kind == DISCONNECT and got.reason in (0x81, 0x82, 0x8F)), (filter, got)


def test_overlapping_subscriptions_give_the_highest_qos(server):
    for version in (4, 5):
        with Client(server, f"sub-overlap-{version}", version) as c:
            c.subscribe(f"overlap/{version}/#", 2)
            c.subscribe(f"overlap/{version}/+", 1)
            c.publish(f"overlap/{version}/x", b"x", 2)
            got = []
            first = c.message()
            got = [first.qos] + [m.qos for m in c.settle() if m.kind == PUBLISH]
            assert got == [2] or sorted(got) == [1, 2], got


def test_subscribing_again_replaces(server):
    with Client(server, "sub-replace") as c:
        c.subscribe("replace", 2)
        assert c.subscribe("replace", 0) == [0]
        c.publish("replace", b"x", 2)
        assert c.message().qos == 0
        assert c.settle() == []


def test_no_local_leaves_out_ones_own(server):
    with Client(server, "sub-local") as c, Client(server, "sub-local-other") as other:
        c.subscribe("local", 1, options=4)
        c.publish("local", b"own", 1)
        other.publish("local", b"other", 1)
        assert c.message().payload == b"other"
        assert c.settle() == []


def test_no_local_holds_for_a_stored_session_too(server):
    keep = {"session_expiry": 60}
    with Client(server, "sub-local-stored", clean=False, props=keep) as c:
        c.subscribe("local/stored", 1, options=4)
        c.publish("local/stored", b"own", 1)
    with Client(server, "sub-local-stored", clean=False, props=keep) as c:
        c.publish("local/stored", b"own", 1)
        assert c.settle() == []


def test_many_filters_in_one_packet(server):
    with Client(server, "sub-many") as c:
        filters = [f"many/{n}" for n in range(200)]
        assert c.subscribe(filters, 1) == [1] * 200
        c.publish("many/199", b"x", 1)
        assert c.message().topic == "many/199"
        assert c.unsubscribe(filters) == [0] * 200


def test_in_flight_messages_finish_after_unsubscribe(server):
    with Client(server, "sub-finish") as c:
        c.subscribe("finish", 2)
        c.publish("finish", b"x", 2)
        got = c.expect(PUBLISH)
        c.unsubscribe("finish")
        c.send(ack(PUBREC, got.id))
        c.expect(PUBREL, id=got.id)
        c.send(ack(PUBCOMP, got.id))
        assert c.settle() == []
