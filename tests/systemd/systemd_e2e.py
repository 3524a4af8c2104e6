"""The Debian packages and the units on a real systemd, installed and set up as the manual pages say.

Needs root, and the packages of the line `systemd` in tools/packages; without them it says so and is
skipped. Environment beside e2e.py's: PACKAGES, the folder with the .debs.
"""
import glob
import json
import os
import re
import shutil
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import e2e
from machine import Machine, why_not

WHY_NOT = why_not()
DEBS = {name: path for name in ("underscore", "underscored", "underscore-worker")
        for path in glob.glob(os.path.join(os.environ["PACKAGES"], f"{name}_*.deb"))}
COORDINATOR, WORKER, NAMED = "underscored.service", "underscore-worker@0.service", "underscore-worker@llvmpipe.service"
CONF, WORKER_CONF = "/etc/underscore/underscored.conf", "/etc/underscore/worker.conf"
MODELS = "/usr/share/underscore/models" # the built-in one


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Case(unittest.TestCase):
    """On a machine of its own, where the packages are installed."""

    @classmethod
    def setUpClass(cls):
        assert len(DEBS) == 3, f"no packages in {os.environ['PACKAGES']}: {DEBS}"
        folder = os.path.join(e2e.FOLDER, cls.__name__)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        cls.folder = folder
        cls.machine = cls.enterClassContext(Machine(os.path.join(folder, "console.log")))
        os.mkdir(cls.machine.path("/packages"))
        for name, deb in DEBS.items():
            shutil.copy(deb, cls.machine.path(f"/packages/{name}.deb"))
        cls.install(*DEBS)

    @classmethod
    def install(cls, *names):
        cls.machine.good("dpkg", "--install", *(f"/packages/{name}.deb" for name in names))

    def edit(self, path, text):
        """Until the test is over."""
        with open(self.machine.path(path)) as f:
            before = f.read()
        self.addCleanup(self.machine.write, path, before)
        self.machine.write(path, text, "a")

    def state(self, unit):
        return self.machine.show(unit, "ActiveState"), self.machine.show(unit, "SubState")

    def journal(self, unit, *args):
        lines = self.machine.good("journalctl", "-o", "json", "-u", unit, *args).splitlines()
        return [json.loads(line) for line in lines]

    def messages(self, unit, *args):
        return "\n".join(entry["MESSAGE"] for entry in self.journal(unit, *args))

    def mark(self):
        """For `journalctl`: what comes from here on."""
        return f"--since=@{time.time():.6f}"

    def looks(self, path):
        """mode owner group"""
        return self.machine.good("stat", "-c", "%a %U %G", path).strip()


