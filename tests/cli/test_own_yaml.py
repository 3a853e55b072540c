"""Faults in a data YAML of one's own are said with their file, line and nearest right name."""

from __future__ import annotations

import inspect
import re
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.plugins.config_source import ConfigSource
from omegaconf import AnyNode, DictConfig

from medcnn.cli import own_yaml
from medcnn.cli.compose import read_command
from medcnn.config import DataConfig
from medcnn.data import adapters
from medcnn.images.steps import STEPS
from medcnn.system.errors import UsageError
from medcnn.system.paths import config_folder

WHOLE = "defaults: [table]\nroot: /nowhere\ntable: t.csv\nimage: file\nlabel: grade\n"


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as raised:
        read_command("train", list(words))
    return str(raised.value)


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    return tmp_path / "conf"


def test_nothing_of_hydra_that_begins_with_an_underscore_is_used() -> None:
    """Decision 0020; it broke whenever Hydra or OmegaConf renamed one."""
    classes = (ConfigSource, *DictConfig.__mro__[:-1], *AnyNode.__mro__[:-1])
    hidden = "|".join({n for c in classes for n in vars(c) if re.match("_[a-z]", n)})
    private = re.compile(rf"(hydra|omegaconf)[\w.]*( import |\.)_|\b({hidden})\b")
    for file in Path(own_yaml.__file__).parent.glob("*.py"):
        assert not private.search(file.read_text(encoding="utf-8")), file
    assert private.search("from omegaconf._utils import get_yaml_loader"), "the check can fail"
    assert private.search("self._normalize_file_name(path)")


def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_setting(conf: Path) -> None:
    text = WHOLE.replace("image:", "imge:") + "sise_px: 96\nuncertian: ones\n"
    (conf / "data" / "ours.yaml").write_text(text)
    said = refusal("data=ours", "--config-dir", "conf").splitlines()
    assert said == [
        "conf/data/ours.yaml:4: 'imge' is not a setting of data=table; did you mean 'image'?",
        "conf/data/ours.yaml:6: 'sise_px' is not a setting of data=table; did you mean 'size_px'?",
        "conf/data/ours.yaml:7: 'uncertian' is not a setting of data=table; "
        "did you mean 'uncertain'?",
    ]


def test_every_setting_of_a_data_set_may_stand_in_ones_own_yaml(conf: Path) -> None:
    more = "size_px: 96\nchannels: 1\nmodality: chest\nwindow: 1\nframes: middle\nbits: 16\n"
    (conf / "data" / "ours.yaml").write_text(WHOLE + more)
    config = read_command("train", ["data=ours", "--config-dir", "conf"]).config
    data = config.data  # type: ignore[union-attr]
    assert data is not None
    assert (data.size_px, data.window, str(data.frames), data.bits) == (96, 1, "middle", 16)
    assert data.options["image"] == "file"


@pytest.mark.parametrize(
    "word",
    [
        "2C30",
        "2E63",
        "12e4",
        "+3e5",
        "7",
        ".5e3",
        "1_000",
        "1_0.5",
        "1_0.5e3",
        "12:30",
        "0x1F",
        "012",
        "1.5",
    ],
)
def test_a_class_arrives_as_it_is_written_or_is_refused(conf: Path, word: str) -> None:
    (conf / "data" / "ours.yaml").write_text(f"{WHOLE}classes: [a, {word}]\n")
    words = ["data=ours", "--config-dir", "conf"]
    try:
        config: Any = read_command("train", words).config
        found = str(config.data.options["classes"][1])
    except UsageError as error:
        found = str(error)
    refused = f"ours.yaml:6: ‹{word}› is read as another number; write it in quotes"
    assert found == word or refused in found
    (conf / "data" / "ours.yaml").write_text(f"{WHOLE}classes: [a, '{word}']\n")
    quoted: Any = read_command("train", words).config
    assert quoted.data.options["classes"] == ["a", word]


def test_numbers_in_the_notation_of_science_remain_numbers(conf: Path) -> None:
    (conf / "experiment").mkdir()
    text = "# @package _global_\noptimizer: {lr: 1e-4}\ntrainer: {epochs: 3}\n"
    (conf / "experiment" / "mine.yaml").write_text(text)
    config: Any = read_command("train", ["experiment=mine", "--config-dir", "conf"]).config
    assert config.optimizer.lr == 1e-4


def test_a_yaml_that_does_not_say_what_reads_it_is_told_its_first_line(conf: Path) -> None:
    (conf / "data" / "ours.yaml").write_text(WHOLE.partition("\n")[2])
    for words in (["data=ours"], ["data=ours", "data.image=file"]):
        said = refusal(*words, "--config-dir", "conf")
        assert "conf/data/ours.yaml does not say how to read the data" in said
        assert "`defaults: [table]`" in said


