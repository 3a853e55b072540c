"""`preview`: a page that shows images on their way to the network. Nothing is trained."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medcnn.system.errors import UsageError
from medcnn.system.settings import within
from medcnn.verbs import Command, Given, Verb

if TYPE_CHECKING:
    from medcnn.config import AugmentationConfig, DataConfig, Seed
    from medcnn.data.manifest import Manifest
    from medcnn.images import Preprocessing
    from medcnn.training.augmentations import Augmentation


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewSize:
    per_class: int = within(1, 100)
    augmentations: int = within(0, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewConfig:
    seed: Seed
    output: str
    data: DataConfig
    augmentation: AugmentationConfig
    preview: PreviewSize

    def contradictions(self) -> list[str]:
        return self.data.impossible()


def prepare(given: Given) -> None:
    """Accept the settings of a train command."""
    for key in given.settings.keys() - {f.name for f in fields(PreviewConfig)}:
        del given.settings[key]


def check(config: PreviewConfig) -> None:
    from medcnn.places import refuse_other_page, require_data

    output = Path(config.output)
    if output.suffix != ".html":
        raise UsageError(f"output={output}: the page's name should end in .html.")
    refuse_other_page(output, "preview")
    require_data(config.data)


def run(config: PreviewConfig, command: Command) -> Path:
    """Write the page to `output`.

    Raises:
        DataError: the data are refused.
    """
    from medcnn.config import to_json
    from medcnn.pages.facts import Facts, say
    from medcnn.pages.format import counted
    from medcnn.pages.page import rendered
    from medcnn.pages.statements import STATEMENTS
    from medcnn.pages.way import THUMBNAIL_PX
    from medcnn.pixels.opening import open_store
    from medcnn.system.files import write_text
    from medcnn.system.privacy import pseudonymised
    from medcnn.system.progress import log, track
    from medcnn.training.augmentations import augmentation_of
    from medcnn.verbs.steps.auditing import settled
    from medcnn.verbs.steps.datasets import labelled, preprocessing_of
    from medcnn.verbs.steps.pictures import rows_by_class, shown, some_of

    ours = (*to_json(config), "experiment")
    if idle := sorted(k for k in command.keys if k.split(".")[0] not in ours):
        log.info(f"no effect on a preview: {', '.join(idle)}")
    notes: list[str] = []
    manifest = labelled(config.data, lambda text: notes.append(pseudonymised(text)))
    preprocessing = settled(manifest, preprocessing_of(config.data))
    augmentation = augmentation_of(config.augmentation, manifest.modality)
    chosen = {
        name: (rows, some_of(rows, config.preview.per_class, config.seed))
        for name, rows in rows_by_class(manifest).items()
    }
    wanted = sorted({int(row) for _, some in chosen.values() for row in some})
    some = manifest.with_records([manifest.records[row] for row in wanted])
    # first in separate processes, so that a file that kills a decoder does not kill this page
    unreadable = open_store(some, preprocessing, cache="off").unreadable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about oddities that pydicom repairs; damage is reported
        images = {
            row: shown(
                manifest,
                row,
                preprocessing,
                augmentation,
                seed=config.seed,
                epochs=config.preview.augmentations,
                why=unreadable.get(i, ""),
            )
            for i, row in enumerate(track(wanted, len(wanted), "images"))
        }
    labels = manifest.labels
    pictures = [p for image in images.values() for p in (*image.steps, *image.augmented)]
    facts = Facts(
        shows_images=bool(pictures),
        numbered=bool(images),
        shrunk_px=THUMBNAIL_PX if any(p.shrunk for p in pictures) else 0,
    )
    page = rendered(
        "preview.html.j2",
        title=f"{manifest.source}, step by step",
        task=f"{counted(len(manifest.records), 'image')}, {labels.kind} labels: "
        f"{', '.join(labels.names)}.",
        warnings=notes,
        settings=_settings(manifest, preprocessing, augmentation, config),
        sections=[
            {
                "name": name,
                "count": counted(len(rows), "image"),
                "images": [images[int(r)] for r in some],
            }
            for name, (rows, some) in chosen.items()
        ],
        say=partial(say, STATEMENTS, facts),
    )
    output = Path(config.output)
    write_text(output, page)
    failed = sum(bool(i.reason) for i in images.values())
    bad = f", {failed:,} of them unreadable" if failed else ""
    log.info(f"{len(images):,} images{bad}: {output}")
    return output


def _settings(
    manifest: Manifest,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    config: PreviewConfig,
) -> dict[str, str]:
    shown = replace(
        augmentation, mixup_alpha=0.0, cutmix_alpha=0.0, photograph=False, policy=None, last=None
    )
    moves = [f"{k} {v}" for k, v in asdict(shown).items() if v]
    if policy := augmentation.policy:
        options = ", ".join(f"{k} {v}" for k, v in policy.options.items())
        moves.append(f"policy {policy.name}" + f" ({options})" * bool(options))
    if augmentation.last:
        moves.append(f"then the operation of {config.augmentation.preset}")
    side, channels = preprocessing.size_px, preprocessing.channels
    said = {
        "modality": str(manifest.modality),
        "network's input": f"{side} × {side} px, {channels} channel{'s' * (channels > 1)}, "
        f"{preprocessing.bits} bits, fit {preprocessing.fit}",
        "data.steps": "; ".join(_steps(preprocessing)) or "none",
        "augmentation": ", ".join(moves) or "none",
        "seed": f"{config.seed}, for the choice of images and the augmentation",
    }
    alphas = {k: getattr(augmentation, k) for k in ("mixup_alpha", "cutmix_alpha")}
    if mixes := " and ".join(f"{k} {v:g}" for k, v in alphas.items() if v):
        said["not shown"] = f"{mixes}: mixtures of two images"
    return said


def _steps(preprocessing: Preprocessing) -> Iterator[str]:
    for step in preprocessing.steps:
        options = ", ".join(f"{k} {v}" for k, v in step.items() if k != "name")
        yield f"{step['name']} ({options})" if options else str(step["name"])


VERB = Verb(
    name="preview",
    lines=("preview data=ham10000 data.root=/data/ham10000: images, step by step",),
    examples=("preview data=ham10000 data.root=/data/ham10000",),
    synonyms=("show", "visualize", "visualise", "view"),
    config=PreviewConfig,
    prepare=prepare,
    check=check,
    run=run,
)
