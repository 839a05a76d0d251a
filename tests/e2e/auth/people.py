"""people - what the tests of this folder share: `keel ctl` against a running server, and CONNECTs that are refused."""
import harness
from rawmqtt import *

FAST = ["--set", "auth.argon2_memory=64", "--set", "auth.argon2_passes=1", "--set", "auth.scram_iterations=4096"]


def ctl(server, *words, input=None, ok=True, flags=()):
    done = harness.run(harness.BUILD / "keel", "ctl", *words, "--admin", server.admin, *FAST, *flags, input=input)
    assert (done.returncode == 0) == ok, f"keel ctl {words}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stdout if ok else done.stderr


def passwd(server, name, password, *more):
    ctl(server, "passwd", name, "--password-file", "stdin", *more, input=password + "\n")


def refused(server, client_id="refused", version=5, **more):
    """The reason code of a CONNACK that does not let the client in."""
    with Client(server, open=False, version=version) as c:
        c.send(connect(client_id, version, **more))
        code = c.expect(CONNACK).reason
        assert code != 0, "it was let in"
        c.expect_closed()
        return code


def allow(server, *rule):
    return int(ctl(server, "acl", "add", *rule))
