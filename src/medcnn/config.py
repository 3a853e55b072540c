"""What a run is: every setting with its type, range and unit. Torch-free, so that a wrong value is
answered at once; the defaults stand in `configs/` and nowhere else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from medcnn.data.manifest import Modality, Split
from medcnn.images import Fit, Frames
from medcnn.images.steps import STEPS, Chosen, chosen_steps
from medcnn.pixels.executors import Where
from medcnn.statistics.decisions import ReadoutConfig
from medcnn.system.errors import UsageError
from medcnn.system.privacy import as_pseudonyms, keyed
from medcnn.system.registry import nearest

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
SPLIT_WORDS = ("auto", "all", *Split)


def within(low: float | None = None, high: float | None = None, called: str = "") -> Any:
    """A required number, `low` and `high` included.

    Args:
        called: `group.name` of a command, where that is not the name of the field: training and
            inference have one name for one thing.
    """
    return field(metadata={"low": low, "high": high, "called": called})


Prevalence = float | Mapping[str, float] | None


def prevalence(value: Any) -> Prevalence:
    """One share for every label, or a mapping label -> share; None where none is given."""
    shares = value.values() if isinstance(value, Mapping) else [value]
    numbers = [v for v in shares if isinstance(v, int | float) and not isinstance(v, bool)]
    if value is not None and (len(numbers) < len(shares) or not all(0 < v < 1 for v in numbers)):
        raise UsageError(
            f"{value} should be a share between 0 and 1 such as 0.05, or one for each label such "
            "as {Mass: 0.05}."
        )
    # a grade is a number in a command, and a name like any other here
    return {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else value


def title_of(value: Any) -> str | None:
    """What reports and folders are called; None: by the YAML. Raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise UsageError(f"{_shown(value)} should be text. Write it in quotes.")
    if value is not None and not 0 < len(str(value)) <= 100:
        raise UsageError("should have 1 to 100 letters.")
    return None if value is None else str(value)


def device_of(value: Any) -> str:
    """`auto`, `cpu`, `cuda:1`, ...; whether it is there is asked later. Raises UsageError."""
    if isinstance(value, str) and re.fullmatch(r"auto|(cpu|cuda|mps|xpu|meta)(:\d{1,3})?", value):
        return value
    raise UsageError(f"{_shown(value)} should be auto, cpu, cuda, cuda:1 or mps.")


def cache_of(value: Any) -> str:
    """`auto`, `off` or a folder. Raises UsageError."""
    if value is False:
        return "off"  # as YAML reads this word
    if isinstance(value, str | int) and value is not True and str(value):
        return str(value)
    raise UsageError(f"{_shown(value)} should be auto, off or a folder.")


