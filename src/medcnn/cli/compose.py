"""From the words of a command to a frozen config. Hydra composes here, then leaves."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import AnyNode, DictConfig, OmegaConf
from yaml import safe_load

from medcnn.cli.own_yaml import (
    own_file,
    own_folder,
    place_hint,
    refuse_nameless,
    refuse_unknown,
    searched,
)
from medcnn.cli.plugin_yaml import names_in
from medcnn.cli.words import (
    NAMING,
    PATHS,
    PLACES,
    RENAMED,
    TEXTS,
    is_place,
    parts,
    said,
    shortened,
    understood,
    word_of,
)
from medcnn.config import (
    PRESET_NAMES,
    READING,
    SPLIT_WORDS,
    AuditConfig,
    CompareConfig,
    EvaluateConfig,
    PredictConfig,
    PreviewConfig,
    ReportConfig,
    SearchConfig,
    SweepConfig,
    TrainConfig,
    WhoConfig,
    build,
    config_folder,
)
from medcnn.data import adapters
from medcnn.images import Preprocessing
from medcnn.models.backbone_names import backbone_names
from medcnn.places import Config
from medcnn.statistics.metrics.table import choosing
from medcnn.system.errors import MedcnnError, UsageError, private
from medcnn.system.plugins import installed
from medcnn.system.privacy import as_pseudonyms
from medcnn.system.registry import nearest

# Settings that take any name, so that Hydra would ask for a `+`.
OPEN = re.compile(r"(data\.(exclude|rename|split_names)|model\.options)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    verb: str
    words: list[str]
    keys: list[str]
    config: Config
    yaml: str
    show: bool
    hints: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings in Hydra's grammar, the folder of --config-dir, whether all are only to be shown,
    and what to tell the user about them."""

    settings: list[str]
    folder: Path | None
    show: bool
    hints: list[str]


def read_command(verb: str, words: list[str]) -> Command:
    """Compose, check and freeze.

    Raises:
        UsageError: all faults of the command, one line each, with the nearest right name.
    """
    runs = _runs_or_ids(words) if verb in ("compare", "who") else []
    options = read_options(verb, [w for w in words if w not in runs])
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        composed, groups, keys = _compose(verb, options.settings, options.folder)
    if verb == "compare":
        composed["runs"] = [os.path.expanduser(run) for run in runs]
    elif verb == "who":
        composed["ids"] = runs
    if file := own_file(options.folder, groups.get("data")):
        refuse_unknown(file, composed["data"], keys)
    config = _frozen(verb, composed, groups, keys)
    yaml = OmegaConf.to_yaml(OmegaConf.create(_hidden(composed)))
    return Command(
        verb=verb,
        words=[verb, *words],
        keys=keys,
        config=config,
        yaml=yaml,
        show=options.show,
        hints=options.hints,
    )


def _hidden(composed: dict[str, Any]) -> dict[str, Any]:
    """Settings to show: a terminal sees them all, a pipe no patient that is left out."""
    data = composed.get("data") or {}
    exclude = data.get("exclude")
    if sys.stdout.isatty() or not isinstance(exclude, Mapping):
        return composed
    hidden = {
        column: as_pseudonyms(map(str, of if isinstance(of, list) else [of]))
        for column, of in exclude.items()
    }
    return {**composed, "data": {**data, "exclude": hidden}}


def _runs_or_ids(words: list[str]) -> list[str]:
    before = ["", *words]
    return [w for b, w in zip(before, words, strict=False) if b != "--config-dir" and is_place(w)]


def read_options(verb: str, words: list[str], *, many: bool = False) -> Options:
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
            meant = _meant(verb, word, next(rest, ""))
            raise UsageError(f"unknown option {word}{meant or nearest(word, known)}")
        else:
            plain.append(word)
    settings, hints = understood(verb, plain, many=many)
    settings = [_readable(word) for word in settings]
    return Options(settings=settings, folder=folder, show=show, hints=hints)


