"""The groups of settings that commands share, with type, range and unit. Settings of a single
command are in its file in `verbs/`. Torch-free, so that wrong values are reported at once; defaults
are only in `configs/`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from medcnn.data.manifest import Modality
from medcnn.images import Fit, Frames
from medcnn.images.steps import STEPS, Chosen, chosen_steps
from medcnn.pixels.executors import Where
from medcnn.statistics.decisions import ReadoutConfig as ReadoutConfig
from medcnn.statistics.groupings import Asked, chosen_subgroups
from medcnn.system import settings
from medcnn.system.errors import UsageError
from medcnn.system.privacy import as_pseudonyms, keyed
from medcnn.system.registry import nearest
from medcnn.system.settings import Rule, shown, within

C = TypeVar("C")


class Precision(StrEnum):
    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Reproducible(StrEnum):
    FAST = "fast"
    STRICT = "strict"


class Compile(StrEnum):
    AUTO = "auto"
    OFF = "off"
    ON = "on"


PRESET_NAMES = ("auto", "none", *Modality)


def prevalence(value: Any) -> float | Mapping[str, float] | None:
    """One share for all labels, or a mapping label -> share; None if not given."""
    shares = value.values() if isinstance(value, Mapping) else [value]
    numbers = [v for v in shares if isinstance(v, int | float) and not isinstance(v, bool)]
    if value is not None and (len(numbers) < len(shares) or not all(0 < v < 1 for v in numbers)):
        raise UsageError(
            f"{value} should be a share between 0 and 1 such as 0.05, or one for each label such "
            "as {Mass: 0.05}."
        )
    # a grade is a number in a command, but a name like any other here
    return {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else value


Prevalence = Annotated[float | Mapping[str, float] | None, Rule(parse=prevalence)]
Subgroups = Annotated[Asked | None, Rule(parse=chosen_subgroups)]
Seed = Annotated[int, Rule(low=0, high=2**31 - 1)]


def title_of(value: Any) -> str | None:
    """The title in reports and folders; None: from the YAML. Raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise UsageError(f"{shown(value)} should be text. Write it in quotes.")
    if value is not None and not 0 < len(str(value)) <= 100:
        raise UsageError("should have 1 to 100 characters.")
    return None if value is None else str(value)


def device_of(value: Any) -> str:
    """`auto`, `cpu`, `cuda:1`, ...; its existence is checked later. Raises UsageError."""
    if isinstance(value, str) and re.fullmatch(r"auto|(cpu|cuda|mps|xpu|meta)(:\d{1,3})?", value):
        return value
    raise UsageError(f"{shown(value)} should be auto, cpu, cuda, cuda:1 or mps.")


def cache_of(value: Any) -> str:
    """`auto`, `off` or a folder. Raises UsageError."""
    if value is False:
        return "off"  # YAML reads this word as false
    if isinstance(value, str | int) and value is not True and str(value):
        return str(value)
    raise UsageError(f"{shown(value)} should be auto, off or a folder.")


def full_scale_of(value: Any) -> int | None:
    """How many of 16 bits are in use, or None for `auto`. Raises UsageError."""
    if value in (None, "auto"):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 8 <= value <= 16:
        return value
    raise UsageError(f"{value} should be auto, or a whole number of bits from 8 to 16.")


def micro_batch_of(value: Any) -> int | None:
    """A number of images, or None for `auto`. Raises UsageError."""
    if value in (None, "auto"):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise UsageError(f"{value} should be auto or a whole number of at least 1.")


def names_of(value: Any) -> Mapping[str, str | None]:
    """Class of an old model -> class here, or None if there is none. Raises UsageError."""
    known = value if isinstance(value, Mapping) else {"": []}
    if any(isinstance(v, bool | Mapping | list | tuple) for v in known.values()):
        raise UsageError(f"{shown(value)} should be a mapping such as {{old name: new name}}.")
    return {str(k): None if v is None else str(v) for k, v in known.items()}


