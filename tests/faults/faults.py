"""What the tests of faults share: how many rounds, films of many segments, the checker, the table.

Environment beside farm.py's: FAULTS=full for the rounds of `make faults`; FAULTS_TABLE, a file that
each test adds its line to; FAULTS_LIBRARY, preload.c as built; FAULTS_UNDER, the sanitizers of this build.
"""
import contextlib
import json
import os
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import e2e
from farm import DONE, Farm

FULL = os.environ.get("FAULTS") == "full"
SETTINGS = ["--seed", "5", *e2e.SHORT] # a segment for each second and a half of film
LIBRARY = os.path.abspath(os.environ["FAULTS_LIBRARY"])
JOB_DONE, ACCEPTED, SUPERSEDED = 7, 1, 2 # as coordinator/ledger/ledger.h counts


def rounds(few, full):
    return full if FULL else few


@contextlib.contextmanager
def preloaded(**told):
    """What is started within has preload.c in it, told so."""
    told["LD_PRELOAD"] = LIBRARY
    os.environ.update(told)
    try:
        yield
    finally:
        for name in told:
            del os.environ[name]


BACK = rounds(120, 10) # s; a busy machine under a sanitizer is given more


def report(test, count, bar, figures, result="ok"):
    """A line of the table that `make faults` prints."""
    if os.environ.get("FAULTS_UNDER"):
        figures += f"; under {os.environ['FAULTS_UNDER']}"
    line = f"{test}\t{count}\t{result}\t{figures}\t{bar}\n"
    print(line.replace("\t", "  "), end="", flush=True)
    if os.environ.get("FAULTS_TABLE"):
        with open(os.environ["FAULTS_TABLE"], "a") as f:
            f.write(line)


class Case(e2e.Case):
    """A test class with one film of `seconds`, and what `score` makes of it with nobody disturbed."""
    seconds = 9

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        nine = e2e.make_film(cls.path("nine.mp4"), seconds=9)
        cls.film = cls.path("film.mp4")
        e2e.ffmpeg("-stream_loop", -(-cls.seconds // 9), "-i", nine, "-t", cls.seconds, "-map", "0:v", "-map", "0:a", "-c",
                   "copy", cls.film)
        done = e2e.run("score", cls.film, "-o", cls.path("alone.mp4"), "--model", cls.model, *SETTINGS)
        if done.returncode:
            raise RuntimeError(done.stderr)
        cls.alone = e2e.sha256(cls.path("alone.mp4"))
        cls.samples = e2e.samples(cls.path("alone.mp4"))

    def run(self, result=None):
        before = len(result.failures) + len(result.errors), len(result.skipped)
        super().run(result)
        if len(result.failures) + len(result.errors) > before[0]:
            report(self.id(), "", "", "", "FAILED")
        elif len(result.skipped) > before[1]:
            report(self.id(), "", "", result.skipped[-1][1], "skipped")
        return result

    def farm(self, name, **options):
        return Farm(self.path(name), self.model, **options)

    def submit(self, farm, out, *args):
        done = farm.submit(self.film, out, *SETTINGS, *args)
        self.assertEqual(done.returncode, 0, done.stderr + farm.log("coordinator"))

    def busy(self, farm, outs):
        """One segment more is done; there is always another film."""
        if not outs or os.path.exists(outs[-1]):
            outs.append(self.path(f"{os.path.basename(farm.folder)}/{len(outs)}.mp4"))
            self.submit(farm, outs[-1])
        done = farm.done_segments(len(outs))
        farm.wait_until(lambda: farm.done_segments(len(outs)) > done or os.path.exists(outs[-1]), 300)

    def wait(self, farm, *outs, seconds=900):
        """Until the films are there: they appear when they are whole."""
        farm.wait_until(lambda: all(os.path.exists(out) for out in outs), seconds, every=0.1)

    def stop(self, farm):
        self.assertEqual(set(farm.stop()), {0}, farm.log("coordinator"))

    def check(self, farm, *outs):
        """Nothing lost, nothing doubled, every film whole and the one that `score` makes; all have stopped.
        How many attempts were done in vain, and of how many segments: those that a worker began and that came
        to nothing, but for the second of two that raced."""
        self.assertEqual(farm.check_ledger(), [])
        db = sqlite3.connect(farm.path("coordinator", "ledger.db"))
        def one(question, *values):
            return db.execute(question, values).fetchone()[0]
        self.assertEqual(one("SELECT count(*) FROM jobs WHERE state = ?", JOB_DONE), len(outs))
        self.assertEqual(one("SELECT count(*) FROM jobs"), len(outs))
        segments = one("SELECT sum(segments) FROM jobs")
        self.assertEqual(one("SELECT count(*) FROM segments WHERE state = ?", DONE), segments)
        self.assertEqual(one("SELECT count(*) FROM attempts WHERE outcome = ?", ACCEPTED), segments)
        ended = db.execute("SELECT id FROM attempts WHERE outcome NOT IN (?, ?)", (ACCEPTED, SUPERSEDED)).fetchall()
        logs = "".join(farm.log(name) for name in farm.workers)
        vain = sum(f"attempt {id} begun" in logs for (id,) in ended)
        db.close()
        for out in outs:
            self.assertEqual(e2e.samples(out), self.samples)
            self.assertEqual(e2e.sha256(out), self.alone)
            left = [n for n in os.listdir(os.path.dirname(out)) if ".underscore-" in n or n.endswith(".part")]
            self.assertEqual(left, [])
        self.assertEqual(os.listdir(farm.path("coordinator", "jobs")), [])
        return vain, segments

    def ready_again(self, farm):
        """Seconds until the coordinator that has just been started answers."""
        start = time.monotonic()
        farm.wait_until(lambda: farm.ask("list").returncode == 0)
        return time.monotonic() - start


class Disturbed(Case):
    """Workers and their coordinator, with something between them that comes and goes."""

    def ready(self, farm):
        """All workers are."""
        done = farm.ask("node", "list", "--json")
        states = [n["state"] for n in json.loads(done.stdout)["nodes"]] if done.returncode == 0 else []
        return states == len(farm.workers) * ["READY"]

    def back(self, farm, outs):
        """Seconds until the workers are there again and another segment is done."""
        start = time.monotonic()
        farm.wait_until(lambda: self.ready(farm), 120)
        self.busy(farm, outs)
        self.assertEqual([w.poll() for w in farm.workers.values()], len(farm.workers) * [None], farm.logs())
        return time.monotonic() - start

    def disturb(self, farm, outs, test, length, do, undo):
        """For each length in seconds: do(), so long, undo(); then all is as before within so many seconds."""
        slowest = 0
        for seconds in length:
            self.busy(farm, outs)
            do()
            time.sleep(seconds)
            undo()
            slowest = max(slowest, self.back(farm, outs))
        self.assertLessEqual(slowest, BACK)
        report(test, f"{', '.join(map(str, length))} s", "no hang; back <= 10 s; equal", f"back after {slowest:.1f} s")


def kill(process):
    process.kill()
    process.wait()


def attempts(farm, job=1):
    """What became of each so far, in order, as `underscore logs` tells."""
    done = farm.ask("logs", job, "--json")
    return json.loads(done.stdout)["attempts"] if done.returncode == 0 else []
