"""What a client may write: one declaration per field, from which checking, merging and contracts are read.

A `Shape` lists a collection's fields under the names its documents use. `validate` turns what a client sent
into what is stored and collects *every* problem; an absent field stays absent, null is kept where allowed.
`field_paths` and `policy_of` give the merge engine its units: a plain field is one path, a map has one path
per key, a keyed record list one per record and field (`lines.<id>.cells.<sku>`).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from backend.domain.times import INSTANT_MAX_MS, check_instant, instant_text, parse_day, parse_instant
from backend.errors import Code, Problem, Refused

INTEGER_MAX = 2**53 - 1
"""The largest integer every JSON reader keeps exactly."""

ENTRY_CHARACTERS_MAX = 60


class Kind(StrEnum):
    """How a field is given by a client and stored."""

    TEXT = "TEXT"
    """one line, trimmed; an empty text counts as null"""
    LONG_TEXT = "LONG_TEXT"
    """as TEXT, and may have line breaks"""
    ENUM = "ENUM"
    INT = "INT"
    MONEY_MINOR = "MONEY_MINOR"
    """integer minor units, |x| < 2^53"""
    TIMESTAMP = "TIMESTAMP"
    """given as `YYYY-MM-DDTHH:MM:SS.mmmZ` or already as epoch ms; stored as epoch ms"""
    DATE = "DATE"
    """`YYYY-MM-DD`, a local day"""
    ID = "ID"
    SET = "SET"
    """a list of texts; stored sorted, each once"""
    BOOL = "BOOL"
    MAP = "MAP"
    """text → text; in a change a null entry takes that key away"""
    CELLS = "CELLS"
    """id → quantity ≥ 1; in a change 0 takes that cell away"""
    RECORDS = "RECORDS"
    """a list of records of another shape; in a change only the records that change"""


class Merge(StrEnum):
    """What happens when two devices changed the same record."""

    MERGE = "MERGE"
    """both win on different fields; on the same one it is a conflict, and both values are kept"""
    LAST_WRITER = "LAST_WRITER"
    """the later capture wins, device clocks corrected"""
    SERVER_ONLY = "SERVER_ONLY"
    COUNTER_DELTA = "COUNTER_DELTA"
    """differences are added up"""
    SET_UNION = "SET_UNION"
    """nothing that was added is lost"""
    APPEND_TEXT = "APPEND_TEXT"
    """both texts are kept, one below the other"""
    LATCH = "LATCH"
    """the final value stays against a stale base; a fresh base may step back"""
    STEPS = "STEPS"
    """a state machine: walked along allowed steps"""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a collection.

    `limit` is characters for texts and entries for sets, maps, cells and records. `least` and `most` bound
    INT, MONEY_MINOR and the quantity of a cell. `values` lists the members of an ENUM or SET, or a MAP's
    keys; `enum` names them in the message catalogue. `check` takes a text and gives its canonical form or
    raises `Refused`; of a MAP or SET it sees each entry. `fixed` fields are set at creation and never change.
    `personal` marks what masked roles do not read. `since` is the schema version of documents that brought the
    field: clients of an older one are not sent it, and in a document that lacks it it means `default`.
    `entries` declares a MAP whose values are of several kinds, one field per key; other keys are unknown.
    """

    name: str
    kind: Kind
    nullable: bool = True
    merge: Merge = Merge.MERGE
    limit: int | None = None
    least: int | None = None
    most: int | None = None
    values: tuple[str, ...] = ()
    enum: str = ""
    check: Callable[[str], str] | None = None
    record: "Shape | None" = None
    fixed: bool = False
    personal: bool = False
    default: object = None
    since: int = 1
    entries: "tuple[Field, ...] | None" = None

    @property
    def server_only(self) -> bool:
        """True for what clients read and never write."""
        return self.merge is Merge.SERVER_ONLY

    def parse(self, value: object) -> object:
        """The value as a new record would store it; raises `Refused` with everything wrong."""
        return _value(self, value, True)


