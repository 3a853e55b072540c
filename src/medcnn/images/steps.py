"""Named steps between the file and the network, for various kinds of images.

The setting `data.steps` chooses them, with order and options, and is stored in the checkpoint. Each
is a plain function [H, W, C] -> [H, W, C] of the same dtype (8 or 16 bits), without randomness; its
options are its keyword arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from medcnn.images.chest import border_box, border_crop
from medcnn.images.contrast import clahe
from medcnn.images.frame import Box
from medcnn.images.fundus import disc_box, disc_crop, even_light
from medcnn.images.reading import Pixels
from medcnn.images.skin import centre_box, centre_crop, hair_removal, shades_of_grey
from medcnn.system.errors import UsageError
from medcnn.system.registry import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step and what it needs.

    Attributes:
        at_full_size: runs before the image is reduced to `size_px`, as crops must; the others run
            after, when they are cheap.
        colour: has no effect on a grey image.
        box: of a step that changes the size: pixels and options -> the part that it leaves.
    """

    function: Callable[..., Pixels]
    at_full_size: bool = False
    colour: bool = False
    box: Callable[..., Box] | None = None


# Chains with a name; `none` is the default, since published results on public sets use no steps.
CHAINS: dict[str, tuple[str, ...]] = {
    "none": (),
    "fundus": ("disc_crop", "clahe"),
    "dermoscopy": ("hair_removal", "shades_of_grey"),
    "chest": ("border_crop",),
}

# Sensible numbers by name of the option.
LIMITS = {
    "clip_limit": (1.0, 100.0),
    "contrast": (0.0, 1.0),
    "gain": (0.1, 20.0),
    "letters": (0.0, 0.5),
    "margin": (-0.5, 1.0),
    "p": (1.0, 50.0),
    "radius": (0.002, 0.5),
    "share": (0.1, 1.0),
    "tiles": (1, 64),
    "tolerance": (0.0, 0.5),
    "width": (0.002, 0.1),
}

STEPS = Table(
    "step",
    {
        "disc_crop": Step(function=disc_crop, at_full_size=True, box=disc_box),
        "even_light": Step(function=even_light),
        "hair_removal": Step(function=hair_removal, at_full_size=True),
        "centre_crop": Step(function=centre_crop, at_full_size=True, box=centre_box),
        "shades_of_grey": Step(function=shades_of_grey, colour=True),
        "border_crop": Step(function=border_crop, at_full_size=True, box=border_box),
        "clahe": Step(function=clahe),
    },
    group="steps",
    kind=Step,
    function=lambda step: step.function,
    limits=LIMITS,
    also=lambda: CHAINS,
)

Chosen = tuple[Mapping[str, Any], ...]


def chosen_steps(value: Any) -> Chosen:
    """The meaning of `data.steps`: each step with all its options, defaults included, so that
    a checkpoint keeps its meaning when a default changes.

    Args:
        value: a word (a chain or a step), or a list of names and mappings such as
            {name: clahe, clip_limit: 3}.

    Raises:
        UsageError: all unknown steps and options, each with the nearest valid name.
    """
    if isinstance(value, str) and value in CHAINS:
        value = CHAINS[value]
    if value is None or isinstance(value, str | Mapping):
        value = [value]
    if not isinstance(value, Iterable):
        raise UsageError(f"{value} should be one of {', '.join(CHAINS)}, or a list of steps.")
    chosen, faults = [], []
    for item in value:
        try:
            chosen.append(STEPS.completed(item))
        except UsageError as error:
            faults.append(str(error))
    names = [c["name"] for c in chosen]
    faults += [
        f"step {n} is listed more than once." for n in dict.fromkeys(names) if names.count(n) > 1
    ]
    if faults:
        raise UsageError(" ".join(faults))
    return tuple(chosen)


def take(step: Mapping[str, Any], pixels: Pixels) -> Pixels:
    """Apply one of the chosen steps to `pixels`."""
    return STEPS[step["name"]].function(pixels, **_options(step))


def left_by(step: Mapping[str, Any], pixels: Pixels) -> Box:
    """The part of `pixels` that one of the chosen steps leaves; all of it if it does not crop."""
    box = STEPS[step["name"]].box
    return box(pixels, **_options(step)) if box else Box.whole(pixels)


def _options(step: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in step.items() if k != "name"}
