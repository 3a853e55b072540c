"""Modules import only from floors above them in the list of docs/design.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medcnn.statistics.predictions import Predictions
from medcnn.verbs import VERBS, verb_of

TOP = Path(__file__).parents[1]
SOURCE = TOP / "src" / "medcnn"
DESIGN = (TOP / "docs" / "design.md").read_text(encoding="utf-8")


def floors() -> list[str]:
    """Module names, top floor first, out of the block headed *Floors*."""
    block = re.search(r"## Floors.*?```\n(.*?)```", DESIGN, re.DOTALL)
    assert block
    return [w for line in block[1].splitlines() for w in re.split(r"\s{2,}", line)[0].split(", ")]


def parts(name: str) -> str:
    """The floor that a dotted module below medcnn belongs to."""
    return name.removeprefix("medcnn.").split(".")[0]


def imports_of(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" for a in node.names]
            found.update(names if node.module == "medcnn" else [node.module])
        elif isinstance(node, ast.Import):
            found.update(a.name for a in node.names)
    return found


def wrong_imports(module: str, source: str, order: list[str]) -> list[str]:
    own = order.index(module)
    below = [parts(n) for n in imports_of(source) if n.startswith("medcnn.")]
    return [n for n in below if n != "__version__" and order.index(n) > own]


def files() -> list[Path]:
    return sorted(p for p in SOURCE.rglob("*.py") if p.parent != SOURCE or p.stem[0] != "_")


def test_every_module_has_a_floor_and_every_floor_a_module() -> None:
    there = {p.relative_to(SOURCE).parts[0].removesuffix(".py") for p in files()}
    assert there == set(floors())
    assert len(floors()) == len(set(floors()))


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_only_from_rooms_above_it(path: Path) -> None:
    module = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert wrong_imports(module, path.read_text(encoding="utf-8"), floors()) == []


def test_the_check_can_fail() -> None:
    assert wrong_imports("data", "from medcnn.training.fit import fit", floors()) == ["training"]


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_only_the_command_line_knows_hydra(path: Path) -> None:
    uses = any(n.split(".")[0] in ("hydra", "omegaconf") for n in imports_of(path.read_text()))
    assert not uses or path.is_relative_to(SOURCE / "cli")


def imported_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_nothing_above_the_models_imports_torch() -> None:
    order = floors()
    light = [m for m in order[: order.index("models")] if (SOURCE / m).exists() or m]
    found = imported_by("; ".join(f"import medcnn.{m}" for m in light))
    assert {"torch", "hydra", "timm", "matplotlib", "sklearn"} & found == set()


def test_a_run_folder_is_opened_without_torch() -> None:
    assert "torch" not in imported_by("import medcnn.system.run_folder")


def test_a_report_is_made_again_without_torch(
    simulate: Callable[..., Predictions], tmp_path: Path
) -> None:
    simulate().write(tmp_path / "predictions_test.csv")
    found = imported_by(
        "from medcnn.verbs import Command, execute, verb_of\n"
        "from medcnn.config import build\n"
        "verb = verb_of('report')\n"
        f"settings = {{'run': {str(tmp_path)!r}, 'seed': 0, 'prevalence': None, "
        "'subgroups': None, 'plan': None, 'readers': None}\n"
        "execute(Command(verb=verb, words=[], config=build(verb.config, settings)))"
    )
    assert (tmp_path / "report.html").is_file()
    assert {"torch", "timm", "hydra"} & found == set()


def test_a_command_is_known_without_importing_what_it_needs() -> None:
    found = imported_by("from medcnn.verbs import VERBS, verb_of; [verb_of(v) for v in VERBS]")
    assert {"torch", "numpy", "hydra", "yaml", "medcnn.config"} & found == set()


def test_every_file_of_a_command_is_one_that_help_shows() -> None:
    files = {p.stem.replace("_", "-") for p in (SOURCE / "verbs").glob("[!_]*.py")}
    assert files == set(VERBS)
    assert all(verb_of(name).name == name for name in VERBS)


def test_the_check_for_torch_can_fail() -> None:
    assert "torch" in imported_by("import medcnn.training.losses")


TOUR = (TOP / "docs" / "tour.md").read_text(encoding="utf-8")


def test_every_stop_of_the_tour_is_there() -> None:
    stops = re.findall(r"\*\*`(\S+\.py)`\*\*", TOUR)
    assert len(stops) > 12
    assert [stop for stop in stops if not (SOURCE / stop).is_file()] == []


def test_the_tour_takes_no_more_than_an_afternoon() -> None:
    stops = re.findall(r"\*\*`(\S+\.py)`\*\*", TOUR)
    lines = sum(len((SOURCE / stop).read_text().splitlines()) for stop in stops)
    assert lines <= 4_000


# Lines that a room may have. One that needs more says in a decision what it deleted.
ROOMS = {
    "audit": 2_600,
    "cli": 1_800,
    "clinic": 3_150,
    "data": 9_300,
    "images": 4_800,
    "models": 6_450,
    "pages": 7_550,
    "pixels": 2_050,
    "statistics": 9_700,
    "system": 2_900,
    "training": 4_600,
    "verbs": 11_250,
}


def lines_of(room: Path) -> int:
    return sum(len(p.read_text(encoding="utf-8").splitlines()) for p in room.rglob("*.py"))


def test_every_room_keeps_its_budget() -> None:
    assert {p.name for p in SOURCE.iterdir() if (p / "__init__.py").is_file()} == set(ROOMS)
    assert {
        name: lines_of(SOURCE / name) for name in ROOMS if lines_of(SOURCE / name) > ROOMS[name]
    } == {}


def test_no_file_has_more_than_400_lines_and_no_function_more_than_80() -> None:
    long = []
    for path in SOURCE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if len(source.splitlines()) > 400:
            long.append(path.name)
        long += [
            f"{path.name}: {node.name}"
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 80
        ]
    assert long == []
