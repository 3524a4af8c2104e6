# The model: what GVMGen publishes (a vision transformer and a Q-Former look, a MusicGen
# decoder writes), in the sizes of the demo model. Names of modules are the published
# checkpoint's. Sizes of heads in the visual part are always 64.
#
# Frames [F, 3, R, R] -> conditions [F, dim]; codes [B, K, T] -> logits [B, K, T, card].
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

HEAD = 64
FUSED = hasattr(F, 'scaled_dot_product_attention')  # from PyTorch 2 on
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ModelConfig:
    image: int = 64
    patch: int = 8
    width: int = 128
    vit_layers: int = 4
    qformer_layers: int = 2
    cross_every: int = 2
    queries: int = 16
    features: int = 128
    dim: int = 256
    heads: int = 4
    layers: int = 6
    card: int = 512
    codebooks: int = 4
    max_duration_s: int = 20
    guidance: float = 3.0


def normalised(frames):
    """uint8 [F, R, R, 3] -> float [F, 3, R, R], as CLIP wants them."""
    x = frames.permute(0, 3, 1, 2).float() / 255
    return torch.stack([(x[:, c] - mean) / std for c, (mean, std) in enumerate(zip(CLIP_MEAN, CLIP_STD))], 1)


class Attention(nn.Module):
    """Parameters as nn.MultiheadAttention names them; x asks, y answers."""

    def __init__(self, width, heads, bias):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) / math.sqrt(width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width)) if bias else None
        self.out_proj = nn.Linear(width, width, bias=bias)

    def split(self, x):
        """[B, T, width] -> [B, heads, T, width / heads]"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def project(self, x, first, count):
        """The rows of parts first .. first + count of (q, k, v)."""
        width = x.shape[-1]
        rows = slice(first * width, (first + count) * width)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        y = F.linear(x, self.in_proj_weight[rows], bias)
        return [self.split(part) for part in y.chunk(count, -1)]

    def forward(self, x, y=None, causal=False):
        q, k, v = self.project(x, 0, 3) if y is None else self.project(x, 0, 1) + self.project(y, 1, 2)
        return self.out_proj(self.mix(q, k, v, causal))

    @staticmethod
    def mix(q, k, v, causal=False):
        if FUSED and q.is_cuda:
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)
        scores = q / math.sqrt(q.shape[-1]) @ k.transpose(-1, -2)
        if causal:
            steps = q.shape[2]
            scores = scores + torch.full((steps, steps), float('-inf'), device=q.device).triu(1)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


# ---- visual encoder

class VitBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attn = Attention(width, width // HEAD, bias=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({'c_fc': nn.Linear(width, 4 * width),
                                  'c_proj': nn.Linear(4 * width, width)})

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        h = self.mlp['c_fc'](self.ln_2(x))
        return x + self.mlp['c_proj'](h * torch.sigmoid(1.702 * h))


class DenseNorm(nn.Module):
    """A dense layer, then the norm of its output."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inputs, outputs), nn.LayerNorm(outputs, eps=1e-12)

    def forward(self, x):
        return self.LayerNorm(self.dense(x))


