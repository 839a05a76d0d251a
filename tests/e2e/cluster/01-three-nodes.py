"""Three segment stores: any one may be killed, stopped or started anew, and nothing that was acknowledged is lost or comes twice."""
import os
import signal
import threading
import time

from harness import BUILD, Cluster, await_true, free_port, patience, run
from rawmqtt import *

KEEP = {"session_expiry": 600, "receive_max": 100}


class Publisher(threading.Thread):
    """QoS 2, one after the other, for as long as it is let; remembers what was acknowledged and how long the longest wait was."""

    def __init__(self, server, topics=4):
        super().__init__(daemon=True)
        self.client = Client(server, "publisher", clean=False, props=KEEP, timeout=60)
        self.topics, self.done, self.error = topics, threading.Event(), None
        self.sent, self.acked, self.longest = [0] * topics, 0, 0.0

    def run(self):
        try:
            while not self.done.is_set():
                topic = self.acked % self.topics
                begun = time.monotonic()
                self.client.send(publish(f"t/{topic}", b"%08d" % self.sent[topic], 2, id=1))
                assert self.client.expect(PUBREC, id=1).reason < 0x80
                self.client.send(ack(PUBREL, 1))
                self.client.expect(PUBCOMP, id=1)
                self.longest = max(self.longest, time.monotonic() - begun)
                self.sent[topic] += 1
                self.acked += 1
        except Exception as error:  # shown by whoever waits for it
            self.error = error

    def await_more(self, count):
        until = self.acked + count
        await_true(lambda: self.error or self.acked >= until, f"{count} more acknowledged messages", 40)
        assert not self.error, self.error

    def stop(self):
        self.done.set()
        self.join(patience(60))
        assert not self.error, self.error


def subscribed(server):
    with Client(server, "subscriber", clean=False, props=KEEP) as sub:
        sub.subscribe("t/#", 2)


def all_there(server, publisher):
    """Each once, in the order of its topic."""
    with Client(server, "subscriber", clean=False, props=KEEP, timeout=40) as sub:
        assert sub.connack.session_present == 1
        seen = [0] * publisher.topics
        for _ in range(publisher.acked):
            message = sub.message()
            topic = int(message.topic.split("/")[1])
            assert message.payload == b"%08d" % seen[topic], f"t/{topic}: {message.payload} where {seen[topic]} was next"
            seen[topic] += 1
        assert sub.until_ping() == []
        assert seen == publisher.sent


def test_each_node_is_killed_in_turn():
    with Cluster() as keel:
        subscribed(keel)
        publisher = Publisher(keel)
        publisher.start()
        publisher.await_more(50)
        for n in (1, 2, 3, 1):
            keel.stores[n].kill()
            publisher.await_more(50)
            keel.start_node(n)
            publisher.await_more(50)
        publisher.stop()
        all_there(keel, publisher)
        return f"{publisher.acked} messages, the longest wait {publisher.longest:.2f} s"


def test_a_node_that_stands_still_is_left_behind_and_comes_back():
    with Cluster() as keel:
        subscribed(keel)
        publisher = Publisher(keel)
        publisher.start()
        publisher.await_more(20)
        for n in (1, 2):
            keel.stores[n].popen.send_signal(signal.SIGSTOP)
            try:
                publisher.await_more(50)
            finally:
                keel.stores[n].popen.send_signal(signal.SIGCONT)
            publisher.await_more(20)
        publisher.stop()
        all_there(keel, publisher)
        return f"{publisher.acked} messages, the longest wait {publisher.longest:.2f} s"


def test_without_a_majority_nothing_is_acknowledged_and_nothing_lost():
    with Cluster() as keel:
        subscribed(keel)
        publisher = Publisher(keel)
        publisher.start()
        publisher.await_more(20)
        with Client(keel, "other", timeout=40) as other:
            keel.stores[1].kill()
            keel.stores[3].kill()
            other.send(publish("t/0", b"one more", 1, id=7))
            before = publisher.acked
            publisher.join(3)  # that long it must stay silent
            assert publisher.acked <= before + 1, "acknowledged by one node of three"
            assert other.buffer == b""
            keel.start_node(1)
            publisher.await_more(20)
            assert other.expect(PUBACK, id=7).reason < 0x80
            keel.start_node(3)
            publisher.await_more(20)
        publisher.stop()
        with Client(keel, "subscriber", clean=False, props=KEEP, timeout=40) as sub:
            payloads = [sub.message().payload for _ in range(publisher.acked + 1)]
            assert payloads.count(b"one more") >= 1  # QoS 1


def test_all_are_killed_at_once_and_the_broker_too():
    with Cluster() as keel:
        subscribed(keel)
        publisher = Publisher(keel)
        publisher.start()
        publisher.await_more(100)
        publisher.stop()
        for store in keel.stores.values():
            store.kill()
        keel.broker.kill()
        for n in keel.ports:
            keel.start_node(n)
        keel.start_broker()
        all_there(keel, publisher)


