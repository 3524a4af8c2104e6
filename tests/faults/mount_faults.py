"""A file system whose server is gone: calls there do not come back. What lies elsewhere goes on."""
import json
import os
import shutil
import time

import faults
from faults import e2e, preloaded, report
from farm import children

ANSWER = 20 # s, of a machine that is busy; one that waits for the server has none at all


class Mounts(faults.Case):
    def put(self, name):
        with open(name, "w"):
            pass
        self.addCleanup(lambda: os.path.exists(name) and os.unlink(name))

    def asked(self, farm, *args):
        start = time.monotonic()
        done = farm.ask(*args)
        self.assertLess(time.monotonic() - start, ANSWER, args)
        return done

    def hanging(self, farm, job, what):
        return any(f"--child {what} " in line and f"/jobs/{job} " in line
                   for line in (" ".join(command) for _, command in children(farm.coordinator.pid)))

    def state(self, farm, job):
        return json.loads(self.asked(farm, "show", job, "--json").stdout)["state"]

    def test_one_of_two_media_folders_is_dead(self):
        """With films of it under way in every place for children, and a folder of it watched."""
        nas, good = self.path("nas"), self.path("mounts/good.mp4")
        film, first, second = (os.path.join(nas, name) for name in ("film.mp4", "first.mp4", "second.mp4"))
        watched, scored = os.path.join(nas, "in"), os.path.join(nas, "out")
        os.makedirs(watched), os.makedirs(scored)
        e2e.ffmpeg("-stream_loop", 2, "-i", self.film, "-map", "0:v", "-map", "0:a", "-c", "copy", film)
        with open(self.path("conf"), "w") as f:
            f.write("films = 2;\n")
        with self.farm("mounts") as farm:
            with preloaded(FAULT_HANG=nas):
                farm.start_coordinator("--config", self.path("conf"), "--media", nas, "--watch", watched,
                                       "--watch-output", scored, "--watch-settle", 1)
            farm.start_worker("a")
            farm.wait_until(lambda: "is here" in farm.log("coordinator"))
            self.assertEqual(farm.submit(film, first, *faults.SETTINGS).returncode, 0)
            farm.wait_until(lambda: farm.done_segments() > 0)
            self.put(nas + ".slow")
            self.assertEqual(farm.submit(film, second, *faults.SETTINGS).returncode, 0)
            farm.wait_until(lambda: self.hanging(farm, 1, "frames") and self.hanging(farm, 2, "plan"))
            self.put(nas + ".dead")
            start = time.monotonic()
            self.submit(farm, good)
            refused = self.asked(farm, "submit", film, "-o", os.path.join(nas, "third.mp4"))
            self.assertEqual(refused.returncode, 69, refused.stderr)
            self.assertIn(f"{film}: its file system does not answer; try again when it does", refused.stderr)
            self.assertIn("does not answer", self.asked(farm, "explain", 1).stdout)
            self.assertEqual(self.asked(farm, "cancel", 2).returncode, 0)
            farm.wait_until(lambda: not self.hanging(farm, 2, "plan"))
            self.wait(farm, good)
            took = time.monotonic() - start
            self.assertEqual(self.asked(farm, "config", "reload").returncode, 0)
            self.assertNotIn(self.state(farm, 1), ("FAILED", "DONE"))
            shutil.copy(e2e.make_film(self.path("short.mp4"), seconds=2), os.path.join(watched, "short.mp4"))
            os.unlink(nas + ".dead"), os.unlink(nas + ".slow")
            self.wait(farm, first, os.path.join(scored, "short.mp4"))
            farm.wait_until(lambda: (self.state(farm, 1), self.state(farm, 2)) == ("DONE", "CANCELLED"), every=0.2)
            self.stop(farm)
            log = farm.log("coordinator")
            self.assertEqual(farm.check_ledger(), [])
            self.assertEqual(e2e.sha256(good), self.alone)
            self.assertEqual(e2e.samples(first), e2e.samples(film))
            self.assertEqual(sorted(os.listdir(nas)), ["film.mp4", "first.mp4", "in", "out"])
            self.assertEqual(log.count(f"{nas}: its file system does not answer;"), 1, log)
            self.assertEqual(log.count(f"{nas}: answers again"), 1, log)
        report("a dead file system", "1 of 2", "the other's films go on, and its own when it is back",
               f"a film of 9 s took {took:.0f} s meanwhile")


if __name__ == "__main__":
    e2e.main()
