"""Statements of the standard that the other files do not ask for by name; statements.txt says which is which."""
import time

import harness
from harness import Keel
from rawmqtt import *

MALFORMED = {0x81, 0x82}
BAD_TEXT = (b"\xed\xa0\x80", b"a\0b", b"\xc0\xaf", b"\xff")


def body(*parts):
    return b"".join(bytes([p]) if isinstance(p, int) else p for p in parts)


def raw(first, *parts):
    data = body(*parts)
    return bytes([first]) + varint(len(data)) + data


def refused(server, data, reasons=MALFORMED, **more):
    with Client(server, "details", timeout=5, **more) as c:
        c.send(data)
        c.expect_closed(reasons)


def raw_recv(c, size):
    while len(c.buffer) < size:
        c._fill(time.monotonic() + 5)
        assert not c.closed, "closed"
    data, c.buffer = c.buffer[:size], c.buffer[size:]
    return data


def test_a_byte_order_mark_is_a_character(server):
    with Client(server, "bom") as c:
        c.subscribe("details/\ufefftopic", 1)
        c.publish("details/topic", b"without", 1)
        c.publish("details/\ufefftopic", b"with", 1)
        got = c.message()
        assert (got.topic, got.payload) == ("details/\ufefftopic", b"with")


def test_text_in_properties_is_checked(server):
    for bad in BAD_TEXT:
        for property_bytes in (body(0x26, text(bad), text("v")), body(0x26, text("k"), text(bad)), body(0x08, text(bad)), body(0x03, text(bad))):
            refused(server, raw(0x30, text("t"), len(property_bytes), property_bytes))


def test_a_connect_whose_fields_do_not_fit_its_flags(server):
    head, ident = text("MQTT") + b"\x05", text("details")
    for flags, fields in ((0x42, b""), (0xC2, text("user")), (0x82, text(b"\xed\xa0\x80")), (0x06, body(0, text(b"a\xff"), text("p"))), (0x02, text("more")),
                          (0x82, body(text("user"), text("password")))):
        with Client(server, open=False, timeout=5) as c:
            c.send(raw(0x10, head, flags, 0, 0, 0, ident, fields))
            got = c.recv()
            assert got is None or got.reason in MALFORMED, f"{flags:#x}: {got}"
            c.expect_closed()


def test_identifiers_of_deliveries_are_free_ones(server):
    with Client(server, "free", props={"receive_max": 50}) as c, Client(server, "free-pub") as pub:
        c.subscribe("details/free", 2)
        for n in range(50):
            pub.publish("details/free", b"%d" % n, 1 + n % 2)
        got = [c.expect(PUBLISH) for _ in range(50)]
        ids = [p.id for p in got]
        assert len(set(ids)) == 50 and 0 not in ids and not any(p.dup for p in got)


def test_the_bytes_of_a_connack(server):
    for version in (4, 5):
        with Client(server, "bytes", version, open=False) as c:
            c.send(connect("bytes", version))
            first, size, flags, reason = raw_recv(c, 4)
            assert (first, flags, reason) == (0x20, 0, 0)
            if version == 5:
                props = raw_recv(c, size - 2)
                assert props[0] == len(props) - 1, "the length of its properties"
                assert b"\x1a" not in props[:1], "no response information was asked for"
                assert "response_info" not in Packet(CONNACK, 0, bytes([flags, reason]) + props, 5).props
            for _ in range(3):  # no second one
                assert not [p for p in c.until_ping() if p.kind == CONNACK]
    with Client(server, open=False) as c:
        c.send(raw(0x10, text("MQTT") + b"\x09", 2, 0, 0, 0, text("x")))
        first, _, flags, reason = raw_recv(c, 4)
        assert (first, flags, reason) == (0x20, 0, 0x84), "a refusal says that there is no session"
        c.buffer = b""
        c.expect_closed()  # and no DISCONNECT comes behind it


def test_the_servers_keep_alive_holds():
    with Keel("--set", "mqtt.keep_alive_max=2") as keel:
        for asked in (0, 60):
            with Client(keel, "keep", keep_alive=asked, timeout=10) as c:
                assert c.connack.props["server_keep_alive"] == 2
                began = time.monotonic()
                c.expect_closed(0x8D)
                assert 2.5 < time.monotonic() - began < 6
        with Client(keel, "own", keep_alive=1) as c:
            assert c.connack.props.get("server_keep_alive", 1) <= 2


