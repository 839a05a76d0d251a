#!/usr/bin/python3
"""Makes a fixture of 01-data-directories.py: what a release leaves behind that is killed in the midst of its work.

    tests/e2e/old/make.py NAME PROGRAMS COMMIT [--cluster [--hole]] [--shards N]
        e.g.  git worktree add --detach ../release COMMIT && make -C ../release && tests/e2e/old/make.py image-6 ../release/build COMMIT

PROGRAMS is the folder of that release's keel, keel-broker and keel-segstore. NAME.tar.xz gets the directories of its segment stores (data-1 ..), NAME.json what
they hold: what every client is owed, in the words of the test, how the programs were set up, and which versions of which formats were found in the files.

Make one of the last commit before a format changes, name it by the version that it has alone, and give the test a function for it; the test fails when a version is
read that no fixture has. (image-5-first is of the first releases with checkpoints of version 3, which do not tell what was logged.) When look() does not know the format that changes, teach it, and the test's FORMATS.

What lies in them twice, from before a checkpoint and from behind it: queues of sessions with messages in flight in every state, QoS 2 messages that were published
and not released, others that were handed out in that moment, retained messages replaced and deleted, shared subscriptions, captured streams and a reader in their
midst, users, rules, bans and bridges, wills and delayed messages that come after the kill; in releases that move old records to runs, a run. --hole: node 3 has lost an
entry, and its checkpoint tells of that. A release that has no such thing, or does not know a setting, is left without it.
"""
import argparse
import json
import pathlib
import re
import struct
import sys
import tarfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import harness  # noqa: E402
from harness import Apart, Cluster, await_true  # noqa: E402
from rawmqtt import *  # noqa: E402,F403

FOREVER = {"session_expiry": 0xFFFFFFFF}
AFTER_S = 25  # of what is to come when the directory is opened: the release is killed before
STORE = ("segstore.stripes=4", "segstore.wal_file=1MiB", "segstore.checkpoint=1MiB", "segstore.checkpoint_interval=4", "segstore.log_budget=1MiB",
         "segstore.reclaim_age=0")
BURST = 50
FAST = ("auth.argon2_memory=64", "auth.argon2_passes=1", "auth.scram_iterations=4096")


# ---- a release that knows less ----


def knows(build):
    """The settings of a build, as its `keel config` prints them."""
    keys, section = set(), ""
    for line in harness.run(build / "keel", "config").stdout.splitlines():
        name = line.strip().split(":")[0]
        if line and line[0] not in " #":
            section = name
        elif line.startswith("  ") and line.strip()[0] != "#":
            keys.add(f"{section}.{name}")
    return keys


def fitting(keys, args):
    """args without what this release does not know."""
    args, out = list(map(str, args)), []
    while args:
        word = args.pop(0)
        if word == "--set" and args[0].split("=")[0] not in keys or word == "--segstore-admin" and "segstore.admin" not in keys:
            args.pop(0)
        else:
            out.append(word)
    return out


class Release(harness.Process):
    keys = set()

    def __init__(self, args, log, **more):
        super().__init__(fitting(self.keys, args), log, **more)


def ctl(keel, *words, input=None):
    return harness.run(*fitting(Release.keys, [harness.BUILD / "keel", "ctl", *words, "--admin", keel.admin, *sets(FAST)]), input=input)


def sets(settings):
    return [word for setting in settings for word in ("--set", setting)]


# ---- what lies in the files ----


def look(data):
    """The versions that are in a data directory; of each shard the number of its last block, and of the one that its newest checkpoint ends with."""
    versions, ends = {}, []

    def found(format, version):
        versions.setdefault(format, set()).add(version)

    for shard in sorted(data.glob("shard-*")):
        last, saved, rows = 0, 0, {}
        found("super", struct.unpack_from("<H", (shard / "super").read_bytes(), 4)[0])
        for file in sorted((shard / "wal").iterdir()):
            raw = file.read_bytes()
            for at in range(0, len(raw), 4096):
                if raw[at:at + 4] == b"KWAL":
                    found("block", struct.unpack_from("<H", raw, at + 4)[0])
                    last = max(last, struct.unpack_from("<Q", raw, at + 32)[0])
            for row in re.finditer(rb"(publisher-of-bursts\0..)[\x12\x1a]\0\0\0(.)(.)", raw, re.DOTALL):  # packet ids of QoS 2: version, done
                rows[row[1]] = row[2][0], row[3][0]
        for file in sorted((shard / "ckpt").iterdir()):
            if file.name.isdigit():
                saved = max(saved, checkpoint(file.read_bytes(), found))
        for version, done in rows.values():
            if not done:
                found("inbound", version)
        ends.append((last, saved))
    return versions, ends


