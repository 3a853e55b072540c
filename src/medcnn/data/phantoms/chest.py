"""Phantom chest radiographs as 16-bit DICOM, with four findings that may occur together.

    effusion      fluid levels the costophrenic angle and climbs the chest wall (the meniscus)
    cardiomegaly  the heart takes more than half of the inner width of the thorax (Danzer, Am J Med
                  Sci 1919;157:513-24); a reader who judges by eye is inexact at the limit
    nodule        round opacities of 2-4 cm, larger than most real ones
    pneumothorax  a thin pleural line, and no lung markings between it and the chest wall

The heart looks larger on AP films, poor inspiration crowds the bases, electrodes and nipples look
like nodules and skin folds like a pleural line. A patient's findings mostly persist over the
images, and some were not assessed: their cells are blank.

The files are Digital X-Ray Images For Presentation (DICOM PS3.3 A.26), 12 bits stored in 16,
explicit little endian; some are MONOCHROME1. For this class the standard fixes the rescale slope
to 1 and the intercept to 0 (PS3.3 C.8.11.3). Lengths are in half widths of the image: 20 cm.
"""

from __future__ import annotations

import io
import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from medcnn.data.phantoms.drawing import Drawing, Floats, grid, smooth_noise, step

STREAM = 3  # gives each kind its own random numbers
OVERSAMPLING = 2
FINDINGS = ("effusion", "cardiomegaly", "nodule", "pneumothorax")
SHARES = {"effusion": 0.27, "nodule": 0.27, "pneumothorax": 0.22}
PERSISTENCE = 0.8
SCAR_SHARE = 0.1  # an old pleural scar blunts the angle like a little fluid
NOT_ASSESSED_SHARE = 0.06
LIMIT_OF_HEART = 0.52  # cardiothoracic ratio above which readers here call the heart enlarged
READER_SPREAD = 0.012
THORAX = 0.74  # half of the inner width
TOP_VALUE = 4095  # for 12 bits


@dataclass(frozen=True, slots=True)
class State:
    """What one image shows. Sides are -1 (the patient's right, on the left of the image) and 1."""

    view: str
    sex: str
    effusion: dict[int, float]  # side -> height of the fluid
    heart_ratio: float  # width of the heart over that of the thorax
    nodules: int
    pneumothorax: dict[int, float]  # side -> width of the gap


def draw(patient: int, seed: int, size_px: int) -> Iterator[Drawing]:
    """All images of one patient."""
    rng = np.random.default_rng([seed, STREAM, patient])
    sex = str(rng.choice(["F", "M"]))
    age = int(np.clip(rng.normal(57, 16), 18, 95))
    ill = {finding: bool(rng.random() < share) for finding, share in SHARES.items()}
    heart_ratio = rng.normal(0.475 + 0.0006 * (age - 57) + 0.02 * ill["effusion"], 0.055)
    side = int(rng.choice([-1, 1]))
    films = int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]))
    for number in range(1, films + 1):
        rng = np.random.default_rng([seed, STREAM, patient, number])
        now = {
            f: there if rng.random() < PERSISTENCE else bool(rng.random() < SHARES[f])
            for f, there in ill.items()
        }
        bedside = rng.random() < 0.25 + 0.25 * (now["effusion"] or now["pneumothorax"])
        both = rng.random() < 0.3
        ratio = heart_ratio + rng.normal(0, 0.01)
        fluid = {}
        if now["effusion"]:
            fluid = {s: 0.06 + rng.gamma(1.7, 0.06) for s in (side, -side)[: 1 + both]}
        elif rng.random() < SCAR_SHARE:
            fluid = {side: rng.uniform(0.02, 0.08)}
        state = State(
            view="AP" if bedside else "PA",
            sex=sex,
            effusion=fluid,
            heart_ratio=ratio,
            nodules=int(rng.integers(1, 4)) if now["nodule"] else 0,
            pneumothorax={-side: 0.05 + rng.gamma(1.8, 0.028)} if now["pneumothorax"] else {},
        )
        now["cardiomegaly"] = bool(ratio + rng.normal(0, READER_SPREAD) > LIMIT_OF_HEART)
        cells = {f: "" if rng.random() < NOT_ASSESSED_SHARE else str(int(now[f])) for f in FINDINGS}
        name = f"P{patient:04d}_{number}"
        density, places = _density(rng, state, size_px)
        dicom = _dicom(rng, density, state, age, patient, number, seed)
        yield Drawing(
            name=f"{name}.dcm",
            data=dicom,
            row={
                "patient": f"P{patient:04d}",
                **cells,
                "view": state.view,
                "age": str(age),
                "sex": sex,
            },
            lesions={f: place for f, place in places.items() if now[f]},
        )


