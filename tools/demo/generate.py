"""Lets `underscore` compose for scenes: a film of them, a plan whose cues are exactly
the scenes, and the samples that come back, as the model gave them: 32 kHz, neither
levelled nor resampled."""
import dataclasses
import hashlib
import json
import os
import struct
import subprocess

import numpy as np

import pictures
import scenes

RATE, HOP = 32000, 640
FILM_RATE = 5           # pictures a second; the model looks at one
FILM_SIZE = (320, 180)
DTYPES = {'F32': np.float32, 'I32': np.int32, 'F16': np.float16, 'I64': np.int64}


def run(underscore, *args):
    """underscore with args; what it says is shown only if it fails."""
    done = subprocess.run([underscore, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'{underscore} {args[0]} failed:\n{done.stderr}')
    return done.stdout


def read_tensors(path):
    """{name: array} of a safetensors file."""
    with open(path, 'rb') as f:
        header = json.loads(f.read(struct.unpack('<Q', f.read(8))[0]))
        data = f.read()
    header.pop('__metadata__', None)
    return {name: np.frombuffer(data[slice(*t['data_offsets'])], DTYPES[t['dtype']]).reshape(t['shape'])
            for name, t in header.items()}


def write_tensors(path, tensors):
    names = {v: k for k, v in DTYPES.items()}
    header, at = {}, 0
    for name, t in tensors.items():
        header[name] = {'dtype': names[t.dtype.type], 'shape': list(t.shape), 'data_offsets': [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for t in tensors.values():
            f.write(t.tobytes())


def in_a_row(drawn):
    """The scenes of several lists as those of one film, their lengths whole pictures of it."""
    placed, start_s = [], 0.0
    for scene in drawn:
        seconds = round(scene.seconds * FILM_RATE) / FILM_RATE
        placed.append(dataclasses.replace(scene, start_s=round(start_s, 3), seconds=seconds))
        start_s += seconds
    return placed


def make_film(path, placed):
    """A silent film of the scenes, unless there is just that one already."""
    listing = path + '.json'
    wanted = [dataclasses.asdict(scene) for scene in placed]
    if os.path.exists(path) and os.path.exists(listing):
        with open(listing) as f:
            if json.load(f) == wanted:
                return
    width, height = FILM_SIZE
    encoder = subprocess.Popen(
        ['ffmpeg', '-v', 'error', '-nostdin', '-y', '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', f'{width}x{height}',
         '-r', str(FILM_RATE), '-i', '-', '-c:v', 'libx264', '-preset', 'veryfast', '-crf', '16', '-g', '25',
         '-pix_fmt', 'yuv420p', '-threads', '1', path], stdin=subprocess.PIPE)
    for scene in placed:
        for i in range(round(scene.seconds * FILM_RATE)):
            encoder.stdin.write(pictures.render_picture(scene, i / FILM_RATE, width, height).tobytes())
    encoder.stdin.close()
    if encoder.wait():
        raise SystemExit('ffmpeg could not make the film')
    scenes.write_scenes(listing, placed)


def milliseconds(columns):
    return (columns * HOP * 1000 + RATE // 2) // RATE


def lay_plan(plan, lengths_ms, seed):
    """Puts cues of these lengths into a plan, without crossfades, and the segments that
    their settings make of them. `underscore compose` checks that it agrees."""
    settings = plan['settings']
    whole, overlap = (settings[k] * RATE // (HOP * 1000) for k in ('segment_ms', 'overlap_ms'))
    cues, segments, at = [], [], 0
    for length in lengths_ms:
        columns = -(-((length * RATE + 500) // 1000) // HOP)
        count = 1 + max(0, -(-(columns - whole) // (whole - overlap)))
        cues.append({'cue': len(cues), 'cut_ms': at, 'next_cut_ms': at + length, 'start_ms': at,
                     'end_ms': at + length, 'opening': 'scene' if cues else 'start',
                     'first_segment': len(segments), 'segments': count})
        for i in range(count):
            first = i * (whole - overlap)
            end = at + length if i == count - 1 else at + milliseconds(first + whole)
            segments.append({
                'segment': len(segments), 'cue': cues[-1]['cue'], 'index': i, 'start_ms': at + milliseconds(first),
                'end_ms': end, 'overlap_ms': milliseconds(overlap) if i else 0, 'first_column': first,
                'columns': min(whole, columns - first), 'prompt_columns': overlap if i else 0,
                'seed': str(1000 * seed + len(segments)), 'prompt_from': len(segments) - 1 if i else None})
        at += length
    plan['cuts'] = [{'at_ms': c['cut_ms'], 'strength': 0} for c in cues[1:]]
    plan['cues'], plan['segments'] = cues, segments
    return plan


def join(pieces, prompts):
    """A cue's segments as one sound: a linear fade over what both sound, as stitch does."""
    whole = pieces[0]
    for piece, prompt in zip(pieces[1:], prompts[1:]):
        n = prompt * HOP
        t = (np.arange(n) + 0.5) / n
        whole[-n:] += (piece[:n] - whole[-n:]) * t
        whole = np.concatenate([whole, piece[n:]])
    return whole


def parts_folder(folder, model, plan_path, options):
    """One for each model, plan and setting: `compose` refuses parts of another."""
    made_of = hashlib.sha256(' '.join(map(str, options)).encode())
    for path in (model, plan_path):
        with open(path, 'rb') as f:
            made_of.update(f.read())
    return os.path.join(folder, f'parts-{made_of.hexdigest()[:12]}')


def compose(underscore, model, placed, folder, seed=0, options=()):
    """The model's music for each scene: a list of float32 samples. What a run before
    has composed of the same inputs is not composed again."""
    os.makedirs(folder, exist_ok=True)
    film, plan_path = os.path.join(folder, 'film.mp4'), os.path.join(folder, 'plan.json')
    make_film(film, placed)
    run(underscore, 'plan', film, '-m', model, '--crossfade', 0, '--min-cue', 1, '-o', plan_path, '-q')
    with open(plan_path) as f:
        plan = lay_plan(json.load(f), [round(s.seconds * 1000) for s in placed], seed)
    with open(plan_path, 'w') as f:
        json.dump(plan, f)
    parts = parts_folder(folder, model, plan_path, options)
    run(underscore, 'compose', plan_path, '-o', parts, '-m', model, '-q', *options)
    sounds = []
    for cue, scene in zip(plan['cues'], placed):
        own = plan['segments'][cue['first_segment']:cue['first_segment'] + cue['segments']]
        read = [read_tensors(os.path.join(parts, f"c{s['cue']:04d}s{s['index']:03d}.safetensors"))['pcm'].copy()
                for s in own]
        sounds.append(join(read, [s['prompt_columns'] for s in own])[:round(scene.seconds * RATE)])
    return sounds


def through_codec(underscore, model, sound, folder):
    """A sound encoded to tokens and decoded again; as long as it was."""
    os.makedirs(folder, exist_ok=True)
    paths = [os.path.join(folder, name) for name in ('sound.safetensors', 'codes.safetensors', 'decoded.safetensors')]
    write_tensors(paths[0], {'codec.wav': sound[None].astype(np.float32)})
    run(underscore, 'trace', model, '--in', paths[0], '-o', paths[1])
    codes = read_tensors(paths[1])['codec.enc_codes']
    write_tensors(paths[0], {'codec.dec_codes': codes})
    run(underscore, 'trace', model, '--in', paths[0], '-o', paths[2])
    decoded = read_tensors(paths[2])['codec.dec_wav'][0][:len(sound)].copy()
    for path in paths: # every tensor of the codec is in them: hundreds of megabytes
        os.remove(path)
    return decoded
