"""Goals for revenue of the quarter: of the whole company, its regions, and the patches of the first region.

Elsewhere none is set, and nothing can be said of attainment there. *Source*: R12, R21.
"""

import numpy as np

from backend.domain.arrays import BoolArray, IntArray
from backend.domain.demo.frame import Setting, Table
from backend.domain.demo.people import Tree
from backend.domain.exchange import convert_columns
from backend.domain.kpis import KpiCode
from backend.domain.money import Rate
from backend.domain.times import DAY_MS, day_from_number

WINDOW_DAYS = 91
YEAR_DAYS = 364
RAISED = (1.02, 1.25)
"""What is wanted, of what was sold in the same days of the year before."""
ROUND_MINOR = 1_000_00
REPORTED_IN = "USD"


def make_goals(
    setting: Setting,
    tree: Tree,
    orders: Table,
    counts: BoolArray,
    patch_of_order: IntArray,
    rates: Table,
    admin_id: str,
) -> Table:
    """Set a week before the quarter began, due at the end of the next one. `patch_of_order`: (n,) where the customer
    of an order is today."""
    (territory, members), patches = tree.tables, tree.patches
    known = tuple(
        Rate(*row) for row in zip(*(rates.columns[name] for name in ("currency", "valid_from", "rate_e9")), strict=True)
    )
    day = np.array(orders.columns["ordered_on"], dtype="datetime64[D]").astype(np.int64)
    last = setting.as_of - YEAR_DAYS
    then = counts & (day <= last) & (day > last - WINDOW_DAYS)
    amount = convert_columns(
        np.array(orders.columns["total_minor"], dtype=np.int64),
        np.array(orders.columns["currency"], dtype=np.str_),
        day,
        to=REPORTED_IN,
        rates=known,
    ).amount_minor
    sold = np.bincount(patch_of_order[then], amount[then].astype(np.float64), len(patches.ids))
    holder = {
        node: user
        for node, user, until in zip(
            members.columns["territory_id"], members.columns["user_id"], members.columns["valid_to"], strict=True
        )
        if until is None
    }
    draw = setting.stream("goals")
    set_ms = setting.now_ms - (WINDOW_DAYS + 6) * DAY_MS
    rows: list[tuple[str, str | None, int, str]] = []
    paths = dict(zip(territory.columns["id"], territory.columns["path"], strict=True))
    regions = [node for node, path in paths.items() if path.count("/") == 2]
    below = {
        node: np.array([paths[one] == path or paths[one].startswith(f"{path}/") for one in patches.ids])
        for node, path in paths.items()
    }
    first = next(iter(regions))
    shown = [node for node in territory.columns["id"] if node in regions]
    shown += [node for place, node in enumerate(patches.ids) if below[first][place]]
    names = dict(zip(territory.columns["id"], territory.columns["name_en"], strict=True))
    rows.append(("Haizhi Apparel", None, int(sold.sum()), admin_id))
    rows += [(names[node], node, int(sold[below[node]].sum()), holder.get(node, admin_id)) for node in shown]
    raised = draw.uniform(*RAISED, len(rows))
    return Table(
        "goal",
        {
            "id": setting.ids("goal", np.full(len(rows), set_ms)),
            "name": [f"{name}: revenue of the quarter" for name, *_ in rows],
            "metric": [KpiCode.REVENUE.value] * len(rows),
            "territory_id": [row[1] for row in rows],
            "window_days": [WINDOW_DAYS] * len(rows),
            "baseline": [row[2] for row in rows],
            "target": [
                max(1, round(row[2] * up / ROUND_MINOR)) * ROUND_MINOR
                for row, up in zip(rows, raised.tolist(), strict=True)
            ],
            "starts_on": [day_from_number(setting.as_of - WINDOW_DAYS + 1)] * len(rows),
            "due_on": [day_from_number(setting.as_of + WINDOW_DAYS)] * len(rows),
            "reason": ["去年同期的销售额要提高。 More than in the same quarter of the year before."] * len(rows),
            "judged_by": ["91 天的订单额。 Orders of 91 days."] * len(rows),
            "evaluation_id": [None] * len(rows),
            "owner_id": [row[3] for row in rows],
            "set_at": [set_ms] * len(rows),
            "set_by": [f"staff:{admin_id}"] * len(rows),
            "closed_at": [None] * len(rows),
        },
    )
