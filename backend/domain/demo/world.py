"""The demo world: one seeded company, the same on every machine and on both databases.

`make_world` draws every part from streams of its own (`frame.stream`), so a part that comes later changes no
digest of an earlier one. *Source*: the figures are the demo's design parameters; nobody in it exists.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.domain.arrays import IntArray
from backend.domain.customers import LifecycleStage
from backend.domain.demo.campaigns import Drawn, make_evaluations
from backend.domain.demo.contacts import make_contacts
from backend.domain.demo.custom import make_custom_fields, make_custom_values
from backend.domain.demo.customers import Customers, make_customers
from backend.domain.demo.feedback import make_answers, make_cases
from backend.domain.demo.forms import make_forms
from backend.domain.demo.frame import Setting, Table, digest_of, setting_of
from backend.domain.demo.goals import make_goals
from backend.domain.demo.orders import Orders, make_orders, sold
from backend.domain.demo.people import make_team, make_tree
from backend.domain.demo.products import make_products
from backend.domain.demo.tasks import make_tasks
from backend.domain.demo.visits import Visits, make_visits
from backend.domain.permissions import Role

SEED = 20261122
AS_OF_DAY = "2026-11-22"
SHOWN_ROLES = (Role.REP, Role.MANAGER, Role.SERVICE_AGENT, Role.ANALYST, Role.BACK_OFFICE, Role.ADMIN)
"""Roles that have something to show to who signs in."""


@dataclass(frozen=True, slots=True)
class World:
    """Whole tables by part. The parts `summaries` and `custom` hold further columns of `customer`. `campaigns`: what
    was planted, which no table tells."""

    setting: Setting
    parts: Mapping[str, tuple[Table, ...]]
    campaigns: tuple[Drawn, ...] = ()

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table once, its columns from all parts side by side, in an order that can be inserted."""
        columns: dict[str, dict[str, Sequence[Any]]] = {}
        for tables in self.parts.values():
            for table in tables:
                held = columns.setdefault(table.name, {})
                if held and list(held["id"]) != list(table.columns["id"]):
                    raise ValueError(f"{table.name}: parts differ in their rows")
                held.update(table.columns)
        return tuple(Table(name, found) for name, found in columns.items())

    def table(self, name: str) -> Table:
        """One table by its name; raises KeyError."""
        return {table.name: table for table in self.tables}[name]


def make_world(profile: str = "demo", *, seed: int = SEED, as_of_day: str = AS_OF_DAY) -> World:
    """The world of a profile (`tiny`, `demo`, `load`), its history ending the day before `as_of_day`.

    Equal arguments give equal tables. Raises NOT_ALLOWED_VALUE for an unknown profile.
    """
    setting = setting_of(profile, seed, as_of_day)
    team = make_team(setting)
    tree = make_tree(setting, team)
    products = make_products(setting)
    admin_id = team.by_role[Role.ADMIN][0]
    agents = team.by_role[Role.SERVICE_AGENT]
    customers = make_customers(setting, tree.patches, products.price_list_ids, admin_id)
    orders = make_orders(setting, tree.patches, customers, products, agents, admin_id)
    visits = make_visits(setting, tree.patches, customers, orders)
    others = [*team.by_role[Role.MANAGER], *agents]
    forms = make_forms(setting, admin_id)
    style_ids = next(table for table in products.tables if table.name == "style").columns["id"]
    order_table, counts = orders.tables[0], sold(orders)
    rates = next(table for table in products.tables if table.name == "exchange_rate")
    marketer_id = next(iter(team.by_role[Role.MARKETER]))
    goals = make_goals(setting, tree, order_table, counts, customers.patch[orders.account], rates, admin_id)
    evaluations = make_evaluations(setting, customers, orders.campaigns, order_table, counts, rates, marketer_id)
    return World(
        setting,
        {
            "people": (team.table,),
            "territories": tree.tables,
            "products": products.tables,
            "customers": customers.tables,
            "contacts": make_contacts(setting, tree.patches, customers),
            "orders": orders.tables,
            "visits": (visits.table,),
            "tasks": (make_tasks(setting, tree.patches, customers, orders, others, admin_id),),
            "forms": (forms,),
            "answers": make_answers(setting, tree.patches, customers, orders, visits, forms, style_ids),
            "cases": (make_cases(setting, tree.patches, customers, agents),),
            "plans": (goals, *evaluations),
            "summaries": (_summaries(setting, customers, orders, visits),),
            "custom": (
                make_custom_fields(setting, admin_id),
                make_custom_values(setting, customers.ids, np.array(customers.patch >= 0)),
            ),
        },
        orders.campaigns,
    )


