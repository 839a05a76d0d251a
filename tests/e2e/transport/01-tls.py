"""TLS with clients that we did not write: versions, certificates of both sides, SNI, revocation, renewal, bad behaviour."""
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import threading

import harness
from harness import Keel, await_true
from rawmqtt import *
from tls import TlsClient, certs, mosquitto, secure, tls_port

def test_mosquitto_clients_publish_and_subscribe_over_tls_1_2_and_1_3():
    with secure() as keel:
        for version in ("tlsv1.2", "tlsv1.3"):
            with TlsClient(keel, "sub") as sub:
                sub.subscribe("tls/#", 2)
                for qos in (0, 1, 2):
                    done = mosquitto("mosquitto_pub", keel, "--tls-version", version, "-t", "tls/a", "-m", f"{version} {qos}", "-q", qos)
                    assert done.returncode == 0, done.stderr
                    assert sub.message().payload == f"{version} {qos}".encode()


def test_the_log_says_who_encrypts():
    with secure() as keel:
        flags = open("/proc/cpuinfo").read().split()
        wanted = ("vaes", "vpclmulqdq", "gfni", "sha_ni", "avx512f", "avx512bw", "avx512vl", "avx512ifma")
        fast = os.path.exists("/usr/include/intel-ipsec-mb.h") and all(f in flags for f in wanted)
        await_true(lambda: f"AES-GCM of TLS is computed by {'Intel Multi-Buffer Crypto' if fast else 'OpenSSL'}" in keel.log(), "the log line")


def test_a_large_message_and_many_small_ones_arrive_whole():
    with secure() as keel, TlsClient(keel, "a") as a, Client(keel, "b") as b:
        a.subscribe("big", 1), a.subscribe("small", 0), b.subscribe("back", 1)
        body = os.urandom(1000000)
        b.publish("big", body, 1)
        assert a.message().payload == body
        a.publish("back", body, 1)
        assert b.message().payload == body
        for n in range(2000):
            b.publish("small", b"%d" % n)
        assert [a.message().payload for _ in range(2000)] == [b"%d" % n for n in range(2000)]


