"""Other people's clients over every transport: each QoS there and back, retained messages, wills, sessions that go on; MQTT 3.1.1 and 5.0.

                           TCP   TLS   WebSocket   WebSocket over TLS
    Paho for C              x     x        x               x
    Paho for Python         x     x        x               x
    MQTT.js                 x     x        x               x
    mosquitto_pub/sub/rr    x     x     (Debian builds them without WebSocket)
"""
import signal
import subprocess
import threading

import harness
from harness import CLIENTS, Keel, await_true, run, split
from rawmqtt import Client
from tls import certs

VERSIONS = (4, 5)
COUNT = 6  # Paho for C waits 100 ms by itself for each


def server():
    c = certs()
    keel = Keel("--mqtts", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--wss", "127.0.0.1:0", "--set", f"tls.cert={c}/server.crt", "--set",
                f"tls.key={c}/server.key")
    keel.ports = {name: split(harness.fields(keel.process.line)[name])[1] for name in ("mqtt", "mqtts", "ws", "wss")}
    return keel


def secure(transport):
    return transport in ("mqtts", "wss")


def authority(transport):
    return certs() / "authority.crt" if secure(transport) else "-"


class Program:
    """A client that is a program with verbs (clients/paho_c.c says which)."""

    def __init__(self, name, command, uris, env=None):
        self.name, self.command, self.uris, self.env = name, command, uris, env

    def __call__(self, keel, transport, version, verb, topic, qos=1, count=1):
        uri = f"{self.uris[transport]}://127.0.0.1:{keel.ports[transport]}" + ("/mqtt" if "ws" in transport else "")
        done = run(*self.command, uri, version, authority(transport), verb, topic, qos, count, env=self.env)
        good = (0, -signal.SIGKILL) if verb == "will" else (0,)
        assert done.returncode in good and done.stdout.strip() == "ok", f"{verb} {version} QoS {qos}: {done.returncode} {done.stdout}{done.stderr}"


def paho_c():
    if not (CLIENTS / "paho_c").exists():
        raise harness.Skip("build/clients/paho_c is not built (make clients)")
    return Program("paho-c", [CLIENTS / "paho_c"], {"mqtt": "tcp", "mqtts": "ssl", "ws": "ws", "wss": "wss"})


def mqtt_js():
    node, env = harness.mqtt_js()
    return Program("mqtt-js", [node, harness.ROOT / "tests/e2e/clients/mqtt_js.js"], {name: name for name in ("mqtt", "mqtts", "ws", "wss")}, env)


class PahoPython:
    name = "paho-python"

    def __call__(self, keel, transport, version, verb, topic, qos=1, count=1):
        import paho.mqtt.client as paho
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties
        clean = verb not in ("keep", "resume")
        client = paho.Client(topic, clean_session=clean if version == 4 else None, protocol=paho.MQTTv5 if version == 5 else paho.MQTTv311,
                             transport="websockets" if "ws" in transport else "tcp")
        client.ws_set_options(path="/mqtt")
        if secure(transport):
            client.tls_set(ca_certs=str(authority(transport)))
        got, present, subscribed = [], [], threading.Event()
        client.on_message = lambda _c, _u, m: got.append((m.payload.decode(), m.qos, bool(m.retain)))
        client.on_connect = lambda _c, _u, flags, *_: present.append(flags["session present"])
        client.on_subscribe = lambda *_: subscribed.set()
        more = {}
        if version == 5:
            more = {"clean_start": clean, "properties": Properties(PacketTypes.CONNECT)}
            more["properties"].SessionExpiryInterval = 0 if clean else 300
        if verb == "will":
            client.will_set(topic, "gone", 1)
        client.connect("127.0.0.1", keel.ports[transport], **more)
        client.loop_start()
        try:
            await_true(lambda: present, "CONNACK")

            def subscribe():
                client.subscribe(topic, qos)
                assert subscribed.wait(10), "no SUBACK"

            def publish(text, retain=False):
                info = client.publish(topic, text, qos, retain)
                info.wait_for_publish(10)
                assert info.is_published(), "not acknowledged within 10 s"

            def expect(texts, retain=False):
                await_true(lambda: len(got) >= len(texts), f"{len(texts)} messages")
                assert got == [(text, qos, retain) for text in texts], got
            if verb == "echo":
                subscribe()
                [publish(f"message {n}") for n in range(count)]
                expect([f"message {n}" for n in range(count)])
            elif verb == "retained":
                publish("kept", True)
                subscribe()
                expect(["kept"], True)
            elif verb == "keep":
                subscribe()
            elif verb == "resume":
                assert present == [1], "no session is present"
                expect([str(n) for n in range(count)])
            else:
                client._sock_close()  # no library says goodbye for us
        finally:
            if verb != "will":
                client.disconnect()
            client.loop_stop()


