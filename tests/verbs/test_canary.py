"""Row 66 and 67: strings that name a patient are found in no byte that medcnn writes or prints."""

from __future__ import annotations

import csv
import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests import command
from tests.reading import everything_in

TAGS = (
    *("PatientName", "PatientID", "OtherPatientNames", "PatientAddress", "PatientComments"),
    *("PatientTelephoneNumbers", "ReferringPhysicianName", "PerformingPhysicianName"),
    *("OperatorsName", "InstitutionName", "InstitutionAddress", "StudyDescription"),
    *("AccessionNumber", "StudyID", "RequestingPhysician", "ImageComments"),
)
QUICK = ("model=lenet5", "data.size_px=32", "trainer.epochs=1", "trainer.device=cpu")


def canary(where: str, number: int = 0) -> str:
    return f"CNRY{where.upper()}{number:03d}"


def write_dicom(path: Path, number: int, rng: np.random.Generator) -> str:
    image = pydicom.Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for tag in TAGS:
        setattr(image, tag, canary(tag[:8], number))
    image.Rows = image.Columns = 40
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    shade = 600 + 1500 * (number // 2 % 2)
    image.PixelData = rng.integers(shade, shade + 900, (40, 40)).astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return str(image.SOPInstanceUID)


Rows = list[list[str]]
HEAD = ["file", "who", "finding", "remark", "tag", "uid", "part"]


def write_export(root: Path) -> list[list[str]]:
    """48 DICOMs of 24 patients, whose names stand wherever a hospital may write them; returns the
    rows of their table."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(48):
        name = f"{canary('folder', i // 2)}/{canary('file', i)}.dcm"
        instance = write_dicom(root / name, i, rng)
        label, part = ("healthy", "ill")[i // 2 % 2], ("train", "validation", "test")[i % 3]
        of_tags = [canary("PatientI", i), instance]
        rows.append([name, canary("patient", i // 2), label, canary("column", i), *of_tags, part])
    write_table(root / "table.csv", rows)
    return rows


def write_table(file: Path, rows: list[list[str]], head: list[str] = HEAD) -> None:
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([head, *rows])


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    root = tmp_path / "export"
    write_export(root)
    conf = tmp_path / "conf" / "data"
    conf.mkdir(parents=True)
    (conf / "ours.yaml").write_text(
        f"defaults: [table]\nroot: {root}\ntable: table.csv\nimage: file\nlabel: finding\n"
        "patient: who\nmodality: chest\n"
    )
    return tmp_path


def medcnn(folder: Path, *words: str) -> tuple[int, bytes]:
    """Exit code and everything printed by a command in a process of its own, run in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "medcnn", *words],
        cwd=folder / "work",
        env={**os.environ, "MEDCNN_CACHE": str(folder / "work" / "cache")},
        capture_output=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def named(said: bytes) -> bool:
    """Whether a canary stands there, in whatever case."""
    return b"cnry" in said.lower()


def leaks_under(folder: Path) -> list[str]:
    """Files that hold a canary in their name or in their bytes, packed or not."""
    return [
        str(p.relative_to(folder))
        for p in folder.rglob("*")
        if named(str(p.relative_to(folder)).encode())
        or (p.is_file() and any(named(content) for _, content in everything_in(p)))
    ]


@pytest.mark.fault
def test_no_byte_that_is_written_or_printed_names_a_patient(hospital: Path) -> None:
    """Rows 66, 67, 69 and A2."""
    work = hospital / "work"
    work.mkdir()
    own = ("data=ours", "--config-dir", str(hospital / "conf"))
    best = "checkpoint=run/checkpoints/best.safetensors"
    commands: list[tuple[int, tuple[str, ...]]] = [
        (0, ("audit", *own, "output=audit.html")),
        (0, ("preview", *own, "output=preview.html", "preview.per_class=1")),
        (0, ("train", *own, *QUICK, "run_dir=run")),
        (0, ("evaluate", best)),
        (0, ("evaluate", best, *own, "split=all")),
        (0, ("finetune", best, *own, "trainer.epochs=1", "trainer.device=cpu", "run_dir=tuned")),
        (0, ("compare", "run", "tuned", "resamples=100")),
        (2, ("finetune", "checkpoint=gone.safetensors", *own, "--debug")),
    ]
    for code, words in commands:
        found, printed = medcnn(hospital, *words)
        assert found == code, printed.decode()
        assert not named(printed), printed.decode()
    # a crash: one image is damaged, another is gone
    files = sorted((hospital / "export").rglob("*.dcm"))
    files[0].write_bytes(files[0].read_bytes()[:900])
    found, printed = medcnn(hospital, "train", *own, *QUICK, "run_dir=crashed", "--debug")
    assert found == 4, printed.decode()
    assert b"Traceback" in printed
    assert not named(printed), printed.decode()
    files[1].unlink()
    found, printed = medcnn(hospital, "train", *own, *QUICK, "run_dir=crashed")
    assert found == 4, printed.decode()
    assert not named(printed), printed.decode()
    assert leaks_under(work) == []