def _density(
    rng: np.random.Generator, state: State, size_px: int
) -> tuple[Floats, dict[str, NDArray[np.bool_]]]:
    """Density before the detector (0 is air, about 1 the densest bone over the heart), and where
    each finding is."""
    bedside = state.view == "AP"
    scale_px = size_px / 320
    x, y = grid(size_px)
    lean, zoom = rng.normal(0, 0.025), rng.uniform(0.96, 1.08)
    right, down = rng.normal(0, 0.02), rng.normal(0, 0.025)
    x, y = (x - lean * y) * zoom + right, (y + lean * x) * zoom + down
    side = np.where(x < 0, np.float32(-1), np.float32(1))
    beside = np.abs(x)  # from the midline

    # Lungs: two rounded columns above the domes of the diaphragm.
    wide = THORAX + rng.normal(0, 0.015)
    inspiration = rng.normal(0, 0.035) - 0.06 * bedside
    narrow = 0.11 * np.clip(0.1 - y, 0, 1) ** 1.5  # towards the apex
    # A power above 2 makes an ellipse more like a box.
    half = wide - 0.41
    out = np.abs((beside - 0.41 + narrow) / half) ** 2.6 + np.abs((y - 0.16) / 1.0) ** 2.6
    wall = (out ** (1 / 2.6) - 1) * half
    dome_y = 0.46 + inspiration + 0.05 * (side > 0) + 0.9 * (beside - 0.33) ** 2
    lung = step(wall, 0.03) * step(y - dome_y, 0.02)

    # Heart: two thirds are left of the midline. AP images magnify it.
    width = state.heart_ratio * 2 * wide * (1.07 if bedside else 1.0)
    hx, hy = x - width / 6, y - (0.46 + inspiration - 0.33 * width)
    tilt = rng.normal(0.55, 0.06)
    along = hx * math.cos(tilt) + hy * math.sin(tilt)
    across = hy * math.cos(tilt) - hx * math.sin(tilt)
    heart = step(np.hypot(along / (width * 0.54), across / (width * 0.42)) - 1, 0.07)
    knob = step(np.hypot(x - 0.11, (y + 0.36) / 1.3) - rng.uniform(0.06, 0.09), 0.03)
    # The pulmonary trunk fills the bay between aorta and heart.
    trunk = step(np.hypot((x - 0.10) / 0.8, y + 0.12) - rng.uniform(0.12, 0.16), 0.05)
    middle = step(beside - 0.10 - 0.06 * np.clip(y + 0.4, 0, 1), 0.04)
    solid = 1 - (1 - heart) * (1 - 0.9 * knob) * (1 - 0.7 * trunk) * (1 - middle)

    fluid = np.zeros_like(x)
    for s, height in state.effusion.items():
        climb = 1.1 * height * np.clip((beside - 0.25) / (wide - 0.25), 0, 1.1) ** 3
        surface = 0.62 + inspiration - height - climb + 0.03 * rng.normal()
        fluid = fluid + (side == s) * step(surface - y, 0.07 + 0.25 * bedside * rng.random())
    fluid = 0.9 * np.clip(fluid, 0, 1)

    gap = np.zeros_like(x)  # air between lung and chest wall
    pleura = np.zeros_like(x)
    for s, depth in state.pneumothorax.items():
        # The lung falls away from the wall, most at the apex, where air rises.
        edge = wall + depth * np.clip(0.75 - 0.9 * y, 0.15, 1.6)
        edge = edge + 0.012 * smooth_noise(rng, size_px, 5)
        here = (side == s) * lung * step(-(beside - 0.2), 0.05)
        gap = gap + here * step(-edge, 0.02)
        pleura = pleura + here * np.exp(-((edge / 0.010) ** 2))
    markings = _markings(rng, size_px)
    texture = 0.035 * smooth_noise(rng, size_px, 9) + 0.02 * smooth_noise(rng, size_px, 30)
    crowded = 0.10 * np.clip(y - 0.1, 0, 1) + rng.gamma(1.5, 0.012)
    tissue = (0.55 * markings + texture + crowded) * (1 - gap) + 0.17 * pleura - 0.09 * gap
    nodules = _nodules(rng, state.nodules, wide, size_px)
    tissue = tissue + nodules

    air = lung * (1 - solid) * (1 - fluid)
    trachea = step(np.abs(x - 0.01) - 0.042, 0.02) * step(y + 0.27, 0.06)
    shoulder = 0.26 + 0.70 / (1 + np.exp(-(y + 0.86) / 0.06)) + 0.05 * np.cos(3 * y)
    body = step(beside - shoulder, 0.04)
    bubble = np.hypot((x - 0.36) / 0.14, (y - 0.68 - inspiration) / 0.07)
    flesh = 0.64 + 0.10 * y + 0.02 * heart * lung - 0.07 * trachea
    flesh = flesh - 0.16 * step(bubble - 1, 0.4) * rng.uniform(0, 1)
    density = flesh + (0.20 + tissue - flesh) * air
    density = density + _bones(rng, x, y, wide, bedside) + _breasts(x, y, state.sex)
    density = body * (density + 0.03 * smooth_noise(rng, size_px, 3))
    image = Image.fromarray(density + _nuisances(rng, bedside, size_px))
    blurred = image.resize((round(size_px / rng.uniform(1.0, 1.4)),) * 2, Image.Resampling.BOX)
    soft = np.asarray(blurred.resize((size_px, size_px), Image.Resampling.BICUBIC))
    grain = rng.standard_normal((size_px, size_px), dtype=np.float32)
    drawn = (fluid * lung > 0.3, heart > 0.5, nodules > 0.05, gap > 0.3)
    places = dict(zip(FINDINGS, drawn, strict=True))
    return np.asarray(soft + rng.uniform(0.008, 0.022) * scale_px * grain), places


