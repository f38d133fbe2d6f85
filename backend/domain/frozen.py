"""What stays fixed between score runs, and for how long: weights, tables and cuts a quarter, a fit a week.

Both are kept as documents: the published table travels to devices (whole numbers and texts only), the
calibration stays with the run that used it. *Source*: R27, R28, R50, R52.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from backend.domain.calibration import Calibration, accept_refit
from backend.domain.customers import CustomerKind
from backend.domain.potential import Frontier
from backend.domain.priority import LINES, PriorityParameters, QTable, QTables
from backend.domain.purchase import FitStatus as Status
from backend.domain.purchase import Model, PurchaseFit, PurchaseHistory, TimeUnit, log_likelihood, pack_cells
from backend.domain.regularity import regularity_of
from backend.domain.score_policy import ScorePolicy
from backend.domain.segments import Thresholds
from backend.domain.spend import SpendFit
from backend.domain.strategy import StrategyTable, strategies_of

Document = Mapping[str, Any]

KINDS = tuple(kind.value for kind in CustomerKind)
"""Customer kinds by the code number that columns carry."""

REFIT_DAYS = 7
CALIBRATION_DAYS_MAX = 91
GROWTH_FACTOR = 2.0
"""An organisation twice as large, or half, is another one: nothing frozen before still describes it."""


@dataclass(frozen=True, slots=True)
class Published:
    """One published set. `customers_n`: how many it was frozen from; `quarter`: as `2026Q4`."""

    version: str
    quarter: str
    customers_n: int
    parameters: PriorityParameters
    tables: QTables
    thresholds: Thresholds
    strategies: StrategyTable

    def document(self) -> dict[str, Any]:
        """The set as it is stored and travels to devices."""
        return {
            "quarter": self.quarter,
            "customersN": self.customers_n,
            "parameters": self.parameters.document(),
            "tables": self.tables.document(),
            "thresholds": {
                "version": self.thresholds.version,
                "existingByKind": {KINDS[code]: cut for code, cut in self.thresholds.existing_by_kind},
                "existingFloorMinor": self.thresholds.existing_floor_minor,
                "potentialMinor": self.thresholds.potential_minor,
                "loyaltyBp": self.thresholds.loyalty_bp,
                "satisfactionBp": self.thresholds.satisfaction_bp,
            },
            "strategies": self.strategies.document(),
        }

    def describes(self, quarter: str, customers_n: int) -> bool:
        """True while its tables and thresholds stay in force: same quarter, an organisation of like size."""
        return self.quarter == quarter and not _another_size(self.customers_n, customers_n)

    def follows(self, policy: ScorePolicy) -> bool:
        """True while it says what the policy in force says: weights, floor and strategies."""
        return (
            self.parameters == policy.parameters()
            and self.thresholds.existing_floor_minor == policy.existing_floor_minor
            and self.strategies == policy.strategies
        )


def published_of(version: str, document: Document) -> Published:
    """Inverse of `Published.document`."""
    cuts = document["thresholds"]
    by_kind = tuple(sorted((KINDS.index(kind), cut) for kind, cut in cuts["existingByKind"].items()))
    return Published(
        version=version,
        quarter=document["quarter"],
        customers_n=document["customersN"],
        parameters=parameters_of(document["parameters"]),
        tables=tables_of(document["tables"]),
        thresholds=Thresholds(
            cuts["version"],
            by_kind,
            cuts["existingFloorMinor"],
            cuts["potentialMinor"],
            cuts["loyaltyBp"],
            cuts["satisfactionBp"],
        ),
        strategies=strategies_of(document.get("strategies")),
    )


def parameters_of(document: Document) -> PriorityParameters:
    """Inverse of `PriorityParameters.document`."""
    points = document["obligationPoints"]
    return PriorityParameters(
        version=document["version"],
        line_max=tuple(document["max"][code.value] for code in LINES[:-1]),
        severe_points=points["severeCases"],
        overdue_points=points["overdueTasks"],
        open_points=points["openTasks"],
        overdue_curve=tuple(document["overdueCurve"]),
        season_curve=tuple(document["seasonCurve"]),
        just_visited_curve=tuple(document["justVisitedCurve"]),
    )


def tables_of(document: Document) -> QTables:
    """Inverse of `QTables.document`."""
    names = ("value", "uplift", "potential", "existing")
    return QTables(document["version"], *(QTable(tuple(document[name])) for name in names))


def next_version(quarter: str, versions: Sequence[str]) -> str:
    """`2026Q4-2` when `2026Q4-1` exists."""
    taken = [int(version.rpartition("-")[2]) for version in versions if version.startswith(f"{quarter}-")]
    return f"{quarter}-{max(taken, default=0) + 1}"


class Refit(Enum):
    """What a run does about the fitted models."""

    KEEP = "KEEP"
    CHECKED = "CHECKED"
    """fit again, and take it only if it is no worse and has not drifted"""
    ANEW = "ANEW"
    """fit again and take it"""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration with the day and the number of buyers it stands on."""

    calibration: Calibration
    fitted_day: int
    buyers_n: int

    def document(self) -> dict[str, Any]:
        """As it is kept with the run; a standard error that does not exist is null.

        Standard errors are of the parameters and of their logarithms, in which the fit is made and they are even.
        """
        purchase, spend = self.calibration.purchase, self.calibration.spend
        return {
            "version": self.calibration.version,
            "fittedDay": self.fitted_day,
            "buyersN": self.buyers_n,
            "level": self.calibration.level,
            "levelMeasured": self.calibration.level_measured,
            "regularity": self.calibration.regularity.document(),
            "purchase": {
                "model": purchase.model.name,
                "unit": purchase.unit.name,
                "parameters": [purchase.r, purchase.alpha, purchase.a, purchase.b],
                "regularity": purchase.regularity,
                "standardErrors": _nullable(purchase.standard_errors),
                "standardErrorsLog": _relative(
                    purchase.standard_errors, (purchase.r, purchase.alpha, purchase.a, purchase.b)
                ),
                "logLikelihood": purchase.log_likelihood,
                "status": purchase.status.value,
                "customersN": purchase.customers_n,
            },
            "spend": {
                "parameters": [spend.p, spend.q, spend.v],
                "standardErrors": _nullable(spend.standard_errors),
                "standardErrorsLog": _relative(spend.standard_errors, (spend.p, spend.q, spend.v)),
                "logLikelihood": None if math.isnan(spend.log_likelihood) else spend.log_likelihood,
                "status": spend.status.value,
                "customersN": spend.customers_n,
            },
        }

    def refit(self, as_of_day: int, buyers_n: int) -> Refit:
        """Keep it for a week, then ask again; never use a fit of a later day, nor one of another organisation."""
        age = as_of_day - self.fitted_day
        if age < 0 or age >= CALIBRATION_DAYS_MAX or _another_size(self.buyers_n, buyers_n):
            return Refit.ANEW
        return Refit.CHECKED if age >= REFIT_DAYS else Refit.KEEP


