"""Names of patients become keyed pseudonyms before they are written or shown anywhere."""

from __future__ import annotations

import errno
import hmac
import os
import re
import secrets
import sys
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TextIO

from medcnn.system.errors import UsageError
from medcnn.system.files import POSIX, cache_folder, cache_place, read_own, visible
from medcnn.system.progress import log

KEY, KEY_FILE = "MEDCNN_PSEUDONYM_KEY", "MEDCNN_PSEUDONYM_KEY_FILE"
FEWEST_KEY_BYTES = 16
"""A shorter key can be found by trying all of them against one known patient."""
HEX_CHARACTERS = 12
"""48 bits: two of 100,000 images share a pseudonym once in 50,000 sets."""


_MARKED = re.compile("‹([^‹›]*)›")
_PSEUDONYM = re.compile(rf"[a-z]+-[0-9a-f]{{{HEX_CHARACTERS}}}")
# `pat-202401151234` may be a real id: only a pseudonym in 300 has no letter after its noun
_SURELY = re.compile(rf"[a-z]+-(?=\d*[a-f])[0-9a-f]{{{HEX_CHARACTERS}}}")


def pseudonym(text: str, noun: str = "patient") -> str:
    """`patient-3f9a01c2d4e5` for the id of a patient: the same for the same id and key. Without the
    key it cannot be reversed, not even by trying all numbers.

    The key is the value of MEDCNN_PSEUDONYM_KEY, else the content of the file named by
    MEDCNN_PSEUDONYM_KEY_FILE, else a random one in the cache folder, created once with a warning.

    Raises:
        UsageError: the named file cannot be read, the key is too short, or a random one cannot be
            stored.

    Source: HMAC-SHA256, RFC 2104.
    """
    digest = hmac.digest(_key_now(), text.encode("utf-8", "surrogateescape"), "sha256").hex()
    return f"{noun}-{digest[:HEX_CHARACTERS]}"


def _key_now() -> bytes:
    # resolving the cache folder for every name would take most of the time
    return _key(*map(os.environ.get, (KEY, KEY_FILE, "MEDCNN_CACHE", "XDG_CACHE_HOME", "HOME")))


def keyed(text: str, purpose: str, size: int = 16) -> bytes:
    """Replaces a name in a cache: comparable, and as irreversible as a pseudonym.

    Args:
        purpose: digests of one name for different purposes are unrelated.
        size: bytes, at most 32.
    """
    message = f"{purpose}\0{text}".encode("utf-8", "surrogatepass")
    return hmac.digest(_key_now(), message, "sha256")[:size]


def as_pseudonyms(words: Iterable[str]) -> list[str]:
    """A pseudonym for each name; pseudonyms stay as they are."""
    return [w if _PSEUDONYM.fullmatch(w) else pseudonym(w, "id") for w in words]


def as_names(words: Sequence[str], names: Iterable[str]) -> list[str]:
    """Replace each pseudonym, with any noun, by the one of `names` that it belongs to."""
    if not any(map(_PSEUDONYM.fullmatch, words)):
        return list(words)
    name_of = {pseudonym(name, "id").removeprefix("id-"): name for name in names}
    return [name_of.get(word[-HEX_CHARACTERS:], word) for word in words]


def pseudonymised(text: str) -> str:
    """A message with a pseudonym for every name marked by `errors.private`. One that already is a
    pseudonym stays, so that it can be looked up."""
    return _MARKED.sub(
        lambda found: found[1] if _SURELY.fullmatch(found[1]) else pseudonym(found[1], "id"),
        visible(text),
    )


def for_terminal(text: str, stream: TextIO | None = None) -> str:
    """A message as the user at the screen may read it. A pipe or the log of a cluster, which others
    can read, gets pseudonyms.

    Args:
        stream: where it is shown; None: stderr.
    """
    text = visible(text)
    if (stream or sys.stderr).isatty():
        return _MARKED.sub(r"'\1'", text)
    try:
        hidden = pseudonymised(text)
    except UsageError:  # the fault must be reported even without a key
        return _MARKED.sub("(name hidden)", text)
    if hidden == text:
        return text
    return f"{hidden}\n(Names of files and patients are pseudonyms here; a terminal shows them.)"


@cache
def _key(value: str | None, file: str | None, *cache_variables: str | None) -> bytes:
    if value is not None:
        return _long_enough(value.encode(), KEY)
    if file is not None:
        return _named_key(Path(file))
    folder = cache_folder()
    path = folder / "pseudonym.key"
    try:
        if not os.path.lexists(path):
            _make_key(path)
        return _long_enough(_secret(path), str(path))
    except OSError as error:
        raise UsageError(
            f"the pseudonym key cannot be stored in {folder}: {_why(error)}. Set {KEY_FILE} to a "
            "file with a key, or MEDCNN_CACHE to a folder that can be written."
        ) from None


def _named_key(file: Path) -> bytes:
    try:
        # a Kubernetes secret is a link; the owner of its target is what counts
        key = read_own(Path(os.path.realpath(file))).strip()
        if file.stat().st_mode & 0o044:
            log.warning(f"other users of this machine can read the key in {file}: chmod 600 it.")
    except OSError as error:
        raise UsageError(f"{KEY_FILE}={file} cannot be read: {_why(error)}.") from None
    return _long_enough(key, f"{KEY_FILE}={file}")


def _secret(path: Path) -> bytes:
    """Raises OSError; UsageError if another user could have put it there, or could read it."""
    key = read_own(path)
    if POSIX and path.stat().st_mode & 0o077:
        raise UsageError(
            f"{path}: other users of this machine can read the pseudonym key. If you are sure that "
            f"none did: chmod 600 '{path}'. If not, remove it; pseudonyms will then change."
        )
    return key


def _why(error: OSError) -> str | None:
    return "it is a link" if error.errno == errno.ELOOP else error.strerror


def _make_key(path: Path) -> None:
    cache_place()
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        temporary.chmod(0o600)  # whatever the umask
        with temporary.open("wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        # a link never replaces a file, so two processes that start at once end up with one key
        with suppress(FileExistsError):
            os.link(temporary, path)
            log.warning(
                f"pseudonyms of patients use a random key of this machine ({path}). If several "
                f"machines must agree on them, set {KEY_FILE} to a shared secret file."
            )
    finally:
        temporary.unlink()


def _long_enough(key: bytes, where: str) -> bytes:
    if len(key) < FEWEST_KEY_BYTES:
        raise UsageError(
            f"{where}: a key of {len(key)} bytes can be guessed; use {FEWEST_KEY_BYTES} or more, "
            "such as the output of `openssl rand -hex 32`."
        )
    return key
