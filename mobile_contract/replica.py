"""The reference client: what a phone keeps, how it applies a page, and how it gets its own work through.

Standard library only, so that it can be read beside `sync-protocol.md` and ported line by line. Everything one
method changes belongs in one local transaction on a device; here it is plain dictionaries.
"""

import hashlib
import json
import secrets
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from mobile_contract.duplicates import likely
from mobile_contract.priority import priority, rank

Document = dict[str, Any]
Key = tuple[str, str]
"""(collection, record id)"""
Place = tuple[str, str, str]
"""(collection, record id, scope): a record is held as long as it has one"""

SCHEMA_VERSION = 4
KIND_OF = {
    "customers": "customer",
    "contacts": "contact",
    "customerContacts": "customerContact",
    "visits": "visit",
    "orders": "order",
    "tasks": "task",
    "answers": "answer",
    "cases": "case",
    "judgements": "judgement",
    "syncIssues": "syncIssue",
    "attachments": "attachment",
}
"""collection → its name inside `change` of a mutation"""
DAY_MS = 86_400_000
CLOCK_SLACK_MS = 600_000
"""By so much a device's clock may be set back without a word."""
KEPT_MAX = 5_000
"""Answered mutations kept at most."""
LATER: dict[str, Document] = json.loads(Path(__file__).with_name("versions.json").read_text("utf-8"))["collections"]
"""collection → what came to it after the first schema version"""
ZONE_DEFAULT = "Asia/Shanghai"
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
AGREED = ("PLANNED", "CONFIRMED")
SETTLED = ("DONE", "CANCELLED")
SEVERE, CASES_SETTLED = ("P1", "P2"), ("RESOLVED", "CLOSED")
CASES_SINCE = 4
"""The version of documents that brought cases."""
NOT_COUNTED = ("DRAFT", "CANCELLED", "REJECTED")
NEVER_VISITED = ("FABRIC_SUPPLIER",)
CLUSTERS = dict(
    zip(
        "ㄳㄵㄶㄺㄻㄼㄽㄾㄿㅀㅄ",
        ["ㄱㅅ", "ㄴㅈ", "ㄴㅎ", "ㄹㄱ", "ㄹㅁ", "ㄹㅂ", "ㄹㅅ", "ㄹㅌ", "ㄹㅍ", "ㄹㅎ", "ㅂㅅ"],
        strict=True,
    )
)
PHONE_TERM = frozenset("0123456789+().-")


