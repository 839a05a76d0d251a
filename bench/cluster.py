#!/usr/bin/python3
"""Measures segment stores that keep the same stripes: three beside one on the same machine, in turns, and how long a lost leader is felt.

    bench/cluster.py [--rounds N] [--seconds S] [--kills N] [--report]

All processes share the machine's cores with the load, three replicas do three times the work. Throughput with 50 publishers (QoS 1, stored, window 100), latency at 2,000
messages a second. Then nodes are killed (SIGKILL) one after the other under a publisher in a closed loop on each stripe: shown is the time from the kill to the first
acknowledgement of a message sent after it, on the stripes that the node led, and the longest wait on the others. The next node is killed when the lead is spread again and all
keep up. Raw lines go to build/cluster.jsonl; the report is of all kills in it.
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
    """One publisher of QoS 1 in a closed loop, whose messages go to one stored session and so to one stripe."""

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.client, self.topic = Client(server, f"loop-{number}", timeout=60), f"loop/{number}"
        self.waits, self.stopped = [], False

    def publish(self):
        begun = time.monotonic()
        self.client.send(publish(self.topic, b"x" * 64, 1, id=1))
        self.client.expect(PUBACK, id=1)
        self.waits.append((begun, time.monotonic() - begun))

    def run(self):
        while not self.stopped:
            self.publish()


def stripes(keel, node):
    """What a node says of each of its stripes, at most 50 ms ago; nothing while it is down."""
    try:
        status, body = keel.http("/cluster", f"127.0.0.1:{keel.admins[node]}")
        return {s["stripe"]: s for s in json.loads(body)["stripes"]} if status == 200 else {}
    except OSError:
        return {}


def leaders(keel):
    """stripe: node, of those that say that they serve it."""
    time.sleep(0.06)  # so old may be what a node says
    return {number: node for node in keel.stores for number, stripe in stripes(keel, node).items() if stripe["serves"]}


def spread(keel):
    """Every stripe is served by the node that it belongs to, and all followers keep up."""
    seen = {node: stripes(keel, node) for node in keel.stores}
    counts = [sum(s["serves"] for s in of.values()) for of in seen.values()]
    whole = all(f["keeps_up"] and f["active"] for of in seen.values() for s in of.values() if s["serves"] for f in s.get("followers", []))
    return sum(counts) == len(seen[1]) and max(counts) - min(counts) <= 1 and whole


def await_spread(keel):
    harness.await_true(lambda: spread(keel), "the lead of all stripes is spread and all nodes keep up", timeout=60)


def stripe_of(keel, loop):
    """Where the loop's messages go: the stripe whose log grows by as many as are published."""
    def lasts():
        time.sleep(0.06)
        return {number: stripe["last"] for node in keel.stores for number, stripe in stripes(keel, node).items() if stripe["serves"]}
    before = lasts()
    for _ in range(40):
        loop.publish()
    grown = {number: last - before[number] for number, last in lasts().items()}
    return max(grown, key=grown.get)


def loops_on_all(keel):
    """One loop for each stripe: sessions fall on stripes by their names."""
    found = {}
    for number in range(200):
        with Client(keel, f"stored-{number}", clean=False, props={"session_expiry": 600}) as sub:
            sub.subscribe(f"loop/{number}", 1)
        loop = Loop(keel, number)
        stripe = stripe_of(keel, loop)
        if stripe in found:
            loop.client.close()
        else:
            found[stripe] = loop
        if len(found) == len(stripes(keel, 1)):
            return found
    raise AssertionError(f"sessions fall on stripes {sorted(found)} only")


def kill_one(keel, loops, victim):
    """Seconds until each stripe of the victim acknowledged a message that was sent after the kill; the longest wait on each of the others."""
    led = leaders(keel)
    for loop in loops.values():
        loop.waits.clear()
    killed = time.monotonic()
    keel.stores[victim].kill()
    gone = time.monotonic()
    mine = [loop for stripe, loop in loops.items() if led[stripe] == victim]
    others = [loop for stripe, loop in loops.items() if led[stripe] != victim]

    def after(loop):
        return [begun + wait - killed for begun, wait in list(loop.waits) if begun >= gone]
    harness.await_true(lambda: all(after(loop) for loop in mine), "all stripes of the killed node serve again", timeout=30)
    time.sleep(0.5)  # what else the others may feel
    gaps = [max(wait for begun, wait in list(loop.waits) if begun + wait >= killed) for loop in others]
    keel.start_node(victim)
    await_spread(keel)
    return [min(after(loop)) for loop in mine], gaps


def kills(count):
    with harness.Cluster() as keel:
        await_spread(keel)
        loops = loops_on_all(keel)
        for loop in loops.values():
            loop.start()
        for number in range(count):
            recovered, gaps = kill_one(keel, loops, number % 3 + 1)
            with open(RAW, "a") as out:
                out.write(json.dumps({"kill": number % 3 + 1, "recovered_s": recovered, "others_s": gaps}) + "\n")
        for loop in loops.values():
            loop.stopped = True
        for loop in loops.values():
            loop.join(60)


def report_kills():
    lines = [line for line in map(json.loads, RAW.read_text().splitlines()) if "kill" in line]
    worst = sorted(max(line["recovered_s"]) for line in lines)
    all_of = sorted(s for line in lines for s in line["recovered_s"])
    gaps = sorted(max(line["others_s"]) for line in lines)
    print(f"{len(lines)} nodes killed, {len(all_of)} stripes that they led: next acknowledged append after {statistics.median(all_of):.3f} s (median), "
          f"{all_of[-1]:.3f} s (worst); slowest stripe of each kill: median {statistics.median(worst):.3f} s")
    print(f"longest wait on the other stripes: median of kills {statistics.median(gaps) * 1000:.0f} ms, worst {gaps[-1] * 1000:.0f} ms, "
          f"{sum(gap > 0.2 for gap in gaps)} kills above 200 ms")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=5)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--report", action="store_true", help="of all kills in build/cluster.jsonl, of earlier runs too")
    chosen = options.parse_args()
    if chosen.rounds:
        replicas(chosen.rounds, chosen.seconds)
    if chosen.kills:
        kills(chosen.kills)
    if chosen.kills or chosen.report:
        report_kills()
