"""MQTT 3.1.1, statement by statement (statements-3.1.1.txt says which is which), and what MQTT 3.1 does differently."""
import time

from harness import Keel
from rawmqtt import *

REFUSED_LEVEL, REFUSED_ID = 1, 2
BAD_TEXT = (b"\xed\xa0\x80", b"a\0b", b"\xc0\xaf", b"\xff", b"a\xe2\x82", b"\xf5\x80\x80\x80")


def raw(first, *parts):
    data = b"".join(bytes([p]) if isinstance(p, int) else p for p in parts)
    return bytes([first]) + varint(len(data)) + data


def three(server, client_id, **more):
    return Client(server, client_id, 4, **more)


def stored(server, client_id, **more):
    return three(server, client_id, clean=False, **more)


def forget(server, *client_ids):
    for client_id in client_ids:
        three(server, client_id).disconnect()


def all_closed(server, table, client_id):
    """Each of the byte strings ends a good connection without a word; nothing of them is heard by others."""
    wrong = []
    with three(server, f"{client_id}-witness") as witness:
        witness.subscribe("#", 0)
        for name, data in table:
            with three(server, client_id, timeout=5) as c:
                c.send(data)
                try:
                    got = c.recv()
                    assert got is None, f"got {got}"
                except AssertionError as failure:
                    wrong.append(f"{name}: {failure}")
        assert witness.until_ping() == []
    assert not wrong, f"{len(wrong)} of {len(table)}:\n       " + "\n       ".join(wrong)


# ---- 1 and 2: data and headers


def test_text_that_is_not_utf8_ends_the_connection(server):
    table = []
    for bad in BAD_TEXT:
        table += [(f"topic {bad}", raw(0x30, text(bad))), (f"filter {bad}", raw(0x82, 0, 1, text(bad), 0)),
                  (f"filter to leave {bad}", raw(0xA2, 0, 1, text(bad)))]
    all_closed(server, table, "three-text")
    head = text("MQTT") + b"\x04"
    for bad in BAD_TEXT:
        for flags, fields in ((0x02, text(bad)), (0x06, text("i") + text(bad) + text("p")), (0x82, text("i") + text(bad))):
            with Client(server, open=False, version=4) as c:
                c.send(raw(0x10, head, flags, 0, 0, fields))
                got = c.recv()
                assert got is None or got.reason == REFUSED_ID and flags == 2, (bad, flags, got)
                c.expect_closed()


def test_a_byte_order_mark_is_a_character(server):
    with three(server, "three-bom") as c:
        c.subscribe("three/\ufeffbom", 1)
        c.publish("three/bom", b"without", 1)
        c.publish("three/\ufeffbom", b"with", 1)
        got = c.message()
        assert (got.topic, got.payload) == ("three/\ufeffbom", b"with")


def test_wrong_flags_end_the_connection(server):
    bodies = {PUBACK: b"\0\1", PUBREC: b"\0\1", PUBREL: b"\0\1", PUBCOMP: b"\0\1", SUBSCRIBE: b"\0\1\0\1t\0", UNSUBSCRIBE: b"\0\1\0\1t",
              PINGREQ: b"", DISCONNECT: b""}
    right = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}
    all_closed(server, [(f"{NAMES[kind]} with flags {flags}", packet(kind, flags, body)) for kind, body in bodies.items() for flags in range(16)
                        if flags != right.get(kind, 0)], "three-flags")