def fitted_of(document: Document) -> Fitted:
    """Inverse of `Fitted.document`."""
    purchase, spend = document["purchase"], document["spend"]
    r, alpha, a, b = purchase["parameters"]
    p, q, v = spend["parameters"]
    calibration = Calibration(
        version=document["version"],
        purchase=PurchaseFit(
            model=Model[purchase["model"]],
            unit=TimeUnit[purchase["unit"]],
            r=r,
            alpha=alpha,
            a=a,
            b=b,
            log_likelihood=purchase["logLikelihood"],
            standard_errors=_errors(purchase["standardErrors"]),
            status=Status(purchase["status"]),
            customers_n=purchase["customersN"],
            regularity=purchase.get("regularity", 1),
        ),
        spend=SpendFit(
            p=p,
            q=q,
            v=v,
            log_likelihood=math.nan if spend["logLikelihood"] is None else spend["logLikelihood"],
            standard_errors=_errors(spend["standardErrors"]),
            status=Status(spend["status"]),
            customers_n=spend["customersN"],
        ),
        level=document["level"],
        level_measured=document["levelMeasured"],
        regularity=regularity_of(document.get("regularity")),
    )
    return Fitted(calibration, document["fittedDay"], document["buyersN"])


def frontier_documents(frontiers: Sequence[Frontier], places: Sequence[str]) -> list[dict[str, Any]]:
    """Peers' frontiers by the names of their kind and place, as they are kept with the run."""
    return [
        {
            "kind": KINDS[one.kind],
            "place": places[one.group // len(KINDS)] if one.group >= 0 else None,
            "yearMinor": one.year_minor,
            "peersN": one.peers_n,
        }
        for one in frontiers
    ]


def frontier_for(documents: Sequence[Document], kind: str, place: str | None) -> tuple[float, int] | None:
    """Yearly revenue of the frontier a customer is measured by, in minor units of the reporting currency, and how many
    peers set it: those of its kind and place, else of its kind; None where there is neither."""
    by_place = {(one["kind"], one["place"]): (float(one["yearMinor"]), int(one["peersN"])) for one in documents}
    return (by_place.get((kind, place)) if place is not None else None) or by_place.get((kind, None))


def accepted(old: Calibration, new: Calibration, now: PurchaseHistory) -> bool:
    """Whether a weekly refit replaces the old fit.

    Histories grow longer, so likelihoods compare on the same data only: the old parameters are judged on
    today's histories `now`, as the new ones were.
    """
    was = old.purchase
    cells = pack_cells(now, was.unit)
    judged = replace(
        was,
        log_likelihood=log_likelihood(was.model, cells, was.r, was.alpha, was.a, was.b, was.regularity),
        customers_n=int(cells.weight.sum()),
    )
    return accept_refit(judged, new.purchase)


def _another_size(then_n: int, now_n: int) -> bool:
    return now_n > GROWTH_FACTOR * then_n or then_n > GROWTH_FACTOR * now_n


def _nullable(errors: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(error) else error for error in errors]


def _relative(errors: Sequence[float], parameters: Sequence[float]) -> list[float | None]:
    """Standard errors of the logarithms, in which the fit is made: the delta method the other way round."""
    return _nullable([error / value if value else math.nan for error, value in zip(errors, parameters, strict=True)])


def _errors(values: Sequence[float | None]) -> Any:
    return tuple(math.nan if value is None else value for value in values)
