"""A film in, a scored film out: streams, lengths, loudness and tags of every container."""
import json
import os
import shutil
import struct
import subprocess

import e2e
from e2e import SHORT


class Score(e2e.Case):
    def check_scored(self, film, out, seconds, audio, target=-14.0):
        """`out` is `film`, whole, with a music track after its own sound."""
        before, after = e2e.probe(film), e2e.probe(out)
        music = e2e.streams(out, "audio")[-1]
        self.assertEqual(len(e2e.streams(out, "audio")), audio + 1)
        self.assertEqual(music["sample_rate"], "48000")
        self.assertEqual(music["channels"], 2)
        if out.endswith(".mov"): # QuickTime's list of languages has no "no words"
            self.assertIn(music["tags"].get("language"), (None, "und"))
        else:
            self.assertEqual(music["tags"]["language"], "zxx")
        # MP4 and MOV keep a track's title as its handler's name.
        self.assertIn("Underscore", (music["tags"].get("title"), music["tags"].get("handler_name")))
        # To the sample: AAC's last frame may be filled up where a container cannot say how much.
        length = e2e.samples(out, audio)
        self.assertLessEqual(abs(length - round(seconds * 48000)), 1024 if music["codec_name"] == "aac" else 0)
        self.assertAlmostEqual(float(after["format"]["duration"]), float(before["format"]["duration"]), delta=0.05)
        # The picture and the film's own sound are copied.
        self.assertEqual(e2e.frames_md5(film, "0:v:0"), e2e.frames_md5(out, "0:v:0"))
        self.assertEqual(e2e.streams(film, "video")[0]["nb_read_packets"],
                         e2e.streams(out, "video")[0]["nb_read_packets"])
        for i in range(audio):
            self.assertEqual(e2e.packets_md5(film, f"0:a:{i}"), e2e.packets_md5(out, f"0:a:{i}"))
        lufs, peak = e2e.loudness(out, audio)
        self.assertAlmostEqual(lufs, target, delta=0.5)
        self.assertLessEqual(peak, -0.9)

    def check_tags(self, film, out):
        before, after = e2e.probe(film), e2e.probe(out)
        self.assertEqual(after["format"]["tags"]["title"], "Nine seconds")
        self.assertEqual([(c["start_time"], c["end_time"], c["tags"]["title"]) for c in before["chapters"]],
                         [(c["start_time"], c["end_time"], c["tags"]["title"]) for c in after["chapters"]])
        for i, language in enumerate(["eng", "fra"][:len(e2e.streams(film, "audio"))]):
            self.assertEqual(e2e.streams(out, "audio")[i]["tags"]["language"], language)

    def test_mp4(self):
        film = e2e.make_film(self.path("film.mp4"), subtitles="mov_text")
        self.score(film, "scored.mp4", *SHORT, "--report", self.path("report.json"), "--wav", self.path("music.wav"))
        out = self.path("scored.mp4")
        self.check_scored(film, out, 9, 1)
        self.check_tags(film, out)
        self.assertEqual([s["tags"]["language"] for s in e2e.streams(out, "subtitle")], ["deu"])
        wav = e2e.streams(self.path("music.wav"), "audio")[0]
        self.assertEqual((wav["codec_name"], wav["sample_rate"], wav["channels"]), ("pcm_s24le", "48000", 2))
        self.assertEqual(e2e.samples(self.path("music.wav")), 9 * 48000)
        self.check_report(film)

    def check_report(self, film):
        with open(self.path("report.json")) as f:
            report = json.load(f)
        self.assertEqual(report["film"]["path"], film)
        self.assertEqual(report["film"]["duration_ms"], 9000)
        self.assertEqual(report["model"]["sha256"], e2e.sha256(self.model))
        self.assertAlmostEqual(report["delivery"]["after"]["integrated_lufs"],
                               e2e.loudness(self.path("music.wav"), 0)[0], delta=0.3)
        cues = report["plan"]["cues"]
        self.assertGreaterEqual(len(cues), 3)
        self.assertEqual([c["next_cut_ms"] for c in cues[:-1]], [c["cut_ms"] for c in cues[1:]])
        self.assertGreater(len(report["plan"]["segments"]), len(cues))
        self.assertIn(3000, [c["cut_ms"] for c in cues]) # the picture changes there
        self.assertIn(6000, [c["cut_ms"] for c in cues])

    def test_mov(self):
        film = e2e.make_film(self.path("film.mov"), rate="30000/1001", codec="pcm_s16le")
        self.score(film, "scored.mov", *SHORT)
        seconds = float(e2e.streams(film, "video")[0]["duration"])
        self.check_scored(film, self.path("scored.mov"), seconds, 1)
        self.check_tags(film, self.path("scored.mov"))

    def test_mkv(self):
        film = e2e.make_film(self.path("film.mkv"), rate="24000/1001", sound=2, codec="flac", subtitles="srt")
        self.score(film, "scored.mkv", *SHORT, "--loudness", "-23")
        out = self.path("scored.mkv")
        seconds = int(e2e.streams(film, "video")[0]["nb_read_packets"]) * 1001 / 24000
        film_samples = e2e.samples(out, 2)
        self.assertLessEqual(abs(film_samples - round(seconds * 48000)), 48) # Matroska counts in milliseconds
        self.check_scored(film, out, film_samples / 48000, 2, target=-23)
        self.check_tags(film, out)
        self.assertEqual([s["tags"]["language"] for s in e2e.streams(out, "subtitle")], ["deu"])

    def test_real_film(self):
        """A camera's film: MPEG-2, 7.6 s that begin at 0.54, no sound."""
        if not os.path.exists(e2e.REAL_FILM):
            self.skipTest(f"{e2e.REAL_FILM} is not there: tools/install-deps.sh test fetches it")
        for container in ("mp4", "mov", "mkv"):
            with self.subTest(container=container):
                film = self.path(f"city.{container}")
                e2e.ffmpeg("-fflags", "+genpts", "-i", e2e.REAL_FILM, "-map", "0:v", "-c", "copy", film)
                out = self.path(f"city-scored.{container}")
                self.score(film, f"city-scored.{container}", *SHORT)
                self.check_scored(film, out, e2e.samples(out, 0) / 48000, 0)
                self.assertAlmostEqual(e2e.samples(out, 0) / 48000, 7.6, delta=0.1)
        self.score(e2e.REAL_FILM, "city-as-shot.mkv", *SHORT)
        self.assertEqual(len(e2e.streams(self.path("city-as-shot.mkv"), "audio")), 1)

    def test_a_shape_that_the_codec_can_only_say_about(self):
        """MPEG-2 knows four aspect ratios, the container the true one: that one stays."""
        film = e2e.make_film(self.path("wide.mkv"), seconds=3, sound=0, video=["-c:v", "mpeg2video", "-aspect", "64:27"])
        for name in ("wide-scored.mkv", "wide-scored.mov"):
            self.score(film, name, *SHORT)
            before, after = (e2e.streams(path, "video")[0] for path in (film, self.path(name)))
            self.assertEqual(after["sample_aspect_ratio"], before["sample_aspect_ratio"])
            self.assertEqual(e2e.packets_md5(film, "0:v:0"), e2e.packets_md5(self.path(name), "0:v:0"))

    def make_plain(self, name, *options, seconds=3):
        """A small film of ffmpeg's own sources: a picture, one sound, as `options` say."""
        path = self.path(name)
        e2e.ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=192x108:r=25:d={seconds}", "-f", "lavfi", "-i",
                   f"sine=440:r=48000:d={seconds}", *options, path)
        return path

    def check_times(self, film, out, *which):
        """Packets of the streams `which` are the film's, and as far from the picture."""
        before, after = e2e.packet_times(film, "v:0"), e2e.packet_times(out, "v:0")
        shift = after[0] - before[0]
        for stream in which:
            self.assertEqual(e2e.packets_md5(film, "0:" + stream), e2e.packets_md5(out, "0:" + stream))
            times = zip(e2e.packet_times(film, stream), e2e.packet_times(out, stream), strict=True)
            for was, now in times:
                self.assertAlmostEqual(now - was, shift, delta=0.0011, msg=stream) # Matroska's milliseconds

    def test_packets_shorter_than_a_millisecond(self):
        """TrueHD has 1200 packets a second, Matroska 1000 time stamps: some are alike, and stay so."""
        film = self.make_plain("truehd.mkv", "-c:v", "libx264", "-c:a", "truehd", "-strict", "-2")
        for name in ("truehd-scored.mkv", "truehd-scored.mp4"):
            self.score(film, name)
            self.check_times(film, self.path(name), "v:0", "a:0")

    def test_opus_stays_with_the_picture(self):
        """What Opus takes off the time stamps is on them: the film's own sound and the music."""
        film = self.make_plain("opus.mkv", "-c:v", "libx264", "-bf", "0", "-c:a", "libopus")
        self.score(film, "opus-scored.mkv", "--audio-codec", "opus")
        out = self.path("opus-scored.mkv")
        self.check_times(film, out, "v:0", "a:0")
        # The music begins with the film, as its own sound does, 7 ms before it is heard.
        self.assertEqual(e2e.packet_times(out, "a:1")[0], e2e.packet_times(out, "a:0")[0])

    def test_open_groups_of_pictures(self):
        """A film that begins with a picture that is not its first in time, as one cut out of a longer one does."""
        whole = self.make_plain("open.mkv", "-c:v", "libx264", "-preset", "ultrafast", "-g", "12", "-x264-params",
                                "open-gop=1:bframes=3:b-pyramid=normal", "-c:a", "aac")
        film = self.path("open-cut.mkv")
        e2e.ffmpeg("-ss", "1", "-i", whole, "-c", "copy", "-avoid_negative_ts", "make_zero", film)
        times = e2e.packet_times(film, "v:0")
        self.assertGreater(times[0], min(times))
        for name in ("open-scored.mp4", "open-scored.mov", "open-scored.mkv"):
            self.score(film, name)
            self.assertEqual(e2e.packets_md5(film, "0:v:0"), e2e.packets_md5(self.path(name), "0:v:0"))
            self.check_times(film, self.path(name), "a:0")

    def edit(self, film, name, *edits):
        """`film` with (ms, first tick) as its picture's edit list, which must have as many."""
        with open(film, "rb") as f:
            data = bytearray(f.read())
        at = data.index(b"elst") + 8
        self.assertEqual(struct.unpack_from(">I", data, at)[0], len(edits))
        for i, (ms, tick) in enumerate(edits):
            struct.pack_into(">Ii", data, at + 4 + 12 * i, ms, tick)
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def test_end_hidden_by_an_edit_list(self):
        """As phones trim films. What is hidden stays hidden, but for a picture that others need."""
        whole = self.make_plain("long.mp4", "-c:v", "libx264", "-bf", "2", "-g", "25", "-c:a", "aac",
                                "-video_track_timescale", "25000")
        film = self.edit(whole, "trimmed.mp4", (1480, 2000)) # from the first picture on: B-pictures delay it
        for name in ("trimmed-scored.mp4", "trimmed-scored.mkv"):
            self.score(film, name)
            times = e2e.packet_times(self.path(name), "v:0")
            self.assertLessEqual(max(times) - min(times) + 0.04, 1.48 + 0.041)
            self.assertGreaterEqual(max(times) - min(times) + 0.04, 1.479)
            self.assertLessEqual(abs(e2e.samples(self.path(name), 1) - 1.48 * 48000), 1024)

    def test_parts_joined_by_an_edit_list(self):
        """Refused before anything is composed: no container can be given that list."""
        late = self.path("late.mp4")
        whole = self.make_plain("whole.mp4", "-c:v", "libx264", "-bf", "2", "-g", "25", "-c:a", "aac",
                                "-video_track_timescale", "25000")
        e2e.ffmpeg("-itsoffset", "0.2", "-i", whole, "-i", whole, "-map", "0:v", "-map", "1:a", "-c", "copy",
                   late) # the picture's list has two entries: nothing, then all of it
        film = self.edit(late, "parts.mp4", (1000, 2000), (1000, 2000 + 50000))
        for name in ("parts-scored.mp4", "parts-scored.mkv"):
            self.bad(65, "score", film, "-o", self.path(name), "--model", self.model, says="edit list")

    def make_broadcast(self, name, *parts):
        """Parts of (seconds, sounds, filter of the picture), one after the other in a transport stream."""
        start = 0
        with open(self.path(name), "wb") as f:
            for seconds, sounds, graph in parts:
                sine = ["-f", "lavfi", "-i", f"sine=d={seconds}"]
                e2e.ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=320x180:r=25:d={seconds}{graph}", *sine * sounds,
                           *[x for k in range(sounds + 1) for x in ("-map", k)], "-output_ts_offset", start,
                           "-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2", self.path("part.ts"))
                with open(self.path("part.ts"), "rb") as part:
                    f.write(part.read())
                start += seconds
        return self.path(name)

    def test_sound_that_comes_later(self):
        """A broadcast whose end has more sound than its beginning: a warning, and no more."""
        film = self.make_broadcast("broadcast.ts", (12, 1, ""), (2, 3, ""))
        done = self.score(film, "broadcast.mkv", *SHORT)
        self.assertEqual(done.stderr.count("is left out"), 2)
        self.assertEqual(len(e2e.streams(self.path("broadcast.mkv"), "audio")), 2)

    def test_sound_that_comes_and_goes(self):
        """What is looked at before the copy, beginning and end, has less of it than the copy meets."""
        film = self.make_broadcast("advert.ts", (12, 1, ""), (2, 8, ""), (2, 1, ",noise=alls=90:allf=t"))
        self.score(film, "advert.mkv", *SHORT)
        self.assertEqual(len(e2e.streams(self.path("advert.mkv"), "audio")), 2)

    def roles(self, name, audio):
        flags = e2e.streams(self.path(name), "audio")[audio]["disposition"]
        return {role for role, on in flags.items() if on} - {"default", "captions"}

    def test_tags(self):
        """What is said about a film and its tracks is kept, or it is said that it is not."""
        film = self.make_plain("named.mkv", "-c:v", "libx264", "-c:a", "aac", "-metadata", "title=A film",
                               "-metadata", "DIRECTOR=Somebody", "-metadata:s:a", "title=Commentary",
                               "-disposition:a", "original+comment+hearing_impaired")
        done = self.score(film, "named.mp4")
        self.assertIn("no place for the tags DIRECTOR\n", done.stderr)
        self.assertIn("cannot say of a track that it is: original\n", done.stderr)
        self.assertEqual(self.roles("named.mp4", 0), {"comment", "hearing_impaired"})
        self.assertEqual(e2e.probe(self.path("named.mp4"))["format"]["tags"]["title"], "A film")
        self.assertEqual([s["tags"]["handler_name"] for s in e2e.streams(self.path("named.mp4"), "audio")],
                         ["Commentary", "Underscore"])
        done = self.score(film, "named-scored.mkv")
        self.assertNotIn("no place", done.stderr)
        self.assertNotIn("cannot say", done.stderr)
        self.assertEqual(self.roles("named-scored.mkv", 0), {"original", "comment", "hearing_impaired"})
        film = self.make_plain("phone.mov", "-c:v", "libx264", "-c:a", "aac", "-movflags", "use_metadata_tags",
                               "-metadata", "com.apple.quicktime.location.ISO6709=+48.1+011.5/",
                               "-metadata", "com.apple.quicktime.make=Apple")
        for name in ("phone-scored.mov", "phone-scored.mp4"):
            done = self.score(film, name)
            self.assertNotIn("no place", done.stderr)
            tags = e2e.probe(self.path(name))["format"]["tags"]
            self.assertEqual(tags["com.apple.quicktime.location.ISO6709"], "+48.1+011.5/")
            self.assertEqual(tags["com.apple.quicktime.make"], "Apple")

    def test_chapters_without_titles(self):
        with open(self.path("untitled.ffmeta"), "w") as f:
            f.write(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\n"
                    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=3000\n")
        film = self.make_plain("untitled.mkv", "-i", self.path("untitled.ffmeta"), "-map_chapters", "2",
                               "-c:v", "libx264", "-c:a", "aac")
        for name in ("untitled.mp4", "untitled.mov"):
            self.score(film, name)
            found = subprocess.run(["ffprobe", "-v", "error", "-of", "json", "-show_chapters", self.path(name)],
                                   check=True, capture_output=True, text=True)
            self.assertEqual(found.stderr, "") # no track of chapters that is not there
            self.assertEqual([(c["start_time"], c["end_time"]) for c in json.loads(found.stdout)["chapters"]],
                             [("0.000000", "1.000000"), ("1.000000", "3.000000")])

    def test_without_sound_of_its_own(self):
        film = e2e.make_film(self.path("silent.mp4"), seconds=3, sound=0)
        self.score(film, "silent-scored.mp4", *SHORT)
        self.check_scored(film, self.path("silent-scored.mp4"), 3, 0)

    def test_names_that_are_not_text(self):
        """A name is any bytes, a report is UTF-8."""
        film, model = (self.path(os.fsdecode(name)) for name in (b"caf\xe9.mp4", b"mod\xe8le.safetensors"))
        e2e.make_film(self.path("cafe.mp4"), seconds=3)
        os.rename(self.path("cafe.mp4"), film)
        shutil.copy(self.model, model)
        self.good("score", film, "-o", self.path(os.fsdecode(b"caf\xe9-scored.mp4")), "--model", model, *SHORT,
                  "--report", self.path("cafe.json"), "--report-html", self.path("cafe.html"))
        with open(self.path("cafe.json"), encoding="utf-8") as f:
            report = json.load(f)
        self.assertEqual(report["film"]["path"], self.path("caf\ufffd.mp4"))
        self.assertEqual(report["model"]["path"], self.path("mod\ufffdle.safetensors"))
        self.assertEqual(report["model"]["sha256"], e2e.sha256(self.model))

    def test_replace(self):
        film = e2e.make_film(self.path("talk.mkv"), seconds=3, sound=2)
        self.score(film, "replaced.mkv", *SHORT, "--audio", "replace", "--title", "Noise", "--language", "eng",
                   "--audio-codec", "pcm_s24le")
        audio = e2e.streams(self.path("replaced.mkv"), "audio")
        self.assertEqual(len(audio), 1)
        self.assertEqual(audio[0]["codec_name"], "pcm_s24le")
        self.assertEqual((audio[0]["tags"]["title"], audio[0]["tags"]["language"]), ("Noise", "eng"))

    def test_music_alone(self):
        film = e2e.make_film(self.path("only.mp4"), seconds=3)
        self.good("score", film, "--wav", self.path("only.wav"), "--model", self.model, *SHORT,
                  "--loudness", "none")
        self.assertEqual(e2e.samples(self.path("only.wav")), 3 * 48000)

    def test_very_short(self):
        film = e2e.make_film(self.path("blink.mp4"), seconds=1, sound=0, video=[
            "-c:v", "libx264", "-preset", "ultrafast", "-frames:v", "3"])
        self.score(film, "blink-scored.mp4")
        self.assertLessEqual(abs(e2e.samples(self.path("blink-scored.mp4")) - 5760), 1024)

    def test_under_validation(self):
        """Every stage, several segments, continued and side by side: not one message."""
        film = e2e.make_film(self.path("valid.mp4"), seconds=6)
        done = self.score(film, "valid-scored.mp4", *SHORT, "--validate")
        self.assertNotIn("validation", done.stderr.lower())
        plain = self.score(film, "plain-scored.mp4", *SHORT)
        self.assertNotIn("validation", plain.stderr.lower())
        self.assertEqual(e2e.sha256(self.path("valid-scored.mp4")), e2e.sha256(self.path("plain-scored.mp4")))

    def test_json(self):
        film = e2e.make_film(self.path("json.mp4"), seconds=3)
        done = self.score(film, "json-scored.mp4", *SHORT, "--json", "--quiet")
        self.assertEqual(json.loads(done.stdout)["film"]["duration_ms"], 3000)
        self.assertEqual(done.stderr, "")


if __name__ == "__main__":
    e2e.main()
