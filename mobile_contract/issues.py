"""A sync issue in words, for porting line by line: the same sentences the server writes, without signal.

Standard library only. What it needs lies beside it: `messages/<locale>.json` and `fields.json` (which field is of
which kind, which enum names its values, the decimals of currencies). `vectors/issues.json` holds documents of
`syncIssues` with the texts that must come out; `backend/domain/issue_words.py` says why each sentence is as it is.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

Document = dict[str, Any]
FOLDER = Path(__file__).parent
TEXT_CHARACTERS_MAX = 200
PAIRS_MAX = 12
ZONE_DEFAULT = "Asia/Shanghai"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - as older Pythons have it too
INSTANT_MAX_MS = 7_258_118_399_999
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
PLACEHOLDER = re.compile(r"\{(\w+)\}")
NAME_ORDER = {"en": ("en", "zh", "ko"), "zh-CN": ("zh", "en", "ko"), "ko": ("ko", "en", "zh")}
RANGES = ("OUT_OF_RANGE", "ORDER_WINDOW_CLOSED")


def load(folder: Path = FOLDER) -> tuple[dict[str, dict[str, str]], Document]:
    """(locale → key → text, the kinds of fields)"""
    messages = {file.stem: json.loads(file.read_text("utf-8")) for file in (folder / "messages").glob("*.json")}
    return messages, json.loads((folder / "fields.json").read_text("utf-8"))


def tell_issue(texts: Mapping[str, str], fields: Document, issue: Document, locale: str, reader_id: str) -> Document:
    """{title, text, ways: [{code, label}]} of a document of `syncIssues`, for the user `reader_id`."""
    words = Words(texts, fields, issue, locale, reader_id)
    kind = kind_of(issue)
    ways = issue.get("waysOut") or [] if issue["state"] == "OPEN" else []
    return {
        "title": words.say(f"issue.title.{kind}", record=words.record(), field=words.place()),
        "text": joined([*SENTENCES[kind](words), *words.settled()]),
        "ways": [{"code": way, "label": words.way(way)} for way in ways],
    }


def kind_of(issue: Document) -> str:
    if issue.get("resolution") == "LATER_CAPTURE":
        return "LATER_CAPTURE"
    if issue["code"] == "NO_CHECK_OUT":
        return "NO_CHECK_OUT"
    if issue["code"] == "DELETED" and issue.get("waysOut") == ["ACCEPT"]:
        return "DELETED"
    if issue["code"] == "CONFLICT" and issue.get("field") and not issue.get("problems"):
        return "CONFLICT"
    return "REFUSED"


def joined(sentences: Iterable[str]) -> str:
    text = ""
    for sentence in sentences:
        sentence = sentence[:1].upper() + sentence[1:]
        text += sentence if not text or text[-1] in "。！" else f" {sentence}"
    return text


@dataclass
class Words:
    """One issue as one reader writes it."""

    texts: Mapping[str, str]
    kinds: Document
    issue: Document
    locale: str
    reader_id: str

    @property
    def about(self) -> Document:
        return self.issue.get("about") or {}

    @property
    def names(self) -> Document:
        return self.issue.get("names") or {}

    @property
    def shape(self) -> Document | None:
        return self.kinds["collections"].get(self.issue["collection"])

    @property
    def yours(self) -> bool:
        return self.issue.get("authorId") == self.reader_id

    @property
    def author(self) -> str:
        return self.issue.get("authorName") or ""

    @property
    def path(self) -> str:
        return str(self.issue.get("field") or "")

    def say(self, key: str, **params: str | int) -> str:
        return PLACEHOLDER.sub(lambda found: str(params.get(found.group(1), "–")), self.texts[key])

    def label(self, enum: str, value: str) -> str:
        return self.texts.get(f"enum.{enum}.{value}", value)

    # -- which record ----------------------------------------------------------------------------------------

    def name(self, names: Any) -> str:
        found = names if isinstance(names, dict) else {}
        order = (*NAME_ORDER[self.locale], "name", "code")
        return next((str(found[language]) for language in order if found.get(language)), "")

    def record(self) -> str:
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
            if all(known.get(name) for name in PLACEHOLDER.findall(self.texts.get(key, "{none}"))):
                return self.say(key, **known)
        key = f"record.{collection}.unknown"
        return self.say(key if key in self.texts else "record.unknown")

    def day_of_record(self) -> str:
        if isinstance(self.about.get("day"), str):
            return self.day(self.about["day"])
        at_ms = moment_ms(self.about.get("at"))
        return "" if at_ms is None else self.day(self.there(at_ms).date().isoformat())

    def there(self, at_ms: int) -> datetime:
        zone = ZoneInfo(str(self.about.get("zone") or ZONE_DEFAULT))
        return (EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)

    # -- which field -----------------------------------------------------------------------------------------

    def place(self) -> str:
        if not self.path or self.shape is None:
            return self.say("problem.record")
        name, _, rest = self.path.partition(".")
        part, _, _ = rest.partition(".")[2].partition(".")
        if "fields" in self.shape.get(name, {}) and rest and (not part or part == "removed"):
            return self.say("issue.line")
        return self.label_of(self.path)

    def label_of(self, path: str) -> str:
        name, _, rest = path.partition(".")
        declared = (self.shape or {}).get(name)
        if not rest or declared is None:
            return self.field(name)
        if "fields" not in declared:
            return self.say("issue.entry", field=self.field(name), entry=self.member(declared, rest))
        part, _, key = rest.partition(".")[2].partition(".")
        return self.cell(key) if key else self.say("issue.lineField", field=self.field(part))

    def field(self, name: str) -> str:
        return self.texts.get(f"field.{name}", name)

    def cell(self, sku: str) -> str:
        named = self.names.get(sku) or {}
        if not named.get("size"):
            return self.say("issue.cell.unknown")
        return self.say("issue.cell", size=str(named["size"]), colour=self.name(named))

    def member(self, declared: Document, value: str) -> str:
        return self.label(declared["enum"], value) if declared.get("enum") else value

    # -- values ----------------------------------------------------------------------------------------------

    def value(self, declared: Document | None, name: str, value: Any) -> str:
        if value is None or value in ("", [], {}):
            return self.say("issue.value.none")
        text = self.formed(declared, name, value) if declared is not None else None
        if text is None:
            text = value if isinstance(value, str) else as_entered(value)
        text = " ".join(text.split())
        if len(text) > TEXT_CHARACTERS_MAX:
            return self.say("issue.value.more", value=text[:TEXT_CHARACTERS_MAX].rstrip())
        return text

    def formed(self, declared: Document, name: str, value: Any) -> str | None:
        kind, whole = declared["kind"], isinstance(value, int) and not isinstance(value, bool)
        if kind == "BOOL" and isinstance(value, bool):
            return self.say("type.true" if value else "type.false")
        if kind == "ENUM" and isinstance(value, str):
            return self.member(declared, value)
        if kind == "DATE" and isinstance(value, str):
            return self.day(value)
        if kind == "TIMESTAMP":
            at_ms = moment_ms(value)
            return None if at_ms is None else self.moment(at_ms)
        if kind == "ID" and isinstance(value, str):
            return self.name(self.names.get(value)) or self.say("issue.value.unknown")
        if kind == "MONEY_MINOR" and whole:
            return self.money(value)
        if kind == "INT" and whole:
            return self.number(name, value)
        if kind == "SET" and isinstance(value, list):
            entries = [self.member(declared, one) if isinstance(one, str) else as_entered(one) for one in value]
            return self.texts["list.separator"].join(entries)
        if kind == "MAP" and isinstance(value, dict):
            return self.pairs((self.member(declared, key), self.value(None, "", value[key])) for key in sorted(value))
        if kind == "CELLS" and isinstance(value, dict):
            return self.pairs((self.cell(key), self.value(None, "", value[key])) for key in sorted(value))
        if kind == "RECORDS" and isinstance(value, list) and "fields" in declared:
            return self.pairs(("", self.fields(declared["fields"], one)) for one in value if isinstance(one, dict))
        return None

    def fields(self, shape: Document, record: Document) -> str:
        return self.pairs(
            (self.field(name), self.value(shape.get(name), name, value))
            for name, value in sorted(record.items())
            if name != "id"
        )

    def pairs(self, found: Iterable[tuple[str, str]]) -> str:
        told = [self.say("issue.pair", field=name, value=value) if name else value for name, value in found]
        more = ["…"] if len(told) > PAIRS_MAX else []
        return self.texts["issue.pairs.separator"].join([*told[:PAIRS_MAX], *more])

    def day(self, text: str) -> str:
        if re.fullmatch(r"\d+-\d+-\d+", text, re.ASCII) is None or len(text) != 10:
            return text
        year, month, day = (int(part) for part in text.split("-"))
        name = self.texts.get(f"month.{month}")
        return text if name is None else self.say("format.day", year=year, month=name, day=day)

    def moment(self, at_ms: int) -> str:
        there = self.there(at_ms)
        return self.say("format.moment", day=self.day(there.date().isoformat()), time=there.strftime("%H:%M"))

    def money(self, amount_minor: int) -> str:
        currency = str(self.about.get("currency") or "")
        if not currency:
            return str(amount_minor)
        places = self.kinds["decimals"].get(currency, 2)
        return self.say("format.money", currency=currency, amount=decimal(amount_minor, places))

    def number(self, name: str, value: int) -> str:
        if name.endswith("Bp"):
            return self.say("format.percent", value=trimmed(decimal(value, 2)))
        return trimmed(decimal(value, 7)) if name.endswith("E7") else str(value)

    # -- sentences -------------------------------------------------------------------------------------------

    def field_at(self, path: str) -> tuple[Document | None, str]:
        """(declaration, name) of the field a path leads to; of a map's entry the map's, of a record the list's"""
        shape, name = self.shape or {}, ""
        while True:
            name, _, rest = path.partition(".")
            declared = shape.get(name)
            inner = rest.partition(".")[2]
            if declared is None or "fields" not in declared or not inner:
                return declared, name
            shape, path = declared["fields"], inner

    def shown(self, value: Any) -> str:
        if self.path.endswith(".removed"):
            return self.say("issue.value.removed" if value is True else "issue.value.kept")
        declared, name = self.field_at(self.path)
        if declared is not None and declared["kind"] in ("MAP", "CELLS") and self.path.rpartition(".")[2] != name:
            return self.value(None, "", value)
        if declared is not None and "fields" in declared and isinstance(value, dict):
            return self.fields(declared["fields"], value)
        return self.value(declared, name, value)

    def changed(self, value: Any, at: Any) -> str:
        base, text = self.issue.get("base"), self.shown(value)
        declared, _ = self.field_at(self.path)
        short = declared is not None and declared["kind"] not in ("LONG_TEXT", "RECORDS", "SET")
        if base is not None and short and not isinstance(base, dict):
            text = self.say("issue.value.change", **{"from": self.shown(base), "to": text})
        at_ms = moment_ms(at)
        return text if at_ms is None else self.say("issue.value.at", value=text, moment=self.moment(at_ms))

    def mine(self) -> str:
        value = self.changed(self.issue.get("mine"), self.issue.get("capturedAt") or self.issue.get("createdAt"))
        if self.yours:
            return self.say("issue.mine", value=value)
        return self.say("issue.mine.other", name=self.author, value=value)

    def theirs(self) -> str:
        by, value = self.issue.get("theirsBy"), self.changed(self.issue.get("theirs"), self.issue.get("theirsAt"))
        if by and by == self.issue.get("authorId"):
            return self.say("issue.theirs.self", value=value)
        if by and by == self.reader_id:
            return self.say("issue.theirs.you", value=value)
        if not self.issue.get("theirsName"):
            return self.say("issue.theirs.system", value=value)
        return self.say("issue.theirs", name=self.issue["theirsName"], value=value)

    def entered(self) -> list[str]:
        mine = self.issue.get("mine")
        if not isinstance(mine, dict) or not mine:
            return []
        if self.shape is None:
            return [self.say("issue.entered", values=self.value(None, "", as_entered(mine)))]
        told = [
            (self.label_of(path), self.value(*self.field_at(path), value))
            for path, value in sorted(mine.items())
            if path != "id"
        ]
        return [self.say("issue.entered", values=self.pairs(told))] if told else []

    def problems(self) -> list[str]:
        path = self.issue["field"].split(".") if self.issue.get("field") else []
        found = self.issue.get("problems") or [{"code": self.issue["code"], "path": path, "allowed": [], "params": {}}]
        return list(dict.fromkeys(self.problem(one) for one in found))

    def problem(self, problem: Document) -> str:
        """One sentence that says what is wrong and what to do next, and what would have been possible."""
        texts = self.texts
        code = problem["code"] if f"problem.{problem['code']}" in texts else "INTERNAL"
        allowed = [one for one in problem["allowed"] if not (len(one) == 36 and one.count("-") == 4)]
        path = [] if problem["path"] == ["id"] else problem["path"]
        enum = problem["params"].get("enum", "")
        named = []
        for one in allowed:
            keys = (f"enum.{enum}.{one}", f"type.{one}", f"field.{one}")
            named.append(next((texts[key] for key in keys if key in texts), one))
        between = " – " if code in RANGES else texts["list.separator"]
        params = {
            "field": self.problem_place(path),
            "allowed": between.join(named) or "–",
            **problem["params"],
        }
        sentence = self.say(f"problem.{code}", **params)
        sentence = sentence[:1].upper() + sentence[1:]
        told = {"allowed", "percent"} & set(PLACEHOLDER.findall(texts[f"problem.{code}"]))
        if not allowed or told or allowed == path[-1:]:
            return sentence
        after = "" if sentence[-1:] in "。！" else " "
        return f"{sentence}{after}{self.say('problem.allowed', **params)}"

    def problem_place(self, path: list[str]) -> str:
        parts: list[str] = []
        for before, part in zip(("", *path), path, strict=False):
            if before == "custom":
                # an organisation's own key, whatever else is called like it
                parts.append(part)
            elif part.isdecimal():
                parts[-1:] = [f"{parts[-1] if parts else ''} {int(part) + 1}".strip()]
            elif f"field.{part}" in self.texts:
                parts.append(self.texts[f"field.{part}"])
            elif "-" not in part:
                parts.append(part)
        return " › ".join(parts) or self.texts["problem.record"]

    def way(self, way: str) -> str:
        key = f"issue.way.{way}"
        if way == "KEEP_MINE":
            mine = self.shown(self.issue.get("mine"))
            return self.say(key, value=mine) if self.yours else self.say(f"{key}.other", name=self.author, value=mine)
        if way == "KEEP_THEIRS":
            return self.say(key, value=self.shown(self.issue.get("theirs")))
        return self.say(key) if key in self.texts else way

    def settled(self) -> list[str]:
        issue, at_ms = self.issue, moment_ms(self.issue.get("resolvedAt"))
        if issue["state"] != "RESOLVED" or not issue.get("resolvedBy") or at_ms is None:
            return []
        told = {"way": self.label("Resolution", issue["resolution"]), "moment": self.moment(at_ms)}
        if issue["resolvedBy"] == self.reader_id:
            return [self.say("issue.settled.you", **told)]
        return [self.say("issue.settled", name=issue["resolvedName"], **told)]


