"""Everything that a file holds, layer under layer: what a search for names must look through."""

from __future__ import annotations

import base64
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

DEEPEST = 4
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")
_ESCAPED = re.compile(rb"\\u00([0-9a-f]{2})|&#x?([0-9a-f]+);|%([0-9A-F]{2})", re.I)


def everything_in(path: Path) -> Iterator[tuple[str, bytes]]:
    """Where it stands, and the bytes: of the file, and of all that is packed in it."""
    yield from unpacked(path.read_bytes(), "as it is", 0)


def unpacked(data: bytes, where: str, depth: int) -> Iterator[tuple[str, bytes]]:
    """The bytes, and those in zip (npz, xlsx, torch), gzip, PNG text and pixels, base64, and in the
    UTF-16 and escaped forms of text."""
    yield where, data
    if depth == DEEPEST:
        return
    if data[:4] == b"PK\3\4":
        with suppress(zipfile.BadZipFile, NotImplementedError, RuntimeError):
            archive = zipfile.ZipFile(io.BytesIO(data))
            for name in archive.namelist():
                yield f"{where} > zip", name.encode()
                yield from unpacked(archive.read(name), f"{where} > {name}", depth + 1)
    if data[:2] == b"\x1f\x8b":
        with suppress(OSError, EOFError, zlib.error):
            yield from unpacked(gzip.decompress(data), f"{where} > gzip", depth + 1)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _of_png(data, f"{where} > PNG", depth)
    if b"\0" in data[:200]:
        yield f"{where} > as UTF-16", data.replace(b"\0", b"")
    for found in _BASE64.finditer(data):
        with suppress(ValueError):
            inner = base64.b64decode(found[0][: len(found[0]) // 4 * 4])
            yield from unpacked(inner, f"{where} > base64", depth + 1)
    if _ESCAPED.search(data):
        yield f"{where} > unescaped", _ESCAPED.sub(_sign, data)


def _sign(found: re.Match[bytes]) -> bytes:
    digits, number, percent = found.groups()
    if number:
        base = 16 if found[0][2:3] in b"xX" else 10
        with suppress(ValueError):
            return chr(int(number, base)).encode("utf-8", "surrogatepass")
        return found[0]
    return bytes([int(digits or percent, 16)])


def _of_png(data: bytes, where: str, depth: int) -> Iterator[tuple[str, bytes]]:
    """The chunks of text, which may be packed (PNG 11.3.3)."""
    at = 8
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        chunk, at = data[at + 8 : at + 8 + size], at + 12 + size
        if kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf"):
            yield f"{where} {kind.decode()}", chunk
            for start in range(min(len(chunk), 100)):
                with suppress(zlib.error):
                    inner = zlib.decompress(chunk[start:])
                    yield from unpacked(inner, f"{where} {kind.decode()}", depth + 1)
                    break
