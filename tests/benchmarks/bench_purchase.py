"""Fit and score against the peer library `lifetimes`, both in one process.

`python -m tests.benchmarks.bench_purchase` prints ratios of medians over several rounds; set OMP_NUM_THREADS=1
and OPENBLAS_NUM_THREADS=1 for both sides. Parity first: nothing is printed unless the fitted parameters and the
scores agree. Arguments: numbers of customers (default 2357 100000).
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

from backend.domain.purchase import Model, PurchaseHistory, alive_probability, fit_purchase
from backend.domain.purchase_forecast import forecast_cells
from backend.domain.spend import expected_spend, fit_spend
from tests.papers.cdnow import calibration

with warnings.catch_warnings():
    # The peer sets a pandas option that pandas has since deprecated.
    warnings.simplefilter("ignore")
    import lifetimes

HALF_YEAR_DAYS = 182


def grown(customers_n: int) -> tuple[PurchaseHistory, np.ndarray]:
    """The CDNOW customers, drawn again with shifted days until there are enough."""
    history, mean = calibration()
    if customers_n <= mean.size:
        return history, mean
    draw = np.random.default_rng(1)
    rows = draw.integers(0, mean.size, customers_n)
    shift = draw.integers(0, 60, customers_n)
    x, t = history.repeats_n[rows], history.last_repeat_days[rows]
    moved = np.where(x > 0, np.maximum(1, t - shift // 2), 0)
    return PurchaseHistory(x, moved, history.observed_days[rows] + shift), mean[rows]


def seconds(work: Callable[[], object], rounds_n: int) -> float:
    taken = []
    for _ in range(rounds_n):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def bench(customers_n: int) -> str:
    history, mean = grown(customers_n)
    x = history.repeats_n.astype(float)
    t, observed = history.last_repeat_days / 7, history.observed_days / 7
    back = history.repeats_n > 0
    rounds_n = 5 if customers_n < 10_000 else 1

    peer = lifetimes.BetaGeoFitter(penalizer_coef=0.0)
    peer_spend = lifetimes.GammaGammaFitter()
    peer_spend.fit(x[back], mean[back])
    peer_fit_s = seconds(lambda: peer.fit(x, t, observed), rounds_n)
    full_s = seconds(lambda: fit_purchase(history, model=Model.BG_NBD, sample_max=10**9), 5)
    sampled_s = seconds(lambda: fit_purchase(history, model=Model.BG_NBD), 5)
    ours = fit_purchase(history, model=Model.BG_NBD, sample_max=10**9)
    spend = fit_spend(mean[back], history.repeats_n[back])
    names = ("r", "alpha", "a", "b")
    np.testing.assert_allclose([getattr(ours, n) for n in names], [peer.params_[n] for n in names], rtol=2e-2)

    def peer_score() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        alive = peer.conditional_probability_alive(x, t, observed)
        ahead = peer.conditional_expected_number_of_purchases_up_to_time(HALF_YEAR_DAYS / 7, x, t, observed)
        value = peer_spend.conditional_expected_average_profit(x, mean)
        return alive, np.asarray(ahead), np.asarray(value)

    def our_score() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        alive = alive_probability(ours, history)
        cells = forecast_cells(ours, history, (HALF_YEAR_DAYS,))
        ahead = alive * cells.per_cell[cells.index, 0]
        return alive, ahead, expected_spend(spend, mean, history.repeats_n)

    for mine, theirs in zip(our_score(), peer_score(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=5e-2, atol=1e-3)
    peer_score_s, our_score_s = seconds(peer_score, rounds_n), seconds(our_score, 5)
    return (
        f"{customers_n:>9,} customers | fit: peer {peer_fit_s:.3f} s, all rows {full_s:.4f} s "
        f"({peer_fit_s / full_s:.0f}x), sample {sampled_s:.4f} s ({peer_fit_s / sampled_s:.0f}x) | "
        f"score: peer {peer_score_s:.3f} s, ours {our_score_s:.4f} s ({peer_score_s / our_score_s:.0f}x)"
    )


def main() -> None:
    for size in [int(argument) for argument in sys.argv[1:]] or [2_357, 100_000]:
        sys.stdout.write(bench(size) + "\n")


if __name__ == "__main__":
    main()
