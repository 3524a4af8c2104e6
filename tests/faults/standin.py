"""A worker that is none: it speaks the protocol, composes silence in a stated time, and
misbehaves as it is told. Many fit into one thread: step() never waits.
"""
import ctypes
import json
import os
import struct
import time

import faults
from wire import Peer

CHUNK = 256 << 10
DEVICE_LOST = 2 # as common/wire counts failures
crc = ctypes.CDLL(os.path.join(os.path.dirname(faults.LIBRARY), "libfaults_crc32c.so"))


def crc32c(data, before=0):
    return crc.crc32c(ctypes.c_uint32(before), data, ctypes.c_size_t(len(data))) & 0xffffffff


def part(key, columns, codebooks=4, hop=640):
    """A composed segment as common/parts writes it: silence."""
    tokens, pcm = 4 * codebooks * columns, 4 * columns * hop
    head = json.dumps({
        "__metadata__": {"underscore.part": key},
        "tokens": {"dtype": "I32", "shape": [codebooks, columns], "data_offsets": [0, tokens]},
        "pcm": {"dtype": "F32", "shape": [columns * hop], "data_offsets": [tokens, tokens + pcm]}}).encode()
    head += b" " * (-(8 + len(head)) % 64) # numbers lie on a multiple of 64
    return struct.pack("<Q", len(head)) + head + bytes(tokens + pcm)


class StandIn:
    """A rate of 10: ten seconds of music a second. `fails`: a failure class that is all it ever says."""

    def __init__(self, farm, name, incarnation, rate=100.0, slots=1, prefetch=0, beat=0.2, fails=None, **facts):
        self.control, self.bulk = Peer(farm.control, incarnation), Peer(farm.bulk, incarnation)
        self.name, self.rate, self.room, self.beat, self.fails = name, float(rate), slots + prefetch, beat, fails
        self.facts = {"slots": slots, "rate": float(rate), **facts}
        self.hop, self.columns_per_s = facts.get("hop", 640), facts.get("sample_rate", 32000) / facts.get("hop", 640)
        self.tasks, self.answers, self.moved, self.wanted = {}, {}, 0, None
        self.welcome, self.next_hello, self.next_beat, self.free_at, self.terminated = False, 0, 0, 0, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.control.__exit__(), self.bulk.__exit__()

    def step(self):
        now = time.monotonic()
        while (m := self.control.receive(seconds=0)):
            self.on_control(m, now)
        while (m := self.bulk.receive(seconds=0)):
            self.on_bulk(m, now)
        if not self.welcome:
            if now >= self.next_hello:
                self.control.say_hello(self.name, **self.facts)
                self.next_hello = now + 2
            return
        if now >= self.next_beat:
            self.moved += 1
            self.control.send("BEAT", progress=self.moved, rate=self.rate, held=list(self.tasks))
            self.next_beat, self.wanted = now + self.beat, None
        want = self.room - len(self.tasks)
        if want != self.wanted:
            self.control.send("PULL", want=want)
            self.wanted = want
        for attempt, task in list(self.tasks.items()):
            if task["result"] is None and now >= task["due"]:
                self.composed(attempt, task)

    # What others do otherwise

    def composed(self, attempt, task):
        lease = task["lease"]
        task["result"] = part(lease["key"], lease["columns"], hop=self.hop)
        self.offer(attempt, task)

    def offer(self, attempt, task):
        task["sent"] = task["crc"] = 0
        self.bulk.send("OPEN", attempt=attempt, fence=task["lease"]["fence"], bytes=len(task["result"]))

    def fail(self, lease, failure):
        self.control.send("FAILED", attempt=lease["attempt"], fence=lease["fence"], log_tail="as it was told",
                          **{"class": failure})

    def lose_gpu(self):
        """All that it has fails, as it does for a worker that composes side by side."""
        for task in self.tasks.values():
            self.fail(task["lease"], DEVICE_LOST)
        self.tasks.clear()

    def settled(self, attempt, how):
        self.tasks.pop(attempt, None)

    # Hearing

    def on_control(self, m, now):
        if m["type"] == "WELCOME":
            self.welcome, self.next_beat = True, now
        elif m["type"] == "BEAT_ACK":
            self.welcome = self.welcome and not m["rehello"]
            self.terminated |= m["order"] == 2
            for attempt in m["cancel"]:
                self.tasks.pop(attempt, None)
        elif m["type"] == "CANCEL":
            self.tasks.pop(m["attempt"], None)
        elif m["type"] == "LEASE":
            self.on_lease(m, now)

    def on_lease(self, m, now):
        self.control.send("LEASE_ACK", attempt=m["attempt"])
        if self.fails is not None:
            self.fail(m, self.fails)
            return
        if m["attempt"] not in self.tasks:
            self.free_at = max(now, self.free_at) + (m["columns"] - m["prompt_columns"]) / self.columns_per_s / self.rate
            self.tasks[m["attempt"]] = {"lease": m, "due": self.free_at, "result": None}

    def on_bulk(self, m, now):
        attempt, task = m["attempt"], self.tasks.get(m["attempt"])
        if m["type"] in ("ACCEPTED", "STALE", "DUP"):
            self.answers.setdefault(attempt, []).append(m["type"])
            self.settled(attempt, m["type"])
        elif task and m["type"] == "CREDIT":
            for _ in range(m["chunks"]):
                self.send_chunk(attempt, task)
        elif task and m["type"] in ("CORRUPT", "NOSPACE"):
            self.offer(attempt, task)

    def send_chunk(self, attempt, task):
        data = task["result"][task["sent"]:task["sent"] + CHUNK]
        if not data:
            return
        self.bulk.send("CHUNK", attempt=attempt, what=2, off=task["sent"], crc32c=crc32c(data), data=data)
        task["crc"] = crc32c(data, task["crc"])
        task["sent"] += len(data)
        if task["sent"] == len(task["result"]):
            self.bulk.send("COMMIT", attempt=attempt, fence=task["lease"]["fence"], bytes=task["sent"], crc32c=task["crc"])


def work(workers, done, seconds=120):
    """All of them, until done() or for so long."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise AssertionError("the stand-ins did not get there in time")
        for w in workers:
            w.step()
        time.sleep(0.002)