def _readable(word: str) -> str:
    """A name of a column, quoted where Hydra's grammar has no reading of its signs."""
    start, key, value = parts(word)
    if key in TEXTS and value[:1] not in ("", "[", "{"):
        try:
            OverridesParser.create().parse_override(word)
        except Exception:  # as in read_words
            return f"{start}{key}={word_of(value)}"
    return word


def _named_bodies(verb: str, words: list[str], folder: Path | None) -> list[str]:
    """`model=vit_base_patch16_224`, a name of timm's that has no YAML, as `model.backbone=...`."""
    found = []
    for word in words:
        _, key, name = parts(word)
        if key == "model" and verb in ("train", "sweep", "preview") and name != "null":
            file = Path("model") / f"{name}.yaml"
            named = (config_folder() / file).is_file() or (folder and (folder / file).is_file())
            if not named and name.partition(".")[0] in _backbones():
                word = f"model.backbone={name}"
        found.append(word)
    return found


def _meant(verb: str, word: str, following: str) -> str:
    """`; write trainer.epochs=3` for `--epochs 3`; blank where no setting has that name."""
    name, given, value = word.lstrip("-").partition("=")
    name = name.replace("-", "_")
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        shape = compose(verb)
    keys = [*map(str, shape), *_leaves(shape)]
    found = [key for key in keys if name in (key, key.rpartition(".")[2])]
    if not given and "=" not in following and not following.startswith("-"):
        value = following
    return f"; write {found[0]}={value or '...'}." if found else ""


def _compose(
    verb: str, words: list[str], folder: Path | None
) -> tuple[dict[str, Any], Mapping[str, str | None], list[str]]:
    """The composed config as plain dicts, what was chosen of each group, and the keys given."""
    search = searched(folder)
    words = _named_bodies(verb, words, folder)
    words = [f"++{word}" if OPEN.match(word) else word for word in words]
    overrides = read_words(words)
    plain = compose(verb, search, return_hydra_config=True)
    groups: Mapping[str, str | None] = plain.hydra.runtime.choices
    own_groups = [g for g in groups if not g.startswith("hydra/")]
    loader = GlobalHydra.instance().config_loader()
    choosing = [o for o in overrides if o.key_or_group in own_groups]
    faults = [
        f"{fault}{place_hint(o.key_or_group, str(o.value()), folder)}"
        for o in choosing
        for fault in _group_faults(o, loader, verb, search)
    ]
    way = (
        "what to search is written in a file, FOLDER/sweep/mine.yaml (docs/sweeps.md)"
        if verb == "sweep"
        else "a list of values is a sweep: `medcnn train -m` makes a run of each"
    )
    faults += [
        f"{_line(o)}: {way}. A comma within one value needs two pairs of quotes: "
        f"{o.key_or_group}='\"...\"'.{_decimal_comma(o, plain)}"
        for o in overrides
        if o.is_sweep_override() or o.key_or_group.startswith("sweep.space")
    ]
    faults += [
        f"{o.input_line}: {o.key_or_group} belongs to Hydra and is not a setting of medcnn."
        for o in overrides
        if re.match(r"hydra\b", o.key_or_group)
    ]
    if faults:
        raise UsageError("\n".join(faults))
    try:
        shape = compose(verb, [*search, *(str(o.input_line) for o in choosing)])
        for o in choosing:
            if o.key_or_group == "data" and (file := own_file(folder, str(o.value()))):
                refuse_nameless(file, list(shape.data or {}))
        values = [
            o for o in overrides if o not in choosing and not (o.is_add() or o.is_force_add())
        ]
        faults = [fault for o in values for fault in _key_faults(o, shape, own_groups, verb)]
        if faults:
            raise UsageError("\n".join(faults))
        final = compose(verb, [*search, *words], return_hydra_config=True)
        groups = dict(final.hydra.runtime.choices)
        OmegaConf.set_struct(final, False)
        del final["hydra"]
        if faults := list(_unsafe(OmegaConf.to_container(final))):
            raise UsageError("\n".join(faults))
        composed = OmegaConf.to_container(final, resolve=True)
    except MedcnnError:
        raise
    except Exception as error:  # whatever it is, the settings of the user made it
        raise UsageError(f"the settings cannot be composed: {words_of(error)}") from error
    assert isinstance(composed, dict)
    composed.pop("experiment", None)
    keys = [o.key_or_group for o in overrides]
    return {str(k): v for k, v in composed.items()}, groups, keys


