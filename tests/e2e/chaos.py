#!/usr/bin/python3
"""kill -9 of the broker and of the segment store under load; then every acknowledged message is accounted for.

    tests/e2e/chaos.py [--bounded] [--kills N] [--seed N]      without --bounded: 60 kills of each process

Publishers send numbered messages with QoS 1 or 2 and stored sessions, keep what is not acknowledged and repeat it on the next connection, as
the standard tells a client to. Subscribers have stored sessions and acknowledge. What must hold at the end:
    QoS 1 and 2   every message that was acknowledged (PUBACK, PUBCOMP) reached every subscriber
    QoS 2         none arrived twice
    all           per publisher, first arrivals are in order
Each finding is a line; ends with "N passed, N failed".
"""
import argparse
from collections import Counter
import pathlib
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness  # noqa: E402
from rawmqtt import *  # noqa: E402,F403

KEEP = {"session_expiry": 3600}
WINDOW = 16


class Peer(threading.Thread):
    """One client in a thread that comes back whenever it is disconnected."""

    def __init__(self, server, name):
        super().__init__(name=name, daemon=True)
        self.server, self.client_id, self.stop, self.failure, self.connects = server, name, threading.Event(), None, 0

    def open(self, **more):
        while True:
            try:
                c = Client(self.server, self.client_id, clean=self.connects == 0, props=KEEP, timeout=20, **more)
                assert self.connects == 0 or c.connack.session_present == 1, f"{self.client_id}: the session is gone"
                self.connects += 1
                return c
            except (OSError, Closed):
                if self.stop.is_set():
                    return None
                time.sleep(0.02)
            except AssertionError as failure:
                if "refused" in str(failure) or "nothing arrived" in str(failure):
                    time.sleep(0.02)  # the server is there, the store not yet
                    continue
                raise

    def run(self):
        try:
            while not self.finished():
                c = self.open()
                if c is None:
                    return
                try:
                    self.talk(c)
                except (OSError, Closed):
                    pass
                finally:
                    c.close()
        except BaseException as failure:
            self.failure = failure


class Publisher(Peer):
    """Sends 0, 1, 2 .. with at most WINDOW unfinished; acked is what the server has taken on."""

    def __init__(self, server, name, qos):
        super().__init__(server, name)
        self.qos, self.next, self.flight, self.acked = qos, 0, {}, set()  # flight: id -> [number, released]

    def finished(self):
        return self.stop.is_set() and not self.flight

    def send_new(self, c):
        while len(self.flight) < WINDOW and not self.stop.is_set():
            number = self.next
            id = number % 60000 + 1
            self.next += 1
            self.flight[id] = [number, False]
            c.send(publish("chaos/" + self.client_id, f"{self.client_id} {number}", self.qos, id=id))

    def talk(self, c):
        for id, (number, released) in list(self.flight.items()):
            if released:
                c.send(ack(PUBREL, id))
            else:
                c.send(publish("chaos/" + self.client_id, f"{self.client_id} {number}", self.qos, dup=True, id=id))
        while not self.finished():
            self.send_new(c)
            got = c.recv()
            if got is None or got.kind == DISCONNECT:
                return
            entry = self.flight.get(got.id)
            if got.kind == PUBREC and entry and got.reason < 0x80:
                entry[1] = True
                self.acked.add(entry[0])  # PUBREC: the server owns it
                c.send(ack(PUBREL, got.id))
            elif got.kind in (PUBACK, PUBCOMP) and entry:
                assert got.reason < 0x80 or got.kind == PUBCOMP, f"{self.client_id}: {got}"
                self.acked.add(entry[0])
                del self.flight[got.id]
            else:
                raise AssertionError(f"{self.client_id}: unexpected {got}")


class Subscriber(Peer):
    """Keeps everything that arrives. For QoS 2 an id between its PUBLISH and its PUBREL is the same message again, as the standard says."""

    def __init__(self, server, name, qos):
        super().__init__(server, name)
        self.qos, self.got, self.open_ids, self.subscribed = qos, [], set(), threading.Event()

    def finished(self):
        return self.stop.is_set()

    def talk(self, c):
        if not self.subscribed.is_set():
            assert c.subscribe("chaos/#", self.qos) == [self.qos]
            self.subscribed.set()
        while not self.stop.is_set():
            try:
                got = c.recv(1.0)
            except AssertionError:
                continue  # quiet
            if got is None or got.kind == DISCONNECT:
                return
            if got.kind == PUBLISH and got.qos == 2:
                if got.id not in self.open_ids:
                    self.open_ids.add(got.id)
                    self.got.append(got.payload)
                c.send(ack(PUBREC, got.id))
            elif got.kind == PUBLISH:
                self.got.append(got.payload)
                if got.qos:
                    c.send(ack(PUBACK, got.id))
            elif got.kind == PUBREL:
                self.open_ids.discard(got.id)
                c.send(ack(PUBCOMP, got.id))


def account(publishers, subscriber, qos):
    """Sentences about what is wrong."""
    seen = {p.client_id: [] for p in publishers}
    for payload in subscriber.got:
        name, number = payload.decode().split()
        seen[name].append(int(number))
    for p in publishers:
        numbers, both = seen[p.client_id], min(qos, p.qos)
        lost = sorted(p.acked - set(numbers))
        if lost:
            yield f"{subscriber.client_id} lost {len(lost)} of {len(p.acked)} acknowledged by {p.client_id}: {lost[:8]}"
        first = list(dict.fromkeys(numbers))
        disorder = [(a, b) for a, b in zip(first, first[1:]) if b < a]
        if disorder:
            yield f"{subscriber.client_id} saw {p.client_id} out of order {len(disorder)} times: {disorder[:4]}"
        if both == 2 and len(first) != len(numbers):
            twice = sorted(n for n, times in Counter(numbers).items() if times > 1)
            yield f"{subscriber.client_id} got {len(numbers) - len(first)} of {p.client_id} twice: {str(twice)[:80]}"


