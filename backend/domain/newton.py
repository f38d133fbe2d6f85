"""A small Newton maximiser for smooth functions of few parameters. *Source*: Nocedal & Wright, ch. 3."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray

Curve = tuple[float, FloatArray, FloatArray]
"""Value, gradient (k,) and Hessian (k, k) at one point."""

STEPS_MAX = 200
STEP_LENGTH_MAX = 2.0
DECREMENT_ENOUGH = 1e-10


@dataclass(frozen=True, slots=True)
class Optimum:
    """Where the climb ended; `converged` is False when it ran out of steps or of numbers."""

    at: FloatArray
    value: float
    hessian: FloatArray
    converged: bool


def maximise(curve: Callable[[FloatArray], Curve], start: FloatArray) -> Optimum:
    """Climb from `start` (k,) to a local maximum of `curve`.

    The Hessian is shifted until it bends downwards, steps are limited in length and halved until they climb.
    Never raises for non-finite values: the answer is then not converged.
    """
    at = start.astype(np.float64)
    value, gradient, hessian = curve(at)
    for _ in range(STEPS_MAX):
        if not _finite(value, gradient, hessian):
            return Optimum(at, value, hessian, False)
        step = _uphill(gradient, hessian)
        gain = float(gradient @ step)
        if gain < DECREMENT_ENOUGH * max(1.0, abs(value) * 1e-4):
            return Optimum(at, value, hessian, True)
        step *= min(1.0, STEP_LENGTH_MAX / float(np.abs(step).max()))
        moved = _climb(curve, at, value, step)
        if moved is None:
            return Optimum(at, value, hessian, gain < 1e-5)
        at, (value, gradient, hessian) = moved
    return Optimum(at, value, hessian, False)


def standard_errors(hessian: FloatArray) -> FloatArray:
    """(k,) from the curvature at the maximum; NaN where it gives none."""
    try:
        variance = np.diag(np.linalg.inv(-hessian))
    except np.linalg.LinAlgError:
        return np.full(hessian.shape[0], np.nan)
    return np.sqrt(np.where(variance > 0, variance, np.nan))


def with_prior(curve: Curve, at: FloatArray, centre: FloatArray, sd: float) -> Curve:
    """The curve with a normal prior of `sd` around `centre` (k,) added: weak, for what the likelihood leaves open."""
    value, gradient, hessian = curve
    off = (at - centre) / sd**2
    return value - 0.5 * float(off @ (at - centre)), gradient - off, hessian - np.eye(at.size) / sd**2


def _finite(value: float, gradient: FloatArray, hessian: FloatArray) -> bool:
    return bool(np.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(hessian).all())


def _uphill(gradient: FloatArray, hessian: FloatArray) -> FloatArray:
    """The Newton direction, with negative or flat curvature mirrored so that it climbs."""
    bend, axes = np.linalg.eigh(-hessian)
    bend = np.maximum(np.abs(bend), 1e-8 * max(1.0, float(np.abs(bend).max())))
    return np.asarray(axes @ ((axes.T @ gradient) / bend), dtype=np.float64)


def _climb(
    curve: Callable[[FloatArray], Curve], at: FloatArray, value: float, step: FloatArray
) -> tuple[FloatArray, Curve] | None:
    """Halve the step until the value rises; `None` when it does not."""
    for _ in range(40):
        tried = at + step
        found = curve(tried)
        if np.isfinite(found[0]) and found[0] > value:
            return tried, found
        step = step / 2.0
    return None
