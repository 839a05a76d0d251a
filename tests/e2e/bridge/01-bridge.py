"""A bridge to another MQTT broker, Debian's mosquitto: both ways, prefixes, QoS, no loops, what is owed while either side is away."""
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import harness
from rawmqtt import *


def ctl(server, *words, ok=True):
    done = harness.run(harness.BUILD / "keel", "ctl", "bridge", *words, "--admin", server.admin)
    assert (done.returncode == 0) == ok, f"keel ctl bridge {words}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stdout if ok else done.stderr


def info(server, name):
    return dict(line.split(": ", 1) for line in ctl(server, "info", name).splitlines())


def up(server, name, state="up"):
    harness.await_true(lambda: info(server, name)["state"] == state, f"bridge {name} is {state}: {info(server, name)}\n{server.log()[-2000:]}", 40)


def bridge(server, name, other, *topics, more=()):
    flags = [word for topic in topics for word in ("--topic", topic)]
    said = ctl(server, "create", name, "--address", f"127.0.0.1:{other.port}", *flags, *more)
    assert f"keel ctl bridge info {name} says how it is" in said, said
    up(server, name)


def durable():
    """A mosquitto that has what it acknowledged in its file."""
    return harness.Mosquitto("autosave_on_changes true", "autosave_interval 1", "max_inflight_messages 100")


def kill_saved(other, keel, name):
    """SIGKILL once mosquitto has saved what it acknowledged: it does so a while after, and what it loses is not ours to find."""
    def quiet():
        before = info(keel, name)
        time.sleep(0.3)
        return before["state"] == "up" and info(keel, name) == before

    harness.await_true(quiet, "the bridge has nothing under way", 20)
    file, now = other.dir / "data" / "mosquitto.db", time.time_ns()
    other.process.popen.send_signal(signal.SIGUSR1)
    harness.await_true(lambda: file.exists() and file.stat().st_mtime_ns > now and not file.with_suffix(".db.new").exists(), "mosquitto saves", 20)
    other.process.kill(signal.SIGKILL)
    other.start()


def test_messages_cross_both_ways_with_prefixes_and_qos(server):
    for version in ("5", "4"):
        with harness.Mosquitto() as other:
            name = "ways" + version
            bridge(server, name, other, 'out/# out 2 "" from-keel/', f"in/# in 1 {name}/", "both/+ both 2 here/ there/", more=["--version", version])
            with Client(server, "ways-here") as here, Client(other, "ways-there") as there:
                there.subscribe(["from-keel/#", "there/#"], 2)
                here.subscribe([f"{name}/in/#", "here/#"], 2)
                here.publish("out/a", b"0", 0)
                here.publish("out/b", b"1", 1, props={"content_type": "x", "user": [("k", "v")]})
                here.publish("out/c", b"2", 2)
                here.publish("out", b"3", 1)
                here.publish("other", b"no", 1)
                got = there.messages(4)
                got.sort(key=lambda m: m.payload)  # mosquitto hands a QoS 2 message on when it is released
                assert [(m.topic, m.payload, m.qos) for m in got] == \
                    [("from-keel/out/a", b"0", 0), ("from-keel/out/b", b"1", 1), ("from-keel/out/c", b"2", 2), ("from-keel/out", b"3", 1)], got
                if version == "5":
                    assert got[1].props["content_type"] == "x" and got[1].props["user"] == [("k", "v")]
                there.publish("in/a", b"4", 0)
                there.publish("in/b", b"5", 2)
                got = sorted(here.messages(2), key=lambda m: m.payload)
                assert [(m.topic, m.payload, m.qos) for m in got] == [(f"{name}/in/a", b"4", 0), (f"{name}/in/b", b"5", 1)], got
                here.publish("here/both/x", b"6", 2)
                assert here.message().payload == b"6"
                assert (m := there.message()).topic == "there/both/x" and m.qos == 2
                there.publish("there/both/y", b"7", 2)
                assert there.message().payload == b"7"
                assert (m := here.message()).topic == "here/both/y" and m.qos == 2
                time.sleep(0.3)  # a loop would have come round by now
                assert here.until_ping() == [] and there.until_ping() == []
                here.publish("out/big", bytes(range(256)) * 400, 1)
                assert there.message().payload == bytes(range(256)) * 400
                here.publish("out/kept", b"r", 1, retain=True)
                assert there.message().payload == b"r"
                there.subscribe("from-keel/out/kept", 1)
                assert there.message().retain
                here.publish("out/kept", b"", 1, retain=True)
            ctl(server, "delete", name)
            harness.await_true(lambda: name not in ctl(server, "list"), "it is gone")


