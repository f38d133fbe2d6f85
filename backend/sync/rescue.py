"""Rescue files: unsent work of a device that can no longer send it, opened and played through the same use cases.

A file is encrypted on the device for the server's own key (`mobile_contract/rescue.py` is the reference writer), so
whoever finds it reads nothing, and nobody but a device that knew the server could have been meant by it. It says
whose work it is; it does not prove it: an operator who plays a file decides that it is what it says.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backend.auth.keys import RESCUE_CURVE, RescueKeys
from backend.auth.principal import Principal, PrincipalKind, Role
from backend.clock import Clock
from backend.domain.times import parse_instant
from backend.errors import Code, Problem, Refused
from backend.ids import is_id
from backend.storage.engine import Connection, Engine
from backend.sync.forms import read_mutation
from backend.sync.push import Answer, Mutation, UseCaseTable, push
from backend.sync.work import Door, Work, in_work

FORMAT = "selvedge-rescue-1"
KEY_BYTES = 32
IV_BYTES = 12


@dataclass(frozen=True, slots=True)
class Rescue:
    """What a file holds: whose work, from when by the device's clock, and its queue as it was to be sent."""

    user_id: str
    device_id: str
    made_at_ms: int
    queue: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose work it is, as the database has him now; `state` is the device's."""

    user_id: str
    device_id: str
    name: str
    email: str
    role: Role
    locale: str
    active: bool
    device_name: str
    state: str
    last_client_seq: int


class _DryRun(Exception):
    """Takes everything back, with what would have been answered."""

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__()
        self.answers = answers


def open_rescue(data: bytes, keys: RescueKeys, *, bytes_max: int, mutations_max: int) -> Rescue:
    """What a rescue file holds.

    Raises TOO_LARGE, RESCUE_DAMAGED for what is no whole file, RESCUE_KEY_UNKNOWN for one made for another server or
    for a key that is gone, TOO_MANY.
    """
    if len(data) > bytes_max:
        raise Refused(Problem(Code.TOO_LARGE, ("file",), (str(bytes_max),)))
    found = _object(data)
    kid, point, iv, sealed = found.get("kid"), _bytes(found, "key"), _bytes(found, "iv"), _bytes(found, "sealed")
    if found.get("format") != FORMAT or not isinstance(kid, str) or len(iv) != IV_BYTES:
        raise _damaged("format")
    private = keys.private.get(kid)
    if private is None:
        raise Refused(Problem(Code.RESCUE_KEY_UNKNOWN, ("kid",), tuple(sorted(keys.private))))
    try:
        agreed = private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(RESCUE_CURVE, point))
        secret = HKDF(hashes.SHA256(), KEY_BYTES, salt=point, info=f"{FORMAT}.{kid}".encode()).derive(agreed)
        plain = AESGCM(secret).decrypt(iv, sealed, f"{FORMAT}.{kid}.{found['key']}".encode())
    except (ValueError, InvalidTag):
        raise _damaged("sealed") from None
    content = _object(plain)
    queue = content.get("queue")
    if not (is_id(content.get("user")) and is_id(content.get("device")) and isinstance(queue, list)):
        raise _damaged("sealed")
    if len(queue) > mutations_max:
        raise Refused(Problem(Code.TOO_MANY, ("queue",), (str(mutations_max),)))
    try:
        made_at_ms = parse_instant(str(content.get("madeAt")))
    except Refused:
        raise _damaged("madeAt") from None
    return Rescue(content["user"], content["device"], made_at_ms, tuple(queue))


def _object(data: bytes) -> dict[str, Any]:
    try:
        # the standard library reads halves of surrogate pairs, which a device may have escaped
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise _damaged("format") from None
    if not isinstance(found, dict):
        raise _damaged("format")
    return found


def _bytes(found: Mapping[str, Any], name: str) -> bytes:
    text = found.get(name)
    if not isinstance(text, str) or not text.isascii():
        raise _damaged(name)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise _damaged(name) from None


def _damaged(where: str) -> Refused:
    return Refused(Problem(Code.RESCUE_DAMAGED, (where,)))


async def owner_of(conn: Connection, rescue: Rescue) -> Owner:
    """Whose work it is; raises NOT_FOUND when that device was never his here: a file of another server."""
    rows = await conn.fetch(
        "SELECT u.id, d.id, u.name, u.email, u.role, u.locale, u.active, d.name, d.state, d.last_client_seq"
        " FROM device d JOIN user_account u ON u.id = d.user_id WHERE d.id = ? AND u.id = ?",
        rescue.device_id,
        rescue.user_id,
    )
    if not rows:
        raise Refused(Problem(Code.NOT_FOUND, ("device",)))
    user_id, device_id, name, email, role, locale, active, device_name, state, last_seq = rows[0]
    return Owner(user_id, device_id, name, email, Role(role), locale, bool(active), device_name, state, last_seq)


async def play_rescue(
    engine: Engine,
    rescue: Rescue,
    table: UseCaseTable,
    *,
    clock: Clock,
    retries_max: int,
    chunk_max: int,
    dry_run: bool = False,
) -> list[tuple[Mutation, Answer]]:
    """Take the queue as its user and device would have had it taken; each mutation with its answer.

    Receipts count as ever: what the device had sent already, or sends again later, is answered and not repeated; the
    rule of gapless numbers does not hold, because nobody will send what is missing. What is refused stays with its
    author as a sync issue. A dry run answers the same and writes nothing.
    """
    async with engine.read() as conn:
        owner = await owner_of(conn, rescue)
    principal = Principal(
        PrincipalKind.STAFF, user_id=owner.user_id, device_id=owner.device_id, role=owner.role, locale=owner.locale
    )
    mutations = [read_mutation(sent) for sent in rescue.queue]
    played: list[tuple[Mutation, Answer]] = []
    chunks = [list(mutations)] if dry_run else list(_chunks(mutations, chunk_max))
    for chunk in chunks:

        async def story(work: Work, chunk: list[Mutation] = chunk) -> list[Answer]:
            answers = await push(work, chunk, table, mutations_max=max(len(chunk), chunk_max), rescued=True)
            if dry_run:
                raise _DryRun(answers)
            work.audit("RESCUE", "users", owner.user_id)
            return answers

        try:
            answers, _ = await in_work(engine, principal, story, clock=clock, retries_max=retries_max, door=Door.PUSH)
        except _DryRun as undone:
            answers = undone.answers
        played += zip(chunk, answers, strict=True)
    return played


def _chunks(mutations: Sequence[Mutation], most: int) -> Iterator[list[Mutation]]:
    """Runs of at most `most` mutations, longer where a group would be cut."""
    start = 0
    while start < len(mutations):
        end = min(start + most, len(mutations))
        while (
            0 < end < len(mutations)
            and mutations[end].group is not None
            and (mutations[end].group == mutations[end - 1].group)
        ):
            end += 1
        yield list(mutations[start:end])
        start = end
