"""`inspect`: where a network has its parameters and its arithmetic, and what it sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from medcnn.system.errors import UsageError
from medcnn.system.settings import within
from medcnn.verbs import Command, Given, Verb

if TYPE_CHECKING:
    from medcnn.config import Choice, DataConfig, ModelConfig
    from medcnn.pages.anatomy import Anatomy
    from medcnn.pages.anatomy_notes import Looked
    from medcnn.pages.family import Member
    from medcnn.verbs.steps.family import Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectOptions:
    classes: int = within(1, 100_000)
    lesion_px: float | None = within(0.1)
    lesion_mm: float | None = within(1e-6)
    pixel_mm: float | None = within(1e-6)
    image_px: int | None = within(1)

    def contradictions(self) -> list[str]:
        if self.lesion_px is not None and self.lesion_mm is not None:
            return ["inspect.lesion_px and inspect.lesion_mm both give the lesion's size: set one."]
        if (self.lesion_mm is None) != (self.pixel_mm is None):
            return [
                "inspect.lesion_mm and inspect.pixel_mm belong together: the second says how wide "
                "a pixel of the original image is."
            ]
        if self.image_px is not None and self.pixel_mm is None:
            return ["inspect.image_px has no effect without inspect.lesion_mm."]
        return []

    def lesion_at(self, size_px: int) -> float:
        """Its width in pixels of the network's image, which shows the whole original; or 0."""
        if self.lesion_mm is None or self.pixel_mm is None:
            return self.lesion_px or 0.0
        return self.lesion_mm / self.pixel_mm * size_px / (self.image_px or size_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectConfig:
    """`networks` are the words of the command without a key; `model` is null if nothing else is
    asked for."""

    networks: tuple[str, ...]
    output: str
    data: DataConfig
    model: ModelConfig | None
    pooling: Choice
    head: Choice
    inspect: InspectOptions


def prepare(given: Given) -> None:
    """Accept the settings of a train command."""
    for key in given.settings.keys() - {f.name for f in fields(InspectConfig)}:
        del given.settings[key]
    if given.settings["networks"] and not any(k.split(".")[0] == "model" for k in given.keys):
        given.settings["model"] = None


def check(config: InspectConfig) -> None:
    from medcnn.pages.anatomy import is_table
    from medcnn.places import refuse_other_page

    output = Path(config.output)
    if output.suffix != ".html":
        raise UsageError(f"output={output}: the page's name should end in .html.")
    refuse_other_page(output, "inspect")
    beside = output.with_suffix(".csv")
    if beside.exists():
        with beside.open(encoding="utf-8", errors="replace") as file:
            if not is_table(file.readline(1000)):
                raise UsageError(
                    f"output={output}: {beside}, the table beside the page, exists and was not "
                    "written by medcnn inspect; name another page."
                )


def run(config: InspectConfig, _: Command) -> Path:
    """Print the tables, and write the page and the CSV beside it.

    Raises:
        UsageError: unknown networks, or images too small for a network; all faults at once.
    """
    from medcnn.pages.anatomy import table
    from medcnn.pages.anatomy_notes import Looked
    from medcnn.pages.anatomy_page import page
    from medcnn.system.files import write_text
    from medcnn.system.progress import log
    from medcnn.verbs.steps.family import member, title_of

    asked, options = networks_of(config), config.inspect
    found = anatomies(asked)
    looked = [
        Looked(
            anatomy=of, lesion_px=options.lesion_at(of.size_px), lesion_mm=options.lesion_mm or 0.0
        )
        for of in found
    ]
    members = [member(a, of) for a, of in zip(asked, found, strict=True) if a.runs]
    members = [of for of in members if of.scores]
    trained = next((title_of(a) for a in asked if a.runs), "")
    print("\n".join((*lines_of(looked), *family_lines(members, trained))))
    output = Path(config.output)
    outputs = {a.outputs for a in asked}
    write_text(output, page(looked, sorted(outputs), members, trained))
    write_text(output.with_suffix(".csv"), table(found))
    log.info(f"{output}, {output.with_suffix('.csv')}")
    return output


def networks_of(config: InspectConfig) -> list[Asked]:
    """The networks of settings, names and run folders. Raises UsageError: all faults at once."""
    from medcnn.models.backbones import with_drop_path
    from medcnn.models.classifier import Architecture
    from medcnn.verbs.steps.datasets import preprocessing_of
    from medcnn.verbs.steps.family import Asked, is_run, of_runs

    faults: list[str] = []
    named: list[tuple[str, str, dict[str, object]]] = []
    if model := config.model:
        options = with_drop_path(model.options, model.drop_path)
        named.append((model.backbone, model.backbone, options))
    runs = [word for word in config.networks if is_run(word)]
    for name in config.networks:
        try:
            if name not in runs:
                named.append((name, backbone_of(name), {}))
        except UsageError as error:
            faults.append(str(error))
    found = [
        Asked(
            name=name,
            outputs=config.inspect.classes,
            architecture=Architecture(
                backbone=backbone,
                options=options,
                head=config.head.name,
                head_options=config.head.options,
                channels=config.data.channels,
                size_px=preprocessing_of(config.data).size_px,
                pooling=config.pooling.name,
                pooling_options=config.pooling.options,
            ),
        )
        for name, backbone, options in named
    ]
    try:
        found += of_runs(runs)
    except UsageError as error:
        faults.append(str(error))
    if faults:
        raise UsageError("\n".join(faults))
    return found


def anatomies(asked: list[Asked]) -> list[Anatomy]:
    """What each network does to one image. Raises UsageError: all faults of all of them."""
    from medcnn.models.anatomy import anatomy

    found, faults = [], []
    for of in asked:
        try:
            found.append(anatomy(of.architecture, of.outputs, of.name))
        except UsageError as error:
            faults.append(str(error))
    if faults:
        raise UsageError("\n".join(faults))
    return found


def backbone_of(name: str) -> str:
    """The backbone that `model=name` would select. Raises UsageError if there is none."""
    from yaml import safe_load

    from medcnn.models.backbone_names import backbone_names
    from medcnn.models.backbones import BACKBONES
    from medcnn.system.paths import config_folder
    from medcnn.system.registry import nearest

    files = {p.stem: p for p in (config_folder() / "model").glob("*.yaml")}
    if name in files:
        return str(safe_load(files[name].read_text(encoding="utf-8"))["backbone"])
    names = {*files, *backbone_names(), *BACKBONES}
    if name.partition(".")[0] not in names:
        raise UsageError(f"unknown network '{name}'{nearest(name, names)}")
    return name


def lines_of(looked: list[Looked]) -> Iterator[str]:
    """The lines of the terminal: each network's layers and notes, then all of them side by side."""
    from medcnn.pages.anatomy import HEAD, TOTALS, cells, totals
    from medcnn.pages.anatomy_notes import notes_of
    from medcnn.system.progress import wrapped

    for of in looked:
        rows = [cells(layer) for layer in of.anatomy.layers if layer.weighs]
        yield f"{of.anatomy.name}, {of.anatomy.size_px} px"
        yield from columns([HEAD, *rows], left=4)
        yield from (wrapped(f"  {note}") for note in notes_of(of))
        yield ""
    yield from columns([TOTALS, *(totals(of.anatomy) for of in looked)], left=1)


def family_lines(members: list[Member], score: str) -> Iterator[str]:
    """The table of what was trained, for the terminal."""
    from medcnn.pages.family import cells, head

    if members:
        yield ""
        yield from columns([head(score), *map(cells, members)], left=1)


def columns(rows: list[tuple[str, ...]], *, left: int) -> Iterator[str]:
    """Rows with their cells below each other, the first `left` aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        aligned = (
            cell.ljust(w) if i < left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(aligned).rstrip()


VERB = Verb(
    name="inspect",
    lines=("inspect model=vgg16_bn data.size_px=224: layers, sizes, arithmetic",),
    usage="[NETWORK|RUN ...] [key=value ...]",
    examples=(
        "inspect model=resnet50 data.size_px=224 inspect.lesion_px=12",
        "inspect lenet5 alexnet googlenet resnet50 data.size_px=224",
        "inspect runs/family/*",
    ),
    synonyms=("summary", "describe", "layers", "flops"),
    rest="networks",
    config=InspectConfig,
    prepare=prepare,
    check=check,
    run=run,
)
