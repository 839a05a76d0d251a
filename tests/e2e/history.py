"""history - what every client of a run asked and got, and when; and what is wrong with it.

    h = History()
    write = h.invoke("pub-1", "t/1", 7, qos=2)       # before it is sent; numbers of a publisher's topic ascend
    h.acknowledged(write)                            # PUBACK or PUBREC arrived: the server owns it
    h.delivered("sub-1", "pub-1", "t/1", 7, qos=2)   # arrived at a stored session (for QoS 2: not one that is open still)
    read = h.read_begun("reader", "r/1")             # of a retained value whose only writer counts up
    h.read_ended(read, 7)
    h.wrong(["sub-1"])                               # sentences; sub-1 was subscribed to all of it before the first publish, and all is delivered

What is held against a history:
    lost        acknowledged, and never delivered to a subscriber
    doubled     QoS 2 all the way, and delivered twice
    reordered   first deliveries of a publisher's topic to a subscriber are not in the order in which they were published
    invented    delivered and never published, or before it was
    stale       a read returns a value older than one that was acknowledged before the read began, or than one that another read had returned before
    early       a read returns a value that was not written before the read ended

Times are of one monotonic clock. Any thread may record.
"""
import bisect
import itertools
import threading
import time
from collections import Counter


class Write:
    def __init__(self, publisher, topic, number, qos, at):
        self.publisher, self.topic, self.number, self.qos, self.invoked, self.acked = publisher, topic, number, qos, at, None


class Read:
    def __init__(self, reader, topic, at):
        self.reader, self.topic, self.invoked, self.ended, self.number = reader, topic, at, None, None


def some(things, count=6):
    things = list(things)
    return f"{', '.join(str(t) for t in things[:count])}{', ..' if len(things) > count else ''}"


class History:
    def __init__(self, clock=time.monotonic):
        self.clock, self.lock = clock, threading.Lock()
        self.writes, self.deliveries, self.reads, self.there = [], [], [], {}

    # -- recording

    def invoke(self, publisher, topic, number, qos):
        write = Write(publisher, topic, number, qos, self.clock())
        with self.lock:
            self.writes.append(write)
        return write

    def acknowledged(self, write):
        if write.acked is None:
            write.acked = self.clock()

    def delivered(self, subscriber, publisher, topic, number, qos):
        with self.lock:
            self.deliveries.append((subscriber, publisher, topic, number, qos, self.clock()))
            self.there.setdefault(subscriber, set()).add((publisher, topic, number))

    def read_begun(self, reader, topic):
        return Read(reader, topic, self.clock())

    def read_ended(self, read, number):
        """One that ended without an answer is left out."""
        read.ended, read.number = self.clock(), number
        with self.lock:
            self.reads.append(read)

    def acked_count(self, publisher=None):
        with self.lock:
            return sum(w.acked is not None and publisher in (None, w.publisher) for w in self.writes)

    # -- judging

    def missing(self, subscriber, topics=None):
        """Acknowledged and not delivered yet: (publisher, topic, number)."""
        with self.lock:
            there = self.there.get(subscriber, ())
            return sorted((w.publisher, w.topic, w.number) for w in self.writes
                          if w.acked is not None and (topics is None or topics(w.topic)) and (w.publisher, w.topic, w.number) not in there)

    def wrong(self, subscribers, topics=None):
        """topics(topic): whether these subscribers were subscribed to it."""
        return [w for s in subscribers for w in (*self.wrong_lost(s, topics), *self.wrong_delivered(s))] + list(self.wrong_reads())

    def wrong_lost(self, subscriber, topics):
        lost = self.missing(subscriber, topics)
        if lost:
            yield f"lost: {len(lost)} acknowledged messages never came to {subscriber}: {some(lost)}"

    def wrong_delivered(self, subscriber):
        published = {(w.publisher, w.topic, w.number): w for w in self.writes}
        arrived = {}
        for s, publisher, topic, number, qos, at in self.deliveries:
            if s != subscriber:
                continue
            write = published.get((publisher, topic, number))
            if write is None or at < write.invoked:
                yield f"invented: {subscriber} got {number} of {publisher} on {topic}, which was {'never' if write is None else 'not yet'} published"
            arrived.setdefault((publisher, topic), []).append((number, min(qos, write.qos if write else qos)))
        for (publisher, topic), got in arrived.items():
            numbers = [n for n, _ in got]
            first = list(dict.fromkeys(numbers))
            back = [(a, b) for a, b in zip(first, first[1:]) if b < a]
            if back:
                yield f"reordered: {subscriber} saw {publisher} on {topic} go back {len(back)} times: {some(back)}"
            once = {n for n, qos in got if qos == 2}
            twice = sorted(n for n, times in Counter(numbers).items() if times > 1 and n in once)
            if twice:
                yield f"doubled: {subscriber} got {len(twice)} of {publisher} on {topic} more than once: {some(twice)}"

    def wrong_reads(self):
        """Each topic is a register with one writer, so a read is right when it is not older than what surely was there when it began."""
        for topic in sorted({r.topic for r in self.reads}):
            writes = [w for w in self.writes if w.topic == topic]
            acked = Newest((w.acked, w.number) for w in writes if w.acked is not None)
            invoked = {w.number: w.invoked for w in writes}
            ended = Newest((r.ended, r.number) for r in self.reads if r.topic == topic and r.number is not None)
            for r in (r for r in self.reads if r.topic == topic):
                floor = acked.before(r.invoked)
                if floor is not None and (r.number is None or r.number < floor):
                    yield f"stale: {r.reader} read {r.number} of {topic}, {floor} was acknowledged before it asked"
                seen = ended.before(r.invoked)
                if seen is not None and (r.number is None or r.number < seen):
                    yield f"stale: {r.reader} read {r.number} of {topic}, {seen} had been read before it asked"
                if r.number is not None and (r.number not in invoked or invoked[r.number] > r.ended):
                    yield f"early: {r.reader} read {r.number} of {topic}, which was not written then"


class Newest:
    """Of (time, number): the highest number before a moment. Numbers need not ascend with time."""

    def __init__(self, pairs):
        pairs = sorted(pairs)
        self.times, self.highest = [at for at, _ in pairs], list(itertools.accumulate((n for _, n in pairs), max))

    def before(self, moment):
        count = bisect.bisect_left(self.times, moment)
        return self.highest[count - 1] if count else None
