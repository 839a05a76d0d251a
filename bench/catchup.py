#!/usr/bin/python3
"""How fast a node catches up that missed much while the others go on, and what the producers feel of it.

    bench/catchup.py [--mib 2048] [--size 1024] [--batch 65536] [--stripes 8] [--disk 200M [--memory]] [--rate BYTES] [--store ARGUMENTS]

Three nodes keep the same stripes on one machine. How fast producers (bench/load/append, one process beside each node that leads) can write is measured first,
then their latency at half of that. One node is killed, --mib are written without it, and it is started again while writes go on at half speed, until every leader says
that it keeps up. What producers feel of it is compared with the same load on the two nodes right before: behind so much that was written, files and checkpoints are others
than at first. What the disk can do alone is measured in the same run with fio: durable writes of 1 MiB,
2 under way, into a file that was filled before, as the log's own.

All three nodes share this machine's disk and two cores, with the load. --disk gives each node a disk of its own, of so many bytes a second for writing and as many
for reading: a group of processes (cgroup v1, blkio.throttle) per node, which needs root. Then the disk's rate is measured in such a group. With --disk alone they still share
a file system's journal and what the disk does for a flush. --memory keeps that apart, too: each node has a file system of its own on compressed memory (zram; the records of
this load are zeroes), which flushes for nothing, as disks do whose cache outlives a loss of power."""
import argparse
import json
import os
import pathlib
import signal
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402

LOAD = ROOT / "build" / "release" / "bench" / "load" / "append"
RAW = ROOT / "build" / "catchup.jsonl"
BEFORE_S = 5  # of load at half speed before the node comes back
LOOK_S = 1  # between two looks at a node whose producers are measured: a hundred a second cost a tenth of both cores
GROUPS = pathlib.Path("/sys/fs/cgroup/blkio")
ZRAM = pathlib.Path("/sys/class/zram-control")


def size_of(text):
    return int(text[:-1]) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[text[-1].upper()] if text[-1].isalpha() else int(text)


class Disk:
    """A disk of a known rate for a node: a group of processes whose reads and writes are throttled. Without a rate: the machine's."""

    def __init__(self, name, rate, folder):
        self.path = None
        if not rate:
            return
        if not (GROUPS / "blkio.throttle.write_bps_device").exists():
            sys.exit(f"--disk needs cgroup v1 with blkio.throttle at {GROUPS}, and there is none: leave --disk out")
        device = os.stat(folder).st_dev
        try:
            self.path = GROUPS / f"keel-catchup-{os.getpid()}-{name}"
            self.path.mkdir()
            for verb in ("read", "write"):
                (self.path / f"blkio.throttle.{verb}_bps_device").write_text(f"{os.major(device)}:{os.minor(device)} {rate}")
        except OSError as error:
            self.remove()
            sys.exit(f"--disk needs root and a block device of its own below {folder} ({error}): leave --disk out")

    def wrapper(self):
        return ("sh", "-c", f'echo $$ > {self.path}/cgroup.procs; exec "$0" "$@"') if self.path else ()

    def rate(self, folder):
        """Durable writes into a file that was filled before."""
        fio = ["fio", "--name=seq", f"--filename={folder}/fio", "--rw=write", "--bs=1M", "--size=512M", "--direct=1", "--ioengine=io_uring", "--output-format=json"]
        subprocess.run([*fio, "--iodepth=4", "--end_fsync=1"], capture_output=True, check=True, timeout=60)
        done = subprocess.run([*self.wrapper(), *fio, "--iodepth=2", "--sync=dsync", "--overwrite=1"], capture_output=True, text=True, check=True, timeout=60)
        (folder / "fio").unlink()
        return json.loads(done.stdout)["jobs"][0]["write"]["bw_bytes"]

    def moved(self):
        """Bytes read and written so far."""
        lines = (self.path / "blkio.throttle.io_service_bytes").read_text().split() if self.path else []
        return {verb: sum(int(lines[i + 1]) for i in range(len(lines)) if lines[i] == verb) for verb in ("Read", "Write")}

    def remove(self):
        if self.path and self.path.exists():
            harness.await_true(self.removed, "its processes are gone")

    def removed(self):
        try:
            self.path.rmdir()
            return True
        except OSError:
            return False