Rule = Callable[[Mapping[str, object]], Iterable[Problem]]
"""Looks at several fields together; says nothing about a field that is absent."""


@dataclass(frozen=True)
class Shape:
    """The fields of one collection, or of one kind of record inside a field.

    `required`: each entry is a group of names of which at least one must hold a value. `rules` compare
    fields. `key` names the field by which records of a list are told apart; empty when they are a plain set.
    """

    name: str
    fields: tuple[Field, ...]
    required: tuple[tuple[str, ...], ...] = ()
    rules: tuple[Rule, ...] = ()
    key: str = "id"

    def field(self, name: str) -> Field | None:
        """The declaration of a field, or None."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    @cached_property
    def divided(self) -> frozenset[str]:
        """The fields that fall apart into several paths of merging."""
        return frozenset(
            field.name
            for field in self.fields
            if field.kind in (Kind.MAP, Kind.CELLS) or (field.record is not None and field.record.key)
        )

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The fields that name another record, or the record itself."""
        return tuple(field.name for field in self.fields if field.kind is Kind.ID)

    @cached_property
    def id_names(self) -> frozenset[str]:
        """The same, to be asked whether a change names any."""
        return frozenset(self.ids)

    @cached_property
    def keyed(self) -> tuple[tuple[str, "Shape"], ...]:
        """The lists whose records are told apart: name and shape of a record."""
        return tuple(
            (field.name, field.record) for field in self.fields if field.record is not None and field.record.key
        )

    @cached_property
    def first_server_values(self) -> Mapping[str, object]:
        """What the fields the server computes hold in a new record, until it has."""
        return {field.name: field.default for field in self.fields if field.server_only}

    @cached_property
    def client_fields(self) -> tuple[Field, ...]:
        """What a client may name in a change."""
        return tuple(field for field in self.fields if not field.server_only)


def enum_field(
    name: str,
    members: type[StrEnum],
    *,
    nullable: bool = True,
    merge: Merge = Merge.MERGE,
    fixed: bool = False,
    default: str | None = None,
    since: int = 1,
) -> Field:
    """A field holding one member of `members`."""
    return Field(
        name,
        Kind.ENUM,
        nullable=nullable,
        merge=merge,
        values=tuple(member.value for member in members),
        enum=members.__name__,
        fixed=fixed,
        default=default,
        since=since,
    )


def server_field(
    name: str, kind: Kind, *, values: type[StrEnum] | None = None, since: int = 1, default: object = None
) -> Field:
    """A field the server computes."""
    members = tuple(member.value for member in values) if values else ()
    return Field(
        name,
        kind,
        merge=Merge.SERVER_ONLY,
        values=members,
        enum=values.__name__ if values else "",
        since=since,
        default=default,
    )


def validate(shape: Shape, given: Mapping[str, object], *, creating: bool) -> tuple[dict[str, object], list[Problem]]:
    """What is to be stored of what a client sent, and everything wrong with it.

    `creating` asks for the required fields and takes the fixed ones; a change takes any part of the rest.
    The first value holds the good fields only, in the shape's order; use it when the list is empty.
    """
    problems: list[Problem] = []
    clean: dict[str, object] = {}
    for name, value in given.items():
        field = shape.field(name)
        if field is None:
            problems.append(Problem(Code.UNKNOWN_FIELD, (name,)))
        elif field.server_only:
            problems.append(Problem(Code.SERVER_ONLY_FIELD, (name,)))
        elif field.fixed and not creating and name != shape.key:
            problems.append(Problem(Code.NOT_EDITABLE, (name,)))
        else:
            try:
                clean[name] = _value(field, value, creating)
            except Refused as refused:
                problems.extend(problem.under(name) for problem in refused.problems)
    faulty = {problem.path[0] for problem in problems}
    if creating:
        problems.extend(p for p in _missing(shape, clean) if faulty.isdisjoint(p.allowed))
        # an entry that was given, and wrong, is not missing too
        named = {problem.path[:2] for problem in problems}
        problems.extend(p for p in _missing_entries(shape, clean) if p.path not in named)
    problems.extend(p for rule in shape.rules for p in rule(clean) if p.path[0] not in faulty)
    if len(clean) > 1:
        clean = {field.name: clean[field.name] for field in shape.fields if field.name in clean}
    return clean, problems


