"""A scene's pictures, at any size and any time.

The model looks at single pictures without their order, so everything the music owes
to the picture shows in a still: motion as the number of moving things and the length
of their trails, light as light, valence as colour and as round or jagged form. Large
features only: the model's own picture is 64 pixels high.

Geometry is in units of the picture's height, origin in the middle, y down.
"""
import colorsys
import functools
import random

import numpy as np
import scipy.ndimage

from scenes import CLEAR_VALENCE

# ---- Colour ----


def _colour(hue, saturation, value):
    return np.array(colorsys.hsv_to_rgb(hue % 1, min(1, max(0, saturation)), min(1, max(0, value))), np.float32)


class _Palette:
    """Sky above, ground below, two accents that stand out from both."""

    def __init__(self, scene):
        b, vivid = scene.brightness, 0.5 + 0.4 * abs(scene.valence)
        h = scene.hue
        self.top = _colour(h + 0.02, vivid * (1 - 0.35 * b), 0.06 + 0.72 * b)
        self.bottom = _colour(h - 0.03, vivid * (0.85 - 0.5 * b), 0.18 + 0.78 * b)
        self.near = _colour(h, vivid, 0.03 + 0.3 * b)
        self.accent = _colour(h + 0.01, 0.75 - 0.6 * b, 0.85 + 0.15 * b)
        self.second = _colour(h + 0.07, 0.85 - 0.3 * b, 0.75 + 0.25 * b)


# ---- Drawing ----


class _Canvas:
    def __init__(self, scene, t, width, height):
        self.scene, self.t, self.width, self.height = scene, t, width, height
        self.palette = _Palette(scene)
        self.aspect = width / height
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / height - self.aspect / 2)
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / height - 0.5)
        self.pixels = _backdrop(scene, width, height).copy()

    def rng(self, purpose):
        return random.Random(f"{purpose} {self.scene.seed}")

    def lay(self, alpha, colour, box=(slice(None), slice(None))):
        """Paints colour over the pixels of a box; alpha [h, w] or a number."""
        part = self.pixels[box]
        part += alpha[..., None] * (colour - part)

    def box(self, x0, y0, x1, y1):
        """The pixels that a rectangle touches, with their coordinates."""
        left, right = (int(np.clip((x + self.aspect / 2) * self.height, 0, self.width)) for x in (x0, x1))
        upper, lower = (int(np.clip((y + 0.5) * self.height, 0, self.height)) for y in (y0, y1))
        box = (slice(upper, lower + 1), slice(left, right + 1))
        return box, self.x[None, box[1]], self.y[box[0], None]

    def edge(self, distance, soft=0.0):
        """Coverage of a pixel at a signed distance from an edge."""
        return np.clip(0.5 - distance / (soft + 1.0 / self.height), 0, 1)


@functools.lru_cache(maxsize=8)
def _backdrop(scene, width, height):
    """A vertical gradient, darker to the corners."""
    palette = _Palette(scene)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    sky = palette.top + (palette.bottom - palette.top) * y[..., None]
    shade = 1 - 0.28 * (0.6 * x * x + (2 * y - 1) ** 2 * 0.4)
    return (sky * shade[..., None]).astype(np.float32)


def _segment_distance(x, y, ax, ay, bx, by):
    """Distance to a segment, and how far along it from a (0) to b (1)."""
    dx, dy = bx - ax, by - ay
    along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
    return np.hypot(x - ax - along * dx, y - ay - along * dy), along


# ---- Kinds ----


def _pace(scene):
    """How fast things move, in heights a second."""
    return 0.04 + 0.5 * scene.motion


def _trail(scene):
    """How long the trail of a moving thing is, in heights."""
    return 0.02 + 0.5 * scene.motion ** 1.3


