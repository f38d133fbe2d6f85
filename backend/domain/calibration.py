"""The weekly part: fit the purchase and spend models of an organisation and measure their level."""

from dataclasses import dataclass

from backend.domain.purchase import PurchaseFit
from backend.domain.spend import SpendFit


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a nightly run takes from the last accepted fit.

    `spend`: in minor units per purchase, fitted on all orders (n = x + 1); `level`: factor on expected
    purchases from the rolling backtest, .8..1.25; `level_measured`: False where the history was too short
    to measure one.
    """

    version: str
    purchase: PurchaseFit
    spend: SpendFit
    level: float
    level_measured: bool
