"""What a customer spends per purchase: the Gamma-Gamma model.

*Source*: Fader, Hardie, "The Gamma-Gamma model of monetary value" (2013); R50.
"""

from dataclasses import dataclass

from backend.domain.purchase import FitStatus


@dataclass(frozen=True, slots=True)
class SpendFit:
    """Fitted parameters; `v` is in the money unit of the means that were fitted, `p` and `q` have none."""

    p: float
    q: float
    v: float
    log_likelihood: float
    standard_errors: tuple[float, float, float]
    status: FitStatus
    customers_n: int