def _shapes(canvas):
    """Large plain forms that drift on loops, each with its trail."""
    scene, rng = canvas.scene, canvas.rng("shapes")
    count = 2 + round(9 * scene.motion)
    for i in range(count):
        size = rng.uniform(0.09, 0.17) * (1.25 - 0.6 * scene.motion)
        phase = 2.4 * i + rng.uniform(0, 0.8)  # spread around, not in a heap
        wide, tall = rng.uniform(0.3, 0.8) * canvas.aspect / 1.78, rng.uniform(0.16, 0.38)
        rate = _pace(scene) / wide * rng.uniform(0.7, 1.3) * rng.choice((-1, 1))
        ratio = rng.choice((1, 2, 1.5))

        def at(t):
            return wide * np.cos(phase + rate * t), tall * np.sin(1.7 * phase + ratio * rate * t)

        x, y = at(canvas.t)
        back = at(canvas.t - 1.2 * _trail(scene) / _pace(scene))
        colour = canvas.palette.accent if i % 3 else canvas.palette.second
        _draw_shape(canvas, x, y, back, size, colour)


def _form(scene, x, y, size):
    """Signed distance to a shape's edge: discs in major, diamonds in minor, else squares."""
    if scene.valence > CLEAR_VALENCE:
        return np.hypot(x, y) - size
    if scene.valence < -CLEAR_VALENCE:
        return (np.abs(x) + np.abs(y)) * 0.75 - size * 0.85
    return np.maximum(np.abs(x), np.abs(y)) - size * 0.85


def _draw_shape(canvas, x, y, back, size, colour):
    reach = size * 1.5
    box, px, py = canvas.box(min(x, back[0]) - reach, min(y, back[1]) - reach,
                             max(x, back[0]) + reach, max(y, back[1]) + reach)
    distance, along = _segment_distance(px, py, x, y, *back)
    tail = canvas.edge(distance - size * (0.8 - 0.6 * along), 0.02) * 0.6 * (1 - along)
    canvas.lay(tail, colour, box)
    body = _form(canvas.scene, px - x, py - y, size)
    canvas.lay(canvas.edge(body) * 0.92, colour, box)
    heart = _form(canvas.scene, px - x, py - y, 0.55 * size)
    canvas.lay(canvas.edge(heart) * 0.35, canvas.palette.near, box)


def _particles(canvas):
    """Sparks that fly out of a centre, drawn as light."""
    scene = canvas.scene
    state = np.random.RandomState(scene.seed)
    count = 14 + round(110 * scene.motion)
    angle, start, tint, speed = state.uniform(size=(4, count))
    age = (start + canvas.t * _pace(scene) * (0.4 + speed) * 0.8) % 1
    points = 24
    back = np.linspace(0, 1, points)[None, :]
    radius = np.clip(age[:, None] ** 1.3 * 1.25 - back * _trail(scene) * (0.3 + age[:, None]), 0.01, None)
    swirl = 6.2832 * angle[:, None] + 0.9 * radius * (1 if scene.valence > 0 else -1) + 0.15 * canvas.t * _pace(scene)
    px = ((radius * np.cos(swirl) + canvas.aspect / 2) * canvas.height).astype(int)
    py = ((radius * np.sin(swirl) * 0.8 + 0.5) * canvas.height).astype(int)
    light = (1 - back) ** 1.5 * (0.25 + age[:, None])
    for which, colour in ((tint > 0.35, canvas.palette.accent), (tint <= 0.35, canvas.palette.second)):
        seen = which[:, None] & (px >= 0) & (px < canvas.width) & (py >= 0) & (py < canvas.height)
        glow = np.bincount(py[seen] * canvas.width + px[seen], light[seen], canvas.width * canvas.height)
        glow = glow.reshape(canvas.height, canvas.width)
        sigma = canvas.height * 0.012
        glow = scipy.ndimage.gaussian_filter(glow, sigma) * 2 * np.pi * sigma ** 2 * 1.1
        canvas.lay(1 - np.exp(-glow.astype(np.float32)), colour)


