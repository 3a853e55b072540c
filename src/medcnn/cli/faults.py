"""Faults in the settings of a command, with the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from medcnn.cli.help import settings
from medcnn.cli.words import NAMES, RENAMED, said, shortened
from medcnn.models.backbone_names import backbone_names
from medcnn.system.paths import PLACES, config_folder
from medcnn.system.registry import nearest
from medcnn.verbs import Verb


def meant_by(verb: Verb, word: str, following: str) -> str:
    """`; write trainer.epochs=3` for `--epochs 3`; "" if no setting has that name."""
    name, given, value = word.lstrip("-").partition("=")
    name = name.replace("-", "_")
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        shape: Any = OmegaConf.to_container(compose(verb.name))
    keys = [*map(str, shape), *_leaves(shape)]
    found = [key for key in keys if name in (key, key.rpartition(".")[2])]
    if not given and "=" not in following and not following.startswith("-"):
        value = following
    return f"; write {found[0]}={value or '...'}." if found else ""


def unsafe(node: Any, key: str = "") -> Iterator[str]:
    """Settings that would fetch a value from elsewhere, or name Python code for Hydra to call."""
    if isinstance(node, Mapping):
        for name, child in node.items():
            where = f"{key}.{name}".lstrip(".")
            if re.fullmatch(r"_\w+_", str(name)):
                yield f"{where}: settings never name Python; choose a name from `medcnn list`."
            else:
                yield from unsafe(child, where)
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from unsafe(child, f"{key}.{number}")
    elif isinstance(node, str) and "${" in node and key not in PLACES:
        yield (
            f"{key}={shortened(node)}: settings are written into run folders, so their values must "
            f"be given here; ${{...}} is allowed only in {', '.join(PLACES)}."
        )


def line(override: Override) -> str:
    """A word of the command for a message."""
    return said(str(override.input_line))


NAMED = re.compile(rf"data\.({'|'.join(NAMES)})\b")


def misread(override: Override) -> Iterator[str]:
    """Names that Hydra's grammar takes for other numbers: 2E63, a code of ICD-11, for 2e+63."""
    typed = re.split(r"[^\w.+-]+", str(override.input_line))
    if NAMED.match(override.key_or_group):
        for number in _numbers(override.value()):
            if str(number) not in typed:
                word = said(str(override.input_line).lstrip("+"))
                yield (
                    f"{word}: a name is read as another number. Write it in two pairs of quotes, "
                    "such as data.classes='[\"2E63\"]'; a name before a colon cannot have them, so "
                    "put the setting into a YAML of your own."
                )
                return


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, Mapping):
        yield from _numbers([*value, *value.values()])
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def group_faults(
    override: Override, loader: ConfigLoader, verb: Verb, search: list[str]
) -> list[str]:
    group, value = override.key_or_group, override.value()
    options = loader.get_group_options(group, ObjectType.CONFIG, verb.name, search)
    if isinstance(value, str) and value in options:
        return []
    if value is None:
        return [f"{group}=null: leave it out, or choose one of {', '.join(options)}."]
    names, known = ", ".join(options), options
    if group == "model" and makes_a_model(verb):
        known = [*options, *backbones()]
        names += ", or any name of `medcnn list backbones`"
    name = shortened(str(value))
    return [f"unknown {group} '{name}'{nearest(name, known)} Known: {names}."]


def key_faults(
    override: Override, shape: DictConfig, groups: list[str], verb: Verb
) -> Iterator[str]:
    whole: Any = OmegaConf.to_container(shape)
    node = whole
    key = override.key_or_group
    done: list[str] = []
    for part in key.split("."):
        named = {str(k): v for k, v in node.items()} if isinstance(node, dict) else {}
        if part in named:
            node = named[part]
            done.append(part)
            continue
        where = ".".join(done)
        if meant := _meant_elsewhere(verb, key, part, whole):
            yield f"{key} is not a setting of medcnn {verb.name}{meant}"
            return
        training: Any = OmegaConf.to_container(compose("train")) if verb.name != "train" else {}
        if key in training or key in _leaves(training):
            where = f"but of training: medcnn train {key}=..."
            yield f"{key} is not a setting of medcnn {verb.name}, {where}"
            return
        if owners := _owners(done, part):
            yield f"{key} is not a setting of {_chosen(done, node)}; it belongs to {owners}."
            return
        siblings = [f"{where}.{name}".lstrip(".") for name in named]
        guess = nearest(key, [*siblings, *(groups if not done else [])])
        if guess == ".":
            # `lr=0.1` means optimizer.lr: people remember the last part of a key
            leaves = {leaf.rsplit(".", 1)[-1]: leaf for leaf in _leaves(whole)}
            last = nearest(part, leaves)
            found = re.search(r"'(.+)'", last)
            guess = f"; did you mean '{leaves[found[1]]}'?" if found else last
        yield f"{key} is not a setting of medcnn {verb.name}{guess}"
        return
    # `config.py` checks the types of the rest; options of tables are checked once torch is there
    value, numbers = override.value(), ("head", "loss", "pooling", "transfer")
    if done[0] in numbers and isinstance(node, int | float) and not isinstance(value, int | float):
        yield f"{key}={value} should be a number, such as {node}."


def _owners(group: list[str], option: str) -> str:
    """`transfer=last_n`, for an option `n` of the group `transfer`; "" if none has it."""
    files = sorted(config_folder().joinpath(*group).glob("*.yaml")) if group else []
    named = re.compile(rf"^{re.escape(option)}:", re.MULTILINE)
    found = [f"{group[0]}={f.stem}" for f in files if named.search(f.read_text(encoding="utf-8"))]
    return " or ".join(found)


def _chosen(group: list[str], node: Any) -> str:
    return f"{group[0]}={node.get('name', '...')}"


def _meant_elsewhere(verb: Verb, key: str, part: str, whole: Any) -> str:
    """A setting of another group, or a command, that a key may mean; or ""."""
    if key in verb.mistaken:
        return verb.mistaken[key]
    own = [*_leaves(whole)]
    last, leaves = key.rpartition(".")[2], [*own, *RENAMED.values()]
    same = [leaf for leaf in leaves if leaf.rpartition(".")[2] == last and "." in leaf]
    longer = [leaf for leaf in leaves if leaf.rpartition(".")[2].startswith(f"{part}_")]
    known = [leaf for leaf in [*same, *longer] if leaf in own]
    return f"; did you mean '{known[0]}'?" if known else ""


def decimal_comma(override: Override, shape: DictConfig) -> str:
    number = re.fullmatch(r"[^=]+=(-?\d+),(\d+)", str(override.input_line))
    value = OmegaConf.select(shape, override.key_or_group)
    if not number or not (isinstance(value, float) or (value is None and number[1] == "0")):
        return ""
    return f" A decimal comma? {override.key_or_group}={number[1]}.{number[2]}"


def _leaves(node: Mapping[Any, Any], where: str = "") -> Iterator[str]:
    for name, child in node.items():
        path = f"{where}.{name}".lstrip(".")
        if isinstance(child, dict) and child:
            yield from _leaves(child, path)
        else:
            yield path


def makes_a_model(verb: Verb) -> bool:
    """Whether the command accepts `model=NAME`, including any name of timm's."""
    return settings(verb.name, config_folder()).get("model", ("null",))[0] != "null"


@cache
def backbones() -> tuple[str, ...]:
    return tuple(backbone_names())
