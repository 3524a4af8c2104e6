#!/usr/bin/python3
# Makes checkpoints of a model that `underscore import` has written, so that a training can go on
# where the shipped model's ended: export.py undone. Halves stay as they were rounded; how often the
# codebooks' entries are used is not kept, nor are the heads that tell the facts (train_model.py
# starts new ones).
#
#   reopen.py MODEL.safetensors --codec codec.pt --model model.pt
import argparse
import sys

import numpy as np
import torch

import generate
from codec import Codec, CodecConfig
from model import Model, ModelConfig


def codec_state(codec, tensors):
    """The imported names and folded weights as the modules have them."""
    state = {}
    for name, t in codec.state_dict().items():
        parts = name.split('.')
        if parts[0] == 'quantizer':
            kept = parts[-1] in ('embed', 'embed_avg')
            state[name] = tensors[f'codec.quantizer.{parts[3]}.embed'].clone() if kept else torch.ones_like(t)
            continue
        folded = 'codec.' + name.replace('conv.conv.', 'conv.').replace('convtr.convtr.', 'convtr.')
        if name.endswith('weight_g'):  # of weight norm: the length, and whatever has the direction
            state[name] = tensors[folded[:-2]].flatten(1).norm(dim=1).reshape(t.shape)
        elif name.endswith('weight_v'):
            state[name] = tensors[folded[:-2]].reshape(t.shape)
        else:
            state[name] = tensors[folded].reshape(t.shape)
    return state


def main(argv):
    parser = argparse.ArgumentParser(description='Make checkpoints of an imported model.')
    parser.add_argument('imported', help='of the sizes in model.py and codec.py')
    parser.add_argument('--codec', required=True)
    parser.add_argument('--model', required=True)
    a = parser.parse_args(argv)
    tensors = {name: torch.from_numpy(t.astype(np.float32)) for name, t in generate.read_tensors(a.imported).items()}
    codec, model = Codec(), Model()
    codec.load_state_dict(codec_state(codec, tensors))
    model.load_state_dict({name: tensors[name].reshape(t.shape) for name, t in model.state_dict().items()})
    torch.save({'config': CodecConfig().__dict__, 'codec': codec.state_dict()}, a.codec)
    torch.save({'config': ModelConfig().__dict__, 'model': model.state_dict()}, a.model)


if __name__ == '__main__':
    main(sys.argv[1:])
