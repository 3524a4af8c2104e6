#!/usr/bin/python3
"""Does the built-in model's music follow the picture? Lets it compose for scenes that
it was never taught, analyses what comes out, and holds the figures against bars.

Beside each figure of the model stand two others by the same analysis: of the scores
that the rules give these scenes (a perfect model's figure) and by chance (the model's
music compared with another scene's picture). The intervals are of 95 %, by bootstrap
over the scenes. A bar is passed or missed by the figure itself. Ends with status 1 if
any is missed.

usage: measure.py --model models/demo.safetensors [--underscore build/release/underscore]
                  [--scenes 60] [--json out.json] [--work build/demo/measure] [-- OPTIONS of compose]

Takes about a quarter of an hour on two cores, the first time another ten minutes to teach the judge.
"""
import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

import analyse
import generate
import music
import scenes
from generate import RATE

SHORT_SEED, LONG_SEED, SEAM_SEED, CODEC_SEED = (scenes.HELD_OUT.start + i for i in (101, 102, 103, 104))
LONG_S = 40.0
ENDS_S = 12.0           # of a long scene's music, whose keys are compared
CLEAR_VALENCE = 0.3


@dataclass
class Figure:
    """One line of the table. None where a column does not apply."""
    name: str
    value: float
    interval: tuple
    bar: str = None       # None: reported, not judged
    passed: bool = None
    scores: float = None  # of the scores by rule
    chance: float = None
    unit: str = ''
    note: str = ''


def bootstrap(statistic, n, rounds=2000, seed=0):
    """95 % of `statistic` of n scenes drawn with replacement; it takes their indices."""
    random = np.random.default_rng(seed)
    drawn = [statistic(random.integers(0, n, n)) for _ in range(rounds)]
    return tuple(np.nanpercentile(drawn, [2.5, 97.5]))


def mean_figure(name, values, **more):
    values = np.asarray(values, float)
    return Figure(name, values.mean(), bootstrap(lambda i: values[i].mean(), len(values)), **more)


def at_least(figure, bar):
    figure.bar, figure.passed = f'>= {bar:g}', bool(figure.value >= bar)
    return figure


def below(figure, bar, or_equal=False):
    figure.bar = f'{"<=" if or_equal else "<"} {bar:g}'
    figure.passed = bool(figure.value < bar or (or_equal and figure.value == bar))
    return figure


# What is heard, scene by scene.

def listen(x):
    tonic, mode, _ = analyse.key(x)
    loop_s, loop_bar_s = analyse.longest_loop(x)
    return {'density': analyse.onset_density(x), 'bpm': analyse.tempo(x), 'tonic': tonic, 'mode': mode,
            'centroid_hz': analyse.centroid_hz(x), 'silence_s': analyse.longest_silence(x),
            'loop_s': loop_s, 'loop_bar_s': loop_bar_s}


def column(rows, name):
    return np.array([row[name] for row in rows])


def rank_figure(name, heard, scored, of, seen):
    """Does `of` the music rise with what is `seen`?"""
    values = column(heard, of)
    rho, p = stats.spearmanr(values, seen)
    def again(i):
        return stats.spearmanr(values[i], seen[i])[0]
    figure = Figure(name, rho, bootstrap(again, len(seen)), '>= 0.5, p < 0.001', bool(rho >= 0.5 and p < 0.001),
                    scores=stats.spearmanr(column(scored, of), seen)[0], chance=0.0, note=f'p = {p:.1g}')
    return figure


def agreement(heard, drawn, agrees):
    """[scenes, scenes]: does scene i's music agree with scene j's rules?"""
    return np.array([[agrees(row, scene) for scene in drawn] for row in heard], float)


def agreement_figure(name, heard, scored, drawn, agrees, bar):
    table = agreement(heard, drawn, agrees)
    others = table[~np.eye(len(table), dtype=bool)].mean()
    ceiling = np.diag(agreement(scored, drawn, agrees)).mean()
    return at_least(mean_figure(name, 100 * np.diag(table), scores=100 * ceiling, chance=100 * others, unit='%'), bar)


def mode_agrees(row, scene):
    return row['mode'] == ('major' if scene.valence > 0 else 'minor')


def tempo_agrees(row, scene):
    return analyse.same_tempo(row['bpm'], scenes.rules_of(scene).bpm)


def follows_picture(heard, scored, drawn):
    clear = [i for i, scene in enumerate(drawn) if abs(scene.valence) > CLEAR_VALENCE]
    some = lambda rows: [rows[i] for i in clear]
    return [
        rank_figure('onset density follows motion, rho', heard, scored, 'density',
                    np.array([s.motion for s in drawn])),
        rank_figure('centroid follows brightness, rho', heard, scored, 'centroid_hz',
                    np.array([s.brightness for s in drawn])),
        agreement_figure(f'mode agrees with valence, {len(clear)} clear', some(heard), some(scored), some(drawn),
                         mode_agrees, 75),
        agreement_figure('tempo within 8 % or an octave', heard, scored, drawn, tempo_agrees, 60),
    ]


