"""12-bit radiographs in files of 16 bits, and a folder of files of all kinds, through the real
command line."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from medcnn.models import checkpoint as checkpoints
from tests.command import run


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 30 patients each, 12 bits in PNG of 16."""
    root = tmp_path_factory.mktemp("deep") / "set"
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        pixels = rng.integers(0, 3000, (32, 32), dtype=np.uint16)
        pixels[:16] += np.uint16(1000 * (i % 2))
        pixels[0, 0] = 4095
        name = f"{i}.png"
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "images" / name)
        rows.append({"image": f"images/{name}", "finding": "ny"[i % 2] + "es", "patient": f"q{i}"})
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


@pytest.mark.fault
@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (1, 10), (3, 8), (3, 12)])
def test_a_set_that_seems_black_since_its_depth_is_unknown_is_read_over_its_own_range(
    radiographs: Path, tmp_path: Path, channels: int, bits: int
) -> None:
    """Row A7: few bits in files of 16, grey or colour, are no blank images."""
    root = tmp_path / "set"
    shutil.copytree(radiographs, root)
    for path in (root / "images").iterdir():
        pixels = np.asarray(Image.open(path)) >> (12 - bits)
        values = np.repeat(pixels[:, :, None], 3, axis=2) if channels == 3 else pixels
        path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(values)))
    page = tmp_path / "page.html"
    columns = ("data.image=image", "data.label=finding", "data.patient=patient")
    words = ("data=table", f"data.root={root}", "data.table=labels.csv", *columns)
    assert run("audit", *words, f"output={page}", "audit.copies=false") == 0
    text = " ".join(page.read_text().split())
    assert f"60 16-bit images with no value above {2**bits - 1:,} of 65,535" in text
    assert f"They are read as {bits} bits" in text
    assert "cannot be used" not in text


@pytest.mark.fault
def test_a_set_of_12_bits_is_found_by_the_audit_and_its_depth_stays_with_the_model(
    radiographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows A7, B11: all verbs read alike, and every file of a folder is answered for."""
    words = (
        "data=table",
        f"data.root={radiographs}",
        "data.table=labels.csv",
        "data.image=image",
        "data.label=finding",
        "data.patient=patient",
        "data.modality=chest",
    )
    title = "60 16-bit images with no value above 4,095 of 65,535"
    for scale, said in ((16, "of 256 grey levels"), ("auto", "They are read as 12 bits")):
        page = tmp_path / f"{scale}.html"
        run("audit", *words, f"data.full_scale={scale}", f"output={page}")
        text = " ".join(page.read_text().split())
        assert title in text
        assert said in text
    quick = ("model=lenet5", "data.size_px=32", "data.channels=1", "trainer.epochs=1")
    folder = tmp_path / "run"
    assert run("train", *words, *quick, "trainer.device=cpu", f"run_dir={folder}") == 0
    best = folder / "checkpoints" / "best.safetensors"
    assert checkpoints.read(best)[0].preprocessing.full_scale == 12

    new = tmp_path / "new"
    (new / "__MACOSX").mkdir(parents=True)
    (new / "good.png").write_bytes((radiographs / "images" / "0.png").read_bytes())
    Image.fromarray(np.full((32, 32), 60_000, np.uint16)).save(new / "other.png")
    Image.open(new / "good.png").convert("L").save(new / "good.webp")
    (new / "photo.jxl").write_bytes(b"\xff\x0a\x57\x40\x24")
    (new / "volume.mha").write_bytes(b"ObjectType = Image\nNDims = 3\n")
    (new / "scan.pdf").write_bytes(b"%PDF-1.7")
    (new / "noending").write_bytes(b"hello, world, this is no image")
    for beside in ("Thumbs.db", "labels.csv", "README", "__MACOSX/a.png", ".DS_Store", "._a.png"):
        (new / beside).write_bytes(b"x")
    (new / ".trash").mkdir()
    for hidden in (".x.png", ".trash/a.png"):
        (new / hidden).write_bytes((new / "good.png").read_bytes())
    capsys.readouterr()
    table = tmp_path / "new.csv"
    assert run("predict", f"checkpoint={best}", f"input={new}", f"output={table}") != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "tables and texts left out: 2" in said
    assert "hidden images (rename them to include them): 1" in said
    assert "macOS companion files (._NAME), which are not images: 1" in said
    assert "hidden folders: 1" in said
    with table.open() as file:
        why = {row["image_id"]: row["unreadable"] for row in csv.DictReader(file)}
    assert {name for name, reason in why.items() if not reason} == {"good.png", "good.webp"}
    for name, reason in (
        ("other.png", "values up to 60000 do not fit into 12 bits"),
        ("photo.jxl", "JPEG XL"),
        ("volume.mha", "MetaImage"),
        ("scan.pdf", "PDF"),
        ("noending", "any other format that medcnn reads"),
    ):
        assert reason in why[name]
