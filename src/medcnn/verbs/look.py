"""`look`: a checkpoint's filters, its maps of one image, and its answer as the image moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from medcnn.system.errors import DataError, UsageError
from medcnn.system.registry import nearest
from medcnn.system.settings import Rule, called, shown
from medcnn.verbs import Command, Verb
from medcnn.verbs.evaluate import prepare

if TYPE_CHECKING:
    from medcnn.config import DataConfig, Device

# Filters of the first layer; channels of each stage, if other images were searched for them.
MOST_FILTERS, WITH_EXAMPLES = 64, 4


class Searched(StrEnum):
    AUTO = "auto"
    NONE = "none"
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    ALL = "all"


def numbers(value: Any) -> tuple[int, ...]:
    """A channel or a list of them, counted from 0; or null. Raises UsageError."""
    given = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    right = [v for v in given if isinstance(v, int) and not isinstance(v, bool) and v >= 0]
    if value is not None and (len(right) < len(given) or len(set(right)) < len(right)):
        raise UsageError(f"{shown(value)} should be different whole numbers, 0 or higher.")
    return tuple(right)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookConfig:
    """`data` None means the data set that the checkpoint was trained with; `moved` are settings of
    it that the command changes."""

    checkpoint: str
    input: str
    output: str
    split: Searched
    stage: str | None
    channels: Annotated[tuple[int, ...], Rule(parse=numbers)]
    data: DataConfig | None
    moved: Mapping[str, str]
    device: Device = called("trainer.device")

    def contradictions(self) -> list[str]:
        faults = []
        if self.split is Searched.NONE and (self.data or self.moved):
            faults.append("data= has no effect on split=none, which searches no other images.")
        if self.channels and not self.stage:
            faults.append("channels= needs stage=NAME: each stage has its own channels.")
        return faults


def check(config: LookConfig) -> None:
    from medcnn.data.own.sheets import require_folder
    from medcnn.places import refuse_other_page, require_checkpoint, require_data

    output = Path(config.output)
    if output.suffix != ".html":
        raise UsageError(f"output={output}: the page's name should end in .html.")
    refuse_other_page(output, "look")
    require_checkpoint(Path(config.checkpoint))
    if Path(config.input).is_dir():
        raise UsageError(
            f"input={config.input} is a folder; look needs a single image. Name a file in it: "
            f"{Path(config.input, 'FILE')}"
        )
    if not Path(config.input).is_file():
        raise UsageError(f"input={config.input}: no such file; look needs a single image.")
    if moved := config.moved.get("root"):
        require_folder(Path(moved))
    if config.data:
        require_data(config.data)


def run(config: LookConfig, _: Command) -> Path:
    """Write the page to `output`.

    Raises:
        UsageError: there is no such stage or channel, or the data's location is unknown.
        DataError: the image cannot be read, or the data are refused.
    """
    import torch

    from medcnn.models.deployed import load_model
    from medcnn.models.inputs import read_inputs
    from medcnn.pages.looking import LOOKING, Seen, page
    from medcnn.pages.way import picture
    from medcnn.system.files import write_text
    from medcnn.system.progress import log
    from medcnn.training.watching import trouble
    from medcnn.verbs.steps.exciting import flow, others_of
    from medcnn.verbs.steps.looking import moves

    model = load_model(config.checkpoint, device=config.device, precision="fp32")
    (images,) = read_inputs(config.input, model.labels, model.preprocessing)
    if images.store.unreadable:
        raise DataError(f"input={config.input}: {next(iter(images.store.unreadable.values()))}.")
    pixels = images.store.take(images.rows)
    batch = torch.from_numpy(pixels).to(model.device)
    filters, correlations = _filters(model.classifier)
    others = others_of(config, model, log.warning)
    stages = _stages(config, model, batch, others)
    watched = flow(model, others) if others else {}
    seen = Seen(
        moves=tuple(moves(model, batch)),
        correlations=tuple(correlations),
        images=len(others.rows) if others else 0,
        of=others.of if others else 0,
        split=others.split if others else "",
        noun=others.manifest.group_noun if others else "patient",
        watched=watched,
        trouble=tuple(trouble(watched)),
    )
    seen_as = picture("as the network sees it", pixels[0].transpose(1, 2, 0))
    title = f"Inside {model.checkpoint.architecture.backbone}"
    output = Path(config.output)
    write_text(output, page(seen, title, [seen_as], filters, stages))
    said = ("flips", "steady", "trouble")
    print(" ".join(filter(None, (LOOKING[name].words(seen) for name in said))))
    log.info(f"{output}")
    return output


def _filters(classifier: Any) -> tuple[list[Any], list[float]]:
    """Pictures of filters, each followed by its kernel, the best fits first; all correlations."""
    from medcnn.models.filters import first_conv, matches
    from medcnn.pages.way import picture

    conv = first_conv(classifier.body)
    if conv is None:
        return [], []
    found = sorted(matches(conv), key=lambda m: -m.correlation)
    pictures = []
    for match in found[:MOST_FILTERS]:
        own = match.kernel if match.kernel.shape[0] == 3 else match.kernel.mean(0)[None]
        pictures.append(picture("filter", _grey(own.permute(1, 2, 0).numpy())))
        detail = f"correlation {match.correlation:.2f}"
        pictures.append(picture(match.name, _grey(match.known[..., None].numpy()), detail))
    return pictures, [match.correlation for match in found]


def _stages(config: LookConfig, model: Any, batch: Any, others: Any) -> list[Any]:
    from medcnn.pages.looking import Stage
    from medcnn.pages.way import picture
    from medcnn.verbs.steps.exciting import exciting
    from medcnn.verbs.steps.looking import stages, strongest

    found = {name: maps[0].cpu() for name, maps in stages(model.classifier, batch)}
    if config.stage and config.stage not in found:
        raise UsageError(
            f"stage={config.stage}: this network has no such stage{nearest(config.stage, found)} "
            f"Known: {', '.join(found)}."
        )
    if config.stage:
        found = {config.stage: found[config.stage]}
        if high := [c for c in config.channels if c >= len(found[config.stage])]:
            raise UsageError(
                f"channels={high[0]}: {config.stage} has {len(found[config.stage])} channels, "
                "counted from 0."
            )
    chosen = {name: config.channels or strongest(maps) for name, maps in found.items()}
    if others and not config.channels:
        chosen = {name: channels[:WITH_EXAMPLES] for name, channels in chosen.items()}
    examples = exciting(model, others, chosen) if others else {}
    return [
        Stage(
            name=f"{name}, {maps.shape[0]} maps of {maps.shape[1]}×{maps.shape[2]}",
            maps=[picture(f"channel {c}", _grey(maps[c][..., None].numpy())) for c in chosen[name]],
            examples=examples.get(name, ()),
        )
        for name, maps in found.items()
    ]


def _grey(values: Any) -> Any:
    """Values [H, W, C] as uint8: middle grey is 0, the largest absolute value black or white; each
    small pixel as a square that can be seen."""
    import numpy as np

    top = max(float(np.abs(values).max()), 1e-12)
    grey = np.rint(127.5 + 127.5 * values / top).astype(np.uint8)
    times = max(1, 96 // grey.shape[0])
    return grey.repeat(times, axis=0).repeat(times, axis=1)


VERB = Verb(
    name="look",
    lines=("look best.safetensors image.png: filters, maps, and the image moved",),
    usage="CHECKPOINT IMAGE [key=value ...]",
    examples=(
        "look runs/demo/checkpoints/best.safetensors image.png",
        "look runs/demo/checkpoints/best.safetensors image.png split=validation",
    ),
    places=("checkpoint", "input", "output"),
    config=LookConfig,
    prepare=prepare,
    check=check,
    run=run,
)
