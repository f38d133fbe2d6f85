"""Signing in, staying signed in, signing out.

A sign-in is a *family* of refresh tokens on one device. Each refresh steps the family's generation; the token of
the generation before is answered with the same successor for a few seconds, because answers get lost in the
field; an older one means two parties hold the family, and ends it.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from backend.auth.passwords import PASSWORD_CHARACTERS_MAX, Passwords
from backend.auth.principal import Principal, PrincipalKind, Role
from backend.auth.tokens import Claims, Tokens
from backend.clock import Clock
from backend.config import Settings
from backend.domain.devices import (
    DeviceGiven,
    DeviceState,
    device_problems,
    is_storable,
    state_at,
    text_problems,
    unserved,
)
from backend.domain.permissions import Action, Collection
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id, new_id
from backend.storage.accounts import Account, account_of, find_account
from backend.storage.engine import Connection, Engine
from backend.storage.keys import SharedKeys
from backend.storage.services import (
    SERVICE_KEY_PREFIX,
    GivenKey,
    ServiceUse,
    read_service_key,
    read_service_principal,
)
from backend.storage.throttle import Throttle
from backend.sync.work import Door, Work, in_work

T = TypeVar("T")
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
RESET_TOKEN_BYTES = 32
RESET_TOKEN_CHARACTERS = 43
EMAIL_CHARACTERS_MAX = 254
PASSWORD_CHARACTERS_MIN = 10
STANDING_FRESH_MS = 500
"""How long a look at the device's state may be trusted; a revoked device is refused within a second."""
STANDINGS_MAX = 10_000
UNSENT_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Session:
    """What a device holds after signing in or refreshing; moments in milliseconds."""

    access_token: str
    access_expires_at_ms: int
    refresh_token: str
    refresh_expires_at_ms: int
    user_id: str
    device_id: str
    device_state: str


@dataclass(frozen=True, slots=True)
class Me:
    """The one who asks, as the database has him now."""

    user_id: str
    name: str
    email: str
    role: str
    locale: str
    device_id: str
    device_name: str
    device_platform: str
    device_state: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a sign-in, or a service's key, still holds, and as whom."""

    principal: Principal
    device_state: str


_STANDING_SQL = (
    "SELECT f.id, d.id, u.id, u.role, u.locale, u.active, d.state, d.drain_until, f.revoked_at IS NOT NULL"
    " FROM refresh_family f"
    " JOIN device d ON d.id = f.device_id JOIN user_account u ON u.id = f.user_id AND u.id = d.user_id"
)
LOOKED_UP_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Family:
    id: str
    user_id: str
    device_id: str
    generation: int
    rotated_at_ms: int
    expires_at_ms: int
    revoked: bool


async def open_session(
    work: Work, tokens: Tokens, settings: Settings, account: Account, device: DeviceGiven
) -> Session:
    """Register the device and begin a family on it; the device's earlier families end.

    A draining device may: to hand in its work it must be let in. The password was right, so what is wrong with the
    device is told. Raises `Refused`: DEVICE_OF_ANOTHER_USER (the app makes a new device id and tries again, and
    keeps its owner's work apart), DEVICE_REVOKED, DEVICE_WIPED.
    """
    await work.conn.execute(
        "INSERT INTO device (id, user_id, name, platform, state, created_at, last_seen_at, acked_seq,"
        " last_client_seq) VALUES (?, ?, ?, ?, 'ACTIVE', ?, ?, 0, 0) ON CONFLICT (id) DO NOTHING",
        device.id,
        account.id,
        device.name,
        device.platform,
        work.now_ms,
        work.now_ms,
    )
    ((owner_id, written, drain_until),) = await work.conn.fetch(
        "SELECT user_id, state, drain_until FROM device WHERE id = ? FOR UPDATE", device.id
    )
    if owner_id != account.id:
        raise Refused(Problem(Code.DEVICE_OF_ANOTHER_USER, ("device", "id")))
    state = state_at(written, drain_until, work.now_ms)
    if problem := unserved(state):
        raise Refused(problem)
    await work.conn.execute(
        "UPDATE device SET name = ?, platform = ?, last_seen_at = ? WHERE id = ?",
        device.name,
        device.platform,
        work.now_ms,
        device.id,
    )
    await work.conn.execute(
        "UPDATE refresh_family SET revoked_at = ? WHERE device_id = ? AND revoked_at IS NULL", work.now_ms, device.id
    )
    family = _Family(new_id(), account.id, device.id, 1, work.now_ms, _expiry(work, settings), revoked=False)
    await work.conn.execute(
        "INSERT INTO refresh_family (id, user_id, device_id, generation, rotated_at, expires_at, revoked_at)"
        " VALUES (?, ?, ?, ?, ?, ?, NULL)",
        family.id,
        family.user_id,
        family.device_id,
        family.generation,
        family.rotated_at_ms,
        family.expires_at_ms,
    )
    work.audit("SIGN_IN", "users", account.id)
    work.standings.add(account.id)
    return _session(tokens, family, account.role, account.locale, state)


