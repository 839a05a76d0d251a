"""An operator sees a segment store: /metrics and /cluster of each node, `keel ctl cluster` over all of them."""
import json
import socket

from harness import BUILD, Apart, Cluster, Keel, Skip, await_true, free_port, run
from rawmqtt import *


def see(keel, *nodes):
    """Status and text of keel ctl cluster, asked of these nodes (all)."""
    addresses = ",".join(f"127.0.0.1:{keel.admins[n]}" for n in nodes or keel.admins)
    done = run(BUILD / "keel", "ctl", "cluster", "--segstore-admin", addresses)
    return done.returncode, done.stdout + done.stderr


def cluster_of(keel, n):
    status, text = keel.http("/cluster", f"127.0.0.1:{keel.admins[n]}")
    assert status == 200, text
    return json.loads(text)


def row(text, node):
    """The line of a node: state, leads, lag."""
    line = next(line.split() for line in text.splitlines() if line.split()[:1] == [str(node)])
    return line[2], int(line[3]), line[4]


def publish_some(keel, count=20):
    with Client(keel, "reader", clean=False, props={"session_expiry": 600}) as reader, Client(keel, "writer") as writer:
        reader.subscribe("seen", 1)
        for _ in range(count):
            writer.publish("seen", b"x", 1)
        for _ in range(count):
            reader.message()


def test_a_store_that_stands_alone_has_metrics_and_a_cluster_of_one():
    with Apart() as keel:
        publish_some(keel)
        assert keel.http("/health", keel.store_admin) == (200, "healthy\n")
        assert keel.http("/ready", keel.store_admin) == (200, "ready\n")
        status, text = keel.http("/nothing", keel.store_admin)
        assert status == 404 and "/health /ready /metrics /cluster" in text

        def metric(name):
            return keel.metric(f"keel_segstore_{name}", keel.store_admin)

        for name in ("log_writes_total", "log_bytes_total", "log_entries_total", "transactions_total", "records_pushed_total", "connections",
                     "requests_total"):
            assert metric(name) > 0, name
        assert metric("committed_total") >= metric("transactions_total") >= 20
        assert metric("stripes") == metric("stripes_led") == 64
        for name in ("stripes_without_leader", "stripes_damaged", "stripes_stopped", "stripes_repairing", "disk_full", "follower_lag_entries",
                     "images_sent_total", "images_taken_total", "elections_total"):
            assert metric(name) == 0, name
        said = json.loads(keel.http("/cluster", keel.store_admin)[1])
        assert said["node"] == 1 and said["silent"] == [] and said["nodes"] == [{"node": 1, "address": keel.segstore, "rack": ""}]
        assert [s["stripe"] for s in said["stripes"]] == list(range(64))
        assert all(s["leader"] == 1 and s["serves"] and s["role"] == "leader" and s["members"]["voters"] == [1] and s["followers"] == []
                   for s in said["stripes"])
        done = run(BUILD / "keel", "ctl", "cluster", "--segstore-admin", keel.store_admin)
        assert done.returncode == 0 and "all is well" in done.stdout, done.stdout + done.stderr


def test_the_store_of_keel_dev_answers_too_on_a_port_of_its_own():
    with Keel() as keel, Keel() as other:
        assert keel.store_admin != other.store_admin
        assert keel.metric("keel_segstore_stripes_led", keel.store_admin) == 64
        done = run(BUILD / "keel", "ctl", "cluster", "--segstore-admin", keel.store_admin)
        assert done.returncode == 0 and "a node that stands alone" in done.stdout, done.stdout + done.stderr


def test_keel_dev_puts_it_where_it_is_told_or_leaves_it_off():
    port = free_port()
    with Keel("--segstore-admin", f"127.0.0.1:{port}") as keel:
        assert keel.store_admin == f"127.0.0.1:{port}"
        assert keel.http("/ready", keel.store_admin)[0] == 200
    with Apart(store_args=("--set", "segstore.admin=off")) as keel:
        assert keel.store_admin is None
        publish_some(keel, 1)


def test_keel_dev_takes_the_port_where_keel_ctl_looks_when_it_is_free():
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 7481))
        except OSError:
            raise Skip("something of this machine listens on 127.0.0.1:7481") from None
        taken.listen()
        with Keel(store_http=()) as keel:
            assert keel.store_admin != "127.0.0.1:7481" and keel.http("/ready", keel.store_admin)[0] == 200
        said = run(BUILD / "keel", "dev", "--data", keel.dir / "said", "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--segstore", "127.0.0.1:0",
                   "--segstore-admin", "127.0.0.1:7481")
        assert said.returncode == 1 and "cannot listen on 127.0.0.1 port 7481" in said.stderr, said
    with Keel(store_http=()) as keel:
        assert keel.store_admin == "127.0.0.1:7481", keel.process.line
        done = run(BUILD / "keel", "ctl", "cluster")
        assert done.returncode == 0 and "a node that stands alone" in done.stdout, done.stdout + done.stderr


