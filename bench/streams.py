#!/usr/bin/python3
"""Memory and restart of one shard of a segment store with very many streams.

    bench/streams.py [--streams 1000000] [--mib 0]

Makes the streams (empty, named by 24 bytes, over 64 stripes) and shows what the process grew by for each, then stops and starts the store and shows it again. With --mib, so
much is appended behind the last checkpoint, the store is killed and its start timed, cold where the page cache may be dropped."""
import argparse
import json
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


def rss(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def append(keel, *args):
    done = harness.run(APPEND, "--port", keel.segstore.rsplit(":", 1)[1], "--pids", keel.store.pid, *args, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--streams", type=int, default=1000000)
    options.add_argument("--mib", type=int, default=0)
    chosen = options.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with harness.Apart(store_args=("--shards", "1", "--set", "segstore.backlog_max=0", "--set", "segstore.streams_max=1000000000"), data=FOLDER / "data", start=False) as keel:
        keel.start_store()
        empty = rss(keel.store.pid)
        made = append(keel, "--streams", chosen.streams)
        print(f"{chosen.streams:,} streams made in {made['seconds']} s: {made['bytes_each']:.0f} bytes each in memory", flush=True)
        assert keel.store.stop() == 0
        keel.store_args += ["--set", "segstore.checkpoint=1000GiB", "--set", "segstore.checkpoint_interval=86400"]
        keel.start_store()
        print(f"after a restart: {(rss(keel.store.pid) - empty) / chosen.streams:.0f} bytes each; {opened(keel)}", flush=True)
        if chosen.mib:
            append(keel, "--record", 1024, "--batch", 65536, "--keep", 0, "--mib", chosen.mib)
            keel.kill_store()
            cold = drop_caches()
            started = time.monotonic()
            keel.start_store(wait=False)
            keel.store.await_ready(timeout=60)
            print(f"ready after {time.monotonic() - started:.2f} s{', cold' if cold else ''}; {opened(keel)}")
    shutil.rmtree(FOLDER, ignore_errors=True)


def opened(keel):
    return re.findall(r"opened in .*", keel.store.log())[-1]


if __name__ == "__main__":
    main()
