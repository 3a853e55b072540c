"""Renames the tensors of other libraries as timm names them.

timm's own filters do this for most networks; this covers what they leave out. Names that follow a
rule are rewritten. If both libraries list the same layers in the same order, tensors are paired in
that order, provided that every shape agrees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from medcnn.system.errors import UsageError

COUNTERS = "num_batches_tracked"

# The first tensor of a file -> backbones whose layers it lists in timm's order, and the eps of
# their BatchNorm if it is not timm's. Tests check for each family that timm's network then returns
# the same features as torchvision's.
_IN_ORDER: dict[str, dict[str, float | None]] = {
    # EfficientNet-PyTorch pads as TensorFlow does, which timm's tf_ networks do
    "_conv_stem.weight": {r"tf_efficientnet_(b\d|lite\d)": None},
    # torchvision/models/{efficientnet,mobilenetv2,mobilenetv3,convnext}.py
    "features.0.0.weight": {
        r"efficientnet_b[0-4]|mobilenetv2_100|convnext_(tiny|small|base|large)": None,
        r"mobilenetv3_(small|large)_100": 0.001,
    },
}

# torchvision/models/vision_transformer.py
_TORCHVISION_VIT = (
    (r"encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"encoder\.pos_embedding$", "pos_embed"),
    (r"encoder\.ln\.", "norm."),
    (r"class_token$", "cls_token"),
    (r"conv_proj\.", "patch_embed.proj."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"self_attention\.in_proj_", "attn.qkv."),
    (r"self_attention\.out_proj\.", "attn.proj."),
    (r"mlp\.(linear_1|0)\.", "mlp.fc1."),
    (r"mlp\.(linear_2|3)\.", "mlp.fc2."),
)
# transformers/models/{vit,dinov2}/modeling_*.py
_TRANSFORMERS_VIT = (
    (r"embeddings\.cls_token$", "cls_token"),
    (r"embeddings\.mask_token$", "mask_token"),
    (r"embeddings\.register_tokens$", "register_tokens"),
    (r"embeddings\.position_embeddings$", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"(layernorm_before|norm1)\.", "norm1."),
    (r"(layernorm_after|norm2)\.", "norm2."),
    (r"attention\.attention\.(query|key|value)\.", r"attn.\1."),
    (r"attention\.output\.dense\.", "attn.proj."),
    (r"intermediate\.dense\.", "mlp.fc1."),
    (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"layer_scale(\d)\.lambda1$", r"ls\1.gamma"),
    (r"mlp\.weights_in\.", "mlp.w12."),
    (r"mlp\.weights_out\.", "mlp.w3."),
    (r"(^|\.)layernorm\.", r"\1norm."),
)
# transformers/models/siglip/modeling_siglip.py; MedSigLIP uses these names
_TRANSFORMERS_SIGLIP = (
    (r"embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"layer_norm(\d)\.", r"norm\1."),
    (r"self_attn\.q_proj\.", "attn.query."),
    (r"self_attn\.k_proj\.", "attn.key."),
    (r"self_attn\.v_proj\.", "attn.value."),
    (r"self_attn\.out_proj\.", "attn.proj."),
    (r"post_layernorm\.", "norm."),
    (r"head\.probe$", "attn_pool.latent"),
    (r"head\.attention\.in_proj_", "attn_pool.in_proj."),
    (r"head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"head\.layernorm\.", "attn_pool.norm."),
    (r"head\.mlp\.", "attn_pool.mlp."),
)
# DINOv2 trains in chunks: the layer's number is the second one, dinov2/models/vision_transformer.py
_CHUNKS = ((r"(^|\.)blocks\.\d+\.(\d+)\.", r"\1blocks.\2."),)
_RULES = (_CHUNKS, _TORCHVISION_VIT, _TRANSFORMERS_VIT, _TRANSFORMERS_SIGLIP)


def under_our_names(
    tensors: Mapping[str, Tensor], network: nn.Module, name: str
) -> Iterator[dict[str, Tensor]]:
    """The tensors renamed from each known library's names, for those that change anything.

    Args:
        name: of the backbone.

    Raises:
        UsageError: they are this network's, but with another constant in its BatchNorm.
    """
    paired = _in_order(tensors, network, name)
    if paired:
        yield paired
    numbered = _by_number(tensors, [child for child, _ in network.named_children()])
    if numbered:
        yield numbered
    for rules in _RULES:
        renamed = {_rewritten(key, rules): value for key, value in tensors.items()}
        if renamed.keys() != tensors.keys() and len(renamed) == len(tensors):
            yield _joined(renamed)


def _by_number(tensors: Mapping[str, Tensor], children: list[str]) -> dict[str, Tensor]:
    """`4.0.conv1.weight` as `layer1.0.conv1.weight`: of `nn.Sequential(*network.children())`."""
    made = {}
    for key, value in tensors.items():
        match = re.match(r"((?:[^.\d][^.]*\.)*)(\d+)\.", key)
        if match and int(match[2]) < len(children):
            made[f"{match[1]}{children[int(match[2])]}.{key[match.end() :]}"] = value
    return made


def _rewritten(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, ours in rules:
        key = re.sub(pattern, ours, key)
    return key


def _joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value as the one layer that timm has; in a pooling layer, as its two."""
    made: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if match := re.fullmatch(r"(.*attn\.)query\.(\w+)", key):
            parts = [f"{match[1]}{part}.{match[2]}" for part in ("query", "key", "value")]
            if all(part in tensors for part in parts):
                made[f"{match[1]}qkv.{match[2]}"] = torch.cat([tensors[part] for part in parts])
        elif match := re.fullmatch(r"(.*attn_pool\.)in_proj\.(\w+)", key):
            third = len(value) // 3
            made[f"{match[1]}q.{match[2]}"] = value[:third]
            made[f"{match[1]}kv.{match[2]}"] = value[third:]
        elif key.endswith("pos_embed") and value.ndim == 2:
            made[key] = value[None]
        elif not re.search(r"attn\.(key|value)\.", key):
            made[key] = value
    return made