class Volume:
    """A file system of a node's own, in memory. Seen by this process and its children alone."""

    def __init__(self, folder):
        self.folder = folder
        self.number = int((ZRAM / "hot_add").read_text())
        pathlib.Path(f"/sys/block/zram{self.number}/disksize").write_text("64G")
        device = f"/dev/zram{self.number}"
        subprocess.run(["mkfs.ext4", "-q", "-E", "nodiscard", device], check=True, timeout=60)
        subprocess.run(["mount", device, folder], check=True, timeout=60)

    def remove(self):
        subprocess.run(["umount", self.folder], check=True, timeout=60)
        (ZRAM / "hot_remove").write_text(str(self.number))


def stripes(keel, node):
    status, body = keel.http("/cluster", f"127.0.0.1:{keel.admins[node]}")
    return [s for s in json.loads(body)["stripes"]] if status == 200 else []


def settled(keel, count, nodes, laggards=()):
    """All stripes are served by these nodes, shared out among them, and followers keep up but for laggards."""
    by_node = [[s for s in stripes(keel, node) if s["serves"]] for node in nodes]
    served = [s for of in by_node for s in of]
    return len(served) == count and min(map(len, by_node)) >= 2 and all(f["keeps_up"] and f["active"] for s in served for f in s.get("followers", []) if f["node"] not in laggards)


def placed(keel, nodes):
    """No lead is about to move: a producer that meets one has to give up."""
    return all(s["preferred"] and s["leader"] == (s["preferred"] if s["preferred"] in nodes else s["leader"]) for node in nodes for s in stripes(keel, node))


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
        return {"records_per_s": sum(line["records_per_s"] for line in lines), **{key: max(line[key] for line in lines) for key in ("p50_us", "p99_us", "p999_us", "max_us")}}

    def stop(self):
        for process in self.processes:
            process.terminate()
        return self.end()