def test_a_node_that_was_away_for_long_gets_an_image():
    args = ("--set", "segstore.checkpoint=1MiB", "--set", "segstore.wal_file=1MiB", "--set", "segstore.checkpoint_interval=1")
    with Cluster(store_args=args) as keel:
        subscribed(keel)
        publisher = Publisher(keel)
        publisher.start()
        publisher.await_more(20)
        keel.stores[2].kill()
        with Client(keel, "bulk", timeout=60) as bulk:
            with Client(keel, "bulk-reader", clean=False, props=KEEP, timeout=60) as reader:  # what was read leaves the log
                reader.subscribe("bulk", 1)
                body = os.urandom(50000)
                for n in range(200):
                    bulk.send(publish("bulk", body, 1, id=n + 1))
                    bulk.expect(PUBACK, id=n + 1)
                    reader.message()
        for n in (1, 3):  # one that was started anew knows its log behind its checkpoint only
            keel.stores[n].kill()
            keel.start_node(n)
            publisher.await_more(20)
        keel.start_node(2)
        publisher.await_more(50)
        await_true(lambda: "the image as of entry" in keel.stores[2].log(), "an image takes its place")
        assert keel.metric("keel_segstore_images_taken_total", f"127.0.0.1:{keel.admins[2]}") > 0
        await_true(lambda: any(keel.metric("keel_segstore_images_sent_total", f"127.0.0.1:{keel.admins[n]}") > 0 for n in (1, 3)), "who sent it knows")
        keel.stores[1].kill()  # now node 2 is needed
        publisher.await_more(50)
        publisher.stop()
        all_there(keel, publisher)


def test_a_dead_node_is_replaced_by_a_new_one():
    with Cluster() as keel:
        subscribed(keel)
        publisher = Publisher(keel)
        publisher.start()
        publisher.await_more(50)
        keel.stores[3].kill()  # for good
        keel.ports[4] = free_port()
        for n in (1, 2):  # they learn of the new one
            publisher.await_more(10)
            keel.stores[n].kill()
            keel.start_node(n)
        keel.start_node(4, args=("--set", "segstore.join=true"))
        at = ("--admin", keel.admin, "--segstore-admin", f"127.0.0.1:{keel.admins[1]},127.0.0.1:{keel.admins[2]}")
        wrong = run(BUILD / "keel", "ctl", "members", "1,2,x", *at)
        assert wrong.returncode == 1 and "numbers from 1 to 65535" in wrong.stderr, wrong
        done = run(BUILD / "keel", "ctl", "members", "1,2,4", *at)
        assert done.returncode == 0, done
        settled = "to 3 voters, 0 of before, 0 learners"
        await_true(lambda: sum(store.log().count(settled) for store in keel.stores.values()) >= 8, "all 8 stripes have moved", 60)
        publisher.await_more(50)
        keel.stores[1].kill()  # two of the three that there are now: 2 and 4
        publisher.await_more(50)
        publisher.stop()
        all_there(keel, publisher)


def test_nodes_that_do_not_belong_are_turned_away_with_a_sentence():
    with Cluster() as keel:
        keel.stores[3].kill()

        def says(n, words):
            await_true(lambda: words in keel.stores[n].log(), f"node {n} says: {words}\n{keel.stores[n].log()}")

        keel.start_node(3, data=keel.dir / "another", args=("--set", "segstore.cluster=another"))
        says(3, "belongs to another cluster")
        says(1, "belongs to another cluster")
        keel.stores[3].kill()
        keel.start_node(3, data=keel.dir / "new-disk")
        says(3, "a node whose disk was lost comes back under a new number")
        keel.stores[3].kill()
        keel.start_node(3, wait=False, data=keel.dir / "data-2-copy", args=("--set", "segstore.stripes=16"))
        says(3, "another number of shards or stripes")
        keel.stores[3].kill()
        keel.stores[2].kill()
        keel.start_node(3, wait=False, data=keel.dir / "data-2")
        says(3, "belongs to node 2, this start says node 3")
        assert keel.stores[3].popen.wait(patience(10)) == 1
        keel.start_node(2)
        keel.start_node(3)


def test_a_wrong_list_of_nodes_is_refused_at_start():
    with Cluster(start=False) as keel:
        for args, words in (((), "segstore.node is 9, but segstore.nodes does not name that node"),
                            (("--set", "segstore.nodes=2@127.0.0.1:1"), "segstore.nodes names node 2 twice"),
                            (("--set", "segstore.nodes=x"), "is not NUMBER@HOST:PORT"),
                            (("--set", "segstore.nodes=8@127.0.0.1:7008/a b"), "a rack has at most 31 letters"),
                            (("--set", "segstore.nodes=8@127.0.0.1:7008/"), "a rack has at most 31 letters"),
                            (("--set", "segstore.nodes=8@127.0.0.1:7008/a"), "names a rack for some nodes and none for others"),
                            (("--set", "segstore.replicas=8"), "segstore.replicas"),
                            (("--set", "segstore.cluster="), "segstore.nodes needs segstore.cluster"),
                            (("--set", "segstore.election=100"), "less than 4 times segstore.heartbeat")):
            keel.ports[9] = 1
            keel.start_node(9, wait=False, args=args, ports={1: 7001, 2: 7002} if not args else {1: 7001, 2: 7002, 9: 7009})
            assert keel.stores[9].popen.wait(patience(10)) == 2
            assert words in keel.stores[9].log(), keel.stores[9].log()
