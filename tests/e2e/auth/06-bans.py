"""Who is not let in: bans, connections of one address or user, clients that connect again and again."""
import harness
from harness import BUILD, Apart, Keel, await_true, run
from rawmqtt import *


def ctl(server, *words):
    return run(BUILD / "keel", "ctl", *words, "--admin", server.admin)


def ban(server, *words):
    done = ctl(server, "ban", *words)
    assert done.returncode == 0, done
    return done.stdout


def reason(server, client_id, **more):
    with Client(server, open=False, version=more.get("version", 5)) as c:
        c.send(connect(client_id, **more))
        return c.expect(CONNACK).reason


def test_a_banned_client_user_or_address_is_refused_and_let_in_again():
    with Keel("--set", "auth.anonymous=true") as server:
        for kind, name, more in (("client", "bad one", {}), ("user", "eve", {"user": "eve", "password": b"x"}), ("address", "127.0.0.1", {})):
            client_id = name if kind == "client" else "somebody"
            assert reason(server, client_id, **more) == 0
            ban(server, "add", kind, name, "--reason", "it was bad")
            await_true(lambda: reason(server, client_id, **more) == 0x8A, f"the {kind} is banned")
            assert reason(server, client_id, version=4, **more) == 5
            if kind != "address":
                assert reason(server, "another") == 0
            assert f"{kind}\t{name}\t-\tit was bad\n" in ban(server, "list")
            ban(server, "remove", kind, name)
            await_true(lambda: reason(server, client_id, **more) == 0, f"the {kind} is let in again")
        assert ban(server, "list") == ""


def test_one_that_is_here_is_disconnected():
    with Keel() as server, Client(server, "here") as c, Client(server, "stays") as other:
        ban(server, "add", "client", "here")
        c.expect_closed(0x98)
        other.until_ping()


def test_a_ban_ends_by_itself_and_outlives_the_broker():
    with Apart() as keel:
        ban(keel, "add", "client", "short", "--for", "2")
        ban(keel, "add", "client", "long", "--for", "3600", "--reason", "two words")
        assert reason(keel, "short") == 0x8A
        assert keel.broker.stop() == 0
        keel.start_broker()
        assert reason(keel, "long") == 0x8A
        await_true(lambda: reason(keel, "short") == 0, "its time is over")
        listed = ban(keel, "list").splitlines()
        assert len(listed) == 1 and listed[0].startswith("client\tlong\t20") and listed[0].endswith("\ttwo words"), listed


def test_every_broker_hears_of_a_ban_at_once(server):
    ban(server, "add", "client", "heard")
    try:
        for _ in range(8):  # whichever shard it comes to
            assert reason(server, "heard") == 0x8A
    finally:
        ban(server, "remove", "client", "heard")


def test_wrong_words_are_explained(server):
    for words, said in ((("add", "host", "x"), "cannot be banned"), (("add", "client", ""), "1 to 1024"), (("add", "client", "x", "--for", "0"), "number of seconds"),
                        (("add", "client", "x", "--for", "soon"), "number of seconds"), (("remove", "client", "nobody"), "no such ban"), (("frob",), "keel ctl ban list")):
        done = ctl(server, "ban", *words)
        assert done.returncode in (1, 2) and said in done.stderr, (words, done)


def test_a_client_that_connects_again_and_again_is_banned():
    with Keel("--set", "flapping.connects=5", "--set", "flapping.window=60", "--set", "flapping.ban=3") as server:
        assert [reason(server, "flaps") for _ in range(5)] == [0] * 5
        assert reason(server, "flaps") == 0x8A
        assert reason(server, "steady") == 0
        assert "flapping" in ban(server, "list")
        assert "connects again and again" in server.log()


def test_connections_of_all_are_bounded():
    with Keel("--shards", "2", "--set", "mqtt.connections_max=3") as server:
        clients = [Client(server, f"all-{n}") for n in range(3)]
        assert reason(server, "all-3") == 0x97
        assert reason(server, "all-3", version=4) == 3
        await_true(lambda: server.metric("keel_over_limit_total") >= 2, "they are counted")
        clients.pop().close()
        await_true(lambda: reason(server, "all-3") == 0, "one has gone")
        for c in clients:
            c.until_ping()
            c.close()


def test_connections_of_one_address_are_bounded():
    with Keel("--set", "mqtt.connections_per_address=3") as server:
        clients = [Client(server, f"address-{n}") for n in range(3)]
        assert reason(server, "address-3") == 0x97
        assert reason(server, "address-3", version=4) == 3
        clients.pop().close()
        await_true(lambda: reason(server, "address-3") == 0, "one has gone")
        for c in clients:
            c.until_ping()
            c.close()


def test_connections_of_one_user_are_bounded():
    with Keel("--set", "mqtt.connections_per_user=2", "--set", "auth.argon2_memory=64", "--set", "auth.argon2_passes=1") as server:
        for name in ("ann", "bob"):
            done = run(BUILD / "keel", "ctl", "passwd", name, "--password-file", "stdin", "--admin", server.admin, "--set", "auth.argon2_memory=64",
                       "--set", "auth.argon2_passes=1", input="secret\n")
            assert done.returncode == 0, done
        ann = {"user": "ann", "password": b"secret"}
        await_true(lambda: reason(server, "known", **ann) == 0, "the user is known")
        clients = [Client(server, f"user-{n}", **ann) for n in range(2)]
        assert reason(server, "user-2", **ann) == 0x97
        assert reason(server, "user-2", user="bob", password=b"secret") == 0
        with Client(server, "user-0", **ann) as again:  # it takes its own place over, though it is one too many for a moment
            again.until_ping()
        for c in clients:
            c.close()