def _bones(rng: np.random.Generator, x: Floats, y: Floats, wide: float, bedside: bool) -> Floats:
    """Ribs at the back (level, then falling) and front (rising outwards), collar bones, spine."""
    beside = np.abs(x)
    u = beside / wide
    gap = rng.uniform(0.135, 0.15)
    cage = step(u - 1.04, 0.04) * step(-(y + 0.80), 0.06) * step(y - 0.55, 0.35)
    first = rng.uniform(0, 1)
    behind = (y + 0.05 * np.sin(np.pi * u) - 0.22 * u**2) / gap + first
    before = (y - 0.5 * (1 - np.clip(u, 0, 1)) ** 1.3 + 0.12 * u**3) / gap + first
    bones = np.zeros_like(x)
    for phase, thick, dense in ((behind, 0.29, 0.10), (before, 0.26, 0.055)):
        off = np.abs(phase - np.floor(phase) - 0.5)
        cortex = np.exp(-(((off - thick) / 0.06) ** 2))
        bones = bones + dense * cage * (0.75 * step(off - thick, 0.08) + 0.5 * cortex)
    bones = bones * step(-(beside - 0.06), 0.04)

    lift = -0.66 - 0.14 * bedside * rng.random()
    collar = y - (lift - 0.14 * u + 0.05 * np.sin(2 * np.pi * u))
    off = np.abs(collar) - 0.035
    reach = step(beside - 0.85, 0.05) * step(0.07 - beside, 0.03)
    bones = bones + reach * (0.13 * step(off, 0.015) + 0.07 * np.exp(-((off / 0.012) ** 2)))

    discs = 0.5 + 0.5 * np.tanh(3 * np.sin(2 * np.pi * y / 0.13))
    spine = step(beside - 0.085, 0.02) * (0.06 + 0.035 * discs)
    blade = step(np.abs(beside - 0.80 + 0.15 * bedside - 0.25 * (y + 0.2)) - 0.09, 0.03)
    blade = blade * step(np.abs(y + 0.35) - 0.28, 0.06)
    return np.asarray(bones + spine + 0.05 * blade)


