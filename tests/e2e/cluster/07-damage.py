"""A byte of a node's log changes while it is stopped: it is told in the log and by keel ctl cluster, and repaired from the others until it serves the same bytes again."""
import json
import re

import harness
from harness import BUILD, Cluster, await_true
from rawmqtt import *

KEEP = {"session_expiry": 600, "receive_max": 200}
SESSIONS, EACH = 8, 40
BODY = b"session %02d number %04d " + b"d" * 2500


def payload(session, number):
    return BODY % (session, number)


def status(keel):
    done = harness.run(BUILD / "keel", "ctl", "cluster", "--segstore-admin", ",".join(f"127.0.0.1:{port}" for port in keel.admins.values()))
    return done.returncode, done.stdout


def find(folder, mark):
    for path in sorted(folder.iterdir()):
        if re.fullmatch("[0-9]+", path.name) and (at := path.read_bytes().find(mark)) >= 0:
            return path, at
    raise AssertionError("the record is in no file")


def repaired(keel, n, taken):
    """The damage was told while it was there; then all is well."""
    log = keel.stores[n].log()[taken:]
    assert re.search("is damaged here|the log is damaged", log), log
    await_true(lambda: status(keel)[0] == 0, f"all is well again\n{status(keel)[1]}\n{keel.stores[n].log()[-1500:]}", 30)


def leader(keel, stripe):
    """As the nodes that are up know it, or 0."""
    said = [json.loads(keel.http("/cluster", f"127.0.0.1:{keel.admins[n]}")[1]) for n in keel.admins if keel.stores[n].alive()]
    led = [node["node"] for node in said for s in node["stripes"] if s["stripe"] == stripe and s.get("serves")]
    return led[0] if led else 0


def made_to_lead(keel, n, stripe):
    """Whoever else leads the stripe is killed until that one does; then it serves what was damaged."""
    for _ in range(8):
        now = await_true(lambda: leader(keel, stripe), "somebody leads the stripe")
        if now == n:
            return
        for other in keel.stores:
            if not keel.stores[other].alive():
                keel.start_node(other)
        await_true(lambda: status(keel)[0] == 0, "all is well", 30)
        keel.stores[leader(keel, stripe)].kill() if leader(keel, stripe) not in (0, n) else None
    raise AssertionError(f"node {n} never leads stripe {stripe}")


def flipped(closed):
    """closed: the byte lies in a file that is not written to any more."""
    with Cluster(store_args=("--set", "segstore.wal_file=1MiB" if closed else "segstore.wal_file=8MiB",)) as keel:
        names = [f"reader-{n}" for n in range(SESSIONS)]
        for name in names:
            with Client(keel, name, clean=False, props=KEEP) as c:
                c.subscribe(f"to/{name}", 1)
        with Client(keel, "pub") as pub:
            for number in range(EACH):
                for session, name in enumerate(names):
                    pub.publish(f"to/{name}", payload(session, number), 1)
        await_true(lambda: status(keel)[0] == 0, "all nodes have all")
        keel.stores[2].kill()
        path, at = find(keel.dir / "data-2" / "shard-00" / "wal", payload(3, 5))
        assert closed == (path != max(p for p in path.parent.iterdir() if re.fullmatch("[0-9]+", p.name) and p.read_bytes().strip(b"\0"))), "the file that is meant"
        with open(path, "r+b") as file:
            file.seek(at + 100)
            file.write(b"X")
        keel.stores[1].kill()  # so that nothing can be repaired yet
        taken = len(keel.stores[2].log())
        keel.start_node(2)
        await_true(lambda: "damaged" in status(keel)[1] and "node 2" in status(keel)[1], "keel ctl cluster shows the damage")
        seen = next(line for line in status(keel)[1].splitlines() if "damaged" in line)
        keel.start_node(1)
        repaired(keel, 2, taken)
        made_to_lead(keel, 2, int(re.search(r"stripes? (\d+)", seen)[1]))
        for session, name in enumerate(names):
            with Client(keel, name, clean=False, props=KEEP, timeout=30) as c:
                assert [m.payload for m in c.messages(EACH)] == [payload(session, number) for number in range(EACH)], name
        return seen


def test_a_byte_flips_in_a_closed_file():
    return flipped(closed=True)


def test_a_byte_flips_in_the_open_file():
    return flipped(closed=False)
