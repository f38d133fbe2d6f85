# ruff: noqa: E501 - statements and documents stand as they are sent
"""q1–q5 as each server is asked them, and one canonical form of the answers, in which they must be equal.

Who asks ours is a rep with two patches; the others have no sign-in and no scope, and are told the patches instead.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from backend.sync.versions import SCHEMA_VERSION
from tests.benchmarks.company import DELTA_ROWS, Company, shapes

Json = dict[str, Any]
SHAPES = shapes()
CONTACTS_FIRST, ORDERS_FIRST, MORNING_FIRST, PUSH_CHANGES = 20, 10, 50, 100

# --- q1: one customer as the rep opens it ---

_CUSTOMER = "id code nameZh nameEn kind stage city street phone email currency completenessPercent createdAt"
_CONTACT = "id nameZh nameEn phone email preferredChannel"
_ORDER = "id number state source orderedOn poNumber currency units"
_LINE = "id position description unitPriceMinor discountBp units totalMinor cells"

OURS_Q1 = f"""query Card($id: ID!) {{ customer(id: $id) {{ {_CUSTOMER}
  contacts(first: {CONTACTS_FIRST}) {{ nodes {{ id role primary contact {{ {_CONTACT} }} }} }}
  orders(first: {ORDERS_FIRST}) {{ nodes {{ {_ORDER} total {{ amountMinor }} lines {{ {_LINE} }} }} }} }} }}"""
OTHERS_Q1 = f"""query Card($id: String!) {{ customer(id: $id) {{ {_CUSTOMER}
  contacts(first: {CONTACTS_FIRST}) {{ id role primary contact {{ {_CONTACT} }} }}
  orders(first: {ORDERS_FIRST}) {{ {_ORDER} totalMinor lines {{ {_LINE} }} }} }} }}"""


def _rows(fields: str) -> str:
    """PostGraphile calls a key that is named `id` otherwise, for `id` is its own."""
    return f" {fields}".replace(" id ", " id: rowId ").strip()


POSTGRAPHILE_Q1 = f"""query Card($id: String!) {{ customer: customerByRowId(rowId: $id) {{ {_rows(_CUSTOMER)}
  contacts: linksByCustomerIdList(first: {CONTACTS_FIRST}, orderBy: SORTED_AT_ASC) {{ id: rowId role primary
    contact: contactByContactId {{ {_rows(_CONTACT)} }} }}
  orders: salesOrdersByCustomerIdList(first: {ORDERS_FIRST}, orderBy: SORTED_AT_DESC) {{ {_rows(_ORDER)} totalMinor
    lines: orderLinesByOrderIdList(orderBy: POSITION_ASC) {{ {_rows(_LINE)} }} }} }} }}"""

# --- q2: whom to visit first ---

_LISTED = "id nameZh nameEn kind stage city"
_TERRITORY = "id path nameEn"
_VISIT = "id state purpose plannedAt"

OURS_Q2 = f"""query Morning {{ customers(sort: PRIORITY, first: {MORNING_FIRST}) {{ nodes {{ {_LISTED} score {{ priority }}
  territory {{ {_TERRITORY} }} nextVisit {{ {_VISIT} }} }} }} }}"""
OTHERS_Q2 = f"""query Morning($in: [String!]!) {{ morningList(territories: $in, most: {MORNING_FIRST}) {{ {_LISTED} priority
  territory {{ {_TERRITORY} }} nextVisit {{ {_VISIT} }} }} }}"""
POSTGRAPHILE_Q2 = f"""query Morning($in: [String]!) {{ morningList: morningListList(territories: $in, most: {MORNING_FIRST}) {{
  {_rows(_LISTED)} priority territory: territoryByTerritoryId {{ {_rows(_TERRITORY)} }}
  nextVisit: visitsByCustomerIdList(first: 1, condition: {{ state: "PLANNED" }}, orderBy: HAPPENS_AT_ASC) {{ {_rows(_VISIT)} }} }} }}"""

# --- q3 and q4: what changed, and everything ---


def _all(shape: str) -> str:
    return " ".join(name for name, _, _ in SHAPES[shape])


OURS_Q3 = f"""query Delta($cursor: String, $limit: Int!) {{ syncPull(cursor: $cursor, limit: $limit, schemaVersion: {SCHEMA_VERSION}) {{
  clock cursor complete scopesRemoved ackedMutation checksums {{ scope collection sum count }}
  blocks {{ scope collection left rows {{ seq digest document }} }} }} }}"""
OTHERS_Q3 = f"""query Delta($in: [String!]!, $since: Int!) {{
  visitsSince(territories: $in, since: $since, most: {DELTA_ROWS}) {{ rev {_all("visits")} }} }}"""
POSTGRAPHILE_Q3 = f"""query Delta($in: [String]!, $since: Int!) {{
  visitsSince: visitsSinceList(territories: $in, since: $since, most: {DELTA_ROWS}) {{ rev {_rows(_all("visits"))} }} }}"""

_PARTS = {"customers": "customersIn", "contacts": "contactsIn", "customerContacts": "linksIn", "visits": "visitsIn",
          "orders": "ordersIn", "scores": "scoresIn"}  # fmt: skip


def _everything(field: Callable[[str], str], fields: Callable[[str], str], lines: str, kind: str) -> str:
    parts = []
    for shape, name in _PARTS.items():
        nested = f" {lines} {{ {fields('lines')} }}" if shape == "orders" else ""
        parts.append(f"{shape}: {field(name)}(territories: $in) {{ {fields(shape)}{nested} }}")
    return f"query All($in: {kind}) {{ {' '.join(parts)} }}"


OTHERS_Q4 = _everything(lambda name: name, _all, "lines", "[String!]!")
POSTGRAPHILE_Q4 = _everything(
    lambda name: f"{name}List", lambda shape: _rows(_all(shape)), "lines: orderLinesByOrderIdList(orderBy: POSITION_ASC)", "[String]!"
)  # fmt: skip

# --- q5: a hundred changes ---

OURS_Q5 = f"""mutation Push($mutations: [SyncMutation!]!) {{ syncPush(mutations: $mutations, schemaVersion: {SCHEMA_VERSION}) {{
  __typename ... on SyncPushed {{ clock results {{ id status records {{ collection seq }} }} }} }} }}"""
OTHERS_Q5 = "mutation Push($patches: [VisitPatch!]!) { updateVisits(patches: $patches) { id rev } }"
POSTGRAPHILE_Q5_SET = (
    "mutation Push($patches: JSON!) { changeVisits(input: { patches: $patches }) { result { id: rowId rev } } }"
)


def _postgraphile_q5(changes: int) -> str:
    named = ", ".join(f"$i{n}: String!, $p{n}: VisitPatch!" for n in range(changes))
    fields = " ".join(
        f"c{n}: updateVisitByRowId(input: {{ rowId: $i{n}, visitPatch: $p{n} }}) {{ visit {{ id: rowId rev }} }}"
        for n in range(changes)
    )
    return f"mutation Push({named}) {{ {fields} }}"


POSTGRAPHILE_Q5 = _postgraphile_q5(PUSH_CHANGES)


def body(document: str, **variables: object) -> bytes:
    return orjson.dumps({"query": document, "variables": variables})


@dataclass(frozen=True)
class Question:
    """One kind of server's way to ask: documents by question, and what its answers come to."""

    q1: str
    q2: str
    q3: str
    q4: str


