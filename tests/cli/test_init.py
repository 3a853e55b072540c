"""`medcnn init`: what it shows, what it writes, and that what it writes can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

from medcnn.cli.compose import read_command
from medcnn.data import adapters
from medcnn.data.manifest import Manifest
from medcnn.system.errors import DataError, UsageError
from medcnn.verbs.steps.drafting import _plain, show_init
from tests.command import run


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hospital's folder, and a working directory beside it."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "Augen Klinik (2024)"
    for i in range(24):
        (place / "img").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(place / "img" / f"{i:02d}.png")
    rows = [f"{i:02d};SECRET{i // 2};{i % 3};OD" for i in range(24)]
    (place / "liste.csv").write_text("Bild;Patient;Grad;Auge\n" + "\n".join(rows))
    return place


def reads(name: str, folder: str = "conf") -> Manifest:
    """The manifest of the YAML as `medcnn train` would read it."""
    config: Any = read_command("train", [f"data={name}", "--config-dir", folder]).config
    return adapters.read(config.data.name, Path(config.data.root), config.data.options)


def test_a_table_becomes_a_yaml_that_loads(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_init([str(root), "liste.csv"])
    said = capsys.readouterr().out
    assert "24 of 24 cells are images in img/" in said
    assert "medcnn train data=augen_klinik_2024 --config-dir conf" in said
    assert "With these settings, it reads 24 images of 12 patients, ordinal: 0, 1, 2." in said
    assert max(map(len, said.splitlines())) <= 100
    assert "No column names the patient" not in said
    manifest = reads("augen_klinik_2024")
    assert len({r.group for r in manifest.records}) == 12
    assert manifest.labels.names == ("0", "1", "2")


def test_french_headers_accents_and_dates_are_understood(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = root.rename(tmp_path / "Rétine 2024")
    grades = ("absente", "légère", "sévère")
    rows = [
        f"{i:02d};P{i // 2};{'OD' if i % 2 else 'OG'};{grades[i % 3]};Canon;2024-01-{1 + i % 5:02d}"
        for i in range(24)
    ]
    header = "Fichier;Numéro patient;Œil;Rétinopathie;Appareil;Date d'examen"
    (place / "liste.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    show_init([str(place)])
    given = yaml.safe_load(Path("conf/data/retine_2024.yaml").read_text(encoding="utf-8"))
    assert given["label"] == "Rétinopathie"
    assert given["classes"] == list(grades)
    assert given["attributes"] == ["Œil"]
    assert given["modality"] == "fundus"
    assert "as likely" not in capsys.readouterr().out


def test_the_yaml_explains_itself_and_names_no_patient(root: Path) -> None:
    show_init([str(root)])
    text = Path("conf/data/augen_klinik_2024.yaml").read_text()
    assert "SECRET" not in text
    assert "medcnn train data=augen_klinik_2024 --config-dir conf" in text
    assert yaml.safe_load(text)["defaults"] == ["table"]
    assert max(map(len, text.splitlines())) <= 100
    # what is only offered can be taken up as it stands
    lines = text.splitlines()
    offered = [line[2:] for line in lines[lines.index(lines[-1]) - 5 :] if "COLUMN" not in line]
    again = yaml.safe_load("\n".join([*lines, *offered]))
    adapters.DATASETS.bind(
        "table", {k: v for k, v in again.items() if k in adapters.DATASETS.options("table")}
    )


def test_a_table_without_patients_is_warned_of(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{i:02d};{i % 3};OD" for i in range(24)]
    (root / "liste.csv").write_text("Bild;Grad;Auge\n" + "\n".join(rows))
    show_init([str(root), "liste.csv"])
    assert "No column names the patient" in capsys.readouterr().out


def test_a_yaml_is_never_overwritten_and_its_place_can_be_named(root: Path) -> None:
    show_init([str(root)])
    with pytest.raises(UsageError, match="already exists and is never overwritten"):
        show_init([str(root)])
    show_init([str(root), "output=elsewhere/data/eyes.yaml"])
    assert len(reads("eyes", "elsewhere").records) == 24


def test_a_folder_per_class_becomes_a_yaml_that_loads(tmp_path: Path, root: Path) -> None:
    for name in ("well/a", "well/b", "ill/c"):
        (tmp_path / "skin" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "skin" / f"{name}.png")
    show_init([str(tmp_path / "skin")])
    found = reads("skin")
    assert found.labels.names == ("well", "ill")
    assert found.targets().tolist() == [[1], [0], [0]]


@pytest.mark.fault
def test_a_table_in_a_folder_is_found(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Row C: "It holds no table" with one in a subfolder."""
    (root / "tables").mkdir()
    (root / "liste.csv").rename(root / "tables" / "liste.csv")
    show_init([str(root)])
    assert "table: tables/liste.csv" in Path("conf/data/augen_klinik_2024.yaml").read_text()
    assert len(reads("augen_klinik_2024").records) == 24


