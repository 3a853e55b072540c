"""The rule of acceptance in `run.json`: what it says, since when, and whether that was before
training began and before the test split was looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medcnn.statistics.acceptance import Acceptance
from medcnn.system.progress import log
from medcnn.system.run_facts import now
from medcnn.system.run_folder import RunFolder

CHANGED = (
    "the rule of acceptance was {what} after training began ({began}), so it was not written "
    "beforehand."
)
RESULTS_KNOWN = (
    "{run} looked at the test split of the same images on {when}, {how}: the rule of acceptance "
    "of this run may have been written with those results in sight."
)


def record(run: RunFolder, rule: Acceptance | None, manifest: str) -> None:
    """Write the rule down before anything is trained, or say that it comes too late.

    Args:
        manifest: fingerprint of the images here.
    """
    facts, rules = run.facts, list(run.facts.get("accept", ()))
    began, digest = facts.get("training_began"), rule.digest if rule else None
    before = rules[-1]["sha256"] if rules else None
    if digest != before:
        written = {"rule": asdict(rule) if rule else None, "sha256": digest, "recorded": now()}
        # times have whole seconds, in which a small run can begin and be stopped
        rules.append({**written, "after_training_began": bool(began)})
        facts["accept"] = rules
        if began:
            what = "left out" if rule is None else "changed" if before else "given"
            run.note(CHANGED.format(what=what, began=began))
    if rule and not began:
        for name, when, how in _looked_before(run.path, manifest, digest):
            run.note(RESULTS_KNOWN.format(run=name, when=when, how=how))
            rules[-1]["results_known"] = True
    run.write_facts()
    facts.setdefault("training_began", now())
    run.write_facts()


def _looked_before(path: Path, manifest: str, digest: str | None) -> list[tuple[str, str, str]]:
    """Runs next to this one that looked at the same test images without this rule."""
    found = []
    for file in sorted(path.resolve().parent.glob("*/run.json")):
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            if file.parent == path.resolve() or facts.get("manifest") != manifest:
                continue
            rules, looks = facts.get("accept", []), facts.get("test_looks", [])
            if looks and digest not in [r["sha256"] for r in rules]:
                how = "by another rule" if rules else "without a rule"
                found.append((file.parent.name, looks[0]["when"], how))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # whatever it is, it is not meant
    return found


def say_if_changed(path: Path, rule: Acceptance | None) -> None:
    """For a run that is already finished: its verdict is by the rule that it had."""
    facts: Mapping[str, Any] = json.loads((path / "run.json").read_text(encoding="utf-8"))
    rules = facts.get("accept", [])
    had = rules[-1]["sha256"] if rules else None
    if had != (rule.digest if rule else None):
        log.warning(
            "the rule of acceptance was changed after this run had finished: its page judges by "
            f"{'the rule recorded ' + rules[-1]['recorded'] if had else 'no rule'}. A rule written "
            "now is written with the results known."
        )


def is_older(facts: Mapping[str, Any]) -> bool:
    """Whether `run.json` shows that its rule stood before training, and before any look at test."""
    rules = facts.get("accept") or []
    if not rules or rules[-1]["sha256"] is None:
        return False
    if rules[-1].get("results_known") or rules[-1].get("after_training_began"):
        return False
    looks = facts.get("test_looks") or [{"when": facts["training_began"]}]
    return bool(rules[-1]["recorded"] <= min(facts["training_began"], looks[0]["when"]))
