"""Signing in with a provider: what it vouches for opens the same session as a password, and nothing else does."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from backend.auth.keys import new_keys, read_keys
from backend.auth.passwords import Passwords
from backend.auth.tokens import Tokens
from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.domain.devices import DeviceGiven
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.integrations.oidc import ASK_AGAIN_MS, FRESH_MS, STALE_MS, ProviderSettings
from backend.integrations.oidc import Provider as OurProvider
from backend.storage.engine import Engine
from backend.usecases.oidc import STATE_MS, Begun, OidcSignIn, Proof
from backend.usecases.people import create_user
from backend.usecases.sessions import Session, Sessions
from tests import factories
from tests.oidc_provider import CLIENT_ID, JsonObject, Provider, challenge_of, new_key, serve_provider

COMES_BACK_TO = "com.example.selvedge:/back"
VERIFIER = "v" * 50


@dataclass
class World:
    engine: Engine
    provider: Provider
    ours: OurProvider
    sessions: Sessions
    oidc: OidcSignIn[Session]
    settings: Settings
    user_id: str
    device: DeviceGiven
    ahead_ms: int = 0

    async def begin(self, verifier: str = VERIFIER) -> Begun:
        return await self.oidc.begin(
            redirect_uri=COMES_BACK_TO, challenge=challenge_of(verifier), device_id=self.device.id
        )

    async def finish(self, begun: Begun, **proof: str | None) -> Session:
        return await self.oidc.finish(Proof(begun.state, VERIFIER, **proof), self.device)

    async def by_token(self, make: Callable[[JsonObject], str], **claims: object) -> Session:
        begun = await self.begin()
        return await self.finish(begun, id_token=make(self.provider.claims(begun.nonce, **claims)))

    async def fetch(self, sql: str, *args: object) -> list[tuple[object, ...]]:
        async with self.engine.read() as conn:
            return [tuple(row) for row in await conn.fetch(sql, *args)]


def settings_for(provider: Provider, **more: object) -> Settings:
    return Settings(oidc_issuer=provider.issuer, oidc_client_id=CLIENT_ID, oidc_redirect_uris=(COMES_BACK_TO,), **more)


@pytest.fixture
async def world(engine: Engine) -> AsyncIterator[World]:
    async with serve_provider() as provider:
        world: World

        def clock() -> int:
            return wall_clock_ms() + world.ahead_ms

        settings, passwords = settings_for(provider), Passwords(workers=1)
        ours = OurProvider(ProviderSettings(provider.issuer, CLIENT_ID), clock)
        sessions = Sessions(
            engine, Tokens(read_keys(new_keys()), settings, clock), passwords, settings=settings, clock=clock
        )
        oidc = OidcSignIn(
            engine,
            ours,
            secrets.token_bytes(32),
            settings=settings,
            clock=clock,
            open_session=sessions.open_for,
            create_user=create_user,
        )
        async with engine.write() as conn:
            user_id = await factories.user(conn, email="min@example.com", locale="ko")
        device = DeviceGiven(new_id(), "Min's phone", "ANDROID")
        world = World(engine, provider, ours, sessions, oidc, settings, user_id, device)
        yield world
        await ours.close()
        passwords.close()


async def refused(waiting: object) -> tuple[Code, tuple[str, ...]]:
    with pytest.raises(Refused) as caught:
        await waiting  # type: ignore[misc]
    (problem,) = caught.value.problems
    return problem.code, problem.path


async def test_a_code_opens_the_same_session_as_a_password_and_links_the_colleague(world: World) -> None:
    begun = await world.begin()
    session = await world.finish(begun, code=world.provider.authorize(begun.authorization_url))
    principal = (await world.sessions.standing(session.access_token)).principal
    assert (principal.user_id, principal.device_id, principal.locale) == (world.user_id, world.device.id, "ko")
    assert await world.fetch("SELECT issuer, subject, user_id FROM oidc_link") == [
        (world.provider.issuer, "subject-1", world.user_id)
    ]
    assert (await world.sessions.refresh(session.refresh_token)).user_id == world.user_id
    # from now on the subject counts, whatever the address
    again = await world.by_token(world.provider.token, email="other@example.com")
    assert again.user_id == world.user_id


@pytest.mark.parametrize("kind", ["RSA", "EC", "OKP"])
async def test_tokens_of_every_kind_of_public_key_are_taken(world: World, kind: str) -> None:
    world.provider.keys = [new_key(kind)]
    assert (await world.by_token(world.provider.token)).user_id == world.user_id


async def test_a_key_the_provider_rotated_in_is_fetched_once_and_strangers_names_do_not_hammer_it(
    world: World,
) -> None:
    await world.by_token(world.provider.token)
    world.provider.keys.insert(0, new_key())
    world.ahead_ms += ASK_AGAIN_MS
    assert (await world.by_token(world.provider.token)).user_id == world.user_id
    asked = world.provider.asked["/keys"]
    assert asked == 2
    stranger = new_key()
    for _ in range(5):
        assert (await refused(world.by_token(lambda claims: world.provider.token(claims, key=stranger))))[0] == (
            Code.SIGN_IN_FAILED
        )
    assert world.provider.asked["/keys"] == asked
    # a key the provider took back is trusted no longer than what it publishes is fresh
    gone = world.provider.keys.pop()
    world.ahead_ms += FRESH_MS
    await world.by_token(world.provider.token, iat=_now(world), exp=_now(world) + 300)
    old = await refused(
        world.by_token(lambda claims: world.provider.token(claims, key=gone), iat=_now(world), exp=_now(world) + 300)
    )
    assert old == (Code.SIGN_IN_FAILED, ("idToken",))


def _now(world: World) -> int:
    return (wall_clock_ms() + world.ahead_ms) // 1_000


EVIL: dict[str, Callable[[World, JsonObject], str]] = {
    "alg none": lambda w, c: w.provider.unsigned(c),
    "HS256 with the public key": lambda w, c: w.provider.signed_with_the_public_key(c),
    "another key under a known name": lambda w, c: w.provider.token(c, key=new_key(kid=w.provider.keys[0].kid)),
    "an unknown key": lambda w, c: w.provider.token(c, key=new_key()),
    "a key within the token": lambda w, c: w.provider.token(
        c, key=(stranger := new_key()), kid=None, jwk=stranger.as_dict(private=False)
    ),
    "an extension that must be understood": lambda w, c: w.provider.token(c, crit=["b64"], b64=True),
    "wrong audience": lambda w, c: w.provider.token({**c, "aud": "somebody-else"}),
    "no audience": lambda w, c: w.provider.token({**c, "aud": []}),
    "two audiences and no authorised party": lambda w, c: w.provider.token({**c, "aud": [CLIENT_ID, "x"]}),
    "another authorised party": lambda w, c: w.provider.token({**c, "azp": "x"}),
    "foreign issuer": lambda w, c: w.provider.token({**c, "iss": "https://evil.example"}),
    "issuer with a slash more": lambda w, c: w.provider.token({**c, "iss": w.provider.issuer + "/"}),
    "expired": lambda w, c: w.provider.token({**c, "iat": c["iat"] - 600, "exp": c["iat"] - 300}),
    "without an end": lambda w, c: w.provider.token({k: v for k, v in c.items() if k != "exp"}),
    "an end that is no number": lambda w, c: w.provider.token({**c, "exp": "tomorrow"}),
    "issued in the future": lambda w, c: w.provider.token({**c, "iat": c["iat"] + 3_600, "exp": c["exp"] + 7_200}),
    "issued days ago": lambda w, c: w.provider.token({**c, "iat": c["iat"] - 86_400}),
    "issued: true": lambda w, c: w.provider.token({**c, "iat": True}),
    "not yet valid": lambda w, c: w.provider.token({**c, "nbf": c["iat"] + 3_600}),
    "another nonce": lambda w, c: w.provider.token({**c, "nonce": "of another sign-in"}),
    "no nonce": lambda w, c: w.provider.token({k: v for k, v in c.items() if k != "nonce"}),
    "no subject": lambda w, c: w.provider.token({k: v for k, v in c.items() if k != "sub"}),
    "a subject that is no text": lambda w, c: w.provider.token({**c, "sub": 7}),
    "an endless subject": lambda w, c: w.provider.token({**c, "sub": "s" * 256}),
    "no JSON": lambda w, c: "a.b.c",
    "an endless token": lambda w, c: w.provider.token({**c, "more": "m" * 30_000}),
    "a flipped signature": lambda w, c: _flipped(w.provider.token(c)),
}


def _flipped(token: str) -> str:
    body, _, signature = token.rpartition(".")
    return f"{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


async def test_forged_foreign_and_stale_tokens_open_nothing(world: World) -> None:
    for name, make in EVIL.items():
        code, path = await refused(world.by_token(lambda claims, make=make: make(world, claims)))  # type: ignore[misc]
        assert (code, path) == (Code.SIGN_IN_FAILED, ("idToken",)), name
    assert await world.fetch("SELECT 1 FROM oidc_link") == []
    assert await world.fetch("SELECT 1 FROM refresh_family") == []
    assert (await world.by_token(world.provider.token)).user_id == world.user_id, "the same without the forgery"


async def test_a_sign_in_is_finished_once_even_by_many_at_once(world: World) -> None:
    begun = await world.begin()
    token = world.provider.token(world.provider.claims(begun.nonce))
    tried = await asyncio.gather(*(world.finish(begun, id_token=token) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(one, Session) for one in tried) == 1
    assert {one.problems[0].code for one in tried if isinstance(one, Refused)} == {Code.SIGN_IN_FAILED}
    assert await refused(world.finish(begun, id_token=token)) == (Code.SIGN_IN_FAILED, ("state",))


async def test_what_does_not_belong_together_is_refused(world: World) -> None:
    begun = await world.begin()
    code = world.provider.authorize(begun.authorization_url)
    other = DeviceGiven(new_id(), "Another", "WEB")
    assert (await refused(world.oidc.finish(Proof(begun.state, VERIFIER, code), other)))[1] == ("codeVerifier",)
    assert (await refused(world.oidc.finish(Proof(begun.state, "w" * 50, code), world.device)))[1] == ("codeVerifier",)
    for state in (begun.state[:-2], "A" * 100, begun.state.swapcase()):
        assert await refused(world.oidc.finish(Proof(state, VERIFIER, code), world.device)) == (
            Code.SIGN_IN_FAILED,
            ("state",),
        )
    assert await refused(world.finish(begun, code="made-up")) == (Code.SIGN_IN_FAILED, ("code",))
    with pytest.raises(Refused) as caught:
        await world.oidc.finish(Proof("", "short"), DeviceGiven("no id", "", ""))
    assert {problem.path[0] for problem in caught.value.problems} == {"state", "codeVerifier", "code", "device"}
    world.ahead_ms = STATE_MS
    assert await refused(world.finish(begun, code=code)) == (Code.TOKEN_EXPIRED, ("state",))


async def test_only_addresses_of_the_settings_are_sent_to(world: World) -> None:
    with pytest.raises(Refused) as caught:
        await world.oidc.begin(redirect_uri="https://evil.example", challenge="x", device_id="y")
    assert [(one.code, one.path) for one in caught.value.problems] == [
        (Code.NOT_ALLOWED_VALUE, ("redirectUri",)),
        (Code.INVALID_VALUE, ("codeChallenge",)),
        (Code.INVALID_VALUE, ("deviceId",)),
    ]


async def test_while_the_provider_is_away_what_it_published_holds_for_a_day_and_codes_wait(world: World) -> None:
    world.provider.down = True
    assert await refused(world.begin()) == (Code.PROVIDER_UNAVAILABLE, ())
    world.provider.down = False
    begun = await world.begin()
    code = world.provider.authorize(begun.authorization_url)
    world.provider.down = True
    assert await refused(world.finish(begun, code=code)) == (Code.PROVIDER_UNAVAILABLE, ())
    assert (await world.by_token(world.provider.token)).user_id == world.user_id
    world.ahead_ms = FRESH_MS
    assert (await world.by_token(world.provider.token, iat=_now(world), exp=_now(world) + 300)).user_id
    world.ahead_ms = STALE_MS
    assert await refused(world.begin()) == (Code.PROVIDER_UNAVAILABLE, ())
    world.provider.down, world.ahead_ms = False, 0
    # the code was not lost with the outage
    assert (await world.finish(begun, code=code)).user_id == world.user_id


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"jwks_uri": "http://10.0.0.1/keys"},
        {"token_endpoint": 7},
        {"x": "y" * 10**6},
    ],
)
async def test_a_provider_that_says_what_it_should_not_is_none(world: World, metadata: JsonObject) -> None:
    world.provider.metadata = metadata
    assert await refused(world.begin()) == (Code.PROVIDER_UNAVAILABLE, ())


async def test_who_is_not_known_here_gets_in_only_where_the_settings_say_so(world: World) -> None:
    nobody = {"email": "new@example.com", "sub": "subject-2"}
    assert (await refused(world.by_token(world.provider.token, **nobody)))[0] is Code.SIGN_IN_FAILED
    assert (await refused(world.by_token(world.provider.token, email_verified=False)))[0] is Code.SIGN_IN_FAILED
    assert (await refused(world.by_token(world.provider.token, email_verified="true")))[0] is Code.SIGN_IN_FAILED
    assert (await refused(world.by_token(world.provider.token, email=None)))[0] is Code.SIGN_IN_FAILED
    assert await world.fetch("SELECT email FROM user_account") == [("min@example.com",)]
    world.oidc._settings = settings_for(world.provider, oidc_create_role="BACK_OFFICE")
    made = await world.by_token(world.provider.token, **nobody, name="New Colleague")
    assert await world.fetch("SELECT role, name, password_hash FROM user_account WHERE id = ?", made.user_id) == [
        ("BACK_OFFICE", "New Colleague", "")
    ]


async def test_an_address_that_passed_on_and_a_colleague_let_out_open_nothing(world: World) -> None:
    await world.by_token(world.provider.token)
    heir = await refused(world.by_token(world.provider.token, sub="subject-9"))
    assert heir == (Code.SIGN_IN_FAILED, ())
    async with world.engine.write() as conn:
        await conn.execute("UPDATE user_account SET active = ?", False)
    assert await refused(world.by_token(world.provider.token)) == (Code.SIGN_IN_FAILED, ())
    world.oidc._settings = settings_for(world.provider, oidc_link_by_email=False)
    assert (await refused(world.by_token(world.provider.token, sub="subject-9")))[0] is Code.SIGN_IN_FAILED