async def rotate_session(work: Work, tokens: Tokens, settings: Settings, refresh_token: str) -> Session | Refused:
    """The next session of a family. A refusal is *returned*: ending a family must be committed with it.

    The family's row stays locked to the end, so that however many ask at once there is one successor.
    """
    family_id, generation = tokens.read_refresh(refresh_token)
    family = await _locked_family(work.conn, family_id)
    if family is None or generation > family.generation:
        return Refused(Problem(Code.UNAUTHENTICATED))
    held = await work.conn.fetch(
        "SELECT u.role, u.locale, u.active, d.state, d.drain_until FROM device d JOIN user_account u"
        " ON u.id = d.user_id WHERE d.id = ? AND u.id = ?",
        family.device_id,
        family.user_id,
    )
    if not held:
        return Refused(Problem(Code.DEVICE_REVOKED))
    ((role, locale, active, written, drain_until),) = held
    state = state_at(written, drain_until, work.now_ms)
    if problem := _unserved(state, active, family.revoked):
        return Refused(problem)
    # only now is it known who asks
    work.principal = _staff(family.user_id, family.device_id, role, locale)
    if work.now_ms >= family.expires_at_ms:
        return Refused(Problem(Code.TOKEN_EXPIRED))
    if generation == family.generation:
        family = await _step(work, settings, family)
    elif not _in_grace(work, settings, family, generation):
        await _end_family(work, family)
        work.audit("REUSE", "users", family.user_id)
        return Refused(Problem(Code.UNAUTHENTICATED))
    return _session(tokens, family, role, locale, state)


async def end_session(work: Work, family_id: str, *, unsent: int | None = None, rescued: bool = False) -> None:
    """End the family: its refresh tokens are refused at once, its access tokens within a second.

    `unsent`: how much work the device says it holds; where it says nothing its last report counts, unless it has
    pushed since. Raises `Refused(UNSENT_WORK)` when it would be lost, which a rescue file (`rescued`) prevents.
    """
    family = await _locked_family(work.conn, family_id)
    if family is not None and not family.revoked:
        if not rescued and await _holds_unsent(work.conn, family.device_id, unsent):
            raise Refused(Problem(Code.UNSENT_WORK, ("unsent",)))
        work.principal = Principal(PrincipalKind.STAFF, user_id=family.user_id, device_id=family.device_id)
        await _end_family(work, family)
        work.audit("SIGN_OUT", "users", family.user_id)


async def _holds_unsent(conn: Connection, device_id: str, said: int | None) -> bool:
    if said is not None:
        return said > 0
    rows = await conn.fetch("SELECT unsent_count, reported_at, pushed_at FROM device WHERE id = ?", device_id)
    return any(count and (pushed_at or 0) <= (reported_at or 0) for count, reported_at, pushed_at in rows)


