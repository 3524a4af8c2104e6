"""A machine with a systemd of its own, for tests: a container over what is installed here, in memory.

All that it mounts and runs is in namespaces of its own, which end with this process, however that ends:
nothing is left on the machine but empty control groups, and those are swept up when it ends well.
"""
import fcntl
import os
import shutil
import subprocess
import time

PROGRAMS = ("systemd-nspawn", "systemd-sysusers", "dbus-daemon", "dpkg", "nsenter", "setpriv", "unshare", "mount",
            "runuser")

# What this machine has enabled is none of the test's business. systemd-nspawn would let the container
# neither filter the use of devices, with BPF, nor lock memory: any machine may.
BOOT = """
mkdir -p /run/lock
mount -t tmpfs tmpfs /run
mkdir /run/machine /run/machine/upper /run/machine/work /run/machine/root
cd /run/machine
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
rm -rf root/etc/systemd/system/*.wants root/etc/rc?.d/* root/var/log/journal root/etc/underscore root/var/*/underscore*
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
boot() {
    systemd-nspawn -D root --boot --machine=underscore --register=no --keep-unit --private-network \
        --console=read-only --capability=CAP_BPF --system-call-filter='bpf @memlock' || [ $? = 133 ] # to boot again
}
boot; boot
"""


def why_not():
    """What keeps such a machine from being had here, in words, or ''."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    if missing:
        return f"not installed: {' '.join(missing)}; `make systemd` installs them"
    if os.getuid() != 0:
        return "only root may start a container"
    tried = subprocess.run(["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/run"],
                           capture_output=True, text=True)
    return f"nothing can be mounted here: {tried.stderr.strip()}" if tried.returncode else ""


def descendants_of(pid):
    """First children first."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            children = [int(child) for child in f.read().split()]
    except FileNotFoundError:
        return []
    return [found for child in children for found in (child, *descendants_of(child))]


def sweep_up():
    """systemd-nspawn leaves its two control groups below this process's."""
    with open("/proc/self/cgroup") as f:
        own = {line.rstrip().split(":", 2)[2] for line in f if line.split(":")[1] in ("", "name=systemd")}
    for path in own:
        for top in (f"/sys/fs/cgroup{hierarchy}{path}" for hierarchy in ("", "/unified", "/systemd")):
            for name in ("payload", "supervisor"):
                for folder, _, _ in os.walk(os.path.join(top, name), topdown=False):
                    os.rmdir(folder)


class Machine:
    def __init__(self, log):
        self.log, self.booting, self.pid = log, None, None
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

    def __enter__(self):
        # Two would share control groups: one after the other.
        self.lock = open("/run/lock/underscore-systemd-test", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        with open(self.log, "w") as log:
            self.booting = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--propagation", "private", "--mount-proc", "--pid",
                 "--fork", "--kill-child", "sh", "-euc", BOOT],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            self.wait_for_boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        processes, self.pid = descendants_of(self.booting.pid), None
        self.booting.kill()
        self.booting.wait()
        self.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in processes), 20)
        sweep_up()
        self.lock.close()

    def is_up(self):
        if self.booting.poll() is not None:
            raise AssertionError("it did not boot\n" + self.console())
        # Below it a shell, systemd-nspawn, and that machine's first process.
        line = descendants_of(self.booting.pid)[:3]
        if len(line) < 3 or line[2] == self.pid or not os.path.exists(f"/proc/{line[2]}/root/run/systemd/private"):
            return False
        self.pid = line[2]
        return True

    def wait_for_boot(self):
        self.wait_until(self.is_up, 60)
        self.wait_until(lambda: self.run("systemctl", "is-system-running").stdout in ("running\n", "degraded\n"), 60)

    def reboot(self):
        """Once at most."""
        self.run("systemctl", "reboot")
        self.wait_for_boot()

    def console(self):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-30:])

    def path(self, name):
        """Of a file in the machine, from here."""
        return f"/proc/{self.pid}/root{name}"

    def write(self, name, text, mode="w"):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), mode) as f:
            f.write(text)

    def run(self, *args, user=None, timeout=120, **environment):
        """As that user, or as root."""
        become = ["runuser", "-u", user, "--"] if user else []
        home = f"/home/{user}" if user else "/root"
        settings = [f"{name}={value}" for name, value in {**self.environment, "HOME": home, **environment}.items()]
        enter = ["nsenter", "-t", str(self.pid), "--all", "--", "env", "-i", "-C", "/", *settings, *become]
        return subprocess.run([*enter, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout)

    def good(self, *args, **options):
        done = self.run(*args, **options)
        assert done.returncode == 0, f"{args}\n{done.stdout}\n{done.stderr}\n{self.story()}"
        return done.stdout

    def shell(self, script):
        return self.good("sh", "-euc", script)

    def systemctl(self, *args):
        return self.good("systemctl", "--no-pager", *args)

    def show(self, unit, what):
        return self.systemctl("show", "-P", what, unit).strip()

    def story(self):
        return self.run("journalctl", "--no-pager", "-n", "60").stdout

    def wait_until(self, what, seconds=120):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if what():
                return
            time.sleep(0.05)
        raise AssertionError("it did not come to that in time\n" + (self.story() if self.pid else self.console()))
