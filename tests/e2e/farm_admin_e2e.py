"""What operators look at and look after: watch, top, logs, the queue's switches, the ledger."""
import json
import os
import pty
import re
import select
import shutil
import sqlite3
import subprocess
import time

import e2e
from e2e import SHORT
from farm import Farm
from wire import Peer


class OnTerminal:
    """underscore on a terminal of its own, which has `rows` lines."""

    def __init__(self, *args, rows=30):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            subprocess.run(["stty", "rows", str(rows), "cols", "100"], check=True)
            os.execv(e2e.PROGRAM, e2e.command(*args))
        self.text = ""

    def read(self, until, seconds=120):
        end = time.monotonic() + seconds
        while not until(self.text) and time.monotonic() < end:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError: # it has ended
                    break
                self.text += data.decode(errors="replace")
        return until(self.text)

    def end(self):
        """The exit status."""
        self.read(lambda _: False, seconds=1)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


class Admin(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=6, sound=0)

    def ask(self, farm, *args, status=0):
        done = farm.ask(*args)
        self.assertEqual(done.returncode, status, f"{args}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, farm, *args):
        return json.loads(self.ask(farm, *args, "--json").stdout)

    def test_watch_top_and_logs(self):
        with Farm(self.path("watch"), self.model) as farm:
            farm.start_coordinator()
            hostile = shutil.copy(self.film, self.path("a\x1b[2Jb\udcff.mp4"))
            out = lambda n: self.path(f"watch/out{n}.mp4")
            self.ask(farm, "watch") # there is nothing to watch: it ends
            self.assertEqual(farm.submit(self.film, out(1), *SHORT).returncode, 0)
            self.assertEqual(farm.submit(hostile, out(2), *SHORT).returncode, 0)
            plain = subprocess.Popen(e2e.command("watch", "1", "2", "--farm", farm.control), stdout=subprocess.PIPE, text=True)
            table = OnTerminal("watch", "--farm", farm.control)
            top = OnTerminal("top", "--farm", farm.control, rows=5)
            self.assertTrue(table.read(lambda t: "2 of 2 jobs are not over" in t))
            farm.start_worker("a")
            self.assertTrue(top.read(lambda t: re.search(r"\ba +READY", t) and "segment" in t and "s of music, for" in t))
            self.assertTrue(table.read(lambda t: "0 of 2 jobs are not over" in t))
            self.assertEqual(table.end(), 0)
            # Drawn in one place, and no terminal obeys a film's name.
            self.assertIn("\x1b[4A", table.text)
            self.assertNotIn("\x1b[2J", table.text)
            self.assertTrue(table.text.rstrip("\n").endswith("\x1b[?7h"))
            # As many lines as there is room for.
            self.assertLessEqual(max(map(int, re.findall(r"\x1b\[(\d+)A", top.text))), 4)
            os.write(top.fd, b"\x03")
            self.assertEqual(top.end(), 130)
            self.assertTrue(top.text.replace("^C", "").rstrip("\r\n").endswith("\x1b[?7h"), top.text[-40:])
            lines = plain.communicate(timeout=120)[0].splitlines()
            self.assertEqual(plain.returncode, 0)
            self.assertGreater(len(lines), 4)
            self.assertRegex(lines[0], r"^job 1: [A-Z]+, 0 of \d+ segments.*: film.mp4$")
            self.assertEqual(sum(": DONE, " in line for line in lines), 2)
            self.assertNotIn("\x1b", "".join(lines))

            top_now = self.json(farm, "top")
            self.assertEqual([n["name"] for n in top_now["nodes"]], ["a"])
            self.assertGreater(top_now["rate"], 0)
            self.assertIn("1 of 1 workers are here", self.ask(farm, "top").stdout)
            watched = self.ask(farm, "watch", 2, "--json").stdout.splitlines()
            self.assertEqual([json.loads(line)["state"] for line in watched], ["DONE"])
            self.assertIn("\ufffd", json.loads(watched[0])["film"])

            logs = self.json(farm, "logs", 1)
            self.assertEqual(len(logs["attempts"]), logs["job"]["segments"])
            self.assertEqual({a["outcome"] for a in logs["attempts"]}, {"accepted"})
            text = self.ask(farm, "logs", 1).stdout.splitlines()
            self.assertEqual(len(text), 2 + 2 * len(logs["attempts"]))
            self.assertEqual(text, sorted(text, key=lambda line: line[:19]))
            self.assertIn("submitted by", text[0])
            self.assertTrue(text[-1].endswith("DONE"))
            self.ask(farm, "logs", 77, status=65)
            self.ask(farm, "watch", 77, status=65)
            self.assertEqual(farm.stop(), [0, 0])

    def test_what_a_worker_said_is_kept(self):
        with Farm(self.path("failures"), self.model, lease=60) as farm:
            farm.start_coordinator()
            farm.start_worker("sound")
            farm.wait_until(lambda: farm.ask("node", "show", "sound").returncode == 0)
            self.ask(farm, "node", "drain", "sound")
            with Peer(farm.control) as worker:
                worker.hello("broken", model=e2e.sha256(self.model))
                self.assertEqual(farm.submit(self.film, self.path("failures/out.mp4"), *SHORT).returncode, 0)
                for _ in range(3): # and then it is in quarantine
                    worker.send("PULL", want=1)
                    lease = None
                    for _ in range(200):
                        worker.beat()
                        lease = worker.receive("LEASE", seconds=0.1)
                        if lease:
                            break
                    worker.send("FAILED", attempt=lease["attempt"], fence=lease["fence"], **{"class": 2},
                                log_tail="the device was lost\nunderscore-worker: \x1b[2Jlast words")
                farm.wait_until(lambda: self.json(farm, "node", "show", "broken")["quarantined"])
            attempts = self.json(farm, "logs", 1)["attempts"]
            self.assertEqual([a["outcome"] for a in attempts], ["device_lost"] * 3)
            self.assertIn("last words", attempts[0]["detail"])
            text = self.ask(farm, "logs", 1).stdout
            self.assertIn("device_lost, broken, after", text)
            self.assertIn("\n    underscore-worker: \ufffd[2Jlast words\n", text)
            self.ask(farm, "node", "release", "broken") # nobody had to restart anything
            self.assertFalse(self.json(farm, "node", "show", "broken")["quarantined"])
            self.ask(farm, "node", "undrain", "sound")
            self.assertEqual(farm.submit(self.film, self.path("failures/out.mp4"), *SHORT, "--wait").returncode, 0)
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def test_the_queue(self):
        with Farm(self.path("queue"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            one, two = self.path("queue/1.mp4"), self.path("queue/2.mp4")
            self.assertEqual(self.json(farm, "queue", "stop"), {"disabled": False, "stopped": True})
            self.assertEqual(farm.submit(self.film, one, *SHORT).returncode, 0)
            self.assertIn("refuses new jobs and is stopped", self.ask(farm, "queue", "disable").stdout)
            farm.coordinator.kill()
            farm.coordinator.wait()
            farm.start_coordinator()
            refused = farm.submit(self.film, two, *SHORT)
            self.assertEqual((refused.returncode, "disabled" in refused.stderr), (65, True))
            self.assertEqual(farm.submit(self.film, one, *SHORT).returncode, 0) # no new one
            farm.wait_until(lambda: self.json(farm, "show", 1)["state"] == "PLANNED")
            time.sleep(1)
            self.assertEqual(self.json(farm, "show", 1)["running"], 0)
            why, = self.json(farm, "explain", 1)["why"] # one sentence, and the reason is no other
            self.assertRegex(why, "; [0-9]+ wait because the queue is stopped")
            self.assertNotRegex(why, "are next|pictures|with room")
            self.ask(farm, "queue", "start")
            farm.wait_until(lambda: self.json(farm, "show", 1)["state"] == "DONE")
            self.assertEqual(self.json(farm, "queue", "show"), {"disabled": True, "stopped": False})
            self.ask(farm, "queue", "enable")
            self.assertEqual(farm.submit(self.film, two, *SHORT, "--wait").returncode, 0)
            self.ask(farm, "queue", "dance", status=64)
            self.assertEqual(farm.stop(), [0, 0])

    def test_the_ledger(self):
        with Farm(self.path("ledger"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            for n in (1, 2):
                self.assertEqual(farm.submit(self.film, self.path(f"ledger/{n}.mp4"), *SHORT, "--wait").returncode, 0)
            self.assertEqual(self.json(farm, "db", "check"), {"sound": True})
            copy = self.ask(farm, "db", "backup").stdout.strip()
            self.assertEqual(os.path.dirname(copy), farm.path("coordinator/backups"))
            self.assertEqual(os.listdir(os.path.dirname(copy)), [os.path.basename(copy)])
            before = e2e.sha256(copy)
            self.ask(farm, "db", "check", copy)
            self.assertEqual(self.json(farm, "db", "check", copy), {"sound": True})
            self.assertEqual(e2e.sha256(copy), before) # looked at, not changed
            self.assertEqual(os.listdir(os.path.dirname(copy)), [os.path.basename(copy)])
            self.assertIn("open", self.ask(farm, "db", "check", farm.path("coordinator/ledger.db"), status=69).stderr)
            self.assertEqual(self.json(farm, "db", "prune", "--older-than", 1), {"forgotten": 0})
            self.assertEqual(self.json(farm, "db", "prune", "--older-than", 0), {"forgotten": 2})
            self.assertEqual(self.json(farm, "list", "-a")["jobs"], [])
            self.ask(farm, "logs", 1, status=65)
            for args in (("prune",), ("check", "--older-than", 3), ("backup", "x"), ("dance",)):
                self.ask(farm, "db", *args, status=64)
            done = farm.submit(self.film, self.path("ledger/3.mp4"), *SHORT, "--wait", "--json")
            self.assertEqual(json.loads(done.stdout)[0]["job"], 3) # a number is never used again
            self.assertEqual(farm.stop(), [0, 0])
            # Of a coordinator that does not run; damaged; none at all.
            self.ask(farm, "db", "check", farm.path("coordinator/ledger.db"))
            with open(copy, "r+b") as f:
                f.seek(8192)
                f.write(b"\xff" * 20000)
            self.assertIn("db backup", self.ask(farm, "db", "check", copy, status=78).stderr)
            self.ask(farm, "db", "check", self.path("none.db"), status=66)
            db = sqlite3.connect(farm.path("coordinator/ledger.db"))
            db.execute("UPDATE jobs SET done = done + 1")
            db.commit()
            db.close()
            self.assertIn("invariant 5", self.ask(farm, "db", "check", farm.path("coordinator/ledger.db"), status=70).stderr)

    def test_a_ledger_that_was_removed(self):
        """While it is in use: it is said, and a copy can still be made."""
        with Farm(self.path("removed"), self.model) as farm:
            ledger = farm.path("coordinator/ledger.db")
            farm.start_coordinator()
            farm.wait_until(lambda: farm.ask("list").returncode == 0)
            self.assertEqual(farm.submit(self.film, self.path("removed/1.mp4"), *SHORT).returncode, 0)
            os.remove(ledger)
            farm.wait_until(lambda: "it was moved or removed while it is in use" in farm.log("coordinator"))
            self.ask(farm, "db", "check", status=65)
            copy = self.ask(farm, "db", "backup").stdout.strip()
            self.assertEqual(farm.stop(), [0])
            os.rename(copy, ledger)
            farm.start_coordinator()
            farm.wait_until(lambda: farm.ask("list").returncode == 0)
            self.assertEqual(len(self.json(farm, "list", "-a")["jobs"]), 1)
            self.assertEqual(farm.stop(), [0])

    def test_completion(self):
        """What bash offers, with the completion sourced as bash-completion does it."""
        def offered(*words):
            script = f"""PATH={os.path.dirname(e2e.PROGRAM)}:$PATH; . docs/completion.bash
                COMP_WORDS=({' '.join(words)}{' ""' if words[-1].endswith(' ') else ''}); COMP_CWORD=$(({'${#COMP_WORDS[@]}'} - 1))
                _underscore; printf '%s\\n' "${{COMPREPLY[@]}}" """
            done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
            self.assertEqual(done.stderr, "")
            return done.stdout.split()
        self.assertEqual(offered("underscore", "wat"), ["watch"])
        self.assertEqual(offered("underscore", "node", "un"), ["undrain"])
        self.assertEqual(set(offered("underscore", "queue ")), {"show", "enable", "disable", "start", "stop"})
        self.assertEqual(set(offered("underscore", "db ")), {"check", "backup", "prune"})
        self.assertEqual(set(offered("underscore", "config ")), {"check", "dump", "reload"})
        self.assertEqual(set(offered("underscore", "key ")), {"gen", "add", "revoke", "list"})
        self.assertEqual(offered("underscore", "submit", "--requ"), ["--require"])
        self.assertEqual(offered("underscore", "db", "prune", "--old"), ["--older-than"])
        with Farm(self.path("completion"), self.model) as farm:
            farm.start_coordinator()
            with Peer(farm.control) as worker:
                worker.hello("node1/0")
                worker.hello("node2/0")
                os.environ["UNDERSCORE_FARM"] = farm.control
                try:
                    self.assertEqual(set(offered("underscore", "node", "drain ")), {"node1/0", "node2/0"})
                    self.assertEqual(offered("underscore", "cancel ") , [])
                finally:
                    del os.environ["UNDERSCORE_FARM"]


if __name__ == "__main__":
    e2e.main()