class Refusal(Exception):
    """The server refuses the whole request; `code` as in `errors.md`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Locked(Exception):
    """The offline lease is over: nothing is shown until the next pull. Work is still captured, and pushed."""


class Transport(Protocol):
    """Requests in the JSON of the GraphQL fields `syncPull`, `syncPush`, `syncDigest` and `signOut`; each may raise
    `Refusal`."""

    def pull(self, request: Document) -> Document: ...

    def push(self, mutations: list[Document]) -> list[Document]: ...

    def digest(self, scope: str, collection: str, buckets: int) -> list[Document]: ...

    def sign_out(self, unsent: int, rescued: bool) -> None: ...


@dataclass(slots=True)
class Replica:
    """One device. `documents` hold what was pulled, `answered` what a push wrote and no pull has brought yet."""

    limit: int = 500
    schema_version: int = SCHEMA_VERSION
    """the version of documents this client was written for; after an update it is raised, and the rest follows"""
    cursor: str | None = None
    clock: int = 0
    complete_at: int = -1
    """the clock of the last complete page: whatever was written up to it has been brought, or is not ours"""
    documents: dict[Key, Document] = field(default_factory=dict)
    seqs: dict[Key, int] = field(default_factory=dict)
    places: set[Place] = field(default_factory=set)
    marks: set[Place] = field(default_factory=set)
    loose: bool = False
    """some place was dropped, so there may be documents without one"""
    refetch: list[Document] = field(default_factory=list)
    wide: list[Document] = field(default_factory=list)
    """differing checksums of so many rows that their parts are compared before anything is asked again"""
    bulk_after: Place | None = None
    """the last row a bulk stream brought since its last cursor line"""
    ready: set[str] = field(default_factory=set)
    """what a bulk stream said can be worked with already: TODAY, CATALOGUE"""
    queue: list[Document] = field(default_factory=list)
    client_seq: int = 0
    answered: dict[Key, tuple[int, Document]] = field(default_factory=dict)
    kept: list[Document] = field(default_factory=list)
    """mutations with an answer, by `clientSeq`: sent again should the server lose them by a restore"""
    kept_at: dict[str, int] = field(default_factory=dict)
    """mutation id → when it was answered, by this device's clock in ms"""
    keep_answered_days: int = 14
    acked: int = 0
    """the last `clientSeq` the server is known to have answered"""
    lease_until: str | None = None
    """when what is held may no longer be shown, by the server's clock"""
    pulled_at_ms: int = 0
    lease_ms: int | None = None
    """how long it may be shown after `pulled_at_ms`, by this device's clock; None before the first pull"""
    wiped: bool = False
    rescued: frozenset[str] = frozenset()
    """ids of unsent mutations that a rescue file holds"""
    outcomes: dict[str, Document] = field(default_factory=dict)
    """mutation id → its last answer; what was refused or lost comes as a document of `syncIssues` as well"""
    new_id: Callable[[], str] = field(default=lambda: uuid7())
    now_ms: Callable[[], int] = field(default=lambda: time.time_ns() // 1_000_000)

    # -- pulling -------------------------------------------------------------------------------------------

    def pull_request(self) -> Document:
        return {
            "cursor": self.cursor,
            "limit": self.limit,
            "schemaVersion": self.schema_version,
            "refetch": list(self.refetch),
        }

    def apply(self, request: Document, page: Document) -> bool:
        """Take one page together with its cursor; False when the page belongs to another position."""
        if request["cursor"] != self.cursor:
            return False  # a late or doubled answer: what it says is older than what is held
        self.marks |= {place for wish in request["refetch"] for place in self._concerned(wish)}
        self.refetch = [wish for wish in self.refetch if wish not in request["refetch"]]
        self._lose(page["scopesRemoved"])
        for block in page["blocks"]:
            scope, collection = block["scope"], block["collection"]
            self._drop({(collection, record_id, scope) for record_id in block["left"]})
            for row in block["rows"]:
                self._put(scope, collection, row)
        self.cursor, self.clock, self.bulk_after = page["cursor"], page["clock"], None
        self._take_lease(page)
        self.answered_up_to(page["ackedMutation"])
        if page["complete"]:
            self._complete(page["checksums"])
        else:
            self._sweep()
        return True

    def _take_lease(self, page: Document) -> None:
        """Each page renews the lease. It is counted from its arrival: the device's own clock may be wrong."""
        self.pulled_at_ms = self.now_ms()
        self.keep_answered_days = page.get("keepAnsweredDays") or self.keep_answered_days
        if page.get("leaseSeconds") is not None:
            self.lease_until, self.lease_ms = page.get("leaseUntil"), page["leaseSeconds"] * 1_000

    @property
    def locked(self) -> bool:
        """True when nothing may be shown: no page came for as long as the lease, or the clock was set back."""
        past_ms = self.now_ms() - self.pulled_at_ms
        return self.lease_ms is not None and not -CLOCK_SLACK_MS <= past_ms < self.lease_ms

    def bulk_query(self) -> dict[str, str]:
        """The parameters of `GET /sync/bulk`: from the beginning, or behind the last line that was applied."""
        query = {"schemaVersion": str(self.schema_version)}
        if self.cursor is not None:
            query["cursor"] = self.cursor
            if self.bulk_after is not None:
                collection, record_id, scope = self.bulk_after
                query["after"] = f"{scope}/{collection}/{record_id}"
        return query

    def apply_bulk(self, lines: Iterable[str | bytes]) -> bool:
        """Take lines as they come; True at the last. Where they are cut off, `bulk_query` says how to go on.

        Each line is a transaction of its own, or as many as you like are one. Raises `Refusal` for a line of errors.
        """
        for line in lines:
            told = json.loads(line)
            if "errors" in told:
                raise Refusal(told["errors"][0]["extensions"]["code"])
            if "document" in told:
                self._put(told["scope"], told["collection"], told)
                self.bulk_after = (told["collection"], told["document"]["id"], told["scope"])
            elif "page" in told:
                self.apply({"cursor": self.cursor, "refetch": []}, told["page"])
                if told["page"]["complete"]:
                    return True
            elif "ready" in told:
                self.ready.add(told["ready"])
            elif "cursor" in told:
                self.cursor, self.bulk_after = told["cursor"], None
        return False

    def _complete(self, checksums: list[Document]) -> None:
        self._drop(set(self.marks))
        self.loose = True
        self.complete_at = self.clock
        self.answered = {key: held for key, held in self.answered.items() if held[0] > self.clock}
        self._sweep()
        wrong = self.mismatches(checksums)
        parts = {(c["scope"], c["collection"]): c.get("buckets", 1) for c in checksums}
        for wish in wrong:
            wish["buckets"] = parts.get((wish["scope"], wish["collection"]), 1)
        self.wide = [wish for wish in wrong if wish["buckets"] > 1]
        self.refetch = [
            {"scope": wish["scope"], "collection": wish["collection"]} for wish in wrong if wish["buckets"] == 1
        ]

    def narrow(self, wide: Document, theirs: Iterable[Document]) -> None:
        """Ask again only the parts that differ, by the answer to `syncDigest`; the whole, when most of them do."""
        scope, collection, buckets = wide["scope"], wide["collection"], wide["buckets"]
        totals: dict[int, list[int]] = {}
        for place in self._concerned({"scope": scope, "collection": collection}):
            total = totals.setdefault(bucket_of(place[1], buckets), [0, 0])
            total[0] += digest(self.documents[place[:2]])
            total[1] += 1
        mine = {bucket: (f"{total % 2**64:016x}", count) for bucket, (total, count) in totals.items()}
        right = {one["bucket"]: (one["sum"], one["count"]) for one in theirs}
        wrong = sorted(bucket for bucket in mine.keys() | right.keys() if mine.get(bucket) != right.get(bucket))
        whole = {"scope": scope, "collection": collection}
        parts = [{**whole, "bucket": bucket, "buckets": buckets} for bucket in wrong]
        self.refetch += [whole] if 2 * len(wrong) > buckets else parts
        self.wide = [wish for wish in self.wide if wish != wide]

    def _concerned(self, wish: Document) -> set[Place]:
        """The places held that a wish to refetch is about."""
        bucket, buckets = wish.get("bucket"), wish.get("buckets")
        return {
            place
            for place in self.places
            if (place[2], place[0]) == (wish["scope"], wish["collection"])
            and (bucket is None or bucket_of(place[1], buckets or 1) == bucket)
        }

    def _lose(self, scopes: Iterable[str]) -> None:
        lost = set(scopes)
        self._drop({place for place in self.places if place[2] in lost})

    def _sweep(self) -> None:
        """Drop documents without a place; only where some place was dropped may there be any."""
        if not self.loose:
            return
        self.loose = False
        standing = {place[:2] for place in self.places}
        for key in [key for key in self.documents if key not in standing]:
            del self.documents[key], self.seqs[key]

    def _put(self, scope: str, collection: str, row: Document) -> None:
        key = (collection, row["document"]["id"])
        self.places.add((*key, scope))
        self.marks.discard((*key, scope))
        self.documents[key], self.seqs[key] = row["document"], row["seq"]
        if key in self.answered and self.answered[key][0] <= row["seq"]:
            del self.answered[key]

    def _drop(self, places: set[Place]) -> None:
        self.loose |= bool(places)
        self.places -= places
        self.marks -= places

    def expire(self) -> None:
        """After CURSOR_EXPIRED, and after the queue was pushed: start again, sweeping what no longer comes."""
        self.cursor, self.bulk_after, self.complete_at, self.refetch, self.wide = None, None, -1, [], []
        self.marks = set(self.places)

    def sums(self) -> dict[tuple[str, str], tuple[str, int]]:
        """(scope, collection) → (sum of digests, number of documents), computed from what is held."""
        totals: dict[tuple[str, str], list[int]] = {}
        digests = {key: digest(document) for key, document in self.documents.items()}
        for collection, record_id, scope in self.places:
            total = totals.setdefault((scope, collection), [0, 0])
            total[0] += digests[collection, record_id]
            total[1] += 1
        return {pair: (f"{total % 2**64:016x}", count) for pair, (total, count) in totals.items()}

    def mismatches(self, checksums: Iterable[Document]) -> list[Document]:
        """What to ask again: where the server's sum is another, or where it has nothing and we have."""
        theirs = {(c["scope"], c["collection"]): (c["sum"], c["count"]) for c in checksums}
        mine = self.sums()
        wrong = sorted(pair for pair in theirs.keys() | mine.keys() if theirs.get(pair) != mine.get(pair))
        return [{"scope": scope, "collection": collection} for scope, collection in wrong]

    # -- working offline -----------------------------------------------------------------------------------

    def edit(self, collection: str, record_id: str, fields: Document, **more: Any) -> str:
        """Create or change a record, now and without signal; returns the mutation's id.

        `more`: `group` ties mutations together, `capturedAt` is the moment of the work.
        """
        rev = self.seen_seq(collection, record_id)
        wish = {"id": record_id, "baseRev": rev, "set": dict(fields)}
        if held := self._seen(collection, record_id):
            wish["base"] = held_of(held, fields)  # shown beside a conflict; tags and notes not in it are not taken away
        return self._enqueue(collection, wish, more)

    def delete(self, collection: str, record_id: str, **more: Any) -> str:
        base = self.seen_seq(collection, record_id)
        return self._enqueue(collection, {"id": record_id, "baseRev": base, "delete": True}, more)

    def restore(self, collection: str, record_id: str, **more: Any) -> str:
        """Bring a deleted record back, with or without signal: as it was, once the answer brings it."""
        return self._enqueue(collection, {"id": record_id, "restore": True}, more)

    def resolve(self, issue_id: str, choice: str, **decision: Any) -> str:
        """Settle a sync issue, with or without signal; `choice` is one of its `waysOut`.

        `decision`: `value` for CUSTOM; `fields` and `without` for CHANGE_AND_SEND_AGAIN. The revision of the record
        that was looked at goes with it, so that what somebody wrote since is not overwritten.
        """
        issue = self._seen("syncIssues", issue_id) or {}
        key = (issue.get("collection", ""), issue.get("recordId", ""))
        rev = self.seen_seq(*key) if key in self.documents or key in self.answered else None
        fields = {"choice": choice, **({} if rev is None else {"recordRev": rev}), **decision}
        wish = {"id": issue_id, "baseRev": self.seen_seq("syncIssues", issue_id), "set": fields}
        return self._enqueue("syncIssues", wish, {})

    def _enqueue(self, collection: str, wish: Document, more: Mapping[str, Any]) -> str:
        self.client_seq += 1
        mutation = {
            "id": self.new_id(),
            "clientSeq": self.client_seq,
            "group": None,
            "capturedAt": None,
            **more,
            "change": {KIND_OF[collection]: wish},
        }
        self.queue.append(mutation)
        return str(mutation["id"])

    def seen_seq(self, collection: str, record_id: str) -> int | None:
        """The revision an edit is based on: 0 for a record made here that the server has not answered yet."""
        key = (collection, record_id)
        seqs = [self.seqs[key]] if key in self.seqs else []
        seqs += [self.answered[key][0]] if key in self.answered else []
        if seqs:
            return max(seqs)
        return 0 if any(k == key for k, _ in self._wishes()) else None

    def view(self, collection: str, record_id: str) -> Document | None:
        """A record as its user sees it: what the server said last, and his own unsent work on top.

        Raises `Locked` when the lease is over.
        """
        if self.locked:
            raise Locked
        return self._seen(collection, record_id)

    def _seen(self, collection: str, record_id: str) -> Document | None:
        key = (collection, record_id)
        found = self.documents.get(key)
        if key in self.answered and self.answered[key][0] > self.seqs.get(key, -1):
            found = self.answered[key][1]
        if found is not None:
            found = {**self._meant_by_absence(collection), **found}
        for wished, wish in self._wishes():
            if wished == key and not wish.get("restore"):
                found = None if wish.get("delete") else overlaid(found or {"id": record_id}, shown_wish(key, wish))
        return found

    def _meant_by_absence(self, collection: str) -> Document:
        """What the fields this client knows mean in a document that was written before there were any."""
        later = LATER.get(collection, {}).get("fields", {})
        return {name: one["default"] for name, one in later.items() if one["since"] <= self.schema_version}

    def views(self, collection: str) -> dict[str, Document]:
        keys = {*self.documents, *self.answered, *(key for key, _ in self._wishes())}
        seen = {key[1]: self.view(*key) for key in keys if key[0] == collection}
        return {record_id: document for record_id, document in seen.items() if document is not None}

    def _wishes(self) -> Iterator[tuple[Key, Document]]:
        collections = {kind: collection for collection, kind in KIND_OF.items()}
        for mutation in self.queue:
            for kind, wish in mutation["change"].items():
                yield (collections[kind], wish["id"]), wish

    # -- pushing -------------------------------------------------------------------------------------------

    def take_answers(self, answers: Iterable[Document]) -> None:
        """Keep what RETRY asks to keep; everything else is settled, and kept aside for some days."""
        settled, expected = set(), None
        for answer in answers:
            self.outcomes[answer["id"]] = answer
            if answer["status"] == "RETRY":
                gaps = [p["allowed"][0] for p in answer["problems"] if p["code"] == "CLIENT_SEQ_GAP" and p["allowed"]]
                expected = int(gaps[0]) if gaps else expected
                continue
            settled.add(answer["id"])
            for row in answer["records"]:
                key = (row["collection"], row["document"]["id"])
                # never the cursor: it would skip what others committed in between
                if row["seq"] > max(self.seqs.get(key, -1), self.complete_at):
                    self.answered[key] = (row["seq"], row["document"])
        done = [mutation for mutation in self.queue if mutation["id"] in settled]
        self.queue = [mutation for mutation in self.queue if mutation["id"] not in settled]
        self._keep(done)
        if expected is not None:
            self.answered_up_to(expected - 1, told=True)

    def _keep(self, done: list[Document]) -> None:
        """Put answered mutations aside, and forget those that any backup in use has seen."""
        now = self.now_ms()
        self.kept_at.update({mutation["id"]: now for mutation in done})
        self.acked = max([self.acked, *(mutation["clientSeq"] for mutation in done)])
        oldest = now - self.keep_answered_days * DAY_MS
        held = {m["id"]: m for m in [*self.kept, *done] if self.kept_at[m["id"]] > oldest}
        self.kept = sorted(held.values(), key=lambda m: m["clientSeq"])[-KEPT_MAX:]
        self.kept_at = {m["id"]: self.kept_at[m["id"]] for m in self.kept}

    def answered_up_to(self, acked: int, *, told: bool = False) -> None:
        """The server says which number it answered last: on a page, or (`told`) by asking for the one after it.

        Less than it had answered: it was restored from a backup, so what it lost is sent again, in order. More than
        was ever given here: the device lost count. Then the queue counts on from there, because ids, not numbers,
        say what is the same mutation.
        """
        if acked < self.acked:
            waiting = {mutation["id"] for mutation in self.queue}
            lost = [m for m in self.kept if m["clientSeq"] > acked and m["id"] not in waiting]
            self.queue = lost + self.queue
            self.kept = [m for m in self.kept if m["clientSeq"] <= acked]
        self.acked = acked
        first = self.queue[0]["clientSeq"] if self.queue else acked + 1
        if not self.queue or first > acked + 1 or acked > self.client_seq or (told and first != acked + 1):
            self.queue = [{**mutation, "clientSeq": number} for number, mutation in enumerate(self.queue, acked + 1)]
            self.client_seq = acked + len(self.queue)

    def wipe(self) -> int:
        """After DEVICE_WIPED: destroy everything; returns how many mutations were lost, for `acknowledgeWipe`.

        Those in a rescue file (`rescue`, to be called before) are not lost.
        The device's id goes with it: an app set up anew makes another, and counts from 1.
        """
        unsent = self.unsafe
        for held in (self.documents, self.seqs, self.answered, self.outcomes, self.kept_at):
            held.clear()
        self.places, self.marks, self.ready = set(), set(), set()
        self.queue, self.kept, self.refetch, self.wide = [], [], [], []
        self.cursor, self.bulk_after, self.clock, self.complete_at = None, None, 0, -1
        self.client_seq, self.acked, self.wiped = 0, 0, True
        return unsent

    @property
    def unsafe(self) -> int:
        """How many unsent mutations would be lost with this device."""
        return sum(mutation["id"] not in self.rescued for mutation in self.queue)

    def rescue(self, user_id: str, device_id: str, made_at: str, write: Callable[[Document], None]) -> None:
        """Hand the unsent work to `write`, which encrypts it and keeps it elsewhere (`rescue.py`)."""
        write(
            {
                "format": "selvedge-rescue-1",
                "user": user_id,
                "device": device_id,
                "madeAt": made_at,
                "queue": list(self.queue),
            }
        )
        self.rescued = frozenset(mutation["id"] for mutation in self.queue)

    def sign_out(self, transport: Transport) -> None:
        """Send what is left, then end the session. Raises `Refusal(UNSENT_WORK)` while work would be lost."""
        self.send(transport)
        if self.unsafe:
            raise Refusal("UNSENT_WORK")
        transport.sign_out(len(self.queue), bool(self.queue))

    # -- both, over a transport ------------------------------------------------------------------------------

    def sync(self, transport: Transport, *, rounds_max: int = 1_000, push_mutations: int = 100) -> None:
        """Push the queue, then pull until complete and equal. Raises what the server refuses but an old cursor."""
        self.send(transport, push_mutations)
        for _ in range(rounds_max):
            request = self.pull_request()
            try:
                page = transport.pull(request)
            except Refusal as refusal:
                if refusal.code not in ("CURSOR_EXPIRED", "CURSOR_INVALID") or self.cursor is None:
                    raise
                self.send(transport, push_mutations)
                self.expire()
                continue
            self.apply(request, page)
            for wide in list(self.wide):
                self.narrow(wide, transport.digest(wide["scope"], wide["collection"], wide["buckets"]))
            if self.queue and page["complete"]:
                self.send(transport, push_mutations)  # a restore took back what had been answered
            if page["complete"] and not self.refetch:
                return
        raise Refusal("NOT_SETTLING")

    def send(self, transport: Transport, push_mutations: int = 100) -> None:
        while self.queue:
            before = [(mutation["id"], mutation["clientSeq"]) for mutation in self.queue]
            self.take_answers(transport.push(self.next_push(push_mutations)))
            if [(mutation["id"], mutation["clientSeq"]) for mutation in self.queue] == before:
                return  # everything was answered RETRY: later

    def next_push(self, mutations_max: int) -> list[Document]:
        """The front of the queue, never cutting a group in two."""
        end = mutations_max
        while 0 < end < len(self.queue) and self.queue[end]["group"] == self.queue[end - 1]["group"] is not None:
            end += 1
        return self.queue[:end]

    # -- looking things up offline ---------------------------------------------------------------------------

    def search(self, collection: str, text: str) -> list[Document]:
        """The records every term of the query occurs in, in the server's order."""
        terms = query_terms(text)
        found = [
            d for d in self.views(collection).values() if all(term in (d.get("searchKeys") or "") for term in terms)
        ]
        return sorted(found, key=lambda d: (d.get("sortKey") or "", d["id"]))

    def likely_duplicates(self, collection: str, fields: Document) -> list[Document]:
        """Customers or contacts held here that a record of these fields may be: to be shown before it is made."""
        at: dict[str, set[str]] = {}
        for link in self.views("customerContacts").values():
            at.setdefault(link["contactId"], set()).add(link["customerId"])
        return likely(fields, self.views(collection).values(), None if collection == "customers" else at)

    def ranked(self, today: str, me: str = "") -> list[tuple[str, Document]]:
        """(customer id, priority) of every customer held here who opens on the day, re-ranked with what this
        device knows. One without a score yet competes through the lines it has. What `me`, the colleague whose list
        it is, skipped ranks last; overrides rank where they say."""
        tables = {d["id"]: d["tables"] for d in self.views("priorityTables").values()}
        scores, visits, tasks, orders = (self.views(name) for name in ("scores", "visits", "tasks", "orders"))
        known = [grouped(records.values()) for records in (visits, tasks, orders)]
        # a client of before there were cases goes by those of the night
        cases = grouped(self.views("cases").values()) if self.schema_version >= CASES_SINCE else None
        scored = {}
        for customer_id, customer in self.views("customers").items():
            score = scores.get(customer_id)
            table = tables.get(score["tableId"] if score else max(tables, default=""))
            if table is None or not self._visited(customer) or not is_open(customer.get("openHours"), today):
                continue
            numbers = score["facts"] if score else {"cadenceDays": customer.get("cadenceDays")}
            facts = day_facts(customer, today, *(records.get(customer_id, []) for records in known))
            facts["severeCases"] = None if cases is None else severe_cases(cases.get(customer_id, []))
            scored[customer_id] = priority(table["parameters"], table["tables"], numbers, facts)
        judgements = list(self.views("judgements").values())
        return [(customer_id, scored[customer_id]) for customer_id in rank(scored, judgements, today, me)]

    def _visited(self, customer: Document) -> bool:
        """A buyer, and held here: not the head of a chain that is seen for the sake of one of its doors."""
        key = ("customers", customer["id"])
        scope = f"territory:{customer['territoryId']}" if customer.get("territoryId") else "unassigned"
        held = (*key, scope) in self.places or key not in self.documents
        return held and customer.get("kind") not in NEVER_VISITED


def bucket_of(record_id: str, buckets: int) -> int:
    """Which of so many parts a record is in: by the last byte of its id, which is random in every UUID."""
    return int(record_id[-2:], 16) % buckets


def grouped(records: Iterable[Document]) -> dict[str, list[Document]]:
    """Records by their customer."""
    found: dict[str, list[Document]] = {}
    for record in records:
        if record.get("customerId"):
            found.setdefault(record["customerId"], []).append(record)
    return found


def day_facts(
    customer: Document, today: str, visits: list[Document], tasks: list[Document], orders: list[Document]
) -> Document:
    """What `priority` reads besides the score: each moment is a day in the customer's own zone, counted from
    1970-01-01. The last visit is the last one completed up to today, the next appointment one still agreed."""
    zone = customer.get("timezone") or ZONE_DEFAULT
    now = day_of(today)
    made = [(v["checkInAt"], v["id"]) for v in visits if v.get("state") == "COMPLETED" and v.get("checkInAt")]
    agreed = [(v["plannedAt"], v["id"]) for v in visits if v.get("state", "PLANNED") in AGREED and v.get("plannedAt")]
    last = max((visit for visit in made if local_day(visit[0], zone) <= now), default=None)
    ahead = min((visit for visit in agreed if local_day(visit[0], zone) >= now), default=None)
    counted = [(o.get("orderedOn") or "", o["id"]) for o in orders if o.get("state", "DRAFT") not in NOT_COUNTED]
    ordered = max((order for order in counted if order[0] <= today), default=None)
    return {
        "today": now,
        "lastVisitDay": last and local_day(last[0], zone),
        "lastVisitId": last and last[1],
        "nextAppointmentDay": ahead and local_day(ahead[0], zone),
        "nextAppointmentId": ahead and ahead[1],
        "lastOrderId": ordered and ordered[1],
        "openTasks": [
            {"id": t["id"], "dueDay": due_day(t, zone)} for t in tasks if t.get("state", "OPEN") not in SETTLED
        ],
    }


def severe_cases(cases: list[Document]) -> list[str]:
    """Ids of the complaints that are severe and not settled."""
    return [
        case["id"]
        for case in cases
        if case.get("priority", "P3") in SEVERE and case.get("state", "NEW") not in CASES_SETTLED
    ]


def due_day(task: Document, zone: str) -> int | None:
    if task.get("dueOn"):
        return day_of(task["dueOn"])
    return local_day(task["dueAt"], zone) if task.get("dueAt") else None


def is_open(hours: Document | None, day: str) -> bool:
    """Whether a customer with these opening hours opens at all; without hours it is not known."""
    return not hours or WEEKDAYS[date.fromisoformat(day).weekday()] in hours


def canonical(document: Document) -> bytes:
    """The bytes digests are taken of: sorted keys, no spaces, UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(document: Document) -> int:
    """First 8 bytes of SHA-256."""
    return int.from_bytes(hashlib.sha256(canonical(document)).digest()[:8], "big")


def held_of(held: Document, fields: Mapping[str, Any]) -> Document:
    """What the fields about to change hold now; of order lines only those that change."""
    base = {name: held.get(name) for name in fields if name in held}
    if isinstance(fields.get("lines"), list):
        named = {line.get("id") for line in fields["lines"]}
        base["lines"] = [line for line in held.get("lines") or [] if line["id"] in named]
    return base


def shown_wish(key: Key, wish: Document) -> Document:
    """What a wish changes on the screen: a decision about a sync issue settles it."""
    if key[0] != "syncIssues":
        return dict(wish["set"])
    return {"state": "RESOLVED", "resolution": wish["set"]["choice"]}


def overlaid(document: Document, fields: Document) -> Document:
    """A record with a change on top: maps by key (null takes a key away), lines by id, their cells by SKU."""
    after = dict(document)
    for name, value in fields.items():
        held = after.get(name)
        if isinstance(value, Mapping):
            entries = {**(held or {}), **value}
            after[name] = {key: entry for key, entry in entries.items() if entry not in (None, 0)}
        elif name == "lines":
            lines = {line["id"]: line for line in held or []}
            for line in value:
                lines[line["id"]] = overlaid(lines.get(line["id"], {}), line)
            after[name] = [line for line in lines.values() if not line.get("removed") and line.get("cells")]
        else:
            after[name] = value
    return after


def query_terms(text: str) -> list[str]:
    """A typed query cut into terms: clusters apart, folded, and a term of phone characters only its digits."""
    apart = "".join(CLUSTERS.get(character, character) for character in text)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", apart).lower())
    terms = []
    for term in folded.split():
        digits = "".join(c for c in term if c in "0123456789")
        terms.append(digits if digits and PHONE_TERM.issuperset(term) else term)
    return list(dict.fromkeys(terms))


def local_day(instant: str, zone: str) -> int:
    """Days since 1970-01-01 of the day a moment falls on in a zone."""
    there = datetime.fromisoformat(instant.replace("Z", "+00:00")).astimezone(ZoneInfo(zone))
    return there.date().toordinal() - date(1970, 1, 1).toordinal()


def day_of(text: str) -> int:
    """Days since 1970-01-01 of a local day."""
    return date.fromisoformat(text[:10]).toordinal() - date(1970, 1, 1).toordinal()


def uuid7() -> str:
    """A new id that sorts by the time it was made."""
    stamp = int(time.time() * 1000) << 80
    return str(uuid.UUID(int=stamp | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)))
