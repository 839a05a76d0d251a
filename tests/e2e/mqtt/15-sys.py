"""$SYS: what the broker says of itself, in Mosquitto's names."""
import re

import harness
from rawmqtt import *

NAMES = """version uptime clients/connected clients/active clients/disconnected clients/inactive clients/total clients/maximum subscriptions/count
messages/received messages/sent publish/messages/received publish/messages/sent publish/messages/dropped bytes/received bytes/sent
heap/current heap/maximum""".split() + [f"load/{what}/{m}min" for m in (1, 5, 15) for what in (
    "messages/received", "messages/sent", "publish/received", "publish/sent", "publish/dropped", "bytes/received", "bytes/sent", "connections")]


def values(client):
    got = {}
    for m in client.until_ping():
        got[m.topic.removeprefix("$SYS/broker/")] = m
    return got


def test_a_new_subscriber_gets_all_at_once():
    with harness.Keel("--shards", "2") as keel:
        clients = [Client(keel, f"sys-{i}") for i in range(4)]  # on both shards
        for c in clients:
            assert c.subscribe("$SYS/#", 1) == [1]
            got = values(c)
            names = [n for n in NAMES if harness.MODE not in ("asan", "tsan") or not n.startswith("heap/")]  # jemalloc's numbers
            assert sorted(got) == sorted(names), sorted(set(got) ^ set(names))
            assert all(m.retain and m.qos == 0 for m in got.values())
            assert got["version"].payload.startswith(b"keel version ")
            assert re.fullmatch(rb"\d+ seconds", got["uptime"].payload)
            assert all(re.fullmatch(rb"\d+(\.\d+)?", m.payload) for name, m in got.items() if name not in ("version", "uptime"))
        out = harness.run("mosquitto_sub", "-h", "127.0.0.1", "-p", keel.port, "-t", "$SYS/broker/clients/+", "-W", "1", "-v").stdout
        assert "$SYS/broker/clients/total" in out, out
        [c.close() for c in clients]


def test_numbers_follow_what_happens():
    with harness.Keel("--set", "sys.interval=1", "--shards", "2") as keel:
        kept = Client(keel, "sys-kept", clean=False, props={"session_expiry": 100})
        kept.subscribe(["kept/1", "kept/2"], 1)
        kept.close()
        with Client(keel, "sys-live") as live, Client(keel, "sys-watch") as watch:
            live.subscribe("live/#", 0)
            for n in range(10):
                live.publish("live/x", b"%d" % n, 1)
            watch.subscribe("$SYS/broker/#", 0, options=8)
            last = {}

            def right():
                last.update({name: m.payload for name, m in values(watch).items()})
                return (last.get("clients/connected") == b"2" and last.get("clients/disconnected") == b"1" and last.get("clients/total") == b"3"
                        and last.get("subscriptions/count") == b"4" and last.get("publish/messages/received") == b"10"
                        and int(last["publish/messages/sent"]) >= 10 and float(last["load/publish/received/1min"]) > 0)
            harness.await_true(right, "the numbers", 10)
            assert int(last["messages/received"]) > 10 and int(last["bytes/sent"]) > 0


def test_wildcards_do_not_show_it_and_clients_do_not_write_it():
    with harness.Keel("--set", "sys.interval=1") as keel, Client(keel, "sys-wild") as c, Client(keel, "sys-seen") as seen:
        c.subscribe(["#", "+/broker/uptime"], 0)
        seen.subscribe("$SYS/broker/uptime", 0)
        for _ in range(3):
            seen.message(timeout=5)
        assert c.until_ping() == []
        c.publish("$SYS/broker/uptime", b"mine", 1, reason=0x87)
        c.publish("$SYS/broker/uptime", b"mine", 2, reason=0x87)
        c.publish("$SYS/broker/uptime", b"mine", 0, retain=True)
        with Client(keel, "sys-v3", version=4) as old:
            old.publish("$SYS/broker/uptime", b"mine", 1)
            old.until_ping()
        assert b"mine" not in [m.payload for m in seen.until_ping()]
    with harness.Keel("--set", "sys.publish=ignore", "--set", "sys.interval=0") as keel, Client(keel, "sys-ignored") as c:
        c.subscribe("$SYS/#", 1)
        c.publish("$SYS/x", b"mine", 1, reason=0)
        c.publish("$SYS/x", b"mine", 2, reason=0, retain=True)
        assert c.until_ping() == []
        c.subscribe("$SYS/#", 1)
        assert c.until_ping() == []
