"""Words as people see them, so that invisible differences do not make two classes or patients; and
cells that contain a spreadsheet error instead of a word."""

from __future__ import annotations

import re
import unicodedata

from medcnn.data.split_words import WORDS

# Control characters; zero width (space, joiners, byte order mark, Mongolian separator); soft
# hyphen; marks of the direction of writing.
_CONTROL = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
INVISIBLE = f"{_CONTROL}\u200b-\u200f\u2060-\u2064\ufeff\u180e\u00ad\u202a-\u202e\u2066-\u2069"
_ENDS = re.compile(rf"^[\s{INVISIBLE}]+|[\s{INVISIBLE}]+$")
HIDDEN = re.compile(f"[{INVISIBLE}]")
_JOINERS = re.compile(r"(?<=\w)[\u200c\u200d](?=\w)")


def trimmed(text: str) -> str:
    """Text without blanks and invisible characters at its ends; inner ones stay, since file names
    may contain them."""
    return text if text.isascii() and text == text.strip() else _ENDS.sub("", text)


def tidy(text: str) -> str:
    """Text as a reader sees it: without invisible characters, with single spaces, accents in one
    form. Joiners within Persian or Hindi words stay, since they are visible."""
    if text.isascii():
        if text.isprintable():
            return " ".join(text.split()) if "  " in text else text.strip()
        return " ".join(HIDDEN.sub("", text).split())
    kept = _JOINERS.sub(lambda m: {"\u200c": "\ue000", "\u200d": "\ue001"}[m[0]], text)
    kept = HIDDEN.sub("", kept).replace("\ue000", "\u200c").replace("\ue001", "\u200d")
    return unicodedata.normalize("NFC", " ".join(kept.split()))


_DASHES, _QUOTES = "\u2010-\u2015\u2212\ufe58\ufe63\uff0d_-", "'\"`´‘’‚‛“”„«»‹›"
# Letters of Cyrillic and Greek that look like Latin ones.
_LOOKS = str.maketrans("аеорсухкмтвнгіјѕһԁԛԝαορυνικτχβμς", "aeopcyxkmtbhrijshdqwaopuviktxbuc")


def likeness(word: str) -> str:
    """Equal for words that a reader may confuse: they differ only in case, width, dashes, quotes,
    blanks, or letters of other alphabets that look alike."""
    bare = unicodedata.normalize("NFKC", tidy(word)).casefold()
    bare = re.sub(rf"[\s{_DASHES}]+", "-", bare.strip(_QUOTES))
    return re.sub(f"[{re.escape(_QUOTES)}]", "'", bare).translate(_LOOKS)


_ERRORS = frozenset(WORDS["spreadsheets"]["errors"].split())
_ERROR = re.compile(
    r"#[¡¿]?[^\W\d_][^#]{0,30}[!?]|#n/a .*|#n[./][a-z]\.?|#{3,}"
    r"|(err|error|erreur|errore|erro|fehler|fout|fel|feil|virhe|chyba|hiba)\s?:\s?(\d{3}|#.*)"
    r"|#err(or)?[\s:_]?\d*|=na\(\)|(null|num|ref|name|value|div/0)!|#not[ _]?available"
    r"|loading(\.{3}|…)",
    re.IGNORECASE,
)


def is_error_cell(text: str) -> bool:
    """Whether the cell is a spreadsheet error: `#N/A`, `#BEZUG!`, `Fehler:502`, `####`."""
    text = unicodedata.normalize("NFKC", text) if text[:1] == "＃" else text
    if not text or not (text[0] in "#=" or ":" in text or text[-1] in "!.…"):
        return False
    return text.casefold() in _ERRORS or _ERROR.fullmatch(text) is not None
