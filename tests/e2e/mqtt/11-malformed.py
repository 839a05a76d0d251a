"""Packets that are wrong, byte by byte: each ends its connection with the standard's reason, and nobody else notices. [MQTT-4.13]"""
from rawmqtt import *

MALFORMED, PROTOCOL = 0x81, 0x82
EITHER = {0x81, 0x82}


def raw(first, *body):
    data = b"".join(bytes([b]) if isinstance(b, int) else b for b in body)
    return bytes([first]) + varint(len(data)) + data


TOPIC = text("t")

# name, bytes after a good CONNECT, reasons allowed
AFTER_CONNECT = [
    ("packet type 0", b"\x00\x00", EITHER),
    ("CONNACK from a client", raw(0x20, 0, 0, 0), EITHER),
    ("SUBACK from a client", raw(0x90, 0, 1, 0, 0), EITHER),
    ("UNSUBACK from a client", raw(0xB0, 0, 1, 0, 0), EITHER),
    ("PINGRESP from a client", b"\xD0\x00", EITHER),
    ("PINGREQ with reserved bits", b"\xC1\x00", EITHER),
    ("PINGREQ with a body", b"\xC0\x01\x00", EITHER),
    ("remaining length of five bytes", b"\x30\xff\xff\xff\xff\x01", EITHER),
    ("remaining length that is not the shortest", b"\xC0\x80\x00", EITHER),
    ("PUBLISH with QoS 3", raw(0x36, TOPIC, 0, 1, 0), EITHER),
    ("PUBLISH with DUP and QoS 0", raw(0x38, TOPIC, 0), EITHER),
    ("PUBLISH with packet id 0", raw(0x32, TOPIC, 0, 0, 0), EITHER),
    ("PUBLISH without a packet id", raw(0x32, TOPIC), EITHER),
    ("PUBLISH with a topic longer than the packet", raw(0x30, 0, 9, b"t"), EITHER),
    ("PUBLISH with an empty topic and no alias", raw(0x30, 0, 0, 0), EITHER),
    ("PUBLISH to a wildcard +", raw(0x30, text("a/+"), 0), EITHER | {0x90}),
    ("PUBLISH to a wildcard #", raw(0x30, text("#"), 0), EITHER | {0x90}),
    ("PUBLISH with U+0000 in the topic", raw(0x30, text("a\0b"), 0), EITHER | {0x90}),
    ("PUBLISH with a surrogate in the topic", raw(0x30, text(b"a\xed\xa0\x80"), 0), EITHER | {0x90}),
    ("PUBLISH with an overlong character in the topic", raw(0x30, text(b"a\xc0\xaf"), 0), EITHER | {0x90}),
    ("PUBLISH with a cut character in the topic", raw(0x30, text(b"a\xe2\x82"), 0), EITHER | {0x90}),
    ("PUBLISH with properties longer than the packet", raw(0x30, TOPIC, 5, 1, 1), EITHER),
    ("PUBLISH with an unknown property", raw(0x30, TOPIC, 2, 0x7F, 0), EITHER),
    ("PUBLISH with a property of CONNECT", raw(0x30, TOPIC, 5, 0x11, 0, 0, 0, 1), EITHER),
    ("PUBLISH with a property twice", raw(0x30, TOPIC, 4, 1, 0, 1, 0), EITHER),
    ("PUBLISH with payload format 2", raw(0x30, TOPIC, 2, 1, 2), EITHER),
    ("PUBLISH with a subscription id", raw(0x30, TOPIC, 2, 0x0B, 1), EITHER),
    ("PUBLISH with a wildcard in the response topic", raw(0x30, TOPIC, 6, 8, text("a/#")), EITHER | {0x90}),
    ("PUBLISH with a property length that is not the shortest", raw(0x30, TOPIC, 0x80, 0x00), EITHER),
    ("PUBACK with reserved bits", raw(0x42, 0, 1), EITHER),
    ("PUBACK without an id", raw(0x40, 0), EITHER),
    ("PUBREL without its bits", raw(0x60, 0, 1), EITHER),
    ("SUBSCRIBE without its bits", raw(0x80, 0, 1, 0, TOPIC, 0), EITHER),
    ("SUBSCRIBE without filters", raw(0x82, 0, 1, 0), EITHER),
    ("SUBSCRIBE with packet id 0", raw(0x82, 0, 0, 0, TOPIC, 0), EITHER),
    ("SUBSCRIBE with QoS 3", raw(0x82, 0, 1, 0, TOPIC, 3), EITHER),
    ("SUBSCRIBE with reserved option bits", raw(0x82, 0, 1, 0, TOPIC, 0x40), EITHER),
    ("SUBSCRIBE with retain handling 3", raw(0x82, 0, 1, 0, TOPIC, 0x30), EITHER),
    ("SUBSCRIBE with subscription id 0", raw(0x82, 0, 1, 2, 0x0B, 0, TOPIC, 0), EITHER),
    ("SUBSCRIBE with two subscription ids", raw(0x82, 0, 1, 4, 0x0B, 1, 0x0B, 2, TOPIC, 0), EITHER),
    ("SUBSCRIBE without options", raw(0x82, 0, 1, 0, TOPIC), EITHER),
    ("UNSUBSCRIBE without its bits", raw(0xA0, 0, 1, 0, TOPIC), EITHER),
    ("UNSUBSCRIBE without filters", raw(0xA2, 0, 1, 0), EITHER),
    ("DISCONNECT with reserved bits", b"\xE1\x00", EITHER),
    ("DISCONNECT with a server's property", raw(0xE0, 0, 4, 0x1C, 0, 1, b"s"), EITHER),
    ("AUTH without a method", b"\xF0\x00", EITHER),
]

