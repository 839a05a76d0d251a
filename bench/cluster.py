#!/usr/bin/python3
"""Measures segment stores that keep the same stripes: three beside one on the same machine, in turns, and how long a lost leader is felt.

    bench/cluster.py [--rounds N] [--seconds S] [--kills N]

All processes share the machine's cores with the load, three replicas do three times the work. Throughput with 50 publishers (QoS 1, stored, window 100), latency at 2,000
messages a second; then nodes are killed one after the other under 8 publishers in a closed loop, each on a topic of its own, and the longest wait of any of them
around each kill is what is shown. Raw lines go to build/cluster.jsonl.
"""
import argparse
import json
import pathlib
import statistics
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
from rawmqtt import Client, PUBACK, publish  # noqa: E402

LOAD = ROOT / "build" / "release" / "bench" / "load" / "mqttload"
RAW = ROOT / "build" / "cluster.jsonl"


def load(keel, seconds, *args):
    pids = [keel.broker.pid, *(store.pid for store in keel.stores.values())]
    done = harness.run(LOAD, "--port", keel.port, "--pids", ",".join(map(str, pids)), "--seconds", seconds, "--mode", "flow", "--stored", "--qos", "1", *args, timeout=300)
    line = json.loads(done.stdout.strip().splitlines()[-1])
    assert not line["lost"] and not line["broken"], line
    with open(RAW, "a") as out:
        out.write(json.dumps({"nodes": len(keel.stores), **line}) + "\n")
    return line


def replicas(rounds, seconds):
    through, p50, cpu = {1: [], 3: []}, {1: [], 3: []}, {1: [], 3: []}
    for number in range(rounds):
        for nodes in ((1, 3) if number % 2 == 0 else (3, 1)):
            with harness.Cluster(count=nodes) as keel:
                line = load(keel, seconds, "--pubs", "50", "--window", "100")
                through[nodes].append(line["msgs_per_s"])
                cpu[nodes].append(line["cpu_us_per_msg"])
                p50[nodes].append(load(keel, seconds, "--pubs", "1", "--rate", "2000")["p50_us"])
    ratios = [three / one for one, three in zip(through[1], through[3])]
    slower = [three / one for one, three in zip(p50[1], p50[3])]
    print(f"throughput 64 B, 50 publishers: one {statistics.median(through[1]):,.0f}/s, three {statistics.median(through[3]):,.0f}/s: "
          f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"CPU of broker and stores: one {statistics.median(cpu[1]):.2f} us a message, three {statistics.median(cpu[3]):.2f} us")
    print(f"p50 at 2,000/s: one {statistics.median(p50[1]):.0f} us, three {statistics.median(p50[3]):.0f} us: {statistics.median(slower):.2f} "
          f"({min(slower):.2f} to {max(slower):.2f})")


class Loop(threading.Thread):
    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.client, self.topic = Client(server, f"loop-{number}", timeout=60), f"loop/{number}"
        self.waits, self.stopped = [], False

    def run(self):
        while not self.stopped:
            begun = time.monotonic()
            self.client.send(publish(self.topic, b"x" * 64, 1, id=1))
            self.client.expect(PUBACK, id=1)
            self.waits.append((begun, time.monotonic() - begun))


def kills(count):
    longest = []
    with harness.Cluster() as keel:
        with Client(keel, "stored", clean=False, props={"session_expiry": 600}) as sub:
            sub.subscribe("loop/#", 1)
        loops = [Loop(keel, n) for n in range(8)]
        for loop in loops:
            loop.start()
        time.sleep(8)  # leaders have spread
        for number in range(count):
            victim = number % 3 + 1
            killed = time.monotonic()
            keel.stores[victim].kill()
            time.sleep(2.5)
            longest.append(max(wait for loop in loops for begun, wait in loop.waits if killed - 0.1 <= begun or begun + wait > killed))
            keel.start_node(victim)
            for loop in loops:
                loop.waits.clear()
            time.sleep(7)  # it leads its stripes again
        for loop in loops:
            loop.stopped = True
        for loop in loops:
            loop.join(60)
    longest.sort()
    print(f"a node is killed, {count} times: the longest wait of 8 publishers: median {statistics.median(longest):.2f} s, worst {longest[-1]:.2f} s")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=5)
    options.add_argument("--kills", type=int, default=50)
    chosen = options.parse_args()
    if chosen.rounds:
        replicas(chosen.rounds, chosen.seconds)
    if chosen.kills:
        kills(chosen.kills)
