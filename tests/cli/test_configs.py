"""Every YAML composes, freezes, and names something that exists."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medcnn.cli.compose import read_command
from medcnn.data import adapters
from medcnn.models.backbones import build_body
from medcnn.models.heads import HEADS
from medcnn.models.pooling import POOLINGS
from medcnn.system.errors import UsageError
from medcnn.system.paths import config_folder
from medcnn.training.losses import AUTO, LOSSES
from medcnn.training.optimizers import OPTIMIZERS
from medcnn.training.samplers import SAMPLERS
from medcnn.training.transfer import TRANSFERS
from medcnn.verbs.train import TrainConfig


def names(group: str) -> list[str]:
    return sorted(p.stem for p in (config_folder() / group).glob("*.yaml"))


def composed(*words: str) -> TrainConfig:
    config = read_command("train", list(words)).config
    assert isinstance(config, TrainConfig)
    return config


@pytest.mark.parametrize("name", names("model"))
def test_every_model_composes_and_builds(name: str) -> None:
    model = composed(f"model={name}").model
    assert model is not None
    with torch.device("meta"):  # half a gigabyte of weights of VGG, and more
        body = build_body(model.backbone, channels=1, size_px=96, options=model.options)
    assert body.num_features


@pytest.mark.parametrize("name", names("data"))
def test_every_data_set_composes_and_its_options_are_known_to_its_adapter(name: str) -> None:
    data = composed(f"data={name}").data
    assert data.name in adapters.DATASETS
    adapters.DATASETS.bind(data.name, data.options)


def test_settings_that_take_any_name_need_no_plus(tmp_path: Path) -> None:
    words = ["data.exclude={finding: [todo]}", "data.exclude.view=[L]", "data.rename.a=b"]
    data = composed("data=table", *words, "data.split_names={x: test}").data
    assert data.options["exclude"] == {"finding": ["todo"], "view": ["L"]}
    assert (data.options["rename"], data.options["split_names"]) == ({"a": "b"}, {"x": "test"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own.yaml").write_text("defaults: [table]\nexclude: {finding: [todo]}\n")
    own = composed("data=own", "--config-dir", str(tmp_path), "data.exclude.finding=[other]").data
    assert own.options["exclude"] == {"finding": ["other"]}


@pytest.mark.parametrize("name", names("experiment"))
def test_every_recipe_composes(name: str) -> None:
    config = composed(f"experiment={name}")
    assert config.data.stand_in is not None, "a recipe works without a root, on phantoms"
    header = (config_folder() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    assert "medcnn train experiment=" in header


def test_a_choice_on_the_command_line_wins_over_a_recipe() -> None:
    config = composed("experiment=skin_lesion", "trainer.epochs=2", "model=lenet5")
    assert config.trainer.epochs == 2
    assert config.model is not None
    assert config.model.backbone == "lenet5"


TABLES = {
    "loss": LOSSES,
    "head": HEADS,
    "pooling": POOLINGS,
    "optimizer": OPTIMIZERS,
    "transfer": TRANSFERS,
    "sampler": SAMPLERS,
}


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, table in TABLES.items() for n in table])
def test_every_entry_of_a_table_takes_the_options_of_its_yaml(group: str, name: str) -> None:
    chosen = getattr(composed(f"{group}={name}"), group)
    assert chosen.name == name
    TABLES[group].bind(chosen.name, chosen.options)


def test_every_entry_of_a_table_has_its_yaml() -> None:
    for group, table in TABLES.items():
        auto = {"auto"} if group in ("loss", "pooling") else set()
        assert set(names(group)) == set(table) | auto
    assert set(AUTO.values()) <= set(LOSSES)
    assert set(adapters.DATASETS) <= set(names("data"))


def test_no_yaml_names_python() -> None:
    for path in Path(config_folder()).rglob("*.yaml"):
        assert "_target_" not in path.read_text(encoding="utf-8")


def test_a_part_of_a_batch_is_no_more_than_the_batch() -> None:
    with pytest.raises(UsageError, match=r"micro_batch=16 is a part of trainer\.batch_size=8"):
        read_command("train", ["trainer.micro_batch=16", "trainer.batch_size=8"])
    read_command("train", ["trainer.micro_batch=8", "trainer.batch_size=8"])
