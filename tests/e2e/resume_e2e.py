"""The same music however it came about: twice, after a kill or an interruption, in batches of another size."""
import glob
import os
import shutil
import signal
import subprocess
import time

import e2e
from e2e import ONE, SHORT


class Same(e2e.Whole):
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
