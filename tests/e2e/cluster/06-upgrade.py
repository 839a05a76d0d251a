"""A cluster is upgraded, and set back, node by node under load: the next minor version says more than this one knows (shared/rpc/next.h)."""
import harness
from harness import Cluster, await_true
from rawrpc import Peer, hello, peer_hello
from workload import Workload

NEXT = harness.ROOT / "build" / (harness.MODE or "release") / "next" / "keel-segstore"


class Mixed(Cluster):
    """A cluster whose nodes may be of either version."""

    program = {}

    def start_node(self, n, **more):
        super().start_node(n, program=self.program.get(n), **more)

    def change(self, n, program):
        """As an operator does: stopped, not killed; the next one only when all is well."""
        assert self.stores[n].stop() == 0, self.stores[n].log()
        self.program = {**self.program, n: program}
        self.start_node(n)

    def well(self):
        addresses = ",".join(f"127.0.0.1:{port}" for port in self.admins.values())
        return harness.run(harness.BUILD / "keel", "ctl", "cluster", "--segstore-admin", addresses).returncode == 0


def rolled(keel, load, orders):
    for program, order in orders:
        for n in order:
            load.await_more(30)
            keel.change(n, program)
            load.await_more(30)
            await_true(lambda: load.healthy() and keel.well(), f"all is well with node {n} of {'the next' if program else 'this'} version", 30)
    wrong = load.finish()
    assert not wrong, "\n     ".join(wrong)
    assert keel.alive(), keel.log()
    assert "malformed" not in keel.log() and "damaged" not in keel.log(), keel.log()[-3000:]
    return load.summary()


def test_a_cluster_is_upgraded_node_by_node_and_back():
    if not NEXT.exists():
        raise harness.Skip(f"{NEXT} is not built: make next")
    with Mixed(store_args=("--set", "segstore.checkpoint_interval=1")) as keel:
        load = Workload(lambda n: keel, publishers=(1, 2), subscribers=(1, 2), registers=2, window=4, size=2000)
        load.start()
        return rolled(keel, load, ((NEXT, (1, 2, 3)), (None, (2, 3, 1))))


def test_a_node_of_the_next_version_takes_an_image_of_this_one_and_the_other_way_round():
    """One that was away for longer than the log goes back."""
    if not NEXT.exists():
        raise harness.Skip(f"{NEXT} is not built: make next")
    args = ("--set", "segstore.checkpoint=1MiB", "--set", "segstore.wal_file=1MiB", "--set", "segstore.checkpoint_interval=1")
    with Mixed(store_args=args) as keel:
        load = Workload(lambda n: keel, publishers=(1, 2), subscribers=(1, 2), registers=1, window=8, size=3000)
        load.start()
        for program, n in ((NEXT, 2), (None, 2)):
            keel.stores[n].kill()
            taken = keel.stores[n].log().count("the image as of entry")
            load.await_more(1200, 60)
            for other in (1, 3):  # one that was started anew knows its log behind its checkpoint only
                keel.stores[other].kill()
                keel.start_node(other)
                load.await_more(10)
            keel.program = {n: program}
            keel.start_node(n)
            await_true(lambda: load.healthy() and keel.stores[n].log().count("the image as of entry") > taken, "an image takes its place", 30)
            await_true(lambda: load.healthy() and keel.well(), "all is well", 30)
        wrong = load.finish()
        assert not wrong, "\n     ".join(wrong)
        return load.summary()


def test_another_major_version_is_turned_away_with_a_sentence():
    with Cluster() as keel:
        port = keel.ports[1]
        with Peer("127.0.0.1", port) as other:
            other.send(peer_hello(major=4))
            status, text = other.error()
            assert text == "this node speaks version 3 of the RPC, yours version 4: nodes of a cluster need the same major version", text
            assert other.closed()
        await_true(lambda: "is turned away: this node speaks version 3 of the RPC, yours version 4" in keel.stores[1].log(), "the log says it, too")
        with Peer("127.0.0.1", port) as broker:
            broker.send(hello(major=2))
            status, text = broker.error()
            assert text == "this store speaks version 3 of the RPC, the broker version 2", text
            assert broker.closed()
        with Peer("127.0.0.1", port) as newer:  # a newer minor version is no reason
            newer.send(peer_hello(sender=2, minor=7, incarnation=1))
            status, text = newer.error()
            assert "data directory of your node is not the one that it had" in text, text
