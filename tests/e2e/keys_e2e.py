"""A farm whose nodes have keys: who has one is let in, everybody else is refused at once."""
import json
import os
import re
import socket
import time

import e2e
from e2e import SHORT
from farm import Farm, free_ports
from wire import Peer

# Who hangs up as soon as it sees that nothing will come of it may be gone before it is asked where it is.
HUNG_UP = r"(127\.0\.0\.1|somebody)"
# What a peer without keys says first (ZMTP 3.1, section 3.2): signature, version, mechanism, not as a server.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)


class Keys(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=4)

    def log_since(self, farm, before, says):
        """The coordinator says so. `says`: a regular expression."""
        farm.wait_until(lambda: re.search(says, farm.log("coordinator")[len(before):]))

    def test_a_film_over_encrypted_connections(self):
        with Farm(self.path("film"), self.model, keys=True) as farm:
            farm.start_coordinator()
            farm.start_worker("a"), farm.start_worker("b")
            farm.wait_until(lambda: farm.log("coordinator").count("is here: ") == 2)
            out = self.path("film/out.mp4")
            done = farm.submit(self.film, out, "--seed", 5, *SHORT, "--wait", "--owner", "somebody-else")
            self.assertEqual(done.returncode, 0, done.stderr + farm.log("coordinator"))
            self.score(self.film, "alone.mp4", "--seed", 5, *SHORT)
            self.assertEqual(e2e.sha256(out), e2e.sha256(self.path("alone.mp4")))
            self.assertEqual(json.loads(farm.ask("show", 1, "--json").stdout)["owner"], "client")
            nodes = json.loads(farm.ask("node", "list", "--json").stdout)["nodes"]
            self.assertEqual(sorted(n["name"] for n in nodes), ["a/a", "b/b"])
            self.assertEqual(farm.stop(), [0, 0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def test_the_name_is_the_keys(self):
        """What a worker calls itself does not make it another node."""
        with Farm(self.path("name"), self.model, keys=True) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            farm.wait_until(lambda: farm.log("coordinator").count("is here: ") == 1)
            farm.make_key("b"), farm.allow("b")
            farm.start_worker("a/a", *farm.key_options("b"))
            farm.wait_until(lambda: farm.log("coordinator").count("is here: ") == 2)
            nodes = json.loads(farm.ask("node", "list", "--json").stdout)["nodes"]
            self.assertEqual(sorted((n["name"], n["state"]) for n in nodes), [("a/a", "READY"), ("b/a", "READY")])

    def test_a_key_counts_as_soon_as_it_is_added(self):
        """The coordinator looks at its list a few times a second; whoever were refused by an old one would give up."""
        names = [f"n{i}" for i in range(5)]
        with Farm(self.path("added"), self.model, keys=True) as farm:
            for name in names:
                farm.make_key(name)
            farm.start_coordinator()
            farm.wait_until(lambda: "listening" in farm.log("coordinator"))
            for name in names:
                with open(farm.list_of_keys()) as old, open(farm.public(name)) as new, open(farm.path("list"), "w") as f:
                    f.write(old.read() + new.read())
                os.rename(farm.path("list"), farm.list_of_keys())
                with Peer(farm.control, keys=farm.keys_of(name)) as peer:
                    self.assertEqual(peer.hello(name)["type"], "WELCOME")
            self.assertNotIn("refused", farm.log("coordinator"))

    def refused_worker(self, farm, name, *keys, says, logged):
        before = farm.log("coordinator")
        worker = farm.start_worker(name, *keys)
        farm.wait_until(lambda: worker.poll() is not None)
        log = farm.log(name)
        self.assertEqual(worker.returncode, 78, log)
        lines = [line for line in log.splitlines() if "error:" in line]
        self.assertEqual(len(lines), 1, log)
        self.assertIn(says, lines[0])
        self.log_since(farm, before, logged)
        self.assertNotIn("is here", farm.log("coordinator"))

    def refused_client(self, farm, *keys, says, logged):
        before = farm.log("coordinator")
        start = time.monotonic()
        done = e2e.run("list", "--farm", farm.control, *keys)
        self.assertLess(time.monotonic() - start, 8) # it does not wait for an answer; half a second on an idle machine
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(says, done.stderr)
        self.log_since(farm, before, logged)

    def test_wrong_missing_revoked(self):
        with Farm(self.path("refused"), self.model, keys=True) as farm:
            farm.start_coordinator()
            for name in ("stranger", "former", "other"):
                farm.make_key(name)
            farm.allow("former")
            farm.revoke("former")
            other = ["--key", farm.key("client"), "--coordinator-key", farm.public("other")]
            for i, (keys, says, logged) in enumerate((
                    (farm.key_options("stranger"), "does not allow this key", "refused: 127.0.0.1, with a key that is not in"),
                    (farm.key_options("former"), "does not allow this key", "refused: 127.0.0.1, with the revoked key of former"),
                    (["-v"], "one side uses keys and the other does not", f"refused: {HUNG_UP}, without"),
                    (other, "it has another key", f"refused: {HUNG_UP}, which takes this for another"))):
                with self.subTest(says=says, logged=logged):
                    self.refused_client(farm, *keys, says=says, logged=logged)
                    self.refused_worker(farm, f"w{i}", *keys, says=says, logged=logged)
            self.assertEqual(farm.ask("list").returncode, 0) # who has a key has noticed nothing
            self.assertEqual(farm.stop(), [0])

    def test_where_somebody_without_a_key_is(self):
        with Farm(self.path("where"), self.model, keys=True) as farm:
            farm.start_coordinator()
            farm.wait_until(lambda: "listening" in farm.log("coordinator"))
            with socket.create_connection(("127.0.0.1", int(farm.control.rsplit(":", 1)[1]))) as s:
                self.assertTrue(s.recv(10)) # it has accepted;
                for _ in range(2): # and it has looked at that, once it has answered two questions
                    self.assertEqual(farm.ask("list").returncode, 0)
                before = farm.log("coordinator")
                s.sendall(GREETING)
                self.log_since(farm, before, "refused: 127.0.0.1, without a key")

    def test_keys_where_there_are_none(self):
        with Farm(self.path("none"), self.model, keys=True) as farm:
            keys, farm.keys = farm.key_options("client"), None
            farm.start_coordinator()
            done = e2e.run("list", "--farm", farm.control, *keys)
            self.assertEqual(done.returncode, 78, done.stderr)
            self.assertIn("one side uses keys", done.stderr)

    def test_revoked_while_connected(self):
        with Farm(self.path("revoked"), self.model, keys=True, lease=600) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            out = self.path("revoked/out.mp4")
            film = e2e.make_film(self.path("revoked/long.mp4"), seconds=7) # not done before the keys are revoked
            self.assertEqual(farm.submit(film, out, *SHORT).returncode, 0)
            farm.wait_until(lambda: "to a/a" in farm.log("coordinator"))
            known = farm.log("coordinator").count("client is let in")
            waiting = e2e.subprocess.Popen(e2e.command("submit", film, "-o", out, *SHORT, "--wait", "--farm",
                                                       farm.control, *farm.key_options("client")),
                                           stdout=e2e.subprocess.DEVNULL, stderr=e2e.subprocess.PIPE, text=True)
            farm.wait_until(lambda: farm.log("coordinator").count("client is let in") > known)
            self.assertIsNone(waiting.poll())
            before = farm.log("coordinator")
            farm.revoke("client"), farm.revoke("a")
            self.log_since(farm, before, "a/a is sent away")
            farm.wait_until(lambda: waiting.poll() is not None)
            self.assertEqual(waiting.returncode, 65)
            self.assertIn("not allowed any more", waiting.stderr.read())
            waiting.stderr.close()
            farm.wait_until(lambda: farm.workers["a"].poll() is not None)
            self.assertEqual(farm.workers["a"].returncode, 69)
            self.assertIn("not allowed any more", farm.log("a"))
            # What it had is another's at once: no lease has to end.
            farm.make_key("c2"), farm.allow("c2")
            farm.start_worker("b")
            farm.wait_until(lambda: "worker b/b is here" in farm.log("coordinator"))
            farm.wait_until(lambda: re.search(r"segment \d of job 1 to b/b", farm.log("coordinator")))
            farm.wait_until(lambda: "underscored: job 1 is done" in farm.log("coordinator"), seconds=300)
            self.assertTrue(os.path.exists(out))
            self.assertEqual(json.loads(farm.ask("show", 1, "--json", key="c2").stdout)["state"], "DONE")
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def test_a_list_that_is_damaged_lets_nobody_in(self):
        with Farm(self.path("list"), self.model, keys=True) as farm:
            farm.start_coordinator()
            self.assertEqual(farm.ask("list").returncode, 0)
            with open(farm.list_of_keys()) as f:
                sound = f.read()
            before = farm.log("coordinator")
            with open(farm.list_of_keys(), "w") as f:
                f.write("allow client nonsense\n")
            self.log_since(farm, before, "allowed.keys:1: neither")
            self.assertEqual(farm.ask("list").returncode, 78)
            with open(farm.list_of_keys(), "w") as f:
                f.write(sound)
            farm.wait_until(lambda: farm.ask("list").returncode == 0)

    def test_noise_on_the_port(self):
        """What is not the protocol is dropped, and does not flood the log."""
        with Farm(self.path("noise"), self.model, keys=True) as farm:
            farm.start_coordinator()
            farm.wait_until(lambda: "listening" in farm.log("coordinator"))
            port = int(farm.control.rsplit(":", 1)[1])
            for i in range(200):
                with socket.create_connection(("127.0.0.1", port)) as s:
                    s.sendall([b"", b"GET / HTTP/1.0\r\n\r\n", os.urandom(100), b"\xff" + bytes(8) + b"\x7f"][i % 4])
            self.assertEqual(farm.ask("list").returncode, 0)
            refusals = farm.log("coordinator").count("refused")
            self.assertGreater(refusals, 0)
            self.assertLess(refusals, 100)
            self.assertEqual(farm.stop(), [0])


class Start(e2e.Case):
    """A coordinator does not start where it could be reached by those it cannot tell apart."""

    def start(self, *args):
        return e2e.run("--dir", self.path("d"), "--media", self.folder, *args,
                       program=os.path.abspath(os.environ["UNDERSCORED"]))

    def test_it_does_not(self):
        control, bulk = free_ports(2)
        e2e.run("key", "gen", "c", "--dir", self.folder)
        e2e.run("key", "gen", "loose", "--dir", self.folder)
        os.chmod(self.path("loose.key"), 0o640)
        os.chmod(self.path("c.pub"), 0o600)
        with open(self.path("list"), "w"):
            pass
        for status, says, args in (
                (78, "there are no keys", ["--control", f"tcp://0.0.0.0:{control}"]),
                (78, "there are no keys", ["--control", f"tcp://127.0.0.1:{control}", "--bulk", f"tcp://*:{bulk}"]),
                (64, "go together", ["--key", self.path("c.key")]),
                (66, "absent", ["--key", self.path("absent"), "--allow", self.path("list")]),
                (66, "absent", ["--key", self.path("c.key"), "--allow", self.path("absent")]),
                (78, "others can read", ["--key", self.path("loose.key"), "--allow", self.path("list")]),
                (78, "not a secret key", ["--key", self.path("c.pub"), "--allow", self.path("list")])):
            done = self.start(*args)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(says, done.stderr)
            self.assertEqual(done.stderr.count("error:"), 1, done.stderr)

    def test_the_verb(self):
        folder = ["--dir", self.folder]
        allow = ["--allow", self.path("verb.list")]
        self.assertIn("n1.pub", self.good("key", "gen", "n1", *folder).stdout)
        self.assertEqual(os.stat(self.path("n1.key")).st_mode & 0o777, 0o600)
        self.assertEqual(e2e.run("key", "gen", "n1", *folder).returncode, 73)
        self.assertEqual(e2e.run("key", "gen", "../n2", *folder).returncode, 64)
        self.good("key", "add", self.path("n1.pub"), *allow)
        self.assertIn("allowed", self.good("key", "list", *allow).stdout)
        self.good("key", "revoke", "n1", *allow)
        keys = json.loads(self.good("key", "list", "--json", *allow).stdout)["keys"]
        self.assertEqual([(k["name"], k["state"]) for k in keys], [("n1", "revoked")])
        self.assertEqual(e2e.run("key", "add", self.path("n1.pub"), *allow).returncode, 64)
        def said(*args):
            return json.loads(self.good("key", *args, "--json").stdout)
        self.assertEqual(said("gen", "n2", *folder),
                         {"name": "n2", "key": self.path("n2.key"), "public": self.path("n2.pub")})
        self.assertEqual(said("add", self.path("n2.pub"), *allow), {"name": "n2", "state": "allowed"})
        self.assertEqual(said("revoke", "n2", *allow), {"name": "n2", "state": "revoked"})
        for args in (["key"], ["key", "gen"], ["key", "list", "x"], ["key", "lose", "x"]):
            self.assertEqual(e2e.run(*args).returncode, 64, args)


if __name__ == "__main__":
    e2e.main()
