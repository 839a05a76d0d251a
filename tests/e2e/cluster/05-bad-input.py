"""What a cluster meets that it should not: strangers, garbage, silence, wrong directories, wrong clocks, read-only disks. Each is told with a sentence, and none of it
costs an acknowledged record: clients work all the time, and their histories are checked."""
import contextlib
import os
import re
import socket
import threading

import harness
from harness import BUILD, CLIENTS, Apart, Cluster, await_true, free_port, patience, preloaded, run
from machines import SmallDisk
from rawmqtt import *
from rawrpc import ERROR, PEER_HELLO, PEER_WELCOME, PING, PONG, RAFT, WELCOME, Peer, frame, hello, peer_hello
from workload import Workload

KEEP = {"session_expiry": 600}


@contextlib.contextmanager
def at_work(**more):
    """A cluster and clients; at the end nothing may be wrong."""
    with Cluster(**more) as keel:
        load = Workload(lambda n: keel, publishers=(1, 2), subscribers=(1, 2), registers=1, window=2)
        load.start()
        yield keel, load
        load.await_more(10)
        wrong = load.finish()
        assert not wrong, "\n     ".join(wrong)
        assert keel.alive(), keel.log()


def says(keel, n, words):
    await_true(lambda: words in keel.stores[n].log(), f"node {n} says: {words}\n{keel.stores[n].log()[-1500:]}")


def test_strangers_at_the_door_of_a_node_are_turned_away_with_a_sentence():
    with at_work() as (keel, load):
        port = keel.ports[1]
        for first, words in ((peer_hello(cluster="another"), "this node belongs to another cluster: look at segstore.cluster and segstore.nodes"),
                             (peer_hello(sender=9), "segstore.nodes differs between the two nodes"),
                             (peer_hello(to=2), "segstore.nodes differs between the two nodes"),
                             (peer_hello(stripes=16), "this node has another number of shards or stripes"),
                             (peer_hello(shard=3), "there is no such shard"),
                             (peer_hello(magic=7), "the first frame must be HELLO"),
                             (peer_hello(incarnation=99), "a node whose disk was lost comes back under a new number"),
                             (hello(magic=7), "the first frame must be HELLO"),
                             (frame(RAFT, b"x" * 64), "the first frame must be HELLO"),
                             (frame(PEER_HELLO, b"x"), "the first frame must be HELLO")):
            with Peer("127.0.0.1", port) as stranger:
                stranger.send(first)
                status, text = stranger.error()
                assert words in text and status < 0, f"{status} {text}"
                assert stranger.closed()
            load.await_more(1)


def test_what_a_broker_process_has_on_its_way_ends_when_a_later_one_of_the_same_place_is_there():
    with Cluster() as keel:
        port = keel.ports[1]
        with Peer("127.0.0.1", port) as former, Peer("127.0.0.1", port) as other, Peer("127.0.0.1", port) as heir:
            for peer, instance, place in ((former, 1, 50), (other, 2, 51), (heir, 3, 50)):
                peer.send(hello(instance=instance, owner=instance, place=place))
                kind, id, _ = peer.recv()
                if peer is heir:  # the former is there: does this one live?
                    assert kind == PING
                    peer.send(frame(PONG, id=id))
                    kind, id, _ = peer.recv()
                assert kind == WELCOME
            assert former.closed()
            with Peer("127.0.0.1", port) as late:  # one that was on its way for long
                late.send(hello(instance=1, owner=1, place=50))
                status, text = late.error()
                assert "a later process of this broker" in text and status == -5007, f"{status} {text}"
            with Peer("127.0.0.1", port) as dead:  # a HELLO of somebody who died before it was read, and of whom the store has not heard
                dead.send(hello(instance=4, owner=4, place=50))
                assert dead.recv()[0] == PING
                for peer in (other, heir):
                    peer.send(frame(PING, id=8))
                    while peer.recv()[:2] != (PONG, 8):
                        pass
                dead.send(frame(PONG, id=12345))  # no answer to that question
                dead.send(frame(PING, id=7))
                assert dead.recv()[:2] == (PONG, 7)
            for peer in (other, heir):
                peer.send(frame(PING, id=9))
                while (answer := peer.recv())[0] != PONG:
                    pass
                assert answer[1] == 9


