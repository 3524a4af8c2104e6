"""A disk that fills up, on either side: all waits, nothing is lost, and it goes on by itself."""
import json
import os
import shutil
import subprocess
import time
import unittest

import faults
from faults import e2e, preloaded, report, rounds


@unittest.skipUnless(os.geteuid() == 0, "only root can mount a small tmpfs")
class Disks(faults.Case):
    seconds = rounds(18, 150)

    def small_disk(self, farm, name, megabytes):
        """A folder of a farm that is a disk by itself."""
        folder = farm.path(name)
        os.makedirs(folder)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", folder], capture_output=True, text=True)
        if done.returncode:
            self.skipTest("no tmpfs can be mounted here: " + done.stderr.strip())
        self.addCleanup(subprocess.run, ["umount", "-l", folder])
        return folder

    def fill(self, folder):
        """Whatever room there is: again and again, for a result or pictures that are done with leave some behind."""
        with open(os.path.join(folder, "ballast"), "ab", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                return

    def fill_until_noticed(self, farm, folder):
        full = len(self.complaints(farm))

        def noticed():
            self.fill(folder)
            return len(self.complaints(farm)) > full
        farm.wait_until(noticed)

    def fill_and_make_room(self, side):
        """Again and again: full at some moment of the work, for some seconds after the first complaint."""
        times, stays = rounds(1, 4), rounds(3, 40)
        with self.farm(side, lease=rounds(20, 30)) as farm:
            folder = self.small_disk(farm, {"worker": "a"}.get(side, side), 64)
            farm.start_coordinator()
            farm.start_worker("a")
            out, noticed = self.path(f"{side}/out.mp4"), 0
            self.submit(farm, out)
            for n in range(times):
                done = farm.done_segments()
                farm.wait_until(lambda: farm.done_segments() > done, 300)
                self.fill_until_noticed(farm, folder)
                time.sleep(stays)
                self.assertFalse(os.path.exists(out))
                self.assertEqual((farm.coordinator.poll(), farm.workers["a"].poll()), (None, None), farm.log("a"))
                self.assertEqual(farm.ask("show", 1).returncode, 0)
                os.unlink(os.path.join(folder, "ballast"))
                noticed += 1
            self.wait(farm, out)
            self.stop(farm)
            vain, segments = self.check(farm, out)
        report(f"full disk of the {side}", f"{times} times, {stays} s", "pause, no corruption, on by itself",
               f"{segments} segments, {vain} done again")

    def test_under_a_film(self):
        """Sectors that cannot be read: tried again, less and less often, and nobody else waits for that."""
        bad, kept = self.path("bad.mp4"), self.path("unreadable")
        shutil.copy(self.film, bad)
        with self.farm("bad", lease=30) as farm:
            with preloaded(FAULT_BAD=kept):
                farm.start_coordinator()
            farm.start_worker("a")
            first, second, good = (self.path(f"bad/{name}.mp4") for name in ("first", "second", "good"))
            self.assertEqual(farm.submit(bad, first, *faults.SETTINGS).returncode, 0)
            farm.wait_until(lambda: farm.done_segments() > 0, 300) # planned, and some pictures are there
            with open(kept, "w") as f:
                f.write(bad)
            self.assertEqual(farm.submit(bad, second, *faults.SETTINGS).returncode, 0)
            short = e2e.make_film(self.path("short.mp4"), seconds=2)
            self.assertEqual(farm.submit(short, good, *faults.SETTINGS).returncode, 0)
            self.wait(farm, good)
            for says in ("job 1: ", "job 2: "):
                for seconds in (5, 10):
                    farm.wait_until(lambda: any(says in line and f"again in {seconds} s" in line
                                                for line in farm.log("coordinator").splitlines()), 120)
            self.assertFalse(os.path.exists(first) or os.path.exists(second))
            self.assertEqual(farm.ask("cancel", 2).returncode, 0)
            os.unlink(kept)
            self.wait(farm, first)
            self.stop(farm)
            self.assertEqual(farm.check_ledger(), [])
            self.assertEqual(e2e.sha256(first), self.alone)
        report("a film on a bad disk", "2 films", "no other waits, on by itself", "tried again after 5, 10, ... s")

    def test_under_outputs_that_can_do_little(self):
        """Neither links nor a rename that replaces nothing, as on many file systems in user space."""
        with self.farm("plain") as farm:
            with preloaded(FAULT_PLAIN="1"):
                farm.start_coordinator()
            farm.start_worker("a")
            first, second = self.path("plain/first.mp4"), self.path("plain/second.mp4")
            self.submit(farm, first)
            self.wait(farm, first, seconds=300)
            self.submit(farm, second) # somebody puts a file there meanwhile
            with open(second, "w") as f:
                f.write("precious")
            farm.wait_until(lambda: json.loads(farm.ask("show", 2, "--json").stdout)["state"] == "HELD", every=0.2)
            self.assertEqual(os.path.getsize(second), len("precious"))
            self.stop(farm)
            self.assertEqual(farm.check_ledger(), [])
            self.assertEqual(e2e.sha256(first), self.alone)
        report("outputs on a plain file system", "2 films", "delivered; nothing replaced", "1 delivered, 1 held")

    def test_under_results(self):
        """A worker whose disk does not take them leaves after some tries, and others have its work."""
        with self.farm("failing", lease=300) as farm:
            out = self.path("failing/out.mp4")
            with preloaded(FAULT_SYNC=os.path.realpath(self.path("failing/a")) + "/"):
                bad = farm.start_worker("a")
            farm.start_coordinator()
            self.submit(farm, out)
            farm.wait_until(lambda: bad.poll() is not None)
            self.assertEqual(bad.returncode, 74, farm.log("a"))
            self.assertIn("cannot write: Input/output error", farm.log("a"))
            self.assertEqual(os.listdir(farm.path("a")), [])
            farm.start_worker("b")
            left = time.monotonic()
            self.wait(farm, out)
            took = time.monotonic() - left
            self.assertLess(took, 300) # nobody waited for a lease to end
            del farm.workers["a"]
            self.stop(farm)
            self.check(farm, out)
        report("a worker whose disk fails", "1 worker", "it leaves, others go on", f"exit 74; the film {took:.0f} s after that")

    def test_no_room_for_a_new_film(self):
        """The ledger has it, its folder cannot be made: it waits, submitted by somebody or watched."""
        with self.farm("inodes") as farm:
            folder = self.small_disk(farm, "coordinator", 64)
            watched, scored = farm.path("in"), farm.path("out")
            os.makedirs(watched), os.makedirs(scored)
            farm.start_coordinator("--watch", watched, "--watch-output", scored, "--watch-settle", 1)
            farm.start_worker("a")
            farm.wait_until(lambda: "is here" in farm.log("coordinator"))
            used = os.statvfs(folder)
            subprocess.run(["mount", "-o", f"remount,nr_inodes={used.f_files - used.f_ffree}", folder], check=True)
            out = self.path("inodes/out.mp4")
            farm.submit(self.film, out, *faults.SETTINGS)
            shutil.copy(e2e.make_film(self.path("small.mkv"), seconds=2), os.path.join(watched, "small.mkv"))
            farm.wait_until(lambda: "small.mkv for watch" in farm.log("coordinator") and self.complaints(farm))
            self.assertIsNone(farm.coordinator.poll())
            subprocess.run(["mount", "-o", "remount,nr_inodes=100000", folder], check=True)
            self.wait(farm, out, os.path.join(scored, "small.mkv"), seconds=300)
            self.stop(farm)
            self.assertEqual(farm.check_ledger(), [])
            self.assertEqual(e2e.sha256(out), self.alone)
        report("no room for a new film", "2 films", "both wait, on by itself", "both done")

    def complaints(self, farm):
        return [line for name in ("coordinator", "a") for line in farm.log(name).splitlines()
                if "No space left" in line or "disk is full" in line]

    def test_of_the_coordinator(self):
        self.fill_and_make_room("coordinator")

    def test_of_a_worker(self):
        self.fill_and_make_room("worker")


if __name__ == "__main__":
    e2e.main()
