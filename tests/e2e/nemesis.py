"""nemesis - what happens to the machines of a cluster while clients work; nothing that was acknowledged may suffer.

    n = Nemesis(dice, brokers=1); n.run(rounds); n.close()        # raises with the first thing that is wrong

Each fault is a method that makes it, awaits that the clients go on where they can, and mends it. In a round each fault comes once, in an order that the dice choose.
"""
import contextlib
import re
import signal
import time

import harness
from harness import await_true
from machines import Machines, SmallDisk
from workload import Workload

DISK_MIB, RESERVE_MIB = 160, 16
STORE = ("--set", "segstore.wal_file=1MiB", "--set", "segstore.checkpoint=4MiB", "--set", "segstore.checkpoint_interval=2", "--set", f"segstore.disk_reserve={RESERVE_MIB}MiB",
         "--set", "segstore.scrub_period=2")
MORE = 15  # acknowledged messages of each publisher that show that they go on
BLOCK = 4096


class Nemesis:
    def __init__(self, dice, brokers=1, say=lambda text: None):
        self.dice, self.say, self.keel, self.done = dice, say, None, []
        self.disk = SmallDisk(DISK_MIB)
        try:
            self.keel = Machines(brokers=brokers, disks={3: self.disk}, store_args=STORE)
            self.load = Workload(self.keel.place, publishers=(1, 2, 2), subscribers=(1, 2), registers=2, window=4, size=3000)
            self.load.start()
        except BaseException:
            self.close()
            raise

    @property
    def nodes(self):
        return list(self.keel.stores)

    def one(self):
        return self.dice.choice(self.nodes)

    def go_on(self, seconds=40):
        """The fault lasts for longer than an election, and the clients are served all the same."""
        until = time.monotonic() + self.dice.uniform(1.0, 2.5)
        while time.monotonic() < until:
            self.load.await_more(3, seconds)
        self.load.await_more(MORE, seconds)

    def settled(self):
        """All nodes are up and have all, so that the next fault does not take a second copy."""
        def well():
            assert self.keel.alive(), f"a process has ended by itself: {[p.popen.returncode for p in (*self.keel.stores.values(), *self.keel.brokers.values())]}"
            return self.load.healthy() and self.keel.status()[0] == 0
        await_true(well, "the cluster is well again", 60)

    # -- processes

    def node_is_killed(self):
        n = self.one()
        self.keel.stores[n].kill()
        self.go_on()
        self.keel.start_node(n)

    def broker_is_killed(self):
        b = self.dice.choice(list(self.keel.brokers))
        self.keel.brokers[b].kill()
        self.keel.start_broker(b)

    def all_are_killed(self):
        for process in (*self.keel.stores.values(), *self.keel.brokers.values()):
            process.kill()
        for n in self.nodes:
            self.keel.start_node(n, wait=False)
        for store in self.keel.stores.values():
            store.await_ready()
        for b in self.keel.brokers:
            self.keel.start_broker(b)

    def two_nodes_are_killed(self):
        both = self.dice.sample(self.nodes, 2)
        for n in both:
            self.keel.stores[n].kill()
        for n in both:
            self.keel.start_node(n)

    def node_stands_still(self):
        store = self.keel.stores[self.one()]
        store.popen.send_signal(signal.SIGSTOP)
        try:
            self.go_on()
        finally:
            store.popen.send_signal(signal.SIGCONT)

    def node_stutters(self):
        """Longer than an election takes, and back before anybody has given it up."""
        store = self.keel.stores[self.one()]
        for _ in range(4):
            store.popen.send_signal(signal.SIGSTOP)
            try:
                with contextlib.suppress(AssertionError):  # the clients may wait for this very node
                    self.load.await_more(1, self.dice.uniform(0.3, 1.4), reads=0)
            finally:
                store.popen.send_signal(signal.SIGCONT)
            self.load.await_more(1)

    # -- the network

    def node_is_unplugged(self):
        with self.keel.unplugged(self.one()):
            self.go_on()

    def node_is_apart_from_the_others(self):
        """Brokers reach all of them."""
        n = self.one()
        with self.keel.apart([n], [m for m in self.nodes if m != n]):
            self.go_on()

    def node_hears_nobody(self):
        n = self.one()
        with self.keel.deaf(n, [name for name in self.keel.names if name != n]):
            self.go_on()

    def nobody_hears_a_node(self):
        n = self.one()
        with contextlib.ExitStack() as stack:
            for name in self.keel.names:
                if name != n:
                    stack.enter_context(self.keel.deaf(name, [n]))
            self.go_on()

    def node_does_not_hear_another(self):
        a, b = self.dice.sample(self.nodes, 2)
        with self.keel.deaf(a, [b]):
            self.go_on()

    def two_nodes_are_apart(self):
        """The third hears both."""
        a, b = self.dice.sample(self.nodes, 2)
        with self.keel.apart([a], [b]):
            self.go_on()

    def broker_is_apart_from_a_node(self):
        """Stripes that it leads wait until it is mended, or until the lead moves; a short time."""
        with self.keel.apart([f"b{self.dice.choice(list(self.keel.brokers))}"], [self.one()]):
            with contextlib.suppress(AssertionError):
                self.load.await_more(MORE, 3, reads=0)
            self.load.healthy()

    def packets_get_lost(self):
        with self.keel.lossy(self.keel.names, self.dice.choice((2, 5, 10))):
            self.go_on(60)

    def one_loses_packets(self):
        with self.keel.lossy([self.one()], 30):
            self.go_on(60)

    # -- disks

    def disk_is_full(self):
        """Publishers whose stripe it leads are refused (0x97); the others go on; nothing that was taken is lost, also when it is killed now."""
        self.disk.fill()
        try:
            with contextlib.suppress(AssertionError):
                self.load.await_more(MORE, 3, reads=0)
            self.load.healthy()
            if self.dice.random() < 0.5:
                self.keel.stores[3].kill()
                self.keel.start_node(3)
        finally:
            self.disk.empty()

    def flip(self, n, closed):
        """Changes a byte of a block that is written, in the newest WAL file with data or in one before. Where it was done."""
        files = sorted(path for path in (self.keel.data_of(n) / "shard-00" / "wal").iterdir() if re.fullmatch("[0-9]+", path.name))
        used = [path for path in files if path.read_bytes().strip(b"\0")]
        path = used[-1] if not closed or len(used) < 2 else self.dice.choice(used[:-1])
        data = bytearray(path.read_bytes())
        pages = [at for at in range(0, len(data), BLOCK) if data[at:at + BLOCK].strip(b"\0")]
        page = self.dice.choice(pages[:-1] or pages)
        where = self.dice.choice([at for at in range(page, page + BLOCK) if data[at]])
        data[where] ^= 1 << self.dice.randrange(8)
        with open(path, "r+b") as file:
            file.seek(where)
            file.write(data[where:where + 1])
        return f"node {n}, {path.name} at {where}"

    def byte_flips_in_a_closed_file(self):
        self.byte_flips(closed=True)

    def byte_flips_in_the_open_file(self):
        self.byte_flips(closed=False)

    def byte_flips_under_a_running_node(self):
        """The log is read again in the background: what is found is fetched from the others while clients go on."""
        n = self.one()
        with contextlib.suppress(FileNotFoundError):  # that file was not needed any more
            self.flip(n, closed=True)
        self.go_on()

    def byte_flips(self, closed):
        n = self.one()
        self.keel.stores[n].kill()
        where = self.flip(n, closed)
        self.keel.start_node(n)
        self.go_on()
        try:
            self.settled()
        except AssertionError:
            raise AssertionError(f"not repaired: {where}\n{self.keel.status()[1]}\n{self.keel.stores[n].log()[-3000:]}") from None

    FAULTS = (node_is_killed, broker_is_killed, all_are_killed, two_nodes_are_killed, node_stands_still, node_stutters, node_is_unplugged, node_is_apart_from_the_others,
              node_hears_nobody, nobody_hears_a_node, node_does_not_hear_another, two_nodes_are_apart, broker_is_apart_from_a_node, packets_get_lost,
              one_loses_packets, disk_is_full, byte_flips_in_a_closed_file, byte_flips_in_the_open_file,
              byte_flips_under_a_running_node)

    # -- the run

    def run(self, rounds=1, only=()):
        faults = [f for f in self.FAULTS if not only or any(word in f.__name__ for word in only)]
        self.load.await_more(MORE)
        for _ in range(rounds):
            for fault in self.dice.sample(faults, len(faults)):
                self.say(fault.__name__)
                self.done.append(fault.__name__)
                try:
                    fault(self)
                    self.load.await_more(3)
                    self.settled()
                except AssertionError as failure:
                    raise AssertionError(f"{fault.__name__}: {failure}\n{self.keel.log()}") from None
        wrong = self.load.finish()
        assert self.keel.alive(), self.keel.log()
        assert not wrong, "\n     ".join([*wrong[:10], f"after {', '.join(self.done)}"])
        return f"{len(self.done)} faults; {self.load.summary()}"

    def close(self):
        if self.keel:
            self.keel.close()
        self.disk.close()
