"""Finds the encoding of a text file. If its bytes do not decide it, the user is asked: a wrong
guess would silently split one class, or one patient, into two."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from medcnn.data.own import bounds
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.progress import log
from medcnn.system.registry import nearest

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
MOST_LOOKED_AT = 50_000
"""Lines from which an encoding is guessed."""
_OTHERS = ("cp1250", "cp1251", "cp850", "mac_roman", "shift_jis", "gb18030", "big5", "euc_kr")
_KNOWN = ("utf-8", "utf-16", "latin-1", "cp1252", "cp1253", "cp1254", "cp1257", *_OTHERS)

# Bytes that do not occur in Western European text read as Windows-1252: symbols within words,
# opening quotes after a letter, Icelandic letters (Turkish ones in another encoding), and sequences
# of letters above 127 that none of these languages has.
_LETTER = rb"[A-Za-z\xc0-\xff]"
_ODD = re.compile(
    rb"[\x81\x8d\x8f\x90\x9d\x8a\x8e\x9a\x9e\x9f\x83\x88\x98\xf0\xfe\xd0\xde]"
    rb"|" + _LETTER + rb"[\x80\x82\x84-\x87\x89\x8b\x91\x93-\x97\x99\x9b\xa1-\xac\xae-\xb3\xb5\xb6"
    rb"\xb8-\xbf]" + _LETTER + rb"|" + _LETTER + rb"[\x80\x82\x84\x8b\x91\x93]"
    rb"|[A-Za-z\xc0-\xff][\x8c]|\x9c(?![A-Za-z\xe0-\xfc])"
    rb"|[\xc0-\xff]{3}"
)
_PAIR = re.compile(rb"[\x80-\xff]{2,}")
_USUAL_PAIR = re.compile(
    # quotes, dashes and blanks next to a letter, or doubled; ée, ßä, ção, åø
    rb"[\x85\x91-\x97\xa0\xab\xb0\xbb\xb4][\x80-\xff]+|[\x80-\xff]+[\x85\x91-\x97\xa0\xab\xb0\xbb]"
    rb"|\xe9[\xe8-\xeb]|\xc9[\xc8-\xcb]|[\xe4\xf6\xfc]\xdf|\xdf[\xe4\xf6\xfc]"
    rb"|\xe7[\xe3\xf5]|\xc7[\xc3\xd5]|[\xe5\xe4\xe6\xf6\xf8][\xe5\xe4\xe6\xf6\xf8]"
)

# UTF-8 that was read as Windows-1252 and written as UTF-8 again: `Ã¶` for `ö`. The letters that
# begin such a pair, by the result (accents; Poland to Latvia; Greece; Russia; dashes, quotes
# and East Asia), and those that follow.
_HIGH = "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in range(0x80, 0xC0))
_TWICE = re.compile(f"[ÂÃÄÅÎÏÐÑØÙ][{_HIGH}]|[â-ï][{_HIGH}]{{2}}")
_CLOSING = "»«”“’‘…–—´°®\xa0"
"""These may also follow a word that ends in such a letter: `IRMÃ»`."""
_PACKED = {
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "RAR",
    b"\x1f\x8b": "gzip twice",
}
UTF7_MARKS = (b"+/v8", b"+/v9", b"+/v+", b"+/v/")


def once_encoded(text: str) -> str:
    """`böse` for `bÃ¶se`, which is UTF-8 encoded twice; other text is returned unchanged."""

    def once(found: re.Match[str]) -> str:
        raw = b"".join(c.encode("cp1252" if ord(c) > 255 else "latin-1") for c in found[0])
        return raw.decode("utf-8", "replace")

    if not any(
        len(pair[0]) > 2
        or pair[0][1] not in _CLOSING
        or text[pair.end() : pair.end() + 1].islower()
        for pair in _TWICE.finditer(text)
    ):
        return text
    found = _TWICE.sub(once, text)
    return text if "\ufffd" in found else found


def check_encoding(name: str) -> str:
    """Python's name of an encoding; raises UsageError if it is unknown."""
    try:
        found = codecs.lookup(name)
        "a".encode(found.name)
    except (LookupError, TypeError, ValueError):
        raise UsageError(
            f"data.encoding={name} is unknown{nearest(name, _KNOWN)} Examples: {', '.join(_KNOWN)}."
        ) from None
    # a byte order mark is not part of the first column's name
    return "utf-8-sig" if found.name == "utf-8" else found.name


def encoding_of(path: Path, opened: Callable[[], BinaryIO]) -> str:
    """The encoding of a text file, with a message if it was guessed.

    Args:
        opened: opens the unpacked file as bytes; called several times.

    Raises:
        DataError: it is too large or not text, is only partly UTF-8, could have several
            encodings, or some of its lines are encoded twice.
    """
    with opened() as file:
        head = file.read(1 << 12)
        if packed := next((name for mark, name in _PACKED.items() if head.startswith(mark)), ""):
            raise DataError(
                f"{path} is compressed with {packed}, which medcnn does not read: unpack it."
            )
        if head.startswith(UTF7_MARKS):
            raise DataError(f"{path} is UTF-7, which medcnn does not read: save it as UTF-8.")
        size, zeros, plain = len(head), b"\0" in head, head.isascii()
        escape = b"\x1b$" in head or b"\x1b(" in head
        while part := file.read(1 << 20):
            size += len(part)
            bounds.refuse_text(path, size)
            zeros, plain = zeros or b"\0" in part, plain and part.isascii()
            escape = escape or b"\x1b$" in part or b"\x1b(" in part
        bounds.refuse_text(path, size)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if zeros and head.count(0) * 20 > len(head):
        return _wide(path, head)
    if escape:
        raise _unknown(path, "it has escape sequences, like ISO-2022-JP and -KR", "iso2022_jp")
    return "utf-8" if plain else _with_accents(path, opened)


