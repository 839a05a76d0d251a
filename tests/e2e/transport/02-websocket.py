"""MQTT over WebSocket with a raw client, for what no library would send (03-clients.py has the libraries). RFC 6455; MQTT 5.0, 6."""
import os
import socket
import ssl
import struct

import harness
from harness import Keel, await_true
from rawmqtt import *
from tls import certs

BINARY, TEXT, CLOSE, PING, PONG = 2, 1, 8, 9, 10


def webbed(*more):
    return Keel("--ws", "127.0.0.1:0", *more)


def server():
    return webbed()


def ws_port(keel):
    return int(harness.fields(keel.process.line)["ws"].rsplit(":", 1)[1])


def request(path="/mqtt", protocol="mqtt", key="dGhlIHNhbXBsZSBub25jZQ==", version="13", upgrade="websocket", method="GET", more=""):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Upgrade: {upgrade}", "Connection: keep-alive, Upgrade", f"Sec-WebSocket-Key: {key}",
             f"Sec-WebSocket-Version: {version}"]
    if protocol:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    return ("\r\n".join(lines) + "\r\n" + more + "\r\n").encode()


def frame(opcode, payload=b"", fin=True, mask=True, rsv=0):
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    size = len(payload)
    bit = 0x80 if mask else 0
    head += bytes([bit | size]) if size < 126 else bytes([bit | 126]) + struct.pack(">H", size) if size < 65536 else bytes([bit | 127]) + struct.pack(">Q", size)
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(b ^ key[i % 4] for i, b in enumerate(payload))


class Web:
    """A socket that carries MQTT in frames; control frames are kept apart."""

    def __init__(self, sock, piece=None):
        self.sock, self.buffer, self.control, self.piece = sock, b"", [], piece
        sock.sendall(request())
        head = b""
        while b"\r\n\r\n" not in head:
            got = sock.recv(4096)
            assert got, "closed during the upgrade"
            head += got
        head, self.buffer = head.split(b"\r\n\r\n", 1)
        self.head = head.decode()
        assert self.head.startswith("HTTP/1.1 101"), self.head

    def settimeout(self, t):
        self.sock.settimeout(t)

    def sendall(self, data):
        if self.piece is None:
            return self.sock.sendall(frame(BINARY, data))
        parts = [data[i:i + self.piece] for i in range(0, len(data), self.piece)]
        for i, part in enumerate(parts):
            self.sock.sendall(frame(BINARY if i == 0 else 0, part, fin=i == len(parts) - 1))
            self.sock.sendall(frame(PING, b"between"))  # control frames may stand between fragments

    def _frame(self):
        if len(self.buffer) < 2:
            return None
        size, at = self.buffer[1] & 127, 2
        assert not self.buffer[1] & 128, "a frame of the server must not be masked"
        if size == 126:
            size, at = struct.unpack(">H", self.buffer[2:4])[0] if len(self.buffer) >= 4 else 1 << 40, 4
        elif size == 127:
            size, at = struct.unpack(">Q", self.buffer[2:10])[0] if len(self.buffer) >= 10 else 1 << 40, 10
        if len(self.buffer) < at + size:
            return None
        opcode, payload = self.buffer[0] & 15, self.buffer[at:at + size]
        assert self.buffer[0] & 0x70 == 0
        self.buffer = self.buffer[at + size:]
        return opcode, payload

    def recv(self, _size=0):
        while True:
            got = self._frame()
            if got and got[0] in (BINARY, 0):
                return got[1]
            if got:
                self.control.append(got)
                if got[0] == CLOSE:
                    return b""
                continue
            data = self.sock.recv(65536)
            if not data:
                return b""
            self.buffer += data

    def close(self):
        self.sock.close()


class WebClient(Client):
    def __init__(self, keel, client_id="", piece=None, **more):
        self.piece = piece
        super().__init__(type("Target", (), {"host": "127.0.0.1", "port": ws_port(keel)})(), client_id, **more)

    def wrap(self, sock):
        return Web(sock, self.piece)


