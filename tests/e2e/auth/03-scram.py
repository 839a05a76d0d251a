"""Enhanced authentication: SCRAM-SHA-256 in AUTH packets, before CONNACK and again while connected. [MQTT-4.12, RFC 5802, RFC 7677]"""
import base64
import hashlib
import hmac
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import harness
from people import *

METHOD = "SCRAM-SHA-256"


class Scram:
    """The client's side."""

    def __init__(self, user, password, header="n,,"):
        self.password, self.header = password, header
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r=fyko+d2lbbFgONRv9qkxdawL"
        self.first = (header + self.bare).encode()

    def final(self, challenge, nonce=None, binding=None):
        parts = dict(p.split("=", 1) for p in challenge.decode().split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        client = hmac.digest(salted, b"Client Key", "sha256")
        bare = f"c={base64.b64encode((binding or self.header).encode()).decode()},r={nonce or parts['r']}"
        message = f"{self.bare},{challenge.decode()},{bare}".encode()
        proof = bytes(a ^ b for a, b in zip(client, hmac.digest(hashlib.sha256(client).digest(), message, "sha256")))
        self.signature = base64.b64encode(hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")).decode()
        return f"{bare},p={base64.b64encode(proof).decode()}".encode()


def auth(reason, data=None, method=METHOD):
    props = ([("auth_method", method)] if method else []) + ([("auth_data", data)] if data is not None else [])
    return packet(AUTH, 0, bytes([reason]) + properties(props))


def start(server, scram, client_id="scram", **more):
    c = Client(server, client_id, open=False)
    c.send(connect(client_id, 5, props={"auth_method": METHOD, "auth_data": scram.first}, **more))
    return c


def login(server, name, password, client_id="scram", **more):
    scram = Scram(name, password)
    c = start(server, scram, client_id, **more)
    challenge = c.expect(AUTH, reason=0x18)
    assert challenge.props["auth_method"] == METHOD
    c.send(auth(0x18, scram.final(challenge.props["auth_data"])))
    connack = c.expect(CONNACK)
    if connack.reason == 0:
        assert connack.props["auth_method"] == METHOD
        assert connack.props["auth_data"] == f"v={scram.signature}".encode()
    return c, connack.reason


def test_a_proof_lets_in_and_the_server_proves_itself(server):
    passwd(server, "user", "pencil")
    allow(server, "deny user user publish forbidden")
    c, reason = login(server, "user", "pencil")
    assert reason == 0
    c.publish("free", b"", 1)
    c.publish("forbidden", b"", 1, reason=0x87)
    c.close()


def test_a_wrong_password_and_a_name_of_nobody_look_alike(server):
    passwd(server, "user", "pencil")
    for user, password in (("user", "pen"), ("nobody", "pencil")):
        c, reason = login(server, user, password)
        assert reason == 0x86, hex(reason)
        c.expect_closed()
    salts = []
    for _ in range(2):
        c = start(server, Scram("nobody", "x"))
        salts.append(c.expect(AUTH).props["auth_data"].split(b",")[1])
        c.close()
    assert salts[0] == salts[1], "the salt of a name that nobody has stays the same"


def test_names_with_commas_and_beyond_ascii(server):
    for name in ("a,b=c", "Zoë"):
        passwd(server, name, "pâss")
        c, reason = login(server, name, "pâss")
        assert reason == 0
        c.close()


def test_the_client_may_let_the_server_begin(server):
    passwd(server, "user", "pencil")
    scram = Scram("user", "pencil")
    with Client(server, open=False) as c:
        c.send(connect("scram-empty", 5, props={"auth_method": METHOD}))
        turn = c.expect(AUTH, reason=0x18)
        assert "auth_data" not in turn.props
        c.send(auth(0x18, scram.first))
        c.send(auth(0x18, scram.final(c.expect(AUTH).props["auth_data"])))
        assert c.expect(CONNACK).reason == 0


def test_what_does_not_follow_the_rfc_is_refused(server):
    passwd(server, "user", "pencil")
    for first in (b"p=tls-unique,,n=user,r=abc", b"n,,n=user", b"n,,r=abc,n=user", b"n,,m=x,n=user,r=abc", b"x,,n=user,r=abc", b"n,a=admin,n=user,r=abc",
                  b"n,,n=us=ser,r=abc", b"n,,n=,r=abc", b"n,,n=us\x07er,r=abc", b"n,,n=user,r=a\x7fc", b"", b"n,,n=user,r=" + b"a" * 2000):
        with Client(server, open=False) as c:
            c.send(connect("scram-bad", 5, props={"auth_method": METHOD, "auth_data": first}))
            assert c.expect(CONNACK).reason in (0x86, 0x87), first
            c.expect_closed()
    scram = Scram("user", "pencil")
    for change in ({"nonce": "other"}, {"binding": "y,,"}):
        c = start(server, scram)
        c.send(auth(0x18, scram.final(c.expect(AUTH).props["auth_data"], **change)))
        assert c.expect(CONNACK).reason == 0x86
        c.expect_closed()


def test_y_says_that_the_client_could_bind_channels(server):
    passwd(server, "user", "pencil")
    scram = Scram("user", "pencil", "y,,")
    with start(server, scram) as c:
        c.send(auth(0x18, scram.final(c.expect(AUTH).props["auth_data"])))
        assert c.expect(CONNACK).reason == 0


def test_only_auth_and_disconnect_come_before_connack(server):
    for data, ends in ((publish("a", b""), True), (packet(PINGREQ, 0, b""), True), (auth(0x19, b"n,,n=user,r=abc"), True), (auth(0x18, b"x", "OTHER"), True)):
        c = start(server, Scram("user", "pencil"))
        c.expect(AUTH)
        c.send(data)
        got = c.recv()
        assert got is None or (got.kind == CONNACK and got.reason >= 0x80), got
        c.expect_closed()
    c = start(server, Scram("user", "pencil"))
    c.expect(AUTH)
    c.send(disconnect())
    c.expect_closed()


def test_another_method_is_refused(server):
    assert refused(server, props={"auth_method": "GS2-KRB5"}) == 0x8C
    assert refused(server, props={"auth_method": ""}) == 0x8C


def test_it_must_be_said_within_the_time_allowed():
    with harness.Keel("--set", "mqtt.connect_timeout=1") as server:
        c = start(server, Scram("user", "pencil"))
        c.expect(AUTH)
        started = time.monotonic()
        assert c.expect(CONNACK).reason == 0x87
        c.expect_closed()
        assert 0.2 < time.monotonic() - started < 5


def test_re_authentication_while_messages_flow(server):
    passwd(server, "user", "pencil")
    c, _ = login(server, "user", "pencil", "scram-again")
    for _ in range(2):
        scram = Scram("user", "pencil")
        c.send(auth(0x19, scram.first))
        c.publish_id = c.id()
        c.send(publish("between", b"", 1, id=c.publish_id))
        challenge = c.expect(AUTH, reason=0x18)
        c.expect(PUBACK)
        c.send(auth(0x18, scram.final(challenge.props["auth_data"])))
        done = c.expect(AUTH, reason=0)
        assert done.props["auth_method"] == METHOD and done.props["auth_data"] == f"v={scram.signature}".encode()
    c.close()


def test_re_authentication_that_fails_ends_the_connection(server):
    passwd(server, "user", "pencil")
    passwd(server, "other", "pencil")
    for user, password in (("user", "wrong"), ("other", "pencil")):
        c, _ = login(server, "user", "pencil", "scram-fail")
        scram = Scram(user, password)
        c.send(auth(0x19, scram.first))
        c.send(auth(0x18, scram.final(c.expect(AUTH).props["auth_data"])))
        c.expect_closed(0x87)


def test_auth_out_of_turn_is_a_protocol_error(server):
    passwd(server, "user", "pencil")
    for data in (auth(0x18, b"x"), auth(0x19, b"n,,n=user,r=abc", "OTHER"), auth(0x19, b"n,,n=user,r=abc", None),
                 auth(0x19, b"n,,n=user,r=abc") + auth(0x19, b"n,,n=user,r=abc")):
        c, _ = login(server, "user", "pencil", "scram-turn")
        c.send(data)
        c.expect_closed(0x82)
    with Client(server, "no-method") as c:
        c.send(auth(0x19, b"n,,n=user,r=abc"))
        c.expect_closed({0x82, 0x8C})


def test_a_user_name_in_connect_must_be_the_same(server):
    passwd(server, "user", "pencil")
    c, reason = login(server, "user", "pencil", user="user")
    assert reason == 0
    c.close()
    with start(server, Scram("user", "pencil"), user="admin") as c:
        assert c.expect(CONNACK).reason == 0x86


def test_the_will_is_looked_at_after_the_exchange(server):
    passwd(server, "user", "pencil")
    number = allow(server, "deny user user publish wills/x")
    c, reason = login(server, "user", "pencil", will={"topic": "wills/x", "payload": b"w"})
    assert reason == 0x87
    c, reason = login(server, "user", "pencil", will={"topic": "wills/y", "payload": b"w"})
    assert reason == 0
    c.close()
    ctl(server, "acl", "remove", str(number))