def checkpoint(raw, found):
    """Tells the versions of a checkpoint, if it is whole, and returns the number of its last block."""
    if raw[:4] != b"KCKP" or raw[-32:-28] != b"KCKE":
        return 0
    found("checkpoint", struct.unpack_from("<H", raw, 4)[0])
    at, count = 80, struct.unpack_from("<I", raw, 64)[0]
    for _ in range(count):
        _, _, of_replica, size = struct.unpack_from("<HHIQ", raw, at)
        image = raw[at + 48:at + 48 + size]
        found("image", struct.unpack_from("<H", image, 4)[0])
        if of_replica:
            found("replica", struct.unpack_from("<H", image, size - of_replica)[0])
        at += 48 + size
    return struct.unpack_from("<Q", raw, 40)[0]


def directories(keel):
    return [keel.dir / f"data-{n}" for n in keel.ports] if isinstance(keel, Cluster) else [keel.data]


def await_checkpoint(keel):
    """One of every shard that has all that was logged by now."""
    wanted = {data: [last for last, _ in look(data)[1]] for data in directories(keel)}

    def saved():
        return all(end[1] >= last for data, lasts in wanted.items() for end, last in zip(look(data)[1], lasts))
    await_true(saved, "checkpoints", 60, 0.2)


# ---- what is put there; holds: what the test has to find ----