def whole_problems(shape: Shape, record: Mapping[str, object]) -> list[Problem]:
    """What is wrong with a whole record after a merge: required groups now empty, rules now broken."""
    return [*_missing(shape, record), *(problem for rule in shape.rules for problem in rule(record))]


def with_defaults(shape: Shape, clean: Mapping[str, object]) -> dict[str, object]:
    """Every client field of a new record: what was given, else the declared default.

    A list or map that may not be null is empty by default.
    """
    return {field.name: clean[field.name] if field.name in clean else _default(field) for field in shape.client_fields}


def _default(field: Field) -> object:
    if field.nullable or field.default is not None:
        return field.default
    return {Kind.SET: [], Kind.RECORDS: [], Kind.MAP: {}, Kind.CELLS: {}}.get(field.kind)


def field_paths(shape: Shape, clean: Mapping[str, object]) -> dict[str, object]:
    """The units of merge a change touches: path → value.

    Maps, cells and keyed records fall apart into one path each; sets and unkeyed records stay whole.
    """
    if shape.divided.isdisjoint(clean):
        return dict(clean)
    found: dict[str, object] = {}
    for name, value in clean.items():
        field = shape.field(name)
        if field is not None and field.kind in (Kind.MAP, Kind.CELLS) and isinstance(value, Mapping):
            found.update({f"{name}.{key}": entry for key, entry in value.items()})
        elif field is not None and field.record is not None and field.record.key and isinstance(value, Sequence):
            key = field.record.key
            for item in value:
                inner = {part: entry for part, entry in item.items() if part != key}
                found.update({f"{name}.{item[key]}.{path}": x for path, x in field_paths(field.record, inner).items()})
        else:
            found[name] = value
    return found


