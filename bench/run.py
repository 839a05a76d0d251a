#!/usr/bin/python3
"""Measures Keel beside Mosquitto: the same load, in turns, fresh processes, at least five rounds; prints tables, raw lines go to build/bench.jsonl.

    bench/run.py [--rounds N] [--seconds S] [--only WORD,..] [--brokers keel,mosquitto,mosquitto-nodelay,relay] [--list]

Broker (and segment store) run on core 0, the load on core 1. The first number is CPU time of the broker's processes per delivered message
(user + system from /proc, store included): it holds on a busy machine where messages per second do not. Ratios are made within a round,
against Mosquitto with its better setting in that round; median, smallest and largest are shown. Every run checks that nothing was lost.
"""
import argparse
import json
import os
import pathlib
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
import tls  # noqa: E402

LOAD = ROOT / "build" / "release" / "bench" / "load" / "mqttload"
RAW = ROOT / "build" / "bench.jsonl"
ON_CORE_0 = ("taskset", "-c", "0")
PEERS = ("mosquitto", "mosquitto-nodelay")


def flow(*args):
    return ["--mode", "flow", *args]


HALF_OF = "half of "  # a rate: half of what this scenario reached in the same round

SHAPES = {  # of the table that every broker is compared by
    "1-1": [],
    "50-1": ["--pubs", "50", "--window", "20"],
    "1-200": ["--subs", "200", "--window", "20"],
    "100-100": ["--pubs", "100", "--subs", "100", "--pairs", "--window", "20"],
}


def shape(name, qos, size):
    window = [] if SHAPES[name] else ["--window", "100" if qos else "1000"]
    return flow(*SHAPES[name], *window, "--qos", str(qos), "--size", str(size))


SCENARIOS = {  # name: arguments of mqttload
    **{f"{name} q{qos} {text}": shape(name, qos, size) for name in SHAPES for qos in (0, 1) for text, size in (("64", 64), ("1K", 1024))},
    "1-200 q0 64 w10": flow("--subs", "200", "--window", "10"),
    "1-200 q0 64 w100": flow("--subs", "200", "--window", "100"),
    "1-1 q2 64": flow("--qos", "2", "--window", "100"),
    "1-1 q0 1K tls": flow("--qos", "0", "--window", "1000", "--size", "1024", "--tls"),
    "50-1 q1 1K tls": flow("--pubs", "50", "--qos", "1", "--window", "20", "--size", "1024", "--tls"),
    "window 1 q1": flow("--qos", "1", "--window", "1"),
    "window 20 q1": flow("--qos", "1", "--window", "20"),
    "window 1000 q0": flow("--qos", "0", "--window", "1000"),
    "rate 1k q0": flow("--qos", "0", "--rate", "1000"),
    "rate 10k q0": flow("--qos", "0", "--rate", "10000"),
    "rate 10k q1": flow("--qos", "1", "--rate", "10000"),
    "rate 10k q2": flow("--qos", "2", "--rate", "10000"),
    "rate 40k q0": flow("--qos", "0", "--rate", "40000"),
    "stored q1 w1": flow("--stored", "--qos", "1", "--window", "1"),
    "stored q1 w200": flow("--stored", "--qos", "1", "--window", "200"),
    "stored 50-1 q1 1K": flow("--stored", "--pubs", "50", "--qos", "1", "--window", "100", "--size", "1024"),
    "stored 50-1 q1 64": flow("--stored", "--pubs", "50", "--qos", "1", "--window", "100"),
    "stored 100-1 q1 64 w1": flow("--stored", "--pubs", "100", "--qos", "1", "--window", "1"),
    "stored 100-1 q1 64 w10": flow("--stored", "--pubs", "100", "--qos", "1", "--window", "10"),
    "stored 100-1 q1 64 rate 20k": flow("--stored", "--pubs", "100", "--qos", "1", "--rate", "20000"),
    "stored 100-1 q1 64 rate 50k": flow("--stored", "--pubs", "100", "--qos", "1", "--rate", "50000"),
    "stored 100-100 q1 64": flow("--stored", "--pubs", "100", "--subs", "100", "--pairs", "--qos", "1", "--window", "20"),
    "stored 50-1 q1 1K rate half": flow("--stored", "--pubs", "50", "--qos", "1", "--size", "1024", "--rate", HALF_OF + "stored 50-1 q1 1K"),
    "stored rate 1k q1": flow("--stored", "--qos", "1", "--rate", "1000"),
    "stored rate 2k q1": flow("--stored", "--qos", "1", "--rate", "2000"),
    "backlog 100 sessions": ["--mode", "backlog", "--qos", "1", "--subs", "100", "--count", "2000", "--window", "100", "--size", "256"],
    "idle 19000": ["--mode", "idle", "--subs", "19000"],
    "churn": ["--mode", "churn", "--subs", "100"],
}


