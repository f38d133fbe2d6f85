"""Devices, their users and what they do, told once for real HTTP and for the simulation.

A *step* is one small function with a weight: `@step(weight)` over `(world, device)`. It draws from the device's own
dice only, so what it does does not hang on how fast anything else is.
"""

import asyncio
import json
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from math import inf
from typing import Any, Protocol

from backend.domain.times import instant_text
from mobile_contract.replica import KIND_OF, Document, Key, Locked, Refusal, Replica
from tests.chaos.model import DELETION_WINS, MERGED_FIELDS, Entered, Ledger, Scope, Span, User, Violation

SIGN_IN_AGAIN = frozenset({"UNAUTHENTICATED", "TOKEN_EXPIRED", "DEVICE_REVOKED"})
LATER = frozenset({"BUSY", "RATE_LIMITED", "UNAVAILABLE"})
TRIES_MAX = 400
TRACE_MAX = 60
QUEUE_MAX = 60
DAY_MS = 86_400_000


class Lost(Exception):
    """No answer came; whether it was done nobody knows."""


class Line(Protocol):
    """A device's way to the servers. Every call raises `Lost` or `Refusal`."""

    async def sign_in(self, device: "Device") -> None: ...

    async def pull(self, device: "Device", request: Document) -> Document: ...

    async def push(self, device: "Device", mutations: list[Document], device_now: str) -> list[Document]: ...

    async def office(self, device: "Device", verb: str, variables: Document) -> Document:
        """Work done online: `move`, `grant`, `revoke` and what else the office does."""
        ...

    async def breathe(self) -> None:
        """Let time pass before the next try."""
        ...


@dataclass(eq=False)
class Device:
    """One installation of the app. `dice` outlive a reinstallation."""

    name: str
    user: User
    dice: random.Random
    now_ms: Callable[[], int]
    id: str = ""
    replica: Replica = field(default_factory=Replica)
    skew_ms: int = 0
    tried: int = 0
    token: str = ""
    busy: bool = False
    """somebody else's step is using it"""

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.dice.getrandbits(128), version=4))

    def fresh(self) -> None:
        """Installed anew: nothing of before is left, and it is another device."""
        self.id = self.new_id()
        self.token = ""
        self.replica = self.empty()

    def empty(self) -> Replica:
        return Replica(new_id=self.new_id, now_ms=self.now_ms)

    def restart(self) -> None:
        """The process was killed: what its last local transaction left on the disk comes back."""
        self.replica = loaded(saved(self.replica), self.empty())

    def base(self, key: Key) -> Document | None:
        """What the server said last of a record, whether by a pull or by an answer."""
        replica = self.replica
        if key in replica.answered and replica.answered[key][0] > replica.seqs.get(key, -1):
            return replica.answered[key][1]
        return replica.documents.get(key)

    def seen(self, collection: str, record_id: str) -> Document | None:
        """A record as the user sees it; nothing while the lease is over."""
        try:
            return self.replica.view(collection, record_id)
        except Locked:
            return None

    def known(self, collection: str) -> list[str]:
        """Ids the user has on his screen, his own unsent ones too."""
        found = dict.fromkeys(i for c, i in [*self.replica.documents, *self.replica.answered] if c == collection)
        kind = KIND_OF.get(collection)
        for mutation in self.replica.queue:
            if kind in mutation["change"]:
                found[mutation["change"][kind]["id"]] = None
        return list(found)


def saved(replica: Replica) -> bytes:
    """A replica as a device writes it down, field by field."""
    kept = {}
    for one in fields(replica):
        value = getattr(replica, one.name)
        if isinstance(value, dict):
            value = [[key, entry] for key, entry in value.items()]
        elif isinstance(value, set | frozenset):
            value = sorted(value)
        if not callable(value):
            kept[one.name] = value
    return json.dumps(kept).encode()


def loaded(written: bytes, fresh: Replica) -> Replica:
    """What `saved` wrote, in a replica just made."""
    for name, value in json.loads(written).items():
        empty = getattr(fresh, name)
        if isinstance(empty, dict):
            value = {_key(key): tuple(entry) if name == "answered" else entry for key, entry in value}
        elif isinstance(empty, set | frozenset):
            value = type(empty)(_key(key) for key in value)
        setattr(fresh, name, value)
    return fresh


def _key(written: Any) -> Any:
    return tuple(written) if isinstance(written, list) else written


@dataclass
class Shelf:
    """Articles an order may name."""

    style: str
    colour: str
    skus: tuple[str, ...]