def read_words(words: list[str], loader: ConfigLoader | None = None) -> list[Override]:
    """Hydra's reading of each word; with a loader, globs know the names they choose from."""
    parser = OverridesParser.create(loader)
    overrides: list[Override] = []
    for word in words:
        try:
            overrides += parser.parse_overrides([word])
        except Exception as error:  # of the grammar, or of numbers that Python refuses
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            key, _, value = word.partition("=")
            if NAMING.match(word):
                key = key.lstrip("+")
                raise UsageError(
                    f"{key}={private(shortened(value))} cannot be read as key=value. In a command "
                    f"it is {key}='{{COLUMN: [VALUE]}}'; names with blanks or signs need quotes."
                ) from None
            if re.search(r"\s\w[\w.]*=", value):
                raise UsageError(
                    f"{shortened(word)}: several settings in one word; leave out the quotes that "
                    "hold them together."
                ) from None
            raise UsageError(
                f"{shortened(word)} cannot be read as key=value: {shortened(reason, 200)}. A value "
                "with commas, brackets or signs needs two pairs of quotes: "
                f"{shortened(key)}='\"{shortened(value)}\"'."
            ) from None
    return overrides


def _unsafe(node: Any, key: str = "") -> Iterator[str]:
    """Settings that would fetch a value from elsewhere, or name Python for Hydra to call."""
    if isinstance(node, Mapping):
        for name, child in node.items():
            where = f"{key}.{name}".lstrip(".")
            if re.fullmatch(r"_\w+_", str(name)):
                yield f"{where}: settings never name Python; a choice is a name of `medcnn list`."
            else:
                yield from _unsafe(child, where)
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from _unsafe(child, f"{key}.{number}")
    elif isinstance(node, str) and "${" in node and key not in PLACES:
        yield (
            f"{key}={shortened(node)}: settings are written into run folders, so none is fetched "
            f"from elsewhere; ${{...}} is allowed only in {', '.join(PLACES)}."
        )


def _line(override: Override) -> str:
    """A word of the command as a message has it."""
    return said(str(override.input_line))


def _group_faults(
    override: Override, loader: ConfigLoader, verb: str, search: list[str]
) -> list[str]:
    group, value = override.key_or_group, override.value()
    options = loader.get_group_options(group, ObjectType.CONFIG, verb, search)
    if isinstance(value, str) and value in options:
        return []
    if value is None:
        return [f"{group}=null: leave it out, or choose one of {', '.join(options)}."]
    names, known = ", ".join(options), options
    if group == "model" and verb != "finetune":
        known = [*options, *_backbones()]
        names += ", or any name of `medcnn list backbones`"
    name = shortened(str(value))
    return [f"unknown {group} '{name}'{nearest(name, known)} Known: {names}."]


