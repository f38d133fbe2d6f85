"""The reference model: what was entered, what was acknowledged, who might see what when. It judges, and knows nothing
of clocks in the feed, intervals, receipts or cursors.

*Scope.* Every fact (a customer stands in a patch, a rep holds a node) is a `Span` between the earliest moment it may
have begun and the latest it may have ended, by the judge's own watch. A page is right when each record in it could be
seen at some moment between asking and answering.

*Causality.* Written values are unique, so a value names its write. A write descends from the write whose value its
author was shown, and from his own earlier ones. Accepted writes of one field by different devices must be a chain.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Any

Document = dict[str, Any]
Key = tuple[str, str]

MERGED_FIELDS: Mapping[str, tuple[str, ...]] = {
    "customers": ("nameEn", "province", "city", "district", "street"),
    "contacts": ("nameEn", "nameZh"),
    "customerContacts": (),
    "visits": ("nextStep",),
    "orders": ("poNumber",),
    "tasks": ("title",),
    "attachments": ("caption",),
}
"""Fields on which the other's value stands and ours is kept; here every value is written once."""
TEXT_LINES, MEMBERS, LATEST = "notes", "tags", "latE7"
"""Fields of which nothing may be lost, and the one whose later capture wins."""
DELETION_WINS = frozenset({"customerContacts", "tasks", "attachments"})
CLOCK_MARGIN_MS = 2_000
"""How exactly the server can know when a device captured something."""
SETTLED = frozenset({"APPLIED", "MERGED", "CONFLICT", "REFUSED", "DEPENDENCY_FAILED", "ALREADY_HANDLED"})
ABSENT = object()


class Violation(AssertionError):
    """The product broke a rule."""


# -- who may see what, when --------------------------------------------------------------------------------------


@dataclass
class Span:
    value: str
    since: float
    until: float = inf
    node: str = ""
    """of a seat: the node of the tree it was given in"""


def meet(first: Span, second: Span, since: float, until: float) -> bool:
    return max(first.since, second.since, since) <= min(first.until, second.until, until)


@dataclass
class User:
    id: str
    name: str
    role: str
    email: str = ""