def records_shown(shape: Shape, records: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Records inside a field as documents carry them: moments as text, as everywhere in a document."""
    return [{name: _shown(shape, name, value) for name, value in record.items()} for record in records]


def records_stored(shape: Shape, records: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """The same records with moments as epoch ms, as rules compare them."""
    return [{name: _stored(shape, name, value) for name, value in record.items()} for record in records]


def _is_moment(shape: Shape, name: str) -> bool:
    field = shape.field(name)
    return field is not None and field.kind is Kind.TIMESTAMP


def _shown(shape: Shape, name: str, value: object) -> object:
    return instant_text(value) if isinstance(value, int) and _is_moment(shape, name) else value


def _stored(shape: Shape, name: str, value: object) -> object:
    return parse_instant(value) if isinstance(value, str) and _is_moment(shape, name) else value


def policy_of(shape: Shape, path: str) -> Merge:
    """The merge policy of a path as `field_paths` gives it; raises UNKNOWN_FIELD."""
    name, _, rest = path.partition(".")
    field = shape.field(name)
    if field is None:
        raise Refused(Problem(Code.UNKNOWN_FIELD, tuple(path.split("."))))
    if field.record is not None and rest.partition(".")[2]:
        return policy_of(field.record, rest.partition(".")[2])
    return field.merge


def in_order(first: str, last: str) -> Rule:
    """A rule: when both instants are given, `first` is not after `last`."""

    def rule(record: Mapping[str, object]) -> Iterable[Problem]:
        low, high = record.get(first), record.get(last)
        if isinstance(low, int) and isinstance(high, int) and low > high:
            return (Problem(Code.OUT_OF_RANGE, (last,), allowed=(instant_text(low), instant_text(INSTANT_MAX_MS))),)
        return ()

    return rule


def together(*names: str) -> Rule:
    """A rule: these fields change together, all set or all null."""

    def rule(record: Mapping[str, object]) -> Iterable[Problem]:
        # most records hold all or none, and most changes name none: this is asked of each, twice
        values = [record[name] for name in names if name in record]
        absent = values.count(None)
        if not values or (len(values) == len(names) and absent in (0, len(names))):
            return ()
        given = [name for name in names if name in record]
        held = [name for name in given if record[name] is not None]
        lacking = set(names).difference(held or given)
        return [Problem(Code.REQUIRED, (name,), allowed=(name,)) for name in sorted(lacking)]

    return rule


def _missing(shape: Shape, record: Mapping[str, object]) -> Iterable[Problem]:
    for group in shape.required:
        for name in group:
            held = record.get(name)
            if held is not None and held != [] and held != {}:
                break
        else:
            yield Problem(Code.REQUIRED, (group[0],), allowed=group)


def _missing_entries(shape: Shape, record: Mapping[str, object]) -> Iterable[Problem]:
    for field in shape.fields:
        held = record.get(field.name)
        for entry in field.entries or ():
            if not entry.nullable and (not isinstance(held, Mapping) or held.get(entry.name) is None):
                yield Problem(Code.REQUIRED, (field.name, entry.name), allowed=(entry.name,))


_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_BUT_BREAKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\ud800-\udfff]")


def parse_id(text: object) -> str:
    """The same text when it is a lower-case UUID; raises INVALID_VALUE."""
    if not isinstance(text, str) or _ID.fullmatch(text) is None:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("UUID",)))
    return text


def parse_text(value: object, *, limit: int | None, breaks: bool = False) -> str | None:
    """Trimmed text, or None when nothing is left.

    Raises INVALID_VALUE for what is not text or holds control characters (NUL cannot be stored at all, and
    half a surrogate pair cannot be sent), TOO_LONG above `limit` characters.
    """
    if not isinstance(value, str):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("text",)))
    text = (value.replace("\r\n", "\n") if breaks else value).strip()
    if (_CONTROL_BUT_BREAKS if breaks else _CONTROL).search(text):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("text",)))
    if limit is not None and len(text) > limit:
        raise Refused(Problem(Code.TOO_LONG, allowed=(str(limit),)))
    return text or None


def parse_integer(value: object, *, least: int | None, most: int | None) -> int:
    """The same whole number within [least, most]; raises INVALID_VALUE or OUT_OF_RANGE. True is no number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("integer",)))
    low, high = -INTEGER_MAX if least is None else least, INTEGER_MAX if most is None else most
    if not low <= value <= high:
        raise Refused(Problem(Code.OUT_OF_RANGE, allowed=(str(low), str(high))))
    return value


def _value(field: Field, value: object, creating: bool) -> object:
    if value is None:
        _allow_null(field)
        return None
    match field.kind:
        case Kind.TEXT | Kind.LONG_TEXT:
            text = parse_text(value, limit=field.limit, breaks=field.kind is Kind.LONG_TEXT)
            if text is None:
                _allow_null(field)
                return None
            return field.check(text) if field.check else text
        case Kind.ENUM:
            return _member(field, value)
        case Kind.INT | Kind.MONEY_MINOR:
            return parse_integer(value, least=field.least, most=field.most)
        case Kind.TIMESTAMP:
            if isinstance(value, str):
                return parse_instant(value)
            return check_instant(parse_integer(value, least=None, most=None))
        case Kind.DATE:
            if not isinstance(value, str):
                raise Refused(Problem(Code.INVALID_VALUE, allowed=("YYYY-MM-DD",)))
            return parse_day(value)
        case Kind.ID:
            return parse_id(value)
        case Kind.BOOL:
            if not isinstance(value, bool):
                raise Refused(Problem(Code.INVALID_VALUE, allowed=("true", "false")))
            return value
        case Kind.SET:
            return _set(field, value)
        case Kind.MAP | Kind.CELLS:
            return _map(field, value, creating)
        case Kind.RECORDS:
            return _records(field, value, creating)


