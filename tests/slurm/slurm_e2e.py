"""The scripts of conf/slurm/ on a real Slurm: a slurmctld, a slurmd and a munged of this test's own,
on this machine, with four GPUs that Slurm believes in.

Needs root, and the packages of the line `slurm` in tools/packages; without them it says so and is
skipped. Environment: that of farm.py.
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import e2e
from farm import Farm, free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue")
MISSING = [name for name in PROGRAMS if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")]
SHORT = " ".join(e2e.SHORT)
WORKER = os.path.abspath(os.environ["UNDERSCORE_WORKER"])

CONF = """ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=100000 Gres=gpu:4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """Ends all that it has started when left."""

    def __init__(self, folder):
        # munged wants folders that nobody else may write to, and a short name for its socket.
        self.folder, self.daemons = folder, []
        os.makedirs(folder, mode=0o755)
        for name in ("state", "spool", "cgroup"):
            os.mkdir(self.path(name))
        host = socket.gethostname().split(".")[0]
        self.write("slurm.conf", CONF.format(host=host, folder=folder, ports=free_ports(2)))
        self.write("gres.conf", f"NodeName={host} Name=gpu File=/dev/null,/dev/zero,/dev/full,/dev/random\n")
        self.write("cgroup.conf", f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={self.path('cgroup')}\n")
        with open(os.open(self.path("munge.key"), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
            f.write(os.urandom(1024))
        self.environment = {**os.environ, "SLURM_CONF": self.path("slurm.conf"),
                            "PATH": os.environ["PATH"] + ":/usr/sbin"}

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)

    def __enter__(self):
        self.start("munged", "--foreground", "--force", *(f"--{what}={self.path('munge.' + end)}" for what, end in (
            ("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"))))
        self.wait_until(lambda: os.path.exists(self.path("munge.socket")), 20)
        self.start("slurmctld", "-D")
        self.start("slurmd", "-D")
        self.wait_until(lambda: "idle" in self.run("sinfo", "-h", "-o", "%t").stdout, 60)
        return self

    def __exit__(self, *_):
        self.run("scancel", "--full", "--signal=KILL", "-u", "root")
        self.run("scancel", "-u", "root")
        try:
            self.wait_until(lambda: not self.run("squeue", "-h").stdout, 40)
        except AssertionError:
            pass # what is left ends with slurmd's job steps below
        for process in reversed(self.daemons):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name, *args):
        with open(self.path(f"{name}.out"), "w") as out:
            self.daemons.append(subprocess.Popen([name, *args], env=self.environment, stdin=subprocess.DEVNULL, stdout=out,
                                                 stderr=out))

    def run(self, *args, **environment):
        return subprocess.run([str(a) for a in args], env={**self.environment, **environment}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, cwd=self.folder)

    def batch(self, script, *args, options=(), **environment):
        done = self.run("sbatch", "--parsable", *options, os.path.abspath(f"conf/slurm/{script}"), *args, **environment)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def jobs(self):
        return self.run("squeue", "-h", "-o", "%i %j %t %r").stdout

    def wait_until(self, what, seconds=90):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if what():
                return
            time.sleep(0.2)
        raise AssertionError("it did not come to that in time\n" + self.all_logs())

    def all_logs(self):
        text = self.jobs()
        for name in sorted(os.listdir(self.folder)):
            if name.endswith((".log", ".out")):
                with open(self.path(name), errors="replace") as f:
                    text += f"--- {name}\n" + "".join(f.readlines()[-15:])
        return text


@unittest.skipIf(MISSING, f"not installed: {' '.join(MISSING)}; `make slurm` installs them")
@unittest.skipIf(os.getuid() != 0, "slurmd starts jobs as root only")
class Slurm(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=9)
        done = e2e.run("score", cls.film, "-o", cls.path("alone.mp4"), "--model", cls.model, *e2e.SHORT)
        if done.returncode:
            raise RuntimeError(done.stderr)
        cls.home = f"/tmp/underscore-slurm-{os.getpid()}"
        cls.cluster = Cluster(cls.home)
        try:
            cls.cluster.__enter__()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__()
        shutil.rmtree(cls.home)

    def test_a_film_without_daemons(self):
        out = self.path("film.scored.mp4")
        self.cluster.batch("film.sbatch", self.film, out, UNDERSCORE=e2e.PROGRAM, MODEL=self.model, PLAN_OPTIONS=SHORT)
        self.cluster.wait_until(lambda: not self.cluster.jobs())
        self.assertTrue(os.path.exists(out), self.cluster.all_logs())
        self.assertEqual(e2e.sha256(out), e2e.sha256(self.path("alone.mp4")))
        self.assertFalse(os.path.exists(out + ".underscore"))
        job = self.cluster.batch("film.sbatch", self.film, out, UNDERSCORE=e2e.PROGRAM, MODEL=self.model, PLAN_OPTIONS=SHORT)
        self.cluster.wait_until(lambda: not self.cluster.jobs())
        with open(self.cluster.path(f"underscore-film-{job}.log")) as f: # nothing was composed for it
            self.assertIn(f"{out}: is there already", f.read())
        self.assertFalse(os.path.exists(out + ".underscore"))

    def workers(self, farm):
        """The processes of those that Slurm has started, by name."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    arguments = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if arguments[0] == WORKER and farm.control in arguments:
                found[arguments[arguments.index("--name") + 1]] = int(pid)
        return found

    def test_workers(self):
        """Each a step of its own: one is killed, the others stay, it comes again; told to go, all go."""
        with Farm(self.path("farm"), self.model) as farm:
            farm.start_coordinator()
            job = self.cluster.batch("workers.sbatch", options=["--gpus=3"], WORKER=WORKER, MODEL=self.model,
                                     CONTROL=farm.control, BULK=farm.bulk, SCRATCH=self.path("scratch"),
                                     OPTIONS="--batch 1 --prefetch 0")
            self.cluster.wait_until(lambda: farm.log("coordinator").count("is here: ") == 3)
            before = self.workers(farm)
            self.assertEqual(sorted(before), [f"slurm-{job}/{n}" for n in range(3)])
            os.kill(before[f"slurm-{job}/1"], signal.SIGKILL)
            self.cluster.wait_until(lambda: farm.log("coordinator").count("is here: ") == 4)
            after = self.workers(farm)
            for n in (0, 2):
                self.assertEqual(after[f"slurm-{job}/{n}"], before[f"slurm-{job}/{n}"])
            out = self.path("farm/out.mp4")
            done = farm.submit(self.film, out, *e2e.SHORT, "--wait")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(e2e.sha256(out), e2e.sha256(self.path("alone.mp4")))
            self.cluster.run("scancel", job)
            self.cluster.wait_until(lambda: not self.cluster.jobs())
            self.assertEqual(farm.log("coordinator").count(" leaves: asked to"), 3)
            self.assertEqual(self.workers(farm), {})

    def test_workers_that_come_and_go(self):
        """The coordinator hands workers.sbatch to Slurm when work waits; the job ends when there is none."""
        with Farm(self.path("elastic"), self.model) as farm:
            told = {"SLURM_CONF": self.cluster.path("slurm.conf"), "WORKER": WORKER, "MODEL": self.model,
                    "CONTROL": farm.control, "BULK": farm.bulk, "SCRATCH": self.path("scratch"), "LEAVE_WHEN_IDLE": "10"}
            command = " ".join(f"{name}='{value}'" for name, value in told.items())
            farm.start_coordinator("--start-command", f"{command} sbatch --gpus=1 --output={self.home}/elastic-%j.log "
                                   f"{os.path.abspath('conf/slurm/workers.sbatch')}", "--start-most", 1, "--start-after", 0)
            out = self.path("elastic/out.mp4")
            done = farm.submit(self.film, out, *e2e.SHORT, "--wait")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(e2e.sha256(out), e2e.sha256(self.path("alone.mp4")))
            self.cluster.wait_until(lambda: not self.cluster.jobs())
            self.assertGreaterEqual(farm.log("coordinator").count(" leaves: it had nothing to do"), 1)
            self.assertEqual(self.workers(farm), {})


if __name__ == "__main__":
    e2e.main()
