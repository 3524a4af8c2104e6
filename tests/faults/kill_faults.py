"""Many segments over many workers, undisturbed and with everybody killed again and again."""
import json
import os
import random
import signal
import time

import faults
from faults import attempts, e2e, kill, preloaded, report, rounds
from farm import children

LEASE = 5


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return 0
    return 1


class Crowd(faults.Case):
    seconds = rounds(36, 375) # 24 segments, 250

    def test_many_segments_over_eight_workers(self):
        with self.farm("crowd") as farm:
            farm.start_coordinator()
            for i in range(8):
                farm.start_worker(f"w{i}", "--cache-dir", self.path("cache"))
            outs = [self.path(f"crowd/{i}.mp4") for i in range(rounds(1, 4))]
            start = time.monotonic()
            for out in outs:
                self.submit(farm, out)
            self.wait(farm, *outs, seconds=3600)
            took = time.monotonic() - start
            self.stop(farm)
            vain, segments = self.check(farm, *outs)
            self.assertEqual(vain, 0)
        report("many segments, 8 workers", f"{segments} segments", "0 lost, 0 doubled, equal to the undisturbed run",
               f"0 lost, 0 doubled, equal; {segments / took:.1f} segments/s")


class Kills(faults.Case):
    seconds = rounds(18, 90)

    def start_workers(self, farm, names):
        for name in names:
            farm.start_worker(name, "--cache-dir", self.path("cache"))

    def test_workers(self):
        """At any moment. What a killed one had is another's when its lease ends, or when it is back."""
        kills, slowest, outs = rounds(3, 50), 0, []
        chance = random.Random(1)
        with self.farm("workers", lease=LEASE) as farm:
            farm.start_coordinator()
            self.start_workers(farm, "abc")
            for n in range(kills):
                self.busy(farm, outs)
                time.sleep(chance.random())
                name = chance.choice("abc")
                kill(farm.workers[name])
                if n % 2 == 0: # it stays away for longer than its lease
                    slowest = max(slowest, self.recovery(farm, name, len(outs)))
                self.start_workers(farm, name)
            self.wait(farm, *outs)
            self.stop(farm)
            vain, segments = self.check(farm, *outs)
        self.assertLessEqual(slowest, LEASE + rounds(60, 5)) # a busy machine gets more
        report("kill -9 of workers", f"{kills} kills", f"the same; recovery <= lease + 5 s = {LEASE + 5} s",
               f"{segments} segments, {vain} attempts in vain; slowest recovery {slowest:.1f} s")

    def recovery(self, farm, name, job):
        """Seconds until nothing is held by a worker that is no more."""
        start = time.monotonic()
        def none_held():
            return not [a for a in attempts(farm, job) if a["worker"] == name and a["outcome"] == "live"]
        farm.wait_until(none_held, 120, every=0.1)
        return time.monotonic() - start

    def test_signals_to_all_of_the_coordinator(self):
        """As Ctrl-C, `systemctl stop` and `killall -HUP underscored` send them: its children get them, too, and are
        nobody's fault."""
        outs, sent = [self.path("signals/0.mp4")], 0
        with self.farm("signals") as farm:
            farm.start_coordinator()
            self.start_workers(farm, "a")
            self.submit(farm, outs[0])
            while not os.path.exists(outs[0]):
                # Not to a copy of the coordinator that is about to become one.
                for child in [pid for pid, line in children(farm.coordinator.pid) if "--child" in line]:
                    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                        sent += send(child, number)
                self.assertNotIn("failed: ", farm.log("coordinator"))
                time.sleep(0.02)
            self.stop(farm)
            self.check(farm, *outs)
        self.assertGreater(sent, 10)
        report("signals to what reads films", f"{sent} signals", "no job fails", "1 film, whole")

    def test_coordinator_at_any_moment(self):
        kills, slowest, outs = rounds(3, 50), 0, []
        chance = random.Random(2)
        with self.farm("moments") as farm:
            farm.start_coordinator()
            self.start_workers(farm, "ab")
            for _ in range(kills):
                self.busy(farm, outs)
                time.sleep(chance.random())
                kill(farm.coordinator)
                farm.start_coordinator()
                slowest = max(slowest, self.ready_again(farm))
            self.judge(farm, outs, "kill -9 of the coordinator", f"{kills} kills", slowest)

    def test_coordinator_at_each_commit_point(self):
        """Instead of each word to the disk, and right after it: each life gets one further than the last."""
        most, lives, outs = rounds(9, 100), 0, []
        with self.farm("commits") as farm:
            farm.start_coordinator()
            for n in range(rounds(1, 4)):
                outs.append(self.path(f"commits/{n}.mp4"))
                self.submit(farm, outs[n])
            self.start_workers(farm, "ab")
            for n in range(1, most + 1):
                for after in ("", "+"):
                    kill(farm.coordinator)
                    lives += self.live(farm, f"{n}{after}", outs)
            farm.start_coordinator()
            self.judge(farm, outs, "kill -9 at each commit point", f"{lives} kills", self.ready_again(farm))
        self.assertGreaterEqual(lives, rounds(8, 50)) # it did die

    def live(self, farm, until, outs):
        """A life of the coordinator, and whether it ended where it was to: it may have had too little to write."""
        def all_done():
            return all(os.path.exists(out) for out in outs)
        if all_done():
            return 0
        with preloaded(FAULT_DIE=until):
            farm.start_coordinator()
        farm.wait_until(lambda: farm.coordinator.poll() is not None or all_done(), 300)
        if farm.coordinator.poll() is None:
            return 0
        self.assertEqual(farm.coordinator.returncode, -9, farm.log("coordinator"))
        return 1

    def open_jobs(self, farm):
        done = farm.ask("list", "--json")
        return json.loads(done.stdout)["jobs"] if done.returncode == 0 else ["?"]

    def judge(self, farm, outs, test, count, slowest):
        self.wait(farm, *outs)
        farm.wait_until(lambda: not self.open_jobs(farm)) # the last kill may have come between a film and its commit
        self.stop(farm)
        vain, segments = self.check(farm, *outs)
        self.assertLessEqual(slowest, rounds(60, 5))
        self.assertLessEqual(vain, segments / 100)
        report(test, count, "the same; <= 1 % done again; ready again <= 5 s",
               f"{segments} segments, {vain} done again; ready again after {slowest:.1f} s")


if __name__ == "__main__":
    e2e.main()
