#!/usr/bin/python3
"""Writes a film of drawn scenes: 640x360, 25 pictures a second, no sound.

With it, where asked, its list of scenes and the music that its rules give it. The list
is enough to write the same film again. Needs python3-numpy, python3-scipy and ffmpeg.
"""
import argparse
import subprocess
import sys

import numpy as np
import scipy.io.wavfile

import music
import pictures
import scenes

WIDTH, HEIGHT, RATE = 640, 360, 25
FADE_PICTURES = 15
FADE_OUT_EVERY = 3  # every third scene fades out before the cut; the others are cut hard


def encoder(path):
    """ffmpeg, reading raw pictures from its input; the film can start before it is whole."""
    return subprocess.Popen(
        ["ffmpeg", "-v", "error", "-nostdin", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}",
         "-r", str(RATE), "-i", "pipe:0", "-c:v", "libx264", "-preset", "slow", "-crf", "25", "-pix_fmt", "yuv420p",
         "-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart", path], stdin=subprocess.PIPE)


def light(index, count, scene_index, scene_count):
    """How bright a picture is shown: the film fades in and out, some scenes fade out."""
    shown = 1.0
    if scene_index == 0:
        shown = min(shown, (index + 1) / FADE_PICTURES)
    if scene_index % FADE_OUT_EVERY == FADE_OUT_EVERY - 1 or scene_index == scene_count - 1:
        shown = min(shown, (count - index) / FADE_PICTURES)
    return shown


def write_film(path, film):
    """Writes the pictures of a list of scenes, one scene after the other."""
    ffmpeg = encoder(path)
    for i, scene in enumerate(film):
        count = round((scene.start_s - film[0].start_s + scene.seconds) * RATE) \
            - round((scene.start_s - film[0].start_s) * RATE)
        for index in range(count):
            picture = pictures.render_picture(scene, index / RATE, WIDTH, HEIGHT)
            shown = light(index, count, i, len(film))
            if shown < 1:
                picture = (picture * shown).astype(np.uint8)
            ffmpeg.stdin.write(picture.tobytes())
    ffmpeg.stdin.close()
    return ffmpeg.wait()


def write_score(path, film):
    scipy.io.wavfile.write(path, music.SAMPLE_RATE, np.round(music.render_scores(film) * 32767).astype(np.int16))


def seconds_range(text):
    low, _, high = text.partition("-")
    return float(low), float(high or low)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="of the list of scenes; training uses none from 1000000 on")
    parser.add_argument("--scenes", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--seconds", type=seconds_range, default=(8.0, 12.0), help="of a scene, as in 8-12")
    parser.add_argument("--scenes-from", metavar="JSON", help="a list written before, instead of --seed")
    parser.add_argument("--scenes-json", metavar="JSON", help="where to write the list")
    parser.add_argument("--score", metavar="WAV", help="where to write the music that the rules give")
    parser.add_argument("-o", "--output", metavar="MP4", help="the film")
    a = parser.parse_args()
    if (a.seed is None) == (a.scenes_from is None):
        parser.error("give either --seed or --scenes-from")
    film = scenes.read_scenes(a.scenes_from) if a.scenes_from else scenes.draw_scenes(a.seed, a.scenes, a.seconds)
    if a.scenes_json:
        scenes.write_scenes(a.scenes_json, film)
    if a.score:
        write_score(a.score, film)
    return write_film(a.output, film) if a.output else 0


if __name__ == "__main__":
    sys.exit(main())