class Scope:
    """Who holds which patch and what stands where, as spans."""

    def __init__(self, users: Iterable[User], patches_below: Mapping[str, list[str]]) -> None:
        self.users = {user.id: user for user in users}
        self.patches_below = patches_below
        """node → patches at or below it"""
        self.held: dict[str, list[Span]] = defaultdict(list)
        self.territory: dict[str, list[Span]] = defaultdict(list)
        self.doors: dict[str, list[str]] = defaultdict(list)
        self.links_of: dict[str, list[tuple[str, Span]]] = defaultdict(list)
        """contact → (customer, span)"""
        self.customer_of: dict[Key, str | None] = {}
        self.assignees: dict[str, list[Span]] = defaultdict(list)
        self.authors: dict[Key, str] = {}
        self.issue_owner: dict[str, str] = {}
        """mutation → its author"""
        self.writers: dict[Key, set[str]] = defaultdict(set)
        self.hangs_on: dict[str, Key] = {}
        """attachment → its record"""
        self.survivors: dict[str, set[str]] = defaultdict(set)
        """customer → those it may have become by a merge"""

    # -- what happens

    def seat(self, user_id: str, node: str, at: float) -> list[Span]:
        spans = [Span(patch, at, node=node) for patch in self.patches_below[node]]
        self.held[user_id] += spans
        return spans

    def unseat(self, user_id: str, node: str) -> list[Span]:
        """The spans that end when the server says so."""
        return [s for s in self.held[user_id] if s.node == node and s.until == inf]

    def holds(self, user_id: str, node: str) -> bool:
        return bool(self.unseat(user_id, node))

    def held_patches(self, user_id: str) -> list[str]:
        if self.users[user_id].role == "ADMIN":
            return sorted({patch for patches in self.patches_below.values() for patch in patches})
        return sorted({span.value for span in self.held[user_id] if span.until == inf})

    def may_exist(self, collection: str, record_id: str, fields: Document, author: str, at: float) -> None:
        """A creation is on its way to the server."""
        key = (collection, record_id)
        if key in self.customer_of:
            return
        customer = fields.get("customerId")
        self.customer_of[key] = customer
        self.authors[key] = author
        if collection == "customers":
            self.territory[record_id].append(Span(fields["territoryId"], at))
            if fields.get("parentId"):
                self.doors[fields["parentId"]].append(record_id)
        elif collection == "customerContacts":
            self.links_of[fields["contactId"]].append((str(customer), Span("", at)))
        elif collection == "tasks":
            self.assignees[record_id].append(Span(fields.get("assigneeId") or author, at))
        elif collection == "attachments":
            self.hangs_on[record_id] = (fields["collection"], fields["recordId"])

    def learned(self, collection: str, document: Document) -> None:
        """A record nobody entered: the server made it. What it hangs on never changes."""
        key = (collection, document["id"])
        if collection not in MERGED_FIELDS or key in self.authors:
            return
        self.customer_of.setdefault(key, document.get("customerId"))
        assignee = document.get("assigneeId")
        if assignee and all(span.value != assignee for span in self.assignees[document["id"]]):
            self.assignees[document["id"]].append(Span(assignee, -inf))

    def assigned(self, task_id: str, assignee: str, at: float) -> None:
        self.assignees[task_id].append(Span(assignee, at))

    # -- what follows

    def merging(self, survivor: str, merged: str) -> None:
        """From now on they may be one: what hangs on the merged one may stand where the survivor does."""
        self.survivors[merged].add(survivor)

    def doors_of(self, head: str) -> list[str]:
        """Its doors, and those of every head that may have become it."""
        return [door for one, doors in self.doors.items() if head in self.became(one) for door in doors]

    def became(self, customer_id: str) -> set[str]:
        """A customer and every one it may have become."""
        found: set[str] = set()
        coming = [customer_id]
        while coming:
            current = coming.pop()
            if current not in found:
                found.add(current)
                coming += sorted(self.survivors.get(current, ()))
        return found

    def where(self, customer_id: str) -> list[Span]:
        return [span for one in sorted(self.became(customer_id)) for span in self.territory[one]]

    def stands(self, collection: str, record_id: str, document: Document | None) -> Iterator[Span]:
        """The patches a record may stand in, and when."""
        document = document or {}
        if collection == "customers":
            yield from self.where(record_id)
            for one in sorted(self.became(record_id)):
                for door in self.doors_of(one):
                    yield from self.where(door)
        elif collection == "contacts":
            for customer, link in self.links_of[record_id]:
                for span in self.where(customer):
                    yield Span(span.value, max(span.since, link.since), min(span.until, link.until))
        else:
            customer = self.customer_of.get((collection, record_id)) or document.get("customerId")
            if customer:
                yield from self.where(customer)

    def visible(
        self, user_id: str, collection: str, record_id: str, since: float, until: float, document: Document | None
    ) -> bool:
        """Whether the user may have seen the record at some moment between `since` and `until`."""
        user = self.users[user_id]
        if user.role == "ADMIN" or (collection not in MERGED_FIELDS and collection != "syncIssues"):
            return True
        if collection == "syncIssues":
            return any(self._sees_work_of(user, one, since, until) for one in self.authors_of_issue(document))
        if collection == "attachments":
            kind, holder = self.hangs_on.get(record_id, ("", ""))
            holders = sorted(self.became(holder)) if kind == "customers" else [holder] if kind else []
            return any(self.visible(user_id, kind, one, since, until, None) for one in holders)
        if collection == "contacts" and self._sees_work_of(
            user, self.authors.get((collection, record_id)), since, until
        ):
            return True
        if collection == "tasks":
            held = [*self.assignees[record_id], Span((document or {}).get("assigneeId") or "", -inf)]
            if any(self._sees_work_of(user, span.value, since, until) for span in held if span.since <= until):
                return True
        return any(
            place.value == grant.value and meet(place, grant, since, until)
            for place in self.stands(collection, record_id, document)
            for grant in self.held[user_id]
        )

    def explained(self, user_id: str, collection: str, record_id: str, document: Document | None) -> str:
        """What the model knows of a record it did not expect, for the trace."""
        stands = list(self.stands(collection, record_id, document))
        author = self.authors.get((collection, record_id))
        return f"stands {stands}, author {author}, held {self.held[user_id]}, {document}"

    def authors_of_issue(self, document: Document | None) -> set[str]:
        """Whose it may be: of whoever sent the mutation it names, else of one who wrote to the record."""
        document = document or {}
        if owner := self.issue_owner.get(document.get("mutationId") or ""):
            return {owner}
        return self.writers[document.get("collection") or "", document.get("recordId") or ""]

    def _sees_work_of(self, user: User, rep: str | None, since: float, until: float) -> bool:
        """What a user makes is his, and his manager's: who holds a patch of his."""
        if rep is None:
            return False
        if user.id == rep:
            return True
        if user.role != "MANAGER" or rep not in self.users or self.users[rep].role != "REP":
            return False
        return any(
            own.value == his.value and meet(own, his, since, until)
            for own in self.held[user.id]
            for his in self.held[rep]
        )


