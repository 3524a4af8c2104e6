"""A judge of whether music belongs to a picture: two small networks that put a
scene's pictures and its music at the same place of one space, taught by contrast on
the scores of music.py. It has never heard the model, so what it says of the model's
music is somebody else's opinion: in a pair test it is shown a scene, its music and
another scene's music, and has to tell which is which. Guessing is right half the time.

usage: judge.py [--scenes 2400] [--epochs 40] [--out build/demo/judge.pt]
"""
import argparse
import hashlib
import os
import sys

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

import analyse
import music
import pictures
import scenes

SIDE = 32          # of the picture it sees
PICTURES = 6       # of a scene, spread over it
BANDS, HOP, SECONDS = 48, 640, 8.0
FRAMES = int(SECONDS * analyse.RATE / HOP)
TRAIN_SEED, CHECK_SEED = 771_000, 772_000 # lists of scenes, none of them of scenes.HELD_OUT


def see(scene):
    """uint8 [PICTURES, 3, SIDE, SIDE]: what the judge sees of a scene, the middle of
    its pictures, as the model does."""
    shown = []
    for t in (np.arange(PICTURES) + 0.5) / PICTURES * scene.seconds:
        picture = pictures.render_picture(scene, float(t), 114, 64)[:, 25:89].astype(np.float32)
        shown.append(picture.reshape(SIDE, 2, SIDE, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1))
    return np.array(shown).astype(np.uint8)


def hear(x):
    """float32 [BANDS, frames]: what the judge hears, decibels below the loudest
    frame's, 0..1. The level itself is none of its business."""
    mel = analyse.log_mel(x, bands=BANDS, window=2048, hop=HOP)
    mel -= mel.max()
    return np.clip(1 + mel.T / 60, 0, 1).astype(np.float32)


def excerpt(heard, start=0.5):
    """FRAMES frames of what was heard, from `start` 0..1 of what can be left out."""
    spare = heard.shape[1] - FRAMES
    if spare < 0:
        return np.pad(heard, ((0, 0), (0, -spare)))
    first = int(start * spare)
    return heard[:, first:first + FRAMES]


class Judge(nn.Module):
    def __init__(self, size=64):
        super().__init__()
        self.eye = nn.Sequential(
            nn.Conv2d(3, 24, 5, 2, 2), nn.GELU(), nn.Conv2d(24, 48, 3, 2, 1), nn.GELU(),
            nn.Conv2d(48, 64, 3, 2, 1), nn.GELU(), nn.Flatten(), nn.Linear(64 * 16, 128), nn.GELU())
        self.ear = nn.Sequential(
            nn.Conv1d(BANDS, 96, 5, 2, 2), nn.GELU(), nn.Conv1d(96, 96, 5, 2, 2), nn.GELU(),
            nn.Conv1d(96, 96, 5, 2, 2), nn.GELU(), nn.Conv1d(96, 96, 5, 1, 2), nn.GELU())
        self.from_eye, self.from_ear = nn.Linear(128, size), nn.Linear(3 * 96, size)
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def embed_pictures(self, seen):
        """uint8 [B, PICTURES, 3, SIDE, SIDE] -> [B, size]"""
        b = seen.shape[0]
        x = self.eye(seen.flatten(0, 1).float() / 127.5 - 1).view(b, PICTURES, -1)
        return F.normalize(self.from_eye(x.mean(1)), dim=-1)

    def embed_music(self, heard):
        """[B, BANDS, FRAMES] -> [B, size]"""
        x = self.ear(heard)
        # The mean tells the sound, spread and change tell the rhythm.
        x = torch.cat([x.mean(2), x.std(2), (x[:, :, 1:] - x[:, :, :-1]).abs().mean(2)], 1)
        return F.normalize(self.from_ear(x), dim=-1)