class Story:
    def __init__(self, keel, release):
        self.keel, self.release, self.open = keel, release, []
        self.patient = not isinstance(keel, Cluster)  # for 10 s after each change of leaders nobody counts as lost: the test would wait for that
        self.holds = {"sessions": {}, "retained": {}, "comes": {}, "in_doubt": {}}

    def stored(self, client_id, version=5, **more):
        return Client(self.keel, client_id, version, clean=False, props=FOREVER if version == 5 else None, **more)

    def session(self, client_id, filters, version=5, qos=2, props=None):
        with self.stored(client_id, version) as c:
            assert c.subscribe(filters, qos, props=props) == [qos] * len(filters)
        self.holds["sessions"][client_id] = {"version": version, "filters": filters, "again": [], "released": [], "messages": []}

    def queue(self, client_id, topic, payloads, qos):
        with Client(self.keel, "publisher") as c:
            for payload in payloads:
                c.publish(topic, payload.encode(), qos)
        self.holds["sessions"][client_id]["messages"] += [[topic, payload, qos] for payload in payloads]

    def flight(self, client_id, topic, first):
        """Four messages on their way: of QoS 1 and 2 without an answer, a QoS 2 whose release has come, and one of QoS 1 that was answered."""
        kept = self.holds["sessions"][client_id]
        with self.stored(client_id) as c:
            for _ in kept["again"] + kept["released"]:
                c.recv()  # once more, and left as it was
            for n, qos in enumerate((1, 2, 2, 1), first):
                with Client(self.keel, "publisher") as publisher:
                    publisher.publish(topic, b"%d" % n, qos)
                m = c.expect(PUBLISH)
                assert (m.payload, m.qos) == (b"%d" % n, qos), m
                if n - first < 2:
                    kept["again"].append([topic, f"{n}", qos, m.id])
                elif qos == 2:
                    c.send(ack(PUBREC, m.id))
                    c.expect(PUBREL, id=m.id)
                    kept["released"].append(m.id)
                else:
                    c.send(ack(PUBACK, m.id))
            c.until_ping()

    def doubt(self, client_id, id, topic, payload):
        """A QoS 2 message that its publisher has not released."""
        with self.stored(client_id) as c:
            c.send(publish(topic, payload.encode(), 2, id=id))
            assert c.expect(PUBREC, id=id).reason in (0, 0x10)
        self.holds["in_doubt"].setdefault(client_id, []).append([id, topic, payload])
        self.holds["sessions"]["once"]["messages"].append([topic, payload, 2])

    def burst(self, first_id):
        """QoS 2 messages that are handed out, each in another state, when everything is killed. In the second burst there are numbers in doubt of the first one."""
        messages = [[id, "bursts/x", f"{id}"] for id in range(first_id, first_id + BURST)]
        with self.stored("publisher-of-bursts") as c:
            c.send(b"".join(publish(topic, payload.encode(), 2, id=id) for id, topic, payload in messages))
            assert c.expect(PUBREC).reason in (0, 0x10)
            kill(self.keel)
        self.holds["in_doubt"].setdefault("publisher-of-bursts", []).extend(messages)
        self.holds["sessions"]["bursts"].update(any_order=True)
        self.holds["sessions"]["bursts"]["messages"] += [[topic, payload, 2] for _, topic, payload in messages]

    def retain(self, numbers, what):
        with Client(self.keel, "publisher") as c:
            for n in numbers:
                c.publish(f"retained/{n}", f"{what} {n}".encode() if what else b"", n % 3, retain=True, props={"user": [("number", str(n))]})
                self.holds["retained"].pop(f"retained/{n}", None)
                if what:
                    self.holds["retained"][f"retained/{n}"] = f"{what} {n}"
            c.until_ping()

    def later(self, part):
        """What comes when nobody is alive any more: delayed messages, wills with a delay and without one."""
        comes = self.holds["comes"]
        if "mqtt.delayed_max" in self.release:
            with Client(self.keel, "publisher") as c:
                for qos in (1, 2):
                    c.publish(f"$delayed/{AFTER_S}/comes/delayed-{part}-{qos}", b"delayed", qos)
                    comes[f"comes/delayed-{part}-{qos}"] = ["delayed", AFTER_S]
        for name, delay in (("soon", 0), ("late", AFTER_S)) if self.patient else (("late", AFTER_S),):
            will = {"topic": f"comes/will-{part}-{name}", "payload": b"will", "qos": 1, "props": {"will_delay": delay}}
            self.open.append(self.stored(f"will-{part}-{name}", will=will))
            comes[will["topic"]] = ["will", delay]
            if delay:
                self.open[-1].close()
        will = {"topic": f"ends/will-{part}", "payload": b"will", "qos": 1, "props": {"will_delay": 4000000000}}
        self.stored(f"will-{part}-ends", will=will).close()  # when its session ends, in the test
        self.holds.setdefault("ends", {})[f"will-{part}-ends"] = will["topic"]

    def capture(self, part):
        keel, holds = self.keel, self.holds
        if "stream" not in self.release:
            return
        if part == 0:
            for name, more in (("log", ()), ("latest", ("--last-value",))):
                made = ctl(keel, "stream", "create", name, "--filter", f"{name}/#", "--max-age", "0", "--max-bytes", "0", *more)
                assert made.returncode == 0, made
            holds["streams"] = {"log": [], "latest": {}}
            holds["sessions"]["reader"] = {"version": 5, "filters": ["$stream/log"], "again": [], "released": [], "messages": []}
        topics = [(f"log/{n % 3}", f"{n}") for n in range(part * 10, part * 10 + 10)]
        with Client(keel, "publisher") as c:
            for n, (topic, payload) in enumerate(topics):
                c.publish(topic, payload.encode(), 1 + n % 2, props={"user": [("number", payload)]})
                c.publish(topic.replace("log", "latest"), payload.encode(), 1)
                holds["streams"]["latest"][topic.replace("log", "latest")] = payload
        holds["streams"]["log"] += topics
        with self.stored("reader") as c:
            if part == 0:
                assert c.subscribe("$stream/log", 1, props={"user": [("keel-from", "first")]}) == [1]
            got = [c.expect(PUBLISH) for _ in range(4)]  # answered in their order: where it goes on
            for m in got:
                c.send(ack(PUBACK, m.id))
            c.until_ping()
            assert [m.payload.decode() for m in got] == [str(n) for n in range(4 * part, 4 * part + 4)], got
        holds["sessions"]["reader"]["messages"] = [[*record, 1] for record in holds["streams"]["log"]][4 * part + 4:]

    def people(self, part):
        if "auth.argon2_memory" not in self.release:
            return
        holds = self.holds.setdefault("people", {"passwords": {}, "denied": [], "banned": []})
        bridges = self.holds.setdefault("bridges", {})
        name, password = f"user-{part}", f"password {part}"
        assert ctl(self.keel, "passwd", name, "--password-file", "stdin", input=password + "\n").returncode == 0
        holds["passwords"][name] = password
        assert ctl(self.keel, "acl", "add", f"deny all publish denied-{part}/#").returncode == 0
        holds["denied"].append(f"denied-{part}/x")
        if "ban" in self.release:
            assert ctl(self.keel, "ban", "add", "client", f"banned-{part}").returncode == 0
            holds["banned"].append(f"banned-{part}")
        if "bridge" in self.release and self.patient:
            bridges[f"bridge-{part}"] = f"127.0.0.1:{part + 1}"  # nobody listens there
            made = ctl(self.keel, "bridge", "create", f"bridge-{part}", "--address", f"127.0.0.1:{part + 1}", "--topic", "bridged/# out 1")
            assert made.returncode == 0, made

    def cold(self):
        """A few messages of many wait until the files that they came in are emptied."""
        if "segstore.reclaim_age" not in self.release or isinstance(self.keel, Cluster):
            return
        self.session("cold", ["cold/#"], qos=1)
        self.session("warm", ["warm/#"], qos=1)
        tail, turn = " as every other one", 0
        with self.stored("warm") as warm, Client(self.keel, "publisher") as c:
            while not list(self.keel.data.glob("shard-*/runs/*")):
                assert turn < 400, "nothing is moved to runs"
                topics = ["cold/x" if n == 0 and turn < 10 else "warm/x" for n in range(50)]
                c.send(b"".join(publish(topic, f"{turn}{tail * 200}".encode(), 1, id=id) for id, topic in enumerate(topics, 1)))
                for id in range(1, 51):
                    c.expect(PUBACK, id=id)
                warm.messages(topics.count("warm/x"))
                turn += 1
                time.sleep(0.1)  # checkpoints have to keep up
        Client(self.keel, "warm", clean=True).close()
        del self.holds["sessions"]["warm"]
        self.holds["sessions"]["cold"].update(messages=[["cold/x", f"{turn}", 1] for turn in range(min(turn, 10))], tail=[tail, 200])

    def part(self, part):
        """0: from before the checkpoint; 1: behind it."""
        a, b = part * 100, part * 100 + 10
        name = "queue" if part == 0 else "queue-late"
        if part == 0:
            self.cold()
            self.session("bursts", ["bursts/#"])
            self.burst(1)
            begin(self.keel)
            self.session("once", ["once/#"])
            self.session("comes", ["comes/#"], qos=1)
            self.session("old-3", ["queue/3/#"], version=4, qos=1)
            self.session("flight", ["flight/#"])
            self.session("member", ["$share/group/shared/#"], qos=1)
            self.session("changes", ["changes/a", "changes/b"], qos=1, props={"subscription_id": 9})
            self.holds["sessions"]["changes"]["ids"] = {"changes/a": [9]}
        self.session(name, [f"queue/{part}/#"])
        self.queue(name, f"queue/{part}/one", [f"{n}" for n in range(a, b)], 1)
        self.queue(name, f"queue/{part}/two", [f"{n}" for n in range(a, b)], 2)
        self.queue("old-3", "queue/3/x", [f"{n}" for n in range(a, b)], 1)
        self.queue("member", "shared/x", [f"{n}" for n in range(a, b)], 1)
        if part == 1:
            self.queue("queue", "queue/0/one", [f"{n}" for n in range(a, b)], 2)
            with self.stored("changes") as c:
                c.unsubscribe("changes/b")
                c.subscribe("changes/c", 1)
            self.holds["sessions"]["changes"]["filters"] = ["changes/a", "changes/c"]
        self.doubt("publisher-of-once", 7 + 10 * part, "once/x", f"in doubt {part}.1")
        self.doubt("publisher-of-once", 8 + 10 * part, "once/x", f"in doubt {part}.2")
        self.flight("flight", "flight/x", 4 * part)
        if part == 0:
            self.retain(range(20), "first")
            self.retain(range(5), "replaced")
            self.retain(range(5, 8), None)
        else:
            self.retain(range(8, 11), "replaced late")
            self.retain(range(11, 13), None)
            self.retain(range(20, 25), "late")
        self.capture(part)
        self.people(part)
        self.later(part)
        if part == 1:
            self.burst(1 + BURST)


