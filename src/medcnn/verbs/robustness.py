"""`robustness`: how scores and decisions change as the images get worse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medcnn.system.registry import nearest
from medcnn.system.settings import within
from medcnn.verbs import Command, Verb, evaluate
from medcnn.verbs.evaluate import EvaluateConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessConfig(EvaluateConfig):
    """Attributes:
    kinds: of corruptions and moves; None: those of the modality.
    score: key of `METRICS`.
    max_images: whole patients up to this number of images; None: all images.
    """

    kinds: tuple[str, ...] | None
    score: str
    max_images: int | None = within(1)

    def contradictions(self) -> list[str]:
        from medcnn.statistics.metrics.table import METRICS
        from medcnn.training.corruption_grades import TITLES

        faults = EvaluateConfig.contradictions(self)
        asked = self.kinds or ()
        if unknown := [k for k in asked if k not in TITLES]:
            faults += [f"unknown kind '{k}'{nearest(k, TITLES)}" for k in unknown]
            faults.append(f"kinds are {', '.join(TITLES)}.")
        if self.kinds == ():
            faults.append("kinds=[] leaves nothing to do: kinds=null uses those of the modality.")
        faults += [f"kinds names '{k}' twice" for k in sorted(set(asked)) if asked.count(k) > 1]
        if self.score not in METRICS:
            faults.append(f"unknown score '{self.score}'{nearest(self.score, METRICS)}")
        elif METRICS[self.score].higher_is_better is None:
            faults.append(f"score={self.score}: no value of it is better than another.")
        return faults


def run(config: RobustnessConfig, command: Command) -> Path:
    """An evaluation as `evaluate` writes it, and `robustness.html`; returns their folder."""
    from medcnn.verbs.steps.corrupting import spoilt_and_judged

    return evaluate.evaluated(
        config, command.words, lambda run, judged: spoilt_and_judged(config, run, judged)
    )


VERB = Verb(
    name="robustness",
    lines=("robustness best.safetensors max_images=500: noise, blur, shifts in grades",),
    usage="CHECKPOINT [key=value ...]",
    examples=(
        "robustness runs/demo/checkpoints/best.safetensors max_images=500",
        "robustness best.safetensors 'kinds=[jpeg_compression,motion_blur,translation]'",
    ),
    synonyms=("corruptions", "corrupt", "stress", "perturb"),
    places=("checkpoint",),
    config=RobustnessConfig,
    prepare=evaluate.prepare,
    check=evaluate.check,
    run=run,
)
