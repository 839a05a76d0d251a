"""Data directories of earlier releases, as kill -9 left them: this one reads them, loses nothing, writes on in them, and reads that again (make.py says what is in them)."""
import contextlib
import json
import pathlib
import re
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import harness
from harness import Apart, Cluster, await_true
from rawmqtt import *

HERE = pathlib.Path(__file__).resolve().parent
FOREVER = {"session_expiry": 0xFFFFFFFF}
BUSY = ("segstore.checkpoint_interval=1", "segstore.log_budget=1MiB", "segstore.reclaim_age=0", "segstore.scrub_period=1")  # old files are read again, and emptied
FAST = ("auth.argon2_memory=64", "auth.argon2_passes=1", "auth.scram_iterations=4096")


def about(name):
    return json.loads((HERE / f"{name}.json").read_text())


def sets(settings):
    return [word for setting in settings for word in ("--set", setting)]


class Alone(Apart):
    def __init__(self, release):
        super().__init__(store_args=("--shards", release["shards"], *sets(release["settings"] + list(BUSY))), broker_args=("--shards", "1", *sets(FAST)), start=False)
        self.data = self.dir / "data-1"

    def begin(self):
        self.start_store()
        self.start_broker()

    def break_off(self):
        assert self.broker.stop() == 0, self.log()  # the store knows what clients have answered
        self.kill_store()

    def well(self):
        return True


class Three(Cluster):
    def __init__(self, release):
        super().__init__(store_args=sets(release["settings"] + list(BUSY)), broker_args=sets(FAST), start=False)

    def begin(self):
        for n in self.ports:
            self.start_node(n, wait=False)
        for n in self.ports:
            self.stores[n].await_ready()
        self.start_broker()

    def break_off(self):
        assert self.broker.stop() == 0, self.log()
        for store in self.stores.values():
            store.popen.kill()
        for store in self.stores.values():
            store.popen.wait()

    def well(self):
        addresses = ",".join(f"127.0.0.1:{port}" for port in self.admins.values())
        return harness.run(harness.BUILD / "keel", "ctl", "cluster", "--segstore-admin", addresses).returncode == 0


def ctl(keel, *words):
    return harness.run(harness.BUILD / "keel", "ctl", *words, "--admin", keel.admin).stdout


# ---- what must be there; holds is what the fixture says of it, and follows what is done here ----


def stored(keel, client_id, version=5):
    c = Client(keel, client_id, version, clean=False, props=FOREVER if version == 5 else None, timeout=20)
    assert c.connack.session_present == 1, f"the session of {client_id} is gone"
    return c


def tail(session):
    text, times = session.get("tail", ["", 0])
    return text * times


def payload(session, text):
    return (text + tail(session)).encode()