def start(args):
    if not args.cluster:
        return Apart(store_args=("--shards", args.shards, *sets(STORE)), broker_args=("--shards", "1", *sets(FAST)))
    return Cluster(store_args=sets(STORE), broker_args=sets(FAST))


def kill(keel):
    """Stores first: nobody says goodbye."""
    processes = [*(keel.stores.values() if isinstance(keel, Cluster) else [keel.store]), keel.broker]
    for process in processes:
        process.popen.kill()
    for process in processes:
        process.popen.wait()


def begin(keel):
    """Once more."""
    if isinstance(keel, Cluster):
        for n in keel.ports:
            keel.start_node(n, wait=False)
        for n in keel.ports:
            keel.stores[n].await_ready()
    else:
        keel.start_store()
    keel.start_broker()


def hole(keel, n):
    """Node n loses an entry that it had acknowledged, and makes a checkpoint that tells of it: alone, so that nobody gives it back."""
    data = keel.dir / f"data-{n}"
    (last, saved), = look(data)[1]
    for file in (data / "shard-00" / "wal").iterdir():
        raw = bytearray(file.read_bytes())
        for at in range(0, len(raw), 4096):
            if raw[at:at + 4] == b"KWAL" and struct.unpack_from("<Q", raw, at + 32)[0] == (last + saved) // 2:
                raw[at + struct.unpack_from("<H", raw, at + 6)[0] + 40] ^= 1
        file.write_bytes(raw)
    keel.start_node(n, wait=False)
    await_true(lambda: 2 in look(data)[0]["replica"], f"a checkpoint with a hole\n{keel.stores[n].log()}", 20, 0.1)
    keel.stores[n].kill()