def defects(heard, scored):
    silent = lambda rows: 100.0 * (column(rows, 'silence_s') > 2)
    looped = lambda rows: 100.0 * (column(rows, 'loop_s') > 20)
    return [below(mean_figure('silence longer than 2 s', silent(heard), scores=silent(scored).mean(), unit='%'), 5),
            below(mean_figure('a bar looped for more than 20 s', looped(heard), scores=looped(scored).mean(),
                              unit='%', note=f'longest {column(heard, "loop_s").max():.0f} s'), 5)]


def keeps_key(sounds, scored):
    """Of long scenes: has the last segment the key of the first?"""
    n = int(ENDS_S * RATE)
    def ends(rows):
        return [analyse.key(x[:n]) for x in rows], [analyse.key(x[-n:]) for x in rows]
    def table(rows):
        first, last = ends(rows)
        return np.array([[analyse.same_scale(a, b) for b in last] for a in first], float)
    own, ceiling = table(sounds), table(scored)
    return at_least(mean_figure(f'key stays over {LONG_S:.0f} s', 100 * np.diag(own),
                                scores=100 * np.diag(ceiling).mean(), unit='%',
                                chance=100 * own[~np.eye(len(own), dtype=bool)].mean()), 75)


def judged(work, drawn, sounds, scored):
    import judge
    import torch
    torch.set_num_threads(1)
    teacher = judge.make(os.path.join(work, 'judge.pt'))
    seen = [judge.see(scene) for scene in drawn]
    hear = lambda rows: [judge.hear(x) for x in rows]
    wins = judge.pair_wins(teacher, seen, hear(sounds))
    return at_least(mean_figure('judge tells matched from shuffled', 100 * wins, unit='%', chance=50.0,
                                scores=100 * judge.pair_wins(teacher, seen, hear(scored)).mean()), 75)


# The codec.

def codec_figures(underscore, model, folder, count=60, seconds=6.0):
    """Held-out scores through encoder and decoder and back."""
    scores = [music.render_score(s)[:int(seconds * RATE)] for s in scenes.draw_scenes(CODEC_SEED, count)]
    decoded = [generate.through_codec(underscore, model, x, folder) for x in scores]
    distance = np.array([[analyse.log_mel_distance(a, b) for b in decoded] for a in scores])
    own = np.diag(distance)
    shuffled = (distance.sum(axis=1) - own) / (count - 1)
    comb = [analyse.comb_db(b, a) - analyse.comb_db(a, a) for a, b in zip(scores, decoded)]
    ratio = Figure('codec: shuffled over own log-mel distance', shuffled.mean() / own.mean(),
                   bootstrap(lambda i: shuffled[i].mean() / own[i].mean(), count), chance=1.0)
    return [mean_figure('codec: SI-SDR', [analyse.si_sdr(a, b) for a, b in zip(scores, decoded)], unit='dB'),
            mean_figure('codec: log-mel distance', own, unit='dB', chance=shuffled.mean()),
            at_least(ratio, 3),
            below(mean_figure('codec: comb of 50 Hz above the original', [c for c in comb if np.isfinite(c)],
                              unit='dB'), 1, or_equal=True)]


# The seams between cues, on a film scored as anybody would.

def read_wav(path):
    """Mono, at its own 48 kHz."""
    out = subprocess.run(['ffmpeg', '-v', 'error', '-nostdin', '-i', path, '-f', 'f32le', '-ac', '1', '-'],
                         check=True, capture_output=True).stdout
    return np.frombuffer(out, np.float32)