def _breasts(x: Floats, y: Floats, sex: str) -> Floats:
    if sex != "F":
        return np.zeros_like(x)
    return 0.06 * step(np.hypot((np.abs(x) - 0.45) / 0.32, (y - 0.28) / 0.26) - 1, 0.12)


def _markings(rng: np.random.Generator, size_px: int) -> Floats:
    """Lung vessels: they leave the hila, branch and get thinner."""
    fine_px = size_px * OVERSAMPLING
    layer = Image.new("L", (fine_px, fine_px))
    pen = ImageDraw.Draw(layer)

    def grow(x: float, y: float, heading: float, width: float) -> None:
        angle = heading + np.cumsum(rng.normal(0, 0.12, 7))
        moves = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 0.032
        path = np.array([x, y]) + np.cumsum(moves, axis=0)
        wide_px = max(1, round(width * fine_px / 2))
        grey = int(min(255, 90 + 5000 * width))
        pen.line(((path + 1) * fine_px / 2).ravel().tolist(), fill=grey, width=wide_px)
        if width > 0.009:
            for turn in (rng.uniform(0.1, 0.5), -rng.uniform(0.1, 0.5)):
                grow(path[-1, 0], path[-1, 1], angle[-1] + turn, width * 0.74)

    for side in (-1, 1):
        for fan in np.linspace(-1.35, 1.45, 7) + rng.normal(0, 0.1, 7):
            heading = fan if side > 0 else math.pi - fan
            grow(side * 0.15, 0.0 + 0.04 * rng.normal(), heading, rng.uniform(0.018, 0.032))
    soft = layer.reduce(OVERSAMPLING).filter(ImageFilter.GaussianBlur(0.8 * size_px / 320))
    return np.asarray(soft, dtype=np.float32) * np.float32(0.28 / 255)


def _place_in_lung(rng: np.random.Generator, wide: float) -> tuple[float, float]:
    while True:
        x = rng.uniform(0.26, wide - 0.10) * rng.choice([-1, 1])
        y = rng.uniform(-0.5, 0.32)
        if y < -0.05 or not -0.3 < x < 0.5:  # not behind the heart
            return float(x), float(y)


def _nodules(rng: np.random.Generator, count: int, wide: float, size_px: int) -> Floats:
    x, y = grid(size_px)
    total = np.zeros_like(x)
    for _ in range(count):
        at_x, at_y = _place_in_lung(rng, wide)
        radius = rng.uniform(0.048, 0.095)
        angle = np.arctan2(y - at_y, x - at_x)
        uneven = 1 + 0.1 * np.sin(angle * rng.integers(2, 6) + rng.uniform(0, 6))
        away = np.hypot(x - at_x, y - at_y) / (radius * uneven)
        total = total + rng.uniform(0.19, 0.32) * step(away - 1, 0.45)
    return total


