"""Laws of every public set, on a miniature of its real layout."""

from __future__ import annotations

import gzip
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.data import adapters, splits
from medcnn.data.adapters import DATASETS, Dataset
from medcnn.data.manifest import Manifest, Modality, Split
from medcnn.data.public import padchest
from medcnn.data.public.chexpert import OBSERVATIONS
from medcnn.data.public.vindr_cxr import FINDINGS
from medcnn.images import read_pixels
from medcnn.system.errors import DataError, MedcnnError, UsageError
from tests.data.public import layouts
from tests.data.public.layouts import MINIATURES

PUBLIC = sorted(name for name, dataset in DATASETS.items() if dataset.public)


def made(root: Path, name: str, **options: Any) -> Manifest:
    if not any(root.iterdir()):
        MINIATURES[name].write(root)
    return adapters.read(name, root, options)


def refusal(root: Path, name: str, **options: Any) -> MedcnnError:
    with pytest.raises(MedcnnError) as raised:
        made(root, name, **options)
    return raised.value


def test_every_public_set_has_its_miniature() -> None:
    assert set(MINIATURES) == set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_images_groups_and_splits_are_those_of_the_layout(tmp_path: Path, name: str) -> None:
    found, wanted = made(tmp_path, name), MINIATURES[name]
    assert len(found.records) == wanted.images
    assert len({r.group for r in found.records}) == wanted.groups
    assert sum(found.excluded.values()) == wanted.excluded
    assert Counter(r.split for r in found.records if r.split) == wanted.splits
    assert all(r.split for r in found.records) or not wanted.splits
    assert splits.leaks(found) == {}
    assert found.modality is not Modality.OTHER
    assert np.isfinite(found.targets()).any(), "no image has a label"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_image_is_where_the_manifest_says(tmp_path: Path, name: str) -> None:
    found = made(tmp_path, name)
    for record in found.records:
        assert read_pixels(found.root, record.path).shape[:2] == (6, 8)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_manifest_is_the_same_once_written_and_read(tmp_path: Path, name: str) -> None:
    found = made(tmp_path, name)
    found.write(tmp_path / "manifest.csv")
    again = Manifest.read(tmp_path / "manifest.csv", found.root)
    assert again.fingerprint() == found.fingerprint()


def test_folders_that_are_still_packed_are_named(tmp_path: Path) -> None:
    """The archive of a folder fits the glob of the folder."""
    made(tmp_path, "ham10000")
    folders = sorted(p for p in tmp_path.iterdir() if p.is_dir())
    for folder in folders:
        shutil.rmtree(folder)
        folder.with_suffix(".zip").write_bytes(b"PK")
    message = str(refusal(tmp_path, "ham10000"))
    assert "(missing: HAM10000_images*/)" in message
    assert f"Found {folders[0].name}.zip, {folders[1].name}.zip: unpack them." in message
    folders[0].mkdir()
    folders[0].with_suffix(".zip").unlink()
    message = str(refusal(tmp_path, "ham10000"))
    assert f"Found {folders[1].name}.zip: unpack it." in message


@pytest.mark.parametrize("name", PUBLIC)
def test_another_layout_is_refused_with_what_was_expected_and_found(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "holiday.jpg").touch()
    message = str(refusal(tmp_path, name))
    public = DATASETS[name].public
    assert public is not None
    assert f"expected {public.layout_text} of {public.title}, found holiday.jpg." in message
    assert public.url in message


@pytest.mark.parametrize("name", PUBLIC)
def test_a_root_one_folder_too_high_is_told_which_folder_fits(tmp_path: Path, name: str) -> None:
    MINIATURES[name].write(tmp_path / "unpacked")
    message = str(refusal(tmp_path, name))
    assert f"unpacked/ has that layout: data.root={tmp_path / 'unpacked'}" in message


# the files of kermany are its table; padchest has two of five left out
@pytest.mark.parametrize("name", [n for n in PUBLIC if n != "kermany"])
def test_an_image_that_is_not_there_is_counted_and_named(tmp_path: Path, name: str) -> None:
    found = made(tmp_path, name)
    lost = found.records[-1]
    (found.root / lost.path).unlink()
    message = str(refusal(tmp_path, name))
    assert f"1 of {len(found.records)} images in the table are not under" in message
    assert Path(lost.path).stem in message


