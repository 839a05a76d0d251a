"""Processes: started together and apart, in any order, stopped, killed, restarted; what operators see."""
import fcntl
import os
import pathlib
import signal
import socket
import statistics
import time

import harness
from harness import BUILD, Apart, Keel, await_true, run
from rawmqtt import *


def test_keel_dev_starts_and_stops_with_status_0():
    with Keel() as keel:
        assert set(keel.pids) == {"keel-segstore", "keel-broker"}
        Client(keel, "dev").close()
        assert keel.process.stop() == 0, keel.log()
        for pid in keel.pids.values():
            assert not pathlib.Path(f"/proc/{pid}").exists()


def test_a_child_that_dies_ends_keel_dev_with_its_status_and_a_message():
    for name in ("keel-broker", "keel-segstore"):
        with Keel() as keel:
            os.kill(keel.pids[name], signal.SIGKILL)
            assert keel.process.popen.wait(20) == 128 + 9
            assert f"{name} was ended by signal 9 (Killed)" in keel.log(), keel.log()


def test_ctrl_c_stops_in_order():
    with Keel() as keel:
        assert keel.process.kill(signal.SIGINT) == 0


def test_a_broker_says_once_that_it_is_ready():
    with Apart() as keel:
        keel.broker.popen.send_signal(signal.SIGUSR1)  # what a shard sends that became ready: two of them may be heard when both are
        Client(keel, "once").close()
        assert keel.broker.stop() == 0
        assert keel.broker.log().count("keel-broker ready") == 1, keel.broker.log()


def test_the_admin_http_and_keel_ctl_say_how_it_is(server):
    assert server.http("/health")[0] == 200
    assert server.http("/ready")[0] == 200
    before = server.metric("keel_publishes_total")
    with Client(server, "admin") as c:
        for n in range(10):
            c.publish("admin", b"x", 1)
        await_true(lambda: server.metric("keel_publishes_total") >= before + 10, "the counter moves")
        assert server.metric("keel_connections_open") >= 1
    done = run(BUILD / "keel", "ctl", "status", "--admin", server.admin)
    assert done.returncode == 0 and done.stdout.startswith("ready\n") and "keel_connections_open" in done.stdout, done.stdout
    done = run(BUILD / "keel", "ctl", "status", "--admin", "127.0.0.1:1")
    assert done.returncode == 1 and "no broker answers on 127.0.0.1:1" in done.stderr


def test_the_broker_may_start_before_the_store():
    with Apart(start=False) as keel:
        keel.segstore = f"127.0.0.1:{harness.free_port()}"
        keel.start_broker(wait=False)
        keel.start_store()
        keel.broker_ready()
        Client(keel, "apart").close()


def test_who_has_nothing_under_way_stops_at_once():
    with Apart() as keel:
        for process in (keel.broker, keel.store):
            started = time.monotonic()
            assert process.stop() == 0, process.log()
            assert time.monotonic() - started < harness.patience(1.5), process.log()  # what is under way is given 2 s


def test_what_was_acknowledged_before_a_stop_is_not_sent_again_behind_it():
    keep = {"session_expiry": 600}
    with Apart() as keel:
        for n in range(6):
            with Client(keel, "before", clean=n == 0, props=keep) as c:
                c.subscribe("stop", 1)
            with Client(keel, "publisher") as c:
                for m in range(60):
                    c.publish("stop", b"%d" % m + b"m" * 3000, 1)
            with Client(keel, "before", clean=False, props=keep) as c:
                c.messages(60)
                c.until_ping()
            assert keel.broker.stop() == 0, keel.log()
            keel.start_broker()
            with Client(keel, "before", clean=False, props=keep) as c:
                c.publish("stop", b"next", 1)
                got = c.message()
                assert got.payload == b"next", f"round {n}: {got.payload[:10]} again, dup {got.dup}"


def test_a_store_on_a_used_directory_is_refused():
    with Keel() as keel:
        done = run(BUILD / "keel-segstore", "--data", keel.data, "--segstore", "127.0.0.1:0", "--segstore-admin", "127.0.0.1:0", timeout=20)
        assert done.returncode not in (0, -6, -11) and len(done.stderr) > 10, done
        Client(keel, "still-there").close()