def pack(name, keel):
    def plain(entry):
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(HERE / f"{name}.tar.xz", "w:xz", preset=9) as tar:
        for n, data in enumerate(directories(keel), 1):
            tar.add(data, f"data-{n}", filter=plain)


def lines(value, depth=0):
    """JSON with a line for each thing of the three upper floors."""
    if depth == 3 or not isinstance(value, dict) or not value:
        return json.dumps(value)
    inner = ",\n".join(f"{' ' * (depth + 1)}{json.dumps(key)}: {lines(each, depth + 1)}" for key, each in value.items())
    return "{\n" + inner + "\n" + " " * depth + "}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("commit")
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--hole", action="store_true", help="in node 3's log, told of in its checkpoint")
    parser.add_argument("--shards", default="1")
    args = parser.parse_args()
    harness.BUILD = args.programs.resolve()
    harness.Process = Release
    Release.keys = knows(harness.BUILD)
    release = set(Release.keys)
    release |= {word for word in ("stream", "ban", "bridge") if f"keel ctl {word} " in harness.run(harness.BUILD / "keel", "ctl", "--help").stdout}
    with start(args) as keel:
        try:
            story = Story(keel, release)
            story.part(0)
            began = time.monotonic()
            await_checkpoint(keel)
            story.part(1)
            assert time.monotonic() - began < AFTER_S - 5, "too late: what should come after the kill may have come before it"
        except BaseException:
            print(keel.log(), file=sys.stderr)
            raise
        assert all(last > saved > 0 for data in directories(keel) for last, saved in look(data)[1]), "a checkpoint and log behind it"
        if args.hole:
            hole(keel, 3)
        versions = {}
        for data in directories(keel):
            there, ends = look(data)
            print(f"{data.name}: {there}, last block and that of the checkpoint, of each shard: {ends}")
            for format, of in there.items():
                versions.setdefault(format, set()).update(of)
        about = {"commit": args.commit, "cluster": args.cluster, "hole": args.hole, "shards": args.shards, "settings": STORE[:2], "made": int(time.time()),
                 "versions": {format: sorted(of) for format, of in versions.items()}, "holds": story.holds}
        (HERE / f"{args.name}.json").write_text(lines(about) + "\n")
        pack(args.name, keel)
    print(f"{args.name}.tar.xz: {(HERE / f'{args.name}.tar.xz').stat().st_size} bytes")


if __name__ == "__main__":
    main()