C = text("MQTT") + b"\x05"
ID = text("malformed")

# name, a whole first packet, reasons allowed in CONNACK (a close without a word is allowed too)
FIRST = [
    ("reserved connect flag", raw(0x10, C, 3, 0, 0, 0, ID), EITHER),
    ("reserved bits of CONNECT", raw(0x11, C, 2, 0, 0, 0, ID), EITHER),
    ("will QoS without a will", raw(0x10, C, 0x0A, 0, 0, 0, ID), EITHER),
    ("will retain without a will", raw(0x10, C, 0x22, 0, 0, 0, ID), EITHER),
    ("will QoS 3", raw(0x10, C, 0x1E, 0, 0, 0, ID, 0, TOPIC, text("p")), EITHER),
    ("will topic missing", raw(0x10, C, 0x06, 0, 0, 0, ID), EITHER),
    ("will topic with a wildcard", raw(0x10, C, 0x06, 0, 0, 0, ID, 0, text("a/#"), text("p")), EITHER | {0x90}),
    ("receive maximum 0", raw(0x10, C, 2, 0, 0, 3, 0x21, 0, 0, ID), EITHER),
    ("maximum packet size 0", raw(0x10, C, 2, 0, 0, 5, 0x27, 0, 0, 0, 0, ID), EITHER),
    ("request problem information 2", raw(0x10, C, 2, 0, 0, 2, 0x17, 2, ID), EITHER),
    ("session expiry twice", raw(0x10, C, 2, 0, 0, 10, 0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1, ID), EITHER),
    ("authentication data without a method", raw(0x10, C, 2, 0, 0, 4, 0x16, 0, 1, b"x", ID), EITHER),
    ("a property of PUBLISH", raw(0x10, C, 2, 0, 0, 3, 0x23, 0, 1, ID), EITHER),
    ("client id longer than the packet", raw(0x10, C, 2, 0, 0, 0, 0, 50, b"x"), EITHER),
    ("client id that is not UTF-8", raw(0x10, C, 2, 0, 0, 0, text(b"\xff\xfe")), EITHER | {0x85}),
    ("client id with U+0000", raw(0x10, C, 2, 0, 0, 0, text("a\0")), EITHER | {0x85}),
    ("user name missing", raw(0x10, C, 0x82, 0, 0, 0, ID), EITHER),
    ("bytes behind the end", raw(0x10, C, 2, 0, 0, 0, ID, b"more"), EITHER),
    ("an empty CONNECT", b"\x10\x00", EITHER),
    ("a request of another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", EITHER),
]


def test_after_a_good_connect_each_is_answered_with_its_reason(server):
    wrong = []
    with Client(server, "malformed-witness") as witness:
        witness.subscribe("#", 0)
        for name, data, reasons in AFTER_CONNECT:
            with Client(server, "malformed", timeout=3) as c:
                c.send(data)
                try:
                    c.expect_closed(reasons)
                except AssertionError as failure:
                    wrong.append(f"{name}: {failure}")
        got = witness.until_ping()
        assert not got, f"some were delivered: {got}"
    assert not wrong, f"{len(wrong)} of {len(AFTER_CONNECT)}:\n       " + "\n       ".join(wrong)


def test_as_a_first_packet_none_lets_in(server):
    wrong = []
    for name, data, reasons in FIRST:
        with Client(server, open=False, timeout=5) as c:
            c.send(data)
            try:
                got = c.recv()
                assert got is None or got.kind == CONNACK and got.reason in reasons, f"got {got}"
                c.expect_closed()
            except AssertionError as failure:
                wrong.append(f"{name}: {failure}")
    assert not wrong, f"{len(wrong)} of {len(FIRST)}:\n       " + "\n       ".join(wrong)


def test_version_4_is_closed_without_a_word(server):
    for data in (b"\x00\x00", raw(0x36, TOPIC, 0, 1), raw(0x82, 0, 1), raw(0x30, text("#"))):
        with Client(server, "malformed-4", 4) as c:
            c.send(data)
            assert c.recv() is None


def test_a_huge_first_length_takes_no_memory(server):
    clients = []
    for _ in range(50):
        c = Client(server, open=False)
        c.send(b"\x10\xff\xff\xff\x7f" + b"\0" * 10)
        clients.append(c)
    with Client(server, "malformed-alive") as c:
        c.until_ping()
    for c in clients:
        c.close()


def test_packets_cut_at_every_byte_and_a_close_do_no_harm(server):
    whole = connect("malformed-cut", 5, will={"topic": "malformed/w", "payload": b"w"}, props={"session_expiry": 0}) + \
        subscribe([("malformed/cut", 1)], 1) + publish("malformed/cut", b"hello", 2, id=1, props={"user": ("a", "b")})
    for size in range(1, len(whole), 3):
        with Client(server, open=False) as c:
            c.send(whole[:size])
    with Client(server, "malformed-alive") as c:
        c.until_ping()


def test_many_packets_in_one_segment_and_one_packet_over_many(server):
    with Client(server, "malformed-segments") as c:
        c.subscribe("malformed/segments", 1)
        c.send(b"".join(publish("malformed/segments", b"%d" % n, 1, id=n + 1) for n in range(100)))
        got = [c.recv() for _ in range(200)]
        assert [p.payload for p in got if p.kind == PUBLISH] == [b"%d" % n for n in range(100)]
        assert [p.id for p in got if p.kind == PUBACK] == list(range(1, 101))
        c.send(b"".join(ack(PUBACK, p.id) for p in got if p.kind == PUBLISH))
        for byte in publish("malformed/segments", b"slow", 1, id=300):
            c.send(bytes([byte]))
        got = [c.recv() for _ in range(2)]
        assert {p.kind for p in got} == {PUBLISH, PUBACK}
