"""Two broker processes at one segment store, or at three: whatever a client is promised holds whichever of them it and the others are connected to."""
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import harness
from harness import BUILD, Apart, Cluster, Process, Server, await_true, run, split
from rawmqtt import *

KEEP = {"session_expiry": 600}


class Broker(Server):
    """One broker process, with its own log; at the store that `keel` has."""

    def __init__(self, keel, name):
        self.keel, self.name, self.mqtt, self.admin = keel, name, "127.0.0.1:0", "127.0.0.1:0"
        self.start()

    def start(self):
        self.process = Process([BUILD / "keel-broker", "--mqtt", self.mqtt, "--admin", self.admin, "--segstore", self.keel.segstore, "--shards", "2",
                                "--set", f"broker.name={self.name}"], self.keel.dir / f"{self.name}.log")
        ready = self.process.await_ready()
        self.mqtt, self.admin = ready["mqtt"], ready["admin"]
        self.host, self.port = split(self.mqtt)


class Two:
    """A store (or three) and the brokers a and b."""

    def __init__(self, stores=1):
        self.keel = Apart(start=False) if stores == 1 else Cluster(start=False)
        if stores == 1:
            self.keel.start_store()
        else:
            for n in self.keel.ports:
                self.keel.start_node(n, wait=False)
            for n in self.keel.ports:
                self.keel.stores[n].await_ready()
        self.a, self.b = Broker(self.keel, "a"), Broker(self.keel, "b")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for broker in (self.a, self.b):
            broker.process.stop()
        self.keel.close()


def test_every_qos_reaches_live_and_stored_subscribers_on_the_other_broker():
    with Two() as two:
        for here, there in ((two.a, two.b), (two.b, two.a)):
            with Client(there, "live") as live, Client(there, "stored", clean=False, props=KEEP) as stored, Client(here, "publisher") as pub:
                for sub in (live, stored):
                    sub.subscribe("t/+", 2)
                    sub.subscribe("exact/topic", 2)
                for qos in (0, 1, 2):
                    for topic in ("t/1", "exact/topic"):
                        pub.publish(topic, b"%d" % qos, qos)
                        for sub in (live, stored):
                            message = sub.message()
                            assert (message.topic, message.payload, message.qos) == (topic, b"%d" % qos, qos)
                for sub in (live, stored):
                    assert sub.until_ping() == []
                stored.disconnect(0, {"session_expiry": 0})


def test_a_suback_means_that_the_other_broker_knows():
    with Two() as two, Client(two.b, "publisher") as pub, Client(two.a, "subscriber") as sub:
        waits = []
        for i in range(200):
            began = time.monotonic()
            sub.subscribe(f"now/{i}/#" if i % 2 else f"now/{i}", 1)
            waits.append(time.monotonic() - began)
            pub.publish(f"now/{i}", b"%d" % i, i % 2)
            assert sub.message().payload == b"%d" % i
        assert sub.until_ping() == []
        return f"a SUBACK took {sorted(waits)[100] * 1000:.1f} ms (median of 200)"


def test_order_and_number_hold_under_load():
    with Two() as two, Client(two.a, "subscriber", props={"receive_max": 1000}, timeout=60) as sub, Client(two.b, "publisher") as pub:
        sub.subscribe("load", 2)
        for i in range(2000):
            pub.send(publish("load", b"%d" % i + bytes(i % 700), 1, id=i % 200 + 1))
            if i % 100 == 99:
                for k in range(100):
                    pub.expect(PUBACK)
                    assert int(sub.message().payload.rstrip(b"\0")) == i - 99 + k
        assert sub.until_ping() == []


def test_one_client_id_is_connected_once():
    with Two() as two:
        for props in ({}, KEEP):
            first = Client(two.a, "the-one", clean=False, props=props)
            second = Client(two.b, "the-one", clean=False, props=props)
            first.expect_closed(0x8E)
            third = Client(two.a, "the-one", clean=False, props=props)
            second.expect_closed(0x8E)
            assert third.until_ping() == []
            third.disconnect(0, {"session_expiry": 0} if props else None)


def test_a_session_goes_on_at_the_other_broker():
    with Two() as two, Client(two.a, "publisher") as pub:
        with Client(two.a, "wanderer", clean=False, props=KEEP) as sub:
            sub.subscribe("w/#", 2)
            pub.publish("w/1", b"one", 2)
            assert sub.message().payload == b"one"
        pub.publish("w/1", b"two", 2)
        with Client(two.b, "wanderer", clean=False, props=KEEP) as sub:
            assert sub.connack.session_present == 1
            assert sub.message().payload == b"two"
            pub.publish("w/1", b"three", 1)
            assert sub.message().payload == b"three"


