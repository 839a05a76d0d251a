"""Rules about topics: rewritten, and subscribed to without asking."""
import harness
from rawmqtt import *

RULES = ["--shards", "2", "--set", "mqtt.rewrite=all old/+/state/# new/$2/of/$1", "--set", "mqtt.rewrite=publish legacy/# ^legacy/([a-z]+)-([0-9]+)$ $1/$2",
         "--set", "mqtt.rewrite=publish mine/# by/%c/%u/$1"]


def test_topics_and_filters_are_rewritten():
    with harness.Keel(*RULES) as keel, Client(keel, "rewriter", user="joe") as c:
        assert c.subscribe(["new/#", "old/+/state/deep", "$share/g/old/x/state/shared", "by/#", "abc/#", "legacy/#"], 1) == [1] * 6
        c.publish("old/a/state/1/2", b"1", 1)
        assert c.message().topic == "new/1/2/of/a"
        c.publish("old/a/other", b"nobody", 1)
        c.publish("mine/x/y", b"2", 2)
        assert c.message().topic == "by/rewriter/joe/x/y"
        c.publish("legacy/abc-12", b"3", 1)
        assert c.message().topic == "abc/12"
        c.publish("legacy/ABC", b"4", 1)
        assert c.message().topic == "legacy/ABC"
        assert c.unsubscribe(["new/#", "by/#"]) == [0, 0]
        c.publish("new/deep/of/x", b"5", 1)  # what old/+/state/deep became
        assert c.message().topic == "new/deep/of/x"
        c.publish("new/shared/of/x", b"6", 1)
        assert c.message().topic == "new/shared/of/x"
        assert c.unsubscribe(["old/+/state/deep", "$share/g/old/x/state/shared"]) == [0, 0]
        c.publish("new/deep/of/x", b"7", 1)
        assert c.until_ping() == []


def test_aliases_retained_messages_and_wills_are_rewritten():
    with harness.Keel(*RULES) as keel, Client(keel, "rewritten") as c:
        c.subscribe("new/#", 1)
        c.publish("old/a/state/1", b"kept", 1, retain=True, props={"topic_alias": 1})
        c.publish("", b"again", 1, props={"topic_alias": 1})
        assert [m.topic for m in c.messages(2)] == ["new/1/of/a"] * 2
        with Client(keel, "rewritten-late") as late:
            late.subscribe("old/a/state/1", 1)
            assert late.message().payload == b"kept"
        dying = Client(keel, "rewritten-dying", will={"topic": "old/a/state/will", "payload": b"gone"})
        dying.sock.close()
        assert c.message().topic == "new/will/of/a"


def test_automatic_subscriptions():
    rules = ["--set", "mqtt.auto_subscribe=clients/%c/# qos=1", "--set", "mqtt.auto_subscribe=users/%u qos=2 nl=1", "--set",
             "mqtt.auto_subscribe=news qos=0 rh=2 rap=1"]
    with harness.Keel(*rules) as keel:
        with Client(keel, "auto-pub") as pub:
            pub.publish("clients/auto/kept", b"kept", 1, retain=True)
            pub.publish("news", b"old", 1, retain=True)
            with Client(keel, "auto", user="joe", clean=False, props={"session_expiry": 100}) as c:
                m = c.message()
                assert (m.payload, m.qos, m.retain) == (b"kept", 1, True)
                pub.publish("users/joe", b"1", 2)
                pub.publish("news", b"2", 1, retain=True)
                c.publish("users/joe", b"own", 1)
                got = [c.message(), c.message()]
                assert [(m.payload, m.qos, m.retain) for m in sorted(got, key=lambda m: m.payload)] == [(b"1", 2, False), (b"2", 0, True)]
                assert c.until_ping() == []
            pub.publish("clients/auto/away", b"3", 1)
            with Client(keel, "auto", user="joe", clean=False, props={"session_expiry": 100}) as c:
                assert c.connack.session_present
                assert {c.message().payload for _ in range(2)} == {b"3", b"kept"}
            with Client(keel, "auto/+/odd") as odd:  # would name more than itself
                pub.publish("clients/auto/x/odd", b"x", 1)
                pub.publish("clients/auto/+/odd".replace("+", "y"), b"x", 1)
                assert odd.until_ping() == []
            with Client(keel, "auto-v3", version=4) as old:
                pub.publish("clients/auto-v3/x", b"4", 1)
                assert old.message().payload == b"4"


def test_rules_that_are_none_are_named():
    for setting, text in (("mqtt.rewrite=all a/+ b/$2", "asks for what is not there"), ("mqtt.rewrite=some a b", "begins with publish"),
                          ("mqtt.auto_subscribe=a qos=3", "wants FILTER")):
        got = harness.run(harness.BUILD / "keel-broker", "--set", setting)
        assert got.returncode == 2 and text in got.stderr and setting.split("=")[0] in got.stderr, got
