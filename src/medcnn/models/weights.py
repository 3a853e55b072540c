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
from typing import Any

import safetensors
import safetensors.torch
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from medcnn.models.backbones import Body
from medcnn.system.errors import UsageError, listed

REACH_TIMEOUT_S = 4.0
# Layers after the features, which a file of weights has and a body does not.
_HEAD_PREFIXES = ("fc.", "head.", "classifier.", "head_norm.", "last_linear.", "aux")


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
        UsageError: weights were insisted on and are not to be had, or the file does not fit.
    """
    if policy == "none":
        return Origin(False, "random weights (model.weights=none)")
    if policy not in ("auto", "pretrained"):
        return _from_file(body.network, Path(policy), name)
    problem = "there are no pretrained weights for it"
    if body.download is not None:
        problem = "" if _cached(body.download) else _unreachable(body.download)
    if not problem:
        assert body.download is not None
        try:
            _fit(body.network, _download(body.download), name, body.download)
            return Origin(True, f"pretrained weights ({body.download})")
        except OSError as error:
            problem = f"{body.download} cannot be loaded ({_first_line(error)})"
    if policy == "auto":
        return Origin(False, f"random weights, trained from scratch: {problem}")
    raise UsageError(
        f"model.weights=pretrained was asked for {name}, but {problem}. On a machine with network "
        "run the same command once (the weights are kept in the cache that HF_HOME or TORCH_HOME "
        "name), or copy a .safetensors or .pth file here and give its path: "
        "model.weights=/path/to/weights.safetensors. To train without them: model.weights=none."
    )


def _from_file(network: nn.Module, path: Path, name: str) -> Origin:
    if not path.is_file():
        raise UsageError(
            f"model.weights={path}: no such file; it takes auto, pretrained, none or the path of "
            "a .safetensors or .pth file."
        )
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                own = "medcnn" in (file.metadata() or {})
            state = {} if own else safetensors.torch.load_file(path)
        else:
            own, state = False, torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a dozen types for a damaged file
        raise UsageError(
            f"model.weights={path} cannot be read as weights: {_first_line(error)}. Only tensors "
            "are loaded, never code; save the state_dict alone."
        ) from error
    if own:
        raise UsageError(
            f"model.weights={path} is a checkpoint of medcnn, whose head and preprocessing would "
            f"be lost: medcnn finetune checkpoint={path} goes on from it, on these or other "
            "classes."
        )
    _fit(network, state, name, str(path))
    return Origin(True, f"weights of {path.name}")


def _fit(network: nn.Module, state: dict[str, Any], name: str, source: str) -> None:
    """Load a state dict into a body: its classifier is left out, a wrapper's prefix is taken off,
    the first convolution is adapted to the number of channels (timm's rule)."""
    for wrapper in ("state_dict", "model"):
        inner = state.get(wrapper)
        if isinstance(inner, dict):
            state = inner
    tensors = {_bare(key): value for key, value in state.items() if isinstance(value, Tensor)}
    wanted = network.state_dict()
    first = next((k for k, v in wanted.items() if v.ndim == 4), None)
    if first in tensors and tensors[first].shape[1] == 3 and wanted[first].shape[1] != 3:
        tensors[first] = adapt_input_conv(wanted[first].shape[1], tensors[first])
    missing = [k for k in wanted if k not in tensors]
    shape = [k for k in wanted if k in tensors and wanted[k].shape != tensors[k].shape]
    foreign = [k for k in tensors if k not in wanted and not k.startswith(_HEAD_PREFIXES)]
    if missing or shape or foreign:
        parts = [
            f"{len(keys)} {what} ({listed(keys, 3)})"
            for what, keys in (
                ("missing", missing),
                ("of another shape", shape),
                ("unknown", foreign),
            )
            if keys
        ]
        raise UsageError(f"weights of {source} do not fit {name}: tensors {', '.join(parts)}.")
    network.load_state_dict({k: tensors[k] for k in wanted})


def _bare(key: str) -> str:
    for prefix in ("module.", "model.", "body."):
        key = key.removeprefix(prefix)
    return key


def _download(source: str) -> dict[str, Any]:
    if source.startswith("hf-hub:"):
        from timm.models import load_state_dict_from_hf

        return dict(load_state_dict_from_hf(source.removeprefix("hf-hub:"), weights_only=True))
    return dict(
        torch.hub.load_state_dict_from_url(
            source, map_location="cpu", weights_only=True, progress=False
        )
    )


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
