#!/usr/bin/python3
"""Faults under load, long: then every acknowledged message is accounted for (history.py says what may not happen).

    tests/e2e/chaos.py [--bounded] [--kills N] [--rounds N] [--brokers N] [--seed N] [word ..]

    one       kill -9 of a broker and a segment store, N of each (60; bounded 20)
    nemesis   three stores and their brokers on machines of their own: processes, network, disks (nemesis.py), N rounds of all faults (20; bounded 1)
    crash     a recorded run of a store is cut off and recovered (tests/crash), 20000 times; make test has a part of its own for it

Words choose cases. Each finding is a line; ends with "N passed, N failed".
"""
import argparse
import pathlib
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness  # noqa: E402
from nemesis import Nemesis  # noqa: E402
from rawmqtt import *  # noqa: E402,F403
from workload import Workload  # noqa: E402

KEEP = {"session_expiry": 3600}


def load_and_kill(kills, dice):
    """Kills broker and store `kills` times each, at random moments, sometimes both at once."""
    with harness.Apart() as keel:
        load = Workload(lambda n: keel, publishers=(1, 1, 2, 2), subscribers=(1, 2, 2), registers=1)
        load.start()
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
            load.healthy()
        wrong = load.finish()
        assert not wrong, "\n     ".join([*wrong, keel.log()[-1500:]])
        return f"{done['broker']} kills of the broker, {done['store']} of the store; {load.summary()}"


def nemesis_case(rounds, brokers, dice):
    nemesis = Nemesis(dice, brokers)
    try:
        return nemesis.run(rounds)
    finally:
        nemesis.close()


def crash_case(seed):
    done = subprocess.run([harness.ROOT / "build" / (harness.MODE or "release") / "crash", "--cuts=20000", "--txns=2000", f"--seed={seed}"], stderr=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()[-1]


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
    options.add_argument("--bounded", action="store_true", help="for make test: 20 kills of each process, one round")
    options.add_argument("--kills", type=int)
    options.add_argument("--rounds", type=int)
    options.add_argument("--brokers", type=int, default=1, help="of the nemesis' cluster")
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("words", nargs="*")
    options = options.parse_args()
    kills, rounds = options.kills or (20 if options.bounded else 60), options.rounds or (1 if options.bounded else 20)
    cases = [("one: mosquitto_sub -q 1, both killed, exactly what was acknowledged", mosquitto_case),
             (f"one: load and {kills} kills of each, seed {options.seed}", lambda: load_and_kill(kills, random.Random(options.seed))),
             (f"nemesis: {rounds} rounds, seed {options.seed}", lambda: nemesis_case(rounds, options.brokers, random.Random(options.seed)))]
    if not options.bounded:
        cases.append((f"crash: seed {options.seed}", lambda: crash_case(options.seed)))
    passed = failed = 0
    for name, case in cases:
        if options.words and not any(word in name for word in options.words):
            continue
        started = time.monotonic()
        try:
            note = case()
            passed += 1
            print(f"ok   chaos: {name} [{time.monotonic() - started:.0f} s]\n     {note}", flush=True)
        except harness.Skip as skip:
            print(f"skip chaos: {name}\n     {skip}", flush=True)
        except BaseException as failure:
            failed += 1
            print(f"FAIL chaos: {name} [{time.monotonic() - started:.0f} s]\n     {type(failure).__name__}: {failure}", flush=True)
            if isinstance(failure, KeyboardInterrupt):
                break
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
