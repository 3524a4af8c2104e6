"""Music in numbers: onsets, tempo, key and mode, brightness, silence, loops, and
how near a codec's sound is to what it was given.

Every function takes mono samples at RATE and knows nothing of how they were made:
neither the rules of music.py nor the model. That each finds what is there is
proved twice: on signals with known answers (analyse_check.py), and by measure.py
on the scores themselves, whose figures stand beside the model's as its ceiling.
"""
import functools

import numpy as np
from scipy import ndimage, signal

RATE = 32000
FRAME = 320             # samples between frames of the mel spectrum: 10 ms
FRAMES_PER_S = RATE / FRAME
MEL_WINDOW = 1024
PITCHES = ['C', 'C#', 'D', 'D#', 'E', 'F', 'F#', 'G', 'G#', 'A', 'A#', 'B']


def decibels(power, floor_db=-100.0):
    return 10 * np.log10(np.maximum(power, 10 ** (floor_db / 10)))


def powers(x, window, hop):
    """|STFT|^2, [frames, window / 2 + 1]; frame i is centred on sample i * hop."""
    x = np.pad(np.asarray(x, np.float64), window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(x, window)[::hop]
    shape = signal.get_window('hann', window)
    return np.abs(np.fft.rfft(frames * shape)) ** 2 / np.sum(shape) ** 2


@functools.lru_cache(maxsize=None)
def mel_filters(bands, window, low_hz=40.0, high_hz=14000.0):
    """[bands, window / 2 + 1]: triangles, equally far apart in mel (700 Hz form)."""
    mel = np.linspace(*(np.log1p(np.array([low_hz, high_hz]) / 700)), bands + 2)
    edges = np.expm1(mel) * 700
    hz = np.fft.rfftfreq(window, 1 / RATE)[None, :]
    left, middle, right = (edges[i:i + bands, None] for i in range(3))
    rise, fall = (hz - left) / (middle - left), (right - hz) / (right - middle)
    filters = np.maximum(0, np.minimum(rise, fall))
    # A band narrower than the distance of two bins would hear nothing.
    nearest = np.argmin(np.abs(hz - middle), axis=1)
    filters[np.arange(bands), nearest] = np.maximum(filters[np.arange(bands), nearest], 0.5)
    return filters


def log_mel(x, bands=64, window=MEL_WINDOW, hop=FRAME, floor_db=-100.0):
    """[frames, bands], decibels."""
    return decibels(powers(x, window, hop) @ mel_filters(bands, window).T, floor_db)


# Onsets and tempo.

def onset_envelope(x):
    """How much the bands rise, decibels averaged over them, at FRAMES_PER_S. What
    is 50 dB below the loudest is taken for silence: it rises without being heard."""
    mel = log_mel(x, bands=48)
    mel = np.maximum(mel, mel.max() - 50)
    # A rise is found against the loudest of the neighbouring bands, so that vibrato,
    # which only moves energy to and fro between them, is none.
    before = ndimage.maximum_filter1d(mel, 3, axis=1)
    rise = np.zeros(len(mel))
    rise[3:] = np.maximum(0, mel[3:] - before[:-3]).mean(axis=1)
    return rise


def onsets(x, threshold_db=0.4):
    """Times of the beginnings of notes, seconds. A chord is one onset."""
    rise = onset_envelope(x)
    smooth = ndimage.gaussian_filter1d(rise, 1)
    peak = smooth == ndimage.maximum_filter1d(smooth, 9)
    usual = ndimage.median_filter(smooth, 41)
    found = np.flatnonzero(peak & (smooth > 2 * usual + threshold_db))
    return (found - 1.5) / FRAMES_PER_S # the rise is over three frames; its middle


def onset_density(x):
    """Onsets a second."""
    return len(onsets(x)) / (len(x) / RATE)


def autocorrelation(v):
    """Of v less its mean, 1 at lag 0, corrected for the shrinking overlap."""
    v = v - v.mean()
    full = signal.fftconvolve(v, v[::-1])[len(v) - 1:]
    full /= np.arange(len(v), 0, -1)
    return full / max(full[0], 1e-12)


def tempo(x, slowest=55.0, fastest=160.0):
    """Beats a minute: the pulse whose multiples the onsets repeat at best. Which of
    a pulse, its half and its double is the beat is a matter of taste, so compare
    with same_tempo()."""
    r = autocorrelation(ndimage.gaussian_filter1d(onset_envelope(x), 2))
    r = r[:len(r) * 2 // 3] # beyond, too few frames overlap to mean anything
    lags = np.arange(len(r))
    bpm = np.exp(np.arange(np.log(slowest), np.log(fastest), 0.004))
    period = 60 * FRAMES_PER_S / bpm
    score = np.zeros(len(bpm))
    weights = np.zeros(len(bpm))
    for multiple, weight in ((0.5, 0.5), (1, 1), (2, 1), (3, 0.5), (4, 1), (8, 0.5)):
        inside = period * multiple < len(r) - 1
        score += inside * weight * np.interp(period * multiple, lags, r)
        weights += inside * weight
    # Ones: a slow pulse has fewer multiples inside; none may win by an accident of one.
    return bpm[np.argmax(score / (weights + 1))]


def same_tempo(a, b, tolerance=0.08):
    """Is a within the tolerance of b, of its half or of its double?"""
    return any(abs(a / (b * octave) - 1) <= tolerance for octave in (0.5, 1, 2))


# Pitch. A spectrum on a scale of thirds of a semitone is explained as a sum of
# notes with overtones, none of them negative. Without that the overtones of a low
# note count as notes of their own, and a fifth one is a major third.

LOWEST, HIGHEST = 33, 100   # MIDI; 55 Hz to 2.6 kHz
PITCH_WINDOW, PITCH_HOP = 16384, 3200


def pitch_spectrum(x):
    """[frames, 3 bins a semitone], amplitudes."""
    bins = np.arange((HIGHEST + 20 - LOWEST) * 3) / 3 + LOWEST
    hz = 440 * 2 ** ((bins - 69) / 12)
    amplitude = np.sqrt(powers(x, PITCH_WINDOW, PITCH_HOP))
    at = hz * PITCH_WINDOW / RATE
    left = at.astype(int)
    return amplitude[:, left] * (1 - (at - left)) + amplitude[:, left + 1] * (at - left)


@functools.lru_cache(maxsize=None)
def note_spectra(decay):
    """[notes, bins] of tones whose overtones fall by `decay` each, length 1."""
    t = np.arange(PITCH_WINDOW) / RATE
    rows = []
    for midi in range(LOWEST, HIGHEST + 1):
        hz = 440 * 2 ** ((midi - 69) / 12)
        tone = sum(decay ** (h - 1) * np.cos(2 * np.pi * hz * h * t + h * h)
                   for h in range(1, 9) if hz * h < RATE / 2)
        row = pitch_spectrum(tone)[2]
        rows.append(row / np.linalg.norm(row))
    return np.array(rows)


def note_activity(x, rounds=60):
    """[frames, notes from LOWEST]: how loud each note is in each tenth of a second."""
    spectrum = pitch_spectrum(x)
    spectra = np.concatenate([note_spectra(0.6), note_spectra(0.2)])
    activity = np.full((len(spectrum), len(spectra)), spectrum.mean() + 1e-9)
    target, gram = spectrum @ spectra.T, spectra @ spectra.T
    for _ in range(rounds): # Lee and Seung's update: it keeps what is positive so
        activity *= target / (activity @ gram + 1e-9)
    return activity.reshape(len(spectrum), 2, -1).sum(axis=1)


def pitch_classes(activity, low=LOWEST, high=HIGHEST):
    """[12], of the notes low..high, their sum 1: how much of the music each is."""
    classes = np.zeros(12)
    for midi in range(low, high + 1):
        classes[midi % 12] += activity[:, midi - LOWEST].sum()
    return classes / max(classes.sum(), 1e-12)


# How much of a piece each step of its scale is: triads' notes most, other notes of
# the scale next, the leading note of minor between natural and raised.
MAJOR = np.array([5.0, 0.3, 2.4, 0.4, 3.6, 2.6, 0.3, 4.0, 0.4, 2.4, 0.4, 1.8])
MINOR = np.array([5.0, 0.3, 2.2, 3.8, 0.4, 2.6, 0.3, 4.0, 2.2, 0.5, 1.8, 1.0])


def key(x):
    """(tonic 0..11, 'major' or 'minor', confidence): the key whose profile the notes
    resemble best, the bass and the last second having a say in what its tonic is.
    Confidence is how far the best of the other mode is behind."""
    activity = np.sqrt(note_activity(x)) # a forte note is not a more frequent one
    classes, bass = pitch_classes(activity), pitch_classes(activity, high=LOWEST + 22)
    last = pitch_classes(activity[-25:], high=LOWEST + 22)
    scores = {}
    for mode, profile in (('major', MAJOR), ('minor', MINOR)):
        for tonic in range(12):
            r = np.corrcoef(np.roll(profile, tonic), classes)[0, 1]
            scores[tonic, mode] = r + 0.5 * bass[tonic] + 0.15 * last[tonic]
    tonic, mode = max(scores, key=scores.get)
    other = max(s for (_, m), s in scores.items() if m != mode)
    return tonic, mode, scores[tonic, mode] - other


def same_scale(a, b):
    """Do two keys have the same notes: the same key, or a major and its relative minor?"""
    signature = lambda k: (k[0] + (3 if k[1] == 'minor' else 0)) % 12
    return signature(a) == signature(b)


# Brightness, silence, loops.

def centroid_hz(x):
    """The spectrum's centre of gravity, averaged in octaves over the frames that sound."""
    power = powers(x, 2048, 640)
    hz = np.fft.rfftfreq(2048, 1 / RATE)
    amplitude = np.sqrt(power)
    level = power.sum(axis=1)
    loud = level > level.max() * 1e-4
    centre = (amplitude @ hz)[loud] / amplitude.sum(axis=1)[loud]
    return float(np.exp(np.log(np.maximum(centre, 20)).mean()))


def longest_run(flags):
    """The most neighbours in a row that are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, int), [0]])))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def longest_silence(x, threshold_dbfs=-50.0):
    """Seconds, of the longest stretch of tenths of a second whose RMS is below the threshold."""
    size = RATE // 10
    blocks = np.asarray(x, np.float64)[:len(x) // size * size].reshape(-1, size)
    return longest_run(decibels((blocks ** 2).mean(axis=1), -200) < threshold_dbfs) / 10


def longest_loop(x, shortest_bar=1.0, longest_bar=4.2, unchanged_db=5.0):
    """(seconds, bar): how long the music goes on repeating a bar of `bar` seconds
    unchanged; (0, 0) where it never does. Unchanged: averaged over half a bar, the
    mel band that differs most but one from a bar before differs by less than
    unchanged_db. Another note in a melody changes several bands by more; a codec's
    noise does not. Held notes repeat at every lag, and count."""
    mel = log_mel(x, bands=32, window=2048, hop=RATE // 50)
    mel = np.maximum(mel, mel.max() - 40)
    best = (0.0, 0.0)
    for lag in range(int(shortest_bar * 50), min(int(longest_bar * 50), len(mel) - 50) + 1):
        differs = np.sort(np.abs(mel[lag:] - mel[:-lag]), axis=1)[:, -2]
        half = max(lag // 2, 25)
        average = np.convolve(differs, np.ones(half) / half, 'valid')
        run = longest_run(average < unchanged_db)
        seconds = (run + half - 1 + lag) / 50 if run else 0.0
        if seconds > best[0]:
            best = (seconds, lag / 50)
    return best


# What a codec does to sound.

def si_sdr(reference, estimate):
    """Scale-invariant signal to distortion ratio, decibels."""
    reference, estimate = (np.asarray(v, np.float64) - np.mean(v) for v in (reference, estimate))
    wanted = reference * (estimate @ reference) / max(reference @ reference, 1e-12)
    return float(10 * np.log10((wanted @ wanted + 1e-12) / (np.sum((estimate - wanted) ** 2) + 1e-12)))


def log_mel_distance(a, b, floor_db=-70.0):
    """The mean difference of two mel spectra, decibels; what is 70 dB below full
    scale counts as silence."""
    n = min(len(a), len(b))
    return float(np.abs(log_mel(a[:n], floor_db=floor_db) - log_mel(b[:n], floor_db=floor_db)).mean())


def comb_db(x, tones=None, spacing_hz=50.0, window=RATE // 2):
    """How far the multiples of spacing_hz stand out of what lies between them, in
    decibels: a decoder's frames are audible as a buzz at their rate. Stretches of
    half a second. Where `tones`, the original of a decoded sound, has a tone near a
    multiple, that one is left out. 0 dB: nothing stands out. NaN: nothing to measure."""
    shape = signal.get_window('blackmanharris', window)
    hz = RATE / window
    def stretches(v):
        frames = np.lib.stride_tricks.sliding_window_view(np.asarray(v, np.float64), window)[::window // 2]
        return np.abs(np.fft.rfft(frames * shape)) ** 2
    n = min(len(x), len(tones)) if tones is not None else len(x)
    power = stretches(x[:n])
    music = stretches(tones[:n]) if tones is not None else None
    step = round(spacing_hz / hz)
    ratios = []
    for k in range(2, int(8000 / spacing_hz)):
        near = slice(k * step - step // 2, k * step + step // 2 + 1)
        level = decibels(power[:, near] / power.max(), -120)
        on = level[:, step // 2]
        between = np.concatenate([level[:, :step // 4], level[:, -(step // 4):]], axis=1).mean(axis=1)
        keep = between > -90
        if music is not None:
            # Twenty-five hertz either way the original is flat: no tone of the music.
            keep &= music[:, near].max(axis=1) < 20 * np.median(music[:, near], axis=1)
        ratios.append((on - between)[keep])
    ratios = np.concatenate(ratios)
    return float(ratios.mean()) if len(ratios) >= 20 else float('nan')
