"""A bridge over TLS: whom it trusts, what it shows, and what it says when it does not come through."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import harness
import tls
from harness import await_true
from rawmqtt import *


def ctl(server, *words):
    return harness.run(harness.BUILD / "keel", "ctl", "bridge", *words, "--admin", server.admin)


def create(server, name, port, *more):
    done = ctl(server, "create", name, "--address", f"127.0.0.1:{port}", "--topic", 'tls/# both 2', *more)
    assert done.returncode == 0, done


def info(server, name):
    done = ctl(server, "info", name)
    assert done.returncode == 0, done
    return done.stdout


def file(name):
    return f"{tls.certs()}/{name}"


def secure(*more, certificate="server"):
    """A mosquitto that speaks TLS; harness cannot ask it in plain, so it is awaited by its port alone."""
    return harness.Mosquitto(f"certfile {file(certificate + '.crt')}", f"keyfile {file(certificate + '.key')}", *more)



def client_context(certificate=None):
    import ssl
    context = ssl.create_default_context(cafile=file("authority.crt"))
    if certificate:
        context.load_cert_chain(file(certificate + ".crt"), file(certificate + ".key"))
    return context


class Over(Client):
    def wrap(self, sock):
        return client_context("alice").wrap_socket(sock, server_hostname="localhost")


def crosses(server, name, other):
    await_true(lambda: "state: up" in info(server, name), f"{info(server, name)}\n{server.log()[-1500:]}", 20)
    with Client(server, f"here-{name}") as here, Over(other, f"there-{name}") as there:
        there.subscribe("tls/#", 2)
        here.subscribe("tls/#", 2)
        for n in range(50):
            here.publish("tls/out", b"%d" % n + b"x" * 3000, n % 3)
        out = [there.message() for _ in range(50)]
        assert sorted(int(m.payload.rstrip(b"x")) for m in out) == list(range(50))
        here.messages(50)
        there.publish("tls/in", b"back", 2)
        assert here.message().payload == b"back"


def test_messages_cross_both_ways(server):
    with secure() as other:
        create(server, "tls-plain", other.port, "--tls", "--tls-ca", file("authority.crt"))
        crosses(server, "tls-plain", other)
        ctl(server, "delete", "tls-plain")


def test_it_shows_its_certificate_when_asked(server):
    with secure("require_certificate true", f"cafile {file('authority.crt')}") as other:
        create(server, "tls-none", other.port, "--tls", "--tls-ca", file("authority.crt"))
        create(server, "tls-mutual", other.port, "--tls", "--tls-ca", file("authority.crt"), "--tls-cert", file("alice.crt"), "--tls-key", file("alice.key"))
        crosses(server, "tls-mutual", other)
        assert "state: up" not in info(server, "tls-none"), "it has nothing to show"
        ctl(server, "delete", "tls-none")
        ctl(server, "delete", "tls-mutual")


def test_a_certificate_that_is_not_trusted_or_of_another_host_is_refused_and_said(server):
    for certificate, ca, said in (("server", "stranger.crt", "certificate"), ("alice", "authority.crt", "mismatch")):
        with secure(certificate=certificate) as other:
            create(server, "tls-wrong", other.port, "--tls", "--tls-ca", file(ca))
            await_true(lambda: said in info(server, "tls-wrong"), f"{info(server, 'tls-wrong')}\n{server.log()[-800:]}", 20)
            assert "state: up" not in info(server, "tls-wrong")
            ctl(server, "delete", "tls-wrong")


def test_a_file_that_is_not_there_is_named(server):
    with secure() as other:
        create(server, "tls-file", other.port, "--tls", "--tls-ca", "/no/such/ca.pem")
        await_true(lambda: "/no/such/ca.pem" in info(server, "tls-file"), info(server, "tls-file"), 20)
        ctl(server, "delete", "tls-file")


def test_what_does_not_speak_tls_is_said(server):
    with harness.Mosquitto() as other:
        create(server, "tls-plain-there", other.port, "--tls", "--tls-ca", file("authority.crt"))
        await_true(lambda: "reason" in info(server, "tls-plain-there"), info(server, "tls-plain-there"), 20)
        assert "state: up" not in info(server, "tls-plain-there")
        ctl(server, "delete", "tls-plain-there")


def test_flags_that_do_not_fit_together_are_refused(server):
    for more, said in ((("--tls-ca", "x"), "need tls=yes"), (("--tls", "--tls-cert", "x"), "come together")):
        done = ctl(server, "create", "tls-flags", "--address", "127.0.0.1:1", "--topic", "x", *more)
        assert done.returncode != 0 and said in done.stderr, done