def _nuisances(rng: np.random.Generator, bedside: bool, size_px: int) -> Floats:
    """Electrodes and wires, nipples, skin folds, and the lead letter that marks the side."""
    fine_px = size_px * OVERSAMPLING
    layer = Image.new("L", (fine_px, fine_px))
    pen = ImageDraw.Draw(layer)
    unit_px = fine_px / 2
    if rng.random() < (0.6 if bedside else 0.1):
        for _ in range(rng.integers(2, 5)):
            at = rng.uniform((-0.7, -0.6), (0.7, 0.4))
            end = np.array([rng.choice([-1.0, 1.0]), rng.uniform(-0.9, 0.9)])
            bow = (at + end) / 2 + (0, rng.uniform(0.05, 0.3))
            t = np.linspace(0, 1, 20)[:, None]
            wire = (1 - t) ** 2 * at + 2 * t * (1 - t) * bow + t**2 * end
            wire_px = ((wire + 1) * unit_px).ravel().tolist()
            pen.line(wire_px, fill=90, width=max(1, round(0.010 * unit_px)))
            (cx, cy), r = (at + 1) * unit_px, 0.035 * unit_px
            pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=110)
    marker_x = 0.88 * unit_px * 2 - 0.06 * unit_px
    pen.text((marker_x, 0.14 * unit_px), "L", fill=230, font_size=0.11 * unit_px)
    total = np.asarray(layer.reduce(OVERSAMPLING), dtype=np.float32) * np.float32(0.45 / 255)

    x, y = grid(size_px)
    if rng.random() < 0.15:  # nipples: a pair, low, at the same height
        away = np.hypot(np.abs(x) - rng.uniform(0.42, 0.52), y - rng.uniform(0.24, 0.34))
        total = total + 0.09 * step(away / 0.03 - 1, 0.4)
    if rng.random() < (0.25 if bedside else 0.06):  # a fold: a step without a line
        off = x * rng.choice([-1, 1]) - rng.uniform(0.45, 0.6) + 0.25 * y
        total = total + 0.10 * np.exp(off / 0.12) * (off < 0) * (np.abs(y + 0.1) < 0.45)
    return total


def _dicom(
    rng: np.random.Generator,
    density: Floats,
    state: State,
    age: int,
    patient: int,
    number: int,
    seed: int,
) -> bytes:
    inverted = bool(rng.random() < 0.35)
    gain, offset = rng.uniform(2300, 3300), rng.uniform(150, 500)
    values = np.clip(np.rint(density * gain + offset), 0, TOP_VALUE)
    dark, light = np.percentile(values, (2, 99.5))
    if inverted:
        values, dark, light = TOP_VALUE - values, TOP_VALUE - light, TOP_VALUE - dark

    def uid(*parts: object) -> UID:
        # A UUID as a UID (PS3.5 B.2), from a name instead of random numbers: bytes must not change.
        name = "/".join(str(p) for p in ("medcnn", "phantom", seed, density.shape[0], *parts))
        return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}")

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid(patient, number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("2.25.288021387046275318431087543245061345")
    meta.ImplementationVersionName = "MEDCNN_PHANTOM"

    d = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    d.SpecificCharacterSet = "ISO_IR 192"
    d.ImageType = ["DERIVED", "PRIMARY", ""]
    d.SOPClassUID = meta.MediaStorageSOPClassUID
    d.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    d.StudyDate = d.StudyTime = d.AccessionNumber = d.ReferringPhysicianName = ""
    d.Modality = "DX"
    d.PresentationIntentType = "FOR PRESENTATION"
    d.Manufacturer = "medcnn phantom"
    d.PatientName = f"Phantom^P{patient:04d}"
    d.PatientID = f"P{patient:04d}"
    d.PatientBirthDate = ""
    d.PatientSex = state.sex
    d.PatientAge = f"{age:03d}Y"
    d.BodyPartExamined = "CHEST"
    d.ViewPosition = state.view
    d.StudyInstanceUID = uid(patient, number, "study")
    d.SeriesInstanceUID = uid(patient, number, "series")
    d.StudyID = ""
    d.SeriesNumber = d.InstanceNumber = 1
    d.PatientOrientation = ["L", "F"]
    d.ImageLaterality = "U"
    d.SamplesPerPixel = 1
    d.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    d.Rows, d.Columns = density.shape
    spacing_mm = f"{400 / density.shape[0]:.4f}"
    d.ImagerPixelSpacing = [spacing_mm, spacing_mm]
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
    d.BurnedInAnnotation = "NO"
    d.PixelIntensityRelationship = "LOG"
    d.PixelIntensityRelationshipSign = 1 if inverted else -1
    d.WindowCenter = str(round((dark + light) / 2))
    d.WindowWidth = str(max(2, round(light - dark)))
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = "0", "1", "US"
    d.LossyImageCompression = "00"
    d.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    d.PixelData = values.astype("<u2").tobytes()
    file = io.BytesIO()
    d.save_as(file, enforce_file_format=True)
    return file.getvalue()