def render(seed, count):
    """(seen, heard) of a list of scenes; heard are whole scenes, a list of [BANDS, frames]."""
    seen, heard = [], []
    for i, scene in enumerate(scenes.draw_scenes(seed, count)):
        seen.append(see(scene))
        heard.append(hear(music.render_score(scene)))
        if i % 200 == 199:
            print(f'judge: {i + 1} of {count} scenes rendered', file=sys.stderr)
    return np.array(seen), heard


def distort(heard, random):
    """What a codec and a model's hand do to music and what must not matter to the
    judge: another tilt of the spectrum, noise in each band, a floor of noise."""
    b = len(heard)
    tilt = np.linspace(-1, 1, BANDS)[None, :, None] * random.normal(0, 0.05, (b, 1, 1))
    grain = random.normal(0, 1, heard.shape) * random.uniform(0, 0.06, (b, 1, 1))
    floor = random.uniform(0, 0.35, (b, 1, 1))
    return np.clip(np.maximum(heard + tilt + grain, floor), 0, 1).astype(np.float32)


def train(seen, heard, epochs, seed=0, batch=64):
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    judge = Judge()
    optimiser = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.02)
    steps = epochs * (len(seen) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for epoch in range(epochs):
        order, total = random.permutation(len(seen)), 0.0
        for first in range(0, len(order) - batch + 1, batch):
            some = order[first:first + batch]
            sound = distort(np.array([excerpt(heard[i], random.random()) for i in some]), random)
            eye = judge.embed_pictures(torch.from_numpy(seen[some]))
            ear = judge.embed_music(torch.from_numpy(sound))
            logits = judge.log_scale.clamp(max=4).exp() * eye @ ear.T
            which = torch.arange(batch)
            loss = (F.cross_entropy(logits, which) + F.cross_entropy(logits.T, which)) / 2
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        if epoch % 5 == 4 or epoch == epochs - 1:
            print(f'judge: epoch {epoch + 1}, loss {total / (len(seen) // batch):.3f}', file=sys.stderr)
    return judge.eval()


@torch.no_grad()
def pair_wins(judge, seen, heard):
    """[n]: for each scene, the fraction of the other scenes' music that the judge
    finds fits it less well than its own."""
    eye = judge.embed_pictures(torch.from_numpy(np.array(seen)))
    ear = judge.embed_music(torch.from_numpy(np.array([excerpt(h) for h in heard])))
    fit = (eye @ ear.T).numpy()
    own = np.diag(fit)[:, None]
    wins = (own > fit) + 0.5 * (own == fit)
    np.fill_diagonal(wins, 0)
    return wins.sum(axis=1) / (len(fit) - 1)


def lessons():
    """What a judge was taught from, as a hash: of the rules, and of itself."""
    digest = hashlib.sha256()
    for module in (scenes, music, pictures, analyse, sys.modules[__name__]):
        with open(module.__file__, 'rb') as f:
            digest.update(f.read())
    return digest.hexdigest()


def make(path, count=2400, epochs=40):
    """The judge at path; a new one is taught where there is none, or one of other rules."""
    wanted = f'{lessons()} {count} {epochs}'
    if os.path.exists(path):
        kept = torch.load(path)
        if kept['lessons'] == wanted:
            judge = Judge()
            judge.load_state_dict(kept['weights'])
            return judge.eval()
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    judge = train(*render(TRAIN_SEED, count), epochs)
    torch.save({'lessons': wanted, 'weights': judge.state_dict()}, path + '.part')
    os.replace(path + '.part', path)
    return judge


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--scenes', type=int, default=2400)
    parser.add_argument('--epochs', type=int, default=40)
    parser.add_argument('--out', default='build/demo/judge.pt')
    args = parser.parse_args()
    torch.set_num_threads(1)
    judge = make(args.out, args.scenes, args.epochs)
    wins = pair_wins(judge, *render(CHECK_SEED, 120))
    print(f'{args.out}: right in {100 * wins.mean():.1f} % of the pairs of 120 scenes it was not taught')


if __name__ == '__main__':
    main()
