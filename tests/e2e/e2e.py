"""What the end-to-end tests share: running underscore, making films, asking
ffprobe and ffmpeg what came out.

Environment: UNDERSCORE, the program; E2E_DIR, a folder of this test's own.
"""
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import unittest

PROGRAM = os.path.abspath(os.environ["UNDERSCORE"])
FOLDER = os.path.abspath(os.environ["E2E_DIR"])
REAL_FILM = os.path.abspath("build/films/cityCC0.mpg")

# A random model's music is noise; these make it take every path in a short film:
# several cues, and several segments in each.
SHORT = ["--min-cue", "2", "--max-cue", "4", "--segment", "2", "--overlap", "0.5", "--crossfade", "0.4"]
ONE = ["--batch", "1"]


# No test depends on a model that somebody set.
os.environ.pop("UNDERSCORE_MODEL", None)


def command(*args, program=PROGRAM):
    return [str(a) for a in (program, *args)]


def run(*args, program=PROGRAM, inside=(), **options):
    """underscore with args, started by the command `inside`; never raises. stdout and stderr are text."""
    return subprocess.run([*inside, *command(*args, program=program)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", timeout=300, **options)


def copy_of_program(folder):
    """underscore, as if it were installed in `folder`: away from its build tree and from
    the built-in model."""
    os.makedirs(folder, exist_ok=True)
    shutil.copy(PROGRAM + "-film", os.path.join(folder, "underscore-film"))
    return shutil.copy(PROGRAM, os.path.join(folder, "underscore"))


def ffmpeg(*args):
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, args)], check=True)


@functools.cache
def probe_once(path, _written):
    out = subprocess.run(["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_format",
                          "-show_chapters", "-count_packets", path],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def probe(path):
    """Streams, format and chapters, as ffprobe says them: a file is asked once while nobody writes it."""
    return probe_once(str(path), os.stat(path).st_mtime_ns)


def streams(path, kind):
    return [s for s in probe(path)["streams"] if s["codec_type"] == kind]


def loudness(path, audio):
    """(integrated LUFS, true peak dBTP) of the audio-th audio stream, by ffmpeg."""
    err = subprocess.run(["ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-i", str(path), "-map",
                          f"0:a:{audio}", "-af", "ebur128=peak=true", "-f", "null", "-"],
                         check=True, capture_output=True, text=True).stderr
    summary = err[err.rindex("Summary:"):]
    return (float(re.search(r"I:\s+(-?[\d.]+) LUFS", summary)[1]),
            float(re.search(r"Peak:\s+(-?[\d.]+|-inf) dBFS", summary)[1]))


def samples(path, audio=0):
    """How many samples a stream decodes to, at its own rate."""
    out = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-map", f"0:a:{audio}",
                          "-f", "s16le", "-ac", "1", "-"], check=True, capture_output=True).stdout
    return len(out) // 2


def packets_md5(path, which):
    """Of a stream's packets as they are: equal when it was copied, not encoded."""
    out = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-map", which, "-c",
                          "copy", "-f", "streamhash", "-hash", "md5", "-"], check=True,
                         capture_output=True, text=True).stdout
    return re.search(r"MD5=(\w+)", out)[1]


def packet_times(path, which):
    """Presentation times of a stream's packets in seconds, but for pictures that an edit list hides."""
    out = subprocess.run(["ffprobe", "-v", "error", "-select_streams", which, "-show_entries", "packet=pts_time,flags",
                          "-of", "csv=p=0", str(path)], check=True, capture_output=True, text=True).stdout
    packets = [line.split(",") for line in out.split()]
    return [float(p[0]) for p in packets if "D" not in p[1]]