def conflict(words: Words) -> list[str]:
    return [words.mine(), words.theirs()]


def later(words: Words) -> list[str]:
    return [words.mine(), words.theirs(), words.say("issue.later")]


def refused(words: Words) -> list[str]:
    if words.issue.get("intent") == "DELETE" or words.issue.get("mine") == {"delete": True}:
        return [words.say("issue.refused.delete"), *words.problems()]
    if words.issue.get("intent") == "RESTORE":
        return [words.say("issue.refused.restore"), *words.problems()]
    other = words.say("issue.refused.other", name=words.author)
    return [words.say("issue.refused") if words.yours else other, *words.problems(), *words.entered()]


def no_check_out(words: Words) -> list[str]:
    state = words.shown(words.issue.get("theirs"))
    other = words.say("issue.noCheckOut.other", name=words.author, state=state)
    return [words.say("issue.noCheckOut", state=state) if words.yours else other]


def deleted(words: Words) -> list[str]:
    name = words.issue.get("theirsName") or ""
    if not name:
        first = words.say("issue.deleted.unknown")
    elif words.yours:
        first = words.say("issue.deleted", name=name)
    else:
        first = words.say("issue.deleted.other", name=name, author=words.author)
    return [first, *words.entered()]


SENTENCES: dict[str, Callable[[Words], list[str]]] = {
    "CONFLICT": conflict,
    "REFUSED": refused,
    "NO_CHECK_OUT": no_check_out,
    "DELETED": deleted,
    "LATER_CAPTURE": later,
}


def moment_ms(value: Any) -> int | None:
    """Epoch ms of a moment as a document gives it, or as a number; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value <= INSTANT_MAX_MS else None
    if not isinstance(value, str) or INSTANT.fullmatch(value) is None:
        return None
    try:
        at_ms = (datetime.fromisoformat(value.replace("Z", "+00:00")) - EPOCH) // timedelta(milliseconds=1)
    except ValueError:
        return None
    return at_ms if 0 <= at_ms <= INSTANT_MAX_MS else None


def decimal(value: int, places: int) -> str:
    """(-1234567, 2) → `-12,345.67`"""
    whole, rest = divmod(abs(value), 10**places)
    tail = f".{rest:0{places}d}" if places else ""
    return f"{'-' if value < 0 else ''}{whole:,}{tail}"


def trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def as_entered(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
