"""The page of --report-html: whole, on its own, true to the report, and nobody else's program."""
import base64
import html.parser
import json
import os
import re
import subprocess
import urllib.parse

import e2e
from e2e import SHORT

VOID = {"meta", "img", "input", "br", "link"}
NO_INPUT, CANNOT_CREATE, USAGE = 66, 73, 64


class Page(html.parser.HTMLParser):
    """A page read strictly: every element closed where it must be."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        with open(path, encoding="utf-8") as f: # not UTF-8: an error
            self.source = f.read()
        self.open, self.elements, self.ids, self.text = [], [], [], ""
        self.feed(self.source)
        self.close()
        if self.open:
            raise ValueError(f"never closed: {self.open}")

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"</{tag}> closes nothing, at {self.getpos()}")

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag, **attributes):
        return [a for t, a in self.elements
                if t == tag and all(a.get(k.rstrip("_")) == v for k, v in attributes.items())]


def data(uri):
    """(type, bytes) of a data: URI."""
    head, body = uri.split(",", 1)
    return re.fullmatch(r"data:(.*);base64", head)[1], base64.b64decode(body, validate=True)


def contents(path):
    with open(path, "rb") as f:
        return f.read()


class ReportPage(e2e.Case):
    def page(self, name):
        page = Page(self.path(name))
        self.assertEqual(len(page.ids), len(set(page.ids)))
        self.check_alone(page)
        return page

    def check_alone(self, page):
        """Nothing is fetched: what it shows is in it, but perhaps the film beside it."""
        self.assertNotRegex(page.source, r"https?://")
        self.assertNotRegex(page.source, r"(?i)@import|url\(|fetch\(|XMLHttpRequest|import\(")
        self.assertEqual(len(page.all("script")), 1)
        self.assertEqual([a for t, a in page.elements if t in ("link", "iframe", "object", "embed")], [])
        for tag, attributes in page.elements:
            self.assertFalse([a for a in attributes if a.startswith("on")], attributes)
            for name in ("src", "href"):
                if name in attributes and tag != "video" and tag != "a":
                    self.assertTrue(attributes[name].startswith("data:"), attributes[name][:80])
        policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
        self.assertIn("default-src 'none'", policy)

    def saved(self, uri, name):
        with open(self.path(name), "wb") as f:
            f.write(data(uri)[1])
        return self.path(name)

    def test_everything_is_there(self):
        film = e2e.make_film(self.path("film.mp4"))
        self.score(film, "scored.mp4", *SHORT, "--report", self.path("report.json"),
                   "--report-html", self.path("page.html"))
        page = self.page("page.html")
        with open(self.path("report.json")) as f:
            report = json.load(f)
        self.check_media(page)
        self.check_score(page, report)
        self.check_tables(page, report)

    def check_media(self, page):
        """The film to the last byte; the music by itself, since the film's own sound comes first."""
        self.assertEqual(data(page.all("video")[0]["src"]), ("video/mp4", contents(self.path("scored.mp4"))))
        clip = self.saved(page.all("audio")[0]["src"], "clip.mp4")
        stream = e2e.streams(clip, "audio")[0]
        self.assertEqual((stream["codec_name"], stream["channels"]), ("aac", 2))
        self.assertAlmostEqual(e2e.samples(clip) / 48000, 9, delta=0.05)
        self.assertAlmostEqual(e2e.loudness(clip, 0)[0], -14, delta=0.5)

    def check_score(self, page, report):
        cues, segments = report["plan"]["cues"], report["plan"]["segments"]
        pictures = [self.saved(a["src"], f"picture{i}.jpg") for i, a in enumerate(page.all("img"))
                    if a["src"].startswith("data:image/jpeg")]
        self.assertEqual(len(pictures), len(cues))
        for picture in pictures:
            stream = e2e.streams(picture, "video")[0]
            self.assertEqual((stream["codec_name"], stream["width"], stream["height"]), ("mjpeg", 256, 144))
        # In the middle of the third scene, the colour bars.
        bars = next(i for i, c in enumerate(cues) if c["cut_ms"] == 6000)
        self.assertGreater(self.brightest(pictures[bars]), 150)
        spectrogram = self.saved(page.all("img", class_="spectrogram")[0]["src"], "spectrogram.png")
        stream = e2e.streams(spectrogram, "video")[0]
        self.assertEqual((stream["codec_name"], stream["width"], stream["height"]), ("png", 1200, 96))
        self.assertEqual(len(page.all("polygon")), len(cues))
        self.assertEqual(len(page.all("rect")) - len(page.all("rect", class_="heard")), len(segments))
        self.assertEqual(len(page.all("rect", class_="heard")), sum(s["overlap_ms"] > 0 for s in segments))
        self.assertEqual(len([a for a in page.all("path")]), 2 * len(cues))
        # Shapes lie where the plan says: 1000 units are the film.
        for cue, shape in zip(cues, page.all("polygon")):
            x = [float(point.split(",")[0]) for point in shape["points"].split()]
            self.assertAlmostEqual(x[0], cue["start_ms"] / 9, delta=0.01)
            self.assertAlmostEqual(x[3], cue["end_ms"] / 9, delta=0.01)

    def brightest(self, picture):
        out = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", picture, "-f", "rawvideo", "-pix_fmt",
                              "gray", "-"], check=True, capture_output=True).stdout
        return max(out)

    def check_tables(self, page, report):
        rows = [a for a in page.all("tr") if "data-from" in a]
        self.assertEqual([(float(a["data-from"]), float(a["data-to"])) for a in rows],
                         [(c["cut_ms"] / 1000, c["next_cut_ms"] / 1000) for c in report["plan"]["cues"]])
        self.assertEqual(len(report["cue_loudness"]), len(rows))
        for loudness in report["cue_loudness"]:
            self.assertIn(f"{loudness['integrated_lufs']:.1f}".replace("-", "\u2212"), page.text)
        after = report["delivery"]["after"]
        self.assertIn(f"{after['integrated_lufs']:.1f}".replace("-", "\u2212") + " LUFS", page.text)
        self.assertIn(f"{after['true_peak_dbtp']:.1f}".replace("-", "\u2212") + " dBTP", page.text)
        for said in ("Nine seconds", report["model"]["sha256"], report["composed"]["device"]["name"],
                     "tiny.safetensors", "none was given", "Seed", "temperature 1, top-k 250, guidance 3"):
            self.assertIn(said, page.text)

    def test_each_cue_is_as_loud_as_the_report_says(self):
        film = e2e.make_film(self.path("loud.mkv"), seconds=6)
        self.score(film, "loud-scored.mkv", *SHORT, "--audio", "replace", "--report", self.path("loud.json"),
                   "--report-html", self.path("loud.html"))
        with open(self.path("loud.json")) as f:
            report = json.load(f)
        for i, cue in enumerate(report["plan"]["cues"]):
            cut = self.path(f"cue{i}.wav")
            e2e.ffmpeg("-i", self.path("loud-scored.mkv"), "-map", "0:a:0", "-af",
                       f"atrim={cue['cut_ms'] / 1000}:{cue['next_cut_ms'] / 1000}", "-c:a", "pcm_s24le", cut)
            said = report["cue_loudness"][i]
            lufs, peak = e2e.loudness(cut, 0)
            self.assertAlmostEqual(said["integrated_lufs"], lufs, delta=0.2)
            self.assertAlmostEqual(said["true_peak_dbtp"], peak, delta=0.3)

    def test_hostile_names_stay_text(self):
        evil = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)> \"quoted\" 'too' &amp;"
        film = self.path("a <b onclick='x'>\"&amp;.mp4")
        os.rename(e2e.make_film(self.path("plain.mp4"), seconds=3), film)
        titled = self.path("titled <i>.mp4")
        e2e.ffmpeg("-i", film, "-c", "copy", "-metadata", f"title={evil}", titled)
        licence = self.path("licence")
        with open(licence, "w") as f:
            f.write(f"Terms: {evil}\nand </pre></details> \x01 more")
        model = self.path("model \"><script>.safetensors")
        self.good("import", "tests/golden/tiny-a/state_dict.bin", "tests/golden/tiny-a/compression_state_dict.bin",
                  "--license", licence, "-o", model)
        self.good("score", titled, "-o", self.path("out <u>.mp4"), "--model", model, *SHORT, "--title", evil,
                  "--report-html", self.path("evil.html"))
        page = self.page("evil.html")
        self.assertEqual(page.text.count(evil), 4) # title, heading, track, licence
        self.assertIn("and </pre></details> \ufffd more", page.text)
        for name in ("titled <i>.mp4", "out <u>.mp4", "model \"><script>.safetensors"):
            self.assertIn(name, page.text)
        self.assertEqual(page.all("i", onclick="x"), [])
        self.assertEqual([a for a in page.all("img") if not a["src"].startswith("data:image/")], [])
        self.good("score", film, "-o", self.path("out.mp4"), "--model", self.model, *SHORT,
                  "--title", os.fsdecode(b"bad \xff\xc0\xaf utf"), "--report-html", self.path("named.html"))
        self.assertIn("bad \ufffd\ufffd\ufffd utf", self.page("named.html").text)

    def test_a_large_film_is_linked(self):
        """As it lies from the page, whatever its name."""
        big = self.path("big.mkv")
        e2e.ffmpeg("-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=1", "-c:v", "rawvideo", "-pix_fmt",
                   "yuv420p", big)
        os.makedirs(self.path("pages/in here"))
        os.makedirs(self.path("films"))
        out = self.path("films/javascript:1 #?%.mkv")
        self.score(big, out, *SHORT, "--report-html", self.path("pages/in here/big.html"))
        self.assertGreater(os.path.getsize(out), 20 << 20)
        self.assertLess(os.path.getsize(self.path("pages/in here/big.html")), 2 << 20)
        page = self.page("pages/in here/big.html")
        for link in (page.all("video")[0]["src"], page.all("a")[0]["href"]):
            self.assertEqual(link, "./../../films/javascript%3A1%20%23%3F%25.mkv")
            self.assertEqual(os.path.normpath(os.path.join(self.path("pages/in here"), urllib.parse.unquote(link))), out)
        self.assertIn("not inside this page", page.text)

    def test_one_sound_needs_no_second_player(self):
        film = e2e.make_film(self.path("mute.mp4"), seconds=3, sound=0)
        self.score(film, "mute-scored.mp4", *SHORT, "--report-html", self.path("mute.html"))
        page = self.page("mute.html")
        self.assertEqual((len(page.all("video")), len(page.all("audio"))), (1, 0))

    def test_music_alone(self):
        film = e2e.make_film(self.path("only.mp4"), seconds=3)
        self.good("score", film, "--wav", self.path("only.wav"), "--model", self.model, *SHORT,
                  "--report-html", self.path("only.html"))
        page = self.page("only.html")
        self.assertEqual((len(page.all("video")), len(page.all("audio"))), (0, 1))
        self.assertEqual(len([a for a in page.all("img") if a["src"].startswith("data:image/jpeg")]),
                         len(page.all("polygon")))

    def test_stitch_and_render(self):
        """Each tells what it knows: stitch has seen no model."""
        film, plan, parts, tokens = (self.path(n) for n in ("steps.mp4", "plan.json", "parts", "tokens"))
        e2e.make_film(film, seconds=6)
        self.good("plan", film, "-o", plan, "--model", self.model, *SHORT)
        self.good("compose", plan, "-o", parts, "--model", self.model)
        self.good("stitch", plan, parts, "-o", self.path("stitched.mp4"), "--report-html", self.path("stitched.html"))
        stitched = self.page("stitched.html")
        self.assertNotIn("SHA-256", stitched.text)
        self.score(film, "kept.mp4", *SHORT, "--keep-tokens", tokens)
        self.good("render", tokens, "-o", self.path("rendered.mp4"), "--model", self.model, "--report-html",
                  self.path("rendered.html"))
        rendered = self.page("rendered.html")
        self.assertIn(e2e.sha256(self.model), rendered.text)
        self.assertEqual(len(stitched.all("polygon")), len(rendered.all("polygon")))
        self.assertEqual(data(rendered.all("video")[0]["src"])[1], contents(self.path("rendered.mp4")))

    def test_refused_before_any_work(self):
        film = e2e.make_film(self.path("early.mp4"), seconds=3)
        out, page = self.path("early-scored.mp4"), self.path("there.html")
        def refused(status, page, says, *more):
            self.bad(status, "score", film, "-o", out, "--model", self.model, "--report-html", page, *more, says=says)
        with open(page, "w") as f:
            f.write("precious")
        refused(CANNOT_CREATE, page, "there.html")
        with open(page) as f:
            self.assertEqual(f.read(), "precious")
        refused(CANNOT_CREATE, self.path("nowhere/page.html"), "nowhere")
        refused(USAGE, film, "film itself", "-y")
        refused(USAGE, out, "two outputs", "-y")
        refused(USAGE, self.path("same"), "two outputs", "--report", self.path("same"))


if __name__ == "__main__":
    e2e.main()