def _allow_null(field: Field) -> None:
    if not field.nullable:
        raise Refused(Problem(Code.REQUIRED, allowed=(field.name,)))


def _member(field: Field, value: object) -> str:
    if not isinstance(value, str) or value not in field.values:
        params = {"enum": field.enum} if field.enum else {}
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, allowed=field.values, params=params))
    return str(value)


def _entry(field: Field, value: object) -> str:
    text = parse_text(value, limit=ENTRY_CHARACTERS_MAX)
    if text is None:
        raise Refused(Problem(Code.REQUIRED))
    return field.check(text) if field.check else text


def _few(field: Field, count: int) -> None:
    if field.limit is not None and count > field.limit:
        raise Refused(Problem(Code.TOO_MANY, allowed=(str(field.limit),)))


def _set(field: Field, value: object) -> list[str]:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("list",)))
    _few(field, len(value))
    members: set[str] = set()
    problems: list[Problem] = []
    for index, item in enumerate(value):
        try:
            members.add(_member(field, item) if field.values else _entry(field, item))
        except Refused as refused:
            problems.extend(problem.under(str(index)) for problem in refused.problems)
    if problems:
        raise Refused(*problems)
    return sorted(members)


def _map(field: Field, value: object, creating: bool) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("map",)))
    _few(field, len(value))
    clean: dict[str, object] = {}
    problems: list[Problem] = []
    for key, entry in value.items():
        try:
            if field.kind is Kind.CELLS:
                least = (1 if field.least is None else field.least) if creating else 0
                clean[parse_id(key)] = parse_integer(entry, least=least, most=field.most)
            elif field.entries is not None:
                clean[str(key)] = _declared_entry(field.entries, str(key), entry, creating)
            else:
                name = _member(field, key) if field.values else parse_text(key, limit=ENTRY_CHARACTERS_MAX)
                if name is None:
                    raise Refused(Problem(Code.REQUIRED))
                clean[name] = None if entry is None and not creating else _entry(field, entry)
        except Refused as refused:
            problems.extend(problem.under(str(key)) for problem in refused.problems)
    if problems:
        raise Refused(*problems)
    if creating and field.entries is not None:
        clean = {key: entry for key, entry in clean.items() if entry is not None}
    return dict(sorted(clean.items()))


def _declared_entry(entries: Sequence[Field], key: str, value: object, creating: bool) -> object:
    for declared in entries:
        if declared.name == key:
            return _value(declared, value, creating)
    raise Refused(Problem(Code.UNKNOWN_FIELD, allowed=tuple(sorted(declared.name for declared in entries))))


def _records(field: Field, value: object, creating: bool) -> list[dict[str, object]]:
    if field.record is None:
        raise TypeError(f"{field.name} has no record shape")
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("list",)))
    _few(field, len(value))
    records: list[dict[str, object]] = []
    problems: list[Problem] = []
    seen: set[object] = set()
    key = field.record.key
    for index, item in enumerate(value):
        if not isinstance(item, Mapping):
            problems.append(Problem(Code.INVALID_VALUE, (str(index),), allowed=("record",)))
            continue
        # A record without a key is never changed, only added, so it always has to be whole.
        clean, found = validate(field.record, item, creating=creating or not key)
        if key and clean.get(key) is None and not any(p.path == (key,) for p in found):
            found.append(Problem(Code.REQUIRED, (key,), allowed=(key,)))
        if key and clean.get(key) is not None:
            if clean[key] in seen:
                found.append(Problem(Code.INVALID_VALUE, (key,), params={"reason": "twice"}))
            seen.add(clean[key])
        problems.extend(problem.under(str(index)) for problem in found)
        if clean not in records:
            records.append(clean)
    if problems:
        raise Refused(*problems)
    return records
