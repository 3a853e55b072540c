from __future__ import annotations

import csv
import io
import itertools
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from medcnn.data.labels import Kind
from medcnn.data.phantoms import chest, dermoscopy, fundus
from medcnn.data.phantoms.drawing import PHANTOMS, RECEIPT, TABLE, generate, lesions_of
from medcnn.system.errors import DataError, UsageError

KINDS = sorted(PHANTOMS)
DRAW = {"fundus": fundus.draw, "dermoscopy": dermoscopy.draw, "chest": chest.draw}
SMALL_PX = 64


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module", params=KINDS)
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / request.param
    return generate(folder, request.param, patients=6, seed=3, size_px=SMALL_PX)


def test_same_seed_writes_the_same_bytes(table: Path, tmp_path: Path) -> None:
    kind = table.parent.name
    generate(tmp_path / "again", kind, patients=6, seed=3, size_px=SMALL_PX)
    assert contents(tmp_path / "again") == contents(table.parent)


def test_same_seed_writes_the_same_bytes_in_another_process(table: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from medcnn.data.phantoms.drawing import generate; "
        "generate(Path(sys.argv[1]), sys.argv[2], patients=6, seed=3, size_px=int(sys.argv[3]))"
    )
    arguments = [str(tmp_path / "again"), table.parent.name, str(SMALL_PX)]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, env=environment)
    assert contents(tmp_path / "again") == contents(table.parent)


def test_another_seed_draws_other_images(table: Path, tmp_path: Path) -> None:
    other = generate(tmp_path / "b", table.parent.name, patients=6, seed=4, size_px=SMALL_PX)
    first = "images/" + min(p.name for p in (table.parent / "images").iterdir())
    assert contents(other.parent).get(first) != contents(table.parent)[first]


def test_more_patients_leave_the_first_ones_as_they_are(table: Path, tmp_path: Path) -> None:
    more = generate(tmp_path / "more", table.parent.name, patients=8, seed=3, size_px=SMALL_PX)
    few, many = contents(table.parent), contents(more.parent)
    assert {n: b for n, b in many.items() if n in few and n.startswith("images")} == {
        n: b for n, b in few.items() if n.startswith("images")
    }
    assert rows(more)[: len(rows(table))] == rows(table)


def test_table_has_the_columns_that_the_phantom_names(table: Path) -> None:
    phantom = PHANTOMS[table.parent.name]
    assert table.name == TABLE
    assert table.read_bytes().startswith(",".join(phantom.columns).encode() + b"\n")
    assert all(
        row[phantom.group] and all(row[a] for a in phantom.attributes) for row in rows(table)
    )


def test_table_names_every_image_once(table: Path) -> None:
    named = [row["image"] for row in rows(table)]
    there = [f"images/{p.name}" for p in (table.parent / "images").iterdir()]
    assert sorted(named) == sorted(there)
    assert {p.name for p in table.parent.iterdir()} == {"images", TABLE, RECEIPT}


def test_labels_are_of_the_space(table: Path) -> None:
    phantom = PHANTOMS[table.parent.name]
    allowed = {"", "0", "1"} if phantom.space.kind is Kind.MULTILABEL else set(phantom.space.names)
    assert {row[target] for row in rows(table) for target in phantom.targets} <= allowed


@pytest.mark.parametrize("kind", ["fundus", "dermoscopy"])
def test_photographs_are_jpeg_of_the_size_asked_for(kind: str) -> None:
    for drawing in DRAW[kind](1, 0, SMALL_PX):
        with Image.open(io.BytesIO(drawing.data)) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))
            assert np.asarray(image).std() > 10


def chest_films(patients: int) -> list[pydicom.FileDataset]:
    return [
        pydicom.dcmread(io.BytesIO(drawing.data))
        for patient in range(patients)
        for drawing in chest.draw(patient, 0, SMALL_PX)
    ]


