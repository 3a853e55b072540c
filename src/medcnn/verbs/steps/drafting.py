"""Drafts a YAML for the user's own data, from a look at them."""

from __future__ import annotations

import logging
import re
import sys
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from medcnn.config import DataConfig
from medcnn.data import adapters
from medcnn.data.manifest import Manifest
from medcnn.data.own.guesses import Guess, Images, Sure
from medcnn.data.own.guessing import guess_folders, guess_table
from medcnn.data.own.image_files import ending, files_below
from medcnn.data.own.sheets import TABLE_SUFFIXES, read_sheet, require_folder, tables_in
from medcnn.places import refuse_unwritable
from medcnn.system.errors import DataError, MedcnnError, UsageError, listed, private
from medcnn.system.files import write_text
from medcnn.system.paths import config_folder
from medcnn.system.privacy import for_terminal
from medcnn.system.progress import hushed, wrapped
from medcnn.system.registry import nearest

USAGE = (
    "medcnn init DATA_FOLDER [TABLE] [data.sheet=NAME] [data.encoding=NAME] "
    "[data.follow_links=true] [output=conf/data/NAME.yaml]"
)
SETTINGS = ("data.sheet", "data.encoding", "data.follow_links")
MOST_TABLES = 20
WIDTH = 100
NO_PATIENT = (
    "No column names the patient, so every image counts as its own patient, and a patient "
    "with several images may be in both training and test. Does a column name the patient?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What will be written: the table, if there is one, and every guess about it."""

    table: str | None
    guesses: Sequence[Guess]

    @property
    def labelled(self) -> bool:
        """Whether it has labels, and so allows more than an audit."""
        return all(g.value is not None for g in self.guesses if g.setting == "label")


def show_init(words: Sequence[str]) -> None:
    """Look at the folder that `words` name, show what was guessed, write the YAML.

    Raises:
        UsageError: no such folder or table, or the YAML is there already.
        DataError: nothing in the folder looks like images with labels.
    """
    root, table, given, output = _words(words)
    images = Images(root, follow_links=given.get("follow_links") is True)
    if table is None:
        with hushed(logging.CRITICAL):  # of adapters that are only tried
            known = list(_official(root))
        if known:
            for command, manifest in known:
                said = f"{root} has the official layout of {manifest.source}"
                print(wrapped(for_terminal(f"{said}: {_counted(manifest)}.", sys.stdout)))
                print(f"\nNo YAML is needed:\n  {command}\n")
            print(wrapped(f"To write your own YAML, name the table: {USAGE}"))
            return
    suffixes = Counter(ending(p) or "no ending" for p in images.paths)
    kinds = listed([f"{n:,} {s}" for s, n in suffixes.most_common()])
    print(wrapped(f"{root}: {len(images.paths):,} images ({kinds or 'none'})"))
    draft = _from_tables(root, [table], images, given) if table else _found(root, images, given)
    print(for_terminal("\n".join(_shown(draft)), sys.stdout))
    if draft.table and not {"patient", "join"} & {g.setting for g in draft.guesses}:
        print(f"\n{wrapped(NO_PATIENT)}")
    write_text(output, _yaml(root, draft, output))
    print(f"\nWritten: {output}. Read every line, above all where it says '{Sure.CHECK}'.")
    print(wrapped(for_terminal(_trial(root, draft), sys.stdout)))
    folder = output.parent.parent
    words = f"data={output.stem} --config-dir {_quoted(folder)}"
    print(f"\nThen:\n  medcnn audit {words}")
    if draft.labelled:
        print(f"  medcnn train {words}")


def _words(words: Sequence[str]) -> tuple[Path, Path | None, dict[str, Any], Path]:
    """The folder, the table, settings of its YAML that the command names, and where it goes."""
    given = dict(w.split("=", 1) for w in words if "=" in w and not Path(w).exists())
    places = [w for w in words if w.partition("=")[0] not in given or Path(w).exists()]
    if unknown := [
        w
        for w in (*given, *places)
        if w.startswith("-") or w in given.keys() - {"output", *SETTINGS}
    ]:
        short = f"data.{unknown[0]}" in SETTINGS
        hint = f"; did you mean 'data.{unknown[0]}'?" if short else nearest(unknown[0], ("output",))
        raise UsageError(f"{listed(unknown)}: not understood{hint} {USAGE}")
    if not places or len(places) > 2:
        many = f" (found {len(places)} words; a path with spaces needs quotes)" if places else ""
        raise UsageError(f"init looks at one folder{many}: {USAGE}")
    root = require_folder(Path(places[0]).expanduser().resolve(), "DATA_FOLDER")
    table = None
    if len(places) == 2:
        asked = Path(places[1]).expanduser()
        table = (root / asked if (root / asked).is_file() else asked).resolve()
        if not table.is_file():
            there = listed(tables_in(root)) or "no table"
            raise UsageError(f"{asked}: no such table; {root} holds {there}.")
    output = Path(given["output"]) if "output" in given else Path("conf/data") / _file_name(root)
    if output.suffix != ".yaml" or output.parent.name != "data":
        raise UsageError(f"output={output}: a data YAML is a file .../data/NAME.yaml.")
    if (config_folder() / "data" / output.name).is_file():
        raise UsageError(f"output={output}: {output.stem} is used by medcnn; choose another.")
    if output.exists():
        raise UsageError(
            f"{output} already exists and is never overwritten; remove it, or name another with "
            "output=conf/data/NAME.yaml."
        )
    refuse_unwritable(output)
    said: dict[str, Any] = {
        name.removeprefix("data."): given[name].strip("'\"") for name in SETTINGS if name in given
    }
    if "sheet" in said and table is None:
        raise UsageError(f"data.sheet={said['sheet']}: name its workbook too. {USAGE}")
    if "follow_links" in said:
        if said["follow_links"].lower() not in ("true", "false"):
            raise UsageError(f"data.follow_links={said['follow_links']}: true or false.")
        said["follow_links"] = said["follow_links"].lower() == "true"
    return root, table, said, output


def _file_name(root: Path) -> str:
    """The name of the folder, as a name that Hydra accepts and medcnn does not use."""
    bare = "".join(
        c for c in unicodedata.normalize("NFKD", root.name) if not unicodedata.combining(c)
    )
    name = re.sub(r"\W+", "_", bare, flags=re.ASCII).strip("_").lower() or "my_data"
    taken = (config_folder() / "data" / f"{name}.yaml").is_file()
    return f"{name}{'_own' if taken else ''}.yaml"


def _official(root: Path) -> Iterator[tuple[str, Manifest]]:
    """The command for each public set whose adapter can read the folder as it is."""
    for name, dataset in adapters.DATASETS.items():
        if name == "table" or not dataset.wants:
            continue
        by_file = dataset.wants == "data.path=FILE"
        for place in sorted(root.glob("*.npz")) if by_file else [root]:
            options = {"file": place.name} if by_file else {}
            try:
                manifest = adapters.read(name, root, options)
            except MedcnnError:
                continue
            where = dataset.wants.partition("=")[0]
            yield f"medcnn train data={name} {where}={_quoted(place)}", manifest


def _found(root: Path, images: Images, given: Mapping[str, Any]) -> Draft:
    """From the table that explains most images, otherwise from a folder per class. Tables in
    subfolders are looked at if the root has none."""
    tables = [root / t for t in tables_in(root)] or _tables_below(root, images)
    draft, fault = None, ""
    try:
        draft = _from_tables(root, tables, images, given)
        if draft.labelled:
            return draft
    except DataError as error:
        fault = f"\n{error}" if tables else " It holds no table."
    try:
        return Draft(table=None, guesses=[*guess_folders(images), *_as_said(given, "follow_links")])
    except DataError as error:
        if draft is None:
            raise DataError(f"{error}{fault}") from None
        return draft


def _tables_below(root: Path, images: Images) -> list[Path]:
    paths = files_below(root, follow_links=images.follow_links)
    found = [p for p in paths if PurePosixPath(p).suffix.lower() in TABLE_SUFFIXES]
    # a text file named after an image describes only that image
    found = [p for p in found if PurePosixPath(p).stem not in images.by_name]
    return [root / path for path in sorted(found, key=lambda p: (p.count("/"), p))[:MOST_TABLES]]


def _as_said(given: Mapping[str, Any], *names: str) -> list[Guess]:
    """Settings that the command names."""
    return [
        Guess(setting=name, value=given[name], why="as the command says", sure=Sure.SURE)
        for name in names
        if name in given
    ]


def _from_tables(
    root: Path, tables: Sequence[Path], images: Images, given: Mapping[str, Any]
) -> Draft:
    drafts, faults = [], []
    for place in tables:
        try:
            sheet = read_sheet(place, given.get("sheet"), given.get("encoding"))
            guesses = guess_table(sheet, images)
        except MedcnnError as error:
            if len(tables) == 1 and not isinstance(error, DataError):
                raise
            faults.append(str(error))
            continue
        inside = place.is_relative_to(root)
        name = place.relative_to(root).as_posix() if inside else str(place)
        why = f"{len(sheet.rows):,} rows, {len(sheet.columns)} columns"
        if sheet.titles:
            why += f"; {len(sheet.titles)} above the column names are skipped"
        if len(tables) > 1:
            why += f"; the longest of {len(tables)} that fit"
        first = Guess(setting="table", value=name, why=why, sure=Sure.SURE)
        guesses = [*_as_said(given, "sheet", "encoding", "follow_links"), *guesses]
        drafts.append((len(sheet.rows), Draft(table=name, guesses=[first, *guesses])))
    if not drafts:
        raise DataError("\n".join(faults) or "no table was found.")
    return max(drafts, key=lambda d: (d[1].labelled, d[0]))[1]


def _shown(draft: Draft) -> Iterator[str]:
    yield ""
    width = max(len(g.setting) for g in draft.guesses)
    for guess in draft.guesses:
        value = _plain(guess.value) if guess.value is not None else "none"
        example = f", such as {private(guess.example)}" if guess.example else ""
        text = f"{guess.setting:<{width}}  {value}  [{guess.sure}] {guess.why}{example}"
        yield textwrap.fill(text, WIDTH, subsequent_indent=" " * (width + 2))


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # yaml is untyped
    """Quotes all text that is a number to somebody: 2E63 is one to OmegaConf, not to YAML 1.1."""

    def text(self, text: str) -> yaml.ScalarNode:
        try:
            float(text)
        except ValueError:
            return self.represent_str(text)
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="'")