OURS = "ours"
SIDES: Mapping[str, Question] = {
    "strawberry": Question(OTHERS_Q1, OTHERS_Q2, OTHERS_Q3, OTHERS_Q4),
    "mercurius": Question(OTHERS_Q1, OTHERS_Q2, OTHERS_Q3, OTHERS_Q4),
    "postgraphile": Question(POSTGRAPHILE_Q1, POSTGRAPHILE_Q2, POSTGRAPHILE_Q3, POSTGRAPHILE_Q4),
}


def bodies(side: str, name: str, company: Company, *, cursor: str = "") -> list[bytes]:
    """The requests of a question, to be sent in turn; q4 of ours is no document but a stream, and q5 is `pushes`."""
    held = list(company.territories)
    if side == OURS:
        return {
            "q1": lambda: [body(OURS_Q1, id=one) for one in company.good_customers],
            "q2": lambda: [body(OURS_Q2)],
            "q3": lambda: [body(OURS_Q3, cursor=cursor, limit=DELTA_ROWS)],
        }[name]()
    asked = SIDES[side]
    return {
        "q1": lambda: [body(asked.q1, id=one) for one in company.good_customers],
        "q2": lambda: [body(asked.q2, **{"in": held})],
        "q3": lambda: [body(asked.q3, **{"in": held}, since=company.delta_from % 2**40)],
        "q4": lambda: [body(asked.q4, **{"in": held})],
    }[name]()


