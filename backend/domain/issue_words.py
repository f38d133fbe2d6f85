"""Sync issues in words: what a reader is told of one, and of any change of a field.

Pure. The texts are built from the issue's document and the message catalogue alone, so that a phone tells the same
without signal: `mobile_contract/issues.py` is the same in standard Python, and `vectors/issues.json` ties both.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from backend.domain.fields import Field, Kind, Shape
from backend.domain.issues import REMOVED, SHAPES, Document, IssueState, Resolution, WayOut, field_at
from backend.domain.messages import Catalogue, label, locale_of, placeholders, render, render_problem
from backend.domain.money import odd_decimals
from backend.domain.times import INSTANT_MAX_MS, local_clock, local_day, parse_instant
from backend.errors import Code, Problem, Refused

TEXT_CHARACTERS_MAX = 200
PAIRS_MAX = 12
NAME_ORDER = {"en": ("en", "zh", "ko"), "zh-CN": ("zh", "en", "ko"), "ko": ("ko", "en", "zh")}
"""Locale → in which order the names of a record are tried."""
ZONE_DEFAULT = "Asia/Shanghai"


def field_kinds() -> dict[str, Any]:
    """What a phone must know of fields to show their values: kind, name of the enum, fields of nested records.

    `decimals`: currency → decimal places, for every one that has not 2.
    """
    return {
        "collections": {name: _kinds_of(shape) for name, shape in SHAPES.items()},
        "decimals": odd_decimals(),
    }


def _kinds_of(shape: Shape) -> dict[str, Any]:
    return {
        declared.name: {
            "kind": declared.kind.value,
            **({"enum": declared.enum} if declared.enum else {}),
            **({"fields": _kinds_of(declared.record)} if declared.record is not None else {}),
        }
        for declared in shape.fields
    }


class IssueKind(StrEnum):
    """What has happened, as a reader sees it."""

    CONFLICT = "CONFLICT"
    REFUSED = "REFUSED"
    NO_CHECK_OUT = "NO_CHECK_OUT"
    DELETED = "DELETED"
    LATER_CAPTURE = "LATER_CAPTURE"


@dataclass(frozen=True, slots=True)
class Told:
    """An issue in words. `ways`: (code, label) of what can be done about it; empty once it is settled."""

    title: str
    text: str
    ways: tuple[tuple[str, str], ...]


def kind_of(issue: Document) -> IssueKind:
    """What has happened, from the document alone."""
    if issue.get("resolution") == Resolution.LATER_CAPTURE:
        return IssueKind.LATER_CAPTURE
    if issue["code"] == IssueKind.NO_CHECK_OUT:
        return IssueKind.NO_CHECK_OUT
    if issue["code"] == Code.DELETED and issue.get("waysOut") == [WayOut.ACCEPT.value]:
        return IssueKind.DELETED
    if issue["code"] == Code.CONFLICT and issue.get("field") and not issue.get("problems"):
        return IssueKind.CONFLICT
    return IssueKind.REFUSED


def tell_issue(catalogue: Catalogue, issue: Document, locale: str, reader_id: str) -> Told:
    """What happened, whose value stands and each way out, in the reader's language.

    `issue` is a document of `syncIssues`; `reader_id` whose eyes it is for: its author is addressed as *you*.
    """
    words = _Words(catalogue, locale_of(locale), issue, reader_id)
    kind = kind_of(issue)
    told = [*_SENTENCES[kind](words), *words.settled()]
    return Told(
        words.say(f"issue.title.{kind.value}", record=words.record(), field=words.place()),
        words.joined(told),
        tuple((way, words.way(way)) for way in issue.get("waysOut") or () if issue["state"] == IssueState.OPEN),
    )


@dataclass(frozen=True, slots=True)
class ToldChange:
    """A change in words: the field down to the cell, what stood, what stands."""

    place: str
    before: str
    after: str


def tell_change(
    catalogue: Catalogue,
    locale: str,
    collection: str,
    path: str,
    before: object,
    after: object,
    *,
    about: Document,
    names: Document,
) -> ToldChange:
    """A change of one field as `fields.field_paths` names it, in the reader's language.

    Values are in the form documents carry; `about` and `names` as in a document of `syncIssues`.
    """
    words = _Words(
        catalogue, locale_of(locale), {"collection": collection, "field": path, "about": about, "names": names}, ""
    )
    shape = SHAPES.get(collection)
    declared = None if shape is None else field_at(shape, path)
    return ToldChange(words.place(), words.value(declared, before), words.value(declared, after))


class _Words:
    """One issue as one reader writes it."""

    def __init__(self, catalogue: Catalogue, locale: str, issue: Document, reader_id: str) -> None:
        self._catalogue, self._locale, self.issue = catalogue, locale, issue
        self._texts = catalogue[locale]
        self.reader_id = reader_id
        self.about: Mapping[str, Any] = issue.get("about") or {}
        self._names: Mapping[str, Any] = issue.get("names") or {}
        self._shape = SHAPES.get(issue["collection"])

    def say(self, key: str, **params: str | int) -> str:
        return render(self._catalogue, key, self._locale, params)

    def joined(self, sentences: Iterable[str]) -> str:
        text = ""
        for sentence in sentences:
            sentence = sentence[:1].upper() + sentence[1:]
            text += sentence if not text or text[-1] in "。！" else f" {sentence}"
        return text

    @property
    def mine_is_yours(self) -> bool:
        return bool(self.issue.get("authorId") == self.reader_id)

    @property
    def author(self) -> str:
        return str(self.issue.get("authorName") or "")

    # -- records

    def name(self, names: object) -> str:
        """A record's name in the reader's language, else in another; empty without any."""
        found = names if isinstance(names, Mapping) else {}
        order = (*NAME_ORDER[self._locale], "name", "code")
        return next((str(found[language]) for language in order if found.get(language)), "")

    def record(self) -> str:
        """Which record it is about, as precisely as is known."""
        collection = self.issue["collection"]
        known = {
            "name": self.name(self.about.get("customer")),
            "contact": self.name(self.about.get("contact")),
            "number": str(self.about.get("number") or ""),
            "title": str(self.about.get("title") or ""),
            "day": self.day_of_record(),
        }
        if collection == "contacts":
            known["name"] = known["contact"]
        for suffix in ("", ".dated", ".undated"):
            key = f"record.{collection}{suffix}"
            wanted = placeholders(self._texts.get(key, "{none}"))
            if all(known.get(name) for name in wanted):
                return self.say(key, **known)
        key = f"record.{collection}.unknown"
        return self.say(key if key in self._texts else "record.unknown")

    def day_of_record(self) -> str:
        if isinstance(day := self.about.get("day"), str):
            return self.day(day)
        at_ms = _moment_ms(self.about.get("at"))
        return "" if at_ms is None else self.day(local_day(at_ms, self._zone()))

    def _zone(self) -> str:
        return str(self.about.get("zone") or ZONE_DEFAULT)

    # -- fields

    def place(self) -> str:
        """The field it is about, down to the cell."""
        path = self.issue.get("field")
        if not isinstance(path, str) or self._shape is None:
            return self.say("problem.record")
        name, _, rest = path.partition(".")
        declared = self._shape.field(name)
        if declared is None or not rest:
            return self.field(name)
        if declared.record is None:
            return self.say("issue.entry", field=self.field(name), entry=self.member(declared, rest))
        inner = rest.partition(".")[2]
        part, _, key = inner.partition(".")
        if not inner or part == REMOVED:
            return self.say("issue.line")
        return self.cell(key) if key else self.say("issue.lineField", field=self.field(part))

    def field(self, name: str) -> str:
        return self._texts.get(f"field.{name}", name)

    def cell(self, sku: str) -> str:
        named = self._names.get(sku) or {}
        if not named.get("size"):
            return self.say("issue.cell.unknown")
        return self.say("issue.cell", size=str(named["size"]), colour=self.name(named))

    def member(self, declared: Field, value: str) -> str:
        return label(self._catalogue, declared.enum, value, self._locale) if declared.enum else value

    # -- values

    def value(self, declared: Field | None, value: object) -> str:
        """One value as its field is read; what has not its field's form is shown as it was entered."""
        if value is None or value in ("", [], {}):
            return self.say("issue.value.none")
        text = self._formed(declared, value) if declared is not None else None
        if text is None:
            text = value if isinstance(value, str) else _as_entered(value)
        text = " ".join(text.split())
        if len(text) > TEXT_CHARACTERS_MAX:
            return self.say("issue.value.more", value=text[:TEXT_CHARACTERS_MAX].rstrip())
        return text

    def _formed(self, declared: Field, value: object) -> str | None:
        match declared.kind, value:
            case Kind.BOOL, bool():
                return self.say("type.true" if value else "type.false")
            case Kind.ENUM, str():
                return self.member(declared, value)
            case Kind.DATE, str():
                return self.day(value)
            case Kind.TIMESTAMP, _:
                at_ms = _moment_ms(value)
                return None if at_ms is None else self.moment(at_ms)
            case Kind.ID, str():
                return self.name(self._names.get(value)) or self.say("issue.value.unknown")
            case Kind.MONEY_MINOR, int() if not isinstance(value, bool):
                return self.money(value)
            case Kind.INT, int() if not isinstance(value, bool):
                return self.number(declared.name, value)
            case Kind.SET, list():
                return self._texts["list.separator"].join(
                    self.member(declared, one) if isinstance(one, str) else _as_entered(one) for one in value
                )
            case Kind.MAP, Mapping():
                return self.pairs(
                    (self.member(declared, str(key)), self.value(None, value[key])) for key in sorted(value)
                )
            case Kind.CELLS, Mapping():
                return self.pairs((self.cell(str(key)), self.value(None, value[key])) for key in sorted(value))
            case Kind.RECORDS, list() if declared.record is not None:
                shape = declared.record
                return self.pairs(("", self.fields(shape, one)) for one in value if isinstance(one, Mapping))
        return None

    def fields(self, shape: Shape, record: Mapping[str, object]) -> str:
        """The fields of a record or a change, each with its value; its own id tells nobody anything."""
        return self.pairs(
            (self.field(name), self.value(shape.field(name), value))
            for name, value in sorted(record.items())
            if name != "id"
        )

    def pairs(self, found: Iterable[tuple[str, str]]) -> str:
        told = [self.say("issue.pair", field=name, value=value) if name else value for name, value in found]
        more = ["…"] if len(told) > PAIRS_MAX else []
        return self._texts["issue.pairs.separator"].join([*told[:PAIRS_MAX], *more])

    def day(self, text: str) -> str:
        """A local day, `YYYY-MM-DD`, as the reader writes it; anything else as it is."""
        year, _, rest = text.partition("-")
        month, _, day = rest.partition("-")
        if not (len(text) == 10 and all(part.isascii() and part.isdecimal() for part in (year, month, day))):
            return text
        name = self._texts.get(f"month.{int(month)}")
        return text if name is None else self.say("format.day", year=int(year), month=name, day=int(day))

    def moment(self, at_ms: int) -> str:
        """An instant on the clock of the customer's zone."""
        zone = self._zone()
        return self.say("format.moment", day=self.day(local_day(at_ms, zone)), time=local_clock(at_ms, zone))

    def money(self, amount_minor: int) -> str:
        currency = str(self.about.get("currency") or "")
        if not currency:
            return str(amount_minor)
        return self.say(
            "format.money", currency=currency, amount=_decimal(amount_minor, odd_decimals().get(currency, 2))
        )

    def number(self, name: str, value: int) -> str:
        if name.endswith("Bp"):
            return self.say("format.percent", value=_trimmed(_decimal(value, 2)))
        return _trimmed(_decimal(value, 7)) if name.endswith("E7") else str(value)

    # -- sentences

    def shown(self, value: object) -> str:
        """A value of the issue's own field."""
        path = str(self.issue.get("field") or "")
        if path.endswith(f".{REMOVED}"):
            return self.say("issue.value.removed" if value is True else "issue.value.kept")
        if self._shape is None:
            return self.value(None, value)
        declared, rest = field_at(self._shape, path), path.rpartition(".")[2]
        if declared is not None and declared.kind in (Kind.MAP, Kind.CELLS) and rest != declared.name:
            return self.value(None, value)
        if declared is not None and declared.record is not None and isinstance(value, Mapping):
            return self.fields(declared.record, value)
        return self.value(declared, value)

    def changed(self, value: object, at: object) -> str:
        """A value with what it was before, where that is known and short, and when it was entered."""
        base, text = self.issue.get("base"), self.shown(value)
        path = str(self.issue.get("field") or "")
        declared = field_at(self._shape, path) if self._shape is not None else None
        short = declared is not None and declared.kind not in (Kind.LONG_TEXT, Kind.RECORDS, Kind.SET)
        if base is not None and short and not isinstance(base, Mapping):
            text = self.say("issue.value.change", **{"from": self.shown(base), "to": text})
        at_ms = _moment_ms(at)
        return text if at_ms is None else self.say("issue.value.at", value=text, moment=self.moment(at_ms))

    def mine(self) -> str:
        value = self.changed(self.issue.get("mine"), self.issue.get("capturedAt") or self.issue.get("createdAt"))
        if self.mine_is_yours:
            return self.say("issue.mine", value=value)
        return self.say("issue.mine.other", name=self.author, value=value)

    def theirs(self) -> str:
        issue = self.issue
        value = self.changed(issue.get("theirs"), issue.get("theirsAt"))
        if issue.get("theirsBy") and issue.get("theirsBy") == issue.get("authorId"):
            return self.say("issue.theirs.self", value=value)
        if issue.get("theirsBy") and issue.get("theirsBy") == self.reader_id:
            return self.say("issue.theirs.you", value=value)
        if not issue.get("theirsName"):
            return self.say("issue.theirs.system", value=value)
        return self.say("issue.theirs", name=str(issue["theirsName"]), value=value)

    def entered(self) -> list[str]:
        """What the refused change held."""
        mine = self.issue.get("mine")
        if not isinstance(mine, Mapping) or not mine:
            return []
        if self._shape is None:
            return [self.say("issue.entered", values=self.value(None, _as_entered(mine)))]
        at_paths = [(name, value) for name, value in sorted(mine.items()) if name != "id"]
        told = [(self._path_label(name), self.value(field_at(self._shape, name), value)) for name, value in at_paths]
        return [self.say("issue.entered", values=self.pairs(told))] if told else []

    def _path_label(self, path: str) -> str:
        name, _, rest = path.partition(".")
        declared = self._shape.field(name) if self._shape is not None else None
        if not rest or declared is None:
            return self.field(name)
        if declared.record is None:
            return self.say("issue.entry", field=self.field(name), entry=self.member(declared, rest))
        part, _, key = rest.partition(".")[2].partition(".")
        return self.cell(key) if key else self.say("issue.lineField", field=self.field(part))

    def problems(self) -> list[str]:
        """Why it was refused, each reason once."""
        found = [
            Problem(
                Code(one["code"]) if one["code"] in set(Code) else Code.INTERNAL,
                tuple(one["path"]),
                tuple(one["allowed"]),
                one["params"],
            )
            for one in self.issue.get("problems") or ()
        ]
        if not found:
            code = self.issue["code"]
            path = tuple(str(self.issue["field"]).split(".")) if self.issue.get("field") else ()
            found = [Problem(Code(code) if code in set(Code) else Code.INTERNAL, path)]
        told = [render_problem(self._catalogue, self._readable(problem), self._locale) for problem in found]
        return list(dict.fromkeys(told))

    def _readable(self, problem: Problem) -> Problem:
        """Ids tell nobody anything: neither one that would have been taken nor the record's own."""
        path = () if problem.path == ("id",) else problem.path
        return replace(problem, path=path, allowed=tuple(one for one in problem.allowed if not _is_uuid(one)))

    def way(self, way: str) -> str:
        key = f"issue.way.{way}"
        if way == WayOut.KEEP_MINE:
            mine = self.shown(self.issue.get("mine"))
            if not self.mine_is_yours:
                return self.say(f"{key}.other", name=self.author, value=mine)
            return self.say(key, value=mine)
        if way == WayOut.KEEP_THEIRS:
            return self.say(key, value=self.shown(self.issue.get("theirs")))
        return self.say(key) if key in self._texts else way

    def settled(self) -> list[str]:
        """Who settled it, and how."""
        issue = self.issue
        at_ms = _moment_ms(issue.get("resolvedAt"))
        if issue["state"] != IssueState.RESOLVED or not issue.get("resolvedBy") or at_ms is None:
            return []
        way = label(self._catalogue, Resolution.__name__, str(issue["resolution"]), self._locale)
        if issue["resolvedBy"] == self.reader_id:
            return [self.say("issue.settled.you", way=way, moment=self.moment(at_ms))]
        return [self.say("issue.settled", name=str(issue["resolvedName"]), way=way, moment=self.moment(at_ms))]


