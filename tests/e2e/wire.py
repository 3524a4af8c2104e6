"""A peer of a coordinator that says what it is told to, for tests of what real workers never
do: the wire of common/wire/wire.h over the system's libzmq.
"""
import ctypes
import ctypes.util
import struct
import time

DEALER, DONTWAIT, LINGER = 5, 1, 17
CURVE_PUBLICKEY, CURVE_SECRETKEY, CURVE_SERVERKEY = 48, 49, 50


def pack(v):
    """msgpack, as much of it as the wire uses. Numbers of a field that may be large or negative go
    as 64 bits: the other side takes any form."""
    if isinstance(v, bool):
        return b"\xc3" if v else b"\xc2"
    if isinstance(v, int):
        return struct.pack(">BQ", 0xcf, v) if v >= 0 else struct.pack(">Bq", 0xd3, v)
    if isinstance(v, float):
        return struct.pack(">Bd", 0xcb, v)
    if isinstance(v, str):
        text = v.encode()
        return struct.pack(">BH", 0xda, len(text)) + text
    if isinstance(v, bytes):
        return struct.pack(">BI", 0xc6, len(v)) + v
    if isinstance(v, (list, tuple)):
        return struct.pack(">BH", 0xdc, len(v)) + b"".join(map(pack, v))
    return struct.pack(">BH", 0xde, len(v)) + b"".join(pack(k) + pack(x) for k, x in v.items())


FIXED = {0xcc: ">B", 0xcd: ">H", 0xce: ">I", 0xcf: ">Q", 0xd0: ">b", 0xd1: ">h", 0xd2: ">i", 0xd3: ">q", 0xca: ">f", 0xcb: ">d"}
SIZED = {0xc4: ">B", 0xc5: ">H", 0xc6: ">I", 0xd9: ">B", 0xda: ">H", 0xdb: ">I", 0xdc: ">H", 0xdd: ">I", 0xde: ">H", 0xdf: ">I"}


def unpack(data):
    at = 0

    def number(form):
        nonlocal at
        (v,) = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
        return v

    def body(kind, n):
        nonlocal at
        if kind == "array":
            return [item() for _ in range(n)]
        if kind == "map":
            return {item(): item() for _ in range(n)}
        at += n
        return data[at - n:at] if kind == "bin" else data[at - n:at].decode()

    def item():
        lead = number(">B")
        if lead <= 0x7f:
            return lead
        if lead >= 0xe0:
            return lead - 256
        if lead in (0xc0, 0xc2, 0xc3):
            return {0xc0: None, 0xc2: False, 0xc3: True}[lead]
        if lead in FIXED:
            return number(FIXED[lead])
        if lead in SIZED:
            kind = "bin" if lead <= 0xc6 else "str" if lead <= 0xdb else "array" if lead <= 0xdd else "map"
            return body(kind, number(SIZED[lead]))
        if lead <= 0x8f:
            return body("map", lead & 15)
        return body("array", lead & 15) if lead <= 0x9f else body("str", lead & 31)

    return item()


class Peer:
    """One connection to one port. Used in a `with`. `keys`: its public and secret one, and the public
    one of the other side."""

    def __init__(self, address, incarnation=1, keys=None):
        self.zmq = ctypes.CDLL(ctypes.util.find_library("zmq"))
        self.zmq.zmq_ctx_new.restype = self.zmq.zmq_socket.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.zmq.zmq_ctx_new())
        self.socket = ctypes.c_void_p(self.zmq.zmq_socket(self.context, DEALER))
        none = ctypes.c_int(0)
        self.zmq.zmq_setsockopt(self.socket, LINGER, ctypes.byref(none), ctypes.c_size_t(4))
        for option, key in zip((CURVE_PUBLICKEY, CURVE_SECRETKEY, CURVE_SERVERKEY), keys or ()):
            if self.zmq.zmq_setsockopt(self.socket, option, key.encode(), ctypes.c_size_t(len(key) + 1)):
                raise OSError("no good key")
        if self.zmq.zmq_connect(self.socket, address.encode()):
            raise OSError(address)
        self.incarnation, self.seq = incarnation, 0
        self.room = ctypes.create_string_buffer(1 << 20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.zmq.zmq_close(self.socket)
        self.zmq.zmq_ctx_term(self.context)

    def send(self, kind, **fields):
        self.send_bytes(self.message(kind, **fields))

    def message(self, kind, **fields):
        self.seq += 1
        return pack({"v": 4, "type": kind, "seq": self.seq, "incarnation": self.incarnation, "epoch": 0, **fields})

    def send_bytes(self, data):
        if self.zmq.zmq_send(self.socket, data, ctypes.c_size_t(len(data)), 0) < 0:
            raise OSError("cannot send")

    def receive(self, *kinds, seconds=60):
        """The next message of one of these types; others are passed over. None: none came."""
        room = self.room
        until = time.monotonic() + seconds
        while True:
            n = self.zmq.zmq_recv(self.socket, room, ctypes.c_size_t(len(room)), DONTWAIT)
            if n < 0:
                if time.monotonic() >= until:
                    return None
                time.sleep(0.001)
                continue
            message = unpack(ctypes.string_at(room, n))
            if not kinds or message["type"] in kinds:
                return message

    def hello(self, name, **facts):
        """As a worker that has some model."""
        self.say_hello(name, **facts)
        return self.receive("WELCOME", "REJECT", "BEAT_ACK")

    def say_hello(self, name, **facts):
        self.send("HELLO", **{
            "name": name, "device": "a device", "vendor": "AMD", "driver": "a driver", "memory": 16 << 30, "software": "0",
            "model": "ab" * 32, "sample_rate": 32000, "hop": 640, "max_duration_ms": 30000, "frames_per_s": 1.0,
            "image": 28, "codebooks": 4, "guidance": 3.0, "license": "", "has": "", "slots": 4, "rate": 0.0, "held": [], **facts})

    def beat(self, *held, progress=0):
        self.send("BEAT", progress=progress, rate=0.0, held=list(held))
        return self.receive("BEAT_ACK")
