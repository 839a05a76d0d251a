"""rawmqtt - an MQTT client that shows every byte: packets as they are, valid or not, nothing done behind the test's back.

    c = Client(server, "me", version=5, clean=True)       # CONNECT sent, CONNACK in c.connack
    c.send(publish("a/b", b"hello", qos=1, id=1))         # any bytes
    p = c.expect(PUBACK)                                  # the next packet, which must be of this type
    c.recv()                                              # the next packet, or None when the server closed

Waiting is always for something, with a deadline (TIMEOUT); nothing here sleeps.
"""
import socket
import struct
import time

from harness import patience

TIMEOUT = 10.0  # seconds, before harness.patience

(CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP,
 DISCONNECT, AUTH) = range(1, 16)
NAMES = ["?", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE",
         "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"]

# id: (name, kind)
PROPERTIES = {
    0x01: ("payload_format", "u8"), 0x02: ("message_expiry", "u32"), 0x03: ("content_type", "str"), 0x08: ("response_topic", "str"),
    0x09: ("correlation_data", "bin"), 0x0B: ("subscription_id", "var"), 0x11: ("session_expiry", "u32"), 0x12: ("assigned_id", "str"),
    0x13: ("server_keep_alive", "u16"), 0x15: ("auth_method", "str"), 0x16: ("auth_data", "bin"), 0x17: ("request_problem_info", "u8"),
    0x18: ("will_delay", "u32"), 0x19: ("request_response_info", "u8"), 0x1A: ("response_info", "str"), 0x1C: ("server_reference", "str"),
    0x1F: ("reason_string", "str"), 0x21: ("receive_max", "u16"), 0x22: ("topic_alias_max", "u16"), 0x23: ("topic_alias", "u16"),
    0x24: ("max_qos", "u8"), 0x25: ("retain_available", "u8"), 0x26: ("user", "pair"), 0x27: ("max_packet_size", "u32"),
    0x28: ("wildcard_available", "u8"), 0x29: ("subscription_id_available", "u8"), 0x2A: ("shared_available", "u8"),
}
IDS = {name: (number, kind) for number, (name, kind) in PROPERTIES.items()}


class Closed(AssertionError):
    """The server closed the connection where a packet was expected."""


def varint(value):
    out = bytearray()
    while True:
        byte, value = value % 128, value // 128
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack(">H", len(raw)) + raw


def one_property(name, value):
    number, kind = IDS[name]
    head = bytes([number])
    if kind == "u8":
        return head + bytes([value])
    if kind == "u16":
        return head + struct.pack(">H", value)
    if kind == "u32":
        return head + struct.pack(">I", value)
    if kind == "var":
        return head + varint(value)
    if kind == "pair":
        return head + text(value[0]) + text(value[1])
    return head + text(value)


