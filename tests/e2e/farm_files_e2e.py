"""What the farm does when films, pictures, parts, folders and ledgers are not what they were."""
import json
import os
import resource
import shutil
import struct
import tempfile

import e2e
from e2e import SHORT
from farm import SEED, Farm, OneFilm, children


class Files(OneFilm):
    def come_and_go(self, farm):
        """A worker that the coordinator knows afterwards: a job is planned, and nobody composes it."""
        worker = farm.start_worker("a")
        farm.wait_until(lambda: "is here: " in farm.log("coordinator"))
        worker.terminate()
        self.assertEqual(worker.wait(timeout=120), 0)

    def test_a_film_larger_than_the_memory_of_a_child(self):
        """With a gap of 5 GB in it that takes no room here."""
        gap, film = 5 << 30, self.path("gap.mp4")
        shutil.copy(self.film, film)
        with open(film, "ab") as f:
            f.write(struct.pack(">I4sQ", 1, b"free", gap))
            f.truncate(f.tell() + gap - 16)
        with Farm(self.path("gap"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            out = self.path("gap/out.mp4")
            done = farm.submit(film, out, *SEED, *SHORT, "--wait")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(farm.stop(), [0, 0])
            self.assert_whole(farm, out)

    def test_a_film_that_is_away_for_a_moment(self):
        """As all are when their file system is: their jobs wait for it, and do not fail one after the other."""
        films, away = self.path("moment/films"), self.path("moment/unmounted")
        os.makedirs(films)
        film, out = shutil.copy(self.film, films), self.path("moment/out.mp4")
        with Farm(self.path("moment"), self.model) as farm:
            farm.start_coordinator()
            self.assertEqual(farm.submit(film, out, *SEED, *SHORT).returncode, 0)
            for n, (begin, is_due) in enumerate(((lambda: farm.start_worker("a"), lambda: True), # before it is planned
                                                 (lambda: None, lambda: farm.done_segments() > 0)), 1): # and delivered
                farm.wait_until(is_due)
                os.rename(films, away)
                begin()
                farm.wait_until(lambda: farm.log("coordinator").count("again in") == n)
                os.rename(away, films)
            farm.wait_until(lambda: "underscored: job 1 is done" in farm.log("coordinator"))
            self.assertEqual(farm.stop(), [0, 0])
            self.assert_whole(farm, out)

    def test_a_film_that_is_replaced_meanwhile(self):
        """By one of the same length: music for the first must not be delivered with the second."""
        other = self.path("other.mp4")
        e2e.ffmpeg("-i", self.film, "-vf", "negate", "-map", "0:v", "-map", "0:a", "-c:a", "copy", other)
        with Farm(self.path("replaced"), self.model) as farm:
            farm.start_coordinator()
            def job(number):
                return json.loads(farm.ask("show", number, "--json").stdout)
            for number, when in enumerate((lambda: job(1)["state"] == "PLANNED", lambda: farm.done_segments(2) > 2), 1):
                os.makedirs(self.path(f"replaced/{number}"))
                film, out = self.path(f"replaced/{number}.mp4"), self.path(f"replaced/{number}/out.mp4")
                shutil.copy(self.film, film)
                if number == 1: # the coordinator knows what its model is like, and has nobody to compose
                    farm.start_worker("a")
                    farm.wait_until(lambda: "is here: " in farm.log("coordinator"))
                    farm.ask("queue", "stop")
                self.assertEqual(farm.submit(film, out, *SEED, *SHORT).returncode, 0)
                farm.wait_until(when)
                shutil.copy(other, film + ".new")
                os.rename(film + ".new", film)
                farm.ask("queue", "start")
                farm.wait_until(lambda: job(number)["state"] in ("FAILED", "DONE"))
                self.assertIn("has changed since it was planned", job(number)["reason"])
                self.assertEqual(os.listdir(os.path.dirname(out)), [])
            self.assertEqual(farm.submit(film, out, *SEED, *SHORT, "--wait").returncode, 0) # as it is now
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def test_a_finished_part_that_is_damaged_is_composed_again(self):
        with Farm(self.path("damaged"), self.model) as farm:
            def job():
                return json.loads(farm.ask("show", 1, "--json").stdout)
            farm.start_coordinator()
            farm.start_worker("a")
            out = self.path("damaged/out.mp4")
            self.submitted(farm, out)
            farm.wait_until(lambda: job()["segments"])
            with open(out, "w") as f:
                f.write("in the way") # so that it is composed and not delivered
            farm.wait_until(lambda: job()["state"] == "HELD")
            folder = self.path("damaged/coordinator/jobs/1/parts")
            parts = sorted(name for name in os.listdir(folder) if name.startswith("c"))
            self.assertGreater(len(parts), 4)
            os.truncate(os.path.join(folder, parts[1]), 5000)
            with open(os.path.join(folder, parts[3]), "r+b") as f:
                f.write(b"nonsense")
            os.remove(os.path.join(folder, parts[-1]))
            os.remove(out)
            self.assertEqual(farm.ask("retry", 1).returncode, 0)
            farm.wait_until(lambda: job()["state"] in ("DONE", "FAILED"))
            self.assertEqual(job()["state"], "DONE", job())
            self.assertIn("3 segments are damaged or gone", farm.log("coordinator"))
            self.assertEqual(farm.stop(), [0, 0])
            self.assert_whole(farm, out)

    def test_a_folder_that_became_a_link_to_elsewhere(self):
        with Farm(self.path("swapped"), self.model) as farm, tempfile.TemporaryDirectory() as elsewhere:
            def job():
                return json.loads(farm.ask("show", 1, "--json").stdout)
            folder = self.path("swapped/out")
            out = os.path.join(folder, "out.mp4")
            os.makedirs(folder)
            farm.start_coordinator()
            farm.start_worker("a")
            self.submitted(farm, out)
            farm.wait_until(lambda: job()["segments"])
            with open(out, "w") as f:
                f.write("in the way") # so that it is composed and not delivered
            farm.wait_until(lambda: job()["state"] == "HELD")
            os.rename(folder, folder + ".before")
            os.symlink(elsewhere, folder)
            self.assertEqual(farm.ask("retry", 1).returncode, 0)
            farm.wait_until(lambda: job()["state"] not in ("HELD", "ASSEMBLING"))
            self.assertEqual(job()["state"], "FAILED")
            self.assertIn("a media folder any more", job()["reason"])
            self.assertEqual(os.listdir(elsewhere), [])
            os.remove(folder)
            os.rename(folder + ".before", folder)
            os.remove(out)
            self.assertEqual(farm.ask("retry", 1).returncode, 0)
            farm.wait_until(lambda: job()["state"] == "DONE")
            self.assertEqual(farm.stop(), [0, 0])
            self.assert_whole(farm, out)

    def test_pictures_that_are_damaged_are_made_anew(self):
        with Farm(self.path("pictures"), self.model) as farm:
            out, frames = self.path("pictures/out.mp4"), farm.path("coordinator/jobs/1/frames")
            farm.start_coordinator()
            self.come_and_go(farm)
            self.submitted(farm, out)
            def there():
                return sorted(name for name in os.listdir(frames) if name.isdigit()) if os.path.isdir(frames) else []
            def has_children():
                with open(f"/proc/{farm.coordinator.pid}/task/{farm.coordinator.pid}/children") as f:
                    return f.read() != ""
            farm.wait_until(lambda: len(there()) >= 2 and not has_children())
            os.truncate(os.path.join(frames, there()[0]), 1000)
            os.remove(os.path.join(frames, there()[1]))
            farm.start_worker("b")
            farm.wait_until(lambda: json.loads(farm.ask("show", 1, "--json").stdout)["state"] in ("DONE", "FAILED"))
            self.assertEqual(farm.stop(), [0, 0])
            self.assert_whole(farm, out)

    def test_a_new_ledger_over_what_an_old_one_left(self):
        """Numbers begin anew with it: nothing of the old job 1 may become part of the new one."""
        other = self.path("other.mp4")
        e2e.ffmpeg("-i", self.film, "-map", "0:v", "-vf", "negate", other)
        with Farm(self.path("anew"), self.model) as farm:
            out, folder = self.path("anew/out.mp4"), farm.path("coordinator")
            farm.start_coordinator()
            self.come_and_go(farm)
            self.assertEqual(farm.submit(other, out, *SEED, *SHORT).returncode, 0)
            frames = os.path.join(folder, "jobs/1/frames")
            farm.wait_until(lambda: os.path.isdir(frames) and any(name.isdigit() for name in os.listdir(frames)))
            self.assertEqual(farm.stop(), [0])
            for name in [name for name in os.listdir(folder) if name.startswith("ledger.db")]:
                os.remove(os.path.join(folder, name))
            shutil.copy(other, out) # as if it had delivered that
            st = os.stat(out)
            with open(os.path.join(folder, "jobs/1/delivered"), "w") as f:
                f.write(f"{st.st_dev} {st.st_ino} {st.st_size}\n")
            farm.start_coordinator()
            farm.start_worker("a")
            self.submitted(farm, out, "--overwrite")
            farm.wait_until(lambda: json.loads(farm.ask("show", 1, "--json").stdout)["state"] == "DONE")
            self.assertEqual(farm.stop(), [0, 0])
            self.assert_whole(farm, out)

    def test_a_job_whose_files_are_gone(self):
        """It alone fails when it is to go on, and can be submitted again."""
        with Farm(self.path("gone"), self.model) as farm:
            out = self.path("gone/out.mp4")
            farm.start_coordinator()
            farm.start_worker("a")
            self.submitted(farm, out)
            farm.wait_until(lambda: json.loads(farm.ask("show", 1, "--json").stdout)["segments"])
            self.assertEqual(farm.ask("cancel", 1).returncode, 0)
            os.rename(farm.path("coordinator/jobs/1"), farm.path("away"))
            self.assertEqual(farm.ask("retry", 1).returncode, 0)
            job = json.loads(farm.ask("show", 1, "--json").stdout)
            self.assertEqual(job["state"], "FAILED")
            self.assertIn("submit it again", job["reason"])
            self.submitted(farm, out, "--wait")
            self.assertEqual(farm.stop(), [0, 0])
            self.assert_whole(farm, out)

    def test_a_spool_that_takes_nothing(self):
        """As on a disk that has become read-only: all waits until it does again."""
        with Farm(self.path("taken"), self.model) as farm:
            outs = [self.path(f"taken/{n}.mp4") for n in (1, 2)]
            jobs, frames = farm.path("coordinator/jobs"), farm.path("coordinator/jobs/1/frames")
            def in_the_way(folder):
                os.rename(folder, farm.path("away"))
                open(folder, "w").close()
            def out_of_the_way(folder):
                os.remove(folder)
                os.rename(farm.path("away"), folder)
            farm.start_coordinator()
            self.come_and_go(farm)
            in_the_way(jobs)
            self.submitted(farm, outs[0])
            farm.wait_until(lambda: "paused: the disk does not take" in farm.log("coordinator"))
            out_of_the_way(jobs)
            farm.wait_until(lambda: os.path.isdir(frames) and any(name.isdigit() for name in os.listdir(frames)))
            farm.wait_until(lambda: not list(children(farm.coordinator.pid)))
            in_the_way(frames)
            farm.start_worker("b")
            farm.wait_until(lambda: "cannot create: Not a directory; again in 5 s" in farm.log("coordinator"))
            out_of_the_way(frames)
            self.submitted(farm, outs[1])
            farm.wait_until(lambda: all(os.path.exists(out) for out in outs))
            self.assertEqual(farm.stop(), [0, 0])
            for out in outs:
                self.assert_whole(farm, out)

    def test_too_few_open_files(self):
        done = e2e.run("--media", self.folder, "--dir", self.path("few"), program=os.environ["UNDERSCORED"],
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48)))
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertIn("no more than 48 files may be open", done.stderr)

    def test_two_coordinators_at_one_address(self):
        """The second does not take the first one's place behind its back."""
        with Farm(self.path("first"), self.model) as farm:
            farm.start_coordinator()
            farm.wait_until(lambda: farm.ask("list").returncode == 0)
            second = e2e.run("--media", self.folder, "--dir", self.path("second"), "--control", farm.control, "--bulk",
                             farm.bulk, program=os.environ["UNDERSCORED"])
            self.assertEqual(second.returncode, 69, second.stderr)
            self.assertIn("another program does", second.stderr)
            self.assertEqual(farm.ask("list").returncode, 0)
            self.assertEqual(farm.stop(), [0])

    def test_two_workers_in_one_folder(self):
        """They would take each other's results for their own."""
        with Farm(self.path("shared"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            farm.wait_until(lambda: "a" in farm.ask("node", "list").stdout)
            second = farm.start_worker("b", folder="a")
            self.assertEqual(second.wait(60), 69)
            self.assertIn("another worker keeps its results there", farm.log("b"))
            del farm.workers["b"]
            self.submitted(farm, self.path("shared/out.mp4"))
            farm.wait_until(lambda: os.path.exists(self.path("shared/out.mp4")))
            self.assertEqual(farm.stop(), [0, 0])

    def test_what_a_kill_left_of_jobs_that_are_over(self):
        """Between the ledger's word and the clearing away: the next start does it."""
        with Farm(self.path("left"), self.model) as farm:
            def job(number):
                return json.loads(farm.ask("show", number, "--json").stdout)
            outs = [self.path(f"left/{name}.mp4") for name in ("pruned", "held")]
            farm.start_coordinator()
            farm.start_worker("a")
            for number, out in enumerate(outs, 1):
                self.submitted(farm, out)
                farm.wait_until(lambda: job(number)["segments"])
                with open(out, "w") as f:
                    f.write("in the way")
                farm.wait_until(lambda: job(number)["state"] == "HELD")
            kept = farm.path("kept")
            shutil.copytree(farm.path("coordinator/jobs/1"), kept)
            self.assertEqual(farm.ask("cancel", 1).returncode, 0)
            self.assertEqual(farm.ask("db", "prune", "--older-than", "0").returncode, 0)
            self.assertEqual(farm.stop(), [0, 0])
            shutil.copytree(kept, farm.path("coordinator/jobs/1"))
            beside = self.path("left/.underscore-2-held.mp4")
            open(beside, "w").close()
            farm.start_coordinator()
            farm.wait_until(lambda: farm.ask("list").returncode == 0)
            self.assertEqual(os.listdir(farm.path("coordinator/jobs")), ["2"])
            self.assertFalse(os.path.exists(beside))
            self.assertEqual(farm.stop(), [0])


if __name__ == "__main__":
    e2e.main()