@pytest.mark.fault
def test_legends_two_rows_of_names_and_crosses_are_understood(root: Path) -> None:
    """Row C: PH2.xlsx, and `N° patient` and `IPP` of French hospitals."""
    marks = ["X,,", ",X,", ",,X"]
    rows = [f"{i:02d}.png,{i // 2},{marks[i % 3]},{i % 2}" for i in range(24)]
    legend = "Asymmetry:,0 - fully,1 - in one axis\nColours:,X - present\n"
    names = "Image,N° patient,Clinical Diagnosis,,,Eye\n,,Common Nevus,Atypical Nevus,Melanoma,\n"
    (root / "liste.csv").write_text(legend + names + "\n".join(rows), encoding="utf-8")
    show_init([str(root), "liste.csv"])
    found = reads("augen_klinik_2024")
    assert found.labels.names == ("Common Nevus", "Atypical Nevus", "Melanoma")
    assert found.labels.kind == "multiclass"
    assert len({r.group for r in found.records}) == 12


@pytest.mark.fault
def test_an_encoding_that_cannot_be_recognised_is_named_in_the_command(root: Path) -> None:
    """Row A12."""
    rows = [f"{i:02d},{('злокачественная', 'норма')[i % 2]}" for i in range(24)]
    (root / "liste.csv").write_bytes(("Bild,Befund\n" + "\n".join(rows)).encode("cp1251"))
    with pytest.raises(DataError, match=r"set data\.encoding=NAME"):
        show_init([str(root), "liste.csv"])
    show_init([str(root), "liste.csv", "data.encoding=cp1251"])
    assert set(reads("augen_klinik_2024").labels.names) == {"норма", "злокачественная"}


def test_of_several_tables_the_one_that_fits_is_taken(root: Path) -> None:
    (root / "notes.csv").write_text("a,b\n1,2\n")
    (root / "readme.txt").write_text("Bilder der Augenklinik")
    show_init([str(root)])
    assert "table: liste.csv" in Path("conf/data/augen_klinik_2024.yaml").read_text()