def test_what_is_switched_off_is_told_and_refused():
    with Keel("--set", "mqtt.qos_max=1", "--set", "mqtt.wildcards=false", "--set", "mqtt.shared=false") as keel:
        with Client(keel, "less") as c:
            assert (c.connack.props["max_qos"], c.connack.props["wildcard_available"], c.connack.props["shared_available"]) == (1, 0, 0), c.connack.props
            for filter, code in (("a", 1), ("a/+", 0xA2), ("a/#", 0xA2), ("$share/g/a", 0x9E), ("$share/g/#", 0x9E)):
                c.send(subscribe([(filter, 2)], 9))
                assert c.expect(SUBACK).codes == [code], filter
            c.publish("a", b"1", 1)
            assert c.message().qos == 1
            c.send(publish("a", b"2", 2, id=7))
            c.expect_closed(0x9B)
        with Client(keel, "will", open=False) as c:
            c.send(connect("will", will={"topic": "a", "payload": b"x", "qos": 2}))
            assert c.expect(CONNACK).reason == 0x9B
        with Client(keel, "old", version=4) as c:
            for filter, code in (("a", 1), ("a/+", 0x80), ("$share/g/a", 0x80)):
                c.send(subscribe([(filter, 2)], 9, version=4))
                assert c.expect(SUBACK).codes == [code], filter


def test_problem_information_may_be_turned_off(server):
    with Client(server, "quiet", props={"request_problem_info": 0}) as c:
        c.send(ack(PUBREL, 999))
        got = c.expect(PUBCOMP)
        assert got.reason == 0x92 and "reason_string" not in got.props
        c.send(subscribe([("details/#/wrong", 0)], id=3))
        got = c.recv()
        assert got is None or got.kind == DISCONNECT or "reason_string" not in got.props


def test_what_explains_never_breaks_the_size(server):
    """With a Maximum Packet Size that has no room for explanations every answer still comes, within it."""
    limit = 24
    with Client(server, "small", props={"max_packet_size": limit}) as c:
        c.send(ack(PUBREL, 999))
        c.send(subscribe([("details/s", 1)], id=5))
        c.send(unsubscribe(["details/none"], id=6))
        c.send(publish("details/s", b"x", 1, id=7))
        c.send(publish("details/s", b"y", 2, id=8))
        seen = set()
        while seen < {PUBCOMP, SUBACK, UNSUBACK, PUBACK, PUBREC, PUBLISH}:
            while True:
                size = len(c.buffer)
                packet = c._next()
                if packet is not None:
                    break
                c._fill(time.monotonic() + 5)
                assert not c.closed
            assert size - len(c.buffer) <= limit, packet
            seen.add(packet.kind)
        c.send(b"\x00\x00")
        while not c.closed:
            size = len(c.buffer)
            packet = c._next()
            if packet is None:
                c._fill(time.monotonic() + 5)
                continue
            assert size - len(c.buffer) <= limit, packet


def test_without_retain_nothing_is_retained():
    with Keel("--set", "mqtt.retain=false") as keel:
        with Client(keel, "r") as c:
            assert c.connack.props["retain_available"] == 0
            c.send(publish("x", b"y", 1, retain=True, id=1))
            c.expect_closed(0x9A)
        with Client(keel, "w", open=False) as c:
            c.send(connect("w", will={"topic": "x", "payload": b"y", "retain": True}))
            assert c.expect(CONNACK).reason == 0x9A


def test_dup_and_retain_of_a_publish_are_its_own(server):
    with Client(server, "own") as c:
        c.publish("details/own", b"kept", 1, retain=True)
        c.subscribe("details/own", 1)
        assert c.message().payload == b"kept"
        with Client(server, "own-pub") as pub:
            pub.send(publish("details/own", b"dup", 1, dup=True, id=77))
            got = c.message()
        assert got.payload == b"dup" and not got.dup and not got.retain
        c.publish("details/own", b"", 1)  # empty, but without RETAIN
        assert c.message().payload == b""
    with Client(server, "own-2") as c:
        c.subscribe("details/own", 1)
        assert c.message().payload == b"kept"
        c.publish("details/own", b"", 1, retain=True)


def test_filters_of_unsubscribe_are_checked(server):
    for bad in BAD_TEXT:
        refused(server, raw(0xA2, 0, 1, 0, text(bad)), MALFORMED | {0x8F})


def test_pings_are_answered(server):
    for version in (4, 5):
        with Client(server, "ping", version) as c:
            c.send(b"\xc0\x00" * 3)
            for _ in range(3):
                assert c.recv().kind == PINGRESP