def test_its_state_is_a_topic_and_a_metric(server):
    topic = "$SYS/broker/connection/state-1/state"
    other = harness.Mosquitto()
    with Client(server, "state-sub") as c:
        c.subscribe(topic, 1)
        bridge(server, "state-1", other, "a/# out 1")
        while c.message().payload != b"1":
            pass
        harness.await_true(lambda: server.metric("keel_bridges_up") == 1, "the metric")
        other.close()
        assert c.message().payload == b"0"
        harness.await_true(lambda: server.metric("keel_bridges_up") == 0, "the metric")
        with Client(server, "state-late") as late:
            late.subscribe(topic, 1)
            assert (m := late.message()).retain and m.payload == b"0"
    ctl(server, "delete", "state-1")
    harness.await_true(lambda: "state-1" not in ctl(server, "list"), "it is gone")
    assert "there is no bridge" in ctl(server, "info", "state-1", ok=False)


def test_ctl_refuses_what_is_no_bridge(server):
    assert "address" in ctl(server, "create", "bad", "--topic", "a out 1", ok=False)
    assert "topic" in ctl(server, "create", "bad", "--address", "127.0.0.1", ok=False)
    for topic, word in (("a/#/b", "filter"), ("a sideways", "direction"), ("a out 3", "QoS"), ("a out 1 x+ y", "wildcards"), ("a out 1 b c d", "at most"),
                        ("$share/g/a out 1", "filter"), ("$stream/x out 1", "filter")):
        assert word in ctl(server, "create", "bad", "--address", "127.0.0.1", "--topic", topic, ok=False), topic
    assert "version" in ctl(server, "create", "bad", "--address", "127.0.0.1", "--topic", "a", "--version", "3", ok=False)
    assert "HOST:PORT" in ctl(server, "create", "bad", "--address", "127.0.0.1:x", "--topic", "a", ok=False)
    assert "there is no bridge" in ctl(server, "delete", "none", ok=False)
    assert "bad" not in ctl(server, "list")
    with Client(server, "$bridge/ways5", open=False) as c:
        c.send(connect("$bridge/ways5"))
        assert c.expect(CONNACK).reason == 0x85


def test_credentials_are_sent_and_a_refusal_is_tried_again(server):
    password = server.dir / "mosquitto.passwd"
    password.write_text("")
    harness.run("mosquitto_passwd", "-b", password, "keel", "secret")
    password.chmod(0o644)
    other = harness.Mosquitto()
    other.close()
    other = harness.Mosquitto.__new__(harness.Mosquitto)
    harness.Server.__init__(other)
    other.config, other.port = (f"password_file {password}", "allow_anonymous false"), harness.free_port()
    other.start()
    ctl(server, "create", "login", "--address", f"127.0.0.1:{other.port}", "--topic", "a out 1")
    harness.await_true(lambda: "refused" in server.log(), "it is refused without a password")
    assert "refused with reason code 0x" in info(server, "login")["reason"]
    assert "refused with reason code 0x" in ctl(server, "list")
    file = server.dir / "secret"
    file.write_text("secret\n")
    file.chmod(0o640)
    words = ["--address", f"127.0.0.1:{other.port}", "--topic", "a out 1", "--user", "keel", "--password-file"]
    ctl(server, "create", "login", *words, file)
    harness.await_true(lambda: "0640 lets others at it; make it 0600" in info(server, "login").get("reason", ""), "a file that others may read is refused")
    file.chmod(0o600)
    up(server, "login")
    assert info(server, "login")["password_file"] == str(file)
    file.unlink()
    other.process.kill(signal.SIGKILL)
    other.start()
    harness.await_true(lambda: "No such file" in info(server, "login").get("reason", ""), "it is read for each connection")
    file.write_text("secret\n")
    file.chmod(0o600)
    up(server, "login")
    assert "whole path" in ctl(server, "create", "login", *words, "secret", ok=False)
    done = harness.run(harness.BUILD / "keel", "ctl", "bridge", "create", "login", *words, "stdin", "--admin", server.admin, input="secret\n")
    assert done.returncode == 0, done
    up(server, "login")
    assert "secret" not in ctl(server, "info", "login")
    ctl(server, "delete", "login")
    other.close()