def _ridge(state, x, jagged, rough):
    """Heights of a hill line at x: sums of sines, or of their folds where it is jagged."""
    height = np.zeros_like(x)
    for octave in range(4):
        phase = x * 1.6 * 2 ** octave + state.uniform(0, 6.28)
        wave = np.sin(phase) if not jagged else 1 - 2 * np.abs((phase / 3.1416) % 2 - 1)
        height += wave * rough * (0.62 if jagged else 0.45) ** octave
    return height


def _landscape(canvas):
    """A low sun over hills that pass by, the near ones faster."""
    scene, palette = canvas.scene, canvas.palette
    state = np.random.RandomState(scene.seed)
    sun_x, sun_y = state.uniform(-0.4, 0.4), -0.22 + 0.1 * (1 - scene.brightness)
    distance = np.hypot(canvas.x[None, :] - sun_x, canvas.y[:, None] - sun_y)
    canvas.lay(0.5 * np.exp(-(distance / 0.28) ** 2), palette.accent)
    canvas.lay(canvas.edge(distance - 0.12), palette.accent)
    layers = 4
    for i in range(layers):
        depth = (i + 1) / layers
        shift = canvas.t * _pace(scene) * depth ** 2
        ridge = _ridge(np.random.RandomState(scene.seed + i), canvas.x + shift, scene.valence < 0, 0.1)
        colour = palette.bottom * (1 - depth) * 0.8 + palette.near * depth
        canvas.lay(canvas.edge((0.02 + 0.13 * i - ridge)[None, :] - canvas.y[:, None], 0.003), colour)
    _streaks(canvas)


def _streaks(canvas):
    """What flies past: more and longer with motion."""
    scene, rng = canvas.scene, canvas.rng("streaks")
    for i in range(round(24 * scene.motion)):
        y, speed, start = rng.uniform(-0.45, 0.45), rng.uniform(0.8, 1.6), rng.uniform(0, 3)
        length, thick = _trail(scene) * rng.uniform(0.8, 1.5), rng.uniform(0.008, 0.02)
        x = canvas.aspect / 2 + 0.5 - (start + canvas.t * speed * 2 * _pace(scene)) % (canvas.aspect + 1)
        box, px, py = canvas.box(x - thick, y - thick, x + length, y + thick)
        distance, along = _segment_distance(px, py, x, y, x + length, y)
        canvas.lay(canvas.edge(distance - thick, 0.004) * 0.85 * (1 - along), canvas.palette.second, box)


def _waves(canvas):
    """Ribbons across the picture; motion lifts, multiplies and echoes them."""
    scene, palette, rng = canvas.scene, canvas.palette, canvas.rng("waves")
    count = 3 + round(5 * scene.motion)
    for i in range(count):
        place = -0.34 + 0.7 * i / (count - 1)
        swing, bend = 0.02 + 0.11 * scene.motion * rng.uniform(0.6, 1.2), 2.0 + 7 * scene.motion * rng.uniform(0.6, 1.2)
        phase, rate = rng.uniform(0, 6.28), (1 + 8 * scene.motion) * rng.uniform(0.7, 1.2)
        thick = rng.uniform(0.018, 0.04)
        colour = palette.accent if i % 2 else palette.second
        for echo in range(1 + round(3 * scene.motion)):
            angle = bend * canvas.x + phase + rate * 0.4 * (canvas.t - 0.25 * echo)
            wave = np.sin(angle) if scene.valence >= 0 else 1 - 2 * np.abs((angle / 3.1416) % 2 - 1)
            line = place + swing * wave * (1 + 0.3 * echo)
            distance = np.abs(canvas.y[:, None] - line[None, :]) - thick
            canvas.lay(canvas.edge(distance, 0.004) * (0.85 if echo == 0 else 0.25 / echo), colour)


DRAW = {"shapes": _shapes, "particles": _particles, "landscape": _landscape, "waves": _waves}


def render_picture(scene, t, width, height):
    """uint8 [height, width, 3], t seconds from the scene's start."""
    canvas = _Canvas(scene, t, width, height)
    DRAW[scene.kind](canvas)
    return (np.clip(canvas.pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
