#!/usr/bin/python3
"""How long a broker that starts takes to its first CONNACK when many sessions are stored.

    bench/connack.py [--sessions 20000] [--starts 7]"""
import argparse
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
from rawmqtt import Client  # noqa: E402


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sessions", type=int, default=20000)
    options.add_argument("--starts", type=int, default=7)
    chosen = options.parse_args()
    times = []
    with harness.Apart(store_args=("--shards", "1"), broker_args=("--shards", "1")) as keel:
        for number in range(chosen.sessions):
            client = Client(keel, f"kept-{number}", clean=False, props={"session_expiry": 86400})
            client.subscribe(f"kept/{number}/+", 1)
            client.close()
        for _ in range(chosen.starts):
            assert keel.broker.stop() == 0
            begun = time.monotonic()
            keel.start_broker(wait=False)
            keel.broker_ready()
            Client(keel, "first").close()
            times.append((time.monotonic() - begun) * 1000)
    print(f"{chosen.sessions} stored sessions: from the broker's start to the first CONNACK median {statistics.median(times):.0f} ms, most {max(times):.0f} ms of {len(times)}")


if __name__ == "__main__":
    main()
