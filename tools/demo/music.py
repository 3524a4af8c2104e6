"""A scene's music: notes by rule, and their sound.

Notes lie on the codec's grid (50 frames a second) and a note of one instrument, pitch
and length always has the same samples, only louder or softer: that is what lets a
small model learn it. All randomness is drawn from the scene's seed.

The form: phrases of four bars, a chord a bar, the last phrase cadencing on the tonic;
a motif opens every phrase, its answer follows the chord, a contrast leads to a long
note. The bass holds the tonic under the changing chords (a pedal point) and leaves it
for the cadence, so that the key is heard at any moment of a scene. The accompaniment's
rhythm comes from the level of arousal (scenes.py).
"""
import bisect
import functools
import random
from dataclasses import dataclass

import numpy as np
import scipy.signal

from scenes import FRAMES_PER_SECOND, rules_of

SAMPLE_RATE = 32000
HOP = SAMPLE_RATE // FRAMES_PER_SECOND
TAIL_S = 1.0  # how long a scene rings on into the next one of a film
END_GAP_FRAMES = 20  # the last chord ends before the scene does

# ---- Notes ----


@dataclass(frozen=True)
class Note:
    start_s: float
    seconds: float
    midi: int
    velocity: int  # 1..4
    instrument: str


SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10), "dorian": (0, 2, 3, 5, 7, 9, 10)}
# Degrees of the chords of a phrase, each a bar; they begin at home and lead back to it.
PROGRESSIONS = {
    "major": ((0, 5, 3, 4), (0, 3, 1, 4), (0, 2, 3, 4), (0, 3, 0, 4)),
    "minor": ((0, 5, 3, 4), (0, 3, 5, 4), (0, 6, 5, 4), (0, 3, 0, 4)),
    "dorian": ((0, 3, 0, 6), (0, 6, 3, 6), (0, 2, 3, 6), (0, 3, 6, 3)),
}
CADENCE = {"major": 4, "minor": 4, "dorian": 6}  # the degree before the last
# Of a melody's bar, in eighths, by level: what a motif may be made of.
RHYTHMS = (
    ((4,), (2, 2), (3, 1)),
    ((2, 2), (2, 1, 1), (3, 1)),
    ((4, 2, 2), (2, 2, 4), (3, 1, 4), (2, 2, 2, 2), (6, 2)),
    ((2, 2, 2, 2), (3, 1, 2, 2), (2, 1, 1, 4), (4, 1, 1, 2)),
    ((2, 1, 1, 2, 2), (3, 1, 2, 1, 1), (1, 1, 2, 4), (3, 3, 2)),
    ((1, 1, 2, 1, 1, 2), (3, 3, 2), (2, 1, 1, 2, 1, 1), (1, 1, 1, 1, 4)),
)
STEPS = (-3, -2, -1, -1, -1, 1, 1, 1, 2, 3)  # of a motif, on the scale
KICK, SNARE, HAT = 36, 38, 42


