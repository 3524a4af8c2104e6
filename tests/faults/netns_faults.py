"""Hosts whose packets really vanish: what the kernel's TCP does then is not what a proxy shows."""
import os
import subprocess
import time
import unittest
from contextlib import contextmanager

import faults
import netns
from farm import Farm
from faults import BACK, attempts, e2e, kill, report, rounds

LACKING = netns.lacking()
CONTROL, BULK = 7480, 7481
LEASE = 30
CLOSED = 60 # s, until the coordinator has closed the connections of a host that is no more
PATIENCE = 15 # s, until a client gives up


class HostFarm(Farm):
    """Of each host's name is what runs there: the coordinator, the workers."""

    def __init__(self, network, folder, model, **options):
        super().__init__(folder, model, keys=True, **options)
        self.network = network
        self.control, self.bulk = (f"tcp://{network.hosts['coordinator']}:{port}" for port in (CONTROL, BULK))

    def inside(self, name):
        return self.network.inside(name)

    def settle(self, alive):
        """Until there are two connections with each worker that is alive, and nothing else is left of any."""
        def are():
            return ({name: sockets(self.workers[name]) for name in alive} | {"coordinator": sockets(self.coordinator)},
                    {name: self.network.connections("coordinator", name) for name in self.workers})
        should = ({name: 2 for name in alive} | {"coordinator": 2 + 2 * len(alive)}, # it listens at two
                  {name: 2 if name in alive else 0 for name in self.workers})
        try:
            self.wait_until(lambda: are() == should, CLOSED, every=0.1)
        except AssertionError as e:
            raise AssertionError(f"{are()} connections, and not {should}: {e}") from None


def sockets(process):
    folder = f"/proc/{process.pid}/fd"
    return sum(os.readlink(os.path.join(folder, fd)).startswith("socket:") for fd in os.listdir(folder))


@unittest.skipIf(LACKING, LACKING)
class Hosts(faults.Disturbed):
    @contextmanager
    def hosts(self, name, workers="a", lease=LEASE):
        """(farm, network), and the workers ready."""
        with netns.Network("coordinator", *workers) as network, \
                HostFarm(network, self.path(name), self.model, lease=lease) as farm:
            farm.start_coordinator()
            for worker in workers:
                farm.start_worker(worker, "--cache-dir", self.path("cache"), *self.keys_of(farm, worker))
            farm.wait_until(lambda: self.ready(farm))
            yield farm, network

    def keys_of(self, farm, worker):
        farm.make_key(worker)
        farm.allow(worker)
        return farm.key_options(worker)

    def finish(self, farm, outs, alive):
        """Everything is done, and nothing is left over of what was disturbed."""
        self.wait(farm, *outs)
        farm.settle(alive)
        self.stop(farm)
        self.check(farm, *outs)


class Network(Hosts):
    seconds = rounds(18, 90)

    def test_network(self):
        both = ("a", "coordinator"), ("coordinator", "a")
        with self.hosts("network") as (farm, network):
            outs = []
            addresses = iter(["10.83.0.20", "10.83.0.21", "10.83.0.20"])
            self.disturb(farm, outs, "the worker's address changes", rounds([0], [0, 0, 0]),
                         lambda: network.move("a", next(addresses)), lambda: None)
            for name, which in (("the worker", ["a"]), ("both", ["a", "coordinator"]),
                                ("the coordinator", ["coordinator"]))[rounds(2, 0):]:
                self.disturb(farm, outs, f"no frames over 1280 bytes, at {name}", rounds([0, 0], [0, 15]),
                             lambda: [network.frames_up_to(host, 1280) for host in which], lambda: None)
                for host in which:
                    network.frames_up_to(host, 1500)
            self.disturb(farm, outs, "the worker's cable is out", rounds([3], [5, 30, 120]),
                         lambda: network.plug("a", False), lambda: network.plug("a"))
            for kind, way in rounds([], [(k, w) for k in ("blackhole", "unreachable", "prohibit") for w in both]):
                self.disturb(farm, outs, f"{kind} route to the {'worker' if way[1] == 'a' else way[1]}", [15],
                             lambda: network.route(*way, kind), lambda: network.route(*way))
            for name, ways in (("both ways", both), ("to the coordinator", both[:1]),
                               ("to the worker", both[1:]))[:rounds(1, 3)]:
                self.disturb(farm, outs, f"packets vanish, {name}", rounds([6], [5, 30, 120]),
                             lambda: [network.lose(*way) for way in ways], lambda: [network.find(*way) for way in ways])
            self.finish(farm, outs, "a")