async def acknowledge_wipe(work: Work, family_id: str, unsent: int) -> None:
    """A wiped device says that it holds nothing any more, and how much was lost with it; once.

    Proved by a refresh token of its own, however old: signing in is over for it.
    Raises `Refused`: UNAUTHENTICATED, INVALID_TRANSITION for a device that was not wiped.
    """
    family = await _locked_family(work.conn, family_id)
    if family is None:
        raise Refused(Problem(Code.UNAUTHENTICATED))
    work.principal = Principal(PrincipalKind.STAFF, user_id=family.user_id, device_id=family.device_id)
    ((state, acked_at),) = await work.conn.fetch(
        "SELECT state, wipe_acked_at FROM device WHERE id = ? FOR UPDATE", family.device_id
    )
    if state != DeviceState.WIPED:
        raise Refused(Problem(Code.INVALID_TRANSITION, ("state",), (), {"enum": DeviceState.__name__}))
    if acked_at is None:
        await work.conn.execute(
            "UPDATE device SET wipe_acked_at = ?, last_seen_at = ?, unsent_count = ?, reported_at = ? WHERE id = ?",
            work.now_ms,
            work.now_ms,
            unsent,
            work.now_ms,
            family.device_id,
        )
        work.audit("WIPE_ACKED", "devices", family.device_id)


async def _is_known(conn: Connection, device_id: str, user_id: str | None) -> bool:
    """Whether the account has signed in on the device before, and is still served there. For an unknown account the
    same is asked, so that it costs the same."""
    rows = await conn.fetch(
        "SELECT 1 FROM device WHERE id = ? AND user_id = ? AND state IN ('ACTIVE', 'DRAINING')",
        device_id,
        user_id or "",
    )
    return bool(rows)


async def _check_password_stands(work: Work, account: Account) -> None:
    """Raise BUSY where the password was changed, or the colleague let out, since it was looked at."""
    rows = await work.conn.fetch("SELECT password_hash, active FROM user_account WHERE id = ? FOR UPDATE", account.id)
    if not rows or rows[0][0] != account.password_hash or not rows[0][1]:
        raise Refused(Problem(Code.BUSY))


async def write_password(work: Work, user_id: str, password_hash: str, *, spared_device: str | None = None) -> None:
    """A colleague's new password; his sign-ins end, but for those on one device."""
    await work.conn.execute("UPDATE user_account SET password_hash = ? WHERE id = ?", password_hash, user_id)
    await work.conn.execute(
        "UPDATE refresh_family SET revoked_at = ? WHERE user_id = ? AND device_id <> ? AND revoked_at IS NULL",
        work.now_ms,
        user_id,
        spared_device or "",
    )
    await work.conn.execute("DELETE FROM password_reset WHERE user_id = ?", user_id)
    work.audit("UPDATE", "users", user_id, ("password",))
    work.standings.add(user_id)


async def begin_reset(work: Work, user_id: str, *, hours: int) -> str:
    """A one-time token with which a colleague sets a new password; an earlier one is worth nothing from now on.

    Raises `Refused`: NOT_PERMITTED, NOT_FOUND.
    """
    if work.door is not Door.JOB and not work.principal.may(Action.UPDATE, Collection.USERS):
        raise Refused(Problem(Code.NOT_PERMITTED))
    rows = await work.conn.fetch("SELECT id FROM user_account WHERE id = ? AND active FOR UPDATE", user_id)
    if not rows:
        raise Refused(Problem(Code.NOT_FOUND, ("userId",)))
    token = secrets.token_urlsafe(RESET_TOKEN_BYTES)
    await work.conn.execute("DELETE FROM password_reset WHERE user_id = ? OR expires_at <= ?", user_id, work.now_ms)
    await work.conn.execute(
        "INSERT INTO password_reset (token_sha256, user_id, expires_at, created_at) VALUES (?, ?, ?, ?)",
        _sha256(token),
        user_id,
        work.now_ms + hours * HOUR_MS,
        work.now_ms,
    )
    work.audit("GRANT", "users", user_id, ("password",))
    return token


async def take_reset(work: Work, token: str, password_hash: str) -> None:
    rows = await work.conn.fetch(
        "SELECT r.user_id, r.expires_at FROM password_reset r JOIN user_account u ON u.id = r.user_id"
        " WHERE r.token_sha256 = ? AND u.active FOR UPDATE",
        _sha256(token),
    )
    if not rows or rows[0][1] <= work.now_ms:
        raise Refused(Problem(Code.UNAUTHENTICATED, ("token",)))
    user_id = rows[0][0]
    work.principal = Principal(PrincipalKind.STAFF, user_id=user_id)
    await write_password(work, user_id, password_hash)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def read_me(conn: Connection, principal: Principal) -> Me:
    """The colleague who asks and his device; raises `Refused(UNAUTHENTICATED)` for any other principal."""
    rows = await conn.fetch(
        "SELECT u.id, u.name, u.email, u.role, u.locale, d.id, d.name, d.platform, d.state"
        " FROM device d JOIN user_account u ON u.id = d.user_id WHERE d.id = ? AND u.id = ?",
        principal.device_id,
        principal.user_id,
    )
    if not rows:
        raise Refused(Problem(Code.UNAUTHENTICATED))
    return Me(*rows[0])


