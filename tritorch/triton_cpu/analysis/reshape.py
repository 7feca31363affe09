"""Which dimensions of a reshaped tensor correspond."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1024)
def squeeze_map(source: tuple[int, ...], target: tuple[int, ...]) -> tuple[int | None, ...] | None:
    """For each target dimension its source dimension (None for size 1), if only sizes of 1 come or
    go.
    """
    kept = [dimension for dimension, size in enumerate(source) if size > 1]
    if [source[d] for d in kept] != [size for size in target if size > 1]:
        return None
    remaining = iter(kept)
    return tuple(next(remaining) if size > 1 else None for size in target)


@lru_cache(maxsize=1024)
def reshape_groups(
    source: tuple[int, ...], target: tuple[int, ...]
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Split a reshape into the smallest runs of (source dimensions, target dimensions) of equal
    size.
    """
    groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(source) or j < len(target):
        first, second = i, j
        left = right = 1
        if i < len(source):
            left *= source[i]
            i += 1
        if j < len(target):
            right *= target[j]
            j += 1
        while left != right:
            if left < right:
                left *= source[i]
                i += 1
            else:
                right *= target[j]
                j += 1
        groups.append((tuple(range(first, i)), tuple(range(second, j))))
    return tuple(groups)
