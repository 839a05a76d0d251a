"""Somebody else's program decides, over HTTP: who is let in, and who may do what."""
import http.server
import json
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import harness
from people import *


class Hook:
    """A server whose answer(path, question) is (status, dict or None); it keeps what it was asked."""

    def __init__(self, answer):
        asked = self.asked = []
        tokens = self.tokens = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append((self.path, question))
                tokens.append(self.headers.get("Authorization"))
                status, body = answer(self.path, question)
                text = json.dumps(body).encode() if body is not None else b""
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                try:
                    self.wfile.write(text)
                except BrokenPipeError:
                    pass  # the broker gave it up, which is what some tests want

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def keel(self, *more, login=True, access=True):
        flags = ["--set", f"auth.http_url={self.url}/login"] if login else []
        flags += ["--set", f"acl.http_url={self.url}/access"] if access else []
        return harness.Keel(*flags, *more)

    def count(self, path):
        return sum(1 for p, _ in self.asked if p == path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def test_a_hook_lets_in_with_rights_of_its_own():
    def answer(path, q):
        if q.get("user_name") == "gone":
            return 403, None
        if q.get("user_name") == "plain":
            return 204, None
        if q.get("password") != "right":
            return 200, {"result": "deny"}
        return 200, {"result": "allow", "user_name": "known-as", "groups": ["g"], "acl": ["deny all publish own/no"]}

    with Hook(answer) as hook, hook.keel("--set", "hook.token=let me in", access=False) as server:
        allow(server, "deny user known-as publish rule/no")
        with Client(server, "hooked", user="u", password="right") as c:
            c.publish("own/no", b"", 1, reason=0x87)
            c.publish("rule/no", b"", 1, reason=0x87)
            c.publish("fine", b"", 1)
        assert refused(server, user="u", password="wrong") == 0x86
        assert refused(server, user="gone", password="right") == 0x86
        Client(server, "plain", user="plain").close()
        path, first = hook.asked[0]
        assert path == "/login" and first["client_id"] == "hooked" and first["user_name"] == "u" and first["password"] == "right"
        assert first["address"] == "127.0.0.1" and first["protocol_version"] == 5 and hook.tokens[0] == "Bearer let me in"


def test_a_hook_that_does_not_know_lets_the_chain_go_on():
    with Hook(lambda path, q: (200, {"result": "ignore"})) as hook, hook.keel(access=False) as server:
        Client(server, "anonymous").close()
        assert refused(server, user="u", password="p") == 0x86


def test_access_is_asked_for_and_remembered():
    def answer(path, q):
        if q["topic"] == "slow":
            time.sleep(0.5)
        return 200, {"result": "deny" if "no" in q["topic"] else "ignore" if q["topic"] == "default" else "allow"}

    with Hook(answer) as hook, hook.keel("--shards", "1", login=False) as server:
        allow(server, "deny all publish ruled")
        with Client(server, "asker") as c, Client(server, "bystander") as other:
            c.publish("yes", b"", 1)
            c.publish("no", b"", 1, reason=0x87)
            c.publish("no", b"", 2, reason=0x87)
            c.publish("default", b"", 1)
            asked = hook.count("/access")
            assert asked == 4, hook.asked
            for _ in range(3):
                c.publish("yes", b"", 1)
                c.publish("no", b"", 1, reason=0x87)
            c.publish("ruled", b"", 1, reason=0x87)
            assert hook.count("/access") == asked, "answers are remembered, and rules come first"
            assert c.subscribe(["a", "no/#", "b/+", "$share/g/no"], 1) == [1, 0x87, 1, 0x87]
            c.send(publish("slow", b"", 1, id=77) + publish("yes", b"", 1, id=78) + packet(PINGREQ, 0, b""))
            started = time.monotonic()
            other.until_ping()
            assert time.monotonic() - started < 0.3, "others do not wait"
            assert [c.expect(PUBACK).id for _ in range(2)] == [77, 78]
            c.expect(PINGRESP)
            path, q = next(a for a in hook.asked if a[1]["topic"] == "no/#")
            assert q["action"] == "subscribe" and q["client_id"] == "asker" and q["qos"] == 1
        assert refused(server, will={"topic": "no", "payload": b""}) == 0x87
        Client(server, "will-ok", will={"topic": "yes", "payload": b""}).close()


def test_without_a_cache_every_message_is_asked_for():
    with Hook(lambda path, q: (204, None)) as hook, hook.keel("--set", "hook.cache_ttl=0", login=False) as server:
        with Client(server, "uncached") as c:
            for _ in range(5):
                c.publish("t", b"", 1)
            assert hook.count("/access") == 5
            assert c.subscribe([f"f/{i}" for i in range(20)]) == [0] * 20
            c.send(b"".join(publish(f"t/{i}", b"", 1, id=i) for i in range(1, 21)))
            assert [c.expect(PUBACK).id for _ in range(20)] == list(range(1, 21))


def test_a_hook_that_is_down_denies_unless_told_otherwise():
    gone = f"http://127.0.0.1:{harness.free_port()}"
    with harness.Keel("--set", f"auth.http_url={gone}/login", "--set", f"acl.http_url={gone}/access") as server:
        assert refused(server, user="u", password="p") == 0x88
        assert refused(server, version=4, user="u", password="p") == 3
        assert "hook.down" in server.log()
    with harness.Keel("--set", f"acl.http_url={gone}/access") as server:
        with Client(server, "down") as c:
            c.publish("t", b"", 1, reason=0x87)
            assert c.subscribe("t") == [0x87]
    with harness.Keel("--set", f"auth.http_url={gone}/login", "--set", f"acl.http_url={gone}/access", "--set", "hook.down=ignore") as server:
        with Client(server, "down") as c:
            c.publish("t", b"", 1)
        assert refused(server, user="u", password="p") == 0x86


def test_a_hook_that_hangs_is_given_up():
    with Hook(lambda path, q: (time.sleep(3), (204, None))[1]) as hook, hook.keel("--set", "hook.timeout=300", access=False) as server:
        started = time.monotonic()
        assert refused(server, user="u", password="p") == 0x88
        assert time.monotonic() - started < 2
        with Client(server, open=False) as c:  # it goes away while it is asked for
            c.send(connect("leaver", user="u", password="p"))
    with Hook(lambda path, q: (500, {"result": "allow"})) as hook, hook.keel(access=False) as server:
        assert refused(server, user="u", password="p") == 0x88
    with Hook(lambda path, q: (200, {"result": "perhaps"})) as hook, hook.keel(access=False) as server:
        assert refused(server, user="u", password="p") == 0x88


def test_too_many_logins_wait():
    hold = threading.Event()

    def answer(path, q):
        hold.wait(20)
        return 204, None

    with Hook(answer) as hook, hook.keel("--set", "hook.waiting_max=2", "--set", "hook.timeout=20000", access=False) as server:
        waiting = [Client(server, open=False) for _ in range(2)]
        for i, c in enumerate(waiting):
            c.send(connect(f"hold-{i}", user="u", password="p"))
        harness.await_true(lambda: hook.count("/login") == 2, "both are asked about")
        assert refused(server, user="u", password="p") == 0x89
        hold.set()
        assert [c.expect(CONNACK).reason for c in waiting] == [0, 0]


def test_a_time_that_the_hook_gave_ends():
    with Hook(lambda path, q: (200, {"result": "allow", "expires_in": 1})) as hook, hook.keel(access=False) as server:
        with Client(server, "guest", user="guest", password="x") as c:
            c.expect_closed(0x87)