def test_a_group_has_members_on_both():
    with Two() as two, Client(two.a, "publisher") as pub:
        members = [Client(broker, f"member-{n}") for n, broker in enumerate((two.a, two.a, two.b, two.b))]
        for m in members:
            m.subscribe("$share/g/s/#", 1)
        for i in range(80):
            pub.publish("s/1", b"%d" % i, 1)
        got = [[m.payload for m in member.until_ping()] for member in members]
        assert sorted(int(p) for one in got for p in one) == list(range(80)), got
        assert all(got), "each member has its turn"
        for m in members:
            m.close()


class Once:
    """A client of QoS 2 that goes on where it was, at whichever broker: what it was given, and what it publishes until that is taken."""

    def __init__(self, name, stored=True):
        self.name, self.props, self.begun, self.open, self.got = name, KEEP if stored else None, set(), {}, []

    def come(self, broker, timeout=30):
        self.client = Client(broker, self.name, clean=self.props is None, props=self.props, timeout=timeout)
        for id, (payload, received) in self.open.items():
            self.client.send(ack(PUBREL, id) if received else publish("once/1", payload, 2, dup=True, id=id))
        return self.client.connack.session_present

    def take(self, p):
        if p.kind == PUBLISH:
            if p.id not in self.begun:
                self.got.append(int(p.payload))
            self.begun.add(p.id)
            self.client.send(ack(PUBREC, p.id))
        elif p.kind == PUBREL:
            self.begun.discard(p.id)
            self.client.send(ack(PUBCOMP, p.id))
        elif p.kind == PUBREC:
            assert p.reason in (0, 0x10), p
            self.open[p.id] = (None, True)
            self.client.send(ack(PUBREL, p.id))
        elif p.kind == PUBCOMP:
            self.open.pop(p.id)

    def drain(self):
        for p in self.client.until_ping():
            self.take(p)


def test_qos_2_comes_to_a_group_once_whichever_broker_is_killed_over_it():
    each, said = 40, 0
    with Two() as two:
        publisher, stored, brokers = Once("publisher"), [Once(f"stored-{n}") for n in range(3)], [two.a, two.b]
        for n, member in enumerate(stored):
            member.come(brokers[n % 2])
            member.client.subscribe("$share/g/once/#", 2)
        came = []
        for round in range(4):
            victim, heir = brokers[round % 2], brokers[1 - round % 2]
            live = Once(f"live-{round}", stored=False)
            live.come(heir)
            live.client.subscribe("$share/g/once/#", 2)
            assert publisher.come(victim) == (round != 0)
            for id in range(1, each + 1):
                publisher.open[id] = (b"%d" % said, False)
                said += 1
            publisher.client.send(b"".join(publish("once/1", payload, 2, id=id) for id, (payload, _) in publisher.open.items()))
            for _ in range(round * 11):  # answers
                publisher.take(publisher.client.recv())
            victim.process.kill()
            publisher.client.close()
            for n, member in enumerate(stored):
                if n % 2 == round % 2:
                    member.client.close()
                    assert member.come(heir)
            assert publisher.come(heir)
            while publisher.open:
                publisher.take(publisher.client.recv())
            publisher.client.close()

            def all_came():
                for member in (*stored, live):
                    member.drain()
                return len(came) + len(live.got) + sum(len(m.got) for m in stored) >= said
            await_true(all_came, f"{said} messages in all")
            came += live.got
            live.client.close()
            victim.start()
            for n, member in enumerate(stored):
                if n % 2 == round % 2:
                    member.client.close()
                    assert member.come(victim)
        for member in stored:
            member.drain()
            came += member.got
        assert sorted(came) == list(range(said)), f"twice: {sorted(n for n in set(came) if came.count(n) > 1)}"


def test_retained_messages_are_everywhere():
    with Two() as two, Client(two.a, "publisher") as pub:
        pub.publish("kept/1", b"here", 1, retain=True)
        with Client(two.b, "late") as sub:
            sub.subscribe("kept/#", 1)
            message = sub.message()
            assert (message.payload, message.retain) == (b"here", True)
        pub.publish("kept/1", b"", 1, retain=True)


def test_an_exclusive_subscription_is_had_once():
    with Two() as two, Client(two.a, "first") as first, Client(two.b, "second") as second:
        first.subscribe("$exclusive/door", 1)
        second.send(subscribe([("$exclusive/door", 1)], id=7))
        assert second.expect(SUBACK, id=7).codes == [0x97]