def frames_md5(path, which):
    """Of the decoded pictures. Other containers hold the same packets differently."""
    out = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-map", which, "-f",
                          "streamhash", "-hash", "md5", "-"], check=True, capture_output=True,
                         text=True).stdout
    return re.search(r"MD5=(\w+)", out)[1]


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def scenes(seconds, rate="25", size="320x180"):
    """Arguments for a picture with a cut every three seconds, and its filter."""
    sources = [f"testsrc2=size={size}:rate={rate}", f"mandelbrot=size={size}:rate={rate}",
               f"smptehdbars=size={size}:rate={rate}", f"rgbtestsrc=size={size}:rate={rate}"]
    count = -(-seconds // 3)
    args, labels = [], ""
    for i in range(count):
        args += ["-f", "lavfi", "-t", "3", "-i", sources[i % len(sources)]]
        labels += f"[{i}:v]"
    return args, f"{labels}concat=n={count},trim=duration={seconds},format=yuv420p[v]", count


CHAPTERS = """;FFMETADATA1
title=Nine seconds
artist=A director
[CHAPTER]
TIMEBASE=1/1000
START=0
END=3000
title=First
[CHAPTER]
TIMEBASE=1/1000
START=3000
END=9000
title=Second
"""

SUBTITLES = """1
00:00:01,000 --> 00:00:02,500
Somebody speaks.

2
00:00:05,000 --> 00:00:06,000
Nobody answers.
"""


def make_film(path, seconds=9, rate="25", sound=1, codec="aac", subtitles=None, video=None, options=()):
    """A film with cuts, `sound` languages of speech-like tone, chapters and tags."""
    args, graph, n = scenes(seconds, rate)
    base = os.path.splitext(path)[0]
    with open(base + ".ffmeta", "w") as f:
        f.write(CHAPTERS)
    maps = ["-map", "[v]"]
    for i in range(sound):
        args += ["-f", "lavfi", "-t", seconds, "-i", f"sine=frequency={220 * (i + 1)}:sample_rate=48000"]
        maps += ["-map", f"{n}:a", f"-metadata:s:a:{i}", f"language={['eng', 'fra'][i]}"]
        n += 1
    args += ["-f", "ffmetadata", "-i", base + ".ffmeta"]
    maps += ["-map_metadata", n, "-map_chapters", n]
    n += 1
    if subtitles:
        with open(base + ".srt", "w") as f:
            f.write(SUBTITLES)
        args += ["-i", base + ".srt"]
        maps += ["-map", f"{n}:s", "-c:s", subtitles, "-metadata:s:s:0", "language=deu"]
    ffmpeg(*args, "-filter_complex", graph, *maps, "-c:a", codec,
           *(video or ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"]), *options, path)
    return path


class Case(unittest.TestCase):
    """A test class whose folder is empty at first and holds a tiny model."""

    @classmethod
    def setUpClass(cls):
        cls.folder = os.path.join(FOLDER, cls.__name__)
        shutil.rmtree(cls.folder, ignore_errors=True)
        os.makedirs(cls.folder)
        cls.model = cls.path("tiny.safetensors")
        done = run("init-model", "--preset", "tiny", "--seed", 1, "-o", cls.model)
        if done.returncode:
            raise RuntimeError(done.stderr)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    def good(self, *args, **options):
        """underscore with args, which must succeed."""
        done = run(*args, **options)
        self.assertEqual(done.returncode, 0, f"{args}\n{done.stdout}\n{done.stderr}")
        return done

    def score(self, film, out, *args):
        return self.good("score", film, "-o", self.path(out), "--model", self.model, *args)

    def bad(self, status, *args, says="", leaves=(), **options):
        """underscore with args, which must end with `status` and one line that says
        what is wrong, and leave no files but those it was called with."""
        before = set(os.listdir(self.folder))
        done = run(*args, **options)
        text = f"{args}\n{done.stdout}\n{done.stderr}"
        self.assertEqual(done.returncode, status, text)
        errors = [line for line in done.stderr.splitlines() if line.startswith("underscore: error: ")]
        self.assertEqual(len(errors), 1, text)
        self.assertIn(says, errors[0])
        self.assertEqual(done.stdout, "", text)
        for line in done.stderr.splitlines():
            self.assertTrue(line.startswith("underscore: "), text)
        self.assertEqual(set(os.listdir(self.folder)) - before, set(leaves), text)
        return done


class Whole(Case):
    """With a film, and what an undisturbed run makes of it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = make_film(cls.path("film.mp4"), seconds=9)
        done = run("score", cls.film, "-o", cls.path("whole.mp4"), "--model", cls.model, "--seed", 5, *SHORT, *ONE)
        if done.returncode:
            raise RuntimeError(done.stderr)
        cls.whole = sha256(cls.path("whole.mp4"))

    def assert_same(self, out):
        self.assertEqual(sha256(self.path(out)), self.whole)


def main():
    unittest.main(verbosity=2)
