"""What stays fixed between runs, for how long, and that it survives being stored."""

import dataclasses
import math

import numpy as np
import orjson
import pytest

from backend.domain.arrays import IntColumn
from backend.domain.calibration import Calibration, calibrate, purchase_history
from backend.domain.frozen import (
    CALIBRATION_DAYS_MAX,
    REFIT_DAYS,
    Fitted,
    Published,
    Refit,
    accepted,
    fitted_of,
    next_version,
    published_of,
)
from backend.domain.history import OrderColumns, history_of
from backend.domain.priority import POINTS_DEFAULT, Points, QTables, freeze_table, publish_parameters
from backend.domain.score_changes import LINE_POINTS_FELT, PRIORITY_POINTS_FELT, Shown, changed_scores
from backend.domain.score_facts import text_hashes
from backend.domain.score_policy import ScorePolicy
from backend.domain.segment_memory import NEVER, pack_segments, states_found, unpack_segments
from backend.domain.segments import SegmentColumns, Thresholds
from backend.domain.strategy import StrategyTable
from tests.domain.worlds import TODAY, order_columns
from tests.papers.cdnow import orders

pytestmark = pytest.mark.requirement("R27", "R52")


def published() -> Published:
    table = freeze_table(IntColumn.full(np.arange(0, 5_000, 7)))
    return Published(
        "2026Q4-1",
        "2026Q4",
        100,
        publish_parameters(),
        QTables("2026Q4-1", table, table, table, table),
        Thresholds("2026Q4-1", ((2, 5_000), (4, 900)), 100, 40_000),
        StrategyTable(),
    )


@pytest.fixture(scope="module")
def cdnow() -> tuple[OrderColumns, int, int]:
    customer, day, cents = orders()
    nothing = np.zeros(customer.size, dtype=np.bool_)
    columns = OrderColumns(customer, day, cents, np.zeros_like(cents), nothing, nothing)
    return columns, int(customer.max()) + 1, int(day.max())


@pytest.fixture(scope="module")
def calibration(cdnow) -> Calibration:
    columns, customers_n, today = cdnow
    return calibrate(columns, customers_n=customers_n, as_of_day=today, version="c")


def test_a_published_set_comes_back_from_its_document_and_holds_no_float():
    one = published()
    text = orjson.dumps(one.document())
    assert published_of("2026Q4-1", orjson.loads(text)) == one
    assert b"." not in text.replace(b"2026-1", b"")


@pytest.mark.parametrize(
    ("quarter", "customers_n", "describes"),
    [
        ("2026Q4", 100, True),
        ("2027Q1", 100, False),
        ("2026Q4", 200, True),
        ("2026Q4", 201, False),
        ("2026Q4", 50, True),
        ("2026Q4", 49, False),
    ],
)
def test_what_was_frozen_describes_its_quarter_and_an_organisation_of_its_size(quarter, customers_n, describes):
    assert published().describes(quarter, customers_n) is describes


@pytest.mark.parametrize(
    ("policy", "follows"),
    [
        (ScorePolicy(existing_floor_minor=100), True),
        (ScorePolicy(), False),
        (ScorePolicy(1, existing_floor_minor=100), False),
        (ScorePolicy(existing_floor_minor=100, strategies=StrategyTable(by_stage={})), False),
        (ScorePolicy(existing_floor_minor=100, points=Points((31, 19, *POINTS_DEFAULT.line_max[2:]), 12, 6, 3)), False),
    ],
)
def test_a_set_follows_the_policy_whose_weights_floor_and_strategies_it_says(policy, follows):
    assert published().follows(policy) is follows


def test_a_set_published_before_strategies_were_data_says_those_the_product_comes_with():
    document = published().document()
    del document["strategies"]
    assert published_of("2026Q4-1", document) == published()


def test_versions_count_within_their_quarter():
    assert next_version("2026Q4", []) == "2026Q4-1"
    assert next_version("2026Q4", ["2026Q3-7", "2026Q4-1", "2026Q4-9", "2026Q4-10"]) == "2026Q4-11"


def test_a_fit_comes_back_from_its_document_also_without_standard_errors(calibration):
    fitted = Fitted(calibration, TODAY, 2_349)
    assert fitted_of(orjson.loads(orjson.dumps(fitted.document()))) == fitted
    errors = (math.nan,) * 4
    bare = dataclasses.replace(calibration.purchase, standard_errors=errors)
    fitted = Fitted(dataclasses.replace(calibration, purchase=bare), TODAY, 1)
    again = fitted_of(orjson.loads(orjson.dumps(fitted.document())))
    assert all(math.isnan(error) for error in again.calibration.purchase.standard_errors)


@pytest.mark.parametrize(
    ("days", "buyers_n", "wish"),
    [
        (0, 100, Refit.KEEP),
        (REFIT_DAYS - 1, 100, Refit.KEEP),
        (REFIT_DAYS, 100, Refit.CHECKED),
        (CALIBRATION_DAYS_MAX, 100, Refit.ANEW),
        (-1, 100, Refit.ANEW),
        (0, 201, Refit.ANEW),
        (0, 49, Refit.ANEW),
    ],
)
def test_a_fit_is_kept_a_week_and_none_of_a_later_day_is_used(calibration, days, buyers_n, wish):
    assert Fitted(calibration, TODAY, 100).refit(TODAY + days, buyers_n) is wish