def test_a_killed_broker_is_mourned_by_the_other():
    with Two() as two:
        lost = {"topic": "will/lost", "payload": b"gone", "qos": 1}
        with Client(two.b, "witness", timeout=30) as witness, Client(two.b, "publisher") as pub:
            witness.subscribe("will/#", 1)
            Client(two.a, "mortal", will=lost)
            orphan = Client(two.a, "orphan", clean=False, props=KEEP)
            orphan.subscribe("o/#", 1)
            began = time.monotonic()
            two.a.process.kill()
            pub.publish("o/1", b"while it is dead", 1)
            with Client(two.b, "orphan", clean=False, props=KEEP) as again:
                back = time.monotonic() - began
                assert again.connack.session_present == 1
                assert again.message().payload == b"while it is dead"
                again.subscribe("new/#", 1)  # waits for the dead one's lease
                pub.publish("new/1", b"new", 1)
                assert again.message().payload == b"new"
            assert witness.message(timeout=20).payload == b"gone"
            assert witness.until_ping() == []
            two.a.start()
            with Client(two.a, "newcomer") as newcomer:
                newcomer.publish("will/alive", b"again", 1)
                assert witness.message().payload == b"again"
            return f"a session of the killed broker was resumed at the other after {back:.2f} s"


def test_a_stopped_broker_leaves_at_once():
    with Two() as two, Client(two.b, "stays") as stays:
        two.a.process.stop()
        began = time.monotonic()
        stays.subscribe("after/#", 1)
        assert time.monotonic() - began < harness.patience(1.5)
        began = time.monotonic()
        two.a.start()
        assert time.monotonic() - began < harness.patience(3)


def test_the_store_is_killed_under_two_brokers():
    with Two() as two, Client(two.a, "subscriber", timeout=30) as sub, Client(two.b, "publisher", timeout=30) as pub:
        sub.subscribe("k/#", 1)
        pub.publish("k/1", b"before", 1)
        assert sub.message().payload == b"before"
        two.keel.kill_store()
        pub.send(publish("k/1", b"during", 1, id=9))
        time.sleep(0.3)
        two.keel.start_store()
        pub.expect(PUBACK, id=9)
        assert sub.message().payload == b"during"
        assert sub.until_ping() == []


def test_three_stores_and_any_of_them_killed():
    with Two(stores=3) as two, Client(two.a, "live", timeout=30) as live, Client(two.a, "stored", clean=False, props=KEEP, timeout=30) as stored, \
            Client(two.b, "publisher", timeout=30) as pub:
        for sub in (live, stored):
            sub.subscribe("three/#", 2)
        count = 0
        for n in (1, 2, 3):
            two.keel.stores[n].kill()
            for _ in range(20):
                pub.publish("three/1", b"%d" % count, 1 + count % 2)
                for sub in (live, stored):
                    assert sub.message().payload == b"%d" % count
                count += 1
            two.keel.start_node(n)
        for sub in (live, stored):
            assert sub.until_ping() == []


def test_behind_a_load_balancer():
    if not pathlib.Path("/usr/sbin/haproxy").exists():
        raise harness.Skip("no haproxy here")
    with Two() as two:
        folder, port = pathlib.Path(tempfile.mkdtemp(prefix="keel-haproxy-")), harness.free_port()
        (folder / "haproxy.cfg").write_text("\n".join([
            "global", "  maxconn 100", "defaults", "  mode tcp", "  timeout connect 5s", "  timeout client 1m", "  timeout server 1m",
            "listen mqtt", f"  bind 127.0.0.1:{port}", "  balance roundrobin", *(f"  server {b.name} {b.mqtt}" for b in (two.a, two.b))]) + "\n")
        haproxy = subprocess.Popen(["/usr/sbin/haproxy", "-f", str(folder / "haproxy.cfg"), "-db"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            def listens():
                with socket.socket() as s:
                    return s.connect_ex(("127.0.0.1", port)) == 0
            await_true(listens, "haproxy listens")
            subs = [subprocess.Popen(["mosquitto_sub", "-p", str(port), "-t", "balanced", "-q", "2", "-C", "3", "-W", "20", "-i", f"balanced-{n}", *more],
                                     stdout=subprocess.PIPE, text=True) for n, more in enumerate(([], [], ["-c"], ["-c"]))]
            await_true(lambda: two.a.metric("keel_sessions_open") == 2 and two.b.metric("keel_sessions_open") == 2, "each broker has two of them", 20)
            await_true(lambda: two.a.metric("keel_subscriptions") == 2 and two.b.metric("keel_subscriptions") == 2, "they are subscribed", 20)
            for qos in "012":
                done = run("mosquitto_pub", "-p", port, "-t", "balanced", "-m", f"q{qos}", "-q", qos)
                assert done.returncode == 0, done
            for sub in subs:
                assert sub.communicate(timeout=30)[0] == "q0\nq1\nq2\n"
        finally:
            haproxy.kill()
            haproxy.wait()
            shutil.rmtree(folder)
