"""CONNECT and CONNACK: who is let in, who is not, and what both are told. [MQTT-3.1, 3.2]"""
from rawmqtt import *


def test_both_versions_are_let_in(server):
    for version in (4, 5):
        with Client(server, f"connect-{version}", version) as c:
            assert c.connack.session_present == 0


def test_mqisdp_of_version_3_1_is_let_in_or_refused_by_its_code(server):
    with Client(server, open=False, version=3) as c:
        c.send(connect("connect-31", 3, name="MQIsdp"))
        assert c.expect(CONNACK).reason in (0, 1)


def test_an_empty_client_id_gets_one_assigned(server):
    with Client(server) as one, Client(server) as two:
        assert one.connack.props["assigned_id"] and one.connack.props["assigned_id"] != two.connack.props["assigned_id"]


def test_version_4_without_id_and_without_clean_session_is_refused(server):
    with Client(server, open=False, version=4) as c:
        c.send(connect("", 4, clean=False))
        assert c.expect(CONNACK).reason == 2
        c.expect_closed()


def test_version_4_without_id_but_clean_is_let_in(server):
    Client(server, "", 4).close()


def test_an_unknown_protocol_level_is_refused(server):
    for level in (6, 2):
        with Client(server, open=False) as c:
            c.send(connect("connect-level", 5, level=level))
            got = c.recv()  # CONNACK in the form of the version asked for, or a close
            assert got is None or got.reason in (0x84, 1), got


def test_another_protocol_name_is_refused(server):
    with Client(server, open=False) as c:
        c.send(connect("connect-name", 5, name="HTTP"))
        got = c.recv()
        assert got is None or got.reason in (0x84, 0x81), got


def test_a_second_connect_is_a_protocol_error(server):
    with Client(server, "connect-twice") as c:
        c.send(connect("connect-twice"))
        c.expect_closed(0x82)


def test_any_other_packet_first_closes_the_connection(server):
    for data in (publish("a", b"x"), subscribe([("a", 0)]), packet(PINGREQ, 0, b""), disconnect()):
        with Client(server, open=False) as c:
            c.send(data)
            c.expect_closed()


def test_what_follows_a_refused_connect_is_not_executed(server):
    with Client(server, "connect-witness") as witness:
        witness.subscribe("connect/refused/#")
        with Client(server, open=False) as c:
            c.send(connect("x", 5, level=9) + publish("connect/refused/a", b"no"))
            c.expect_closed()
        assert witness.until_ping() == []


def test_a_connect_in_single_bytes_is_understood(server):
    with Client(server, open=False) as c:
        for byte in connect("connect-slow", 5, will={"topic": "connect/w", "payload": b"w"}, props={"session_expiry": 0}):
            c.send(bytes([byte]))
        assert c.expect(CONNACK).reason == 0


def test_a_long_client_id_is_taken(server):
    Client(server, "i" * 1024).close()


def test_limits_in_connack_are_sane(server):
    with Client(server, "connect-props") as c:
        props = c.connack.props
        assert props.get("receive_max", 1) >= 1
        assert props.get("max_packet_size", 1 << 20) >= 1024
        for flag in ("retain_available", "wildcard_available", "shared_available", "subscription_id_available"):
            assert props.get(flag, 1) == 1, flag
        assert "max_qos" not in props, "QoS 2 is offered by saying nothing"


def test_a_user_name_without_password_is_let_in(server):
    Client(server, "connect-user", user="someone").close()
    Client(server, "connect-user-4", 4, user="someone", password="x").close()


def test_version_4_with_a_password_but_no_user_name_is_refused(server):
    with Client(server, open=False, version=4) as c:
        c.send(connect("connect-password", 4, password="x"))
        got = c.recv()
        assert got is None or got.reason != 0


def test_an_auth_method_that_is_unknown_is_refused(server):
    with Client(server, open=False) as c:
        c.send(connect("connect-auth", props={"auth_method": "SCRAM-SHA-1"}))
        got = c.recv()
        assert got is not None and got.kind == CONNACK and got.reason == 0x8C, got
