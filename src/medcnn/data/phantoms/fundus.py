"""Phantom colour fundus photographs, graded for diabetic retinopathy.

The grades follow the International Clinical Diabetic Retinopathy scale (Wilkinson et al.,
Ophthalmology 2003;110:1677-82): 0 none; 1 microaneurysms only; 2 more than that but less than 3;
3 many haemorrhages in every quadrant; 4 proliferative: new vessels or preretinal haemorrhage.

A continuous severity determines the number of lesions, and a noisy grader cuts it into five grades.
So neighbouring grades overlap, as between human graders; drusen and dust look like lesions, and the
camera varies in colour, field and focus.

Lengths are in radii of the field of view, which is 45 degrees across, so the disc of 6 degrees
has a radius of 0.13. Microaneurysms are two to three times as wide as in reality, and large
vessels one and a half times, to remain visible at 96 px.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from medcnn.data.phantoms.drawing import Drawing, Floats, grid, smooth_noise, step

STREAM = 1  # gives each kind its own random numbers
OVERSAMPLING = 2  # lines are drawn larger and reduced, because Pillow does not smooth them

# Severity of eyes is standard normal; these cuts give about 40, 17, 20, 12 and 11 % of eyes.
GRADE_CUTS = (-0.25, 0.18, 0.74, 1.23)
GRADER_SPREAD = 0.09
EYE_CORRELATION = 0.8

# A right eye in a photograph: the nasal side, hence the disc, is on the right.
DISC = np.array([0.62, -0.03])
FOVEA = np.array([0.0, 0.05])
DISC_RADIUS = 0.13

Points = NDArray[np.float64]  # [..., 2]


@dataclass(frozen=True, slots=True)
class Camera:
    """What makes the photographs of two clinics look different."""

    field_radius: float  # in half images; above 1 the field is cut off above and below
    white_balance: tuple[float, float, float]
    blur_px: float  # at 256 px


CAMERAS = {
    "A": Camera(0.96, (1.00, 1.00, 1.00), 0.3),
    "B": Camera(1.08, (1.05, 0.93, 0.85), 0.5),
    "C": Camera(0.92, (0.92, 1.02, 1.20), 0.4),
}


def draw(patient: int, seed: int, size_px: int) -> Iterator[Drawing]:
    """Both eyes of one patient."""
    rng = np.random.default_rng([seed, STREAM, patient])
    shared = rng.standard_normal()
    camera = str(rng.choice(list(CAMERAS), p=[0.5, 0.3, 0.2]))
    pigment = rng.uniform(0, 1)
    sex = str(rng.choice(["F", "M"]))
    age = int(np.clip(rng.normal(58 + 3 * shared, 11), 21, 90))
    for number, eye in enumerate(("right", "left"), start=1):
        rng = np.random.default_rng([seed, STREAM, patient, number])
        own = rng.standard_normal()
        severity = EYE_CORRELATION**0.5 * shared + (1 - EYE_CORRELATION) ** 0.5 * own
        judged = severity + GRADER_SPREAD * rng.standard_normal()
        grade = int(np.searchsorted(GRADE_CUTS, judged))
        picture, lesions = _photograph(rng, severity, CAMERAS[camera], pigment, age, eye, size_px)
        jpeg = io.BytesIO()
        picture.save(jpeg, "JPEG", quality=92, subsampling=0)
        yield Drawing(
            name=f"P{patient:04d}_{eye}.jpg",
            data=jpeg.getvalue(),
            row={
                "patient": f"P{patient:04d}",
                "grade": str(grade),
                "eye": eye,
                "age": str(age),
                "sex": sex,
                "camera": camera,
            },
            lesions={str(of): lesions for of in range(1, len(GRADE_CUTS) + 1)},
        )


class Layer:
    """A mask from 0 to 1, drawn in field radii, mirrored for the left eye."""

    def __init__(self, size_px: int, radius: float, mirrored: bool) -> None:
        self.size_px = size_px
        fine_px = size_px * OVERSAMPLING
        self.scale = np.array([-1.0 if mirrored else 1.0, 1.0]) * radius * fine_px / 2
        self.centre = fine_px / 2
        self.image = Image.new("L", (fine_px, fine_px))
        self.pen = ImageDraw.Draw(self.image)

    def line(self, points: Points, width: float, strength: float = 1.0) -> None:
        """A line that tapers to a third of `width`."""
        px = points * self.scale + self.centre
        pieces = 5
        for i, piece in enumerate(np.array_split(np.arange(len(px)), pieces)):
            taper = 1 - 0.8 * i / pieces
            wide_px = max(1, round(width * taper * abs(self.scale[1])))
            ends = px[piece[0] : piece[-1] + 2].ravel().tolist()
            self.pen.line(ends, fill=int(255 * strength), width=wide_px, joint="curve")

    def blob(
        self,
        rng: np.random.Generator,
        at: Points,
        radius: float,
        stretch: float = 1.0,
        along: float = 0.0,
        ragged: float = 0.2,
        strength: float = 1.0,
    ) -> None:
        """An uneven spot, `stretch` times longer in the direction `along` (radians)."""
        angle = np.linspace(0, 2 * np.pi, 13)[:-1]
        reach = radius * (1 + ragged * rng.uniform(-1, 1, 12))
        long, short = reach * np.cos(angle) * stretch, reach * np.sin(angle)
        x = long * np.cos(along) - short * np.sin(along)
        y = long * np.sin(along) + short * np.cos(along)
        px = (at + np.stack([x, y], axis=1)) * self.scale + self.centre
        self.pen.polygon(px.ravel().tolist(), fill=int(255 * strength))

    def field(self, blur_px: float = 0.0) -> Floats:
        image = self.image.reduce(OVERSAMPLING)
        if blur_px:
            image = image.filter(ImageFilter.GaussianBlur(blur_px))
        return np.asarray(image, dtype=np.float32) / np.float32(255)


def _photograph(
    rng: np.random.Generator,
    severity: float,
    camera: Camera,
    pigment: float,
    age: int,
    eye: str,
    size_px: int,
) -> tuple[Image.Image, NDArray[np.bool_]]:
    """The photograph, and where signs of retinopathy are drawn in it."""
    radius = camera.field_radius
    mirrored = eye == "left"
    layers = [Layer(size_px, radius, mirrored) for _ in range(5)]
    veins, arteries, red, bright, soft = layers
    _vessels(rng, veins, arteries)
    before = [layer.field() for layer in layers]
    _retinopathy(rng, severity, red, bright, soft, veins)
    pairs = zip(layers, before, strict=True)
    lesions = np.any([layer.field() != was for layer, was in pairs], axis=0)
    _nuisances(rng, age, bright, soft, red)

    x, y = grid(size_px)
    x, y = x / radius * (-1 if mirrored else 1), y / radius
    from_fovea = np.hypot(x - FOVEA[0], y - FOVEA[1])
    from_disc = np.hypot(x - DISC[0], (y - DISC[1]) / 1.08)
    from_centre = np.hypot(x, y)
    disc = step(from_disc - DISC_RADIUS, 0.03)
    cup = step(from_disc - DISC_RADIUS * rng.uniform(0.3, 0.6), 0.05)

    # Absorption adds up: blood and melanin take green and blue, and leave red.
    scale_px = size_px / 256
    melanin = 0.25 + 0.5 * pigment + 0.06 * smooth_noise(rng, size_px, 5)
    melanin = melanin + 0.035 * smooth_noise(rng, size_px, 40)
    macula = np.exp(-((from_fovea / 0.2) ** 2)) + 0.5 * np.exp(-((from_fovea / 0.06) ** 2))
    blood = 0.55 * arteries.field(0.4 * scale_px) + 0.85 * veins.field(0.4 * scale_px)
    blood = blood * (1 - 0.35 * disc) + 1.15 * red.field(0.35 * scale_px)
    melanin = (melanin + 0.5 * macula) * (1 - disc)

    light = 1.0 - 0.38 * from_centre**2 + 0.06 * smooth_noise(rng, size_px, 2)
    light = light + rng.uniform(-0.12, 0.12) * x + rng.uniform(-0.12, 0.12) * y
    light = light * rng.uniform(0.85, 1.1)
    exudate = bright.field(0.4 * scale_px)
    wool = 0.6 * soft.field(2.2 * scale_px)
    haze = np.float32(rng.gamma(1.2, 0.035))  # an early cataract
    aperture = step(from_centre - 1, 0.015)
    noise = rng.standard_normal((size_px, size_px), dtype=np.float32) * np.float32(0.012)

    colours = zip(
        (0.86, 0.50, 0.26),  # retina without pigment
        (1.00, 0.74, 0.46),  # disc
        (1.00, 0.93, 0.62),  # exudates
        (0.30, 0.75, 0.80),  # absorbed by melanin
        (0.32, 0.95, 0.95),  # absorbed by blood
        (0.55, 0.45, 0.40),  # haze
        camera.white_balance,
        strict=True,
    )
    channels = []
    for retina, pale, lipid, by_melanin, by_blood, grey, balance in colours:
        c = retina + (pale * 0.92 - retina) * disc + 0.11 * cup
        c = c * np.exp(-by_melanin * melanin)
        c = c + (lipid - c) * 0.9 * exudate + (0.95 * pale - c) * wool
        c = c * np.exp(-by_blood * blood) * light
        c = c + (grey - c) * haze
        channels.append((c * (balance * aperture) + noise * (0.3 + aperture)) * 255)
    rgb = np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)
    focus_px = camera.blur_px + rng.gamma(1.5, 0.15)
    return Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(focus_px * scale_px)), lesions


def _walk(rng: np.random.Generator, start: Points, heading: Points, length: Points) -> Points:
    """Wandering paths [n, 16, 2] from points [n, 2], with headings [n] in radians."""
    steps = 16
    bend = np.cumsum(rng.normal(0, 0.13, (len(start), steps - 1)), axis=1)
    turn = rng.normal(0, 0.05, (len(start), 1)) * np.arange(steps - 1)
    angle = heading[:, None] + bend + turn
    moves = np.stack([np.cos(angle), np.sin(angle)], axis=2) * length[:, None, None] / steps
    return np.concatenate([start[:, None], start[:, None] + np.cumsum(moves, axis=1)], axis=1)


def _branches(
    rng: np.random.Generator, parents: Points, each: int, lengths: tuple[float, float]
) -> Points:
    """`each` side branches per parent, at 25-65 degrees to either side."""
    n, steps, _ = parents.shape
    at = rng.integers(steps // 5, steps - 2, (n, each))
    rows = np.arange(n)[:, None]
    start = parents[rows, at].reshape(-1, 2)
    ahead = (parents[rows, at + 1] - parents[rows, at]).reshape(-1, 2)
    side = np.where(rng.random(len(start)) < 0.5, -1, 1)
    heading = np.arctan2(ahead[:, 1], ahead[:, 0]) + side * rng.uniform(0.45, 1.15, len(start))
    return _walk(rng, start, heading, rng.uniform(*lengths, len(start)))


def _vessels(rng: np.random.Generator, veins: Layer, arteries: Layer) -> None:
    """Four arcades, each an artery and a vein, leave the disc; two of them enclose the macula."""
    t = np.linspace(0, 1, 24)[:, None]
    for layer, width, spread in ((veins, 0.034, 1.0), (arteries, 0.024, 0.93)):
        trunks = []
        for up in (-1, 1):
            temporal = [(0.50, 0.52 * spread), (-0.02, 0.82 * spread), (-0.80, 0.36 * spread)]
            nasal = [(0.66, 0.25), (0.82, 0.42 * spread), (1.02, 0.66 * spread)]
            for bends in (temporal, nasal):
                corners = np.array([(DISC[0], DISC[1] * up), *bends]) * (1, up)
                corners[1:] += rng.normal(0, 0.055, (3, 2))
                p0, p1, p2, p3 = corners
                path = (1 - t) ** 3 * p0 + 3 * t * (1 - t) ** 2 * p1
                path = path + 3 * t**2 * (1 - t) * p2 + t**3 * p3
                wiggle = np.sin(t * rng.uniform(8, 16) + rng.uniform(0, 6, 2))
                trunks.append(path + 0.012 * wiggle * np.minimum(1, 6 * t))
        stems = np.stack(trunks)
        boughs = _branches(rng, stems, 4, (0.25, 0.55))
        twigs = _branches(rng, boughs, 2, (0.12, 0.30))
        for paths, share in ((twigs, 0.3), (boughs, 0.5), (stems, 1.0)):
            for path in paths:
                # The fovea has no vessels.
                clear = np.hypot(*(path - FOVEA).T) > 0.13
                path = path if clear.all() else path[: int(np.argmin(clear))]
                if len(path) > 4:
                    layer.line(path, width * share, 0.55 + 0.45 * share)


def _somewhere(rng: np.random.Generator, spread: float = 0.42) -> Points:
    """A place for a lesion: around the posterior pole, but not on the fovea or the disc."""
    while True:
        at = rng.normal((0.15, 0.0), spread)
        off_disc = np.hypot(*(at - DISC)) > DISC_RADIUS + 0.05
        if np.hypot(*at) < 0.9 and np.hypot(*(at - FOVEA)) > 0.1 and off_disc:
            return at


def _retinopathy(
    rng: np.random.Generator, severity: float, red: Layer, bright: Layer, soft: Layer, veins: Layer
) -> None:
    onset, mild, moderate, severe = GRADE_CUTS
    if severity < onset:
        return
    course = [onset, mild, mild + 0.05, moderate, severe, 3.0]
    microaneurysms = 2 + rng.poisson(np.interp(severity, course, [3.0, 7, 7, 11, 14, 16]))
    haemorrhages = rng.poisson(np.interp(severity, course, [0.0, 0.4, 2.5, 9, 20, 24]))
    exudates = rng.poisson(np.interp(severity, course, [0.0, 0.2, 0.9, 2.0, 2.6, 3]))
    cotton_wool = rng.poisson(np.interp(severity, course, [0.0, 0.1, 0.3, 0.8, 2.4, 3]))

    for _ in range(microaneurysms):
        red.blob(rng, _somewhere(rng), rng.uniform(0.016, 0.025), strength=rng.uniform(0.7, 1))
    for _ in range(haemorrhages):
        at, size = _somewhere(rng, 0.5), rng.uniform(0.022, 0.045)
        if rng.random() < 0.4:  # flame-shaped: along the nerve fibres, which run to the disc
            along = np.arctan2(*(at - DISC)[::-1])
            red.blob(rng, at, size * 0.7, 2.2, along, 0.35, 0.8)
        else:
            red.blob(rng, at, size, rng.uniform(1, 1.4), rng.uniform(0, 3), 0.3, 0.9)
    for _ in range(exudates):
        middle, ring = _somewhere(rng, 0.3), rng.uniform(0.05, 0.13)
        for angle in rng.uniform(0, rng.uniform(2.5, 6.3), rng.integers(6, 16)):
            at = middle + ring * rng.normal(1, 0.15) * np.array([np.cos(angle), np.sin(angle)])
            bright.blob(rng, at, rng.uniform(0.009, 0.022), ragged=0.4)
    for _ in range(cotton_wool):
        soft.blob(rng, _somewhere(rng), rng.uniform(0.035, 0.06), 1.3, rng.uniform(0, 3))
    if severity > severe:
        _proliferation(rng, red, veins)


def _proliferation(rng: np.random.Generator, red: Layer, veins: Layer) -> None:
    """New vessels on the disc or elsewhere, or blood that settles in front of the retina."""
    if rng.random() < 0.65:
        at_disc = rng.random() < 0.5
        for _ in range(1 if at_disc else rng.integers(1, 4)):
            at = DISC + rng.normal(0, 0.05, 2) if at_disc else _somewhere(rng, 0.5)
            count = int(rng.integers(18, 28))
            heading = rng.uniform(0, 2 * np.pi) + rng.uniform(-1.6, 1.6, count)
            paths = _walk(rng, np.tile(at, (count, 1)), heading, rng.uniform(0.15, 0.3, count))
            curl = 0.02 * np.sin(np.arange(16) * rng.uniform(0.8, 1.4, (count, 1)))
            for path in paths + curl[..., None]:
                veins.line(path, 0.014, 1.0)
    else:
        at, size = _somewhere(rng, 0.35), rng.uniform(0.13, 0.22)
        angle = np.linspace(0, np.pi, 16)  # boat-shaped, with a level surface
        boat = np.stack([np.cos(angle), 0.75 * np.sin(angle)], axis=1) * size
        boat[:, 1] *= 1 + 0.1 * rng.normal(size=16)
        px = (at + boat) * red.scale + red.centre
        red.pen.polygon(px.ravel().tolist(), fill=235)


def _nuisances(rng: np.random.Generator, age: int, bright: Layer, soft: Layer, red: Layer) -> None:
    """What a grader must ignore: drusen of old age, dust on the lens, pigment spots."""
    if rng.random() < 0.1 + 0.006 * max(0, age - 50):
        for _ in range(rng.integers(4, 14)):
            at = FOVEA + rng.normal(0, 0.16, 2)
            soft.blob(rng, at, rng.uniform(0.012, 0.024), strength=0.8)
    if rng.random() < 0.15:
        for _ in range(rng.integers(1, 4)):
            bright.blob(rng, rng.uniform(-0.8, 0.8, 2), 0.014, strength=0.5)
    for _ in range(rng.poisson(0.3)):
        red.blob(rng, _somewhere(rng), rng.uniform(0.012, 0.02), strength=0.55)
