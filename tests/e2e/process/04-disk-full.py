"""A full disk: publishers get 0x97, consumers go on, space comes back as they do."""
import contextlib
import os
import pathlib
import subprocess
import tempfile

import harness
from harness import Apart, await_true
from rawmqtt import *

DISK_MIB = 96


@contextlib.contextmanager
def small_disk():
    """A directory on an ext4 of its own in a file."""
    if os.geteuid() != 0:
        raise harness.Skip("only root can mount a small disk")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="keel-disk-"))
    image, mount = folder / "image", folder / "mount"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(DISK_MIB << 20)
    mounted = False
    try:
        made = harness.run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", image)
        mounted = made.returncode == 0 and harness.run("mount", "-o", "loop", image, mount).returncode == 0
        if not mounted:
            raise harness.Skip("no loop device can be mounted here")
        yield mount / "data"
    finally:
        if mounted:
            subprocess.run(["umount", "-l", mount], check=False)
        image.unlink()
        with contextlib.suppress(OSError):
            mount.rmdir()
            folder.rmdir()


def test_publishers_get_0x97_and_consumers_go_on():
    small = ("--set", "segstore.wal_file=4MiB", "--set", "segstore.disk_reserve=8MiB", "--set", "segstore.stripes=4", "--shards", "1")
    with small_disk() as data, Apart(store_args=small, broker_args=("--shards", "1"), data=data) as keel:
        keep = {"session_expiry": 600}
        with Client(keel, "disk-sub", clean=False, props=keep) as sub:
            sub.subscribe("disk", 1)
        accepted, reason, body = 0, 0, os.urandom(60000)
        with Client(keel, "disk-pub", timeout=30) as pub:
            while reason < 0x80:
                assert accepted < 4 * DISK_MIB * 17, "the disk never filled up"
                pub.send(publish("disk", b"%08d" % accepted + body, 1, id=1))
                reason = pub.expect(PUBACK, id=1).reason
                accepted += reason < 0x80
            assert reason == 0x97, hex(reason)
            with Client(keel, "disk-sub", clean=False, props={**keep, "receive_max": 50}, timeout=30) as sub:
                assert sub.connack.session_present == 1
                for n in range(accepted):
                    assert sub.message().payload[:8] == b"%08d" % n

                def taken_again():
                    pub.send(publish("disk", b"again" + body, 1, id=2))
                    return pub.expect(PUBACK, id=2).reason < 0x80
                await_true(taken_again, "space has come back", 30)
                assert sub.message().payload[:5] == b"again"
        assert keel.alive(), keel.log()
        return f"{accepted} messages of 60 KB fitted on {DISK_MIB} MiB"


def test_nothing_accepted_is_lost_when_killed_on_a_full_disk():
    small = ("--set", "segstore.wal_file=4MiB", "--set", "segstore.disk_reserve=8MiB", "--set", "segstore.stripes=4", "--shards", "1")
    with small_disk() as data, Apart(store_args=small, broker_args=("--shards", "1"), data=data) as keel:
        keep = {"session_expiry": 600}
        with Client(keel, "disk-kill", clean=False, props=keep) as sub:
            sub.subscribe("disk", 1)
        accepted, reason, body = 0, 0, os.urandom(60000)
        with Client(keel, "disk-kill-pub", timeout=30) as pub:
            while reason < 0x80:
                pub.send(publish("disk", b"%08d" % accepted + body, 1, id=1))
                reason = pub.expect(PUBACK, id=1).reason
                accepted += reason < 0x80
        keel.kill_store()
        keel.kill_broker()
        keel.start_store()
        keel.start_broker()
        with Client(keel, "disk-kill", clean=False, props=keep, timeout=30) as sub:
            for n in range(accepted):
                assert sub.message().payload[:8] == b"%08d" % n
            assert sub.until_ping() == []