@dataclass(eq=False)
class World:
    """The organisation of one episode. `now` is the judge's watch, `wall_ms` the time devices see."""

    seed: int
    line: Line
    scope: Scope
    devices: list[Device]
    shelf: Shelf
    now: Callable[[], float]
    wall_ms: Callable[[], int]
    ledger: Ledger = field(default_factory=Ledger)
    counts: Counter[str] = field(default_factory=Counter)
    words: int = 0
    at_step: int = 0
    violation: Violation | None = None
    trace: list[str] = field(default_factory=list)
    moving: set[str] = field(default_factory=set)
    merges: list[tuple[str, str, str]] = field(default_factory=list)
    """(merge, survivor, merged) of what was merged and may be taken back"""
    seating: set[tuple[str, str]] = field(default_factory=set)
    pulled: int = 0
    pushed: int = 0

    def word(self) -> str:
        self.words += 1
        return f"w{self.words}"

    def number(self) -> int:
        self.words += 1
        return self.words

    def note(self, text: str) -> None:
        self.trace.append(f"{self.at_step}: {text}")

    def accuse(self, violation: Violation) -> None:
        """Keep the first; whoever runs the world raises it with the seed."""
        if self.violation is None:
            self.violation = violation

    def told(self) -> Violation:
        """The violation with what is needed to see it again."""
        trace = "\n  ".join(self.trace[-TRACE_MAX:])
        return Violation(f"seed {self.seed}, step {self.at_step}: {self.violation}\n  {trace}")

    # -- what devices enter ---------------------------------------------------------------------------------

    def enter(self, device: Device, collection: str, record_id: str, fields: Document | None, group: str | None = None,
              *, back: bool = False) -> None:  # fmt: skip
        """Create, change or (without fields) delete or bring back, offline."""
        replica, key = device.replica, (collection, record_id)
        if len(replica.queue) >= QUEUE_MAX:
            return
        base, wall = device.base(key), self.wall_ms()
        more = {"group": group, "capturedAt": instant_text(wall + device.skew_ms)}
        if back:
            mutation_id = replica.restore(collection, record_id, **more)
        elif fields is None:
            mutation_id = replica.delete(collection, record_id, **more)
        else:
            mutation_id = replica.edit(collection, record_id, fields, **more)
        ((_, wish),) = replica.queue[-1]["change"].items()
        entered = Entered(mutation_id, device.id, device.user.id, collection, record_id, wish, base, wall, group)
        entered.at, entered.skew_ms = self.now(), device.skew_ms
        self.ledger.enter(entered)
        self.scope.issue_owner[mutation_id] = device.user.id
        self.scope.writers[key].add(device.user.id)
        self.counts["entered"] += 1
        deed = "brings back" if back else "deletes" if fields is None else "enters"
        self.note(f"{device.name} {deed} {collection} {record_id[:8]} "
                  f"base {wish.get('baseRev')} {fields or ''}")  # fmt: skip

    # -- what devices send ----------------------------------------------------------------------------------

    async def call(self, device: Device, ask: Callable[[], Awaitable[Any]]) -> Any:
        """One try, signing in first where that is asked for."""
        try:
            if not device.token:
                await self.line.sign_in(device)
            return await ask()
        except Refusal as refusal:
            if refusal.code in SIGN_IN_AGAIN:
                device.token = ""
                raise Lost(refusal.code) from None
            if refusal.code in LATER:
                raise Lost(refusal.code) from None
            raise

    async def insist(self, device: Device, ask: Callable[[], Awaitable[Document]]) -> Document | None:
        """Try until an answer comes: the answer, or None for a refusal, which does not say that it was not done: the
        same bytes may have been heard before."""
        for _ in range(TRIES_MAX):
            try:
                return await self.call(device, ask)  # type: ignore[no-any-return]
            except Refusal as refusal:
                self.note(f"{device.name} was refused: {refusal.code}")
                return None
            except Lost:
                await self.line.breathe()
        raise Violation(f"{device.name}: no answer in {TRIES_MAX} tries")

    def sending(self, device: Device, batch: list[Document]) -> None:
        """From now on these may have taken effect."""
        for mutation in batch:
            entered = self.ledger.mutations[mutation["id"]]
            entered.clock_set |= entered.skew_ms != device.skew_ms
            if entered.sent:
                continue
            entered.sent, entered.since = True, self.now()
            fields = entered.wish.get("set") or {}
            if entered.creates:
                self.scope.may_exist(entered.collection, entered.record_id, fields, device.user.id, self.now())
            elif entered.collection == "tasks" and fields.get("assigneeId"):
                self.scope.assigned(entered.record_id, fields["assigneeId"], self.now())

    async def push(self, device: Device, *, heard: bool = True) -> None:
        batch = device.replica.next_push(device.dice.choice((1, 3, 10, 50)))
        if not batch:
            return
        self.sending(device, batch)
        now = instant_text(self.wall_ms() + device.skew_ms)
        answers = await self.call(device, lambda: self.line.push(device, batch, now))
        self.pushed += 1
        self.note(f"{device.name} pushed {[(m['clientSeq'], a['status']) for m, a in zip(batch, answers, strict=True)]}"
                  f"{'' if heard else ' and died'}")  # fmt: skip
        if heard:
            device.replica.take_answers(answers)

    async def pull(self, device: Device, *, heard: bool = True) -> bool:
        """One page; true when it was the last."""
        replica = device.replica
        replica.limit = device.dice.choice((1, 2, 3, 5, 7, 20, 100, 500))
        request = replica.pull_request()
        try:
            page = await self.call(device, lambda: self.line.pull(device, request))
        except Refusal as refusal:
            if refusal.code not in ("CURSOR_EXPIRED", "CURSOR_INVALID") or request["cursor"] is None:
                raise
            self.note(f"{device.name} expired")
            self.counts["expired"] += 1
            replica.expire()
            return False
        self.pulled += 1
        if not heard:
            return False
        if not replica.apply(request, page):
            raise Violation(f"{device.name} could not apply a page it asked for")
        self.note(f"{device.name} pulled {sum(len(b['rows']) for b in page['blocks'])} rows"
                  f"{' and is complete' if page['complete'] else ''}")  # fmt: skip
        if page["complete"] and replica.refetch:
            raise Violation(f"{device.name}: checksums differ though nothing was damaged: {replica.refetch}")
        return bool(page["complete"])

    async def sync(self, device: Device) -> None:
        for _ in range(30):
            if not device.replica.queue:
                break
            await self.push(device)
        for _ in range(40):
            if await self.pull(device):
                return

    # -- what is seen of every answer -----------------------------------------------------------------------

    def see_pull(self, user: User, page: Document, since: float, until: float) -> None:
        """Nothing in a page may name what its reader could not see."""
        scope = self.scope
        for block in page["blocks"]:
            for row in block["rows"]:
                document = row["document"]
                scope.learned(block["collection"], document)
                if not scope.visible(user.id, block["collection"], document["id"], since, until, document):
                    known = scope.explained(user.id, block["collection"], document["id"], document)
                    raise Violation(
                        f"{user.name} was sent {block['collection']} {document['id']} of {block['scope']}"
                        f" and may not see it: {known}"
                    )
            for record_id in block["left"]:
                entered = (block["collection"], record_id) in scope.authors
                if entered and not scope.visible(user.id, block["collection"], record_id, -inf, until, None):
                    raise Violation(f"{user.name} was told that {block['collection']} {record_id} left,"
                                    " and never could see it")  # fmt: skip
        for name in page["scopesRemoved"]:
            kind, _, node = name.partition(":")
            if (
                kind == "territory"
                and user.role != "ADMIN"
                and not any(span.value == node for span in scope.held[user.id])
            ):
                raise Violation(f"{user.name} was told of the loss of {name}, which he never held")

    def see_push(self, user: User, answers: list[Document], since: float, until: float) -> None:
        scope = self.scope
        for answer in answers:
            self.ledger.answered(answer, until)
            entered = self.ledger.mutations[answer["id"]]
            for row in answer["records"]:
                document = row["document"]
                scope.learned(row["collection"], document)
                if not scope.visible(user.id, row["collection"], document["id"], since, until, document):
                    raise Violation(f"{user.name} was answered with {row['collection']} {document['id']},"
                                    " and may not see it")  # fmt: skip
            if entered.taken and answer["status"] != "ALREADY_HANDLED":
                self._check_author(user, entered, until)

    def _check_author(self, user: User, entered: Entered, until: float) -> None:
        """What was taken was about a record its author could see since he entered it."""
        if entered.collection == "syncIssues":
            return
        named = [(entered.collection, entered.record_id)]
        since = -inf if entered.clock_set else entered.at
        fields = entered.wish.get("set") or {}
        if entered.creates:
            named = [("customers", fields["customerId"])] if fields.get("customerId") else []
            if entered.collection == "attachments":
                named = [(fields["collection"], fields["recordId"])]
            if entered.collection == "customers" and user.role == "REP":
                spans = [s for s in self.scope.held[user.id] if s.value == fields.get("territoryId")]
                if not any(span.since <= until and span.until >= since for span in spans):
                    raise Violation(f"{user.name} made a customer where he held nothing: {entered.wish}")
        for collection, record_id in named:
            if not self.scope.visible(user.id, collection, record_id, since, until, None):
                known = self.scope.explained(user.id, collection, record_id, None)
                raise Violation(
                    f"{user.name} wrote to {collection} {record_id} and could not see it: {entered.wish}"
                    f" entered at {entered.at}, {known}, given to {self.scope.assignees[record_id]}"
                )

    # -- playing --------------------------------------------------------------------------------------------

    async def play(self, device: Device, chosen: "Step") -> None:
        """One step; what no answer came to is simply not done."""
        self.counts[chosen.__name__] += 1
        try:
            done = chosen(self, device)
            if done is not None:
                await done
        except Lost as lost:
            self.note(f"{device.name} {chosen.__name__}: no answer ({lost})")
            self.counts["unanswered"] += 1
        except Violation as violation:
            self.accuse(violation)

    def choose(self, dice: random.Random, device: Device) -> "Step":
        steps = STEPS_OF[device.user.role]
        return dice.choices(list(steps), list(steps.values()))[0]

    async def settle(self, *, rounds_max: int = 400) -> None:
        """After healing: every queue empties and every device is complete."""
        for device in self.devices:
            for _ in range(rounds_max):
                try:
                    await self.sync(device)
                except Lost:
                    await self.line.breathe()
                    continue
                if not device.replica.queue:
                    break
            else:
                raise Violation(f"{device.name} does not get its queue through: {device.replica.queue[:2]}")
        for device in self.devices:
            for _ in range(rounds_max):
                try:
                    if await self.pull(device):
                        break
                except Lost:
                    await self.line.breathe()
            else:
                raise Violation(f"{device.name} pulls without end")