class Packages(Case):
    def test_installed(self):
        for path, looks in {"/etc/underscore": "755 root root", CONF: "644 root root", WORKER_CONF: "644 root root",
                            "/var/lib/underscored": "750 underscore underscore",
                            "/var/lib/underscore-worker": "755 underscore-worker underscore-worker",
                            "/var/cache/underscore-worker": "755 underscore-worker underscore-worker"}.items():
            self.assertEqual(self.looks(path), looks, path)
        self.assertEqual(self.machine.good("id", "-nG", "underscore").split(), ["underscore"])
        self.assertEqual(sorted(self.machine.good("id", "-nG", "underscore-worker").split()),
                         ["render", "underscore-worker", "video"])
        self.assertEqual(self.machine.good("systemd-analyze", "verify", COORDINATOR, WORKER), "")

    def test_nothing_runs_before_it_is_told_to(self):
        for unit in (COORDINATOR, WORKER):
            self.assertEqual(self.state(unit), ("inactive", "dead"))
            self.assertEqual(self.machine.run("systemctl", "is-enabled", unit).stdout, "disabled\n")

    def test_started_before_it_is_configured(self):
        """It says what it lacks, and is not started again and again."""
        self.assertNotEqual(self.machine.run("systemctl", "start", COORDINATOR).returncode, 0)
        self.assertEqual(self.state(COORDINATOR), ("failed", "failed"))
        self.assertIn("media", self.messages(COORDINATOR))
        self.machine.systemctl("reset-failed", COORDINATOR)

    def test_a_new_version_runs_at_once(self):
        self.edit(CONF, 'media = [ "/srv" ];\n')
        self.addCleanup(self.machine.systemctl, "stop", COORDINATOR, WORKER)
        self.machine.systemctl("start", COORDINATOR, WORKER)
        before = [self.machine.show(unit, "MainPID") for unit in (COORDINATOR, WORKER)]
        self.install("underscored", "underscore-worker")
        for unit, pid in zip((COORDINATOR, WORKER), before):
            self.machine.wait_until(lambda: self.machine.show(unit, "MainPID") not in (pid, "0") and
                                    self.state(unit) == ("active", "running"))
        self.assertIn('media = [ "/srv" ]', self.machine.good("cat", CONF)) # what was edited stays

    def test_removed_and_purged(self):
        self.addCleanup(self.install, "underscored", "underscore-worker")
        self.machine.write(CONF, 'media = [ "/srv" ];\n', "a")
        self.machine.systemctl("enable", "--now", COORDINATOR, WORKER, NAMED)
        self.machine.good("dpkg", "--remove", "underscored", "underscore-worker")
        self.assertEqual(self.machine.run("pgrep", "-u", "underscore,underscore-worker").stdout, "")
        for unit in (COORDINATOR, WORKER, NAMED):
            self.assertEqual(self.machine.show(unit, "LoadState"), "not-found")
            self.assertFalse(os.path.lexists(self.machine.path(f"/etc/systemd/system/multi-user.target.wants/{unit}")))
        self.assertIn('media = [ "/srv" ]', self.machine.good("cat", CONF))
        self.assertGreater(os.path.getsize(self.machine.path("/var/lib/underscored/ledger.db")), 0)
        self.machine.write("/etc/underscore/coordinator.key", "a key")
        self.machine.good("dpkg", "--purge", "underscored", "underscore-worker")
        for path in (CONF, WORKER_CONF, "/var/lib/underscored", "/var/lib/underscore-worker",
                     "/var/cache/underscore-worker"):
            self.assertFalse(os.path.exists(self.machine.path(path)), path)
        self.assertEqual(self.machine.good("ls", "/etc/underscore"), "coordinator.key\n")


# As the manual pages have it, for a coordinator and a worker on one machine, and users of it.
SET_UP = f"""
useradd -m alice
useradd -m bob
groupadd film
usermod -aG film underscore
usermod -aG film alice
install -d -m 2775 -g film /films
install -d -m 2775 -g film /closed

cd /etc/underscore
underscore key gen coordinator
chown underscore coordinator.key
underscore key gen gpu1
chown underscore-worker gpu1.key
underscore key gen alice
underscore key add gpu1.pub
underscore key add alice.pub
chown alice alice.key
mv alice.key /home/alice

cat >> underscored.conf <<END
control = "tcp://0.0.0.0:7480";
bulk = "tcp://0.0.0.0:7481";
key = "/etc/underscore/coordinator.key";
allow = "/etc/underscore/allowed.keys";
media = [ "/films", "/closed" ];
models = [ "{MODELS}" ];
END
cat >> worker.conf <<END
key = "/etc/underscore/gpu1.key";
coordinator-key = "/etc/underscore/coordinator.pub";
END
mkdir -p /etc/systemd/system/underscored.service.d
cat > /etc/systemd/system/underscored.service.d/override.conf <<END
[Service]
ReadWritePaths=/films
END
systemctl daemon-reload
"""


