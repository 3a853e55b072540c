"""Replaces the YAML of a plug-in: its options and defaults, from its signature."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from medcnn.cli.help import PLUGGED
from medcnn.system.plugins import installed

# Group of `configs/` -> its table, imported late since it may import torch.
TABLES = {
    "data": "medcnn.data.adapters:DATASETS",
    "head": "medcnn.models.heads:HEADS",
    "loss": "medcnn.training.losses:LOSSES",
    "model": "medcnn.models.backbones:BACKBONES",
    "pooling": "medcnn.models.pooling:POOLINGS",
}


def names_in(group: str) -> list[str]:
    """The plug-ins that `group=NAME` may name, without importing them."""
    return sorted(installed(PLUGGED[group])) if group in PLUGGED else []


class PluginSource(ConfigSource):
    """Hydra finds plug-ins through this class, as if each had a YAML, in a command, a recipe or a
    user's own file. Only a plug-in that is composed is imported."""

    @staticmethod
    def scheme() -> str:
        return "plugin"

    def load_config(self, config_path: str) -> ConfigResult:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        options = resolve_name(TABLES[group]).options(name)
        described: dict[str, Any] = {"name": name, **options}
        if group == "model":
            described = {"backbone": name, "weights": "auto", "partial": False}
            described |= {"drop_path": None, "auxiliary": False, "options": options}
        return ConfigResult(
            config=OmegaConf.create(described),
            path=self.full_path(),
            provider=self.provider,
            header={"package": None},
        )

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", *PLUGGED)

    def is_config(self, config_path: str) -> bool:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        return name in names_in(group)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        wanted = names_in(config_path) if results_filter is not ObjectType.GROUP else []
        groups = [*PLUGGED] if not config_path and results_filter is not ObjectType.CONFIG else []
        return [*wanted, *groups]
