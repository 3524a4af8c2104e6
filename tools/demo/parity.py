#!/usr/bin/python3
# Does the program compute what PyTorch computes? Each token that the program finds
# likeliest must be PyTorch's, too, the ones before it given, or as likely within
# rounding; both decode and encode the same sound.
#
#   parity.py --codec codec.pt --model model.pt --imported model-f32.safetensors --underscore PROGRAM
#
# The imported file is best in f32: halves may prefer another token where two are close.
import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import dataset
import music
from model import Model, ModelConfig, Writer, delayed, normalised

DTYPES = {'F32': np.float32, 'I32': np.int32, 'I64': np.int64}


def write_safetensors(path, tensors):
    header, data = {}, b''
    for name, t in tensors.items():
        dtype = next(key for key, value in DTYPES.items() if value == t.dtype)
        header[name] = {'dtype': dtype, 'shape': list(t.shape), 'data_offsets': [len(data), len(data) + t.nbytes]}
        data += t.tobytes()
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    path.write_bytes(struct.pack('<Q', len(text)) + text + data)


def read_safetensors(path):
    raw = path.read_bytes()
    length = struct.unpack('<Q', raw[:8])[0]
    tensors = {}
    for name, t in json.loads(raw[8:8 + length]).items():
        if name != '__metadata__':
            begin, end = (8 + length + offset for offset in t['data_offsets'])
            tensors[name] = np.frombuffer(raw[begin:end], DTYPES[t['dtype']]).reshape(t['shape'])
    return tensors


def trace(a, tensors):
    """What the program makes of the tensors."""
    with tempfile.TemporaryDirectory() as directory:
        given, made = Path(directory, 'in.safetensors'), Path(directory, 'out.safetensors')
        write_safetensors(given, tensors)
        subprocess.run([a.underscore, 'trace', a.imported, '--in', given, '-o', made, '--steps', str(a.steps)], check=True)
        return read_safetensors(made)


TIE = 1e-4  # logits nearer than this are as likely: rounding decides between them


def behind_the_likeliest(model, condition, codes):
    """float [K, columns]: by how much the logit of each of these tokens, the ones before it
    given, is below the likeliest's."""
    columns = codes.shape[1]
    sequence = delayed(codes[None], model.config.card, full=True)[0]
    writer, behind = Writer(model, condition), torch.zeros(codes.shape)
    for s in range(sequence.shape[1] - 1):
        logits = writer.step(sequence[:, s], model.config.guidance)
        for k in range(len(codes)):
            if 0 <= s - k < columns:
                behind[k, s - k] = logits[k].max() - logits[k, codes[k, s - k]]
    return behind


@torch.no_grad()
def compare(a, scene, codec, model):
    """Names and whether they agree, for one scene."""
    frames = normalised(torch.from_numpy(dataset.frames_of(scene)))
    sound = music.render_score(scene)[:4 * music.SAMPLE_RATE]
    condition = model.condition(frames)
    encoded = codec.encode(torch.from_numpy(sound)[None, None])[0]
    decoded = codec.decode(encoded[None])[0]
    theirs = trace(a, {'vis.frames': frames.numpy(), 'codec.wav': sound[None].astype(np.float32),
                       'codec.dec_codes': encoded.int().numpy()})
    behind = behind_the_likeliest(model, condition, torch.from_numpy(theirs['gen.greedy_tokens'].copy()).long())
    apart = float(np.abs(theirs['codec.dec_wav'] - decoded.numpy()).max())
    return {'condition': float(np.abs(theirs['vis.condition'] - condition.numpy()).max()) < 1e-3,
            f'greedy tokens ({int((behind > 0).sum())} of {behind.numel()} a tie)': bool((behind < TIE).all()),
            'codes of sound': bool((theirs['codec.enc_codes'] == encoded.numpy()).all()),
            'sound of codes': apart < 1e-4}


def parse(argv):
    parser = argparse.ArgumentParser(description='Compare the program with PyTorch.')
    parser.add_argument('--codec', required=True)
    parser.add_argument('--model', required=True)
    parser.add_argument('--imported', required=True, help='the file that underscore import wrote')
    parser.add_argument('--underscore', default='underscore', help='the program')
    parser.add_argument('--steps', type=int, default=900, help='of the decoder, one for a column')
    parser.add_argument('--scenes', type=int, default=3)
    return parser.parse_args(argv)


def main(argv):
    a = parse(argv)
    state = torch.load(a.model, map_location='cpu')
    model = Model(ModelConfig(**state['config']))
    model.load_state_dict(state['model'])
    codec, failed = dataset.load_codec(a.codec), False
    for scene in dataset.draw(dataset.VALIDATION, a.scenes):
        agreed = compare(a, scene, codec, model.eval())
        failed = failed or not all(agreed.values())
        print(f'{scene.kind}: ' + ', '.join(f'{name} {"agree" if ok else "DIFFER"}' for name, ok in agreed.items()))
    sys.exit(failed)


if __name__ == '__main__':
    main(sys.argv[1:])
