#!/usr/bin/python3
"""How fast a node catches up that missed much while the others go on, and what the producers feel of it.

    bench/catchup.py [--mib 2048] [--size 1024] [--batch 65536] [--rate BYTES] [--store ARGUMENTS]

Three nodes keep the same stripes on one machine. How fast producers (bench/load/append, one process beside each node that leads) can write is measured first,
then their latency at half of that. A node is killed, --mib are written without it, and it is started again while writes go on at half speed, until every
leader says that it keeps up. All three nodes share this machine's disk and two cores, with the load: each byte that is caught up is read once and
written twice here (a new file of the log is filled with zeroes first). What the disk can do alone is measured with fio, 1 MiB at a time, 4 under way."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402

STRIPES = 8  # of harness.Cluster
LOAD = ROOT / "build" / "release" / "bench" / "load" / "append"
RAW = ROOT / "build" / "catchup.jsonl"


def stripes(keel, node):
    status, body = keel.http("/cluster", f"127.0.0.1:{keel.admins[node]}")
    return [s for s in json.loads(body)["stripes"]] if status == 200 else []


def settled(keel, nodes, laggards=()):
    """All stripes are served by these nodes, shared out among them, and followers keep up but for laggards."""
    by_node = [[s for s in stripes(keel, node) if s["serves"]] for node in nodes]
    served = [s for of in by_node for s in of]
    return len(served) == STRIPES and min(map(len, by_node)) >= 2 and all(f["keeps_up"] and f["active"] for s in served for f in s.get("followers", []) if f["node"] not in laggards)


def lasts(keel, nodes):
    return {s["stripe"]: s["last"] for node in nodes for s in stripes(keel, node) if s["serves"]}


def matches(keel, nodes, follower):
    return {s["stripe"]: f["match"] for node in nodes for s in stripes(keel, node) if s["serves"] for f in s.get("followers", []) if f["node"] == follower}


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Producers:
    """One process for each node that leads."""

    def __init__(self, keel, nodes, chosen, seconds, rate=0):
        self.processes = [subprocess.Popen([LOAD, "--port", str(keel.ports[node]), "--record", str(chosen.size), "--batch", str(chosen.batch), "--keep", "0",
                                            "--producers", "8", "--seconds", str(seconds), *(["--rate", str(rate / len(nodes))] if rate else [])],
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for node in nodes]

    def end(self):
        lines = []
        for process in self.processes:
            out, err = process.communicate(timeout=200)
            assert process.returncode == 0, err
            lines.append(json.loads(out))
        return {"records_per_s": sum(line["records_per_s"] for line in lines), "p50_us": max(line["p50_us"] for line in lines),
                "p99_us": max(line["p99_us"] for line in lines), "max_us": max(line["max_us"] for line in lines)}

    def stop(self):
        for process in self.processes:
            process.kill()
            process.communicate()


def disk_rate(folder):
    done = subprocess.run(["fio", "--name=seq", f"--filename={folder}/fio", "--rw=write", "--bs=1M", "--size=1G", "--direct=1", "--ioengine=io_uring", "--iodepth=4",
                           "--output-format=json"], capture_output=True, text=True, check=True, timeout=60)
    (folder / "fio").unlink()
    return json.loads(done.stdout)["jobs"][0]["write"]["bw_bytes"]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mib", type=int, default=2048)
    options.add_argument("--size", type=int, default=1024)
    options.add_argument("--batch", type=int, default=65536)
    options.add_argument("--rate", type=int, default=0, help="segstore.transfer_rate, 0: its default")
    options.add_argument("--store", default="", help="further arguments of the stores")
    chosen = options.parse_args()
    rate = ["--set", f"segstore.transfer_rate={chosen.rate}"] if chosen.rate else []
    with harness.Cluster(store_args=("--set", "segstore.wal_file=64MiB", "--set", "segstore.backlog_max=0", *rate, *chosen.store.split()), start=False) as keel:
        for node in keel.ports: # without a broker: the producers are the one process that may be attached
            keel.start_node(node, wait=False)
        for node in keel.ports:
            keel.stores[node].await_ready()
        disk = disk_rate(keel.dir)
        harness.await_true(lambda: settled(keel, (1, 2, 3)), "three nodes keep all stripes", timeout=60)
        full = Producers(keel, (1, 2, 3), chosen, 2).end()
        half = full["records_per_s"] / 2
        harness.await_true(lambda: settled(keel, (1, 2, 3)), "they keep up", timeout=60)
        before = Producers(keel, (1, 2, 3), chosen, 3, half).end()
        keel.stores[3].kill()
        harness.await_true(lambda: settled(keel, (1, 2), (3,)), "two lead everything", timeout=60)
        known = sum(lasts(keel, (1, 2)).values())
        fill = chosen.mib * 1048576 // chosen.size
        fill_producers = Producers(keel, (1, 2), chosen, 1000)
        harness.await_true(lambda: (sum(lasts(keel, (1, 2)).values()) - known) * (chosen.batch // chosen.size) > fill, "enough is written", timeout=200)
        fill_producers.stop()
        load = Producers(keel, (1, 2), chosen, 4, half)
        time.sleep(0.5)
        goal = lasts(keel, (1, 2))
        begun = time.monotonic()
        keel.start_node(3)
        ready = time.monotonic()
        cpu = {node: cpu_seconds(store) for node, store in keel.stores.items()}
        missed = sum(goal.values()) - known
        harness.await_true(lambda: all(matches(keel, (1, 2, 3), 3).get(n, goal[n]) >= goal[n] for n in goal), "the node has all that it missed", timeout=120)
        took = time.monotonic() - ready
        cpu = {node: (cpu_seconds(store) - cpu[node]) / took for node, store in keel.stores.items()}
        settled_at = None
        during = load.end()
        harness.await_true(lambda: settled(keel, (1, 2, 3)), "it keeps up", timeout=120)
        settled_at = time.monotonic() - ready
        images = [line for line in keel.log().splitlines() if "image" in line]
    size = missed * chosen.batch
    line = {"disk": disk, "missed_bytes": size, "ready_s": ready - begun, "took_s": took, "settled_s": settled_at, "rate": size / took, "full": full, "before": before,
            "during": during, "image_lines": len(images), "cores": cpu}
    with open(RAW, "a") as out:
        out.write(json.dumps(line) + "\n")
    print(f"missed {size >> 20} MiB ({chosen.size} B records), caught up {took:.1f} s after the start: {size / took / 1e6:.0f} MB/s, {size / took / disk:.2f} of the "
          f"disk's {disk / 1e6:.0f} MB/s; all keep up after {settled_at:.1f} s; {len(images)} lines of images; "
          f"cores used by the nodes meanwhile: {', '.join(f'{used:.2f}' for used in cpu.values())}")
    print(f"producers at half of {full['records_per_s']:,.0f}/s: p50 {before['p50_us']:.0f} us, p99 {before['p99_us']:.0f} us, max {before['max_us'] / 1e3:.0f} ms with three nodes; "
          f"meanwhile {during['p50_us']:.0f} us, {during['p99_us']:.0f} us, {during['max_us'] / 1e3:.0f} ms")


if __name__ == "__main__":
    main()