def test_garbage_ends_its_own_connection_and_nothing_else():
    with at_work() as (keel, load):
        port = keel.ports[1]
        random = os.urandom(4096)
        for bytes_, words in ((b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "a frame larger than the limit"),
                              (b"\xff" * 64, "a frame larger than the limit"),
                              (frame(PEER_HELLO, random, checksum=1), "a frame whose checksum does not match"),
                              (peer_hello()[:-1] + b"\x7f", "a frame whose checksum does not match")):
            def turned_away():
                with Peer("127.0.0.1", port) as stranger:
                    stranger.send(bytes_)
                    assert stranger.closed()
                return words in keel.stores[1].log()
            await_true(turned_away, words)  # one such line a second
            load.await_more(1)
        with Peer("127.0.0.1", port) as stranger:  # half a frame and then the end
            stranger.send(peer_hello()[:20])


def test_a_peer_that_connects_and_says_nothing_costs_a_connection_for_ten_seconds():
    with at_work() as (keel, load):
        with Peer("127.0.0.1", keel.ports[1], timeout=25) as silent, Peer("127.0.0.1", keel.ports[2], timeout=25) as half:
            half.send(peer_hello()[:30])
            load.await_more(10)
            assert silent.closed() and half.closed()
        says(keel, 1, "has said nothing for")


