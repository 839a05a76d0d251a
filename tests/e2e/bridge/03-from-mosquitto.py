"""Debian's mosquitto bridges to a Keel, with its own defaults: what its users have when they point one at us."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import harness
from rawmqtt import *


def bridged(server, name, version):
    return harness.Mosquitto(f"connection {name}", f"address 127.0.0.1:{server.port}", f"remote_clientid {name}", f"bridge_protocol_version {version}",
                             "topic out/# out 2", "topic in/# in 2", "restart_timeout 1")


def test_a_bridge_says_how_it_is_and_passes_messages_on(server):
    for version in ("mqttv311", "mqttv50", "mqttv31"):
        name  = f"m-{version}"
        state = f"$SYS/broker/connection/{name}/state"
        with Client(server, f"watch-{version}") as watch:
            watch.subscribe([state, f"out/{version}"], 2)
            with bridged(server, name, version) as other:
                said = watch.message()
                assert (said.topic, said.payload) == (state, b"1"), (version, said)
                with Client(other, "there", 4) as there:
                    there.subscribe([f"in/{version}"], 2)
                    there.publish(f"out/{version}", b"there", qos=2)
                    got = watch.message()
                    assert (got.topic, got.payload, got.qos) == (f"out/{version}", b"there", 2), (version, got)
                    watch.publish(f"in/{version}", b"here", qos=2)
                    got = there.message()
                    assert (got.topic, got.payload, got.qos) == (f"in/{version}", b"here", 2), (version, got)
                other.process.kill()
            said = watch.message()
            assert (said.topic, said.payload) == (state, b"0"), (version, "its will", said)
        with Client(server, f"late-{version}") as late:  # retained
            late.subscribe([state], 1)
            said = late.message()
            assert (said.topic, said.payload, said.retain) == (state, b"0", True), (version, said)


def test_the_rest_of_sys_is_the_brokers_own(server):
    for topic in ("$SYS/broker/uptime", "$SYS/broker/connection/x", "$SYS/broker/connection/x/y/state"):
        with Client(server, "spoof") as spoof:
            spoof.publish(topic, b"1", qos=1, reason=0x87)
