"""Five segment stores and three replicas of each stripe: where they go, what a drained node keeps, who replaces a dead one; and `keel ctl` over all of it."""
import json
import urllib.request

from harness import BUILD, Cluster, Keel, await_true, run
from rawmqtt import *

KEEP = {"session_expiry": 600, "receive_max": 100}
REPLACE = ("--set", "segstore.replace_after=6")


def ctl(keel, *words, at=None):
    admins = ",".join(f"127.0.0.1:{keel.admins[n]}" for n in (at or keel.admins))
    return run(BUILD / "keel", "ctl", *words, "--admin", keel.admin, "--segstore-admin", admins)


def stripes(keel):
    """What the leaders say: stripe -> (leader, voters, where it belongs, at rest)."""
    found = {}
    for n, admin in keel.admins.items():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/cluster", timeout=5) as answer:
                said = json.load(answer)
        except OSError:
            continue
        for one in said["stripes"]:
            if one["serves"] and one["term"] >= found.get(one["stripe"], (0,))[0]:
                members = one["members"]
                found[one["stripe"]] = (one["term"], n, sorted(members["voters"]), sorted(one["place"]),
                                        not members["outgoing"] and not members["learners"])
    return {stripe: rest for stripe, (_, *rest) in found.items()}


def placed(keel, nodes, replicas=3):
    """All of the 8 stripes are where they belong, on these nodes, each of which has some."""
    found = stripes(keel)
    return (len(found) == 8 and all(rest and voters == place and len(voters) == replicas for _, voters, place, rest in found.values())
            and {n for _, voters, _, _ in found.values() for n in voters} == set(nodes))


def await_placed(keel, nodes, replicas=3):
    await_true(lambda: placed(keel, nodes, replicas), f"the replicas are on {nodes}: {stripes(keel)}", 60)


def publish_some(keel, client, first, count):
    for n in range(first, first + count):
        client.send(publish(f"t/{n % 5}", b"%06d" % n, 1, id=n % 60000 + 1))
        assert client.expect(PUBACK).reason < 0x80
    return first + count


def all_there(keel, count):
    with Client(keel, "reader", clean=False, props=KEEP, timeout=40) as reader:
        seen = {reader.message().payload for _ in range(count)}
        assert seen == {b"%06d" % n for n in range(count)}


def subscribed(keel):
    with Client(keel, "reader", clean=False, props=KEEP) as reader:
        reader.subscribe("t/#", 1)


def test_replicas_are_spread_drained_and_replaced():
    with Cluster(count=5, store_args=REPLACE) as keel:
        subscribed(keel)
        await_placed(keel, [1, 2, 3, 4, 5])
        with Client(keel, "writer", timeout=60) as writer:
            sent = publish_some(keel, writer, 0, 50)

            drained = ctl(keel, "node", "drain", "4", "--for", "60")
            assert drained.returncode == 0 and "done: node 4 keeps nothing any more" in drained.stdout, drained
            assert placed(keel, [1, 2, 3, 5])
            sent = publish_some(keel, writer, sent, 50)
            assert "4 " in (shown := ctl(keel, "cluster")).stdout and "spare" in shown.stdout, shown
            returned = ctl(keel, "node", "return", "4", "--for", "60")
            assert returned.returncode == 0 and "done" in returned.stdout, returned
            await_placed(keel, [1, 2, 3, 4, 5])

            keel.stores[2].kill()
            sent = publish_some(keel, writer, sent, 50)
            await_placed(keel, [1, 3, 4, 5])
            assert any("node 2 gives its place up, because it has been away for too long" in store.log() for store in keel.stores.values())
            shown = ctl(keel, "cluster", at=[1])
            row = next(line for line in shown.stdout.splitlines() if line.startswith("2 "))
            assert "down" in row and "spare" in row and row.endswith(" s"), shown
            sent = publish_some(keel, writer, sent, 50)
            keel.start_node(2)
            await_placed(keel, [1, 2, 3, 4, 5])

            fewer = ctl(keel, "node", "replicas", "1", "--for", "60")
            assert fewer.returncode == 0 and "done" in fewer.stdout, fewer
            await_placed(keel, [1, 2, 3, 4, 5], 1)
            more = ctl(keel, "node", "replicas", "3", "--for", "60")
            assert more.returncode == 0 and "done" in more.stdout, more
            await_placed(keel, [1, 2, 3, 4, 5])
            lines = ctl(keel, "stripes").stdout
            assert "BELONG TO" in lines and all(f"\n{s} " in lines for s in range(8)), lines
            sent = publish_some(keel, writer, sent, 50)
        all_there(keel, sent)


