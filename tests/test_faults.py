"""`docs/faults.md` lists exactly the rows of the fault table that tests inject.

To write it again: python tests/test_faults.py > docs/faults.md
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

TOP = Path(__file__).parents[1]
HEAD = """\
# Faults that are injected, and the tests that see what happens

`pytest -m fault` runs them all. Numbers are rows of the project's fault table. Numbers after a
letter are cases that once went wrong: A were silently wrong, B blocked a user, C was friction. A
row that is not here is not tested yet.

| row | test |
|---|---|
"""


def rows_of(function: ast.FunctionDef) -> list[str]:
    marked = any("mark.fault" in ast.unparse(d) for d in function.decorator_list)
    found = re.match(r"Rows? ((?:[ABC]?\d+(?:, | and )?)+)", ast.get_docstring(function) or "")
    return re.findall(r"[ABC]?\d+", found[1]) if marked and found else []


def place(line: tuple[str, str]) -> tuple[str, int, str]:
    """Numbers first, then letters; both in the order of their numbers."""
    row, text = line
    return row.rstrip("0123456789"), int(row.lstrip("ABC")), text


def page() -> str:
    lines = []
    for path in sorted((TOP / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                name = node.name.removeprefix("test_").replace("_", " ")
                where = path.relative_to(TOP / "tests").as_posix()
                lines += [(row, f"| {row} | {name} (`{where}`) |\n") for row in rows_of(node)]
    return HEAD + "".join(line for _, line in sorted(lines, key=place))


def test_the_list_of_faults_is_that_of_the_tests() -> None:
    assert (TOP / "docs" / "faults.md").read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    print(page(), end="")
