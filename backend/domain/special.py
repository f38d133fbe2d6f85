"""log Γ and its first two derivatives for positive columns. *Source*: Abramowitz & Stegun, 6.1-6.4."""

import numpy as np

from backend.domain.arrays import FloatArray

_SHIFT = 10


def log_gamma(x: FloatArray) -> FloatArray:
    """log Γ(x) for x > 0, absolute error below 1e-12 · max(1, |log Γ|)."""
    steps = x[..., None] + np.arange(_SHIFT)
    y = x + _SHIFT
    inverse = 1.0 / (y * y)
    tail = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / y
    stirling = (y - 0.5) * np.log(y) - y + 0.5 * np.log(2 * np.pi) + tail
    return np.asarray(stirling - np.log(steps).sum(axis=-1), dtype=np.float64)


def digamma(x: FloatArray) -> FloatArray:
    """ψ(x), the first derivative, for x > 0."""
    steps = x[..., None] + np.arange(_SHIFT)
    y = x + _SHIFT
    inverse = 1.0 / (y * y)
    tail = inverse * (1 / 12 - inverse * (1 / 120 - inverse * (1 / 252 - inverse / 240)))
    return np.asarray(np.log(y) - 0.5 / y - tail - (1.0 / steps).sum(axis=-1), dtype=np.float64)


def trigamma(x: FloatArray) -> FloatArray:
    """ψ′(x), the second derivative, for x > 0."""
    steps = x[..., None] + np.arange(_SHIFT)
    y = x + _SHIFT
    inverse = 1.0 / (y * y)
    tail = inverse * (1 / 6 - inverse * (1 / 30 - inverse * (1 / 42 - inverse / 30))) / y
    return np.asarray(1.0 / y + 0.5 * inverse + tail + (1.0 / steps**2).sum(axis=-1), dtype=np.float64)