@pytest.mark.parametrize(
    ("name", "table", "right", "wrong", "said"),
    [
        ("aptos2019", "train.csv", "d8d7,2", "d8d7,7", "train.csv:2: label ‹7› is not one of 0"),
        ("eyepacs", "trainLabels.csv", "13_left", "13_l", "csv:4: image '13_l' is not named"),
        ("messidor2", "messidor_data.csv", ",2.0,", ",9,", "messidor_data.csv:3: label ‹9›"),
        ("ddr", "valid.txt", " 3", " six", "valid.txt:1: '007-1789-000.jpg six'"),
        ("isic2020", "*_v2.csv", "malignant,1", "malignant,2", "csv:5: label ‹2› is not one of"),
        ("pad_ufes_20", "metadata.csv", ",BCC,", ",BBC,", "did you mean 'BCC'?"),
        ("ph2", "PH2_dataset.txt", "    2 ||", "    3 ||", "PH2_dataset.txt:4: IMD405 has the"),
        ("chexpert", "train.csv", "-1.0", "-2.0", "train.csv:3: Edema is ‹-2.0›"),
        ("chexpert", "valid.csv", "/patient64541/", "/64541/", "csv:2: Path 'CheXpert"),
        (
            "rsna_pneumonia",
            "*_labels.csv",
            "453.0,1",
            "453.0,0",
            "has rows with and without opacity",
        ),
        ("vindr_cxr", "*/*_test.csv", ",1,", ",7,", "image_labels_test.csv:2: Pneumonia is ‹7›"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(
    tmp_path: Path, name: str, table: str, right: str, wrong: str, said: str
) -> None:
    MINIATURES[name].write(tmp_path)
    (file,) = tmp_path.glob(table)
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong, 1))
    error = refusal(tmp_path, name)
    assert isinstance(error, DataError)
    assert said in str(error)


def column(found: Manifest, label: str) -> list[float | None]:
    values = found.targets()[:, found.labels.outputs.index(label)].tolist()
    return [None if math.isnan(v) else v for v in values]


@pytest.mark.fault
def test_chexpert_uncertain_labels_follow_the_policy_and_blank_ones_are_zero(
    tmp_path: Path,
) -> None:
    """Row 81: -1 is not assessed, 0 or 1, for all labels or for each."""
    assert column(made(tmp_path, "chexpert"), "Edema") == [0, None, None, 0]
    assert column(made(tmp_path, "chexpert", uncertain="ones"), "Edema") == [0, 1, 1, 0]
    policy = {"Edema": "zeros", "default": "ones"}
    assert column(made(tmp_path, "chexpert", uncertain=policy), "Edema") == [0, 0, 0, 0]
    strict = made(tmp_path, "chexpert", unmentioned="ignore")
    assert column(strict, "Edema") == [None, None, None, 0]
    assert column(strict, "Pneumothorax") == [0, None, None, 0]
    assert "unmentioned=ones is not one of zeros, ignore" in str(
        refusal(tmp_path, "chexpert", unmentioned="ones")
    )


def test_chexpert_validation_is_the_test_until_the_test_is_there(tmp_path: Path) -> None:
    found = made(tmp_path, "chexpert")
    assert found.records[-1].split is Split.TEST
    path = "test/patient64741/study1/view1_frontal.jpg"
    layouts.picture(tmp_path / path, grey=True)
    row = f"{path}," + ",".join(["0.0"] * 13) + ",1.0"
    layouts.table(tmp_path / "test_labels.csv", "Path," + ",".join(OBSERVATIONS), row)
    found = made(tmp_path, "chexpert")
    assert [r.split for r in found.records[-2:]] == [Split.VALIDATION, Split.TEST]
    assert found.records[-1].group == "patient64741"


def test_chexpert_is_read_in_the_batches_of_its_full_size(tmp_path: Path) -> None:
    batches = tmp_path / "batches"
    (tmp_path / "flat").mkdir()
    flat = made(tmp_path / "flat", "chexpert")
    layouts.chexpert(batches)
    first = batches / "CheXpert-v1.0 batch 1 (validate & csv)"
    first.mkdir()
    for name in ("train.csv", "valid.csv", "valid"):
        (batches / name).rename(first / name)
    for n, patient in ((2, "patient00001"), (4, "patient00005")):
        batch = batches / f"CheXpert-v1.0 batch {n} (train {n - 1})"
        batch.mkdir()
        (batches / "train" / patient).rename(batch / patient)
    (batches / "train").rmdir()
    found = DATASETS["chexpert"].read(batches)
    assert [r.image_id for r in found.records] == [r.image_id for r in flat.records]
    assert [r.group for r in found.records] == [r.group for r in flat.records]
    assert all((batches / r.path).is_file() for r in found.records)


def test_a_set_that_knows_only_some_lesions_does_not_claim_to_know_them(tmp_path: Path) -> None:
    for name in ("isic2018", "isic2019"):
        (tmp_path / name).mkdir()
        found = made(tmp_path / name, name)
        assert not found.patients_known
        assert len({r.group for r in found.records}) < len(found.records), (
            "known ones stay together"
        )
    shutil.rmtree(tmp_path / "isic2018" / "ISIC2018_Task3_Test_GroundTruth")
    shutil.rmtree(tmp_path / "isic2018" / "ISIC2018_Task3_Validation_GroundTruth")
    assert DATASETS["isic2018"].read(tmp_path / "isic2018").group_noun == "lesion"


def test_rsna_says_what_tells_its_patients_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made(tmp_path, "rsna_pneumonia")
    mapping = tmp_path / "pneumonia-challenge-dataset-mappings_2018.json"
    mapping.unlink(missing_ok=True)
    caplog.clear()
    assert not DATASETS["rsna_pneumonia"].read(tmp_path).patients_known
    assert "images of one patient may be in two splits" in caplog.text


def test_views_are_kept_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    found = made(tmp_path, "chexpert", views=["AP", "PA"])
    assert len(found.records) == 3
    assert found.excluded == {"view lateral": 1}
    error = refusal(tmp_path, "chexpert", views=["PAA"])
    assert isinstance(error, UsageError)
    assert "no image has the view PAA; did you mean 'PA'? Found: AP, PA, lateral" in str(error)


def test_mimic_labels_of_a_study_hold_for_its_images(tmp_path: Path) -> None:
    found = made(tmp_path, "mimic_cxr_jpg")
    assert column(found, "No Finding") == [1, 1, 0, 0]
    assert column(found, "Edema") == [0, 0, None, 1]
    assert found.records[1].attributes == {"view": "LATERAL", "study": "50414267"}
    assert found.excluded == {"study without labels": 1}
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    assert made(tmp_path, "mimic_cxr_jpg", labeler="negbio").records == found.records
    assert "chexpert.csv* is missing" in str(refusal(tmp_path, "mimic_cxr_jpg"))


def test_tables_packed_by_gzip_may_be_unpacked(tmp_path: Path) -> None:
    before = made(tmp_path, "mimic_cxr_jpg").fingerprint()
    for packed in tmp_path.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    assert made(tmp_path, "mimic_cxr_jpg").fingerprint() == before


def test_padchest_findings_are_the_common_ones_or_those_named(tmp_path: Path) -> None:
    found = made(tmp_path, "padchest")
    assert column(found, "cardiomegaly") == [0, 1, 1]
    assert found.excluded == {"no label": 1, "label exclude": 1}
    assert found.records[1].attributes["age"] == "85"
    assert found.records[2].path == "1/13580341_fzis7e.png"
    few = made(tmp_path, "padchest", findings=["kyphosis"])
    assert few.labels.names == ("kyphosis",)
    assert "shows kyphosys" in str(refusal(tmp_path, "padchest", findings=["kyphosys"]))


def test_padchest_images_that_the_archives_lack_are_left_out_while_they_are_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(tmp_path, "padchest")
    (tmp_path / found.records[2].path).unlink()
    assert "1 of 3 images in the table are not under" in str(refusal(tmp_path, "padchest"))
    monkeypatch.setattr(padchest, "MOST_MISSING", 0.5)
    few = made(tmp_path, "padchest")
    assert len(few.records) == 2
    assert few.rows_left_out == {"missing from the published archives": 1}


def test_vindr_findings_are_those_of_the_majority_of_readers(tmp_path: Path) -> None:
    found = made(tmp_path, "vindr_cxr")
    seen = [{n for n, v in zip(FINDINGS, r.target, strict=True) if v} for r in found.records]
    assert seen == [{"Cardiomegaly"}, set(), {"Pneumonia", "Other diseases"}]
    anyone = made(tmp_path, "vindr_cxr", readers=1).records[0]
    assert sum(anyone.target) == 2
    assert "has 3 readers" in str(refusal(tmp_path, "vindr_cxr", readers=4))


def test_rsna_patients_come_from_the_mapping_where_it_is_there(tmp_path: Path) -> None:
    alone = made(tmp_path, "rsna_pneumonia")
    assert not alone.grouped
    assert column(alone, "lung opacity") == [0, 1, 0]
    layouts.rsna_mapping(tmp_path)
    found = made(tmp_path, "rsna_pneumonia")
    assert found.group_noun == "patient"
    assert [r.group for r in found.records] == ["00000013", "00000013", "00000022"]


def test_isic2020_is_read_as_jpeg_or_as_dicom(tmp_path: Path) -> None:
    assert made(tmp_path, "isic2020").records[0].path.endswith("ISIC_2637011.jpg")
    dicom = made(tmp_path, "isic2020", files="dicom")
    assert dicom.records[0].path == "ISIC_2020_Training_Dicom/train/ISIC_2637011.dcm"
    assert read_pixels(tmp_path, dicom.records[0].path).dtype == np.uint16
    assert "not one of auto" in str(refusal(tmp_path, "isic2020", files="png"))


def test_isic2020_is_read_in_the_folders_of_kaggle(tmp_path: Path) -> None:
    header = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,target"
    rows = ["ISIC_2637011,IP_7279968,male,45.0,head/neck,0", "ISIC_0052212,IP_2842074,,,,1"]
    layouts.table(tmp_path / "train.csv", header, *rows)
    for row in rows:
        name = row.partition(",")[0]
        layouts.picture(tmp_path / "jpeg" / "train" / f"{name}.jpg")
        layouts.picture(tmp_path / "train" / f"{name}.dcm")
    found = made(tmp_path, "isic2020")
    assert found.records[0].path == "jpeg/train/ISIC_2637011.jpg"
    assert found.records[0].attributes == {"age": "45.0", "sex": "male", "site": "head/neck"}
    dicom = made(tmp_path, "isic2020", files="dicom")
    assert dicom.records[1].path == "train/ISIC_0052212.dcm"
    assert column(dicom, "malignant") == [0, 1]


def test_messidor2_pairs_the_eyes_of_a_patient_whatever_the_case_of_the_names(
    tmp_path: Path,
) -> None:
    found = made(tmp_path, "messidor2")
    assert found.records[0].group == found.records[1].group
    assert found.records[2].path == "IMAGES/IM000004.JPG"
    assert found.records[1].attributes == {"eye": "right", "macular_oedema": "1.0"}


def test_kermany_patients_are_told_by_all_names_that_were_published(tmp_path: Path) -> None:
    found = made(tmp_path, "kermany")
    group = {Path(r.path).name: r.group for r in found.records}
    assert group["IM-0509-0001-0001.jpeg"] == group["IM-0509-0001-0002.jpeg"] == "IM-0509"
    assert group["person1000_bacteria_2931.jpeg"] != group["person1000_virus_1681.jpeg"]
    assert {r.split for r in made(tmp_path, "kermany", official=False).records} == {None}
    layouts.picture(tmp_path / "train/PNEUMONIA/VIRUS-1008087-0001.jpeg")
    newer = made(tmp_path, "kermany").records
    assert next(r for r in newer if "1008087" in r.path).group == "1008087"
    layouts.picture(tmp_path / "train/PNEUMONIA/scan.jpeg")
    assert "1 file names do not identify a patient: train/PNEUMONIA/scan.jpeg" in str(
        refusal(tmp_path, "kermany")
    )


def test_a_set_without_its_test_gets_new_splits_by_group(tmp_path: Path) -> None:
    MINIATURES["eyepacs"].write(tmp_path)
    (tmp_path / "retinopathy_solution.csv").unlink()
    found = made(tmp_path, "eyepacs")
    assert len(found.records) == 4
    assert {r.split for r in found.records} == {None}


def test_ham10000_and_isic2018_name_the_same_classes(tmp_path: Path) -> None:
    ham, isic = tmp_path / "ham", tmp_path / "isic"
    for folder in (ham, isic):
        folder.mkdir()
    assert made(ham, "ham10000").labels == made(isic, "isic2018").labels


def test_real_covid_chestxray(shared: Path) -> None:
    found = adapters.read("covid_chestxray", shared / "covid_chestxray", {})
    assert len(found.records) == 282
    assert found.excluded == {"finding todo": 28}
    assert len({r.group for r in found.records}) > 100
    assert "COVID-19" in found.labels.names


def row_of(name: str, dataset: Dataset) -> str:
    public = dataset.public
    assert public is not None
    cells = [
        f"[`{name}`]({public.url})",
        f"{public.about}",
        public.labels,
        public.group_noun,
        public.splits,
        f"`{public.layout_text}`",
        public.licence,
    ]
    return f"| {' | '.join(cells)} |"


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    text = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| [`")]
    assert rows == [row_of(name, DATASETS[name]) for name in PUBLIC]
