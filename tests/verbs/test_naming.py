"""Which picture an id means, where data and key are."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from medcnn.cli.compose import read_command
from medcnn.data.manifest import Manifest
from medcnn.system.errors import LeakError
from medcnn.system.privacy import pseudonym, pseudonymised
from medcnn.verbs.preview import PreviewConfig
from medcnn.verbs.steps.datasets import manifest_of
from tests.command import run
from tests.conftest import write_colours


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    of = write_colours(tmp_path / "images", 12)
    lines = [f"{i:03d}.png,DOE{i // 2},{('red', 'green', 'blue')[c]}" for i, c in enumerate(of)]
    (tmp_path / "images" / "labels.csv").write_text("\n".join(["file,who,colour", *lines]) + "\n")
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "ours.yaml").write_text(
        f"defaults: [table]\nroot: {tmp_path}/images\ntable: labels.csv\nimage: file\n"
        "label: colour\npatient: who\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


Asked = Callable[..., tuple[int, str]]


@pytest.fixture
def who(capsys: pytest.CaptureFixture[str]) -> Asked:
    def ask(*words: str) -> tuple[int, str]:
        code, said = run("who", *words), capsys.readouterr()
        return code, " ".join((said.out + said.err).split())

    return ask


OURS = ("data=ours", "--config-dir", "conf")


@pytest.mark.fault
def test_an_id_is_answered_with_picture_line_and_patient(hospital: Path, who: Asked) -> None:
    """Row B16."""
    code, said = who(pseudonym("003.png", "image"), *OURS)
    assert code == 0
    assert f"picture {hospital}/images/003.png" in said
    assert "labels.csv, line 5" in said
    assert "patient DOE1" in said
    assert "002.png" not in said
    code, said = who(*OURS, pseudonym("DOE1", "patient"), pseudonym("005.png", "id"))
    assert code == 0
    assert [f"00{i}.png" in said for i in range(6)] == [False, False, True, True, False, True]


def test_the_id_of_a_patient_in_two_splits_can_be_looked_up(
    hospital: Path, who: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = hospital / "images" / "labels.csv"
    head, *rows = labels.read_text().split()
    splits = ("train", "validation", "test")
    rows = [f"{row},{splits[i % 3]}" for i, row in enumerate(rows)]
    labels.write_text("\n".join([f"{head},part", *rows]))
    config = read_command("preview", [*OURS, "data.split=part"]).config
    assert isinstance(config, PreviewConfig)
    with pytest.raises(LeakError) as raised:
        manifest_of(config.data, 0, print)
    shown = re.findall(r"patient-[0-9a-f]{12}", pseudonymised(str(raised.value)))
    assert who(shown[0], *OURS)[1].count("picture") == 2
    labels.write_text("\n".join([f"{head},part", *rows[:-1], rows[-1].rpartition(",")[0] + ","]))
    assert run("audit", *OURS, "data.split=part", "output=a.html") == 4
    capsys.readouterr()
    assert "images have no split (image-" in (hospital / "a.html").read_text()


@pytest.mark.usefixtures("hospital")
def test_the_beginning_of_an_id_will_do_where_only_one_has_it(who: Asked) -> None:
    code, said = who(pseudonym("003.png", "image")[:-3], *OURS)
    assert code == 0
    assert "003.png" in said
    assert who("image-", *OURS)[0] == 2


@pytest.mark.fault
@pytest.mark.usefixtures("hospital")
def test_an_unknown_id_is_answered_with_the_nearest_one(who: Asked) -> None:
    """Row B16."""
    meant = pseudonym("003.png", "image")
    code, said = who(meant[:-1] + ("0" if meant[-1] != "0" else "1"), *OURS)
    assert code == 2
    assert f"did you mean '{meant}'?" in said
    assert "MEDCNN_PSEUDONYM_KEY_FILE" in said
    code, said = who(*OURS)
    assert code == 2
    assert "who needs an id" in said


@pytest.mark.fault
def test_an_image_of_a_class_folder_is_found_too(tmp_path: Path, who: Asked) -> None:
    """Row B16."""
    for name in ("ill", "well"):
        write_colours(tmp_path / "classes" / name, 3)
    path = "ill/001.png"
    code, said = who(pseudonym(path, "image"), "data=table", f"data.root={tmp_path}/classes")
    assert code == 0
    assert f"picture {tmp_path}/classes/{path}" in said


@pytest.mark.fault
def test_the_line_of_the_table_is_in_the_manifest(tmp_path: Path, hospital: Path) -> None:
    """Row B16."""
    from medcnn.data.own import table

    given = {"table": "labels.csv", "image": "file", "label": "colour", "patient": "who"}
    manifest = table.read(hospital / "images", **given)  # type: ignore[arg-type]
    manifest.write(tmp_path / "manifest.csv")
    with (tmp_path / "manifest.csv").open() as file:
        assert [row["line"] for row in csv.DictReader(file)] == [str(i) for i in range(2, 14)]
    again = Manifest.read(tmp_path / "manifest.csv", hospital / "images")
    assert [r.line for r in again.records] == list(range(2, 14))


@pytest.mark.fault
def test_whoever_is_left_out_by_any_column_has_a_pseudonym(
    hospital: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row A4: in the counts of what was left out, in the config, and in --show-config."""
    from medcnn.cli.compose import read_command
    from medcnn.config import to_json
    from medcnn.verbs.steps.datasets import labelled
    from medcnn.verbs.train import TrainConfig

    sheet = hospital / "images" / "labels.csv"
    head, *rows = sheet.read_text().splitlines()
    named = [f"{row},CNRYFULL{i}" for i, row in enumerate(rows)]
    sheet.write_text("\n".join([f"{head},fullname", *named]) + "\n")
    words = [*OURS, "data.exclude={fullname: [CNRYFULL3, CNRYFULL4]}"]
    command = read_command("train", words)
    assert isinstance(command.config, TrainConfig)
    manifest = labelled(command.config.data, print)
    assert manifest.excluded == {"fullname is in data.exclude": 2}
    assert len(manifest.records) == 10
    kept = to_json(command.config)
    assert kept["data"]["options"]["exclude"]["fullname"] == [
        pseudonym("CNRYFULL3", "id"),
        pseudonym("CNRYFULL4", "id"),
    ]
    assert "CNRY" not in command.yaml
    hidden = kept["data"]["options"]["exclude"]["fullname"]
    again = read_command("train", [*OURS, f"data.exclude={{fullname: [{','.join(hidden)}]}}"])
    assert isinstance(again.config, TrainConfig)
    assert labelled(again.config.data, print).excluded == manifest.excluded
    assert "CNRY" not in capsys.readouterr().out


