"""`predict`: new images, a folder or a file -> a table of probabilities and decisions."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medcnn.system.errors import NO_IMAGE, DataError, MedcnnError, UsageError, private
from medcnn.system.registry import nearest
from medcnn.system.settings import called, within
from medcnn.verbs import Command, Verb

if TYPE_CHECKING:
    from medcnn.config import Device, DicomConfig, Explain, Precision, ReadingConfig
    from medcnn.models.appearance import Watcher
    from medcnn.models.deployed import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictConfig:
    checkpoint: str
    input: str
    output: str
    patients: str | None
    log: str | None
    trusted: bool
    unit: str | None = called("readout.unit")
    batch_size: int = within(1, called="trainer.batch_size")
    device: Device = called("trainer.device")
    precision: Precision = called("trainer.precision")
    threads: int | None = within(1, called="trainer.threads")
    max_unreadable: int = within(0, called="audit.max_bad")
    explain: Explain
    dicom: DicomConfig
    data: ReadingConfig

    def contradictions(self) -> list[str]:
        from medcnn.places import trust_faults

        faults = trust_faults(self.checkpoint, trusted=self.trusted)
        if self.patients in (None, *PATIENTS):
            return faults
        near = nearest(str(self.patients), PATIENTS)
        return [*faults, f"patients={self.patients} is not one of {', '.join(PATIENTS)}{near}"]

    @property
    def patients_at(self) -> Path:
        """The table with one row per patient."""
        output = Path(self.output)
        return output.with_name(f"{output.stem}_patients.csv")


# Where predict finds an image's patient: its folder, or a DICOM tag.
PATIENTS = ("folder", "PatientID", "StudyInstanceUID", "AccessionNumber")


def check(config: PredictConfig) -> None:
    from medcnn.places import (
        EXPORTED,
        checkpoints_at,
        refuse_objects,
        refuse_other_table,
        require_checkpoint,
    )

    refuse_other_table(Path(config.output), maps=config.explain is not None)
    if config.patients:
        refuse_other_table(config.patients_at)
    refuse_log(config)
    if config.dicom.folder:
        refuse_objects(Path(config.dicom.folder), Path(config.input))
    if config.input.endswith(".safetensors") and not config.checkpoint.endswith(".safetensors"):
        raise UsageError(
            f"checkpoint={config.checkpoint} and input={config.input} seem to be swapped."
        )
    for file in checkpoints_at(Path(config.checkpoint)):
        require_checkpoint(file, exported=True)
    if config.explain and config.checkpoint.endswith(EXPORTED):
        raise UsageError(
            f"explain={config.explain.name}: maps need the network's layers, but checkpoint="
            f"{config.checkpoint} is an exported file. Name the checkpoint it was made from."
        )
    if not Path(config.input).exists():
        raise UsageError(f"input={config.input}: no such file or folder.")


def refuse_log(config: PredictConfig) -> None:
    """Raises UsageError if the log would be one of the other files of this command, or a folder."""
    if config.log is None:
        return
    output, log = Path(config.output), Path(config.log)
    own = [output, output.with_suffix(".json"), config.patients_at]
    if log.resolve() in [path.resolve() for path in own]:
        raise UsageError(f"log={log}: this command writes its table there; name another file.")
    if log.is_dir():
        raise UsageError(f"log={log} is a folder; name a file.")


NO_VERDICTS = (
    "the checkpoint cannot tell which images are unusual: it is older than this check, or from "
    "a training with readout.unusual=null or fewer than 5 patients"
)


def _loaded(config: PredictConfig) -> Model:
    """The model, with what the command changes of its preprocessing."""
    import torch

    from medcnn.models.deployed import load_model
    from medcnn.system.progress import log
    from medcnn.verbs.steps.datasets import read_as

    if config.threads:
        torch.set_num_threads(config.threads)
    model = load_model(
        config.checkpoint, device=config.device, precision=config.precision, trusted=config.trusted
    )
    how = read_as(model.preprocessing, config.data, log.warning)
    return replace(model, checkpoint=replace(model.checkpoint, preprocessing=how))


def run(config: PredictConfig, _: Command) -> Path:
    """Write one row per image to `output`, unreadable images included with their reason.

    Raises:
        UsageError: nothing to read, or `output` exists.
        DataError: more images were unreadable than `audit.max_bad`; the table is written first.
            DICOM objects that are not images have a row but do not count.
        MedcnnError: some images have no finite result; the table says which.
    """
    from medcnn.models.appearance import Watcher
    from medcnn.models.inputs import files_of, images_in
    from medcnn.models.no_result import NO_RESULT
    from medcnn.statistics.predictions import columns_of
    from medcnn.system.files import replacing, write_text
    from medcnn.system.progress import log
    from medcnn.verbs.steps.chain import Chain
    from medcnn.verbs.steps.dicom_out import beside
    from medcnn.verbs.steps.together import PatientTable

    output = Path(config.output)
    model = _loaded(config)
    how, checkpoint = model.preprocessing, model.checkpoint
    root, paths = images_in(Path(config.input))
    patients = PatientTable(config, model, root, paths)
    chain = Chain(config.log, model.provenance, len(paths))
    unreadable: list[tuple[str, str]] = []
    verdicts: dict[str, str] = {}
    watcher = Watcher(None if model.readout.unusual else checkpoint.appearance)
    with (
        beside(config, model) as write_beside,
        replacing(output) as temporary,
        # a file name may not be valid text: what Python cannot write is escaped
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        columns = columns_of(model.labels, model.readout, ensemble=bool(model.members))
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for part in files_of(root, paths, model.labels, model.preprocessing):
            predictions = model.said_new(part, config.batch_size)
            watcher.look(part.store, [r.image_id for r in part.manifest.records], part.rows)
            writer.writerows(rows := predictions.new_rows())
            write_beside(part, predictions, [row["image_id"] for row in rows])
            verdicts |= predictions.named_verdicts
            unreadable += predictions.unreadable
            patients.add(predictions)
            chain.add(predictions)
        if (combined := patients.finished()) is not None:
            chain.add(combined, "patient", hidden=patients.hidden)
        file.flush()
        lost = sum(why == NO_RESULT for _, why in unreadable)
        no_images = sum(why.startswith(NO_IMAGE) for _, why in unreadable)
        failed = [(i, why) for i, why in unreadable if not why.startswith((NO_IMAGE, NO_RESULT))]
        header = {
            "labels": model.labels.to_json(),
            "readout": checkpoint.readout.to_json(),
            "decision": checkpoint.readout.rule(model.labels),
            "images": len(paths),
            "read_with": {"window": how.window, "frames": str(how.frames)},
            "unreadable": len(failed),
            "no_images": no_images,
            "no_result": lost,
            # checkpoints without verdicts have the simple check of appearance
            "looks": Counter(verdicts.values()) or {"unlike the training": len(watcher.unlike)},
            **chain.closed(),
        }
        # within the block: a full disk leaves neither of the two files
        facts = json.dumps({**header, **model.provenance}, indent=2)
        write_text(output.with_suffix(".json"), facts + "\n")
    if combined is not None:
        patients.write(combined)
    log.info(f"{len(paths) - len(unreadable):,} of {len(paths):,} images predicted: {output}")
    tell(model, watcher, verdicts, no_images)
    complain(config, len(paths), lost, failed, write_beside.refused)
    return output


def tell(model: Model, watcher: Watcher, verdicts: Mapping[str, str], no_images: int) -> None:
    """Print which images look unusual, how many files are not images, and the decision rule."""
    from medcnn.statistics.strangeness import VERDICTS, line_about
    from medcnn.system.progress import log

    bounds = model.readout.unusual
    if line := line_about(verdicts, bounds) if bounds else watcher.line():
        calm = bounds and VERDICTS[0] not in verdicts.values()
        (log.info if calm else log.warning)(line)
    if bounds is None:
        log.info(NO_VERDICTS)
    if no_images:
        log.info(f"{no_images:,} are not images; the table says which")
    log.info(f"decision: {model.readout.rule(model.labels)}")


def complain(
    config: PredictConfig,
    images: int,
    lost: int,
    failed: Sequence[tuple[str, str]],
    refused: Sequence[tuple[str, str]],
) -> None:
    """Raise the errors of `run` for images without a prediction.

    Args:
        lost: images without a finite result.
        failed: those that cannot be read, each with its reason.
        refused: those that DICOM objects cannot be filed with, each with its reason.
    """
    from medcnn.models.no_result import NO_RESULT, WHY_NO_RESULT

    output = config.output
    if lost:
        raise MedcnnError(
            f"the checkpoint produces {NO_RESULT} for {lost} of {images} images. They have a row "
            f"that says so in {output}, and no decision. {WHY_NO_RESULT}"
        )
    if len(failed) > config.max_unreadable:
        shown = some_of(failed)
        raise DataError(
            f"{len(failed)} of {images} images cannot be read ({shown}). They have a row with the "
            f"reason in {output} and no probability. To accept this, run again with "
            f"audit.max_bad={len(failed)} and another output=."
        )
    if len(refused) > config.max_unreadable:
        raise DataError(
            f"{len(refused)} of {images} images get no DICOM objects ({some_of(refused)}). All "
            f"have their row in {output}, and objects.csv in {config.dicom.folder} says which."
        )


def some_of(images: Sequence[tuple[str, str]]) -> str:
    """The first five, each with its reason."""
    return "; ".join(f"{private(i)}: {why}" for i, why in images[:5])


VERB = Verb(
    name="predict",
    lines=("predict best.safetensors IMAGES output=predictions.csv",),
    usage="CHECKPOINT INPUT [OUTPUT] [key=value ...]",
    examples=("predict best.safetensors new_images output=predictions.csv",),
    synonyms=("infer", "inference", "prediction", "predictions"),
    places=("checkpoint", "input", "output"),
    config=PredictConfig,
    check=check,
    run=run,
)
