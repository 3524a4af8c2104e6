"""A model staged to "nodes" that are ranks on this machine, each with a folder of its own.

Environment beside farm.py's: UNDERSCORE_STAGE, the program. Not in the sanitizers' lanes: Open MPI
leaks and races on its own account; stage/copy, which has the rules, is tested there.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import e2e
from farm import Farm

RANKS = 4
STAGE = os.path.abspath(os.environ["UNDERSCORE_STAGE"])


def mpirun(*args, ranks=RANKS, start=False):
    as_root = ["--allow-run-as-root"] if os.getuid() == 0 else []
    command = ["mpirun", *as_root, "--oversubscribe", "-n", ranks, STAGE, *args]
    begin = subprocess.Popen if start else subprocess.run
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} if start else {"capture_output": True, "timeout": 300}
    return begin([str(a) for a in command], stdin=subprocess.DEVNULL, text=True, **more)


class Nodes(e2e.Case):
    def setUp(self):
        for rank in range(RANKS):
            shutil.rmtree(self.node(rank), ignore_errors=True)

    def node(self, rank, *names):
        return os.path.join(self.path(f"node{rank}"), *names)

    def stage(self, *args, model=None, **options):
        return mpirun(model or self.model, "--to", self.path("node{rank}"), "--ranks-are-nodes", *args, **options)

    def ranks(self):
        """Processes of this test's own: its folder is among their arguments."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    arguments = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if arguments[0].endswith(("/underscore-stage", "/underscore-worker")) and \
                    any(a.startswith(self.folder) for a in arguments):
                found.append(int(pid))
        return found


class Staging(Nodes):
    def staged(self, *args, status=0, model=None):
        """What became of it, by rank."""
        done = self.stage("--json", *args, model=model)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["sha256"], e2e.sha256(model or self.model))
        return answer["nodes"]

    def assert_there(self, *ranks, model=None):
        model = model or self.model
        for rank in ranks:
            self.assertEqual(os.listdir(self.node(rank)), [os.path.basename(model)])
            self.assertEqual(e2e.sha256(self.node(rank, os.path.basename(model))), e2e.sha256(model))

    def test_all_nodes(self):
        big = self.path("big.safetensors") # more pieces than are on their way at once
        with open(big, "wb") as f:
            f.write(os.urandom(37 << 20) + b"an odd end")
        copies = [self.node(r, "big.safetensors") for r in range(RANKS)]
        nodes = self.staged(model=big)
        self.assertEqual([n["outcome"] for n in nodes], ["staged"] * RANKS)
        self.assertEqual({n["bytes"] for n in nodes}, {os.path.getsize(big)})
        self.assert_there(*range(RANKS), model=big)
        inodes = [os.stat(path).st_ino for path in copies]
        os.unlink(copies[1])
        with open(copies[2], "r+b") as f: # as long, but not the same
            f.seek(30 << 20)
            f.write(b"something else")
        nodes = self.staged(model=big)
        self.assertEqual([n["outcome"] for n in nodes], ["already there", "staged", "staged", "already there"])
        self.assert_there(*range(RANKS), model=big)
        for rank in (0, 3):
            self.assertEqual(os.stat(copies[rank]).st_ino, inodes[rank])

    def test_a_line_a_node(self):
        done = self.stage()
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), RANKS)
        for rank, line in enumerate(lines):
            self.assertRegex(line, rf"^\S+:{rank} +[\d.]+ s +[\d.]+ MB/s  staged$")

    def test_one_rank_of_a_node_does_the_work(self):
        """Without --ranks-are-nodes this machine is one node."""
        done = mpirun(self.model, "--to", self.path("node0"), "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([n["outcome"] for n in json.loads(done.stdout)["nodes"]], ["staged"])
        self.assert_there(0)

    def test_a_hash_that_is_asked_for(self):
        model, sha256 = self.path("asked.safetensors"), e2e.sha256(self.model)
        shutil.copy(self.model, model)
        self.staged("--sha256", sha256, model=model)
        os.unlink(model) # all have it: the model itself is not even looked for
        done = self.stage("--json", "--sha256", sha256, model=model)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({n["outcome"] for n in json.loads(done.stdout)["nodes"]}, {"already there"})
        os.unlink(self.node(0, "asked.safetensors"))
        done = self.stage("--sha256", "ab" * 32)
        self.assertEqual(done.returncode, 65, done.stderr)
        self.assertIn("nothing is staged", done.stderr)
        self.assertEqual(os.listdir(self.node(0)), [])

    def test_nodes_that_cannot(self):
        """A folder that cannot be made, and a full disk: their lines say so, the others have it."""
        with open(self.path("node1"), "w") as f:
            f.write("a file, not a folder")
        small = self.node(2)
        os.makedirs(small)
        is_root = os.getuid() == 0 and not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64K", "none", small],
                                                          capture_output=True).returncode
        try:
            nodes = self.staged(status=73)
            self.assertEqual([n["outcome"] for n in nodes],
                             ["staged", "error", "error" if is_root else "staged", "staged"])
            self.assertIn("node1", nodes[1]["error"])
            if is_root:
                self.assertIn("No space left", nodes[2]["error"])
                self.assertEqual(os.listdir(small), [])
            self.assert_there(0, 3)
        finally:
            os.unlink(self.path("node1"))
            if is_root:
                subprocess.run(["umount", small], check=True)

    def test_a_model_that_is_not_there(self):
        for model, says in ((self.path("absent"), "absent"), (self.folder, "not a regular file"), ("/dev/null", "")):
            done = self.stage(model=model)
            self.assertEqual(done.returncode, 66, done.stderr)
            self.assertIn(says, done.stderr)
            self.assertEqual(len([line for line in done.stderr.splitlines() if "underscore-stage: " in line]), 1)
        self.assertFalse(any(os.path.exists(self.node(r)) for r in range(RANKS)))

    def test_stopped(self):
        """Ctrl-C, SIGTERM, kill -9 of all: nothing half-written stays, at the latest when it is begun again."""
        huge = self.path("huge.safetensors")
        with open(huge, "wb") as f:
            f.truncate(768 << 20) # its holes are read fast, its copies take a while
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.stage(model=huge, start=True)
            self.wait_for_a_part()
            process.send_signal(number)
            process.communicate(timeout=120)
            self.assertNotEqual(process.returncode, 0)
            # mpirun kills a second later whoever the disk still keeps from listening: that is the next start's.
            self.assertFalse(any(os.path.exists(self.node(r, "huge.safetensors")) for r in range(RANKS)))
        process = self.stage(model=huge, start=True)
        self.wait_for_a_part()
        for pid in self.ranks():
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=120)
        until = time.monotonic() + 120 # a disk may keep the killed for a while; what they wrote is theirs until then
        while self.ranks() and time.monotonic() < until:
            time.sleep(0.05)
        with open(huge, "r+b") as f:
            f.truncate(1 << 20)
        done = self.stage(model=huge)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([os.listdir(self.node(r)) for r in range(RANKS)], [["huge.safetensors"]] * RANKS)
        os.unlink(huge)

    def wait_for_a_part(self):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for rank in range(RANKS):
                if os.path.isdir(self.node(rank)) and any(n.endswith(".part") for n in os.listdir(self.node(rank))):
                    return
            time.sleep(0.01)
        self.fail("nothing is being written")

    def test_usage(self):
        for args, says in (([self.model], "--to"), (["--to", "/x"], "which model"),
                           ([self.model, "--to", "/x", "--sha256", "abc"], "64 hex digits"),
                           ([self.model, "--to", "/x", "--", "--batch", "1"], "--start-workers"),
                           ([self.model, "--to", "/x", "--nonsense"], "no option --nonsense")):
            done = e2e.run(*args, program=STAGE)
            self.assertEqual(done.returncode, 64, done.stderr)
            self.assertIn(says, done.stderr)

    def test_the_manual_names_every_option(self):
        with open("docs/man/underscore-stage.1") as f:
            named = set(re.findall(r"Fl Fl ([a-z0-9-]+)", f.read()))
        page = e2e.run("--help", program=STAGE).stdout
        offered = set(re.findall(r"^  (?:-., |    )--([a-z0-9-]+)", page, re.M))
        self.assertEqual(named - {"device"}, offered | {"help"}) # --device is a worker's


