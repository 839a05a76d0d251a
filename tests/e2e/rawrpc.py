"""rawrpc - a peer of a segment store that may say anything: frames as they are (shared/rpc/schema.h), valid or not.

    p = Peer("127.0.0.1", port); p.send(hello(cluster="e2e", sender=2, to=1)); kind, id, body = p.recv()
"""
import ctypes
import socket
import struct

from harness import Skip, patience

HELLO, WELCOME, ERROR, PING, PONG, PEER_HELLO, PEER_WELCOME, RAFT, IMAGE = 1, 2, 3, 26, 27, 40, 41, 42, 43
MAGIC, MAJOR = 0x4C45454B, 3

try:
    xxhash = ctypes.CDLL("libxxhash.so.0")
    xxhash.XXH3_64bits.restype = xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
except OSError:
    xxhash = None


def hash_of(data, seed=None):
    if xxhash is None:
        raise Skip("libxxhash is not installed")
    if seed is None:
        return xxhash.XXH3_64bits(data, ctypes.c_size_t(len(data)))
    return xxhash.XXH3_64bits_withSeed(data, ctypes.c_size_t(len(data)), ctypes.c_uint64(seed))


def frame(kind, body=b"", id=0, checksum=None):
    head = struct.pack("<IHHQ", len(body), kind, 0, id)
    return head + struct.pack("<Q", hash_of(body, hash_of(head)) if checksum is None else checksum) + body


def cluster_number(name):
    return hash_of(name.encode()) | 1


def peer_hello(cluster="e2e", sender=2, to=1, major=MAJOR, minor=0, shard=0, shards=1, stripes=8, incarnation=1, magic=MAGIC):
    return frame(PEER_HELLO, struct.pack("<IHHQHHIIIQ", magic, major, minor, cluster_number(cluster), sender, to, shard, shards, stripes, incarnation))


def hello(major=MAJOR, minor=0, instance=7, owner=1, shard=0, magic=MAGIC, place=0):
    return frame(HELLO, struct.pack("<IHHQQIQ", magic, major, minor, instance, owner, shard, place))


class Peer:
    def __init__(self, host, port, timeout=10):
        self.sock = socket.create_connection((host, port), timeout=patience(timeout))
        self.buffer = b""

    def send(self, data):
        self.sock.sendall(data)

    def recv(self):
        """(kind, id, body) of the next frame; None when the connection was closed."""
        while len(self.buffer) < 24 or len(self.buffer) < 24 + struct.unpack_from("<I", self.buffer)[0]:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.buffer += data
        size, kind, _, id, checksum = struct.unpack_from("<IHHQQ", self.buffer)
        body, head = self.buffer[24:24 + size], self.buffer[:16]
        assert checksum == hash_of(body, hash_of(head)), "the store's frame has a wrong checksum"
        self.buffer = self.buffer[24 + size:]
        return kind, id, body

    def error(self):
        """Status and sentence of the next frame, which must be ERROR."""
        kind, _, body = self.recv()
        assert kind == ERROR, kind
        status, size = struct.unpack_from("<iI", body)
        return status, body[8:8 + size].decode()

    def closed(self):
        """The store ends the connection, whatever it says before."""
        while self.recv() is not None:
            pass
        return True

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
