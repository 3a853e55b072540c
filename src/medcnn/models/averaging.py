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
    """`old`, moved by `share` of the way to `new`; integers, such as counts, come from `new`.

    Args:
        share: 0 returns `old` and 1 returns `new`, both bit for bit.
        fresh: tensor -> rows that come from `new`, since they mean nothing in `old`.
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