class Workers(Nodes):
    def test_workers_that_it_starts(self):
        film = e2e.make_film(self.path("film.mp4"), seconds=6)
        with Farm(self.path("farm"), self.model) as farm:
            farm.start_coordinator()
            try:
                done = self.stage("--start-workers", "--worker", os.environ["UNDERSCORE_WORKER"], "--", "--name", "w{rank}",
                                  "--dir", self.path("outbox-{rank}-{local}"), "--batch", 1, "--prefetch", 0,
                                  "--control", farm.control, "--bulk", farm.bulk, model=self.model)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertEqual(done.stdout.count("staged, 1 worker started"), RANKS, done.stdout)
                farm.wait_until(lambda: farm.log("coordinator").count("is here: ") == RANKS)
                pids = self.ranks()
                self.assertEqual(len(pids), RANKS)
                os.kill(pids[0], signal.SIGKILL) # and no other dies of it
                score = farm.submit(film, self.path("farm/out.mp4"), *e2e.SHORT, "--wait")
                self.assertEqual(score.returncode, 0, score.stderr)
                self.assertEqual(len(self.ranks()), RANKS - 1)
            finally:
                for pid in self.ranks():
                    os.kill(pid, signal.SIGTERM)
            farm.wait_until(lambda: not self.ranks())
            with open(self.node(1, "underscore-worker-0.log")) as log:
                self.assertIn("welcome", log.read())

    def test_a_worker_that_cannot_be_started(self):
        done = self.stage("--start-workers", "--worker", "/nobody/there", "--json", model=self.model)
        self.assertEqual(done.returncode, 66, done.stderr)
        nodes = json.loads(done.stdout)["nodes"]
        self.assertEqual({(n["outcome"], n["workers"]) for n in nodes}, {("error", 0)})
        self.assertIn("/nobody/there", nodes[0]["error"])
        self.assertEqual(e2e.sha256(self.node(0, "tiny.safetensors")), e2e.sha256(self.model)) # the model is there


if __name__ == "__main__":
    e2e.main()