def test_a_server_sends_no_session_expiry(server):
    with Client(server, "expiry", props={"session_expiry": 10}) as old:
        with Client(server, "expiry", props={"session_expiry": 0}):
            got = old.expect(DISCONNECT)
            assert got.reason == 0x8E and "session_expiry" not in got.props


def test_after_disconnect_nothing_is_heard(server):
    with Client(server, "listener") as w, Client(server, "talker") as c:
        w.subscribe("details/after", 0)
        c.send(publish("details/after", b"before") + disconnect(0) + publish("details/after", b"behind"))
        c.expect_closed()
        assert w.message().payload == b"before"
        assert not [p for p in w.until_ping() if p.kind == PUBLISH]


def test_auth_has_no_flags(server):
    refused(server, raw(0xF1, 0x18, 0))


def test_expiry_does_not_stop_an_exchange_that_began(server):
    with Client(server, "begun", clean=False, props={"session_expiry": 60}) as c, Client(server, "begun-pub") as pub:
        c.subscribe("details/begun", 2)
        pub.publish("details/begun", b"x", 2, props={"message_expiry": 1})
        first = c.expect(PUBLISH)
    time.sleep(1.5)  # the message expires: that is what is tested
    with Client(server, "begun", clean=False, props={"session_expiry": 60}) as c:
        again = c.expect(PUBLISH)
        assert (again.id, again.dup) == (first.id, True)
        c.send(ack(PUBREC, again.id))
        assert c.expect(PUBREL).id == first.id
        c.send(ack(PUBCOMP, again.id))
        assert not [p for p in c.until_ping() if p.kind == PUBLISH]
        c.disconnect(0, {"session_expiry": 0})


def test_a_refused_qos_2_publish_frees_its_identifier(server):
    with Client(server, "refused") as c:
        c.send(publish("$SYS/forbidden", b"x", 2, id=9))
        got = c.expect(PUBREC)
        assert got.reason >= 0x80
        c.subscribe("details/refused", 2)
        c.send(publish("details/refused", b"new", 2, id=9))
        got = [c.recv(), c.recv()]
        rec = next(p for p in got if p.kind == PUBREC)
        assert (rec.id, rec.reason) == (9, 0)
        c.send(ack(PUBREL, 9))
        assert next(p for p in got if p.kind == PUBLISH).payload == b"new"


def test_acknowledgements_come_in_order(server):
    with Client(server, "order", clean=False, props={"session_expiry": 60}) as stored:
        stored.subscribe("details/order/stored", 1)  # some of them wait for the disk, others do not
        with Client(server, "order-pub") as c:
            for qos, kind in ((1, PUBACK), (2, PUBREC)):
                ids = list(range(1, 200))
                c.send(b"".join(publish("details/order/stored" if n % 3 == 0 else "details/order/none", b"x", qos, id=n) for n in ids))
                assert [c.expect(kind).id for _ in ids] == ids
                if qos == 2:
                    c.send(b"".join(ack(PUBREL, n) for n in ids))
                    assert [c.expect(PUBCOMP).id for _ in ids] == ids
        stored.disconnect(0, {"session_expiry": 0})


def test_topics_may_be_as_long_as_text_may_be(server):
    topic = "details/" + "l" * (65535 - 8)
    with Client(server, "long") as c:
        c.subscribe(topic, 1)
        c.publish(topic, b"x", 1)
        assert c.message().topic == topic


def test_topics_are_compared_as_bytes(server):
    with Client(server, "bytes-of-topics") as c:
        c.subscribe("details/caf\u00e9", 0)
        for other in ("details/cafe\u0301", "details/CAF\u00c9", "details/caf\u00e9/", "/details/caf\u00e9", "details//caf\u00e9"):
            c.publish(other, b"other")
        c.publish("details/caf\u00e9", b"same")
        assert c.message().payload == b"same"


def test_a_member_that_refuses_ends_it(server):
    with Client(server, "m1") as a, Client(server, "m2") as b, Client(server, "m-pub") as pub:
        a.subscribe("$share/details/m", 1), b.subscribe("$share/details/m", 1)
        for _ in range(4):
            pub.publish("m", b"x", 1)
        taken = 0
        for c in (a, b):
            for p in c.until_ping():
                if p.kind == PUBLISH:
                    taken += 1
                    c.send(ack(PUBACK, p.id, 0x80))
        assert taken == 4
        a.settle(), b.settle()
        a.disconnect()
        assert not [p for p in b.until_ping() if p.kind == PUBLISH], "what was refused went to another member"
