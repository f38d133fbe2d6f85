"""When customers buy and whether they still do: BG/NBD and MBG/NBD, fitted and applied per distinct history.

Both models: purchases arrive at a rate λ ~ Gamma(r, α); after each purchase (MBG: also at time zero) a
customer leaves for good with probability p ~ Beta(a, b). MBG is the default: BG holds every one-time buyer
for alive. *Source*: Fader, Hardie, Lee (2005); Batislam, Denizel, Filiztekin (2007); R50.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum

from backend.domain.arrays import IntArray


class TimeUnit(Enum):
    """The unit in which a model's rates are expressed; the value is its length in days."""

    DAY = 1
    WEEK = 7

    @property
    def days(self) -> int:
        """Length in days."""
        return int(self.value)


class Model(IntEnum):
    """Which purchase model; the value is 1 where a customer can also leave before any repeat purchase."""

    BG_NBD = 0
    MBG_NBD = 1


class FitStatus(StrEnum):
    """How far a fit may be trusted."""

    CONVERGED = "CONVERGED"
    REGULARISED = "REGULARISED"
    SHIPPED_PRIOR = "SHIPPED_PRIOR"
    NOT_CONVERGED = "NOT_CONVERGED"


@dataclass(frozen=True, slots=True)
class PurchaseHistory:
    """(n,) whole numbers: `repeats_n` x, `last_repeat_days` t_x (first to last purchase), `observed_days` T."""

    repeats_n: IntArray
    last_repeat_days: IntArray
    observed_days: IntArray


@dataclass(frozen=True, slots=True)
class PurchaseFit:
    """Fitted parameters with their unit of time.

    `standard_errors`: of (r, α, a, b), NaN where the curvature gives none; `log_likelihood`: of the rows
    fitted, without any prior; `customers_n`: rows fitted.
    """

    model: Model
    unit: TimeUnit
    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float
    standard_errors: tuple[float, float, float, float]
    status: FitStatus
    customers_n: int
