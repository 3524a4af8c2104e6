#!/usr/bin/python3
# What the demo model learns from, rendered by rule: nothing is downloaded.
#
#   dataset.py sound  DIR --minutes 90             sound for the codec, DIR/NNN.npy, int16 at 32 kHz
#   dataset.py tokens DIR --hours 6 --codec FILE   DIR/NNN.npz: scenes as codes, frames and facts
#
# Shard N holds the scenes that draw_scenes(first + N) gives, so that shards can be
# rendered by several processes, in any order, and again; those that exist are kept.
import argparse
import os
import sys
from pathlib import Path

import numpy as np

import music
import pictures
import scenes

SIZE = 64              # of the model's square
SHARD_SCENES = 40
TRAINING, VALIDATION = 1, 1_000_500  # first seeds; the latter is among scenes.HELD_OUT
NUMBERS = ('valence', 'arousal', 'motion', 'brightness', 'hue')
MODES = ('minor', 'dorian', 'major')
CLASSES = (('level', len(scenes.BEAT_FRAMES)), ('mode', len(MODES)), ('tonic', len(scenes.TONICS)),
           ('tone', len(scenes.TONES)), ('kind', len(scenes.KINDS)))


def draw(seed, count=SHARD_SCENES):
    """Mostly scenes as films have them; every eighth list is of long ones, from
    which the model learns to go on for as long as its window is."""
    seconds = (30.0, 40.0) if seed % 8 == 7 else (8.0, 16.0)
    return scenes.draw_scenes(seed, count if seconds[0] < 20 else count // 3, seconds)


def write_whole(path, write):
    """A reader never sees half a file."""
    part = path.with_name(f'.{os.getpid()}-{path.name}')
    with open(part, 'wb') as file:
        write(file)
    part.rename(path)


def frames_of(scene):
    """[seconds, SIZE, SIZE, 3]: the picture at each whole second, 16:9 and cropped
    to its middle as the program crops a film."""
    width = SIZE * 16 // 9
    left = (width - SIZE) // 2
    return np.stack([pictures.render_picture(scene, float(t), width, SIZE)[:, left:left + SIZE]
                     for t in range(int(np.ceil(scene.seconds)))])


def facts_of(scene):
    """What the rules say of the scene: NUMBERS, then CLASSES. Training asks the visual
    encoder for them, so that it soon looks at what the music depends on."""
    rules = scenes.rules_of(scene)
    classes = [rules.level, MODES.index(rules.mode), scenes.TONICS.index(rules.tonic),
               scenes.TONES.index(rules.tone), scenes.KINDS.index(scene.kind)]
    return np.array([getattr(scene, name) for name in NUMBERS] + classes, np.float32)


def render_sound(seed):
    sound = [music.render_score(scene) for scene in draw(seed)]
    hop = 640
    whole = [part[:len(part) // hop * hop] for part in sound]  # the grid holds for all scenes
    return np.round(np.clip(np.concatenate(whole), -1, 1) * 32767).astype(np.int16)


def render_tokens(seed, codec):
    """Arrays of a shard. Scenes lie one after another; `ends` says where each ends."""
    import torch
    codes, frames, facts, bars, ends = [], [], [], [], []
    for scene in draw(seed):
        sound = torch.from_numpy(music.render_score(scene))[None, None]
        codes.append(codec.encode(sound)[0].numpy().astype(np.int16))
        frames.append(frames_of(scene))
        facts.append(facts_of(scene))
        bars.append(scenes.rules_of(scene).beat_frames * scenes.rules_of(scene).bar_beats)
        ends.append((sum(c.shape[1] for c in codes), sum(len(f) for f in frames)))
    return {'codes': np.concatenate(codes, 1), 'frames': np.concatenate(frames),
            'facts': np.stack(facts), 'bars': np.array(bars), 'ends': np.array(ends)}


def load_codec(path):
    import torch
    from codec import Codec, CodecConfig, Lstm
    state = torch.load(path, map_location='cpu')
    codec = Codec(CodecConfig(**state['config']))
    codec.load_state_dict(state['codec'])
    for module in codec.modules():
        if isinstance(module, Lstm) and module.is_zero():
            module.silence()
    return codec.eval()


def parse(argv):
    parser = argparse.ArgumentParser(description='Render what the demo model learns from.')
    parser.add_argument('what', choices=('sound', 'tokens'))
    parser.add_argument('directory', type=Path)
    parser.add_argument('--minutes', type=float, default=90, help='of sound (default 90)')
    parser.add_argument('--hours', type=float, default=6, help='of tokens (default 6)')
    parser.add_argument('--codec', help="the codec's checkpoint, for tokens")
    parser.add_argument('--validation', action='store_true', help='seeds that training never uses')
    parser.add_argument('--part', type=int, default=0, help='this process renders shards N with')
    parser.add_argument('--parts', type=int, default=1, help='N %% PARTS == PART')
    return parser.parse_args(argv)


def main(argv):
    a = parse(argv)
    a.directory.mkdir(parents=True, exist_ok=True)
    wanted, have, n = a.hours if a.what == 'tokens' else a.minutes / 60, 0.0, a.part
    codec = None
    if a.what == 'tokens':
        import torch
        torch.set_num_threads(1)
        codec = load_codec(a.codec)
    while have * a.parts < wanted:
        seed = (VALIDATION if a.validation else TRAINING) + n
        path = a.directory / f'{n:04d}.{"npy" if a.what == "sound" else "npz"}'
        if not path.exists() and a.what == 'sound':
            write_whole(path, lambda file: np.save(file, render_sound(seed)))
        elif not path.exists():
            write_whole(path, lambda file: np.savez(file, **render_tokens(seed, codec)))
        have += sum(scene.seconds for scene in draw(seed)) / 3600
        n += a.parts
    print(f'{a.directory}: {have:.2f} h of {a.what}')


if __name__ == '__main__':
    main(sys.argv[1:])
