#!/usr/bin/python3
# Trains the model on rendered scenes (dataset.py tokens): the visual encoder and the
# decoder together, from scratch.
#
#   train_model.py --tokens DIR --validation DIR --codec codec.pt --out model.pt --hours 1
#
# The first part trains the visual encoder alone, to tell what the rules say of a scene
# from one picture of it (the heads that say so are not part of the model): a decoder that
# meets a condition without meaning soon learns to do without. Interrupted, it goes on
# from --out when run again. Shards rendered meanwhile are taken in with each checkpoint.
import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import parallel
from dataset import CLASSES, NUMBERS, load_codec
from model import Model, ModelConfig, loss_by_codebook, normalised

RATE = 50               # codec frames a second
# Of the codebooks in the loss: the first ones carry the notes, the last ones mostly phases
# that nobody can foresee.
WEIGHTS = (1.6, 1.2, 0.7, 0.5)


# ---- data

def last_bar(columns, bar):
    """Where a scene's last bar begins, with which it ends."""
    return max(1, (columns + bar // 2) // bar - 1) * bar


class Scenes:
    """Scenes of all shards, and windows into them."""

    def __init__(self, directory, seed, endless=False):
        self.directory, self.rng, self.endless = Path(directory), np.random.default_rng(seed), endless
        self.scenes, self.read, self.longest = [], set(), 0
        self.look()
        if not self.scenes:
            sys.exit(f'{directory}: no shards are in it; run dataset.py tokens')

    def look(self):
        """Take in the shards that are new."""
        for path in sorted(self.directory.glob('[0-9]*.npz')):
            if path.name not in self.read:
                self.read.add(path.name)
                self._add(np.load(path))

    def _add(self, shard):
        arrays = {name: shard[name] for name in shard.files}
        code, frame = 0, 0
        for i, (code_end, frame_end) in enumerate(arrays['ends']):
            codes = arrays['codes'][:, code:code_end]
            if self.endless:
                codes = codes[:, :last_bar(codes.shape[1], arrays['bars'][i])]
            self.scenes.append((codes, arrays['frames'][frame:frame_end], arrays['facts'][i], arrays['bars'][i]))
            self.longest = max(self.longest, codes.shape[1])
            code, frame = code_end, frame_end

    def hours(self):
        return sum(scene[0].shape[1] for scene in self.scenes) / RATE / 3600

    def start(self, columns, length, bar):
        """Half of the windows begin where the scene does, as cues do; some at a bar, and others
        anywhere, as the later segments of a long cue do."""
        spare = columns - length
        kind = self.rng.random()
        if kind < 0.5 or spare == 0:
            return 0
        if kind < 0.65:
            return int(self.rng.integers(spare // bar + 1)) * int(bar)
        return int(self.rng.integers(spare + 1))

    def window(self, length, frames):
        """codes [K, length], uint8 pictures [frames, ...] in a random order, facts."""
        while True:
            codes, pictures, facts, bar = self.scenes[self.rng.integers(len(self.scenes))]
            if codes.shape[1] >= length:
                break
        start = self.start(codes.shape[1], length, bar)
        first, end = -(-start // RATE), min(len(pictures), (start + length - 1) // RATE + 1)
        which = first + self.rng.permutation(end - first)[:frames]
        return codes[:, start:start + length], pictures[which], facts

    def batch(self, count, length, frames):
        """Tensors codes [B, K, length], pictures [B, F, R, R, 3], facts [B, ...]."""
        parts = [self.window(length, frames) for _ in range(count)]
        codes, pictures, facts = (torch.from_numpy(np.stack(p)) for p in zip(*parts))
        return parallel.placed(codes).long(), parallel.placed(pictures), parallel.placed(facts)

    def pictures(self, count):
        """Single pictures and their facts."""
        chosen = [self.scenes[i] for i in self.rng.integers(len(self.scenes), size=count)]
        pictures = np.stack([scene[1][self.rng.integers(len(scene[1]))] for scene in chosen])
        facts = np.stack([scene[2] for scene in chosen])
        return parallel.placed(torch.from_numpy(pictures)), parallel.placed(torch.from_numpy(facts))


# ---- what the pictures tell

class Facts(nn.Module):
    """Reads a scene's facts from conditions; thrown away after training."""

    def __init__(self, dim):
        super().__init__()
        self.numbers = nn.Linear(dim, len(NUMBERS))
        self.classes = nn.ModuleList([nn.Linear(dim, count) for _, count in CLASSES])

    def loss(self, condition, facts):
        """condition [..., dim], facts [..., numbers and classes]"""
        loss = 4 * F.mse_loss(self.numbers(condition), facts[..., :len(NUMBERS)])
        for i, classes in enumerate(self.classes):
            wanted = facts[..., len(NUMBERS) + i].long().flatten()
            loss = loss + F.cross_entropy(classes(condition).flatten(0, -2), wanted) / len(CLASSES)
        return loss

    @torch.no_grad()
    def hits(self, condition, facts):
        """The share of each class that is told right."""
        return {name: round(float((self.classes[i](condition).argmax(-1) ==
                                   facts[..., len(NUMBERS) + i]).float().mean()), 3)
                for i, (name, _) in enumerate(CLASSES)}


# ---- training

def start_embeddings(model, codec):
    """Codes that sound alike start alike: an embedding is its codebook's vector, turned
    into the decoder's dimensions."""
    books = [book.embed for book in codec.quantizer.codebooks()]
    spread = sum(book.var(0) for book in books).sqrt() + 1e-6
    turn = torch.empty(model.config.dim, books[0].shape[1])
    nn.init.orthogonal_(turn, gain=math.sqrt(model.config.dim / books[0].shape[1]) * 0.5)
    with torch.no_grad():
        for emb, book in zip(model.emb, books):
            emb.weight.mul_(0.05)
            emb.weight[:-1] += ((book - book.mean(0)) / spread) @ turn.t()


def start_residuals(model):
    """Layers start as small corrections."""
    with torch.no_grad():
        for layer in model.transformer['layers']:
            for weight in (layer.self_attn.out_proj.weight, layer.cross_attention.out_proj.weight,
                           layer.linear2.weight):
                weight.normal_(0, 0.02 / math.sqrt(2 * model.config.layers))
        for linear in model.linears:
            linear.weight.normal_(0, 0.02)


def groups(model, facts, a):
    """Norms and embeddings do not decay; the visual encoder learns more slowly."""
    out = [{'params': [], 'scale': scale, 'weight_decay': decay}
           for scale in (1.0, a.visual_scale) for decay in (0.05, 0.0)]
    for name, parameter in model.named_parameters():
        visual = name.startswith('condition_provider')
        bare = parameter.dim() < 2 or 'emb' in name or 'query_tokens' in name
        out[2 * visual + bare]['params'].append(parameter)
    out.append({'params': list(facts.parameters()), 'scale': 1.0, 'weight_decay': 0.0})
    return out


class Training:
    """What a checkpoint keeps. Its clock runs over interruptions."""

    def __init__(self, a):
        self.path, self.budget_s, self.peak = Path(a.out), a.hours * 3600, a.rate
        self.elapsed_s, self.step, self.last_s = 0.0, 0, time.time()
        torch.manual_seed(1)
        codec = load_codec(a.codec)
        self.model = Model(ModelConfig(card=codec.config.bins, dim=a.dim, heads=a.dim // 64,
                                       layers=a.layers))
        self.facts = Facts(a.dim).to(parallel.device())
        start_embeddings(self.model, codec)
        start_residuals(self.model)
        self.model.to(parallel.device())
        self.optimizer = torch.optim.AdamW(groups(self.model, self.facts, a), lr=a.rate, betas=(0.9, 0.95),
                                           **({'fused': True} if parallel.device() == 'cuda' else {}))
        self.recorded = {}  # by length, on a GPU
        if self.path.exists():
            self.load()
        elif a.start:
            self.load_weights(a.start)
        elif a.visual:
            self.load_visual(a.visual)

    def load(self):
        state = torch.load(self.path, map_location=parallel.device())
        self.model.load_state_dict(state['model'])
        self.facts.load_state_dict(state['facts'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.elapsed_s, self.step = state['elapsed_s'], state['step']

    def load_weights(self, path):
        state = torch.load(path, map_location=parallel.device())
        self.model.load_state_dict(state['model'])
        if 'facts' in state:  # the shipped model's file has none
            self.facts.load_state_dict(state['facts'])

    def load_visual(self, path):
        """The visual encoder, and what reads it, of a training with --alone 1."""
        state = torch.load(path, map_location=parallel.device())
        visual = {k: v for k, v in state['model'].items() if k.startswith('condition_provider')}
        self.model.load_state_dict({**self.model.state_dict(), **visual})
        self.facts.load_state_dict(state['facts'])

    def save(self, measures):
        part = self.path.with_suffix('.part')
        torch.save({'config': self.model.config.__dict__, 'model': self.model.state_dict(),
                    'facts': self.facts.state_dict(), 'optimizer': self.optimizer.state_dict(),
                    'elapsed_s': self.elapsed_s, 'step': self.step, 'measures': measures}, part)
        part.rename(self.path)

    def clock_s(self):
        """What the clock of this process says; elapsed_s is what all have agreed on."""
        since, self.last_s = time.time() - self.last_s, time.time()
        return self.elapsed_s + since

    def parameters(self):
        """Those that the step's loss reaches, the same in every process."""
        return [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]

    def descend(self, loss):
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.follow()

    def follow(self, warm_up=200):
        """A step along the gradients that are there."""
        done = min(1.0, self.elapsed_s / self.budget_s)  # of the time, not of any number of steps
        rate = self.peak * min(1.0, (self.step + 1) / warm_up) * (0.03 + 0.97 * math.cos(done * math.pi / 2) ** 2)
        for group in self.optimizer.param_groups:
            group['lr'] = rate * group['scale']
        self.elapsed_s = parallel.average(self.parameters(), self.clock_s())
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1


def conditions(model, pictures):
    """[B, F, R, R, 3] -> [B, F, dim]"""
    return model.condition(normalised(pictures.flatten(0, 1))).unflatten(0, pictures.shape[:2])


def learn_pictures(t, scenes, a):
    pictures, facts = scenes.pictures(a.pictures)
    loss = t.facts.loss(t.model.condition(normalised(pictures)), facts)
    t.descend(loss)
    return {'facts': loss.detach()}


def losses_of(t, a, codes, pictures, facts, dropped, others, their_facts):
    """Of the codes, and of what the pictures tell; leaves the gradients of both."""
    with torch.set_grad_enabled(a.visual_scale > 0):
        every = t.model.condition(normalised(torch.cat([pictures.flatten(0, 1), others])))
    windows = facts[:, None].expand(-1, pictures.shape[1], -1).flatten(0, 1)
    told = t.facts.loss(every, torch.cat([windows, their_facts]))
    condition = every[:len(windows)].unflatten(0, pictures.shape[:2])
    with torch.autocast(codes.device.type, dtype=torch.bfloat16): # twice as fast where the processor has it
        losses = loss_by_codebook(t.model, codes, condition.masked_fill(dropped, 0))
    weighted = sum(weight * loss for weight, loss in zip(WEIGHTS, losses)) / len(WEIGHTS)
    (weighted + a.facts_weight * told).backward()
    return losses.detach().mean(), told.detach()


class Recorded:
    """Losses and gradients for one shape of batch, recorded as a CUDA graph: a step is
    thousands of small operations, which the processor alone would not start as fast as
    the GPU ends them."""

    def __init__(self, t, a, batch):
        self.batch = [part.clone() for part in batch]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # so that everything is set up when it is recorded
            for _ in range(2):
                t.optimizer.zero_grad(set_to_none=True)
                losses_of(t, a, *self.batch)
        torch.cuda.current_stream().wait_stream(side)
        t.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.losses = losses_of(t, a, *self.batch)
        self.gradients = [(p, p.grad) for group in t.optimizer.param_groups for p in group['params']
                          if p.grad is not None]

    def run(self, batch):
        for mine, part in zip(self.batch, batch):
            mine.copy_(part)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return [loss.clone() for loss in self.losses]


def learn(t, scenes, a):
    """One step: windows of one length, of about a.columns codec frames in all."""
    length = min(int(scenes.rng.choice(a.lengths) * RATE), scenes.longest)
    count = max(1, round(a.columns / length))
    dropped = parallel.placed(torch.rand(count, 1, 1) < a.drop)
    batch = (*scenes.batch(count, length, a.frames), dropped,
             *scenes.pictures(a.pictures // 2))  # few scenes fit a step: more to tell of
    if parallel.device() == 'cuda':
        if length not in t.recorded:
            t.recorded[length] = Recorded(t, a, batch)
        ce, told = t.recorded[length].run(batch)
    else:
        t.optimizer.zero_grad(set_to_none=True)
        ce, told = losses_of(t, a, *batch)
    t.follow()
    return {'ce': ce, 'facts': told}


@torch.no_grad()
def validate(t, batch):
    """Cross-entropies by codebook with the scene's own pictures, another's, and none."""
    t.model.eval()
    codes, pictures, facts = batch
    condition = conditions(t.model, pictures)
    ce = {name: loss_by_codebook(t.model, codes, c).tolist()
          for name, c in (('own', condition), ('another', condition.roll(1, 0)), ('none', condition * 0))}
    told = t.facts.hits(condition, facts[:, None].expand(-1, condition.shape[1], -1))
    t.model.train()
    return {**{name: [round(v, 3) for v in values] for name, values in ce.items()}, 'told': told}


def keep(t, held_out):
    measures = validate(t, held_out)
    print('held out:', measures, flush=True)
    t.save(measures)


def train(a):
    t = Training(a)
    first = parallel.rank() == 0
    scenes = Scenes(a.tokens, seed=100 * t.step + parallel.rank(), endless=a.endless)
    held_out = Scenes(a.validation, seed=0).batch(24, 12 * RATE, 10)
    torch.manual_seed(1000 * t.step + parallel.rank())
    saved, losses = t.elapsed_s, []
    while t.elapsed_s < t.budget_s:
        alone = t.elapsed_s < a.alone * t.budget_s
        losses.append((learn_pictures if alone else learn)(t, scenes, a))
        if first and t.step % a.print_every == 0:
            means = {name: float(torch.stack([l[name] for l in losses if name in l]).mean()) for name in losses[-1]}
            print(f'{t.elapsed_s:6.0f} s step {t.step}',
                  ' '.join(f'{name} {value:.4f}' for name, value in means.items()), flush=True)
            losses = []
        if t.elapsed_s - saved > a.save_every:
            saved = t.elapsed_s
            scenes.look()
            if first:
                keep(t, held_out)
    if first:
        keep(t, held_out)


def parse(argv):
    parser = argparse.ArgumentParser(description='Train the demo model.')
    parser.add_argument('--tokens', required=True, help='shards of dataset.py tokens')
    parser.add_argument('--validation', required=True, help='shards with --validation')
    parser.add_argument('--codec', required=True, help="the codec's checkpoint")
    parser.add_argument('--out', required=True, help='the checkpoint, taken up if it exists')
    parser.add_argument('--hours', type=float, default=1, help='in all, interruptions left out')
    parser.add_argument('--visual', help='a checkpoint whose visual encoder a new training starts from')
    parser.add_argument('--alone', type=float, default=0.05, help='share of it for the visual encoder alone')
    parser.add_argument('--start', help='a checkpoint whose model a new training starts from')
    parser.add_argument('--lengths', type=float, nargs='+', default=[8, 10, 13, 20],
                        help='of windows, in seconds, one as often as another')
    parser.add_argument('--endless', action='store_true',
                        help="leave out how scenes end: the model cannot know when theirs will")
    parser.add_argument('--columns', type=int, default=1500, help='codec frames in a step of a process')
    parser.add_argument('--frames', type=int, default=4, help='pictures of a window, at most')
    parser.add_argument('--pictures', type=int, default=24, help='in a step of the visual encoder alone')
    parser.add_argument('--dim', type=int, default=256)
    parser.add_argument('--layers', type=int, default=6)
    parser.add_argument('--rate', type=float, default=1.2e-3)
    parser.add_argument('--visual-scale', type=float, default=0.5,
                        help="the visual encoder's share of the rate; 0 leaves it as it is")
    parser.add_argument('--facts-weight', type=float, default=1.0)
    parser.add_argument('--drop', type=float, default=0.1, help='share of windows without a condition')
    parser.add_argument('--workers', type=int, default=2, help='processes, each with windows of its own')
    parser.add_argument('--print-every', type=int, default=25, help='steps')
    parser.add_argument('--save-every', type=float, default=240, help='seconds')
    return parser.parse_args(argv)


def main(argv):
    a = parse(argv)
    parallel.run(a.workers, train, a)


if __name__ == '__main__':
    main(sys.argv[1:])