def test_packets_that_are_wrong_end_the_connection(server):
    all_closed(server, [
        ("packet type 0", b"\x00\x00"), ("packet type 15", b"\xf0\x00"), ("CONNACK", raw(0x20, 0, 0)), ("SUBACK", raw(0x90, 0, 1, 0)),
        ("UNSUBACK", raw(0xB0, 0, 1)), ("PINGRESP", b"\xD0\x00"), ("a second CONNECT", connect("three-wrong", 4)),
        ("a length of five bytes", b"\x30\xff\xff\xff\xff\x01"), ("QoS 3", raw(0x36, text("t"), 0, 1)), ("DUP with QoS 0", raw(0x38, text("t"))),
        ("PUBLISH with identifier 0", raw(0x32, text("t"), 0, 0)), ("PUBLISH without its identifier", raw(0x32, text("t"))),
        ("an empty topic", raw(0x30, 0, 0)), ("no topic", raw(0x30)), ("a topic longer than its packet", raw(0x30, 0, 9, b"t")),
        ("a topic with +", raw(0x30, text("a/+/b"))), ("a topic with #", raw(0x30, text("a/#"))),
        ("SUBSCRIBE with identifier 0", raw(0x82, 0, 0, text("t"), 0)), ("SUBSCRIBE without filters", raw(0x82, 0, 1)),
        ("SUBSCRIBE with QoS 3", raw(0x82, 0, 1, text("t"), 3)), ("SUBSCRIBE without QoS", raw(0x82, 0, 1, text("t"))),
        *((f"SUBSCRIBE with reserved bit {bit}", raw(0x82, 0, 1, text("t"), 1 << bit)) for bit in range(2, 8)),
        ("SUBSCRIBE of which the second is wrong", raw(0x82, 0, 1, text("t"), 0, text("u"), 3)),
        *((f"a filter {name}", raw(0x82, 0, 1, text(name), 0)) for name in ("", "a/#/b", "a#", "#a", "a+", "+a/b", "a/b+")),
        ("UNSUBSCRIBE with identifier 0", raw(0xA2, 0, 0, text("t"))), ("UNSUBSCRIBE without filters", raw(0xA2, 0, 1)),
        ("UNSUBSCRIBE of an empty filter", raw(0xA2, 0, 1, text(""))), ("UNSUBSCRIBE with something behind", raw(0xA2, 0, 1, text("t"), 0)),
        ("PUBACK that is too short", raw(0x40, 0)), ("PUBACK that is too long", raw(0x40, 0, 1, 0)), ("PUBREL of 5.0", raw(0x62, 0, 1, 0, 0)),
        ("PINGREQ with a body", raw(0xC0, 0)), ("DISCONNECT of 5.0", raw(0xE0, 0)),
    ], "three-wrong")


def test_identifiers_of_deliveries_are_free_ones_and_free_again(server):
    with three(server, "three-free") as c, three(server, "three-free-pub") as pub:
        c.subscribe("three/free", 2)
        for n in range(60):
            pub.publish("three/free", b"%d" % n, 1 + n % 2)
        got, more = [], []
        while len(got) < 20:  # a client of 3.1.1 has no Receive Maximum; ours is 20 at least
            got.append(c.expect(PUBLISH))
        ids = [p.id for p in got]
        assert len(set(ids)) == len(ids) and 0 not in ids and not any(p.dup for p in got)
        for p in got:
            if p.qos == 1:
                c.send(ack(PUBACK, p.id))
            else:
                c.send(ack(PUBREC, p.id))
        released = {p.id for p in got if p.qos == 2}
        while released or len(more) < 40:
            p = c.recv()
            if p.kind == PUBREL:
                released.discard(p.id)
                c.send(ack(PUBCOMP, p.id))
            else:
                more.append(p)
                c.send(ack(PUBACK if p.qos == 1 else PUBREC, p.id))
                if p.qos == 2:
                    released.add(p.id)
        assert [int(p.payload) for p in got + more] == list(range(60))


# ---- CONNECT and CONNACK


