"""Decodes files in separate processes: both ends of the pipe.

A file is read and decoded once for all its products; a `Recipe` names the maker of each product.
"""

from __future__ import annotations

import errno
import hashlib
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.images import Frames, Preprocessing, file_part, read_pixels
from medcnn.images.reading import NO_MEMORY, NOT_OPENED, Pixels, may_be_reduced, read_file
from medcnn.pixels.pool import Request, answers
from medcnn.pixels.process import Look, serve
from medcnn.system.errors import ImageError

# Temporary errors of network drives; reading is tried again after these pauses.
PASSING = (errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOTCONN, errno.EREMOTEIO)
PAUSES_S = (0.2, 1.0, 3.0)
CONTENT_BYTES = 16

Seen = tuple[int, int, int]


def seen(file: Path) -> Seen:
    """Size, and the times at which content and entry last changed, in ns; raises OSError."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=8)
def _content_of_array(file: Path, _: Seen) -> str:
    """Hash of the bytes; times are in the key so that an array of many images is hashed once."""
    # a named pipe would block for ever
    if not stat.S_ISREG(file.stat().st_mode):
        return ""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, _hash).hexdigest()


def _hash(data: bytes = b"") -> Any:
    return hashlib.blake2b(data, digest_size=CONTENT_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The arguments with which `read_pixels` reads a file."""

    window: int
    frames: Frames
    full_scale: int
    at_least_px: int | None

    @classmethod
    def of(cls, how: Preprocessing, at_least_px: int | None) -> Reading:
        return cls(
            window=how.window, frames=how.frames, full_scale=how.full_scale, at_least_px=at_least_px
        )


@dataclass(slots=True)
class Opened:
    """An image file in memory, decoded once for each way of reading.

    Attributes:
        data: the bytes of the file; empty for a row of an array, which is read separately.
    """

    root: Path
    path: str
    data: bytes | None
    _decoded: dict[Reading, tuple[Pixels, int | None] | ImageError] = field(default_factory=dict)

    def pixels(self, how: Reading) -> tuple[Pixels, int | None]:
        """[H, W, C], and the highest stored value of 16-bit grey samples.

        Raises:
            ImageError: as `read_pixels` does.
        """
        if self.data is None or not may_be_reduced(self.data):
            how = replace(how, at_least_px=None)
        if how not in self._decoded:
            self._decoded[how] = self._read(how)
        found = self._decoded[how]
        if isinstance(found, ImageError):
            raise found
        return found

    def _read(self, how: Reading) -> tuple[Pixels, int | None] | ImageError:
        tops: list[int] = []
        try:
            pixels = read_pixels(
                self.root,
                self.path,
                window=how.window,
                frames=how.frames,
                at_least_px=how.at_least_px,
                full_scale=how.full_scale,
                tops=tops,
                data=self.data,
            )
        except ImageError as error:
            return error
        return pixels, max(tops, default=None)


