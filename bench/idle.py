#!/usr/bin/python3
"""idle - what three segment stores cost each other while nothing happens: bytes, frames' segments and processor time, per node and second.

    bench/idle.py [STRIPES ..]        KEEL_SEGSTORE=path to measure another build
"""
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "e2e"))
import harness  # noqa: E402

SECONDS = 8


def sent(ports):
    """Bytes and segments with data that all nodes together have sent over the connections between them."""
    out = subprocess.run(["ss", "-tinH"], capture_output=True, text=True, check=True).stdout
    total = segments = 0
    for line in re.sub(r"\n\s+", " ", out).splitlines():
        if any(line.split()[i].rsplit(":", 1)[1] in ports for i in (3, 4)):
            total += sum(int(n) for n in re.findall(r"bytes_sent:(\d+)", line))
            segments += sum(int(n) for n in re.findall(r"data_segs_out:(\d+)", line))
    return total, segments


def ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def switches(pid):
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", task.joinpath("status").read_text(), re.M)[1])
               for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


def measure(stripes):
    with harness.Cluster(start=False, store_args=("--set", f"segstore.stripes={stripes}")) as keel:
        for n in keel.ports:
            keel.start_node(n, wait=False)
        for n in keel.ports:
            keel.stores[n].await_ready()
        time.sleep(10)  # leaders are elected and have been spread
        pids = [store.popen.pid for store in keel.stores.values()]
        ports = {str(port) for port in keel.ports.values()}
        look = lambda: (*sent(ports), sum(map(ticks, pids)), sum(map(switches, pids)))  # noqa: E731
        before = look()
        time.sleep(SECONDS)
        per = [(a - b) / len(pids) / SECONDS for a, b in zip(look(), before)]
        print(f"{stripes:5} stripes: {per[0] / 1000:8.1f} kB/s {per[1]:7.0f} segments/s {per[3]:7.0f} wake-ups/s {per[2] * 100:6.2f} % of a core, per node")


if os.environ.get("KEEL_SEGSTORE"):
    harness.BUILD = pathlib.Path(os.environ["KEEL_SEGSTORE"]).parent
for count in [int(a) for a in sys.argv[1:]] or [64, 512]:
    measure(count)