def test_connects_that_are_wrong(server):
    """(what, the whole packet, the return code or None: closed without a word)"""
    head, name = text("MQTT") + b"\x04", text("three-connect")
    table = [
        ("another level", raw(0x10, text("MQTT"), 3, 2, 0, 0, name), REFUSED_LEVEL), ("level 0", raw(0x10, text("MQTT"), 0, 2, 0, 0, name), REFUSED_LEVEL),
        ("level 2 of MQIsdp", raw(0x10, text("MQIsdp"), 2, 2, 0, 0, name), REFUSED_LEVEL),
        ("level 4 of MQIsdp", raw(0x10, text("MQIsdp"), 4, 2, 0, 0, name), REFUSED_LEVEL),
        ("another name", raw(0x10, text("mqtt"), 4, 2, 0, 0, name), None), ("flags of the header", raw(0x11, head, 2, 0, 0, name), None),
        ("the reserved flag", raw(0x10, head, 3, 0, 0, name), None), ("will QoS 1 without a will", raw(0x10, head, 0x0A, 0, 0, name), None),
        ("will QoS 2 without a will", raw(0x10, head, 0x12, 0, 0, name), None), ("will retain without a will", raw(0x10, head, 0x22, 0, 0, name), None),
        ("will QoS 3", raw(0x10, head, 0x1E, 0, 0, name, text("t"), text("p")), None), ("no will where its flag is", raw(0x10, head, 6, 0, 0, name), None),
        ("a will topic alone", raw(0x10, head, 6, 0, 0, name, text("t")), None), ("a will where no flag is", raw(0x10, head, 2, 0, 0, name, text("t"), text("p")), None),
        ("an empty will topic", raw(0x10, head, 6, 0, 0, name, text(""), text("p")), None),
        ("a will to a wildcard", raw(0x10, head, 6, 0, 0, name, text("a/#"), text("p")), None),
        ("no user name where its flag is", raw(0x10, head, 0x82, 0, 0, name), None), ("a user name where no flag is", raw(0x10, head, 2, 0, 0, name, text("u")), None),
        ("no password where its flag is", raw(0x10, head, 0xC2, 0, 0, name, text("u")), None),
        ("a password where no flag is", raw(0x10, head, 0x82, 0, 0, name, text("u"), text("p")), None),
        ("a password without user name", raw(0x10, head, 0x42, 0, 0, name, text("p")), None), ("no client identifier", raw(0x10, head, 2, 0, 0), None),
        ("an identifier longer than the packet", raw(0x10, head, 2, 0, 0, 0, 9, b"x"), None), ("an empty CONNECT", b"\x10\x00", None),
        ("no identifier and no clean session", raw(0x10, head, 0, 0, 0, 0, 0), REFUSED_ID),
    ]
    wrong = []
    with three(server, "three-connect-witness") as witness:
        witness.subscribe("three/behind", 0)
        for what, data, code in table:
            with Client(server, open=False, version=4, timeout=5) as c:
                c.send(data + publish("three/behind", b"not executed", version=4))
                try:
                    got = c.recv()
                    assert (None if got is None else got.reason) == code, f"got {got}"
                    if got is not None:
                        assert got.kind == CONNACK and got.body == bytes([0, code]), "Session Present of a refusal is 0"
                        assert c.recv() is None
                except AssertionError as failure:
                    wrong.append(f"{what}: {failure}")
        assert witness.until_ping() == []
    assert not wrong, f"{len(wrong)} of {len(table)}:\n       " + "\n       ".join(wrong)


def test_the_fields_of_a_connect_come_in_their_order(server):
    with three(server, "three-order-witness") as w:
        w.subscribe("three/order/will", 2)
        c = Client(server, open=False, version=4)
        c.send(raw(0x10, text("MQTT"), 4, 0xD6, 0, 0, text("three-order"), text("three/order/will"), text("w"), text("user"), text("password")))
        assert c.expect(CONNACK).body == b"\0\0"
        c.close()
        got = w.message()
        assert (got.topic, got.payload, got.qos, got.retain) == ("three/order/will", b"w", 2, False)


def test_client_identifiers(server):
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for name in ("x", letters[:23], letters[23:46], letters[39:], "a name/with + and #, long: " + "l" * 200, "Größe"):
        for _ in range(2):  # it names the same session again
            with stored(server, name) as c:
                c.until_ping()
        with stored(server, name) as c:
            assert c.connack.session_present == 1
        forget(server, name)
    with three(server, "") as one, three(server, "") as two:  # each gets one of its own, or the second would have ended the first
        for c in (one, two):
            c.subscribe("three/nameless", 1)
        one.publish("three/nameless", b"x", 1)
        assert one.message().payload == two.message().payload == b"x"