class _Score:
    """Collects a scene's notes; time goes in codec frames."""

    def __init__(self, scene):
        self.scene, self.rules = scene, rules_of(scene)
        self.notes = []
        self.frames = int(scene.seconds * FRAMES_PER_SECOND + 1e-6)
        self.eighth = self.rules.beat_frames // 2
        self.bar_eighths = 2 * self.rules.bar_beats
        self.bar_frames = self.bar_eighths * self.eighth
        # The last bar is half a bar at least and one and a half at most.
        self.bars = max(1, (self.frames + self.bar_frames // 2) // self.bar_frames)

    def rng(self, purpose):
        return random.Random(f"{purpose} {self.scene.seed}")

    def is_last(self, bar):
        return bar == self.bars - 1

    def bar_length(self, bar):
        """In frames; the last bar holds its chord to the scene's end."""
        end = max(self.frames - END_GAP_FRAMES, self.eighth) if self.is_last(bar) else (bar + 1) * self.bar_frames
        return max(1, end - bar * self.bar_frames)

    def add(self, role, bar, offset, length, midi, velocity):
        name = self.rules.instruments[role]
        start = bar * self.bar_frames + offset
        self.notes.append(Note(start / FRAMES_PER_SECOND, length / FRAMES_PER_SECOND, midi,
                               min(4, max(1, velocity)), f"{name}-{self.rules.tone}"))


def _harmony(score):
    """The chord of each bar, as a degree of the scale."""
    rng, mode = score.rng("harmony"), score.rules.mode
    main, other = rng.sample(PROGRESSIONS[mode], 2)
    degrees = [(other if bar // 4 % 4 == 2 else main)[bar % 4] for bar in range(score.bars)]
    degrees[-1] = 0
    if score.bars > 2:
        cadence = CADENCE[mode]
        degrees[-2] = 3 if degrees[-3] == cadence else cadence
    return degrees


def _scale_under(rules, degree):
    """Pitch classes that fit a chord: in minor its dominant has the leading note."""
    scale = list(SCALES[rules.mode])
    if rules.mode == "minor" and degree == 4:
        scale[6] = 11
    return [(rules.tonic + s) % 12 for s in scale]


def _chord_classes(rules, degree):
    scale = _scale_under(rules, degree)
    return [scale[(degree + i) % 7] for i in (0, 2, 4)]


def _nearest(pitch, classes):
    return min((p for p in range(pitch - 6, pitch + 7) if p % 12 in classes), key=lambda p: abs(p - pitch + 0.1))


def _voicing(classes, centre, before):
    """Three notes around a centre, moving as little as may be from the chord before."""
    def inversion(low):
        notes = []
        for _ in classes:
            pitch = low if not notes else notes[-1] + 1
            while pitch % 12 not in classes:
                pitch += 1
            notes.append(pitch)
        return notes

    def cost(notes):
        moved = sum(abs(a - b) for a, b in zip(notes, before)) if before else 0
        return moved + 0.5 * abs(sum(notes) / len(notes) - centre)

    return min((inversion(low) for low in range(centre - 9, centre + 4)), key=cost)


def _motif(rng, level):
    """A bar of melody without its chord: (eighths, steps on the scale from the note before)."""
    rhythm = rng.choice(RHYTHMS[level])
    steps = [0] + [rng.choice(STEPS) for _ in rhythm[1:]]
    return list(zip(rhythm, steps))


def _varied(rng, motif):
    """The motif as it returns: turned over, or one of its longer notes divided."""
    if rng.random() < 0.4:
        return [(eighths, -step) for eighths, step in motif]
    long = [i for i, (eighths, _) in enumerate(motif) if eighths >= 2]
    if not long:
        return motif
    i = rng.choice(long)
    eighths, step = motif[i]
    return motif[:i] + [(eighths - 1, step), (1, rng.choice((-1, 1)))] + motif[i + 1:]


class _Melody:
    """A line that walks the scale around its register and stands on chord notes."""

    def __init__(self, score):
        self.score, self.pitch = score, score.rules.register

    def walk(self, step, ladder):
        at = bisect.bisect_left(ladder, self.pitch)
        return ladder[min(len(ladder) - 1, max(0, at + step))]

    def bar(self, bar, degree, motif, loud):
        score, offset = self.score, 0
        scale, chord = _scale_under(score.rules, degree), _chord_classes(score.rules, degree)
        centre = score.rules.register
        ladder = [p for p in range(centre - 8, centre + 10) if p % 12 in scale]
        for i, (eighths, step) in enumerate(motif):
            before, pitch = self.pitch, self.walk(step, ladder)
            if i == 0:  # a bar begins near home
                pitch += (centre - pitch) // 3
            strong = offset % 4 == 0 or eighths >= 3
            self.pitch = _nearest(pitch, chord if strong else scale)
            if step and self.pitch == before:  # it was to move: on to the next chord note
                self.pitch = _nearest(before + (3 if step > 0 else -3), [c for c in chord if c != before % 12])
            score.add("lead", bar, offset * score.eighth, eighths * score.eighth, self.pitch,
                      loud + (offset == 0))
            offset += eighths

    def close(self, bar, degree, target):
        """A phrase's end: a long chord note; with target, on that pitch class."""
        score = self.score
        classes = [target] if target is not None else _chord_classes(score.rules, degree)
        self.pitch = _nearest(self.pitch, classes)
        rest = 0 if score.is_last(bar) else score.eighth * (2 if score.rules.bar_beats == 4 else 1)
        score.add("lead", bar, 0, score.bar_length(bar) - rest, self.pitch, 3)


def _add_melody(score, degrees):
    rng, level = score.rng("melody"), score.rules.level
    opening, contrast = _motif(rng, level), _motif(rng, level)
    melody = _Melody(score)
    for bar, degree in enumerate(degrees):
        phrase, place = divmod(bar, 4)
        if score.is_last(bar):
            melody.close(bar, degree, score.rules.tonic)
        elif place == 3 and level < 5:
            melody.close(bar, degree, None)
        elif place == 2:
            melody.bar(bar, degree, contrast if phrase % 2 == 0 else _varied(rng, contrast), 3)
        else:
            again = phrase > 0 and (phrase + place) % 2 == 1
            melody.bar(bar, degree, _varied(rng, opening) if again else opening, 2)


def _add_pad(score, bar, chord):
    for midi in chord:
        score.add("pad", bar, 0, score.bar_length(bar), midi, 2)


# Of a bar, in eighths: (offset, length, note of the chord, or of the bass root and fifth).
HARMONY = (
    (),
    ((0, 2, 0), (2, 2, 2)),
    ((0, 1, 0), (1, 1, 1), (2, 2, 2), (4, 1, 0), (5, 1, 1), (6, 2, 2)),
    ((0, 1, 0), (1, 1, 1), (2, 1, 2), (3, 1, 1), (4, 1, 0), (5, 1, 1), (6, 1, 2), (7, 1, 1)),
    ((0, 1, 0), (1, 1, 2), (2, 1, 1), (3, 1, 2), (4, 1, 0), (5, 1, 2), (6, 1, 1), (7, 1, 2)),
    ((0, 1, 0), (1, 1, 2), (2, 1, 1), (3, 1, 2), (4, 1, 0), (5, 1, 2), (6, 1, 1), (7, 1, 2)),
)
BASS = (
    ((0, 4, 0),),
    ((0, 4, 0),),
    ((0, 4, 0), (4, 4, 1)),
    ((0, 4, 0), (4, 4, 1)),
    ((0, 3, 0), (3, 3, 0), (6, 2, 1)),
    ((0, 1, 0), (1, 1, 0), (2, 1, 0), (3, 1, 0), (4, 1, 0), (5, 1, 0), (6, 1, 1), (7, 1, 1)),
)


def _add_harmony(score, bar, chord):
    if score.is_last(bar):
        for midi in chord:
            score.add("harmony", bar, 0, score.bar_length(bar), midi, 2)
        return
    for offset, length, which in HARMONY[score.rules.level]:
        score.add("harmony", bar, offset * score.eighth, length * score.eighth, chord[which],
                  3 if offset % 4 == 0 else 2)


def _add_bass(score, bar, degree):
    cadence = bar == score.bars - 2
    classes = _chord_classes(score.rules, degree if cadence else 0)
    root = 36 + (classes[0] - 36) % 12
    fifth = 36 + (classes[2] - 36) % 12
    if score.is_last(bar):
        score.add("bass", bar, 0, score.bar_length(bar), root, 3)
        return
    for offset, length, which in BASS[score.rules.level]:
        score.add("bass", bar, offset * score.eighth, length * score.eighth, (root, fifth)[which],
                  3 if offset == 0 else 2)


def _add_drums(score, bar):
    def hit(drum, eighths, velocity):
        score.add("drums", bar, int(eighths * score.eighth), score.eighth, drum, velocity)

    if score.is_last(bar):
        hit(KICK, 0, 4)
        return
    level = score.rules.level
    for i in range(8):
        if level > 3 or i % 2 == 0:
            hit(HAT, i, 3 if i % 2 == 0 else 2)
    for i in (0, 4) if level < 5 else (0, 2, 4, 6):
        hit(KICK, i, 4)
    if level > 3:
        hit(SNARE, 2, 3)
        hit(SNARE, 6, 3)
    if level == 5:
        for i in (3.5, 7.5) if bar % 4 != 3 else (3.5, 5.5, 6.5, 7.5):
            hit(HAT, i, 2)


def notes_of(scene):
    """The scene's score, sorted by time."""
    score = _Score(scene)
    degrees = _harmony(score)
    centre, before = 54 + round(8 * scene.brightness), None
    for bar, degree in enumerate(degrees):
        classes = _chord_classes(score.rules, degree)
        before = _voicing(classes, centre, before)
        _add_pad(score, bar, before)
        _add_harmony(score, bar, before)
        _add_bass(score, bar, degree)
        if score.rules.drums:
            _add_drums(score, bar)
    _add_melody(score, degrees)
    return sorted(score.notes, key=lambda n: (n.start_s, n.instrument, n.midi))


# ---- Their sound ----

CUTOFF_HZ = {"dark": 700.0, "mid": 1800.0, "bright": 5000.0}
VELOCITY_GAIN = (0.0, 0.45, 0.62, 0.8, 1.0)
BLOCK = 256


def _hz(midi):
    return 440.0 * 2 ** ((midi - 69) / 12)


def _ringing(hz, amplitudes, decays, count):
    """A sum of decaying sines, `count` samples of it.

    Sample 256 a + b of a partial is exp(256 a w) exp(b w): one small matrix product
    makes all of them.
    """
    hz, amplitudes, decays = (np.asarray(x, np.float64) for x in (hz, amplitudes, decays))
    heard = hz < 0.45 * SAMPLE_RATE
    w = (2j * np.pi * hz - decays)[heard] / SAMPLE_RATE
    phase = np.pi * np.arange(len(hz))[heard] ** 2 / max(1, len(hz))  # spread: a low crest
    start = amplitudes[heard] * np.exp(1j * (phase - np.pi / 2))
    rows = -(-count // BLOCK)
    coarse = np.exp(np.outer(np.arange(rows) * BLOCK, w)) * start
    fine = np.exp(np.outer(w, np.arange(BLOCK)))
    left = np.hstack([coarse.real, -coarse.imag]).astype(np.float32)
    right = np.vstack([fine.real, fine.imag]).astype(np.float32)
    return (left @ right).reshape(-1)[:count]


def _softened(hz, tone):
    return 1 / (1 + (hz / CUTOFF_HZ[tone]) ** 2)


def _piano(midi, tone):
    h = np.arange(1, 17)
    hz = _hz(midi) * h * np.sqrt(1 + 3e-4 * h * h)
    amplitudes = h ** -0.9 * np.abs(np.sin(np.pi * h / 7.3)) * _softened(hz, tone)
    return hz, amplitudes, (0.9 + 0.45 * h) * (_hz(midi) / 262) ** 0.5


def _plucked(midi, tone):
    h = np.arange(1, 15)
    hz = _hz(midi) * h
    amplitudes = h ** -0.7 * np.abs(np.sin(np.pi * h / 4.6)) * _softened(hz, tone)
    return hz, amplitudes, (2.0 + 0.9 * h) * (_hz(midi) / 262) ** 0.5


def _bell(midi, tone):
    hz = _hz(midi) * np.array([1, 2.002, 3.98, 6.7, 9.6])
    amplitudes = np.array([1, 0.12, 0.4, 0.12, 0.16]) * _softened(hz, tone)
    return hz, amplitudes, np.array([1.6, 2.2, 4.5, 7.0, 9.0])


def _bowed(midi, tone):
    h = np.repeat(np.arange(1, 13), 3)
    hz = _hz(midi) * h * (1 + 0.0016 * np.tile([-1.0, 0.1, 0.9], 12))
    return hz, h ** -1.0 * _softened(hz, tone) / 2, np.zeros(36)


def _pad(midi, tone):
    h = np.repeat(np.arange(1, 8), 2)
    hz = _hz(midi) * h * (1 + 0.0022 * np.tile([-1.0, 1.0], 7))
    return hz, h ** -1.5 * _softened(hz, tone) / 1.5, np.zeros(14)


def _bass(midi, tone):
    h = np.arange(1, 8)
    hz = _hz(midi) * h
    return hz, h ** -1.1 * _softened(hz, tone), 0.8 + 0.6 * h


@dataclass(frozen=True)
class Voice:
    partials: object  # (midi, tone) -> hz, amplitudes, decays a second
    gain: float
    attack_s: float
    release_s: float


VOICES = {
    "piano": Voice(_piano, 0.30, 0.003, 0.15),
    "plucked": Voice(_plucked, 0.30, 0.002, 0.12),
    "bell": Voice(_bell, 0.24, 0.002, 0.4),
    "bowed": Voice(_bowed, 0.16, 0.07, 0.18),
    "pad": Voice(_pad, 0.11, 0.25, 0.4),
    "bass": Voice(_bass, 0.26, 0.006, 0.08),
}
ROLE_GAIN = {"lead": 1.1, "harmony": 0.5, "pad": 0.32}
BASS_GAIN = {"dark": 0.85, "mid": 0.7, "bright": 0.5}
LEVEL_GAIN = (1.15, 1.05, 1.08, 0.98, 0.87, 0.72)  # near -20 LUFS, busy scenes a little louder


def _drum(midi, tone):
    """Always the same noise, so that a drum is always the same sound."""
    noise = np.random.RandomState(midi).standard_normal(SAMPLE_RATE // 5)
    t = np.arange(len(noise)) / SAMPLE_RATE
    if midi == KICK:
        sweep = 2 * np.pi * np.cumsum(46 + 90 * np.exp(-t / 0.025)) / SAMPLE_RATE
        return 0.5 * np.sin(sweep) * np.exp(-t / 0.07) * np.minimum(1, (0.2 - t) / 0.02)
    low = {"dark": 1200, "mid": 2500, "bright": 4500}[tone] * (1 if midi == HAT else 0.25)
    sos = scipy.signal.butter(2, [low, min(14000, low * 2.5)], "band", fs=SAMPLE_RATE, output="sos")
    noise = scipy.signal.sosfilt(sos, noise)
    if midi == HAT:
        return 0.10 * noise * np.exp(-t / 0.018)
    return (0.22 * noise + 0.2 * np.sin(2 * np.pi * 185 * t) * np.exp(-t / 0.03)) * np.exp(-t / 0.05)


@functools.lru_cache(maxsize=2048)
def _sound(instrument, midi, frames):
    """A note at full velocity, its release included."""
    name, tone = instrument.rsplit("-", 1)
    if name == "drums":
        return _drum(midi, tone).astype(np.float32)
    voice = VOICES[name]
    count, release = frames * HOP, int(voice.release_s * SAMPLE_RATE)
    sound = _ringing(*voice.partials(midi, tone), count + release)
    attack = int(voice.attack_s * SAMPLE_RATE)
    sound[:attack] *= np.sin(np.linspace(0, np.pi / 2, attack, dtype=np.float32)) ** 2
    sound[count:] *= np.cos(np.linspace(0, np.pi / 2, release, dtype=np.float32)) ** 2
    return voice.gain * sound


@functools.lru_cache(maxsize=None)
def _room():
    """A short room: the sound itself, then half a second of fading noise."""
    count = int(0.5 * SAMPLE_RATE)
    t = np.arange(count) / SAMPLE_RATE
    noise = np.random.RandomState(7).standard_normal(count) * np.exp(-t / 0.11) * (t > 0.012)
    noise = scipy.signal.sosfilt(scipy.signal.butter(1, 3500, fs=SAMPLE_RATE, output="sos"), noise)
    room = 0.16 * noise / np.sqrt(np.sum(noise ** 2))
    room *= np.minimum(1, (t[-1] - t) / 0.05)
    room[0] = 1
    return room.astype(np.float32)


def _gains(rules):
    """The mix: how loud each instrument is."""
    roles = {**ROLE_GAIN, "bass": BASS_GAIN[rules.tone], "drums": 1.0}
    return {f"{name}-{rules.tone}": roles[role] * LEVEL_GAIN[rules.level]
            for role, name in rules.instruments.items()}


def _render(scene, tail_s):
    rules = rules_of(scene)
    mix = np.zeros(round((scene.seconds + tail_s) * SAMPLE_RATE), np.float32)
    gains = _gains(rules)
    for note in notes_of(scene):
        sound = _sound(note.instrument, note.midi, round(note.seconds * FRAMES_PER_SECOND))
        at = round(note.start_s * FRAMES_PER_SECOND) * HOP
        sound = sound[:len(mix) - at]
        mix[at:at + len(sound)] += sound * (VELOCITY_GAIN[note.velocity] * gains[note.instrument])
    return scipy.signal.oaconvolve(mix, _room())[:len(mix)].astype(np.float32)


def _levelled(mix, fade_s=0.1):
    fade = int(fade_s * SAMPLE_RATE)
    mix[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    peak = np.abs(mix).max()
    return mix * np.float32(0.9 / peak) if peak > 0.9 else mix


def render_score(scene):
    """float32 [round(seconds * 32000)], mono, at 32 kHz."""
    return _levelled(_render(scene, 0))


def render_scores(scenes):
    """A film's music: each scene rings on into the next."""
    origin = scenes[0].start_s
    count = round((scenes[-1].start_s + scenes[-1].seconds - origin) * SAMPLE_RATE)
    film = np.zeros(count, np.float32)
    for scene in scenes:
        at = round((scene.start_s - origin) * SAMPLE_RATE)
        sound = _levelled(_render(scene, TAIL_S), TAIL_S)[:count - at]
        film[at:at + len(sound)] += sound
    return _levelled(film)