class Sessions:
    """The door to signing in: opens the transactions and keeps the slow work out of them."""

    def __init__(
        self,
        engine: Engine,
        tokens: Tokens,
        passwords: Passwords,
        *,
        settings: Settings,
        clock: Clock,
        shared_keys: SharedKeys | None = None,
    ) -> None:
        self._engine = engine
        self._shared_keys = shared_keys
        self._service_use = ServiceUse(engine, clock=clock)
        self._throttle = Throttle(engine, tokens.ring.derived("sign-in throttle"), clock=clock,
                                  retries_max=settings.write_retries_max)  # fmt: skip
        self._tokens = tokens
        self._passwords = passwords
        self._settings = settings
        self._clock = clock
        self._standings: OrderedDict[str, tuple[int, Standing | Refused]] = OrderedDict()
        self._readings: dict[tuple[str, int], asyncio.Task[tuple[int, Standing | Refused]]] = {}
        """Under way, by sign-in and how many changes had been told when they began."""
        self._changes = 0

    async def password_hash(self, password: str) -> tuple[str, list[Problem]]:
        """The hash of a new password, and OUT_OF_RANGE for one too short or too long, which is not hashed."""
        problems = _password_problems(password, "password")
        return ("", problems) if problems else (await self._passwords.hash(password), [])

    async def sign_in(self, email: str, password: str, device: DeviceGiven, *, address: str = "") -> Session:
        """A session for whoever knows the password. An unknown e-mail costs and answers what a wrong one does.

        `address`: what tries are counted under beside the account (`rates.address_key`); empty for none.
        Raises `Refused` with every problem of form, else RATE_LIMITED, SIGN_IN_FAILED, BUSY or what `open_session`
        raises.
        """
        email = email.strip()
        refuse_if(_form_problems(email, password, device))
        async with self._engine.read() as conn:
            account = await find_account(conn, email)
            known_device = await _is_known(conn, device.id, account.id if account else None)
        attempt = await self._throttle.attempt(
            email, address, (account.id, device.id) if account and known_device else None
        )
        try:
            right = await self._passwords.matches(password, account.password_hash if account else None)
        except Refused:
            # nobody looked at the password
            await self._throttle.succeeded(attempt)
            raise
        if not right or account is None:
            raise Refused(Problem(Code.SIGN_IN_FAILED))
        await self._throttle.succeeded(attempt)
        fresh = await self._passwords.hash(password) if self._passwords.outdated(account.password_hash) else None
        known = account

        async def story(work: Work) -> Session:
            await _check_password_stands(work, known)
            if fresh is not None:
                await work.conn.execute(
                    "UPDATE user_account SET password_hash = ? WHERE id = ? AND password_hash = ?",
                    fresh,
                    known.id,
                    known.password_hash,
                )
            return await open_session(work, self._tokens, self._settings, known, device)

        return await self._told(_staff(account.id, device.id, account.role, account.locale), story)

    async def open_for(self, user_id: str, device: DeviceGiven) -> Session:
        """A session for a colleague another provider vouches for. Raises `Refused`: SIGN_IN_FAILED for one who is
        not let in, and what `open_session` raises."""

        async def story(work: Work) -> Session:
            account = await account_of(work.conn, user_id)
            if account is None:
                raise Refused(Problem(Code.SIGN_IN_FAILED))
            work.principal = _staff(account.id, device.id, account.role, account.locale)
            return await open_session(work, self._tokens, self._settings, account, device)

        return await self._told(Principal(PrincipalKind.STAFF, user_id=user_id, device_id=device.id), story)

    async def change_password(self, principal: Principal, current: str, wanted: str) -> None:
        """A colleague's own new password. His sign-ins on other devices end; the one he asks with goes on.

        Raises `Refused`: OUT_OF_RANGE, RATE_LIMITED, SIGN_IN_FAILED at `current`, UNAUTHENTICATED for anybody else
        than a colleague.
        """
        if principal.kind is not PrincipalKind.STAFF or principal.user_id is None or principal.device_id is None:
            raise Refused(Problem(Code.UNAUTHENTICATED))
        refuse_if(_password_problems(wanted, "newPassword"))
        async with self._engine.read() as conn:
            account = await account_of(conn, principal.user_id)
        if account is None:
            raise Refused(Problem(Code.UNAUTHENTICATED))
        attempt = await self._throttle.attempt(account.email, "", (account.id, principal.device_id))
        if not await self._passwords.matches(current, account.password_hash):
            raise Refused(Problem(Code.SIGN_IN_FAILED, ("currentPassword",)))
        await self._throttle.succeeded(attempt)
        fresh, known = await self._passwords.hash(wanted), account

        async def story(work: Work) -> None:
            await _check_password_stands(work, known)
            await write_password(work, known.id, fresh, spared_device=principal.device_id)

        await self._told(principal, story)

    async def reset_password(self, token: str, wanted: str) -> None:
        """A new password by a one-time token; every sign-in of the colleague ends.

        Raises `Refused`: OUT_OF_RANGE, UNAUTHENTICATED for a token that is not ours, was used or has run out.
        """
        refuse_if(_password_problems(wanted, "newPassword"))
        if len(token) != RESET_TOKEN_CHARACTERS:
            raise Refused(Problem(Code.UNAUTHENTICATED, ("token",)))
        fresh = await self._passwords.hash(wanted)
        await self._told(Principal(PrincipalKind.STAFF), lambda work: take_reset(work, token, fresh))

    async def refresh(self, refresh_token: str) -> Session:
        """The next session of the family. Raises `Refused`: UNAUTHENTICATED for a token that is not ours or whose
        family has ended, TOKEN_EXPIRED, DEVICE_REVOKED when the device or its user is no longer served,
        DEVICE_WIPED."""

        async def story(work: Work) -> Session | Refused:
            return await rotate_session(work, self._tokens, self._settings, refresh_token)

        told = await self._told(Principal(PrincipalKind.STAFF), story)
        if isinstance(told, Refused):
            self._forget(refresh_token)
            raise told
        return told

    async def sign_out(self, refresh_token: str, *, unsent: int | None = None, rescued: bool = False) -> None:
        """End the family of a refresh token; a family that has ended already stays so, without complaint.

        Raises `Refused`: UNAUTHENTICATED, OUT_OF_RANGE, UNSENT_WORK while the device holds work nobody has.
        """
        family_id, _ = self._tokens.read_refresh(refresh_token)
        if unsent is not None and not 0 <= unsent <= UNSENT_MAX:
            raise Refused(Problem(Code.OUT_OF_RANGE, ("unsent",), ("0", str(UNSENT_MAX))))

        async def story(work: Work) -> None:
            await end_session(work, family_id, unsent=unsent, rescued=rescued)

        await self._told(Principal(PrincipalKind.STAFF), story)
        self._drop(family_id)

    async def acknowledge_wipe(self, refresh_token: str, unsent: int) -> None:
        """A wiped device holds nothing any more; `unsent` mutations were lost with it.

        Raises `Refused`: UNAUTHENTICATED, OUT_OF_RANGE, INVALID_TRANSITION.
        """
        family_id, _ = self._tokens.read_refresh(refresh_token)
        if not 0 <= unsent <= UNSENT_MAX:
            raise Refused(Problem(Code.OUT_OF_RANGE, ("unsent",), ("0", str(UNSENT_MAX))))
        await self._told(Principal(PrincipalKind.STAFF), lambda work: acknowledge_wipe(work, family_id, unsent))

    async def me(self, principal: Principal) -> Me:
        async with self._engine.read() as conn:
            return await read_me(conn, principal)

    async def standing(self, access_token: str) -> Standing:
        """Who asks, by an access token whose sign-in still holds.

        Role, rights and language are the database's, not the token's. A service's key stands in the same place.
        Raises `Refused`: UNAUTHENTICATED, TOKEN_EXPIRED, DEVICE_REVOKED, DEVICE_WIPED.
        """
        if access_token.startswith(SERVICE_KEY_PREFIX):
            key = read_service_key(access_token)
            standing = await self._standing_of(key.cached_as, lambda now_ms: self._read_service(key, now_ms))
            await self._service_use.note(key.id)
            return standing
        if self._shared_keys is not None:
            await self._shared_keys.fresh()
        claims = self._tokens.read(access_token)
        return await self._standing_of(claims.family_id, lambda now_ms: self._read_standing(claims, now_ms))

    async def _standing_of(self, cached_as: str, read: Callable[[int], Awaitable[Standing | Refused]]) -> Standing:
        """What is remembered, or is being read for somebody else, or else is read now."""
        found = self._standings.get(cached_as)
        if found is None or not 0 <= self._clock() - found[0] < STANDING_FRESH_MS:
            # what was begun before a change was told may not see it, and is not for who comes after
            wanted = cached_as, self._changes
            reading = self._readings.get(wanted)
            if reading is None:
                reading = self._readings[wanted] = asyncio.create_task(self._reading(wanted, read))
                # where nobody waits for it any more, nobody is told that it failed
                reading.add_done_callback(lambda done: done.cancelled() or done.exception())
            # one who asks no more takes it from nobody else
            found = await asyncio.shield(reading)
        if isinstance(found[1], Refused):
            raise Refused(*found[1].problems)
        return found[1]

    async def _reading(
        self, wanted: tuple[str, int], read: Callable[[int], Awaitable[Standing | Refused]]
    ) -> tuple[int, Standing | Refused]:
        cached_as, changes = wanted
        try:
            asked_at_ms = self._clock()
            found = asked_at_ms, await read(asked_at_ms)
        finally:
            del self._readings[wanted]
        if changes == self._changes:
            self._keep(cached_as, found)
        return found

    async def _read_standing(self, claims: Claims, now_ms: int) -> Standing | Refused:
        sql = f"{_STANDING_SQL} WHERE f.id = ? AND d.id = ? AND u.id = ?"
        rows = await self._engine.fetch(sql, claims.family_id, claims.device_id, claims.user_id, steady=True)
        return _standing_of_row(claims.device_id, claims.user_id, rows[0][3:] if rows else None, now_ms)

    async def _read_service(self, key: GivenKey, now_ms: int) -> Standing | Refused:
        async with self._engine.read() as conn:
            found = await read_service_principal(conn, key, now_ms)
        return found if isinstance(found, Refused) else Standing(found, DeviceState.ACTIVE.value)

    async def look_up(self, access_tokens: Iterable[str]) -> None:
        """Read in few turns what is asked next of many sign-ins; what cannot be read so is left to `standing`."""
        now_ms = self._clock()
        wanted: dict[tuple[str, str, str], None] = {}
        for token in access_tokens:
            with suppress(Refused):
                claims = self._tokens.read(token)
                found = self._standings.get(claims.family_id)
                if found is None or not 0 <= now_ms - found[0] < STANDING_FRESH_MS:
                    wanted[claims.family_id, claims.device_id, claims.user_id] = None
        keys = list(wanted)
        for start in range(0, len(keys) if len(keys) > 1 else 0, LOOKED_UP_AT_ONCE):
            part = keys[start : start + LOOKED_UP_AT_ONCE]
            asked_at_ms, changes = self._clock(), self._changes
            rows = await self._engine.fetch(f"{_STANDING_SQL} WHERE f.id = ANY(?)", [key[0] for key in part])
            known = {tuple(row[:3]): row[3:] for row in rows}
            if changes == self._changes:
                for key in part:
                    self._keep(key[0], (asked_at_ms, _standing_of_row(key[1], key[2], known.get(key), asked_at_ms)))

    def forget(self) -> None:
        """Somebody's standing changed: what is remembered, or being read, may be wrong."""
        self._changes += 1
        self._standings.clear()

    def _keep(self, family_id: str, found: tuple[int, Standing | Refused]) -> None:
        self._standings[family_id] = found
        self._standings.move_to_end(family_id)
        while len(self._standings) > STANDINGS_MAX:
            self._standings.popitem(last=False)

    def _drop(self, family_id: str) -> None:
        self._changes += 1
        self._standings.pop(family_id, None)

    def _forget(self, refresh_token: str) -> None:
        """A refused refresh may have ended the family."""
        try:
            self._drop(self._tokens.read_refresh(refresh_token)[0])
        except Refused:
            return

    async def _told(self, principal: Principal, story: Callable[[Work], Awaitable[T]]) -> T:
        if self._shared_keys is not None:
            # whatever is signed is signed with a key that every process knows
            await self._shared_keys.fresh()
        result, _ = await in_work(
            self._engine, principal, story, clock=self._clock, retries_max=self._settings.write_retries_max
        )
        return result


