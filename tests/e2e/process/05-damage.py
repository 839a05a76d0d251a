"""Bits that change on the disk: found, said, never served."""
import harness
from harness import BUILD, Apart, run
from rawmqtt import *

MARK = b"damage-%04d-" + b"m" * 3000
KEEP = {"session_expiry": 600}


def find(data, mark):
    """Where the bytes lie in the files of a data directory."""
    for path in sorted(data.rglob("*")):
        if path.is_file():
            at = path.read_bytes().find(mark)
            if at >= 0:
                return path, at
    raise AssertionError("the record is in no file")


def filled(count=60):
    keel = Apart(store_args=("--shards", "1"), broker_args=("--shards", "1"))
    with Client(keel, "damage", clean=False, props=KEEP) as c:
        c.subscribe("damage", 1)
        for n in range(count):
            c.publish("damage", MARK % n, 1)
    return keel


def test_a_changed_byte_in_the_middle_of_the_log_is_found_at_start_or_at_reading():
    with filled() as keel:
        keel.kill_broker()
        keel.kill_store()
        path, at = find(keel.data, MARK % 20)
        with open(path, "r+b") as file:
            file.seek(at + 100)
            file.write(b"X")
        keel.start_store(wait=False)
        try:
            keel.store_ready()
        except AssertionError:  # it may refuse to start; then it must say why
            status = keel.store.popen.wait(20)
            assert status not in (0, -6, -11), keel.log()
            assert any(word in keel.store.log().lower() for word in ("damage", "corrupt", "checksum")), keel.store.log()
            return "the store refuses to start and says why"
        assert any(word in keel.store.log().lower() for word in ("damage", "corrupt", "checksum")), keel.store.log()
        assert keel.metric("keel_segstore_stripes_stopped", keel.store_admin) == 1
        done = run(BUILD / "keel", "ctl", "cluster", "--segstore-admin", keel.store_admin)
        assert done.returncode == 1 and "stopped on node 1" in done.stdout, done.stdout + done.stderr
        keel.start_broker()  # everything else is served
        with Client(keel, "damage", clean=False, props=KEEP, open=False) as c:
            c.send(connect("damage", clean=False, props=KEEP))
            assert c.expect(CONNACK).reason == 0x88, "what cannot be served is refused"
        with Client(keel, "sound", clean=False, props=KEEP) as c:
            c.subscribe("sound", 1)
            c.publish("damage", b"more", 1, reason=0x80)  # it could not be stored for the one who subscribed
            for n in range(50):
                c.publish("sound", b"%d" % n, 1)
            assert [c.message().payload for _ in range(50)] == [b"%d" % n for n in range(50)]


def test_a_torn_tail_is_cut_off_and_everything_acknowledged_is_there():
    with filled() as keel:
        keel.kill_broker()
        keel.kill_store()
        path, at = find(keel.data, MARK % 59)
        end = path.stat().st_size
        with open(path, "r+b") as file:  # as if a last block had been written in part: garbage behind the end of the log
            tail = path.read_bytes()
            used = len(tail.rstrip(b"\0"))
            start = (used + 4095) // 4096 * 4096
            if start + 8192 > end:
                raise harness.Skip("the log ends at the end of its file")
            file.seek(start + 4096)
            file.write(b"\xa5" * 512)
        keel.start_store()
        keel.start_broker()
        with Client(keel, "damage", clean=False, props=KEEP) as c:
            assert [c.message().payload for _ in range(60)] == [MARK % n for n in range(60)]


def test_with_damage_accepted_a_lost_record_holds_nobody_up():
    often = ("--shards", "1", "--set", "segstore.checkpoint_interval=1")
    with Apart(store_args=often, broker_args=("--shards", "1")) as keel:
        def newest():
            return max((path.name for path in keel.data.rglob("ckpt/0*")), default="")
        with Client(keel, "damage", clean=False, props=KEEP) as c:
            c.subscribe("damage", 1)
        with Client(keel, "publisher") as c:
            for n in range(60):
                c.publish("damage", MARK % n, 1)
            before = newest()
            harness.await_true(lambda: newest() > before, "a checkpoint")
            before = newest()
            c.publish("damage", b"last", 1)
            harness.await_true(lambda: newest() > before, "a checkpoint behind all of them")  # no replay meets the damage
        keel.kill_broker()
        keel.kill_store()
        path, at = find(keel.data, MARK % 20)
        with open(path, "r+b") as file:
            file.seek(at + 100)
            file.write(b"X")
        keel.store_args += ["--set", "segstore.accept_damage=true"]
        keel.start_store()
        keel.start_broker()
        with Client(keel, "damage", clean=False, props=KEEP) as c:
            got = [c.message() for _ in range(60)]
            assert [m.payload for m in got] == [MARK % n for n in range(60) if n != 20] + [b"last"]
            c.until_ping()
        assert "is lost: passed over" in keel.store.log(), keel.store.log()
        del keel.store_args[-2:]
        assert keel.broker.stop() == 0 and keel.store.stop() == 0
        keel.start_store()
        keel.start_broker()
        with Client(keel, "damage", clean=False, props=KEEP) as c:
            c.publish("damage", b"next", 1)
            came = c.messages(1)
            assert [m.payload for m in came] == [b"next"], f"{came[0].payload[:20]} {came[0].dup}: the lost record is done for good"


def test_a_byte_that_changes_while_the_store_runs_is_found_though_nobody_reads_it():
    with Apart(store_args=("--shards", "1", "--set", "segstore.scrub_period=1"), broker_args=("--shards", "1")) as keel:
        with Client(keel, "damage", clean=False, props=KEEP) as c:
            c.subscribe("damage", 1)
        with Client(keel, "publisher") as c:
            for n in range(60):
                c.publish("damage", MARK % n, 1)
        harness.await_true(lambda: "wal was read again: " in keel.store.log(), "a round")
        assert "what was written at offset" not in keel.store.log(), keel.store.log()
        path, at = find(keel.data, MARK % 20)
        with open(path, "r+b") as file:
            file.seek(at + 100)
            file.write(b"X")
        harness.await_true(lambda: f"{path.name} was read again: what was written at offset" in keel.store.log(), "the damage")
        with Client(keel, "sound") as c:
            c.subscribe("sound", 1)
            c.publish("sound", b"served", 1)
            assert c.message().payload == b"served"
        assert keel.broker.stop() == 0 and keel.store.stop() == 0
