"""Regular re-orderers: MBG/NBD whose purchases come at every k-th beat of a hidden clock (CNBD-k, k = 1, 2, …).

A shop that re-orders every five weeks is not memoryless: right after an order the next is unlikely, and silence
beyond its own rhythm says more than silence of an irregular buyer. The time between two purchases is Erlang-k(λ);
k = 1 is MBG/NBD itself. Every history is a mixture of "gone since the last purchase" and "still active, j beats into
the next one" (j = 0..k−1): likelihood, survival and expectation are sums over these k + 1 parts, exact.
*Source*: Chatfield & Goodhardt (1973); Platzer & Reutterer (2016); R50.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray
from backend.domain.newton import Curve

REGULARITY_MAX = 8
"""The steadiest k tried: gaps that vary by a third of their length."""
BEATS_MAX = 20_000
BLOCK_CELLS = 2_048
TAIL_ENOUGH = 1e-11


@dataclass(frozen=True, slots=True)
class CondensedCells:
    """(c,) distinct histories with their weights, and the tail counts Σ log Γ needs; times in the model's unit."""

    k: int
    x: FloatArray
    t: FloatArray
    horizon: FloatArray
    weight: FloatArray
    beat_tail: FloatArray
    tries_tail: FloatArray

    @classmethod
    def of(cls, k: int, x: FloatArray, t: FloatArray, horizon: FloatArray, weight: FloatArray) -> "CondensedCells":
        """Pack the cells for the curve of one k."""
        most = int(x.max()) if x.size else 0
        per_count = np.bincount(x.astype(np.int64), weight, minlength=most + 1)
        above = np.cumsum(per_count[::-1])[::-1][1 : most + 1]
        return cls(k, x, t, horizon, weight, np.repeat(above, k), np.r_[weight.sum(), above])


def parts_log(
    k: int, r: float, alpha: float, a: float, b: float, x: FloatArray, t: FloatArray, horizon: FloatArray
) -> FloatArray:
    """(n, k+1) logarithms of the parts of each history: gone since t_x, then active in beat 0..k−1 at T."""
    rate, silence, log_end = r + k * x, horizon - t, np.log(alpha + horizon)
    log_silence = np.full(x.shape, -np.inf)
    np.log(silence, out=log_silence, where=silence > 0)
    parts = np.empty((x.size, k + 1))
    parts[:, 0] = np.log(a / (b + x)) - rate * np.log(alpha + t)
    beat = -rate * log_end
    parts[:, 1] = beat
    for j in range(1, k):
        beat = beat + np.log((rate + j - 1.0) / j) + log_silence - log_end
        parts[:, 1 + j] = beat
    return parts


