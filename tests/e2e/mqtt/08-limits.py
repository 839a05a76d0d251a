"""What each side allows the other: Receive Maximum, Maximum Packet Size, Topic Alias Maximum. [MQTT-3.3.4, 4.9, 3.1.2-24]"""
from rawmqtt import *


def test_no_more_than_receive_maximum_are_under_way(server):
    for qos in (1, 2):
        with Client(server, f"limit-receive-{qos}", props={"receive_max": 3}) as c, Client(server, f"limit-receive-pub-{qos}") as pub:
            c.subscribe(f"limit/receive/{qos}", qos)
            for n in range(10):
                pub.publish(f"limit/receive/{qos}", b"%d" % n, qos)
            first = [c.expect(PUBLISH) for _ in range(3)]
            assert c.until_ping() == [], "a fourth would be too many"
            for n in range(3, 10):
                done = first.pop(0)
                if qos == 1:
                    c.send(ack(PUBACK, done.id))
                else:
                    c.send(ack(PUBREC, done.id))
                    c.expect(PUBREL, id=done.id)
                    assert c.until_ping() == [], "PUBREC alone gives no room"
                    c.send(ack(PUBCOMP, done.id))
                got = c.expect(PUBLISH)
                assert got.payload == b"%d" % n
                first.append(got)
                assert c.until_ping() == []


def test_qos_0_is_not_held_back_by_receive_maximum(server):
    with Client(server, "limit-qos0", props={"receive_max": 1}) as c:
        c.subscribe("limit/qos0/#", 1)
        c.publish("limit/qos0/1", b"held", 1)
        c.expect(PUBLISH)
        c.publish("limit/qos0/0", b"free", 0)
        assert c.expect(PUBLISH).payload == b"free"


def test_a_client_that_exceeds_the_servers_receive_maximum_is_ended_with_0x93(server):
    with Client(server, "limit-exceed") as c:
        allowed = c.connack.props.get("receive_max", 65535)
        if allowed > 10000:
            return "the server allows more than a test wants to send"
        for n in range(allowed + 1):  # QoS 2 without PUBREL: each holds its place
            c.send(publish("limit/exceed", b"x", 2, id=n + 1))
        c.expect_closed(0x93)


def test_a_message_over_the_clients_maximum_packet_size_is_left_out_and_blocks_nothing(server):
    with Client(server, "limit-size", props={"max_packet_size": 100, "receive_max": 1}) as c, Client(server, "limit-size-pub") as pub:
        c.subscribe("limit/size/#", 1)
        for n in range(5):
            pub.publish("limit/size/a", b"x" * 200, 1)
        pub.publish("limit/size/a", b"small", 1)
        got = c.message()
        assert got.payload == b"small" and got.size <= 100


def test_a_retained_message_over_the_size_is_left_out(server):
    with Client(server, "limit-retained-pub") as pub:
        pub.publish("limit/retained/big", b"x" * 200, 1, retain=True)
        pub.publish("limit/retained/small", b"y", 1, retain=True)
    with Client(server, "limit-retained", props={"max_packet_size": 100}) as c:
        c.subscribe("limit/retained/#", 1)
        assert c.message().payload == b"y"
        assert c.until_ping() == []


def test_a_packet_over_the_servers_size_is_ended_with_0x95(server):
    with Client(server, "limit-server") as c:
        size = c.connack.props["max_packet_size"]
        c.send(b"\x30" + varint(size))
        c.expect_closed(0x95)


def test_a_packet_of_exactly_the_servers_size_is_taken(server):
    with Client(server, "limit-exact") as c:
        size = c.connack.props["max_packet_size"]
        c.subscribe("limit/exact")
        body = text("limit/exact") + b"\0"
        filler = size - 1 - len(varint(size - 5)) - len(body)
        whole = packet(PUBLISH, 0, body + b"z" * filler)
        assert len(whole) == size
        c.send(whole)
        assert c.message().payload == b"z" * filler


