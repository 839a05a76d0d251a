"""QoS 0, 1 and 2, both ways, in every pair, and what happens to packet ids. [MQTT-3.3, 4.3]"""
from rawmqtt import *


def test_every_pair_of_qos_is_delivered_at_the_lower(server):
    for version in (4, 5):
        with Client(server, f"qos-sub-{version}", version) as sub, Client(server, f"qos-pub-{version}", version) as pub:
            for granted in (0, 1, 2):
                topic = f"qos/{version}/{granted}"
                assert sub.subscribe(topic, granted) == [granted]
                for sent in (0, 1, 2):
                    pub.publish(topic, f"{sent}", sent)
                    got = sub.message()
                    assert (got.topic, got.payload, got.qos) == (topic, f"{sent}".encode(), min(sent, granted)), got
                    assert not got.retain and not got.dup


def test_thousands_of_messages_arrive_once_and_in_order(server):
    count = 2000
    with Client(server, "qos-many-sub") as sub, Client(server, "qos-many-pub") as pub:
        for qos in (1, 2):
            topic = f"qos/many/{qos}"
            sub.subscribe(topic, qos)
            for first in range(0, count, 20):
                pub.send(b"".join(publish(topic, b"%d" % n, qos, id=n % 20 + 1) for n in range(first, first + 20)))
                for _ in range(20):
                    got = pub.recv()
                    assert got.kind == (PUBACK if qos == 1 else PUBREC) and got.reason < 0x80, got
                    if qos == 2:
                        pub.send(ack(PUBREL, got.id))
                for _ in range(20 if qos == 2 else 0):
                    pub.expect(PUBCOMP)
                for n in range(first, first + 20):
                    assert sub.message().payload == b"%d" % n


def test_a_qos_2_publish_sent_again_before_pubrel_is_delivered_once(server):
    with Client(server, "qos-dup-sub") as sub, Client(server, "qos-dup-pub") as pub:
        sub.subscribe("qos/dup", 2)
        for again in range(4):
            pub.send(publish("qos/dup", b"one", 2, dup=again % 2 == 1, id=7))
            assert pub.expect(PUBREC, id=7).reason < 0x80
        pub.send(ack(PUBREL, 7))
        pub.expect(PUBCOMP, id=7, reason=0)
        assert sub.message().payload == b"one"
        pub.publish("qos/dup", b"end", 2)
        assert sub.message().payload == b"end"


def test_a_packet_id_is_free_again_after_its_exchange(server):
    with Client(server, "qos-reuse-sub") as sub, Client(server, "qos-reuse-pub") as pub:
        sub.subscribe("qos/reuse", 2)
        for n in range(3):
            pub.send(publish("qos/reuse", b"%d" % n, 2, id=9))
            pub.expect(PUBREC, id=9)
            pub.send(ack(PUBREL, 9))
            pub.expect(PUBCOMP, id=9)
            assert sub.message().payload == b"%d" % n
        for n in range(3):
            pub.send(publish("qos/reuse", b"%d" % n, 1, id=9))
            pub.expect(PUBACK, id=9)
            assert sub.message().payload == b"%d" % n


def test_pubrel_for_an_unknown_id_is_answered_with_0x92(server):
    with Client(server, "qos-unknown") as c:
        c.send(ack(PUBREL, 77))
        c.expect(PUBCOMP, id=77, reason=0x92)
    with Client(server, "qos-unknown-4", 4) as c:
        c.send(ack(PUBREL, 77))
        assert c.expect(PUBCOMP, id=77).body == b"\0\x4d"


def test_acknowledgements_nobody_waits_for_do_no_harm(server):
    with Client(server, "qos-stray") as c:
        c.send(ack(PUBACK, 5) + ack(PUBCOMP, 5))
        c.subscribe("qos/stray", 1)
        c.publish("qos/stray", b"alive", 1)
        assert c.message().payload == b"alive"


def test_a_pubrec_with_an_error_ends_the_exchange(server):
    with Client(server, "qos-pubrec", props={"receive_max": 1}) as c:
        c.subscribe("qos/pubrec", 2)
        c.publish("qos/pubrec", b"first", 2)
        c.publish("qos/pubrec", b"second", 2)
        first = c.message(acknowledge=False)
        c.send(ack(PUBREC, first.id, 0x83))
        assert c.message().payload == b"second"


def test_no_matching_subscriber_is_told_to_publishers_of_version_5(server):
    with Client(server, "qos-nobody") as c:
        for qos in (1, 2):
            assert c.publish("qos/nobody/listens", b"x", qos).reason == 0x10


def test_large_payloads_pass_whole(server):
    payload = bytes(range(256)) * 2048  # 512 KiB
    with Client(server, "qos-large-sub") as sub, Client(server, "qos-large-pub") as pub:
        for qos in (0, 1, 2):
            sub.subscribe(f"qos/large/{qos}", qos)
            pub.publish(f"qos/large/{qos}", payload, qos)
            assert sub.message().payload == payload


def test_fan_out_reaches_every_subscriber_in_order(server):
    subs = [Client(server, f"qos-fan-{i}") for i in range(50)]
    for i, sub in enumerate(subs):
        sub.subscribe("qos/fan/#", i % 3)
    with Client(server, "qos-fan-pub") as pub:
        for n in range(20):
            pub.publish("qos/fan/x", b"%d" % n, 2)
    for sub in subs:
        assert [m.payload for m in sub.messages(20)] == [b"%d" % n for n in range(20)]
        sub.close()
