"""Other people's clients: mosquitto_pub and mosquitto_sub, Paho for Python, Paho for C; every QoS, both versions of the protocol."""
import subprocess
import threading

import harness
from harness import CLIENTS, await_true, run
from rawmqtt import Client


def subscribed(server, topic, *args):
    """A mosquitto_sub that is known to be subscribed: it has received a first message on its own topic."""
    probe = f"probe/{topic}"
    sub = subprocess.Popen(["mosquitto_sub", "-h", server.host, "-p", str(server.port), "-t", topic, "-t", probe, "-F", "%q %p", *map(str, args)],
                           stdout=subprocess.PIPE, text=True)
    with Client(server, f"probe-{topic}") as c:
        def heard():
            return c.publish(probe, b"probe", 1).reason == 0
        await_true(heard, "mosquitto_sub has subscribed")
    line = sub.stdout.readline()
    while "probe" not in line:
        line = sub.stdout.readline()
    return sub


def lines(sub, count):
    out = []
    while len(out) < count:
        line = sub.stdout.readline()
        assert line, f"mosquitto_sub ended after {out}"
        if "probe" not in line:
            out.append(line.strip())
    return out


def test_mosquitto_pub_and_sub_in_every_qos(server):
    for version in ("311", "5"):
        for qos in (0, 1, 2):
            topic = f"mosq/{version}/{qos}"
            sub = subscribed(server, topic, "-V", f"mqttv{version}", "-q", qos)
            try:
                text = "".join(f"{n}\n" for n in range(100))
                done = run("mosquitto_pub", "-h", server.host, "-p", server.port, "-V", f"mqttv{version}", "-t", topic, "-q", qos, "-l", input=text)
                assert done.returncode == 0, done.stderr
                assert lines(sub, 100) == [f"{qos} {n}" for n in range(100)]
            finally:
                sub.kill()
                sub.wait()


def test_a_stored_mosquitto_session_receives_what_came_while_it_was_away(server):
    args = ["-h", server.host, "-p", str(server.port), "-i", "mosq-stored", "-c", "-q", "1", "-t", "mosq/stored"]
    assert run("mosquitto_sub", *args, "-E").returncode == 0  # subscribes and leaves
    text = "".join(f"{n}\n" for n in range(50))
    assert run("mosquitto_pub", "-h", server.host, "-p", server.port, "-t", "mosq/stored", "-q", 1, "-l", input=text).returncode == 0
    got = run("mosquitto_sub", *args, "-C", 50)
    assert got.stdout == text, got.stdout


def paho_python(server, version, qos, count=100):
    import paho.mqtt.client as paho  # Debian's python3-paho-mqtt
    got, ready, done = [], threading.Event(), threading.Event()
    client = paho.Client(f"paho-{version}-{qos}", protocol=paho.MQTTv5 if version == 5 else paho.MQTTv311)

    def on_message(_client, _data, message):
        got.append((message.qos, message.payload))
        if len(got) == count:
            done.set()

    client.on_message = on_message
    client.on_connect = lambda *_: client.subscribe(f"paho/{version}/{qos}", qos)
    client.on_subscribe = lambda *_: ready.set()
    client.connect(server.host, server.port)
    client.loop_start()
    try:
        assert ready.wait(10), "not subscribed"
        infos = [client.publish(f"paho/{version}/{qos}", b"%d" % n, qos) for n in range(count)]
        for info in infos:
            info.wait_for_publish(10)
            assert info.is_published(), "not acknowledged within 10 s"
        assert done.wait(10), f"{len(got)} of {count} came"
        assert got == [(qos, b"%d" % n) for n in range(count)]
    finally:
        client.disconnect()
        client.loop_stop()


def test_paho_for_python_in_every_qos(server):
    for version in (4, 5):
        for qos in (0, 1, 2):
            paho_python(server, version, qos)


def test_paho_for_c_in_every_qos(server):
    program = CLIENTS / "paho_c"
    if not program.exists():
        raise harness.Skip("build/clients/paho_c is not built (make clients)")
    for version in (4, 5):
        for qos in (0, 1, 2):
            done = run(program, f"tcp://{server.host}:{server.port}", version, "-", "echo", f"paho-c-{version}-{qos}", qos, 5)  # 100 ms each, by itself
            assert done.returncode == 0 and done.stdout.strip() == "ok", f"version {version} QoS {qos}: {done.stdout}"
