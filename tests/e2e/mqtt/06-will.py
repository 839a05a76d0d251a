"""Wills: published when a client is lost, not when it says goodbye; later when it asks so. [MQTT-3.1.2-5 .. 10, 3.1.3-9, 3.14.4-3]"""
import time

from rawmqtt import *


def will(topic, payload=b"gone", **more):
    return {"topic": topic, "payload": payload, **more}


def witness(server, topic):
    c = Client(server, f"witness-{topic}")
    c.subscribe(topic, 2)
    return c


def test_a_lost_connection_publishes_the_will(server):
    for version in (4, 5):
        for qos in (0, 1, 2):
            topic = f"will/lost/{version}/{qos}"
            with witness(server, topic) as w:
                Client(server, f"will-lost-{version}-{qos}", version, will=will(topic, qos=qos)).close()
                got = w.message()
                assert (got.topic, got.payload, got.qos) == (topic, b"gone", qos)


def test_disconnect_discards_it_and_reason_4_does_not(server):
    with witness(server, "will/bye") as w:
        Client(server, "will-bye", will=will("will/bye", b"no")).disconnect()
        Client(server, "will-bye-4", 4, will=will("will/bye", b"no")).disconnect()
        Client(server, "will-bye-with", will=will("will/bye", b"yes")).disconnect(4)
        assert w.message().payload == b"yes"
        assert w.until_ping() == []


def test_a_protocol_error_publishes_it(server):
    with witness(server, "will/error") as w:
        c = Client(server, "will-error", will=will("will/error"))
        c.send(b"\x00\x00")
        c.expect_closed()
        assert w.message().payload == b"gone"


def test_a_retained_will_is_retained(server):
    with witness(server, "will/retained") as w:
        Client(server, "will-retained", will=will("will/retained", qos=1, retain=True)).close()
        w.message()
    with Client(server, "will-retained-probe") as c:
        c.subscribe("will/retained", 1)
        got = c.message()
        assert got.payload == b"gone" and got.retain


def test_its_properties_pass(server):
    props = {"content_type": "a/b", "user": [("k", "v")], "response_topic": "r", "correlation_data": b"c", "payload_format": 1}
    with witness(server, "will/props") as w:
        Client(server, "will-props", will=will("will/props", props=props)).close()
        assert w.message().props == props


def test_a_delayed_will_waits_for_its_delay(server):
    with witness(server, "will/delay") as w:
        Client(server, "will-delay", clean=False, props={"session_expiry": 60}, will=will("will/delay", props={"will_delay": 2})).close()
        started = time.monotonic()
        assert w.until_ping() == []
        w.message()
        took = time.monotonic() - started
        assert 1.5 < took < 4, f"after {took:.1f} s"


def test_the_end_of_the_session_ends_the_delay(server):
    with witness(server, "will/session") as w:
        Client(server, "will-session", clean=False, props={"session_expiry": 1}, will=will("will/session", props={"will_delay": 60})).close()
        w.message()


def test_coming_back_in_time_cancels_it(server):
    with witness(server, "will/back") as w:
        for _ in range(3):
            c = Client(server, "will-back", clean=False, props={"session_expiry": 60}, will=will("will/back", props={"will_delay": 1}))
            c.close()
        with Client(server, "will-back", clean=False, props={"session_expiry": 60}) as c:
            Client(server, "will-back-marker", clean=False, props={"session_expiry": 60}, will=will("will/back", b"marker", props={"will_delay": 2})).close()
            assert w.message().payload == b"marker", "the cancelled will would have come a second before"


def test_take_over_publishes_the_will_of_a_session_that_ends(server):
    with witness(server, "will/over") as w:
        with Client(server, "will-over", will=will("will/over")) as old, Client(server, "will-over"):
            old.expect_closed(0x8E)
            assert w.message().payload == b"gone"


def test_an_expired_keep_alive_publishes_it(server):
    with witness(server, "will/silent") as w:
        c = Client(server, "will-silent", keep_alive=1, will=will("will/silent"))
        w.message()
        c.close()


def test_a_delayed_will_survives_a_restart(server):
    with witness(server, "will/restart"):
        Client(server, "will-restart", clean=False, props={"session_expiry": 60}, will=will("will/restart", qos=1, retain=True, props={"will_delay": 3})).close()
    server.restart()
    with witness(server, "will/restart") as w:
        assert w.message(timeout=15).payload == b"gone"