def properties(props):
    """props: a dict, or a list of (name, value) where order or repetition matters. A list as a value repeats the property."""
    out = b""
    for name, value in (props.items() if isinstance(props, dict) else props or []):
        for each in value if isinstance(value, list) else [value]:
            out += one_property(name, each)
    return varint(len(out)) + out


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def connect(client_id="", version=5, clean=True, keep_alive=0, props=None, will=None, user=None, password=None, flags=None,
            name="MQTT", level=None):
    """will: dict of topic, payload, qos, retain, props."""
    bits = 2 if clean else 0
    body = b""
    if will is not None:
        bits |= 4 | will.get("qos", 0) << 3 | (0x20 if will.get("retain") else 0)
    bits |= (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    body += text(name) + bytes([level if level is not None else version, bits if flags is None else flags]) + struct.pack(">H", keep_alive)
    if version == 5:
        body += properties(props)
    body += text(client_id)
    if will is not None:
        if version == 5:
            body += properties(will.get("props"))
        body += text(will["topic"]) + text(will.get("payload", b""))
    if user is not None:
        body += text(user)
    if password is not None:
        body += text(password)
    return packet(CONNECT, 0, body)


def publish(topic, payload=b"", qos=0, retain=False, dup=False, id=0, props=None, version=5):
    body = text(topic)
    if qos:
        body += struct.pack(">H", id)
    if version == 5:
        body += properties(props)
    raw = payload if isinstance(payload, bytes) else payload.encode()
    return packet(PUBLISH, (8 if dup else 0) | qos << 1 | (1 if retain else 0), body + raw)


def ack(kind, id, reason=None, props=None):
    body = struct.pack(">H", id)
    if reason is not None or props is not None:
        body += bytes([reason or 0])
    if props is not None:
        body += properties(props)
    return packet(kind, 2 if kind == PUBREL else 0, body)


def subscribe(filters, id=1, props=None, version=5):
    """filters: list of (filter, options byte)."""
    body = struct.pack(">H", id)
    if version == 5:
        body += properties(props)
    for name, options in filters:
        body += text(name) + bytes([options])
    return packet(SUBSCRIBE, 2, body)


def unsubscribe(filters, id=1, props=None, version=5):
    body = struct.pack(">H", id)
    if version == 5:
        body += properties(props)
    for name in filters:
        body += text(name)
    return packet(UNSUBSCRIBE, 2, body)


def disconnect(reason=None, props=None, version=5):
    if version != 5 or (reason is None and props is None):
        return packet(DISCONNECT, 0, b"")
    return packet(DISCONNECT, 0, bytes([reason or 0]) + (properties(props) if props is not None else b""))


class Reader:
    """Takes a packet's body apart."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if self.at + size > len(self.data):
            raise AssertionError(f"the server's packet ends too early: {self.data.hex()}")
        self.at += size
        return self.data[self.at - size:self.at]

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack(">H", self.take(2))[0]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def var(self):
        value, shift = 0, 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                return value

    def bin(self):
        return self.take(self.u16())

    def str(self):
        return self.bin().decode()

    def pair(self):
        return self.str(), self.str()

    def rest(self):
        return self.take(len(self.data) - self.at)

    def more(self):
        return self.at < len(self.data)

    def properties(self):
        out, end = {}, 0
        size = self.var()
        end = self.at + size
        while self.at < end:
            name, kind = PROPERTIES[self.u8()]
            value = getattr(self, kind)()
            if name in ("user", "subscription_id"):
                out.setdefault(name, []).append(value)
            else:
                assert name not in out, f"the server repeats the property {name}"
                out[name] = value
        return out


class Packet:
    """What the server sent. Fields by type: topic payload qos retain dup id props; reason; codes; session_present."""

    def __init__(self, kind, flags, body, version):
        r = Reader(body)
        self.kind, self.flags, self.body = kind, flags, body
        self.props, self.reason, self.id, self.codes = {}, 0, 0, []
        self.size = 1 + len(varint(len(body))) + len(body)
        if kind == CONNACK:
            self.session_present = r.u8()
            self.reason = r.u8()
            if version == 5 and r.more():
                self.props = r.properties()
        elif kind == PUBLISH:
            self.dup, self.qos, self.retain = bool(flags & 8), flags >> 1 & 3, bool(flags & 1)
            self.topic = r.str()
            self.id = r.u16() if self.qos else 0
            if version == 5:
                self.props = r.properties()
            self.payload = r.rest()
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self.id = r.u16()
            self.reason = r.u8() if version == 5 and r.more() else 0
            self.props = r.properties() if version == 5 and r.more() else {}
        elif kind in (SUBACK, UNSUBACK):
            self.id = r.u16()
            if version == 5:
                self.props = r.properties()
            self.codes = list(r.rest())
        elif kind in (DISCONNECT, AUTH):
            self.reason = r.u8() if r.more() else 0
            self.props = r.properties() if r.more() else {}

    def __repr__(self):
        fields = {k: v for k, v in self.__dict__.items() if k not in ("kind", "flags", "body", "size")}
        return f"{NAMES[self.kind]} {fields}"


class Client:
    def __init__(self, server, client_id="", version=5, clean=True, keep_alive=0, props=None, will=None, open=True, timeout=TIMEOUT, **more):
        self.version, self.client_id, self.timeout = version, client_id, patience(timeout)
        self.buffer, self.next_id, self.closed, self.pending = b"", 1, False, []
        self.sock = socket.create_connection((server.host, server.port), timeout=self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self.wrap(self.sock)
        self.connack = None
        if open:
            self.send(connect(client_id, version, clean, keep_alive, props, will, **more))
            self.connack = self.expect(CONNACK)
            assert self.connack.reason == 0, f"CONNECT refused: {self.connack}"

    def wrap(self, sock):
        """For other transports: what lies between the socket and MQTT."""
        return sock

    # -- bytes

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what the server said before is still to be read

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise AssertionError(f"nothing arrived within {self.timeout} s (client {self.client_id!r})")
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            raise AssertionError(f"nothing arrived within {self.timeout} s (client {self.client_id!r})") from None
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
        self.buffer += data

    def _next(self):
        """A packet out of the buffer, or None."""
        size, shift, at = 0, 0, 1
        while True:
            if at >= len(self.buffer):
                return None
            byte = self.buffer[at]
            size |= (byte & 127) << shift
            shift, at = shift + 7, at + 1
            if not byte & 128:
                break
        if len(self.buffer) < at + size:
            return None
        head, body = self.buffer[0], self.buffer[at:at + size]
        self.buffer = self.buffer[at + size:]
        return Packet(head >> 4, head & 15, body, self.version)

    def recv(self, timeout=None):
        """The next packet; None when the server has closed."""
        if self.pending:
            return self.pending.pop(0)
        deadline = time.monotonic() + (patience(timeout) if timeout else self.timeout)
        while True:
            found = self._next()
            if found is not None:
                return found
            if self.closed:
                return None
            self._fill(deadline)

    def expect(self, kind, timeout=None, **fields):
        got = self.recv(timeout)
        if got is None:
            raise Closed(f"the server closed instead of sending {NAMES[kind]}")
        assert got.kind == kind, f"wanted {NAMES[kind]}, got {got}"
        for name, value in fields.items():
            assert getattr(got, name) == value, f"wanted {name}={value!r}, got {got}"
        return got

    def expect_closed(self, reason=None):
        """The server ends the connection; with MQTT 5 it says why in DISCONNECT first, if a reason is given. Other packets before are skipped."""
        said = None
        while (got := self.recv()) is not None:
            if got.kind == DISCONNECT:
                said = got.reason
        if reason is not None:
            allowed = reason if isinstance(reason, (set, tuple, list)) else {reason}
            assert said in allowed, f"wanted DISCONNECT with {[hex(r) for r in allowed]}, got {'none' if said is None else hex(said)}"
        return said

    # -- conversations

    def id(self):
        self.next_id = self.next_id % 65535 + 1
        return self.next_id

    def _await(self, kind, id):
        """The answer with this id; deliveries that come before are kept for recv()."""
        kept = []
        while True:
            got = self.recv()
            if got is None:
                raise Closed(f"the server closed instead of sending {NAMES[kind]}")
            if got.kind == kind and got.id == id:
                self.pending = kept + self.pending
                return got
            assert got.kind in (PUBLISH, PUBREL), f"wanted {NAMES[kind]} {id}, got {got}"
            kept.append(got)

    def publish(self, topic, payload=b"", qos=0, retain=False, props=None, reason=None):
        """The whole exchange; reason: what the acknowledgement must say (None: success or "no subscribers")."""
        id = self.id() if qos else 0
        self.send(publish(topic, payload, qos, retain, False, id, props, self.version))
        if qos == 0:
            return None
        got = self._await(PUBACK if qos == 1 else PUBREC, id)
        assert (got.reason in (0, 0x10)) if reason is None else got.reason == reason, f"{got}"
        if qos == 2 and got.reason < 0x80:
            self.send(ack(PUBREL, id))
            self._await(PUBCOMP, id)
        return got

    def subscribe(self, filters, qos=0, options=0, props=None):
        """filters: one, or a list. Returns the codes."""
        filters = [filters] if isinstance(filters, str) else filters
        id = self.id()
        self.send(subscribe([(f, options | qos) for f in filters], id, props, self.version))
        return self._await(SUBACK, id).codes

    def unsubscribe(self, filters):
        filters = [filters] if isinstance(filters, str) else filters
        id = self.id()
        self.send(unsubscribe(filters, id, None, self.version))
        return self._await(UNSUBACK, id).codes

    def message(self, timeout=None, acknowledge=True):
        """The next delivery, acknowledged in full."""
        got = self.expect(PUBLISH, timeout)
        if acknowledge and got.qos == 1:
            self.send(ack(PUBACK, got.id))
        if acknowledge and got.qos == 2:
            self.send(ack(PUBREC, got.id))
            self._await(PUBREL, got.id)
            self.send(ack(PUBCOMP, got.id))
        return got

    def messages(self, count, **more):
        return [self.message(**more) for _ in range(count)]

    def until_ping(self):
        """All packets up to the answer to a PINGREQ sent now: what the server had to say so far."""
        self.send(packet(PINGREQ, 0, b""))
        got = []
        while True:
            each = self.recv()
            if each is None:
                raise Closed("the server closed instead of sending PINGRESP")
            if each.kind == PINGRESP:
                return got
            got.append(each)

    def settle(self):
        """All packets the server owed by now, looked-up ones too: up to a retained message that is stored and asked for now. (What a SUBSCRIBE
        finds may come after the answer to a PINGREQ; requests to the store are answered in order.)"""
        topic = f"$settle/{self.client_id}"  # no wildcard of a test matches it
        self.publish(topic, b"settled", 1, retain=True)
        id = self.id()
        self.send(subscribe([(topic, 0)], id, None, self.version))
        got = self.pending
        self.pending = []
        while True:
            each = self.recv()
            if each is None:
                raise Closed("the server closed")
            if each.kind == PUBLISH and each.topic == topic and each.retain:
                break
            got.append(each)
        self.unsubscribe(topic)
        return [p for p in got if p.kind != SUBACK and not (p.kind == PUBLISH and p.topic == topic)]

    def disconnect(self, reason=None, props=None):
        self.send(disconnect(reason, props, self.version))
        self.close()

    def close(self):
        """Ends the connection without a word."""
        self.sock.close()
        self.closed = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
