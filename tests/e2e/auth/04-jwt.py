"""Tokens in place of passwords: HS, RS and ES, keys from a secret, PEM and JWKS; their times, names and rules."""
import base64
import hashlib
import hmac
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import harness
from people import *

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

SECRET = b"a secret of thirty-two characters"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size):
    return b64(value.to_bytes(size, "big"))


class Keys:
    rsa = rsa.generate_private_key(65537, 2048)
    p256 = ec.generate_private_key(ec.SECP256R1())
    p384 = ec.generate_private_key(ec.SECP384R1())

    @classmethod
    def pem(cls):
        return b"".join(k.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo) for k in (cls.rsa, cls.p256))

    @classmethod
    def jwks(cls):
        n = cls.rsa.public_key().public_numbers()
        e = cls.p256.public_key().public_numbers()
        o = cls.p384.public_key().public_numbers()
        return json.dumps({"keys": [
            {"kty": "RSA", "kid": "r", "use": "sig", "n": number(n.n, 256), "e": number(n.e, 3)},
            {"kty": "EC", "kid": "e", "crv": "P-256", "x": number(e.x, 32), "y": number(e.y, 32)},
            {"kty": "EC", "kid": "o", "crv": "P-384", "x": number(o.x, 48), "y": number(o.y, 48)},
            {"kty": "oct", "kid": "s", "k": b64(SECRET)},
            {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}]}).encode()


def token(claims, alg="HS256", key=None, **header):
    text = b64(json.dumps({"alg": alg, "typ": "JWT", **header}).encode()) + "." + b64(json.dumps(claims).encode())
    if alg == "HS256":
        signature = hmac.digest(key or SECRET, text.encode(), "sha256")
    elif alg == "RS256":
        signature = (key or Keys.rsa).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    elif alg in ("ES256", "ES384"):
        size = 32 if alg == "ES256" else 48
        r, s = decode_dss_signature((key or (Keys.p256 if size == 32 else Keys.p384)).sign(text.encode(), ec.ECDSA(hashes.SHA256() if size == 32 else hashes.SHA384())))
        signature = r.to_bytes(size, "big") + s.to_bytes(size, "big")
    else:
        signature = b""
    return text + "." + b64(signature)


class WithKeys:
    """A server that takes tokens of a key file and a secret."""

    def __init__(self, file, *more):
        self.dir = pathlib.Path(harness.tempfile.mkdtemp(prefix="keel-e2e-"))
        (self.dir / "keys").write_bytes(file)
        self.server = harness.Keel("--set", f"auth.jwt_secret={SECRET.decode()}", "--set", f"auth.jwt_key_file={self.dir / 'keys'}", *more)

    def __enter__(self):
        return self.server

    def __exit__(self, *_):
        self.server.close()
        harness.shutil.rmtree(self.dir)


def now(after=0):
    return int(time.time()) + after


def test_every_kind_of_signature_lets_in():
    with WithKeys(Keys.pem()) as server:
        for alg in ("HS256", "RS256", "ES256"):
            Client(server, "jwt", user="dev", password=token({"sub": "dev", "exp": now(60)}, alg)).close()
            Client(server, "jwt", password=token({"sub": "dev"}, alg)).close()
            changed = token({"sub": "dev"}, alg)[:-4] + "AAAA"
            assert refused(server, password=changed) == 0x86
            head, body, signature = token({"sub": "dev"}, alg).split(".")
            assert refused(server, password=f"{head}.{b64(b'{}')}.{signature}") == 0x86


def test_a_public_key_is_not_a_secret_and_none_is_no_signature():
    with WithKeys(Keys.pem()) as server:
        pem = Keys.rsa.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        for key in (pem, pem.strip(), Keys.pem()):
            assert refused(server, password=token({"sub": "dev"}, "HS256", key)) == 0x86
        assert refused(server, password=token({"sub": "dev"}, "none")) == 0x86
        assert refused(server, password=token({"sub": "dev"}, "none").rstrip(".") + ".") == 0x86
        assert refused(server, password=token({"sub": "dev"}, "ES384")) == 0x86
        assert refused(server, password="eyJ.eyJ.x") == 0x86


def test_keys_of_a_jwks_are_chosen_by_kind_and_kid():
    with WithKeys(Keys.jwks()) as server:
        for alg, kid in (("RS256", "r"), ("ES256", "e"), ("ES384", "o"), ("HS256", "s")):
            Client(server, "jwks", password=token({"sub": "dev"}, alg, kid=kid)).close()
            Client(server, "jwks", password=token({"sub": "dev"}, alg)).close()
        assert refused(server, password=token({"sub": "dev"}, "RS256", kid="z")) == 0x86


def test_times_issuer_and_audience():
    with WithKeys(Keys.pem(), "--set", "auth.jwt_issuer=home", "--set", "auth.jwt_audience=keel") as server:
        good = {"sub": "dev", "iss": "home", "aud": ["other", "keel"], "exp": now(60), "nbf": now(-60)}
        Client(server, "jwt", password=token(good)).close()
        Client(server, "jwt", password=token({**good, "aud": "keel"})).close()
        for wrong in ({"exp": now(-1)}, {"exp": "soon"}, {"nbf": now(60)}, {"iss": "away"}, {"aud": "other"}, {"aud": ["other"]}, {"sub": 7}, {"sub": ""}):
            assert refused(server, password=token({**good, **wrong})) == 0x86, wrong
        assert "expired" in server.log(), "why is told once per client and second"


