"""Every bad input ends with one line that says what is wrong, the right exit status,
and no output file; what can be used of a damaged film is used, with a warning."""
import json
import os
import resource
import struct
import subprocess
import time

import e2e
from e2e import SHORT

USAGE, DATA, NO_INPUT, UNAVAILABLE, CANNOT_CREATE, IO, TRY_AGAIN = 64, 65, 66, 69, 73, 74, 75


class BadFilm(e2e.Case):
    def refused(self, status, film, says, **options):
        """By all verbs that read a film."""
        out = self.path("out.mp4")
        self.bad(status, "score", film, "-o", out, "--model", self.model, says=says, **options)
        return self.bad(status, "plan", film, says=says, **options)

    def written(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def test_missing(self):
        self.refused(NO_INPUT, self.path("absent.mp4"), "absent.mp4")

    def test_a_folder(self):
        os.makedirs(self.path("folder.mp4"))
        self.refused(NO_INPUT, self.path("folder.mp4"), "folder.mp4")

    def test_empty(self):
        self.refused(DATA, self.written("empty.mp4", b""), "empty.mp4")

    def test_not_media(self):
        self.refused(DATA, self.written("letter.mp4", b"Dear Sir or Madam,\n" * 1000), "letter.mp4")
        self.refused(DATA, self.written("noise.mkv", bytes((i * i * 7 >> 5) & 255 for i in range(99999))), "noise.mkv")

    def test_sound_only(self):
        e2e.ffmpeg("-f", "lavfi", "-i", "sine=duration=2", self.path("sound.wav"))
        self.refused(DATA, self.path("sound.wav"), "not a film")

    def test_a_song_with_a_cover(self):
        e2e.ffmpeg("-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", "1", self.path("cover.png"))
        e2e.ffmpeg("-f", "lavfi", "-i", "sine=duration=2", "-i", self.path("cover.png"), "-map", "0", "-map", "1",
                   "-c:v", "copy", "-disposition:v", "attached_pic", self.path("song.m4a"))
        self.refused(DATA, self.path("song.m4a"), "picture")

    def test_no_frames(self):
        film = e2e.make_film(self.path("three.mkv"), seconds=3)
        e2e.ffmpeg("-i", film, "-c", "copy", "-t", "0", self.path("zero.mkv"))
        self.refused(DATA, self.path("zero.mkv"), "zero.mkv")

    def test_truncated_without_an_index(self):
        film = e2e.make_film(self.path("whole.mp4"), seconds=3)
        with open(film, "rb") as f:
            data = f.read()
        self.refused(DATA, self.written("cut.mp4", data[:len(data) // 2]), "cut.mp4") # its index was at the end

    def check_scored_with_warning(self, film, out, word):
        done = self.score(film, out, *SHORT)
        warnings = [line for line in done.stderr.splitlines() if line.startswith("underscore: warning: ")]
        self.assertTrue(any(word in line for line in warnings), done.stderr)
        self.assertLessEqual(len(warnings), 3, done.stderr)
        self.assertEqual(len(e2e.streams(self.path(out), "audio")), 2)

    def test_recordings_that_were_only_put_together(self):
        """The second begins before the first: its pictures would be shown all at once."""
        with open(self.path("both.ts"), "wb") as both:
            for start in 60, 0:
                part = e2e.make_film(self.path(f"from{start}.ts"), seconds=3, options=["-output_ts_offset", start])
                with open(part, "rb") as f:
                    both.write(f.read())
        self.refused(DATA, self.path("both.ts"), "join them first")
        e2e.ffmpeg("-i", self.path("both.ts"), "-map", "0:v", "-map", "0:a", "-c", "copy", self.path("joined.mkv"))
        self.good("plan", self.path("joined.mkv"), "--model", self.model)

    def test_a_corrupted_middle_is_a_warning(self):
        film = e2e.make_film(self.path("sound.mp4"), seconds=6)
        with open(film, "rb") as f:
            data = bytearray(f.read())
        at = len(data) // 3
        data[at:at + 3000] = b"\xa5" * 3000
        self.check_scored_with_warning(self.written("scratched.mp4", data), "scratched-scored.mp4", "scratched.mp4")

    def test_truncated_where_the_beginning_can_be_read(self):
        """Nobody wants two thirds of a film scored without being asked."""
        for container, options in (("mkv", []), ("mp4", ["-movflags", "+faststart"])):
            with self.subTest(container=container):
                film = e2e.make_film(self.path(f"front.{container}"), seconds=6, options=options)
                with open(film, "rb") as f:
                    data = f.read()
                torn = self.written(f"torn.{container}", data[:len(data) * 2 // 3])
                self.refused(DATA, torn, f"torn.{container}: cut short")


class BadOutput(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=3)

    def refused(self, status, out, *args, says="", **options):
        self.bad(status, "score", self.film, "-o", out, "--model", self.model, *args, says=says, **options)

    def test_nowhere(self):
        self.bad(USAGE, "score", self.film, "--model", self.model, says="-o")

    def test_no_such_folder(self):
        self.refused(CANNOT_CREATE, self.path("nowhere/out.mp4"), says="nowhere")

    def test_a_folder_nobody_can_write(self):
        self.refused(CANNOT_CREATE, "/proc/out.mp4", says="/proc/out.mp4")

    def test_a_wav_nobody_can_write(self):
        self.refused(CANNOT_CREATE, self.path("out.mp4"), "--wav", "/proc/out.wav", says="/proc/out.wav")

    def test_a_report_nobody_can_write(self):
        self.refused(CANNOT_CREATE, self.path("out.mp4"), "--report", "/proc/out.json", says="/proc/out.json")

    def test_what_a_killed_run_left(self):
        gone = subprocess.Popen(["true"])
        gone.wait()
        left, ours = (self.path(f".swept.mp4.{pid}.part") for pid in (gone.pid, os.getpid()))
        for path in left, ours:
            with open(path, "w") as f:
                f.write("half a film")
        self.good("score", self.film, "-o", self.path("swept.mp4"), "--model", self.model, *SHORT)
        self.assertFalse(os.path.exists(left))
        self.assertTrue(os.path.exists(ours)) # its process is alive
        os.unlink(ours)

    def test_closed_streams(self):
        """No file that is opened takes the place of one: messages would be written into it."""
        def close():
            for fd in 0, 1, 2:
                os.close(fd)
        args = e2e.command("score", self.film, "-o", self.path("mute.mp4"), "--model", self.model, *SHORT, "--quiet")
        process = subprocess.Popen(args, preexec_fn=close)
        seen = set()
        while process.poll() is None:
            for fd in 0, 1, 2:
                try:
                    seen.add(os.readlink(f"/proc/{process.pid}/fd/{fd}"))
                except OSError:
                    pass # not yet, or not any more
            time.sleep(0.001)
        self.assertEqual([path for path in seen if self.folder in path or "safetensors" in path], [])
        self.assertIn("/dev/null", seen)
        self.assertEqual(len(e2e.streams(self.path("mute.mp4"), "audio")), 2)

    def test_unknown_container(self):
        self.refused(USAGE, self.path("out.xyz"), says=".mp4")

    def test_what_exists_stays(self):
        with open(self.path("precious.mp4"), "w") as f:
            f.write("precious")
        self.refused(CANNOT_CREATE, self.path("precious.mp4"), says="precious.mp4")
        with open(self.path("precious.mp4")) as f:
            self.assertEqual(f.read(), "precious")

    def test_onto_itself(self):
        before = e2e.sha256(self.film)
        self.refused(USAGE, self.film, "-y")
        self.bad(USAGE, "plan", self.film, "-o", self.film, "--model", self.model, says="the film itself")
        self.bad(USAGE, "import", self.film, self.film, "-o", self.film, says="one of the inputs")
        self.bad(USAGE, "trace", self.model, "--in", self.film, "-o", self.film, says="one of the inputs")
        self.assertEqual(e2e.sha256(self.film), before)

    def test_one_name_for_two(self):
        for other in (self.path("out.mp4"), self.path("./out.mp4"), os.path.relpath(self.path("out.mp4"))):
            self.refused(USAGE, self.path("out.mp4"), "--report", other, says="two outputs")

    def test_what_is_not_a_file(self):
        """A device that a file took the place of would be gone, as /dev/null for root."""
        os.mkfifo(self.path("pipe"))
        os.makedirs(self.path("drawer"))
        for name in ("pipe", "drawer"):
            kind = os.stat(self.path(name)).st_mode
            self.refused(CANNOT_CREATE, self.path("out.mp4"), "--report", self.path(name), "-y", says="not a file")
            self.bad(CANNOT_CREATE, "plan", self.film, "-o", self.path(name), "--model", self.model, says="not a file")
            self.bad(CANNOT_CREATE, "init-model", "--preset", "tiny", "-o", self.path(name), says="not a file")
            self.assertEqual(os.stat(self.path(name)).st_mode, kind)

    def test_files_too_large(self):
        """As on a full disk: writing fails half-way."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        done = e2e.run("score", self.film, "-o", self.path("large.mp4"), "--model", self.model, *SHORT,
                       preexec_fn=limit)
        self.assertEqual(done.returncode, IO, done.stderr)
        self.assertFalse(os.path.exists(self.path("large.mp4")))

    def test_full_disk(self):
        """A disk of 256 KiB, for the film and then for the work beside it."""
        disk = self.path("disk")
        os.makedirs(disk)
        script = ('mount -t tmpfs -o size=256k none "$0" || exit 99; "$@" < /dev/null; status=$?; '
                  'echo "left: $(find "$0" -type f -not -path "*.underscore/*" | tr "\\n" " ")"; exit $status')
        def on_disk(*args):
            return subprocess.run(["unshare", "-m", "sh", "-c", script, disk, *e2e.command(*args)],
                                  capture_output=True, text=True, timeout=900)
        wanted = ("score", self.film, "-o", f"{disk}/full.mp4", "--model", self.model, *SHORT)
        done = on_disk(*wanted, "--work", self.path("work"))
        if done.returncode == 99 or "unshare" in done.stderr:
            self.skipTest("no right to mount a small disk here")
        self.assertEqual(done.returncode, IO, done.stdout + done.stderr)
        self.assertEqual(done.stderr.count("underscore: error: "), 1, done.stderr)
        self.assertIn("No space left on device", done.stderr)
        self.assertIn("left: \n", done.stdout)
        done = on_disk(*wanted)
        self.assertEqual(done.returncode, IO, done.stdout + done.stderr)
        self.assertIn("No space left on device", done.stderr)
        self.assertIn("left: \n", done.stdout)


class BadModel(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=3)
        with open(cls.model, "rb") as f:
            cls.data = f.read()

    def refused(self, status, model, says=""):
        out = self.path("out.mp4")
        self.bad(status, "score", self.film, "-o", out, "--model", model, says=says)
        self.bad(status, "inspect", model, says=says)

    def written(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def header(self, header, body=b"\0" * 64):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + body

    def test_none(self):
        alone = e2e.copy_of_program(self.path("alone/bin"))
        self.bad(USAGE, "score", self.film, "-o", self.path("out.mp4"), says="--model", program=alone)

    def test_missing(self):
        self.refused(NO_INPUT, self.path("absent.safetensors"), "absent.safetensors")

    def test_not_a_model(self):
        self.refused(DATA, self.film, "film.mp4")
        self.refused(DATA, self.written("empty", b""), "empty")

    def test_another_safetensors_file(self):
        other = self.written("other.safetensors",
                             self.header({"a": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}}))
        self.bad(DATA, "score", self.film, "-o", self.path("out.mp4"), "--model", other, says="other.safetensors")

    def test_truncated(self):
        for share in (0.2, 0.5, 0.999):
            with self.subTest(share=share):
                self.refused(DATA, self.written("cut.safetensors", self.data[:int(len(self.data) * share)]),
                             "cut.safetensors")

    def test_hostile(self):
        tensor = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}
        for name, data in {
            "endless header": struct.pack("<Q", 2**63) + b"{}",
            "header beyond the file": struct.pack("<Q", 5000) + b"{}",
            "no JSON": self.header(b"\xff" * 100),
            "deep": self.header(b"[" * 100000),
            "beyond the file": self.header({"a": {**tensor, "data_offsets": [0, 2**62]}}),
            "backwards": self.header({"a": {**tensor, "data_offsets": [64, 0]}}),
            "negative": self.header({"a": {**tensor, "shape": [-4, -4]}}),
            "overflowing": self.header({"a": {**tensor, "shape": [2**40, 2**40]}}),
            "strange type": self.header({"a": {**tensor, "dtype": "F33"}}),
            "overlapping": self.header({"a": tensor, "b": tensor}),
        }.items():
            with self.subTest(name):
                self.refused(DATA, self.written("hostile.safetensors", data), "hostile.safetensors")

    def test_a_lying_configuration(self):
        size = struct.unpack("<Q", self.data[:8])[0]
        header = json.loads(self.data[8:8 + size])
        text = json.dumps(header["__metadata__"])
        for old, new in (("128", "129"), ("128", "1000000000"), ("64", "0")):
            with self.subTest(f"{old} for {new}"):
                lie = dict(header, __metadata__=json.loads(text.replace(old, new)))
                self.assertNotEqual(lie, header)
                data = self.header(lie, self.data[8 + size:])
                self.bad(DATA, "score", self.film, "-o", self.path("out.mp4"), "--model",
                         self.written("lie.safetensors", data), says="model configuration: ")

    def test_import(self):
        out = self.path("imported.safetensors")
        self.bad(NO_INPUT, "import", self.path("absent.bin"), self.path("absent2.bin"), "-o", out, says="absent")
        self.bad(DATA, "import", self.film, self.film, "-o", out, says="film.mp4")


class BadMachine(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=3)

    def refused(self, status, *args, says="", **options):
        self.bad(status, "score", self.film, "-o", self.path("out.mp4"), "--model", self.model, *args, says=says,
                 **options)

    def test_no_device(self):
        none = dict(os.environ, VK_ICD_FILENAMES="/dev/null", VK_DRIVER_FILES="/dev/null")
        self.refused(UNAVAILABLE, says="mesa-vulkan-drivers", env=none)
        self.bad(UNAVAILABLE, "devices", says="mesa-vulkan-drivers", env=none)

    def test_another_device(self):
        self.refused(UNAVAILABLE, "--device", "Voodoo 2", says="Voodoo 2")
        self.refused(UNAVAILABLE, "--device", "97", says="97")

    def test_too_little_memory(self):
        self.refused(TRY_AGAIN, "--memory", "1M", says="--memory")

    def test_usage(self):
        self.bad(USAGE, "scores", says="scores")
        self.bad(USAGE, "score", says="FILM")
        self.refused(USAGE, "--loudness", "loud", says="loud")
        self.refused(USAGE, "--segment", "-3")
        self.refused(USAGE, "--overlap", "40", says="overlap")
        self.refused(USAGE, "--no-such-option", says="--no-such-option")
        self.refused(USAGE, "--seed", "x", says="seed")


class BadPlan(e2e.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.film = e2e.make_film(cls.path("film.mp4"), seconds=9)
        done = e2e.run("plan", cls.film, "-o", cls.path("plan.json"), "--model", cls.model, *SHORT)
        if done.returncode:
            raise RuntimeError(done.stderr)
        with open(cls.path("plan.json")) as f:
            cls.plan = json.load(f)

    def refused(self, status, plan, says=""):
        with open(self.path("bad.json"), "w") as f:
            f.write(plan if isinstance(plan, str) else json.dumps(plan))
        self.bad(status, "compose", self.path("bad.json"), "-o", self.path("parts"), "--model", self.model, says=says)
        self.bad(status, "stitch", self.path("bad.json"), self.path("parts"), "-o", self.path("out.mp4"), says=says)

    def test_missing(self):
        self.bad(NO_INPUT, "compose", self.path("absent.json"), "-o", self.path("parts"), "--model", self.model,
                 says="absent.json")

    def test_not_a_plan(self):
        self.refused(DATA, "{", "bad.json")
        self.refused(DATA, "", "bad.json")
        self.refused(DATA, "[]", "bad.json")
        self.refused(DATA, {}, "bad.json")
        self.refused(DATA, "[" * 100000, "bad.json")

    def test_of_the_future(self):
        self.refused(DATA, dict(self.plan, version=99), "99")

    def test_that_does_not_add_up(self):
        for change in (lambda p: p["segments"].pop(), lambda p: p["cues"].pop(0),
                       lambda p: p["segments"][0].update(columns=2**31), lambda p: p["segments"][0].update(columns=-1),
                       lambda p: p["cues"][0].update(end_ms=10**15), lambda p: p["settings"].update(segment_ms=0)):
            plan = json.loads(json.dumps(self.plan))
            change(plan)
            self.refused(DATA, plan, "bad.json")


if __name__ == "__main__":
    e2e.main()
