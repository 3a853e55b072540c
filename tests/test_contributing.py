"""What CONTRIBUTING.md says of a first change is all that it takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the files of "Your first change", and the name in its list."""
    top = tmp_path_factory.mktemp("checkout")
    for folder in ("src", "configs"):
        shutil.copytree(TOP / folder, top / folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
    files = re.findall(r"^`(\S+)`.*:\n\n```\w+\n([^`]*(?:`[^`]+`[^`]*)*)```", text, re.M)
    for place, content in files:
        assert not (top / place).exists()
        (top / place).write_text(content)
    names = top / "src" / "medcnn" / "verbs" / "__init__.py"
    names.write_text(names.read_text().replace('"who", ', '"who", "count", '))
    return top


def medcnn(top: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medcnn", *words],
        capture_output=True,
        text=True,
        cwd=top,
        env={**os.environ, "PYTHONPATH": str(top / "src")},
        check=False,
    )


def test_a_new_command_is_one_file_one_yaml_and_a_name(changed: Path) -> None:
    assert re.search(r"\n  count +medcnn count data=ham10000", medcnn(changed, "--help").stdout)
    text = medcnn(changed, "count", "--help").stdout
    assert "medcnn count: how many images of each class a data set holds." in text
    assert "data.root=null" in text
    done = medcnn(changed, "count", "data.phantom=dermoscopy", "data.patients=12")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert "nevus" in [name for _, name in rows]
    assert sum(int(count) for count, _ in rows) >= 12


def test_a_new_command_answers_slips_as_the_others_do(changed: Path) -> None:
    for word, said in {
        "data.rot=x": "data.rot is not a setting of medcnn count; did you mean 'data.root'?",
        "data.size_px=0": "data.size_px=0 should be a whole number from 8 to 4096, or null.",
        "--debgu": "unknown option --debgu; did you mean '--debug'?",
    }.items():
        done = medcnn(changed, "count", word)
        assert said in " ".join(done.stderr.split())
        assert done.returncode == 2
    done = medcnn(changed, "count", "data=ham10000", "data.root=nowhere")
    assert (done.returncode, "nowhere does not exist." in done.stderr) == (2, True)
