#!/usr/bin/python3
# What the demo model learns from, rendered by rule: nothing is downloaded.
#
#   dataset.py scenes DIR --hours 14                    sound, pictures and facts of scenes
#   dataset.py tokens DIR --scenes DIR --codec FILE     the same scenes with their sound as codes
#
# Shard N holds the scenes that draw_scenes(first + N) gives, so that shards can be
# rendered by several processes, in any order, and again; those that exist are kept.
# DIR/NNNN.npy is a shard's sound (int16 at 32 kHz, each scene filled up to a whole
# column), DIR/NNNN.npz the rest, and, in a directory of tokens, the codes.
import argparse
import multiprocessing
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
    """Scenes as films have them; every second list is of long ones, from which
    the model learns to go on for as long as its window is."""
    seconds = (30.0, 40.0) if seed % 2 else (8.0, 16.0)
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


def render_shard(directory, n, first_seed):
    """Writes shard n, unless it is there."""
    rest = directory / f'{n:04d}.npz'
    if rest.exists():
        return
    sound, frames, facts, bars, ends = [], [], [], [], []
    for scene in draw(first_seed + n):
        score = np.round(np.clip(music.render_score(scene), -1, 1) * 32767).astype(np.int16)
        sound.append(np.pad(score, (0, -len(score) % music.HOP)))
        frames.append(frames_of(scene))
        facts.append(facts_of(scene))
        bars.append(scenes.rules_of(scene).beat_frames * scenes.rules_of(scene).bar_beats)
        ends.append((sum(len(s) for s in sound) // music.HOP, sum(len(f) for f in frames)))
    write_whole(rest.with_suffix('.npy'), lambda file: np.save(file, np.concatenate(sound)))
    write_whole(rest, lambda file: np.savez(file, frames=np.concatenate(frames), facts=np.stack(facts),
                                            bars=np.array(bars), ends=np.array(ends)))


def shards_for(hours, first_seed):
    """How many shards there are in so many hours, and their length in hours."""
    count, have = 0, 0.0
    while have < hours:
        have += sum(scene.seconds for scene in draw(first_seed + count)) / 3600
        count += 1
    return count, have


def render(a):
    first_seed = VALIDATION if a.validation else TRAINING
    count, hours = shards_for(a.hours, first_seed)
    with multiprocessing.Pool(a.workers) as pool:
        pool.starmap(render_shard, [(a.directory, n, first_seed) for n in range(count)], chunksize=1)
    print(f'{a.directory}: {hours:.2f} h')


def codes_of(codec, sound, ends, together):
    """int16 [K, columns] of a shard's sound, a tensor where the codec is; so many scenes
    at once, the shorter ones followed by silence."""
    import torch
    starts = np.concatenate([[0], ends[:-1]])
    parts = []
    for i in range(0, len(ends), together):
        first, last = starts[i:i + together], ends[i:i + together]
        batch = sound.new_zeros(len(first), 1, int((last - first).max()) * music.HOP)
        for row, begin, end in zip(batch, first * music.HOP, last * music.HOP):
            row[0, :end - begin] = sound[begin:end]
        codes = codec.encode(batch / 32767).short()
        parts += [codes[row, :, :end - begin] for row, (begin, end) in enumerate(zip(first, last))]
    return torch.cat(parts, 1).cpu().numpy()


def encode_shard(a, path):
    """Writes a shard's codes, unless they are there."""
    import torch
    from parallel import device
    if (a.directory / path.name).exists():
        return
    torch.set_num_threads(1)
    codec = load_codec(a.codec).to(device())
    rest = dict(np.load(path))
    sound = torch.from_numpy(np.load(path.with_suffix('.npy'))).to(device())
    codes = codes_of(codec, sound, rest['ends'][:, 0], SHARD_SCENES if device() == 'cuda' else 1)
    write_whole(a.directory / path.name, lambda file: np.savez(file, codes=codes, **rest))


def encode(a):
    from parallel import device
    shards = [(a, path) for path in sorted(a.scenes.glob('[0-9]*.npz'))]
    with multiprocessing.get_context('spawn').Pool(1 if device() == 'cuda' else a.workers) as pool:
        pool.starmap(encode_shard, shards, chunksize=1)
    print(f'{a.directory}: {len(shards)} shards')


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
    parser.add_argument('what', choices=('scenes', 'tokens'))
    parser.add_argument('directory', type=Path)
    parser.add_argument('--hours', type=float, default=6, help='of scenes (default 6)')
    parser.add_argument('--validation', action='store_true', help='seeds that training never uses')
    parser.add_argument('--workers', type=int, default=2, help='processes')
    parser.add_argument('--scenes', type=Path, help='for tokens: the directory of scenes')
    parser.add_argument('--codec', help="for tokens: the codec's checkpoint")
    a = parser.parse_args(argv)
    if a.what == 'tokens' and not (a.scenes and a.codec):
        parser.error('tokens are made of --scenes with a --codec')
    return a


def main(argv):
    a = parse(argv)
    a.directory.mkdir(parents=True, exist_ok=True)
    (render if a.what == 'scenes' else encode)(a)


if __name__ == '__main__':
    main(sys.argv[1:])
