"""Where a customer stands in its life with us. *Source*: R16."""

from enum import IntEnum

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.domain.history import HistoryColumns

DORMANT_RATIO = 3.0
LOST_RATIO = 6.0
LOST_ALIVE = 0.1
NEW_DAYS = 90
TREND_TURN = 0.15


class Stage(IntEnum):
    """The stage; its name is the code clients see."""

    PROSPECT = 0
    NEW = 1
    GROWING = 2
    MATURE = 3
    DECLINING = 4
    DORMANT = 5
    LOST = 6
    WON_BACK = 7


def stages(
    history: HistoryColumns, *, ratio: FloatArray, alive: FloatArray, trend_yearly: FloatArray, as_of_day: int
) -> IntArray:
    """(n,) `Stage` of every customer, from the strongest statement to the weakest.

    Never ordered: PROSPECT. Orders in the last two quarters after four without any: WON_BACK. Six of its
    own intervals silent, or three and hardly a chance (P(alive) < .1): LOST. Three: DORMANT. First order
    within 90 days, or only one order: NEW. Then by the trend season on season, ±15 %: GROWING, DECLINING,
    else MATURE.
    """
    silence = np.where(np.isnan(ratio), 0.0, ratio)
    dormant = silence >= DORMANT_RATIO
    orders = history.quarter_orders_n
    lately, gap = orders[:, :2].sum(axis=1), orders[:, 2:6].sum(axis=1)
    earlier = history.orders_n - lately - gap
    won_back = (lately > 0) & (gap == 0) & (earlier > 0)
    is_new = (as_of_day - history.first_day < NEW_DAYS) | (history.orders_n < 2)
    trend = np.where(np.isnan(trend_yearly), 0.0, trend_yearly)
    return np.asarray(
        np.select(
            [
                ~history.has_orders,
                won_back,
                (silence >= LOST_RATIO) | (dormant & (alive < LOST_ALIVE)),
                dormant,
                is_new,
                trend > TREND_TURN,
                trend < -TREND_TURN,
            ],
            [
                Stage.PROSPECT,
                Stage.WON_BACK,
                Stage.LOST,
                Stage.DORMANT,
                Stage.NEW,
                Stage.GROWING,
                Stage.DECLINING,
            ],
            Stage.MATURE,
        ),
        dtype=np.int64,
    )