Step = Callable[[World, Device], Awaitable[None] | None]
STEPS_OF: dict[str, dict[Step, int]] = defaultdict(dict)


def step(**weights: int) -> Callable[[Step], Step]:
    """A step that users of these roles take, as often as the weights say."""

    def known(function: Step) -> Step:
        for role, weight in weights.items():
            STEPS_OF[role.upper()][function] = weight
        return function

    return known


# -- entering --------------------------------------------------------------------------------------------------------


def held_patches(world: World, device: Device) -> list[str]:
    """The patches the device knows of: where it has customers, else those its user was told of by word of mouth."""
    seen = dict.fromkeys(
        place[2].partition(":")[2] for place in sorted(device.replica.places) if place[2].startswith("territory:")
    )
    return list(seen) or world.scope.held_patches(device.user.id)


def some_customer(world: World, device: Device) -> str | None:
    known = device.known("customers")
    return device.dice.choice(known) if known else None


def customer_fields(world: World, device: Device, patch: str) -> Document:
    fields = {"nameEn": world.word(), "kind": "RETAILER", "territoryId": patch, "city": world.word()}
    heads = [c for c in device.known("customers") if not (device.base(("customers", c)) or {}).get("parentId")]
    if heads and device.dice.random() < 0.4:
        fields["parentId"] = device.dice.choice(heads)
    return fields


