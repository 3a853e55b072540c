"""Hostile YAML and words: an answer with exit code 2, at once, whatever stands in them."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from medcnn.cli.compose import read_command
from medcnn.system.errors import UsageError
from medcnn.verbs.train import TrainConfig

W = "defaults: [table]\nroot: /nowhere\ntable: t.csv\nimage: file\nlabel: grade\n"
DIGITS = "9" * 5000

# What is added to a sound YAML, and a word of the answer.
ADDED = {
    f"size_px: {DIGITS}": "more than 40 digits",
    f"classes: [{DIGITS}]": "more than 40 digits",
    f"validation_share: {DIGITS}.0": "more than 40 digits",
    "validation_share: 1e999999999": "should be a number",
    "suffix: " + "${" * 3000: "more than 8 references",
    "suffix: ${": "cannot be composed",
    "path: ${data.path}": "cannot be composed",
    "classes: " + "[" * 1000: "nested more than 16",
    "x: " + "{a: " * 50 + "1" + "}" * 50: "nested more than 16",
    "".join(" " * i + "a:\n" for i in range(300)): "nested more than 16",
    "a: &a [x]\nb: *a": "repeats a part",
    "<<: {a: 1}": "repeats another part",
    "x: !!python/object/apply:os.system ['ls']": "names a type",
    "x: !!binary aGVsbG8=": "names a type",
    "x: !foo bar": "names a type",
    "rename:\n\ta: b": "spaces, not tabs",
    "root: /other": "'root' is given twice",
    "rename: {0: a, 0: b}": "'0' is given twice",
    "validation_share: .nan": "should be a number from",
    "size_px: .inf": "should be a whole number",
    "size_px: true": "size_px=true should be a whole number",
    "title: yes": "Write it in quotes",
    "classes: [no, yes]": "write it in quotes: 'no'",
    "rename: {no: healthy}": "write it in quotes: 'no'",
    "exclude: {patient: [00123]}": "‹00123› is read as another number; write it in quotes",
    "classes: [12:30, 1:20]": "read as another number",
    "classes: [2C30, 2E63]": "2E63› is read as another number; write it in quotes",
    "rename: {12e4: a}": "12e4› is read as another number",
    "rename: {a: 2E63}": "2E63› is read as another number",
    "exclude: {patient: 12e4}": "12e4› is read as another number",
    "rename: {a: no}": "write it in quotes: 'no'",
    "size_px: 1_000": "read as another number",
    "classes: [0x1F]": "read as another number",
    "classes: [a, null]": "write it in quotes: 'null'",
    "classes:\n  -\n  - a": "is empty",
    "? [a, b]\n: c": "cannot be the name of a setting",
    "---\nx: 1": "not YAML",
    "suffix: 'a\0b'": "NUL byte",
    'suffix: "a\\0b"': "control character",
    'suffix: "a\\x1b[31m"': "control character",
    'suffix: "\\ud800"': "control character",
    "suffix: " + "x" * 100_000: "characters; the limit is",
    "#" + "x" * 400_000: "bytes; the limit is",
    "".join(f"k{i}: {i}\n" for i in range(15_000)): "more than 1,000 settings",
    "name: 5": "unknown data.name '5'",
    "name: [a]": "should be text",
    "_target_: os.system": "never name Python",
    "steps: [[[1]]]": "unknown step",
    "modality: [chest]": "is not one of",
    "rename: [a]": "cannot be composed",
    "exclude: x": "should be a list or a mapping",
    "x: 'abc": "not YAML",
    "x: a: b": "not YAML",
    "x: @y": "not YAML",
    "title: " + "t" * 500: "1 to 100 characters",
    "cache: yes": "auto, off or a folder",
}
WHOLE = {
    b"": "does not say how to read the data",
    b"hello": "should contain settings",
    b"- a\n- b\n": "should contain settings",
    bytes(1000): "NUL byte",
    bytes(range(256)): "NUL byte",
    W.encode("utf-16"): "UTF-16",
    W.encode() + "title: é\n".encode("latin-1"): "not in UTF-8",
    W.replace("[table]", "table").encode(): "must be a list",
    W.replace("[table]", "[ours]").encode(): "refers to itself",
    W.replace("[table]", "[nosuch]").encode(): "Could not load",
    W.replace("/nowhere", "''").encode(): "is empty",
    W.replace("/nowhere", "${oc.env:NO_SUCH_NAME}").encode(): "NO_SUCH_NAME",
    W.replace("/nowhere", "[a, b]").encode(): "should be text",
    b"# @package _global_\ndata: 5\n": "cannot be composed",
}
WORDS = {
    f"trainer.epochs={DIGITS}": "more than 40 digits",
    "trainer.epochs=1e400": "should be a whole number",
    "optimizer.lr=nan": "should be a number",
    "optimizer.lr=inf": "should be a number",
    "data.title=" + "${" * 3000: "more than 8 references",
    "data.root=${data.root}": "cannot be composed",
    "data.root=${": "cannot be composed",
    "data.steps=" + "[" * 3000: "nested more than 16",
    "data.steps=" + "[" * 300 + "]" * 300: "nested more than 16",
    "data.title=" + "x" * 200_000: "characters; the limit is",
    "trainer.epochs=true": "should be a whole number",
    "trainer.epochs=": "should be a whole number",
    "trainer.epochs={a:1}": "should be a whole number",
    "trainer=5": "should be a group of settings",
    "trainer={foo: 1}": "unknown setting trainer.foo",
    "data.classes=[2C30,2E63]": "a name is read as another number",
    "data.rename={2E63: a}": "a name is read as another number",
    "data.exclude={patient: [1_000]}": "a name is read as another number",
    "data.names=[a]": "data.names: a mapping cannot replace a list, nor a list a mapping",
    "~seed": "seed is required",
    "=5": "key=value",
    "a==b": "key=value",
    "trainer..epochs=3": "key=value",
    "data.title=\x1b[31m": "control character",
    "data.title=\udcff": "not text in UTF-8",
    "seed=99999999999999999999": "from 0 to 2147483647",
    "prevalence={a:nan}": "should be a share",
    "readout.operating_points=5": "cannot be understood",
    "readout.conformal=5": "method '5'",
    "readout.calibration=[a]": "unknown calibration",
    "audit.allow=[[a]]": "should be a list of words",
    "trainer.score=5": "unknown trainer.score '5'",
    "hydra.run.dir=x": "is a setting of Hydra",
    "data@x=table": "cannot be composed",
    "trainer.epochs=int(x)": "key=value",
    "run_dir=" + "x" * 5000: "this is too long for a file name",
    "data.root=" + "a/" * 3000: "this is too long for a file name",
}


def answer(*words: str) -> str:
    """The refusal of a command, which comes soon; blank where it is understood."""
    started = time.process_time()
    try:
        assert isinstance(read_command("train", list(words)).config, TrainConfig)
        said = ""
    except UsageError as error:
        said = str(error)
        assert 0 < len(said) < 3000
    assert time.process_time() - started < 5
    return said


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    return tmp_path / "conf" / "data" / "ours.yaml"


OURS = ("data=ours", "--config-dir", "conf")


@pytest.mark.fault
def test_what_is_added_to_a_yaml_is_refused_in_words(ours: Path) -> None:
    """Rows 22, 23 and 93."""
    for text, said in ADDED.items():
        ours.write_bytes(f"{W}{text}\n".encode())
        assert said in answer(*OURS), text[:80]


@pytest.mark.fault
def test_a_file_that_is_not_a_yaml_of_settings_is_refused_in_words(ours: Path) -> None:
    """Rows 23 and 93."""
    for raw, said in WHOLE.items():
        ours.write_bytes(raw)
        assert said in answer(*OURS), raw[:80]
    ours.unlink()
    for make in (ours.mkdir, lambda: os.mkfifo(ours), lambda: ours.symlink_to(ours)):
        make()
        assert "unknown data 'ours'" in answer(*OURS)
        ours.rmdir() if ours.is_dir() else ours.unlink()


@pytest.mark.fault
def test_a_hostile_word_of_a_command_is_refused_in_words() -> None:
    """Rows 92 and 93."""
    for word, said in WORDS.items():
        assert said in answer(word), word[:80]


@pytest.mark.fault
def test_no_sign_in_a_yaml_or_a_word_is_a_fault_of_medcnn(ours: Path) -> None:
    """Rows 92 and 93."""
    draw = random.Random(0)
    signs = ["[", "]", "{", "}", ":", ",", "#", "&", "*", "!", "|", ">", "'", '"', "%", "@", "`"]
    signs += ["${", "\n", "\t", " ", "- ", "? ", "~", "é", "0", "null", "yes", "1e9", "\\", "="]
    for _ in range(25):
        text = list(f"{W}classes: [a, b]\n")
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(text))
            text[at : at + draw.randint(0, 2)] = [draw.choice(signs)]
        ours.write_text("".join(text), encoding="utf-8")
        answer(*OURS)
    keys = ["data.root", "data.title", "trainer.epochs", "data.steps", "audit.allow", "prevalence"]
    for _ in range(25):
        value = "".join(draw.choice([*signs, "a", "3"]) for _ in range(draw.randint(1, 8)))
        answer(f"{draw.choice(keys)}={value}")


@pytest.mark.fault
def test_a_yaml_means_the_same_with_a_mark_of_its_encoding_or_windows_lines(ours: Path) -> None:
    """Row 93."""
    for raw in (W, "\ufeff" + W, W.replace("\n", "\r\n")):
        ours.write_bytes(f"{raw}title: 研究\ncache: off\n".encode())
        data = read_command("train", list(OURS)).config.data  # type: ignore[union-attr]
        assert data is not None
        assert (data.root, data.title, data.cache) == ("/nowhere", "研究", "off")