_Dumper.add_representer(str, _Dumper.text)


def _plain(value: Any) -> str:
    """A value as one line of YAML."""
    how: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "width": 10**9}
    text: str = yaml.dump(value, Dumper=_Dumper, **how)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _yaml(root: Path, draft: Draft, output: Path) -> str:
    verb = "train" if draft.labelled else "audit"
    lines = [
        f"# Guessed by `medcnn init {root.name}`. Check every line, change what is wrong, then run",
        f"#   medcnn {verb} data={output.stem} --config-dir {output.parent.parent}",
        "# All settings of a table, each with a comment: configs/data/table.yaml of medcnn.",
        "defaults: [table]",
        f"root: {_plain(str(root))}",
    ]
    chosen = {g.setting for g in draft.guesses}
    for guess in draft.guesses:
        said = f"{guess.sure}: {guess.why}"
        lines += ["", *(f"# {line}" for line in textwrap.wrap(said, WIDTH - 2))]
        if guess.setting == "label" and not draft.labelled:
            lines.append("# label: COLUMN")
        else:
            lines.append(f"{guess.setting}: {_plain(guess.value)}")
    offers = {
        "patient": "COLUMN      # whose image it is; without it a patient may be in two splits",
        "split": "COLUMN        # train, validation, test; without it splits are made here",
        "modality": "fundus     # fundus, dermoscopy, chest, other: which augmentation is safe",
        "rename": "{}           # class in the table: class here",
        "size_px": "224         # side of the square that the network sees",
        "fit": "pad             # pad, crop, squash",
        "bits": "8              # 16 for radiographs that need it",
    }
    if draft.table is None:
        offers = {k: v for k, v in offers.items() if k not in ("patient", "split")}
    else:
        offers["window"] = "0            # which window of a DICOM file with several"
        offers["frames"] = "error        # a DICOM file with several frames: error, first, middle"
    lines += ["", "# Other settings; see docs/your-data.md:"]
    lines += [f"# {name}: {text}" for name, text in offers.items() if name not in chosen]
    return "\n".join(lines) + "\n"


def _trial(root: Path, draft: Draft) -> str:
    """What the adapter makes of the guesses."""
    of_base = {f.name for f in fields(DataConfig)}
    options = {g.setting: g.value for g in draft.guesses if g.setting not in of_base}
    try:
        with hushed(logging.CRITICAL):  # of adapters that are only tried
            manifest = adapters.read("table", root, options)
    except MedcnnError as error:
        return f"medcnn would refuse it now: {error}"
    only = "" if draft.labelled else "; for the audit only"
    return f"With these settings, it reads {_counted(manifest)}{only}."


def _counted(manifest: Manifest) -> str:
    groups = len({r.group for r in manifest.records})
    of = f" of {groups:,} {manifest.group_noun}s" if manifest.grouped else ""
    names = listed(list(manifest.labels.names), 8)
    left = sum(manifest.excluded.values())
    out = f"; {left:,} left out: {listed(list(manifest.excluded), 3)}" if left else ""
    return f"{len(manifest.records):,} images{of}, {manifest.labels.kind}: {names}{out}"


def _quoted(place: Path) -> str:
    text = str(place)
    return text if re.fullmatch(r"[\w./~-]+", text) else f"'\"{text}\"'"
