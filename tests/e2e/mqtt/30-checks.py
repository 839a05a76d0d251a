"""What brokers are known to get wrong and the other files do not ask for; checks.txt says which check is proven where."""
import itertools
import pathlib
import socket
import threading
import time

import harness
from harness import Apart, Keel, await_true
from rawmqtt import *

MALFORMED, PROTOCOL = 0x81, 0x82
EITHER = {MALFORMED, PROTOCOL}
KEEP = {"session_expiry": 300}
BAD_TEXT = (b"\xed\xa0\x80", b"\xed\xbf\xbf", b"a\0b", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xff", b"a\xe2\x82", b"\xf5\x80\x80\x80")


def raw(first, *parts):
    data = b"".join(bytes([p]) if isinstance(p, int) else p for p in parts)
    return bytes([first]) + varint(len(data)) + data


def section(*pairs):
    """Properties as bytes, with their length in front."""
    data = b"".join(one_property(name, value) for name, value in pairs)
    return varint(len(data)) + data


def stored(server, client_id, **more):
    return Client(server, client_id, clean=False, props={**KEEP, **more.pop("props", {})}, **more)


def forget(server, *client_ids):
    for client_id in client_ids:
        Client(server, client_id).disconnect()


def every_one_is_refused(server, table):
    """table: (what, bytes behind a good CONNECT or the CONNECT itself, reasons allowed)"""
    wrong = []
    for what, data, reasons in table:
        first = data[:1] == b"\x10"
        with Client(server, "checks-refused", open=not first, timeout=5) as c:
            c.send(data)
            try:
                if first:
                    got = c.recv()
                    assert got is None or got.kind == CONNACK and got.reason in reasons, f"got {got}"
                    c.expect_closed()
                else:
                    c.expect_closed(reasons)
            except AssertionError as failure:
                wrong.append(f"{what}: {failure}")
    assert not wrong, f"{len(wrong)} of {len(table)}:\n       " + "\n       ".join(wrong)
    return f"{len(table)} packets"


# ---- parsing


def test_lengths_are_as_short_as_they_can_be(server):
    long_0 = b"\x80\x00"
    return every_one_is_refused(server, [
        ("CONNECT's remaining length", b"\x10\x90\x00" + connect("checks-x")[2:], EITHER),
        ("CONNECT's property length", raw(0x10, text("MQTT"), 5, 2, 0, 0, long_0, text("x")), EITHER),
        ("a will's property length", raw(0x10, text("MQTT"), 5, 6, 0, 0, 0, text("x"), long_0, text("t"), text("p")), EITHER),
        ("PINGREQ's remaining length", b"\xc0\x80\x00", EITHER), ("PUBLISH's property length", raw(0x30, text("t"), long_0), EITHER),
        ("SUBSCRIBE's property length", raw(0x82, 0, 1, long_0, text("t"), 0), EITHER),
        ("a subscription identifier", raw(0x82, 0, 1, 3, 0x0B, b"\x81\x00", text("t"), 0), EITHER),
        ("a subscription identifier of five bytes", raw(0x82, 0, 1, 6, 0x0B, b"\xff\xff\xff\xff\x01", text("t"), 0), EITHER),
        ("a property's own number", raw(0x30, text("t"), 3, b"\x81\x00", 0), EITHER),
        ("UNSUBSCRIBE's property length", raw(0xA2, 0, 1, long_0, text("t")), EITHER), ("DISCONNECT's property length", raw(0xE0, 0, long_0), EITHER),
        ("PUBACK's property length", raw(0x40, 0, 1, 0, long_0), EITHER),
    ])


def test_bad_text_is_refused_in_every_field(server):
    head, table = text("MQTT") + b"\x05", []
    for bad in BAD_TEXT:
        def will(props=b"\0", topic=text("t")):
            return raw(0x10, head, 6, 0, 0, 0, text("checks"), props, topic, text("p"))
        sections = {name: section((name, bad)) for name in ("content_type", "response_topic")}
        sections.update({"a name": section(("user", (bad, "v"))), "a value": section(("user", ("k", bad)))})
        table += [(f"client identifier {bad}", raw(0x10, head, 2, 0, 0, 0, text(bad)), EITHER | {0x85}),
                  (f"user name {bad}", raw(0x10, head, 0x82, 0, 0, 0, text("checks"), text(bad)), EITHER),
                  (f"will topic {bad}", will(topic=text(bad)), EITHER | {0x90}),
                  (f"method {bad}", raw(0x10, head, 2, 0, 0, section(("auth_method", bad)), text("checks")), EITHER),
                  (f"topic {bad}", raw(0x30, text(bad), 0), EITHER), (f"filter {bad}", raw(0x82, 0, 1, 0, text(bad), 0), EITHER),
                  (f"shared filter {bad}", raw(0x82, 0, 1, 0, text(b"$share/" + bad + b"/t"), 0), EITHER),
                  (f"filter to leave {bad}", raw(0xA2, 0, 1, 0, text(bad)), EITHER)]
        for what, props in sections.items():
            table += [(f"PUBLISH: {what} {bad}", raw(0x30, text("t"), props), EITHER), (f"will: {what} {bad}", will(props), EITHER)]
        for what in ("a name", "a value"):
            table += [(f"CONNECT: {what} {bad}", raw(0x10, head, 2, 0, 0, sections[what], text("checks")), EITHER),
                      (f"SUBSCRIBE: {what} {bad}", raw(0x82, 0, 1, sections[what], text("t"), 0), EITHER),
                      (f"UNSUBSCRIBE: {what} {bad}", raw(0xA2, 0, 1, sections[what], text("t")), EITHER)]
        table += [(f"PUBACK: reason {bad}", raw(0x40, 0, 1, 0, section(("reason_string", bad))), EITHER),
                  (f"DISCONNECT: reason {bad}", raw(0xE0, 0, section(("reason_string", bad))), EITHER)]
    return every_one_is_refused(server, table)


def test_every_wrong_flag_of_every_packet_ends_the_connection(server):
    bodies = {CONNACK: b"\0\0\0", PUBACK: b"\0\1", PUBREC: b"\0\1", PUBREL: b"\0\1", PUBCOMP: b"\0\1", SUBSCRIBE: b"\0\1\0\0\1t\0", SUBACK: b"\0\1\0\0",
              UNSUBSCRIBE: b"\0\1\0\0\1t", UNSUBACK: b"\0\1\0\0", PINGREQ: b"", PINGRESP: b"", DISCONNECT: b"", AUTH: b"\x19\0"}
    right = {PUBACK: 0, PUBREC: 0, PUBREL: 2, PUBCOMP: 0, SUBSCRIBE: 2, UNSUBSCRIBE: 2, PINGREQ: 0, DISCONNECT: 0}  # no other is a client's to send
    table = [(f"{NAMES[kind]} with flags {flags}", packet(kind, flags, body), EITHER) for kind, body in bodies.items() for flags in range(16)
             if right.get(kind) != flags]
    table += [(f"type 0 with flags {flags}", packet(0, flags, b""), EITHER) for flags in range(16)]
    return every_one_is_refused(server, table + [("PINGREQ with a body", packet(PINGREQ, 0, b"\0"), EITHER)])


def test_each_property_stands_in_its_packets_and_once(server):
    value = {"u8": 1, "u16": 1, "u32": 1, "var": 1, "str": "s", "bin": b"b", "pair": ("k", "v")}
    allowed = {
        "CONNECT": {"session_expiry", "receive_max", "max_packet_size", "topic_alias_max", "request_response_info", "request_problem_info", "auth_method",
                    "auth_data"},
        "will": {"will_delay", "payload_format", "message_expiry", "content_type", "response_topic", "correlation_data"},
        "PUBLISH": {"payload_format", "message_expiry", "content_type", "response_topic", "correlation_data", "topic_alias"},
        "SUBSCRIBE": {"subscription_id"}, "UNSUBSCRIBE": set(), "PUBACK": {"reason_string"}, "PUBREC": {"reason_string"}, "PUBREL": {"reason_string"},
        "PUBCOMP": {"reason_string"}, "DISCONNECT": {"session_expiry", "reason_string"}}
    head = text("MQTT") + b"\x05"
    make = {
        "CONNECT": lambda props: raw(0x10, head, 2, 0, 0, props, text("checks")),
        "will": lambda props: raw(0x10, head, 6, 0, 0, 0, text("checks"), props, text("t"), text("p")),
        "PUBLISH": lambda props: raw(0x30, text("t"), props), "SUBSCRIBE": lambda props: raw(0x82, 0, 1, props, text("t"), 0),
        "UNSUBSCRIBE": lambda props: raw(0xA2, 0, 1, props, text("t")), "PUBACK": lambda props: raw(0x40, 0, 1, 0, props),
        "PUBREC": lambda props: raw(0x50, 0, 1, 0, props), "PUBREL": lambda props: raw(0x62, 0, 1, 0, props),
        "PUBCOMP": lambda props: raw(0x70, 0, 1, 0, props), "DISCONNECT": lambda props: raw(0xE0, 0, props)}
    table = []
    for packet_name, build in make.items():
        for name, kind in PROPERTIES.values():
            if name in allowed[packet_name]:
                table.append((f"{packet_name}: {name} twice", build(section((name, value[kind]), (name, value[kind]))), {PROTOCOL}))
            elif name != "user":
                table.append((f"{packet_name}: {name}", build(section((name, value[kind]))), EITHER))
        for number in (0x00, 0x04, 0x2B, 0x7F):
            table.append((f"{packet_name}: unknown {number:#x}", build(bytes([2, number, 1])), EITHER))
    return every_one_is_refused(server, table)


def test_values_out_of_range_are_protocol_errors(server):
    head = text("MQTT") + b"\x05"
    table = [(f"CONNECT: {name} {value}", raw(0x10, head, 2, 0, 0, section((name, value)), text("checks")), {PROTOCOL}) for name, value in (
        ("receive_max", 0), ("max_packet_size", 0), ("request_problem_info", 2), ("request_response_info", 2))]
    table += [(f"PUBLISH: {name} {value!r}", raw(0x30, text("t"), section((name, value))), reasons) for name, value, reasons in (
        ("payload_format", 2, {PROTOCOL}), ("topic_alias", 0, {0x94}), ("response_topic", "", EITHER), ("response_topic", "a/+", EITHER),
        ("response_topic", "#", EITHER))]
    table += [(f"will: {name} {value!r}", raw(0x10, head, 6, 0, 0, 0, text("checks"), section((name, value)), text("t"), text("p")), EITHER)
              for name, value in (("payload_format", 2), ("response_topic", ""), ("response_topic", "a/#"))]
    table += [("subscription identifier 0", raw(0x82, 0, 1, section(("subscription_id", 0)), text("t"), 0), {PROTOCOL})]
    return every_one_is_refused(server, table)


def test_memory_is_taken_for_what_came_and_not_for_what_was_announced(server):
    broker = next(pid for name, pid in server.pids.items() if "broker" in name)

    def resident():
        return int(next(line for line in pathlib.Path(f"/proc/{broker}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1])
    before, clients = resident(), []
    for first in (b"\x10\xff\xff\xff\x7f", b"\x10\xff\xff\x7f"):
        for _ in range(50):
            c = Client(server, open=False)
            c.send(first + text("MQTT") + b"\x05\x02")
            clients.append(c)
    with Client(server, "checks-memory") as c:
        c.until_ping()
    assert resident() - before < 20 * 1024, f"{resident() - before} KiB"
    for c in clients:
        c.close()


def test_the_bit_of_bridges_in_the_protocol_level(server):
    for name, level in (("MQIsdp", 0x83), ("MQTT", 0x84)):
        with Client(server, open=False, version=4) as c:
            c.send(connect("checks-bridge", 4, name=name, level=level))
            assert c.expect(CONNACK).reason == 0
    for name, level in (("MQIsdp", 0x84), ("MQTT", 0x83), ("MQTT", 0x82)):
        with Client(server, open=False, version=4) as c:
            c.send(connect("checks-bridge", 4, name=name, level=level))
            got = c.recv()
            assert got is None or got.reason in (1, 0x84)


def test_a_connect_that_trickles_is_given_up_in_time():
    with Keel("--set", "mqtt.connect_timeout=1") as keel:
        began, whole = time.monotonic(), connect("checks-trickle", will={"topic": "t", "payload": b"p" * 200})
        with Client(keel, open=False) as c:
            for byte in whole:
                c.send(bytes([byte]))
                c.sock.settimeout(0.05)
                try:
                    if not c.sock.recv(100):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            assert 0.8 < time.monotonic() - began < 5


def test_a_connection_that_is_closed_on_one_side_is_over(server):
    with Client(server, "checks-half-witness") as w:
        w.subscribe("checks/half", 1)
        c = Client(server, "checks-half", will={"topic": "checks/half", "payload": b"gone"})
        c.sock.shutdown(socket.SHUT_WR)
        assert w.message().payload == b"gone"
        assert c.recv() is None
        c.close()


# ---- sessions


def test_a_storm_of_take_overs_loses_nothing_of_the_session(server):
    forget(server, "checks-storm")
    with stored(server, "checks-storm", props={"receive_max": 20}) as c, Client(server, "checks-storm-pub") as pub:
        c.subscribe("checks/storm", 1)
        for n in range(50):
            pub.publish("checks/storm", b"%d" % n, 1)
        for n in range(20):
            assert c.message(acknowledge=False).payload == b"%d" % n

        def take():
            with Client(server, "checks-storm", open=False) as mine:
                mine.send(connect("checks-storm", clean=False, props=KEEP))
                mine.recv()  # CONNACK, or the end
        threads = [threading.Thread(target=take) for _ in range(100)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        with stored(server, "checks-storm") as last:
            assert last.connack.session_present == 1
            got = last.messages(50)
            assert [m.payload for m in got] == [b"%d" % n for n in range(50)] and all(m.dup for m in got[:20])
            assert last.settle() == []
    forget(server, "checks-storm")


def test_the_end_of_a_session_is_a_moment_that_a_restart_does_not_move():
    with Keel() as keel:
        for client_id, expiry in (("checks-soon", 4), ("checks-never", 0xFFFFFFFF), ("checks-three", None)):
            with Client(keel, client_id, 5 if expiry else 4, clean=False, props={"session_expiry": expiry} if expiry else None) as c:
                c.subscribe(f"checks/{client_id}", 1)
        gone = time.monotonic()
        time.sleep(1.5)  # of the four seconds
        keel.restart()

        def ended():
            with Client(keel, "checks-pub") as pub:
                return pub.publish("checks/checks-soon", b"x", 1).reason == 0x10
        await_true(ended, "the session has ended", 15)
        assert 3.5 < time.monotonic() - gone < harness.patience(8)
        with Client(keel, "checks-soon", clean=False) as c:
            assert c.connack.session_present == 0
        for client_id, version in (("checks-never", 5), ("checks-three", 4)):
            with Client(keel, client_id, version, clean=False) as c:
                assert c.connack.session_present == 1


def test_client_identifiers_of_every_length(server):
    Client(server, "i" * 65535).close()
    for version, code in ((4, 2), (5, 0x85)):  # names in the store are as long as text may be, and have something in front
        with Client(server, open=False, version=version) as c:
            c.send(connect("i" * 65535, version, clean=False, props=KEEP))
            assert c.expect(CONNACK).reason == code
            c.expect_closed()
    for size in (1, 23, 24, 255, 65500):
        name = "i" * size
        with stored(server, name) as c:
            c.subscribe("checks/id", 1)
        with stored(server, name) as c:
            assert c.connack.session_present == 1
            c.publish("checks/id", b"x", 1)
            assert c.message().payload == b"x"
            c.disconnect(0, {"session_expiry": 0})


def test_acknowledgements_alone_keep_a_connection_alive(server):
    with Client(server, "checks-alive", keep_alive=1) as c, Client(server, "checks-alive-pub") as pub:
        c.subscribe("checks/alive", 1)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            pub.publish("checks/alive", b"x", 1)
            c.message()
            time.sleep(0.1)  # what is waited for is the time itself
        c.until_ping()


def test_the_quota_of_a_connection_is_its_own(server):
    forget(server, "checks-quota")
    with stored(server, "checks-quota", props={"receive_max": 5}) as c, Client(server, "checks-quota-pub") as pub:
        c.subscribe("checks/quota", 1)
        for n in range(30):
            pub.publish("checks/quota", b"%d" % n, 1)
        assert [c.expect(PUBLISH).payload for _ in range(5)] == [b"%d" % n for n in range(5)]
        assert c.until_ping() == []
    for most in (10, 2, 7):
        with stored(server, "checks-quota", props={"receive_max": most}) as c:
            got = [c.expect(PUBLISH) for _ in range(most)]
            assert [p.payload for p in got] == [b"%d" % n for n in range(most)]
            assert c.settle() == [], "at zero quota SUBACK and PINGRESP come, and no further message"
    with stored(server, "checks-quota", props={"receive_max": 3}) as c:
        assert [m.payload for m in c.messages(30)] == [b"%d" % n for n in range(30)]
    forget(server, "checks-quota")


# ---- PUBLISH


def test_another_message_under_an_identifier_that_is_in_use_is_none(server):
    with Client(server, "checks-reuse-sub") as sub:
        sub.subscribe("checks/reuse", 2)
        for version in (4, 5):
            with Client(server, f"checks-reuse-{version}", version) as c:
                for payload, dup in ((b"first", False), (b"second", False), (b"third", True)):
                    c.send(publish("checks/reuse", payload, 2, dup=dup, id=3, version=version))
                    assert c.expect(PUBREC, id=3).reason in (0, 0x91)
                c.send(ack(PUBREL, 3))
                c.expect(PUBCOMP, id=3)
                assert sub.message().payload == b"first"
        assert sub.settle() == []


def test_acknowledgements_of_nothing_harm_nobody(server):
    for version in (4, 5):
        with Client(server, f"checks-stray-{version}", version) as c:
            c.send(ack(PUBACK, 9) + ack(PUBCOMP, 9) + ack(PUBREC, 9))
            got = c.expect(PUBREL, id=9)
            assert version == 4 or got.reason == 0x92
            c.send(ack(PUBCOMP, 9))
            c.subscribe("checks/stray", 2)
            c.publish("checks/stray", b"alive", 2)
            assert c.message().payload == b"alive"
            assert c.until_ping() == []


def test_an_acknowledgement_of_the_wrong_kind_ends_the_connection(server):
    """It finishes nothing: the message comes again on the next connection."""
    for version, make in ((4, Client), (5, Client), (5, stored)):
        for qos, steps in ((1, (PUBREC,)), (1, (PUBCOMP,)), (2, (PUBACK,)), (2, (PUBCOMP,)), (2, (PUBREC, PUBACK))):
            more = {} if make is stored else {"version": version}
            with make(server, "checks-kind", **more) as c:
                c.subscribe("checks/kind", qos)
                c.publish("checks/kind", b"x", qos)
                got = c.expect(PUBLISH)
                for step in steps:
                    c.send(ack(step, got.id))
                    if step != steps[-1]:
                        c.expect(PUBREL, id=got.id)
                c.expect_closed(PROTOCOL if version == 5 else None)
            if make is stored:
                with stored(server, "checks-kind") as c:
                    again = c.recv()
                    assert again.id == got.id and again.kind == (PUBREL if len(steps) == 2 else PUBLISH), again
                    c.disconnect(0, {"session_expiry": 0})


def test_what_was_published_before_a_subscription_is_not_live_for_it(server):
    """The packets of a client count in their order, whatever waits for the disk."""
    for make in (Client, stored):
        forget(server, "checks-before")
        with make(server, "checks-before") as c:
            c.send(b"".join(publish(f"checks/before/{qos}", b"kept", qos, retain=True, id=qos + 1) for qos in (0, 1, 2))
                   + subscribe([("checks/before/+", 2)], 9) + publish("checks/before/live", b"live", 0))
            wanted = {"0": True, "1": True, "2": True}
            if make is Client:  # one that is stored is there once it is recorded
                wanted["live"] = False
            got = []
            while len(got) < len(wanted):
                p = c.recv()
                got += [(p.topic[14:], p.retain)] if p.kind == PUBLISH else []
            assert dict(got) == wanted, got
            assert [p for p in c.settle() if p.kind == PUBLISH] == []
            for qos in (0, 1, 2):
                c.send(publish(f"checks/before/{qos}", b"", 0, retain=True))
        forget(server, "checks-before")


def test_subscribe_and_unsubscribe_in_one_breath(server):
    for make in (Client, stored):
        forget(server, "checks-breath")
        with make(server, "checks-breath") as c:
            c.send(subscribe([("checks/breath", 1)], 1) + unsubscribe(["checks/breath"], 2) + unsubscribe(["checks/breath"], 3))
            assert {p.id: p.codes for p in (c.recv(), c.recv(), c.recv())} == {1: [1], 2: [0], 3: [0x11]}
            c.publish("checks/breath", b"x", 1)
            assert c.settle() == []
            c.send(subscribe([("checks/breath", 1)], 1) + unsubscribe(["checks/breath"], 2) + subscribe([("checks/breath", 2)], 3))
            assert {p.id: p.codes for p in (c.recv(), c.recv(), c.recv())} == {1: [1], 2: [0], 3: [2]}
            c.publish("checks/breath", b"x", 2)
            assert c.message().qos == 2
        forget(server, "checks-breath")


def test_every_form_of_a_puback_counts(server):
    with Client(server, "checks-forms", props={"receive_max": 1}) as c:
        c.subscribe("checks/forms", 1)
        forms = (lambda i: raw(0x40, i), lambda i: raw(0x40, i, 0), lambda i: raw(0x40, i, 0, 0), lambda i: raw(0x40, i, 0x10), lambda i: raw(0x40, i, 0x87, 0),
                 lambda i: raw(0x40, i, 0, section(("reason_string", "because"), ("user", ("a", "b")), ("user", ("a", "c")))))
        for n, form in enumerate(forms + (forms[0],)):
            c.publish("checks/forms", b"%d" % n, 1)
        for n, form in enumerate(forms):
            got = c.expect(PUBLISH)
            assert got.payload == b"%d" % n
            c.send(form(struct.pack(">H", got.id)))
        assert c.message().payload == b"%d" % len(forms)


def test_identifiers_go_round_past_those_that_are_not_acknowledged(server):
    """More messages than there are identifiers, while some stay unacknowledged for long."""
    total, batch, hold = 66000, 200, 22000
    forget(server, "checks-round")
    with Client(server, "checks-round-live", props={"receive_max": 400}) as live, stored(server, "checks-round", props={"receive_max": 400}) as kept, \
            Client(server, "checks-round-pub") as pub:
        live.subscribe("checks/round", 1), kept.subscribe("checks/round", 1)
        held = {live: 0, kept: 0}
        for first in range(0, total, batch):
            pub.send(b"".join(publish("checks/round", b"%d" % n, 1, id=n % batch + 1) for n in range(first, first + batch)))
            for c in (live, kept):
                acks = b""
                for n in range(first, first + batch):
                    got = c.expect(PUBLISH)
                    assert got.payload == b"%d" % n and not got.dup and got.id not in (0, held[c]), got
                    if n % hold == 0:
                        acks += ack(PUBACK, held[c]) if held[c] else b""
                        held[c] = got.id
                    else:
                        acks += ack(PUBACK, got.id)
                c.send(acks)
            for _ in range(batch):
                pub.expect(PUBACK)
        for c in (live, kept):
            c.send(ack(PUBACK, held[c]))
            assert c.until_ping() == []
    forget(server, "checks-round")


def test_topics_of_every_shape(server):
    with Client(server, "checks-shape") as c:
        for topic in ("/".join("abcdefghij"[n % 10] for n in range(250)), "/" * 300, "a" + "/" * 1000 + "b", "/" * 65535, "l/" * 32767 + "x"):
            codes = c.subscribe(topic, 1)
            if codes[0] >= 0x80:  # a bound on levels is a limit, told as one
                assert codes[0] in (0x8F, 0x97), hex(codes[0])
                continue
            c.publish(topic, b"x", 1)
            assert c.message().topic == topic
            c.unsubscribe(topic)
        c.subscribe("a//b", 1), c.subscribe("/a/b", 1), c.subscribe("a/b/", 1)
        for topic in ("a/b", "a/b//", "//a/b", "a///b"):
            c.publish(topic, b"other level", 1)
        assert c.settle() == []


def test_what_is_repeated_names_its_topic_though_it_had_an_alias(server):
    forget(server, "checks-alias")
    with stored(server, "checks-alias", props={"topic_alias_max": 4}) as c:
        c.subscribe("checks/alias", 1)
        for n in range(3):
            c.publish("checks/alias", b"%d" % n, 1)
        first = [c.expect(PUBLISH) for _ in range(3)]
        assert first[0].topic == "checks/alias"
    with stored(server, "checks-alias", props={"topic_alias_max": 0}) as c:
        again = [c.expect(PUBLISH) for _ in range(3)]
        assert [(p.topic, p.id, p.dup) for p in again] == [("checks/alias", p.id, True) for p in first]
    with stored(server, "checks-alias", props={"topic_alias_max": 4}) as c:
        again = c.messages(3)
        assert again[0].topic == "checks/alias" and [p.payload for p in again] == [b"0", b"1", b"2"]
    forget(server, "checks-alias")


def test_what_is_too_large_blocks_neither_a_queue_nor_a_will(server):
    forget(server, "checks-large")
    with stored(server, "checks-large") as c:
        c.subscribe("checks/large/#", 1)
    with Client(server, "checks-large-pub") as pub:
        for n in range(6):
            pub.publish(f"checks/large/{n}", b"x" * (200 if n % 2 else 10), 1)
    with stored(server, "checks-large", props={"max_packet_size": 100, "receive_max": 1}) as c:
        assert [m.topic[-1] for m in c.messages(3)] == ["0", "2", "4"]
        Client(server, "checks-large-will", will={"topic": "checks/large/big", "payload": b"x" * 200, "qos": 1}).close()
        Client(server, "checks-large-will", will={"topic": "checks/large/small", "payload": b"x", "qos": 1}).close()
        assert c.message().topic == "checks/large/small"
    with stored(server, "checks-large") as c:
        assert c.settle() == [], "what was too large counts as sent"
    forget(server, "checks-large")


def test_no_matching_subscribers_is_said_only_when_there_are_none(server):
    forget(server, "checks-none")
    with Client(server, "checks-none-pub") as pub, Client(server, "checks-none-share") as member:
        def said():
            return {pub.publish("checks/none/x", b"x", qos).reason for qos in (1, 2)}
        assert said() == {0x10}
        member.subscribe("$share/g/checks/none/x", 0)
        assert said() == {0}
        member.unsubscribe("$share/g/checks/none/x")
        assert said() == {0x10}
        with stored(server, "checks-none") as c:
            c.subscribe("checks/none/+", 0)
        assert said() == {0}, "a session that is away matches, whatever its QoS"
        forget(server, "checks-none")
        assert said() == {0x10}


# ---- subscriptions


def matches(filter, topic):
    """The standard's words, written down once more."""
    f, t = filter.split("/"), topic.split("/")
    for i, level in enumerate(f):
        if level == "#":
            return True
        if i >= len(t) or level not in ("+", t[i]):
            return False
    return len(f) == len(t)


def test_all_short_filters_against_all_short_topics(server):
    levels = [list(p) for n in (1, 2, 3) for p in itertools.product(("a", "", "+"), repeat=n)]
    filters = ["/".join(f) for f in levels] + ["/".join(f + ["#"]) for f in levels if len(f) < 3] + ["#"]
    filters = [f for f in filters if f]
    topics = ["/".join(p) for n in (1, 2, 3) for p in itertools.product(("a", "b", ""), repeat=n)]
    topics = [t for t in topics if t] + ["a/b/a/b", "///", "a/a/a/"]
    with Client(server, "checks-filters") as c, Client(server, "checks-filters-pub") as pub:
        for n, filter in enumerate(filters):
            c.subscribe(filter, 1, props={"subscription_id": n + 1})
        c.settle()
        for topic in topics:
            pub.publish(topic, topic.encode(), 1)
            pub.publish("a", b"end", 1)
            ids = []
            while (got := c.message()).payload != b"end":
                assert got.payload == topic.encode() == got.topic.encode()
                ids += got.props["subscription_id"]
            assert sorted(ids) == [n + 1 for n, filter in enumerate(filters) if matches(filter, topic)], topic
    return f"{len(filters)} filters and {len(topics)} topics"


def test_a_plain_and_a_shared_subscription_of_one_client_are_two(server):
    with Client(server, "checks-two") as c:
        c.subscribe("$share/g/checks/two", 1), c.subscribe("checks/two", 1)
        c.publish("checks/two", b"x", 1)
        assert [m.payload for m in c.messages(2)] == [b"x", b"x"]
        assert c.unsubscribe(["$share/h/checks/two", "$share/g/checks/+", "checks/two", "$share/g/checks/two"]) == [0x11, 0x11, 0, 0]
        assert c.settle() == []


def test_retain_handling_1_knows_the_subscriptions_of_a_resumed_session(server):
    forget(server, "checks-handling")
    with stored(server, "checks-handling") as c:
        c.publish("checks/handling", b"kept", 1, retain=True)
        c.subscribe("checks/handling", 1, options=0x10)
        assert c.message().payload == b"kept"
    with stored(server, "checks-handling") as c:
        c.subscribe("checks/handling", 1, options=0x10)
        assert c.settle() == [], "it is not new"
        c.subscribe("checks/+", 1, options=0x10)
        got = c.message()
        assert got.payload == b"kept" and got.retain, "another filter is"
        c.publish("checks/handling", b"", 1, retain=True)
    forget(server, "checks-handling")


def test_no_local_holds_for_what_the_client_retained(server):
    def shown(c, count):
        got = sorted(m.payload for m in c.messages(count))
        assert c.settle() == []
        return got
    for client_id, make in (("checks-local", Client), ("checks-local-stored", stored)):
        forget(server, client_id)
        with make(server, client_id) as c, Client(server, "checks-local-other") as other:
            c.publish("checks/local/own", b"own", 1, retain=True)
            other.publish("checks/local/other", b"other", 1, retain=True)
            c.subscribe("checks/local/+", 1, options=4)
            assert shown(c, 1) == [b"other"]
            other.subscribe("checks/local/+", 1, options=4)
            assert shown(other, 1) == [b"own"]
            c.subscribe("checks/local/#", 1)
            assert shown(c, 2) == [b"other", b"own"], "without No Local it is shown"
        with make(server, client_id) as c:  # by its identifier, not by its connection
            c.subscribe("checks/local/+/#", 1, options=4)
            assert shown(c, 1) == [b"other"]
            for topic in ("own", "other"):
                c.publish(f"checks/local/{topic}", b"", 1, retain=True)
        forget(server, client_id)


# ---- retained messages, wills, expiry


def test_the_server_invents_no_expiry(server):
    forget(server, "checks-expiry")
    with stored(server, "checks-expiry") as c:
        c.subscribe("checks/expiry/#", 1)
    with Client(server, "checks-expiry-pub") as pub:
        pub.publish("checks/expiry/none", b"x", 1, retain=True)
        pub.publish("checks/expiry/some", b"x", 1, retain=True, props={"message_expiry": 1000})
        Client(server, "checks-expiry-will", will={"topic": "checks/expiry/will", "payload": b"x", "qos": 1, "props": {"message_expiry": 500}}).close()
    with stored(server, "checks-expiry") as c:
        got = {m.topic[14:]: m.props.get("message_expiry") for m in c.messages(3)}
        assert got["none"] is None and 990 <= got["some"] <= 1000 and 490 <= got["will"] <= 500, got
    with Client(server, "checks-expiry-new") as c:
        c.subscribe("checks/expiry/#", 1)
        got = {m.topic[14:]: m.props.get("message_expiry") for m in c.messages(2)}
        assert got["none"] is None and 990 <= got["some"] <= 1000, got
        for name in got:
            c.publish(f"checks/expiry/{name}", b"", 1, retain=True)
    forget(server, "checks-expiry")


def test_an_expiry_that_is_over_at_once(server):
    with Client(server, "checks-zero") as c:
        c.subscribe("checks/zero", 1)
        c.publish("checks/zero", b"at once", 1, props={"message_expiry": 0})  # it may come or not, but not later
        c.publish("checks/zero", b"kept?", 1, retain=True, props={"message_expiry": 0})
        c.settle()
    with Client(server, "checks-zero-new") as c:
        c.subscribe("checks/zero", 1)
        assert c.settle() == []


def test_wills_that_cannot_be_are_refused_at_once(server):
    with Client(server, "checks-will-size") as c:
        most = c.connack.props["max_packet_size"]
    table = [(f"to {topic!r}", connect("checks-will", will={"topic": topic, "payload": b"p"}), {0x81, 0x82, 0x90, 0x87}) for topic in
             ("", "#", "a/+/b", b"a\0b", "$SYS/x")]
    with Client(server, open=False) as c:
        c.send(connect("checks-will", will={"topic": "t", "payload": b"p" * 65535}))
        assert c.expect(CONNACK).reason == 0, "as large as a will can be"
    with Keel("--set", "mqtt.packet_max=2000") as small, Client(small, open=False) as c:
        c.send(connect("checks-will", will={"topic": "t", "payload": b"p" * 2000}))
        got = c.recv()
        assert got is None or got.reason == 0x95, got
        c.expect_closed()
    assert most >= 65536
    return every_one_is_refused(server, table)


def test_a_crash_publishes_the_wills_of_all_who_were_connected():
    with Apart() as keel:
        clients = [Client(keel, f"checks-crash-{n}", will={"topic": f"checks/crash/{n}", "payload": b"gone", "qos": 1, "retain": True},
                          clean=False, props={"session_expiry": 60 if n % 2 else 0}) for n in range(20)]
        with stored(keel, "checks-crash-watch") as w:
            w.subscribe("checks/crash/#", 1)
        keel.kill_broker()
        keel.start_broker()
        with stored(keel, "checks-crash-watch") as w:
            assert sorted(int(m.topic.split("/")[2]) for m in w.messages(20, timeout=20)) == list(range(20))
        [c.close() for c in clients]


# ---- errors


def test_what_a_client_still_sends_does_not_eat_the_reason(server):
    """The server's last words come and then a clean end, though megabytes are on their way to it."""
    for _ in range(5):
        with Client(server, "checks-flood") as c:
            c.sock.sendall(b"\x00\x00")
            c.sock.settimeout(0.2)
            try:
                for _ in range(64):
                    c.sock.sendall(b"\0" * 65536)
            except OSError:
                pass
            c.sock.settimeout(10)
            said = b""
            while data := c.sock.recv(4096):  # ConnectionResetError would be the bug
                said += data
            assert said[:1] == b"\xe0" and said[2] in EITHER, said


def test_a_server_of_3_1_1_never_says_disconnect(server):
    for what in (lambda c: Client(server, "checks-mute", 4).close(), lambda c: c.send(b"\x00\x00"), lambda c: c.send(connect("checks-mute", 4))):
        with Client(server, "checks-mute", 4) as c:
            what(c)
            assert c.recv() is None


def test_a_long_queue_begins_at_once(server):
    count = 20000
    forget(server, "checks-queue")
    with stored(server, "checks-queue") as c:
        c.subscribe("checks/queue", 1)
    with Client(server, "checks-queue-pub") as pub:
        for first in range(0, count, 200):
            pub.send(b"".join(publish("checks/queue", b"%08d" % n, 1, id=n % 200 + 1) for n in range(first, first + 200)))
            for _ in range(200):
                pub.expect(PUBACK)
    began = time.monotonic()
    with stored(server, "checks-queue") as c:
        assert c.message().payload == b"%08d" % 0
        assert time.monotonic() - began < harness.patience(1)
    forget(server, "checks-queue")