class QFormerLayer(nn.Module):
    """No residual around either attention; the last norm comes before its residual."""

    def __init__(self, width, cross):
        super().__init__()
        self.attention = Attention(width, width // HEAD, bias=True)
        self.self_output = DenseNorm(width, width)
        if cross:
            self.crossattention = Attention(width, width // HEAD, bias=True)
            self.cross_output = DenseNorm(width, width)
        self.cross = cross
        self.intermediate_query = nn.ModuleDict({'dense': nn.Linear(width, 2 * width)})
        self.output_query = DenseNorm(2 * width, width)

    def forward(self, q, tokens):
        h = self.self_output(self.attention(q))
        if self.cross:
            h = self.cross_output(self.crossattention(h, tokens))
        return self.output_query(F.gelu(self.intermediate_query['dense'](h))) + h


class Visual(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, patches = c.width, (c.image // c.patch) ** 2
        self.class_embedding = nn.Parameter(torch.randn(width) / math.sqrt(width))
        self.positional_embedding = nn.Parameter(torch.randn(1 + patches, width) / math.sqrt(width))
        self.query_tokens = nn.Parameter(torch.randn(1, c.queries, width))
        self.proj = nn.Parameter(torch.randn(width, c.features) / math.sqrt(width))
        self.conv1 = nn.Conv2d(3, width, c.patch, c.patch, bias=False)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        blocks = nn.ModuleList([VitBlock(width) for _ in range(c.vit_layers)])
        self.transformer = nn.ModuleDict({'resblocks': blocks})
        layers = nn.ModuleList([QFormerLayer(width, i % c.cross_every == 0)
                                for i in range(c.qformer_layers)])
        self.qformer = nn.ModuleDict({'layernorm': nn.LayerNorm(width, eps=1e-12),
                                      'encoder': nn.ModuleDict({'layer': layers})})

    def forward(self, frames):
        side = self.conv1.kernel_size[0]
        patches = frames.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5)
        patches = F.linear(patches.flatten(3).flatten(1, 2), self.conv1.weight.flatten(1))
        first = self.class_embedding.expand(len(frames), 1, -1)
        x = self.ln_pre(torch.cat([first, patches], 1) + self.positional_embedding)
        for block in self.transformer['resblocks']:
            x = block(x)
        q = self.qformer['layernorm'](self.query_tokens).expand(len(frames), -1, -1)
        for layer in self.qformer['encoder']['layer']:
            q = layer(q, x)
        return self.ln_post(q.mean(1)) @ self.proj


class VisualContent(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.clip = nn.ModuleDict({'visual': Visual(c)})
        self.output_proj = nn.Linear(c.features, c.dim)

    def forward(self, frames):
        return self.output_proj(self.clip['visual'](frames))


# ---- decoder

class DecoderLayer(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.self_attn = Attention(dim, heads, bias=False)
        self.cross_attention = Attention(dim, heads, bias=False)
        self.linear1 = nn.Linear(dim, 4 * dim, bias=False)
        self.linear2 = nn.Linear(4 * dim, dim, bias=False)
        self.norm1, self.norm_cross, self.norm2 = (nn.LayerNorm(dim) for _ in range(3))

    def forward(self, x, condition):
        x = x + self.self_attn(self.norm1(x), causal=True)
        x = x + self.cross_attention(self.norm_cross(x), condition)
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


def sin_embedding(positions, dim):
    """[T] -> [T, dim]: [cos | sin], the last phase being position / 10000."""
    half = dim // 2
    phase = positions[:, None].float() / 10000 ** (torch.arange(half, device=positions.device).float() / (half - 1))
    return torch.cat([phase.cos(), phase.sin()], -1)


def delayed(codes, special, full=False):
    """codes [B, K, T] -> [B, K, T + 1 (full: T + K)]: entry (k, s) holds codes[k][s - 1 - k],
    or `special` where there is none."""
    batch, books, columns = codes.shape
    out = codes.new_full((batch, books, columns + (books if full else 1)), special)
    for k in range(books):
        kept = min(columns, out.shape[2] - 1 - k)
        out[:, k, 1 + k:1 + k + kept] = codes[:, k, :kept]
    return out


class Model(nn.Module):
    def __init__(self, config=ModelConfig()):
        super().__init__()
        self.config = c = config
        self.condition_provider = nn.ModuleDict(
            {'conditioners': nn.ModuleDict({'visual_content': VisualContent(c)})})
        self.emb = nn.ModuleList([nn.Embedding(c.card + 1, c.dim) for _ in range(c.codebooks)])
        layers = nn.ModuleList([DecoderLayer(c.dim, c.heads) for _ in range(c.layers)])
        self.transformer = nn.ModuleDict({'layers': layers})
        self.out_norm = nn.LayerNorm(c.dim)
        self.linears = nn.ModuleList([nn.Linear(c.dim, c.card, bias=False) for _ in range(c.codebooks)])

    def condition(self, frames):
        """Normalised frames [F, 3, R, R] -> [F, dim]. The null condition is zero."""
        return self.condition_provider['conditioners']['visual_content'](frames)

    def forward(self, sequence, condition):
        """sequence [B, K, S] as delayed() gives it, condition [B, F, dim] -> [B, S, dim], of
        which each of `linears` makes the logits of the step after."""
        steps = sequence.shape[2]
        x = sum(emb(sequence[:, k]) for k, emb in enumerate(self.emb))
        x = x + sin_embedding(torch.arange(steps, device=x.device), self.config.dim)
        for layer in self.transformer['layers']:
            x = layer(x, condition)
        return self.out_norm(x)


def loss_by_codebook(model, codes, condition):
    """codes [B, K, T] -> the cross-entropies of the K codebooks, in nats."""
    x = model(delayed(codes, model.config.card), condition)
    columns = codes.shape[2]
    return torch.stack([
        F.cross_entropy(linear(x[:, k:columns]).flatten(0, 1), codes[:, k, :columns - k].flatten())
        for k, linear in enumerate(model.linears)])


# ---- writing

class Writer:
    """The decoder a step at a time, both halves of the guidance side by side, with the
    keys and values of earlier steps kept. For checks; the program writes films."""

    def __init__(self, model, condition):
        self.model, self.position = model, 0
        null = torch.zeros_like(condition)
        self.cross = [layer.cross_attention.project(torch.stack([condition, null]), 1, 2)
                      for layer in model.transformer['layers']]
        self.past = [None] * len(self.cross)

    def attend(self, i, layer, x):
        q, k, v = layer.self_attn.project(layer.norm1(x), 0, 3)
        if self.past[i]:
            k, v = (torch.cat([a, b], 2) for a, b in zip(self.past[i], (k, v)))
        self.past[i] = (k, v)
        x = x + layer.self_attn.out_proj(Attention.mix(q, k, v))
        q = layer.cross_attention.project(layer.norm_cross(x), 0, 1)[0]
        return x + layer.cross_attention.out_proj(Attention.mix(q, *self.cross[i]))

    @torch.no_grad()
    def step(self, tokens, guidance):
        """tokens [K], one column of the sequence -> guided logits [K, card] of the next."""
        model = self.model
        x = sum(emb(tokens[k]) for k, emb in enumerate(model.emb))
        x = x + sin_embedding(torch.tensor([self.position]), model.config.dim)[0]
        x = x.expand(2, 1, -1)
        self.position += 1
        for i, layer in enumerate(model.transformer['layers']):
            x = self.attend(i, layer, x)
            x = x + layer.linear2(F.gelu(layer.linear1(layer.norm2(x))))
        x = model.out_norm(x)[:, 0]
        cond, null = torch.stack([linear(x) for linear in model.linears], 1)
        return null + (cond - null) * guidance
