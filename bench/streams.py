#!/usr/bin/python3
"""Memory and restart of a segment store with very many streams.

    bench/streams.py [--streams 1000000] [--shards 1] [--mib 0] [--rounds 3] [--keep] [--again]

Makes the streams (empty, named by 24 bytes, over 64 stripes) and shows what the process grew by for each, then stops and starts the store and shows it again. With --mib, all
streams are brought into a checkpoint, so much is appended behind it, the store is killed, and its start is timed --rounds times: cold where the page cache may be
dropped, beside the time that the disk takes for the same files alone (direct reads of 4 MiB, a thread a shard). --keep leaves the directory for --again, which
begins with these starts."""
import argparse
import concurrent.futures
import json
import mmap
import os
import pathlib
import re
import shutil
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
from restart import FOLDER, LOAD, drop_caches  # noqa: E402

APPEND = LOAD.with_name("append")
WITHOUT_CHECKPOINTS = ("--set", "segstore.checkpoint=1000GiB", "--set", "segstore.checkpoint_interval=86400")


def rss(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def cpu_s(pid):
    words = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def append(keel, shard, *args):
    done = harness.run(APPEND, "--port", keel.segstore.rsplit(":", 1)[1], "--pids", keel.store.pid, "--shard", shard, "--cpu", shard % os.cpu_count(), *args, timeout=1200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def append_to_all(keel, shards, what, count, *args):
    """Each shard gets its share, all at the same time."""
    with concurrent.futures.ThreadPoolExecutor(shards) as loads:
        return list(loads.map(lambda shard: append(keel, shard, *args, what, count // shards), range(shards)))


def opened(keel, shards):
    return "; ".join(re.findall(r"opened in .*", keel.store.log())[-shards:])


def measure_memory(keel, shards, streams):
    keel.start_store()
    empty = rss(keel.store.pid)
    made = append_to_all(keel, shards, "--streams", streams)
    print(f"{streams:,} streams made in {made[0]['seconds']} s: {(rss(keel.store.pid) - empty) / streams:.0f} bytes each in memory", flush=True)
    assert keel.store.stop() == 0
    keel.start_store()
    print(f"after a restart: {(rss(keel.store.pid) - empty) / streams:.0f} bytes each", flush=True)
    assert keel.store.stop() == 0


def newest_checkpoints(shards):
    return [max(folder.glob("[0-9]*[0-9]"), default=folder) for folder in (FOLDER / "data").glob("**/ckpt")][:shards]


def put_into_checkpoint(keel, shards):
    """A checkpoint that is begun once all streams are there has them all."""
    before = newest_checkpoints(shards)
    args, keel.store_args = keel.store_args, [*keel.store_args, "--set", "segstore.checkpoint=1MiB", "--set", "segstore.checkpoint_interval=1"]
    keel.start_store()
    append_to_all(keel, shards, "--mib", 64 * shards, "--record", 1024, "--batch", 65536)
    harness.await_true(lambda: not any(a == b for a, b in zip(before, newest_checkpoints(shards))), "a checkpoint of every shard", timeout=120)
    assert keel.store.stop() == 0
    keel.store_args = args


def read_alone(files):
    room = mmap.mmap(-1, 4 << 20)
    for path in files:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        while os.readv(fd, [room]) > 0:
            pass
        os.close(fd)


def disk_alone(shards):
    """What the disk needs for what a start reads: the newest checkpoints, and the log behind them (as much of it as there is)."""
    folders = sorted((FOLDER / "data").glob("**/ckpt"))
    files = [[max(folder.glob("[0-9]*[0-9]")), *sorted(folder.parent.glob("wal/[0-9]*[0-9]"))] for folder in folders]
    drop_caches()
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(shards) as readers:
        list(readers.map(read_alone, files))
    took = time.monotonic() - started
    size = sum(path.stat().st_size for each in files for path in each)
    print(f"the disk alone: {size >> 20} MiB of files in {took:.2f} s, {size / took / 1e6:.0f} MB/s", flush=True)


def measure_start(keel, shards):
    cold = drop_caches()
    started = time.monotonic()
    keel.start_store(wait=False)
    keel.store.await_ready(timeout=120)
    took = time.monotonic() - started
    print(f"ready after {took:.2f} s{', cold' if cold else ''}, {cpu_s(keel.store.pid):.2f} s of processor, {rss(keel.store.pid) >> 20} MiB; {opened(keel, shards)}", flush=True)
    keel.kill_store()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--streams", type=int, default=1000000)
    options.add_argument("--shards", type=int, default=1)
    options.add_argument("--mib", type=int, default=0)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--keep", action="store_true")
    options.add_argument("--again", action="store_true")
    chosen = options.parse_args()
    if not chosen.again:
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
    common = ("--shards", chosen.shards, "--set", "segstore.backlog_max=0", "--set", "segstore.streams_max=1000000000")
    with harness.Apart(store_args=common, data=FOLDER / "data", start=False) as keel:
        if not chosen.again:
            measure_memory(keel, chosen.shards, chosen.streams)
            if chosen.mib:
                put_into_checkpoint(keel, chosen.shards)
        keel.store_args += WITHOUT_CHECKPOINTS
        if chosen.mib and not chosen.again:
            keel.start_store()
            append_to_all(keel, chosen.shards, "--mib", chosen.mib, "--record", 1024, "--batch", 65536, "--keep", 0)
            keel.kill_store()
        if chosen.mib or chosen.again:
            disk_alone(chosen.shards)
            for _ in range(chosen.rounds):
                measure_start(keel, chosen.shards)
    if not chosen.keep and not chosen.again:
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    main()
