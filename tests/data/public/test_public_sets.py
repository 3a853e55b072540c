"""Each public set in a miniature of its real layout, and the real one where it is at hand."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcnn.data import adapters
from medcnn.data.adapters import DATASETS
from medcnn.data.labels import Kind
from medcnn.data.manifest import Modality, Split
from medcnn.data.phantoms import adapter
from medcnn.data.public import chestxray14, ham10000, medmnist, medmnist_files
from medcnn.images import read_pixels
from medcnn.system.errors import DataError, MedcnnError, UsageError


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(path)


def small_ham(root: Path) -> Path:
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for i, dx in enumerate(ham10000.CLASSES * 2):
        picture(root / f"HAM10000_images_part_{i % 2 + 1}" / f"ISIC_{i:07d}.jpg")
        rows.append(f"HAM_{i // 2},ISIC_{i:07d},{dx},histo,{40 + i}.0,male,back")
    (root / "HAM10000_metadata.csv").write_text("\n".join(rows) + "\n")
    return root


def small_nih(root: Path) -> Path:
    rows = [
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
    ]
    for i, found in enumerate(["No Finding", "Mass|Hernia", "Edema", "No Finding"]):
        picture(root / ("images_001/images" if i < 2 else "images_002/images") / f"{i}.png")
        rows.append(f"{i}.png,{found},0,{i // 2},57,F,PA")
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(rows) + "\n")
    return root


def small_mnist(root: Path, name: str = "retinamnist", k: int = 1, top: int = 5) -> Path:
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 20), ("val", 6), ("test", 8)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, 28, 28, 3), dtype=np.uint8)
        labels = rng.integers(0, top, (n, k))
        labels[0] = top - 1
        arrays[f"{split}_labels"] = labels.astype(np.uint8)
    np.savez(root / f"{name}.npz", **arrays)
    return root


def test_ham10000_is_grouped_by_lesion(tmp_path: Path) -> None:
    found = ham10000.read(small_ham(tmp_path))
    assert len(found.records) == 14
    assert len({r.group for r in found.records}) == 7
    assert found.group_noun == "lesion"
    assert found.records[4].target == found.labels.encode(["mel"])
    assert read_pixels(found.root, found.records[1].path).shape == (6, 8, 3)
    assert found.records[0].attributes["localization"] == "back"


def test_ham10000_images_that_are_not_there_are_counted_and_named(tmp_path: Path) -> None:
    small_ham(tmp_path)
    (tmp_path / "HAM10000_images_part_1" / "ISIC_0000002.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 14 images .*ISIC_0000002"):
        ham10000.read(tmp_path)


def test_chestxray14_findings_patients_and_views(tmp_path: Path) -> None:
    found = chestxray14.read(small_nih(tmp_path))
    assert found.labels.kind is Kind.MULTILABEL
    assert sum(found.records[0].target) == 0
    assert found.records[1].target == found.labels.encode(["Hernia", "Mass"])
    assert [r.group for r in found.records] == ["0", "0", "1", "1"]
    assert found.records[3].path == "images_002/images/3.png"
    assert found.records[0].attributes["view"] == "PA"
    assert found.modality is Modality.CHEST


def test_chestxray14_official_lists_are_kept(tmp_path: Path) -> None:
    small_nih(tmp_path)
    (tmp_path / "train_val_list.txt").write_text("0.png\n1.png\n")
    with pytest.raises(DataError, match="without its counterpart"):
        chestxray14.read(tmp_path)
    (tmp_path / "test_list.txt").write_text("2.png\n")
    with pytest.raises(DataError, match=r"1 images are neither .*3\.png"):
        chestxray14.read(tmp_path)
    (tmp_path / "test_list.txt").write_text("2.png\n3.png\n")
    splits = [r.split for r in chestxray14.read(tmp_path).records]
    assert splits == [Split.TRAIN, Split.TRAIN, Split.TEST, Split.TEST]


def test_an_unknown_finding_is_named_with_its_line(tmp_path: Path) -> None:
    file = small_nih(tmp_path) / "Data_Entry_2017_v2020.csv"
    file.write_text(file.read_text().replace("Edema", "Oedema"))
    with pytest.raises(DataError, match=r"csv:4: label ‹Oedema› .* did you mean 'Edema'"):
        chestxray14.read(tmp_path)


def test_medmnist_keeps_its_official_splits(tmp_path: Path) -> None:
    found = medmnist.read(small_mnist(tmp_path), file="retinamnist.npz")
    assert {s: len(found.rows(s)) for s in Split} == {"train": 20, "validation": 6, "test": 8}
    assert found.labels.kind is Kind.ORDINAL
    assert found.modality is Modality.FUNDUS
    assert not found.grouped
    stored = np.load(tmp_path / "retinamnist.npz")["val_images"][3]
    assert np.array_equal(read_pixels(tmp_path, found.records[23].path), stored)


def test_the_malignant_class_is_the_finding_whatever_its_number(tmp_path: Path) -> None:
    for name in ("breastmnist", "pneumoniamnist"):
        small_mnist(tmp_path, name, 1, 2)
    breast = medmnist.read(tmp_path, file="breastmnist.npz")
    assert breast.labels.names == ("normal, benign", "malignant")
    stored = np.load(tmp_path / "breastmnist.npz")["train_labels"][:, 0]
    of_train = breast.targets()[breast.rows(Split.TRAIN), 0]
    np.testing.assert_array_equal(of_train, stored == 0)
    pneumonia = medmnist.read(tmp_path, file="pneumoniamnist.npz")
    assert pneumonia.labels.names == tuple(medmnist.SETS["pneumoniamnist"]["classes"])


def test_what_is_known_of_a_set_of_medmnist_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small_mnist(tmp_path, "dermamnist", 1, 7)
    medmnist.read(tmp_path, file="dermamnist.npz")
    assert "one lesion on both sides" in caplog.text


@pytest.mark.parametrize("name", medmnist.SETS)
def test_every_set_of_medmnist_is_read_in_any_size(tmp_path: Path, name: str) -> None:
    chosen = medmnist.SETS[name]
    classes = len(chosen["classes"])
    k, top = (classes, 2) if chosen["kind"] == "multilabel" else (1, classes)
    for size in ("", "_64", "_128", "_224"):
        small_mnist(tmp_path, f"{name}{size}", k, top)
        found = medmnist.read(tmp_path, file=f"{name}{size}.npz")
        assert found.labels.kind == chosen["kind"]


def test_a_file_that_is_no_set_of_medmnist_is_refused(tmp_path: Path) -> None:
    small_mnist(tmp_path, "catsmnist")
    with pytest.raises(UsageError, match="not a set of MedMNIST; known: "):
        medmnist.read(tmp_path, file="catsmnist.npz")
    small_mnist(tmp_path, "retinamnist", k=2)
    with pytest.raises(DataError, match="has the shape"):
        medmnist.read(tmp_path, file="retinamnist.npz")
    (tmp_path / "retinamnist.npz").write_bytes(b"PK half a zip")
    with pytest.raises(DataError, match="is not an npz, or is damaged"):
        medmnist.read(tmp_path, file="retinamnist.npz")


@pytest.mark.parametrize("name", ["fundus", "dermoscopy", "chest"])
def test_phantoms_are_read_like_any_table(tmp_path: Path, name: str) -> None:
    found = adapter.read(tmp_path / name, phantom=name, patients=12)
    assert found.modality == name
    assert found.grouped
    pixels = read_pixels(found.root, found.records[0].path)
    assert pixels.dtype == (np.uint16 if name == "chest" else np.uint8)


def test_every_data_set_says_where_to_get_it() -> None:
    for dataset in DATASETS.values():
        assert dataset.about
        assert dataset.url
        assert dataset.licence


def test_an_option_that_a_data_set_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="data set ham10000 has no option 'imagee'"):
        adapters.DATASETS.bind("ham10000", {"imagee": 1})


def test_real_ham10000(shared: Path) -> None:
    found = ham10000.read(shared / "ham10000")
    assert len(found.records) == 10_015
    assert len({r.group for r in found.records}) == 7_470


def test_real_chestxray14_sample(shared: Path) -> None:
    found = chestxray14.read(shared / "nih_chestxray14_sample")
    assert len(found.records) == 1_000
    assert len({r.group for r in found.records}) == 264


def test_real_retinamnist(shared: Path) -> None:
    found = medmnist.read(shared / "medmnist", file="retinamnist.npz")
    assert [len(found.rows(s)) for s in Split] == [1080, 120, 400]


def test_real_covid_chestxray_through_a_table(shared: Path) -> None:
    found = adapters.read(
        "table",
        shared / "covid_chestxray",
        {
            "table": "metadata.csv",
            "folder": "images",
            "image": "filename",
            "label": "finding",
            "patient": "patientid",
            "exclude": {"finding": ["todo"]},
            "rare_below": 5,
        },
    )
    assert len(found.records) == 282
    assert found.excluded == {"finding is in data.exclude": 28}
    assert "other" in found.labels.names


def test_no_finding_beside_a_finding_is_refused(tmp_path: Path) -> None:
    file = small_nih(tmp_path) / "Data_Entry_2017_v2020.csv"
    file.write_text(file.read_text().replace("Edema", "No Finding|Edema").replace("Mass", "Mas"))
    with pytest.raises(DataError) as raised:
        chestxray14.read(tmp_path)
    assert "2 rows are refused" in str(raised.value)
    assert "csv:3: label ‹Mas› " in str(raised.value)
    assert "csv:4: label ‹No Finding› " in str(raised.value)


def test_two_tables_of_one_set_are_refused(tmp_path: Path) -> None:
    small_nih(tmp_path)
    (tmp_path / "Data_Entry_2017.csv").write_text("older")
    with pytest.raises(DataError, match=r"2 tables: Data_Entry_2017.csv, Data_Entry_2017_v2020"):
        chestxray14.read(tmp_path)


def test_all_unknown_diagnoses_are_reported_with_their_lines(tmp_path: Path) -> None:
    file = small_ham(tmp_path) / "HAM10000_metadata.csv"
    file.write_text(file.read_text().replace(",mel,", ",melanoma,"))
    with pytest.raises(DataError) as raised:
        ham10000.read(tmp_path)
    assert "2 rows are refused" in str(raised.value)
    assert "csv:6: label ‹melanoma›" in str(raised.value)


def test_labels_that_do_not_fit_the_images_of_an_npz_are_refused(tmp_path: Path) -> None:
    small_mnist(tmp_path, "chestmnist", k=14, top=3)
    with pytest.raises(DataError, match="values below 2"):
        medmnist.read(tmp_path, file="chestmnist.npz")
    small_mnist(tmp_path)
    arrays = dict(np.load(tmp_path / "retinamnist.npz"))
    arrays["val_labels"] = arrays["val_labels"][1:]
    np.savez(tmp_path / "retinamnist.npz", **arrays)
    with pytest.raises(DataError, match=r"6 images of retinamnist need \[6, 1\]"):
        medmnist.read(tmp_path, file="retinamnist.npz")


def test_labels_of_an_npz_are_unpacked_only_where_their_shape_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_mnist(tmp_path)
    arrays = dict(np.load(tmp_path / "retinamnist.npz"))
    arrays["train_labels"] = np.zeros((20, 500_000), np.uint8)
    np.savez_compressed(tmp_path / "retinamnist.npz", **arrays)
    unpacked = []
    inflate = zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile, "read", lambda f, n=-1: unpacked.append(n) or inflate(f, n)
    )
    with pytest.raises(DataError, match=r"train_labels has the shape \[20, 500000\]"):
        medmnist.read(tmp_path, file="retinamnist.npz")
    assert sum(unpacked) < 1_000_000


@pytest.fixture
def zenodo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for the record on Zenodo, with one file and its MD5."""
    record = small_mnist(tmp_path / "zenodo", "retinamnist_64")
    md5 = hashlib.md5((record / "retinamnist_64.npz").read_bytes()).hexdigest()
    # urllib takes the query of a file: address for a part of its name
    (record / "retinamnist_64.npz").rename(record / "retinamnist_64.npz?download=1")
    monkeypatch.setattr(medmnist_files, "RECORD", f"{record.as_uri()}/")
    monkeypatch.setitem(medmnist_files.SETS["retinamnist"], "md5", ["", md5, "", ""])
    return record


