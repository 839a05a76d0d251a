"""Data directories that earlier versions left behind, as kill -9 left them: this one reads them, and what it writes then."""
import pathlib
import tarfile
import tempfile

from harness import Apart
from rawmqtt import *

HERE = pathlib.Path(__file__).resolve().parent
STORE = ("--shards", "1", "--set", "segstore.stripes=4", "--set", "segstore.wal_file=1MiB", "--set", "segstore.checkpoint_interval=1")


def checked(keel, rounds):
    """Format 1 holds a session with 100 queued messages and 20 retained ones."""
    with Client(keel, "of-before", 4, clean=False, timeout=20) as sub:
        assert sub.connack.session_present == 1
        got = [sub.message() for _ in range(100 + rounds)]
        assert [m.payload for m in got] == [b"%03d" % n for n in range(100 + rounds)]
        assert [m.qos for m in got[:100]] == [1] * 100
    with Client(keel, "kept", timeout=20) as sub:
        sub.subscribe("kept/#", 1)
        assert sorted(sub.message().payload for _ in range(20)) == sorted(b"kept %d" % n for n in range(20))


def test_a_directory_of_format_1_is_read_and_written_on():
    with tempfile.TemporaryDirectory(prefix="keel-upgrade-") as folder:
        with tarfile.open(HERE / "format-1.tar.gz") as tar:
            tar.extractall(folder)
        with Apart(store_args=STORE, broker_args=("--shards", "1"), data=pathlib.Path(folder) / "data") as keel:
            for n in range(3):  # what is written in the new format lies behind the old, and is read with it after each start
                with Client(keel, "pub") as pub:
                    pub.send(publish("before/0", b"%03d" % (100 + n), 1, id=1))
                    assert pub.expect(PUBACK, id=1).reason < 0x80
                keel.kill_broker()
                keel.kill_store()
                keel.start_store()
                keel.start_broker()
            checked(keel, 3)
