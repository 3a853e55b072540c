"""Each fault is put into a set that has none, and is found with its rows."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.audit.checks import ALLOWABLE, CHECKS
from medcnn.audit.finding import Severity
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Split
from medcnn.pages.audit import html, text
from medcnn.system.privacy import pseudonym


def test_a_sound_set_has_no_finding_but_names_that_look_real(bench: Any) -> None:
    audit = bench.audited(bench.make())
    assert bench.checks(audit) <= {"persons", "thumbnail_tells"}
    assert audit.verdict.startswith("These data can be used for training")


@pytest.mark.fault
def test_a_patient_in_two_splits_is_refused_under_a_pseudonym(bench: Any) -> None:
    """Row 75."""
    clean = bench.make()
    leaky = bench.with_record(clean, 5, group=clean.records[0].group)
    audit = bench.audited(leaky)
    found = bench.finding(audit, "groups")
    assert found.severity is Severity.REFUSE
    assert found.title == "1 patient in more than one split"
    assert found.rows == ((pseudonym(clean.records[0].group), "1", "", "1"),)
    for page in (text(audit), html(audit)):
        assert "DOE" not in page


@pytest.mark.fault
def test_the_same_pixels_in_two_splits_are_refused_whatever_the_file(bench: Any) -> None:
    """Row 76."""
    clean = bench.make()
    Image.fromarray(bench.drawing(0)).save(clean.root / "other.tiff")
    copied = bench.with_record(clean, 17, path="other.tiff", target=clean.records[0].target)
    found = bench.finding(bench.audited(copied), "pixels")
    assert found.severity is Severity.REFUSE
    assert found.shown == ((0, 17),)
    assert found.rows[0][-1] == "same pixels"
    assert (copied.records[0].split, copied.records[17].split) == (Split.TRAIN, Split.TEST)


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["re-compressed", "cropped", "resized", "mirrored", "turned"])
def test_a_near_duplicate_in_two_splits_is_warned_of_and_listed(bench: Any, kind: str) -> None:
    """Row 77."""
    from medcnn.audit.planted import COPIES

    clean = bench.make()
    image = COPIES[kind](Image.fromarray(bench.drawing(0)))
    image.convert("RGB").save(clean.root / "005.png")
    copied = bench.with_record(clean, 5, target=clean.records[0].target)
    found = bench.finding(bench.audited(copied), "copies")
    assert found.severity is Severity.WARN
    assert found.shown == ((0, 5),)


@pytest.mark.fault
def test_one_image_with_two_labels_is_refused(bench: Any) -> None:
    """Row 78."""
    clean = bench.make()
    shutil.copy(clean.root / "000.png", clean.root / "007.png")
    assert clean.records[0].target != clean.records[7].target
    audit = bench.audited(clean)
    found = bench.finding(audit, "labels")
    assert found.severity is Severity.REFUSE
    assert found.shown == ((0, 7),)
    assert "pixels" not in bench.checks(audit), "both stand in train"


def test_the_same_image_twice_within_a_split_is_only_noted(bench: Any) -> None:
    clean = bench.make()
    shutil.copy(clean.root / "000.png", clean.root / "001.png")
    audit = bench.audited(clean)
    assert bench.finding(audit, "twice").severity is Severity.NOTE
    assert not audit.of(Severity.REFUSE)


@pytest.mark.fault
def test_every_bad_file_is_listed_with_its_reason(bench: Any) -> None:
    """Rows 34 and 35."""
    clean = bench.make()
    whole = (clean.root / "000.png").read_bytes()
    (clean.root / "000.png").write_bytes(whole[: len(whole) // 2])
    (clean.root / "001.png").write_bytes(b"")
    (clean.root / "002.png").write_bytes(b"<html>not found</html>")
    Image.fromarray(np.full((50, 50), 7, np.uint8)).save(clean.root / "003.png")
    audit = bench.audited(clean, max_bad=3)
    found = bench.finding(audit, "files")
    assert found.severity is Severity.REFUSE
    assert [row[0] for row in found.rows] == ["i000", "i001", "i002", "i003"]
    for row, reason in zip(found.rows, ("truncated", "0 bytes", "web page", "blank"), strict=True):
        assert reason in row[2]
    assert sorted(audit.bad) == [0, 1, 2, 3]
    assert bench.finding(bench.audited(clean, max_bad=4), "files").severity is Severity.WARN


@pytest.mark.fault
def test_a_dicom_with_text_in_its_pixels_goes_into_quarantine(bench: Any) -> None:
    """Row 68."""
    from pydicom import examples

    clean = bench.make(12)
    dataset = examples.ct
    dataset.BurnedInAnnotation = "YES"
    dataset.PatientName = "Mustermann^Erika"
    dataset.save_as(clean.root / "a.dcm")
    audit = bench.audited(bench.with_record(clean, 0, path="a.dcm"))
    assert "BurnedInAnnotation is YES" in audit.bad[0]
    assert ("tag PatientName", "1", "image 1") in bench.finding(audit, "persons").rows
    assert "mustermann" not in (text(audit) + html(audit)).lower()


def test_a_person_in_a_column_is_found_by_the_lines_of_the_table(bench: Any) -> None:
    clean = bench.make(12)
    for row, line in ((3, 43), (7, 99)):
        clean = bench.with_record(clean, row, line=line, attributes={"born": "1.1.70"})
    found = bench.finding(bench.audited(clean), "persons")
    assert ("column born", "2", "line 43, line 99") in found.rows


@pytest.mark.fault
@pytest.mark.parametrize(
    ("kind", "shape", "odd"),
    [
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "INVERSE", False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", None, False),
    ],
)
def test_a_header_that_contradicts_itself_on_polarity_is_counted(
    bench: Any, kind: str, shape: str | None, odd: bool
) -> None:
    """Row B8."""
    from pydicom import examples

    clean = bench.make(12)
    dataset = examples.ct
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = kind, shape
    dataset.save_as(clean.root / "a.dcm")
    audit = bench.audited(bench.with_record(clean, 0, path="a.dcm"))
    assert ("polarity" in bench.checks(audit)) is odd
    if odd:
        found = bench.finding(audit, "polarity")
        assert found.severity is Severity.WARN
        assert found.rows == ((f"{kind} with PresentationLUTShape {shape}", "1"),)


@pytest.mark.fault
def test_names_of_files_in_any_script_are_no_obstacle(bench: Any) -> None:
    """Row 74."""
    clean = bench.make(12)
    names = ("Röntgen bild 1.png", "胸部.png", "A.png", "a.png", "x" * 240 + ".png", "a & <b>.png")
    changed = clean
    for row, name in enumerate(names):
        shutil.copy(clean.root / f"{row:03d}.png", clean.root / name)
        changed = bench.with_record(changed, row, path=name, image_id=name)
    audit = bench.audited(changed)
    assert not audit.bad
    assert "<b>" not in html(audit)


@pytest.mark.fault
def test_a_class_that_a_split_lacks_is_named(bench: Any) -> None:
    """Rows 79 and 80."""
    clean = bench.make()
    ill = bench.labels.encode(["ill"])
    healthy = bench.labels.encode(["healthy"])
    never = clean.with_records(
        replace(r, target=ill if r.split is Split.TEST else healthy) for r in clean.records
    )
    found = bench.finding(bench.audited(never), "classes")
    assert found.severity is Severity.REFUSE
    assert ("ill", "train") in found.rows
    one_sided = clean.with_records(
        replace(r, target=ill) if r.split is Split.VALIDATION else r for r in clean.records
    )
    found = bench.finding(bench.audited(one_sided), "classes")
    assert found.severity is Severity.WARN
    assert found.rows == (("healthy", "validation"),)


def test_a_class_of_few_patients_is_counted_by_patient(bench: Any) -> None:
    clean = bench.make()
    few = clean.with_records(
        replace(
            r,
            target=bench.labels.encode(["ill" if i < 4 else "healthy"]),
            group=f"p{i // 2}-{i % 6}",
        )
        for i, r in enumerate(clean.records)
    )
    rows = bench.finding(bench.audited(few), "few").rows
    assert rows[0][:2] == ("ill", "4")


def test_an_audit_needs_no_labels(bench: Any) -> None:
    clean = bench.make()
    space = LabelSpace(kind=Kind.MULTILABEL, names=("no label",))
    bare = replace(
        clean, labels=space, records=tuple(replace(r, target=(math.nan,)) for r in clean.records)
    )
    shutil.copy(clean.root / "000.png", clean.root / "005.png")
    audit = bench.audited(bare)
    assert bench.checks(audit) == {"pixels", "persons"}


def test_all_faults_are_reported_at_once(bench: Any) -> None:
    clean = bench.make()
    shutil.copy(clean.root / "000.png", clean.root / "017.png")
    (clean.root / "003.png").write_bytes(b"")
    leaky = bench.with_record(clean, 5, group=clean.records[2].group)
    refused = {f.check for f in bench.audited(leaky).of(Severity.REFUSE)}
    assert refused == {"groups", "pixels", "files"}


def test_what_is_allowed_still_warns(bench: Any) -> None:
    clean = bench.make()
    leaky = bench.with_record(clean, 5, group=clean.records[0].group)
    found = bench.finding(bench.audited(leaky, allow=["groups"]), "groups")
    assert found.severity is Severity.WARN
    assert "audit.allow" in found.meaning


def test_only_checks_that_exist_can_be_allowed() -> None:
    assert set(ALLOWABLE) <= set(CHECKS)


@pytest.mark.fault
def test_an_audit_survives_and_names_what_kills_a_decoder(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 31."""
    manifest = bench.make(12)
    (manifest.root / "start").mkdir()
    (manifest.root / "start" / "sitecustomize.py").write_text(
        "import os\nfrom medcnn.images import reading\nread = reading.read_file\n"
        "reading.read_file = lambda f: os.abort() if f.name == '003.png' else read(f)\n"
    )
    monkeypatch.syspath_prepend(manifest.root / "start")  # of decoder processes, not of this one
    assert bench.audited(manifest).bad == {3: "the decoder crashed on this file (SIGABRT)"}


