"""The page that helps a hospital decide whether to use the fine-tuned model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.data.manifest import Manifest, Split
from medcnn.models.appearance import Watcher
from medcnn.models.inference import autocast_dtype, pick_device
from medcnn.pages.format import estimate, signed
from medcnn.pages.hospital_facts import OLD, TUNED, NewHospital, Rule
from medcnn.pages.hospital_page import hospital_page, summary_of
from medcnn.pages.report import Table
from medcnn.pages.shifted import copies_text
from medcnn.pixels.pixel_store import PixelStore
from medcnn.statistics.acceptance import Acceptance, Condition
from medcnn.statistics.common_classes import ASKED
from medcnn.statistics.comparing import OVERALL, compare
from medcnn.statistics.differences import Difference, Pairing, adjusted
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate
from medcnn.system.files import without_nan, write_text
from medcnn.system.progress import log, working
from medcnn.system.run_folder import RunFolder
from medcnn.verbs.finetune import FinetuneConfig
from medcnn.verbs.steps.arms import Compared, OldModel, old_on_all, on_new_test, on_old_test
from medcnn.verbs.steps.familiar import features_by
from medcnn.verbs.steps.old_images import OldImages
from medcnn.verbs.steps.rule import is_older
from medcnn.verbs.steps.shift import shift_of

FEWEST_LABELLED = 50
RESAMPLES = 1000


def decided(
    config: FinetuneConfig,
    run: RunFolder,
    old: OldModel,
    images: OldImages | str,
    manifest: Manifest,
    store: PixelStore,
    watcher: Watcher,
    tuned: Sequence[Predictions],
) -> list[Table]:
    """Compare all candidates, and write `new_hospital.html`.

    Args:
        images: of the old hospital, or why they are not available.
        tuned: what the fine-tuned model says of test and validation.

    Returns:
        The table of old and new model for the report.
    """
    rule = config.accept
    with working("comparing old and new model"):
        here = on_new_test(config, old, manifest, store, tuned, run)
        there = on_old_test(config, old, run, images) if isinstance(images, OldImages) else None
        pairings, forgetting = _pairings(config, here), _pairings(config, there).get(TUNED)
        family = adjusted({**pairings, **({"": forgetting} if forgetting else {})})
        forgetting = family.pop("", None)
        main = main_score(rule, here)
        folder = Path(config.checkpoint or "").resolve().parent.parent
        device = pick_device(config.trainer.device)
        dtype = autocast_dtype(config.trainer.precision, device)
        shift = shift_of(
            *(manifest, store, old.described.preprocessing, images, old.described.labels, folder),
            (len(watcher.unlike), watcher.seen),
            manifest.rows(Split.TEST) if config.audit.copies else None,
            lambda images: features_by(old.classifier.to(device), images, device, dtype),
        )
        if shift.copies and shift.copies.found:
            run.note(copies_text(shift))
        labelled = int((~np.isnan(manifest.targets())).any(axis=1).sum())
        alone = None
        before = old.described
        new_to_it = not before.other_key(manifest) and not before.trained_on(manifest).any()
        if labelled < FEWEST_LABELLED and here and here.arms and new_to_it:
            # it was trained on none of them: those of every split are as good as those of test
            common = here.arms[OLD].labels
            alone = evaluate(
                old_on_all(config, old, manifest, store, common, asked=here.asked), seed=config.seed
            ).find(main)
    facts = run.facts
    found = NewHospital(
        score=main,
        group_noun=manifest.group_noun if manifest.grouped else "image",
        images=len(tuned[0].image_ids),
        groups=len(set(tuned[0].groups)),
        labelled=labelled,
        enough=labelled >= FEWEST_LABELLED,
        transfer=config.transfer.name,
        wise_ft=facts.get("wise_ft", {}).get("share"),
        shared=tuple(n for n in manifest.labels.names if n in old.described.labels.names),
        classes=manifest.labels.names,
        lost=here.lost if here else 0,
        arms=family,
        forgetting=forgetting,
        no_old_test=images if isinstance(images, str) else "",
        old_on_all=alone,
        shift=shift,
        rule=_rule(config, manifest, here, family, forgetting, found_facts=facts),
    )
    title = f"{old.described.architecture.backbone} at {manifest.source}"
    write_text(run.path / "new_hospital.html", hospital_page(found, title, facts["notes"]))
    facts["new_hospital"] = _json(found)
    for sentence in summary_of(found):
        log.info(sentence)
    log.info(f"new hospital: {run.path / 'new_hospital.html'}")
    return [_table(family)]


def main_score(rule: Acceptance | None, here: Compared | None) -> str:
    """The first score of the rule. AUROC if there is no rule, or if only shared classes can be
    compared, one by one, and that score is not for them."""
    if rule is None or (here and here.asked and rule.main not in ASKED):
        return "auroc"
    return rule.main


def _pairings(config: FinetuneConfig, compared: Compared | None) -> dict[str, Pairing]:
    """Every other arm against the old model, in the usual scores and those of the rule."""
    if compared is None or not compared.arms:
        return {}
    reference, kind = compared.arms[OLD], compared.arms[OLD].labels.kind
    usual = [n for n in OVERALL if kind in METRICS[n].kinds]
    if reference.labels.exclusive:
        usual = [n for n in usual if n not in ("sensitivity", "specificity")]
    asked = [n for n in (config.accept.scores if config.accept else ()) if kind in METRICS[n].kinds]
    if compared.asked:
        usual, asked = list(ASKED), [n for n in asked if n in ASKED]
    names = list(dict.fromkeys([*asked, *usual]))
    return {
        name: _compared(reference, other, names, config.seed)
        for name, other in compared.arms.items()
        if name != OLD
    }


def _compared(
    reference: Predictions, other: Predictions, names: Sequence[str], seed: int
) -> Pairing:
    """Only overall differences: single classes would mean many tests with few images each."""
    found = compare(reference, other, names, resamples=RESAMPLES, seed=seed)
    overall = tuple(d for d in found.differences if d.label is None)
    return Pairing(differences=overall, discordances=())


def _overall(pairing: Pairing | None, score: str) -> Difference | None:
    found = pairing.differences if pairing else ()
    return next((d for d in found if d.score == score), None)


def _rule(
    config: FinetuneConfig,
    manifest: Manifest,
    here: Compared | None,
    arms: dict[str, Pairing],
    forgetting: Pairing | None,
    *,
    found_facts: dict[str, Any],
) -> Rule | None:
    rule = config.accept
    if rule is None:
        return None
    none = "the two models cannot be compared on it"
    conditions = [
        Condition(
            where="new test split",
            score=score,
            margin=margin,
            difference=_overall(arms.get(TUNED), score),
            note=none,
        )
        for score, margin in rule.scores.items()
    ]
    conditions += _subgroups(config, rule, manifest, here)
    if rule.old_test is not None:
        conditions.append(
            Condition(
                where="old test split",
                score=rule.main,
                margin=rule.old_test,
                difference=_overall(forgetting, rule.main),
                note="the old test images are not available" if forgetting is None else none,
            )
        )
    recorded = found_facts["accept"][-1]
    return Rule(
        conditions=tuple(conditions),
        digest=recorded["sha256"],
        recorded=recorded["recorded"],
        began=found_facts["training_began"],
        looked=found_facts["test_looks"][0]["when"],
        older=is_older(found_facts),
    )


def _subgroups(
    config: FinetuneConfig, rule: Acceptance, manifest: Manifest, here: Compared | None
) -> list[Condition]:
    """The main score in each value of an attribute that the test split has."""
    attributes = {r.image_id: r.attributes for r in manifest.records}
    found = []
    for name, margin in rule.subgroups.items():
        old, new = (here.arms.get(arm) if here else None for arm in (OLD, TUNED))
        values = [attributes[i].get(name, "") for i in old.image_ids] if old else [""]
        for value in sorted(set(values)):
            rows = [i for i, v in enumerate(values) if v == value]
            known = old and new and (not here or not here.asked or rule.main in ASKED)
            pairing = (
                _compared(old.only(rows), new.only(rows), [rule.main], config.seed)
                if old and new and known
                else None
            )
            found.append(
                Condition(
                    where=f"{name} = {value or 'not stated'}",
                    score=rule.main,
                    margin=margin,
                    difference=_overall(pairing, rule.main),
                    note="the two models cannot be compared on it",
                )
            )
    return found


def _table(arms: dict[str, Pairing]) -> Table:
    rows = []
    for name, pairing in arms.items():
        for d in pairing.differences:
            value, interval = estimate(d.difference, d.low, d.high, signed)
            said = f"{value} ({interval})" if interval else value
            scores = f"{d.reference:.3f}", f"{d.other:.3f}"
            rows.append((name, METRICS[d.score].title, d.count, *scores, said))
    columns = ("model", "score", "images", "old model", "this model", "difference")
    return Table(
        title="Old and new model on the new test split",
        columns=columns,
        rows=tuple(rows),
        caption="" if rows else "The two models cannot be compared on these images.",
    )


def _json(found: NewHospital) -> dict[str, Any]:
    """What `run.json` keeps; null if a number is not available."""

    def strict(d: Difference) -> dict[str, Any]:
        numbers = ("reference", "other", "difference", "low", "high", "p_holm")
        return {"score": d.score, **without_nan({name: getattr(d, name) for name in numbers})}

    rule = found.rule
    return {
        "sentences": summary_of(found),
        "arms": {n: [strict(d) for d in p.differences] for n, p in found.arms.items()},
        "forgetting": [strict(d) for d in found.forgetting.differences] if found.forgetting else [],
        "verdict": str(rule.verdict) if rule else None,
        "conditions": [
            {"where": c.where, "score": c.score, "margin": c.margin, "verdict": str(c.verdict)}
            for c in (rule.conditions if rule else ())
        ],
        "told_apart": found.shift.apart.value if found.shift.apart else None,
    }