@pytest.mark.fault
def test_whether_ids_are_pseudonyms_is_seen_from_the_ids(
    hospital: Path, colours: Callable[..., Manifest]
) -> None:
    """Row A16: those of a hospital's own table are, those of other sets are not."""
    from medcnn.cli.compose import read_command
    from medcnn.verbs.steps.datasets import labelled
    from medcnn.verbs.train import TrainConfig

    command = read_command("train", [*OURS])
    assert isinstance(command.config, TrainConfig)
    assert labelled(command.config.data, print).pseudonymous
    assert not colours().pseudonymous


def test_control_characters_in_classes_do_nothing_in_tables(
    tmp_path: Path, colours: Callable[..., Manifest]
) -> None:
    from dataclasses import replace

    from medcnn.data.labels import LabelSpace

    plain = colours()
    space = LabelSpace(kind=plain.labels.kind, names=("\x1b[31mred", "green", "\x1b]0;blue\x07"))
    replace(plain, labels=space).write(tmp_path / "manifest.csv")
    written = (tmp_path / "manifest.csv").read_bytes()
    assert b"\x1b" not in written + (tmp_path / "manifest.json").read_bytes()
    assert rb"label:\x1b[31mred" in written
    again = Manifest.read(tmp_path / "manifest.csv", plain.root)
    assert again.labels == space
    assert [r.target for r in again.records] == [r.target for r in plain.records]
