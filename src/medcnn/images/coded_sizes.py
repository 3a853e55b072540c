"""The sizes that the codestreams within an AVIF or HEIC claim: decoders allocate memory for those,
whatever the container says about the picture.

Sources: ISO/IEC 14496-12 8.11 (iloc, iinf), 23008-12 6.6.2.3 (grid), 14496-15 8.3.3 (hvcC); ITU-T
H.265 7.3.2.2 (SPS); AV1 Bitstream & Decoding Process Specification 5.3 to 5.5 (OBU).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from medcnn.system.errors import ImageError

Size = tuple[int, int]
SEQUENCE_HEADER, SPS = 1, 33
MOST_UNITS = 10_000
LARGEST_BLOCK = 64


@dataclass(slots=True)
class Bits:
    """Reads numbers from bytes, highest bit first; zeros after the end."""

    data: bytes
    at: int = 0

    def take(self, width: int) -> int:
        first, last = self.at >> 3, (self.at + width + 7) >> 3
        window = int.from_bytes(self.data[first:last].ljust(last - first, b"\0"))
        shift = (last << 3) - self.at - width
        self.at += width
        return window >> shift & ((1 << width) - 1)

    def exp_golomb(self) -> int:
        """H.265 9.2, and AV1's uvlc."""
        zeros = 0
        while zeros < 32 and not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def coded_sizes(data: bytes, meta: bytes, configs: Sequence[bytes]) -> Iterator[Size]:
    """Width and height of every picture that a codestream or a grid of the file names.

    Args:
        data: the file.
        meta: content of the box of that name, after its version.
        configs: contents of its boxes `hvcC`.

    Raises:
        ImageError, struct.error: a stream without a size, or a layout that is not read.
    """
    for config in configs:
        yield from _sizes_of_sps(_units_of_config(config))
    length = max((config[21] & 3) + 1 for config in configs) if configs else 4
    kinds = dict(_items(meta))
    for item, payload in _payloads(data, meta):
        kind = kinds.get(item, b"")
        if kind == b"iovl":
            raise ImageError("medcnn does not read overlays of several pictures; save it as one")
        if kind == b"grid":
            wide = payload[1] & 1
            yield struct.unpack_from(">II" if wide else ">HH", payload, 4)
        elif kind in (b"hvc1", b"hev1"):
            yield from _sizes_of_sps(_units(payload, length))
        elif kind == b"av01":
            yield from _sizes_of_obus(payload)


def _boxes(data: bytes, at: int = 0) -> Iterator[tuple[bytes, bytes]]:
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = at + length if length else len(data)
        if end < start:
            return
        yield kind, data[start:end]
        at = end


