"""Hosts with networks of their own, at one switch: Linux network namespaces, where packets really vanish.

Nothing in them reaches further than the switch. Needs root and iproute2: lacking() says what there is not.
"""
import os
import subprocess

PREFIX = "underscore-faults-" # then the process id of the test, and the host
SWITCH = "switch"
NOBODY = "02:00:00:00:00:01" # no host has this


def ip(*args):
    done = subprocess.run(["ip", *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(map(str, args))}: {done.stderr.strip()}")
    return done.stdout


def remove_left_over():
    """Of tests that were killed."""
    for name in (line.split()[0] for line in ip("netns", "list").splitlines()):
        if name.startswith(PREFIX) and not os.path.exists(f"/proc/{name[len(PREFIX):].split('-')[0]}"):
            ip("netns", "del", name)


def lacking():
    """Why there can be no such network here; None: there can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    try:
        remove_left_over()
        with Network("a", "b"):
            return None
    except FileNotFoundError:
        return "no ip command: iproute2 is not installed"
    except OSError as e:
        return f"no network namespaces here: {e}"


class Network:
    """Used in a `with`. The first host's address ends in 1, the second's in 2."""

    def __init__(self, *hosts):
        self.hosts, self.made = {name: f"10.83.0.{i + 1}" for i, name in enumerate(hosts)}, []
        self.cards = {name: f"02:00:00:00:02:{i + 1:02}" for i, name in enumerate(hosts)} # a host keeps its own
        self.had = {name: {address} for name, address in self.hosts.items()}

    def __enter__(self):
        try:
            self.make(SWITCH)
            ip("-n", self.space(SWITCH), "link", "add", "name", "bridge", "up", "type", "bridge")
            for name in self.hosts:
                self.begin(name)
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in list(self.made):
            self.end(name)

    def make(self, name):
        ip("netns", "add", self.space(name))
        self.made.append(name)

    def space(self, name):
        return f"{PREFIX}{os.getpid()}-{name}"

    def inside(self, name):
        """The command that starts others there."""
        return ["ip", "netns", "exec", self.space(name)]

    def at(self, name, *args):
        return ip("-n", self.space(name), *args)

    # Hosts

    def begin(self, name):
        self.make(name)
        self.at(SWITCH, "link", "add", "name", name, "type", "veth", "peer",
                "name", "eth0", "address", self.cards[name], "netns", self.space(name))
        self.at(SWITCH, "link", "set", "dev", name, "master", "bridge", "up")
        self.at(name, "link", "set", "dev", "lo", "up")
        self.at(name, "link", "set", "dev", "eth0", "up", "gso_max_segs", 1) # real frames: no larger than the MTU
        self.at(name, "addr", "add", self.hosts[name] + "/24", "dev", "eth0")

    def end(self, name):
        """As if its power failed: nobody is told. What runs there is to have ended."""
        self.made.remove(name)
        ip("netns", "del", self.space(name))

    def vanish(self, name):
        """It has no network any more, ever."""
        self.at(SWITCH, "link", "del", "dev", name)

    def move(self, name, address):
        """It has that address now, and no other."""
        self.at(name, "addr", "flush", "dev", "eth0")
        self.hosts[name] = address
        self.had[name].add(address)
        self.at(name, "addr", "add", address + "/24", "dev", "eth0")

    def plug(self, name, is_in=True):
        """Its cable, at the switch: it sees that there is no carrier."""
        self.at(SWITCH, "link", "set", "dev", name, "up" if is_in else "down")

    def lose(self, name, to):
        """What `name` sends there vanishes, without a word to anybody."""
        self.at(name, "neigh", "replace", self.hosts[to], "lladdr", NOBODY, "nud", "permanent", "dev", "eth0")

    def find(self, name, to):
        self.at(name, "neigh", "del", self.hosts[to], "dev", "eth0")

    def route(self, name, to, kind=None):
        """The kernel of `name` refuses to send there: blackhole, unreachable or prohibit; None: it does again."""
        self.at(name, "route", "flush", "root", self.hosts[to] + "/32", "table", "main")
        if kind:
            self.at(name, "route", "add", kind, self.hosts[to] + "/32")

    def frames_up_to(self, name, mtu):
        """Larger ones are neither sent nor taken in there; who sent them is not told."""
        self.at(name, "link", "set", "dev", "eth0", "mtu", mtu)

    def connections(self, name, peer):
        """How many that host has with what was ever its peer's address, but for TIME-WAIT."""
        of = [word for address in self.had[peer] for word in ("or", "dst", address)][1:]
        done = subprocess.run([*self.inside(name), "ss", "-Htan", *of], capture_output=True, text=True, check=True)
        return sum(not line.startswith("TIME-WAIT") for line in done.stdout.splitlines())
