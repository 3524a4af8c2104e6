"""The help pages, the manual page and what programs read."""
import json
import os
import re

import e2e


EVERYWHERE = {("", "json"), ("q", "quiet"), ("v", "verbose")} # "most verbs"


def options_by_verb(manual):
    """Of each verb the (letter, name) of its options, those of most verbs left out. An option is of the verbs that
    its section names, unless its own first line says which ones."""
    told = {}
    for section in re.split(r"^\.S[sh] ", manual, flags=re.M)[1:]:
        heading, *items = re.split(r"^\.It ", section, flags=re.M)
        verbs = re.match(r".*\((.*)\)\n", heading)
        for item in items:
            own = re.match(r".*\n\.Pq (.*)\n", item)
            for letter, name in re.findall(r"(?:Fl (\w) , )?Fl Fl ([a-z0-9-]+)", item.split("\n")[0]):
                for verb in (own or verbs)[1].split(", "):
                    told.setdefault(verb, set()).add((letter, name))
    return told


class Help(e2e.Case):
    def verbs(self):
        return re.findall(r"^  ([a-z][a-z-]*)  ", self.good("--help").stdout, re.M)

    def test_every_verb_has_a_page(self):
        self.assertGreaterEqual(set(self.verbs()), {"score", "plan", "compose", "stitch", "render", "devices",
                                                    "import", "inspect", "init-model", "bench", "trace"})
        for verb in self.verbs():
            page = self.good(verb, "--help").stdout
            self.assertTrue(page.startswith(f"usage: underscore {verb}"), page)
            self.assertLessEqual(max(map(len, page.splitlines())), 100, verb)
            self.assertEqual(self.good(verb, "-h").stdout, page)
            self.assertEqual(self.good("help", verb).stdout, page)
        self.assertEqual(e2e.run("help", "nothing").returncode, 64)

    def test_the_manual_names_every_option(self):
        with open("docs/man/underscore.1") as f:
            manual = f.read()
        told = options_by_verb(manual)
        for verb in [*self.verbs(), "bench farm"]:
            if verb != "bench farm":
                self.assertIn(f".It Cm {verb}\n", manual)
            page = self.good(*verb.split(), "--help").stdout
            offered = set(re.findall(r"^  (?:-(.), |    )--([a-z0-9-]+)", page, re.M)) - {("h", "help")}
            with self.subTest(verb):
                self.assertEqual(offered - EVERYWHERE, told.get(verb, set()))

    def test_the_manuals_of_the_daemons_name_every_option(self):
        for program, variable in (("underscored", "UNDERSCORED"), ("underscore-worker", "UNDERSCORE_WORKER")):
            with open(f"docs/man/{program}.8") as f:
                named = set(re.findall(r"Fl Fl ([a-z0-9-]+)", f.read()))
            page = e2e.run("--help", program=os.path.abspath(os.environ[variable])).stdout
            offered = set(re.findall(r"^  (?:-., |    )--([a-z0-9-]+)", page, re.M))
            self.assertEqual(named, offered | {"help"}, program)
            self.assertLessEqual(max(map(len, page.splitlines())), 100, program)

    def test_no_arguments(self):
        done = e2e.run()
        self.assertEqual(done.returncode, 64)
        self.assertIn("score", done.stdout)

    def test_version(self):
        self.assertRegex(self.good("--version").stdout, r"^underscore \d+\.\d+\.\d+\n$")

    def test_devices(self):
        devices = json.loads(self.good("devices", "--json").stdout)["devices"]
        self.assertEqual(sum(d["chosen"] for d in devices), 1)
        for d in devices:
            self.assertIn(d["name"], self.good("devices").stdout)
            self.assertGreater(d["budget_bytes"], 0)
        chosen = next(d for d in devices if d["chosen"])
        for which in (str(chosen["index"]), chosen["uuid"], chosen["name"]):
            again = json.loads(self.good("devices", "--json", "--device", which).stdout)["devices"]
            self.assertEqual([d["chosen"] for d in again], [d["chosen"] for d in devices])

    def test_inspect(self):
        model = json.loads(self.good("inspect", self.model, "--json").stdout)
        self.assertIsInstance(model, dict)

    def test_plan(self):
        film = e2e.make_film(self.path("film.mp4"), seconds=9)
        printed = json.loads(self.good("plan", film, "--model", self.model, *e2e.SHORT, "--json").stdout)
        both = self.good("plan", film, "--model", self.model, *e2e.SHORT, "-o", self.path("plan.json"), "--json")
        with open(self.path("plan.json")) as f:
            self.assertEqual(json.load(f), printed)
        self.assertEqual(json.loads(both.stdout), printed)
        self.assertEqual(self.good("plan", film, "--model", self.model, "-o", self.path("plan.json")).stdout, "")

    def test_a_reader_that_went_away(self):
        read, write = os.pipe()
        os.close(read)
        done = e2e.subprocess.run(e2e.command("devices"), stdout=write, stderr=e2e.subprocess.PIPE)
        os.close(write)
        self.assertEqual(done.returncode, 74)


if __name__ == "__main__":
    e2e.main()
