"""What `guessing` works with, and how it states a guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from medcnn.data.own.dicom_headers import IDENTIFIERS, looks_like_dicom, read_headers
from medcnn.data.own.image_files import files_below, is_image
from medcnn.data.own.joining import by_name
from medcnn.system.errors import listed


class Sure(StrEnum):
    SURE = "sure"
    LIKELY = "likely"
    CHECK = "please check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """One line of a data YAML, with the reason for it.

    Attributes:
        example: shown but never written to a file: an image may be named after a patient.
    """

    setting: str
    value: Any
    why: str
    sure: Sure = Sure.LIKELY
    example: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    name: str
    cells: tuple[str, ...]

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(c for c in self.cells if c)

    def examples(self) -> str:
        return listed([f"{w} ({n:,})" for w, n in self.counts.most_common(4)], 4)


@dataclass(frozen=True)
class Images:
    """The images below a root, by all names that a table may use for them."""

    root: Path
    follow_links: bool = False

    @cached_property
    def paths(self) -> list[str]:
        return [
            p
            for p in files_below(self.root, follow_links=self.follow_links)
            if is_image(self.root, p)
        ]

    @cached_property
    def by_name(self) -> Mapping[str, list[str]]:
        """File name, with and without its extension -> paths."""
        return by_name(self.paths)

    @cached_property
    def headers(self) -> Mapping[str, Mapping[str, str]]:
        dicom = [p for p in self.paths if looks_like_dicom(self.root / p)]
        return read_headers(self.root, dicom, ["SamplesPerPixel"])[0]

    @cached_property
    def by_tag(self) -> Mapping[str, set[str]]:
        return {tag: {h[tag] for h in self.headers.values()} - {""} for tag in IDENTIFIERS}