def test_names_are_bound():
    with WithKeys(Keys.pem()) as server:
        assert refused(server, user="admin", password=token({"sub": "dev"})) == 0x86
        assert refused(server, "c-2", password=token({"sub": "dev", "client_id": "c-1"})) == 0x86
        Client(server, "c-1", user="dev", password=token({"sub": "dev", "client_id": "c-1"})).close()


def test_a_client_is_disconnected_when_its_token_expires():
    with WithKeys(Keys.pem()) as server:
        with Client(server, "short", password=token({"sub": "dev", "exp": now(2)})) as c:
            started = time.monotonic()
            c.expect_closed(0x87)
            assert time.monotonic() - started < 4
    with WithKeys(Keys.pem(), "--set", "auth.jwt_disconnect=false") as server:
        with Client(server, "short", password=token({"sub": "dev", "exp": now(1)})) as c:
            time.sleep(1.5)
            c.publish("t", b"", 1)


def test_rules_of_a_token():
    with WithKeys(Keys.pem()) as server:
        with Client(server, "r-1", password=token({"sub": "dev", "acl": ["allow all publish up/%u/%c", "deny all both #"]})) as c:
            c.publish("up/dev/r-1", b"", 1)
            c.publish("up/dev/r-2", b"", 1, reason=0x87)
        with Client(server, "r-2", password=token({"sub": "dev", "acl": {"pub": ["a", 'q"uote'], "sub": ["b/#"], "all": ["c"]}})) as c:
            for topic, code in (("a", None), ('q"uote', None), ("c", None), ("b/x", 0x87)):
                c.publish(topic, b"", 1, reason=code)
            assert c.subscribe(["b/+", "c", "a"]) == [0, 0, 0x87]
        allow(server, "deny group blocked publish t")
        with Client(server, "r-3", password=token({"sub": "dev", "groups": ["x", "blocked"]})) as c:
            c.publish("t", b"", 1, reason=0x87)
        assert refused(server, password=token({"sub": "dev", "acl": ["allow everything"]})) == 0x86


def test_passwords_work_beside_tokens():
    with WithKeys(Keys.pem()) as server:
        passwd(server, "alice", "wonderland")
        Client(server, "pw", user="alice", password="wonderland").close()
        Client(server, "tk", user="dev", password=token({"sub": "dev"})).close()
        assert refused(server, user="alice", password=token({"sub": "alice"})) == 0x86  # her password it is not; the chain asks for that first


def test_paho_with_a_token():
    import paho.mqtt.client as paho
    with WithKeys(Keys.pem()) as server:
        codes = []
        for password in (token({"sub": "dev"}, "ES256"), token({"sub": "dev", "exp": 5}, "ES256")):
            client = paho.Client("paho-jwt")
            client.username_pw_set("dev", password)
            client.on_connect = lambda c, data, flags, code: codes.append(code)
            client.connect(server.host, server.port)
            want = len(codes) + 1
            harness.await_true(lambda: client.loop(0.1) is None or len(codes) >= want, "CONNACK")
            client.disconnect()
        assert codes == [0, 4], codes


def test_a_key_file_without_keys_stops_the_start():
    dir = pathlib.Path(harness.tempfile.mkdtemp(prefix="keel-e2e-"))
    for text in ("nonsense", '{"keys": []}', '{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}', "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        (dir / "keys").write_text(text)
        done = harness.run(harness.BUILD / "keel-broker", "--set", f"auth.jwt_key_file={dir / 'keys'}")
        assert done.returncode == 2 and "keys:" in done.stderr and "JWKS" in done.stderr, (text, done.stderr)
    harness.shutil.rmtree(dir)


def test_keys_are_read_again_and_wrong_ones_change_nothing():
    def reload(server, status=0):
        done = harness.run(harness.BUILD / "keel", "ctl", "reload", "--admin", server.admin)
        assert done.returncode == status, done
        return done.stdout + done.stderr

    def lets_in(server, alg):
        with Client(server, open=False) as c:
            c.send(connect("jwt", user="dev", password=token({"sub": "dev"}, alg)))
            return c.expect(CONNACK).reason == 0
    only_secret = b'{"keys": [{"kty": "oct", "k": "' + base64.urlsafe_b64encode(b"another secret of some length") .rstrip(b"=") + b'"}]}'
    with_keys = WithKeys(Keys.pem())
    with with_keys as server, Client(server, "stays", user="dev", password=token({"sub": "dev"}, "RS256")) as stays:
        file = with_keys.dir / "keys"
        assert lets_in(server, "RS256")
        file.write_bytes(b"no keys at all")
        assert "auth.jwt_key_file" in reload(server, 1)
        assert lets_in(server, "RS256"), "what was read before counts still"
        file.write_bytes(only_secret)
        assert "read again" in reload(server)
        harness.await_true(lambda: not lets_in(server, "RS256"), "the key is gone")
        assert lets_in(server, "HS256"), "the secret of the settings is there"
        file.write_bytes(Keys.pem())
        reload(server)
        harness.await_true(lambda: lets_in(server, "RS256"), "and there again")
        stays.until_ping()