@step(rep=8, admin=2)
def make_customer(world: World, device: Device) -> None:
    if patches := held_patches(world, device):
        patch = device.dice.choice(patches)
        world.enter(device, "customers", device.new_id(), customer_fields(world, device, patch))


@step(rep=5, admin=1)
def make_contact(world: World, device: Device) -> None:
    customer = some_customer(world, device)
    if customer is None:
        return
    contact, group = device.new_id(), device.dice.choice((None, device.new_id()))
    world.enter(device, "contacts", contact, {"nameEn": world.word()}, group)
    if device.dice.random() < 0.8:
        fields = {"customerId": customer, "contactId": contact, "role": "BUYER"}
        world.enter(device, "customerContacts", device.new_id(), fields, group)


@step(rep=3)
def link_contact(world: World, device: Device) -> None:
    contacts, customer = device.known("contacts"), some_customer(world, device)
    if contacts and customer:
        fields = {"customerId": customer, "contactId": device.dice.choice(contacts), "role": "OWNER"}
        world.enter(device, "customerContacts", device.new_id(), fields)


@step(rep=6)
def make_visit(world: World, device: Device) -> None:
    if customer := some_customer(world, device):
        at = instant_text(world.wall_ms())
        begun = {"checkInAt": at} if device.dice.random() < 0.2 else {"plannedAt": at}
        fields = {"customerId": customer, "nextStep": world.word(), **begun}
        world.enter(device, "visits", device.new_id(), fields)


def order_fields(world: World, device: Device, customer: str) -> Document:
    cells = {sku: world.number() for sku in world.shelf.skus if device.dice.random() < 0.7}
    line = {
        "id": device.new_id(),
        "styleId": world.shelf.style,
        "colourId": world.shelf.colour,
        "unitPriceMinor": 100,
        "cells": cells or {world.shelf.skus[0]: world.number()},
    }
    return {"customerId": customer, "currency": "CNY", "poNumber": world.word(), "lines": [line]}


