"""From the words of a command to a frozen config. Hydra composes here, and is not used after."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ConfigTypeError

from medcnn.cli.faults import (
    backbones,
    decimal_comma,
    group_faults,
    key_faults,
    line,
    makes_a_model,
    meant_by,
    misread,
    unsafe,
)
from medcnn.cli.own_yaml import (
    own_file,
    own_folder,
    place_hint,
    refuse_nameless,
    refuse_unknown,
    searched,
)
from medcnn.cli.plugin_yaml import names_in
from medcnn.cli.words import NAMING, TEXTS, is_place, parts, shortened, understood, word_of
from medcnn.config import PRESET_NAMES, DataConfig, build
from medcnn.data import adapters
from medcnn.places import WEIGHT_WORDS
from medcnn.statistics.metrics.table import choosing
from medcnn.system.errors import MedcnnError, UsageError, private
from medcnn.system.paths import PATHS, config_folder
from medcnn.system.plugins import installed
from medcnn.system.privacy import as_pseudonyms
from medcnn.system.registry import nearest
from medcnn.verbs import Command, Given, Verb, verb_of

# Settings that accept any name, for which Hydra would demand a `+`.
OPEN = re.compile(r"(data\.(exclude|names|rename|split_names)|model\.options)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings in Hydra's grammar, the folder of --config-dir, whether to only show settings, and
    hints for the user."""

    settings: list[str]
    folder: Path | None
    show: bool
    hints: list[str]


def read_command(name: str, words: list[str]) -> Command:
    """Compose, check and freeze.

    Raises:
        UsageError: all faults of the command, one line each, with the nearest valid name.
    """
    verb = verb_of(name)
    loose = _without_key(words) if verb.rest else []
    options = read_options(verb, [w for w in words if w not in loose])
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        composed, groups, keys = _compose(verb, options.settings, options.folder)
    if verb.rest:
        composed[verb.rest] = loose
    if file := own_file(options.folder, groups.get("data")):
        refuse_unknown(file, composed["data"], keys)
    config = _frozen(verb, Given(settings=composed, groups=groups, keys=keys))
    return Command(
        verb=verb,
        words=[name, *words],
        keys=keys,
        config=config,
        yaml=OmegaConf.to_yaml(OmegaConf.create(_shown(composed))),
        show=options.show,
        hints=options.hints,
        varied=partial(_varied, name, options),
    )


def _varied(name: str, options: Options, chosen: Mapping[str, Any]) -> Command:
    """The training command with another command's settings; `chosen` replaces some of them."""
    own = {"run_dir", *chosen, *(f.name for f in fields(cast(type, verb_of(name).config)))}
    shared = [
        word
        for word, o in zip(options.settings, read_words(options.settings), strict=True)
        if not {o.key_or_group, o.key_or_group.split(".")[0]} & own
    ]
    folder = [f"--config-dir={options.folder}"] if options.folder else []
    more = [f"{key}={word_of(value)}" for key, value in chosen.items()]
    return read_command("train", [*folder, *shared, *more])


def _shown(composed: dict[str, Any]) -> dict[str, Any]:
    """Settings to show: a terminal gets all of them, a pipe no names of excluded patients."""
    data = composed.get("data") or {}
    exclude = data.get("exclude")
    if sys.stdout.isatty() or not isinstance(exclude, Mapping):
        return composed
    return {**composed, "data": {**data, "exclude": hidden(exclude)}}


def hidden(values: Any) -> Any:
    """What `data.exclude` may name patients with, as pseudonyms, which it understands."""
    if isinstance(values, Mapping):
        return {column: hidden(of) for column, of in values.items()}
    if values is None:
        return None
    return as_pseudonyms(map(str, values if isinstance(values, list) else [values]))


def _without_key(words: list[str]) -> list[str]:
    before = ["", *words]
    return [w for b, w in zip(before, words, strict=False) if b != "--config-dir" and is_place(w)]


def read_options(verb: Verb, words: list[str], *, many: bool = False) -> Options:
    """The words of a command, sorted.

    Args:
        many: whether a comma makes several runs (`-m`).

    Raises:
        UsageError: an unknown option, or a word that is not a setting.
    """
    plain: list[str] = []
    folder: Path | None = None
    show = False
    rest = iter(words)
    for word in rest:
        if word == "--show-config":
            show = True
        elif word.startswith("--config-dir"):
            _, given, value = word.partition("=")
            folder = own_folder(value if given else next(rest, ""))
        elif word.startswith("-"):
            known = ("--config-dir", "--show-config", "--debug", "--help", "--multirun")
            meant = meant_by(verb, word, next(rest, ""))
            raise UsageError(f"unknown option {word}{meant or nearest(word, known)}")
        else:
            plain.append(word)
    settings, hints = understood(verb, plain, many=many)
    settings = [_readable(word) for word in settings]
    return Options(settings=settings, folder=folder, show=show, hints=hints)