def takes(keel, client_id, session, all):
    """What was in flight comes once more as what it was, then the queue in its order; half of it is left for later, or nothing."""
    with stored(keel, client_id, session["version"]) as c:
        in_flight(c, session)
        left = list(session["messages"])
        for _ in range(len(left) if all else len(left) // 2):
            m = c.message()
            wanted = [m.topic, m.payload.decode().removesuffix(tail(session)), m.qos] if session.get("any_order") else left[0]
            assert wanted in left and (m.topic, m.payload, m.qos) == (wanted[0], payload(session, wanted[1]), wanted[2]), f"{client_id}: wanted {left[0]}, got {m}"
            assert m.props.get("subscription_id") == session.get("ids", {}).get(m.topic), m
            left.remove(wanted)
        if all:
            assert c.settle() == [], f"{client_id} gets more than it is owed"
        c.until_ping()
        c.disconnect()
    session.update(again=[], released=[], messages=left)


def in_flight(c, session):
    again, released = list(session["again"]), set(session["released"])
    for _ in range(len(again) + len(released)):
        m = c.recv()
        assert m is not None and m.kind in (PUBLISH, PUBREL), m
        if m.kind == PUBREL:
            released.remove(m.id)
            c.send(ack(PUBCOMP, m.id))
            continue
        topic, text, qos, id = again.pop(0)
        assert (m.topic, m.payload, m.qos, m.id, m.dup) == (topic, payload(session, text), qos, id, True), m
        c.send(ack(PUBACK if qos == 1 else PUBREC, id))
        released |= {id} if qos == 2 else set()
    while released:  # of those that were received now
        m = c.expect(PUBREL)
        released.remove(m.id)
        c.send(ack(PUBCOMP, m.id))


def no_doubt(keel, holds):
    """Publishers repeat their QoS 2 messages, which must not be doubled, and release them."""
    for client_id, messages in holds["in_doubt"].items():
        with stored(keel, client_id) as c:
            c.send(b"".join(publish(topic, text.encode(), 2, dup=True, id=id) for id, topic, text in messages))
            for id, *_ in messages:
                assert c.expect(PUBREC, id=id).reason in (0, 0x10)
            c.send(b"".join(ack(PUBREL, id) for id, *_ in messages))
            for id, *_ in messages:
                assert c.expect(PUBCOMP, id=id).reason == 0
    holds["in_doubt"] = {}


def retained(keel, holds):
    with Client(keel, "retained", timeout=20) as c:
        assert c.subscribe("retained/#", 2) == [2]
        got = c.messages(len(holds["retained"]))
        assert {m.topic: m.payload.decode() for m in got} == holds["retained"]
        for m in got:
            number = m.topic.split("/")[1]
            assert m.retain and (m.qos, m.props) == (int(number) % 3, {"user": [("number", number)]}), m
        assert c.settle() == [], "retained messages that were deleted"


def streams(keel, holds):
    if "streams" not in holds:
        return
    log, latest = holds["streams"]["log"], holds["streams"]["latest"]
    with Client(keel, "streams", timeout=20) as c:
        first = {"user": [("keel-from", "first")]}
        assert c.subscribe("$stream/log", 1, props=first) == [1]
        got = c.messages(len(log))
        assert [[m.topic, m.payload.decode()] for m in got] == log
        for n, m in enumerate(got):
            user = dict(m.props["user"])
            assert user["keel-offset"] == str(n) and user["number"] == m.payload.decode(), m
        assert c.settle() == []
        assert c.subscribe("$stream/latest", 1, props=first) == [1]
        assert {m.topic: m.payload.decode() for m in c.messages(len(latest))} == latest
        assert c.settle() == []


def people(keel, holds):
    if "people" not in holds:
        return
    with Client(keel, "people") as c:
        for topic in holds["people"]["denied"]:
            c.publish(topic, b"no", 1, reason=0x87)
    for name, password in holds["people"]["passwords"].items():
        Client(keel, f"as-{name}", user=name, password=password).close()
        assert refused(keel, f"as-{name}", user=name, password="another") == 0x86
    for client_id in holds["people"]["banned"]:
        assert refused(keel, client_id) == 0x8A


def bridges(keel, holds):
    """They are run by the oldest broker process: this one when the one that was killed counts as lost."""
    def listed():
        return dict(line.split("\t")[:2] for line in ctl(keel, "bridge", "list").splitlines())
    await_true(lambda: listed() == holds.get("bridges", {}), f"all bridges: {listed()}", 20)


def refused(keel, client_id, **more):
    with Client(keel, open=False) as c:
        c.send(connect(client_id, **more))
        return c.expect(CONNACK).reason


def comes(keel, holds, for_s):
    """Wills and delayed messages whose time came while nobody was alive, each once. (All, but on a machine whose clock is behind.)"""
    due = {topic: payload for topic, (payload, delay) in holds["comes"].items() if delay == 0 or delay < for_s}
    with stored(keel, "comes") as c:
        got = c.messages(len(due))
        assert sorted((m.topic, m.payload.decode()) for m in got) == sorted(due.items()), got
        assert c.settle() == [], "more than is due"
        c.disconnect()
    holds["comes"] = {}


def ends(keel, holds):
    """Wills of sessions that end now."""
    with Client(keel, "ends", timeout=20) as witness:
        witness.subscribe("ends/#", 1)
        for client_id, topic in holds["ends"].items():
            Client(keel, client_id, clean=True).disconnect()
            m = witness.message()
            assert (m.topic, m.payload) == (topic, b"will"), m
    holds["ends"] = {}


def everything(keel, holds, for_s, all):
    no_doubt(keel, holds)
    retained(keel, holds)
    streams(keel, holds)
    people(keel, holds)
    comes(keel, holds, for_s)
    bridges(keel, holds)
    for client_id, session in holds["sessions"].items():
        if client_id != "comes":
            takes(keel, client_id, session, all)


def goes_on(keel, holds):
    """More of all of it, in this release's formats behind those of before."""
    with Client(keel, "goes-on") as c:
        for client_id, session in holds["sessions"].items():
            for filter in session["filters"]:
                topic = filter.removeprefix("$share/group/").replace("#", "new")
                if topic.startswith("$stream/"):
                    continue
                c.publish(topic, payload(session, "new"), 1)
                if client_id == "comes":
                    holds["comes"][topic] = ["new", 0]
                else:
                    session["messages"].append([topic, "new", 1])
        c.publish("changes/b", b"nobody is subscribed to it any more", 1)
        for n in (0, 30):
            c.publish(f"retained/{n}", b"new", n % 3, retain=True, props={"user": [("number", str(n))]})
            holds["retained"][f"retained/{n}"] = "new"
        c.publish("retained/1", b"", 1, retain=True)
        del holds["retained"]["retained/1"]
        if "streams" in holds:
            c.publish("log/new", b"new", 1, props={"user": [("number", "new")]})
            c.publish("latest/0", b"new", 1)
            holds["streams"]["log"].append(["log/new", "new"])
            holds["streams"]["latest"]["latest/0"] = "new"
            holds["sessions"]["reader"]["messages"].append(["log/new", "new", 1])


def checkpoints(keel):
    """The newest of every shard."""
    return {max(folder.glob("[0-9]" * 12)) for folder in keel.dir.glob("data-*/shard-*/ckpt")}


one_at_a_time = threading.Lock()  # or two find the same port free


def opened(name):
    release = about(name)
    holds, for_s = release["holds"], time.time() - release["made"]
    assert not 0 <= for_s < 30, "made just now: what comes later is not yet due"
    with contextlib.ExitStack() as stack:
        with one_at_a_time:
            keel = stack.enter_context((Three if release["cluster"] else Alone)(release))
            with tarfile.open(HERE / f"{name}.tar.xz") as tar:
                tar.extractall(keel.dir)
            keel.begin()
        begun = checkpoints(keel)
        everything(keel, holds, for_s, all=False)
        await_true(lambda: not begun & checkpoints(keel), "checkpoints of this release are the ones that count")
        goes_on(keel, holds)
        await_true(keel.well, "all is well")
        keel.break_off()
        keel.begin()
        everything(keel, holds, for_s, all=True)
        ends(keel, holds)
        await_true(keel.well, "all is well")
        assert keel.alive(), keel.log()
        if not release["hole"]:
            wrong = [line for line in keel.log().splitlines() if re.search(" error |malformed|damaged here|cannot be read| [1-9][0-9]* places damaged", line)]
            assert not wrong, "\n     ".join(wrong)
    return f"of {release['commit']}"


class All:
    """All directories at once, since each test waits: the clients of a broker that is gone count as lost 10 s after the start of the store."""

    def __init__(self):
        self.pool = ThreadPoolExecutor(16)
        self.opened = {path.name: self.pool.submit(opened, path.name.removesuffix(".tar.xz")) for path in sorted(HERE.glob("*.tar.xz"))}

    def result(self, name):
        return self.opened[f"{name}.tar.xz"].result()

    def alive(self):
        return True  # every test says so of its own

    def log(self):
        return ""

    def close(self):
        self.pool.shutdown()


server = All

FORMATS = {"super": ("segstore/log/super.h", "SUPER_VERSION"), "block": ("segstore/log/block.h", "BLOCK_VERSION"),
           "checkpoint": ("segstore/log/checkpoint.h", "CHECKPOINT_VERSION"), "image": ("segstore/stripe/image.h", "IMAGE_VERSION"),
           "replica": ("segstore/node/replica/restore.c", "REPLICA_VERSION"), "inbound": ("broker/kernel/tables.c", "ROW_VERSION")}


def test_every_version_that_is_read_is_in_a_directory():
    """But the newest: there was no release with it yet."""
    there = {format: set() for format in FORMATS}
    for path in HERE.glob("*.tar.xz"):
        name = path.name.removesuffix(".tar.xz")
        assert f'result("{name}")' in pathlib.Path(__file__).read_text(), f"{name} has no test"
        for format, versions in about(name)["versions"].items():
            there[format] |= set(versions)
    for format, (path, word) in FORMATS.items():
        known = [int(number) for number in re.findall(rf"\b{word}(?:_[A-Z]+)? *= *(\d+)", (harness.ROOT / path).read_text())]
        missing = set(range(min(known), max(known))) - there[format]
        assert not missing, f"no directory has version {missing} of {word} ({path}): make.py makes one, with the programs of the last commit that wrote it"


def test_a_store_with_images_of_version_6(all):
    return all.result("image-6")


def test_a_store_with_images_of_version_5(all):
    return all.result("image-5")


def test_a_store_whose_checkpoints_do_not_tell_what_was_logged(all):
    return all.result("image-5-first")


def test_a_store_with_images_of_version_4(all):
    return all.result("image-4")


def test_a_store_with_images_of_version_3(all):
    return all.result("image-3")


def test_a_store_with_images_of_version_2(all):
    return all.result("image-2")


def test_three_stores_with_images_of_version_6(all):
    return all.result("cluster-6")


def test_three_stores_with_images_of_version_5(all):
    return all.result("cluster-5")