def _standing_of_row(device_id: str, user_id: str, row: Sequence[Any] | None, now_ms: int) -> Standing | Refused:
    """What the row of a sign-in, after its three ids, says of it."""
    if row is None:
        return Refused(Problem(Code.DEVICE_REVOKED))
    role, locale, active, written, drain_until, ended = row
    state = state_at(written, drain_until, now_ms)
    if problem := _unserved(state, active, ended):
        return Refused(problem)
    return Standing(_staff(user_id, device_id, role, locale), state)


def _unserved(state: DeviceState, active: bool, ended: bool) -> Problem | None:
    """Why a sign-in no longer holds. A wiped device learns that before anything else."""
    if problem := unserved(state):
        return problem
    if not active:
        return Problem(Code.DEVICE_REVOKED)
    return Problem(Code.UNAUTHENTICATED) if ended else None


def _password_problems(password: str, name: str) -> list[Problem]:
    if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
        bounds = (str(PASSWORD_CHARACTERS_MIN), str(PASSWORD_CHARACTERS_MAX))
        return [Problem(Code.OUT_OF_RANGE, (name,), bounds)]
    return [] if is_storable(password) else [Problem(Code.INVALID_VALUE, (name,))]


def _form_problems(email: str, password: str, device: DeviceGiven) -> list[Problem]:
    return [
        *text_problems((("email",), email, EMAIL_CHARACTERS_MAX), (("password",), password, PASSWORD_CHARACTERS_MAX)),
        *device_problems(device, is_id=is_id(device.id)),
    ]