def _readable(word: str) -> str:
    """The name of a column, quoted if Hydra's grammar cannot read it."""
    start, key, value = parts(word)
    if key in TEXTS and value[:1] not in ("", "[", "{"):
        try:
            OverridesParser.create().parse_override(word)
        except Exception:  # as in read_words
            return f"{start}{key}={word_of(value)}"
    return word


def _named_bodies(verb: Verb, words: list[str], folder: Path | None) -> list[str]:
    """`model=vit_base_patch16_224`, a name of timm's that has no YAML, as `model.backbone=...`."""
    if not makes_a_model(verb):
        return words
    found = []
    for word in words:
        _, key, name = parts(word)
        if key == "model" and name != "null":
            file = Path("model") / f"{name}.yaml"
            named = (config_folder() / file).is_file() or (folder and (folder / file).is_file())
            if not named and name.partition(".")[0] in backbones():
                word = f"model.backbone={name}"
        found.append(word)
    return found


def _compose(
    verb: Verb, words: list[str], folder: Path | None
) -> tuple[dict[str, Any], Mapping[str, str | None], list[str]]:
    """The composed config as plain dicts, the choice in each group, and the given keys."""
    search = searched(folder)
    words = _named_bodies(verb, words, folder)
    words = [f"++{word}" if OPEN.match(word) else word for word in words]
    overrides = read_words(words)
    plain, groups = _ours(verb.name)
    own_groups = [g for g in groups if not g.startswith("hydra/")]
    loader = GlobalHydra.instance().config_loader()
    choosing = [o for o in overrides if o.key_or_group in own_groups]
    faults = [
        f"{fault}{place_hint(o.key_or_group, str(o.value()), folder)}"
        for o in choosing
        for fault in group_faults(o, loader, verb, search)
    ]
    way = (
        "put the settings to search in a file, FOLDER/sweep/mine.yaml (docs/sweeps.md)"
        if "sweep" in own_groups
        else "a list of values is a sweep: `medcnn train -m` makes one run for each"
    )
    faults += [
        f"{line(o)}: {way}. A comma within one value needs two pairs of quotes: "
        f"{o.key_or_group}='\"...\"'.{decimal_comma(o, plain)}"
        for o in overrides
        if o.is_sweep_override() or o.key_or_group.startswith("sweep.space")
    ]
    faults += [
        f"{o.input_line}: {o.key_or_group} is a setting of Hydra, not of medcnn."
        for o in overrides
        if re.match(r"hydra\b", o.key_or_group)
    ]
    faults += [fault for o in overrides for fault in misread(o)]
    if faults:
        raise UsageError("\n".join(faults))
    try:
        ways = (verb.name, *search, *(str(o.input_line) for o in choosing))
        shape, groups = _composed(*ways) if search else _ours(*ways)
        for o in choosing:
            if o.key_or_group == "data" and (file := own_file(folder, str(o.value()))):
                refuse_nameless(file, list(shape.data or {}))
        rest = [o for o in overrides if o not in choosing]
        values = [o for o in rest if not (o.is_add() or o.is_force_add())]
        faults = [fault for o in values for fault in key_faults(o, shape, own_groups, verb)]
        if faults:
            raise UsageError("\n".join(faults))
        if search or not all(map(_only_a_value, rest)):
            final, groups = _composed(verb.name, *search, *words)
        else:
            final = deepcopy(shape)
            for o in rest:
                OmegaConf.update(final, o.key_or_group, o.value(), force_add=o.is_force_add())
        if faults := list(unsafe(OmegaConf.to_container(final))):
            raise UsageError("\n".join(faults))
        composed = OmegaConf.to_container(final, resolve=True)
    except MedcnnError:
        raise
    except Exception as error:  # whatever it is, the user's settings caused it
        raise UsageError(f"the settings cannot be composed: {words_of(error)}") from error
    assert isinstance(composed, dict)
    composed.pop("experiment", None)
    keys = [o.key_or_group for o in overrides]
    return {str(k): v for k, v in composed.items()}, groups, keys


def _composed(name: str, *words: str) -> tuple[DictConfig, Mapping[str, str | None]]:
    """The settings of a command, and the choice in each group."""
    found = compose(name, list(words), return_hydra_config=True)
    groups = dict(found.hydra.runtime.choices)
    with open_dict(found):
        del found["hydra"]
    return found, groups


_ours = cache(_composed)  # only our own YAML, which does not change; nobody modifies the result


def _only_a_value(override: Override) -> bool:
    """Whether a word only sets an existing value, so that nothing has to be composed again."""
    key = override.key_or_group
    plain = override.type is OverrideType.CHANGE and not (config_folder() / key).is_dir()
    added = override.is_force_add() and OPEN.match(key)
    return override.package is None and bool(plain or added)


