"""Where a body's weights come from: timm's pretrained ones, a local file, or chance.

`auto` uses pretrained weights if they are installed (`packaged`), cached, or on a server that
answers within a few seconds; otherwise it trains from scratch and says so. `pretrained` insists on
them; `none` starts from scratch; anything else is the path of a file, or of a folder as timm writes
it, which is read without running any code in it.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from medcnn.models import checkpoint as checkpoints
from medcnn.models.backbones import Body, Normalisation, build_body, source_of
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.known_weights import Known, recognised
from medcnn.models.packaged import PACKAGES, packaged
from medcnn.models.state_dicts import Fit, MisfitError, fit
from medcnn.models.weight_files import first_line, flat, tensors_in
from medcnn.places import WEIGHT_FILES, WEIGHT_WORDS, require_weights
from medcnn.system.errors import UsageError, listed

REACH_TIMEOUT_S = 4.0
_NO_COMMERCE = re.compile(r"\bnc\b|non-?commercial", re.IGNORECASE)
# In the head of a model card on the Hugging Face hub.
_CARD_LICENCE = re.compile(r"^license:\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Origin:
    """What the run says about its weights in the terminal, run.json, checkpoint and report.

    Attributes:
        pretrained: False if training starts from scratch.
        licence: of the weights, if known.
        notes: what readers of the report must know about them.
        normalisation: of the pixels they were trained on, if it is not the backbone's own.
        checkpoint: the medcnn checkpoint that the body comes from, if any.
    """

    pretrained: bool
    text: str
    licence: str = ""
    notes: tuple[str, ...] = ()
    normalisation: Normalisation | None = None
    checkpoint: Checkpoint | None = None


def load_weights(body: Body, name: str, policy: str, partial: bool = False) -> Origin:
    """Fill the body by `policy` (`auto`, `pretrained`, `none` or a path) and say what was done.

    Args:
        partial: load what fits of weights that are another network's or incomplete.

    Raises:
        UsageError: weights were insisted on, but are not available or do not fit.
    """
    if policy == "none":
        if partial:
            raise UsageError("model.partial=true has no effect on model.weights=none.")
        return Origin(False, "random weights (model.weights=none)")
    if policy not in WEIGHT_WORDS:
        return _from_path(body, Path(policy), name, partial)
    file, also = packaged(name)
    problem = ""
    try:
        if file is not None:
            return _of_package(body, name, file, partial)
        problem = _not_to_be_had(body.download)
        if body.download is not None and not problem:
            return _of_hub(body, name, body.download, partial)
    except MisfitError as error:
        problem = str(error).rstrip(".")
    problem += f"; {also}" if also else ""
    if policy == "auto":
        return Origin(False, f"random weights: {problem}")
    raise UsageError(
        f"model.weights=pretrained was set for {name}, but {problem}. Run the same command once on "
        "a machine with a network (the weights stay in the cache that HF_HOME or TORCH_HOME "
        "names), or copy a .safetensors or .pth file here and give its path: "
        "model.weights=/path/to/weights.safetensors. To train without them: model.weights=none."
    )


def at_hand(name: str, policy: str) -> bool:
    """Whether `load_weights` will look for pretrained weights and can expect to find them.

    Raises:
        UsageError: no backbone has this name.
    """
    if policy != "auto":
        return policy != "none"
    return packaged(name)[0] is not None or not _not_to_be_had(source_of(name))


def _of_package(body: Body, name: str, file: Path, partial: bool) -> Origin:
    package = PACKAGES[name.removesuffix(".in1k")]
    tensors, _ = tensors_in(file)
    got = _fitted(body, tensors, name, str(file), partial)
    text = f"ImageNet weights ({package.name} {package.version})"
    return _origin(body, got, text, package.licence, None)


def _of_hub(body: Body, name: str, source: str, partial: bool) -> Origin:
    try:
        tensors = _download(source)
    except Exception as error:  # a damaged file may raise anything
        raise MisfitError(f"{source} cannot be loaded ({first_line(error)})") from error
    got = _fitted(body, tensors, name, source, partial)
    licence = getattr(body.network, "pretrained_cfg", {}).get("license") or ""
    return _origin(body, got, f"pretrained weights ({source})", str(licence), recognised(source))


def _origin(
    body: Body,
    got: Fit,
    text: str,
    licence: str,
    known: Known | None,
    normalisation: Normalisation | None = None,
) -> Origin:
    notes = [got.warning()] if got.missing else []
    if known:  # what lies beside the weights is about this file, but terms are not to be lost
        licence = known.licence if known.terms else licence or known.licence
        normalisation = normalisation or known.normalisation
    if known and known.terms:
        notes.append(
            f"the licence of {known.name} is {known.licence}: {known.terms} ({known.source})"
        )
    elif _NO_COMMERCE.search(licence):
        notes.append(f"the licence of these weights, {licence}, excludes commercial use")
    said = f", licence {licence}" if licence else ""
    channels = len(body.normalisation.mean)
    own = normalisation and Normalisation.of(normalisation.mean, normalisation.std, channels)
    return Origin(True, f"{text}{said}", licence, tuple(notes), own)


def _from_path(body: Body, path: Path, name: str, partial: bool) -> Origin:
    require_weights(str(path))
    if path.is_file() and _is_checkpoint(path):
        return _of_checkpoint(body, path, name, partial)
    file = next((path / f for f in WEIGHT_FILES if (path / f).is_file()), path)
    normalisation, licence = None, ""
    if file.name in WEIGHT_FILES:
        normalisation, licence = _beside(file.parent, name)
    tensors, classes = tensors_in(file)
    known = recognised("/".join(path.absolute().parts[-2:]), (*tensors, *classes))
    try:
        got = _fitted(body, tensors, name, str(path), partial)
    except MisfitError as error:
        found = f" The file also holds objects of {listed(classes, 3)}." if classes else ""
        raise MisfitError(f"{error}{found}") from error
    called = f" ({known.name})" if known else ""
    text = f"weights of {path.name}{called}{got.text()}"
    return _origin(body, got, text, licence, known, normalisation)


def _beside(folder: Path, name: str) -> tuple[Normalisation | None, str]:
    """What a folder as timm and the Hugging Face hub write it says about its weights: how the
    pixels were normalised, and the licence.

    Raises:
        UsageError: it says that they belong to another network.
    """
    stored: Any = {}
    with suppress(OSError, ValueError):
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stored = stored if isinstance(stored, dict) else {}
    of = stored.get("architecture")
    if isinstance(of, str) and of != name.partition(".")[0]:
        raise UsageError(
            f"model.weights={folder} contains weights of {of}, but model.backbone is {name}: set "
            f"model.backbone={of}."
        )
    nested = stored.get("pretrained_cfg")
    described = {**stored, **(nested if isinstance(nested, dict) else {})}
    licence = described.get("license")
    if not licence:
        with suppress(OSError, UnicodeDecodeError):
            card = (folder / "README.md").read_text(encoding="utf-8")
            licence = (_CARD_LICENCE.search(card) or ["", ""])[1]
    mean, std = described.get("mean"), described.get("std")
    sound = all(
        isinstance(v, list) and len(v) in (1, 3) and all(isinstance(x, int | float) for x in v)
        for v in (mean, std)
    )
    own = Normalisation(tuple(mean), tuple(std)) if sound else None  # type: ignore[arg-type]
    return own, str(licence or "")


def checkpoint_at(policy: str) -> Checkpoint | None:
    """The medcnn checkpoint that `model.weights` names, if it names one."""
    path = Path(policy)
    if policy in WEIGHT_WORDS or not path.is_file() or not _is_checkpoint(path):
        return None
    return _read(path)[0]


def _read(path: Path) -> tuple[Checkpoint, dict[str, Tensor]]:
    """A checkpoint with the digest of its file, which those that are made from it will name."""
    old, tensors = checkpoints.read(path)
    sha = checkpoints.provenance_of(path)["checkpoint_sha256"]
    return replace(old, provenance={**old.provenance, "checkpoint_sha256": sha}), tensors


def _of_checkpoint(body: Body, path: Path, name: str, partial: bool) -> Origin:
    """The body of a medcnn checkpoint; its head and preprocessing are left behind."""
    old, tensors = _read(path)
    held = {k.removeprefix("body."): v for k, v in tensors.items() if k.startswith("body.")}
    got = _fitted(body, held, name, str(path), partial)
    licence = str(old.provenance.get("weights_licence") or "")
    text = f"the body of {path.name}, a checkpoint of {old.architecture.backbone}"
    made = _origin(body, got, text, licence, None, old.normalisation)
    return replace(made, checkpoint=old)


def _is_checkpoint(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return "medcnn" in (file.metadata() or {})
    except Exception:
        return False  # whoever reads it says what is wrong with it


def _fitted(body: Body, tensors: dict[str, Tensor], name: str, source: str, partial: bool) -> Fit:
    """`fit`; if the weights would fit at the size that they were trained at, the error says so."""
    try:
        return fit(body.network, tensors, name, source, partial)
    except MisfitError as error:
        trained = body.trained_px
        if trained in (0, body.size_px):
            raise
        try:
            # the number of channels is not what is in question
            there = build_body(name, channels=3, size_px=trained, options=body.options)
            fit(there.network, tensors, name, source)
        except UsageError:
            raise error from None
        raise MisfitError(
            f"weights of {source} fit {name} only at {trained} px, but data.size_px is "
            f"{body.size_px}: set data.size_px={trained}."
        ) from error


def _download(source: str) -> dict[str, Tensor]:
    if source.startswith("hf-hub:"):
        from timm.models import load_state_dict_from_hf

        stored = load_state_dict_from_hf(source.removeprefix("hf-hub:"), weights_only=True)
    else:
        stored = torch.hub.load_state_dict_from_url(
            source, map_location="cpu", weights_only=True, progress=False
        )
    return dict(flat(stored))


def _cached(source: str) -> bool:
    if source.startswith("hf-hub:"):
        from huggingface_hub import try_to_load_from_cache

        files = ("model.safetensors", "pytorch_model.bin")
        repository = source.removeprefix("hf-hub:")
        return any(isinstance(try_to_load_from_cache(repository, f), str) for f in files)
    return (Path(torch.hub.get_dir()) / "checkpoints" / source.rsplit("/", 1)[1]).is_file()


def _not_to_be_had(source: str | None) -> str:
    if source is None:
        return "there are no pretrained weights for it"
    return "" if _cached(source) else _unreachable(source)


def _unreachable(source: str) -> str:
    """Why the server of `source` does not answer, or "" if it does.

    It is asked in a separate thread: name resolution has no timeout and may hang for minutes.
    """
    url = source
    if source.startswith("hf-hub:"):
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE:
            return "HF_HUB_OFFLINE is set and the weights are not cached"
        url = constants.ENDPOINT
    answer: list[str] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=REACH_TIMEOUT_S).close()
            answer.append("")
        except urllib.error.HTTPError:
            answer.append("")  # it answers; whether the file is there shows during the download
        except OSError as error:
            answer.append(
                f"{url} cannot be reached ({_why(error)}; "
                "model.weights=FILE.safetensors reads them from a file)"
            )

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(REACH_TIMEOUT_S)
    return answer[0] if answer else f"{url} does not answer within {REACH_TIMEOUT_S:g} s"


def _why(error: OSError) -> str:
    """Why a server could not be reached, without error numbers."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, socket.gaierror):
        return "no network, or one that cannot resolve this name"
    said = reason.strerror if isinstance(reason, OSError) else None
    return said or first_line(reason)