def seam_figures(underscore, model, folder, options, count=12):
    """A click is a step between neighbouring samples that the music has nowhere else:
    the largest of each seam against those of as long stretches away from the seams."""
    os.makedirs(folder, exist_ok=True)
    film, wav, report = (os.path.join(folder, n) for n in ('film.mp4', 'music.wav', 'report.json'))
    placed = generate.in_a_row(scenes.draw_scenes(SEAM_SEED, count, (8.0, 11.0)))
    generate.make_film(film, placed)
    generate.run(underscore, 'score', film, '-m', model, '--wav', wav, '--report', report, '--loudness', 'none',
                 '--min-cue', 4, '--seed', 1, '-q', '--overwrite', *options)
    with open(report) as f:
        seams = [s for s in json.load(f)['stitch']['seams'] if s['kind'] == 'cue']
    if not seams:
        raise SystemExit(f'no cue seams in {report}: were no scene changes found?')
    steps = np.abs(np.diff(read_wav(wav)))
    rate, length = 48000, int(2.2 * 48000)
    away = np.ones(len(steps), bool)
    largest = []
    for seam in seams:
        first = max(0, int((seam['at_ms'] / 1000 - 1.1) * rate))
        largest.append(steps[first:first + length].max())
        away[first:first + length] = False
    elsewhere = [steps[i:i + length].max() for i in range(0, len(steps) - length, length // 2)
                 if away[i:i + length].all()]
    figure = Figure(f'largest step at {len(seams)} cue changes, over elsewhere', max(largest) / max(elsewhere),
                    bootstrap(lambda i: np.array(largest)[i].max() / max(elsewhere), len(largest)))
    p = stats.mannwhitneyu(largest, elsewhere, alternative='greater').pvalue
    figure.bar, figure.passed = '<= 1.25, p >= 0.01', bool(figure.value <= 1.25 and p >= 0.01)
    figure.note = f'p = {p:.2g} that seams step no more; {len(placed) - 1} scene changes'
    return [figure]


# All of it.

def shown(value, unit):
    if value is None:
        return ''
    return f'{value:.1f} {unit}' if unit else f'{value:.2f}'


def print_table(figures, title):
    print(title)
    print(f'{"":44} {"model":>9} {"95 %":>16} {"scores":>9} {"chance":>9}  bar')
    for f in figures:
        low, high = f.interval
        digits = 1 if f.unit else 2
        verdict = '' if f.passed is None else 'pass' if f.passed else 'MISSED'
        print(f'{f.name:44} {shown(f.value, f.unit):>9} {f"{low:.{digits}f}..{high:.{digits}f}":>16} '
              f'{shown(f.scores, f.unit):>9} {shown(f.chance, f.unit):>9}  {f.bar or ""} {verdict}'
              f'{"  (" + f.note + ")" if f.note else ""}')


def say(text):
    print(f'measure: {text}', file=sys.stderr, flush=True)


def measure(args, options):
    short = scenes.draw_scenes(SHORT_SEED, args.scenes)
    long = scenes.draw_scenes(LONG_SEED, args.long, (LONG_S, LONG_S))
    placed = generate.in_a_row(short + long)
    say(f'composing {sum(s.seconds for s in placed):.0f} s of music for {len(placed)} scenes')
    sounds = generate.compose(args.underscore, args.model, placed, args.work, args.seed, options)
    say('analysing it, and the scores')
    scored = [music.render_score(scene) for scene in placed]
    heard, heard_scores = [[listen(x) for x in some] for some in (sounds, scored)]
    n = args.scenes
    figures = follows_picture(heard[:n], heard_scores[:n], placed[:n]) + defects(heard, heard_scores)
    if args.long > 1:
        figures.append(keeps_key(sounds[n:], scored[n:]))
    if not args.no_judge:
        say('asking the judge')
        figures.append(judged(os.path.dirname(os.path.abspath(args.work)), placed[:n], sounds[:n], scored[:n]))
    if not args.quick:
        say('the codec, and the seams of a film')
        figures += seam_figures(args.underscore, args.model, os.path.join(args.work, 'seams'), options)
        figures += codec_figures(args.underscore, args.model, os.path.join(args.work, 'codec'))
    rows = [{'scene': asdict(scene), 'rules': asdict(scenes.rules_of(scene)), 'model': a, 'score': b}
            for scene, a, b in zip(placed, heard, heard_scores)]
    return figures, rows


def parse(argv):
    options = []
    if '--' in argv:
        at = argv.index('--')
        argv, options = argv[:at], argv[at + 1:]
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--underscore', default='build/release/underscore')
    parser.add_argument('--model', required=True)
    parser.add_argument('--scenes', type=int, default=60, help='of 8 to 16 s')
    parser.add_argument('--long', type=int, default=24, help='scenes of 40 s')
    parser.add_argument('--seed', type=int, default=0, help="of the model's draws")
    parser.add_argument('--work', default='build/demo/measure')
    parser.add_argument('--json')
    parser.add_argument('--quick', action='store_true', help='neither codec nor seams: to compare settings')
    parser.add_argument('--no-judge', action='store_true')
    return parser.parse_args(argv), options


def main():
    args, options = parse(sys.argv[1:])
    figures, rows = measure(args, options)
    print_table(figures, f'{args.model} {" ".join(options)}: {args.scenes} scenes of 8 to 16 s, '
                         f'{args.long} of {LONG_S:.0f} s, none of them taught')
    if args.json:
        with open(args.json, 'w') as f:
            json.dump({'model': args.model, 'options': options, 'figures': [asdict(g) for g in figures],
                       'scenes': rows}, f, indent=1, default=float)
    missed = sum(f.passed is False for f in figures)
    print(f'{missed} bars missed' if missed else 'all bars passed')
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