def test_a_yaml_that_lies_elsewhere_is_found_and_its_place_named(conf: Path) -> None:
    (conf / "ours.yaml").write_text(WHOLE)
    said = refusal("data=ours", "--config-dir", "conf")
    assert said.endswith("There is conf/ours.yaml, which must be conf/data/ours.yaml.")
    (conf / "ours.yaml").rename(conf / "data" / "ours.yml")
    said = refusal("data=ours", "--config-dir", "conf")
    assert said.endswith("There is conf/data/ours.yml, which must be conf/data/ours.yaml.")
    (conf / "data" / "ours.yml").rename(conf / "data" / "ours.yaml")
    said = refusal("data=ours", "--config-dir", "conf/data")
    assert said.endswith("There is conf/data/ours.yaml: use --config-dir conf.")
    assert refusal("data=ours").endswith("There is conf/data/ours.yaml: add --config-dir conf.")
    assert read_command("train", ["data=ours", "--config-dir", "conf"]).config
    assert "There is" not in refusal("data=other", "--config-dir", "conf")


def test_the_examples_of_the_documentation_are_settings() -> None:
    text = (Path(__file__).parents[2] / "docs" / "your-data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) > 3
    known = {"defaults", *adapters.DATASETS.options("table"), *(f.name for f in fields(DataConfig))}
    for block in blocks:
        assert set(yaml.safe_load(block)) <= known
    assert set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) <= known | set(STEPS)


def test_the_yaml_of_tables_lists_every_setting_with_its_default() -> None:
    stored = yaml.safe_load((config_folder() / "data" / "table.yaml").read_text(encoding="utf-8"))
    taken = inspect.signature(adapters.DATASETS["table"].read).parameters
    assert stored.pop("name") == "table"
    assert set(stored) == set(adapters.DATASETS.options("table"))
    for name, value in stored.items():
        assert (value or None) == (taken[name].default or None), name


def bomb(levels: int = 9) -> str:
    """Some hundred bytes that unfold to 9 ** `levels` words."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.fault
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(), "repeats a part by its alias"),
        ("x: " + "[" * 500 + "]" * 500, "is nested more than"),
        ("x: [" + "word, " * 60_000 + "]", "bytes; the limit is"),
    ],
)
def test_a_yaml_that_would_fill_the_memory_is_refused_at_once(
    conf: Path, text: str, said: str
) -> None:
    """Row 23."""
    (conf / "data" / "ours.yaml").write_text(WHOLE + text)
    started = time.process_time()
    assert said in refusal("data=ours", "--config-dir", "conf")
    assert time.process_time() - started < 5


@pytest.mark.fault
@pytest.mark.parametrize("key", ["data", "data.options", "model", "optimizer", "head", "trainer"])
@pytest.mark.parametrize(
    "value", ["os.system", "logging.os.system", "torch.hub.load", "'${oc.env:HOME}'"]
)
def test_a_setting_never_names_python(key: str, value: str) -> None:
    """Rows 19, 20 and 21."""
    assert "settings never name Python" in refusal(f"+{key}._target_={value}")


@pytest.mark.fault
def test_a_yaml_of_ones_own_never_names_python(conf: Path) -> None:
    """Rows 19 and 21."""
    for part in ("_target_: os.system\n", "rename: {a: {_target_: torch.hub.load}}\n"):
        (conf / "data" / "ours.yaml").write_text(WHOLE + part)
        assert "settings never name Python" in refusal("data=ours", "--config-dir", "conf")
    for word in ("+hydra.searchpath=[pkg://antigravity]", "hydra/launcher=basic"):
        assert "is a setting of Hydra" in refusal(word)


@pytest.mark.fault
def test_a_secret_of_the_environment_enters_no_setting(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 22."""
    monkeypatch.setenv("SECRET", "hunter2")
    indirect = "title: ${.root}\nroot: ${oc.env:SECRET}\n"
    (conf / "data" / "ours.yaml").write_text(WHOLE.replace("root: /nowhere\n", indirect))
    for words in (
        ("data=ours", "--config-dir", "conf"),
        ("data.title=${oc.env:SECRET}",),
        ("+model.options.tag=x${oc.env:SECRET}",),
    ):
        said = refusal(*words)
        assert "is allowed only in data.root" in said
        assert "hunter2" not in said
    # where the images lie may come from there
    config = read_command("train", ["data=ham10000", "data.root=${oc.env:SECRET}"]).config
    assert str(config.data.root).endswith("hunter2")  # type: ignore[union-attr]
