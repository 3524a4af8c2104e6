"""Many films at once: which are meant, where each goes, who may compose them."""
import json
import os
import shutil

import e2e
from e2e import SHORT
from farm import Farm


class Submit(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=3, sound=0)

    def tree(self, name, *films):
        for film in films:
            path = self.path(f"{name}/{film}")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copy(self.film, path)
        return self.path(name)

    def jobs(self, farm):
        return json.loads(farm.ask("list", "-a", "--json").stdout)["jobs"]

    def test_folders_patterns_and_templates(self):
        films = self.tree("films", "b.mp4", "a.mp4", "sub/a.mp4", "sub/deep/c é.mkv", ".hidden.mp4", "sub/.git/d.mp4")
        with open(os.path.join(films, "notes.txt"), "w") as f:
            f.write("no film")
        os.symlink("..", os.path.join(films, "sub/circle"))
        with Farm(self.path("farm"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            template = "{dir}/{name}.scored.{ext}"
            def submit(*args):
                return farm.ask("submit", *args, *SHORT)
            # Nothing is submitted when anything is wrong.
            for status, says, args in (
                    (64, "would be the output of both", (films, "-r", "-o", "/tmp/{name}.mp4")),
                    (64, "would be the output of both", (films, "-o", self.path("one.mp4"))),
                    (64, "in braces", (films, "-o", "{dir}/{basename}.mp4")),
                    (64, "is to be the output of", (films + "/a.mp4", films + "/a.x.mp4", "-o", "{dir}/{name}.x.{ext}")),
                    (64, "-o OUT", (films,)),
                    (64, "what kind of file", (films, "-o", "{dir}/{name}.x.avi")),
                    (64, "can be aac, alac, flac", (films, "-o", template, "--audio-codec", "mp3")),
                    (64, "ISO 639-2", (films, "-o", template, "--language", "english")),
                    (64, "no option --report-html", (films, "-o", template, "--report-html", "x.html")),
                    (66, "nothing matches", (films + "/*.avi", "-o", template)),
                    (66, "no films in it; --recursive", (self.tree("below", "x/y.mp4"), "-o", template))):
                done = submit(*args)
                self.assertEqual((done.returncode, says in done.stderr), (status, True), done.stderr)
            self.assertEqual(self.jobs(farm), [])

            done = submit(films, "-o", template, "--owner", "ada", "--priority", 7, "--wait")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual([(j["film"], j["output"], j["owner"], j["priority"]) for j in self.jobs(farm)],
                             [(f"{films}/{n}.mp4", f"{films}/{n}.scored.mp4", "ada", 7) for n in "ab"])
            # The outputs lie among the films: they are none. What was submitted is known, however it is named.
            done = submit(os.path.relpath(films) + "/sub/..", films + "/sub/../a.mp4", "-r", "-o", template, "--wait", "--json")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("2 files are outputs of others", done.stderr)
            self.assertEqual([j["film"] for j in self.jobs(farm)][2:], [f"{films}/sub/a.mp4", f"{films}/sub/deep/c é.mkv"])
            self.assertEqual(len(json.loads(done.stdout)), 4)
            done = submit(films + "/s*/*.mp4", "-o", template) # a shell that found nothing passes this on
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(len(self.jobs(farm)), 4)
            last = farm.ask("list", "-a", "--limit", 3, "--json")
            self.assertEqual([j["job"] for j in json.loads(last.stdout)["jobs"]], [4, 3, 2])
            self.assertEqual(json.loads(last.stdout)["more"], 1)
            lines = farm.ask("list", "-a", "-n", 1).stdout.splitlines()
            self.assertEqual((len(lines), lines[1].split()[0], lines[2].startswith("3 more")), (3, "4", True), lines)
            self.assertEqual(len(farm.ask("list", "-n", 9).stdout.splitlines()), 1) # the heading: none is open
            self.assertEqual(e2e.streams(f"{films}/sub/deep/c é.scored.mkv", "audio")[0]["codec_type"], "audio")
            # A film of a kind that cannot be written comes out as MKV.
            e2e.ffmpeg("-i", self.film, "-c", "copy", films + "/c.avi")
            done = submit(films + "/c.avi", "-o", template, "--wait")
            self.assertEqual((done.returncode, done.stdout.splitlines()[-1]), (0, films + "/c.scored.mkv"), done.stderr)
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def test_the_longest_names(self):
        """What is put before and after them while a film is written must not make them too long."""
        with Farm(self.path("names"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            for name, status in ((226 * "x", 0), (250 * "y", 0), (83 * "\u6620" + "zz", 0), (252 * "x", 65)):
                done = farm.submit(self.film, self.path(f"names/{name}.mp4"), *SHORT, "--wait")
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertEqual(os.path.exists(self.path(f"names/{name}.mp4")), status == 0)
            left = [n for n in os.listdir(self.path("names")) if n.startswith(".")]
            self.assertEqual((left, farm.stop()), ([], [0, 0]))

    def test_what_cannot_be_delivered_is_not_composed(self):
        film = e2e.make_film(self.path("ffv1.mkv"), seconds=3, sound=0, video=["-c:v", "ffv1"])
        with Farm(self.path("undeliverable"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            done = farm.submit(film, self.path("ffv1.mp4"), "--wait", *SHORT)
            self.assertEqual((done.returncode, "cannot be in" in done.stderr), (65, True), done.stderr)
            self.assertEqual((self.jobs(farm)[0]["state"], self.jobs(farm)[0]["segments"]), ("FAILED", 0))
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def test_one_bad_film_among_many(self):
        films = self.tree("mixed", *(f"{n:02}.mp4" for n in range(20)))
        with open(films + "/07.mp4", "wb") as f:
            f.write(b"no film" * 1000)
        with open(films + "/11-out.mkv", "w") as f:
            f.write("precious")
        with Farm(self.path("many"), self.model, batch=4) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            done = farm.ask("submit", films + "/*.mp4", "-o", "{dir}/{name}-out.mkv", "--wait", *SHORT)
            self.assertEqual(done.returncode, 65, done.stderr)
            errors = [line for line in done.stderr.splitlines() if "error: " in line]
            self.assertEqual(len(errors), 2, done.stderr)
            self.assertIn("11-out.mkv: exists", errors[0])
            self.assertIn("07.mp4", errors[1])
            self.assertEqual(sum(name.endswith("-out.mkv") for name in os.listdir(films)), 19) # 18 and what was there
            self.assertEqual(farm.stop(), [0, 0])
            self.assertEqual(farm.check_ledger(), [])

    def test_requirements(self):
        with Farm(self.path("require"), self.model) as farm:
            farm.start_coordinator()
            farm.start_worker("a")
            farm.wait_until(lambda: farm.ask("node", "show", "a").returncode == 0)
            vendor = json.loads(farm.ask("node", "show", "a", "--json").stdout)["vendor"]
            def submit(out, require, *args):
                return farm.submit(self.film, self.path(out), "--require", require, *SHORT, *args)
            for wrong in ("vram>=much", "colour=red", "vram>=8G,"):
                done = submit("wrong.mp4", wrong)
                self.assertEqual(done.returncode, 65, wrong)
                self.assertIn("--require", done.stderr)
            self.assertEqual(self.jobs(farm), [])
            self.assertEqual(submit("vast.mp4", f"vendor={vendor},vram>=900T").returncode, 0)
            farm.wait_until(lambda: self.jobs(farm)[0]["state"] == "PLANNED")
            farm.wait_until(lambda: "no worker may compose them" in farm.ask("explain", 1).stdout)
            self.assertIn("worker a does not meet vram>=900T (it has", farm.ask("explain", 1).stdout)
            # It holds nobody up, and no second one may write the same output.
            self.assertIn("job 1 is to write this", submit("vast.mp4", "vram>=800T").stderr)
            done = submit("modest.mp4", f"vendor={vendor.lower()},vram>=1M", "--wait")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual([j["state"] for j in self.jobs(farm)], ["PLANNED", "DONE"])
            self.assertEqual(farm.ask("cancel", 1).returncode, 0)
            self.assertEqual(submit("vast.mp4", f"name!=b,device~{'zzz'}").returncode, 0)
            self.assertEqual(farm.stop(), [0, 0])


if __name__ == "__main__":
    e2e.main()