def test_a_stored_session_goes_on_and_a_clean_one_begins_anew(server):
    forget(server, "three-stored")
    with stored(server, "three-stored") as c:
        assert c.connack.body == b"\0\0"
        c.subscribe("three/stored", 2)
    with three(server, "three-stored-pub") as pub:
        for n in range(10):
            pub.publish("three/stored", b"%d" % n, 1 + n % 2)
    with stored(server, "three-stored") as c:
        assert c.connack.body == b"\1\0"
        assert [(int(m.payload), m.qos) for m in c.messages(10)] == [(n, 1 + n % 2) for n in range(10)]
    with three(server, "three-stored") as c:
        assert c.connack.body == b"\0\0"
        with three(server, "three-stored-pub") as pub:
            pub.publish("three/stored", b"not for a session that was discarded", 1)
        assert c.settle() == []
        c.subscribe("three/stored", 1)
    for make in (stored, three):  # neither is there anything of the clean one
        with make(server, "three-stored") as c:
            assert c.connack.body == b"\0\0" and c.settle() == []
    forget(server, "three-stored")


def test_retained_messages_outlive_the_session_that_sent_them(server):
    with three(server, "three-outlive") as c:
        c.publish("three/outlive", b"kept", 1, retain=True)
    for _ in range(2):
        with three(server, "three-outlive") as c:
            c.subscribe("three/outlive", 1)
            got = c.message()
            assert (got.payload, got.retain, got.qos) == (b"kept", True, 1)
    with three(server, "three-outlive") as c:
        c.publish("three/outlive", b"", 1, retain=True)


def test_the_will_is_published_once_unless_the_client_says_goodbye(server):
    with three(server, "three-will-witness") as w:
        w.subscribe("three/will/#", 2)
        for retain in (False, True):
            topic = f"three/will/{retain}"
            for qos in (0, 1, 2):
                will = {"topic": topic, "payload": b"lost", "qos": qos, "retain": retain}
                three(server, "three-will", will={**will, "payload": b"no"}).disconnect()
                three(server, "three-will").close()  # no Will Flag: no will
                stored(server, "three-will", will=will).close()
                got = w.message()
                assert (got.topic, got.payload, got.qos, got.retain) == (topic, b"lost", qos, False)
                with stored(server, "three-will") as c:  # it was published: the session has it no more
                    c.until_ping()
                forget(server, "three-will")
                assert w.until_ping() == []
            with three(server, "three-will-new") as new:
                new.subscribe(topic, 2)
                assert [(m.payload, m.retain) for m in new.settle()] == ([(b"lost", True)] if retain else [])
        w.publish("three/will/True", b"", 1, retain=True)


def test_a_client_that_is_there_already_is_disconnected(server):
    with stored(server, "three-over") as old:
        old.subscribe("three/over", 1)
        old.publish("three/over", b"one", 1)
        first = old.message(acknowledge=False)
        with stored(server, "three-over") as new:
            assert old.recv() is None, "3.1.1 has no DISCONNECT of a server"
            again = new.message()
            assert (again.payload, again.id, again.dup) == (b"one", first.id, True)
        with three(server, "three-over") as clean:  # CleanSession is looked at behind that
            assert clean.connack.session_present == 0


def test_keep_alive_ends_a_silent_client_and_no_other(server):
    with three(server, "three-silent-witness") as w:
        w.subscribe("three/silent", 1)
        began = time.monotonic()
        silent = three(server, "three-silent", keep_alive=1, will={"topic": "three/silent", "payload": b"x"})
        with three(server, "three-endless", keep_alive=0) as endless, three(server, "three-talks", keep_alive=1) as talks:
            while not (got := w.until_ping()):
                talks.send(publish("three/talks", b"x", version=4))
                time.sleep(0.05)  # what is waited for is the time itself
            assert 1.4 < time.monotonic() - began < 3.5 and got[0].payload == b"x"
            assert silent.recv() is None
            endless.until_ping(), talks.until_ping()