def latencies(line):
    return ", ".join(f"{name} {line[key] / 1e3:.1f}" for name, key in (("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us"), ("max", "max_us"))) + " ms"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mib", type=int, default=2048)
    options.add_argument("--size", type=int, default=1024)
    options.add_argument("--batch", type=int, default=65536)
    options.add_argument("--stripes", type=int, default=8)
    options.add_argument("--disk", type=size_of, default=0, help="a disk for each node that reads and writes so many bytes a second; needs root")
    options.add_argument("--memory", action="store_true", help="with --disk: a file system of its own in memory for each node")
    options.add_argument("--rate", type=size_of, default=0, help="segstore.transfer_rate, 0: its default")
    options.add_argument("--store", default="", help="further arguments of the stores")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # its processes and files go
    if chosen.memory and not (chosen.disk and ZRAM.exists() and os.geteuid() == 0):
        sys.exit(f"--memory needs --disk, root and zram at {ZRAM}: leave it out")
    if chosen.memory and "KEEL_APART" not in os.environ:  # mounts that end with this process
        os.execvpe("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv], {**os.environ, "KEEL_APART": "1"})
    rate = ["--set", f"segstore.transfer_rate={chosen.rate}"] if chosen.rate else []
    disks, volumes = {}, []
    try:
        with harness.Cluster(store_args=("--set", "segstore.wal_file=64MiB", "--set", "segstore.backlog_max=0", "--set", f"segstore.stripes={chosen.stripes}", *rate,
                                         *chosen.store.split()), start=False) as keel:
            try:
                for node in keel.ports:
                    folder = keel.dir / f"node-{node}"
                    folder.mkdir()
                    if chosen.memory:
                        volumes.append(Volume(folder))
                    disks[node] = Disk(node, chosen.disk, folder)
                run(keel, chosen, disks)
            finally:
                for process in keel.stores.values():
                    process.stop()
                for volume in volumes:
                    volume.remove()
    finally:
        for disk in disks.values():
            disk.remove()


def run(keel, chosen, disks):
    def ready(nodes, laggards=()):
        return lambda: settled(keel, chosen.stripes, nodes, laggards)

    for node in keel.ports:  # without a broker: the producers are the one process that may be attached
        keel.start_node(node, wait=False, data=keel.dir / f"node-{node}" / "data", wrapper=disks[node].wrapper())
    for node in keel.ports:
        keel.stores[node].await_ready()
    disk = disks[1].rate(keel.dir / "node-1")
    harness.await_true(lambda: placed(keel, (1, 2, 3)) and ready((1, 2, 3))(), "three nodes keep all stripes, each where it belongs", timeout=60)
    full = Producers(keel, (1, 2, 3), chosen, 3).end()
    half = full["records_per_s"] / 2
    harness.await_true(ready((1, 2, 3)), "they keep up", timeout=60)
    before = Producers(keel, (1, 2, 3), chosen, 4, half).end()
    keel.stores[3].kill()
    harness.await_true(ready((1, 2), (3,)), "two lead everything", timeout=60)
    known = sum(lasts(keel, (1, 2)).values())
    fill = chosen.mib * 1048576 // chosen.size
    fill_producers = Producers(keel, (1, 2), chosen, 1000)
    harness.await_true(lambda: (sum(lasts(keel, (1, 2)).values()) - known) * (chosen.batch // chosen.size) > fill, "enough is written", timeout=200 + chosen.mib / 40)
    fill_producers.stop()
    Producers(keel, (1, 2), chosen, BEFORE_S, half).end()  # what was usual at full speed is not: the queue behind it is gone, and forgotten
    alone = Producers(keel, (1, 2), chosen, BEFORE_S, half).end()  # as full as the disks are now: only so it is the same but for the node that catches up
    written = sum(lasts(keel, (1, 2)).values())
    load = Producers(keel, (1, 2), chosen, 1000, half)
    harness.await_true(lambda: sum(lasts(keel, (1, 2)).values()) - written >= half * chosen.size / chosen.batch, "the load goes on at half speed", timeout=60)
    goal = lasts(keel, (1, 2))
    begun = time.monotonic()
    keel.start_node(3, data=keel.dir / "node-3" / "data", wrapper=disks[3].wrapper())
    up = time.monotonic()
    cpu = {node: cpu_seconds(store) for node, store in keel.stores.items()}
    moved = {node: disk.moved() for node, disk in disks.items()}
    missed = sum(goal.values()) - known
    harness.await_true(lambda: all(matches(keel, (1, 2, 3), 3).get(n, goal[n]) >= goal[n] for n in goal), "the node has all that it missed", timeout=90 + chosen.mib / 40, every=LOOK_S)
    took = time.monotonic() - up
    cpu = {node: (cpu_seconds(store) - cpu[node]) / took for node, store in keel.stores.items()}
    moved = {node: {verb: (bytes_then - moved[node][verb]) / took for verb, bytes_then in disks[node].moved().items()} for node in disks}
    passed = sum(lasts(keel, (1, 2, 3)).values()) - sum(goal.values())
    during = load.stop()
    harness.await_true(ready((1, 2, 3)), "it keeps up", timeout=120)
    settled_s = time.monotonic() - up
    after = Producers(keel, (1, 2, 3), chosen, BEFORE_S, half).end() if placed(keel, (1, 2, 3)) else None
    images = [line for line in keel.log().splitlines() if "gets an image" in line]
    size = missed * chosen.batch
    line = {"disk": disk, "missed_bytes": size, "passed_bytes": passed * chosen.batch, "ready_s": up - begun, "took_s": took, "settled_s": settled_s, "rate": size / took,
            "full": full, "before": before, "alone": alone, "during": during, "after": after, "images": len(images), "moved": moved, "cores": cpu, "chosen": vars(chosen)}
    with open(RAW, "a") as out:
        out.write(json.dumps(line) + "\n")
    print(f"missed {size >> 20} MiB ({chosen.size} B records), caught up {took:.1f} s after the start: {size / took / 1e6:.0f} MB/s, {size / took / disk:.2f} of the "
          f"disk's {disk / 1e6:.0f} MB/s, beside {passed * chosen.batch / took / 1e6:.0f} MB/s of the load; all keep up after {settled_s:.1f} s; {len(images)} images; "
          f"cores used by the nodes meanwhile: {', '.join(f'{used:.2f}' for used in cpu.values())}")
    if chosen.disk:
        print("  " + "; ".join(f"node {node} read {of['Read'] / 1e6:.0f} and wrote {of['Write'] / 1e6:.0f} MB/s" for node, of in moved.items()))
    print(f"producers at half of {full['records_per_s']:,.0f}/s\n  three nodes, little written  {latencies(before)}\n  two nodes, right before      {latencies(alone)}\n  meanwhile                    {latencies(during)}")
    if after:
        print(f"  three nodes, right behind    {latencies(after)}")


if __name__ == "__main__":
    main()