def test_a_message_of_more_than_4_mib_is_passed_over_and_the_connection_stays(server):
    for version in ("4", "5"):
        with harness.Mosquitto() as other:
            name = "big" + version
            bridge(server, name, other, "big/# in 2", more=["--version", version])
            with Client(server, name + "-here") as here, Client(other, name + "-there") as there:
                here.subscribe("big/#", 1)
                for qos in (0, 1, 2):
                    there.publish("big/x", bytes(5 << 20), qos)
                    there.publish("big/x", b"small", qos)
                assert [m.payload for m in here.messages(3)] == [b"small"] * 3
            now = info(server, name)
            # MQTT 5 tells the other broker, which does not send it.
            assert now["state"] == "up" and now["connects"] == "1" and now["dropped"] == ("3" if version == "4" else "0"), now
            assert version == "5" or "a message of 5242" in server.log()
            ctl(server, "delete", name)


def test_what_is_owed_while_the_other_broker_is_away_is_kept(server):
    with durable() as other:
        bridge(server, "away", other, "away/out/# out 1", "away/in/# in 1")
        with Client(other, "away-sub", 4, clean=False) as there:  # mosquitto forgets sessions of MQTT 5 over a restart
            there.subscribe("away/out/#", 1)
        other.process.kill(signal.SIGTERM)
        up(server, "away", "away") if info(server, "away")["state"] == "up" else None
        with Client(server, "away-pub") as here:
            for i in range(300):
                here.publish("away/out/x", str(i).encode(), 1)
        other.start()
        up(server, "away")
        with Client(other, "away-sub", 4, clean=False) as there:
            got = [int(m.payload) for m in there.messages(300)]
            assert list(dict.fromkeys(got)) == list(range(300)), got
    ctl(server, "delete", "away")


def test_kills_of_either_side_lose_no_qos1_message_in_either_direction():
    """Numbers go both ways while both brokers (and our store) are killed in turn; every acknowledged one has to arrive."""
    keep = {"session_expiry": 600}
    with durable() as other, harness.Apart(broker_args=["--shards", "2"]) as keel:
        ctl(keel, "create", "kill", "--address", f"127.0.0.1:{other.port}", "--topic", "to-there/# out 1", "--topic", "to-here/# in 1", "--version", "4")
        up(keel, "kill")
        Client(keel, "kill-here", clean=True, props=keep).close()
        with Client(keel, "kill-here", clean=False, props=keep) as c:
            c.subscribe("to-here/#", 1)
        with Client(other, "kill-there", 4, clean=False) as c:
            c.subscribe("to-there/#", 1)
        sent = {"here": 0, "there": 0}
        for turn in range(8):
            with Client(keel, "kill-pub-here") as here, Client(other, "kill-pub-there") as there:
                for i in range(40):
                    here.publish("to-there/x", str(sent["there"]).encode(), 1)
                    sent["there"] += 1
                    there.publish("to-here/x", str(sent["here"]).encode(), 1)
                    sent["here"] += 1
            if turn % 4 == 0:
                keel.kill_broker()
                keel.start_broker()
            elif turn % 4 == 1:
                kill_saved(other, keel, "kill")
            elif turn % 4 == 2:
                keel.kill_store()
                keel.start_store()
            else:
                kill_saved(other, keel, "kill")
                keel.kill_broker()
                keel.kill_store()
                keel.start_store()
                keel.start_broker()
        for where, name, version in ((keel, "here", 5), (other, "there", 4)):
            seen = []
            with Client(where, f"kill-{name}", version, clean=False, props=keep if version == 5 else None, timeout=40) as c:
                while len(set(seen)) < sent[name]:
                    seen.append(int(c.message(timeout=40).payload))
            assert set(seen) == set(range(sent[name])), f"{name}: missing {set(range(sent[name])) - set(seen)}"
        with Client(keel, "kill-here", clean=True) as c:
            pass


def test_a_bridge_between_two_keels():
    with harness.Keel() as a, harness.Keel("--shards", "2") as b:
        bridge(a, "pair", b, "p/# both 2")
        bridge(b, "back", a, "q/# both 1")
        with Client(a, "pair-a") as ca, Client(b, "pair-b") as cb:
            ca.subscribe(["p/#", "q/#"], 2)
            cb.subscribe(["p/#", "q/#"], 2)
            for i in range(100):
                ca.publish("p/a", str(i).encode(), 2)
                cb.publish("q/b", str(i).encode(), 1)
            for c, other in ((ca, cb), (cb, ca)):
                got = c.messages(200)
                for topic in ("p/a", "q/b"):
                    assert [m.payload for m in got if m.topic == topic] == [str(i).encode() for i in range(100)]
            time.sleep(0.3)  # a loop would have come round by now
            assert ca.until_ping() == [] and cb.until_ping() == []
