"""What users type, before Hydra reads it: places without a name, names of old, and paths, which
need no quotes here although Hydra's grammar asks for them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medcnn.cli.help import settings
from medcnn.system.errors import UsageError, private
from medcnn.system.paths import config_folder
from medcnn.verbs import Verb

PLACES = (
    *("data.root", "data.path", "data.cache", "run_dir", "checkpoint", "input", "output", "run"),
    "old_data",
)
"""Settings that are a place of this machine; `${oc.env:DATA}` may stand in these alone."""

PATHS = (*PLACES, "data.table", "data.folder", "model.weights")
"""Settings whose value is taken letter by letter: it may hold blanks, commas and brackets."""

TEXTS = (
    *("data.image", "data.label", "data.patient", "data.split", "data.sheet", "data.title"),
    *("data.suffix", "data.separator", "data.none_label", "data.rare_name", "data.group_noun"),
)
"""Names of columns and the like: taken letter by letter where Hydra's grammar has no reading."""

RENAMED = {
    "augmentation": "augmentation.preset",
    "threads": "trainer.threads",
    "device": "trainer.device",
    "precision": "trainer.precision",
    "batch_size": "trainer.batch_size",
    "max_bad": "audit.max_bad",
    "max_unreadable": "audit.max_bad",
    "audit.max_unreadable": "audit.max_bad",
}
"""Short and earlier names of settings, understood in every command that has the setting."""

NAMING = re.compile(r"\+*data\.exclude\b")  # what follows may name patients

LONGEST_WORD, MOST_BRACKETS, MOST_DIGITS, MOST_REFERENCES = 20_000, 16, 40, 8


def refuse_hostile(words: Sequence[str]) -> None:
    """Raises UsageError for a word that a parser would take minutes for, or die of."""
    for word in words:
        name = said(word)
        if len(word) > LONGEST_WORD:
            raise UsageError(f"{name}: has {len(word):,} letters, of at most {LONGEST_WORD:,}.")
        if any(ord(c) < 32 and c not in "\t\n\r" for c in word):
            raise UsageError(f"{name!r}: holds a control character.")
        if fault := too_much(word):
            raise UsageError(f"{name}: {fault}.")
        if _depth(word) > MOST_BRACKETS:
            raise UsageError(f"{name}: is nested more than {MOST_BRACKETS} deep.")


def _depth(word: str) -> int:
    """How deep brackets are nested, whether or not they are a part of a text."""
    depth = deepest = 0
    for letter in word:
        depth += (letter in "[{(") - (letter in "]})")
        deepest = max(deepest, depth)
    return deepest


def too_much(text: str) -> str:
    """Why no setting can mean this text: a number or references without end; blank where fine."""
    if re.search(rf"(?<![\w.])[+-]?\d[\d_]{{{MOST_DIGITS}}}", text):
        return f"has a number of more than {MOST_DIGITS} digits"
    if text.count("${") > MOST_REFERENCES:
        return f"has more than {MOST_REFERENCES} references ${{...}}"
    return ""


def said(word: str) -> str:
    """A word of the command as a message has it."""
    key, _, value = word.partition("=")
    return f"{key}={private(shortened(value))}" if NAMING.match(key) else shortened(word)


def shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


def understood(
    verb: Verb, words: Sequence[str], *, many: bool = False
) -> tuple[list[str], list[str]]:
    """The settings of a command as Hydra reads them, and what to tell the user about them.

    Args:
        words: without options such as `--debug`.
        many: whether a comma makes several runs (`-m`).

    Raises:
        UsageError: a word that is not a setting, or two that say the same thing.
    """
    refuse_hostile(words)
    hints: list[str] = []
    found = []
    for word in placed(verb, words):
        start, key, value = parts(word)
        if not key and "=" in word:
            raise UsageError(f"'{shortened(word)}': a setting is written key=value.")
        if key not in PATHS and any("\ud800" <= c <= "\udfff" for c in value):
            raise UsageError(f"{key}={private(shortened(value))}: is not text in UTF-8.")
        if (new := RENAMED.get(key)) and new in settings(verb.name, config_folder()):
            hints.append(f"{key}= is called {new}=; the other name is still understood.")
            key = new
        if key in PATHS:
            value = as_path(key, value, many=many)
        found.append(f"{start}{key}={value}" if "=" in word else word)
    return found, list(dict.fromkeys(hints))


def parts(word: str) -> tuple[str, str, str]:
    """`+`, key and value of `+key=value`."""
    key, _, value = word.partition("=")
    name = key.lstrip("+")
    return key[: len(key) - len(name)], name, value