def _key_faults(
    override: Override, shape: DictConfig, groups: list[str], verb: str
) -> Iterator[str]:
    node: Any = shape
    key = override.key_or_group
    done: list[str] = []
    for part in key.split("."):
        # the list, since `in node` says no to a setting that is required and has no value yet
        names = [str(k) for k in node] if isinstance(node, DictConfig) else []
        if part in names:
            node = node._get_node(part)
            done.append(part)
            continue
        where = ".".join(done)
        if meant := _meant_elsewhere(verb, key, part, shape):
            yield f"{key} is not a setting of medcnn {verb}{meant}"
            return
        siblings = [f"{where}.{name}".lstrip(".") for name in names]
        guess = nearest(key, [*siblings, *(groups if not done else [])])
        if guess == ".":
            # `lr=0.1` means optimizer.lr: the last word of a key is what people remember
            leaves = {leaf.rsplit(".", 1)[-1]: leaf for leaf in _leaves(shape)}
            last = nearest(part, leaves)
            found = re.search(r"'(.+)'", last)
            guess = f"; did you mean '{leaves[found[1]]}'?" if found else last
        if guess == "." and verb != "train" and key in _leaves(compose("train")):
            guess = f", only of training: medcnn train {key}=..."
        yield f"{key} is not a setting of medcnn {verb}{guess}"
        return
    # `config.py` knows the types of the rest; options of a table are bound only once torch is there
    if done[0] in ("head", "loss", "transfer") and isinstance(node, AnyNode):
        default, value = node._value(), override.value()
        if isinstance(default, int | float) and not isinstance(value, int | float):
            yield f"{key}={value} should be a number, such as {default}."


def _meant_elsewhere(verb: str, key: str, part: str, shape: DictConfig) -> str:
    """A setting of another group, or a command, that people mean by a key; blank where none is."""
    if verb == "compare" and key in ("run", "runs", "checkpoint", "a", "b"):
        return "; name the runs without a key: medcnn compare RUN RUN."
    if verb == "train" and key == "checkpoint":
        return "; to go on from a checkpoint with other images, see medcnn finetune --help."
    last, leaves = key.rpartition(".")[2], [*_leaves(shape), *RENAMED.values()]
    same = [leaf for leaf in leaves if leaf.rpartition(".")[2] == last and "." in leaf]
    longer = [leaf for leaf in leaves if leaf.rpartition(".")[2].startswith(f"{part}_")]
    known = [leaf for leaf in [*same, *longer] if OmegaConf.select(shape, leaf) is not None]
    return f"; did you mean '{known[0]}'?" if known else ""


def _decimal_comma(override: Override, shape: DictConfig) -> str:
    number = re.fullmatch(r"[^=]+=(-?\d+),(\d+)", str(override.input_line))
    if not number or not isinstance(OmegaConf.select(shape, override.key_or_group), float):
        return ""
    return f" A decimal comma? {override.key_or_group}={number[1]}.{number[2]}"


def _leaves(node: DictConfig, where: str = "") -> Iterator[str]:
    for name in map(str, node):
        child = node._get_node(name)
        path = f"{where}.{name}".lstrip(".")
        if isinstance(child, DictConfig):
            yield from _leaves(child, path)
        else:
            yield path


