"""$delayed/<seconds>/<topic>: published later, whoever dies meanwhile; topics of the broker's own are not published to."""
import time

import harness
from rawmqtt import *


def test_it_comes_after_its_time_with_its_qos(server):
    with Client(server, "delayed-sub") as sub, Client(server, "delayed-pub") as pub:
        sub.subscribe("delayed/#", 2)
        for qos in (0, 1, 2):
            began = time.monotonic()
            got = pub.publish("$delayed/1/delayed/x", b"%d" % qos, qos)
            assert got is None or got.reason == 0, got
            m = sub.message()
            assert (m.topic, m.payload, m.qos, m.retain) == ("delayed/x", b"%d" % qos, qos, False)
            assert 0.95 <= time.monotonic() - began < 3


def test_nothing_of_it_is_seen_before(server):
    with Client(server, "delayed-early") as c:
        c.subscribe(["delayed-early/#", "$delayed/#"], 1)
        c.publish("$delayed/2/delayed-early/x", b"x", 1)
        assert c.until_ping() == []
        assert c.message().topic == "delayed-early/x"
        assert c.until_ping() == []


def test_a_retained_one_is_retained_when_it_is_published(server):
    with Client(server, "delayed-retain") as c:
        c.publish("$delayed/1/delayed-retain", b"kept", 1, retain=True)
        c.subscribe("delayed-retain", 1)
        assert c.message().payload == b"kept"
        with Client(server, "delayed-retain-late") as late:
            late.subscribe("delayed-retain", 1)
            m = late.message()
            assert m.retain and m.payload == b"kept"
        c.publish("delayed-retain", b"", 1, retain=True)


def test_it_comes_though_both_processes_were_killed():
    with harness.Apart() as keel:
        with Client(keel, "delayed-kept", clean=False, props={"session_expiry": 1000}) as sub:
            sub.subscribe("kept/#", 2)
        with Client(keel, "delayed-kept-pub") as pub:
            for qos in (1, 2):
                pub.publish(f"$delayed/2/kept/{qos}", b"x", qos)
        keel.kill_broker()
        keel.kill_store()
        keel.start_store()
        keel.start_broker()
        with Client(keel, "delayed-kept", clean=False, props={"session_expiry": 1000}) as sub:
            assert {m.topic for m in sub.messages(2)} == {"kept/1", "kept/2"}
            time.sleep(1)  # for something that must not come
            assert sub.until_ping() == []


def test_what_is_not_understood_or_too_long_or_too_many_is_refused():
    with harness.Keel("--set", "mqtt.delayed_max=100", "--set", "segstore.delayed_max=1", "--set", "segstore.stripes=1", "--shards", "1") as keel:
        with Client(keel, "delayed-bounds") as c:
            c.publish("$delayed/101/x", b"x", 1, reason=0x97)
            c.publish("$delayed/101/x", b"x", 2, reason=0x97)
            for topic in ("$delayed/x/x", "$delayed/5", "$delayed/5/", "$delayed//x", "$delayed/5/$delayed/5/x"):
                c.publish(topic, b"x", 1, reason=0x90)
            for topic in ("$SYS/x", "$events/x", "$delayed/5/$SYS/x", "$exclusive/x", "$share/g/x"):
                c.publish(topic, b"x", 1, reason=0x87)
            c.publish("$delayed/100/x", b"x", 1)
            c.publish("$delayed/100/x", b"x", 2)
            c.publish("$delayed/100/x", b"x", 1, reason=0x97)
        with Client(keel, "delayed-will", open=False) as c:
            c.send(connect("delayed-will", will={"topic": "$SYS/x", "payload": b"x"}))
            assert c.expect(CONNACK).reason == 0x87
        with Client(keel, "delayed-will", open=False) as c:
            c.send(connect("delayed-will", will={"topic": "$delayed/1/x", "payload": b"x"}))
            assert c.expect(CONNACK).reason == 0x90


def test_it_may_be_off():
    with harness.Keel("--set", "mqtt.delayed_max=0") as keel, Client(keel, "delayed-off") as c:
        c.subscribe("$delayed/#", 1)
        c.publish("$delayed/1/x", b"x", 1)
        assert c.message().topic == "$delayed/1/x"
