"""A broker is emptied for maintenance: keel ctl drain."""
import time

from harness import BUILD, Keel, await_true, patience, run
from rawmqtt import *


def drain(server, *words, status=0):
    done = run(BUILD / "keel", "ctl", "drain", *words, "--admin", server.admin)
    assert done.returncode == status, done
    return done.stderr


def test_clients_are_told_where_to_go_and_let_in_again_afterwards():
    with Keel() as server:
        five, four = Client(server, "five"), Client(server, "four", version=4)
        drain(server, "--for", "0", "--to", "other.example:1883")
        gone = five.expect(DISCONNECT)
        assert gone.reason == 0x9C and gone.props["server_reference"] == "other.example:1883", gone
        four.expect_closed()
        assert server.http("/ready")[0] == 503 and "keel ctl drain" in server.http("/ready")[1]
        with Client(server, open=False) as c:
            c.send(connect("new"))
            refused = c.expect(CONNACK)
            assert refused.reason == 0x9C and refused.props["server_reference"] == "other.example:1883", refused
        with Client(server, open=False, version=4) as c:
            c.send(connect("new", version=4))
            assert c.expect(CONNACK).reason == 3
        drain(server, "--stop")
        assert server.http("/ready")[0] == 200
        Client(server, "five").close()


def test_for_good_is_another_code_and_a_reference_is_not_needed():
    with Keel() as server, Client(server, "five") as c:
        drain(server, "--for", "0", "--permanent")
        gone = c.expect(DISCONNECT)
        assert gone.reason == 0x9D and "server_reference" not in gone.props, gone


def test_they_go_one_after_the_other():
    with Keel() as server:
        clients = [Client(server, f"one-{n}") for n in range(40)]
        await_true(lambda: server.metric("keel_connections_open") == 40, "all are here")
        started = time.monotonic()
        drain(server, "--for", "2")
        await_true(lambda: server.metric("keel_connections_open") <= 30, "some are gone")
        assert server.metric("keel_connections_open") >= 5, "and some are here still"
        await_true(lambda: server.metric("keel_connections_open") == 0, "all are gone")
        assert 1.5 < time.monotonic() - started < 2.5 + patience(3)
        for c in clients:
            c.expect_closed(0x9C)


def test_a_stored_session_that_is_sent_away_keeps_its_messages():
    keep = {"session_expiry": 600}
    with Keel() as server:
        with Client(server, "moves", clean=False, props=keep) as c:
            c.subscribe("moves", 1)
            drain(server, "--for", "0")
            c.expect_closed(0x9C)
        drain(server, "--stop")
        with Client(server, "publisher") as p:
            p.publish("moves", b"kept", 1)
        with Client(server, "moves", clean=False, props=keep) as c:
            assert c.message().payload == b"kept"


def test_wrong_words_are_explained():
    with Keel() as server, Client(server, "stays") as c:
        for words, said in ((("--for", "soon"), "number of seconds"), (("--for", "86401"), "number of seconds"), (("--to", "x" * 256), "HOST:PORT"), (("now",), "keel ctl drain")):
            assert said in drain(server, *words, status=2)
        c.until_ping()
