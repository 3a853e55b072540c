"""One pass over the files of a set, which makes all that several shelves lack.

`build` depends only on its shard and the files. It may be killed, repeated or run twice at once,
here or on another machine that sees the same disk: it reuses what an earlier attempt kept, and each
attempt writes segments of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medcnn.images import file_part
from medcnn.pixels.decoder import Answer, decode, seen
from medcnn.pixels.executors import CLUSTERS, FEWEST_IN_SHARD, MOST_SHARDS, Where, processes_of
from medcnn.pixels.pool import Request
from medcnn.pixels.segments import NOWHERE, TAG_BYTES, Segments, Stored, Writer, merge, stored_in
from medcnn.pixels.shelves import Part, Shelf, states_of
from medcnn.system.files import locked, own_folder
from medcnn.system.progress import log, track

# Each is a file that stays open; a set that grows by a build a day reaches this in a year.
MOST_SEGMENTS = 320


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Some images of a set, and what to make from them.

    Attributes:
        parts: what is made, and where it goes; the folders exist.
        requests: the images; what each asks for is in the order of the parts.
        keys: for each request, the digest of its path, as in records.
        older: for each part, by row, what was made from the content that the request calls known.
        processes: how many decode.
    """

    root: Path
    parts: tuple[Part, ...]
    requests: tuple[Request, ...]
    keys: tuple[bytes, ...]
    older: tuple[dict[int, Stored], ...]
    processes: int

    def tag(self) -> bytes:
        """Begins the names of its segments, so that another attempt finds them."""
        asked = repr([(r.row, r.asked) for r in self.requests]).encode()
        return hashlib.blake2b(b"".join(self.keys) + asked, digest_size=TAG_BYTES).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a shard, for each part, by row.

    Attributes:
        stored: where the product is.
        unreadable: why the image must not be used, and what was made from it all the same.
    """

    stored: tuple[dict[int, Stored], ...]
    unreadable: tuple[dict[int, tuple[str, bytes]], ...]


def build(shard: Shard) -> Receipt:
    """Make the parts of a shard; raises OSError if they cannot be kept."""
    parts = range(len(shard.parts))
    receipt = Receipt(stored=tuple({} for _ in parts), unreadable=tuple({} for _ in parts))
    tag = shard.tag()
    left = _without_kept(shard, tag, receipt)
    if not left:
        return receipt
    keys = {request.row: key for request, key in zip(shard.requests, shard.keys, strict=True)}
    with ExitStack() as stack:
        writers = [stack.enter_context(Writer(part.folder, tag)) for part in shard.parts]
        recipes = [part.recipe for part in shard.parts]
        answers = decode(left, shard.root, recipes, processes=shard.processes)
        for answer in track(answers, len(left), "decoding images"):
            for n in parts:
                _keep(answer, n, shard, keys[answer.row], writers[n], receipt)
    return receipt


def _without_kept(shard: Shard, tag: bytes, receipt: Receipt) -> list[Request]:
    """The requests whose products an earlier attempt at this shard did not keep."""
    kept = [_kept(part, tag) for part in shard.parts]
    if not any(kept):
        return list(shard.requests)
    left = []
    for request, key in zip(shard.requests, shard.keys, strict=True):
        asked = list(request.asked)
        for n, of_part in enumerate(kept):
            stored = of_part.get(key)
            with suppress(OSError):
                file = shard.root / file_part(request.path)
                if asked[n] is not None and stored and stored.seen == seen(file):
                    receipt.stored[n][request.row], asked[n] = stored, None
        if any(known is not None for known in asked):
            left.append(replace(request, asked=tuple(asked)))
    return left


def _kept(part: Part, tag: bytes) -> dict[bytes, Stored]:
    segments = Segments(part.folder, part.item_bytes)
    found = stored_in(part.folder, tag)
    return {stored.path: stored for stored in found if segments.number(stored) != NOWHERE}


def _keep(
    answer: Answer, part: int, shard: Shard, key: bytes, writer: Writer, receipt: Receipt
) -> None:
    made, row = answer.made[part], answer.row
    if made is None:
        return
    if made.why:
        receipt.unreadable[part][row] = made.why, made.data
    elif made.same:
        stored = replace(shard.older[part][row], seen=answer.seen)
        with suppress(OSError):  # then the file is hashed again next time
            writer.confirm(stored)
        receipt.stored[part][row] = stored
    else:
        content = bytes.fromhex(answer.content)
        stored = Stored(path=key, seen=answer.seen, content=content, crc=made.crc)
        receipt.stored[part][row] = writer.add(stored, made.data)


def fill(
    root: Path,
    paths: Sequence[str],
    shelves: Sequence[Shelf],
    *,
    processes: int,
    executor: Where = Where.HERE,
) -> None:
    """Make what the shelves lack, in one pass.

    Args:
        processes: how many decode, if that is done here.

    Raises:
        OSError: a folder cannot be used; DataError: its disk has no room; UsageError: the library
            for the cluster is not installed.
    """
    with ExitStack() as stack:
        for shelf in sorted(shelves, key=lambda s: s.part.folder):
            folder = own_folder(shelf.part.folder)
            stack.enter_context(turn(folder, shelf.part.item_bytes, "decoding"))
        # another run may have made them while this one waited
        states = states_of(root, paths)
        for shelf in shelves:
            shelf.look_up(states)
        rows = sorted(set().union(*(shelf.missing for shelf in shelves)))
        if not rows:
            return
        for shelf in shelves:
            shelf.announce()
        if executor is Where.HERE:
            receipts = iter([build(_shard(root, paths, shelves, rows, processes))])
        else:
            receipts = _built_on(executor, root, paths, shelves, rows)
        for receipt in receipts:
            for shelf, stored, bad in zip(shelves, receipt.stored, receipt.unreadable, strict=True):
                for row, where in stored.items():
                    shelf.put(row, where)
                shelf.unreadable |= bad
        for shelf in shelves:
            for row in shelf.missing:
                if shelf.places[row, 0] == NOWHERE and row not in shelf.unreadable:
                    shelf.unreadable[row] = "what was made from it is not on the disk", b""


def _built_on(
    executor: Where, root: Path, paths: Sequence[str], shelves: Sequence[Shelf], rows: Sequence[int]
) -> Iterator[Receipt]:
    size = max(FEWEST_IN_SHARD, -(-len(rows) // MOST_SHARDS))
    shards = [
        _shard(root, paths, shelves, rows[start : start + size], processes_of(executor))
        for start in range(0, len(rows), size)
    ]
    with CLUSTERS[executor]() as cluster:
        log.info(f"decoding {len(rows):,} images with {executor}, in {len(shards)} parts")
        futures = [cluster.submit(build, shard) for shard in shards]
        for future in track(futures, len(futures), "parts of the set"):
            yield future.result()


def _shard(
    root: Path, paths: Sequence[str], shelves: Sequence[Shelf], rows: Sequence[int], processes: int
) -> Shard:
    def asked(shelf: Shelf, row: int) -> str | None:
        stored = shelf.missing.get(row)
        return stored.content.hex() if stored else "" if row in shelf.missing else None

    return Shard(
        root=root.absolute(),
        parts=tuple(shelf.part for shelf in shelves),
        requests=tuple(
            Request(row=row, path=paths[row], asked=tuple(asked(s, row) for s in shelves))
            for row in rows
        ),
        keys=tuple(shelves[0].keys[row] for row in rows),
        older=tuple(
            {row: stored for row in rows if (stored := shelf.missing.get(row))} for shelf in shelves
        ),
        processes=processes,
    )


@contextmanager
def turn(folder: Path, item_bytes: int, doing: str) -> Iterator[None]:
    """One build at a time in a folder, so that runs that start together decode once. If there are
    many segments, they are merged first.

    If files cannot be locked (some network drives), builds run side by side, each with a segment of
    its own, which only costs time. If none can be written, only a set with unreadable images gets
    here, and it has nothing to keep.

    Args:
        item_bytes: size of the product of one image.
        doing: what another run is doing, in the words of the terminal.
    """
    say = partial(log.info, f"another run is {doing} for the same cache; waiting for it")
    with ExitStack() as stack:
        alone = True
        try:
            stack.enter_context(locked(folder / ".lock", waiting=say))
        except OSError:
            alone = False
        if alone and sum(1 for _ in folder.glob("*.rows")) > MOST_SEGMENTS:
            merge(folder, item_bytes)
        yield