def test_what_a_killed_process_has_not_let_go_of_yet_is_waited_for():
    # Its ring ends behind it: the port of its listener and the lock of its directory stay taken for a while after it is gone.
    with Apart(start=False) as keel, socket.socket() as of_store, socket.socket() as of_broker:
        for held in (of_store, of_broker):
            held.bind(("127.0.0.1", 0))
            held.listen()
        keel.segstore, keel.mqtt = (f"127.0.0.1:{held.getsockname()[1]}" for held in (of_store, of_broker))
        (keel.data / "shard-00").mkdir(parents=True)
        with open(keel.data / "shard-00" / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keel.start_store(wait=False)
            keel.start_broker(wait=False)
            await_true(lambda: f"another process still has {keel.data}/shard-00/lock" in keel.store.log(), "the store waits for its directory")
        await_true(lambda: f"another process still has {keel.segstore}" in keel.store.log(), "the store waits for its port")
        of_store.close()
        await_true(lambda: f"another process still has {keel.mqtt}" in keel.broker.log(), "the broker waits for its port")
        of_broker.close()
        keel.store_ready()
        keel.broker_ready()
        Client(keel, "waited").close()


def test_a_port_in_use_is_named():
    with Keel() as keel, Apart(start=False) as other:
        other.start_store()
        done = run(BUILD / "keel-broker", "--mqtt", f"127.0.0.1:{keel.port}", "--admin", "127.0.0.1:0", "--segstore", other.segstore, timeout=20)
        assert done.returncode not in (0, -6, -11) and str(keel.port) in done.stderr, done


def test_restarting_the_store_keeps_clients_and_their_publishes():
    with Apart() as keel, Client(keel, "store-restart", clean=False, props={"session_expiry": 60}) as sub, Client(keel, "store-restart-pub") as pub:
        sub.subscribe("store/restart", 1)
        pub.publish("store/restart", b"before", 1)
        assert sub.message().payload == b"before"
        keel.kill_store()
        pub.send(publish("store/restart", b"during", 1, id=99))
        pub.until_ping()  # connections live on; the acknowledgement is held back
        keel.start_store()
        pub.expect(PUBACK, id=99, timeout=20)
        assert sub.message(timeout=20).payload == b"during"


def test_restarting_the_broker_keeps_sessions():
    with Apart() as keel:
        with Client(keel, "broker-restart", clean=False, props={"session_expiry": 60}) as c:
            c.subscribe("broker/restart", 1)
            for n in range(100):
                c.publish("broker/restart", b"%d" % n, 1)
        keel.kill_broker()
        keel.start_broker()
        with Client(keel, "broker-restart", clean=False, props={"session_expiry": 60}) as c:
            assert c.connack.session_present == 1
            assert [int(c.message().payload) for _ in range(100)] == list(range(100))


def test_stopping_the_broker_tells_its_clients():
    with Apart() as keel, Client(keel, "shutdown") as c:
        keel.broker.popen.send_signal(signal.SIGTERM)
        c.expect_closed(0x8B)
        assert keel.broker.popen.wait(20) == 0


def test_how_long_a_broker_takes_from_start_to_the_first_connack():
    took = []
    with Apart() as keel:
        for _ in range(7):
            keel.kill_broker()
            keel.start_broker(wait=False)
            host, port = harness.split(keel.mqtt)
            while True:
                try:
                    Client(keel, "first").close()
                    break
                except (OSError, AssertionError):
                    assert time.monotonic() < keel.broker.started + 20, keel.log()
            took.append((time.monotonic() - keel.broker.started) * 1000)
            keel.broker_ready()
    return f"broker start to first CONNACK: median {statistics.median(took):.0f} ms, max {max(took):.0f} ms of {len(took)} (promise: under 100 ms)"


def test_an_empty_machine_is_ready_soon():
    started = time.monotonic()
    with Keel():
        return f"keel dev on an empty directory: ready after {(time.monotonic() - started) * 1000:.0f} ms"


def test_every_program_says_which_version_it_is():
    said = {name: run(BUILD / name, "--version").stdout.split() for name in ("keel", "keel-broker", "keel-segstore")}
    version = said["keel"][1]
    assert said == {name: [name, version] for name in said}
    assert run(BUILD / "keel", "version").stdout.split() == ["keel", version]
    with Keel() as keel:
        for admin in (keel.admin, keel.store_admin):
            assert f'keel_build_info{{version="{version}"}} 1' in keel.http("/metrics", admin)[1]