def load_and_kill(kills, dice):
    """Kills broker and store `kills` times each, at random moments, sometimes both at once."""
    with harness.Apart() as keel:
        subscribers = [Subscriber(keel, f"sub-{i}-q{q}", q) for i, q in enumerate((1, 2, 2))]
        publishers = [Publisher(keel, f"pub-{i}-q{q}", q) for i, q in enumerate((1, 1, 2, 2))]
        for s in subscribers:
            s.start()
        for s in subscribers:
            assert s.subscribed.wait(20), f"not subscribed: {s.failure} {keel.log()[-800:]}"
        for p in publishers:
            p.start()
        turns = ["broker", "store"] * kills
        dice.shuffle(turns)
        done = {"broker": 0, "store": 0}
        for victim in turns:
            if done[victim] >= kills:
                continue
            time.sleep(dice.uniform(0.2, 1.6))  # the moment is the experiment
            both = dice.random() < 0.2 and done["broker"] < kills and done["store"] < kills
            for name in ("store", "broker") if both else (victim,):
                done[name] += 1
                getattr(keel, f"kill_{name}")()
            if both or victim == "store":
                keel.start_store()
            if both or victim == "broker":
                keel.start_broker()
            for peer in subscribers + publishers:
                assert peer.failure is None, f"{peer.client_id}: {peer.failure}"
        for p in publishers:
            p.stop.set()
        for p in publishers:
            p.join(60)
            assert not p.is_alive() and p.failure is None, f"{p.client_id} did not finish: {len(p.flight)} open, {p.failure}\n{keel.log()[-1500:]}"
        total = sum(len(p.acked) for p in publishers)

        def all_there():
            want = sum(len(p.acked) for p in publishers)
            return all(len(set(s.got)) >= want for s in subscribers)
        try:
            harness.await_true(all_there, "all acknowledged messages", 60)
        except AssertionError:
            pass  # account() says which
        for s in subscribers:
            s.stop.set()
        for s in subscribers:
            s.join(30)
        wrong = [w for s in subscribers for w in account(publishers, s, s.qos)]
        assert not wrong, "\n     ".join(wrong)
        return f"{done['broker']} kills of the broker, {done['store']} of the store; {total} acknowledged, {sum(p.connects for p in publishers)} publisher connections"


def mosquitto_case():
    """A stored session of mosquitto_sub -q 1, kill -9 of both, restart: exactly what was acknowledged."""
    with harness.Apart() as keel:
        def sub(*more):
            return ["mosquitto_sub", "-h", keel.host, "-p", str(keel.port), "-i", "done-when", "-c", "-q", "1", "-t", "done/when", *more]
        assert subprocess.run([*sub("-E")], timeout=30).returncode == 0
        acked = []
        with Client(keel, "done-when-pub") as pub:
            killer = threading.Timer(0.5, lambda: [keel.kill_store(), keel.kill_broker()])
            killer.start()
            number = 0
            try:
                while True:
                    pub.send(publish("done/when", f"{number}", 1, id=number % 60000 + 1))
                    if pub.expect(PUBACK).reason < 0x80:
                        acked.append(str(number))
                    number += 1
            except (OSError, Closed):
                pass
            killer.join()
        assert acked, "nothing was acknowledged before the kill"
        keel.start_store()
        keel.start_broker()
        got = subprocess.run(sub("-C", str(len(acked)), "-W", "30"), capture_output=True, text=True, timeout=60).stdout.split()
        assert got == acked, f"{len(acked)} acknowledged, {len(got)} received, first difference at {next((i for i, (a, b) in enumerate(zip(acked, got)) if a != b), min(len(acked), len(got)))}"
        with Client(keel, "done-when", clean=False, props=KEEP) as c:
            # What may be left: the one publish without its PUBACK, and, marked DUP, the last messages whose PUBACK mosquitto_sub -C did not wait to send.
            rest = [m for m in c.settle() if m.kind == PUBLISH]
            new = [m.payload.decode() for m in rest if not m.dup]
            assert new in ([], [str(number)]), f"{len(acked)} acknowledged, {number} was under way, then came, not marked DUP: {new}"
            again = [m.payload.decode() for m in rest if m.dup]
            tails = [line[len(line) - len(again):] for line in (acked, acked + [str(number)])]  # it was sent the one under way, too
            assert again in tails, f"{len(acked)} acknowledged, marked DUP: {again}"
        return f"{len(acked)} acknowledged before the kill, all {len(got)} received, {len(new)} more was under way"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--bounded", action="store_true", help="for make test: 20 kills of each process")
    options.add_argument("--kills", type=int)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options = options.parse_args()
    kills = options.kills or (20 if options.bounded else 60)
    dice = random.Random(options.seed)
    passed = failed = 0
    for name, case in (("mosquitto_sub -q 1, both killed, exactly what was acknowledged", mosquitto_case),
                       (f"load and {kills} kills of each, seed {options.seed}", lambda: load_and_kill(kills, dice))):
        started = time.monotonic()
        try:
            note = case()
            passed += 1
            print(f"ok   chaos: {name} [{time.monotonic() - started:.0f} s]\n     {note}", flush=True)
        except BaseException as failure:
            failed += 1
            print(f"FAIL chaos: {name} [{time.monotonic() - started:.0f} s]\n     {type(failure).__name__}: {failure}", flush=True)
            if isinstance(failure, KeyboardInterrupt):
                break
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
