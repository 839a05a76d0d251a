#!/usr/bin/python3
"""Measures how many records a segment store makes durable beside what this machine can do at all, in turns.

    bench/append.py [--rounds N] [--seconds S] [--batches 16384,65536] [--window W] [--connections C] [--record BYTES] [--forms run,ops]

Sixteen producers send batches of 64-byte records (bench/load/append), each waits for its batches to be durable. The floor is bench/load/appendfloor: a
loop that parses the same records, copies them into blocks, checksums and writes those with O_DIRECT and RWF_DSYNC, and acknowledges. Store and floor run
on core 0, producers on core 1, fresh processes and files in every run, in an order drawn anew in every round; the ratio is made within a round. The store has
one shard and its own settings, but for backlogs without a limit. Raw lines go to build/append.jsonl."""
import argparse
import json
import pathlib
import random
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402

LOAD = ROOT / "build" / "release" / "bench" / "load"
FOLDER = ROOT / "build" / "bench-append"
RAW = ROOT / "build" / "append.jsonl"
ON_CORE_0 = ("taskset", "-c", "0")


class Floor:
    def __enter__(self):
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.popen = subprocess.Popen([*ON_CORE_0, LOAD / "appendfloor", FOLDER / "floor"], stdout=subprocess.PIPE, text=True)
        self.port, self.pid = int(self.popen.stdout.readline().split()[1]), self.popen.pid
        return self

    def __exit__(self, *_):
        self.popen.kill()
        self.popen.wait()


class Store(harness.Apart):
    def __init__(self, args):
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        super().__init__(store_args=("--shards", "1", "--set", "segstore.backlog_max=0", *args), data=FOLDER / "data", start=False)
        self.start_store(wrapper=ON_CORE_0)
        self.port, self.pid = int(self.segstore.rsplit(":", 1)[1]), self.store.pid


def run(form, batch, chosen):
    with (Floor() if form == "dense" else Store(chosen.store.split())) as server:
        done = subprocess.run([LOAD / "append", "--port", str(server.port), "--pids", str(server.pid), "--batch", str(batch), "--form", form,
                               "--window", str(chosen.window), "--connections", str(chosen.connections), "--record", str(chosen.record),
                               "--producers", str(chosen.producers), "--seconds", str(chosen.seconds)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    with open(RAW, "a") as out:
        out.write(json.dumps(line) + "\n")
    return line


def spread(numbers, text="{:.2f}"):
    return f"{text} ({text} to {text})".format(statistics.median(numbers), min(numbers), max(numbers))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=2)
    options.add_argument("--batches", default="16384,65536")
    options.add_argument("--window", type=int, default=1)
    options.add_argument("--connections", type=int, default=1)
    options.add_argument("--producers", type=int, default=16)
    options.add_argument("--record", type=int, default=64)
    options.add_argument("--forms", default="run,ops")
    options.add_argument("--store", default="", help="further arguments of the store, one text")
    chosen = options.parse_args()
    forms = ["dense", *chosen.forms.split(",")]
    lines = {}
    for _ in range(chosen.rounds):
        for batch in map(int, chosen.batches.split(",")):
            for form in random.sample(forms, len(forms)):
                lines.setdefault((batch, form), []).append(run(form, batch, chosen))
    for (batch, form), runs in sorted(lines.items()):
        rates = [line["records_per_s"] / 1e6 for line in runs]
        shares = [line["records_per_s"] / floor["records_per_s"] for line, floor in zip(runs, lines[batch, "dense"])]
        print(f"{batch // 1024} KiB of {chosen.record} B records, {form}: {spread(rates)} million/s, {spread(shares)} of the floor; "
              f"p50 {statistics.median(line['p50_us'] for line in runs):.0f} us, p99 {statistics.median(line['p99_us'] for line in runs):.0f} us, "
              f"CPU {spread([line['cpu_ns_per_record'] for line in runs], '{:.0f}')} ns a record, {statistics.median(line['cpu_percent'] for line in runs):.0f} %, "
              f"producers {statistics.median(line['generator_percent'] for line in runs):.0f} %")
    shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    main()