def _staff(user_id: str, device_id: str, role: str, locale: str) -> Principal:
    return Principal(PrincipalKind.STAFF, user_id=user_id, device_id=device_id, role=Role(role), locale=locale)


async def _locked_family(conn: Connection, family_id: str) -> _Family | None:
    rows = await conn.fetch(
        "SELECT id, user_id, device_id, generation, rotated_at, expires_at, revoked_at IS NOT NULL"
        " FROM refresh_family WHERE id = ? FOR UPDATE",
        family_id,
    )
    return _Family(*rows[0]) if rows else None


async def _step(work: Work, settings: Settings, family: _Family) -> _Family:
    stepped = replace(
        family,
        generation=family.generation + 1,
        rotated_at_ms=work.now_ms,
        expires_at_ms=_expiry(work, settings),
    )
    await work.conn.execute(
        "UPDATE refresh_family SET generation = ?, rotated_at = ?, expires_at = ? WHERE id = ?",
        stepped.generation,
        stepped.rotated_at_ms,
        stepped.expires_at_ms,
        stepped.id,
    )
    return stepped


async def _end_family(work: Work, family: _Family) -> None:
    await work.conn.execute("UPDATE refresh_family SET revoked_at = ? WHERE id = ?", work.now_ms, family.id)
    work.standings.add(family.user_id)


def _in_grace(work: Work, settings: Settings, family: _Family, generation: int) -> bool:
    age_ms = work.now_ms - family.rotated_at_ms
    return generation == family.generation - 1 and age_ms <= settings.refresh_grace_seconds * 1_000


def _expiry(work: Work, settings: Settings) -> int:
    return work.now_ms + settings.refresh_token_days * DAY_MS


def _session(tokens: Tokens, family: _Family, role: str, locale: str, device_state: str) -> Session:
    access_token, access_expires_at_ms = tokens.issue(
        user_id=family.user_id, device_id=family.device_id, family_id=family.id, role=role, locale=locale
    )
    return Session(
        access_token,
        access_expires_at_ms,
        tokens.refresh_token(family.id, family.generation),
        family.expires_at_ms,
        family.user_id,
        family.device_id,
        device_state,
    )
