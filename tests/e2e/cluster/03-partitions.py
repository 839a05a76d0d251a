"""Three segment stores on three machines (network namespaces with a bridge between them): cables are pulled, routes vanish in one direction, packets get lost."""
import contextlib
import importlib.util
import itertools
import os
import shutil
import subprocess

import harness
from harness import Cluster, await_true
from rawmqtt import *

spec = importlib.util.spec_from_file_location("three_nodes", harness.ROOT / "tests" / "e2e" / "cluster" / "01-three-nodes.py")
three = importlib.util.module_from_spec(spec)
spec.loader.exec_module(three)

numbers = itertools.count()


def ip(*words, check=True):
    return subprocess.run(["ip", *map(str, words)], check=check, capture_output=True, text=True)


class Machines(Cluster):
    """A store in each of three namespaces at 10.77.N.1 to 3; broker and test at 10.77.N.254, this machine's end of the bridge."""

    def __init__(self, **more):
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise harness.Skip("only root can make network namespaces, with iproute2's ip")
        number = next(numbers)
        self.net, self.tag = (os.getpid() + number) % 250, f"k{os.getpid() % 100000}{chr(97 + number)}"
        if ip("netns", "add", f"{self.tag}-1", check=False).returncode != 0:
            raise harness.Skip("no network namespace can be made here")
        try:
            self.wire()
            super().__init__(start=False, **more)
            self.ports = {n: 7400 for n in (1, 2, 3)}
            self.segstore = ",".join(f"{self.address(n)}:7400" for n in self.ports)
            for n in self.ports:
                self.start_node(n, wait=False)
            for n in self.ports:
                self.stores[n].await_ready()
            self.start_broker()
        except BaseException:
            self.close()
            raise

    def address(self, n):
        return f"10.77.{self.net}.{n}"

    def wire(self):
        ip("link", "add", f"{self.tag}b", "type", "bridge")
        ip("addr", "add", f"{self.address(254)}/24", "dev", f"{self.tag}b")
        ip("link", "set", f"{self.tag}b", "up")
        for n in (1, 2, 3):
            if n > 1:
                ip("netns", "add", f"{self.tag}-{n}")
            ip("link", "add", f"{self.tag}v{n}", "type", "veth", "peer", "name", "eth0", "netns", f"{self.tag}-{n}")
            ip("link", "set", f"{self.tag}v{n}", "master", f"{self.tag}b", "up")
            self.inside(n, "addr", "add", f"{self.address(n)}/24", "dev", "eth0")
            self.inside(n, "link", "set", "eth0", "up")
            self.inside(n, "link", "set", "lo", "up")

    def inside(self, n, *words):
        return ip("-n", f"{self.tag}-{n}", *words)

    def start_node(self, n, wait=True):
        nodes = [w for m in self.ports for w in ("--set", f"segstore.nodes={m}@{self.address(m)}:7400")]
        self.stores[n] = harness.Process(
            [harness.BUILD / "keel-segstore", "--data", self.dir / f"data-{n}", "--segstore", "0.0.0.0:7400", "--segstore-admin", "127.0.0.1:0", "--shards", "1",
             "--set", f"segstore.node={n}", "--set", "segstore.cluster=e2e", "--set", "segstore.wal_file=4MiB", "--set", "segstore.stripes=8", *nodes],
            self.dir / f"store-{n}.log", wrapper=("ip", "netns", "exec", f"{self.tag}-{n}"))
        if wait:
            self.stores[n].await_ready()

    @contextlib.contextmanager
    def unplugged(self, n):
        ip("link", "set", f"{self.tag}v{n}", "down")
        yield
        ip("link", "set", f"{self.tag}v{n}", "up")

    @contextlib.contextmanager
    def deaf_to(self, n, other):
        """What n sends to other does not arrive; what other sends to n does."""
        self.inside(n, "route", "add", "blackhole", f"{self.address(other)}/32")
        yield
        self.inside(n, "route", "del", "blackhole", f"{self.address(other)}/32")

    def close(self):
        if hasattr(self, "stores"):
            super().close()
        for n in (1, 2, 3):
            ip("link", "del", f"{self.tag}v{n}", check=False)
            ip("netns", "del", f"{self.tag}-{n}", check=False)
        ip("link", "del", f"{self.tag}b", check=False)


def started(keel):
    three.subscribed(keel)
    publisher = three.Publisher(keel)
    publisher.start()
    publisher.await_more(30)
    return publisher


def test_each_machine_is_unplugged_in_turn():
    with Machines() as keel:
        publisher = started(keel)
        for n in (1, 2, 3):
            with keel.unplugged(n):
                publisher.await_more(40)
            publisher.await_more(20)
        publisher.stop()
        three.all_there(keel, publisher)
        return f"{publisher.acked} messages, the longest wait {publisher.longest:.2f} s"


def test_two_machines_that_do_not_hear_each_other():
    with Machines() as keel:
        publisher = started(keel)
        for a, b in ((1, 2), (2, 3), (3, 1)):
            with keel.deaf_to(a, b):
                publisher.await_more(40)
            publisher.await_more(20)
        publisher.stop()
        three.all_there(keel, publisher)
        return f"{publisher.acked} messages, the longest wait {publisher.longest:.2f} s"


def test_the_broker_loses_one_machine_that_the_others_still_hear():
    """Its stripes stay where they are: brokers wait for their leader, or for the lead to move; nothing is lost meanwhile."""
    with Machines() as keel:
        publisher = started(keel)
        keel.inside(2, "route", "add", "blackhole", f"{keel.address(254)}/32")
        publisher.join(3)
        keel.inside(2, "route", "del", "blackhole", f"{keel.address(254)}/32")
        publisher.await_more(40)
        publisher.stop()
        three.all_there(keel, publisher)


def test_a_tenth_of_the_packets_gets_lost():
    if shutil.which("tc") is None:
        raise harness.Skip("iproute2's tc is not installed")
    with Machines() as keel:
        publisher = started(keel)
        lossy = [subprocess.run(["tc", "qdisc", "add", "dev", f"{keel.tag}v{n}", "root", "netem", "loss", "10%"], capture_output=True) for n in (1, 2, 3)]
        if any(done.returncode != 0 for done in lossy):
            publisher.stop()
            raise harness.Skip("this kernel has no netem")
        publisher.await_more(30)
        publisher.stop()
        for n in (1, 2, 3):
            subprocess.run(["tc", "qdisc", "del", "dev", f"{keel.tag}v{n}", "root"], check=True, capture_output=True)
        three.all_there(keel, publisher)


def test_a_machine_that_is_alone_acknowledges_nothing():
    with Machines() as keel:
        publisher = started(keel)
        with keel.unplugged(1), keel.unplugged(2):
            before = publisher.acked
            publisher.join(3)
            assert publisher.acked <= before + 1
        publisher.await_more(30)
        publisher.stop()
        three.all_there(keel, publisher)
        await_true(keel.alive, "all of them live")
