"""Workers that have no model get it from the coordinator, when work wants it."""
import json
import os
import shutil

import e2e
from farm import Farm


class Models(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=6)
        done = e2e.run("score", cls.film, "-o", cls.path("alone.mp4"), "--model", cls.model, *e2e.SHORT)
        if done.returncode:
            raise RuntimeError(done.stderr)
        cls.alone = e2e.sha256(cls.path("alone.mp4"))
        cls.sha256 = e2e.sha256(cls.model)

    def shelf(self, farm):
        os.makedirs(farm.path("shelf"))
        return shutil.copy(self.model, farm.path("shelf", "a model.safetensors"))

    def start_bare(self, farm, name, models="models", *args):
        """A worker without a model."""
        return farm.start_worker(name, "--models", farm.path(models), *args, *farm.key_options(name), model=None)

    def assert_kept(self, farm, models="models"):
        self.assertEqual(os.listdir(farm.path(models)), [f"{self.sha256}.safetensors"])
        self.assertEqual(e2e.sha256(farm.path(models, f"{self.sha256}.safetensors")), self.sha256)

    def finish(self, farm, out, workers):
        self.assertEqual(farm.stop(), [0] * (workers + 1))
        self.assertEqual(e2e.sha256(out), self.alone)
        self.assertEqual(farm.check_ledger(), [])

    def test_one_with_it_and_one_without(self):
        with Farm(self.path("two"), self.model) as farm:
            self.shelf(farm)
            farm.start_coordinator("--models", farm.path("shelf"))
            farm.start_worker("a"), self.start_bare(farm, "b")
            farm.wait_until(lambda: farm.log("coordinator").count("is here: ") == 2)
            self.assertFalse(os.path.exists(farm.path("models")) and os.listdir(farm.path("models"))) # nobody wants it yet
            # A film waits that the one with the model does not take: now it is wanted.
            self.assertEqual(farm.ask("node", "drain", "a").returncode, 0)
            out = self.path("two/out.mp4")
            self.assertEqual(farm.submit(self.film, out, *e2e.SHORT).returncode, 0)
            farm.wait_until(lambda: "is here\n" in farm.log("b"))
            self.assert_kept(farm)
            self.assertEqual(farm.ask("node", "undrain", "a").returncode, 0)
            farm.wait_until(lambda: os.path.exists(out))
            # From now on it has it, and makes the film that the other has made.
            farm.workers["a"].terminate()
            self.assertEqual(farm.workers["a"].wait(timeout=120), 0)
            done = farm.submit(self.film, self.path("two/b.mp4"), *e2e.SHORT, "--wait")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(e2e.sha256(self.path("two/b.mp4")), self.alone)
            nodes = {n["name"]: n for n in json.loads(farm.ask("node", "list", "--json").stdout)["nodes"]}
            self.assertEqual(nodes["b"]["model"], self.sha256)
            self.finish(farm, out, 1)

    def test_nobody_has_it(self):
        """Not even a film can be planned before one of them does. With keys, as a farm of several machines has."""
        with Farm(self.path("none"), self.model, keys=True) as farm:
            self.shelf(farm)
            farm.start_coordinator("--models", farm.path("shelf"))
            farm.make_key("b"), farm.allow("b")
            self.start_bare(farm, "b")
            out = self.path("none/out.mp4")
            done = farm.submit(self.film, out, *e2e.SHORT, "--wait")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assert_kept(farm)
            # Another start has it at once, and need not be sent it.
            os.unlink(farm.path("shelf", "a model.safetensors"))
            farm.workers["b"].terminate()
            self.assertEqual(farm.workers["b"].wait(timeout=120), 0)
            self.start_bare(farm, "b")
            self.assertEqual(farm.submit(self.film, self.path("none/again.mp4"), *e2e.SHORT, "--force", "--wait").returncode, 0)
            self.assertEqual(farm.log("b").count("fetching the model"), 1)
            self.finish(farm, out, 1)

    def test_a_job_says_which(self):
        """Of several that nobody has had yet."""
        with Farm(self.path("several"), self.model) as farm:
            self.shelf(farm)
            self.good("init-model", "--preset", "tiny", "--seed", 2, "-o", farm.path("shelf", "other.safetensors"))
            farm.start_coordinator("--models", farm.path("shelf"))
            farm.wait_until(lambda: farm.log("coordinator").count("can be handed out") == 2)
            self.start_bare(farm, "b")
            self.assertEqual(farm.submit(self.film, self.path("several/none.mp4"), *e2e.SHORT).returncode, 0) # any: it waits
            out = self.path("several/out.mp4")
            done = farm.submit(self.film, out, *e2e.SHORT, "--model", self.model, "--wait")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assert_kept(farm)
            refused = farm.submit(self.film, self.path("several/x.mp4"), *e2e.SHORT, "--model", self.film)
            self.assertEqual(refused.returncode, 65, refused.stderr)
            self.assertIn("in no folder of models", refused.stderr)
            self.assertEqual(farm.ask("cancel", 1).returncode in (0, 65), True)
            self.finish(farm, out, 1)

    def test_a_transfer_that_is_corrupted(self):
        """What comes is not what was asked for: it is thrown away, and fetched again until it is."""
        with Farm(self.path("corrupt"), self.model) as farm:
            model = self.shelf(farm)
            farm.start_coordinator("--models", farm.path("shelf"))
            farm.wait_until(lambda: f"can be handed out: {self.sha256}" in farm.log("coordinator"))
            times = os.stat(model)
            with open(model, "r+b") as f: # as a disk would, behind the coordinator's back
                f.seek(1 << 20)
                was = f.read(4)
                f.seek(1 << 20)
                f.write(bytes(b ^ 1 for b in was))
            os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))
            self.start_bare(farm, "b")
            out = self.path("corrupt/out.mp4")
            self.assertEqual(farm.submit(self.film, out, *e2e.SHORT).returncode, 0)
            farm.wait_until(lambda: "what came is not it" in farm.log("b"))
            self.assertEqual(os.listdir(farm.path("models")), [])
            with open(model, "r+b") as f:
                f.seek(1 << 20)
                f.write(was)
            os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))
            farm.wait_until(lambda: os.path.exists(out))
            self.assert_kept(farm)
            self.finish(farm, out, 1)

    def test_killed_on_the_way(self):
        """What a worker that was killed left is gone; what lies under the model's name and is not it, too."""
        with Farm(self.path("killed"), self.model) as farm:
            self.shelf(farm)
            os.makedirs(farm.path("models"))
            with open(farm.path("models", f".{self.sha256}.safetensors.999999999.part"), "w") as f:
                f.write("half")
            with open(farm.path("models", f"{self.sha256}.safetensors"), "w") as f:
                f.write("not a model")
            farm.start_coordinator("--models", farm.path("shelf"))
            self.start_bare(farm, "b")
            out = self.path("killed/out.mp4")
            done = farm.submit(self.film, out, *e2e.SHORT, "--wait")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assert_kept(farm)
            self.finish(farm, out, 1)

    def test_leaving_without(self):
        with Farm(self.path("leaving"), self.model) as farm:
            farm.start_coordinator()
            farm.wait_until(lambda: "listening at" in farm.log("coordinator")) # it may not leave before it has come
            idle = self.start_bare(farm, "idle", "models", "--leave-when-idle", 5)
            self.assertEqual(idle.wait(timeout=120), 0)
            told = self.start_bare(farm, "told")
            farm.wait_until(lambda: "worker told is here" in farm.log("coordinator"))
            self.assertEqual(farm.submit(self.film, self.path("leaving/out.mp4"), *e2e.SHORT).returncode, 0)
            told.terminate()
            self.assertEqual(told.wait(timeout=120), 0)
            farm.wait_until(lambda: farm.log("coordinator").count(" leaves: ") == 2)
            self.assertEqual(farm.stop(), [0])


if __name__ == "__main__":
    e2e.main()