def test_topic_aliases_are_set_used_and_set_anew(server):
    with Client(server, "limit-alias") as c:
        most = c.connack.props.get("topic_alias_max", 0)
        assert most > 0
        c.subscribe("limit/alias/#", 1)
        for topic, alias, meant in (("limit/alias/a", 1, "a"), ("", 1, "a"), ("limit/alias/b", most, "b"), ("", most, "b"), ("", 1, "a"),
                                    ("limit/alias/c", 1, "c"), ("", 1, "c")):
            c.publish(topic, b"x", 1, props={"topic_alias": alias})
            got = c.message()
            assert got.topic == f"limit/alias/{meant}" and "topic_alias" not in got.props


def test_aliases_end_with_the_connection(server):
    keep = {"session_expiry": 60}
    with Client(server, "limit-alias-end", props=keep) as c:
        c.publish("limit/alias-end", b"x", 1, props={"topic_alias": 1})
    with Client(server, "limit-alias-end", clean=False, props=keep) as c:
        c.send(publish("", b"x", 1, id=1, props={"topic_alias": 1}))
        c.expect_closed(0x82)


def test_wrong_aliases_are_refused(server):
    with Client(server, "limit-alias-probe") as c:
        most = c.connack.props.get("topic_alias_max", 0)
    for alias, topic in ((0, "t"), (most + 1, "t"), (65535, "t")):
        with Client(server, "limit-alias-wrong") as c:
            c.send(publish(topic, b"x", 1, id=1, props={"topic_alias": alias}))
            c.expect_closed(0x94)
    with Client(server, "limit-alias-unknown") as c:
        c.send(publish("", b"x", 1, id=1, props={"topic_alias": 1}))
        c.expect_closed(0x82)


def test_the_server_uses_no_alias_above_the_clients_maximum(server):
    for most in (0, 2):
        with Client(server, f"limit-alias-out-{most}", props={"topic_alias_max": most}) as c:
            c.subscribe("limit/out/#", 1)
            names = {}
            for n in range(12):
                c.publish(f"limit/out/{n % 4}", b"%d" % n, 1)
                got = c.message()
                alias = got.props.get("topic_alias")
                if alias is not None:
                    assert 1 <= alias <= most
                    if got.topic:
                        names[alias] = got.topic
                assert (got.topic or names[alias]) == f"limit/out/{n % 4}"


def test_keep_alive_ends_a_silent_client_and_no_other(server):
    import time
    with Client(server, "limit-silent", keep_alive=1) as silent, Client(server, "limit-talks", keep_alive=1) as talks:
        started, deadline = time.monotonic(), time.monotonic() + 5
        silent.sock.setblocking(False)
        said = b""
        while time.monotonic() < deadline:
            talks.until_ping()
            try:
                data = silent.sock.recv(100)
                said += data
                if not data:
                    break
            except BlockingIOError:
                time.sleep(0.05)
        took = time.monotonic() - started
        assert 1.4 < took < 3.5, f"ended after {took:.1f} s"
        assert said[:1] == b"\xe0" and said[2] == 0x8D, said
        talks.until_ping()


def test_a_connection_that_never_connects_is_ended(server):
    import harness
    if isinstance(server, harness.Mosquitto):
        raise harness.Skip("Mosquitto has no such limit")
    with harness.Keel("--set", "mqtt.connect_timeout=1") as own:
        with Client(own, open=False) as c:
            c.send(b"\x10")
            assert c.recv() is None


def test_a_reader_that_stops_does_not_hold_up_others(server):
    with Client(server, "limit-stuck") as stuck, Client(server, "limit-fine", props={"receive_max": 1000}) as fine, Client(server, "limit-flood") as pub:
        for c in (stuck, fine):
            c.subscribe("limit/flood", 0)
        for n in range(400):
            pub.send(publish("limit/flood", b"%06d" % n + b"x" * 16000, 0))
            assert fine.message().payload[:6] == b"%06d" % n
        pub.until_ping()
