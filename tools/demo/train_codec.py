#!/usr/bin/python3
# Trains the codec on rendered sound (dataset.py scenes), without an adversary: the sound
# is a small synthesiser's, and log spectra at four scales with the waveform suffice.
#
#   train_codec.py --sound DIR --validation DIR --out codec.pt --hours 0.6
#
# The first part trains the autoencoder alone; then k-means over its latents starts the
# codebooks. Interrupted, it goes on from --out when run again. The clock is the real one.
# With --start FILE it begins from that codec's weights; with --decoder FILE, the encoder
# and the codebooks stay as FILE has them, and so do all codes made with them: only the
# decoder learns, from whole codes.
import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch

import parallel
from codec import Codec, CodecConfig, Lstm

CROP = 32  # codec frames; crops begin on the grid, as notes do
LONG_CROP = 50  # a second, as the comb is measured on
SCALES = (256, 512, 1024, 2048)
FLOOR = 3e-4  # of a magnitude: 70 dB below full scale nothing is heard


# ---- losses

def mel_filters(size, bands, rate):
    """[bands, size / 2 + 1]: triangles, evenly spaced on the mel scale."""
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hz = np.linspace(0, rate / 2, size // 2 + 1)
    rise = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rise, fall))
    return torch.tensor(filters / np.maximum(filters.sum(1, keepdims=True), 1e-9), dtype=torch.float32)