def test_a_second_audit_of_the_same_files_decodes_nothing(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcnn.audit import thumbnails
    from medcnn.pixels import shards

    clean = bench.make(12)
    first = bench.audited(clean)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("an image was decoded")

    for module in (thumbnails, shards):
        monkeypatch.setattr(module, "decode", never)
    assert bench.audited(clean).findings == first.findings
    (clean.root / "000.png").write_bytes(b"changed")
    with pytest.raises(AssertionError, match="was decoded"):
        bench.audited(clean)


def test_an_image_id_that_holds_the_patient_is_not_shown(bench: Any) -> None:
    clean = bench.make(12)
    named = bench.with_record(clean, 0, image_id="77310042_001.png", group="77310042")
    (clean.root / "000.png").write_bytes(b"")
    audit = bench.audited(named)
    assert "77310042" not in text(audit) + html(audit)
    name = f"{pseudonym('77310042_001.png', 'image')} (image 1)"
    assert bench.finding(audit, "files").rows[0][0] == name


def test_a_set_that_names_no_patients_is_warned_of(bench: Any) -> None:
    clean = bench.make(12)
    assert "patients" not in bench.checks(bench.audited(clean))
    found = bench.finding(bench.audited(replace(clean, group_noun="image")), "patients")
    assert found.severity is Severity.WARN
    assert "data.patient=COLUMN" in found.advice
    found = bench.finding(bench.audited(replace(clean, group_noun="exam")), "patients")
    assert "A patient with several exams may be in training and in test" in found.meaning


def test_an_image_of_a_table_is_named_by_its_line(bench: Any) -> None:
    clean = bench.make(12)
    named = bench.with_record(clean, 0, image_id="77310042_001.png", group="77310042", line=43)
    (clean.root / "000.png").write_bytes(b"")
    name = f"{pseudonym('77310042_001.png', 'image')} (line 43)"
    assert bench.finding(bench.audited(named), "files").rows[0][0] == name
    # the line is no part of the fingerprint, and yet what was found before is not shown again
    moved = bench.with_record(named, 0, line=45)
    assert "(line 45)" in bench.finding(bench.audited(moved), "files").rows[0][0]
