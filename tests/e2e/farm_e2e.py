"""A farm gives the track that one machine gives, whoever dies on the way."""
import json
import os
import resource
import shutil
import signal
import struct
import tempfile
import time

import e2e
from e2e import SHORT
from farm import Farm, catches, children

SEED = ["--seed", "5"]


class OneFilm(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=9)
        done = e2e.run("score", cls.film, "-o", cls.path("alone.mp4"), "--model", cls.model, *SEED, *SHORT)
        if done.returncode:
            raise RuntimeError(done.stderr)
        cls.alone = e2e.sha256(cls.path("alone.mp4"))

    def assert_whole(self, farm, out):
        """The film is there and is the one that `score` makes, byte for byte; nothing was counted twice."""
        self.assertEqual(e2e.sha256(out), self.alone)
        self.assertEqual(farm.check_ledger(), [])
        left = [name for name in os.listdir(os.path.dirname(out)) if ".underscore-" in name or name.endswith(".part")]
        self.assertEqual(left, [])

    def submitted(self, farm, out, *args):
        done = farm.submit(self.film, out, *SEED, *SHORT, *args)
        self.assertEqual(done.returncode, 0, done.stderr + farm.log("coordinator"))
        return done

    def wait(self, farm, out):
        self.submitted(farm, out, "--wait") # the same job: it is only waited for

    def test_two_workers(self):
        with Farm(self.path("two"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a"), farm.start_worker("b")
            out = self.path("two/out.mp4")
            gone = e2e.subprocess.Popen(["true"])
            gone.wait()
            # As a child leaves it that is killed while it delivers.
            open(self.path(f"two/..underscore-1-out.mp4.{gone.pid}.part"), "w").close()
            farm.wait_until(lambda: farm.log("coordinator").count("is here: ") == 2)
            self.submitted(farm, out, "--wait")
            nodes = json.loads(farm.ask("node", "list", "--json").stdout)["nodes"]
            self.assertEqual(sum(n["done"] for n in nodes), 6)
            self.assertTrue(all(n["done"] > 0 for n in nodes), nodes)
            again = self.submitted(farm, out, "--wait")
            self.assertIn("job 1 already", again.stderr)
            self.assertEqual(farm.stop(), [0, 0, 0])
            self.assert_whole(farm, out)
            self.assertEqual(os.listdir(farm.path("coordinator", "jobs")), [])

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
            farm.start_worker("a")
            farm.wait_until(lambda: "is here: " in farm.log("coordinator"))
            farm.workers["a"].terminate()
            self.assertEqual(farm.workers["a"].wait(timeout=120), 0)
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
            farm.start_worker("a")
            farm.wait_until(lambda: "is here: " in farm.log("coordinator"))
            farm.workers["a"].terminate()
            self.assertEqual(farm.workers["a"].wait(timeout=120), 0)
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
            farm.start_worker("a")
            farm.wait_until(lambda: "is here: " in farm.log("coordinator"))
            farm.workers["a"].terminate()
            self.assertEqual(farm.workers["a"].wait(timeout=120), 0)
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

    def test_workers_killed(self):
        """With kill -9, at any moment, again and again; each begins anew."""
        with Farm(self.path("kill"), self.model, lease=3) as farm:
            farm.start_coordinator()
            out = self.path("kill/out.mp4")
            self.submitted(farm, out)
            kills = 0
            for done in (0, 1, 2, 4):
                farm.start_worker("a")
                farm.wait_until(lambda: farm.done_segments() >= done)
                time.sleep(0.3)
                if farm.workers["a"].poll() is None and not os.path.exists(out):
                    farm.workers["a"].kill()
                    farm.workers["a"].wait()
                    kills += 1
            self.assertGreaterEqual(kills, 2)
            farm.start_worker("b") # what a had is given to another
            self.wait(farm, out)
            self.assertEqual(farm.stop(), [0, 0])
            self.assert_whole(farm, out)

    def test_coordinator_killed(self):
        with Farm(self.path("head"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a"), farm.start_worker("b")
            out = self.path("head/out.mp4")
            self.submitted(farm, out)
            for done in (0, 1, 3, 5):
                farm.wait_until(lambda: farm.done_segments() >= done or os.path.exists(out))
                farm.coordinator.kill()
                farm.coordinator.wait()
                farm.start_coordinator()
            self.wait(farm, out)
            farm.coordinator.kill()
            farm.coordinator.wait()
            farm.start_coordinator() # what is over stays over
            self.wait(farm, out)
            self.assertEqual(farm.stop(), [0, 0, 0])
            self.assert_whole(farm, out)
            self.assertEqual(os.listdir(farm.path("coordinator", "jobs")), [])

    def test_a_worker_stopped_and_gone_on(self):
        """Its lease ends, another composes; what it says afterwards changes nothing."""
        with Farm(self.path("stopped"), self.model, lease=2) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            out = self.path("stopped/out.mp4")
            self.submitted(farm, out)
            farm.wait_until(lambda: "to a" in farm.log("coordinator"), every=0.005)
            farm.workers["a"].send_signal(signal.SIGSTOP)
            farm.start_worker("b")
            self.wait(farm, out)
            farm.workers["a"].send_signal(signal.SIGCONT)
            time.sleep(2)
            self.assertEqual(farm.stop(), [0, 0, 0])
            self.assert_whole(farm, out)

    def test_a_worker_told_to_leave(self):
        """SIGTERM: it finishes, delivers and leaves with 0; nothing is composed twice."""
        with Farm(self.path("drain"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            out = self.path("drain/out.mp4")
            self.submitted(farm, out)
            farm.wait_until(lambda: farm.done_segments() >= 1)
            farm.workers["a"].send_signal(signal.SIGTERM)
            self.assertEqual(farm.workers["a"].wait(timeout=120), 0)
            self.assertNotIn("safetensors", "".join(os.listdir(farm.path("a"))))
            farm.start_worker("b")
            self.wait(farm, out)
            self.assertEqual(farm.stop(), [0, 0])
            self.assert_whole(farm, out)

    def test_a_worker_told_to_leave_while_the_coordinator_is_away(self):
        """It waits for it as long as a lease lasts, and leaves with 0; what it composed is offered by the next one."""
        def results():
            return [name for name in os.listdir(farm.path("a")) if name.endswith(".safetensors") and name[0] != "."]
        with Farm(self.path("away"), self.model, lease=3) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            out = self.path("away/out.mp4")
            self.submitted(farm, out)
            farm.wait_until(lambda: farm.done_segments() >= 1)
            farm.coordinator.send_signal(signal.SIGSTOP)
            farm.wait_until(results)
            farm.workers["a"].send_signal(signal.SIGTERM)
            self.assertEqual(farm.workers["a"].wait(timeout=60), 0)
            self.assertTrue(results())
            farm.coordinator.send_signal(signal.SIGCONT)
            farm.start_worker("a")
            self.wait(farm, out)
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(results(), [])
            self.assert_whole(farm, out)

    def test_a_worker_told_to_leave_while_it_starts(self):
        with Farm(self.path("early"), self.model) as farm:
            farm.start_coordinator()
            worker = farm.start_worker("a")
            farm.wait_until(lambda: catches(worker.pid, signal.SIGTERM), every=0.001)
            worker.send_signal(signal.SIGTERM)
            self.assertEqual(worker.wait(timeout=120), 0)
            self.assertEqual(farm.stop(), [0])


class Jobs(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=9)

    def job(self, farm, number=1):
        return json.loads(farm.ask("show", number, "--json").stdout)

    def test_orders(self):
        with Farm(self.path("orders"), self.model) as farm:
            farm.start_coordinator()
            out = self.path("orders/out.mkv")
            self.assertEqual(farm.submit(self.film, out, *SHORT).returncode, 0)
            self.assertIn("no worker", farm.ask("explain", 1).stdout)
            farm.start_worker("a")
            farm.wait_until(lambda: self.job(farm)["state"] in ("PLANNED", "RUNNING"))
            self.assertEqual(farm.ask("pause", 1).returncode, 0)
            self.assertEqual(self.job(farm)["state"], "PAUSED")
            self.assertIn("paused", farm.ask("explain", 1).stdout)
            farm.wait_until(lambda: self.job(farm)["running"] == 0)
            done = self.job(farm)["done"]
            time.sleep(1)
            self.assertEqual(self.job(farm)["done"], done)
            self.assertEqual(farm.ask("cancel", 1).returncode, 0)
            self.assertEqual(self.job(farm)["state"], "CANCELLED")
            refused = farm.ask("pause", 1)
            self.assertEqual(refused.returncode, 65, refused.stderr)
            self.assertIn("CANCELLED", refused.stderr)
            self.assertEqual(farm.ask("retry", 1).returncode, 0)
            farm.wait_until(lambda: self.job(farm)["state"] == "DONE")
            self.assertEqual([j["job"] for j in json.loads(farm.ask("list", "-a", "--json").stdout)["jobs"]], [1])
            self.assertEqual(json.loads(farm.ask("list", "--json").stdout)["jobs"], [])
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def test_a_model_s_licence_is_shown(self):
        licence, model = self.path("LICENSE"), self.path("licensed.safetensors")
        with open(licence, "w") as f:
            f.write("Not for sale.\nReally \u00e9.\n" + "More of it.\n" * 99)
        done = e2e.run("import", "tests/golden/tiny-a/state_dict.bin", "tests/golden/tiny-a/compression_state_dict.bin",
                       "-o", model, "--license", licence)
        self.assertEqual(done.returncode, 0, done.stderr)
        with Farm(self.path("licence"), model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            self.assertEqual(farm.submit(self.film, self.path("licence/out.mp4"), *SHORT).returncode, 0)
            farm.wait_until(lambda: self.job(farm)["model"])
            self.assertEqual(self.job(farm)["model"], e2e.sha256(model))
            self.assertTrue(self.job(farm)["license"].startswith("Not for sale."), self.job(farm))
            self.assertIn("licence: Not for sale.", farm.ask("show", 1).stdout)
            self.assertIn("the model's licence: Not for sale.", farm.log("a"))
            self.assertEqual(farm.stop(), [0, 0])

    def test_what_is_refused(self):
        with Farm(self.path("refused"), self.model) as farm:
            farm.start_coordinator()
            os.symlink("/etc/hostname", self.path("link.mp4"))
            with open(self.path("there.mp4"), "w") as f:
                f.write("precious")
            for film, out, says in ((self.path("absent.mp4"), self.path("x.mp4"), "absent.mp4"),
                                    ("/etc/hostname", self.path("x.mp4"), "not a file in a folder"),
                                    (self.path("link.mp4"), self.path("x.mp4"), "not a file in a folder"),
                                    (self.film, "/tmp/x.mp4", "may write to"),
                                    (self.film, self.film, "the film itself"),
                                    (self.film, self.path("there.mp4"), "exists")):
                done = farm.submit(film, out, *SHORT)
                self.assertEqual(done.returncode, 65, done.stdout + done.stderr)
                self.assertIn(says, done.stderr)
            self.assertEqual(farm.ask("show", 77).returncode, 65)
            self.assertEqual(json.loads(farm.ask("list", "-a", "--json").stdout)["jobs"], [])
            self.assertEqual(farm.stop(), [0])

    def test_a_corrupt_film_fails_its_job_alone(self):
        with Farm(self.path("corrupt"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            bad = self.path("bad.mp4")
            with open(bad, "wb") as f:
                f.write(b"Dear Sir or Madam,\n" * 1000)
            done = farm.submit(bad, self.path("corrupt/bad-out.mp4"), *SHORT, "--wait")
            self.assertEqual(done.returncode, 65, done.stderr)
            self.assertIn("bad.mp4", done.stderr)
            good = farm.submit(self.film, self.path("corrupt/out.mp4"), *SHORT, "--wait")
            self.assertEqual(good.returncode, 0, good.stderr)
            self.assertEqual(farm.stop(), [0, 0])

    def test_nobody_there(self):
        done = e2e.run("list", "--farm", f"ipc:///tmp/nobody-{os.getpid()}")
        self.assertEqual(done.returncode, 69, done.stderr)


if __name__ == "__main__":
    e2e.main()
