"""harness - real processes on ports that the kernel chose, with data in a directory of their own.

    with Keel() as keel:            # `keel dev`: store and broker
        keel.host, keel.port        # MQTT
    with Apart() as keel:           # keel-segstore and keel-broker started one by one, to kill and start again
        keel.kill_broker(); keel.start_broker()

Waiting is for a condition with a deadline (await_true); no sleeping for a while and hoping.
KEEL_TARGET=mosquitto runs Mosquitto instead of `keel dev`, to check a test against another broker.
KEEL_BUILD=asan (tsan, debug, release) runs the programs of build/asan; what a sanitizer finds fails the test (Findings).
"""
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import textwrap
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODE = os.environ.get("KEEL_BUILD", "")
CLIENTS = ROOT / "build" / "clients"
BUILD = ROOT / "build" / MODE / "bin" if MODE else ROOT / "build"  # the programs
SLOWER = {"asan": 4.0, "tsan": 8.0}.get(MODE, 1.0)  # how much longer things may take in such a build
START_TIMEOUT = 30.0


class Skip(Exception):
    """This machine cannot run the test; the text says why."""


class Findings:
    """What sanitizers say about the programs that are started from now on, by this process and its children: one file per finding process."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="keel-findings-"))
        for name, own in (("ASAN", "detect_leaks=1"), ("UBSAN", "print_stacktrace=1"), ("TSAN", "second_deadlock_stack=1")):
            more = os.environ.get(f"{name}_OPTIONS", "")  # what you ask for beside, say fast_unwind_on_malloc=0
            os.environ[f"{name}_OPTIONS"] = f"{own}:{more}:log_path={self.dir}/of"

    def take(self):
        """The text of what was found since the last call; empty when nothing was."""
        text = ""
        for path in sorted(self.dir.iterdir()):
            text += path.read_text(errors="replace")
            path.unlink()
        return text

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def patience(seconds):
    """A time-out as this build needs it."""
    return seconds * SLOWER


def preloaded(library):
    """LD_PRELOAD for that library: before it stands the runtime of a sanitizer, which wants to be the first."""
    runtime = {"asan": "libasan.so", "tsan": "libtsan.so"}.get(MODE)
    if runtime is None:
        return f"LD_PRELOAD={library}"
    first = subprocess.run([os.environ.get("CC", "gcc"), f"-print-file-name={runtime}"], check=True, capture_output=True, text=True).stdout.strip()
    return f"LD_PRELOAD={first}:{library}"


def await_true(condition, what, timeout=10.0, every=0.01):
    """Asks until condition() is true; returns what it returned."""
    timeout = patience(timeout)
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(every)  # between two looks, not instead of looking


PORTS = range(20000, 32000)  # below those that the kernel gives to who asks for any


def free_port():
    """One that nobody has, nor gets by asking for any, and no other test picks next: all go through them in turn."""
    with open(pathlib.Path(tempfile.gettempdir()) / "keel-ports", "a+") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        turn.seek(0)
        last = int(turn.read() or 0)
        for step in range(1, len(PORTS) + 1):
            at = (last + step) % len(PORTS)
            with socket.socket() as s:
                try:
                    s.bind(("127.0.0.1", PORTS[at]))
                except OSError:
                    continue
            turn.truncate(0)
            turn.write(str(at))
            return PORTS[at]
    raise AssertionError("no port is free")


def split(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def fields(line):
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def children(pid):
    """Name to pid of the child processes of pid."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found[pathlib.Path(f"/proc/{child}/comm").read_text().strip()] = int(child)
    return found


def run(*args, timeout=30.0, input=None, **more):
    """A command to its end: CompletedProcess with text output."""
    return subprocess.run([str(a) for a in args], timeout=patience(timeout), input=input, capture_output=True, text=True, **more)


def mqtt_js():
    """node and the environment in which it finds MQTT.js; installed into build/npm by whoever needs it first."""
    node, folder = shutil.which("node"), ROOT / "build" / "npm"
    if node is None:
        raise Skip("node is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "node_modules" / "mqtt").exists() and shutil.which("npm"):
            subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, "mqtt@5"], capture_output=True, timeout=100)
    if not (folder / "node_modules" / "mqtt").exists():
        raise Skip("the npm package mqtt is not to be had here")
    return node, {**os.environ, "NODE_PATH": str(folder / "node_modules")}


