"""What the daemons are told by files: checked, shown, read again while they run."""
import json
import os
import re
import signal

import e2e
from farm import Farm

PROGRAMS = {"underscored": os.path.abspath(os.environ["UNDERSCORED"]),
            "worker": os.path.abspath(os.environ["UNDERSCORE_WORKER"])}


def read(path):
    with open(path) as f:
        return f.read()


class Files(e2e.Case):
    def run_daemon(self, name, *args):
        return e2e.run(*args, program=PROGRAMS[name])

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def test_the_shipped_files_are_the_defaults(self):
        for name in PROGRAMS:
            shipped = read(f"conf/{name}.conf")
            self.assertEqual(self.run_daemon(name, "--dump-config").stdout, shipped)
            # And what is commented out can be read, and changes nothing.
            plain = re.sub(r"^#([a-z-]+ = .*;)$", r"\1", shipped, flags=re.M)
            self.assertNotEqual(plain, shipped)
            done = self.run_daemon(name, "--config", self.write(f"{name}.conf", plain), "--dump-config")
            self.assertEqual(done.stdout, shipped, done.stderr)

    def test_the_command_line_wins(self):
        conf = self.write("wins.conf", 'media = [ "/a", "/b" ]; lease = 77; films = 3;\n')
        dump = self.run_daemon("underscored", "--lease", 5, "--config", conf, "--media", "/c", "--dump-config").stdout
        for line in ("lease = 5;", "films = 3;", 'media = [ "/c" ];', "#beat = 1;"):
            self.assertIn(f"\n{line}\n", dump)

    def test_checked(self):
        good = self.write("good.conf", 'media = [ "/films" ];\n')
        done = self.run_daemon("underscored", "--config", good, "--check-config")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("in order", done.stdout)
        for status, text, says in (
                (78, 'media = [ "/films" ];\nlease = 0;\n', ":2: lease = 0: must be 1 to 86400 s"),
                (78, 'media = [ "/films" ];\nweight = [ "ann=2", "bob" ];\n', ":2: weight = bob: not OWNER=WEIGHT"),
                (78, 'media = [ "/films" ];\nlaese = 30;\n', ":2: no setting laese; there are dir, media,"),
                (78, 'media = "/films"\nlease = = 3;\n', ":2: syntax error"),
                (78, "lease = 30;\n", "at least one media folder"),
                (78, 'media = "/films"; key = "/k";\n', "key and allow go together"),
                (78, 'media = "/films"; lease = 2; beat = 1;\n', "too short")):
            conf = self.write("bad.conf", text)
            done = self.run_daemon("underscored", "--config", conf, "--check-config")
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertEqual(done.stdout, "")
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn(says, done.stderr)
        self.assertEqual(self.run_daemon("underscored", "--config", self.path("absent"), "--check-config").returncode, 66)
        self.assertEqual(self.run_daemon("worker", "--check-config").returncode, 0) # its model the coordinator chooses
        self.assertEqual(self.run_daemon("worker", "--prefetch", 257, "--check-config").returncode, 64)
        self.assertEqual(self.run_daemon("worker", "--model", "m", "--nonsense").returncode, 64)


class Reloading(e2e.Case):
    def write(self, farm, **values):
        with open(farm.path("farm.conf"), "w") as f:
            for name, value in values.items():
                f.write(f"{name} = {value};\n")

    def test_a_coordinator(self):
        with Farm(self.path("reload"), self.model, lease=10) as farm:
            here = f'"{self.folder}"'
            self.write(farm, media=here, films=2, control='"tcp://127.0.0.1:1"')
            farm.start_coordinator("--config", farm.path("farm.conf")) # control, lease: the command line's
            farm.wait_until(lambda: "listening" in farm.log("coordinator"))
            self.assertEqual(farm.ask("config", "check").stdout, "nothing is different\n")
            dump = farm.ask("config", "dump").stdout
            self.assertIn("\n#films = 2;\n", dump)
            self.assertIn("\nlease = 10;\n", dump)

            self.write(farm, media=here, films=3, lease=99, dir='"/elsewhere"')
            self.assertEqual(farm.ask("config", "check").stdout, "films: 2 -> 3\n")
            self.assertIn("\n#films = 2;\n", farm.ask("config", "dump").stdout)
            self.assertEqual(json.loads(farm.ask("config", "reload", "--json").stdout)["lines"], ["films: 2 -> 3"])
            self.assertIn("\nfilms = 3;\n", farm.ask("config", "dump").stdout)

            self.write(farm, media=here, films=17)
            refused = farm.ask("config", "reload")
            self.assertEqual(refused.returncode, 78)
            self.assertIn("farm.conf:2: films = 17: must be 1 to 16", refused.stderr)
            farm.coordinator.send_signal(signal.SIGHUP)
            farm.wait_until(lambda: "nothing was changed" in farm.log("coordinator"))
            self.assertIn("\nfilms = 3;\n", farm.ask("config", "dump").stdout)

            # What needs a restart is said, and stays; films may now lie elsewhere.
            self.write(farm, media='"/usr"', films=4, key='"/k"', allow='"/a"')
            farm.coordinator.send_signal(signal.SIGHUP)
            farm.wait_until(lambda: "the settings were read again" in farm.log("coordinator"))
            self.assertIn('key: still ""; "/k" needs a restart', farm.log("coordinator"))
            self.assertIn("films: 3 -> 4", farm.log("coordinator"))
            self.assertIn("\n#key = \"\";\n", farm.ask("config", "dump").stdout)
            self.assertEqual(farm.stop(), [0])

    def test_a_worker_and_new_times(self):
        with Farm(self.path("worker"), self.model, lease=None) as farm:
            self.write(farm, lease=30, beat=10)
            farm.start_coordinator("--config", farm.path("farm.conf"))
            with open(farm.path("worker.conf"), "w") as f:
                f.write("prefetch = 5;\n")
            farm.prefetch = None
            farm.start_worker("a", "--config", farm.path("worker.conf"))
            farm.wait_until(lambda: "says welcome" in farm.log("a"))
            # With a beat of ten seconds a worker would not be heard of for long.
            self.write(farm, lease=8, beat=0.2)
            farm.coordinator.send_signal(signal.SIGHUP)
            farm.wait_until(lambda: "lease: 30 -> 8" in farm.log("coordinator"))
            e2e.subprocess.run(["sleep", "10"])
            self.assertEqual([n["state"] for n in json.loads(farm.ask("node", "list", "--json").stdout)["nodes"]], ["READY"])
            self.assertNotIn("is lost", farm.log("coordinator"))
            with open(farm.path("worker.conf"), "w") as f:
                f.write('prefetch = 1; device = "another";\n')
            farm.workers["a"].send_signal(signal.SIGHUP)
            farm.wait_until(lambda: "prefetch: 5 -> 1" in farm.log("a"))
            self.assertIn('device: still ""; "another" needs a restart', farm.log("a"))
            self.assertEqual(farm.stop(), [0, 0])


if __name__ == "__main__":
    e2e.main()
