"""Whether a configuration is faster than the default, or only was lucky.

What led a search is timed again in turn with the default, as often in front of it as behind. It is
faster if the median of the rounds' ratios is below 1 beyond noise (its bound by order statistics,
which assumes nothing about how times are distributed), by a hundredth at least; and its best time
must be below the default's best one, for that is what a machine shows when nothing disturbs it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

#: rounds of a comparison, and the fewest that can show anything
ROUNDS, FEWEST = 21, 6
#: how probable it may be that chance alone made a median look so good
_LEVEL = 0.02
#: what is not faster by this is as fast
_LEAST_GAIN = 0.01


@dataclass
class Duel:
    """A configuration's times, and the default's of the same rounds, in seconds of a call."""

    usual: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, usual: float, took: float) -> None:
        """A round."""
        self.usual.append(usual)
        self.times.append(took)

    @property
    def ratios(self) -> list[float]:
        """The configuration's time over the default's, for each round."""
        return [took / usual for took, usual in zip(self.times, self.usual)]

    @property
    def ratio(self) -> float:
        """Their median."""
        return statistics.median(self.ratios)

    @property
    def interval(self) -> tuple[float, float]:
        """Where the median of ever more rounds would be, each end wrong with a chance of 2 %."""
        return bounds(self.ratios)

    @property
    def faster(self) -> bool:
        """Whether it is faster than the default, beyond noise."""
        if len(self.times) < FEWEST:
            return False
        return (
            self.ratio < 1 - _LEAST_GAIN
            and self.interval[1] < 1.0
            and min(self.times) < min(self.usual)
        )

    def __str__(self) -> str:
        """Such as `1.12 times its speed (1.10 to 1.13 in 21 rounds)`."""
        low, high = self.interval
        return (
            f"{1 / self.ratio:.3f} times its speed ({1 / high:.3f} to {1 / low:.3f} in "
            f"{len(self.times)} rounds)"
        )


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """Below and above which the values' median is not, by the binomial distribution of how many
    values fall on either side of it. With too few values for that: their ends."""
    ordered = sorted(values)
    count = len(ordered)
    chance, k = 0.0, 0
    while k < count // 2:
        chance += math.comb(count, k) / 2**count
        if chance > _LEVEL:
            break
        k += 1
    k = max(k, 1)
    return ordered[k - 1], ordered[count - k]
