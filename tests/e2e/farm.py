"""A farm of real processes on this machine, for tests: a coordinator, workers, a checker.

Environment beside e2e.py's: UNDERSCORED and UNDERSCORE_WORKER, the programs.
"""
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

import e2e

DONE = 4 # of a segment, as coordinator/ledger/ledger.h counts


class Farm:
    """Everything lies in `folder`; ends all it has started when left."""

    def __init__(self, folder, model, lease=30, beat=0.2, batch=1, prefetch=1, status="none"):
        self.folder, self.model, self.lease, self.beat = folder, model, lease, beat
        self.batch, self.prefetch, self.status = batch, prefetch, status
        self.workers, self.coordinator = {}, None
        os.makedirs(folder, exist_ok=True)
        self.sockets = tempfile.mkdtemp(prefix="farm-") # their names must be short
        self.control, self.bulk = (f"ipc://{self.sockets}/{name}" for name in ("control", "bulk"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in [*self.workers.values(), self.coordinator]:
            if process and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def _start(self, name, program, *args):
        with open(self.path(f"{name}.log"), "a") as log:
            return subprocess.Popen([os.path.abspath(os.environ[program]), *map(str, args), "--control", self.control,
                                     "--bulk", self.bulk, "-v"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start_coordinator(self):
        self.coordinator = self._start("coordinator", "UNDERSCORED", "--dir", self.path("coordinator"), "--media",
                                       os.path.dirname(self.folder), "--lease", self.lease, "--beat", self.beat, "--status", self.status)
        return self.coordinator

    def start_worker(self, name, folder=None):
        self.workers[name] = self._start(name, "UNDERSCORE_WORKER", "--model", self.model, "--dir",
                                         self.path(folder or name),
                                         "--name", name, "--batch", self.batch, "--prefetch", self.prefetch)
        return self.workers[name]

    def log(self, name):
        with open(self.path(f"{name}.log"), errors="replace") as f:
            return f.read()

    def ask(self, *args):
        return e2e.run(*args, "--farm", self.control)

    def submit(self, film, out, *args):
        return self.ask("submit", film, "-o", out, *args)

    def wait_until(self, what, seconds=120, every=0.02):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if what():
                return
            time.sleep(every)
        raise AssertionError("it did not come to that in time\n" + self.log("coordinator"))

    def done_segments(self, job=1):
        """Finished parts: they appear under their names when they are whole."""
        folder = self.path("coordinator", "jobs", str(job), "parts")
        try:
            return sum(name.endswith(".safetensors") and not name.startswith(".") for name in os.listdir(folder))
        except FileNotFoundError:
            return 0

    def stop(self):
        """In order: everybody must leave with status 0."""
        processes = [p for p in [*self.workers.values(), self.coordinator] if p and p.poll() is None]
        statuses = []
        for process in processes:
            process.send_signal(signal.SIGTERM)
            statuses.append(process.wait(timeout=60))
        return statuses

    def check_ledger(self):
        """Reads the ledger, as nobody does while a coordinator runs. What is wrong, in words."""
        wrong = []
        db = sqlite3.connect(self.path("coordinator", "ledger.db"))
        (sound,) = db.execute("PRAGMA integrity_check").fetchone()
        if sound != "ok":
            wrong.append(sound)
        for job, segments, done in db.execute("SELECT id, segments, done FROM jobs WHERE state = 7"):
            rows = db.execute("SELECT count(*), sum(state = ?) FROM segments WHERE job = ?", (DONE, job)).fetchone()
            if rows != (segments, done) or segments != done:
                wrong.append(f"job {job} has {rows} of {segments}")
        twice = db.execute("SELECT job, segment, count(*) FROM attempts WHERE outcome = 1 GROUP BY job, segment "
                           "HAVING count(*) <> 1").fetchall()
        never = db.execute("SELECT job, segment FROM segments s WHERE state = ? AND NOT EXISTS (SELECT 1 FROM attempts a "
                           "WHERE a.job = s.job AND a.segment = s.segment AND a.outcome = 1)", (DONE,)).fetchall()
        live = db.execute("SELECT count(*) FROM attempts a JOIN jobs j ON j.id = a.job "
                          "WHERE a.outcome = 0 AND j.state >= 5").fetchone()[0]
        if twice or never or live:
            wrong.append(f"accepted twice: {twice}, never: {never}, live when all is over: {live}")
        db.close()
        return wrong
