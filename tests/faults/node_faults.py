"""Workers that are stopped, told to leave, slow or broken, and a clock that is wrong."""
import json
import os
import signal
import sqlite3
import time

import faults
from faults import attempts, e2e, preloaded, report, rounds
from standin import DEVICE_LOST, StandIn, work


class Nodes(faults.Case):
    seconds = rounds(18, 150)

    def test_stopped_past_its_lease(self):
        """Stopped with a result that it has not delivered yet."""
        lease = rounds(2, 30)
        with self.farm("stopped", lease=lease) as farm:
            farm.start_coordinator()
            worker = farm.start_worker("a")
            out = self.path("stopped/out.mp4")
            self.submit(farm, out)
            self.stop_with_a_result(farm, worker)
            stopped = time.monotonic()
            farm.start_worker("b")
            farm.wait_until(lambda: os.path.exists(out), 900, every=0.1)
            time.sleep(max(0, rounds(0, 60) - (time.monotonic() - stopped)))
            whole = os.stat(out)
            worker.send_signal(signal.SIGCONT)
            farm.wait_until(lambda: "came too late" in farm.log("a"))
            self.assertEqual(os.stat(out), whole)
            self.stop(farm)
            self.check(farm, out)
        report("worker stopped past its lease, then on", f"{time.monotonic() - stopped:.0f} s",
               "its result STALE, nothing overwritten", "STALE; the film as it was")

    def test_a_coordinator_that_stands_still(self):
        """For longer than a lease: that was its own silence, nobody else's."""
        lease, times, stands = 10, rounds(1, 5), rounds(13, 30)
        with self.farm("still", lease=lease) as farm:
            farm.start_coordinator()
            for name in ("a", "b", "c"):
                farm.start_worker(name)
            outs = []
            for _ in range(times):
                self.busy(farm, outs)
                farm.coordinator.send_signal(signal.SIGSTOP)
                time.sleep(stands)
                farm.coordinator.send_signal(signal.SIGCONT)
                self.busy(farm, outs)
            self.wait(farm, *outs)
            self.stop(farm)
            for sign in ("is lost", "its lease has ended"):
                self.assertNotIn(sign, farm.log("coordinator"))
            vain, segments = self.check(farm, *outs)
            self.assertEqual(vain, 0)
        report("coordinator stopped past a lease", f"{times} times, {stands} s", "nobody is lost",
               f"{segments} segments, none done again")

    def stop_with_a_result(self, farm, worker):
        def results():
            return {int(name.split("-")[0]) for name in os.listdir(farm.path("a"))
                    if name.endswith(".safetensors") and name[0].isdigit()}
        def became_of(held):
            return {a["outcome"] for a in attempts(farm) if a["attempt"] in held}
        farm.wait_until(lambda: os.path.isdir(farm.path("a")))
        for _ in range(1000):
            farm.wait_until(results, 300, every=0.0005)
            worker.send_signal(signal.SIGSTOP)
            time.sleep(0.3) # most of what it had sent has come
            held = results()
            if "live" in became_of(held):
                farm.wait_until(lambda: "live" not in became_of(held), every=0.1)
                if "lost" in became_of(held): # not what the coordinator had whole, and was still looking at
                    return
            worker.send_signal(signal.SIGCONT) # a moment too late
        self.fail("it was never caught with a result")

    def test_told_to_leave(self):
        """It finishes, delivers and leaves with 0, again and again, and nothing that was begun is run again."""
        times, outs = rounds(2, 20), []
        with self.farm("drain", prefetch=1) as farm:
            farm.start_coordinator()
            for n in range(times):
                if not outs or os.path.exists(outs[-1]):
                    outs.append(self.path(f"drain/{n}.mp4"))
                    self.submit(farm, outs[-1])
                worker = farm.start_worker("a", "--cache-dir", self.path("cache"))
                begun = farm.log("a").count(" begun: ")
                farm.wait_until(lambda: farm.log("a").count(" begun: ") > begun, 120)
                worker.send_signal(signal.SIGTERM)
                self.assertEqual(worker.wait(timeout=120), 0)
            farm.start_worker("a", "--cache-dir", self.path("cache"))
            self.wait(farm, *outs)
            self.stop(farm)
            vain, segments = self.check(farm, *outs)
            self.assertEqual(vain, 0)
            self.assertEqual(farm.log("a").count(" begun: "), segments)
        report("SIGTERM drain", f"{times} times", "exit 0, nothing run again", f"exit 0, {segments} segments begun once each")

    def test_wall_clock(self):
        """A day forth and a day back: leases go by another clock."""
        clock = self.path("days")
        def set_clock(days):
            with open(clock + ".new", "w") as f:
                f.write(str(days * 86400))
            os.rename(clock + ".new", clock)
        set_clock(0)
        with self.farm("clock", lease=10) as farm:
            with preloaded(FAULT_CLOCK=clock):
                farm.start_coordinator()
                farm.start_worker("a")
            out = self.path("clock/out.mp4")
            self.submit(farm, out)
            times = []
            for days in (1, -1, 0):
                done = farm.done_segments()
                farm.wait_until(lambda: farm.done_segments() > done, 300)
                set_clock(days)
                farm.wait_until(lambda: farm.done_segments() > done + 1, 300)
            self.wait(farm, out)
            times = sorted(a["leased_ms"] for a in attempts(farm))
            self.assertGreater(times[-1] - times[0], 1.9 * 86400e3) # it was believed
            self.stop(farm)
            self.check(farm, out)
            self.assertEqual([a for a in farm.log("coordinator").splitlines() if "lease has ended" in a or "is lost" in a],
                             [])
        report("wall clock +-1 day", "3 jumps", "no lease expires", "none")