def test_the_first_packet_of_the_server_is_one_connack(server):
    forget(server, "three-first")
    with stored(server, "three-first") as c:
        c.subscribe("three/first", 1)
    with three(server, "three-first-pub") as pub:
        pub.publish("three/first", b"x", 1)
    c = Client(server, open=False, version=4)
    c.send(connect("three-first", 4, clean=False) + packet(PINGREQ, 0, b""))
    assert c.expect(CONNACK).body == b"\1\0"
    kinds = [c.recv().kind, c.recv().kind]
    assert sorted(kinds) == [PUBLISH, PINGRESP]
    assert CONNACK not in [p.kind for p in c.until_ping()]
    c.close()
    forget(server, "three-first")


# ---- PUBLISH and its answers


def test_a_duplicate_is_not_passed_on_as_one(server):
    with three(server, "three-dup-sub") as sub, three(server, "three-dup") as c:
        sub.subscribe("three/dup", 2)
        for qos, answer in ((1, PUBACK), (2, PUBREC)):
            c.send(publish("three/dup", b"x", qos, dup=True, id=5, version=4))
            assert c.expect(answer).body == b"\0\5"
            got = sub.message()
            assert (got.qos, got.dup, got.retain) == (qos, False, False)
        c.send(ack(PUBREL, 5))
        assert c.expect(PUBCOMP).body == b"\0\5"


def test_retained_messages_are_kept_replaced_shown_and_removed(server):
    with three(server, "three-retain") as c, three(server, "three-retain-live") as live:
        live.subscribe("three/retain", 2)

        def shown():
            with three(server, "three-retain-new") as new:
                new.subscribe("three/retain", 2)
                return [(m.payload, m.qos, m.retain) for m in new.settle()]
        for payload, qos in ((b"first", 1), (b"second", 2), (b"third", 0), (b"fourth", 1)):
            c.publish("three/retain", payload, qos, retain=True)
            got = live.message()
            assert (got.payload, got.qos, got.retain) == (payload, qos, False), "one that is subscribed already sees no RETAIN"
            if qos == 0:
                c.until_ping()
            assert shown() == [(payload, qos, True)]
        for payload in (b"other", b""):  # without RETAIN nothing that is retained changes
            c.publish("three/retain", payload, 1)
            assert live.message().payload == payload
        assert shown() == [(b"fourth", 1, True)]
        live.subscribe("three/retain", 1)  # the same filter again shows it again
        got = live.message()
        assert (got.payload, got.qos, got.retain) == (b"fourth", 1, True)
        c.publish("three/retain", b"", 1, retain=True)
        got = live.message()
        assert (got.payload, got.retain) == (b"", False), "what removes it is a message like others"
        assert shown() == []


def test_a_message_comes_at_the_highest_qos_of_what_matches(server):
    with three(server, "three-overlap") as c:
        c.subscribe("three/overlap/#", 0), c.subscribe("three/overlap/+", 2), c.subscribe("three/overlap/x", 1)
        for qos in (2, 1, 0):
            c.publish("three/overlap/x", b"%d" % qos, qos)
            got = [(m.payload, m.qos, m.topic) for m in [c.message()] + [p for p in c.settle() if p.kind == PUBLISH]]
            assert (b"%d" % qos, qos, "three/overlap/x") in got and len(got) <= 3, got