def _items(meta: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and kind of each item."""
    for kind, body in _boxes(meta):
        if kind == b"iinf":
            for inner, entry in _boxes(body, 8 if body[0] else 6):
                if inner == b"infe" and entry[0] >= 2:
                    number, _, of = struct.unpack_from(
                        ">HH4s" if entry[0] == 2 else ">IH4s", entry, 4
                    )
                    yield number, of


def _payloads(data: bytes, meta: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each item."""
    found = list(_boxes(meta))
    boxes = dict(found)
    if len(found) > len(boxes):
        raise ImageError("damaged: the file lists the places of its pictures twice")
    table, idat = Bits(boxes.get(b"iloc", b"")), boxes.get(b"idat", b"")
    version = table.take(8)
    table.take(24)
    offset, length, base, index = (8 * table.take(4) for _ in range(4))
    total = 0
    for _ in range(_few(table.take(16 if version < 2 else 32))):
        number = table.take(16 if version < 2 else 32)
        within = table.take(16) & 15 if version else 0
        if within > 1:
            raise ImageError("a picture inside another item cannot be read; save it as PNG or JPEG")
        table.take(16)
        start, parts = table.take(base), []
        for _ in range(_few(table.take(16))):
            table.take(index if version else 0)
            at, size = start + table.take(offset), table.take(length)
            source = idat if within == 1 else data
            parts.append(source[at : at + size] if size else source[at:])
            total += len(parts[-1]) + 1
            if total > 2 * len(data):
                raise ImageError("damaged: the pictures in it are longer than the file")
        yield number, b"".join(parts)


def _few(count: int) -> int:
    """Raises ImageError for more parts than any picture has."""
    if count > MOST_UNITS:
        raise ImageError(f"its picture has more than {MOST_UNITS:,} parts; it is damaged")
    return count


def _units_of_config(config: bytes) -> Iterator[bytes]:
    """The units of an hvcC."""
    at = 23
    for _ in range(config[22]):
        (units,) = struct.unpack_from(">H", config, at + 1)
        at += 3
        for _ in range(units):
            (length,) = struct.unpack_from(">H", config, at)
            yield config[at + 2 : at + 2 + length]
            at += 2 + length


def _units(payload: bytes, width: int) -> Iterator[bytes]:
    """The units of a picture, each after its length of `width` bytes."""
    at = 0
    for number in count():
        if at + width >= len(payload):
            return
        _few(number)
        length = int.from_bytes(payload[at : at + width])
        yield payload[at + width : at + width + length]
        at += width + length


def _sizes_of_sps(units: Iterator[bytes]) -> Iterator[Size]:
    for unit in units:
        if len(unit) > 2 and unit[0] >> 1 & 63 == SPS:
            bits = Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))
            bits.take(4)
            layers = bits.take(3)
            bits.take(1 + 96)
            given = [(bits.take(1), bits.take(1)) for _ in range(layers)]
            bits.take(2 * (8 - layers) if layers else 0)
            for profile, level in given:
                bits.take(88 * profile + 8 * level)
            bits.exp_golomb()
            if bits.exp_golomb() == 3:
                bits.take(1)
            yield bits.exp_golomb(), bits.exp_golomb()


def _sizes_of_obus(payload: bytes) -> Iterator[Size]:
    at = 0
    for number in count():
        if at >= len(payload):
            return
        _few(number)
        head = payload[at]
        at += 2 if head & 4 else 1
        length = shift = 0
        while head & 2 and at < len(payload) and shift < 56:  # leb128
            byte = payload[at]
            length, at, shift = length | (byte & 127) << shift, at + 1, shift + 7
            if byte < 128:
                break
        body = payload[at : at + length] if head & 2 else payload[at:]
        at += len(body)
        if head >> 3 & 15 == SEQUENCE_HEADER:
            yield _size_of_sequence(Bits(body))


def _size_of_sequence(bits: Bits) -> Size:
    bits.take(4)
    if bits.take(1):  # one still picture, with a short header
        bits.take(5)
    else:
        _past_timing(bits)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    width, height = bits.take(wide) + 1, bits.take(high) + 1
    if wide > width.bit_length() or high > height.bit_length():
        # a frame may set its own size, using all these bits
        return 1 << wide, 1 << high
    return width, height


def _past_timing(bits: Bits) -> None:
    """Skip timing, decoder model and operating points."""
    delay_bits = 0
    if bits.take(1):
        bits.take(64)
        if bits.take(1):
            bits.exp_golomb()
        if bits.take(1):
            delay_bits = bits.take(5) + 1
            bits.take(42)
    display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if display_delay and bits.take(1):
            bits.take(4)


def refuse_larger(sizes: Iterator[Size], said: Sequence[Size]) -> None:
    """Raises ImageError if a codestream is larger than every size in the container, by more than
    the rest of a block, which is cut off (H.265 7.4.3.2.1, conformance window)."""
    width, height = (max(side) for side in zip(*said, strict=True))
    for wide, high in sizes:
        if wide >= width + LARGEST_BLOCK or high >= height + LARGEST_BLOCK:
            raise ImageError(
                f"a picture in it claims {wide} x {high} pixels, the file at most {width} x "
                f"{height}; it is damaged, or made to exhaust memory"
            )