def test_medmnist_is_fetched_only_when_asked(tmp_path: Path, zenodo: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file. Fetch it with data.download=true"):
        medmnist.read(tmp_path, file="retinamnist_64.npz")
    found = medmnist.read(tmp_path, file="retinamnist_64.npz", download=True)
    assert len(found.records) == 34
    (zenodo / "retinamnist_64.npz?download=1").unlink()
    again = medmnist.read(tmp_path, file="retinamnist_64.npz", download=True)
    assert again.fingerprint() == found.fingerprint(), "what is there is not fetched again"


def test_a_download_with_another_md5_is_not_kept(tmp_path: Path, zenodo: Path) -> None:
    file = zenodo / "retinamnist_64.npz?download=1"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(MedcnnError, match=r"has the MD5 .* so it was not kept"):
        medmnist.read(tmp_path, file="retinamnist_64.npz", download=True)
    assert [p.name for p in tmp_path.iterdir()] == ["zenodo"]


def test_without_network_the_message_says_how_to_bring_the_file(
    tmp_path: Path, zenodo: Path
) -> None:
    (zenodo / "retinamnist_64.npz?download=1").unlink()
    with pytest.raises(MedcnnError) as raised:
        medmnist.read(tmp_path, file="retinamnist_64.npz", download=True)
    assert raised.value.exit_code == 1
    assert "could not be fetched" in str(raised.value)
    assert f"put it at {tmp_path / 'retinamnist_64.npz'}" in str(raised.value)
    with pytest.raises(UsageError, match="not a set of MedMNIST; known: "):
        medmnist.read(tmp_path, file="retinamnist_32.npz", download=True)


def test_every_set_of_medmnist_has_a_published_md5_in_every_size() -> None:
    published = medmnist_files.published()
    assert len(published) == len(set(published.values())) == 48
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in published.values())
    assert published["pathmnist_224.npz"] == "2c51a510bcdc9cf8ddb2af93af1eadec"


def test_the_real_retinamnist_has_the_published_md5(shared: Path) -> None:
    found = hashlib.md5((shared / "medmnist" / "retinamnist.npz").read_bytes()).hexdigest()
    assert medmnist_files.published()["retinamnist.npz"] == found
