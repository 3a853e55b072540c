"""Can a patient id of seven digits be found in what medcnn wrote, by trying all ten million?

    python benchmarks/attack.py FOLDER [FOLDER ...]

Every number is hashed without a key, in the ways that software hashes ids, and looked for in every
file below the folders: in hexadecimal (8 digits or more), in base64, and as bytes at any place of
the small files. A keyed digest is not found so; one SHA-256, one BLAKE2 of an id is.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

HASHES: dict[str, Callable[[bytes], bytes]] = {
    "sha256": lambda text: hashlib.sha256(text).digest(),
    "sha1": lambda text: hashlib.sha1(text, usedforsecurity=False).digest(),
    "md5": lambda text: hashlib.md5(text, usedforsecurity=False).digest(),
    "sha512": lambda text: hashlib.sha512(text).digest(),
    "blake2b": lambda text: hashlib.blake2b(text).digest(),
    "blake2b of 16 bytes": lambda text: hashlib.blake2b(text, digest_size=16).digest(),
    "blake2s": lambda text: hashlib.blake2s(text).digest(),
}
FORMS = ("{}", "{}\n", "{} ", '"{}"', "patient-{}", "{}.dcm", "images/{}.dcm")
_HEX = re.compile(rb"(?<![0-9a-fA-F])[0-9a-fA-F]{8,128}(?![0-9a-fA-F])")
_BASE64 = re.compile(rb"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{11,172}={0,2}(?![A-Za-z0-9+/_-])")
FEWEST_BYTES = 4
CONFIRMED_BYTES = 6
"""Four bytes of ten million digests are met by chance; six are not."""
MOST_BYTES_ANYWHERE = 4 << 20


def digests_in(files: Iterable[Path]) -> dict[bytes, set[bytes]]:
    """The first four bytes of all that may be a digest -> what follows them."""
    found: dict[bytes, set[bytes]] = {}

    def add(value: bytes) -> None:
        found.setdefault(value[:FEWEST_BYTES], set()).add(value[FEWEST_BYTES:CONFIRMED_BYTES])

    for file in files:
        data = file.read_bytes()
        for token in (*_HEX.findall(data), *_HEX.findall(file.name.encode())):
            add(bytes.fromhex(token[: len(token) // 2 * 2].decode()))
        for token in _BASE64.findall(data):
            text = token.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
            add(base64.b64decode(text[: len(text) // 4 * 4]))
        if len(data) <= MOST_BYTES_ANYWHERE and file.suffix in (".rows", ".lock", ".npy", ".pt"):
            for at in range(len(data) - CONFIRMED_BYTES + 1):
                add(data[at : at + CONFIRMED_BYTES])
    return found


def attack(
    found: dict[bytes, set[bytes]], numbers: Iterable[str], forms: Iterable[str] = FORMS
) -> Iterator[tuple[str, str, str]]:
    """Number, hash and form of each that is found."""
    around = [tuple(form.split("{}")) for form in forms]
    for number in numbers:
        for before, after in around:
            text = f"{before}{number}{after}".encode()
            for name, function in HASHES.items():
                digest = function(text)
                rest = found.get(digest[:FEWEST_BYTES])
                # four bytes match by chance, so only longer tokens count
                if rest and digest[FEWEST_BYTES:CONFIRMED_BYTES] in rest:
                    yield number, name, f"{before}{{}}{after}"


def main() -> None:
    files = [p for folder in sys.argv[1:] for p in Path(folder).rglob("*") if p.is_file()]
    found, started = digests_in(files), time.perf_counter()
    print(f"{len(files):,} files, {len(found):,} beginnings of digests")
    hits = list(attack(found, (f"{n:07d}" for n in range(10**7)), forms=FORMS[:2]))
    seconds = time.perf_counter() - started
    tried = len(HASHES) * 2 * 10**7
    print(f"{tried:,} digests in {seconds:,.0f} s: {len(hits)} ids found {hits[:5]}")
    raise SystemExit(bool(hits))


if __name__ == "__main__":
    main()