def test_a_table_without_a_label_becomes_a_yaml_for_the_audit(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{i:02d}.png,P{i // 2},{('train', 'val', 'test')[i % 3]}" for i in range(24)]
    (root / "split.csv").write_text("image,patient_id,split\n" + "\n".join(rows))
    show_init([str(root), "split.csv"])
    said = capsys.readouterr().out
    assert "no label found, so only the audit works" in said
    assert "medcnn audit data=" in said
    assert "medcnn train" not in said
    text = Path("conf/data/augen_klinik_2024.yaml").read_text()
    written = yaml.safe_load(text)
    settings = ("image", "folder", "patient", "split", "label")
    assert [written.get(s) for s in settings] == ["image", "img", "patient_id", "split", None]
    assert "\n# label: COLUMN\n" in text
    assert run("audit", "data=augen_klinik_2024", "--config-dir", "conf") == 4
    assert "12 patients in more than one split" in capsys.readouterr().out


def test_a_table_with_a_label_goes_before_a_longer_one_without(root: Path) -> None:
    rows = [f"{i % 24:02d}.png,P{i}" for i in range(25)]
    (root / "a.csv").write_text("image,patient\n" + "\n".join(rows))
    show_init([str(root)])
    assert "table: liste.csv" in Path("conf/data/augen_klinik_2024.yaml").read_text()


def test_a_title_above_the_header_is_passed_over_and_said(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = root / "liste.csv"
    table.write_text("Export der Augenklinik\n\nStand Januar\n" + table.read_text())
    show_init([str(root)])
    assert "2 above the column names are skipped" in capsys.readouterr().out
    assert reads("augen_klinik_2024").labels.names == ("0", "1", "2")


def test_codes_that_look_like_numbers_stay_codes(root: Path) -> None:
    """2E63 is melanoma in situ in ICD-11."""
    rows = [f"{i:02d};{('2C30', '2E63')[i % 2]}" for i in range(24)]
    (root / "liste.csv").write_text("Bild;Code\n" + "\n".join(rows))
    show_init([str(root), "liste.csv"])
    assert reads("augen_klinik_2024").labels.names == ("2C30", "2E63")


@pytest.mark.parametrize("word", ["2E63", "12e4", "1_000", ".5e+3", "1e-4", "5.", "1:20.5", "nan"])
def test_text_that_is_a_number_to_hydra_is_quoted_in_a_draft(word: str) -> None:
    text = f"classes: {_plain([word])}\nrename: {_plain({word: word})}"
    found = OmegaConf.create(text)
    assert found == {"classes": [word], "rename": {word: word}}


@pytest.mark.parametrize("folders", [False, True])
def test_classes_that_are_spelt_in_two_ways_become_one(root: Path, folders: bool) -> None:
    words = ["Gesund", "gesund", "Krank", "Gesund"]
    if folders:
        for i, word in enumerate(words * 6):
            (root / word).mkdir(exist_ok=True)
            (root / "img" / f"{i:02d}.png").rename(root / word / f"{i:02d}.png")
        (root / "img").rmdir()
        (root / "liste.csv").unlink()
    else:
        rows = [f"{i:02d};{word}" for i, word in enumerate(words * 6)]
        (root / "liste.csv").write_text("Bild;Befund\n" + "\n".join(rows))
    show_init([str(root)])
    text = Path("conf/data/augen_klinik_2024.yaml").read_text()
    assert yaml.safe_load(text)["rename"] == {"gesund": "Gesund"}
    assert reads("augen_klinik_2024").labels.names == ("Gesund", "Krank")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "init looks at one folder"),
        (["nowhere"], "does not exist"),
        (["{root}", "list.csv"], "list.csv: no such table; {root} holds liste.csv."),
        (["{root}", "outptu=x"], "outptu: not understood"),
        (["{root}", "output=x.yaml"], "a data YAML is a file .../data/NAME.yaml"),
        (["{root}", "output=conf/data/ham10000.yaml"], "ham10000 is used by medcnn"),
        (["{root}", "--force"], "--force: not understood"),
    ],
)
def test_a_wrong_word_is_answered(root: Path, words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        show_init([w.format(root=root) for w in words])
    assert said.format(root=root) in str(raised.value)
    assert not Path("conf").exists()


def test_a_folder_that_holds_nothing_usable_says_why_for_each_table(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "liste.csv").write_text("a,b\nx,1\ny,2\n")
    with pytest.raises(DataError, match="expected one folder per class") as raised:
        show_init([str(root)])
    assert "no column of liste.csv names the images" in str(raised.value)
    assert run("init", str(root)) == 4
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("ham10000", "medcnn train data=ham10000 data.root="),
        ("nih_chestxray14_sample", "medcnn train data=chestxray14 data.root="),
        ("medmnist", "medcnn train data=medmnist data.path="),
    ],
)
def test_a_public_set_is_recognised_by_its_layout(
    shared: Path,
    tmp_path: Path,
    folder: str,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    show_init([str(shared / folder)])
    said = capsys.readouterr().out
    assert command in said
    assert said.count("has the official layout") == 1
    assert not Path("conf").exists()


@pytest.mark.parametrize(
    ("folder", "table", "images", "groups", "kind"),
    [
        ("covid_chestxray", "metadata.csv", 282, 156, "multiclass"),
        ("ham10000", "HAM10000_metadata.csv", 10_015, 7_470, "multiclass"),
        ("nih_chestxray14_sample", "Data_Entry_2017_v2020.csv", 1_000, 264, "multilabel"),
    ],
)
def test_the_table_of_a_public_set_is_understood_without_its_adapter(
    shared: Path,
    tmp_path: Path,
    folder: str,
    table: str,
    images: int,
    groups: int,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    show_init([str(shared / folder), table, "output=conf/data/guessed.yaml"])
    found = reads("guessed")
    assert (len(found.records), len({r.group for r in found.records})) == (images, groups)
    assert found.labels.kind == kind
