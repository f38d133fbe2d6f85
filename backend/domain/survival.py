"""Time until something happens, when for some it has not happened yet: the product-limit estimate.

*Source*: Kaplan and Meier (1958); the interval is Greenwood's on the log-log scale (Kalbfleisch and Prentice 1980),
which stays within 0..1.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BoolArray, FloatArray, IntArray

Z_95 = 1.959963984540054
"""Two-sided 95 % of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Survival:
    """(k,) one entry for each duration at which something happened, ascending.

    `days`: the duration; `at_risk_n`: how many were still waiting just before; `events_n`: to how many it happened;
    `share`: those still waiting just after, 0..1, with `low` and `high` (95 %).
    """

    days: IntArray
    at_risk_n: IntArray
    events_n: IntArray
    share: FloatArray
    low: FloatArray
    high: FloatArray

    def median_days(self) -> int | None:
        """The first duration by which half of them no longer wait; None when it was never reached."""
        reached = np.flatnonzero(self.share <= 0.5)
        return int(self.days[reached[0]]) if reached.size else None


def survival(duration_days: IntArray, happened: BoolArray) -> Survival:
    """The curve of (n,) durations in days; where it has not `happened`, the duration is how long was looked.

    Whoever was looked at for exactly t days still counts as waiting at t. Empty input gives an empty curve.
    """
    days, events = np.unique(duration_days[happened], return_counts=True)
    ordered = np.sort(duration_days)
    at_risk = duration_days.size - np.searchsorted(ordered, days, side="left")
    share = np.asarray(np.cumprod(1.0 - events / at_risk), dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(events / (at_risk * (at_risk - events)))
        width = Z_95 * np.sqrt(variance) / np.log(share)
        # of a curve that is at 0 nothing can be said by this formula: the interval closes on it
        low = np.where(share > 0, share ** np.exp(-width), 0.0)
        high = np.where(share > 0, share ** np.exp(width), 0.0)
    return Survival(days.astype(np.int64), at_risk.astype(np.int64), events.astype(np.int64), share, low, high)


def wilson_interval(part_n: float, whole_n: float) -> tuple[float, float]:
    """95 % interval of a share, 0..1; (0, 1) of nothing. *Source*: Wilson (1927)."""
    if whole_n == 0:
        return 0.0, 1.0
    share, spread = part_n / whole_n, Z_95**2 / whole_n
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * float(np.sqrt(share * (1 - share) / whole_n + spread / (4 * whole_n)))
    return max(0.0, centre - half), min(1.0, centre + half)