def test_a_spare_takes_over_and_an_operator_has_the_last_word():
    with Cluster(count=4, store_args=REPLACE) as keel:
        subscribed(keel)
        named = ctl(keel, "members", "1,2,3")
        assert named.returncode == 0, named
        await_placed(keel, [1, 2, 3])
        with Client(keel, "writer", timeout=60) as writer:
            sent = publish_some(keel, writer, 0, 50)
            keel.stores[3].kill()
            await_placed(keel, [1, 2, 4])
            assert any("node 4 takes the place of node 3, which has been away for too long" in store.log() for store in keel.stores.values())
            sent = publish_some(keel, writer, sent, 50)
            keel.start_node(3)  # it is a spare now
            again = ctl(keel, "node", "replace", "3", "3")
            assert again.returncode == 2 and "node 3 keeps streams already" in again.stderr, again
            named = ctl(keel, "members", "1,2,3")  # said anew
            assert named.returncode == 0, named
            await_placed(keel, [1, 2, 3])
            replaced = ctl(keel, "node", "replace", "1", "4", "--for", "60")
            assert replaced.returncode == 0 and "done: node 1 keeps nothing any more" in replaced.stdout, replaced
            await_placed(keel, [2, 3, 4])
            keel.stores[1].stop()
            sent = publish_some(keel, writer, sent, 50)
        all_there(keel, sent)


def test_what_makes_no_sense_is_refused_with_a_sentence():
    with Cluster() as keel:
        def answers():
            return ctl(keel, "node", "remove", "9").stderr
        await_true(lambda: "node 9 is not among the nodes" in answers(), "the plan is known")
        for words, text in ((("node", "drain", "x"), "a node is a number"), (("node", "replicas", "8"), "from 1 to 7"), (("node", "replicas", "0"), "a number"),
                            (("node", "drain"), "keel ctl node drain NODE"), (("node", "drain", "1", "--for", "x"), "--for wants a number")):
            said = ctl(keel, *words)
            assert said.returncode != 0 and text in said.stderr, said
        for words in (("drain", "9"), ("return", "9")):
            said = ctl(keel, "node", *words)
            assert said.returncode == 2 and "node 9 is not among the nodes of the cluster" in said.stderr, said
        many = ctl(keel, "node", "replicas", "5", "--for", "60")
        assert many.returncode == 0 and "3 nodes hold places, and each stripe has 3 replicas until more do" in many.stdout, many
        assert "5 replicas of each stripe are wanted, 3 are possible" in (shown := ctl(keel, "cluster").stdout), shown
        assert ctl(keel, "node", "replicas", "3", "--for", "60").returncode == 0
        unknown = ctl(keel, "node", "replace", "2", "9")
        assert unknown.returncode == 2 and "does not name node 9" in unknown.stderr, unknown
        unknown = ctl(keel, "members", "1,2,9")
        assert unknown.returncode == 2 and "segstore.nodes of node 1 does not name node 9: give every node the longer list first" in unknown.stderr, unknown
        for words in (("return", "2"), ("replicas", "3")):  # it is so already
            same = ctl(keel, "node", *words, "--for", "3000")
            assert same.returncode == 0 and "done: everything is where it belongs" in same.stdout, same
        for _ in range(2):
            last = ctl(keel, "node", "drain", "2", "--for", "3000")
            assert last.returncode == 0 and "leads nothing any more; its 8 replicas have no other place" in last.stdout, last


def test_a_store_that_stands_alone_has_no_members():
    with Keel() as keel:
        for words in (("members", "1"), ("members", "1,2,3"), ("node", "drain", "1"), ("node", "replicas", "2")):
            said = run(BUILD / "keel", "ctl", *words, "--admin", keel.admin, "--segstore-admin", keel.store_admin)
            assert said.returncode == 1 and "this segment store stands alone: it has no members" in said.stderr, said


def test_a_node_that_only_some_know_holds_up_nothing_but_itself():
    with Cluster(store_args=REPLACE) as keel:
        subscribed(keel)
        await_placed(keel, [1, 2, 3])
        unasked = urllib.request.Request(f"http://{keel.admin}/cluster/members", b"1,2,9", {"X-Keel": "test"}, method="PUT")
        with urllib.request.urlopen(unasked, timeout=10) as answer:  # `keel ctl` would not send it
            assert answer.status == 200
        await_true(lambda: "the cluster is to have node 9, which segstore.nodes of node" in ctl(keel, "cluster").stdout, "it is told")
        drained = ctl(keel, "node", "drain", "3", "--for", "60")
        assert drained.returncode == 0 and "node 3 leads nothing any more; its 8 replicas have no other place" in drained.stdout, drained
        named = ctl(keel, "members", "1,2,3")
        assert named.returncode == 0, named
        await_true(lambda: "the cluster is to have node" not in ctl(keel, "cluster").stdout, "that is over")