def digests(world: World) -> dict[str, str]:
    """Part → SHA-256 of its tables: equal on every machine and when read back from either database."""
    return {part: digest_of(tables) for part, tables in world.parts.items()}


@dataclass(frozen=True, slots=True)
class SignIn:
    """An address one can sign in with."""

    role: Role
    email: str
    name: str


def demo_sign_ins(world: World) -> list[SignIn]:
    """One of each role that has something to show: a rep, a manager, a service agent, an analyst, the back office,
    an admin."""
    columns = world.parts["people"][0].columns
    found = []
    for role in SHOWN_ROLES:
        row = list(columns["role"]).index(role.value)
        found.append(SignIn(role, columns["email"][row], columns["name"][row]))
    return found


def _summaries(setting: Setting, customers: Customers, orders: Orders, visits: Visits) -> Table:
    """Customer columns that orders and visits give: the last of each, and the stage of life."""
    n = len(customers.ids)
    ordered, visited = np.full(n, -1), np.full(n, -1)
    np.maximum.at(ordered, orders.account, orders.submitted_ms)
    np.maximum.at(visited, visits.customer, visits.completed_ms)
    return Table(
        "customer",
        {
            "id": customers.ids,
            "stage": [stage.value for stage in _stages(setting, customers, orders)],
            "last_order_at": [at if at >= 0 else None for at in ordered.tolist()],
            "last_visit_at": [at if at >= 0 else None for at in visited.tolist()],
        },
    )


def _stages(setting: Setting, customers: Customers, orders: Orders) -> list[LifecycleStage]:
    """By silence in own intervals, then by the second year against the first; doors stand where their chain does."""
    n = len(customers.accounts.kind)
    counted = sold(orders)
    account, day, units = orders.account[counted], orders.day[counted], orders.units[counted]
    count = np.bincount(account, minlength=n)
    first, last = np.full(n, setting.as_of), np.full(n, setting.first)
    np.minimum.at(first, account, day)
    np.maximum.at(last, account, day)
    interval = np.maximum(7, (last - first) / np.maximum(1, count - 1))
    silence = (setting.as_of - last) / np.where(count > 1, interval, 90)
    second_year = day >= setting.first + 365
    now = np.bincount(account, units * second_year, n)
    before = np.bincount(account, units * ~second_year, n)
    stages = np.select(
        [
            count == 0,
            silence >= 6,
            silence >= 3,
            (count < 2) | (setting.as_of - first < 90),
            now > 1.15 * before,
            now < 0.85 * before,
        ],
        [
            _PLACES[stage]
            for stage in (
                LifecycleStage.PROSPECT,
                LifecycleStage.LOST,
                LifecycleStage.DORMANT,
                LifecycleStage.NEW,
                LifecycleStage.GROWING,
                LifecycleStage.DECLINING,
            )
        ],
        default=_PLACES[LifecycleStage.MATURE],
    )
    found = np.full(len(customers.ids), _PLACES[LifecycleStage.MATURE])
    for place, rows in zip(stages.tolist(), customers.accounts.places, strict=True):
        found[rows] = place
    found[list(customers.prospects)] = _PLACES[LifecycleStage.PROSPECT]
    return [_STAGES[place] for place in _int_list(found)]


_STAGES = tuple(LifecycleStage)
_PLACES = {stage: place for place, stage in enumerate(_STAGES)}


def _int_list(values: IntArray) -> list[int]:
    return [int(value) for value in values.tolist()]
