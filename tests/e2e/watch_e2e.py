"""Watched folders: what appears there is scored by itself, once, when it is whole."""
import json
import os
import shutil

import e2e
from farm import Farm


class Watched(e2e.Case):
    def jobs(self, farm):
        return json.loads(farm.ask("list", "-a", "--json").stdout)["jobs"]

    def test_films_that_appear(self):
        film = e2e.make_film(self.path("film.mkv"), seconds=2)
        with Farm(self.path("farm"), self.model) as farm:
            for name in ("in", "out"):
                os.makedirs(farm.path(name))
            options = ["--watch", farm.path("in"), "--watch-output", farm.path("out"), "--watch-settle", 4]
            farm.start_coordinator(*options)
            farm.start_worker("a")
            farm.wait_until(lambda: "is here" in farm.log("coordinator"))
            with open(farm.path("in", "note.txt"), "w") as f:
                f.write("no film")
            with open(farm.path("in", "bad.mp4"), "w") as f:
                f.write("no film either")
            with open(farm.path("in", "late.mkv"), "wb") as f, open(film, "rb") as whole:
                data = whole.read()
                f.write(data[:100]) # it is being copied; meanwhile nobody touches it
                f.flush()
                for i in range(12):
                    e2e.subprocess.run(["sleep", "0.5"])
                    f.write(data[100 + i * 1000:1100 + i * 1000])
                    f.flush()
                self.assertNotIn("late.mkv", farm.log("coordinator"))
                f.write(data[12100:])
            farm.wait_until(lambda: os.path.exists(farm.path("out", "late.mkv")))
            farm.wait_until(lambda: sorted(j["state"] for j in self.jobs(farm)) == ["DONE", "FAILED"])
            self.assertEqual({j["owner"] for j in self.jobs(farm)}, {"watch"})
            self.assertEqual(len(e2e.streams(farm.path("out", "late.mkv"), "audio")), 2)
            # A new start submits nothing again, not even what failed.
            farm.coordinator.terminate()
            self.assertEqual(farm.coordinator.wait(timeout=120), 0)
            farm.start_coordinator(*options)
            farm.wait_until(lambda: farm.log("coordinator").count("is here: ") == 2)
            e2e.subprocess.run(["sleep", "8"])
            self.assertEqual(len(self.jobs(farm)), 2)
            # An output that is there is never written over.
            shutil.copy(film, farm.path("in", "film.avi"))
            with open(farm.path("out", "film.mkv"), "w") as f:
                f.write("precious")
            farm.wait_until(lambda: "film.avi: not submitted" in farm.log("coordinator"))
            self.assertEqual(len(self.jobs(farm)), 2)
            # While no jobs are taken, films wait.
            self.assertEqual(farm.ask("queue", "disable").returncode, 0)
            shutil.copy(film, farm.path("in", "waits.mkv"))
            e2e.subprocess.run(["sleep", "8"])
            self.assertEqual(len(self.jobs(farm)), 2)
            self.assertEqual(farm.ask("queue", "enable").returncode, 0)
            farm.wait_until(lambda: os.path.exists(farm.path("out", "waits.mkv")))
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def test_films_that_are_replaced(self):
        """By older files, as `cp -p`, `rsync -a` and `mv` bring them."""
        film, other = e2e.make_film(self.path("film.mkv"), seconds=2), e2e.make_film(self.path("other.mkv"), seconds=3)
        with Farm(self.path("again"), self.model) as farm:
            def bring(path, name):
                shutil.copy(path, farm.path("new"))
                os.utime(farm.path("new"), (1e9, 1e9))
                os.rename(farm.path("new"), farm.path("in", name))
            def states():
                return [j["state"] for j in self.jobs(farm)]
            for name in ("in", "out"):
                os.makedirs(farm.path(name))
            farm.start_coordinator("--watch", farm.path("in"), "--watch-output", farm.path("out"), "--watch-settle", 1)
            farm.start_worker("a")
            farm.wait_until(lambda: "is here" in farm.log("coordinator"))
            with open(farm.path("in", "cut.mkv"), "w") as f:
                f.write("the disk was full")
            farm.wait_until(lambda: states() == ["FAILED"])
            bring(film, "cut.mkv")
            farm.wait_until(lambda: os.path.exists(farm.path("out", "cut.mkv")))
            # While it is being scored: its own turn comes.
            self.assertEqual(farm.ask("queue", "stop").returncode, 0)
            bring(film, "swap.mkv")
            farm.wait_until(lambda: os.path.exists(farm.path("coordinator", "jobs", "3", "frames", "0"))) # it is looked at
            bring(other, "swap.mkv")
            farm.wait_until(lambda: "swap.mkv: waits until job 3 is over" in farm.log("coordinator"))
            self.assertEqual(farm.ask("queue", "start").returncode, 0)
            farm.wait_until(lambda: os.path.exists(farm.path("out", "swap.mkv")))
            self.assertEqual(e2e.samples(farm.path("out", "swap.mkv")), e2e.samples(other))
            farm.wait_until(lambda: states() == ["FAILED", "DONE", "FAILED", "DONE"])
            self.assertEqual(farm.stop(), [0, 0])

    def test_a_folder_of_outputs_that_is_away(self):
        with Farm(self.path("away"), self.model) as farm:
            os.makedirs(farm.path("in"))
            e2e.make_film(farm.path("in", "film.mkv"), seconds=2)
            farm.start_coordinator("--watch", farm.path("in"), "--watch-output", farm.path("out"), "--watch-settle", 1)
            farm.start_worker("a")
            farm.wait_until(lambda: "watched films wait until it is there" in farm.log("coordinator"))
            os.makedirs(farm.path("out"))
            farm.wait_until(lambda: os.path.exists(farm.path("out", "film.mkv")))
            self.assertEqual(farm.stop(), [0, 0])

    def test_settings(self):
        start = ["--media", self.folder, "--dir", self.path("d"), "--check-config"]
        program = os.path.abspath(os.environ["UNDERSCORED"])
        os.makedirs(self.path("same"), exist_ok=True)
        os.symlink("same", self.path("link"))
        for says, args in (("need a watch-output", ["--watch", self.path("same")]),
                           ("is watched itself", ["--watch", self.path("same"), "--watch-output", self.path("link")]),
                           ("must be 1 to 86400 s", ["--watch-settle", 0])):
            done = e2e.run(*start, *args, program=program)
            self.assertEqual(done.returncode, 64, done.stderr)
            self.assertIn(says, done.stderr)


if __name__ == "__main__":
    e2e.main()
