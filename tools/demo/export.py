#!/usr/bin/python3
# Writes trained checkpoints in the form in which GVMGen's are published, which is what
# `underscore import` reads.
#
#   export.py --codec codec.pt --model model.pt DIRECTORY
#   underscore import DIRECTORY/state_dict.bin DIRECTORY/compression_state_dict.bin --f16 ...
import argparse
import sys
from pathlib import Path

import torch

MODEL_CFG = '''\
lm_model: transformer_lm
sample_rate: {sample_rate}
channels: 1
transformer_lm:
  dim: {dim}
  num_heads: {heads}
  num_layers: {layers}
  hidden_scale: 4
  n_q: {codebooks}
  card: {card}
  activation: gelu
  norm: layer_norm
  norm_first: true
  bias_ff: false
  bias_attn: false
  bias_proj: false
  causal: true
  positional_embedding: sin
codebooks_pattern:
  modeling: delay
  delay:
    delays: {delays}
    flatten_first: 0
    empty_initial: 0
conditioners:
  visual_content:
    model: video
    video:
      is_qformer: true
      qformer:
        query_num: {queries}
        query_type: mean
        layer_norm_eps: 1.0e-12
        qformer_layers: {qformer_layers}
        cross_attention_frequency: {cross_every}
fuser:
  cross: [visual_content]
  sum: []
  prepend: []
  input_interpolate: []
  cross_attention_pos_emb: false
classifier_free_guidance:
  inference_coef: {guidance}
generate:
  lm:
    temp: {temperature}
    top_k: {top_k}
    top_p: 0.0
dataset:
  segment_duration: {max_duration_s}
'''

CODEC_CFG = '''\
compression_model: encodec
sample_rate: {sample_rate}
channels: 1
encodec:
  autoencoder: seanet
  quantizer: rvq
  sample_rate: ${{sample_rate}}
  channels: ${{channels}}
  causal: false
  renormalize: false
seanet:
  dimension: {dimension}
  channels: ${{channels}}
  causal: ${{encodec.causal}}
  n_filters: {filters}
  n_residual_layers: 1
  ratios: {ratios}
  activation: ELU
  norm: weight_norm
  kernel_size: {kernel}
  residual_kernel_size: {residual_kernel}
  last_kernel_size: {last_kernel}
  pad_mode: constant
  true_skip: true
  compress: {compress}
  lstm: {lstm_layers}
rvq:
  n_q: {codebooks}
  bins: {bins}
'''


def write(path, state, cfg):
    torch.save({'best_state': {name: t.detach().float().contiguous() for name, t in state.items()},
                'xp.cfg': cfg, 'exported': True}, path)
    print(f'{path}: {sum(t.numel() for t in state.values())} numbers')


def parse(argv):
    parser = argparse.ArgumentParser(description='Export checkpoints in the published form.')
    parser.add_argument('directory', type=Path)
    parser.add_argument('--codec', required=True)
    parser.add_argument('--model', required=True)
    parser.add_argument('--guidance', type=float, help="in place of the model's")
    parser.add_argument('--temperature', type=float, default=1.0)
    parser.add_argument('--top-k', type=int, default=250)
    return parser.parse_args(argv)


def main(argv):
    a = parse(argv)
    a.directory.mkdir(parents=True, exist_ok=True)
    codec, model = (torch.load(path, map_location='cpu') for path in (a.codec, a.model))
    c, m = dict(codec['config']), dict(model['config'])
    m['guidance'] = m['guidance'] if a.guidance is None else a.guidance
    write(a.directory / 'state_dict.bin', model['model'],
          MODEL_CFG.format(sample_rate=c['sample_rate'], delays=list(range(m['codebooks'])),
                           temperature=a.temperature, top_k=a.top_k, **m))
    write(a.directory / 'compression_state_dict.bin', codec['codec'],
          CODEC_CFG.format(**{**c, 'ratios': list(c['ratios'])}))


if __name__ == '__main__':
    main(sys.argv[1:])
