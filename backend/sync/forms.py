"""A device's mutation as JSON brings it, whatever it brings: read whole where it has its form, told apart where not.

GraphQL refuses a whole request for one wrong value. A device's queue must not stand still for that, so what has not
its form becomes a mutation with problems: it is refused alone, kept for its author, and those behind it go on.
"""

from collections.abc import Mapping
from typing import Any

from backend.domain.fields import INTEGER_MAX
from backend.domain.times import check_instant, parse_instant
from backend.errors import Code, Problem, Refused
from backend.sync.push import UNNUMBERED, Mutation

COLLECTION_OF_KIND: Mapping[str, str] = {
    "customer": "customers",
    "contact": "contacts",
    "customerContact": "customerContacts",
    "visit": "visits",
    "order": "orders",
    "task": "tasks",
    "answer": "answers",
    "case": "cases",
    "judgement": "judgements",
    "attachment": "attachments",
    "syncIssue": "syncIssues",
}
"""Key of a `change` → collection."""
MUTATION_KEYS = frozenset({"id", "clientSeq", "change", "group", "capturedAt"})
RECORD_KEYS = frozenset({"id", "baseRev", "set", "delete", "restore", "base"})


def read_mutation(sent: object) -> Mutation:
    """The mutation, with everything wrong with its form as `problems`; raises nothing."""
    if not isinstance(sent, Mapping):
        wrong = Problem(Code.INVALID_VALUE, ("change",), ("record",))
        return Mutation("", UNNUMBERED, "", "", None, {"sent": sent}, problems=(wrong,))
    form = _Form(sent)
    mutation_id = form.text("id")
    client_seq = form.integer("clientSeq")
    group = form.text("group", needed=False)
    captured_at_ms = form.moment("capturedAt")
    collection, change = _change(sent.get("change"), form)
    form.only(MUTATION_KEYS)
    if not collection:
        return Mutation(
            mutation_id or "",
            UNNUMBERED if client_seq is None else client_seq,
            "",
            "",
            None,
            {"change": sent.get("change")},
            group=group,
            captured_at_ms=captured_at_ms,
            problems=tuple(form.problems),
        )
    record = _Form(change)
    record_id = record.text("id")
    base_rev = record.integer("baseRev", needed=False)
    fields = record.map("set")
    delete = record.flag("delete")
    restore = record.flag("restore")
    base = record.map("base")
    record.only(RECORD_KEYS)
    return Mutation(
        mutation_id or "",
        UNNUMBERED if client_seq is None else client_seq,
        collection,
        record_id or "",
        base_rev,
        change_fields(change, fields),
        delete=delete,
        group=group,
        captured_at_ms=captured_at_ms,
        base=base,
        problems=(*form.problems, *record.problems),
        restore=restore,
    )


def change_fields(change: Mapping[str, Any], fields: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The fields sent; what is no map is kept under `set`, so that it can be read afterwards."""
    if fields is not None:
        return fields
    return {} if change.get("set") is None else {"set": change["set"]}


def _change(change: object, form: "_Form") -> tuple[str, Mapping[str, Any]]:
    """(collection, record) of a change that names exactly one; ("", {}) else."""
    kinds = tuple(COLLECTION_OF_KIND)
    if change is None:
        form.problems.append(Problem(Code.REQUIRED, ("change",), kinds))
    elif not isinstance(change, Mapping) or len(change) != 1:
        form.problems.append(Problem(Code.INVALID_VALUE, ("change",), kinds))
    else:
        ((kind, record),) = change.items()
        if kind not in COLLECTION_OF_KIND:
            form.problems.append(Problem(Code.NOT_ALLOWED_VALUE, ("change",), kinds))
        elif not isinstance(record, Mapping):
            form.problems.append(Problem(Code.INVALID_VALUE, ("change", str(kind)), ("record",)))
        else:
            return COLLECTION_OF_KIND[kind], record
    return "", {}


class _Form:
    """Values by name, each in its form or named among the problems."""

    def __init__(self, sent: Mapping[Any, Any]) -> None:
        self._sent = sent
        self.problems: list[Problem] = []

    def _wrong(self, name: str, allowed: str) -> None:
        self.problems.append(Problem(Code.INVALID_VALUE, (name,), (allowed,)))

    def only(self, names: frozenset[str]) -> None:
        self.problems += [Problem(Code.UNKNOWN_FIELD, (str(name),)) for name in self._sent if name not in names]

    def text(self, name: str, *, needed: bool = True) -> str | None:
        value = self._sent.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)  # as GraphQL reads an ID
        if value is None and not needed:
            return None
        if isinstance(value, str):
            return value
        self._wrong(name, "text")
        return None

    def integer(self, name: str, *, needed: bool = True) -> int | None:
        value = self._sent.get(name)
        if value is None and not needed:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= INTEGER_MAX:
            return value
        self._wrong(name, "integer")
        return None

    def moment(self, name: str) -> int | None:
        value = self._sent.get(name)
        if value is None:
            return None
        try:
            if isinstance(value, str):
                return parse_instant(value)
            if isinstance(value, int) and not isinstance(value, bool):
                return check_instant(value)
            self._wrong(name, "text")
        except Refused as refused:
            self.problems += [problem.under(name) for problem in refused.problems]
        return None

    def flag(self, name: str) -> bool:
        value = self._sent.get(name, False)
        if not isinstance(value, bool):
            self._wrong(name, "true")
            return False
        return value

    def map(self, name: str) -> Mapping[str, Any] | None:
        value = self._sent.get(name)
        if value is None or isinstance(value, Mapping):
            return value
        if name == "set":
            self._wrong(name, "map")
        return None  # what a client remembers is shown, never relied upon