# -- what was written, and by whom -------------------------------------------------------------------------------


class Fate(StrEnum):
    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"
    KEPT = "KEPT"
    """it lost against another; the issue keeps it"""
    REFUSED = "REFUSED"
    UNKNOWN = "UNKNOWN"
    """its device was thrown away before an answer came"""


@dataclass(eq=False)
class Write:
    number: int
    device: str
    mutation: str
    key: Key
    path: str
    value: Any
    base: Any
    captured_ms: int
    fate: Fate = Fate.OPEN
    parents: list["Write"] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"#{self.number} {self.path}={self.value!r} by {self.device} ({self.fate}, base {self.base!r})"


@dataclass(eq=False)
class Entered:
    """One mutation as its author entered it."""

    id: str
    device: str
    user_id: str
    collection: str
    record_id: str
    wish: Document
    base: Document | None
    captured_ms: int
    group: str | None
    writes: list[Write] = field(default_factory=list)
    settles: Key | None = None
    """the record a decision on a sync issue may change"""
    at: float = 0.0
    """when, by the judge's watch"""
    skew_ms: int = 0
    clock_set: bool = False
    """its device's clock was set between entering and sending: nobody can know when it was captured"""
    sent: bool = False
    online: bool = False
    """done at once, by no queue"""
    since: float = inf
    until: float = inf
    """between these it took effect, if it did, by the judge's watch"""
    status: str | None = None
    answers: int = 0
    discarded: bool = False
    lost: set[str] = field(default_factory=set)
    """paths on which somebody else's value stands"""

    @property
    def creates(self) -> bool:
        return self.wish.get("baseRev") is None and not self.deletes and not self.restores

    @property
    def deletes(self) -> bool:
        return bool(self.wish.get("delete"))

    @property
    def restores(self) -> bool:
        return bool(self.wish.get("restore"))

    @property
    def taken(self) -> bool:
        return self.status in ("APPLIED", "MERGED", "CONFLICT")

    @property
    def may_be_taken(self) -> bool:
        return self.taken or (self.status is None and self.sent)

    @property
    def action(self) -> str:
        """How the audit calls it."""
        if self.restores:
            return "RESTORE"
        return "CREATE" if self.creates else "DELETE" if self.deletes else "UPDATE"

    def may_follow(self, other: "Entered") -> bool:
        """Whether it may have taken effect after the other did. A queue is sent in its order."""
        if self.device == other.device and not (self.online or other.online):
            return self.at > other.at
        return self.until >= other.since