FLOOR = ("1-1 q0 64", "1-1 q0 1K", "rate 10k q0")  # what the relay can play: one subscriber, QoS 0


class Pinned(harness.Apart):
    """Store and broker on core 0, one shard each, data on the disk that holds the build."""

    def __init__(self, folder, secure):
        certificate = ("--mqtts", "127.0.0.1:0", "--set", f"tls.cert={tls.certs()}/server.crt", "--set", f"tls.key={tls.certs()}/server.key")
        super().__init__(store_args=("--shards", "1"), broker_args=("--shards", "1", *(certificate if secure else ())), data=folder / "data", start=False)
        self.start_store(wrapper=ON_CORE_0)
        self.start_broker(wrapper=ON_CORE_0)
        if secure:
            self.port = int(harness.fields(self.broker.line)["mqtts"].rsplit(":", 1)[1])
        self.pids = [self.broker.pid, self.store.pid]


class Peer(harness.Mosquitto):
    def __init__(self, secure, *config):
        certificate = (f"certfile {tls.certs()}/server.crt", f"keyfile {tls.certs()}/server.key") if secure else ()
        super().__init__("max_inflight_messages 0", *certificate, *config)
        subprocess.run(["taskset", "-acp", "0", str(self.process.pid)], check=True, capture_output=True)
        self.pids = [self.process.pid]


class Relay(harness.Server):
    """bench/load/relay: bytes from socket to socket, the floor."""

    def __init__(self):
        super().__init__()
        self.popen = subprocess.Popen([*ON_CORE_0, LOAD.with_name("relay")], stdout=subprocess.PIPE, text=True)
        self.port = int(self.popen.stdout.readline().split()[1])
        self.pids = [self.popen.pid]

    def alive(self):
        return self.popen.poll() is None

    def log(self):
        return ""

    def close(self):
        self.popen.kill()
        self.popen.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def start(broker, folder, secure):
    if broker == "relay":
        return Relay()
    if broker == "keel":
        return Pinned(folder, secure)
    return Peer(secure, *(["set_tcp_nodelay true"] if broker == "mosquitto-nodelay" else []))


def written(pids):
    total = 0
    for pid in pids:
        total += int(re.search(r"^write_bytes: (\d+)", pathlib.Path(f"/proc/{pid}/io").read_text(), re.M).group(1))
    return total


def run_delay(pids):
    """Nanoseconds that the threads of these processes were runnable and did not run."""
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[1])
            except (OSError, IndexError):
                pass
    return total


def steal():
    return int(open("/proc/stat").readline().split()[8])


def log_writes(server):
    """What the segment store says when it stops: (entries, durable writes, bytes) of its log."""
    server.store.stop()
    said = re.findall(r"wrote (\d+) entries in (\d+) durable writes of together (\d+) bytes", server.store.log())
    return [sum(int(words[i]) for words in said) for i in range(3)]


def arguments(name, results, broker, number):
    """Of mqttload; a rate that depends on another scenario is looked up."""
    args = list(SCENARIOS[name])
    for i, arg in enumerate(args):
        if arg.startswith(HALF_OF):
            base = [r for r in of(results, arg[len(HALF_OF):], broker) if r["round"] == number]
            if not base:
                return None
            args[i] = str(round(base[0]["msgs_per_s"] / 2))
    return args


