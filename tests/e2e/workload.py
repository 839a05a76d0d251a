"""workload - clients that come back whenever they are disconnected, and record all that they ask and get in a history (history.py).

    load = Workload(place, publishers=(1, 2), subscribers=(1, 2), registers=2)      # numbers are QoS; place(n): where client n connects next
    load.start(); load.await_more(20); wrong = load.finish()                        # sentences about what is wrong

Publishers send numbered messages, keep what is not acknowledged and repeat it on the next connection, as the standard tells a client to. Subscribers have
stored sessions. A register is a retained topic with one writer, which counts up, and a reader, which subscribes to it anew each time.
"""
import threading
import time

import harness
from history import History
from rawmqtt import *

KEEP = {"session_expiry": 3600}
WINDOW = 16
SILENCE = 8.0  # seconds; then a client tries another connection


class Gone(Exception):
    """The client is to stop, and has no connection."""


class Peer(threading.Thread):
    """One client in a thread that comes back whenever it is disconnected, to where place(n) says."""

    def __init__(self, place, number, name, history, stored=True):
        super().__init__(name=name, daemon=True)
        self.place, self.number, self.client_id, self.history, self.stored = place, number, name, history, stored
        self.stop, self.failure, self.connects, self.tries = threading.Event(), None, 0, 0

    def open(self):
        while True:
            try:
                self.tries += 1
                fresh = self.connects == 0 or not self.stored
                c = Client(self.place(self.number + self.tries), self.client_id, clean=fresh, props=KEEP if self.stored else None, timeout=SILENCE)
                assert fresh or c.connack.session_present == 1, f"{self.client_id}: the session is gone"
                self.connects += 1
                return c
            except (OSError, Closed):
                pass
            except AssertionError as failure:
                if not any(words in str(failure) for words in ("'reason': 136", "nothing arrived")):  # 0x88: the store is away
                    raise
            if self.stop.is_set() and self.finished():
                raise Gone
            time.sleep(0.02)  # between two attempts

    def recv(self, c):
        """The next packet; None when the connection is of no more use: closed, or silent for so long that the way to the broker may be broken."""
        asked = False
        while True:
            try:
                got = c.recv(SILENCE / 2)
            except AssertionError:
                if asked:
                    return None
                asked = True
                c.send(packet(PINGREQ, 0, b""))
                continue
            if got is not None and got.kind == PINGRESP:
                asked = False
                if self.stop.is_set() and self.finished():
                    return None
                continue
            return None if got is None or got.kind == DISCONNECT else got

    def run(self):
        try:
            while not self.finished():
                c = self.open()
                try:
                    self.talk(c)
                except (OSError, Closed):
                    pass
                finally:
                    c.close()
        except Gone:
            pass
        except BaseException as failure:
            self.failure = failure


class Publisher(Peer):
    """Sends 0, 1, 2 .. with at most WINDOW unfinished."""

    def __init__(self, place, number, name, history, qos, topic, retain=False, window=WINDOW, size=0):
        super().__init__(place, number, name, history)
        self.qos, self.topic, self.retain, self.window, self.size = qos, topic, retain, window, size
        self.next, self.flight, self.acked = 0, {}, 0  # flight: id -> [write, released]

    def finished(self):
        return self.stop.is_set() and not self.flight

    def packet(self, id, write, dup=False):
        text = f"{self.client_id} {write.number} ".encode()
        return publish(self.topic, text + b"." * (self.size * (write.number % 7 == 0)), self.qos, id=id, retain=self.retain, dup=dup)

    def send_new(self, c):
        while len(self.flight) < self.window and not self.stop.is_set():
            write = self.history.invoke(self.client_id, self.topic, self.next, self.qos)
            id = self.next % 60000 + 1
            self.next += 1
            self.flight[id] = [write, False]
            c.send(self.packet(id, write))

    def talk(self, c):
        for id, (write, released) in list(self.flight.items()):
            c.send(ack(PUBREL, id) if released else self.packet(id, write, dup=True))
        full = []
        while not self.finished():
            if not full:
                self.send_new(c)
            got = self.recv(c)
            if got is None:
                return
            entry = self.flight.get(got.id)
            if got.kind in (PUBACK, PUBREC) and entry and got.reason == 0x97:  # full: refused, not published
                del self.flight[got.id]
                time.sleep(0.02)  # it would be refused again at once
                continue
            if got.kind == PUBREC and entry and got.reason < 0x80:
                entry[1] = True
                self.acknowledge(entry[0])  # PUBREC: the server owns it
                c.send(ack(PUBREL, got.id))
            elif got.kind in (PUBACK, PUBCOMP) and entry:
                assert got.reason < 0x80 or got.kind == PUBCOMP, f"{self.client_id}: {got}"
                self.acknowledge(entry[0])
                del self.flight[got.id]
            else:
                raise AssertionError(f"{self.client_id}: unexpected {got}")

    def acknowledge(self, write):
        if write.acked is None:
            self.acked += 1
        self.history.acknowledged(write)