class Impostor(threading.Thread):
    """Listens in the place of a node and answers whatever it is told to: nothing (it stalls) when that is None."""

    def __init__(self, port, answer):
        super().__init__(daemon=True)
        self.answer, self.sockets = answer, []
        self.listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.sockets.append(sock)
                if self.answer is not None:
                    sock.sendall(self.answer)

    def close(self):
        for sock in (self.listener, *self.sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def test_a_machine_that_answers_in_the_place_of_a_node_is_not_taken_for_it():
    with at_work() as (keel, load):
        keel.stores[3].kill()
        load.await_more(10)
        for answer, words in ((b"SSH-2.0-OpenSSH_9.2p1\r\n" * 9, "it sent a damaged frame"),
                              (frame(PEER_WELCOME, b"\1" * 16), "its data directory is not the one that it had"),
                              (frame(ERROR, b"\xff\xff\xff\xff\4\0\0\0nono"), "it refuses this node"),
                              (None, "no sign of life for 3 s")):
            keel.stores[1].kill()
            with contextlib.closing(Impostor(keel.ports[3], answer)):
                keel.start_node(1)  # what it says of a node comes once in ten seconds
                says(keel, 1, words)
                load.await_more(10)
        keel.start_node(3)


def test_a_foreign_data_directory_is_refused_at_start():
    with at_work() as (keel, load), Apart(store_args=("--shards", "1", "--set", "segstore.stripes=8"), broker_args=("--shards", "1")) as alone:
        keel.stores[3].kill()

        def refused(n, words, **more):
            keel.stores[n].kill()
            keel.start_node(n, wait=False, **more)
            assert keel.stores[n].popen.wait(patience(20)) == 1, keel.stores[n].log()[-500:]
            assert words in keel.stores[n].log(), keel.stores[n].log()[-800:]

        alone.kill_broker()
        alone.kill_store()
        refused(3, "belongs to another cluster", args=("--set", "segstore.cluster=another"))
        refused(3, "with 8 stripes, this start asks for shard 0 with 16", args=("--set", "segstore.stripes=16"))
        refused(3, "belongs to node 1, this start says node 3", data=alone.data)
        keel.start_node(3)
        load.await_more(10)
        refused(1, "belongs to another cluster", data=alone.data)
        keel.start_node(1)


def test_a_second_process_on_the_directory_of_a_node_is_refused():
    with at_work() as (keel, load):  # the second one waits for ten seconds, as a process that was killed may be still going
        nodes = [w for n, port in keel.ports.items() for w in ("--set", f"segstore.nodes={n}@127.0.0.1:{port}")]
        done = run(BUILD / "keel-segstore", "--data", keel.dir / "data-1", "--segstore", f"127.0.0.1:{free_port()}", "--segstore-admin", "off", "--shards", "1", "--set",
                   "segstore.node=1", "--set", "segstore.cluster=e2e", "--set", "segstore.stripes=8", "--set", "segstore.wal_file=4MiB", *nodes, timeout=30)
        assert done.returncode == 1 and "another process" in done.stderr and str(keel.dir / "data-1") in done.stderr, done
        load.await_more(10)


def test_a_disk_that_turns_read_only_stops_its_node_and_nothing_else():
    disk = SmallDisk(160)
    try:
        class OnDisk(Cluster):
            def start_node(self, n, **more):
                super().start_node(n, **{**more, **({"data": disk.path / "data"} if n == 2 else {})})

        with OnDisk(store_args=("--set", "segstore.disk_reserve=16MiB")) as keel:
            load = Workload(lambda n: keel, publishers=(1, 2), subscribers=(1, 2), registers=1, window=2)
            load.start()
            load.await_more(20)
            keel.stores[2].kill()
            await_true(disk.read_only, "the disk is read-only once the killed process has let go of it")
            load.await_more(20)
            keel.start_node(2, wait=False)
            assert keel.stores[2].popen.wait(patience(20)) == 1, keel.stores[2].log()[-800:]
            assert re.search("Read-only file system", keel.stores[2].log()), keel.stores[2].log()[-800:]
            load.await_more(20)
            assert disk.read_only(False)
            keel.start_node(2)
            load.await_more(20)
            keel.stores[1].kill()  # now node 2 is needed
            load.await_more(20)
            keel.start_node(1)
            wrong = load.finish()
            assert not wrong, "\n     ".join(wrong)
    finally:
        disk.close()


class WrongClock(Cluster):
    """The clocks of some nodes are hours off; what they measure time with is not."""

    def __init__(self, hours, **more):
        if not (CLIENTS / "wrong_clock.so").exists():
            raise harness.Skip("build/clients/wrong_clock.so is not built: make clients")
        self.hours = hours
        super().__init__(**more)

    def start_node(self, n, **more):
        off = self.hours.get(n, 0)
        wrapper = ("env", preloaded(CLIENTS / "wrong_clock.so"), f"WRONG_CLOCK={off * 3600}") if off else ()
        super().start_node(n, wrapper=wrapper, **more)


def led_by(keel, n):
    return keel.metric("keel_segstore_stripes_led", f"127.0.0.1:{keel.admins[n]}")


def test_a_clock_that_is_an_hour_off_ends_no_session_and_costs_no_message():
    for hours in (1, -1):
        with WrongClock({2: hours}) as keel:
            names = [f"away-{n}" for n in range(16)]
            for name in names:
                with Client(keel, name, clean=False, props=KEEP) as c:
                    c.subscribe(f"to/{name}", 1)
            with Client(keel, "pub") as pub:
                for name in names:
                    pub.publish(f"to/{name}", name.encode(), 1, props={"message_expiry": 900})
                keel.stores[3].kill()
                pub.publish("to/all", b"", 1)
                await_true(lambda: led_by(keel, 1) + led_by(keel, 2) == 8, "two nodes lead all")
                keel.start_node(3)
                await_true(lambda: led_by(keel, 3) > 0, "the third leads again")
                keel.stores[1].kill()
                await_true(lambda: led_by(keel, 2) + led_by(keel, 3) == 8, "the other two lead all")
                for name in names:
                    pub.publish(f"to/{name}", name.encode() + b" again", 1)
            for name in names:
                with Client(keel, name, clean=False, props=KEEP) as c:
                    assert c.connack.session_present == 1, f"the session {name} was ended by a clock that is {hours} h off"
                    assert [m.payload for m in c.messages(2)] == [name.encode(), name.encode() + b" again"]
            assert re.search(f"the clock of this machine is (3600|3599) s {'ahead of' if hours > 0 else 'behind'} those of the other nodes", keel.stores[2].log()), keel.stores[2].log()
            assert "the clock of this machine" not in keel.stores[3].log()
            keel.start_node(1)


def test_clients_work_on_while_the_clocks_of_two_nodes_are_hours_off():
    with WrongClock({1: 1, 3: -1}) as keel:
        load = Workload(lambda n: keel, publishers=(1, 2), subscribers=(1, 2), registers=1, window=2)
        load.start()
        for n in (1, 2, 3):
            keel.stores[n].kill()
            load.await_more(30)
            keel.start_node(n)
            load.await_more(30)
        wrong = load.finish()
        assert not wrong, "\n     ".join(wrong)
