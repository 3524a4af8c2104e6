"""The same music however it came about: twice, after a kill, in three processes, from
kept tokens, in batches of another size."""
import glob
import json
import os
import shutil
import signal
import subprocess
import time

import e2e
from e2e import SHORT

ONE = ["--batch", "1"]


class Same(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=9)
        done = e2e.run("score", cls.film, "-o", cls.path("whole.mp4"), "--model", cls.model, "--seed", 5,
                       *SHORT, *ONE)
        if done.returncode:
            raise RuntimeError(done.stderr)
        cls.whole = e2e.sha256(cls.path("whole.mp4"))

    def assert_same(self, out):
        self.assertEqual(e2e.sha256(self.path(out)), self.whole)

    def test_same_seed_same_file(self):
        self.score(self.film, "again.mp4", "--seed", 5, *SHORT, *ONE)
        self.assert_same("again.mp4")

    def test_another_seed_is_another_file(self):
        self.score(self.film, "other.mp4", "--seed", 6, *SHORT, *ONE)
        self.assertNotEqual(e2e.sha256(self.path("other.mp4")), self.whole)

    def test_batch_does_not_matter(self):
        self.score(self.film, "batched.mp4", "--seed", 5, *SHORT, "--batch", "3")
        self.assert_same("batched.mp4")

    def interrupted(self, out, number, parts=1):
        """Start, wait until `parts` parts are there, send the signal. The exit status
        and how many parts there were."""
        work = self.path(out) + ".underscore"
        args = e2e.command("score", self.film, "-o", self.path(out), "--model", self.model, "--seed", 5,
                           *SHORT, *ONE)
        with open(self.path(out) + ".log", "w") as log:
            process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            while process.poll() is None and len(glob.glob(f"{work}/c*.safetensors")) < parts:
                time.sleep(0.002)
            self.assertIsNone(process.poll(), "it was done before it could be interrupted")
            process.send_signal(number)
            process.wait()
        self.assertFalse(os.path.exists(self.path(out)))
        return process.returncode, len(glob.glob(f"{work}/c*.safetensors"))

    def nothing_left(self, out):
        left = [name for name in os.listdir(self.folder) if out in name]
        self.assertEqual(sorted(left), [out, out + ".log"])

    def resumed(self, out):
        done = self.score(self.film, out, "--seed", 5, *SHORT, *ONE, "--resume")
        self.assert_same(out)
        self.nothing_left(out)
        return done

    def test_killed(self):
        status, _ = self.interrupted("killed.mp4", signal.SIGKILL)
        self.assertEqual(status, -signal.SIGKILL)
        self.resumed("killed.mp4")

    def test_killed_often(self):
        for parts in (1, 2, 3):
            args = e2e.command("score", self.film, "-o", self.path("often.mp4"), "--model", self.model,
                               "--seed", 5, *SHORT, *ONE, *(["--resume"] if parts > 1 else []))
            with open(self.path("often.mp4.log"), "w") as log:
                process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                while process.poll() is None and len(glob.glob(self.path("often.mp4.underscore/c*"))) < parts:
                    time.sleep(0.002)
                process.kill()
                process.wait()
        self.resumed("often.mp4")

    def test_interrupted(self):
        for name, number in (("int", signal.SIGINT), ("term", signal.SIGTERM)):
            with self.subTest(signal=name):
                out = f"{name}.mp4"
                status, parts = self.interrupted(out, number)
                self.assertEqual(status, 130)
                self.assertGreaterEqual(parts, 1)
                with open(self.path(out) + ".log") as log:
                    self.assertIn("--resume", log.read())
                temporary = [f for f in os.listdir(self.path(out) + ".underscore") if f.endswith(".part")]
                self.assertEqual(temporary, [])
                self.resumed(out)

    def start(self, out, *args, **options):
        """score as in interrupted(), under way: one part is there."""
        process = subprocess.Popen(e2e.command("score", self.film, "-o", self.path(out), "--model", self.model, "--seed", 5,
                                               *SHORT, *ONE, "--quiet", *args), stdin=subprocess.DEVNULL, **options)
        self.addCleanup(process.kill)
        while process.poll() is None and not glob.glob(self.path(out) + ".underscore/c*.safetensors"):
            time.sleep(0.002)
        self.assertIsNone(process.poll(), "it was done too soon")
        return process

    def test_nohup(self):
        """What was started to outlive its terminal does."""
        process = self.start("nohup.mp4", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        process.send_signal(signal.SIGHUP)
        self.assertEqual(process.wait(), 0)
        self.assert_same("nohup.mp4")

    def test_what_is_there_is_not_thrown_away(self):
        self.interrupted("kept.mp4", signal.SIGINT)
        self.bad(73, "score", self.film, "-o", self.path("kept.mp4"), "--model", self.model, *SHORT,
                 says="--resume")
        self.bad(64, "score", self.film, "-o", self.path("kept.mp4"), "--model", self.model, "--resume", "--restart",
                 says="one of them")
        self.score(self.film, "kept.mp4", "--seed", 5, *SHORT, *ONE, "--restart")
        self.assert_same("kept.mp4")
        self.nothing_left("kept.mp4")

    def test_one_run_at_a_time(self):
        """Another would take the first one's parts for its own, and remove them."""
        process = self.start("alone.mp4")
        process.send_signal(signal.SIGSTOP)
        for args in (["--resume"], ["--restart"], ["--resume", "--seed", "6"]):
            done = e2e.run("score", self.film, "-o", self.path("alone.mp4"), "--model", self.model, "--seed", 5, *SHORT,
                           *args)
            self.assertEqual(done.returncode, 73, done.stderr)
            self.assertIn("another run", done.stderr)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(), 0)
        self.assert_same("alone.mp4")

    def test_what_lies_beside_the_parts_stays(self):
        work, model = self.path("models"), self.path("models/mine.safetensors")
        os.makedirs(work)
        shutil.copy(self.model, model)
        for args in ([], ["--restart", "-y"], ["--resume", "-y"]):
            done = self.good("score", self.film, "-o", self.path("beside.mp4"), "--model", model, "--seed", 5, *SHORT,
                             *ONE, "--work", work, *args)
            self.assertIn("something else is in it", done.stderr)
            self.assertEqual(os.listdir(work), ["mine.safetensors"])
        self.assert_same("beside.mp4")

    def test_a_damaged_part_is_made_anew(self):
        self.interrupted("damaged.mp4", signal.SIGINT)
        part = glob.glob(self.path("damaged.mp4.underscore/c*.safetensors"))[0]
        os.truncate(part, os.path.getsize(part) // 2)
        self.resumed("damaged.mp4")

    def test_three_processes(self):
        plan, parts = self.path("plan.json"), self.path("parts")
        self.good("plan", self.film, "-o", plan, "--model", self.model, "--seed", 5, *SHORT)
        workers = [subprocess.Popen(e2e.command("compose", plan, "-o", parts, "--model", self.model, *ONE,
                                                "--cues", cues, "--quiet"),
                                    stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                   for cues in ("0", "1", "2")]
        for worker in workers:
            _, complaints = worker.communicate(timeout=900)
            self.assertEqual(worker.returncode, 0, complaints)
        self.good("stitch", plan, parts, "-o", self.path("stitched.mp4"))
        self.assert_same("stitched.mp4")

        # Composing what is there already does nothing.
        before = {f: os.stat(f).st_mtime_ns for f in glob.glob(f"{parts}/*")}
        self.good("compose", plan, "-o", parts, "--model", self.model, *ONE)
        self.assertEqual({f: os.stat(f).st_mtime_ns for f in glob.glob(f"{parts}/*")}, before)

        # A part that is missing is named, and the film is not delivered.
        missing = sorted(before)[-1]
        os.rename(missing, self.path("hidden"))
        self.bad(66, "stitch", plan, parts, "-o", self.path("holes.mp4"), says="compose")
        os.rename(self.path("hidden"), missing)

    def test_parts_of_another_plan(self):
        """Of the same lengths, but of another seed or setting: no film is made of them."""
        for seed in "5", "6":
            plan = self.path(f"seed{seed}.json")
            self.good("plan", self.film, "-o", plan, "--model", self.model, "--seed", seed, *SHORT)
            self.good("compose", plan, "-o", self.path(f"seed{seed}"), "--model", self.model, *ONE)
        self.good("compose", self.path("seed5.json"), "-o", self.path("mixed"), "--model", self.model, "--cues", "0",
                  "--top-k", "5", *ONE)
        for name in os.listdir(self.path("seed5")):
            if not name.startswith("c0000"):
                shutil.copy(self.path(f"seed5/{name}"), self.path("mixed"))
        for plan, parts, cue in (("seed5", "seed6", 0), ("seed6", "seed5", 0), ("seed5", "mixed", 1)):
            self.bad(65, "stitch", self.path(f"{plan}.json"), self.path(parts), "-o", self.path("wrong.mp4"),
                     says=f"{parts}: its part of cue {cue} is of another")
        self.good("stitch", self.path("seed5.json"), self.path("seed5"), "-o", self.path("right.mp4"))
        self.assert_same("right.mp4")

    def test_the_film_may_have_moved(self):
        plan, parts = self.path("moved.json"), self.path("moved-parts")
        first, second = self.path("here.mp4"), self.path("there.mp4")
        shutil.copy(self.film, first)
        self.good("plan", first, "-o", plan, "--model", self.model, "--seed", 5, *SHORT)
        os.rename(first, second)
        self.bad(66, "compose", plan, "-o", parts, "--model", self.model, says="here.mp4")
        self.good("compose", plan, "-o", parts, "--model", self.model, "--film", second, *ONE)
        self.good("stitch", plan, parts, "-o", self.path("moved.mp4"), "--film", second)
        self.assert_same("moved.mp4")

    def test_kept_tokens(self):
        tokens = self.path("tokens")
        self.score(self.film, "spoken.mp4", "--seed", 5, *SHORT, *ONE, "--keep-tokens", tokens)
        self.assert_same("spoken.mp4")
        self.bad(73, "score", self.film, "-o", self.path("twice.mp4"), "--model", self.model, *SHORT, "--keep-tokens",
                 tokens, says="tokens of a film")
        self.good("render", tokens, "-o", self.path("rendered.mp4"), "--model", self.model)
        self.assert_same("rendered.mp4")
        other = self.path("other.safetensors")
        self.good("init-model", "--preset", "tiny", "--seed", 99, "-o", other)
        noise = self.good("render", tokens, "-o", self.path("noise.mp4"), "--model", other)
        self.assertIn("unless their codecs are the same", noise.stderr)
        quiet = self.good("render", tokens, "-o", self.path("quiet.mkv"), "--model", self.model, "--loudness", "-23")
        self.assertNotIn("their codecs", quiet.stderr)
        self.assertAlmostEqual(e2e.loudness(self.path("quiet.mkv"), 1)[0], -23, delta=0.5)

    def check_origin(self, report, model, license):
        """A report says enough to make the music again, whichever step wrote it."""
        with open(self.path(report)) as f:
            said = json.load(f)
        device = next(d for d in json.loads(self.good("devices", "--json").stdout)["devices"] if d["chosen"])
        self.assertEqual((said["model"]["sha256"], said["model"]["license"]), (e2e.sha256(model), license))
        self.assertEqual(said["sampling"], {"temperature": 0.5, "top_k": 9, "top_p": 0, "guidance": 2})
        self.assertEqual(len(said["devices"]), 1)
        self.assertIn(device["name"], said["devices"][0])
        self.assertIn(device["uuid"], said["devices"][0])
        return said

    def test_each_step_reports_what_made_the_music(self):
        golden, model = "tests/golden/tiny-a/", self.path("licensed.safetensors")
        with open(self.path("licence"), "w") as f:
            f.write("Not for sale.\n")
        self.good("import", golden + "state_dict.bin", golden + "compression_state_dict.bin", "--license",
                  self.path("licence"), "-o", model)
        plan, parts, tokens = self.path("told.json"), self.path("told-parts"), self.path("told-tokens")
        sampling = ["--temperature", "0.5", "--top-k", "9", "--guidance", "2"]
        self.good("plan", self.film, "-o", plan, "--model", model, *SHORT)
        self.good("compose", plan, "-o", parts, "--model", model, *sampling)
        self.good("stitch", plan, parts, "-o", self.path("told.mp4"), "--report", self.path("stitch.json"))
        self.check_origin("stitch.json", model, "Not for sale.\n")
        # A run that finds all of it composed has no device itself.
        self.good("score", self.film, "-o", self.path("told2.mp4"), "--model", model, *SHORT, *sampling, "--work", parts,
                  "--resume", "--keep-tokens", tokens, "--report", self.path("score.json"))
        said = self.check_origin("score.json", model, "Not for sale.\n")
        self.assertEqual((said["composed"]["segments_composed"], said["composed"]["device"]), (0, None))
        self.good("render", tokens, "-o", self.path("told3.mp4"), "--model", model, "--report", self.path("render.json"))
        self.check_origin("render.json", model, "Not for sale.\n")

    def test_tokens_have_a_folder_of_their_own(self):
        """Kept where the parts are, they would take their place before the film is made."""
        self.bad(64, "score", self.film, "-o", self.path("own.mp4"), "--model", self.model, *SHORT,
                 "--keep-tokens", self.path("own.mp4.underscore"), says="another folder")
        self.interrupted("own.mp4", signal.SIGINT)
        done = e2e.run("score", self.film, "-o", self.path("own.mp4"), "--model", self.model, "--seed", 5, *SHORT, *ONE,
                       "--resume", "--keep-tokens", self.path("./own.mp4.underscore"))
        self.assertEqual(done.returncode, 64, done.stderr)
        self.resumed("own.mp4")


if __name__ == "__main__":
    e2e.main()
