"""machines - a cluster whose processes stand on machines of their own: network namespaces on one bridge, whose cables can be pulled and whose packets can be lost.

    store 1 .. N    10.77.X.1 ..        broker 1 .. M    10.77.X.101 ..        the test (clients)    10.77.X.254, this machine's end of the bridge

    with Machines(brokers=2) as keel:
        with keel.unplugged(2): ..                    # nobody hears machine 2
        with keel.deaf(2, to=[1, 3]): ..              # what 1 and 3 send does not arrive at 2; what 2 sends does
        with keel.apart([2], [1, 3]): ..              # both ways, the test and the brokers still reach all
        with keel.lossy([1, 2, 3], percent=10): ..    # of the packets that arrive there

Machines are named by the number of their store, brokers by "b1" ..; packets are dropped by nftables (numgen) where they arrive.
Needs root, iproute2 and nftables, else Skip with a sentence.
"""
import contextlib
import itertools
import os
import pathlib
import shutil
import subprocess
import tempfile

import harness
from harness import BUILD, Cluster, Process, Skip

numbers = itertools.count()


def ip(*words, check=True):
    return subprocess.run(["ip", *map(str, words)], check=check, capture_output=True, text=True)


class SmallDisk:
    """A directory on an ext4 of its own in a file of this machine."""

    def __init__(self, mib):
        if os.geteuid() != 0:
            raise Skip("only root can mount a small disk")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="keel-disk-"))
        self.image, self.path, self.mounted = self.folder / "image", self.folder / "mount", False
        self.path.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(mib << 20)
        made = harness.run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", self.image)
        self.mounted = made.returncode == 0 and harness.run("mount", "-o", "loop", self.image, self.path).returncode == 0
        if not self.mounted:
            self.close()
            raise Skip("no loop device can be mounted here")

    def fill(self):
        """Takes all that is free."""
        with open(self.path / "ballast", "wb", buffering=0) as file:
            for chunk in (1 << 20, 4096):
                with contextlib.suppress(OSError):  # full
                    while file.write(bytes(chunk)) == chunk:
                        pass

    def empty(self):
        (self.path / "ballast").unlink(missing_ok=True)

    def read_only(self, on=True):
        return harness.run("mount", "-o", f"remount,{'ro' if on else 'rw'}", self.path).returncode == 0

    def close(self):
        if self.mounted:
            subprocess.run(["umount", "-l", self.path], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Place:
    """Where clients connect: the broker whose turn it is."""

    def __init__(self, machines, number):
        self.machines, self.number = machines, number

    @property
    def host(self):
        return self.machines.address(f"b{self.number}")

    port = 1883


class Machines(Cluster):
    def __init__(self, count=3, brokers=1, disks=None, **more):
        """disks: {node: SmallDisk}, whose data lie there."""
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise Skip("only root can make network namespaces, with iproute2's ip")
        if shutil.which("nft") is None:
            raise Skip("packets are dropped by nft, which is not installed (Debian: nftables)")
        number = next(numbers)
        self.net, self.tag = (os.getpid() + number * 83) % 250, f"k{os.getpid() % 100000}{chr(97 + number % 26)}"
        self.names = [*range(1, count + 1), *(f"b{b}" for b in range(1, brokers + 1))]
        self.rules, self.disks, self.brokers, self.wired = {}, disks or {}, {}, []
        if ip("netns", "add", f"{self.tag}-probe", check=False).returncode != 0:
            raise Skip("no network namespace can be made here")
        ip("netns", "del", f"{self.tag}-probe", check=False)
        try:
            self.wire()
            super().__init__(start=False, **more)
            self.ports = {n: 7400 for n in range(1, count + 1)}
            self.segstore = ",".join(f"{self.address(n)}:7400" for n in self.ports)
            for n in self.ports:
                self.start_node(n, wait=False)
            for n in self.ports:
                self.stores[n].await_ready()
            for b in range(1, brokers + 1):
                self.start_broker(b)
        except BaseException:
            self.close()
            raise

    # -- machines

    def address(self, name):
        return f"10.77.{self.net}.{100 + int(name[1:]) if isinstance(name, str) else name}"

    @property
    def host(self):
        return self.address("b1")

    @host.setter
    def host(self, value):
        pass

    def wire(self):
        ip("link", "add", f"{self.tag}b", "type", "bridge")
        ip("addr", "add", f"{self.address(254)}/24", "dev", f"{self.tag}b")
        ip("link", "set", f"{self.tag}b", "up")
        for name in self.names:
            ip("netns", "add", f"{self.tag}-{name}")
            self.wired.append(name)
            ip("link", "add", f"{self.tag}v{name}", "type", "veth", "peer", "name", "eth0", "netns", f"{self.tag}-{name}")
            ip("link", "set", f"{self.tag}v{name}", "master", f"{self.tag}b", "up")
            ip("-n", f"{self.tag}-{name}", "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                ip("-n", f"{self.tag}-{name}", "link", "set", device, "up")

    def on(self, name):
        """Runs what follows on that machine."""
        return ("ip", "netns", "exec", f"{self.tag}-{name}")

    # -- processes

    def data_of(self, n):
        return (self.disks[n].path if n in self.disks else self.dir) / f"data-{n}"

    def start_node(self, n, wait=True, program=None, args=(), wrapper=()):
        nodes = [w for m in self.ports for w in ("--set", f"segstore.nodes={m}@{self.address(m)}:7400")]
        self.stores[n] = Process(
            [program or BUILD / "keel-segstore", "--data", self.data_of(n), "--segstore", "0.0.0.0:7400", "--segstore-admin", f"{self.address(n)}:7481", "--shards", "1",
             "--set", f"segstore.node={n}", "--set", "segstore.cluster=e2e", "--set", "segstore.wal_file=4MiB", "--set", "segstore.stripes=8", *nodes,
             *self.store_args, *args],
            self.dir / f"store-{n}.log", wrapper=(*self.on(n), *wrapper))
        if wait:
            self.stores[n].await_ready()

    def start_broker(self, b=1):
        self.brokers[b] = self.broker = Process(
            [BUILD / "keel-broker", "--mqtt", f"{self.address(f'b{b}')}:1883", "--admin", f"{self.address(f'b{b}')}:8080", "--segstore", self.segstore,
             "--shards", "1", "--set", "auth.anonymous=true", *self.broker_args], self.dir / f"broker-{b}.log", wrapper=self.on(f"b{b}"))
        self.brokers[b].await_ready()
        self.admin, self.port = f"{self.address('b1')}:8080", 1883

    def place(self, number):
        """Where the client of that number connects."""
        return Place(self, number % len(self.brokers) + 1)

    @property
    def admins(self):
        return {n: 7481 for n in self.ports}

    @admins.setter
    def admins(self, value):
        pass

    def status(self):
        """What keel ctl cluster says of all nodes: exit status and text."""
        done = harness.run(BUILD / "keel", "ctl", "cluster", "--segstore-admin", ",".join(f"{self.address(n)}:7481" for n in self.ports))
        return done.returncode, done.stdout + done.stderr

    def alive(self):
        return all(p.alive() for p in (*self.stores.values(), *self.brokers.values()))

    def log(self):
        return "".join(f"-- {p.log_path.name}\n{p.log()[-4000:]}" for p in (*self.stores.values(), *self.brokers.values()))

    # -- faults

    def filter(self, name):
        """Puts the rules of a machine in force; the text of the rules is the state."""
        rules = "".join(rule + "\n" for rule in self.rules.get(name, {}).values())
        text = f"flush ruleset\ntable inet faults {{\n chain in {{\n type filter hook input priority 0; policy accept;\n{rules}}}\n}}\n"
        done = subprocess.run([*self.on(name), "nft", "-f", "-"], input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise Skip(f"nft does not work here: {done.stderr.strip()[:200]}")

    @contextlib.contextmanager
    def dropping(self, rules):
        """rules: [(machine, text of a rule)]."""
        keys = []
        try:
            for name, text in rules:
                keys.append((name, object()))
                self.rules.setdefault(name, {})[keys[-1][1]] = text
                self.filter(name)
            yield
        finally:
            for name, key in keys:
                self.rules[name].pop(key, None)
                self.filter(name)

    def deaf(self, name, to):
        return self.dropping([(name, f"ip saddr {{ {', '.join(self.address(other) for other in to)} }} drop")])

    def apart(self, these, those):
        rules = []
        for here, there in ((these, those), (those, these)):
            rules += [(name, f"ip saddr {{ {', '.join(self.address(other) for other in there)} }} drop") for name in here]
        return self.dropping(rules)

    def lossy(self, names, percent):
        return self.dropping([(name, f"iif eth0 numgen random mod 100 < {percent} drop") for name in names])

    @contextlib.contextmanager
    def unplugged(self, name):
        ip("link", "set", f"{self.tag}v{name}", "down")
        try:
            yield
        finally:
            ip("link", "set", f"{self.tag}v{name}", "up")

    def close(self):
        for process in (*self.brokers.values(), *getattr(self, "stores", {}).values()):
            process.stop()
        if hasattr(self, "dir"):
            shutil.rmtree(self.dir, ignore_errors=True)
        for name in self.wired:
            ip("link", "del", f"{self.tag}v{name}", check=False)
            ip("netns", "del", f"{self.tag}-{name}", check=False)
        ip("link", "del", f"{self.tag}b", check=False)