def test_films_are_twelve_bit_digital_x_ray_images() -> None:
    for film in chest_films(3):
        assert film.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert film.SOPClassUID == DigitalXRayImageStorageForPresentation
        assert film.Modality == "DX"
        assert (film.BitsAllocated, film.BitsStored, film.PixelRepresentation) == (16, 12, 0)
        assert (film.RescaleSlope, film.RescaleIntercept) == (1, 0)
        assert film.ViewPosition in {"PA", "AP"}
        pixels = film.pixel_array
        assert pixels.dtype == np.uint16
        assert pixels.max() <= chest.TOP_VALUE
        assert len(np.unique(pixels)) > 256


def test_uids_are_valid_and_no_two_films_share_one() -> None:
    films = chest_films(5)
    assert all(UID(film.SOPInstanceUID).is_valid for film in films)
    assert len({film.SOPInstanceUID for film in films}) == len(films)
    other_seed = pydicom.dcmread(io.BytesIO(next(chest.draw(0, 1, SMALL_PX)).data))
    assert other_seed.SOPInstanceUID not in {film.SOPInstanceUID for film in films}


def test_window_shows_air_dark_and_the_spine_light_in_either_photometric_interpretation() -> None:
    seen: Counter[str] = Counter()
    for film in chest_films(12):
        low = film.WindowCenter - film.WindowWidth / 2
        shown = np.clip((film.pixel_array - low) / film.WindowWidth, 0, 1)
        if film.PhotometricInterpretation == "MONOCHROME1":
            shown = 1 - shown
        air, spine = shown[:6, :6].mean(), shown[36:44, 30:34].mean()
        assert air < 0.2 < 0.7 < spine
        seen[film.PhotometricInterpretation] += 1
    assert set(seen) == {"MONOCHROME1", "MONOCHROME2"}


def labels_of(kind: str, patients: int) -> list[dict[str, str]]:
    return [d.row for p in range(patients) for d in DRAW[kind](p, 0, SMALL_PX)]


def test_eyes_of_a_patient_are_nearer_in_grade_than_those_of_two() -> None:
    found = labels_of("fundus", 60)
    grades: dict[str, list[int]] = defaultdict(list)
    for row in found:
        grades[row["patient"]].append(int(row["grade"]))
    pairs = np.array(list(grades.values()))
    assert pairs.shape == (60, 2)
    within = np.abs(pairs[:, 0] - pairs[:, 1]).mean()
    between = np.abs(pairs[:, 0] - np.roll(pairs[:, 1], 1)).mean()
    assert within < 0.6 * between
    shares = Counter(row["grade"] for row in found)
    assert set(shares) == {"0", "1", "2", "3", "4"}
    assert shares.most_common(1)[0][0] == "0"


def test_disc_lies_on_the_nasal_side() -> None:
    for drawing in fundus.draw(1, 0, 128):
        with Image.open(io.BytesIO(drawing.data)) as image:
            green = np.asarray(image, dtype=float)[48:80, :, 1]
        column = int(green.mean(axis=0).argmax())
        assert (column > 64) == (drawing.row["eye"] == "right")


def test_photographs_of_a_lesion_share_the_diagnosis_and_nevus_is_most_common() -> None:
    found = labels_of("dermoscopy", 36)
    diagnoses: dict[str, set[str]] = defaultdict(set)
    for row in found:
        diagnoses[row["lesion"]].add(row["diagnosis"])
    assert all(len(names) == 1 for names in diagnoses.values())
    counts = Counter(name for names in diagnoses.values() for name in names)
    assert set(counts) == set(PHANTOMS["dermoscopy"].space.names)
    assert counts.most_common(1)[0][0] == "nevus"


def test_findings_persist_and_some_cells_are_blank() -> None:
    found = labels_of("chest", 36)
    for finding in chest.FINDINGS:
        cells = Counter(row[finding] for row in found)
        assert cells["1"] > 0.1 * len(found)
        assert cells["0"] > cells["1"]
        assert 0 < cells[""] < 0.2 * len(found)
        films: dict[str, list[str]] = defaultdict(list)
        for row in found:
            films[row["patient"]].append(row[finding])
        pairs = [(a, b) for f in films.values() for a, b in itertools.pairwise(f) if a and b]
        assert np.mean([a == b for a, b in pairs]) > 0.7