class Process:
    """One program whose readiness is a line on a pipe (--ready-fd), whose log is a file."""

    def __init__(self, args, log, ready="fd", wrapper=(), env=None):
        self.log_path, self.line = pathlib.Path(log), ""
        self.started = time.monotonic()
        read_end, write_end = os.pipe()
        extra = ["--ready-fd", str(write_end)] if ready == "fd" else []
        with open(log, "ab") as out:
            self.popen = subprocess.Popen([*map(str, wrapper), *map(str, args), *extra], stdout=out, stderr=out, pass_fds=(write_end,),
                                          cwd=ROOT, env=env)
        os.close(write_end)
        self.ready_fd = read_end

    @property
    def pid(self):
        return self.popen.pid

    def await_ready(self, timeout=START_TIMEOUT):
        """The readiness line; fails with the log when the program ends first."""
        os.set_blocking(self.ready_fd, False)

        def line():
            try:
                self.line += os.read(self.ready_fd, 4096).decode()
            except BlockingIOError:
                pass
            assert "\n" in self.line or self.popen.poll() is None, f"ended with {self.popen.returncode} before it was ready:\n{self.log_tail()}"
            return "\n" in self.line

        await_true(line, f"readiness of {self.popen.args[0]}\n{self.log()}", timeout)
        return fields(self.line)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_tail(self):
        """The end of the log, set in as a report of a failure is (tests/run.sh shows such lines)."""
        return textwrap.indent("\n".join(self.log().splitlines()[-15:]), "     ")

    def alive(self):
        return self.popen.poll() is None

    def kill(self, number=signal.SIGKILL):
        if self.alive():
            self.popen.send_signal(number)
        return self.popen.wait(patience(30))

    def stop(self):
        """SIGTERM, and the exit status."""
        status = self.kill(signal.SIGTERM)
        os.close(self.ready_fd) if self.ready_fd >= 0 else None
        self.ready_fd = -1
        return status


class Server:
    """What every target has: an address to connect to and a directory of its own."""

    def __init__(self, data=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="keel-e2e-"))
        self.data = pathlib.Path(data) if data else self.dir / "data"
        self.host, self.port = "127.0.0.1", 0

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.close()

    def http(self, path, admin=None):
        """Status and text of GET path from the admin HTTP (of the broker, or of whom you say)."""
        try:
            with urllib.request.urlopen(f"http://{admin or self.admin}{path}", timeout=patience(10)) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name, admin=None):
        for line in self.http("/metrics", admin)[1].splitlines():
            if line.startswith(name + " "):
                return int(line.split()[1])
        raise AssertionError(f"no metric {name}")


