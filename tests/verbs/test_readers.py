"""`medcnn readers` as it is typed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.command import run

HEAD = ["case", "reader", "condition", "truth", "score", "call"]
Rows = list[list[object]]


def readings(cases: int = 30, readers: int = 3) -> Rows:
    draw = np.random.default_rng(0)
    rows: Rows = []
    seen = draw.normal(0, 0.5, cases)
    for condition, gain in (("alone", 0.0), ("with <model>", 0.6), ("net", 1.0)):
        for reader in range(readers if condition != "net" else 1):
            for case in range(cases):
                truth = int(case % 2)
                score = seen[case] + truth * (1 + gain) + draw.normal(0, 0.7)
                name = f"Dr. Miller {reader}" if condition != "net" else "net"
                rows.append([f"c{case}", name, condition, truth, round(score, 3), int(score > 0.7)])
    return rows


def written(path: Path, rows: Rows, head: list[str] = HEAD) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def test_a_reader_study_is_printed_on_a_page_and_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, output = written(tmp_path / "r.csv", readings()), tmp_path / "out"
    assert run("readers", table, "ai=net", "margin=0.1", f"output={output}") == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    assert "net against alone" in said
    content = json.loads((output / "readers.json").read_text())
    assert (content["cases"], content["positive"]) == (30, 15)
    assert [d["conditions"] for d in content["differences"]][::3] == [
        ["alone", "with <model>"],
        ["alone", "net"],
        ["with <model>", "net"],
    ]
    found = content["conditions"]["alone"]["auroc"]
    assert found["value"] == pytest.approx(np.mean(list(found["readers"].values())))
    page = (output / "readers.html").read_text()
    assert "<model>" not in page
    assert "3 readers, 30 cases, 15 with the finding" in page
    for written_there in (page, (output / "readers.json").read_text(), said):
        assert "Miller" not in written_there  # readers are people, too
    assert run("readers", table, "ai=net", f"output={output}") == 0


def test_calls_alone_give_sensitivity_and_specificity(tmp_path: Path) -> None:
    rows = [[*row[:4], row[5]] for row in readings() if row[2] != "net"]
    table = written(tmp_path / "r.csv", rows, ["case", "doctor", "condition", "truth", "call"])
    assert run("readers", table, "reader=doctor", f"output={tmp_path / 'out'}") == 0
    content = json.loads((tmp_path / "out" / "readers.json").read_text())
    assert [d["score"] for d in content["differences"]] == ["sensitivity", "specificity"]


def test_scores_of_one_reader_and_a_model_are_enough(tmp_path: Path) -> None:
    rows = [row[:5] for row in readings(readers=1) if row[2] in ("alone", "net")]
    table = written(tmp_path / "r.csv", rows, HEAD[:5])
    assert run("readers", table, "ai=net", f"output={tmp_path / 'out'}") == 0
    (found,) = json.loads((tmp_path / "out" / "readers.json").read_text())["differences"]
    assert (found["score"], found["method"]) == ("auroc", "delong")
    assert "There is one reader" in (tmp_path / "out" / "readers.html").read_text()


def test_a_mean_over_readers_without_interval_says_why(tmp_path: Path) -> None:
    table = written(tmp_path / "r.csv", readings(cases=8))
    assert run("readers", table, "ai=net", f"output={tmp_path / 'out'}") == 0
    page = (tmp_path / "out" / "readers.html").read_text()
    means = [line for line in page.splitlines() if ">mean<" in line]
    assert means
    assert all("based on only 4 patients" in line for line in means)


def broken(change: str) -> Rows:
    rows = [row for row in readings() if row[2] != "net"]
    if change == "lacks a reading":
        return rows[:-1]
    if change == "repeats a reading":
        return [*rows, rows[0]]
    if change == "two truths":
        return [[*rows[0][:3], 1, *rows[0][4:]], *rows[1:]]
    if change == "words":
        return [[*rows[0][:4], "high", "yes"], *rows[1:]]
    if change == "other readers":
        return [[r[0], "x" if r[1:3] == ["Dr. Miller 0", "alone"] else r[1], *r[2:]] for r in rows]
    return [row for row in rows if row[2] == "alone"]


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ("lacks a reading", "has read 29 of 30 cases"),
        ("repeats a reading", "has already read this case under this condition"),
        ("two truths", "truth differs from that of an earlier row of the same case"),
        ("words", "score should be a number"),
        ("other readers", "differ in readers"),
        ("one condition", "there is nothing to compare"),
    ],
)
def test_a_table_that_is_no_reader_study_is_refused(
    change: str, answer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = written(tmp_path / "r.csv", broken(change))
    assert run("readers", table, f"output={tmp_path / 'out'}") == 4
    said = capsys.readouterr()
    assert answer in " ".join(said.err.split())
    assert "Miller" not in said.err + said.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["ai=nett"], "did you mean 'net'?"),
        (["case=image"], "has no column 'image'"),
        (["score=rating", "call=c"], "has no column"),
    ],
)
def test_what_is_not_in_the_table_is_said(
    words: list[str], answer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = written(tmp_path / "r.csv", readings())
    assert run("readers", table, *words, f"output={tmp_path / 'out'}") == 2
    assert answer in " ".join(capsys.readouterr().err.split())
    assert run("readers", tmp_path / "none.csv") == 2