@step(rep=6)
def make_order(world: World, device: Device) -> None:
    if customer := some_customer(world, device):
        world.enter(device, "orders", device.new_id(), order_fields(world, device, customer))


@step(rep=4, manager=4, admin=1)
def make_task(world: World, device: Device) -> None:
    customer = some_customer(world, device) if device.dice.random() < 0.7 else None
    fields: Document = {"title": world.word()}
    if customer:
        fields["customerId"] = customer
    if device.user.role != "REP" and device.dice.random() < 0.7:
        fields["assigneeId"] = device.dice.choice(reps(world))
    world.enter(device, "tasks", device.new_id(), fields)


def reps(world: World) -> list[str]:
    return [user.id for user in world.scope.users.values() if user.role == "REP"]


@step(rep=4)
def take_a_photo(world: World, device: Device) -> None:
    """Declared offline on a record of any kind; its bytes come later, by another door."""
    collection = device.dice.choice(("customers", "contacts", "visits", "orders", "tasks"))
    if known := device.known(collection):
        fields = {
            "collection": collection,
            "recordId": device.dice.choice(known),
            "kind": "PHOTO",
            "fileName": "photo.jpg",
            "sha256": f"{device.dice.getrandbits(256):064x}",
            "sizeBytes": device.dice.randint(1_000, 2_000_000),
            "mime": "image/jpeg",
            "caption": world.word(),
        }
        world.enter(device, "attachments", device.new_id(), fields)


@step(rep=2, admin=1)
def caption_a_photo(world: World, device: Device) -> None:
    if known := device.known("attachments"):
        world.enter(device, "attachments", device.dice.choice(known), {"caption": world.word()})


@step(rep=4)
def make_a_day(world: World, device: Device) -> None:
    """A new shop with its visit and its order, which stand or fall together."""
    if patches := held_patches(world, device):
        group, customer = device.new_id(), device.new_id()
        fields = customer_fields(world, device, device.dice.choice(patches))
        world.enter(device, "customers", customer, fields, group)
        at = instant_text(world.wall_ms())
        visit = {"customerId": customer, "checkInAt": at, "nextStep": world.word()}
        world.enter(device, "visits", device.new_id(), visit, group)
        world.enter(device, "orders", device.new_id(), order_fields(world, device, customer), group)


def some_fields(world: World, device: Device, collection: str, seen: Document) -> Document:
    """New values for a few fields, by every kind of merge."""
    dice = device.dice
    names = MERGED_FIELDS[collection]
    fields: Document = {name: world.word() for name in names if dice.random() < 1.3 / len(names)}
    if dice.random() < 0.3:
        fields["notes"] = "\n".join([*([seen["notes"]] if seen.get("notes") else []), world.word()])
    if collection == "customers" and dice.random() < 0.3:
        fields["tags"] = [*(seen.get("tags") or []), world.word()][-45:]
    if collection == "customers" and dice.random() < 0.2:
        fields["latE7"], fields["lonE7"] = (at := world.number()), at * 2
    return fields


@step(rep=22, manager=8, admin=6)
def edit_something(world: World, device: Device) -> None:
    role = device.user.role
    collections = ["customers", "customers", "contacts", "visits", "tasks"]
    collection = device.dice.choice([*collections, "orders"] if role == "REP" else collections)
    if role == "MANAGER" and collection == "visits":
        collection = "customers"
    if known := device.known(collection):
        chosen = device.dice.choice(known)
        seen = device.seen(collection, chosen)
        if seen is not None and (fields := some_fields(world, device, collection, seen)):
            world.enter(device, collection, chosen, fields)


@step(rep=6)
def edit_cells(world: World, device: Device) -> None:
    """Other quantities in an order, now and then one taken away or a line more."""
    dice = device.dice
    drafts = [
        (order, seen)
        for order in device.known("orders")
        if (seen := device.seen("orders", order)) and seen.get("state", "DRAFT") == "DRAFT" and seen.get("lines")
    ]
    if not drafts:
        return
    order, seen = dice.choice(drafts)
    line = dice.choice(seen["lines"])
    if dice.random() < 0.15:
        fields = {"lines": order_fields(world, device, "")["lines"]}
    else:
        quantity = 0 if dice.random() < 0.1 and len(line["cells"]) > 1 else world.number()
        fields = {"lines": [{"id": line["id"], "cells": {dice.choice(sorted(line["cells"])): quantity}}]}
    world.enter(device, "orders", order, fields)


