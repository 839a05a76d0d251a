"""A Unix socket for clients of this machine."""
import os
import pathlib
import signal
import socket
import stat
import subprocess
import tempfile

import harness
from harness import Apart, Keel, await_true, run
from rawmqtt import *


class Folder:
    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="keel-unix-"))
        self.path = self.dir / "mqtt.sock"
        return self.path

    def __exit__(self, *failure):
        for path in self.dir.iterdir():
            path.unlink()
        self.dir.rmdir()


class Local(Client):
    """The raw client over a path."""

    def __init__(self, path, *args, **more):
        self.path = path
        super().__init__(Nowhere, *args, **more)

    def wrap(self, sock):
        sock.close()
        local = socket.socket(socket.AF_UNIX)
        local.settimeout(self.timeout)
        local.connect(str(self.path))
        return local


class Nowhere:
    """What the raw client connects to before it is wrapped."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    host, port = listener.getsockname()


def test_clients_on_both_sides_of_it_hear_each_other_and_need_no_name():
    with Folder() as path, Keel("--set", f"mqtt.unix={path}") as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with Local(path, "inside") as inside, Client(server, "outside") as outside:
            inside.subscribe("unix/in", 1)
            outside.subscribe("unix/out", 2)
            outside.publish("unix/in", b"x" * 100000, 1)
            assert inside.message().payload == b"x" * 100000
            inside.publish("unix/out", b"back", 2)
            assert outside.message().payload == b"back"
        await_true(lambda: server.metric("keel_connections_unix_total") == 1, "it is counted")


def test_mosquitto_pub_and_sub_over_it():
    with Folder() as path, Keel("--set", f"mqtt.unix={path}") as server:
        sub = subprocess.Popen(["mosquitto_sub", "--unix", str(path), "-t", "unix/m", "-C", "1", "-W", "20", "-q", "1"], stdout=subprocess.PIPE, text=True)
        await_true(lambda: server.metric("keel_subscriptions") == 1, "subscribed")
        done = run("mosquitto_pub", "--unix", path, "-t", "unix/m", "-m", "hello", "-q", "1")
        assert done.returncode == 0, done
        assert sub.communicate(timeout=20)[0] == "hello\n"


def test_the_file_goes_with_the_broker_and_one_left_by_a_killed_one_is_replaced():
    with Folder() as path, Apart(broker_args=("--set", f"mqtt.unix={path}", "--set", "mqtt.unix_mode=owner")) as keel:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        keel.kill_broker()
        assert path.exists(), "nobody could remove it"
        keel.start_broker()
        Local(path, "again").close()
        assert keel.broker.stop() == 0
        assert not path.exists()
        keel.start_broker()


def test_a_path_that_cannot_be_had_is_named():
    with Folder() as path, Keel("--set", f"mqtt.unix={path}"), Apart(start=False) as server:
        server.start_store()
        for taken in (path, path.parent / "no" / "such", "x" * 120):
            done = run(harness.BUILD / "keel-broker", "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--segstore", server.segstore, "--set", f"mqtt.unix={taken}", timeout=20)
            assert done.returncode in (1, 2) and ("mqtt.unix" in done.stderr), done
        (path.parent / "file").write_text("not a socket")
        done = run(harness.BUILD / "keel-broker", "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--segstore", server.segstore, "--set", f"mqtt.unix={path.parent}/file", timeout=20)
        assert done.returncode == 1 and (path.parent / "file").read_text() == "not a socket", done
        Local(path, "still-there").close()