def test_whole_set_is_found_again_and_not_drawn_again(table: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in table.parent.rglob("*")}
    assert generate(table.parent, table.parent.name, patients=6, seed=3, size_px=64) == table
    assert {p: p.stat().st_mtime_ns for p in table.parent.rglob("*")} == before


def test_set_with_other_parameters_is_refused_by_name(table: Path) -> None:
    with pytest.raises(DataError, match=r"found .*seed 3.* wanted .*seed 5"):
        generate(table.parent, table.parent.name, patients=6, seed=5, size_px=64)


def test_folder_with_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="not a phantom set"):
        generate(tmp_path, "fundus", patients=1, size_px=64)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_damaged_receipt_is_refused(tmp_path: Path) -> None:
    (tmp_path / RECEIPT).write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=RECEIPT):
        generate(tmp_path, "fundus", patients=1, size_px=64)


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    table = generate(tmp_path / "set", "fundus", patients=1, size_px=64)
    assert json.loads((table.parent / RECEIPT).read_text(encoding="utf-8"))["patients"] == 1


def test_folder_that_the_user_stands_in_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match="name a folder that does not exist yet"):
        generate(Path(), "fundus", patients=1, size_px=64)
    assert [p.name for p in tmp_path.rglob("*")] == ["here"]


def test_stopped_generator_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert (done, total) == (1, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set", "fundus", patients=3, size_px=64, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_killed_generator_leaves_no_set(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; "
        "from medcnn.data.phantoms.drawing import generate; "
        "generate(Path(sys.argv[1]), 'fundus', patients=3, size_px=64, "
        "progress=lambda done, total: os._exit(9))"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "set")], check=False)
    assert killed.returncode == 9
    assert not (tmp_path / "set").exists()
    generate(tmp_path / "set", "fundus", patients=1, size_px=64)


def test_set_that_another_process_finished_meanwhile_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "set"

    def overtake(done: int, total: int) -> None:
        generate(tmp_path / "faster", "fundus", patients=1, size_px=64)
        (tmp_path / "faster").rename(folder)

    table = generate(folder, "fundus", patients=1, size_px=64, progress=overtake)
    assert len(rows(table)) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(("patients", "size_px"), [(0, 64), (1, 8)])
def test_set_too_small_to_draw_is_refused(tmp_path: Path, patients: int, size_px: int) -> None:
    with pytest.raises(UsageError, match="patients >= 1"):
        generate(tmp_path / "set", "fundus", patients=patients, size_px=size_px)


def test_unknown_kind_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'fundus'"):
        generate(tmp_path / "set", "fundsu", patients=1)


def test_a_set_knows_where_its_lesions_are(table: Path) -> None:
    kind, shown = table.parent.name, 0
    for row in rows(table):
        found = lesions_of(table.parent, row["image"])
        names = set(PHANTOMS[kind].space.names)
        assert set(found) <= names
        assert all(mask.shape == (SMALL_PX, SMALL_PX) for mask in found.values())
        if kind == "dermoscopy":
            assert list(found) == [row["diagnosis"]]
            with Image.open(table.parent / row["image"]) as image:
                light = np.asarray(image.convert("L"), float)
            lesion = found[row["diagnosis"]]
            shown += light[lesion].mean() < light[~lesion].mean()
        if kind == "chest":
            assert {name for name in found if row[name] == "0"} == set(), "absent is nowhere"
            shown += sum(found[name].any() for name in found)
        if kind == "fundus":
            assert "0" not in found
            shown += row["grade"] != "0" and found[row["grade"]].any()
    assert shown >= 3


def test_other_folders_know_of_no_lesions(tmp_path: Path) -> None:
    assert lesions_of(tmp_path, "images/P0001_1.dcm") == {}
    receipt = {"kind": "chest", "version": 0, "seed": 0, "size_px": 64}
    (tmp_path / RECEIPT).write_text(json.dumps(receipt))
    assert lesions_of(tmp_path, "images/P0001_1.dcm") == {}, "another version"