def one(broker, name, args, seconds, folder):
    """One run of one scenario against a fresh broker."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with start(broker, folder, "--tls" in args) as server:
        before = written(server.pids), run_delay(server.pids), steal(), time.monotonic()
        done = harness.run(LOAD, "--port", server.port, "--pids", ",".join(map(str, server.pids)), "--cpu", 1, "--seconds", seconds, *args, timeout=400)
        took = time.monotonic() - before[3]
        result = json.loads(done.stdout) if done.stdout.strip() else {"broken": True, "error": done.stderr.strip()[-300:]}
        result.update(scenario=name, broker=broker, wall_s=round(took, 2), load=float(open("/proc/loadavg").read().split()[0]),
                      steal_ticks=steal() - before[2])
        if server.alive():
            result.update(written_bytes=written(server.pids) - before[0], runnable_percent=round((run_delay(server.pids) - before[1]) / took / 1e7, 1))
            if broker == "keel" and "--stored" in args:
                result.update(zip(("log_entries", "log_writes", "log_bytes"), log_writes(server)))
        else:
            result.update(broken=True, error=server.log()[-300:])
        return result


def machine():
    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    commit = harness.run("git", "-C", ROOT, "rev-parse", "--short", "HEAD").stdout.strip()
    version = harness.run("mosquitto", "-h").stdout.splitlines()[0] if shutil.which("mosquitto") else "no mosquitto"
    return {"commit": commit, "kernel": platform.release(), "cpu": cpu.group(1) if cpu else "?", "cores": os.cpu_count(), "peer": version,
            "flags": "-O2 -march=x86-64-v3", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def fio(folder, size, seconds):
    """Durable writes of one size, one after the other, into a file that is written already: what the disk can do at best."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fio.data"
    common = ["fio", "--name=wal", f"--filename={path}", "--direct=1", "--ioengine=pvsync2", "--rw=write", "--output-format=json"]
    harness.run(*common, "--bs=1M", "--size=64M", timeout=120)
    out = json.loads(harness.run(*common, f"--bs={size}", "--size=64M", "--sync=dsync", "--overwrite=1", "--time_based", f"--runtime={seconds}",
                                 timeout=120).stdout)["jobs"][0]["write"]
    path.unlink()
    return {"size": size, "per_s": out["iops"], "mib_per_s": out["bw_bytes"] / 1048576, "p50_us": out["clat_ns"]["percentile"]["50.000000"] / 1000,
            "p99_us": out["clat_ns"]["percentile"]["99.000000"] / 1000}


def spread(values, form="{:.2f}"):
    if not values:
        return "-"
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}..{form.format(max(values))})"


def table(title, head, rows):
    if not rows:
        return
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    print(f"\n{title}")
    for row in [head, ["-" * w for w in widths], *rows]:
        print("| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |")


def of(results, name, broker):
    return [r for r in results if r["scenario"] == name and r["broker"] == broker and not r.get("broken")]


def ratios(results, name, field):
    """Keel over the better Mosquitto, per round. field: what is compared; smaller is better for CPU, larger for rates."""
    out = []
    for number in sorted({r["round"] for r in results}):
        mine = [r[field] for r in of(results, name, "keel") if r["round"] == number and r.get(field)]
        theirs = [r[field] for peer in PEERS for r in of(results, name, peer) if r["round"] == number and r.get(field)]
        if mine and theirs:
            out.append(min(theirs) / mine[0] if "cpu" in field else mine[0] / max(theirs))
    return out


def report(results, names, brokers):
    capacity, latency, other = [], [], []
    for name in names:
        args = SCENARIOS[name]
        for broker in brokers:
            runs = of(results, name, broker)
            bad = [r for r in results if r["scenario"] == name and r["broker"] == broker and r.get("broken")]
            note = ", ".join(filter(None, [f"{len(bad)} broken" if bad else "", f"lost {sum(r.get('lost', 0) for r in runs)}" if any(r.get("lost") for r in runs) else "",
                                           f"repeated {sum(r.get('repeated', 0) for r in runs)}" if any(r.get("repeated") for r in runs) else "",
                                           "generator busy" if any(r.get("generator_percent", 0) > 90 for r in runs) else "",
                                           "core shared" if any(r.get("runnable_percent", 0) > 5 for r in runs) and broker != "keel" else ""]))
            if broker == "relay" and not runs:
                continue
            if not runs:
                other.append([name, broker, "-", "-", "-", note])
            elif "--rate" in args:
                latency.append([name, broker, sum(r["n"] for r in runs), *(spread([r[k] for r in runs], "{:.0f}") for k in ("p50_us", "p99_us", "p999_us", "max_us")),
                                spread([r["cpu_us_per_msg"] for r in runs]), note])
            elif args[1] == "flow":
                apart = [statistics.median([r["cpu_us_apart"][i] for r in runs]) for i in range(len(runs[0]["cpu_us_apart"]))]
                capacity.append([name, broker, spread([r["cpu_us_per_msg"] for r in runs]), " + ".join(f"{a:.2f}" for a in apart) if len(apart) > 1 else "",
                                 spread([r["msgs_per_s"] for r in runs], "{:.0f}"), f"{statistics.median(r['cpu_percent'] for r in runs):.0f}",
                                 f"{statistics.median(r['generator_percent'] for r in runs):.0f}",
                                 spread(ratios(results, name, "cpu_us_per_msg")) if broker == "keel" else "",
                                 spread(ratios(results, name, "msgs_per_s")) if broker == "keel" else "", note])
            elif args[1] == "idle":
                other.append([name, broker, "bytes per connection", spread([r["bytes_per_connection"] for r in runs], "{:.0f}"),
                              f"CPU at rest {statistics.median(r['cpu_percent'] for r in runs):.1f} %", note])
            elif args[1] == "churn":
                other.append([name, broker, "connections/s", spread([r["connections_per_s"] for r in runs], "{:.0f}"),
                              f"{statistics.median(r['cpu_us_per_msg'] for r in runs):.1f} us CPU each", note])
            else:
                other.append([name, broker, "stored copies/s", spread([r["stored_copies_per_s"] for r in runs], "{:.0f}"),
                              f"drain {statistics.median(r['drain_per_s'] for r in runs):.0f}/s, {statistics.median(r['rss_bytes_per_copy'] for r in runs):.0f} B memory and "
                              f"{statistics.median(r.get('written_bytes', 0) / max(1, r['sent'] * r['subs']) for r in runs):.0f} B written per copy", note])
    table("Capacity, closed loop. CPU in us per delivered message; ratio: how many times less CPU (more messages) than the better Mosquitto, per round",
          ["scenario", "broker", "CPU us/msg", "broker + store", "msg/s", "CPU %", "load %", "CPU ratio", "msg/s ratio", ""], capacity)
    table("Latency, open loop, us from the intended time, all rounds", ["scenario", "broker", "n", "p50", "p99", "p99.9", "max", "CPU us/msg", ""], latency)
    table("Others", ["scenario", "broker", "what", "value", "more", ""], other)