class Spectra:
    """Magnitudes at each scale; a full-scale sine has the magnitude 1."""

    def __init__(self, rate=32000):
        self.rate = rate
        self.windows = [torch.hann_window(size).to(parallel.device()) for size in SCALES]
        self.mels = [mel_filters(size, min(96, size // 10), rate).to(parallel.device()) for size in SCALES]

    def magnitudes(self, sound, i):
        spectrum = torch.stft(sound, SCALES[i], SCALES[i] // 4, window=self.windows[i],
                              return_complex=True)
        power = spectrum.real.pow(2) + spectrum.imag.pow(2)
        return (power + 1e-9).sqrt() * (4 / SCALES[i])

    def loss(self, sound, target):
        """(log-mel distance in nepers, spectral convergence), means over the scales."""
        distance, convergence = 0, 0
        for i, mel in enumerate(self.mels):
            a, b = self.magnitudes(sound, i), self.magnitudes(target, i)
            log_a, log_b = (mel @ a + FLOOR).log(), (mel @ b + FLOOR).log()
            distance = distance + (log_a - log_b).abs().mean()
            convergence = convergence + ((a - b).pow(2).sum() / b.pow(2).sum().clamp_min(1e-3)).sqrt()
        return distance / len(SCALES), convergence / len(SCALES)


# ---- measures

def si_sdr(sound, target):
    """In dB, of each row."""
    scale = (sound * target).sum(-1, keepdim=True) / target.pow(2).sum(-1, keepdim=True).clamp_min(1e-9)
    kept = scale * target
    return 10 * (kept.pow(2).sum(-1) / (sound - kept).pow(2).sum(-1).clamp_min(1e-9)).log10()


def comb(sound, rate=32000):
    """dB by which multiples of 50 Hz, the codec's frame rate, stand over the spectrum
    half way between them, from 1 kHz on: a codec that starts anew each frame buzzes."""
    size = rate  # bins of 1 Hz
    frames = sound.unfold(-1, size, size // 2) * torch.hann_window(size, device=sound.device)
    power = torch.fft.rfft(frames).abs().pow(2).flatten(0, -2).mean(0) + 1e-9
    teeth, between = power[1000:rate // 4:50], power[1025:rate // 4 + 25:50]
    return 10 * (teeth.log10() - between.log10()).mean()


@torch.no_grad()
def validate(codec, spectra, sound):
    """sound [B, 1, n], whole stretches of validation scenes."""
    codec.eval()
    out = codec.decode(codec.encode(sound))
    used = [len(torch.unique(c)) for c in codec.encode(sound).transpose(0, 1)]
    codec.train()
    a, b = out[:, 0], sound[:, 0]
    return {'log_mel': float(spectra.loss(a, b)[0]),
            'log_mel_shuffled': float(spectra.loss(a, b.roll(1, 0))[0]),
            'si_sdr_db': float(si_sdr(a, b).mean()), 'comb_db': float(comb(a)), 'comb_original_db': float(comb(b)),
            'codes_used': used}


# ---- training

class Sound:
    """Random crops of all shards, on the codec's grid."""

    def __init__(self, directory, hop, seed):
        self.shards = [torch.from_numpy(np.load(path, mmap_mode='c')).to(parallel.device())
                       for path in sorted(Path(directory).glob('[0-9]*.npy'))]
        if not self.shards:
            sys.exit(f'{directory}: no sound is in it; run dataset.py scenes')
        self.hop, self.rng = hop, np.random.default_rng(seed)

    def crops(self, count, columns):
        samples = columns * self.hop
        crops = []
        for _ in range(count):
            shard = self.shards[self.rng.integers(len(self.shards))]
            at = int(self.rng.integers((len(shard) - samples) // self.hop)) * self.hop
            crops.append(shard[at:at + samples])
        return torch.stack(crops)[:, None] / 32767


class Training:
    """What a checkpoint keeps. Its clock runs over interruptions."""

    def __init__(self, a):
        self.path, self.budget_s = Path(a.out), a.hours * 3600
        self.elapsed_s, self.step, self.last_s = 0.0, 0, time.time()
        torch.manual_seed(1)
        self.codec = Codec(CodecConfig(bins=a.bins, filters=a.filters)).to(parallel.device())
        # The encoder's LSTM stays silent: a latent depends on the sound around it alone, so
        # the same note becomes the same codes wherever it stands, which is what the decoder
        # of the model has to learn. The codec's decoder's wakes when it learns alone.
        lstms = [module for module in self.codec.modules() if isinstance(module, Lstm)] # encoder's, decoder's
        for lstm in lstms:
            lstm.silence()
        self.decoder_only, self.even = a.decoder is not None, a.even
        if a.decoder or a.start:
            self.codec.load_state_dict(torch.load(a.decoder or a.start, map_location=parallel.device())['codec'])
        if self.decoder_only or not lstms[1].is_zero():
            lstms[1].wake()
        if self.decoder_only:
            self.codec.encoder.requires_grad_(False)
        self.parameters = [p for p in self.codec.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, betas=(0.8, 0.99))
        if self.path.exists():
            self.load()

    def load(self):
        state = torch.load(self.path, map_location=parallel.device())
        self.codec.load_state_dict(state['codec'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.elapsed_s, self.step = state['elapsed_s'], state['step']

    def save(self, measures):
        part = self.path.with_suffix('.part')
        torch.save({'config': self.codec.config.__dict__, 'codec': self.codec.state_dict(),
                    'optimizer': self.optimizer.state_dict(), 'elapsed_s': self.elapsed_s,
                    'step': self.step, 'measures': measures}, part)
        part.rename(self.path)

    def clock_s(self):
        """What the clock of this process says; elapsed_s is what all have agreed on."""
        since, self.last_s = time.time() - self.last_s, time.time()
        return self.elapsed_s + since

    def quantised(self):
        return bool(self.codec.quantizer.codebooks()[0].inited)

    def rate(self, peak, warm_up=50):
        done = min(1.0, self.elapsed_s / self.budget_s)
        return peak * min(1.0, (self.step + 1) / warm_up) * (0.02 + 0.98 * math.cos(done * math.pi / 2) ** 2)


def start_codebooks(t, sound, batch):
    with torch.no_grad():
        latents = torch.cat([t.codec.encoder(sound.crops(batch, CROP)) for _ in range(40)])
    t.codec.quantizer.start(latents)
    parallel.same(t.codec.quantizer.buffers())


def latents_of(t, target):
    """What the decoder is given, and the commitment loss."""
    if t.decoder_only:
        t.codec.quantizer.eval() # its codebooks follow nothing
        return t.codec.quantizer.decode(t.codec.encode(target)), target.new_zeros(())
    latents = t.codec.encoder(target)
    if not t.quantised():
        return latents, target.new_zeros(())
    return t.codec.quantizer(latents)[:2]


def learn(t, spectra, target, peak):
    """One step; returns the losses by name."""
    latents, commitment = latents_of(t, target)
    out = t.codec.decoder(latents)
    log_mel, convergence = spectra.loss(out[:, 0], target[:, 0])
    wave = (out - target).abs().mean() / target.abs().mean()
    # At the end, what is heard counts more than the waveform.
    loss = (8 if t.decoder_only else 2) * log_mel + convergence + 0.5 * wave + 0.25 * commitment
    if target.shape[-1] >= spectra.rate:
        loss = loss + (0.1 if t.decoder_only else 0.05) * (comb(out[:, 0]) - comb(target[:, 0])).clamp(min=0)
    for group in t.optimizer.param_groups:
        group['lr'] = t.rate(peak)
    t.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    t.elapsed_s = parallel.average(t.parameters, t.clock_s())
    torch.nn.utils.clip_grad_norm_(t.parameters, 5.0)
    t.optimizer.step()
    if t.even:
        t.codec.decoder.even()
    return {name: value.detach() for name, value in (
        ('log_mel', log_mel), ('convergence', convergence), ('wave', wave), ('commitment', commitment))}


def keep(t, spectra, held_out):
    measures = {}
    if t.quantised():
        measures = validate(t.codec, spectra, held_out)
        print('held out:', measures, flush=True)
    t.save(measures)


def train(a):
    t = Training(a)
    first = parallel.rank() == 0
    sound = Sound(a.sound, t.codec.config.hop, seed=100 * t.step + parallel.rank())
    held_out = Sound(a.validation, t.codec.config.hop, seed=0).crops(16, 200)
    spectra, seen = Spectra(), []
    saved = t.elapsed_s
    while t.elapsed_s < t.budget_s:
        if not t.quantised() and t.elapsed_s > a.alone * t.budget_s:
            start_codebooks(t, sound, a.batch)
        target = sound.crops(a.batch, a.columns or (LONG_CROP if t.decoder_only else CROP))
        seen.append(learn(t, spectra, target, a.rate))
        t.step += 1
        if t.quantised() and not t.decoder_only and t.step % 25 == 0:
            with torch.no_grad():
                t.codec.quantizer.revive(t.codec.encoder(target))
            parallel.same(t.codec.quantizer.buffers())
        if first and t.step % 50 == 0:
            means = {name: float(torch.stack([losses[name] for losses in seen]).mean()) for name in seen[0]}
            print(f'{t.elapsed_s:6.0f} s step {t.step}',
                  ' '.join(f'{name} {value:.4f}' for name, value in means.items()), flush=True)
        if t.step % 50 == 0:
            seen = []
        if first and t.elapsed_s - saved > a.save_every:
            keep(t, spectra, held_out)
            saved = t.elapsed_s
    if first:
        keep(t, spectra, held_out)


def parse(argv):
    parser = argparse.ArgumentParser(description="Train the demo model's codec.")
    parser.add_argument('--sound', required=True, help='shards of dataset.py scenes')
    parser.add_argument('--validation', required=True, help='shards with --validation')
    parser.add_argument('--out', required=True, help='the checkpoint, taken up if it exists')
    parser.add_argument('--decoder', metavar='FILE', help="a trained codec, of which only the decoder is trained on")
    parser.add_argument('--start', metavar='FILE', help='a trained codec, from which all of it is trained on')
    parser.add_argument('--even', action='store_true', help='keep the phases of each stride alike: no comb at its rate')
    parser.add_argument('--hours', type=float, default=0.6, help='in all, interruptions left out')
    parser.add_argument('--alone', type=float, default=0.08, help='share of it before codebooks start')
    parser.add_argument('--batch', type=int, default=6)
    parser.add_argument('--columns', type=int, help='of a crop; the comb is heard from 50 on')
    parser.add_argument('--rate', type=float, default=7e-4)
    parser.add_argument('--bins', type=int, default=512)
    parser.add_argument('--filters', type=int, default=16)
    parser.add_argument('--workers', type=int, default=2, help='processes, each with a batch of its own')
    parser.add_argument('--save-every', type=float, default=180, help='seconds')
    return parser.parse_args(argv)


def main(argv):
    a = parse(argv)
    parallel.run(a.workers, train, a)


if __name__ == '__main__':
    main(sys.argv[1:])