class Subscriber(Peer):
    """For QoS 2 an id between its PUBLISH and its PUBREL is the same message again, as the standard says."""

    def __init__(self, place, number, name, history, qos, filter):
        super().__init__(place, number, name, history)
        self.qos, self.filter, self.open_ids, self.subscribed = qos, filter, set(), threading.Event()

    def finished(self):
        return self.stop.is_set()

    def deliver(self, got):
        name, number = got.payload.split()[:2]
        self.history.delivered(self.client_id, name.decode(), got.topic, int(number), got.qos)

    def talk(self, c):
        if not self.subscribed.is_set():
            assert c.subscribe(self.filter, self.qos) == [self.qos]
            self.subscribed.set()
        while not self.stop.is_set():
            got = self.recv(c)
            if got is None:
                return
            if got.kind == PUBLISH and got.qos == 2:
                if got.id not in self.open_ids:
                    self.open_ids.add(got.id)
                    self.deliver(got)
                c.send(ack(PUBREC, got.id))
            elif got.kind == PUBLISH:
                self.deliver(got)
                if got.qos:
                    c.send(ack(PUBACK, got.id))
            elif got.kind == PUBREL:
                self.open_ids.discard(got.id)
                c.send(ack(PUBCOMP, got.id))


class Reader(Peer):
    """Subscribes, takes the retained message, unsubscribes: each time one read of the register."""

    def __init__(self, place, number, name, history, topic):
        super().__init__(place, number, name, history, stored=False)
        self.topic, self.reads = topic, 0

    def finished(self):
        return self.stop.is_set()

    def talk(self, c):
        id = 0
        while not self.stop.is_set():
            id = id % 60000 + 1
            read = self.history.read_begun(self.client_id, self.topic)
            c.send(subscribe([(self.topic, 0)], id))
            value = None
            while value is None:
                got = self.recv(c)
                if got is None or (got.kind == SUBACK and got.codes[0] >= 0x80):
                    return  # a read without an answer
                if got.kind == PUBLISH and got.retain:
                    value = int(got.payload.split()[1])
            self.history.read_ended(read, value)
            self.reads += 1
            c.send(unsubscribe([self.topic], id))
            while True:
                got = self.recv(c)
                if got is None:
                    return
                if got.kind == UNSUBACK:
                    break


class Workload:
    def __init__(self, place, publishers=(1, 2), subscribers=(1, 2), registers=1, window=WINDOW, size=0):
        self.history = History()
        numbers = iter(range(1000))
        self.subscribers = [Subscriber(place, next(numbers), f"sub-{i}-q{q}", self.history, q, "load/#") for i, q in enumerate(subscribers)]
        self.publishers = [Publisher(place, next(numbers), f"pub-{i}-q{q}", self.history, q, f"load/{i}", window=window, size=size) for i, q in enumerate(publishers)]
        self.writers = [Publisher(place, next(numbers), f"writer-{i}", self.history, 1 + i % 2, f"register/{i}", retain=True, window=1) for i in range(registers)]
        self.readers = [Reader(place, next(numbers), f"reader-{i}-{k}", self.history, f"register/{i}") for i in range(registers) for k in range(2)]

    @property
    def peers(self):
        return self.subscribers + self.publishers + self.writers + self.readers

    def start(self):
        for s in self.subscribers:
            s.start()
        for s in self.subscribers:
            harness.await_true(lambda: self.healthy() and s.subscribed.is_set(), f"{s.client_id} has subscribed", 30)
        for w in self.publishers + self.writers:
            w.start()
        harness.await_true(lambda: self.healthy() and all(w.acked for w in self.writers), "the registers are written", 30)
        for r in self.readers:
            r.start()

    def healthy(self):
        for peer in self.peers:
            assert peer.failure is None, f"{peer.client_id}: {type(peer.failure).__name__} {peer.failure}"
        return True

    def await_more(self, count, seconds=40, reads=3):
        """Every publisher has so many more acknowledged, every register was read some more times."""
        until = {p: p.acked + count for p in self.publishers} | {w: w.acked + 3 for w in self.writers}
        read = {r: r.reads + reads for r in self.readers}

        def there():
            return self.healthy() and all(p.acked >= n for p, n in until.items()) and all(r.reads >= n for r, n in read.items())
        try:
            harness.await_true(there, "the clients go on", seconds)
        except AssertionError:
            stuck = [f"{p.client_id} {p.acked}/{n}" for p, n in until.items() if p.acked < n] + [f"{r.client_id} {r.reads}/{n}" for r, n in read.items() if r.reads < n]
            raise AssertionError(f"not within {seconds} s: {', '.join(stuck)} go on") from None

    def finish(self, seconds=60):
        """All is acknowledged and delivered as far as it ever will be: what is wrong."""
        for peer in self.publishers + self.writers + self.readers:
            peer.stop.set()
        for peer in self.publishers + self.writers + self.readers:
            peer.join(harness.patience(seconds))
            self.healthy()
            assert not peer.is_alive(), f"{peer.client_id} does not come to its end: {len(getattr(peer, 'flight', ()))} are not acknowledged"
        try:
            harness.await_true(lambda: self.healthy() and not any(self.history.missing(s.client_id, is_load) for s in self.subscribers), "all is delivered", seconds)
        except AssertionError as failure:
            if "not within" not in str(failure):
                raise  # else wrong() says which
        for s in self.subscribers:
            s.stop.set()
        for s in self.subscribers:
            s.join(harness.patience(30))
        return self.history.wrong([s.client_id for s in self.subscribers], is_load)

    def summary(self):
        return (f"{self.history.acked_count()} of {len(self.history.writes)} publishes acknowledged, {len(self.history.deliveries)} deliveries, "
                f"{len(self.history.reads)} reads, {sum(p.connects for p in self.peers)} connections")


def is_load(topic):
    return topic.startswith("load/")
