"""Each analysis on signals whose answer is known. Run: python3 tools/demo/analyse_check.py"""
import unittest

import numpy as np

import analyse
from analyse import RATE


def note(out, start_s, midi, seconds, amplitude=0.2, overtones=6, decay=0.6):
    """Adds a plucked note to out."""
    first = int(start_s * RATE)
    t = np.arange(min(int(seconds * RATE), len(out) - first)) / RATE
    hz = 440 * 2 ** ((midi - 69) / 12)
    wave = sum(decay ** (h - 1) * np.sin(2 * np.pi * hz * h * t) for h in range(1, overtones + 1))
    release = np.minimum(1, np.arange(len(t))[::-1] / (0.01 * RATE))
    out[first:first + len(t)] += amplitude * wave * np.exp(-2 * t) * np.minimum(1, 400 * t) * release


def chords(tonic, mode, bpm, seconds):
    """I IV V I over a bass, a chord of two beats; arpeggios in eighths above."""
    third = 4 if mode == 'major' else 3
    triads = [[0, third, 7], [5, 5 + third, 12], [7, 11, 14], [0, third, 7]]
    out = np.zeros(int(seconds * RATE))
    beat = 60 / bpm
    for i in range(int(seconds / beat)):
        triad = triads[i // 2 % 4]
        if i % 2 == 0:
            note(out, i * beat, 36 + tonic + triad[0] % 12, 2 * beat)
            for step in triad:
                note(out, i * beat, 60 + tonic + step, 2 * beat, 0.08)
        for j in range(2):
            note(out, (i + j / 2) * beat, 72 + tonic + triad[(2 * i + j) % 3], beat / 2, 0.1)
    return out


def noise(seconds, amplitude=0.1, seed=0):
    return amplitude * np.random.default_rng(seed).standard_normal(int(seconds * RATE))


class Rhythm(unittest.TestCase):
    def test_onsets(self):
        times = [0.5, 1.0, 1.75, 2.0, 3.25, 3.5, 3.62]
        x = np.zeros(5 * RATE)
        for i, t in enumerate(times):
            note(x, t, 60 + 2 * i, 0.6)
        found = analyse.onsets(x)
        self.assertEqual(len(found), len(times))
        self.assertLess(np.abs(found - times).max(), 0.02)

    def test_no_onsets(self):
        """Neither a held tone with vibrato nor noise begins again and again."""
        t = np.arange(6 * RATE) / RATE
        tone = 0.2 * np.sin(2 * np.pi * 440 * t + 4 * np.sin(2 * np.pi * 5 * t))
        self.assertLessEqual(len(analyse.onsets(tone)), 1)
        self.assertLess(analyse.onset_density(noise(6)), 0.5)

    def test_tempo(self):
        for bpm in (60, 75, 93.75, 107.14, 125, 150):
            found = analyse.tempo(chords(0, 'major', bpm, 12))
            self.assertTrue(analyse.same_tempo(found, bpm, 0.02), f'{found} for {bpm}')

    def test_same_tempo(self):
        self.assertTrue(analyse.same_tempo(62, 120))
        self.assertTrue(analyse.same_tempo(240, 120))
        self.assertFalse(analyse.same_tempo(160, 120)) # four against three
        self.assertFalse(analyse.same_tempo(100, 120))


class Key(unittest.TestCase):
    def test_all_keys(self):
        for tonic in range(12):
            for mode in ('major', 'minor'):
                with self.subTest(tonic=tonic, mode=mode):
                    self.assertEqual(analyse.key(chords(tonic, mode, 100, 9.6))[:2], (tonic, mode))

    def test_notes(self):
        x = np.zeros(2 * RATE)
        for midi in (43, 64, 71):
            note(x, 0, midi, 2, overtones=8)
        loudest = np.argsort(analyse.note_activity(x).sum(axis=0))[-3:] + analyse.LOWEST
        self.assertEqual(sorted(loudest), [43, 64, 71])

    def test_same_scale(self):
        self.assertTrue(analyse.same_scale((0, 'major'), (9, 'minor')))
        self.assertTrue(analyse.same_scale((5, 'minor'), (5, 'minor')))
        self.assertFalse(analyse.same_scale((0, 'major'), (0, 'minor')))


class Sound(unittest.TestCase):
    def test_centroid(self):
        t = np.arange(2 * RATE) / RATE
        for hz in (300, 1000, 4000):
            self.assertAlmostEqual(analyse.centroid_hz(0.3 * np.sin(2 * np.pi * hz * t)) / hz, 1, delta=0.03)
        two = np.sin(2 * np.pi * 1000 * t) + np.sin(2 * np.pi * 3000 * t)
        self.assertAlmostEqual(analyse.centroid_hz(two) / 2000, 1, delta=0.03)

    def test_centroid_ignores_silence(self):
        t = np.arange(2 * RATE) / RATE
        x = np.concatenate([0.3 * np.sin(2 * np.pi * 500 * t), noise(2, 1e-5)])
        self.assertAlmostEqual(analyse.centroid_hz(x) / 500, 1, delta=0.03)

    def test_silence(self):
        x = noise(10)
        x[3 * RATE:6 * RATE] *= 1e-4
        self.assertAlmostEqual(analyse.longest_silence(x), 3, delta=0.15)
        self.assertEqual(analyse.longest_silence(noise(3)), 0)
        self.assertAlmostEqual(analyse.longest_silence(np.zeros(3 * RATE)), 3, delta=0.15)

    def test_loop(self):
        bar = chords(0, 'major', 120, 4)[:2 * RATE]
        seconds, lag = analyse.longest_loop(np.tile(bar, 13) + noise(26, 1e-3))
        self.assertAlmostEqual(seconds, 26, delta=0.5)
        self.assertAlmostEqual((lag + 0.5) % 2, 0.5, delta=0.05)

    def test_variations_are_no_loop(self):
        """A bar whose melody changes every time."""
        random = np.random.default_rng(1)
        x = np.tile(chords(0, 'major', 120, 4)[:2 * RATE], 13)
        for i in range(26 * 2):
            note(x, i / 2, 72 + int(random.choice([0, 2, 4, 5, 7, 9, 11, 12])), 0.5, 0.2)
        self.assertLess(analyse.longest_loop(x)[0], 12)


class Codec(unittest.TestCase):
    def test_si_sdr(self):
        a, b = noise(2), noise(2, seed=1)
        self.assertAlmostEqual(analyse.si_sdr(a, 0.5 * (a + 0.1 * b)), 20, delta=0.1)
        self.assertLess(analyse.si_sdr(a, b), -20)

    def test_log_mel_distance(self):
        a = noise(2)
        self.assertAlmostEqual(analyse.log_mel_distance(a, a * 10 ** (6 / 20)), 6, delta=0.1)
        self.assertEqual(analyse.log_mel_distance(a, a), 0)

    def test_comb(self):
        x, buzz = noise(6), np.zeros(6 * RATE)
        buzz[::RATE // 50] = 1
        self.assertAlmostEqual(analyse.comb_db(x), 0, delta=0.2)
        # A pulse train's power in a line of the spectrum, against the noise's in a bin.
        self.assertGreater(analyse.comb_db(x + 0.5 * buzz, x), 1)
        self.assertGreater(analyse.comb_db(x + 2 * buzz, x), 10)

    def test_comb_leaves_music_out(self):
        """A tone on a multiple of 50 Hz is the music's own."""
        t = np.arange(6 * RATE) / RATE
        x = noise(6, 1e-3)
        music = x + sum(0.1 * np.sin(2 * np.pi * hz * t) for hz in range(100, 6000, 50) if hz % 500)
        self.assertGreater(analyse.comb_db(music), 10)
        self.assertAlmostEqual(analyse.comb_db(music, music), 0, delta=1)


if __name__ == '__main__':
    unittest.main()