class Keel(Server):
    """keel dev. store_http: where the store's HTTP is; nothing: where keel dev puts it by itself."""

    def __init__(self, *args, data=None, wrapper=(), store_http=("--segstore-admin", "127.0.0.1:0")):
        super().__init__(data)
        self.store_http = store_http
        self.args, self.wrapper = list(args), wrapper
        self.start()

    def start(self):
        self.process = Process([BUILD / "keel", "dev", "--data", self.data, "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--segstore",
                                "127.0.0.1:0", *self.store_http, *self.args], self.dir / "log", wrapper=self.wrapper)
        ready = self.process.await_ready()
        self.host, self.port = split(ready["mqtt"])
        self.admin, self.segstore, self.store_admin = ready["admin"], ready["segstore"], ready.get("segstore-admin")
        self.pids = children(self.process.pid)

    def alive(self):
        return self.process.alive()

    def log(self):
        return self.process.log()

    def restart(self):
        assert self.process.stop() == 0, self.log()
        self.start()

    def close(self):
        self.process.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Apart(Server):
    """The two programs, each started and killed by itself; ports stay the same over restarts."""

    def __init__(self, store_args=(), broker_args=(), data=None, start=True):
        super().__init__(data)
        self.store_args, self.broker_args = list(store_args), list(broker_args)
        self.store = self.broker = None
        self.segstore, self.mqtt, self.admin = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
        if start:
            self.start_store()
            self.start_broker()

    def start_store(self, wait=True, wrapper=()):
        self.store = Process([BUILD / "keel-segstore", "--data", self.data, "--segstore", self.segstore,
                              "--segstore-admin", "127.0.0.1:0", *self.store_args],
                             self.dir / "store.log", wrapper=wrapper)
        if wait:
            self.store_ready()

    def store_ready(self):
        ready = self.store.await_ready()
        self.segstore, self.store_admin = ready["listen"], ready.get("admin")

    def start_broker(self, wait=True, wrapper=()):
        self.broker = Process([BUILD / "keel-broker", "--mqtt", self.mqtt, "--admin", self.admin, "--segstore", self.segstore,
                               "--set", "broker.name=e2e", *self.broker_args], self.dir / "broker.log", wrapper=wrapper)
        if wait:
            self.broker_ready()

    def broker_ready(self):
        ready = self.broker.await_ready()
        self.mqtt, self.admin = ready["mqtt"], ready["admin"]
        self.host, self.port = split(self.mqtt)

    def kill_broker(self):
        self.broker.kill()

    def kill_store(self):
        self.store.kill()

    def alive(self):
        return self.store.alive() and self.broker.alive()

    def log(self):
        return "".join(f"-- {p.log_path.name}\n{p.log()}" for p in (self.store, self.broker) if p)

    def close(self):
        for process in (self.broker, self.store):
            if process:
                process.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Cluster(Server):
    """Several segment stores that keep the same stripes, and a broker that knows them all. Nodes count from 1."""

    def __init__(self, count=3, store_args=(), broker_args=(), start=True):
        super().__init__()
        self.store_args, self.broker_args = list(store_args), list(broker_args)
        self.ports = {n: free_port() for n in range(1, count + 1)}
        self.admins = {n: free_port() for n in range(1, count + 1)}  # HTTP of each node
        self.stores, self.broker = {}, None
        self.segstore, self.mqtt, self.admin = ",".join(f"127.0.0.1:{p}" for p in self.ports.values()), "127.0.0.1:0", "127.0.0.1:0"
        if start:
            for n in self.ports:
                self.start_node(n, wait=False)
            for n in self.ports:
                self.stores[n].await_ready()
            self.start_broker()

    def start_node(self, n, wait=True, data=None, args=(), ports=None, program=None, wrapper=()):
        nodes = [f"segstore.nodes={m}@127.0.0.1:{port}" for m, port in (ports or self.ports).items()]
        self.stores[n] = Process([program or BUILD / "keel-segstore", "--data", data or self.dir / f"data-{n}", "--segstore", f"127.0.0.1:{self.ports[n]}",
                                  "--segstore-admin", f"127.0.0.1:{self.admins.get(n, 0)}", "--shards", "1",
                                  "--set", f"segstore.node={n}", "--set", "segstore.cluster=e2e", "--set", "segstore.wal_file=4MiB",
                                  "--set", "segstore.stripes=8", *[w for node in nodes for w in ("--set", node)], *self.store_args, *args],
                                 self.dir / f"store-{n}.log", wrapper=wrapper)
        if wait:
            self.stores[n].await_ready()

    def start_broker(self):
        self.broker = Process([BUILD / "keel-broker", "--mqtt", self.mqtt, "--admin", self.admin, "--segstore", self.segstore, "--shards", "1",
                               "--set", "broker.name=e2e", *self.broker_args], self.dir / "broker.log")
        ready = self.broker.await_ready()
        self.mqtt, self.admin = ready["mqtt"], ready["admin"]
        self.host, self.port = split(self.mqtt)

    def alive(self):
        return self.broker.alive() and all(store.alive() for store in self.stores.values())

    def log(self):
        return "".join(f"-- {p.log_path.name}\n{p.log()}" for p in (*self.stores.values(), self.broker) if p)

    def close(self):
        for process in (self.broker, *self.stores.values()):
            if process:
                process.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Mosquitto(Server):
    """Another broker behind the same face."""

    def __init__(self, *config):
        super().__init__()
        self.config = config
        self.port = free_port()
        self.start()

    def start(self):
        conf = self.dir / "mosquitto.conf"
        self.dir.joinpath("data").mkdir(exist_ok=True)
        conf.write_text("\n".join([f"listener {self.port} 127.0.0.1", "allow_anonymous true", "persistence true", "max_queued_messages 0",
                                   f"persistence_location {self.dir}/data/", f"user {os.environ.get('USER', 'root')}", *self.config, ""]))
        self.process = Process(["mosquitto", "-c", conf], self.dir / "log", ready="none")
        await_true(self.listening, "mosquitto listens")

    def listening(self):
        try:
            socket.create_connection((self.host, self.port), 1).close()
            return True
        except OSError:
            return False

    def alive(self):
        return self.process.alive()

    def log(self):
        return self.process.log()

    def restart(self):
        self.process.stop()
        self.start()

    def close(self):
        self.process.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def server():
    """What the tests of a file share."""
    return Mosquitto() if os.environ.get("KEEL_TARGET") == "mosquitto" else Keel()