# Turns an image into bytes, always the same number, and says why it must not be used, or "". Raises
# ImageError if it cannot be read.
Maker = Callable[[Opened], tuple[str, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to make a product: `maker(setting)` of a module is its maker, in a decoder process."""

    module: str
    setting: dict[str, Any]


def pixels_by(how: Preprocessing) -> Recipe:
    return Recipe(module=__name__, setting=how.to_json())


def maker(setting: dict[str, Any]) -> Maker:
    """Preprocessed pixels."""
    how = Preprocessing.from_json(setting)
    reading = Reading.of(how, how.needs_px)

    def make(opened: Opened) -> tuple[str, bytes]:
        pixels, _ = opened.pixels(reading)
        return "", np.ascontiguousarray(how.apply(pixels)).tobytes()

    return make


def decoded(
    root: Path,
    path: str,
    asked: Sequence[str | None],
    makers: Sequence[Maker],
    pauses_s: tuple[float, ...],
) -> tuple[Any, bytes]:
    """The head of an answer, and the products, one after the other.

    Args:
        asked: for each maker, the hash of the content that its existing product was made from;
            empty if there is none, None if no product is wanted.
    """
    file, data = root / file_part(path), None
    for pause_s in (*pauses_s, None):
        try:
            before = seen(file)
            if file_part(path) == path:
                data = read_file(file)
            content = _content_of_array(file, before) if data is None else _hash(data).hexdigest()
            opened = Opened(root, path, data)
            made = [
                ({"same": True}, b"") if known and known == content else _made(opened, make)
                for make, known in zip(makers, asked, strict=True)
                if known is not None
            ]
            if seen(file) != before:
                raise OSError(errno.EAGAIN, "it changed while it was read")
            sizes = [{**head, "size": len(part)} for head, part in made]
            head = {"seen": before, "content": content, "made": sizes}
            return head, b"".join(part for _, part in made)
        except FileNotFoundError:
            return {"why": "the file is missing"}, b""
        except (ImageError, OSError) as error:
            cause = error.__cause__ if isinstance(error, ImageError) else error
            passing = isinstance(cause, OSError) and cause.errno in PASSING
            if pause_s is None or not passing:
                text = str(error) if isinstance(error, ImageError) else error.strerror
                tries = f" (tried {len(pauses_s) + 1} times)" if passing else ""
                return {"why": f"{text or error}{tries}", "gone": passing}, b""
        except Exception as error:
            return {"why": _strange(error)}, b""
        time.sleep(pause_s)
    raise AssertionError("the last try returns")


def _made(opened: Opened, make: Maker) -> tuple[dict[str, Any], bytes]:
    """The product, or why there is none; raises OSError and errors it caused, for another try."""
    try:
        why, data = make(opened)
    except ImageError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return {"why": str(error)}, b""
    except OSError:
        raise
    except Exception as error:
        return {"why": _strange(error)}, b""
    return {"why": why, "crc": zlib.crc32(data)}, data


def passes(reason: str) -> bool:
    """Whether a file that was unreadable for this reason may be readable another time: its drive or
    this machine's memory was to blame. The system kills a process with SIGKILL if memory runs out.
    """
    return reason.startswith(NOT_OPENED) or reason.endswith(
        (NO_MEMORY, f"({MemoryError.__name__})", "(SIGKILL)")
    )


def _strange(error: Exception) -> str:
    # messages of libraries may contain anything, including file names
    return f"preprocessing failed ({type(error).__name__})"


def main() -> None:
    """What a decoder process runs."""
    pauses_s: tuple[float, ...] = PAUSES_S

    def look_of(setting: dict[str, Any]) -> Look:
        root = Path(setting["root"])
        makers = [import_module(name).maker(given) for name, given in setting["recipes"]]

        def look(path: str, asked: Sequence[str | None]) -> tuple[dict[str, Any], bytes]:
            nonlocal pauses_s
            head, data = decoded(root, path, asked, makers, pauses_s)
            # do not wait for a lost drive at each of a hundred thousand files
            pauses_s = () if head.pop("gone", False) else PAUSES_S
            return head, data

        return look

    serve(look_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One recipe's product of one image, `why` it must not be used, or `same` content as known.

    Attributes:
        crc: CRC-32 of the bytes.
        data: the bytes; none if the image could not be read or its content is known.
    """

    why: str = ""
    same: bool = False
    crc: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to one request.

    Attributes:
        seen: size and times of the file when it was read.
        content: hash of the file.
        made: the product of each recipe, None if not wanted.
    """

    row: int
    seen: Seen
    content: str
    made: tuple[Made | None, ...]


def decode(
    requests: Sequence[Request], root: Path, recipes: Sequence[Recipe], *, processes: int
) -> Iterator[Answer]:
    """One answer to each request, in the order in which they become ready."""
    given = [(recipe.module, recipe.setting) for recipe in recipes]
    setting = {"root": str(root), "recipes": given}
    for request, head, data in answers(requests, __name__, setting, processes=processes):
        made: list[Made | None] = []
        left, heads_left = memoryview(data), iter(head.get("made", ()))
        for known in request.asked:
            if known is None:
                made.append(None)
            elif "why" in head:
                made.append(Made(why=head["why"]))
            else:
                one = next(heads_left)
                size = one.pop("size")
                made.append(Made(**one, data=bytes(left[:size])))
                left = left[size:]
        yield Answer(
            row=request.row,
            seen=tuple(head.get("seen", (0, 0, 0))),
            content=head.get("content", ""),
            made=tuple(made),
        )
