"""`export`: a checkpoint as one file that other programs run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medcnn.system.errors import UsageError
from medcnn.system.registry import nearest
from medcnn.system.settings import within
from medcnn.verbs import Command, Given, Verb

if TYPE_CHECKING:
    from medcnn.config import DataConfig

FORMATS = ("onnx", "torch", "monai", "timm")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """`data` None means the data set that the checkpoint was trained with; `moved` are settings of
    that data set that the command changes."""

    checkpoint: str
    to: str
    output: str
    int8: bool
    batch_size: int = within(1, called="trainer.batch_size")
    threads: int | None = within(1, called="trainer.threads")
    data: DataConfig | None
    moved: Mapping[str, str]

    def contradictions(self) -> list[str]:
        faults = []
        if self.to == "huggingface":
            faults.append("to=huggingface would be the same folder as to=timm: use to=timm")
        elif self.to not in FORMATS:
            near = nearest(self.to, FORMATS)
            faults.append(f"to={self.to} is not one of {', '.join(FORMATS)}{near}")
        if self.int8 and self.to != "onnx":
            faults.append(f"int8=true has no effect with to={self.to}: it needs to=onnx")
        if not self.int8 and (self.data or self.moved):
            faults.append("data= has no effect without int8=true: only that looks at images")
        return faults


def prepare(given: Given) -> None:
    from medcnn.verbs import evaluate

    evaluate.prepare(given)


def check(config: ExportConfig) -> None:
    from medcnn.data.own.sheets import require_folder
    from medcnn.places import checkpoints_at, refuse_unwritable, require_checkpoint, require_data

    checkpoint, output = Path(config.checkpoint), Path(config.output)
    if len(checkpoints_at(checkpoint)) > 1:
        raise UsageError(
            f"checkpoint={checkpoint} is an ensemble. Export its members one by one: their mean "
            "is not a single graph."
        )
    require_checkpoint(checkpoint)
    if output.exists():
        raise UsageError(
            f"output={output} exists. Nothing is overwritten: name a folder that does not exist."
        )
    refuse_unwritable(output)
    if moved := config.moved.get("root"):
        require_folder(Path(moved))
    if config.data:
        require_data(config.data)


def run(config: ExportConfig, _: Command) -> Path:
    """Write the folder `output`.

    Raises:
        GateError: the exported file's output differs from its checkpoint's; nothing is left.
        DataError: there are too few validation images for int8.
        UsageError: the format cannot hold this network.
    """
    import torch

    from medcnn.config import Precision
    from medcnn.models.deployed import load_model
    from medcnn.system.progress import log
    from medcnn.verbs.steps.exporting import exported, filled

    if config.threads:
        torch.set_num_threads(config.threads)
    model = load_model(config.checkpoint, device="cpu", precision="fp32")
    trained = model.checkpoint.precision(Precision.AUTO)
    if trained in (Precision.BF16, Precision.FP16):
        log.warning(
            f"the checkpoint was trained and its thresholds were chosen in {trained}; the exported "
            "file computes in fp32, as predict trainer.precision=fp32 does."
        )
    output = Path(config.output)
    with filled(output) as folder:
        summary = exported(config, model, folder)
    log.info(f"{summary}; {output}")
    return output


VERB = Verb(
    name="export",
    lines=("export best.safetensors to=onnx output=exported",),
    usage="CHECKPOINT [key=value ...]",
    examples=(
        "export best.safetensors to=onnx output=exported",
        "export best.safetensors to=onnx int8=true output=small",
        "export best.safetensors to=monai output=bundle",
    ),
    places=("checkpoint",),
    config=ExportConfig,
    prepare=prepare,
    check=check,
    run=run,
)