def test_keys_change_while_messages_flow():
    """`openssl s_client`: for a line K it changes its key and asks us to change ours, for a line k it changes its own; with either certificate."""
    with secure("--set", f"tls.directory={certs()}/more") as keel, Client(keel, "b") as b, tempfile.TemporaryFile() as out:
        b.subscribe("u", 1)
        for turn, name in enumerate(("localhost", "other.example.org")):
            with subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{tls_port(keel)}", "-servername", name, "-tls1_3"],
                                  stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT) as client:
                def tell(data, answer, times=1):
                    client.stdin.write(data)
                    client.stdin.flush()
                    await_true(lambda: os.pread(out.fileno(), 1 << 20, 0).count(answer) == times, f"{answer!r} for {data!r}")

                tell(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01s", b"\x20\x02\0\0", turn + 1)
                tell(b"\x82\x06\0\x01\0\x01t\0", b"\x90\x03\0\x01\0", turn + 1)
                for n in range(8):
                    tell(b"kK"[n % 2:n % 2 + 1] + b"\n", b"KEYUPDATE\n", 8 * turn + n + 1)
                    text = f"{name} {n}".encode()
                    b.publish("t", text + b" there")
                    tell(b"\x30%c\0\x01u%s" % (len(text) + 3, text), text + b" there")
                    assert b.message().payload == text
                client.kill()


def test_a_client_that_does_not_know_the_authority_refuses_us():
    with secure() as keel:
        done = mosquitto("mosquitto_pub", keel, "-t", "x", "-m", "y", cafile="stranger.crt")
        assert done.returncode != 0
        with Client(keel, "still") as c:
            c.until_ping()


def test_client_certificates_are_required_and_checked():
    c = certs()
    with secure("--set", "tls.client_cert=required", "--set", f"tls.ca={c}/authority.crt", "--set", f"tls.crl={c}/authority.crl") as keel:
        ok = mosquitto("mosquitto_pub", keel, "--cert", c / "alice.crt", "--key", c / "alice.key", "-t", "x", "-m", "y", "-q", 1)
        assert ok.returncode == 0, ok.stderr
        for name in ("mallory", "revoked"):
            bad = mosquitto("mosquitto_pub", keel, "--cert", c / f"{name}.crt", "--key", c / f"{name}.key", "-t", "x", "-m", "y", "-q", 1)
            assert bad.returncode != 0, f"{name} was let in"
        assert mosquitto("mosquitto_pub", keel, "-t", "x", "-m", "y", "-q", 1).returncode != 0, "nobody without a certificate"
        await_true(lambda: "certificate" in keel.log(), "the log says why")


def test_the_name_that_a_client_asks_for_chooses_the_certificate():
    with secure("--set", f"tls.directory={certs()}/more") as keel:
        with TlsClient(keel, "one") as c:
            assert ("commonName", "localhost") in sum(c.sock.getpeercert()["subject"], ())
        with TlsClient(keel, "two", host="other.example.org") as c:
            assert ("commonName", "other.example.org") in sum(c.sock.getpeercert()["subject"], ())


def test_certificates_are_renewed_without_dropping_connections():
    live = certs() / "live"
    live.mkdir(exist_ok=True)
    for kind in ("crt", "key"):
        (live / f"now.{kind}").write_bytes((certs() / f"server.{kind}").read_bytes())
    with Keel("--mqtts", "127.0.0.1:0", "--set", f"tls.cert={live}/now.crt", "--set", f"tls.key={live}/now.key") as keel:
        with TlsClient(keel, "old") as old:
            for kind in ("crt", "key"):
                (live / f"now.{kind}").write_bytes((certs() / f"renewed.{kind}").read_bytes())
            keel.process.popen.send_signal(signal.SIGHUP)
            await_true(lambda: "read again" in keel.log(), "certificates read again")

            def renewed():
                with TlsClient(keel, "new") as new:
                    return ("commonName", "renewed") in sum(new.sock.getpeercert()["subject"], ())
            await_true(renewed, "new connections see the new certificate")
            old.subscribe("x", 1), old.publish("x", b"still here", 1)
            assert old.message().payload == b"still here"
            (live / "now.crt").write_text("nonsense")
            keel.process.popen.send_signal(signal.SIGHUP)
            await_true(lambda: "go on with the certificates read before" in keel.log(), "a bad file changes nothing")
            assert renewed()


def test_only_tls_1_3_when_told_so():
    with secure("--set", "tls.min_version=1.3") as keel:
        with TlsClient(keel, "new", version_tls=ssl.TLSVersion.TLSv1_3):
            pass
        try:
            TlsClient(keel, "old", version_tls=ssl.TLSVersion.TLSv1_2)
            assert False, "TLS 1.2 was accepted"
        except (ssl.SSLError, OSError):
            pass


def test_half_open_handshakes_hold_nobody_up_and_end():
    with secure("--set", "mqtt.connect_timeout=2", "--set", "tls.handshakes_max=64") as keel:
        idle = [socket.create_connection(("127.0.0.1", tls_port(keel))) for _ in range(40)]
        for s in idle[:20]:
            s.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        garbage = socket.create_connection(("127.0.0.1", tls_port(keel)))
        garbage.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with TlsClient(keel, "fine") as c, Client(keel, "plain") as p:
            c.subscribe("t", 1), p.publish("t", b"x", 1)
            assert c.message().payload == b"x"
        for s in idle:
            s.settimeout(20)
            while s.recv(100):
                pass
            s.close()
        garbage.close()
        await_true(lambda: keel.metric("keel_tls_handshakes_open") == 0, "all are gone")


def test_more_handshakes_than_allowed_wait_and_get_their_turn():
    with secure("--set", "mqtt.connect_timeout=2", "--set", "tls.handshakes_max=4") as keel:
        idle = [socket.create_connection(("127.0.0.1", tls_port(keel))) for _ in range(12)]
        with Client(keel, "plain") as p:
            p.until_ping()
        with TlsClient(keel, "after", timeout=30) as c:
            c.until_ping()
        for s in idle:
            s.close()


def test_wrong_files_are_named():
    for sets, word in ((["tls.cert=/nowhere.crt", "tls.key=/nowhere.key"], "/nowhere.crt"), ([], "tls.cert"),
                       ([f"tls.cert={certs()}/server.crt", f"tls.key={certs()}/alice.key"], "alice.key")):
        args = [a for s in sets for a in ("--set", s)]
        done = harness.run(harness.BUILD / "keel-broker", "--mqtts", "127.0.0.1:0", *args)
        assert done.returncode not in (0, -6, -11) and word in done.stderr, done.stderr


def test_paho_python_over_tls():
    import paho.mqtt.client as paho
    with secure() as keel:
        got, ready = [], threading.Event()
        c = paho.Client(client_id="paho-tls")
        c.tls_set(ca_certs=str(certs() / "authority.crt"))
        c.on_connect = lambda cl, u, f, rc: cl.subscribe("p/#", 1)
        c.on_subscribe = lambda *a: ready.set()
        c.on_message = lambda cl, u, m: got.append(m.payload)
        c.connect("127.0.0.1", tls_port(keel))
        c.loop_start()
        assert ready.wait(10)
        for n in range(100):
            c.publish("p/x", b"%d" % n, 1)
        await_true(lambda: len(got) == 100, "all arrive")
        assert got == [b"%d" % n for n in range(100)]
        c.disconnect(), c.loop_stop()


def test_the_name_in_a_certificate_is_the_user():
    c = certs()
    with secure("--set", "tls.client_cert=optional", "--set", f"tls.ca={c}/authority.crt", "--set", "tls.user_name=cn", "--set", "auth.anonymous=false",
                "--set", "auth.chain=cert") as keel:
        with TlsClient(keel, "a", certificate="alice") as a:
            a.until_ping()
        for tls in (True, False):
            target = TlsClient(keel, "b", open=False) if tls else Client(keel, "b", open=False)
            target.send(connect("b"))
            assert target.expect(CONNACK).reason in (0x86, 0x87), "who shows no certificate is nobody"
            target.close()
