"""Loads the tensors of a file into the body that they fit, whatever their names."""

from __future__ import annotations

import inspect
import io
import itertools
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass

import timm
from timm.models import adapt_input_conv, model_entrypoint
from torch import Tensor, nn

from medcnn.models.foreign_names import COUNTERS, under_our_names
from medcnn.models.pooling import of_pooling
from medcnn.system.errors import UsageError, listed

# Wrappers put these into names: torch.compile, FSDP, activation checkpointing, DataParallel, and
# whole modules that were pickled.
_WRAPPERS = {
    *("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module"),
    *("_modules", "_parameters", "_buffers"),
}
# If two networks in a file fit equally well, take the one that others evaluate: the average of the
# weights, the teacher (DINO), the query encoder (MoCo), the online network (BYOL).
_PREFERRED = ("ema", "teacher", "encoder_q", "online")
# Layers after the features, which a file of weights has and a body does not.
_HEADS = ("fc", "head", "head_dist", "classifier", "head_norm", "last_linear", "aux", "AuxLogits")
# Least share of a body's tensors, and of the numbers in them, without model.partial=true.
LEAST_SHARE = 0.9


class MisfitError(UsageError):
    """The file was read, but does not belong to this network."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What was loaded from a file into a body.

    Attributes:
        prefix: of the tensors' names in the file.
        missing: tensors of the body that keep their random values.
        unused: tensors of the file that the body has no place for.
        of: how many tensors the body has, without counters.
    """

    prefix: str
    missing: list[str]
    unused: list[str]
    of: int

    def text(self) -> str:
        """`, those named module.*, ...`, to follow the name of the file."""
        parts = [f"those named {self.prefix}*"] if self.prefix else []
        if self.unused:
            parts.append(f"{len(self.unused)} left out ({listed(self.unused, 3)})")
        return "".join(f", {part}" for part in parts)

    def warning(self) -> str:
        if not self.missing:
            return ""
        return (
            f"{len(self.missing)} of the body's {self.of} tensors are not in the file and start "
            f"from random values ({listed(self.missing, 3)})"
        )


def fit(
    network: nn.Module, tensors: Mapping[str, Tensor], name: str, source: str, partial: bool = False
) -> Fit:
    """Load the tensors into a body, whatever their names, and say what was left out.

    The prefix that most of the body's names have in the file is removed. If the rest does not fit,
    timm's own filter for that network is tried, which resamples position embeddings and renames
    tensors; then the names of other libraries (`foreign_names`). The first convolution is adapted
    to the number of channels (timm's rule).

    Args:
        name: of the backbone.
        partial: load whatever fits. Without it up to a tenth of the body may be missing, and
            nothing may have another shape.

    Raises:
        MisfitError: too much is missing, something is of another shape or not finite, or the file
            holds a larger network of which this would be a part.
    """
    wanted = network.state_dict()
    best: _Match | None = None
    for match in _matches(network, tensors, name, wanted):
        if best is None or match.loaded > best.loaded:
            best = match
        if match.complete:
            best = match
            break
    assert best is not None, "the file's own names are one reading"
    fault = best.fault(partial)
    if fault:
        raise MisfitError(f"weights of {source} do not fit {name}. Tensors: {fault}.")
    found = {k: best.found[k] for k in best.fitting}
    lost = [k for k, v in found.items() if v.is_floating_point() and not v.isfinite().all()]
    if lost:
        raise MisfitError(
            f"weights of {source} contain values that are not finite, in {listed(lost, 3)}."
        )
    network.load_state_dict({**wanted, **found})
    absent = [*best.missing, *best.reshaped]
    unused = [k for k in best.found if k not in found and k not in best.reshaped]
    return Fit(best.prefix, absent, unused, len(_without_counters(wanted)))


@dataclass(frozen=True, slots=True)
class _Match:
    """The tensors of a file under one reading of their names, compared with a body's."""

    prefix: str
    found: Mapping[str, Tensor]
    wanted: Mapping[str, Tensor]
    fitting: list[str]
    missing: list[str]
    reshaped: list[str]
    unknown: list[str]

    @property
    def complete(self) -> bool:
        return not (self.missing or self.reshaped or self.unknown)

    @property
    def loaded(self) -> int:
        """How many numbers would be loaded into the body."""
        return sum(self.wanted[k].numel() for k in self.fitting)

    def fault(self, partial: bool) -> str:
        """Why these tensors are not the body's, or ""."""
        counted = _without_counters(self.wanted)
        here = [k for k in self.fitting if k in counted]
        numbers = sum(counted[k].numel() for k in here)
        shares = len(here) / len(counted), numbers / sum(v.numel() for v in counted.values())
        enough = here if partial else min(shares) >= LEAST_SHARE
        if enough and (partial or not (self.reshaped or self.unknown)):
            return ""
        kinds = (
            ("missing", self.missing),
            ("of another shape", self.reshaped),
            ("unknown", self.unknown),
        )
        said = ", ".join(f"{len(keys)} {what} ({listed(keys, 3)})" for what, keys in kinds if keys)
        part = f"; {shares[1]:.0%} of its numbers would fit: model.partial=true loads those"
        return said + (part if here and not partial else "")


