"""An encoding is known, or guessed aloud, or asked for; letters never change in silence."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from medcnn.data.own.encodings import once_encoded
from medcnn.data.own.sheets import Sheet, read_sheet
from medcnn.system.errors import DataError, UsageError


def sheet_of(tmp_path: Path, raw: bytes, encoding: str | None = None) -> Sheet:
    (tmp_path / "t.csv").write_bytes(raw)
    return read_sheet(tmp_path / "t.csv", encoding=encoding)


GERMAN = "file,label\na.png,böse\nb.png,gut…artig\nc.png,größer\n"


@pytest.mark.fault
def test_windows_1252_is_guessed_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Row A12: 0x80 to 0x9f were control characters of Latin-1."""
    text = "file,label\na.png,böse\nb.png,“gut”\nc.png,créée d’une façon\nd.png,ção\n"
    labels = [r["label"] for r in sheet_of(tmp_path, text.encode("cp1252")).rows]
    assert labels == ["böse", "“gut”", "créée d’une façon", "ção"]
    assert "t.csv is read as Windows-1252, a guess" in caplog.text


@pytest.mark.fault
def test_a_file_of_two_encodings_is_refused_with_its_lines(tmp_path: Path) -> None:
    """Row A12: three classes out of two."""
    raw = "file,label\na.png,böse\nb.png,böse\n".encode() + "c.png,böse\n".encode("latin-1")
    with pytest.raises(DataError, match="lines 4 are not UTF-8, but lines 2, 3 are"):
        sheet_of(tmp_path, raw)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("encoding", "word"),
    [
        ("cp1251", "злокачественная"),
        ("cp1250", "złośliwy"),
        ("cp1254", "sağlıklı"),
        ("cp850", "gutmütig"),
        ("mac_roman", "böse"),
        ("shift_jis", "悪性"),
        ("gb18030", "良性"),
        ("big5", "惡性"),
        ("euc_kr", "악성"),
        ("cp1253", "κακοήθης"),
        ("iso2022_jp", "悪性"),
    ],
)
def test_other_encodings_are_asked_for_and_then_read(
    tmp_path: Path, encoding: str, word: str
) -> None:
    """Row A12."""
    raw = f"file,label\na.png,{word}\nb.png,x\n".encode(encoding)
    with pytest.raises(DataError, match=r"set data\.encoding=NAME"):
        sheet_of(tmp_path, raw)
    assert sheet_of(tmp_path, raw, encoding).rows[0]["label"] == word


@pytest.mark.fault
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [GERMAN, "file,label\na.png,悪性\n"])
def test_every_kind_of_unicode_is_read_with_and_without_its_mark(
    tmp_path: Path, encoding: str, text: str
) -> None:
    """Row A12."""
    found = sheet_of(tmp_path, text.encode(encoding))
    assert [",".join(r.values()) for r in found.rows] == text.split()[1:]
    assert found.columns == ("file", "label")


def test_an_encoding_that_is_wrong_unknown_or_idle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not have the encoding of data\.encoding=utf-8"):
        sheet_of(tmp_path, GERMAN.encode("cp1252"), "utf-8")
    for name in ("klingon", "hex", "rot13"):
        with pytest.raises(UsageError, match=rf"data\.encoding={name} is unknown"):
            sheet_of(tmp_path, b"a,b\n1,2\n", name)
    with pytest.raises(UsageError, match="has no effect"):
        sheet_of(tmp_path, b"PAR1", "utf-8")


@pytest.mark.fault
@pytest.mark.parametrize(
    "word",
    [
        "böse",
        "größer",
        "créée",
        "não",
        "Íñigo",
        "Ödem",
        "złośliwy",
        "κακοήθης",
        "рак",
        "悪性",
        "l’œil",
    ],
)
def test_text_that_is_encoded_twice_is_reported(
    word: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Row A12: read as it stands, and said; beside the right spelling it is refused."""
    high = (b.to_bytes() for b in word.encode())
    twice = "".join(b.decode("cp1252", "ignore") or b.decode("latin-1") for b in high)
    assert once_encoded(twice) == word
    assert once_encoded(word) == word
    lines = f"file,label\na.png,{twice}\nb.png,x\n"
    assert sheet_of(tmp_path, lines.encode()).rows[0]["label"] == twice
    assert "encoded twice" in caplog.text
    both = f"{lines}c.png,{word}\n".encode()
    with pytest.raises(DataError, match=r"lines 2 seem to be encoded twice .* lines 4 are not"):
        sheet_of(tmp_path, both)
    assert sheet_of(tmp_path, both, "utf-8").rows[0]["label"] == twice


@pytest.mark.parametrize(
    "text", ["«SANTÉ»", "«IRMû", "N° 5", "Å»", "JÄ«", "50 µm ± 3", "naïve – déjà", "ÎLE", "30 Â"]
)
def test_what_is_no_double_encoding_is_let_be(text: str) -> None:
    assert once_encoded(text) == text


@pytest.mark.fault
@pytest.mark.parametrize(
    ("pack", "name"),
    [
        (lzma.compress, "xz"),
        (bz2.compress, "bzip2"),
        (lambda raw: gzip.compress(gzip.compress(raw)), "gzip twice"),
        (lambda raw: b"\x28\xb5\x2f\xfd\x24" + raw, "zstd"),
    ],
)
def test_a_packed_table_is_named_and_never_guessed_at(
    pack: Callable[[bytes], bytes], name: str, tmp_path: Path
) -> None:
    """Row B12."""
    with pytest.raises(
        DataError, match=f"compressed with {name}, which medcnn does not read: unpack it"
    ):
        sheet_of(tmp_path, pack(GERMAN.encode()))


@pytest.mark.fault
def test_utf_7_with_its_mark_is_refused(tmp_path: Path) -> None:
    """Row A12."""
    with pytest.raises(DataError, match="UTF-7, which medcnn does not read: save it as UTF-8"):
        sheet_of(tmp_path, b"+/v8-file,label\na.png,b+APY-se\n")
