"""Where a body's weights come from: timm's pretrained ones, a local file, or chance.

`auto` takes pretrained weights when they are cached or their server answers within a few seconds,
else trains from scratch and says so; `pretrained` insists; `none` starts from scratch; anything
else is the path of a file, which is read without running any code in it.
"""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from medcnn.models.backbones import Body, build_body
from medcnn.models.state_dicts import MisfitError, fit, flat, tensors_in
from medcnn.system.errors import UsageError, listed

REACH_TIMEOUT_S = 4.0


@dataclass(frozen=True, slots=True)
class Origin:
    """What the run says of its weights, in terminal, run.json and report.

    Attributes:
        pretrained: False where training starts from scratch.
    """

    pretrained: bool
    text: str


def load_weights(body: Body, name: str, policy: str) -> Origin:
    """Fill the body by `policy` (`auto`, `pretrained`, `none` or a path) and say what was done.

    Raises:
        UsageError: weights were insisted on and are not to be had, or do not fit.
    """
    if policy == "none":
        return Origin(False, "random weights (model.weights=none)")
    if policy not in ("auto", "pretrained"):
        return _from_file(body, Path(policy), name)
    problem = "there are no pretrained weights for it"
    if body.download is not None:
        problem = "" if _cached(body.download) else _unreachable(body.download)
    if not problem:
        assert body.download is not None
        try:
            tensors = _download(body.download)
        except Exception as error:  # a damaged file raises what it likes
            problem = f"{body.download} cannot be loaded ({_first_line(error)})"
        else:
            try:
                _fitted(body, tensors, name, body.download)
                return Origin(True, f"pretrained weights ({body.download})")
            except MisfitError as error:
                problem = str(error).rstrip(".")
    if policy == "auto":
        return Origin(False, f"random weights, trained from scratch: {problem}")
    raise UsageError(
        f"model.weights=pretrained was asked for {name}, but {problem}. On a machine with network "
        "run the same command once (the weights are kept in the cache that HF_HOME or TORCH_HOME "
        "name), or copy a .safetensors or .pth file here and give its path: "
        "model.weights=/path/to/weights.safetensors. To train without them: model.weights=none."
    )


def _from_file(body: Body, path: Path, name: str) -> Origin:
    if not path.is_file():
        raise UsageError(
            f"model.weights={path}: no such file; it takes auto, pretrained, none or the path of "
            "a .safetensors or .pth file."
        )
    if _is_checkpoint(path):
        raise UsageError(
            f"model.weights={path} is a checkpoint of medcnn, whose head and preprocessing would "
            f"be lost: medcnn finetune checkpoint={path} goes on from it, on these or other "
            "classes."
        )
    tensors, classes = tensors_in(path)
    try:
        where = _fitted(body, tensors, name, str(path))
    except MisfitError as error:
        found = f" The file also holds objects of {listed(classes, 3)}." if classes else ""
        raise MisfitError(f"{error}{found}") from error
    return Origin(True, f"weights of {path.name}{where}")


def _is_checkpoint(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return "medcnn" in (file.metadata() or {})
    except Exception:
        return False  # whoever reads it says what is wrong with it


def _fitted(body: Body, tensors: dict[str, Tensor], name: str, source: str) -> str:
    """`fit`; where the weights would fit at the size that they were trained at, it is named."""
    try:
        return fit(body.network, tensors, name, source)
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
            f"weights of {source} fit {name} at {trained} px only, and data.size_px is "
            f"{body.size_px}: take data.size_px={trained}."
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


def _unreachable(source: str) -> str:
    """Why the server of `source` does not answer, or nothing where it does.

    Asked in a thread of its own: name resolution has no timeout and may hang for minutes.
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
            answer.append("")  # it answers; whether the file is there shows when it is fetched
        except OSError as error:
            answer.append(
                f"{url} cannot be reached ({_why(error)}; "
                "model.weights=FILE.safetensors takes them from a file)"
            )

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(REACH_TIMEOUT_S)
    return answer[0] if answer else f"{url} does not answer within {REACH_TIMEOUT_S:g} s"


def _why(error: OSError) -> str:
    """What kept a server from being reached, without the numbers of the system."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, socket.gaierror):
        return "no network, or one that does not know this name"
    said = reason.strerror if isinstance(reason, OSError) else None
    return said or _first_line(reason)


def _first_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