def _without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the counts of batches, which files from before 2018 lack and nothing depends on, and
    without what a pooling learns, which no file of others contains."""
    return {k: v for k, v in tensors.items() if COUNTERS not in k and not of_pooling(k)}


def _matches(
    network: nn.Module, tensors: Mapping[str, Tensor], name: str, wanted: Mapping[str, Tensor]
) -> Iterator[_Match]:
    """Readings of the names in a file: as they are, then as those of other libraries."""
    for named in itertools.chain([tensors], under_our_names(tensors, network, name)):
        prefix, found = _unwrapped(named, wanted)
        yield _match(network, prefix, found, wanted)
        filtered = _filtered(network, name, found)
        if filtered is not None:
            yield _match(network, prefix, filtered, wanted)


def _unwrapped(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> tuple[str, dict[str, Tensor]]:
    """The prefix of most of the wanted names, and the tensors that have it, without it."""
    own = {part for key in wanted for part in key.split(".")}
    bare = {_without_wrappers(key, _WRAPPERS - own): value for key, value in tensors.items()}
    votes: Counter[str] = Counter()
    for key, value in bare.items():
        parts = key.split(".")
        for depth in range(len(parts)):
            rest = ".".join(parts[depth:])
            if rest in wanted:
                prefix = "".join(f"{part}." for part in parts[:depth])
                # a tensor of the right shape counts more than one with only the right name
                votes[prefix] += 3 if value.shape == wanted[rest].shape else 2
    if not votes:
        return "", bare
    prefix = min(votes, key=lambda p: (-votes[p], _liking(p), p.count("."), p))
    return prefix, {k.removeprefix(prefix): v for k, v in bare.items() if k.startswith(prefix)}


def _liking(prefix: str) -> int:
    words = prefix.lower()
    return next((i for i, word in enumerate(_PREFERRED) if word in words), len(_PREFERRED))


def _without_wrappers(key: str, wrappers: set[str]) -> str:
    return ".".join(part for part in key.split(".") if part not in wrappers)


def _match(
    network: nn.Module, prefix: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> _Match:
    found = _for_channels(found, wanted)
    heads = tuple(f"{head}." for head in (*_HEADS, *_classifier_names(network)))
    # a whole branch that the body does not have (a decoder, a queue) is left out; more layers in
    # one that it has would mean that it is a part of a larger network
    branches = {key.partition(".")[0] for key in wanted}
    return _Match(
        prefix,
        found,
        wanted,
        fitting=[k for k in wanted if k in found and wanted[k].shape == found[k].shape],
        missing=[k for k in _without_counters(wanted) if k not in found],
        reshaped=[
            k for k in _without_counters(wanted) if k in found and wanted[k].shape != found[k].shape
        ],
        unknown=[
            k
            for k in found
            if k not in wanted and not k.startswith(heads) and k.partition(".")[0] in branches
            # another pooling is left out, as is another head
            if not of_pooling(k)
        ],
    )


def _classifier_names(network: nn.Module) -> tuple[str, ...]:
    """Names of the layers that timm leaves out of a body."""
    named = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _filtered(
    network: nn.Module, name: str, found: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """What timm's filter for this network returns for the tensors; None if there is no filter."""
    if not timm.is_model(name):
        return None
    module = sys.modules[model_entrypoint(name).__module__]
    for known in ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained"):
        filter_fn = getattr(module, known, None)
        if filter_fn is not None:
            break
    else:
        return None
    takes_network = len(inspect.signature(filter_fn).parameters) > 1
    try:
        # timm prints the faults of its converter for DINOv3
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # of timm's interpolation, about its own speed
            made = filter_fn(dict(found), network) if takes_network else filter_fn(dict(found))
    except Exception:  # it was written for other tensors, and may raise anything
        return None
    return {key: value for key, value in made.items() if isinstance(value, Tensor)}


def _for_channels(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The first convolution, adapted to the body's number of channels."""
    found = dict(found)
    first = next((k for k, v in wanted.items() if v.ndim == 4 and v.shape[1] in (1, 3)), None)
    if first in found and found[first].ndim == 4:
        channels = wanted[first].shape[1]
        if found[first].shape[1] == 3 and channels != 3:
            found[first] = adapt_input_conv(channels, found[first])
        elif found[first].shape[1] == 1 and channels == 3:
            # grey weights get the mean of the colours
            found[first] = found[first].repeat(1, 3, 1, 1) / 3
    return found
