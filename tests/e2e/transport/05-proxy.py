"""PROXY protocol: where a client really is, said by a load balancer."""
import shutil
import socket
import struct
import subprocess
import tempfile
import pathlib
import time

import harness
import tls
from harness import Keel, await_true
from rawmqtt import *

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(address="192.0.2.7", port=4711, command=1, tlvs=b""):
    body = b"" if command == 0 else socket.inet_aton(address) + socket.inet_aton("198.51.100.1") + struct.pack(">HH", port, 1883) + tlvs
    return SIGNATURE + bytes([0x20 | command, 0x11 if command else 0]) + struct.pack(">H", len(body)) + body


def v1(address="192.0.2.7", port=4711):
    return f"PROXY TCP4 {address} 198.51.100.1 {port} 1883\r\n".encode()


def keel(*settings):
    return Keel(*(word for each in ("mqtt.proxy=true", *settings) for word in ("--set", each)))


def connack(server, header, client_id="proxied", step=0, **more):
    with Client(server, open=False) as c:
        data = header + connect(client_id, **more)
        for at in range(0, len(data), step or len(data)):
            c.send(data[at:at + (step or len(data))])
        return c.expect(CONNACK).reason


def closed(server, data):
    with Client(server, open=False) as c:
        c.send(data)
        c.expect_closed()


def test_a_header_of_either_version_comes_first_in_pieces_of_any_size():
    with keel("auth.anonymous=true") as server:
        for header in (v1(), v2(), v2(tlvs=b"\x04\0\1x"), b"PROXY UNKNOWN\r\n", v2(command=0), b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n"):
            for step in (0, 1, 5):
                assert connack(server, header, step=step) == 0


def test_the_clients_own_address_counts():
    with keel("auth.anonymous=true") as server:
        done = harness.run(harness.BUILD / "keel", "ctl", "ban", "add", "address", "192.0.2.7", "--admin", server.admin)
        assert done.returncode == 0, done
        assert connack(server, v1("192.0.2.7")) == 0x8A
        assert connack(server, v1("192.0.2.8")) == 0
        closed(server, v1("192.0.2.9") + b"\xff\xff")
        await_true(lambda: "192.0.2.9:4711" in server.log(), "the log has the real address")


def test_who_is_not_on_this_machine_is_not_anonymous_behind_a_proxy_that_is():
    with keel() as server:  # auth.anonymous=loopback
        assert connack(server, v2("192.0.2.7")) == 0x87
        assert connack(server, v2("127.0.0.1")) == 0
        assert connack(server, v2(command=0)) == 0  # the proxy itself


def test_what_does_not_begin_with_a_header_is_closed_and_counted():
    with keel() as server:
        for data in (connect("none"), b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 x y 1 2\r\n" + connect("bad"), SIGNATURE + b"\x21\x11\xff\xff", b"PROXY " + b"A" * 200):
            closed(server, data)
        await_true(lambda: server.metric("keel_proxy_faults_total") == 5, "all are counted")
        assert "PROXY header" in server.log()


def test_one_who_is_not_trusted_may_not_say_where_it_is():
    with keel("proxy.trusted=10.0.0.0/8, fd00::/8", "auth.anonymous=true") as server:
        closed(server, v1() + connect("not-trusted"))
        assert "proxy.trusted" in server.log()


def test_a_header_that_never_ends_is_ended_by_the_connect_timeout():
    with keel("mqtt.connect_timeout=1") as server, Client(server, open=False) as c:
        c.send(b"PROXY TCP4 192")
        started = time.monotonic()
        c.expect_closed()
        assert time.monotonic() - started > 0.5


def test_a_wrong_list_of_addresses_is_refused_at_start():
    done = harness.run(harness.BUILD / "keel-broker", "--mqtt", "127.0.0.1:0", "--set", "proxy.trusted=10.0.0.0/33")
    assert done.returncode == 2 and '"10.0.0.0/33"' in done.stderr, done


def test_haproxy_in_front_over_tcp_and_tls():
    if shutil.which("haproxy") is None and not pathlib.Path("/usr/sbin/haproxy").exists():
        raise harness.Skip("no haproxy here")
    certificate = ("--set", f"tls.cert={tls.certs()}/server.crt", "--set", f"tls.key={tls.certs()}/server.key")
    with Keel("--set", "mqtt.proxy=true", "--set", "mqtts.proxy=true", "--mqtts", "127.0.0.1:0", "--set", "auth.anonymous=true", *certificate) as server:
        secure = harness.split(harness.fields(server.process.line)["mqtts"])[1]
        folder = pathlib.Path(tempfile.mkdtemp(prefix="keel-haproxy-"))
        ports = {name: harness.free_port() for name in ("v1", "v2", "tls")}
        targets = {"v1": (server.port, "send-proxy"), "v2": (server.port, "send-proxy-v2"), "tls": (secure, "send-proxy-v2")}
        lines = ["global", "  maxconn 100", "defaults", "  mode tcp", "  timeout connect 5s", "  timeout client 1m", "  timeout server 1m"]
        for name, port in ports.items():
            lines += [f"listen {name}", f"  bind 127.0.0.1:{port}", f"  server keel 127.0.0.1:{targets[name][0]} {targets[name][1]}"]
        (folder / "haproxy.cfg").write_text("\n".join(lines) + "\n")
        haproxy = subprocess.Popen(["/usr/sbin/haproxy", "-f", str(folder / "haproxy.cfg"), "-db"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            def listens(port):
                with socket.socket() as s:
                    return s.connect_ex(("127.0.0.1", port)) == 0
            await_true(lambda: all(listens(port) for port in ports.values()), "haproxy listens")
            for name, port in ports.items():
                extra = ["--cafile", f"{tls.certs()}/authority.crt"] if name == "tls" else []
                host = "127.0.0.1"
                sub = subprocess.Popen(["mosquitto_sub", "-h", host, "-p", str(port), "-t", f"ha/{name}", "-C", "1", "-W", "20", "-q", "1", *extra, "-i", f"ha-{name}"],
                                       stdout=subprocess.PIPE, text=True)
                await_true(lambda: server.metric("keel_subscriptions") == 1, "subscribed")
                done = harness.run("mosquitto_pub", "-h", host, "-p", port, "-t", f"ha/{name}", "-m", "through", "-q", "1", *extra)
                assert done.returncode == 0, done
                assert sub.communicate(timeout=20)[0] == "through\n"
                await_true(lambda: server.metric("keel_subscriptions") == 0, "gone")
        finally:
            haproxy.kill()
            haproxy.wait()
            shutil.rmtree(folder)