def test_packet_identifiers_before_and_behind_the_end_of_an_exchange(server):
    with three(server, "three-again-sub") as sub, three(server, "three-again") as c:
        sub.subscribe("three/again", 2)
        for n in range(2):  # behind PUBACK the same identifier is a new message, DUP or not
            c.send(publish("three/again", b"1-%d" % n, 1, dup=n == 1, id=7, version=4))
            assert c.expect(PUBACK).body == b"\0\7"
            assert sub.message().payload == b"1-%d" % n
        for n in range(2):
            for again in range(3):  # before PUBREL it is the same one
                c.send(publish("three/again", b"2-%d" % n, 2, dup=again > 0, id=7, version=4))
                assert c.expect(PUBREC).body == b"\0\7"
            c.send(ack(PUBREL, 7))
            assert c.expect(PUBCOMP).body == b"\0\7"
            assert sub.message().payload == b"2-%d" % n
        c.send(ack(PUBREL, 7))
        assert c.expect(PUBCOMP).body == b"\0\7", "a PUBREL is always answered"
        assert sub.until_ping() == []


def test_what_is_unacknowledged_comes_again_on_the_next_connection_and_only_then(server):
    forget(server, "three-resume")
    with stored(server, "three-resume") as c:
        c.subscribe("three/resume", 2)
        for n in range(6):
            c.publish("three/resume", b"%d" % n, 1 + n % 2)
        first = [c.expect(PUBLISH) for _ in range(6)]
        assert not any(p.dup for p in first)
        c.send(ack(PUBREC, first[1].id))
        c.expect(PUBREL, id=first[1].id)
        for _ in range(3):
            assert c.until_ping() == []
    for _ in range(2):
        with stored(server, "three-resume") as c:
            again = [c.recv() for _ in first]
            assert c.until_ping() == []
            assert [(p.kind, p.id) for p in again if p.kind == PUBREL] == [(PUBREL, first[1].id)], "the PUBLISH behind a PUBREL does not come again"
            rest = [p for p in again if p.kind == PUBLISH]
            assert [(p.payload, p.id, p.dup) for p in rest] == [(p.payload, p.id, True) for i, p in enumerate(first) if i != 1]
    with stored(server, "three-resume") as c:
        for p in [c.recv() for _ in first]:
            c.send(ack(PUBCOMP if p.kind == PUBREL else PUBACK if p.qos == 1 else PUBREC, p.id))
        released = [c.expect(PUBREL).id for _ in range(2)]
        assert released == [p.id for p in first[3::2]]
        c.send(b"".join(ack(PUBCOMP, id) for id in released))
        c.until_ping()
    with stored(server, "three-resume") as c:
        assert c.until_ping() == []
    forget(server, "three-resume")


def test_order_is_kept_per_topic_and_qos_live_and_stored(server):
    forget(server, "three-row")
    with stored(server, "three-row") as away:
        away.subscribe("three/row/#", 2)
    with three(server, "three-row-live") as live, three(server, "three-row-pub") as pub:
        live.subscribe("three/row/#", 2)
        for n in range(300):
            pub.publish(f"three/row/{n % 3}", b"%d" % n, n % 3)
        got = live.messages(300)
        for topic in range(3):
            assert [int(m.payload) for m in got if m.topic[-1] == str(topic)] == list(range(topic, 300, 3))
    with stored(server, "three-row") as back:
        kept = [n for n in range(300) if n % 3]
        got = [int(m.payload) for m in back.messages(len(kept))]
        for topic in (1, 2):
            assert [n for n in got if n % 3 == topic] == list(range(topic, 300, 3))
    forget(server, "three-row")


def test_acknowledgements_come_in_the_order_of_what_they_acknowledge(server):
    with three(server, "three-acks") as c:
        ids = list(range(1, 101))
        c.send(b"".join(publish("three/acks", b"x", 1, id=n, version=4) for n in ids))
        assert [c.expect(PUBACK).id for _ in ids] == ids
        c.send(b"".join(publish("three/acks", b"x", 2, id=n, version=4) for n in ids))
        assert [c.expect(PUBREC).id for _ in ids] == ids
        c.send(b"".join(ack(PUBREL, n) for n in ids))
        assert [c.expect(PUBCOMP).id for _ in ids] == ids


# ---- SUBSCRIBE to PINGREQ


