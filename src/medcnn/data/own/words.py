"""Words as people see them: what a screen does not show makes no second class and no second patient
of one; and cells that hold the error of a spreadsheet instead of a word."""

from __future__ import annotations

import re
import unicodedata

# Zero width (space, joiners, word joiner, byte order mark, Mongolian separator), soft hyphen, and
# marks of the direction of writing.
INVISIBLE = "\u200b-\u200f\u2060-\u2064\ufeff\u180e\u00ad\u202a-\u202e\u2066-\u2069"
_ENDS = re.compile(rf"^[\s{INVISIBLE}]+|[\s{INVISIBLE}]+$")
HIDDEN = re.compile(f"[{INVISIBLE}]")
_JOINERS = re.compile(r"(?<=\w)[\u200c\u200d](?=\w)")


def trimmed(text: str) -> str:
    """Without blanks and invisible characters at the ends; those within stay, as names of files
    may have them."""
    return text if text.isascii() and text == text.strip() else _ENDS.sub("", text)


def tidy(text: str) -> str:
    """What a reader sees: without invisible characters, any blanks as one space, accents in one
    form. Joiners within words of Persian or Hindi stay, since they can be seen."""
    if text.isascii():
        return " ".join(text.split()) if "  " in text or not text.isprintable() else text.strip()
    kept = _JOINERS.sub(lambda m: {"\u200c": "\ue000", "\u200d": "\ue001"}[m[0]], text)
    kept = HIDDEN.sub("", kept).replace("\ue000", "\u200c").replace("\ue001", "\u200d")
    return unicodedata.normalize("NFC", " ".join(kept.split()))


# Those that end in neither `!` nor `?`, as Excel has them in its languages; of the others the shape
# says enough: `#REF!`, `#BEZUG!`, `#¿NOMBRE?`, `#ССЫЛКА!`.
_ERRORS = frozenset(
    """#n/a #n/d #n/b #nv #i/t #н/д #yok #hiányzik #není_k_dispozici #ei_käytössä #nd
    #getting_data #daten_abrufen #obteniendo_datos #obtention_donnees #referens #referência
    #δ/υ #לא_זמין #spill #calc #busy #blocked #connect #external #field #unknown #timeout #python
    #ref #value #div/0 #name #null #num #error""".split()  # noqa: SIM905
)
_ERROR = re.compile(
    r"#[¡¿]?[^\W\d_][^#]{0,30}[!?]|#n/a .*|#n[./][a-z]\.?|#{3,}"
    r"|(err|error|erreur|errore|erro|fehler|fout|fel|feil|virhe|chyba|hiba)\s?:\s?\d{3}",
    re.IGNORECASE,
)


def is_error_cell(text: str) -> bool:
    """Whether a spreadsheet could not compute the cell: `#N/A`, `#BEZUG!`, `Fehler:502`, `####`."""
    if not text or (text[0] != "#" and ":" not in text):
        return False
    return text.casefold() in _ERRORS or _ERROR.fullmatch(text) is not None
