"""A message that waits for long does not keep the whole file of the log in which it came."""
import urllib.request

from harness import Apart, await_true
from rawmqtt import *

SMALL = ("--set", "segstore.wal_file=1MiB", "--set", "segstore.checkpoint=1MiB", "--set", "segstore.checkpoint_interval=1",
         "--set", "segstore.log_budget=1MiB", "--set", "segstore.reclaim_age=0", "--set", "segstore.scrub_period=1",
         "--set", "segstore.stripes=4", "--shards", "1")
MESSAGES, COLD_ONE_IN, BYTES = 2000, 50, 8000


def metrics(keel):
    with urllib.request.urlopen(f"http://{keel.store_admin}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if line and line[0] != "#" and "{" not in line)}


def files(keel, kind):
    return sorted((keel.data / "shard-00" / kind).iterdir())


def payload(n):
    return b"%08d" % n + bytes((n * 7 + i) % 256 for i in range(256)) * (BYTES // 256)


def fill(keel, begin):
    with Client(keel, "old-pub", timeout=60) as pub:
        for n in range(begin, begin + MESSAGES):
            pub.publish("cold" if n % COLD_ONE_IN == 0 else "warm", payload(n), 1)


def test_old_files_go_and_what_waits_in_them_is_delivered():
    keep = {"session_expiry": 3600}
    with Apart(store_args=SMALL, broker_args=("--shards", "1")) as keel:
        with Client(keel, "old-cold", clean=False, props=keep) as cold:
            cold.subscribe("cold", 1)
        with Client(keel, "old-warm", clean=False, props=keep) as warm:
            warm.subscribe("warm", 1)
        for round in range(2):
            fill(keel, round * MESSAGES)
            with Client(keel, "old-warm", clean=False, props=keep, timeout=60) as warm:
                for n in range(round * MESSAGES, (round + 1) * MESSAGES):
                    if n % COLD_ONE_IN != 0:
                        assert warm.message().payload == payload(n), n

            def nudge():  # what comes makes checkpoints, and those make room
                fill_few(keel)
                return len(files(keel, "wal")) <= 10 and metrics(keel)["keel_segstore_reclaim_files_total"] > 0
            await_true(nudge, "files in which little waits are gone", 90)
            if round == 0:
                keel.kill_store()
                keel.start_store()
        now = metrics(keel)
        assert now["keel_segstore_run_bytes"] > 0 and files(keel, "runs"), now
        assert now["keel_segstore_reclaim_written_bytes_total"] <= now["keel_segstore_log_bytes_total"], "written twice at most"
        first = now["keel_segstore_reclaim_credit_bytes"] + now["keel_segstore_reclaim_written_bytes_total"] - now["keel_segstore_log_bytes_total"]
        assert first > MESSAGES * BYTES // 2, "what was logged before the kill still counts"
        keel.kill_store()
        keel.start_store()
        with Client(keel, "old-cold", clean=False, props=keep, timeout=60) as cold:
            assert cold.connack.session_present == 1
            for n in range(0, 2 * MESSAGES, COLD_ONE_IN):
                assert cold.message().payload == payload(n), n
        assert keel.alive(), keel.log()
        assert "cannot be read" not in keel.log() and "was read again: what" not in keel.log(), keel.log()
        return (f"{len(files(keel, 'wal'))} files of the log and {now['keel_segstore_run_bytes'] / 1024:.0f} KiB of runs are left of "
                f"{2 * MESSAGES * BYTES >> 20} MiB")


def fill_few(keel):
    with Client(keel, "old-few") as pub:
        for _ in range(20):
            pub.publish("nobody", b"x" * 100, 1)
            pub.publish("nobody/retained", b"x" * 20000, 1, retain=True)