@step(rep=6)
def go_on_with_a_visit(world: World, device: Device) -> None:
    found = [
        (visit, seen["state"] if "state" in seen else "CHECKED_IN" if seen.get("checkInAt") else "PLANNED")
        for visit in device.known("visits")
        if (seen := device.seen("visits", visit))
    ]
    at = instant_text(world.wall_ms())
    done = {"state": "COMPLETED", "checkOutAt": at, "outcome": "NO_ORDER"}
    going = [(visit, state) for visit, state in found if state in ("PLANNED", "CHECKED_IN")]
    if not going:
        return
    visit, state = device.dice.choice(going)
    if state == "PLANNED":
        fields = device.dice.choice(
            ({"state": "CHECKED_IN", "checkInAt": at}, {**done, "checkInAt": at}, {"state": "CANCELLED"})
        )
    else:
        fields = done
    world.enter(device, "visits", visit, dict(fields))


@step(rep=3)
def submit_an_order(world: World, device: Device) -> None:
    drafts = [
        order
        for order in device.known("orders")
        if (seen := device.seen("orders", order)) and seen.get("state", "DRAFT") == "DRAFT"
    ]
    if drafts:
        world.enter(device, "orders", device.dice.choice(drafts), {"state": "SUBMITTED"})


@step(manager=5)
def decide_on_an_order(world: World, device: Device) -> None:
    waiting = [o for o in device.known("orders") if (device.base(("orders", o)) or {}).get("state") == "SUBMITTED"]
    if waiting:
        fields = device.dice.choice(({"state": "CONFIRMED"}, {"state": "REJECTED", "rejectReason": world.word()}))
        world.enter(device, "orders", device.dice.choice(waiting), dict(fields))


@step(rep=3, manager=3)
def settle_a_task(world: World, device: Device) -> None:
    if known := device.known("tasks"):
        world.enter(device, "tasks", device.dice.choice(known), {"state": device.dice.choice(("DONE", "CANCELLED"))})


@step(manager=3)
def give_a_task(world: World, device: Device) -> None:
    if known := device.known("tasks"):
        chosen = device.dice.choice(known)
        world.enter(device, "tasks", chosen, {"assigneeId": device.dice.choice(reps(world))})


@step(admin=14)
def delete_something(world: World, device: Device) -> None:
    collection = device.dice.choice((*sorted(MERGED_FIELDS), *sorted(DELETION_WINS)))
    if known := device.known(collection):
        world.enter(device, collection, device.dice.choice(known), None)


def some_deleted(world: World, device: Device) -> Key | None:
    """One that somebody deleted, whether he who remembers it may see it or not."""
    deleted = [key for key, entered in world.ledger.of_record.items() if any(m.deletes and m.sent for m in entered)]
    return device.dice.choice(deleted) if deleted else None


@step(rep=3, manager=2, admin=3)
def bring_something_back(world: World, device: Device) -> None:
    if found := some_deleted(world, device):
        world.enter(device, *found, None, back=True)


@step(rep=2)
def trespass(world: World, device: Device) -> None:
    """An app gone wrong, or a bad one: it writes to a record it was never shown."""
    known = {*device.replica.documents, *device.replica.answered}
    foreign = [
        key for key in world.scope.customer_of if key not in known and key[0] in ("customers", "visits", "orders")
    ]
    if not foreign:
        return
    collection, record_id = device.dice.choice(foreign)
    device.replica.seqs[collection, record_id] = 0
    world.enter(device, collection, record_id, {MERGED_FIELDS[collection][0]: world.word()})
    del device.replica.seqs[collection, record_id]


# -- the way to the server -------------------------------------------------------------------------------------------


@step(rep=20, manager=12, admin=12)
async def push(world: World, device: Device) -> None:
    await world.push(device)


@step(rep=22, manager=14, admin=6)
async def pull(world: World, device: Device) -> None:
    await world.pull(device)


@step(rep=10, manager=8, admin=5)
async def sync(world: World, device: Device) -> None:
    await world.sync(device)


@step(rep=3, manager=1)
async def die_pushing(world: World, device: Device) -> None:
    """Killed between the server's answer and the local transaction that takes it."""
    try:
        await world.push(device, heard=False)
    finally:
        device.restart()


@step(rep=3, manager=1)
async def die_pulling(world: World, device: Device) -> None:
    try:
        await world.pull(device, heard=False)
    finally:
        device.restart()


@step(rep=1)
async def reinstall(world: World, device: Device) -> None:
    """The app is deleted and installed again; what could not be sent before is lost by its owner's own hand."""
    for _ in range(3):
        if device.replica.queue:
            await world.push(device)
    for mutation in device.replica.queue:
        world.ledger.discard(mutation["id"])
        world.counts["discarded"] += 1
    world.note(f"{device.name} is installed anew, {len(device.replica.queue)} discarded")
    device.fresh()


