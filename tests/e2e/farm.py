"""A farm of real processes on this machine, for tests: a coordinator, workers, a checker.

Environment beside e2e.py's: UNDERSCORED and UNDERSCORE_WORKER, the programs.
"""
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time

import e2e
from e2e import SHORT

SEED = ["--seed", "5"]
DONE = 4 # of a segment, as coordinator/ledger/ledger.h counts


def catches(pid, number):
    """Whether the process has a handler for the signal; none yet while it is being loaded."""
    with open(f"/proc/{pid}/status") as f:
        caught = next(line for line in f if line.startswith("SigCgt:"))
    return int(caught.split()[1], 16) >> (number - 1) & 1


def children(pid):
    """Their numbers and command lines; of those that are there still."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        for child in map(int, f.read().split()):
            try:
                with open(f"/proc/{child}/cmdline") as line:
                    yield child, line.read().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                pass


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Farm:
    """Everything lies in `folder`; ends all it has started when left. With keys=True
    it speaks TCP, and every node has a key of its name (self.key()). What is None is not said to a daemon."""

    def __init__(self, folder, model, lease=30, beat=0.2, batch=1, prefetch=1, keys=False, status="none"):
        self.folder, self.model, self.lease, self.beat = folder, model, lease, beat
        self.batch, self.prefetch, self.status = batch, prefetch, status
        self.workers, self.coordinator = {}, None
        os.makedirs(folder, exist_ok=True)
        self.sockets = tempfile.mkdtemp(prefix="farm-") # their names must be short
        self.control, self.bulk = (f"ipc://{self.sockets}/{name}" for name in ("control", "bulk"))
        self.keys = self.path("keys") if keys else None
        if keys:
            os.makedirs(self.keys)
            self.control, self.bulk = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
            for name in ("coordinator", "client"):
                self.make_key(name)
            self.allow("client")

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

    # Keys

    def key(self, name):
        return os.path.join(self.keys, f"{name}.key")

    def public(self, name):
        return os.path.join(self.keys, f"{name}.pub")

    def list_of_keys(self):
        return os.path.join(self.keys, "allowed.keys")

    def make_key(self, name):
        done = e2e.run("key", "gen", name, "--dir", self.keys)
        assert done.returncode == 0, done.stderr

    def allow(self, name):
        done = e2e.run("key", "add", self.public(name), "--allow", self.list_of_keys())
        assert done.returncode == 0, done.stderr

    def revoke(self, name):
        done = e2e.run("key", "revoke", name, "--allow", self.list_of_keys())
        assert done.returncode == 0, done.stderr

    def keys_of(self, name):
        """As wire.Peer takes them."""
        def last_word(path):
            with open(path) as f:
                return f.read().split()[-1]
        return last_word(self.public(name)), last_word(self.key(name)), last_word(self.public("coordinator"))

    def key_options(self, name):
        if not self.keys:
            return []
        return ["--key", self.key(name), "--coordinator-key", self.public("coordinator")]

    def _start(self, name, program, *args, at=None):
        control, bulk = at or (self.control, self.bulk)
        with open(self.path(f"{name}.log"), "a") as log:
            return subprocess.Popen([*self.inside(name), os.path.abspath(os.environ[program]), *map(str, args), "--control",
                                     control, "--bulk", bulk, "-v"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def inside(self, name):
        """The command that starts others where the process of that name is to run; it becomes that process."""
        return []

    def times(self):
        return [] if self.lease is None else ["--lease", self.lease, "--beat", self.beat]

    def start_coordinator(self, *args):
        self.coordinator = self._start("coordinator", "UNDERSCORED", "--dir", self.path("coordinator"), "--status",
                                       self.status, *self.times(), *args, "--media", os.path.dirname(self.folder),
                                       *(["--key", self.key("coordinator"), "--allow", self.list_of_keys()]
                                         if self.keys else []))
        return self.coordinator

    def start_worker(self, name, *args, folder=None, model="", at=None):
        """With keys its node has a key by its name, unless `args` say otherwise. Model None: none. `at`: where it
        finds control and bulk, if not where they are."""
        if self.keys and not args:
            if not os.path.exists(self.key(name)):
                self.make_key(name)
                self.allow(name)
            args = self.key_options(name)
        if self.prefetch is not None:
            args = ["--prefetch", self.prefetch, *args]
        if model is not None:
            args = ["--model", model or self.model, *args]
        self.workers[name] = self._start(name, "UNDERSCORE_WORKER", "--dir", self.path(folder or name),
                                         "--name", name, "--batch", self.batch, *args, at=at)
        return self.workers[name]

    def log(self, name):
        with open(self.path(f"{name}.log"), errors="replace") as f:
            return f.read()

    def logs(self):
        """How each worker's ends, and the coordinator's."""
        ends = [f"{name}: {line}\n" for name in self.workers for line in self.log(name).splitlines()[-5:]]
        return "".join(ends) + self.log("coordinator")

    def ask(self, *args, key="client", at="coordinator"):
        """`at`: on whose machine."""
        try:
            return e2e.run(*args, "--farm", self.control, *self.key_options(key), inside=self.inside(at))
        except subprocess.TimeoutExpired as e:
            raise AssertionError(f"{e}\n{self.logs()}") from None

    def submit(self, film, out, *args):
        return self.ask("submit", film, "-o", out, *args)

    def wait_until(self, what, seconds=120, every=0.02):
        """What takes long to ask is asked less often: starting a program again and again would keep a core busy."""
        until = time.monotonic() + seconds
        while (asked := time.monotonic()) < until:
            if what():
                return
            time.sleep(max(every, 3 * (time.monotonic() - asked)))
        raise AssertionError("it did not come to that in time\n" + self.logs())

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
            self.wait_until(lambda: process.poll() is not None or catches(process.pid, signal.SIGTERM))
            process.send_signal(signal.SIGTERM)
            statuses.append(process.wait(timeout=120))
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
        twice = db.execute("SELECT job, segment, count(*) FROM attempts JOIN segments USING (job, segment) WHERE outcome = 1 "
                           "AND attempts.fence > reopened GROUP BY job, segment HAVING count(*) <> 1").fetchall()
        never = db.execute("SELECT job, segment FROM segments s WHERE state = ? AND NOT EXISTS (SELECT 1 FROM attempts a "
                           "WHERE a.job = s.job AND a.segment = s.segment AND a.outcome = 1 AND a.fence > s.reopened)", (DONE,)).fetchall()
        live = db.execute("SELECT count(*) FROM attempts a JOIN jobs j ON j.id = a.job "
                          "WHERE a.outcome = 0 AND j.state >= 5").fetchone()[0]
        if twice or never or live:
            wrong.append(f"accepted twice: {twice}, never: {never}, live when all is over: {live}")
        db.close()
        return wrong


class OneFilm(e2e.Case):
    """With a film, and what one machine makes of it."""

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
