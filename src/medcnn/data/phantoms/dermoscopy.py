"""Phantom dermoscopic photographs of pigmented lesions.

The diagnoses differ according to the ABCD rule of dermoscopy (Stolz et al., Eur J Dermatol
1994;4:521-7: asymmetry, border, colours, dermoscopic structures) and the two-step method (Marghoob
and Braun, J Am Acad Dermatol 2010;63:1017-25):

    nevus       symmetric, one or two browns, a regular network or globules, a border that fades
    melanoma    asymmetric, many colours, a broken network, blue-white veil, scars, streaks, dots
    keratosis   (seborrhoeic) stuck on: sharp border, fissures, white cysts, dark plugs, dull brown
    basal_cell  hardly any brown; branching vessels, blue-grey nests, sometimes an ulcer

Every lesion is typical only to some degree, and may show a structure of another diagnosis. A lesion
is drawn once and photographed 1-3 times, rotated, zoomed and lit differently, sometimes through
hair, with a ruler, or in a round field. Structures are two to three times larger than life.

Lengths are in half widths of an unzoomed photograph: about 8 mm, so 0.1 is 0.8 mm.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from medcnn.data.phantoms.drawing import Drawing, Floats, grid, smooth_noise, step
from medcnn.data.phantoms.lesion_signs import Look, look_of

STREAM = 2  # gives each kind its own random numbers
OVERSAMPLING = 2
EXTENT = 1.75  # half width of the drawn skin, so that even a rotated photograph shows only skin
SHARES = {"nevus": 0.44, "melanoma": 0.21, "keratosis": 0.19, "basal_cell": 0.16}
MEAN_AGE = {"nevus": 44, "melanoma": 56, "keratosis": 60, "basal_cell": 61}
SITES = ("trunk", "arm", "leg", "head")
# Basal cell carcinoma follows sun exposure, hence the head.
SITE_SHARES = {"basal_cell": (0.3, 0.15, 0.15, 0.4)}
USUAL_SITE_SHARES = (0.45, 0.2, 0.2, 0.15)


def draw(lesion: int, seed: int, size_px: int) -> Iterator[Drawing]:
    """All photographs of one lesion."""
    rng = np.random.default_rng([seed, STREAM, lesion])
    diagnosis = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    age = int(np.clip(rng.normal(MEAN_AGE[diagnosis], 14), 18, 92))
    sex = str(rng.choice(["F", "M"]))
    site = str(rng.choice(SITES, p=SITE_SHARES.get(diagnosis, USUAL_SITE_SHARES)))
    photographs = int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
    hairs = int(rng.poisson(12)) if rng.random() < (0.25 if sex == "F" else 0.45) else 0
    skin, border = _skin_with_lesion(rng, diagnosis, size_px)
    for number in range(1, photographs + 1):
        rng = np.random.default_rng([seed, STREAM, lesion, number])
        jpeg = io.BytesIO()
        picture, place = _photograph(rng, skin, border, hairs, size_px)
        picture.save(jpeg, "JPEG", quality=92, subsampling=0)
        yield Drawing(
            name=f"L{lesion:04d}_{number}.jpg",
            data=jpeg.getvalue(),
            row={
                "lesion": f"L{lesion:04d}",
                "diagnosis": diagnosis,
                "site": site,
                "age": str(age),
                "sex": sex,
            },
            lesions={diagnosis: place},
        )


def _honeycomb(x: Floats, y: Floats, pitch: float) -> Floats:
    """1 in the holes of a hexagonal net, 0 on its lines."""
    k = 4 * math.pi / (math.sqrt(3) * pitch)
    waves = np.cos(k * x)
    for slant in (-1, 1):
        waves = waves + np.cos(k * (-0.5 * x + slant * math.sqrt(0.75) * y))
    return np.asarray(np.clip((waves + 1.5) / 4.5, 0, 1), dtype=np.float32)


class Layer:
    """A mask from 0 to 1 to draw on, in the coordinates of the skin."""

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px
        self.scale = size_px * OVERSAMPLING / (2 * EXTENT)
        self.image = Image.new("L", (size_px * OVERSAMPLING, size_px * OVERSAMPLING))
        self.pen = ImageDraw.Draw(self.image)

    def spot(self, rng: np.random.Generator, x: float, y: float, radius: float) -> None:
        angle = np.linspace(0, 2 * np.pi, 13)[:-1]
        reach = radius * rng.uniform(0.75, 1.2, 12)
        px = np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], axis=1)
        self.pen.polygon(((px + EXTENT) * self.scale).ravel().tolist(), fill=255)

    def branch(
        self, rng: np.random.Generator, x: float, y: float, heading: float, width: float
    ) -> None:
        """A vessel that wanders, branches and gets thinner."""
        angle = heading + np.cumsum(rng.normal(0, 0.25, 10))
        moves = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 0.045
        path = np.array([x, y]) + np.cumsum(moves, axis=0)
        px = ((path + EXTENT) * self.scale).ravel().tolist()
        self.pen.line(px, fill=255, width=max(1, round(width * self.scale)), joint="curve")
        if width > 0.011:
            for at in (9, *rng.integers(3, 8, 2).tolist()):
                turn = rng.choice([-1, 1]) * rng.uniform(0.4, 1.0)
                self.branch(rng, path[at, 0], path[at, 1], angle[at] + turn, width * 0.62)

    def field(self, blur_px: float) -> Floats:
        image = self.image.reduce(OVERSAMPLING).filter(ImageFilter.GaussianBlur(blur_px))
        return np.asarray(image, dtype=np.float32) / np.float32(255)


Blend = tuple[Floats, tuple[float, float, float]]  # how much, of which colour


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesion:
    """The lesion's place on its canvas, and its structure. Every method draws from `rng`, so their
    order affects the picture."""

    rng: np.random.Generator
    look: Look
    canvas_px: int
    x: Floats
    y: Floats
    angle: Floats
    from_middle: Floats
    radius: float
    outside: Floats  # distance from the border, negative inside
    lesion: Floats  # 1 inside

    @property
    def scale_px(self) -> float:
        return self.canvas_px / 384

    @classmethod
    def drawn(cls, rng: np.random.Generator, look: Look, canvas_px: int) -> _Lesion:
        """A deformed circle; high harmonics make it ragged."""
        x, y = (EXTENT * axis for axis in grid(canvas_px))
        angle, from_middle = np.arctan2(y, x), np.hypot(x, y)
        radius = rng.uniform(0.48, 0.78)
        outline = 1 + 0.12 * np.cos(2 * angle + rng.uniform(0, 6))
        for k in range(3, 10):
            swing = 0.16 * look.irregular / (k - 1) ** 0.6 * rng.normal()
            outline = outline + swing * np.cos(k * angle + rng.uniform(0, 6))
        outside = from_middle - radius * outline + 0.02 * smooth_noise(rng, canvas_px, 40)
        return cls(
            rng=rng,
            look=look,
            canvas_px=canvas_px,
            x=x,
            y=y,
            angle=angle,
            from_middle=from_middle,
            radius=radius,
            outside=outside,
            lesion=step(outside, 2 * look.edge),
        )

    def zone(self, share: float) -> Floats:
        """Patches that cover about `share` of the lesion, away from its centre."""
        hills = smooth_noise(self.rng, self.canvas_px, 5)
        tilt = self.rng.normal(0, 0.8, 2)
        patches: Floats = step(1.1 - 2.4 * share - hills - tilt[0] * self.x - tilt[1] * self.y, 0.5)
        return patches * self.lesion

    def scattered(self, count: float, smallest: float, largest: float, aside: float) -> Layer:
        """Spots inside the lesion; `aside` of 1 puts them all to one side."""
        layer = Layer(self.canvas_px)
        middle = self.rng.uniform(0, 2 * np.pi)
        for _ in range(self.rng.poisson(count)):
            at = middle + self.rng.uniform(-np.pi, np.pi) * (1 - 0.75 * aside)
            reach = self.radius * math.sqrt(self.rng.uniform(0.02, 0.8))
            size = self.rng.uniform(smallest, largest)
            layer.spot(self.rng, reach * math.cos(at), reach * math.sin(at), size)
        return layer

    def melanin(self) -> Floats:
        """Optical depth of the epidermis: brown, and black at high concentration."""
        rng, look = self.rng, self.look
        uneven = look.asymmetric * (
            0.55 * smooth_noise(rng, self.canvas_px, 4) + rng.normal(0, 0.5) * self.x
        )
        centre = 0.25 * rng.normal() * (1 - (self.from_middle / self.radius) ** 2)
        melanin: Floats = look.brown * np.clip(0.85 + 0.6 * uneven + centre, 0.12, 2.6)
        warp = 0.03 + 0.05 * look.asymmetric
        xw = self.x + warp * smooth_noise(rng, self.canvas_px, 7)
        yw = self.y + warp * smooth_noise(rng, self.canvas_px, 7)
        holes = _honeycomb(xw, yw, rng.uniform(0.10, 0.15))
        intact = 1 - look.asymmetric * self.zone(0.45)
        melanin = melanin * (1 + intact * look.network * (0.65 - 1.7 * holes))
        melanin = melanin * (1 + intact * look.globules * (1.5 * holes**1.5 - 0.4))
        if look.fissures:
            ridges = np.abs(smooth_noise(rng, self.canvas_px, 13))
            melanin = melanin + look.fissures * (0.9 * np.exp(-((ridges / 0.16) ** 2)) - 0.15)
        melanin = np.clip(melanin, 0.02, None) * self.lesion
        dots = self.scattered(26 * look.dots, 0.012, 0.035, look.asymmetric) if look.dots else None
        if look.streaks:
            sector = np.cos(self.angle - rng.uniform(0, 6)) > 1 - 1.1 * look.streaks
            rays = (
                np.cos(self.angle * rng.integers(30, 44) + 3 * smooth_noise(rng, self.canvas_px, 5))
                > 0.1
            )
            fringe = np.exp(-(((self.outside - 0.03) / 0.09) ** 2))
            melanin = melanin + 1.5 * sector * rays * fringe
        plugs = self.scattered(9 * look.cysts, 0.02, 0.05, 0.2) if look.cysts else None
        for layer, depth in ((dots, 1.8), (plugs, 1.1)):
            if layer is not None:
                melanin = melanin + depth * layer.field(1.0 * self.scale_px) * self.lesion
        return melanin

    def blood(self) -> Floats:
        """Optical depth of blood, including vessels."""
        rng, look = self.rng, self.look
        blood = look.red * self.lesion * (0.7 + 0.3 * smooth_noise(rng, self.canvas_px, 6))
        blood = blood + 0.12 + 0.05 * smooth_noise(rng, self.canvas_px, 9)
        if look.vessels:
            tree = Layer(self.canvas_px)
            for _ in range(rng.integers(2, 5)):
                at, reach = rng.uniform(0, 2 * np.pi), self.radius * rng.uniform(0.5, 1.0)
                heading = at + np.pi + rng.normal(0, 0.5)
                tree.branch(rng, reach * math.cos(at), reach * math.sin(at), heading, 0.026)
            blood = blood + 1.3 * look.vessels * tree.field(0.6 * self.scale_px)
        return blood

    def blends(self) -> list[Blend]:
        """Everything on top of skin and melanin."""
        look, blends = self.look, list[Blend]()
        deep = step(self.outside + 0.15, 0.3)  # 1 well inside the border
        if look.veil:
            blends.append((0.8 * look.veil * self.zone(0.35) * deep, (0.44, 0.47, 0.54)))
        if look.scar:
            blends.append((0.75 * look.scar * self.zone(0.25) * deep, (0.88, 0.79, 0.77)))
        if look.nests:
            nests = self.scattered(6 * look.nests + 1, 0.05, 0.12, 0.3).field(2.5 * self.scale_px)
            blends.append((0.85 * nests, (0.34, 0.31, 0.37)))
        if look.cysts:
            cysts = self.scattered(16 * look.cysts, 0.018, 0.045, 0.1).field(1.0 * self.scale_px)
            blends.append((0.75 * cysts * self.lesion, (0.95, 0.88, 0.74)))
        if look.ulcer:
            crust = self.scattered(2 * look.ulcer, 0.08, 0.2, 0.3).field(2.0 * self.scale_px)
            blends.append((0.85 * crust, (0.50, 0.18, 0.12)))
        return blends


def _skin_with_lesion(
    rng: np.random.Generator, diagnosis: str, size_px: int
) -> tuple[Image.Image, Image.Image]:
    """The skin, and a mask of the lesion on it."""
    look = look_of(rng, diagnosis)
    canvas_px = size_px * 3 // 2
    drawn = _Lesion.drawn(rng, look, canvas_px)
    melanin, blood, blends = drawn.melanin(), drawn.blood(), drawn.blends()

    # Skin: mottled, with fine furrows across it.
    furrows = np.abs(smooth_noise(rng, canvas_px, 55)) + np.abs(smooth_noise(rng, canvas_px, 80))
    tone = rng.beta(2, 3)
    mottle = (
        1 + 0.025 * smooth_noise(rng, canvas_px, 12) + 0.018 * furrows * (1 - 0.5 * drawn.lesion)
    )
    dull = 0.25 * (diagnosis == "keratosis") * drawn.lesion * rng.uniform(0, 1)
    channels = []
    for c, (light_skin, dark_skin, by_melanin, by_blood, waxy) in enumerate(
        (
            (0.93, 0.72, 0.50, 0.12, 0.62),
            (0.74, 0.52, 0.84, 0.85, 0.55),
            (0.66, 0.40, 1.02, 0.80, 0.42),
        )
    ):
        skin = (light_skin + (dark_skin - light_skin) * tone) * mottle
        skin = skin + (waxy - skin) * dull
        colour = skin * np.exp(-by_melanin * melanin - by_blood * blood)
        for share, over in blends:
            colour = colour + (over[c] - colour) * share
        channels.append(colour)
    rgb = np.clip(np.stack(channels, axis=-1) * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(rgb), Image.fromarray((drawn.lesion > 0.5).astype(np.uint8))


def _photograph(
    rng: np.random.Generator, skin: Image.Image, border: Image.Image, hairs: int, size_px: int
) -> tuple[Image.Image, NDArray[np.bool_]]:
    """The photograph, and where the lesion is in it."""
    turn, zoom = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 1.3)
    a, b = math.cos(turn) / zoom, math.sin(turn) / zoom
    if rng.random() < 0.5:
        a, b = -a, -b
    shift = skin.width / 2 * (1 + rng.normal(0, 0.05, 2))
    half, per_px = size_px / 2, skin.width / EXTENT / size_px
    a, b = a * per_px, b * per_px
    matrix = (a, b, shift[0] - (a + b) * half, -b, a, shift[1] - (a - b) * half)
    image = skin.transform(
        (size_px, size_px), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    lesion = border.transform((size_px, size_px), Image.Transform.AFFINE, matrix)
    scale_px = size_px / 256
    if hairs:
        _hair(rng, image, hairs)
    if rng.random() < 0.15:
        _ruler(rng, image)
    image = image.filter(ImageFilter.GaussianBlur((0.3 + rng.gamma(1.5, 0.2)) * scale_px))

    x, y = grid(size_px)
    light = rng.normal(1, 0.08) + rng.normal(0, 0.06) * x + rng.normal(0, 0.06) * y
    light = light - rng.uniform(0.02, 0.16) * (x**2 + y**2)
    if rng.random() < 0.2:
        light = light * step(np.hypot(x, y) - rng.uniform(0.98, 1.15), 0.04)
    noise = 2.5 * rng.standard_normal((size_px, size_px, 1), dtype=np.float32)
    balance = rng.normal(1, (0.03, 0.03, 0.05)).astype(np.float32)
    rgb = np.asarray(image, dtype=np.float32) * light[..., None] * balance + noise
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8)), np.asarray(lesion) > 0


def _hair(rng: np.random.Generator, image: Image.Image, count: int) -> None:
    size_px = image.width
    layer = Image.new("L", (size_px * OVERSAMPLING, size_px * OVERSAMPLING))
    pen = ImageDraw.Draw(layer)
    main, t = rng.uniform(0, np.pi), np.linspace(-0.5, 0.5, 14)
    for _ in range(count):
        way, length, bow = main + rng.normal(0, 0.5), rng.uniform(0.5, 1.6), rng.normal(0, 0.3)
        along, across = t * length, bow * t**2
        at = rng.uniform(-0.1, 1.1, 2)
        px = np.stack(
            [
                at[0] + along * math.cos(way) - across * math.sin(way),
                at[1] + along * math.sin(way) + across * math.cos(way),
            ],
            axis=1,
        )
        wide_px = max(1, round(rng.uniform(0.7, 1.6) * OVERSAMPLING * size_px / 256))
        pen.line((px * layer.width).ravel().tolist(), fill=220, width=wide_px, joint="curve")
    dark = tuple(int(c) for c in np.array([55, 40, 32]) + rng.integers(-20, 30))
    image.paste(dark, mask=layer.reduce(OVERSAMPLING))


def _ruler(rng: np.random.Generator, image: Image.Image) -> None:
    """Millimetre marks along one edge."""
    size_px, pen = image.width, ImageDraw.Draw(image)
    top, gap_px, grey = rng.random() < 0.5, size_px / 16, (40, 40, 45)
    for i in range(1, 16):
        long_px = size_px * (0.075 if i % 5 == 0 else 0.04)
        along, across = (i * gap_px, i * gap_px), (0, long_px)
        ends = zip(along, across, strict=True) if top else zip(across, along, strict=True)
        pen.line(list(ends), fill=grey, width=max(1, size_px // 128))