def pushes(side: str, visits: Sequence[str], marks: Iterator[str], *, whole: bool = False) -> Iterator[bytes]:
    """Requests of the others that change these visits, each with another next step; `whole`: in one statement."""
    while True:
        mark = next(marks)
        patches = [{"id": one, "nextStep": f"{mark} {n}"} for n, one in enumerate(visits)]
        if side == "postgraphile" and whole:
            yield body(POSTGRAPHILE_Q5_SET, patches=[{"id": p["id"], "next_step": p["nextStep"]} for p in patches])
        elif side == "postgraphile":
            variables: Json = {}
            rev = uuid.uuid4().int % 2**30
            for n, patch in enumerate(patches):
                variables |= {f"i{n}": patch["id"], f"p{n}": {"nextStep": patch["nextStep"], "rev": rev}}
            yield body(POSTGRAPHILE_Q5, **variables)
        else:
            yield body(OTHERS_Q5, patches=patches)


class Device:
    """A device of ours that pushes: its number of the next mutation, and the revision of each visit it changes."""

    def __init__(
        self, visits: Sequence[str], revs: Mapping[str, int], marks: Iterator[str], client_seq: int = 0
    ) -> None:
        self.visits = list(visits)
        self.revs = dict(revs)
        self.marks = marks
        self.client_seq = client_seq

    def next(self, changes: int = PUSH_CHANGES) -> bytes:
        mark = next(self.marks)
        mutations = []
        for n, visit in enumerate(self.visits[:changes]):
            self.client_seq += 1
            change = {"visit": {"id": visit, "baseRev": self.revs[visit], "set": {"nextStep": f"{mark} {n}"}}}
            mutations.append({"id": str(uuid.uuid4()), "clientSeq": self.client_seq, "change": change})
        return body(OURS_Q5, mutations=mutations)

    def take(self, answer: bytes) -> None:
        """Raises AssertionError unless every change was applied as it was sent."""
        told = orjson.loads(answer)
        results = told["data"]["syncPush"]["results"]
        assert {one["status"] for one in results} == {"APPLIED"}, told
        for visit, one in zip(self.visits, results, strict=False):
            self.revs[visit] = one["records"][0]["seq"]


# --- parity ---


def canonical(side: str, name: str, answer: bytes) -> bytes:
    """The answer in the one form: keys sorted, records by id where no order was asked for."""
    if side == OURS and name == "q4":
        return _canonical(_from_lines(answer))
    told = orjson.loads(answer)
    if told.get("errors"):
        raise AssertionError(f"{side} {name}: {orjson.dumps(told['errors'])[:600].decode()}")
    data = told["data"]
    return _canonical(_READERS[name](side, data))


def _canonical(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _q1(side: str, data: Json) -> object:
    found = data["customer"]
    if side == OURS:
        orders = [
            {**{k: v for k, v in order.items() if k != "total"}, "totalMinor": order["total"]["amountMinor"]}
            for order in found["orders"]["nodes"]
        ]
        return {**found, "contacts": found["contacts"]["nodes"], "orders": orders}
    return found


def _q2(side: str, data: Json) -> object:
    if side == OURS:
        nodes = data["customers"]["nodes"]
        return [
            {**{k: v for k, v in one.items() if k != "score"}, "priority": one["score"]["priority"]} for one in nodes
        ]
    found = data["morningList"]
    if side == "postgraphile":
        return [{**one, "nextVisit": next(iter(one["nextVisit"]), None)} for one in found]
    return found


def _q3(side: str, data: Json) -> object:
    if side == OURS:
        rows = [row for block in data["syncPull"]["blocks"] for row in block["rows"]]
        known = {name for name, _, _ in SHAPES["visits"]}
        return _by_id(
            [{k: v for k, v in row["document"].items() if k in known} | {"rev": row["seq"] % 2**40} for row in rows]
        )
    return _by_id(data["visitsSince"])


def _q4(_side: str, data: Json) -> object:
    return {name: _by_id(rows) for name, rows in data.items()}


def _from_lines(stream: bytes) -> object:
    """Everything of the collections that were asked of all, out of the stream's lines."""
    found: dict[str, dict[str, Json]] = {name: {} for name in _PARTS}
    block: Json = {}
    for line in stream.splitlines():
        told = orjson.loads(line)
        if "collection" in told:
            block = told
        document = told.get("document")
        if document is not None and block["collection"] in found:
            known = {name for name, _, _ in SHAPES[block["collection"]]} | {"lines"}
            found[block["collection"]][document["id"]] = {k: v for k, v in document.items() if k in known}
    for score in found["scores"].values():
        score.pop("lines", None)
    return {name: _by_id(list(rows.values())) for name, rows in found.items()}


def _by_id(rows: list[Json]) -> list[Json]:
    return sorted(rows, key=lambda row: str(row["id"]))


_READERS: Mapping[str, Callable[[str, Json], object]] = {"q1": _q1, "q2": _q2, "q3": _q3, "q4": _q4}