def flattened(collection: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(path, value) of what is followed in a change or a document."""
    for name in MERGED_FIELDS.get(collection, ()):
        if fields.get(name) is not None:
            yield name, fields[name]
    for line in fields.get("lines") or []:
        for sku, quantity in (line.get("cells") or {}).items():
            yield f"lines.{line['id']}.cells.{sku}", quantity


class Ledger:
    """Every write, its fate, and the judgement over what stands."""

    def __init__(self) -> None:
        self.mutations: dict[str, Entered] = {}
        self.writes: dict[tuple[Key, str], list[Write]] = defaultdict(list)
        self.of_record: dict[Key, list[Entered]] = defaultdict(list)
        self.by_value: dict[tuple[Key, str, Any], Write] = {}
        self.last_of: dict[tuple[str, Key, str], list[Write]] = defaultdict(list)
        self.ever_wiped: set[tuple[Key, str]] = set()
        """cells somebody took away: their absence says nothing"""
        self.exempt: set[Key] = set()
        """records whose fields other rules moved: merged away or into"""
        self.judged: Counter[str] = Counter()

    def enter(self, entered: Entered) -> None:
        self.mutations[entered.id] = entered
        key = (entered.collection, entered.record_id)
        self.of_record[key].append(entered)
        if entered.deletes:
            return
        shown = dict(flattened(entered.collection, entered.base or {}))
        for path, value in flattened(entered.collection, entered.wish.get("set") or {}):
            if value == 0:
                self.ever_wiped.add((key, path))
                continue
            write = Write(
                len(self.by_value), entered.device, entered.id, key, path, value, shown.get(path), entered.captured_ms
            )
            source = self.by_value.get((key, path, write.base))
            write.parents = ([source] if source else []) + self.last_of[entered.device, key, path][-1:]
            self.by_value[key, path, value] = write
            self.writes[key, path].append(write)
            self.last_of[entered.device, key, path].append(write)
            entered.writes.append(write)

    def decide(self, entered: Entered, key: Key, path: str, value: Any, shown: Document) -> None:
        """A decision on a sync issue: its value may come to stand, and it knew what it was shown."""
        self.mutations[entered.id] = entered
        entered.settles = key
        base = dict(flattened(key[0], shown)).get(path)
        write = Write(
            len(self.by_value), entered.device, entered.id, key, path, value, base, entered.captured_ms, Fate.UNKNOWN
        )
        source = self.by_value.get((key, path, base))
        write.parents = ([source] if source else []) + self.last_of[entered.device, key, path][-1:]
        self.by_value[key, path, value] = write
        self.writes[key, path].append(write)
        self.last_of[entered.device, key, path].append(write)

    def merged(self, *customers: str) -> None:
        """Of these other rules decide what stands."""
        self.exempt.update(("customers", customer) for customer in customers)

    def answered(self, answer: Document, at: float) -> None:
        """The first answer decides; any other must say the same."""
        entered = self.mutations.get(answer["id"])
        if entered is None:
            raise Violation(f"an answer to a mutation nobody sent: {answer}")
        status = answer["status"]
        if status == "RETRY":
            return
        if status not in SETTLED:
            raise Violation(f"an unknown status: {answer}")
        if status == "ALREADY_HANDLED":
            raise Violation(f"no receipt of {entered.id}, though receipts live longer than this run: {answer}")
        entered.answers += 1
        if entered.status not in (None, status):
            raise Violation(f"{entered.id} was answered {entered.status} and now {status}: {answer['problems']}")
        if entered.status is not None:
            return
        entered.status, entered.until = status, at
        lost = entered.lost = {".".join(p["path"]) for p in answer["problems"] if p["code"] == "CONFLICT"}
        for write in entered.writes:
            if not entered.taken:
                write.fate = Fate.REFUSED
            elif write.path in lost or any(write.path.startswith(f"{path}.") for path in lost):
                write.fate = Fate.KEPT
            else:
                write.fate = Fate.ACCEPTED

    def discard(self, mutation_id: str) -> None:
        """The device that held it is gone: it may have arrived or not, and nobody will ask again."""
        entered = self.mutations[mutation_id]
        entered.discarded = True
        for write in entered.writes:
            if write.fate is Fate.OPEN:
                write.fate = Fate.UNKNOWN if entered.sent else Fate.REFUSED

    # -- judgement ------------------------------------------------------------------------------------------

    def judge(self, truth: Mapping[Key, Document], issues: Mapping[tuple[str, str | None], list[Document]]) -> None:
        """Raise the first rule broken. `truth`: the tables; `issues`: (mutation, field) → what was kept."""
        gone: set[Key] = set()
        for key, mutations in self.of_record.items():
            if self._judge_existence(key, mutations, truth):
                gone.add(key)
        for (key, path), writes in self.writes.items():
            if key in self.exempt:
                continue
            self._judge_field(key, path, writes, ABSENT if key in gone else _at(truth[key], path))
        for key, mutations in self.of_record.items():
            if key not in gone and key not in self.exempt:
                self._judge_gathered(key, mutations, truth[key])
        self._judge_issues(issues)

    def judge_merges(self, truth: Mapping[Key, Document], became: Callable[[str], set[str]]) -> None:
        """What was entered for a customer hangs on it, or on the one it was merged into, and on one that is there."""
        for entered in self.mutations.values():
            named = (entered.wish.get("set") or {}).get("customerId")
            key = (entered.collection, entered.record_id)
            if not (entered.creates and entered.taken and named and key in truth):
                continue
            standing = truth[key]["#"]["customer_id"]
            self.judged["hanging"] += 1
            if standing not in became(named) or ("customers", standing) not in truth:
                raise Violation(f"{key} was entered for {named} and hangs on {standing}")

    def _judge_existence(self, key: Key, mutations: list[Entered], truth: Mapping[Key, Document]) -> bool:
        """Whether the record is gone. It stands exactly when its creation was taken and no deletion was, or when what
        was taken last brought it back."""
        makers = [m for m in mutations if m.creates and m.may_be_taken]
        enders = [m for m in mutations if m.deletes and m.may_be_taken]
        bringers = [m for m in mutations if m.restores and m.may_be_taken]
        self.judged["brought back"] += any(m.taken for m in bringers)
        self.judged["records"] += 1
        if key in self.exempt or self._link_of_merged(key):
            return key not in truth
        if key in truth:
            certain = [m for m in enders if m.taken and not any(back.may_follow(m) for back in bringers)]
            if certain:
                raise Violation(f"{key} stands though its deletion was {certain[0].status}")
            if any(m.creates for m in mutations) and not makers:
                raise Violation(f"{key} stands though nobody's creation was taken")
            return False
        if not enders and any(m.taken for m in makers) and not self._taken_along(key, truth):
            raise Violation(f"{key} was created and acknowledged, and is gone")
        back = [m for m in bringers if m.taken and not any(ender.may_follow(m) for ender in enders)]
        if back and not self._taken_along(key, truth):
            raise Violation(f"{key} was brought back by {back[-1].device}, and is gone")
        for ender in enders:
            last = not any(bringer.may_follow(ender) for bringer in bringers)
            if ender.taken and last and key[0] not in DELETION_WINS:
                self._judge_deletion(key, ender)
        return True

    def _link_of_merged(self, key: Key) -> bool:
        """Where both customers had the contact, one link is enough."""
        makers = [m for m in self.of_record[key] if m.creates and key[0] == "customerContacts"]
        return any(("customers", m.wish["set"]["customerId"]) in self.exempt for m in makers)

    def _taken_along(self, key: Key, truth: Mapping[Key, Document]) -> bool:
        """A link goes with its contact or its customer, an attachment with its record, and comes back with it."""
        if key[0] not in ("customerContacts", "attachments"):
            return False
        ends = self._ends(key)
        # it went with the one, and as that came back the other was not there
        both_went = len(ends) > 1 and all(
            any(m.deletes and m.may_be_taken for m in self.of_record.get(end, ())) for end in ends
        )
        return both_went or any(end not in truth for end in ends)

    def _ends(self, key: Key) -> list[Key]:
        """What a link or an attachment goes with."""
        if key[0] not in ("customerContacts", "attachments") or not any(m.creates for m in self.of_record[key]):
            return []
        fields = self._made(key)
        if key[0] == "attachments":
            return [(fields["collection"], fields["recordId"])]
        return [("contacts", fields["contactId"]), ("customers", fields["customerId"])]

    def _made(self, key: Key) -> Document:
        """What a record was made with."""
        (maker, *_) = [m for m in self.of_record[key] if m.creates]
        fields: Document = maker.wish["set"]
        return fields

    def _judge_deletion(self, key: Key, ender: Entered) -> None:
        """Who deletes must have seen what others wrote."""
        shown = dict(flattened(key[0], ender.base or {}))
        for path in {path for held, path in self.writes if held == key and (key, path) not in self.ever_wiped}:
            known = self.ancestry(self.by_value.get((key, path, shown.get(path))))
            for write in self.writes[key, path]:
                if write.fate is Fate.ACCEPTED and write.device != ender.device and write not in known:
                    raise Violation(f"{key} was deleted over a write its remover had not seen: {write}")

    def ancestry(self, write: Write | None) -> set[Write]:
        """A write and everything it descends from."""
        found: set[Write] = set()
        coming = [write] if write else []
        while coming:
            current = coming.pop()
            if current not in found:
                found.add(current)
                coming += current.parents
        return found

    def _judge_field(self, key: Key, path: str, writes: list[Write], standing: Any) -> None:
        self.judged["fields"] += 1
        wiped = (key, path) in self.ever_wiped
        accepted = [write for write in writes if write.fate is Fate.ACCEPTED]
        used = {parent for write in writes for parent in write.parents}
        maybe = [w for w in writes if w.fate in (Fate.UNKNOWN, Fate.OPEN) and (w in used or w.value == standing)]
        lineage = {write: self.ancestry(write) for write in [*accepted, *maybe]}
        for index, first in enumerate(accepted):
            for second in accepted[:index]:
                strangers = first not in lineage[second] and second not in lineage[first]
                if strangers and first.device != second.device and not wiped:
                    raise Violation(
                        f"{key}: of two writes that knew nothing of each other both stand: {first} and {second}"
                    )
        for write in writes:
            if write.fate is Fate.KEPT and not wiped:
                self._judge_conflict(key, write, writes)
        if standing is ABSENT:
            return
        found = self.by_value.get((key, path, standing))
        if found is None and not accepted and not any(m.creates for m in self.of_record[key]):
            return  # a record the server made, as it made it
        if standing is None:
            if accepted and not wiped:
                raise Violation(f"{key} {path} is empty though {accepted[-1]} was taken")
            return
        if found is None:
            raise Violation(f"{key} {path} is {standing!r}, which nobody wrote")
        if found.fate in (Fate.REFUSED, Fate.KEPT):
            raise Violation(f"{key} {path} stands as {found}, which was not taken")
        known = self.ancestry(found)
        for write in accepted:
            if write not in known and not wiped:
                raise Violation(f"{key} {path} stands as {found}, and {write} is lost")

    def _judge_conflict(self, key: Key, write: Write, writes: list[Write]) -> None:
        """A value gives way only to somebody's it had not seen."""
        if self.mutations[write.mutation].wish.get("baseRev") == 0:
            return  # made here and not answered yet, or so it says: it claims to know nobody's value
        known = self.ancestry(write)
        for other in writes:
            if other.device != write.device and other.fate not in (Fate.REFUSED, Fate.KEPT) and other not in known:
                return
        raise Violation(f"{key}: {write} lost, and there is nothing it could have lost against")

    def _judge_gathered(self, key: Key, mutations: list[Entered], standing: Document) -> None:
        """Of notes and tags nothing taken is lost; of positions the one captured last stands."""
        lines, members = (standing.get(TEXT_LINES) or "").split("\n"), standing.get(MEMBERS) or []
        for entered in mutations:
            if not entered.taken or entered.deletes:
                continue
            self.judged["gathered"] += 1
            fields = entered.wish.get("set") or {}
            if TEXT_LINES in entered.lost or MEMBERS in entered.lost:
                continue
            for line in _added(fields.get(TEXT_LINES), (entered.base or {}).get(TEXT_LINES)):
                if line not in lines:
                    raise Violation(f"{key} lost the line {line!r} of its notes, {entered.status}; {lines}")
            for member in fields.get(MEMBERS) or []:
                if member not in members:
                    raise Violation(f"{key} lost the tag {member!r}, {entered.status}; {members}")
        self._judge_latest(key, mutations, standing)

    def _judge_latest(self, key: Key, mutations: list[Entered], standing: Document) -> None:
        placed = [m for m in mutations if m.may_be_taken and (m.wish.get("set") or {}).get(LATEST) is not None]
        if not placed:
            return
        value = standing.get(LATEST)
        (found, *_) = [m for m in placed if m.wish["set"][LATEST] == value] or [None]
        if found is None:
            raise Violation(f"{key} stands at {value!r}, where nobody put it")
        if standing.get("lonE7") != found.wish["set"]["lonE7"]:
            raise Violation(f"{key}: the two halves of a position are of different captures")
        reached, coming = {found.id}, [found]
        while coming:
            current = coming.pop()
            seen = (current.base or {}).get(LATEST)
            for other in placed:
                before = (
                    other.captured_ms <= current.captured_ms + CLOCK_MARGIN_MS
                    or other.clock_set
                    or current.clock_set
                    or other.device == current.device
                    or other.wish["set"][LATEST] == seen
                )
                if other.id not in reached and before:
                    reached.add(other.id)
                    coming.append(other)
        for other in placed:
            if other.taken and other.id not in reached:
                raise Violation(f"{key} stands where {found.id} put it, though {other.id} was captured later")

    def _judge_issues(self, issues: Mapping[tuple[str, str | None], list[Document]]) -> None:
        """Every value that lost is kept, once."""
        kept: dict[str, list[Document]] = defaultdict(list)
        for (mutation_id, path), found in issues.items():
            kept[mutation_id] += found
            if len(found) > 1:
                raise Violation(f"{mutation_id}: {len(found)} issues of {path}")
        for entered in self.mutations.values():
            found = kept.get(entered.id, [])
            if entered.status in ("REFUSED", "DEPENDENCY_FAILED") and entered.settles is None:
                self.judged["refusals kept"] += 1
                if len(found) != 1:
                    raise Violation(f"{entered.id} was {entered.status} and has {len(found)} issues")
                for name, value in (entered.wish.get("set") or {}).items():
                    if isinstance(value, str) and (found[0]["mine"] or {}).get(name) != value:
                        raise Violation(f"{entered.id}: its issue does not keep {name}")
            for write in entered.writes:
                if write.fate is Fate.KEPT:
                    self.judged["conflicts kept"] += 1
                    if not any(str(write.value) in str(issue["mine"]) for issue in found):
                        raise Violation(f"{write} lost, and no issue keeps it")

    def judge_audit(self, audits: Mapping[tuple[str, str, str, str], int]) -> None:
        """Nothing took effect oftener than it was entered. `audits`: (device, action, collection, id) → times."""
        allowed: Counter[tuple[str, str, str, str]] = Counter()
        for entered in self.mutations.values():
            if entered.may_be_taken:
                action = entered.action
                allowed[entered.device, action, entered.collection, entered.record_id] += 1
                if entered.settles is not None:
                    allowed[entered.device, "UPDATE", *entered.settles] += 1
        for what, times in audits.items():
            self.judged["effects"] += 1
            if (what[2], what[3]) in self.exempt or what[2] == "syncIssues":
                continue
            if what[1:3] == ("DELETE", "attachments"):
                # it goes with its record, by whoever deletes that, and again when it came back
                made = self._made((what[2], what[3]))
                holder = (made["collection"], made["recordId"])
                allowed[what] += 1 + sum(m.restores and m.may_be_taken for m in self.of_record.get(holder, ()))
            if times > allowed[what]:
                raise Violation(f"{what} took effect {times} times, and was entered {allowed[what]} times")


def _at(document: Document, path: str) -> Any:
    if not path.startswith("lines."):
        return document.get(path)
    _, line_id, _, sku = path.split(".")
    for line in document.get("lines") or []:
        if line["id"] == line_id:
            return (line["cells"] or {}).get(sku)
    return None


def _added(text: str | None, before: str | None) -> list[str]:
    shown = set((before or "").split("\n"))
    return [line for line in (text or "").split("\n") if line and line not in shown]
