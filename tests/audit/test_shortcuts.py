"""A set whose source predicts the label is distinguished from one whose source does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.audit.finding import Severity
from medcnn.audit.headers import DEPTH, POLARITY, TOP
from medcnn.audit.shortcuts import distinguished, encoded, shortcuts_of
from medcnn.audit.thumbnails import Facts, Looks
from medcnn.audit.traits import associations, binned
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record


def pair_of(count: int, seed: int = 0, per_patient: int = 1) -> tuple[Manifest, Looks]:
    """Noise with labels by chance; images of a patient share label and look."""
    rng = np.random.default_rng(seed)
    labels = LabelSpace(kind=Kind.MULTICLASS, names=("a", "b", "c"))
    patients = count // per_patient
    of = rng.integers(3, size=patients)
    looks = rng.integers(0, 256, (patients, 32, 32, 3), dtype=np.uint8)
    records = tuple(
        Record(
            image_id=str(i),
            path=f"{i}.png",
            group=f"p{i // per_patient}",
            target=labels.encode([labels.names[of[i // per_patient]]]),
            attributes={"age": str(rng.integers(20, 90))},
        )
        for i in range(count)
    )
    manifest = Manifest(
        source="noise",
        root=__import__("pathlib").Path("."),
        labels=labels,
        records=records,
        modality=Modality.CHEST,
    )
    facts = tuple(Facts(bad="", traits={"size": "64x64"}, persons=()) for _ in range(count))
    colour = looks.repeat(per_patient, axis=0)
    return manifest, Looks(
        grey=np.zeros((count, 64, 64), np.uint8), colour=colour, facts=facts, key=""
    )


def by_source(manifest: Manifest, looks: Looks) -> dict[str, Any]:
    return {t.source: t for t in shortcuts_of(manifest, looks)}


def test_chance_tells_nothing_even_where_patients_have_many_images() -> None:
    found = by_source(*pair_of(240, per_patient=4))
    assert set(found) == {"columns", "border", "thumbnail"}
    for one in found.values():
        assert one.auroc.low < 0.5 < one.auroc.high + 0.05, one


def test_a_marker_in_the_border_is_found_in_the_border_and_the_thumbnail_alone() -> None:
    manifest, looks = pair_of(200)
    colour = looks.colour.copy()
    for row, label in enumerate(manifest.targets().argmax(axis=1)):
        colour[row, :2, : 8 * (label + 1)] = 255
    found = by_source(manifest, replace(looks, colour=colour))
    assert found["border"].auroc.low > 0.9
    assert found["columns"].auroc.low < 0.55


def test_the_same_marker_in_the_middle_is_no_matter_of_the_border() -> None:
    manifest, looks = pair_of(200)
    colour = looks.colour.copy()
    for row, label in enumerate(manifest.targets().argmax(axis=1)):
        colour[row, 10:20, 4 : 8 * (label + 1)] = 255
    found = by_source(manifest, replace(looks, colour=colour))
    assert found["thumbnail"].auroc.low > 0.9
    assert found["border"].auroc.low < 0.55


def test_a_column_that_repeats_the_label_is_found() -> None:
    manifest, looks = pair_of(200)
    records = [
        replace(r, attributes={"age": r.attributes["age"], "site": f"s{np.argmax(r.target)}"})
        for r in manifest.records
    ]
    manifest = manifest.with_records(records)
    assert by_source(manifest, looks)["columns"].auroc.value > 0.95
    cells = {
        "site": [r.attributes["site"] for r in records],
        "noise": [str(i % 3) for i in range(200)],
    }
    strongest, *others = associations(manifest, cells, range(200))
    assert strongest.trait == "site"
    assert strongest.strength > 0.95
    assert strongest.p <= 0.01
    assert all(a.p > 0.05 for a in others)


def test_a_share_is_one_of_the_images_that_were_assessed(bench: Any) -> None:
    manifest = bench.make(60)
    cells = ["old" if r.target[0] == 1 else "new" for r in manifest.records]
    for row in range(0, 60, 2):
        manifest = bench.with_record(manifest, row, target=(float("nan"),))
    (found,) = associations(manifest, {"device": cells}, range(60))
    assert {value: share for value, (_, share) in found.values.items()} == {"old": 1, "new": 0}
    assert sum(count for count, _ in found.values.values()) == 30


@pytest.mark.parametrize("missing", ["", None])
def test_numbers_words_and_gaps_of_a_table_become_numbers(missing: str | None) -> None:
    rows = [{"age": str(i), "site": "ab"[i % 2]} for i in range(30)]
    rows += [{"site": "a"} if missing is None else {"age": missing, "site": "a"}] * 10
    assert encoded(rows).shape == (40, 4)
    assert np.allclose(encoded(rows).mean(axis=0), 0)


def test_sizes_of_many_kinds_are_taken_in_quarters() -> None:
    cells = [f"{w}x{w // 2}" for w in range(100, 140)]
    assert set(binned(cells)) == {
        "up to 109.75",
        "109.75 to 119.5",
        "119.5 to 129.25",
        "above 129.25",
    }


def test_classes_from_two_kinds_of_file_alarm(bench: Any) -> None:
    clean = bench.make(90)
    mixed = clean
    for row, record in enumerate(clean.records):
        if record.target[0] == 1:
            name = f"{row:03d}.jpg"
            Image.fromarray(bench.drawing(row)).convert("L").save(clean.root / name)
            mixed = bench.with_record(mixed, row, path=name)
    audit = bench.audited(mixed, copies=False)
    assert bench.finding(audit, "file_tells").severity is Severity.WARN
    made = bench.finding(audit, "made")
    assert made.title == "Classes differ in format, photometric"
    assert ("format", "JPEG", "42", "100%", "ill", "1.00", "0.005") in made.rows


@pytest.mark.parametrize(("trait", "told"), [(DEPTH, True), (TOP, False), (POLARITY, False)])
def test_a_file_without_its_pixels_tells_only_how_it_was_made(trait: str, told: bool) -> None:
    """The highest value is one of the pixels, and a fault of the header is a finding of its own."""
    manifest, looks = pair_of(200)
    labels = manifest.targets().argmax(axis=1)
    facts = tuple(
        replace(f, traits={**f.traits, trait: str(1000 + label)})
        for f, label in zip(looks.facts, labels, strict=True)
    )
    assert ("file" in by_source(manifest, replace(looks, facts=facts))) is told


def test_two_hospitals_are_told_apart_by_what_differs_and_not_by_chance() -> None:
    draw = np.random.default_rng(4)
    second = np.arange(240) >= 120
    groups = [f"{'b' if s else 'a'}{i // 2}" for i, s in enumerate(second)]
    alike = draw.normal(size=(240, 5))
    same = distinguished(alike, second, groups)
    assert same.low < 0.5 < same.high
    alike[second, 2] += 3
    apart = distinguished(alike, second, groups)
    assert apart.low > 0.9
    assert (apart.count, apart.groups) == (240, 120)