def test_subscribe_is_answered_filter_by_filter(server):
    with three(server, "three-sub") as c:
        c.send(subscribe([("three/sub/a", 2), ("three/sub/b", 0), ("three/sub/+/c", 1), ("three/sub/a", 1)], 0x1234, version=4))
        assert c.expect(SUBACK).body == b"\x12\x34\2\0\1\1"
        c.publish("three/sub/a", b"x", 2)
        assert c.message().qos == 1, "the last one of the same filter holds"
        assert c.settle() == []


def test_unsubscribe_ends_what_is_the_same_byte_by_byte(server):
    with three(server, "three-un") as c:
        c.subscribe(["three/un/+", "three/un/a", "three/un/b"], 1)
        c.send(unsubscribe(["three/un/#", "three/un/c", "Three/un/a", "three/un/+"], 0x4321, version=4))
        assert c.expect(UNSUBACK).body == b"\x43\x21", "also where nothing ended"
        c.publish("three/un/c", b"none", 1), c.publish("three/un/a", b"a", 1)
        assert c.message().payload == b"a"
        c.send(unsubscribe(["three/un/a", "three/un/b"], 9, version=4))
        assert c.expect(UNSUBACK).body == b"\0\x09"
        c.publish("three/un/a", b"none", 1), c.publish("three/un/b", b"none", 1)
        assert c.settle() == []


def test_what_was_begun_is_finished_behind_unsubscribe(server):
    with three(server, "three-begun") as c:
        c.subscribe("three/begun", 2)
        c.publish("three/begun", b"one", 1), c.publish("three/begun", b"two", 2)
        one, two = c.expect(PUBLISH), c.expect(PUBLISH)
        c.unsubscribe("three/begun")
        c.publish("three/begun", b"three", 2)
        c.send(ack(PUBACK, one.id) + ack(PUBREC, two.id))
        c.expect(PUBREL, id=two.id)
        c.send(ack(PUBCOMP, two.id))
        assert c.settle() == []


def test_wildcards_match_as_written(server):
    table = [("three/w/+", "three/w/a", True), ("three/w/+", "three/w", False), ("three/w/+", "three/w/", True), ("three/w/+", "three/w/a/b", False),
             ("three/w/#", "three/w", True), ("three/w/#", "three/w/a/b", True), ("+/w2", "/w2", True), ("+/+", "/w3", True), ("/+", "/w4", True),
             ("+", "/w5", False), ("#", "three/w6", True), ("#", "$three/w7", False), ("+/w8", "$three/w8", False), ("$three/#", "$three/w9", True),
             ("three/caf\u00e9", "three/cafe\u0301", False), ("three/A", "three/a", False)]
    with three(server, "three-wild") as c:
        for filter, topic, matches in table:
            c.subscribe(filter, 1)
            c.publish(topic, b"x", 1)
            got = [m.topic for m in c.settle() if m.kind == PUBLISH and m.topic == topic]
            assert got == ([topic] if matches else []), (filter, topic, got)
            c.unsubscribe(filter)


def test_topics_may_be_as_long_as_text_may_be(server):
    with three(server, "three-long") as c:
        for topic in ("three/" + "l" * (65535 - 6), "x"):
            c.subscribe(topic, 1)
            c.publish(topic, b"x", 1)
            assert c.message().topic == topic


def test_pings_are_answered(server):
    with three(server, "three-ping") as c:
        c.send(b"\xc0\x00" * 3)
        for _ in range(3):
            got = c.recv()
            assert (got.kind, got.flags, got.body) == (PINGRESP, 0, b"")


def test_nothing_is_heard_behind_disconnect(server):
    with three(server, "three-bye-witness") as w, three(server, "three-bye", will={"topic": "three/bye", "payload": b"will"}) as c:
        w.subscribe("three/bye", 0)
        c.send(disconnect(version=4) + publish("three/bye", b"behind", version=4))
        assert c.recv() is None
        assert w.settle() == []


