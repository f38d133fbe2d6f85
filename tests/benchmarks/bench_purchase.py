"""Fit and score against the peer library `lifetimes`, both in one process; memory in a process of its own.

    python -m tests.benchmarks.bench_purchase                     2,357 and 100,000 customers, and memory
    python -m tests.benchmarks.bench_purchase 2357 100000 1000000
    python -m tests.benchmarks.bench_purchase --memory 10000000   peak of fitting and scoring, in blocks

Ratios are of medians over several rounds, on one BLAS thread for both sides. Parity first: nothing is printed unless
the fitted parameters and the scores agree. Each row says what is asked of it, and whether it is reached.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from backend.domain.purchase import Model, PurchaseHistory, alive_probability, fit_purchase
from backend.domain.purchase_forecast import forecast_cells
from backend.domain.spend import expected_spend, fit_spend
from tests.papers.cdnow import calibration

HALF_YEAR_DAYS = 182
BLOCK_ROWS = 1_000_000
MEMORY_ROWS = 10_000_000
FIT_MUST = {2_357: 25.0, 100_000: 15.0, 1_000_000: 25.0}
SCORE_MUST = {1_000_000: 9.0}
PEAK_MUST_BYTES = {10_000_000: 1 << 30}


def grown(customers_n: int, seed: int = 1) -> tuple[PurchaseHistory, np.ndarray]:
    """The CDNOW customers, drawn again with shifted days until there are enough."""
    history, mean = calibration()
    if customers_n <= mean.size:
        return history, mean
    draw = np.random.default_rng(seed)
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
    """One size's row."""
    with warnings.catch_warnings():
        # The peer sets a pandas option that pandas has since deprecated.
        warnings.simplefilter("ignore")
        import lifetimes

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
    # a run fits on a sample always, so the sample is what is asked about
    fit_ratio, score_ratio = peer_fit_s / sampled_s, peer_score_s / our_score_s
    fit_asked = asked(FIT_MUST.get(customers_n), fit_ratio)
    score_asked = asked(SCORE_MUST.get(customers_n), score_ratio)
    return (
        f"{customers_n:>9,} customers | fit: peer {peer_fit_s:.3f} s, all rows {full_s:.4f} s "
        f"({peer_fit_s / full_s:.0f}x), sample {sampled_s:.4f} s ({fit_ratio:.0f}x{fit_asked}) | "
        f"score: peer {peer_score_s:.3f} s, ours {our_score_s:.4f} s ({score_ratio:.0f}x{score_asked})"
    )


def asked(must: float | None, ratio: float) -> str:
    return "" if must is None else f", asked {must:.0f}x: {'reached' if ratio >= must else 'MISSED'}"


def memory(customers_n: int) -> str:
    """The peak of a process that holds everybody's statistics and scores, and fits and scores them.

    Histories and scores are whole columns of everybody; what a step needs besides is held for one block of
    customers at a time. The peak counts the interpreter and its libraries.
    """
    before = peak_bytes()
    columns = {name: np.empty(customers_n, dtype=np.int32) for name in PurchaseHistory.__slots__}
    mean = np.empty(customers_n, dtype=np.float32)
    scores = {name: np.empty(customers_n, dtype=np.float32) for name in ("alive", "orders", "spend")}
    start = time.perf_counter()
    for number, rows in enumerate(blocks(customers_n)):
        part, part_mean = grown(max(rows.stop - rows.start, 2_358), seed=number)
        for name, column in columns.items():
            column[rows] = getattr(part, name)[: rows.stop - rows.start]
        mean[rows] = part_mean[: rows.stop - rows.start]
    made_s, start = time.perf_counter() - start, time.perf_counter()
    step = max(1, customers_n // 50_000)
    sample = PurchaseHistory(*(columns[name][::step].astype(np.int64) for name in PurchaseHistory.__slots__))
    fit = fit_purchase(sample)
    spend = fit_spend(mean[::step].astype(np.float64), sample.repeats_n + 1)
    for rows in blocks(customers_n):
        part = PurchaseHistory(*(columns[name][rows].astype(np.int64) for name in PurchaseHistory.__slots__))
        alive = alive_probability(fit, part)
        cells = forecast_cells(fit, part, (HALF_YEAR_DAYS,))
        scores["alive"][rows], scores["orders"][rows] = alive, alive * cells.per_cell[cells.index, 0]
        scores["spend"][rows] = expected_spend(spend, mean[rows].astype(np.float64), part.repeats_n + 1)
    scored_s = time.perf_counter() - start
    if not all(np.isfinite(column).all() for column in scores.values()) or not 0 < scores["alive"].mean() < 1:
        raise SystemExit("the scores are no scores")
    peak = peak_bytes()
    must = PEAK_MUST_BYTES.get(customers_n)
    bound = "" if must is None else f", asked < {must / 2**30:.0f} GiB: {'reached' if peak < must else 'MISSED'}"
    return (
        f"{customers_n:>9,} customers | peak {peak / 2**30:.2f} GiB{bound}"
        f" ({before / 2**20:.0f} MiB before the first customer) | drawn in {made_s:.1f} s, "
        f"fitted ({fit.status}) and scored in {scored_s:.1f} s"
    )


def peak_bytes() -> int:
    """The most this process held. Where Linux tells it of the program itself: `ru_maxrss` counts the process it was
    forked from too."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def blocks(customers_n: int) -> list[slice]:
    return [slice(at, min(at + BLOCK_ROWS, customers_n)) for at in range(0, customers_n, BLOCK_ROWS)]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    arguments = argparse.ArgumentParser(description="Purchase models against `lifetimes`.")
    arguments.add_argument("customers", nargs="*", type=int, default=[2_357, 100_000])
    arguments.add_argument("--memory", type=int, metavar="CUSTOMERS", help="peak memory for so many customers instead")
    given = arguments.parse_args()
    if given.memory:
        say(memory(given.memory))
        return
    for size in given.customers:
        say(bench(size))
    # in a process of its own, so that nothing of the above counts
    subprocess.run([sys.executable, "-m", "tests.benchmarks.bench_purchase", "--memory", str(MEMORY_ROWS)], check=True)


if __name__ == "__main__":
    main()
