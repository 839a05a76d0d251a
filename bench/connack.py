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
from rawmqtt import CONNACK, SUBACK, Client, connect, subscribe  # noqa: E402


BATCH = 500


def store(keel, numbers):
    """A stored session with a subscription for each number, all of them at the same time."""
    clients = [Client(keel, f"kept-{number}", clean=False, props={"session_expiry": 86400}, open=False) for number in numbers]
    for client, number in zip(clients, numbers):
        client.send(connect(f"kept-{number}", clean=False, props={"session_expiry": 86400}) + subscribe([(f"kept/{number}/+", 1)]))
    for client in clients:
        client.expect(CONNACK, reason=0)
        assert client.expect(SUBACK).codes == [1]
        client.close()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sessions", type=int, default=20000)
    options.add_argument("--starts", type=int, default=7)
    chosen = options.parse_args()
    times = []
    begun = time.monotonic()
    with harness.Apart(store_args=("--shards", "1"), broker_args=("--shards", "1")) as keel:
        for first in range(0, chosen.sessions, BATCH):
            store(keel, range(first, min(first + BATCH, chosen.sessions)))
        print(f"{chosen.sessions} sessions stored in {time.monotonic() - begun:.1f} s", flush=True)
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