@step(rep=3)
def settle_an_issue(world: World, device: Device) -> None:
    """Let the other's value stand, or say a third one."""
    replica = device.replica
    found = [
        (issue, document)
        for (collection, issue), document in replica.documents.items()
        if collection == "syncIssues"
        and document.get("state") == "OPEN"
        and document.get("field") in MERGED_FIELDS.get(document["collection"], ())
        and (document["collection"], document["recordId"]) in replica.documents
    ]
    if not found or len(replica.queue) >= QUEUE_MAX:
        return
    issue, document = device.dice.choice(found)
    key, value = (document["collection"], document["recordId"]), world.word()
    ways = [way for way in document["waysOut"] if way in ("KEEP_THEIRS", "CUSTOM")]
    if not ways:
        return
    choice = device.dice.choice(ways)
    mutation_id = replica.resolve(issue, choice, **({"value": value} if choice == "CUSTOM" else {}))
    ((_, wish),) = replica.queue[-1]["change"].items()
    entered = Entered(mutation_id, device.id, device.user.id, "syncIssues", issue, wish, None, world.wall_ms(), None)
    entered.at, entered.skew_ms = world.now(), device.skew_ms
    world.ledger.decide(entered, key, document["field"], value, device.base(key) or {})
    world.scope.issue_owner[mutation_id] = device.user.id
    world.counts["entered"] += 1
    world.note(f"{device.name} settles an issue of {key[0]} {key[1][:8]} {document['field']}: {choice}")


@step(rep=2, manager=1)
def set_the_clock(world: World, device: Device) -> None:
    device.skew_ms = device.dice.randint(-2 * 3_600_000, 2 * 3_600_000)


# -- the office ------------------------------------------------------------------------------------------------------


async def move(world: World, device: Device, customers: list[str], patch: str) -> None:
    """Customers go to another patch; until it is acknowledged they may stand in either."""
    customers = [c for c in customers if c not in world.moving]
    if not customers:
        return
    began, scope = world.now(), world.scope
    before = {c: [s for s in scope.territory[c] if s.until == inf] for c in customers}
    for customer in customers:
        scope.territory[customer].append(Span(patch, began))
    world.moving.update(customers)
    moves = [{"customerId": customer, "territoryId": patch} for customer in customers]
    try:
        if await world.insist(device, lambda: world.line.office(device, "move", {"moves": moves})):
            for span in [span for spans in before.values() for span in spans]:
                span.until = world.now()
            world.note(f"{device.name} moved {[c[:8] for c in customers]} to {patch[:8]}")
    finally:
        world.moving.difference_update(customers)


@step(manager=5, admin=8)
async def move_customers(world: World, device: Device) -> None:
    patches = world.scope.held_patches(device.user.id)
    known = [c for c in device.known("customers") if ("customers", c) in device.replica.documents]
    if known and patches:
        chosen = device.dice.sample(known, min(len(known), device.dice.choice((1, 1, 2, 6))))
        await move(world, device, chosen, device.dice.choice(patches))


@step(admin=6)
async def move_doors_at_once(world: World, device: Device) -> None:
    """Two doors of one chain go different ways at the same time: its head must follow both."""
    chains: dict[str, list[str]] = {}
    for (collection, record_id), document in device.replica.documents.items():
        if collection == "customers" and document.get("parentId"):
            chains.setdefault(document["parentId"], []).append(record_id)
    chosen = [doors for doors in chains.values() if len(doors) > 1]
    if chosen:
        first, second = device.dice.sample(device.dice.choice(chosen), 2)
        one, other = device.dice.sample(world.scope.held_patches(device.user.id), 2)
        await asyncio.gather(move(world, device, [first], one), move(world, device, [second], other))


@step(manager=2, admin=2)
async def merge_customers(world: World, device: Device) -> None:
    """Two customers become one. Who is offline knows the old id, and what he enters lands on the survivor."""
    patches = world.scope.held_patches(device.user.id)
    known = [
        c
        for c in device.known("customers")
        if (device.base(("customers", c)) or {}).get("territoryId") in patches and c not in world.moving
    ]
    if len(known) < 6:
        return
    survivor, merged = device.dice.sample(known, 2)
    world.scope.merging(survivor, merged)
    world.ledger.merged(survivor, merged)
    world.moving.update((survivor, merged))
    try:
        variables = {"survivorId": survivor, "mergedIds": [merged]}
        if answer := await world.insist(device, lambda: world.line.office(device, "merge", variables)):
            world.merges.append((answer["mergeIds"][0], survivor, merged))
            world.note(f"{device.name} merged {merged[:8]} into {survivor[:8]}")
    finally:
        world.moving.difference_update((survivor, merged))