def _in_order(
    tensors: Mapping[str, Tensor], network: nn.Module, name: str
) -> dict[str, Tensor] | None:
    """Paired with the network's tensors, if all of them have a partner of the same shape."""
    for first, backbones in _IN_ORDER.items():
        key = next((k for k in tensors if k.endswith(first)), None)
        eps = next((e for b, e in backbones.items() if re.fullmatch(b, name.split(".")[0])), -1.0)
        if key is None or eps == -1.0:
            continue
        prefix = key.removesuffix(first)
        theirs = [v for k, v in tensors.items() if k.startswith(prefix) and COUNTERS not in k]
        ours = {k: v for k, v in network.state_dict().items() if COUNTERS not in k}
        pairs = list(zip(ours.items(), theirs, strict=False))
        if len(pairs) < len(ours) or not all(_alike(v, stored) for (_, v), stored in pairs):
            continue
        if eps is not None:
            _require_eps(network, name, eps)
        # the first convolution keeps its colours, which are adapted later
        return {k: s if s.ndim == v.ndim else s.reshape(v.shape) for (k, v), s in pairs}
    return None


def _alike(ours: Tensor, theirs: Tensor) -> bool:
    """Equal shapes except for axes of length 1; colour weights fit any number of channels."""
    if ours.ndim == 4 and theirs.ndim == 4 and theirs.shape[1] == 3:
        return ours.shape[:1] + ours.shape[2:] == theirs.shape[:1] + theirs.shape[2:]
    return [n for n in ours.shape if n != 1] == [n for n in theirs.shape if n != 1]


def _require_eps(network: nn.Module, name: str, eps: float) -> None:
    found = {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)}
    if found != {eps}:
        raise UsageError(
            f"these are torchvision's weights for {name}, trained with a BatchNorm eps of {eps:g}, "
            f"and timm builds it with {min(found):g}: add +model.options.bn_eps={eps:g}"
        )
