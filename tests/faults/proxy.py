"""A network that can be broken: TCP from a port of its own to another on this machine.

What it does may change at any moment, for each way by itself: "up" (worker to
coordinator) and "down". One thread a connection and way.
"""
import random
import socket
import threading
import time


class Way:
    """How bytes fare in one direction."""

    def __init__(self):
        self.delay = 0.0   # seconds
        self.spoil = 0.0   # chance that of a piece one bit arrives turned
        self.held = False  # nothing passes, and nothing is lost: TCP sends it again


class Pair:
    """The two halves of a connection."""

    def __init__(self, here, there):
        self.here, self.there, self.forgotten = here, there, False

    def shut(self):
        for s in (self.here, self.there):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass # it was already
            s.close()


class Proxy:
    """Used in a `with`."""

    def __init__(self, target, rate=None, seed=1):
        self.target, self.rate, self.chance = target, rate, random.Random(seed)
        self.up, self.down = Way(), Way()
        self.refusing = self.closed = False
        self.pairs, self.forgotten, self.lock = [], [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        self.budget, self.filled = 0.0, time.monotonic()
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True
        self.listener.close()
        self.break_off()
        for pair in self.forgotten:
            pair.shut()

    def address(self):
        return f"tcp://127.0.0.1:{self.port}"

    # What befalls it

    def hold(self, up=True, down=True):
        self.up.held, self.down.held = up, down

    def cut(self):
        """Every connection breaks off, and none comes about."""
        self.refusing = True
        self.break_off()

    def mend(self):
        self.refusing = False
        self.hold(False, False)

    def break_off(self):
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            pair.shut()

    def forget(self):
        """The connections that there are lead nowhere from now on, and neither side is told."""
        with self.lock:
            for pair in self.pairs:
                pair.forgotten = True
            self.forgotten += self.pairs # kept, so that they are not closed
            self.pairs = []

    # How it works

    def accept(self):
        while not self.closed:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return # closed
            try:
                there = None if self.refusing else socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                there = None # nobody listens there yet
            if not there:
                here.close()
                continue
            pair = Pair(here, there)
            with self.lock:
                self.pairs.append(pair)
            for way, source, sink in ((self.up, here, there), (self.down, there, here)):
                threading.Thread(target=self.pump, args=(pair, way, source, sink), daemon=True).start()

    def pump(self, pair, way, source, sink):
        try:
            while data := source.recv(65536):
                while way.held and not self.closed:
                    time.sleep(0.01)
                if way.delay:
                    time.sleep(way.delay)
                if way.spoil and self.chance.random() < way.spoil:
                    data = bytearray(data)
                    data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
                self.wait_for_room(len(data))
                if not pair.forgotten:
                    sink.sendall(data)
        except OSError:
            pass
        if not pair.forgotten:
            pair.shut()

    def wait_for_room(self, n):
        """All connections share `rate` bytes a second."""
        while self.rate:
            with self.lock:
                now = time.monotonic()
                self.budget = min(self.rate / 20, self.budget + (now - self.filled) * self.rate)
                self.filled = now
                if self.budget > 0:
                    self.budget -= n
                    return
            time.sleep(0.001)
