"""What a plug-in has instead of a YAML: its options with their defaults, out of its signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from medcnn.system.plugins import installed
from medcnn.system.registry import Table


def _losses() -> Table[Any]:
    from medcnn.training.losses import LOSSES

    return LOSSES


def _heads() -> Table[Any]:
    from medcnn.models.heads import HEADS

    return HEADS


def _backbones() -> Table[Any]:
    from medcnn.models.backbones import BACKBONES

    return BACKBONES


def _datasets() -> Table[Any]:
    from medcnn.data.adapters import DATASETS

    return DATASETS


# Group of `configs/` -> group of entry points, and the table, which imports torch.
GROUPS: dict[str, tuple[str, Callable[[], Table[Any]]]] = {
    "data": ("datasets", _datasets),
    "head": ("heads", _heads),
    "loss": ("losses", _losses),
    "model": ("backbones", _backbones),
}


def names_in(group: str) -> list[str]:
    """The plug-ins that `group=NAME` may name; nothing is imported for it."""
    return sorted(installed(GROUPS[group][0])) if group in GROUPS else []


class PluginSource(ConfigSource):
    """Hydra finds plug-ins through here, as if each had a YAML: in a command, a recipe or a file of
    the user's own. Only one that is composed is imported."""

    @staticmethod
    def scheme() -> str:
        return "plugin"

    def load_config(self, config_path: str) -> ConfigResult:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        options = GROUPS[group][1]().options(name)
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
        return config_path in ("", *GROUPS)

    def is_config(self, config_path: str) -> bool:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        return name in names_in(group)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        wanted = names_in(config_path) if results_filter is not ObjectType.GROUP else []
        groups = [*GROUPS] if not config_path and results_filter is not ObjectType.CONFIG else []
        return [*wanted, *groups]
