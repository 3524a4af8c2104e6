"""Each step by itself makes what `score` makes: planned, composed in three processes, stitched; rendered from kept tokens."""
import glob
import json
import os
import shutil
import signal
import subprocess
import time

import e2e
from e2e import ONE, SHORT


class Steps(e2e.Whole):
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

    def test_a_render_that_was_killed(self):
        """What it left is in nobody's way, and takes nothing of an interrupted `score` with it."""
        tokens, out = self.path("tokens2"), self.path("again.mp4")
        self.score(self.film, "first.mp4", "--seed", 5, *SHORT, *ONE, "--keep-tokens", tokens)
        os.makedirs(out + ".underscore")
        shutil.copy(glob.glob(tokens + "/c*.safetensors")[0], out + ".underscore")
        process = subprocess.Popen(e2e.command("render", tokens, "-o", out, "--model", self.model, "--quiet"),
                                   stdin=subprocess.DEVNULL)
        while process.poll() is None and not glob.glob(out + ".underscore-render/c*.safetensors"):
            time.sleep(0.002)
        process.kill()
        self.assertEqual(process.wait(), -signal.SIGKILL)
        self.assertFalse(os.path.exists(out))
        self.good("render", tokens, "-o", out, "--model", self.model)
        self.assert_same("again.mp4")
        self.assertFalse(os.path.exists(out + ".underscore-render"))
        self.assertEqual(len(os.listdir(out + ".underscore")), 1)

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


if __name__ == "__main__":
    e2e.main()
