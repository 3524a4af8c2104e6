"""A disk that fills up, on either side: all waits, nothing is lost, and it goes on by itself."""
import os
import subprocess
import time
import unittest

import faults
from faults import e2e, report, rounds


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
        with open(os.path.join(folder, "ballast"), "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                return

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
                full = len(self.complaints(farm))
                self.fill(folder)
                farm.wait_until(lambda: len(self.complaints(farm)) > full, 120)
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

    def complaints(self, farm):
        return [line for name in ("coordinator", "a") for line in farm.log(name).splitlines()
                if "No space left" in line or "disk is full" in line]

    def test_of_the_coordinator(self):
        self.fill_and_make_room("coordinator")

    def test_of_a_worker(self):
        self.fill_and_make_room("worker")


if __name__ == "__main__":
    e2e.main()