Title = Annotated[str | None, Rule(parse=title_of)]
Device = Annotated[str, Rule(parse=device_of)]
Cache = Annotated[str, Rule(parse=cache_of)]
FullScale = Annotated[int | None, Rule(parse=full_scale_of)]
Names = Annotated[Mapping[str, str | None], Rule(parse=names_of)]
Steps = Annotated[Chosen, Rule(parse=chosen_steps)]
MicroBatch = Annotated[int | None, Rule(parse=micro_batch_of)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where the images are and how they are processed for the network.

    `title` is the name in reports and run folders. `root` is a folder, `path` one file; `stand_in`
    names the phantoms to draw if neither is given. `modality` null means that of the adapter,
    `size_px` null that the weights decide; `folds` and `fold` are null except in a
    cross-validation, where `fold` is the test split; `window` and `frames` are null if a checkpoint
    has them (`READING`). `options` has all other settings: those of the adapter `name`, bound to
    its signature.
    """

    name: str
    title: Title
    root: str | None
    path: str | None
    stand_in: str | None
    modality: Modality | None
    size_px: int | None = within(8, 4096)
    channels: int = within(1, 3)
    fit: Fit
    bits: int = within(8, 16)
    window: int | None = within(0)
    frames: Frames | None
    full_scale: FullScale
    steps: Steps
    validation_share: float = within(0.01, 0.9)
    test_share: float = within(0.01, 0.9)
    names: Names
    train_groups: int | None = within(1)
    split_seed: int | None = within(0, 2**31 - 1)
    folds: int | None = within(2)
    fold: int | None = within(1)
    cache: Cache
    executor: Where
    options: Mapping[str, Any]

    def called(self) -> str:
        return self.title or self.name

    def impossible(self) -> list[str]:
        """Settings with which training is impossible."""
        faults = []
        if self.channels == 2:
            faults.append("data.channels=2 is not possible; images have 1 or 3 channels.")
        if self.bits not in (8, 16):
            faults.append(
                f"data.bits={self.bits} is not possible; pixels are kept in 8 or 16 bits."
            )
        faults += [
            f"data.steps: {step['name']} changes colours, and data.channels=1 has no colours."
            for step in self.steps
            if self.channels == 1 and STEPS[step["name"]].colour
        ]
        test, given = self.test_share, f"data.test_share={self.test_share:g}"
        if self.folds is not None:
            test, given = 1 / self.folds, f"folds={self.folds}"
        if self.validation_share + test >= 0.95:
            faults.append(
                f"data.validation_share={self.validation_share:g} and {given} leave less than 5 % "
                "of the patients to train on."
            )
        if (self.fold is None) != (self.folds is None) or (self.fold or 0) > (self.folds or 0):
            faults.append(
                f"data.fold={shown(self.fold)} and data.folds={shown(self.folds)}: a fold is a "
                "number from 1 to data.folds, and both are given or neither."
            )
        return faults


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingConfig:
    """What may be needed to read a file at all; null: as in the checkpoint."""

    window: int | None = within(0)
    frames: Frames | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomConfig:
    """Results as DICOM objects, which contain the names of patients."""

    folder: str | None
    identified: bool
    per: str

    def contradictions(self) -> list[str]:
        if self.per not in ("image", "study"):
            return [f"dicom.per={self.per} is not one of image, study."]
        if self.per == "study" and self.folder is None:
            return ["dicom.per=study has no effect without dicom=FOLDER."]
        if self.identified and self.folder is None:
            return ["dicom.identified=true has no effect without dicom=FOLDER."]
        if self.folder is not None and not self.identified:
            return [
                f"dicom={self.folder}: a result that an archive can file contains the name of the "
                "patient. If that folder may contain names, add dicom.identified=true."
            ]
        return []


# Preprocessing that a command may change although the checkpoint has the rest.
READING = tuple(f.name for f in dataclasses.fields(ReadingConfig))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLimits:
    """What the audit allows, and whether near-duplicates are listed."""

    max_bad: int = within(0)
    allow: tuple[str, ...]
    copies: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    backbone: str
    weights: str
    partial: bool
    drop_path: float | None = within(0, 0.9)
    auxiliary: bool
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An entry of a table by name, with options from its signature."""

    name: str
    options: Mapping[str, Any]


def choice_of(value: Any) -> Choice:
    """A name, or a mapping of the name and its options. Raises UsageError."""
    options = dict(value) if isinstance(value, Mapping) else {"name": value}
    if not isinstance(name := options.pop("name", None), str):
        raise UsageError(f"{shown(value)} should be a name, or a mapping with a name.")
    return Choice(name=name, options=options)


def policy_of(value: Any) -> Choice | None:
    """A choice, or null: as the preset has it. Raises UsageError."""
    return None if value is None else choice_of(value)


EXPLANATIONS = ("gradcam", "hirescam", "integrated_gradients", "occlusion")


def explanation_of(value: Any) -> Choice | None:
    """A method of explanation with its options, or null: none. Raises UsageError."""
    chosen = None if value is None else choice_of(value)
    if chosen and chosen.name not in EXPLANATIONS:
        raise UsageError(
            f"{shown(chosen.name)} is not one of {', '.join(EXPLANATIONS)}"
            f"{nearest(chosen.name, EXPLANATIONS)}"
        )
    return chosen


Explain = Annotated[Choice | None, Rule(parse=explanation_of)]
Policy = Annotated[Choice | None, Rule(parse=policy_of)]
NamedChoice = Annotated[Choice, Rule(parse=choice_of)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """Settings of every optimizer; `options` are its own (momentum). If `lr` is null, the starting
    weights decide."""

    name: str
    lr: float | None = within(1e-12, 100)
    weight_decay: float = within(0, 10)
    l2_sp: float = within(0, 10)
    head_lr_factor: float = within(1e-6, 1e6)
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationConfig:
    """A preset by name; every other setting is null (as in the preset) or replaces it."""

    preset: str
    horizontal_flip: bool | None
    vertical_flip: bool | None
    rotation_deg: float | None = within(0, 180)
    scale: float | None = within(0, 0.9)
    translate: float | None = within(0, 0.5)
    brightness: float | None = within(0, 1)
    contrast: float | None = within(0, 1)
    mixup_alpha: float | None = within(0, 10)
    cutmix_alpha: float | None = within(0, 10)
    policy: Policy
    blur_px: float | None = within(0, 20)
    noise: float | None = within(0, 0.5)
    jpeg_quality: int | None = within(0, 100)
    erase: float | None = within(0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerConfig:
    epochs: int = within(1)
    batch_size: int = within(1)
    micro_batch: MicroBatch
    accumulate: int = within(1)
    warmup_share: float = within(0, 0.9)
    clip_norm: float | None = within(1e-6)
    ema_decay: float = within(0, 0.999999)
    swa_from: float | None = within(0, 0.99)
    score: str
    patience: int | None = within(1)
    flip_average: bool
    precision: Precision
    compile: Compile
    channels_last: bool
    device: Device
    threads: int | None = within(1)
    save_every_s: float = within(0)
    sync_batchnorm: bool
    reproducible: Reproducible
    keep_state: bool
    dry_run: bool
    overfit_batches: int | None = within(1, 100)
    watch: bool


def build(
    cls: type[C], composed: Mapping[str, Any], known: Mapping[str, Iterable[str]] | None = None
) -> C:
    """Like `settings.build`; annotations of `cls` may name classes in this file."""
    return settings.build(cls, composed, known or {}, globals())


def to_json(config: Any) -> dict[str, Any]:
    """Plain nested dicts of a config, from which `build` restores it. Patients in `data.exclude`
    become pseudonyms, which `data.exclude` understands."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    options = (plain.get("data") or {}).get("options") or {}
    exclude = options.get("exclude") or {}
    for column, given in exclude.items() if isinstance(exclude, dict) else ():
        # for any column, since any may contain names
        exclude[column] = as_pseudonyms(map(str, given if isinstance(given, list) else [given]))
    return plain


def data_from_json(stored: Mapping[str, Any]) -> DataConfig:
    # settings that earlier checkpoints lack, and one that only they have
    earlier: dict[str, Any] = {"title": None, "window": 0, "frames": "error", "steps": "none"}
    earlier |= {"full_scale": 16, "executor": "here", "names": {}, "train_groups": None}
    earlier |= {"folds": None, "fold": None, "split_seed": None}
    kept = {k: v for k, v in stored.items() if k != "max_unreadable"}
    return build(DataConfig, {**earlier, **kept})


def short_hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def settings_digest(*settings: Any) -> str:
    """A digest for the name of a folder: the same for the same settings and key. Settings may
    contain a path with a name, which could be guessed from a digest without a key."""
    return keyed(json.dumps(settings, sort_keys=True), "settings", 4).hex()
