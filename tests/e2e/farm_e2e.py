"""A farm gives the track that one machine gives, whoever dies on the way."""
import json
import os
import signal
import time

import e2e
from e2e import SHORT
from farm import Farm, OneFilm, catches


class Processes(OneFilm):
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