def is_place(word: str) -> bool:
    """Whether a word stands for a file or a folder, and not for a setting."""
    deletes = word.startswith("~") and "/" not in word  # in Hydra's grammar
    return not word.startswith("-") and not deletes and ("=" not in word or _there(word))


def _there(text: str) -> bool:
    return os.path.exists(os.path.expanduser(text))


def placed(verb: Verb, words: Sequence[str]) -> Iterator[str]:
    """`words` with `checkpoint=` and the like before those that lack it.

    Raises:
        UsageError: more of them than the command takes, or one that is given by its key too.
    """
    places = [w for w in words if is_place(w)]
    if not verb.places or not places:
        for word in words:
            if is_place(word) and "=" not in word:
                raise UsageError(_no_setting(word, words))
            yield word
        return
    given = [parts(w)[1] for w in words if w not in places]
    free = [key for key in verb.places if key not in given]
    if len(places) > len(free):
        takes = " ".join(key.upper() for key in verb.places)
        raise UsageError(
            f"'{places[len(free)]}': medcnn {verb.name} takes {takes} and settings such as "
            "key=value. A path with spaces needs quotes."
        )
    if verb.places[0] == "checkpoint":  # whichever comes first, weights are never the images
        places.sort(key=lambda w: not w.endswith(".safetensors"))
    keys = dict(zip(places, free, strict=False))
    for word in words:
        yield f"{keys[word]}={word}" if word in keys else word


def _no_setting(word: str, words: Sequence[str]) -> str:
    at = list(words).index(word)
    following = words[at + 1] if at + 1 < len(words) else ""
    if following.startswith("="):
        value = following[1:] or (words[at + 2] if at + 2 < len(words) else "...")
        return f"'{word}': write {word}={value}, without spaces around the equals sign."
    if at and words[at - 1].partition("=")[0] in PATHS:
        whole = f"{words[at - 1]} {word}"
        return f"'{word}' is not a setting. Does it belong to the path? Then quote it: '{whole}'."
    if os.path.isdir(os.path.expanduser(word)):
        return (
            f"'{word}': say what is in this folder. For your own images, `medcnn init {word}` "
            f"writes a YAML for data=NAME; for a public set write data=NAME data.root={word}."
        )
    if _there(word) or word.endswith((".safetensors", ".csv", ".npz")):
        return f"'{word}': say which setting this file is, such as checkpoint={word}."
    if colon := re.fullmatch(r"([a-z_]\w*(?:\.\w+)*):(.*)", word):
        return f"'{word}': write {colon[1]}={colon[2] or following or '...'}."
    return f"'{word}' is not a setting: settings are written key=value."


# Two pairs of quotes: those of the shell are gone, these are Hydra's.
_QUOTED = re.compile(r"""(["'])(?:\\.|(?!\1)[^\\])*\1""", re.DOTALL)
_FUNCTION = re.compile(r"(choice|glob|shuffle|sort|str|tag)\(.*\)", re.DOTALL)
_WORDS = re.compile(r"[\w-]+(,[\w-]+)+", re.ASCII)


def as_path(key: str, value: str, *, many: bool = False) -> str:
    """The value of a path in Hydra's grammar, which would otherwise read its signs.

    Raises:
        UsageError: no value, as an unset variable of the shell leaves it.
    """
    if not value.strip():
        if key == "data.folder":
            return '""'
        raise UsageError(f"{key}= is empty. Is a variable of your shell not set?")
    if max(map(len, map(os.fsencode, value.split("/")))) > 255 or len(value) > 4000:
        raise UsageError(f"{key}={shortened(value)}: no file has so long a name.")
    if value == "null" or _QUOTED.fullmatch(value):
        return value
    if _there(value):
        return word_of(value)
    if many and _FUNCTION.fullmatch(value):
        return value
    if many or _WORDS.fullmatch(value):  # none,pretrained is a sweep, with or without its -m
        return ",".join(_item(part) for part in value.split(","))
    if key == "data.table" and value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_item(part.strip()) for part in value[1:-1].split(','))}]"
    return word_of(value)


def _item(part: str) -> str:
    return part if part == "null" or _QUOTED.fullmatch(part) else word_of(part)


_PLAIN = re.compile(r"(?!(?:true|false|null|nan|inf)\Z)[a-z_][\w./-]*", re.I | re.A)


def word_of(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        # a backslash is itself, unless the quote after it would be taken for a part of the text
        text = re.sub(r'(\\*)("|\Z)', lambda m: m[1] * 2 + m[2].replace('"', r"\""), value)
        return f'"{text}"'
    if isinstance(value, list):
        return f"[{','.join(map(word_of, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{word_of(v)}" for k, v in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)
