"""What is wrong with a data set, for `audit` and before every training."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from medcnn.audit.checks import ALLOWABLE, run_checks
from medcnn.audit.duplicates import digest_by, find
from medcnn.audit.examined import Examined
from medcnn.audit.finding import Finding, Severity, place
from medcnn.audit.headers import TOP
from medcnn.audit.kept import keep, keeping, recall
from medcnn.audit.planted import Recovered, recovered
from medcnn.audit.shortcuts import shortcuts_of
from medcnn.audit.thumbnails import BLANK, Looks, look_at
from medcnn.audit.traits import associations, columns, file_traits
from medcnn.config import AuditLimits, DataConfig
from medcnn.data.manifest import Manifest, Split
from medcnn.images import Preprocessing, read_pixels
from medcnn.images.preprocessing import UNKNOWN, scale_of
from medcnn.images.reading import may_be_deep
from medcnn.pages import audit as page
from medcnn.pages.audit import Audit
from medcnn.pixels.executors import Where
from medcnn.pixels.opening import pixel_shelves
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.files import cache_folder
from medcnn.system.paths import without_folders
from medcnn.system.privacy import keyed, pseudonym, pseudonymised
from medcnn.system.progress import log, working
from medcnn.system.registry import nearest
from medcnn.system.run_folder import RunFolder
from medcnn.verbs.steps.datasets import (
    described,
    labelled,
    manifest_of,
    preprocessing_of,
    with_splits,
)
from medcnn.verbs.steps.deciding import sized
from medcnn.verbs.steps.dry_run import few_of
from medcnn.verbs.train import TrainConfig

# Increased whenever the same set would give different findings.
AUDIT_VERSION = 11


def audited(
    config: TrainConfig, run: RunFolder, preprocessing: Preprocessing
) -> tuple[Manifest, dict[int, str], Preprocessing]:
    """The manifest of a run, row -> reason of the images in quarantine, and how they are read. A
    dry run gets a few images without an audit.

    Raises:
        DataError: the audit refuses the set; the message holds every reason.
    """
    if config.trainer.dry_run:
        whole = manifest_of(config.data, config.seed, run.note, config.audit.allow)
        run.facts["images"] = {split: len(whole.rows(split)) for split in Split}
        few = few_of(whole, config)
        return few, {}, settled(few, preprocessing)
    return audited_set(config.data, config.audit, config.seed, run, preprocessing)


def audited_set(
    data: DataConfig, limits: AuditLimits, seed: int, run: RunFolder, preprocessing: Preprocessing
) -> tuple[Manifest, dict[int, str], Preprocessing]:
    """The same for any command with a run folder, always for the whole set."""
    manifest, unsplit = manifest_to_audit(data, seed, run.note)
    how = settled(manifest, preprocessing)
    audit = audit_of(
        *(manifest, unsplit, how, limits, seed),
        measure=False,
        cache=data.cache,
        executor=data.executor,
    )
    refuse(audit)
    described(manifest, run.note)
    run.facts["audit"] = {"warned": sorted({f.check for f in audit.of(Severity.WARN)})}
    for sentence in page.warnings(audit.findings):
        run.note(sentence)
    page.write_html(run.audit, audit)
    log.info(f"run folder: {run.path}")  # which stays from here on
    log.info(f"audit: {audit.verdict} {run.audit}")
    return manifest, audit.bad, how


def refuse(audit: Audit, where: str = "") -> None:
    """Raises DataError for data that must not be trained on, with every reason; `where` names the
    part of them that was looked at."""
    if refused := audit.of(Severity.REFUSE):
        raise DataError(
            f"these data are refused before anything is trained{where}.\n\n{page.text(audit)}\n"
            "`medcnn audit` with the same data settings shows every row, with images.\n"
            f"{way_through(refused)} {bad_files(audit)}".strip()
        )


def audited_ahead(
    whole: Manifest, parts: Mapping[str, TrainConfig], note: Callable[[str], None]
) -> None:
    """Audit what several trainings of one set will see before the first of them begins, and say
    what they are warned of. Findings are cached for each training.

    Args:
        whole: the set, before medcnn makes splits.
        parts: the settings of each training, by its name.

    Raises:
        DataError: one of them would be refused.
    """
    worst: dict[str, tuple[str, Finding]] = {}
    count: Counter[str] = Counter()
    for name, config in parts.items():
        data = sized(config).data
        manifest, unsplit = _split_or_why(whole, data, config.seed)
        how = settled(manifest, preprocessing_of(data))
        audit = audit_of(
            *(manifest, unsplit, how, config.audit, config.seed),
            measure=False,
            cache=data.cache,
            executor=data.executor,
        )
        refuse(audit, f" ({name})" if len(parts) > 1 else "")
        for found in audit.of(Severity.WARN):
            count[found.check] += 1
            if found.check not in worst or len(found.rows) > len(worst[found.check][1].rows):
                worst[found.check] = name, found
    for check, (name, found) in worst.items():
        of = f" ({name}; {count[check]} of {len(parts)} trainings)" if len(parts) > 1 else ""
        for sentence in page.warnings([found]):
            note(sentence + of)


def way_through(refused: Sequence[Finding]) -> str:
    """The settings that would turn refusals into warnings; empty if none can."""
    names = list(dict.fromkeys(f.check for f in refused if f.check in ALLOWABLE))
    parts = [f"audit.allow=[{','.join(names)}]"] if names else []
    parts += [f"audit.max_bad={len(f.rows)}" for f in refused if f.check == "files"]
    final = [f for f in refused if f.check not in (*ALLOWABLE, "files")]
    if not parts:
        return ""
    rest = f" The rest must be repaired: {'; '.join(f.title for f in final)}." if final else ""
    return f"If you know why and accept it, {' '.join(parts)} makes this a warning.{rest}"


def bad_files(audit: Audit) -> str:
    """The files to repair, for a user at a terminal; elsewhere they are pseudonyms."""
    if not audit.bad:
        return ""
    if not sys.stderr.isatty():
        return "To see which files cannot be used, run the same command in a terminal."
    records = audit.manifest.records
    files = [f"{place(audit.manifest, r)} {private(records[r].path)}" for r in sorted(audit.bad)]
    return f"Files that cannot be used: {listed(files, 20)}."


def bad_images(
    manifest: Manifest, preprocessing: Preprocessing, data: DataConfig
) -> dict[int, str]:
    """Row -> why this image must not be used: the same images that an audit puts in quarantine.
    Pixels are cached in the same pass."""
    also = pixel_shelves(manifest, preprocessing, data.cache)
    looks = look_at(manifest, preprocessing, also=also, executor=data.executor)
    return {row: f.bad for row, f in enumerate(looks.facts) if f.bad}


def settled(manifest: Manifest, preprocessing: Preprocessing) -> Preprocessing:
    """With the bit depth of all images of the set together, if none was given."""
    if preprocessing.full_scale != UNKNOWN:
        return preprocessing
    bits = 16
    if any(may_be_deep(manifest.root, r.path) for r in manifest.records):
        looks = look_at(manifest, preprocessing).facts
        # 8 or 10 bits in 16 look blank until it is known that no more are used
        traits = [f.traits for f in looks if not f.bad or f.bad.startswith(BLANK)]
        bits = scale_of([int(t[TOP]) for t in traits if TOP in t])
    return replace(preprocessing, full_scale=bits)


def manifest_to_audit(
    data: DataConfig, seed: int, note: Callable[[str], None]
) -> tuple[Manifest, str]:
    """The manifest with the splits that training would use, or with its author's if
    training would refuse them, and why; a leak is left to the audit to describe."""
    return _split_or_why(labelled(data, note, faulty=True), data, seed)


def _split_or_why(manifest: Manifest, data: DataConfig, seed: int) -> tuple[Manifest, str]:
    try:
        return with_splits(manifest, data, seed, leaky=True), ""
    except DataError as error:
        return manifest, pseudonymised(str(error))


def audit_of(
    manifest: Manifest,
    unsplit: str,
    preprocessing: Preprocessing,
    limits: AuditLimits,
    seed: int,
    *,
    measure: bool,
    cache: str = "off",
    executor: Where = Where.HERE,
) -> Audit:
    """All findings of a set, from the cache if nothing has changed.

    Args:
        measure: also plant copies, to say how well they are found here.
        cache: where `open_store` will keep pixels; they are made in the same pass, unless `off`.
        executor: who decodes.

    Raises:
        UsageError: `limits.allow` names something other than a check that refuses.
    """
    if wrong := [name for name in limits.allow if name not in ALLOWABLE]:
        raise UsageError(
            f"audit.allow: {wrong[0]} is not one of {', '.join(ALLOWABLE)}"
            f"{nearest(wrong[0], ALLOWABLE)}"
        )
    # report a key that cannot be stored before looking at all images
    key_of_pseudonyms = pseudonym("")
    also = pixel_shelves(manifest, preprocessing, cache)
    looks = look_at(manifest, preprocessing, also=also, executor=executor)
    settings = [AUDIT_VERSION, looks.key, manifest.fingerprint(), unsplit, asdict(limits), seed]
    settings += [preprocessing.full_scale]
    # pseudonyms of another key, and names of other modalities, make other sentences
    settings += [manifest.modality, manifest.group_noun, key_of_pseudonyms, measure]
    settings += [[r.line for r in manifest.records]]
    # what was unreadable may be readable by now, from the same file
    settings += [manifest.faults, [f.bad for f in looks.facts]]
    key = keyed(json.dumps(settings), "findings").hex()
    path = cache_folder() / "audit" / f"{key}.findings.json"
    stored = recall(path, key)
    if stored is None:
        found, search = _examine(manifest, looks, unsplit, preprocessing, limits, seed, measure)
        stored = {
            "findings": [asdict(f) for f in found],
            "recovered": asdict(search) if search else None,
        }
        with keeping(path.parent):
            keep(path, key, **stored)
    search = stored["recovered"]
    return Audit(
        manifest=manifest,
        looks=looks,
        findings=tuple(_finding(_placeless(f, manifest.root)) for f in stored["findings"]),
        recovered=Recovered(**search) if search else None,
    )


def _examine(
    manifest: Manifest,
    looks: Looks,
    unsplit: str,
    preprocessing: Preprocessing,
    limits: AuditLimits,
    seed: int,
    measure: bool,
) -> tuple[list[Finding], Recovered | None]:
    usable = [row for row, f in enumerate(looks.facts) if not f.bad]
    groups = [r.group for r in manifest.records]

    read = _reader(manifest, preprocessing)
    with working("searching for copies and for what predicts the label besides the disease"):
        search = recovered(looks.grey, usable, groups, read) if measure and limits.copies else None
        examined = Examined(
            manifest=manifest,
            looks=looks,
            pairs=tuple(find(looks.grey, usable, digest_by(read), near=limits.copies)),
            shortcuts=tuple(shortcuts_of(manifest, looks, seed)),
            traits=tuple(associations(manifest, file_traits(looks), usable, seed)),
            columns=tuple(associations(manifest, columns(manifest), usable, seed)),
            max_bad=limits.max_bad,
            unsplit=unsplit,
            full_scale=preprocessing.full_scale,
        )
        return run_checks(examined, limits.allow), search


def _reader(manifest: Manifest, how: Preprocessing) -> Callable[[int], Any]:
    """Row -> its pixels [H, W, C], decoded in full."""

    def read(row: int) -> Any:
        return read_pixels(
            manifest.root,
            manifest.records[row].path,
            window=how.window,
            frames=how.frames,
            full_scale=how.full_scale,
        )

    return read


def digests_of(manifest: Manifest, how: Preprocessing) -> Callable[[int], str]:
    """Row -> hash of its pixels, decoded in full once; empty if that fails."""
    return cache(digest_by(_reader(manifest, how)))


def _placeless(node: Any, root: Path) -> Any:
    """What a page shows of a finding: no folder of this machine."""
    if isinstance(node, dict):
        return {k: _placeless(v, root) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return [_placeless(v, root) for v in node]
    return without_folders(node, [root]) if isinstance(node, str) else node


def _finding(stored: dict[str, Any]) -> Finding:
    tuples = {k: tuple(map(tuple, stored[k])) for k in ("rows", "shown")}
    severity = Severity(stored["severity"])
    return Finding(
        **{**stored, **tuples, "columns": tuple(stored["columns"]), "severity": severity}
    )
