"""Scenes drawn by a seed, and the rules that say what music a scene gets.

A scene is a handful of numbers from which both its pictures (pictures.py) and its
music (music.py) follow. What the music owes to the picture is in the picture to see:
motion tells tempo and density, colour tells the mode and the key, light tells
register and timbre, and the kind of picture tells who plays the melody.
"""
import dataclasses
import json
import random
from dataclasses import dataclass

FRAMES_PER_SECOND = 50  # the codec's: every note starts on one of them
PICTURE_STEP_S = 0.04  # scenes last whole pictures at 25 a second
HELD_OUT = range(1_000_000, 2_000_000)  # list seeds that training never uses

KINDS = ("shapes", "particles", "landscape", "waves")
BEAT_FRAMES = (50, 40, 32, 28, 24, 20)  # by level of arousal, all even: eighths fit too
ONSET_DENSITY = (0.8, 1.5, 2.0, 3.0, 3.5, 5.7)  # by level; composer_check.py holds the notes to it
TONICS = (0, 2, 5, 9)  # C, D, F, A
HUE_STEP = 0.0375  # one tonic each
HUE_BAND = 4 * HUE_STEP
WARM_HUE, UNCLEAR_HUE, COLD_HUE = 0.0, 8 * HUE_STEP, 16 * HUE_STEP  # where the bands begin
CLEAR_VALENCE = 0.15
DRUMS_FROM = 0.55
TONES = ("dark", "mid", "bright")


@dataclass(frozen=True)
class Scene:
    """Everything about a scene is a function of these."""
    seed: int
    start_s: float
    seconds: float
    valence: float  # -1..1: minor to major
    arousal: float  # 0..1: tempo, density, drums
    motion: float  # 0..1: arousal as it is seen, a little noise on it
    brightness: float  # 0..1: register and timbre
    hue: float  # 0..1, of the colour wheel: the key, who accompanies; warm hues go with major
    kind: str  # one of KINDS: who plays the melody


@dataclass(frozen=True)
class Rules:
    """What a scene's music is: the truth that measures compare with."""
    beat_frames: int  # codec frames in a beat
    bpm: float
    tonic: int  # pitch class
    mode: str  # 'major', 'minor', or 'dorian' where valence is unclear
    onset_density: float  # different moments a second at which notes begin
    register: int  # MIDI pitch of the melody's centre
    drums: bool
    instruments: dict  # role -> name
    level: int  # 0..5: of arousal
    bar_beats: int
    tone: str  # one of TONES: the timbre of every instrument


def _draw_valence(rng):
    """Mostly clear, so that the mode is worth seeing; never at the border."""
    side = rng.random()
    if side < 0.16:
        return rng.uniform(-0.1, 0.1)
    return rng.uniform(0.22, 1) * (1 if side < 0.58 else -1)


def _hue_of(rng, valence):
    band = WARM_HUE if valence > CLEAR_VALENCE else COLD_HUE if valence < -CLEAR_VALENCE else UNCLEAR_HUE
    return band + rng.uniform(0.02, 0.98) * HUE_BAND


def _draw_scene(rng, start_s, seconds):
    length = PICTURE_STEP_S * round(rng.uniform(*seconds) / PICTURE_STEP_S)
    valence, arousal = _draw_valence(rng), rng.random()
    return Scene(seed=rng.getrandbits(31), start_s=round(start_s, 2), seconds=round(length, 2),
                 valence=round(valence, 4), arousal=round(arousal, 4),
                 motion=round(min(1.0, max(0.0, arousal + rng.gauss(0, 0.03))), 4),
                 brightness=round(rng.random(), 4), hue=round(_hue_of(rng, valence), 4),
                 kind=rng.choice(KINDS))


def draw_scenes(seed, count, seconds=(8.0, 16.0)):
    """The scenes of one film, one after the other; the same for the same arguments."""
    rng = random.Random(f"scenes {seed}")
    scenes, start_s = [], 0.0
    for _ in range(count):
        scenes.append(_draw_scene(rng, start_s, seconds))
        start_s += scenes[-1].seconds
    return scenes


def _mode_of(valence):
    if abs(valence) <= CLEAR_VALENCE:
        return "dorian"
    return "major" if valence > 0 else "minor"


def _instruments_of(scene, drums):
    """Who plays the melody is seen in the kind of picture, who accompanies in its hue."""
    lead = {"shapes": "piano", "particles": "bell", "landscape": "bowed", "waves": "plucked"}[scene.kind]
    warm = scene.hue < HUE_BAND
    harmony = "plucked" if warm else "piano"
    if harmony == lead:
        harmony = "bell"
    roles = {"lead": lead, "harmony": harmony, "pad": "bowed" if warm and lead != "bowed" else "pad",
             "bass": "bass"}
    return {**roles, "drums": "drums"} if drums else roles


def rules_of(scene):
    level = min(len(BEAT_FRAMES) - 1, int(scene.arousal * len(BEAT_FRAMES)))
    drums = scene.arousal > DRUMS_FROM
    return Rules(beat_frames=BEAT_FRAMES[level], bpm=60 * FRAMES_PER_SECOND / BEAT_FRAMES[level],
                 tonic=TONICS[int(scene.hue / HUE_STEP) % len(TONICS)], mode=_mode_of(scene.valence),
                 onset_density=ONSET_DENSITY[level], register=60 + round(18 * scene.brightness),
                 drums=drums, instruments=_instruments_of(scene, drums), level=level,
                 bar_beats=2 if level < 2 else 4,  # a chord lasts about two seconds at any tempo
                 tone=TONES[min(len(TONES) - 1, int(scene.brightness * len(TONES)))])


def write_scenes(path, scenes):
    with open(path, "w") as f:
        json.dump([dataclasses.asdict(s) for s in scenes], f, indent=1)
        f.write("\n")


def read_scenes(path):
    with open(path) as f:
        return [Scene(**s) for s in json.load(f)]