def answer(keel, data):
    """All that the server says to this, until it closes."""
    with socket.create_connection(("127.0.0.1", ws_port(keel)), 10) as s:
        s.sendall(data)
        s.settimeout(10)
        out = b""
        while True:
            got = s.recv(4096)
            if not got:
                return out.decode()
            out += got


def test_the_upgrade_is_answered_as_rfc_6455_says(keel):
    with WebClient(keel, "a") as c:
        lines = c.sock.head.split("\r\n")
        assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in lines, lines
        assert "Sec-WebSocket-Protocol: mqtt" in lines


def test_bad_requests_get_their_status(keel):
    for data, status in ((request(path="/other"), 404), (request(protocol=None), 400), (request(protocol="mqttv3.1"), 400), (request(key="short"), 400),
                         (request(version="8"), 426), (request(upgrade="h2c"), 426), (request(method="POST", more="Content-Length: 0\r\n"), 405),
                         (b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x03abc", 400), (request(more="X: " + "y" * 9000 + "\r\n"), 431)):
        got = answer(keel, data)
        assert got.startswith(f"HTTP/1.1 {status} "), (data[:40], got)
    with WebClient(keel, "fine") as c:
        c.until_ping()


def test_a_list_of_subprotocols_and_a_query_are_understood(keel):
    with socket.create_connection(("127.0.0.1", ws_port(keel)), 10) as s:
        s.sendall(request(path="/mqtt?token=1", protocol="mqttv3.1, mqtt"))
        assert s.recv(4096).startswith(b"HTTP/1.1 101")


def test_messages_of_all_sizes_pass_in_both_directions(keel):
    with WebClient(keel, "w") as w, Client(keel, "t") as t:
        w.subscribe("to-web", 2), t.subscribe("to-tcp", 2)
        for size in (0, 1, 100, 125, 126, 127, 1000, 65000, 65535, 65536, 70000, 500000):
            body = os.urandom(size)
            t.publish("to-web", body, 2)
            assert w.message().payload == body, size
            w.publish("to-tcp", body, 1)
            assert t.message().payload == body, size


def test_packets_need_not_begin_or_end_with_frames(keel):
    with WebClient(keel, "fragments", piece=3) as c:
        c.subscribe("f", 1)
        c.publish("f", b"x" * 50, 1)
        assert c.message().payload == b"x" * 50
        c.until_ping()
        assert (PONG, b"between") in c.sock.control, c.sock.control
    with WebClient(keel, "together") as c:
        c.send(subscribe([("g", 1)], id=7) + publish("g", b"1") + publish("g", b"2"))
        got = [c.recv() for _ in range(3)]  # the messages may come before the SUBACK
        assert [p.payload for p in got if p.kind == PUBLISH] == [b"1", b"2"]


def test_each_packet_to_the_client_is_a_frame_of_its_own(keel):
    """The standard asks less; there are clients that take one packet out of a frame and lose the rest."""
    with WebClient(keel, "own") as c, Client(keel, "own-pub") as pub:
        c.subscribe("own/#", 1)
        c.send(b"".join(publish("own/x", os.urandom(n), 1, id=n + 1) + packet(PINGREQ, 0, b"") for n in range(100)))
        pub.publish("own/large", os.urandom(900000), 1)
        kinds = {PUBLISH: 101, PUBACK: 100, PINGRESP: 100}
        while any(kinds.values()):
            if (found := c._next()) is None:
                assert c.buffer == b"", "a frame ended inside of a packet"
                c.buffer = c.sock.recv()
                found = c._next()
                assert found is not None and c.buffer == b"", "a frame is not one packet"
            kinds[found.kind] -= 1


def test_frames_that_are_forbidden_end_the_connection(keel):
    for data, code in ((frame(TEXT, b"hello"), 1003), (frame(BINARY, b"\xc0\x00", mask=False), 1002), (frame(BINARY, b"\xc0\x00", rsv=4), 1002),
                       (frame(0, b"\xc0\x00"), 1002), (frame(3, b""), 1002), (frame(PING, b"x", fin=False), 1002),
                       (frame(BINARY, b"\xc0", fin=False) + frame(BINARY, b"\x00"), 1002)):
        with WebClient(keel, "bad") as c:
            c.sock.sock.sendall(data)
            c.expect_closed()
            assert (CLOSE, struct.pack(">H", code)) in c.sock.control, (data, c.sock.control)


def test_ping_is_answered_and_close_is_returned(keel):
    with WebClient(keel, "p") as c:
        c.sock.sock.sendall(frame(PING, b"are you there"))
        c.until_ping()
        assert (PONG, b"are you there") in c.sock.control
        c.sock.sock.sendall(frame(CLOSE, struct.pack(">H", 1000)))
        c.expect_closed()
        assert (CLOSE, struct.pack(">H", 1000)) in c.sock.control


def test_a_close_that_rfc_6455_forbids_is_answered_as_a_protocol_error(keel):
    def code(n):
        return struct.pack(">H", n)
    for payload, answer in ((b"", 1000), (code(1001) + b"away", 1001), (code(1014), 1014), (code(3000), 3000), (code(4999) + "grüße".encode(), 4999),
                            (b"\x03", 1002), (code(0), 1002), (code(999), 1002), (code(1004), 1002), (code(1005), 1002), (code(1006), 1002),
                            (code(1015), 1002), (code(1016), 1002), (code(2999), 1002), (code(5000), 1002), (code(65535), 1002),
                            (code(1000) + b"\xc3", 1007), (code(1000) + b"\xed\xa0\x80", 1007)):
        with WebClient(keel, "close") as c:
            c.sock.sock.sendall(frame(CLOSE, payload))
            c.expect_closed()
            assert [each for each in c.sock.control if each[0] == CLOSE] == [(CLOSE, code(answer))], (payload, c.sock.control)


def test_disconnect_reasons_reach_the_client_before_the_close(keel):
    with WebClient(keel, "same") as old:
        with WebClient(keel, "same"):
            old.expect_closed(0x8E)
            assert any(opcode == CLOSE for opcode, _ in old.sock.control)


def test_the_will_is_published_when_the_websocket_breaks(keel):
    with Client(keel, "watch") as w:
        w.subscribe("will", 1)
        c = WebClient(keel, "dies", will=dict(topic="will", payload=b"gone", qos=1))
        c.sock.sock.close()
        assert w.message().payload == b"gone"


def test_websocket_over_tls():
    c = certs()
    with Keel("--wss", "127.0.0.1:0", "--set", f"tls.cert={c}/server.crt", "--set", f"tls.key={c}/server.key") as keel:
        port = int(harness.fields(keel.process.line)["wss"].rsplit(":", 1)[1])

        class Both(Client):
            def wrap(self, sock):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.load_verify_locations(c / "authority.crt")
                return Web(context.wrap_socket(sock, server_hostname="localhost"), None)
        target = type("Target", (), {"host": "127.0.0.1", "port": port})()
        with Both(target, "a") as a, Both(target, "b") as b:
            a.subscribe("both", 1)
            for size in (10, 70000, 300000):
                body = os.urandom(size)
                b.publish("both", body, 1)
                assert a.message().payload == body
            a.disconnect(0)
            a.expect_closed()


def test_connections_are_counted_by_their_transport():
    c = certs()
    with Keel("--mqtts", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--wss", "127.0.0.1:0", "--set", f"tls.cert={c}/server.crt", "--set",
              f"tls.key={c}/server.key") as keel:
        ready = harness.fields(keel.process.line)
        sockets = [socket.create_connection(harness.split(ready[name]), 10) for name, times in (("mqtt", 1), ("mqtts", 2), ("ws", 3), ("wss", 4))
                   for _ in range(times)]

        def counted():
            return [keel.metric(f"keel_connections_{name}_total") for name in ("tcp", "tls", "ws", "wss")]
        await_true(lambda: counted() == [1, 2, 3, 4], "each is counted")
        assert keel.metric("keel_connections_total") == 10
        for s in sockets:
            s.close()
        for port in (ready["ws"], ready["wss"]):  # and what ends them before they are open
            with socket.create_connection(harness.split(port), 10) as s:
                s.sendall(b"nonsense\r\n\r\n")
        await_true(lambda: keel.metric("keel_transport_faults_total") == 2, "both are faults")
        assert counted() == [1, 2, 4, 5] and keel.metric("keel_tls_handshakes_total") == 0