@unittest.skipUnless(faults.FULL, "in full only")
class TwoWorkers(Hosts):
    seconds = 90

    def test_worker_gone_for_good(self):
        """Its host has no network any more, while it composes: the other does all, and nothing waits for the dead."""
        slowest = closed = 0
        for n in range(3):
            with self.hosts(f"gone{n}", "ab", lease=LEASE) as (farm, network):
                out = self.path(f"gone{n}/out.mp4")
                self.submit(farm, out)
                farm.wait_until(lambda: self.live(farm, "a") and farm.done_segments() > n, 300)
                network.vanish("a")
                start = time.monotonic()
                farm.wait_until(lambda: not self.live(farm, "a"), 120, every=0.1)
                slowest = max(slowest, time.monotonic() - start)
                self.wait(farm, out)
                farm.settle("b")
                closed = max(closed, time.monotonic() - start)
                kill(farm.workers["a"])
                self.finish(farm, [out], "b")
        self.assertLessEqual(slowest, LEASE + 5)
        self.assertLessEqual(closed, CLOSED)
        report("a worker's host vanishes for good", "3 times",
               f"its segments another's <= lease + 5 s = {LEASE + 5} s; its connections closed <= {CLOSED} s; equal",
               f"another's after {slowest:.1f} s; closed after {closed:.1f} s at the most")

    def live(self, farm, name):
        return [a for a in attempts(farm) if a["worker"] == f"{name}/{name}" and a["outcome"] == "live"]

    def test_the_coordinators_host_starts_anew(self):
        """Link down, killed; both there again, with the same kernel or, after a power failure, a new one."""
        slowest, outs = 0, []
        with self.hosts("anew", "ab") as (farm, network):
            for power_failure in (False, True, False, True):
                self.busy(farm, outs)
                network.vanish("coordinator") if power_failure else network.plug("coordinator", False)
                kill(farm.coordinator)
                if power_failure:
                    network.end("coordinator")
                time.sleep(10)
                network.begin("coordinator") if power_failure else network.plug("coordinator")
                farm.start_coordinator()
                slowest = max(slowest, self.back(farm, outs))
            self.finish(farm, outs, "ab")
        self.assertLessEqual(slowest, BACK)
        report("the coordinator's host starts anew", "4 times, 10 s", "both workers back <= 10 s; equal",
               f"after {slowest:.1f} s")


@unittest.skipUnless(faults.FULL, "in full only")
class Clients(Hosts):
    """On the worker's host, so that they are cut off with it."""

    def start(self, farm, *args):
        command = e2e.command(*args, "--farm", farm.control, *farm.key_options("client"))
        return subprocess.Popen([*farm.inside("a"), *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def watch(self, farm):
        """One that has heard of the job already."""
        client = self.start(farm, "watch", 1)
        client.stdout.readline()
        return client

    def gives_up(self, *clients):
        """Seconds until all do, with one line each."""
        start = time.monotonic()
        for client in clients:
            self.has_given_up(client)
        return time.monotonic() - start

    def has_given_up(self, client):
        _, errors = client.communicate(timeout=300)
        self.assertEqual(client.returncode, 69, errors)
        self.assertRegex(errors, r"^underscore: error: [^\n]*: no coordinator answers[^\n]*\n$")

    def succeeds(self, client, says=""):
        _, errors = client.communicate(timeout=300)
        self.assertEqual(client.returncode, 0, errors)
        self.assertRegex(errors, f"^{says}$")

    @contextmanager
    def lost(self, network, *ways):
        for way in ways:
            network.lose(*way)
        try:
            yield
        finally:
            for way in ways:
                network.find(*way)

    def test_clients(self):
        there, here = ("a", "coordinator"), ("coordinator", "a")
        with self.hosts("clients") as (farm, network):
            out = self.path("clients/out.mp4")
            submit = "submit", self.film, "-o", out, *faults.SETTINGS
            self.assertEqual(farm.ask("queue", "stop").returncode, 0)
            with self.lost(network, here): # the job is there, but its client does not hear of it
                times = [self.gives_up(self.start(farm, *submit))]
            self.succeeds(self.start(farm, *submit))
            watch = self.watch(farm)
            with self.lost(network, there, here):
                times.append(self.gives_up(self.start(farm, "list")))
                time.sleep(3) # the other asked its last question a second later at most
            with self.lost(network, there, here):
                late = self.start(farm, "list")
                time.sleep(3)
            self.succeeds(late)
            self.assertEqual(farm.ask("queue", "start").returncode, 0)
            self.succeeds(watch, "underscore: warning: [^\n]*: no coordinator answers any more; this goes on when one does\n"
                          "underscore: [^\n]*: answers again\n")
            self.finish(farm, [out], "a")
        self.assertLessEqual(max(times), PATIENCE)
        report("clients that are cut off", "4 clients", f"one line <= {PATIENCE} s, or success; nothing done twice",
               f"one line after {max(times):.1f} s; success after 3 s without a network; `watch` goes on after 13 s")


if __name__ == "__main__":
    e2e.main()
