"""Promises of the project itself: README, wheel, changelog."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import medcnn

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def readme_commands() -> list[str]:
    lines = [line for block in blocks("sh")[3:] for line in block.splitlines()]
    # `init` takes a folder that is there, and no settings; tests/cli/test_init.py runs it
    return [line for line in lines if re.match("medcnn (?!init)", line)]


def test_the_readme_opens_with_two_lines_that_train_and_a_line_that_tests() -> None:
    demo, transfer, test = blocks("sh")[:3]
    assert "medcnn train" in demo
    assert "medcnn train model=efficientnet_lite0" in transfer
    assert "pytest" in test
    for line in (demo, transfer, test):
        assert len(line.strip().splitlines()) == 1
        assert "constraints.txt" in line


@pytest.mark.parametrize("line", readme_commands())
def test_every_command_of_the_readme_is_understood(line: str, tmp_path: Path) -> None:
    settings = tmp_path / "my-configs" / "data" / "my_hospital.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text(blocks("yaml")[0], encoding="utf-8")
    words = shlex.split(line)[1:]
    more = [] if words[0] == "list" else ["--show-config"]
    done = subprocess.run(
        [sys.executable, "-m", "medcnn", *words, *more],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (TOP / target).exists(), target


def test_the_changelog_begins_with_this_version_and_has_changed_results() -> None:
    text = (TOP / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", text, re.MULTILINE)[1] == medcnn.__version__  # type: ignore[index]
    assert "### Changed results" in text


def test_versions_are_pinned_without_any_address() -> None:
    lines = (TOP / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line) for line in lines)


def test_the_wheel_carries_the_configs_and_works_from_another_directory(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", str(tmp_path), str(TOP)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    code = (
        "import sys, medcnn.cli; assert sys.argv[1] in medcnn.__file__; "
        "medcnn.cli.main(sys.argv[2:])"
    )
    for words in (["train", "--show-config"], ["list", "datasets"], ["list", "metrics"]):
        done = subprocess.run(
            [sys.executable, "-c", code, str(place), *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(place), "PYTHONSAFEPATH": "1"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert (place / "medcnn" / "configs" / "train.yaml").is_file()
    assert (place / "medcnn" / "pages" / "report.html.j2").is_file()


def missing_names(source: str) -> list[str]:
    """What a file imports from medcnn that is not there."""
    missing = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "medcnn":
            assert node.module
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                inside = (
                    importlib.util.find_spec(f"{node.module}.{name}")
                    if hasattr(module, "__path__")
                    else None
                )
                if not hasattr(module, name) and inside is None:
                    missing.append(f"{node.module}.{name}")
    return missing


@pytest.mark.parametrize("path", sorted((TOP / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_a_benchmark_imports_what_is_there(path: Path) -> None:
    assert missing_names(path.read_text(encoding="utf-8")) == []


def test_the_check_of_imports_can_fail() -> None:
    assert missing_names("from medcnn.system.run_facts import versionz")
    assert not missing_names("from medcnn.system import run_facts")


@pytest.mark.parametrize("path", sorted((TOP / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_a_benchmark_imports_only_what_exists(path: Path) -> None:
    """A benchmark is run once in a while, and should not find then that a name has gone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    missing = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if not defines(path, str(node.module), alias.name)
    ]
    assert missing == []


def defines(benchmark: Path, module: str, name: str) -> bool:
    """Whether a module of medcnn, or a benchmark beside this one, has this name."""
    beside = benchmark.with_name(f"{module}.py")
    if beside.is_file():
        top = ast.parse(beside.read_text(encoding="utf-8")).body
        given = [n for node in top if isinstance(node, ast.Assign) for n in ast.walk(node)]
        names = {n.id for n in given if isinstance(n, ast.Name)}
        return name in names or name in {getattr(node, "name", "") for node in top}
    if not module.startswith("medcnn"):
        return True
    found = importlib.import_module(module)
    return hasattr(found, name) or importlib.util.find_spec(f"{module}.{name}") is not None