def shares(parts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Each part's share (n, k+1) of its history's likelihood, and the (n,) logarithm of the whole."""
    top = parts.max(axis=1, keepdims=True)
    share = np.exp(parts - top)
    total = share.sum(axis=1, keepdims=True)
    return share / total, (top + np.log(total))[:, 0]


def condensed_curve(cells: CondensedCells, theta: FloatArray) -> Curve:
    """Log-likelihood, gradient and Hessian in the logarithms of (r, α, a, b), for the cells' k.

    What only the gaps between purchases decide is left out: it depends on k alone, so values compare within one k.
    """
    r, alpha, a, b = (float(value) for value in np.exp(theta))
    k, x, weight, rows_n = cells.k, cells.x, cells.weight, float(cells.weight.sum())
    share, log_whole = shares(parts_log(k, r, alpha, a, b, x, cells.t, cells.horizon))
    rate, past_last, past_end = r + k * x, alpha + cells.t, alpha + cells.horizon
    slopes = np.zeros((4, x.size, k + 1))
    bends = np.zeros((4, x.size, k + 1))
    crossed = np.empty((x.size, k + 1))
    slopes[0, :, 0], slopes[1, :, 0] = -np.log(past_last), -rate / past_last
    slopes[2, :, 0], slopes[3, :, 0] = 1.0 / a, -1.0 / (b + x)
    bends[1, :, 0], bends[2, :, 0], bends[3, :, 0] = rate / past_last**2, -1.0 / a**2, 1.0 / (b + x) ** 2
    crossed[:, 0], crossed[:, 1:] = -1.0 / past_last, (-1.0 / past_end)[:, None]
    first, second = -np.log(past_end), np.zeros(x.size)
    for j in range(k):
        slopes[0, :, 1 + j], slopes[1, :, 1 + j] = first, -(rate + j) / past_end
        bends[0, :, 1 + j], bends[1, :, 1 + j] = second, (rate + j) / past_end**2
        first, second = first + 1.0 / (rate + j), second - 1.0 / (rate + j) ** 2
    mean = (share * slopes).sum(axis=2)
    weighted = share * weight[:, None]
    gradient = mean @ weight
    hessian = np.einsum("ick,jck,ck->ij", slopes, slopes, weighted) - (mean * weight) @ mean.T
    hessian += np.diag((bends * weighted).sum(axis=(1, 2)))
    cross = float((crossed * weighted).sum()) + rows_n / alpha
    hessian[0, 1] += cross
    hessian[1, 0] += cross
    value = float(weight @ log_whole) + rows_n * r * float(theta[1])
    gradient[0] += rows_n * theta[1]
    gradient[1] += rows_n * r / alpha
    hessian[1, 1] -= rows_n * r / alpha**2
    value += _add_tails(cells, r, a, b, gradient, hessian)
    scale = np.exp(theta)
    return value, gradient * scale, hessian * np.outer(scale, scale) + np.diag(gradient * scale)


def expected_by_beat(
    k: int, rate: FloatArray, scale: FloatArray, a: float, b: FloatArray, until: FloatArray
) -> FloatArray:
    """(c, k, h) purchases until each horizon of customers known to be active in beat 0..k−1, exact.

    λ ~ Gamma(rate + j, scale), p ~ Beta(a, b); (c,) `rate`, `scale`, `b`; (h,) `until` in the same unit of time. The
    number of beats is negative binomial; purchase m needs m·k − j of them and that nobody left after m − 1.
    """
    out = np.zeros((rate.size, k, until.size))
    order = np.argsort(rate / scale, kind="stable")
    for start in range(0, rate.size, BLOCK_CELLS):
        rows = order[start : start + BLOCK_CELLS]
        for j in range(k):
            out[rows, j] = _expected(k, j, rate[rows] + j, scale[rows], a, b[rows], until)
    return out


def _expected(
    k: int, j: int, shape: FloatArray, scale: FloatArray, a: float, b: FloatArray, until: FloatArray
) -> FloatArray:
    log_stay = np.log(scale[:, None] / (scale[:, None] + until))
    reach = np.full(log_stay.shape, -np.inf)
    np.log(until / (scale[:, None] + until), out=reach, where=until > 0)
    log_chance = shape[:, None] * log_stay
    tail, total = -np.expm1(log_chance), np.zeros(log_chance.shape)
    survived, purchase = np.ones(shape.size), 0
    # `tail` is P(at least n beats)
    for n in range(1, BEATS_MAX):
        if (n + j) % k == 0:
            total += survived[:, None] * tail
            survived = survived * (b + purchase) / (a + b + purchase)
            purchase += 1
            if tail.max() < TAIL_ENOUGH:
                break
        log_chance = log_chance + np.log((shape[:, None] + n - 1.0) / n) + reach
        tail = np.maximum(tail - np.exp(log_chance), 0.0)
    return total


def _add_tails(cells: CondensedCells, r: float, a: float, b: float, gradient: FloatArray, hessian: FloatArray) -> float:
    """Add Σ log(r+i) over all beats and Σ log((b+i)/(a+b+i)) over all tries (in place)."""
    beats, tries = cells.beat_tail, cells.tries_tail
    of_r = r + np.arange(beats.size, dtype=np.float64)
    of_b = b + np.arange(tries.size, dtype=np.float64)
    of_ab = a + of_b
    gradient[0] += beats @ (1.0 / of_r)
    gradient[2] -= tries @ (1.0 / of_ab)
    gradient[3] += tries @ (1.0 / of_b - 1.0 / of_ab)
    hessian[0, 0] -= beats @ (1.0 / of_r**2)
    hessian[2:, 2:] += float(tries @ (1.0 / of_ab**2))
    hessian[3, 3] -= tries @ (1.0 / of_b**2)
    return float(beats @ np.log(of_r) + tries @ (np.log(of_b) - np.log(of_ab)))