class Mosquitto:
    name = "mosquitto"

    def __call__(self, keel, transport, version, verb, topic, qos=1, count=1):
        def args(client_id):
            tls = ["--cafile", authority(transport)] if secure(transport) else []
            return list(map(str, ["-h", "127.0.0.1", "-p", keel.ports[transport], *tls, "-V", "mqttv5" if version == 5 else "mqttv311", "-i", client_id]))

        def pub(*more, **keys):
            done = run("mosquitto_pub", *args(f"{topic}-pub"), "-t", topic, "-q", qos, *more, **keys)
            assert done.returncode == 0, done.stderr
        keep = ["-c", "-q", str(qos), "-t", topic] + (["-x", "300"] if version == 5 else [])
        sub = ["mosquitto_sub", *args(topic), "-F", "%q %r %p"]
        if verb == "echo":
            heard = subprocess.Popen([*sub, "-q", str(qos), "-t", topic, "-C", str(count + 1)], stdout=subprocess.PIPE, text=True)
            with Client(keel, f"{topic}-probe") as probe:
                await_true(lambda: probe.publish(topic, b"probe", 1).reason == 0, "mosquitto_sub has subscribed")
            pub("-l", input="".join(f"message {n}\n" for n in range(count)))
            out, _ = heard.communicate(timeout=harness.patience(20))
            assert [line for line in out.splitlines() if "probe" not in line] == [f"{qos} 0 message {n}" for n in range(count)], out
            if version == 5:  # a request and its response
                with Client(keel, f"{topic}-server") as service:
                    service.subscribe(f"{topic}/ask", 1)
                    asked = subprocess.Popen(["mosquitto_rr", *args(f"{topic}-rr"), "-t", f"{topic}/ask", "-e", f"{topic}/answer", "-m", "how", "-q",
                                              str(qos)], stdout=subprocess.PIPE, text=True)
                    question = service.message()
                    service.publish(question.props["response_topic"], b"so", 1, props={
                        name: value for name, value in question.props.items() if name == "correlation_data"})
                    assert asked.communicate(timeout=harness.patience(20))[0].strip() == "so"
        elif verb == "retained":
            pub("-m", "kept", "-r")
            done = run(*sub, "-q", qos, "-t", topic, "-C", 1)
            assert done.stdout.strip() == f"{qos} 1 kept", done
        elif verb == "keep":
            assert run(*sub, *keep, "-E").returncode == 0
        elif verb == "resume":
            done = run(*sub, *keep, "-C", count)
            assert done.stdout.splitlines() == [f"{qos} 0 {n}" for n in range(count)], done
        else:
            lost = subprocess.Popen([*sub, "-t", f"{topic}/up", "--will-topic", topic, "--will-payload", "gone", "--will-qos", "1"], stdout=subprocess.PIPE,
                                    text=True)
            with Client(keel, f"{topic}-probe") as probe:
                await_true(lambda: probe.publish(f"{topic}/up", b"probe", 1).reason == 0, "mosquitto_sub has subscribed")
            lost.kill()
            lost.communicate()


def matrix(keel, client, transport):
    for version in VERSIONS:
        name = f"{client.name}-{transport}-{version}"
        for qos in (0, 1, 2):
            client(keel, transport, version, "echo", f"{name}-echo-{qos}", qos, COUNT)
        client(keel, transport, version, "retained", f"{name}-retained")
        with Client(keel, f"witness-{name}") as w:
            w.publish(f"{name}-retained", b"", 1, retain=True)
            w.subscribe(f"{name}-will", 2)
            client(keel, transport, version, "will", f"{name}-will")
            got = w.message()
            assert (got.payload, got.qos) == (b"gone", 1)
            for qos in (1, 2):
                client(keel, transport, version, "keep", f"{name}-kept-{qos}", qos)
                for n in range(COUNT):
                    w.publish(f"{name}-kept-{qos}", b"%d" % n, 2)
                client(keel, transport, version, "resume", f"{name}-kept-{qos}", qos, COUNT)


def test_paho_for_c_over_tcp(keel):
    matrix(keel, paho_c(), "mqtt")


def test_paho_for_c_over_tls(keel):
    matrix(keel, paho_c(), "mqtts")


def test_paho_for_c_over_websocket(keel):
    matrix(keel, paho_c(), "ws")


def test_paho_for_c_over_websocket_and_tls(keel):
    matrix(keel, paho_c(), "wss")


def test_paho_for_python_over_tcp(keel):
    matrix(keel, PahoPython(), "mqtt")


def test_paho_for_python_over_tls(keel):
    matrix(keel, PahoPython(), "mqtts")


def test_paho_for_python_over_websocket(keel):
    matrix(keel, PahoPython(), "ws")


def test_paho_for_python_over_websocket_and_tls(keel):
    matrix(keel, PahoPython(), "wss")


def test_mqtt_js_over_tcp(keel):
    matrix(keel, mqtt_js(), "mqtt")


def test_mqtt_js_over_tls(keel):
    matrix(keel, mqtt_js(), "mqtts")


def test_mqtt_js_over_websocket(keel):
    matrix(keel, mqtt_js(), "ws")


def test_mqtt_js_over_websocket_and_tls(keel):
    matrix(keel, mqtt_js(), "wss")


def test_mosquitto_tools_over_tcp(keel):
    matrix(keel, Mosquitto(), "mqtt")


def test_mosquitto_tools_over_tls(keel):
    matrix(keel, Mosquitto(), "mqtts")
