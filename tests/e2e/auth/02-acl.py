"""What a client may do: access rules, seen at once by those who are connected. [MQTT-3.3.5, 3.4.2, 3.9.3]"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import harness
from people import *


def rules(server, *lines):
    """In place of those that are there."""
    for line in ctl(server, "acl", "list").splitlines():
        number = line.split("\t")[0]
        if number != "file":
            ctl(server, "acl", "remove", number)
    return [allow(server, line) for line in lines]


def test_a_denied_publish_is_answered_and_goes_nowhere(server):
    rules(server, "deny all publish secret/#")
    with Client(server, "acl-sub") as watcher, Client(server, "acl-pub") as c, Client(server, "acl-pub4", 4) as old:
        watcher.subscribe("secret/#", 2)
        denied = server.metric("keel_denied_total")
        c.publish("secret/a", b"no", 1, reason=0x87)
        c.publish("secret/a", b"no", 2, reason=0x87)
        c.publish("secret/a", b"no", 0)
        c.publish("secret/a", b"no", 1, retain=True, reason=0x87)
        old.publish("secret/a", b"no", 1)  # acknowledged, for 3.1.1 has no other word
        old.publish("secret/a", b"no", 2)
        c.publish("open/a", b"yes", 1)
        assert c.until_ping() == [] and old.until_ping() == []
        assert watcher.until_ping() == []
        assert watcher.subscribe("secret/a", 1) == [1] and watcher.settle() == [], "nothing was retained"
        harness.await_true(lambda: server.metric("keel_denied_total") >= denied + 6, "denied publishes are counted")
        assert "may not publish to" in server.log()
    rules(server)


def test_acknowledgements_keep_their_order_around_a_denied_publish(server):
    rules(server, "deny all publish no")
    with Client(server, "acl-order-sub", clean=True, props={"session_expiry": 60}) as s, Client(server, "acl-order") as c:
        s.subscribe("yes", 1)
        c.send(b"".join(publish("no" if i % 3 == 1 else "yes", b"", 1, id=i) for i in range(1, 31)))
        got = [c.expect(PUBACK) for _ in range(30)]
        assert [p.id for p in got] == list(range(1, 31))
        assert [p.id for p in got if p.reason == 0x87] == list(range(1, 31, 3))
        s.send(disconnect(0, {"session_expiry": 0}))
    rules(server)


def test_a_denied_filter_is_refused_alone(server):
    rules(server, "deny all subscribe secret/#")
    with Client(server, "acl-filter") as c, Client(server, "acl-filter4", 4) as old:
        filters = ["a", "secret/x", "#", "$share/g/secret/x", "+/x", "b/#", "secret"]
        assert c.subscribe(filters, 1) == [1, 0x87, 0x87, 0x87, 0x87, 1, 0x87]
        assert old.subscribe(filters, 1) == [1, 0x80, 0x80, 0x80, 0x80, 1, 0x80]
    rules(server)


def test_what_is_denied_may_look_like_any_failure():
    with harness.Keel("--set", "acl.denied=hide") as server:
        rules(server, "deny all both secret/#")
        with Client(server, "acl-hide") as c:
            assert c.subscribe(["a", "secret/x"], 1) == [1, 0x80]
            for qos in (1, 2):
                c.publish("secret/a", b"no", qos, reason=0x80)
            c.publish("a", b"yes", 1)
            assert c.message().payload == b"yes"


def test_names_stand_in_for_client_and_user(server):
    passwd(server, "alice", "x")
    rules(server, "allow user alice publish up/%u/%c/#", "allow user alice subscribe down/%c", "deny user alice both #")
    with Client(server, "al-1", user="alice", password="x") as c:
        c.publish("up/alice/al-1/t", b"", 1)
        c.publish("up/alice/al-2/t", b"", 1, reason=0x87)
        c.publish("down/al-1", b"", 1, reason=0x87)
        assert c.subscribe(["down/al-1", "down/al-2", "down/+", "down/#"]) == [0, 0x87, 0x87, 0x87]
    with Client(server, "+", user="alice", password="x") as c:
        assert c.subscribe(["down/+", "down/al-1"]) == [0x87, 0x87], "a client id is never a wildcard"
    rules(server)


def test_qos_and_retain_are_conditions(server):
    rules(server, "deny all publish q qos 2", "deny all publish r retain yes", "deny all subscribe s qos 1,2")
    with Client(server, "acl-qos") as c:
        c.publish("q", b"", 1)
        c.publish("q", b"", 2, reason=0x87)
        c.publish("r", b"", 1)
        c.publish("r", b"", 1, retain=True, reason=0x87)
        assert c.subscribe("s", 0) == [0] and c.subscribe("s", 1) == [0x87]
    rules(server)


def test_groups_addresses_and_client_ids(server):
    passwd(server, "ops1", "x", "--groups", "night,ops")
    passwd(server, "dev1", "x", "--groups", "dev")
    rules(server, "allow group ops publish admin/#", "allow client special-* publish admin/#", "deny address 127.0.0.0/8 publish admin/#")
    with Client(server, "g1", user="ops1", password="x") as ops, Client(server, "g2", user="dev1", password="x") as dev, \
            Client(server, "special-1") as special:
        ops.publish("admin/x", b"", 1)
        special.publish("admin/x", b"", 1)
        dev.publish("admin/x", b"", 1, reason=0x87)
    rules(server)


def test_eq_means_these_very_characters(server):
    rules(server, "deny all subscribe eq #", "deny all subscribe eq +/x")
    with Client(server, "acl-eq") as c:
        assert c.subscribe(["#", "+/x", "+/y", "a/#"]) == [0x87, 0x87, 0, 0]
    rules(server)


def test_a_change_reaches_who_is_connected(server):
    rules(server)
    with Client(server, "live-sub") as s, Client(server, "live-pub") as p:
        assert s.subscribe(["news/#", "other"], 1) == [1, 1]
        p.publish("news/1", b"a", 1)
        assert s.message().payload == b"a"
        number = allow(server, "deny", "client", "live-pub", "publish", "news/2")
        p.publish("news/2", b"no", 1, reason=0x87)
        p.publish("news/1", b"b", 1)
        assert s.message().payload == b"b"
        revoked = allow(server, "deny client live-sub subscribe news/#")
        harness.await_true(lambda: p.publish("news/1", b"c", 1).reason == 0x10, "the subscription was taken from it")
        p.publish("other", b"d", 1)
        left = [m.payload for m in s.until_ping() if m.kind == PUBLISH]
        assert left[-1] == b"d", left
        ctl(server, "acl", "remove", str(number))
        ctl(server, "acl", "remove", str(revoked))
        p.publish("news/2", b"yes", 1)
        assert s.subscribe("news/#", 1) == [1]


def test_a_resumed_session_keeps_only_what_it_may(server):
    rules(server)
    with Client(server, "resume", props={"session_expiry": 100}) as c:
        c.subscribe(["gone", "kept"], 1)
    allow(server, "deny client resume subscribe gone")
    with Client(server, "resume", clean=False, props={"session_expiry": 100}) as c, Client(server, "resume-pub") as p:
        assert c.connack.session_present == 1
        harness.await_true(lambda: p.publish("gone", b"", 1).reason == 0x10, "the subscription was taken from it")
        p.publish("kept", b"k", 1)
        assert [m.payload for m in c.until_ping() if m.kind == PUBLISH and m.topic == "kept"] == [b"k"]
        c.send(disconnect(0, {"session_expiry": 0}))
    rules(server)


def test_a_will_that_is_not_allowed_is_refused_at_connect(server):
    rules(server, "deny all publish wills/#")
    assert refused(server, will={"topic": "wills/a", "payload": b"x"}) == 0x87
    assert refused(server, version=4, will={"topic": "wills/a", "payload": b"x"}) == 5
    Client(server, "will-ok", will={"topic": "fine", "payload": b"x"}).disconnect()
    rules(server)


def test_what_no_rule_speaks_of_can_be_denied():
    with harness.Keel("--set", "acl.default=deny") as server:
        with Client(server, "d") as c:
            c.publish("a", b"", 1, reason=0x87)
            assert c.subscribe("a") == [0x87]
            allow(server, "allow all both a")
            c.publish("a", b"", 1)
            assert c.subscribe("a") == [0]


def test_3_1_1_can_be_disconnected_for_a_denied_publish():
    with harness.Keel("--set", "acl.denied_v3=disconnect") as server:
        allow(server, "deny all publish no")
        with Client(server, "v3", 4) as c:
            c.send(publish("no", b"", 1, id=1, version=4))
            c.expect_closed()
        with Client(server, "v5") as c:
            c.publish("no", b"", 1, reason=0x87)


def test_rules_of_a_file_come_after_those_of_the_store():
    dir = pathlib.Path(harness.tempfile.mkdtemp(prefix="keel-e2e-"))
    file = dir / "acl.yaml"
    file.write_text("rules:\n  - allow all publish pub/#\n  - {allow: both, client: 'c*', topic: ['own/%c', 'eq #']}\n  - deny: both\n    topic: '#'\n")
    with harness.Apart(broker_args=["--set", f"acl.file={file}"]) as server:
        with Client(server, "c1") as c:
            c.publish("pub/a", b"", 1)
            c.publish("own/c1", b"", 1)
            c.publish("own/c2", b"", 1, reason=0x87)
            assert c.subscribe(["own/c1", "#", "pub/a"]) == [0, 0, 0x87]
            allow(server, "deny all publish pub/b")
            c.publish("pub/b", b"", 1, reason=0x87)
            file.write_text("rules:\n  - deny all publish pub/a\n")
            server.broker.popen.send_signal(harness.signal.SIGHUP)
            harness.await_true(lambda: c.publish("pub/a", b"", 1, reason=None if False else 0x87) if "read again" in server.log() else None,
                               "the file is read again")
            c.publish("own/c2", b"", 1)
            assert "file\tdeny all publish pub/a" in ctl(server, "acl", "list")
    file.write_text("rules:\n  - allow all publish ok\n  - allow all fly away\n")
    done = harness.run(harness.BUILD / "keel-broker", "--set", f"acl.file={file}")
    assert done.returncode == 2 and "acl.yaml:3:" in done.stderr, done.stderr
    harness.shutil.rmtree(dir)


def test_ctl_refuses_what_is_no_rule(server):
    assert "allow or deny" in ctl(server, "acl", "add", "permit all publish x", ok=False)
    assert "not valid" in ctl(server, "acl", "add", "allow all publish a/#/b", ok=False)
    assert "whom" in ctl(server, "acl", "add", "allow publish x", ok=False)
    assert "no rule of this number" in ctl(server, "acl", "remove", "4711", ok=False)
    number = allow(server, "allow all publish x")
    assert "already" in ctl(server, "acl", "add", "--at", str(number), "deny all publish x", ok=False)
    between = ctl(server, "acl", "add", "--at", str(number - 1), "deny", "user", "a b", "publish", "x y").strip()
    listed = ctl(server, "acl", "list").splitlines()
    assert listed == [f'{between}\tdeny user "a b" publish "x y"', f"{number}\tallow all publish x"], listed
    rules(server)


def test_a_denied_filter_of_mqtt_3_1_is_acknowledged_and_gets_nothing(server):
    rules(server, "deny all subscribe secret/#")
    with Client(server, "acl-31", 3, name="MQIsdp") as old, Client(server, "acl-31-pub") as pub:
        assert old.subscribe(["a31", "secret/x", "secret/y"], 2) == [2, 2, 2], "3.1 has no word for no"
        pub.publish("secret/x", b"no", 1), pub.publish("a31", b"yes", 1)
        assert old.message().payload == b"yes"
        assert old.settle() == []
    rules(server)
