# The codec: EnCodec's autoencoder as published (SEANet, an LSTM, residual vector
# quantisation), in the sizes of the demo model. Names of modules are the published
# checkpoint's, so that state_dict() is what `underscore import` reads.
#
# Sound [B, 1, n] <-> latents [B, dimension, n / 640] <-> codes [B, K, n / 640].
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import weight_norm

from parallel import total as over_processes


@dataclass(frozen=True)
class CodecConfig:
    sample_rate: int = 32000
    filters: int = 16
    dimension: int = 64
    ratios: tuple = (4, 4, 5, 8)  # of the decoder, widest layer first
    kernel: int = 7
    last_kernel: int = 7
    residual_kernel: int = 3
    compress: int = 2
    lstm_layers: int = 1  # silent here: the fewest that the format knows
    codebooks: int = 4
    bins: int = 512

    @property
    def hop(self):
        product = 1
        for ratio in self.ratios:
            product *= ratio
        return product


class Conv(nn.Module):
    """A convolution over zero-padded sound: left = total - total // 2, as published."""

    def __init__(self, inputs, outputs, kernel, stride=1):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.ModuleDict({'conv': weight_norm(nn.Conv1d(inputs, outputs, kernel, stride))})

    def forward(self, x):
        total = self.kernel - self.stride
        right = total // 2
        extra = -x.shape[-1] % self.stride  # so that the last window is full
        if total + extra:
            x = F.pad(x, (total - right, right + extra))
        return self.conv['conv'](x)


