"""What users type, before Hydra reads it: paths without a key, earlier names, and paths without the
quotes that Hydra's grammar requires.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medcnn.cli.help import settings
from medcnn.system.errors import UsageError, private
from medcnn.system.paths import PATHS, config_folder
from medcnn.verbs import Verb

TEXTS = (
    *("data.image", "data.label", "data.patient", "data.split", "data.sheet", "data.title"),
    *("data.suffix", "data.separator", "data.none_label", "data.rare_name", "data.group_noun"),
)
"""Names of columns and the like: taken literally if Hydra's grammar cannot read them."""

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
"""Short and earlier names of settings, accepted by every command with the setting."""

SHORT = {"dicom": "dicom.folder"}
"""What a group is mostly asked for."""

NAMING = re.compile(r"\+*data\.exclude\b")  # the rest may name patients
NAMES = (
    *("attributes", "classes", "exclude", "names", "rename", "split_names", "tags"),
    "uncertain_words",
)
"""Settings of `data` whose keys and values are words of the user's own."""

LONGEST_WORD, MOST_BRACKETS, MOST_DIGITS, MOST_REFERENCES = 20_000, 16, 40, 8


def refuse_hostile(words: Sequence[str]) -> None:
    """Raises UsageError for a word that would take a parser minutes, or crash it."""
    for word in words:
        name = said(word)
        if len(word) > LONGEST_WORD:
            raise UsageError(f"{name} has {len(word):,} characters; the limit is {LONGEST_WORD:,}.")
        if any(ord(c) < 32 and c not in "\t\n\r" for c in word):
            raise UsageError(f"{name!r} contains a control character.")
        if fault := too_much(word):
            raise UsageError(f"{name} {fault}.")
        if _depth(word) > MOST_BRACKETS:
            raise UsageError(f"{name} is nested more than {MOST_BRACKETS} deep.")


def _depth(word: str) -> int:
    """How deep brackets are nested, even within texts."""
    depth = deepest = 0
    for letter in word:
        depth += (letter in "[{(") - (letter in "]})")
        deepest = max(deepest, depth)
    return deepest


def too_much(text: str) -> str:
    """Why this text cannot be a setting: an endless number or endless references; or ""."""
    if re.search(rf"(?<![\w.])[+-]?\d[\d_]{{{MOST_DIGITS}}}", text):
        return f"has a number of more than {MOST_DIGITS} digits"
    if text.count("${") > MOST_REFERENCES:
        return f"has more than {MOST_REFERENCES} references ${{...}}"
    return ""


def said(word: str) -> str:
    """A word of the command for a message."""
    key, _, value = word.partition("=")
    return f"{key}={private(shortened(value))}" if NAMING.match(key) else shortened(word)


def shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


def understood(
    verb: Verb, words: Sequence[str], *, many: bool = False
) -> tuple[list[str], list[str]]:
    """The settings of a command in Hydra's grammar, and hints for the user.

    Args:
        words: without options such as `--debug`.
        many: whether a comma makes several runs (`-m`).

    Raises:
        UsageError: a word that is not a setting, or two words for the same setting.
    """
    refuse_hostile(words)
    hints: list[str] = []
    found = []
    for word in placed(verb, words):
        start, key, value = parts(word)
        if not key and "=" in word:
            raise UsageError(f"'{shortened(word)}': a setting is written key=value.")
        if key not in PATHS and any("\ud800" <= c <= "\udfff" for c in value):
            raise UsageError(f"{key}={private(shortened(value))} is not text in UTF-8.")
        if (new := RENAMED.get(key)) and new in settings(verb.name, config_folder()):
            hints.append(f"{key}= is now called {new}=; the old name still works.")
            key = new
        if (whole := SHORT.get(key)) and whole in settings(verb.name, config_folder()):
            key = whole
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
    """Whether a word is a file or folder rather than a setting."""
    deletes = word.startswith("~") and "/" not in word  # in Hydra's grammar
    return not word.startswith("-") and not deletes and ("=" not in word or _there(word))


def _there(text: str) -> bool:
    return os.path.exists(os.path.expanduser(text))


def placed(verb: Verb, words: Sequence[str]) -> Iterator[str]:
    """`words` with `checkpoint=` and the like added to those that lack it.

    Raises:
        UsageError: more paths than the command takes, or one also given by its key.
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
    if verb.places[0] == "checkpoint":  # in whichever order, weights are never the images
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
            f"'{word}': which data are in this folder? For your own images, `medcnn init {word}` "
            f"writes a YAML for data=NAME; for a public set write data=NAME data.root={word}."
        )
    if _there(word) or word.endswith((".safetensors", ".csv", ".npz")):
        return f"'{word}': for which setting is this file? For example, checkpoint={word}."
    if colon := re.fullmatch(r"([a-z_]\w*(?:\.\w+)*):(.*)", word):
        return f"'{word}': write {colon[1]}={colon[2] or following or '...'}."
    return f"'{word}' is not a setting; write settings as key=value."


# Two pairs of quotes: the shell has removed its own, these are for Hydra.
_QUOTED = re.compile(r"""(["'])(?:\\.|(?!\1)[^\\])*\1""", re.DOTALL)
_FUNCTION = re.compile(r"(choice|glob|shuffle|sort|str|tag)\(.*\)", re.DOTALL)
_WORDS = re.compile(r"[\w-]+(,[\w-]+)+", re.ASCII)


def as_path(key: str, value: str, *, many: bool = False) -> str:
    """A path quoted for Hydra's grammar, which would otherwise interpret its characters.

    Raises:
        UsageError: no value, perhaps from an unset shell variable.
    """
    if not value.strip():
        if key == "data.folder":
            return '""'
        raise UsageError(f"{key}= is empty. Is a shell variable not set?")
    if max(map(len, map(os.fsencode, value.split("/")))) > 255 or len(value) > 4000:
        raise UsageError(f"{key}={shortened(value)}: this is too long for a file name.")
    if value == "null" or _QUOTED.fullmatch(value):
        return value
    if _there(value):
        return word_of(value)
    if many and _FUNCTION.fullmatch(value):
        return value
    if many or _WORDS.fullmatch(value):  # none,pretrained is a sweep, with or without -m
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
        # a backslash is literal, unless the quote after it would become part of the text
        text = re.sub(r'(\\*)("|\Z)', lambda m: m[1] * 2 + m[2].replace('"', r"\""), value)
        return f'"{text}"'
    if isinstance(value, list):
        return f"[{','.join(map(word_of, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{word_of(v)}" for k, v in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)
