"""A worker and its coordinator with a network between them that breaks in every way."""
import os
import subprocess
import time
import unittest
from contextlib import contextmanager

import faults
from faults import BACK, e2e, report, rounds
from farm import free_ports
from proxy import Proxy
from standin import StandIn, work


class Net(faults.Disturbed):
    seconds = rounds(18, 90)

    @contextmanager
    def through_proxies(self, name, lease):
        """A farm with keys whose one worker is behind two proxies; (farm, control, bulk)."""
        with self.farm(name, lease=lease, keys=True) as farm:
            ports = [int(address.rsplit(":", 1)[1]) for address in (farm.control, farm.bulk)]
            with Proxy(ports[0]) as control, Proxy(ports[1], seed=2) as bulk:
                farm.start_coordinator()
                farm.start_worker("a", at=(control.address(), bulk.address()))
                yield farm, control, bulk

    def test_network(self):
        with self.through_proxies("net", lease=30) as (farm, control, bulk):
            outs, proxies = [], (control, bulk)
            ways = control.up, control.down, bulk.up, bulk.down
            def both(name, *args):
                return lambda: [getattr(p, name)(*args) for p in proxies]
            def each(**how):
                return lambda: [setattr(way, name, value) for way in ways for name, value in how.items()]
            self.disturb(farm, outs, "network cut: connections break off", rounds([3], [5, 30, 120]), both("cut"), both("mend"))
            for name, up, down in (("both ways", True, True), ("to the coordinator", True, False),
                                   ("to the worker", False, True))[:rounds(1, 3)]:
                self.disturb(farm, outs, f"network cut without a word, {name}", rounds([6], [5, 30, 120]),
                             both("hold", up, down), both("mend"))
            for name, which in (("control and bulk", proxies), ("control", (control,)), ("bulk", (bulk,)))[:rounds(1, 3)]:
                self.disturb(farm, outs, f"half-open connections, {name}", rounds([8], [15, 30]),
                             lambda: [p.forget() for p in which], lambda: None)
            self.disturb(farm, outs, "network with 0.5 s of delay each way", rounds([2], [60]), each(delay=0.5), each(delay=0))
            self.disturb(farm, outs, "network that turns bits in a fifth of all pieces", rounds([4], [60]), each(spoil=0.2),
                         each(spoil=0))
            self.wait(farm, *outs)
            self.stop(farm)
            self.check(farm, *outs)


class Client(faults.Case):
    def wait_through(self, farm, network, job, seconds):
        """`submit --wait` while each piece has a bit turned for so long; seconds from when all was well until it ended."""
        log_has = lambda what: what in farm.log("coordinator")
        waiting = subprocess.Popen(
            e2e.command("submit", self.film, "-o", farm.path(f"{job}.mp4"), *faults.SETTINGS, "--wait", "--farm",
                        network.address(), *farm.key_options("client")),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            farm.wait_until(lambda: log_has(f"job {job}: "))
            network.up.spoil = network.down.spoil = 1
            time.sleep(seconds)
            network.up.spoil = network.down.spoil = 0
            clean = time.monotonic()
            self.assertIsNone(waiting.poll())
            farm.wait_until(lambda: log_has(f"job {job} is done"), 300)
            well = time.monotonic() if waiting.poll() is None else clean
            _, said = waiting.communicate(timeout=120)
            self.assertEqual(waiting.returncode, 0, said)
            return time.monotonic() - well
        finally:
            waiting.kill()
            waiting.wait()
            waiting.stderr.close()

    def test_who_waits_for_a_film(self):
        with self.farm("client", lease=30, keys=True) as farm, Proxy(int(farm.control.rsplit(":", 1)[1])) as network:
            farm.start_coordinator()
            farm.start_worker("a")
            length = rounds([3], [1, 2, 3, 4, 5])
            slowest = max(self.wait_through(farm, network, job, seconds) for job, seconds in enumerate(length, 1))
            self.assertLessEqual(slowest, BACK)
            report("`submit --wait`, a bit turned in all pieces", f"{', '.join(map(str, length))} s",
                   "ends well <= 10 s; one job each", f"after {slowest:.1f} s")
            self.stop(farm)
            self.check(farm, *(farm.path(f"{job}.mp4") for job in range(1, len(length) + 1)))


LARGE = {"sample_rate": 48000, "hop": 480, "max_duration_ms": 180000} # of 20 MB, a result is 104 s
LONG = ["--segment", "104", "--overlap", "1", "--crossfade", "1", "--min-cue", "104", "--max-cue", "104", "--cut", "none"]


@unittest.skipIf(os.environ.get("FAULTS_UNDER"), "a sanitizer's memory and slowness are not what this measures")
class Large(e2e.Case):
    def test_large_results_through_a_narrow_network(self):
        """All at once: beats do not wait behind sound, and the coordinator does not hold it all in memory."""
        count = rounds(4, 32)
        film = e2e.make_film(self.path("short.mp4"), seconds=9)
        whole = self.path("film.mp4")
        e2e.ffmpeg("-stream_loop", 11, "-i", film, "-t", 104, "-map", "0:v", "-c", "copy", whole)
        with faults.Farm(self.path("large"), self.model, lease=rounds(120, 30)) as farm:
            farm.control, farm.bulk = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
            ports = [int(address.rsplit(":", 1)[1]) for address in (farm.control, farm.bulk)]
            farm.start_coordinator()
            most = Memory(farm.coordinator.pid)
            with Proxy(ports[0], rate=125e6) as control, Proxy(ports[1], rate=125e6) as bulk:
                at = Addresses(control.address(), bulk.address())
                workers = [StandIn(at, f"n{i}", i + 1, rate=200.0, **LARGE) for i in range(count)]
                work(workers, lambda: all(w.welcome for w in workers))
                outs = [self.path(f"large/{i}.mp4") for i in range(count)]
                for out in outs:
                    done = farm.submit(whole, out, "--force", *LONG)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    for w in workers:
                        w.step() # they beat meanwhile
                def step_until():
                    most.look()
                    return sum(a.count("ACCEPTED") for w in workers for a in w.answers.values()) >= count
                work(workers, step_until, 900)
                work(workers, lambda: all(map(os.path.exists, outs)), 900)
                for w in workers:
                    w.control.send("GOODBYE", reason="done")
                self.assertNotIn("is lost", farm.log("coordinator"))
                self.assertNotIn("lease has ended", farm.log("coordinator"))
                self.assertEqual(farm.stop(), [0])
                self.assertEqual(farm.check_ledger(), [])
        self.assertLessEqual(most.mib, 256)
        report(f"{count} workers returning 20 MB each through 1 Gbit/s", f"{count} results",
               "no false deaths; coordinator RSS <= 256 MB", f"none; {most.mib:.0f} MB")


class Addresses:
    def __init__(self, control, bulk):
        self.control, self.bulk = control, bulk


class Memory:
    """The most that a process was seen to have, in MiB."""

    def __init__(self, pid):
        self.path, self.mib = f"/proc/{pid}/status", 0

    def look(self):
        with open(self.path) as f:
            kib = next((int(line.split()[1]) for line in f if line.startswith("VmHWM:")), 0)
        self.mib = max(self.mib, kib / 1024)


if __name__ == "__main__":
    e2e.main()
