"""`look`: the filters of a checkpoint, its maps of one image, and its answer as the image moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.system.errors import DataError, UsageError
from medcnn.system.settings import called
from medcnn.verbs import Command, Verb

if TYPE_CHECKING:
    from medcnn.config import Device

MOST_FILTERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LookConfig:
    checkpoint: str
    input: str
    output: str
    device: Device = called("trainer.device")


def check(config: LookConfig) -> None:
    from medcnn.places import refuse_other_page, require_checkpoint

    output = Path(config.output)
    if output.suffix != ".html":
        raise UsageError(f"output={output}: the page is a .html file; name it so.")
    refuse_other_page(output, "look")
    require_checkpoint(Path(config.checkpoint))
    if not Path(config.input).is_file():
        raise UsageError(f"input={config.input}: no such file; look takes one image.")


def run(config: LookConfig, _: Command) -> Path:
    """Write the page to `output`.

    Raises:
        DataError: the image cannot be read.
    """
    import torch

    from medcnn.models.deployed import load_model
    from medcnn.models.inputs import read_inputs
    from medcnn.pages.looking import LOOKING, Seen, page
    from medcnn.system.files import write_text
    from medcnn.system.progress import log
    from medcnn.verbs.steps.looking import moves
    from medcnn.verbs.steps.pictures import picture

    model = load_model(config.checkpoint, device=config.device, precision="fp32")
    (images,) = read_inputs(config.input, model.labels, model.preprocessing)
    if images.store.unreadable:
        raise DataError(f"input={config.input}: {next(iter(images.store.unreadable.values()))}.")
    pixels = images.store.take(images.rows)
    batch = torch.from_numpy(pixels).to(model.device)
    filters, correlations = _filters(model.classifier)
    seen = Seen(moves=tuple(moves(model, batch)), correlations=tuple(correlations))
    shown = picture("as the network gets it", pixels[0].transpose(1, 2, 0))
    title = f"Inside {model.checkpoint.architecture.backbone}"
    output = Path(config.output)
    write_text(output, page(seen, title, [shown], filters, _stages(model.classifier, batch)))
    print(" ".join(filter(None, (LOOKING[name].words(seen) for name in ("flips", "steady")))))
    log.info(f"{output}")
    return output


def _filters(classifier: Any) -> tuple[list[Any], list[float]]:
    """Pictures of filters, each followed by its kernel, the best fits first; all correlations."""
    from medcnn.models.filters import first_conv, matches
    from medcnn.verbs.steps.pictures import picture

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


def _stages(classifier: Any, batch: Any) -> list[tuple[str, list[Any]]]:
    from medcnn.verbs.steps.looking import stages, strongest
    from medcnn.verbs.steps.pictures import picture

    return [
        (
            f"{name}, {maps.shape[0]} maps of {maps.shape[1]}×{maps.shape[2]}",
            [picture(f"channel {c}", _grey(maps[c][..., None].numpy())) for c in strongest(maps)],
        )
        for name, maps in stages(classifier, batch)
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
    examples=("look runs/demo/checkpoints/best.safetensors image.png",),
    places=("checkpoint", "input", "output"),
    config=LookConfig,
    check=check,
    run=run,
)