def full_scale_of(value: Any) -> int | None:
    """How many bits of 16 are used, or `auto`, which is None. Raises UsageError."""
    if value in (None, "auto"):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 8 <= value <= 16:
        return value
    raise UsageError(f"{value} should be auto, or a whole number of bits from 8 to 16.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where the images are and what becomes of them before the network sees them.

    `title` is what reports and run folders call it. `root` is a folder, `path` one file; `stand_in`
    names the phantoms that are drawn where neither is given. `modality` null means what the adapter
    says; `window` and `frames` are null where a checkpoint brings them (`READING`). `options` holds
    what is left: the settings of the adapter `name`, bound to its signature.
    """

    name: str
    title: str | None = field(metadata={"parse": title_of})
    root: str | None
    path: str | None
    stand_in: str | None
    modality: Modality | None
    size_px: int = within(8, 4096)
    channels: int = within(1, 3)
    fit: Fit
    bits: int = within(8, 16)
    window: int | None = within(0)
    frames: Frames | None
    full_scale: int | None = field(metadata={"parse": full_scale_of})
    steps: Chosen = field(metadata={"parse": chosen_steps})
    validation_share: float = within(0.01, 0.9)
    test_share: float = within(0.01, 0.9)
    cache: str = field(metadata={"parse": cache_of})
    executor: Where
    options: Mapping[str, Any]

    def called(self) -> str:
        return self.title or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingConfig:
    """What a file may need to be read at all, and its reader therefore names; null: as the
    checkpoint has it."""

    window: int | None = within(0)
    frames: Frames | None


# Preprocessing that a command may change although the checkpoint brings the rest.
READING = tuple(f.name for f in dataclasses.fields(ReadingConfig))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLimits:
    """What is let through, and whether near-duplicates are searched."""

    max_bad: int = within(0)
    allow: tuple[str, ...]
    copies: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    backbone: str
    weights: str
    partial: bool
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An entry of a table by name, with the options of its own signature."""

    name: str
    options: Mapping[str, Any]


def choice_of(value: Any) -> Choice:
    """A name, or a mapping of the name and its options. Raises UsageError."""
    options = dict(value) if isinstance(value, Mapping) else {"name": value}
    if not isinstance(name := options.pop("name", None), str):
        raise UsageError(f"{_shown(value)} should be a name, or a mapping that has one.")
    return Choice(name=name, options=options)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """What every optimizer has; `options` are those of its own (momentum)."""

    name: str
    lr: float = within(1e-12, 100)
    weight_decay: float = within(0, 10)
    head_lr_factor: float = within(1e-6, 1e6)
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationConfig:
    """A preset by name; every other setting is null (as the preset has it) or replaces it."""

    preset: str
    horizontal_flip: bool | None
    vertical_flip: bool | None
    rotation_deg: float | None = within(0, 180)
    scale: float | None = within(0, 0.9)
    translate: float | None = within(0, 0.5)
    brightness: float | None = within(0, 1)
    contrast: float | None = within(0, 1)
    mixup_alpha: float | None = within(0, 10)


def micro_batch_of(value: Any) -> int | None:
    """A number of images, or `auto`, which is None. Raises UsageError."""
    if value in (None, "auto"):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise UsageError(f"{value} should be auto or a whole number of at least 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerConfig:
    epochs: int = within(1)
    batch_size: int = within(1)
    micro_batch: int | None = field(metadata={"parse": micro_batch_of})
    accumulate: int = within(1)
    warmup_share: float = within(0, 0.9)
    clip_norm: float | None = within(1e-6)
    ema_decay: float = within(0, 0.999999)
    score: str
    patience: int | None = within(1)
    flip_average: bool
    precision: Precision
    compile: Compile
    channels_last: bool
    device: str = field(metadata={"parse": device_of})
    threads: int | None = within(1)
    save_every_s: float = within(0)
    sync_batchnorm: bool
    reproducible: Reproducible
    keep_state: bool
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """`medcnn train`, which has a model and a head, or `medcnn finetune`, which takes both from
    its checkpoint."""

    seed: int = within(0, 2**31 - 1)
    run_dir: str | None
    checkpoint: str | None
    transfer: Choice = field(metadata={"parse": choice_of})
    data: DataConfig
    audit: AuditLimits
    model: ModelConfig | None
    head: Choice | None
    loss: Choice
    augmentation: AugmentationConfig
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    readout: ReadoutConfig
    prevalence: Prevalence = field(metadata={"parse": prevalence})


Space = Mapping[str, Mapping[str, Any] | list[Any]]


def space_of(value: Any) -> Space:
    """What a sweep searches: setting -> list of choices, or {low, high} and perhaps `log: true`.
    Raises UsageError."""
    if not isinstance(value, Mapping) or not value:
        raise UsageError(f"{value} should be a mapping such as {{optimizer.lr: [1e-3, 1e-4]}}.")
    for key, of in value.items():
        if isinstance(of, list) and of:
            continue
        if not isinstance(of, Mapping):
            raise UsageError(f"{key}: {of} should be a list of choices or {{low: 0, high: 1}}.")
        if unknown := [name for name in of if name not in ("low", "high", "log")]:
            raise UsageError(f"{key}: '{unknown[0]}' is not one of low, high, log.")
        ends, log = [of.get("low"), of.get("high")], of.get("log", False)
        numbers = [n for n in ends if isinstance(n, int | float) and not isinstance(n, bool)]
        if len(numbers) < 2 or numbers[0] >= numbers[1] or (log and numbers[0] <= 0):
            raise UsageError(
                f"{key}: low={ends[0]}, high={ends[1]} should be numbers, the low one first"
                f"{', both above 0 for log: true' if log else ''}."
            )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """What `medcnn sweep` varies, and how long it goes on."""

    trials: int = within(1)
    startup: int = within(1)
    prune_after: int | None = within(1)
    space: Space = field(metadata={"parse": space_of})


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepConfig:
    """`train` is what all trials share."""

    train: TrainConfig
    sweep: SearchConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    seed: int = within(0, 2**31 - 1)
    output: str
    data: DataConfig
    audit: AuditLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoConfig:
    """`ids` are the words of the command without a key."""

    ids: tuple[str, ...]
    data: DataConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """`data` is None where the images that the checkpoint was trained with are meant; `max_bad`
    None means as many as were allowed there, or none of other data."""

    checkpoint: str
    run_dir: str | None
    split: str
    seed: int = within(0, 2**31 - 1)
    batch_size: int = within(1, called="trainer.batch_size")
    device: str = field(metadata={"called": "trainer.device", "parse": device_of})
    precision: Precision = field(metadata={"called": "trainer.precision"})
    threads: int | None = within(1, called="trainer.threads")
    max_bad: int | None = within(0, called="audit.max_bad")
    prevalence: Prevalence = field(metadata={"parse": prevalence})
    data: DataConfig | None
    moved: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    run: str
    seed: int = within(0, 2**31 - 1)
    prevalence: Prevalence = field(metadata={"parse": prevalence})


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """`runs` are the words of the command without a key."""

    runs: tuple[str, ...]
    split: str
    scores: tuple[str, ...] | None
    margin: float | None = within(0)
    common: bool
    resamples: int = within(100)
    seed: int = within(0, 2**31 - 1)
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictConfig:
    checkpoint: str
    input: str
    output: str
    batch_size: int = within(1, called="trainer.batch_size")
    device: str = field(metadata={"called": "trainer.device", "parse": device_of})
    precision: Precision = field(metadata={"called": "trainer.precision"})
    threads: int | None = within(1, called="trainer.threads")
    max_unreadable: int = within(0, called="audit.max_bad")
    data: ReadingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewSize:
    per_class: int = within(1, 100)
    augmentations: int = within(0, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewConfig:
    seed: int = within(0, 2**31 - 1)
    output: str
    data: DataConfig
    augmentation: AugmentationConfig
    preview: PreviewSize


def build(
    cls: type[C], composed: Mapping[str, Any], known: Mapping[str, Any], where: str = ""
) -> C:
    """The frozen `cls` of a composed mapping.

    Args:
        composed: nested plain dicts, as Hydra composed them.
        known: names that exist, by key (`loss.name` -> names), for values that are a choice.
        where: begins the keys in messages.

    Raises:
        UsageError: every wrong, missing or unknown setting, one line each.
    """
    faults: list[str] = []
    built = _build(cls, composed, where, faults)
    for key, names in known.items():
        value = _at(composed, key)
        if isinstance(value, str | int | float) and str(value) not in names:
            faults.append(f"unknown {key} {_shown(value)!r}{nearest(str(value), names)}")
    if isinstance(built, TrainConfig | PreviewConfig) and not faults:
        faults += _contradictions(built.data)
    if isinstance(built, TrainConfig):
        at_once, batch_size = built.trainer.micro_batch, built.trainer.batch_size
        if at_once is not None and at_once > batch_size:
            faults.append(
                f"trainer.micro_batch={at_once} is a part of trainer.batch_size={batch_size}, so "
                "it cannot be more."
            )
    if faults:
        raise UsageError("\n".join(faults))
    assert built is not None
    return built


def _contradictions(data: DataConfig) -> list[str]:
    faults = []
    if data.channels == 2:
        faults.append("data.channels=2 is not possible; images have 1 or 3 channels.")
    if data.bits not in (8, 16):
        faults.append(f"data.bits={data.bits} is not possible; pixels are kept in 8 or 16 bits.")
    faults += [
        f"data.steps: {step['name']} changes colours, and data.channels=1 has no colours."
        for step in data.steps
        if data.channels == 1 and STEPS[step["name"]].colour
    ]
    if data.validation_share + data.test_share >= 0.95:
        faults.append(
            f"data.validation_share={data.validation_share:g} and data.test_share="
            f"{data.test_share:g} leave less than 5 % of the patients to train on."
        )
    return faults


def _build(cls: type[C], composed: Mapping[str, Any], where: str, faults: list[str]) -> C | None:
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    before = len(faults)
    values: dict[str, Any] = {}
    calls = {name: spec.metadata.get("called") or name for name, spec in fields.items()}
    if groups := {called.partition(".")[0] for called in calls.values()} - {*calls}:
        found = {name: _at(composed, called, MISSING) for name, called in calls.items()}
        found = {name: value for name, value in found.items() if value is not MISSING}
        composed = {k: v for k, v in composed.items() if k not in groups} | found
    rest = {k: v for k, v in composed.items() if k not in fields}
    if "options" in fields and "options" not in composed:
        values["options"] = rest
    else:
        faults += [f"{where}{k} is not a setting{nearest(k, fields)}" for k in rest]
    for name, spec in fields.items():
        if name in values:
            continue
        key = f"{where}{calls[name]}"
        if name not in composed or composed[name] == "???":
            faults.append(f"{key} is required: add {key}=... to the command.")
        else:
            values[name] = _value(hints[name], composed[name], key, spec.metadata, faults)
    return cls(**values) if len(faults) == before else None


def _value(hint: Any, value: Any, key: str, limits: Mapping[str, Any], faults: list[str]) -> Any:
    if "parse" in limits:
        try:
            return limits["parse"](value)
        except UsageError as error:
            faults.append(f"{key}: {error}")
        except (TypeError, ValueError, AttributeError, LookupError):
            faults.append(f"{key}={_shown(value)} is not understood.")
        return None
    optional = isinstance(hint, types.UnionType)
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(t for t in typing.get_args(hint) if t is not types.NoneType)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return _build(typing.cast(type, hint), value, f"{key}.", faults)
        faults.append(f"{key}={_shown(value)} should be a group of settings, not one value.")
        return None
    if typing.get_origin(hint) is tuple:
        if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            return tuple(value)
        faults.append(f"{key}={_shown(value)} should be a list of words, such as [one,two].")
        return None
    if typing.get_origin(hint) is not None:
        if not isinstance(value, Mapping):
            faults.append(f"{key}={_shown(value)} should be a mapping, such as {{name: value}}.")
        return value
    if issubclass(hint, StrEnum):
        if isinstance(value, bool) and "off" in set(hint):
            value = "on" if value else "off"  # as YAML reads these two words
        if isinstance(value, str) and value in set(hint):
            return hint(value)
        allowed = ", ".join(hint)
        faults.append(f"{key}={_shown(value)} is not one of {allowed}{nearest(str(value), hint)}")
        return None
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[hint]
    low, high = limits.get("low"), limits.get("high")
    if low is not None and high is not None:
        wanted += f" from {low:.12g} to {high:.12g}"
    elif low is not None:
        wanted += f" of at least {low:g}"
    wanted += ", or null" if optional else ""
    fits = isinstance(value, hint) or (hint is float and isinstance(value, int))
    fits = fits and (hint is bool or not isinstance(value, bool))
    if hint is str and isinstance(value, int | float) and not isinstance(value, bool):
        value, fits = str(value), True
    if fits and hint in (int, float):
        fits = (
            math.isfinite(value)
            and (low is None or value >= low)
            and (high is None or value <= high)
        )
    if not fits:
        quotes = " Write it in quotes." if hint is str and isinstance(value, bool) else ""
        faults.append(f"{key}={_shown(value)} should be {wanted}.{quotes}")
        return None
    return hint(value)


def _shown(value: Any) -> str:
    """A value as YAML has it, and no more of it than a message can hold."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


MISSING = object()


def _at(composed: Mapping[str, Any], key: str, otherwise: Any = None) -> Any:
    value: Any = composed
    for part in key.split("."):
        value = value.get(part, otherwise) if isinstance(value, Mapping) else otherwise
    return value


def to_json(config: Any) -> dict[str, Any]:
    """Plain nested dicts of a config; `build` takes them back. Whom `data.exclude` leaves out
    stands there under a pseudonym, which `data.exclude` understands."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    options = (plain.get("data") or {}).get("options") or {}
    exclude = options.get("exclude") or {}
    for column, given in exclude.items() if isinstance(exclude, dict) else ():
        # of any column: a hospital may call that of the names as it likes
        exclude[column] = as_pseudonyms(map(str, given if isinstance(given, list) else [given]))
    return plain


def data_from_json(stored: Mapping[str, Any]) -> DataConfig:
    # what earlier checkpoints do not say, and how many images may be unreadable, which they did
    earlier = {"title": None, "window": 0, "frames": "error", "steps": "none"}
    earlier |= {"full_scale": 16}
    kept = {k: v for k, v in stored.items() if k != "max_unreadable"}
    return build(DataConfig, {**earlier, **kept}, {})


def short_hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def settings_digest(*settings: Any) -> str:
    """What names a folder after settings: the same for the same ones and key. A path among them
    may hold a name, which could be guessed from a digest without a key."""
    return keyed(json.dumps(settings, sort_keys=True), "settings", 4).hex()


def config_folder() -> Path:
    """`configs/`: inside an installed wheel, else at the top of the checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"
