"""What the check of data quality reads of customers: their own columns, and when anything was last recorded of them."""

import re
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import IntColumn
from backend.domain.customers import CustomerKind, wanted_fields
from backend.domain.quality import CustomerFacts
from backend.domain.times import DAY_MS, day_number
from backend.storage.engine import Connection

_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_WANTED = tuple(dict.fromkeys(name for kind in CustomerKind for group in wanted_fields(kind.value) for name in group))
_STORED = tuple(dict.fromkeys((*_WANTED, "stage", "phone", "country", "currency", "taxId", "code")))


def _column(name: str) -> str:
    return _CAPITAL.sub(r"_\1", name).lower()


_TOUCHED = (
    "COALESCE(k.last_order_at, 0), COALESCE(k.last_visit_at, 0), k.created_at,"
    " COALESCE((SELECT MAX(a.at) FROM audit_entry a WHERE a.record_id = k.id AND a.collection = 'customers'"
    " AND a.action IN ('CREATE', 'UPDATE', 'MERGE')), 0)"
)


@dataclass(frozen=True, slots=True)
class CheckedCustomers:
    """(n,) ids in order with what is checked of them; `touched_ms`: the last order, visit or change."""

    ids: tuple[str, ...]
    facts: CustomerFacts
    touched_ms: tuple[int, ...]


async def read_checked(conn: Connection, where: str, args: list[object], *, now_ms: int) -> CheckedCustomers:
    """The customers `k` for which `where` holds."""
    stored = ", ".join(f"k.{_column(name)}" for name in _STORED)
    rows = await conn.fetch(
        f"SELECT k.id, k.kind, k.customer_since, k.last_order_at, {_TOUCHED},"
        " (SELECT p.currency FROM price_list p WHERE p.id = k.price_list_id),"
        " (SELECT h.kind FROM customer h WHERE h.id = k.parent_id),"
        " EXISTS (SELECT 1 FROM match_pair m WHERE m.collection = 'customers' AND m.state = 'OPEN'"
        f" AND (m.first_id = k.id OR m.second_id = k.id)), {stored} FROM customer k WHERE {where} ORDER BY k.id",
        *args,
    )
    width = 11 + len(_STORED)
    columns = tuple(zip(*rows, strict=True)) if rows else ((),) * width
    ids, kinds, since, ordered, *touches = columns[:8]
    touched = tuple(max(moments) for moments in zip(*touches, strict=True))
    days = [None if at is None else at // DAY_MS for at in ordered]
    return CheckedCustomers(
        ids=ids,
        touched_ms=touched,
        facts=CustomerFacts(
            kind=kinds,
            stored=dict(zip(_STORED, columns[11:], strict=True)),
            silent_days=IntColumn.full(np.array([max(now_ms - at, 0) // DAY_MS for at in touched], dtype=np.int64)),
            last_order_day=IntColumn.of(days),
            since_day=IntColumn.of(None if day is None else day_number(day) for day in since),
            price_list_currency=columns[8],
            parent_kind=columns[9],
            suspected=np.array([bool(one) for one in columns[10]], dtype=np.bool_),
        ),
    )