@step(manager=1, admin=1)
async def undo_a_merge(world: World, device: Device) -> None:
    if not world.merges:
        return
    merge, survivor, merged = world.merges.pop(device.dice.randrange(len(world.merges)))
    world.moving.update((survivor, merged))
    try:
        await world.insist(device, lambda: world.line.office(device, "undo", {"id": merge}))
        world.note(f"{device.name} took the merge of {merged[:8]} into {survivor[:8]} back")
    finally:
        world.moving.difference_update((survivor, merged))


@step(rep=1, manager=1, admin=2)
async def bring_something_back_online(world: World, device: Device) -> None:
    """A colleague at a desk, while phones go on with what they know of it."""
    found = some_deleted(world, device)
    if found is None:
        return
    collection, record_id = found
    wish = {"id": record_id, "restore": True}
    entered = Entered(
        device.new_id(), device.id, device.user.id, collection, record_id, wish, None, world.wall_ms(), None
    )
    entered.at = entered.since = world.now()
    entered.sent = entered.online = True
    world.ledger.enter(entered)
    kind = KIND_OF[collection]
    if await world.insist(
        device, lambda: world.line.office(device, f"restore{kind[0].upper()}{kind[1:]}", {"id": record_id})
    ):
        entered.status = "APPLIED"
        world.note(f"{device.name} brought {collection} {record_id[:8]} back online")
    entered.until = world.now()


async def seat(world: World, device: Device, verb: str, user_id: str, node: str) -> None:
    if (user_id, node) in world.seating:
        return
    world.seating.add((user_id, node))
    scope = world.scope
    ending = scope.unseat(user_id, node) if verb == "revoke" else []
    if verb == "grant" and not scope.holds(user_id, node):
        scope.seat(user_id, node, world.now())
    try:
        variables = {"userId": user_id, "territoryId": node}
        if not await world.insist(device, lambda: world.line.office(device, verb, variables)):
            raise Violation(f"{device.name} may not {verb}")
        for span in ending:
            span.until = world.now()
        world.note(f"{device.name}: {verb} {scope.users[user_id].name} {node[:8]}")
    finally:
        world.seating.discard((user_id, node))


def some_seat(world: World, device: Device) -> tuple[str, str]:
    nodes = world.scope.patches_below
    if device.dice.random() < 0.12:
        managers = [user.id for user in world.scope.users.values() if user.role == "MANAGER"]
        return device.dice.choice(managers), device.dice.choice([n for n, below in nodes.items() if len(below) == 2])
    return device.dice.choice(reps(world)), device.dice.choice([n for n, below in nodes.items() if len(below) == 1])


@step(admin=7)
async def grant(world: World, device: Device) -> None:
    await seat(world, device, "grant", *some_seat(world, device))


@step(admin=5)
async def revoke(world: World, device: Device) -> None:
    await seat(world, device, "revoke", *some_seat(world, device))


@step(admin=3)
async def revoke_and_grant_again(world: World, device: Device) -> None:
    chosen = some_seat(world, device)
    await seat(world, device, "revoke", *chosen)
    await seat(world, device, "grant", *chosen)


@step(admin=12)
async def gone_and_back(world: World, device: Device) -> None:
    """Deleted by mistake and brought back, while somebody who knows of neither is writing to it."""
    shared = [
        (other, key)
        for other in world.devices
        if other.user.role == "REP" and not other.busy
        for key in device.replica.documents
        if key in other.replica.documents and key[0] in ("visits", "tasks")
    ]
    if not shared:
        return
    other, (collection, record_id) = device.dice.choice(shared)
    world.enter(other, collection, record_id, {MERGED_FIELDS[collection][0]: world.word()})
    for back in (False, True):
        world.enter(device, collection, record_id, None, back=back)
        await world.push(device)


@step(rep=3)
async def collide(world: World, device: Device) -> None:
    """Two people change the same field of the same record, and send it at the same moment."""
    others = [d for d in world.devices if d is not device and not d.busy]
    shared = [
        (other, key)
        for other in others
        for key in device.replica.documents
        if key in other.replica.documents and key[0] == "customers"
    ]
    if not shared:
        return
    other, (collection, record_id) = device.dice.choice(shared)
    other.busy = True
    try:
        for one in (device, other):
            world.enter(one, collection, record_id, {"district": world.word()})
        done = await asyncio.gather(world.push(device), world.push(other), return_exceptions=True)
    finally:
        other.busy = False
    for outcome in done:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Lost):
            raise outcome