def test_the_search_for_canaries_can_fail(hospital: Path) -> None:
    found = leaks_under(hospital / "export")
    assert len(found) == 24 + 48 + 1  # folders, files and the table


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    """The same images once for all that follows, with the rows of their table."""
    root = tmp_path_factory.mktemp("hospital") / "export"
    return root, write_export(root)


@pytest.fixture
def here(
    export: tuple[Path, Rows],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """Runs a command in this process, in an empty folder: exit code and what it printed, once no
    canary was found in that or in a file."""
    cache = export[0].parent / "cache"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDCNN_CACHE", str(cache))

    def run(*words: str) -> tuple[int, str]:
        code = command.run(*words)
        out, err = capfd.readouterr()
        assert not named((out + err).encode()), out + err
        assert leaks_under(tmp_path) + leaks_under(cache) == []
        return code, " ".join((out + err).split())

    return run


PLAIN = {"image": "file", "label": "finding", "patient": "who"}


def _set(row: int, column: str, cell: str) -> Callable[[Rows], Rows]:
    def changed(rows: Rows) -> Rows:
        at = HEAD.index(column)
        return [[*r[:at], cell, *r[at + 1 :]] if i == row else r for i, r in enumerate(rows)]

    return changed


def _again(column: str, cell: str) -> Callable[[Rows], Rows]:
    return lambda rows: [*rows, _set(0, column, cell)(rows)[0]]


def _same(rows: Rows) -> Rows:
    return rows


FAULTS: dict[str, tuple[Callable[[Rows], Rows], dict[str, str], int, str]] = {
    "a blank patient": (_set(3, "who", ""), {}, 4, "no who, so the patient is not known"),
    "an image twice": (_again("who", "CNRYPATIENT001"), {}, 4, "in line 2, with the same labels"),
    "a conflicting label": (_again("finding", "ill"), {}, 4, "in line 2, with other labels"),
    "a missing image": (_set(3, "file", "CNRYGONE.dcm"), {}, 4, "is not there"),
    "a leaving path": (_set(3, "file", "../CNRY.dcm"), {}, 4, "is outside the data root"),
    "a wrong label": (
        _set(3, "finding", "CNRYCELL"),
        {"classes": "[healthy,ill]"},
        4,
        "is not one of healthy, ill",
    ),
    "a wrong flag": (
        _set(3, "part", "CNRYCELL"),
        {"label": "[part]"},
        4,
        "a finding should be 1, 0",
    ),
    "a leaking split": (_same, {"split": "part"}, 4, "24 patients in more than one split"),
    "no column of splits": (_same, {"split": "remark"}, 4, "is not one of train, validation"),
    "no column of labels": (_same, {"label": "remark"}, 4, "Do they name patients?"),
    "patients as labels": (_same, {"label": "who"}, 4, "Do they name patients?"),
    "no such column": (_same, {"label": "findings"}, 2, "did you mean 'finding'?"),
    "no such word": (
        _same,
        {"label": "remark", "separator": "';'", "none_label": "no"},
        2,
        "Found",
    ),
    "patients to keep": (_same, {"attributes": "[who]"}, 2, "is the image or patient column"),
    "names to keep": (_same, {"attributes": "[remark]"}, 2, "remark has 24 values for 24 patients"),
    "an excluded name": (_same, {"exclude": "{remark: [CNRYCOLUMN000]}"}, 0, ""),
    "an excluded name that is not there": (
        _same,
        {"exclude": "{remark: [CNRYNOBODY]}"},
        2,
        "has no row whose remark is",
    ),
    "an excluded name without its bracket": (
        _same,
        {"exclude": "{remark: [CNRYNOBODY}"},
        2,
        "cannot be read",
    ),
    "an excluded name without its column": (_same, {"exclude": "CNRYNOBODY"}, 2, "a mapping"),
    "excluded names in a row": (_same, {"exclude": "CNRYA,CNRYB"}, 2, "is a sweep"),
    "a misnamed column of excluded names": (
        _same,
        {"exclude": "{remarks: [CNRYNOBODY]}"},
        2,
        "did you mean 'remark'?",
    ),
    "a tag that names": (_same, {"tags": "[PatientID]"}, 2, "may identify a patient"),
    "no file of the tag": (_same, {"image": "remark", "join": "PatientID"}, 4, "none of 48 rows"),
    "a tag twice": (
        _again("remark", "CNRY"),
        {"image": "tag", "join": "PatientID"},
        4,
        "same PatientID as in line 2",
    ),
}


@pytest.mark.fault
@pytest.mark.parametrize("name", FAULTS)
def test_no_refusal_names_a_patient(
    name: str,
    export: tuple[Path, Rows],
    here: Callable[..., tuple[int, str]],
) -> None:
    """Rows 66, 67, A2 and A4; with --debug, as a traceback is made to be sent."""
    root, rows = export
    change, options, code, said = FAULTS[name]
    table = f"{name.replace(' ', '_')}.csv"
    write_table(root / table, change(rows))
    words = [f"data.{k}={v}" for k, v in (PLAIN | options).items()]
    words += [f"data.root={root}", f"data.table={table}", "audit.copies=false"]
    found = here("audit", "data=table", *words, "output=audit.html", "--debug")
    page = Path("audit.html").read_text() if Path("audit.html").exists() else ""
    assert found[0] == code, found[1]
    assert said in found[1] + page


def test_all_faults_of_a_table_stand_on_the_page_with_those_of_the_images(
    export: tuple[Path, Rows], here: Callable[..., tuple[int, str]]
) -> None:
    root, rows = export
    for change in ("a blank patient", "an image twice"):
        rows = FAULTS[change][0](rows)
    write_table(root / "several.csv", [*rows, ["gone.dcm", *rows[1][1:]]])
    words = [f"data.{k}={v}" for k, v in (PLAIN | {"split": "part"}).items()]
    words += [f"data.root={root}", "data.table=several.csv", "audit.copies=false"]
    code, said = here("audit", "data=table", *words, "output=audit.html")
    page = " ".join(Path("audit.html").read_text().split())
    assert code == 4
    assert "3 rows of the table cannot be used" in said
    assert "patients in more than one split" in said
    for fault in ("no who, so the patient", "in line 2, with the same labels", "is not there"):
        assert fault in page
    code, said = here("train", "data=table", *words, *QUICK)
    assert code == 4
    assert "3 rows of the table cannot be used" in said


def test_a_table_without_a_header_does_not_show_its_first_row(
    export: tuple[Path, Rows], here: Callable[..., tuple[int, str]]
) -> None:
    root, rows = export
    write_table(root / "headless.csv", rows[1:], rows[0])
    words = [f"data.{k}={v}" for k, v in PLAIN.items()]
    code, said = here("audit", "data=table", f"data.root={root}", "data.table=headless.csv", *words)
    assert code == 2
    assert "Add a row with the names of the columns" in said


@pytest.mark.fault
@pytest.mark.parametrize(("image", "join"), [("tag", "PatientID"), ("uid", "SOPInstanceUID")])
def test_images_joined_on_a_tag_are_trained_on_without_a_name(
    image: str, join: str, export: tuple[Path, Rows], here: Callable[..., tuple[int, str]]
) -> None:
    """Row 66. Who is left out stands in the run under a pseudonym, and stays out in evaluate."""
    root, rows = export
    out = f"++data.exclude={{{image}: [{rows[0][HEAD.index(image)]}]}}"
    of = {"root": str(root), "table": "table.csv", "image": image, "join": join, "label": "finding"}
    words = [f"data.{k}={v}" for k, v in of.items()]
    code, said = here("train", "data=table", *words, out, *QUICK, "run_dir=run")
    assert code == 0, said
    kept = json.loads(Path("run/manifest.json").read_text())
    assert kept["excluded"][f"{image} is in data.exclude"] == 1
    again = here("evaluate", "checkpoint=run/checkpoints/best.safetensors", "run_dir=again")
    assert again[0] == 0, again[1]
    assert here("report", "run=again")[0] == 0
    assert "these are not exactly the images" not in again[1]
    written = Path("run/run.json").read_text() + Path("run/log.txt").read_text()
    assert str(root) not in written.replace(os.path.relpath(root, "run"), "")
    if join == "SOPInstanceUID":
        assert "1.2.826" not in Path("run/run.json").read_text()


@pytest.mark.fault
def test_a_sweep_keeps_to_itself_and_its_best_command_leaves_out_who_has_a_pseudonym(
    export: tuple[Path, Rows], here: Callable[..., tuple[int, str]]
) -> None:
    """Rows 66 and 67."""
    pytest.importorskip("optuna")
    root, rows = export
    write_table(root / "swept.csv", rows, ["file", "the id", *HEAD[2:]])
    of = {"root": str(root), "table": "swept.csv", "image": "file", "label": "finding"}
    words = [f"data.{k}={v}" for k, v in of.items()] + ["data.patient='the id'"]
    words += ["data=table", f"++data.exclude={{the id: [{rows[0][1]}, {rows[5][1]}]}}"]
    space = Path("conf/sweep/mine.yaml")
    space.parent.mkdir(parents=True)
    space.write_text("space:\n  head: [linear]\n")
    own = ("sweep=mine", "--config-dir=conf", "sweep.trials=1", "run_dir=swept", *QUICK)
    code, said = here("sweep", *words, *own)
    assert code == 0, said
    assert stat.S_IMODE(Path("swept").stat().st_mode) == 0o700
    assert stat.S_IMODE(Path("swept/best.sh").stat().st_mode) == 0o600
    code, said = here(*shlex.split(Path("swept/best.sh").read_text())[3:])
    assert code == 0, said
    kept = json.loads(Path("swept/trials/000/manifest.json").read_text())
    assert kept["excluded"]["the id is in data.exclude"] == 4
    assert Path("swept/trials/000/report.html").is_file()


@pytest.mark.fault
def test_init_shows_and_writes_no_name(
    export: tuple[Path, Rows], here: Callable[..., tuple[int, str]]
) -> None:
    """Row A2: columns and rows that name patients, and folders that are patients; also where these
    look most like classes."""
    root, rows = export
    write_table(root / "init.csv", rows)
    code, said = here("init", str(root), "init.csv", "output=conf/data/mine.yaml", "--debug")
    assert code == 0, said
    assert "Written: conf/data/mine.yaml" in said
    names = [[row[0], canary("patient", i // 6), f"{40 + i // 6}"] for i, row in enumerate(rows)]
    write_table(root / "names.csv", names, ["file", "Name", "Alter"])
    code, said = here("init", str(root), "names.csv", "output=conf/data/names.yaml")
    assert code == 0, said
    assert "no label found" in said
    people = root.parent / "people"
    for name, *_ in rows:
        (people / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(root / name, people / name)
    code, said = here("init", str(people), "output=conf/data/people.yaml")
    assert code == 4
    assert "Do they name patients?" in said


@pytest.mark.fault
def test_folders_of_patients_within_classes_leave_no_name(
    export: tuple[Path, Rows], tmp_path: Path, here: Callable[..., tuple[int, str]]
) -> None:
    """Row 66; and folders of patients alone are no classes."""
    root, rows = export
    code, said = here("audit", "data=table", f"data.root={root}")
    assert code == 4
    assert "24 different words for 48 images" in said
    classes = root.parent / "classes"
    for name, _, label, *_ in rows:
        place = classes / label / name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(root / name, place)
    words = ("data=table", f"data.root={classes}")
    code, said = here("train", *words, *QUICK, "run_dir=run")
    assert code == 0, said
    assert "48 patients, by the PatientID" in said
    broken = next(classes.rglob("*.dcm"))
    begin = broken.read_bytes()[:900]
    broken.unlink()  # a link: the other tests need the file
    broken.write_bytes(begin)
    code, said = here("train", *words, *QUICK, "run_dir=crashed")
    assert code == 4
    assert "1 of 48 images cannot be used" in said


LEAST = ("data.image=a", "data.label=b")


@pytest.mark.fault
@pytest.mark.parametrize(
    "words",
    [
        ("train", "data=table", "data.root=CNRYDOE", "data.table=x.csv"),
        ("train", "data=table", "data.root=..", "data.table=CNRYDOE/x.csv", *LEAST),
        ("train", "data=table", "data.root=..", "data.table=../CNRYDOE/x.csv", *LEAST),
        ("audit", "data=table", "data.root=CNRY DOE/"),
        ("predict", "checkpoint=CNRYDOE/best.safetensors", "input=."),
        ("evaluate", "CNRYDOE.safetensors"),
        ("init", "CNRYDOE"),
        ("predict", "gone.safetensors", "input=.", "dicom=CNRYDOE/x"),
        ("train", "data=phantom", "--config-dir=CNRYDOE"),
        ("report", "run=.", "readers=x/CNRYDOE.csv"),
        ("report", "runs/CNRYDOE"),
        ("preview", "data=table", "data.root=.", "data.table=x.csv", "output=CNRYDOE.txt"),
    ],
)
def test_what_debug_prints_hides_the_places_that_were_typed(
    words: tuple[str, ...], here: Callable[..., tuple[int, str]]
) -> None:
    """Rows 67 and A2: all of it is made to be sent, the last line too."""
    code, said = here(*words, "--debug")
    assert code == 2
    assert "Traceback" in said
    assert "id-" in said


@pytest.mark.fault
def test_folds_and_a_probe_are_without_a_name(
    export: tuple[Path, Rows], here: Callable[..., tuple[int, str]]
) -> None:
    """Row 66: run folders in a folder, tables of all folds, and the cache of features."""
    words = [f"data.{k}={v}" for k, v in PLAIN.items()]
    words += [f"data.root={export[0]}", "data.table=table.csv", "data.modality=chest"]
    small = ("data=table", *words, "data.size_px=32", "audit.copies=false", "trainer.device=cpu")
    fast = ("trainer.epochs=1", "trainer.batch_size=16")
    code, said = here("crossvalidate", *small, *fast, "model=lenet5", "folds=2", "run_dir=folds")
    assert code == 0, said
    code, said = here("probe", *small, "model=test_resnet", "model.weights=none", "run_dir=probe")
    assert code == 0, said
    assert list((export[0].parent / "cache").rglob("*")), "features and pixels are searched too"


@pytest.mark.fault
def test_pages_and_files_about_a_checkpoint_are_without_a_name(
    export: tuple[Path, Rows],
    here: Callable[..., tuple[int, str]],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Row 66: what leaves the research machine, and what is shown at a meeting."""
    pytest.importorskip("onnxruntime")
    words = [f"data.{k}={v}" for k, v in PLAIN.items()]
    words += [f"data.root={export[0]}", "data.table=table.csv", "data.modality=chest", "data=table"]
    small = (*words, "data.size_px=32", "audit.copies=false", "trainer.device=cpu")
    fast = (*small, "trainer.epochs=1", "trainer.batch_size=16", "model=lenet5")
    best = "checkpoint=run/checkpoints/best.safetensors"
    picture = export[0] / export[1][0][0]
    named_on_purpose = tmp_path_factory.mktemp("identified")
    table = named_on_purpose / "predictions.csv"
    commands: list[tuple[str, ...]] = [
        ("train", *fast, "run_dir=run", "explain=gradcam"),
        ("report", "run"),
        ("look", best, f"input={picture}", "split=validation"),
        ("robustness", best, "max_images=8", "kinds=[jpeg_compression]"),
        ("external", best, *words, "run_dir=elsewhere"),
        ("learning-curve", *fast, "sizes=[3,4,5,6,7]", "arms=[probe]", "run_dir=curve"),
        *(("export", best, f"to={to}", f"output={to}") for to in ("onnx", "torch", "monai")),
        ("predict", best, f"input={export[0]}", f"output={table}", "log=predictions.log"),
        ("monitor", "reference=run", f"predictions={table}", "output=month"),
        ("verify", "predictions.log"),
        ("predict", "onnx/model.onnx", f"input={picture}", f"output={table.with_name('o.csv')}"),
        ("predict", best, f"input={picture}.gone", f"output={table}.gone", "--debug"),
    ]
    for command_words in commands:
        code, said = here(*command_words)
        assert code == (2 if "--debug" in command_words else 0), (command_words, said)
    assert named(table.read_bytes()), "the table of new images names their files, as documented"
    assert list(tmp_path.rglob("*.onnx")), "or this test saw no exported file"