def test_what_cannot_be_done_now_ends_the_connection():
    """An acknowledgement of 3.1.1 can only mean yes."""
    with Keel("--set", "segstore.delayed_max=1", "--set", "segstore.stripes=1", "--shards", "1") as keel, three(keel, "three-quota") as c:
        c.publish("$delayed/1000/x", b"one", 1)
        for _ in range(3):  # at the bound itself one more is taken
            c.send(publish("$delayed/1000/x", b"one too many", 1, id=7, version=4))
        while (got := c.recv()) is not None:
            assert got.kind == PUBACK


# ---- MQTT 3.1


def old(server, client_id, **more):
    return Client(server, client_id, 3, name="MQIsdp", **more)


def test_mqtt_3_1_works_in_every_qos(server):
    with old(server, "31-sub") as sub, old(server, "31-pub") as pub:
        for qos in (0, 1, 2):
            assert sub.subscribe(f"31/{qos}", qos) == [qos]
            pub.publish(f"31/{qos}", b"x", qos)
            got = sub.message()
            assert (got.qos, got.payload, got.retain) == (qos, b"x", False)
        sub.unsubscribe("31/0")


def test_mqtt_3_1_has_a_dup_flag_in_more_packets(server):
    with old(server, "31-dup") as c:
        c.send(b"\x8a" + subscribe([("31/dup", 1)], 3, version=3)[1:])
        c.expect(SUBACK, id=3)
        c.send(publish("31/dup", b"x", 2, id=4, version=3))
        got = [c.recv(), c.recv()]
        assert {p.kind for p in got} == {PUBREC, PUBLISH}
        c.send(b"\x6a" + ack(PUBREL, 4)[1:])
        c.expect(PUBCOMP, id=4)
        c.send(b"\xaa" + unsubscribe(["31/dup"], 5, version=3)[1:])
        c.expect(UNSUBACK, id=5)
    for data in (b"\x8a" + subscribe([("31/dup", 1)], 3, version=4)[1:], b"\x6a" + ack(PUBREL, 4)[1:]):
        with three(server, "311-dup") as c:
            c.send(data)
            assert c.recv() is None


def test_mqtt_3_1_wants_a_client_identifier_and_long_ones_are_taken(server):
    for clean in (True, False):
        with Client(server, open=False, version=3) as c:
            c.send(connect("", 3, clean=clean, name="MQIsdp"))
            assert c.expect(CONNACK).body == bytes([0, REFUSED_ID])
            assert c.recv() is None
    for size in (1, 23, 24, 200):  # more than 23 characters may be refused; nobody is helped by that
        old(server, "i" * size).close()


def test_mqtt_3_1_knows_no_session_present(server):
    for _ in range(2):
        with old(server, "31-present", clean=False) as c:
            assert c.connack.body == b"\0\0"
            c.subscribe("31/present", 1)
    with three(server, "31-present-pub") as pub:
        pub.publish("31/present", b"x", 1)
    with old(server, "31-present", clean=False) as c:
        assert c.message().payload == b"x"
    old(server, "31-present").disconnect()


def test_mqtt_3_1_may_leave_out_the_user_name_that_its_flag_announces(server):
    for flags in (0x82, 0xC2):
        with Client(server, open=False, version=3) as c:
            c.send(raw(0x10, text("MQIsdp"), 3, flags, 0, 0, text("31-user")))
            assert c.expect(CONNACK).reason == 0
    with Client(server, open=False, version=3) as c:
        c.send(raw(0x10, text("MQIsdp"), 3, 0x82, 0, 0, text("31-user"), 0, 9, b"cut"))
        assert c.recv() is None


def test_mqtt_3_1_has_unused_bits_in_connect(server):
    for first, flags in ((0x10, 0x03), (0x14, 0x02), (0x1F, 0x03)):
        with Client(server, open=False, version=3) as c:
            c.send(raw(first, text("MQIsdp"), 3, flags, 0, 0, text("31-unused")))
            assert c.expect(CONNACK).reason == 0