def _conflict(words: _Words) -> list[str]:
    return [words.mine(), words.theirs()]


def _later(words: _Words) -> list[str]:
    return [words.mine(), words.theirs(), words.say("issue.later")]


def _refused(words: _Words) -> list[str]:
    if words.issue.get("intent") == "DELETE" or words.issue.get("mine") == {"delete": True}:
        return [words.say("issue.refused.delete"), *words.problems()]
    if words.issue.get("intent") == "RESTORE":
        return [words.say("issue.refused.restore"), *words.problems()]
    first = words.say("issue.refused") if words.mine_is_yours else words.say("issue.refused.other", name=words.author)
    return [first, *words.problems(), *words.entered()]


def _no_check_out(words: _Words) -> list[str]:
    state = words.shown(words.issue.get("theirs"))
    if words.mine_is_yours:
        return [words.say("issue.noCheckOut", state=state)]
    return [words.say("issue.noCheckOut.other", name=words.author, state=state)]


def _deleted(words: _Words) -> list[str]:
    name = str(words.issue.get("theirsName") or "")
    if not name:
        first = words.say("issue.deleted.unknown")
    elif words.mine_is_yours:
        first = words.say("issue.deleted", name=name)
    else:
        first = words.say("issue.deleted.other", name=name, author=words.author)
    return [first, *words.entered()]


_SENTENCES: Mapping[IssueKind, Callable[[_Words], list[str]]] = {
    IssueKind.CONFLICT: _conflict,
    IssueKind.REFUSED: _refused,
    IssueKind.NO_CHECK_OUT: _no_check_out,
    IssueKind.DELETED: _deleted,
    IssueKind.LATER_CAPTURE: _later,
}


def _moment_ms(value: object) -> int | None:
    """Epoch ms of a moment as a document or a client gives it; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value <= INSTANT_MAX_MS else None
    try:
        return parse_instant(value) if isinstance(value, str) else None
    except Refused:
        return None


def _decimal(value: int, places: int) -> str:
    """A whole number of the smallest unit as a decimal with thousands marked: (-1234567, 2) → `-12,345.67`."""
    whole, rest = divmod(abs(value), 10**places)
    tail = f".{rest:0{places}d}" if places else ""
    return f"{'-' if value < 0 else ''}{whole:,}{tail}"


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _as_entered(value: object) -> str:
    """What a client sent that has not the form of its field."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _is_uuid(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4