class ConvTranspose(nn.Module):
    """n columns become exactly n * stride: the overhang is trimmed on both sides."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride = stride
        self.convtr = nn.ModuleDict(
            {'convtr': weight_norm(nn.ConvTranspose1d(inputs, outputs, 2 * stride, stride))})

    def forward(self, x):
        right = self.stride // 2
        y = self.convtr['convtr'](x)
        return y[..., self.stride - right:y.shape[-1] - right]

    @torch.no_grad()
    def even(self):
        """Give all phases of the stride the same sum of weights: what stands still in the
        latents then stands still in the sound. Uneven, it becomes a tone at the stride's
        rate, and that a comb over the music."""
        layer = self.convtr['convtr']
        weight = layer.weight_v * (layer.weight_g / layer.weight_v.flatten(1).norm(dim=1)[:, None, None])
        early, late = weight.split(self.stride, 2)
        sums = early + late
        excess = (sums - sums.mean(2, keepdim=True)) / 2
        weight = torch.cat([early - excess, late - excess], 2)
        layer.weight_v.copy_(weight)
        layer.weight_g.copy_(weight.flatten(1).norm(dim=1)[:, None, None])


class ResBlock(nn.Module):
    def __init__(self, width, config):
        super().__init__()
        hidden = width // config.compress
        self.block = nn.Sequential(nn.ELU(), Conv(width, hidden, config.residual_kernel),
                                   nn.ELU(), Conv(hidden, width, 1))

    def forward(self, x):
        return x + self.block(x)


class Lstm(nn.Module):
    """Its input is added to its output."""

    def __init__(self, width, layers):
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers)
        self.silent = False

    def silence(self):
        """With weights of zero it adds nothing, and need not be computed."""
        self.silent = True
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
            parameter.requires_grad_(False)

    def wake(self):
        """So that it can learn. One of zeros gets weights that add nothing yet."""
        if self.is_zero():
            self.lstm.reset_parameters()
            width = self.lstm.hidden_size
            with torch.no_grad():
                for parameter in self.lstm.parameters():
                    parameter[2 * width:3 * width] = 0  # what would go into the cells
        self.silent = False
        for parameter in self.parameters():
            parameter.requires_grad_(True)

    def is_zero(self):
        return not any(p.any() for p in self.parameters())

    def forward(self, x):
        if self.silent:
            return x
        steps = x.permute(2, 0, 1)
        return x + self.lstm(steps)[0].permute(1, 2, 0)


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        width = c.filters
        layers = [Conv(1, width, c.kernel)]
        for ratio in reversed(c.ratios):
            layers += [ResBlock(width, c), nn.ELU(), Conv(width, 2 * width, 2 * ratio, ratio)]
            width *= 2
        layers += [Lstm(width, c.lstm_layers), nn.ELU(), Conv(width, c.dimension, c.last_kernel)]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        width = c.filters << len(c.ratios)
        layers = [Conv(c.dimension, width, c.kernel), Lstm(width, c.lstm_layers)]
        for ratio in c.ratios:
            layers += [nn.ELU(), ConvTranspose(width, width // 2, ratio),
                       ResBlock(width // 2, c)]
            width //= 2
        layers += [nn.ELU(), Conv(width, 1, c.last_kernel)]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)

    def even(self):
        for layer in self.model:
            if isinstance(layer, ConvTranspose):
                layer.even()


class Codebook(nn.Module):
    """Vectors that follow the mean of what they stand for (no gradient reaches them)."""

    def __init__(self, bins, dimension):
        super().__init__()
        self.register_buffer('inited', torch.zeros(1))
        self.register_buffer('cluster_size', torch.zeros(bins))
        self.register_buffer('embed', torch.zeros(bins, dimension))
        self.register_buffer('embed_avg', torch.zeros(bins, dimension))

    def nearest(self, x):
        """[N, dimension] -> [N], the first of equally near ones."""
        distance = self.embed.pow(2).sum(1) - 2 * x @ self.embed.t()
        return distance.argmin(1)

    def start(self, x, iterations=12):
        """k-means over x, at least as many vectors as the codebook has."""
        bins = len(self.embed)
        self.embed.copy_(x[torch.randperm(len(x))[:bins]])
        for _ in range(iterations):
            sums, counts = self._sums(x, self.nearest(x))
            alive = counts > 0
            self.embed[alive] = sums[alive] / counts[alive, None]
            self.embed[~alive] = x[torch.randint(len(x), (int((~alive).sum()),))]
        self._restart(torch.ones(bins, dtype=torch.bool), 1.0)
        self.inited.fill_(1)

    def follow(self, x, codes, decay=0.99):
        sums, counts = (over_processes(part) for part in self._sums(x, codes))
        self.cluster_size.mul_(decay).add_(counts, alpha=1 - decay)
        self.embed_avg.mul_(decay).add_(sums, alpha=1 - decay)
        self.embed.copy_(self.embed_avg / self.cluster_size.clamp_min(1e-5)[:, None])

    def revive(self, x, share=0.05):
        """Move entries used less than `share` of the average to vectors of x."""
        average = self.cluster_size.mean()
        dead = self.cluster_size < share * average
        self.embed[dead] = x[torch.randint(len(x), (int(dead.sum()),))]
        self._restart(dead, float(average))
        return int(dead.sum())

    def _sums(self, x, codes):
        counts = torch.bincount(codes, minlength=len(self.embed)).to(x.dtype)
        return torch.zeros_like(self.embed).index_add_(0, codes, x), counts

    def _restart(self, which, size):
        self.cluster_size[which] = size
        self.embed_avg[which] = self.embed[which] * size


class Quantizer(nn.Module):
    def __init__(self, c):
        super().__init__()
        layers = [nn.ModuleDict({'_codebook': Codebook(c.bins, c.dimension)})
                  for _ in range(c.codebooks)]
        self.vq = nn.ModuleDict({'layers': nn.ModuleList(layers)})

    def codebooks(self):
        return [layer['_codebook'] for layer in self.vq['layers']]

    @torch.no_grad()
    def start(self, latents):
        rest = latents.transpose(1, 2).flatten(0, 1).clone()
        for book in self.codebooks():
            book.start(rest)
            rest -= book.embed[book.nearest(rest)]

    def forward(self, latents):
        """[B, D, T] -> quantised [B, D, T], with the gradient passed straight
        through, the commitment loss, and codes [B, K, T]."""
        batch, dimension, columns = latents.shape
        rest = latents.transpose(1, 2).reshape(-1, dimension)
        total, loss, codes = 0, 0, []
        for book in self.codebooks():
            index = book.nearest(rest.detach())
            chosen = book.embed[index]
            loss = loss + F.mse_loss(rest, chosen)
            if self.training:
                book.follow(rest.detach(), index)
            total, rest = total + chosen, rest - chosen
            codes.append(index.view(batch, columns))
        total = total.view(batch, columns, dimension).transpose(1, 2)
        return latents + (total - latents).detach(), loss, torch.stack(codes, 1)

    @torch.no_grad()
    def revive(self, latents):
        rest, moved = latents.transpose(1, 2).flatten(0, 1).clone(), []
        for book in self.codebooks():
            moved.append(book.revive(rest))
            rest = rest - book.embed[book.nearest(rest)]
        return moved

    def decode(self, codes):
        total = sum(book.embed[codes[:, k]] for k, book in enumerate(self.codebooks()))
        return total.transpose(1, 2)


class Codec(nn.Module):
    def __init__(self, config=CodecConfig()):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quantizer = Quantizer(config)

    @torch.no_grad()
    def encode(self, sound):
        return self.quantizer(self.encoder(sound))[2]

    @torch.no_grad()
    def decode(self, codes):
        return self.decoder(self.quantizer.decode(codes))
