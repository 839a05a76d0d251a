#!/usr/bin/python3
"""How long a segment store takes to serve again with much log behind its last checkpoint.

    bench/restart.py [--mib 1024] [--rounds 3] [--size 1024] [--batch 0]

Fills the log with messages for a stored session, each an entry of its own, or with --batch with such batches of records (bench/load/append), without a checkpoint, kills the store (SIGKILL), drops the page cache when allowed to, and times
the next start until its line "ready". What the log held is read from the store's own words."""
import argparse
import pathlib
import re
import shutil
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402

LOAD = ROOT / "build" / "release" / "bench" / "load" / "mqttload"
FOLDER = ROOT / "build" / "bench-restart"


def drop_caches():
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")
        return True
    except OSError:
        return False


def fill(keel, mib, size, batch):
    if batch:
        port = keel.segstore.rsplit(":", 1)[1]
        done = harness.run(LOAD.with_name("append"), "--port", port, "--record", size, "--batch", batch, "--keep", "0", "--mib", mib, timeout=600)
        assert done.returncode == 0, done.stderr
        return
    count = mib * 1024 * 1024 // (size + 140) // 50 + 1  # of one publisher; about 140 bytes of log beside each body
    harness.run(LOAD, "--port", keel.port, "--mode", "backlog", "--qos", 1, "--subs", 1, "--pubs", 50, "--count", count, "--window", 100,
                "--size", size, timeout=600)


def restart(mib, size, batch):
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    no_checkpoint = ("--set", "segstore.checkpoint=1000GiB", "--set", "segstore.checkpoint_interval=86400", "--set", "segstore.backlog_max=0")
    with harness.Apart(store_args=("--shards", "1", *no_checkpoint), broker_args=("--shards", "1"), data=FOLDER / "data", start=False) as keel:
        keel.start_store()
        if not batch:
            keel.start_broker()
        def replayed():
            found = re.findall(r"opened in (\d+) ms: .* (\d+) blocks with (\d+) entries replayed, (\d+) MiB read", keel.store.log())
            return [int(word) for word in found[-1]]
        fill(keel, mib, size, batch)
        keel.kill_store()
        cold = drop_caches()
        started = time.monotonic()
        keel.start_store()
        took = time.monotonic() - started
        return took, *replayed(), cold


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--size", type=int, default=1024)
    options.add_argument("--batch", type=int, default=0)
    options.add_argument("--rounds", type=int, default=3)
    options = options.parse_args()
    times = []
    for _ in range(options.rounds):
        took, opened_ms, blocks, entries, read, cold = restart(options.mib, options.size, options.batch)
        times.append(took)
        print(f"ready after {took:.2f} s: {blocks} blocks, {entries} entries, {read} MiB of log read, opened in {opened_ms} ms, {read * 1.048576 / took:.0f} MB/s{', cold' if cold else ''}", flush=True)
    print(f"median {statistics.median(times):.2f} s of {len(times)}")
    shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    main()
