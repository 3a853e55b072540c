"""Two states of one network, averaged weight by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor


def between(
    old: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    share: float,
    fresh: Mapping[str, Sequence[int]],
) -> dict[str, Tensor]:
    """`old` + `share` of the way to `new`; whole numbers, such as counts, are those of `new`.

    Args:
        share: 0: `old`, 1: `new`, both to the bit.
        fresh: tensor -> rows that are taken from `new`, since they mean nothing in `old`.
    """
    found = {}
    for name, now in new.items():
        before = old[name].to(now.device)
        if share == 1 or not now.is_floating_point():
            found[name] = now
            continue
        value = before.lerp(now, share)
        for row in fresh.get(name, ()):
            value[row] = now[row]
        found[name] = value
    return found
