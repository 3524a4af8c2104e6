"""The model of a verb that names none: $UNDERSCORE_MODEL, else the built-in one beside the program."""
import json
import os

import e2e


class BuiltinModel(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=3)
        cls.installed = e2e.copy_of_program(cls.path("prefix/bin"))
        cls.builtin = cls.put_model(cls.path("prefix/share/underscore/models"), seed=2)

    @classmethod
    def put_model(cls, folder, seed):
        """Another model for each seed, under the built-in one's name."""
        os.makedirs(folder)
        path = os.path.join(folder, "demo.safetensors")
        done = e2e.run("init-model", "--preset", "tiny", "--seed", seed, "-o", path)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return path

    def used(self, *args, program=None, **options):
        """The model that score says it composed with."""
        out, report = self.path("out.mp4"), self.path("report.json")
        self.good("score", self.film, "-o", out, "--report", report, "-y", *args,
                  program=program or self.installed, **options)
        with open(report) as f:
            return json.load(f)["model"]

    def test_beside_an_installed_program(self):
        model = self.used()
        self.assertEqual(model["path"], os.path.realpath(self.builtin))
        self.assertEqual(model["sha256"], e2e.sha256(self.builtin))

    def test_through_a_link_to_the_program(self):
        link = self.path("underscore-link")
        os.symlink(self.installed, link)
        self.assertEqual(self.used(program=link)["sha256"], e2e.sha256(self.builtin))

    def test_the_environment_goes_before_it_and_the_command_line_before_both(self):
        other = self.put_model(self.path("other"), seed=3)
        environment = {**os.environ, "UNDERSCORE_MODEL": other}
        self.assertEqual(self.used(env=environment)["sha256"], e2e.sha256(other))
        self.assertEqual(self.used("--model", self.model, env=environment)["sha256"], e2e.sha256(self.model))
        self.assertEqual(self.used(env={**os.environ, "UNDERSCORE_MODEL": ""})["sha256"], e2e.sha256(self.builtin))

    def test_in_a_build_tree(self):
        """Of the sources above it; another program's folder has no such right."""
        program = e2e.copy_of_program(self.path("sources/build/release"))
        model = self.put_model(self.path("sources/models"), seed=4)
        self.bad(64, "inspect", program=program, says="no model")
        with open(self.path("sources/build/release/CMakeCache.txt"), "w"):
            pass
        self.assertEqual(self.used(program=program)["path"], os.path.realpath(model))

    def test_plan_compose_and_inspect_take_it_too(self):
        plan = self.path("plan.json")
        self.good("plan", self.film, "-o", plan, program=self.installed)
        self.good("compose", plan, "-o", self.path("parts"), program=self.installed)
        self.good("stitch", plan, self.path("parts"), "-o", self.path("stitched.mp4"), program=self.installed)
        self.assertIn(os.path.realpath(self.builtin), self.good("inspect", program=self.installed).stdout)

    def test_one_that_is_gone_is_named(self):
        environment = {**os.environ, "UNDERSCORE_MODEL": self.path("gone.safetensors")}
        self.bad(66, "inspect", program=self.installed, says="gone.safetensors", env=environment)


if __name__ == "__main__":
    e2e.main()
