"""Some photos and signatures for the demo company, by the same doors as any other: declared, sent, checked, kept."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import Clock
from backend.domain.attachments import JPEG, PNG, AttachedTo, AttachmentKind
from backend.domain.permissions import Role
from backend.errors import Refused
from backend.ids import new_id
from backend.integrations.drawings import drawn_signature, drawn_window
from backend.storage.engine import Engine
from backend.sync.changes import Change, Intent, Outcome, UseCase
from backend.sync.work import Work, in_work

PHOTOS, SIGNATURES = 8, 4
CAPTIONS = ("春季橱窗", "新款陈列", "쇼윈도 진열", "收银台旁货架")
RETRIES_MAX = 3

Send = Callable[[Principal, str, int, int, AsyncIterator[bytes]], Awaitable[object]]
"""`Files.send`."""


@dataclass(frozen=True, slots=True)
class _Hung:
    collection: AttachedTo
    record_id: str
    rep_id: str
    kind: AttachmentKind
    mime: str
    file_name: str
    data: bytes
    caption: str | None = None
    proof: bool = False


async def hang_demo_files(engine: Engine, change: UseCase, send: Send, *, clock: Clock) -> int:
    """Photos on the latest visits and signatures on the latest orders, each by its own rep; how many."""
    files = [*await _photos(engine), *await _signatures(engine)]
    for file in files:
        rep = Principal(PrincipalKind.STAFF, user_id=file.rep_id, role=Role.REP)
        attachment_id = new_id()
        wish = Change(attachment_id, Intent.CREATE, _fields(file))
        await in_work(engine, rep, _telling(change, wish), clock=clock, retries_max=RETRIES_MAX)
        # where there is no room for it, it stays declared, as on a phone without signal
        with suppress(Refused):
            await send(rep, attachment_id, 0, len(file.data), _once(file.data))
    return len(files)


def _telling(change: UseCase, wish: Change) -> Callable[[Work], Awaitable[list[Outcome]]]:
    return lambda work: change(work, [wish])


async def _photos(engine: Engine) -> Sequence[_Hung]:
    async with engine.read() as conn:
        rows = await conn.fetch(
            "SELECT v.id, v.rep_id FROM visit v JOIN user_account u ON u.id = v.rep_id"
            " WHERE v.state = 'COMPLETED' AND u.active AND u.role = 'REP' ORDER BY v.happens_at DESC, v.id LIMIT ?",
            PHOTOS,
        )
    return [
        _Hung(
            AttachedTo.visits, visit_id, rep_id, AttachmentKind.PHOTO, JPEG, f"IMG_{seed:04}.jpg", drawn_window(seed),
            CAPTIONS[seed % len(CAPTIONS)], proof=seed % 2 == 0,
        )
        for seed, (visit_id, rep_id) in enumerate(rows)
    ]  # fmt: skip


async def _signatures(engine: Engine) -> Sequence[_Hung]:
    async with engine.read() as conn:
        rows = await conn.fetch(
            "SELECT o.id, o.rep_id FROM sales_order o JOIN user_account u ON u.id = o.rep_id"
            " WHERE u.active AND u.role = 'REP' ORDER BY o.ordered_at DESC, o.id LIMIT ?",
            SIGNATURES,
        )
    return [
        _Hung(AttachedTo.orders, order_id, rep_id, AttachmentKind.SIGNATURE, PNG, "sign.png", drawn_signature(seed))
        for seed, (order_id, rep_id) in enumerate(rows)
    ]


def _fields(file: _Hung) -> dict[str, object]:
    return {
        "collection": file.collection.value,
        "recordId": file.record_id,
        "kind": file.kind.value,
        "fileName": file.file_name,
        "sha256": hashlib.sha256(file.data).hexdigest(),
        "sizeBytes": len(file.data),
        "mime": file.mime,
        "proof": file.proof,
        "caption": file.caption,
    }


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