class Hung(StandIn):
    """Its leases end at its own clock, as a worker's do, and it asks for others."""
    lease = 1

    def step(self):
        super().step()
        self.moved = 0
        for attempt in [a for a, task in self.tasks.items() if time.monotonic() > task["ends"]]:
            del self.tasks[attempt]

    def on_lease(self, m, now):
        super().on_lease(m, now)
        self.tasks[m["attempt"]] |= {"due": float("inf"), "ends": now + self.lease}


class Fleets(faults.Case):
    """Workers that compose silence in a stated time: what they make is not listened to."""
    seconds = rounds(45, 300)

    def states(self, farm):
        return json.loads(farm.ask("show", 1, "--json").stdout)

    def test_one_that_fails_everything(self):
        with self.farm("broken") as farm, StandIn(farm, "broken", 1, fails=DEVICE_LOST) as broken, \
                StandIn(farm, "sound", 2, rate=10) as sound:
            farm.start_coordinator()
            both = [broken, sound]
            work(both, lambda: broken.welcome and sound.welcome)
            out = self.path("broken/out.mp4")
            self.submit(farm, out)
            work(both, lambda: os.path.exists(out), 600)
            failed = [a for a in attempts(farm) if a["outcome"] not in ("accepted", "superseded")]
            self.assertEqual({(a["worker"], a["outcome"]) for a in failed}, {("broken", "device_lost")})
            self.assertIn(len(failed), range(3, 7)) # it may ask twice at once: what is lost together counts once
            self.assertTrue(json.loads(farm.ask("node", "show", "broken", "--json").stdout)["quarantined"])
            self.assertEqual(self.states(farm)["state"], "DONE")
            self.stop(farm)
            self.assertEqual(farm.check_ledger(), [])
            self.assertEqual(e2e.samples(out), self.samples)
        report("a worker that fails everything fast", "1 film", "quarantined after 3, no job fails",
               f"quarantined after {len(failed)}, the job is done")

    def test_one_that_loses_its_gpu_once(self):
        """With many segments side by side: one failure, however many it takes with it."""
        with self.farm("once") as farm, StandIn(farm, "once", 1, rate=10, slots=8) as worker:
            farm.start_coordinator()
            work([worker], lambda: worker.welcome)
            out = self.path("once/out.mp4")
            self.submit(farm, out)
            work([worker], lambda: len(worker.tasks) > 3)
            worker.lose_gpu()
            work([worker], lambda: os.path.exists(out), 600)
            failed = [a for a in attempts(farm) if a["outcome"] == "device_lost"]
            self.assertGreater(len(failed), 3)
            self.assertFalse(json.loads(farm.ask("node", "show", "once", "--json").stdout)["quarantined"])
            self.stop(farm)
            self.assertEqual(farm.check_ledger(), [])
        report("a worker that loses its GPU once", f"{len(failed)} segments", "no quarantine", "none, the job is done")

    def test_one_that_hangs(self):
        """It beats and asks for work, and gets on with none: a GPU that never answers, a network that keeps
        from it what is large."""
        with self.farm("hung", lease=1) as farm, Hung(farm, "hung", 1, prefetch=2) as hung, \
                StandIn(farm, "sound", 2, rate=5) as sound:
            farm.start_coordinator()
            both = [hung, sound]
            work(both, lambda: hung.welcome and sound.welcome)
            out = self.path("hung/out.mp4")
            self.submit(farm, out)
            seen, until = set(), time.monotonic() + 600
            while (job := self.states(farm))["state"] not in ("DONE", "FAILED") and time.monotonic() < until:
                work(both, lambda until=time.monotonic() + 1: time.monotonic() > until)
                seen.add(json.loads(farm.ask("node", "show", "hung", "--json").stdout)["state"])
            self.assertEqual(job["state"], "DONE", job["reason"])
            self.assertIn("RESTING", seen)
            lost = [a for a in attempts(farm) if a["outcome"] == "lost"]
            self.assertEqual({a["worker"] for a in lost}, {"hung"})
            self.stop(farm)
            self.assertEqual(farm.check_ledger(), [])
        report("a worker that hangs, and beats", "1 film", "rests, no job fails",
               f"{len(lost)} attempts lost, the job is done")

    def test_one_ten_times_slower(self):
        """The last of the work is what counts: nobody waits for the slow one at the end."""
        rates = rounds([2.0, 2.0, 2.0, 0.2], [1.0, 1.0, 1.0, 0.1])
        with self.farm("slow") as farm:
            farm.start_coordinator()
            workers = [StandIn(farm, f"n{i}", i + 1, rate=rate) for i, rate in enumerate(rates)]
            work(workers, lambda: all(w.welcome for w in workers))
            out = self.path("slow/out.mp4")
            self.submit(farm, out)
            work(workers, lambda: os.path.exists(out), 900)
            done = [a for a in attempts(farm) if a["outcome"] == "accepted"]
            took = (max(a["ended_ms"] for a in done) - min(a["leased_ms"] for a in done)) / 1000
            for w in workers:
                w.__exit__()
            self.stop(farm)
            self.assertEqual(farm.check_ledger(), [])
            ideal = self.music(farm) / sum(rates)
        self.assertLessEqual(took, rounds(1.8, 1.3) * ideal) # a machine that is busy otherwise gets more
        report("one worker 10 times slower", f"{len(rates)} workers", "makespan <= 1.3 x ideal",
               f"{took:.1f} s, ideal {ideal:.1f} s: {took / ideal:.2f}")

    def music(self, farm):
        db = sqlite3.connect(farm.path("coordinator", "ledger.db"))
        (ms,) = db.execute("SELECT sum(audio_ms) FROM segments").fetchone()
        db.close()
        return ms / 1000


if __name__ == "__main__":
    e2e.main()
