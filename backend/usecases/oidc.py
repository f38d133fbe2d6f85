"""Signing in with another provider: begun here, vouched for there, and then the same session as by password.

What a sign-in began with (nonce, PKCE challenge, device, where the browser comes back to) travels sealed in `state`,
so beginning one costs no row; finishing one does, and the row keeps it from being finished twice.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import Clock
from backend.config import Settings
from backend.domain.devices import DeviceGiven, device_problems
from backend.domain.messages import LOCALES
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id, new_id
from backend.integrations.oidc import CODE_CHARACTERS_MAX, Identity, Provider, challenge_of
from backend.storage.accounts import find_account
from backend.storage.engine import Engine
from backend.sync.work import Door, Work, in_work

T = TypeVar("T")
Creator = Callable[..., Awaitable[str]]
STATE_MS = 600_000
STATE_CHARACTERS_MAX = 2_000
NONCE_BYTES = 12
CHALLENGE_CHARACTERS = 43
FORGOTTEN_ROWS_MAX = 20
DOORKEEPER = Principal(PrincipalKind.SERVICE, service_id="oidc")


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that was begun. `nonce` is for whoever asks the provider himself, as apps with its own library do."""

    authorization_url: str
    state: str
    nonce: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What a sign-in is finished with: a code, or an ID token that names the nonce; never both."""

    state: str
    verifier: str
    code: str | None = None
    id_token: str | None = None


@dataclass(frozen=True, slots=True)
class _State:
    nonce: str
    challenge: str
    device_id: str
    redirect_uri: str
    expires_at_ms: int


class OidcSignIn(Generic[T]):
    """The door to signing in with a provider. `open_session` gives what a colleague on a device is answered;
    `create_user` makes one, in a work, by e-mail, name, role, password hash and locale."""

    def __init__(
        self,
        engine: Engine,
        provider: Provider,
        secret: bytes,
        *,
        settings: Settings,
        clock: Clock,
        open_session: Callable[[str, DeviceGiven], Awaitable[T]],
        create_user: Creator,
    ) -> None:
        self._engine = engine
        self._open_session = open_session
        self._create_user = create_user
        self._provider = provider
        self._secret = secret
        self._settings = settings
        self._clock = clock

    async def begin(self, *, redirect_uri: str, challenge: str, device_id: str) -> Begun:
        """Where the browser goes, and what comes back with it.

        Raises `Refused`: NOT_ALLOWED_VALUE for an address that is not in the settings, INVALID_VALUE,
        PROVIDER_UNAVAILABLE.
        """
        problems = []
        if redirect_uri not in self._settings.oidc_redirect_uris:
            problems.append(Problem(Code.NOT_ALLOWED_VALUE, ("redirectUri",), tuple(self._settings.oidc_redirect_uris)))
        if len(challenge) != CHALLENGE_CHARACTERS or not challenge.replace("-", "").replace("_", "").isalnum():
            problems.append(Problem(Code.INVALID_VALUE, ("codeChallenge",), ("S256",)))
        if not is_id(device_id):
            problems.append(Problem(Code.INVALID_VALUE, ("deviceId",), ("a UUID in small letters",)))
        refuse_if(problems)
        began = _State(secrets.token_urlsafe(24), challenge, device_id, redirect_uri, self._clock() + STATE_MS)
        state = self._sealed(began)
        url = await self._provider.authorization_url(
            redirect_uri=redirect_uri, state=state, nonce=began.nonce, challenge=challenge
        )
        return Begun(url, state, began.nonce, began.expires_at_ms)

    async def finish(self, proof: Proof, device: DeviceGiven) -> T:
        """A session for whom the provider vouches for. Of several tries to finish one sign-in one gets in.

        Raises `Refused`: with every problem of form; SIGN_IN_FAILED for what does not belong together, whom nobody
        knows here, or what was finished before; TOKEN_EXPIRED; PROVIDER_UNAVAILABLE; and what `open_session` raises.
        """
        refuse_if([*_proof_problems(proof), *device_problems(device, is_id=is_id(device.id))])
        began = self._opened(proof.state)
        challenge = challenge_of(proof.verifier)
        if challenge is None or not hmac.compare_digest(challenge, began.challenge) or device.id != began.device_id:
            raise Refused(Problem(Code.SIGN_IN_FAILED, ("codeVerifier",)))
        if self._clock() >= began.expires_at_ms:
            raise Refused(Problem(Code.TOKEN_EXPIRED, ("state",)))
        token = proof.id_token
        if token is None:
            token = await self._provider.exchange(
                proof.code or "", redirect_uri=began.redirect_uri, verifier=proof.verifier
            )
        identity = await self._provider.identity(token, began.nonce)

        async def story(work: Work) -> str:
            await _use_once(work, proof.state, began.expires_at_ms)
            return await find_or_link(work, identity, self._settings, self._create_user)

        user_id, _ = await in_work(
            self._engine,
            DOORKEEPER,
            story,
            clock=self._clock,
            retries_max=self._settings.write_retries_max,
            door=Door.JOB,
        )
        return await self._open_session(user_id, device)

    def _sealed(self, state: _State) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        text = orjson.dumps([state.nonce, state.challenge, state.device_id, state.redirect_uri, state.expires_at_ms])
        return urlsafe_b64encode(nonce + AESGCM(self._secret).encrypt(nonce, text, None)).decode().rstrip("=")

    def _opened(self, sealed: str) -> _State:
        try:
            given = urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            text = AESGCM(self._secret).decrypt(given[:NONCE_BYTES], given[NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            raise Refused(Problem(Code.SIGN_IN_FAILED, ("state",))) from None
        return _State(*orjson.loads(text))


async def find_or_link(work: Work, identity: Identity, settings: Settings, create_user: Creator) -> str:
    """The colleague an identity stands for: by its link; else by its verified e-mail, which makes the link; else a
    new colleague, where the settings say in which role. Raises `Refused(SIGN_IN_FAILED)` for anybody else."""
    rows = await work.conn.fetch(
        "SELECT l.user_id FROM oidc_link l WHERE l.issuer = ? AND l.subject = ? FOR UPDATE",
        identity.issuer,
        identity.subject,
    )
    if rows:
        return str(rows[0][0])
    account = None
    if identity.email is not None and settings.oidc_link_by_email:
        account = await find_account(work.conn, identity.email)
    if account is not None:
        # an address that passed on to somebody else does not open the account of whoever had it before
        if await work.conn.fetch(
            "SELECT 1 FROM oidc_link WHERE issuer = ? AND user_id = ?", identity.issuer, account.id
        ):
            raise Refused(Problem(Code.SIGN_IN_FAILED))
        user_id = account.id
    elif identity.email is not None and settings.oidc_create_role is not None:
        try:
            user_id = await create_user(
                work,
                email=identity.email,
                name=identity.name or identity.email,
                role=settings.oidc_create_role,
                password_hash="",
                locale=identity.locale if identity.locale in LOCALES else LOCALES[0],
            )
        except Refused:
            # such as the address of a colleague who was let out
            raise Refused(Problem(Code.SIGN_IN_FAILED)) from None
    else:
        raise Refused(Problem(Code.SIGN_IN_FAILED))
    await link_identity(work, user_id, identity.issuer, identity.subject)
    return user_id


async def link_identity(work: Work, user_id: str, issuer: str, subject: str) -> None:
    """From now on this subject of a provider signs in as the colleague."""
    await work.conn.execute(
        "INSERT INTO oidc_link (id, issuer, subject, user_id, created_at) VALUES (?, ?, ?, ?, ?)",
        new_id(),
        issuer,
        subject,
        user_id,
        work.now_ms,
    )
    work.audit("GRANT", "users", user_id, ("signInProvider",))


async def _use_once(work: Work, state: str, expires_at_ms: int) -> None:
    """A sign-in is finished once; the row is needed no longer than the state lasts."""
    await work.conn.execute(
        "DELETE FROM oidc_finished WHERE state_sha256 IN"
        " (SELECT state_sha256 FROM oidc_finished WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
        work.now_ms,
        FORGOTTEN_ROWS_MAX,
    )
    digest = hashlib.sha256(state.encode()).hexdigest()
    rows = await work.conn.fetch(
        "INSERT INTO oidc_finished (state_sha256, expires_at) VALUES (?, ?) ON CONFLICT (state_sha256) DO NOTHING"
        " RETURNING state_sha256",
        digest,
        expires_at_ms,
    )
    if not rows:
        raise Refused(Problem(Code.SIGN_IN_FAILED, ("state",)))


def _proof_problems(proof: Proof) -> Sequence[Problem]:
    problems = []
    if not 0 < len(proof.state) <= STATE_CHARACTERS_MAX or not proof.state.isascii():
        problems.append(Problem(Code.INVALID_VALUE, ("state",)))
    if challenge_of(proof.verifier) is None:
        problems.append(Problem(Code.INVALID_VALUE, ("codeVerifier",)))
    if (proof.code is None) == (proof.id_token is None):
        problems.append(Problem(Code.REQUIRED, ("code",), ("code", "idToken")))
    elif proof.code is not None and not 0 < len(proof.code) <= CODE_CHARACTERS_MAX:
        problems.append(Problem(Code.TOO_LONG, ("code",), (str(CODE_CHARACTERS_MAX),)))
    return problems