def _wide(path: Path, head: bytes) -> str:
    """UTF-16 or UTF-32 without a mark: the one with the most printable ASCII."""
    best, most = "", 0.5
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        width = 4 if "32" in encoding else 2
        try:
            text = head[: len(head) // width * width].decode(encoding)
        except UnicodeDecodeError as error:
            if error.end < len(head) - 4:  # or the sample ends within a character
                continue
            text = head[: error.start].decode(encoding)
        plain = sum(c.isascii() and (c.isprintable() or c in "\t\r\n") for c in text)
        if "\0" not in text and text and plain / len(text) > most:
            best, most = encoding, plain / len(text)
    if not best:
        raise DataError(
            f"{path} contains zero bytes, so it is not text. If it is a table, save it as CSV in "
            "UTF-8."
        )
    _say(path, best.upper(), "it has zeros between its letters, but no byte order mark")
    return best


def _with_accents(path: Path, opened: Callable[[], BinaryIO]) -> str:
    whole: list[int] = []
    twice: list[tuple[int, str]] = []
    broken: list[tuple[int, bytes]] = []
    odd: tuple[int, bytes] | None = None
    pairs = high = looked_at = 0
    with opened() as file:
        text = io.TextIOWrapper(file, encoding="latin-1", newline="")
        for number, line in enumerate(bounds.lines(path, text), start=1):
            if line.isascii():
                continue
            raw = line.encode("latin-1")
            try:
                read = raw.decode("utf-8")
                if once_encoded(read) != read:
                    if len(twice) < 6:
                        twice.append((number, read))
                elif len(whole) < 6:
                    whole.append(number)
                continue
            except UnicodeDecodeError:
                if len(broken) < 6:
                    broken.append((number, raw))
            looked_at += 1
            if looked_at > MOST_LOOKED_AT:
                continue
            if odd is None and _ODD.search(raw):
                odd = (number, raw)
            high += sum(byte > 127 for byte in raw)
            for pair in _PAIR.findall(raw):
                if not _USUAL_PAIR.fullmatch(pair):
                    pairs += len(pair)
                    odd = odd or ((number, raw) if 5 * pairs > high else None)
    if not broken:
        if twice:
            _tell_twice(path, whole, twice)
        return "utf-8"
    if whole or twice:
        raise _mixed(path, whole or [number for number, _ in twice], broken)
    if odd is None and 5 * pairs <= high:
        number, raw = broken[0]
        word = _first_word(raw.decode("cp1252"))
        _say(path, "Windows-1252", f"it is not UTF-8; line {number} reads {private(word)}")
        return "cp1252"
    number, raw = odd or broken[0]
    raise _unknown(path, f"line {number} may read {_readings(raw)}", "cp1251")


def _tell_twice(path: Path, whole: list[int], twice: list[tuple[int, str]]) -> None:
    """Raises DataError if some lines are encoded twice, and the lines `whole` once."""
    number, line = twice[0]
    cell = next(c for c in _cells_of(line) if once_encoded(c) != c)
    word = f"{private(cell[:40])} for {private(once_encoded(cell)[:40])} in line {number}"
    lines = listed([str(number) for number, _ in twice])
    right = "if they are correct as they are, set data.encoding=utf-8"
    if whole:
        others = listed([str(number) for number in whole], 3)
        raise DataError(
            f"{path}: lines {lines} seem to be encoded twice ({word}), and lines {others} are not. "
            f"One class or patient could become two: correct these lines; or, {right}."
        )
    log.warning(
        f"{path.name}: lines {lines} seem to be encoded twice ({word}). They are read as they "
        f"are. Save the table again as UTF-8; or, {right}"
    )


def _mixed(path: Path, whole: list[int], broken: list[tuple[int, bytes]]) -> DataError:
    lines = listed([str(number) for number, _ in broken])
    others = listed([str(number) for number in whole], 3)
    word = private(_first_word(broken[0][1].decode("utf-8", "replace")))
    return DataError(
        f"{path}: lines {lines} are not UTF-8, but lines {others} are ({word} in line "
        f"{broken[0][0]}). The file has two encodings: save it as UTF-8 and check these lines; or, "
        "if the whole file has another encoding, set data.encoding=NAME."
    )


def _unknown(path: Path, why: str, example: str) -> DataError:
    return DataError(
        f"{path} is not UTF-8, and its encoding is unclear: {why}. Save the table as UTF-8, or "
        f"set data.encoding=NAME, such as data.encoding={example}."
    )


def _readings(raw: bytes) -> str:
    """How the first odd word would read in each possible encoding."""
    found: dict[str, str] = {}
    for encoding in ("cp1252", *_OTHERS):
        try:
            word = _first_word(raw.decode(encoding))
        except UnicodeDecodeError:
            continue
        if word.isprintable():
            found.setdefault(word, encoding)
    return listed([f"{private(word)} ({encoding})" for word, encoding in found.items()], 6)


def _first_word(line: str) -> str:
    """The first cell with a non-ASCII letter."""
    return next((c[:40] for c in _cells_of(line) if not c.isascii()), "")


def _cells_of(line: str) -> list[str]:
    return [cell.strip(' "') for cell in re.split(r"[,;\t|\r\n]", line)]


def _say(path: Path, encoding: str, why: str) -> None:
    log.warning(
        f"{path.name} is read as {encoding}, a guess: {why}. If letters are wrong, save it as "
        "UTF-8 or set data.encoding=NAME"
    )