def test_a_refit_is_judged_on_todays_histories(cdnow, calibration):
    columns, customers_n, today = cdnow
    history = history_of(columns, customers_n=customers_n, as_of_day=today)
    now = purchase_history(history, today, history.has_orders)
    earlier = columns.day <= today - 14
    before = OrderColumns(*(getattr(columns, f.name)[earlier] for f in dataclasses.fields(columns)[:-1]))
    old = calibrate(before, customers_n=customers_n, as_of_day=today - 14, version="b")
    assert old.purchase.log_likelihood / old.purchase.customers_n > (
        calibration.purchase.log_likelihood / calibration.purchase.customers_n
    ), "histories grow longer, so the plain comparison would never let a new fit in"
    assert accepted(old, calibration, now)
    worse = dataclasses.replace(calibration, purchase=dataclasses.replace(calibration.purchase, log_likelihood=-1e9))
    assert not accepted(old, worse, now)
    drifted = dataclasses.replace(calibration, purchase=dataclasses.replace(calibration.purchase, r=50.0))
    assert not accepted(old, drifted, now)


def tonight(rows_n: int, seed: int) -> SegmentColumns:
    draw = np.random.default_rng(seed)
    return SegmentColumns(
        code=draw.integers(0, 17, rows_n),
        bits=draw.integers(0, 16, rows_n),
        nights=draw.integers(0, 3, (rows_n, 4)),
        since_day=draw.integers(-5_000, 60_000, rows_n),
        previous_code=draw.integers(-1, 17, rows_n),
        cause=draw.integers(0, 9, rows_n),
        known=draw.random((rows_n, 4)) < 0.5,
    )


def test_a_segments_memory_comes_back_from_one_number():
    night = tonight(3_000, 1)
    states = pack_segments(night)
    assert (states > 0).all()
    assert states.max() < 2**53
    found = unpack_segments(states)
    for name in ("code", "bits", "nights", "since_day"):
        assert (getattr(found, name) == getattr(night, name)).all(), name
    never = unpack_segments(np.full(2, NEVER))
    assert never.code.tolist() == [-1, -1]
    assert never.nights.shape == (2, 4)


def test_the_same_night_again_starts_from_what_it_found():
    found = states_found(np.array([7, 7]), np.array([3, 3]), np.array([TODAY - 1, TODAY]), TODAY)
    assert found.tolist() == [7, 3]


def shown(**changes) -> Shown:
    base = {
        "labels": (["HHHH", "HHHH"],),
        "evidence": text_hashes(["order|visit", ""]),
        "priority": np.array([40, 40]),
        "money": (IntColumn.of([1_000, None]),),
        "shares": (IntColumn.of([5_000, None]),),
    }
    return Shown(**(base | changes))


def changed(now: Shown, points: int = 0) -> list[bool]:
    was, moved = np.zeros((2, 10), dtype=np.int64), np.zeros((2, 10), dtype=np.int64)
    moved[0, 3] = points
    return changed_scores(shown(), now, was, moved).tolist()


def test_a_score_is_told_again_only_when_a_device_would_rank_or_show_something_else():
    assert changed(shown()) == [False, False]
    assert changed(shown(), LINE_POINTS_FELT - 1) == [False, False]
    assert changed(shown(), LINE_POINTS_FELT) == [True, False]
    assert changed(shown(), -LINE_POINTS_FELT) == [True, False]
    assert changed(shown(labels=(["HHHH", "HHHL"],))) == [False, True]
    assert changed(shown(evidence=text_hashes(["order|later", ""]))) == [True, False]
    assert changed(shown(priority=np.array([40 + PRIORITY_POINTS_FELT, 39]))) == [True, False]
    assert changed(shown(money=(IntColumn.of([1_101, None]),))) == [False, False]
    assert changed(shown(money=(IntColumn.of([1_112, None]),))) == [True, False]
    assert changed(shown(money=(IntColumn.of([1_000, 0]),))) == [False, True], "now known"
    assert changed(shown(shares=(IntColumn.of([None, None]),))) == [True, False], "no longer known"
    assert changed(shown(shares=(IntColumn.of([4_800, None]),))) == [True, False]
    assert changed(shown(shares=(IntColumn.of([4_801, None]),))) == [False, False]


def test_an_organisation_without_orders_can_be_frozen_too():
    columns = order_columns([])
    calibration = calibrate(columns, customers_n=0, as_of_day=TODAY, version="c")
    fitted = Fitted(calibration, TODAY, 0)
    assert orjson.dumps(fitted_of(orjson.loads(orjson.dumps(fitted.document()))).document()) == orjson.dumps(
        fitted.document()
    )
    assert fitted.refit(TODAY, 0) is Refit.KEEP
    assert fitted.refit(TODAY, 1) is Refit.ANEW