class Service(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        film = e2e.make_film(os.path.join(cls.folder, "film.mp4"), seconds=6)
        cls.machine.shell(SET_UP)
        shutil.copy(film, cls.machine.path("/films/film.mp4"))
        cls.machine.systemctl("enable", "--now", "underscored")
        cls.first_words = cls.ask("list") # at once: it is ready
        cls.machine.systemctl("enable", "--now", "underscore-worker@0")
        cls.machine.good("underscore", "score", "/films/film.mp4", "-o", "/home/alice/alone.mp4", *e2e.SHORT,
                         user="alice")
        cls.alone = e2e.sha256(cls.machine.path("/home/alice/alone.mp4"))

    def setUp(self):
        self.machine.systemctl("start", COORDINATOR, WORKER) # whatever became of them

    @classmethod
    def ask(cls, *args):
        return cls.machine.run("underscore", *args, user="alice", UNDERSCORE_KEY="/home/alice/alice.key",
                               UNDERSCORE_COORDINATOR_KEY="/etc/underscore/coordinator.pub")

    def submit(self, name, *args, folder="/films"):
        """The film's job."""
        done = self.ask("submit", "/films/film.mp4", "-o", f"{folder}/{name}.mp4", *e2e.SHORT, *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return int(re.search(r"job (\d+)", done.stdout)[1])

    def job(self, number):
        done = self.ask("show", number, "--json")
        if done.returncode: # the coordinator is away just now
            return {"state": "", "done": 0, "running": 0}
        return json.loads(done.stdout)

    def wait_for_work(self, job):
        """Some of it is done, and some not."""
        self.machine.wait_until(lambda: self.job(job)["done"] > 0 and self.job(job)["running"] > 0)
        self.assertEqual(self.job(job)["state"], "RUNNING")

    def assert_scored(self, job, name):
        self.machine.wait_until(lambda: self.job(job)["state"] in ("DONE", "FAILED", "HELD"))
        self.assertEqual(self.job(job)["state"], "DONE", self.job(job))
        self.assertEqual(e2e.sha256(self.machine.path(f"/films/{name}.mp4")), self.alone)

    def drop_in(self, unit, text):
        """Until the test is over."""
        path = f"/etc/systemd/system/{unit}.d/test.conf"
        self.machine.write(path, "[Service]\n" + text)
        self.addCleanup(self.machine.shell, f"rm {path}; systemctl daemon-reload; systemctl restart {unit}")
        self.machine.systemctl("daemon-reload")
        self.machine.systemctl("restart", unit)

    def wait_for_restart(self, unit, before):
        self.machine.wait_until(lambda: int(self.machine.show(unit, "NRestarts")) > before and
                                self.state(unit) == ("active", "running"))

    def process(self, unit, what):
        return self.machine.path(f"/proc/{self.machine.show(unit, 'MainPID')}/{what}")

    def kernel_status(self, path):
        with open(path) as f:
            return dict(re.findall(r"^(\w+):\s*(.*)$", f.read(), re.M))

    # What it is there for

    def test_ready_when_started(self):
        self.assertEqual(self.first_words.returncode, 0, self.first_words.stderr)

    def test_a_film(self):
        mark = self.mark()
        job = self.submit("scored")
        for unit, says in ((COORDINATOR, "1 jobs? under way, [1-9]"), (WORKER, r"[1-9]\d* segments here")):
            self.machine.wait_until(lambda: re.search(says, self.machine.show(unit, "StatusText")))
        self.assert_scored(job, "scored")
        self.assertEqual(self.looks("/films/scored.mp4"), "640 underscore film")
        self.assertEqual(self.machine.run("cat", "/films/scored.mp4", user="bob").returncode, 1)
        self.assertEqual(self.ask("list", "--all").returncode, 0)
        self.assertNotEqual(self.machine.run("underscore", "list", user="bob").returncode, 0) # who has no key
        # The story of the job, with its fields.
        story = self.journal(COORDINATOR, mark, f"UNDERSCORE_JOB={job}")
        self.assertIn("/films/film.mp4 for alice", story[0]["MESSAGE"])
        self.assertEqual({entry["PRIORITY"] for entry in story}, {"6"})
        self.assertEqual({entry["SYSLOG_IDENTIFIER"] for entry in story}, {"underscored"})
        self.assertIn("is here", self.messages(COORDINATOR, "UNDERSCORE_WORKER=gpu1/0"))
        # Compiled kernels, ours and the driver's, are kept, and nobody complains.
        self.assertTrue(self.machine.good("find", "/var/cache/underscore-worker", "-type", "f"))
        self.assertNotIn("shader cache", self.messages(WORKER))

    def test_where_it_may_not_write(self):
        """Said at once, and not when all is composed."""
        self.machine.good("mkdir", "-p", "-m", "755", "/films/shut")
        for output, why in (("/closed/out.mp4", "the coordinator cannot write there: Read-only file system"),
                            ("/films/shut/out.mp4", "the coordinator cannot write there: Permission denied"),
                            ("/srv/out.mp4", "not in a folder that this coordinator may write to")):
            done = self.ask("submit", "/films/film.mp4", "-o", output)
            self.assertEqual(done.returncode, 65, output)
            self.assertIn(f"{output}: {why}", done.stderr)

    def test_what_it_may_not_read(self):
        self.machine.good("install", "-m", "600", "-o", "alice", "/films/film.mp4", "/films/own.mp4")
        done = self.ask("submit", "/films/own.mp4", "-o", "/films/own.scored.mp4")
        self.assertEqual(done.returncode, 65)
        self.assertIn("/films/own.mp4: the coordinator cannot read it: Permission denied", done.stderr)

    # What may happen to it

    def test_killed(self):
        job = self.submit("killed")
        self.wait_for_work(job)
        for unit in (COORDINATOR, WORKER):
            before = int(self.machine.show(unit, "NRestarts"))
            self.machine.systemctl("kill", "--signal=KILL", "--kill-whom=main", unit)
            self.wait_for_restart(unit, before)
        self.assert_scored(job, "killed")

    def test_stuck(self):
        for unit in (COORDINATOR, WORKER):
            self.drop_in(unit, "WatchdogSec=2\n")
        job = self.submit("stuck")
        self.wait_for_work(job)
        for unit in (COORDINATOR, WORKER):
            before = int(self.machine.show(unit, "NRestarts"))
            mark = self.mark()
            self.machine.systemctl("kill", "--signal=STOP", "--kill-whom=main", unit)
            self.wait_for_restart(unit, before)
            self.assertIn("Watchdog timeout", self.messages(unit, mark))
        self.assert_scored(job, "stuck")

    def test_stopped_at_work(self):
        """The worker finishes and delivers what it has begun; the coordinator is gone at once, and nothing is lost."""
        job = self.submit("stopped")
        self.wait_for_work(job)
        done = self.job(job)["done"]
        self.machine.systemctl("stop", WORKER)
        self.assertEqual(self.state(WORKER), ("inactive", "dead"))
        self.assertEqual(self.machine.show(WORKER, "Result"), "success")
        self.assertGreater(self.job(job)["done"], done)
        self.machine.systemctl("stop", COORDINATOR)
        self.assertEqual(self.state(COORDINATOR), ("inactive", "dead"))
        self.assertEqual(self.machine.show(COORDINATOR, "Result"), "success")
        self.machine.systemctl("start", COORDINATOR, WORKER)
        self.assert_scored(job, "stopped")

    def test_rebooted(self):
        """What is enabled comes again, and takes up its work."""
        job = self.submit("rebooted")
        self.wait_for_work(job)
        self.machine.reboot()
        self.assert_scored(job, "rebooted")

    # What it is told

    def test_a_model_of_its_own(self):
        """It is loaded when systemd hears that the worker is ready."""
        mark = self.mark()
        self.edit(WORKER_CONF, f'model = "{MODELS}/demo.safetensors";\n')
        self.machine.systemctl("restart", WORKER)
        self.assertIn("segments side by side", self.messages(WORKER, mark))
        self.assertNotIn("no model yet", self.messages(WORKER, mark))
        self.doCleanups()
        self.machine.systemctl("restart", WORKER)

    def films(self):
        return re.search(r"^#?films = (\d+);", self.ask("config", "dump").stdout, re.M)[1]

    def test_reloaded(self):
        self.assertEqual(self.films(), "2")
        self.edit(CONF, "films = 3;\n")
        self.edit(WORKER_CONF, "prefetch = 3;\n")
        for unit in (COORDINATOR, WORKER):
            mark = self.mark()
            self.machine.systemctl("reload", unit)
            self.machine.wait_until(lambda: "the settings were read again" in self.messages(unit, mark))
        self.assertEqual(self.films(), "3")
        # What makes no sense is refused, and what was in force stays.
        for unit, path in ((COORDINATOR, CONF), (WORKER, WORKER_CONF)):
            pid, mark = self.machine.show(unit, "MainPID"), self.mark()
            self.machine.write(path, "films = ;\n", "a")
            self.machine.systemctl("reload", unit)
            self.machine.wait_until(lambda: "nothing was changed" in self.messages(unit, mark, "--priority=err"))
            self.assertIn(path, self.messages(unit, mark, "--priority=err"))
            self.assertEqual((*self.state(unit), self.machine.show(unit, "MainPID")), ("active", "running", pid))
        self.assertEqual(self.films(), "3")
        self.doCleanups()
        self.machine.systemctl("reload", COORDINATOR, WORKER)
        self.machine.wait_until(lambda: self.films() == "2")

    def test_wrongly_configured(self):
        """Once is enough: it is wrong the next time, too."""
        for unit, path in ((COORDINATOR, CONF), (WORKER, WORKER_CONF)):
            self.edit(path, "nonsense = 1;\n")
            mark = self.mark()
            self.assertNotEqual(self.machine.run("systemctl", "restart", unit).returncode, 0)
            self.assertEqual(self.state(unit), ("failed", "failed"))
            self.assertEqual(self.machine.show(unit, "ExecMainStatus"), "78")
            self.assertIn(path, self.messages(unit, mark, "--priority=err"))
        self.doCleanups()
        self.machine.systemctl("restart", COORDINATOR, WORKER)

    # What it may not

    def test_rights(self):
        for unit, user in ((COORDINATOR, "underscore"), (WORKER, "underscore-worker")):
            status = self.kernel_status(self.process(unit, "status"))
            self.assertEqual((status["NoNewPrivs"], status["Seccomp"], status["Umask"]), ("1", "2", "0027"))
            self.assertEqual({int(value, 16) for name, value in status.items() if name.startswith("Cap")}, {0})
            self.assertEqual(status["Uid"].split(), [self.machine.good("id", "-u", user).strip()] * 4)

    def test_folders(self):
        def writable(unit, path):
            """Where that process sees it: what is read-only there is so for everybody."""
            try:
                with open(self.process(unit, f"root{path}/probe"), "w") as f:
                    os.unlink(f.name)
                return True
            except OSError as e:
                self.assertEqual(e.strerror, "Read-only file system")
                return False
        self.machine.good("mkdir", "-p", "/var/lib/underscore-worker/1")
        for path, who in {"/films": COORDINATOR, "/var/lib/underscored": COORDINATOR,
                          "/var/lib/underscore-worker/0": WORKER, "/var/cache/underscore-worker": WORKER,
                          "/var/lib/underscore-worker/1": None, "/closed": None, "/etc/underscore": None,
                          "/home/alice": None, "/usr": None}.items():
            for unit in (COORDINATOR, WORKER):
                self.assertEqual(writable(unit, path), unit == who, (unit, path))

    def test_devices(self):
        self.machine.write("/open.sh", '[ -z "$1" ] || echo $$ > "/sys/fs/cgroup$1/cgroup.procs"; exec 3< $2\n')
        def may_open(unit, device):
            """One that joins the processes of the unit."""
            group = self.machine.show(unit, "ControlGroup") if unit else ""
            self.assertTrue(group or not unit)
            done = self.machine.run("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "sh", "-eu", "/open.sh",
                                    group, device)
            self.assertIn("cannot open" if done.returncode else "", done.stderr)
            return done.returncode == 0
        self.machine.good("mknod", "-m", "666", "/dev/probe", "c", "10", "200")
        if not may_open(None, "/dev/probe"):
            self.skipTest("this kernel has no /dev/net/tun, as which /dev/probe is made")
        self.assertTrue(may_open(WORKER, "/dev/null"))
        self.assertFalse(may_open(WORKER, "/dev/probe"))
        self.assertFalse(may_open(COORDINATOR, "/dev/probe"))
        self.assertFalse(os.path.exists(self.process(COORDINATOR, "root/dev/probe")))

    def test_children_have_no_network(self):
        """A filter more than the coordinator: it refuses sockets."""
        own = int(self.kernel_status(self.process(COORDINATOR, "status"))["Seccomp_filters"])
        children = self.process(COORDINATOR, f"task/{self.machine.show(COORDINATOR, 'MainPID')}/children")
        seen = set()
        def look():
            with open(children) as f:
                for pid in f.read().split():
                    try:
                        seen.add(int(self.kernel_status(self.machine.path(f"/proc/{pid}/status"))["Seccomp_filters"]))
                    except FileNotFoundError:
                        pass # it has just ended
            return own + 1 in seen
        job = self.submit("childrens")
        self.machine.wait_until(look)
        self.ask("cancel", job)


if __name__ == "__main__":
    e2e.main()
