"""Workers that come when work waits and leave when there is none."""
import os
import stat
import time

import e2e
from farm import Farm

SCRIPT = """#!/bin/sh
# Stands for sbatch: it hands over, and ends.
echo x >> {folder}/starts
{then}
n=$(wc -l < {folder}/starts)
{worker} --model {model} --control {control} --bulk {bulk} --batch 1 --prefetch 0 \\
    --name s$n --dir {folder}/s$n --leave-when-idle {idle} > {folder}/s$n.log 2>&1 &
echo $! >> {folder}/pids
"""


class Elastic(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=9)

    def script(self, farm, then="", idle=8):
        path = farm.path("start.sh")
        with open(path, "w") as f:
            f.write(SCRIPT.format(folder=farm.folder, worker=os.path.abspath(os.environ["UNDERSCORE_WORKER"]), model=self.model,
                                  control=farm.control, bulk=farm.bulk, then=then, idle=idle))
        os.chmod(path, stat.S_IRWXU)
        return path

    def starts(self, farm):
        try:
            with open(farm.path("starts")) as f:
                return len(f.readlines())
        except FileNotFoundError:
            return 0

    def most_at_once(self, farm):
        here = most = 0
        for line in farm.log("coordinator").splitlines():
            here += " is here: " in line
            here -= " leaves: " in line
            most = max(most, here)
        return most

    def end_workers(self, farm):
        """Those are nobody's children: none may be left when a test fails."""
        try:
            with open(farm.path("pids")) as f:
                pids = [int(line) for line in f]
        except FileNotFoundError:
            return
        for pid in pids:
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    ours = farm.control.encode() in f.read()
                if ours:
                    os.kill(pid, 9)
            except OSError:
                pass

    def test_they_come_and_go(self):
        """A farm without a worker, where no model is known yet: one film brings two of them, no more."""
        with Farm(self.path("farm"), self.model) as farm:
            try:
                farm.start_coordinator("--start-command", self.script(farm), "--start-most", 2, "--start-after", 0.5,
                                       "--start-pause", 1)
                out = self.path("farm/out.mp4")
                done = farm.submit(self.film, out, *e2e.SHORT, "--wait")
                self.assertEqual(done.returncode, 0, done.stderr + farm.log("coordinator"))
                farm.wait_until(lambda: farm.log("coordinator").count("leaves: it had nothing to do") == self.starts(farm), 300)
                self.assertIn(self.most_at_once(farm), (1, 2))
                self.assertNotIn("is lost", farm.log("coordinator"))
                self.assertEqual(farm.stop(), [0])
                self.assertEqual(farm.check_ledger(), [])
            finally:
                self.end_workers(farm)

    def test_a_command_that_fails(self):
        """It is said, it is tried again later and later, and the coordinator serves all the while."""
        with Farm(self.path("fails"), self.model) as farm:
            farm.start_coordinator("--start-command", self.script(farm, then="exit 3"), "--start-after", 0, "--start-pause", 1)
            self.assertEqual(farm.submit(self.film, self.path("fails/out.mp4"), *e2e.SHORT).returncode, 0)
            farm.wait_until(lambda: "it ended with status 3; the next time in 4 s" in farm.log("coordinator"), seconds=60)
            self.assertEqual(farm.ask("list").returncode, 0)
            self.assertEqual(farm.stop(), [0])

    def test_a_command_that_takes_its_time(self):
        with Farm(self.path("slow"), self.model) as farm:
            farm.start_coordinator("--start-command", self.script(farm, then="exec sleep 20"), "--start-after", 0,
                                   "--start-pause", 1)
            self.assertEqual(farm.submit(self.film, self.path("slow/out.mp4"), *e2e.SHORT).returncode, 0)
            farm.wait_until(lambda: self.starts(farm) == 1)
            farm.start_worker("a") # meanwhile all goes on
            done = farm.submit(self.film, self.path("slow/out.mp4"), *e2e.SHORT, "--wait")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(farm.stop(), [0, 0])

    def test_only_for_what_they_could_take(self):
        """Work that requires more than such a worker has starts none; what it does have does."""
        with Farm(self.path("offers"), self.model) as farm:
            try:
                farm.start_coordinator("--start-command", self.script(farm), "--start-offers", "vram=4T", "--start-most", 2,
                                       "--start-after", 0, "--start-pause", 1)
                farm.start_worker("a")
                farm.wait_until(lambda: " is here: " in farm.log("coordinator")) # a model is known
                self.submit_and_wait(farm, 1, "vram>=8T")
                time.sleep(2) # it looks twice a second
                self.assertEqual(self.starts(farm), 0)
                self.assertIn("no worker is started for it: vram>=8T is not what start-offers promises",
                              farm.ask("explain", 1).stdout)
                self.submit_and_wait(farm, 2, "vram>=3T")
                farm.wait_until(lambda: self.starts(farm) == 1)
            finally:
                self.end_workers(farm)

    def test_none_for_a_film_that_no_such_worker_could_take(self):
        """Nobody has been here, so no film can be planned: only what it requires tells."""
        with Farm(self.path("unknown"), self.model) as farm:
            try:
                farm.start_coordinator("--start-command", self.script(farm), "--start-offers", "vram=4T", "--start-most", 1,
                                       "--start-after", 0, "--start-pause", 1)
                for require in "vram>=8T", "vram>=3T":
                    self.assertEqual(self.starts(farm), 0)
                    out = self.path(f"unknown/{require[-2]}.mp4")
                    done = farm.submit(self.film, out, *e2e.SHORT, "--require", require)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    time.sleep(2)
                farm.wait_until(lambda: self.starts(farm) == 1)
                farm.wait_until(lambda: "no more workers are started: " in farm.ask("explain", 2).stdout or
                                " is here: " in farm.log("coordinator"))
            finally:
                self.end_workers(farm)

    def submit_and_wait(self, farm, job, require):
        """Until its segments wait for a worker."""
        done = farm.submit(self.film, self.path(f"offers/{job}.mp4"), *e2e.SHORT, "--require", require)
        self.assertEqual(done.returncode, 0, done.stderr)
        farm.wait_until(lambda: require in farm.ask("explain", job).stdout)

    def test_nothing_without_work(self):
        with Farm(self.path("idle"), self.model) as farm:
            farm.start_coordinator("--start-command", self.script(farm), "--start-after", 0, "--start-pause", 1)
            worker = farm.start_worker("a", "--leave-when-idle", 2)
            self.assertEqual(worker.wait(timeout=120), 0)
            farm.wait_until(lambda: "worker a leaves: it had nothing to do" in farm.log("coordinator"))
            self.assertEqual(self.starts(farm), 0)
            self.assertEqual(farm.stop(), [0])


if __name__ == "__main__":
    e2e.main()