def report_disk(results, rounds, folder, say):
    stored = [r for r in results if r["broker"] == "keel" and r.get("log_writes") and not r.get("broken")]
    if not stored:
        return
    rows = []
    for name in sorted({r["scenario"] for r in stored}):
        runs = of(results, name, "keel")
        syncs = statistics.median(r["log_writes"] / r["wall_s"] for r in runs)
        size = statistics.median(r["log_bytes"] / r["log_writes"] for r in runs)
        block = max(4, min(1024, int(round(size / 4096)) * 4))
        disk = [fio(folder, f"{block}k", 2) for _ in range(min(rounds, 3))]
        for d in disk:
            say({"scenario": "fio", "for": name, **d})
        best = statistics.median(d["per_s"] for d in disk)
        rows.append([name, f"{syncs:.0f}", f"{statistics.median(r['log_entries'] / r['log_writes'] for r in runs):.1f}", f"{size / 1024:.1f} KiB", f"{block} KiB", spread([d["per_s"] for d in disk], "{:.0f}"),
                     spread([d["p50_us"] for d in disk], "{:.0f}"), f"{100 * syncs / best:.0f} %"])
    table("Log: flushes of the disk while Keel stores (each publish acknowledged after its flush), beside fio writing the same size with O_DSYNC, one at a time.\n"
          "Mosquitto writes its store every 30 minutes and at exit: its acknowledged messages are in memory only",
          ["scenario", "flushes/s", "entries each", "bytes each", "fio size", "fio writes/s", "fio p50 us", "share of fio"], rows)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=3)
    options.add_argument("--only", default="", help="scenarios whose name contains one of these words")
    options.add_argument("--brokers", default="keel,mosquitto,mosquitto-nodelay,relay")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--list", action="store_true")
    options = options.parse_args()
    names = [n for n in SCENARIOS if not options.only or any(w and w in n for w in options.only.split(","))]
    if options.list:
        print("\n".join(names))
        return 0
    if not LOAD.exists():
        sys.exit(f"{LOAD} is not built: make bench")
    brokers, results, dice = options.brokers.split(","), [], random.Random(options.seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / "build"))
    about = machine()
    print(" ".join(f"{k}={v}" for k, v in about.items()))
    with open(RAW, "a") as raw:
        def say(line):
            raw.write(json.dumps({**about, **line}) + "\n")
            raw.flush()
        try:
            for number in range(options.rounds):
                for name in names:
                    floor = ["relay"] if name in FLOOR and "relay" in brokers else []
                    others = [b for b in brokers if b != "relay"]
                    for broker in dice.sample(others + floor, len(others + floor)):
                        args = arguments(name, results, broker, number)
                        if args is None:
                            sys.exit(f"{name} needs the scenario whose rate it halves in the same round")
                        result = one(broker, name, args, options.seconds, folder / "run")
                        result["round"] = number
                        results.append(result)
                        say(result)
                        print(f"round {number + 1}/{options.rounds} {name}: {broker} " + (f"BROKEN {result.get('error', '')}" if result.get("broken") else
                              f"{result.get('cpu_us_per_msg', 0):.2f} us/msg {result.get('msgs_per_s', 0):.0f} msg/s"), file=sys.stderr, flush=True)
            report(results, names, brokers)
            report_disk(results, options.rounds, folder / "fio", say)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    wrong = [r for r in results if r.get("broken") or r.get("lost")]
    return 1 if any(r["broker"] == "keel" for r in wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