def words_of(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "a part of them refers to itself."
    text = " ".join(str(error).partition("Config search path")[0].split())
    return text[:600] or type(error).__name__


def _frozen(
    verb: str,
    composed: dict[str, Any],
    groups: Mapping[str, str | None],
    keys: list[str],
) -> Config:
    _expand(composed)
    if verb == "predict":
        return build(PredictConfig, composed, {})
    if verb == "report":
        return build(ReportConfig, composed, {})
    if verb == "compare":
        return build(CompareConfig, composed, {})
    _refuse_without_effect(verb, groups, keys)
    own_data = verb == "evaluate" and groups.get("data") is None
    if own_data:
        given = {key.removeprefix("data.") for key in keys if key.startswith("data.")}
        composed["moved"] = {k: _absolute(k, composed["data"].get(k)) for k in given}
        composed["data"] = None
    else:
        data = composed["data"]
        data.update({k: _absolute(k, data.get(k)) for k in ("root", "path")})
        if data.get("title") is None and groups.get("data") != data.get("name"):
            data["title"] = groups.get("data")  # a user's own YAML, known by its file's name
        if verb in ("evaluate", "finetune"):
            data.update({k: None for k in READING if not _says(k, data, keys)})
        if verb == "evaluate":
            composed["moved"] = {}
    known: dict[str, Any] = {} if own_data else {"data.name": adapters.DATASETS}
    if verb == "audit":
        audit = build(AuditConfig, composed, known)
        adapters.DATASETS.bind(audit.data.name, audit.data.options)
        return audit
    if verb == "who":
        who = build(WhoConfig, composed, known)
        adapters.DATASETS.bind(who.data.name, who.data.options)
        return who
    if verb == "evaluate":
        known["split"] = SPLIT_WORDS
        evaluate = build(EvaluateConfig, composed, known)
        if evaluate.data is not None:
            adapters.DATASETS.bind(evaluate.data.name, evaluate.data.options)
        return evaluate
    if verb == "preview":
        for key in composed.keys() - {f.name for f in fields(PreviewConfig)}:
            del composed[key]
        known["augmentation.preset"] = [*PRESET_NAMES, *installed("augmentations")]
        preview = build(PreviewConfig, composed, known)
        adapters.DATASETS.bind(preview.data.name, preview.data.options)
        return preview
    names = _group_names
    known |= {
        "loss.name": names("loss"),
        "optimizer.name": names("optimizer"),
        "transfer.name": names("transfer"),
        "augmentation.preset": [*PRESET_NAMES, *installed("augmentations")],
        "trainer.score": ("auto", *choosing()),
    }
    search = build(SearchConfig, composed["sweep"], {}, "sweep.") if verb == "sweep" else None
    if verb in ("train", "sweep"):
        composed["checkpoint"] = None
        backbones = [*_backbones(), *names_in("model")]
        backbone = str((composed.get("model") or {}).get("backbone"))
        if backbone.partition(".")[0] in backbones:
            backbones.append(backbone)  # a name may be followed by the tag of its weights
        known |= {"model.backbone": backbones, "head.name": names("head")}
    shared = {k: v for k, v in composed.items() if not (search and k == "sweep")}
    train = build(TrainConfig, shared, known)
    adapters.DATASETS.bind(train.data.name, train.data.options)
    return SweepConfig(train=train, sweep=search) if search else train


def _says(name: str, data: Mapping[str, Any], keys: list[str]) -> bool:
    """Whether the command or the YAML of the data says how files are read, and not `base.yaml`."""
    base = safe_load((config_folder() / "base.yaml").read_text(encoding="utf-8"))["data"]
    return f"data.{name}" in keys or data.get(name) != base[name]


# What a checkpoint brings with it.
PREPROCESSING = tuple(f"data.{f.name}" for f in fields(Preprocessing) if f.name not in READING)


def _refuse_without_effect(verb: str, groups: Mapping[str, str | None], keys: list[str]) -> None:
    """Raises UsageError for settings that the command cannot follow, all at once."""
    faults = []
    if verb in ("finetune", "evaluate"):
        faults += [
            f"{key}: preprocessing comes from the checkpoint."
            for key in keys
            if key in PREPROCESSING
        ]
    if verb == "finetune":
        faults += [
            f"{group}={groups[group]}: the {group} comes from the checkpoint."
            for group in ("model", "head")
            if groups.get(group)
        ]
        if groups.get("data") is None:
            faults.append("finetune needs data=NAME: the new hospital's images.")
    if faults:
        raise UsageError("\n".join(faults))


@cache
def _backbones() -> tuple[str, ...]:
    return tuple(backbone_names())


def _group_names(group: str) -> list[str]:
    files = (config_folder() / group).glob("*.yaml")
    return sorted([*(p.stem for p in files), *names_in(group)])


def _absolute(key: str, value: Any) -> Any:
    """Paths of data are kept absolute, so that a run can be evaluated from another directory."""
    if key in ("root", "path") and isinstance(value, str):
        return str(Path(value).resolve())
    return value


def _expand(composed: dict[str, Any]) -> None:
    """`~` is the user's own folder in every path, in the command and in a YAML. A folder may be
    called by a number.

    Raises:
        UsageError: a path that is empty, which would mean the folder where the command runs.
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
                raise UsageError(f"{setting}: a path cannot hold a NUL byte.")
            node[name] = os.path.expanduser(value)