def read_words(words: list[str], loader: ConfigLoader | None = None) -> list[Override]:
    """Hydra's parse of each word; with a loader, globs are matched with the available names."""
    parser = OverridesParser.create(loader)
    overrides: list[Override] = []
    for word in words:
        try:
            overrides += parser.parse_overrides([word])
        except Exception as error:  # from the grammar, or from numbers that Python refuses
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            key, _, value = word.partition("=")
            if NAMING.match(word):
                key = key.lstrip("+")
                raise UsageError(
                    f"{key}={private(shortened(value))} cannot be read as key=value. In a command "
                    f"it is {key}='{{COLUMN: [VALUE]}}'; names with spaces or symbols need quotes."
                ) from None
            if re.search(r"\s\w[\w.]*=", value):
                raise UsageError(
                    f"{shortened(word)}: several settings in one word; remove the quotes around "
                    "them."
                ) from None
            raise UsageError(
                f"{shortened(word)} cannot be read as key=value: {shortened(reason, 200)}. A value "
                "with commas, brackets or symbols needs two pairs of quotes: "
                f"{shortened(key)}='\"{shortened(value)}\"'."
            ) from None
    return overrides


def words_of(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "a part of them refers to itself."
    fault = error.__cause__ or error  # Hydra names the word, OmegaConf what is wrong with it
    if isinstance(fault, ConfigAttributeError | ConfigKeyError) and fault.full_key:
        return f"unknown setting {fault.full_key}."
    if isinstance(fault, ConfigTypeError) and fault.full_key:
        return f"{fault.full_key}: a mapping cannot replace a list, nor a list a mapping."
    text = " ".join(str(error).partition("Config search path")[0].split())
    return text[:600] or type(error).__name__


def _frozen(verb: Verb, given: Given) -> Any:
    """The config of the command, with all names and options checked."""
    composed = given.settings
    _expand(composed)
    data = composed.get("data")
    if isinstance(data, dict) and "root" in data:
        _refuse_unnamed(given.keys, data)
        # kept absolute, so that a run can be evaluated from another directory
        places = {k: data[k] for k in ("root", "path") if isinstance(data.get(k), str)}
        data |= {key: str(Path(place).resolve()) for key, place in places.items()}
        chosen = given.groups.get("data")
        if chosen and data.get("title") is None and chosen != data.get("name"):
            data["title"] = chosen  # a user's own YAML, known by the name of its file
    verb.prepare(given)
    known: dict[str, Any] = {
        "data.name": adapters.DATASETS,
        "augmentation.preset": [*PRESET_NAMES, *installed("augmentations")],
    }
    groups = ("loss", "pooling", "head", "optimizer", "sampler", "transfer")
    known |= {f"{group}.name": _group_names(group) for group in groups if composed.get(group)}
    if "loss" in composed:  # it trains
        known["trainer.score"] = ("auto", *choosing())
    if backbone := (composed.get("model") or {}).get("backbone"):
        bodies = [*backbones(), *names_in("model")]
        if str(backbone).partition(".")[0] in bodies:
            bodies.append(str(backbone))  # a name may be followed by the tag of its weights
        known["model.backbone"] = bodies
    config: Any = build(cast(type, verb.config), composed, known)
    if isinstance(data := getattr(config, "data", None), DataConfig):
        adapters.DATASETS.bind(data.name, data.options)
    return config


def _refuse_unnamed(keys: Collection[str], data: Mapping[str, Any]) -> None:
    """Raises UsageError if `data.root` is given without `data`: phantoms would be drawn there."""
    named = {"data", "data.phantom", "data.patients"}.intersection(keys)
    if data.get("name") != "phantom" or "data.root" not in keys or named:
        return
    root = Path(str(data["root"]))
    if not (root / "phantom.json").is_file():
        raise UsageError(
            f"data.root={root}: say what is there with data=NAME. For your own images, `medcnn "
            f"init {root}` writes a YAML; data=phantom would draw phantoms there."
        )


def _group_names(group: str) -> list[str]:
    files = (config_folder() / group).glob("*.yaml")
    return sorted([*(p.stem for p in files), *names_in(group)])


def _expand(composed: dict[str, Any]) -> None:
    """Expand `~` in every path, in the command and in a YAML. The name of a folder may be a number.
    Files record no folders of absolute paths, so those that config and checkpoint keep become one.

    Raises:
        UsageError: an empty path, which would mean the current folder.
    """
    for setting in PATHS:
        *groups, name = setting.split(".")
        node: Any = composed
        for group in groups:
            node = node.get(group) if isinstance(node, Mapping) else None
        value = node.get(name) if isinstance(node, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            node[name] = str(value)
        elif isinstance(value, str) and value != "???":
            if not value.strip() and setting != "data.folder":
                raise UsageError(f"{setting} is empty: give a path, or null for none.")
            if "\0" in value:
                raise UsageError(f"{setting}: a path cannot contain a NUL byte.")
            place = node[name] = os.path.expanduser(value)
            kept = setting in ("model.weights", "old_data") and os.path.exists(place)
            if value not in _NO_PATHS and (kept or setting == "data.cache"):
                node[name] = str(Path(place).absolute())


_NO_PATHS = {*WEIGHT_WORDS, "off"}