def test_a_taken_port_is_said_at_start():
    with Apart() as keel:
        done = run(BUILD / "keel-segstore", "--data", keel.dir / "other", "--segstore", "127.0.0.1:0", "--segstore-admin", keel.store_admin)
        assert done.returncode == 1 and "segstore.admin: admin HTTP cannot listen on" in done.stderr, done.stderr
        assert "choose another address with --segstore-admin or stop what uses it" in done.stderr, done.stderr
        done = run(BUILD / "keel-segstore", "--data", keel.dir / "other", "--segstore", keel.segstore, "--segstore-admin", "127.0.0.1:0")
        assert done.returncode == 1 and "choose another address with --segstore or stop what uses it" in done.stderr, done.stderr
        done = run(BUILD / "keel-broker", "--mqtt", "127.0.0.1:0", "--segstore", keel.segstore, "--admin", keel.admin)
        assert done.returncode == 1 and "choose another address with --admin or stop what uses it" in done.stderr, done.stderr


def test_three_nodes_are_shown_and_one_that_is_killed_is_missed():
    with Cluster(store_args=("--shards", "2")) as keel:
        publish_some(keel)
        await_true(lambda: see(keel)[0] == 0, "all is well")
        status, text = see(keel)
        assert "cluster e2e" in text and "all is well" in text, text
        assert all(row(text, n)[0] == "up" for n in (1, 2, 3)) and sum(row(text, n)[1] for n in (1, 2, 3)) == 8, text
        assert see(keel, 2)[0] == 0, "one that answers knows of the others"

        said = cluster_of(keel, 1)
        assert said["cluster"] == "e2e" and [n["node"] for n in said["nodes"]] == [1, 2, 3]
        assert said["nodes"][1].pop("for") >= 0
        assert said["nodes"][1] == {"node": 2, "address": f"127.0.0.1:{keel.ports[2]}", "rack": "", "connected": [True, True]}
        assert all(s["members"]["voters"] == [1, 2, 3] for s in said["stripes"])
        admin = f"127.0.0.1:{keel.admins[1]}"
        assert keel.metric('keel_segstore_peer_connected{node="2"}', admin) == 1
        for s in said["stripes"]:
            assert (s["leader"] == 1) == ("followers" in s and s["serves"]), s
            for follower in s.get("followers", ()):
                assert follower["node"] in (2, 3) and set(follower) == {"node", "match", "keeps_up", "active", "snapshot"}

        keel.stores[2].kill()
        await_true(lambda: keel.metric('keel_segstore_peer_connected{node="2"}', admin) == 0, "node 1 misses node 2")
        await_true(lambda: sum(row(see(keel)[1], n)[1] for n in (1, 3)) == 8, "the other two lead everything")
        publish_some(keel)
        status, text = see(keel)
        assert status == 1 and f"warning: no node answers on 127.0.0.1:{keel.admins[2]}" in text, text
        assert "warning: stripes 0-7: 2 of 3 replicas are up; away: node 2\n" in text, text
        assert row(text, 2)[:2] == ("down", 0), text
        assert int(row(text, 2)[2]) > 0, "it lacks what was published since\n" + text
        assert max(keel.metric("keel_segstore_follower_lag_entries", f"127.0.0.1:{keel.admins[n]}") for n in (1, 3)) >= int(row(text, 2)[2])
        assert max(keel.metric("keel_segstore_elections_total", f"127.0.0.1:{keel.admins[n]}") for n in (1, 3)) > 0

        keel.stores[3].kill()
        await_true(lambda: "warning: stripes 0-7: no leader" in see(keel)[1], "a node alone leads nothing")
        assert "stripes 0-7: too few for a majority: 1 of 3 replicas are up; away: nodes 2 3" in see(keel)[1], see(keel)[1]
        assert keel.metric("keel_segstore_stripes_without_leader", admin) == 8

        keel.start_node(2)
        keel.start_node(3)
        await_true(lambda: see(keel)[0] == 0, "all is well again")
        await_true(lambda: all(row(see(keel)[1], n)[2] in ("0", "-") for n in (1, 2, 3)), "nobody lags any more")


def test_that_nobody_answers_is_an_error():
    done = run(BUILD / "keel", "ctl", "cluster", "--segstore-admin", f"127.0.0.1:{free_port()}")
    assert done.returncode == 1 and "no node answers on" in done.stdout, done.stdout + done.stderr
    done = run(BUILD / "keel", "ctl", "cluster", "--segstore-admin", "off")
    assert done.returncode == 2 and "segstore.admin is off" in done.stderr, done.stdout + done.stderr
