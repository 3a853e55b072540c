"""`plan`: how many patients a study needs, before it begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from medcnn.system.errors import UsageError
from medcnn.system.settings import Rule, within
from medcnn.verbs import Command, Verb

if TYPE_CHECKING:
    from medcnn.statistics.planning import Need

SCORES = ("auroc", "sensitivity", "specificity")


def logits_of(value: Any) -> Mapping[str, float] | None:
    """`{mean: -2, sd: 1.5}`, or None. Raises UsageError."""
    given = value if isinstance(value, Mapping) else {}
    numbers = [v for v in given.values() if isinstance(v, int | float) and not isinstance(v, bool)]
    if value is not None and not (
        set(given) == {"mean", "sd"} and len(numbers) == 2 and 0 < given["sd"] < 100
    ):
        raise UsageError(f"{value} should be the mean and spread, such as {{mean: -2, sd: 1.5}}.")
    return {k: float(v) for k, v in given.items()} or None


Logits = Annotated[Mapping[str, float] | None, Rule(parse=logits_of)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig:
    prevalence: float = within(0.0001, 0.9999)
    auroc: float | None = within(0.501, 0.9999)
    sensitivity: float | None = within(0.001, 0.999)
    specificity: float | None = within(0.001, 0.999)
    half_width: float = within(0.001, 0.5)
    calibration: float | None = within(0.001, 10)
    logits: Logits
    threshold: float | None = within(0.0001, 0.9999)
    margin: float | None = within(0.0001, 0.5)
    margin_of: str
    power: float = within(0.5, 0.999)
    correlation: float = within(0, 0.99)
    images_per_patient: float = within(1, 10_000)
    icc: float = within(0, 1)
    unusable: float = within(0, 0.95)
    output: str

    def contradictions(self) -> list[str]:
        from medcnn.system.registry import nearest

        faults, scores = [], self.scores()
        if not scores and self.calibration is None:
            faults.append("nothing to estimate: set auroc, sensitivity or specificity.")
        if self.threshold is not None and not {"sensitivity", "specificity"} <= set(scores):
            faults.append(
                f"threshold={self.threshold:g} is for the net benefit, which needs the expected "
                "sensitivity and specificity at this threshold: set both."
            )
        if self.margin_of not in SCORES:
            faults.append(f"unknown margin_of '{self.margin_of}'{nearest(self.margin_of, SCORES)}")
        elif self.margin is not None and self.margin_of not in scores:
            faults.append(
                f"margin={self.margin:g} refers to {self.margin_of}, whose expected value is not "
                f"given: add {self.margin_of}=..., or name another score as margin_of."
            )
        if self.icc and self.images_per_patient == 1:
            faults.append(
                f"icc={self.icc:g} has no effect with one image per patient: set "
                "images_per_patient, or leave it out."
            )
        return faults

    def scores(self) -> dict[str, float]:
        """The scores with an expected value."""
        given = {name: getattr(self, name) for name in SCORES}
        return {name: value for name, value in given.items() if value is not None}


def check(config: PlanConfig) -> None:
    from medcnn.places import refuse_other_pages

    refuse_other_pages(Path(config.output), "plan", "plan")


SCHEMA = 1


def run(config: PlanConfig, _: Command) -> Path:
    """Write `plan.html` and `plan.json` into a folder of their own, and print the table.

    Raises:
        UsageError: a size is beyond any study.
    """
    from medcnn.pages.plan_page import Planned, plan_page, table_lines
    from medcnn.system.files import write_text
    from medcnn.system.progress import log
    from medcnn.system.run_facts import now

    found = _needs(config)
    settings = {k: v for k, v in asdict(config).items() if k != "output"}
    planned = Planned(made=now(), settings=settings, needs=found)
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    content = {
        "schema": SCHEMA,
        "made": planned.made,
        "settings": settings,
        "patients": planned.largest.patients,
        "needs": [asdict(need) for need in found],
    }
    write_text(output / "plan.json", json.dumps(content, indent=2) + "\n")
    write_text(output / "plan.html", plan_page(planned))
    print("\n".join(table_lines(planned)))
    log.info(f"plan: {output / 'plan.html'}")
    return output


def _needs(config: PlanConfig) -> list[Need]:
    from medcnn.statistics.planning import Cohort, needs

    try:
        return needs(
            Cohort(
                prevalence=config.prevalence,
                images_per_patient=config.images_per_patient,
                icc=config.icc,
                unusable=config.unusable,
            ),
            config.scores(),
            half_width=config.half_width,
            calibration=config.calibration,
            threshold=config.threshold,
            logits=(config.logits["mean"], config.logits["sd"]) if config.logits else None,
            margin=config.margin,
            of=config.margin_of,
            power=config.power,
            correlation=config.correlation,
        )
    except ValueError as error:
        raise UsageError(f"{error}: ask for wider intervals or a larger margin.") from None


VERB = Verb(
    name="plan",
    lines=("plan prevalence=0.2 auroc=0.9 half_width=0.05: how many patients to collect",),
    examples=(
        "plan prevalence=0.2 auroc=0.9 half_width=0.05",
        "plan prevalence=0.1 sensitivity=0.9 images_per_patient=2 icc=0.6 calibration=null",
    ),
    synonyms=("sample-size", "samplesize", "power", "design"),
    config=PlanConfig,
    check=check,
    run=run,
)
