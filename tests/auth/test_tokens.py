"""Access tokens: only ours, only fresh ones, only those signed by a key of our own set."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backend.auth.keys import FILE_NAME, Keys, SigningKey, load_keys, new_keys, read_keys
from backend.auth.tokens import AUDIENCE, Tokens
from backend.config import Settings
from backend.errors import BadSetting, Code, Refused
from backend.ids import new_id
from tests.clocks import HandClock

ISSUED = {
    "user_id": new_id(),
    "device_id": new_id(),
    "family_id": new_id(),
    "role": "REP",
    "locale": "ko",
}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def keys() -> Keys:
    return read_keys(new_keys())


@pytest.fixture
def tokens(keys: Keys, clock: HandClock) -> Tokens:
    return Tokens(keys, Settings(), clock)


def code_of(tokens: Tokens, token: str) -> Code:
    with pytest.raises(Refused) as caught:
        tokens.read(token)
    return caught.value.problems[0].code


def payload_of(tokens: Tokens) -> dict[str, Any]:
    token, _ = tokens.issue(**ISSUED)
    return dict(jwt.decode(token, options={"verify_signature": False}))


def signed(keys: Keys, payload: dict[str, Any], **headers: Any) -> str:
    return jwt.encode(payload, keys.signing, algorithm="EdDSA", headers={"kid": keys.kid, "typ": "at+jwt"} | headers)


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(part)).decode().rstrip("=")


def test_a_token_says_who_asks_and_carries_no_grants(tokens: Tokens, clock: HandClock) -> None:
    token, expires_at_ms = tokens.issue(**ISSUED)
    claims = tokens.read(token)
    assert {name: getattr(claims, name) for name in ISSUED} == ISSUED
    assert expires_at_ms == clock.now_ms + 600_000 == claims.expires_at_ms
    assert set(payload_of(tokens)) == {
        "iss", "aud", "sub", "jti", "iat", "exp", "device", "family", "role", "locale",
    }  # fmt: skip


def test_a_token_expires_with_its_last_second(tokens: Tokens, clock: HandClock) -> None:
    token, _ = tokens.issue(**ISSUED)
    clock.forward(seconds=599.999)
    tokens.read(token)
    clock.forward(seconds=0.001)
    assert code_of(tokens, token) is Code.TOKEN_EXPIRED


def test_what_an_own_key_signs_is_taken(tokens: Tokens, keys: Keys) -> None:
    assert tokens.read(signed(keys, payload_of(tokens))).user_id == ISSUED["user_id"]


def test_a_token_of_another_servers_key_is_refused(tokens: Tokens, keys: Keys) -> None:
    foreign = read_keys(new_keys())
    payload = payload_of(tokens)
    assert code_of(tokens, signed(foreign, payload)) is Code.UNAUTHENTICATED
    assert code_of(tokens, signed(foreign, payload, kid=keys.kid)) is Code.UNAUTHENTICATED


def test_alg_none_is_refused(tokens: Tokens, keys: Keys) -> None:
    header = {"alg": "none", "typ": "at+jwt", "kid": keys.kid}
    payload = payload_of(tokens)
    assert code_of(tokens, f"{encoded(header)}.{encoded(payload)}.") is Code.UNAUTHENTICATED
    signature = signed(keys, payload).rsplit(".", 1)[1]
    assert code_of(tokens, f"{encoded(header)}.{encoded(payload)}.{signature}") is Code.UNAUTHENTICATED


def test_the_public_key_is_no_shared_secret(tokens: Tokens, keys: Keys) -> None:
    """The classic confusion: HS256 keyed with the published public key."""
    public = keys.verifying[keys.kid].public_bytes(Encoding.Raw, PublicFormat.Raw)
    forged = jwt.encode(payload_of(tokens), public, algorithm="HS256", headers={"kid": keys.kid, "typ": "at+jwt"})
    assert code_of(tokens, forged) is Code.UNAUTHENTICATED


def test_another_algorithm_is_refused(tokens: Tokens, keys: Keys) -> None:
    forged = jwt.encode(
        payload_of(tokens),
        ec.generate_private_key(ec.SECP256R1()),
        algorithm="ES256",
        headers={"kid": keys.kid, "typ": "at+jwt"},
    )
    assert code_of(tokens, forged) is Code.UNAUTHENTICATED


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "somebody"},
        {"aud": "another-product"},
        {"sub": None},
        {"sub": 5},
        {"exp": None},
        {"exp": "2100-01-01"},
        {"exp": True},
        {"exp": 1e18},
        {"jti": None},
        {"device": None},
        {"family": 7},
        {"role": None},
    ],
    ids=str,
)
def test_a_claim_that_is_missing_or_foreign_is_refused(tokens: Tokens, keys: Keys, change: dict[str, object]) -> None:
    payload = {name: value for name, value in (payload_of(tokens) | change).items() if value is not None}
    assert code_of(tokens, signed(keys, payload)) is Code.UNAUTHENTICATED


def test_a_token_of_another_type_is_refused(tokens: Tokens, keys: Keys) -> None:
    payload = payload_of(tokens)
    assert payload["aud"] == AUDIENCE
    for typ in ("JWT", "id+jwt", None):
        assert code_of(tokens, signed(keys, payload, typ=typ)) is Code.UNAUTHENTICATED


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "Bearer", "é.é.é", "x" * 100_000, "\x00.\x00.\x00"])
def test_what_is_no_token_is_refused(tokens: Tokens, text: str) -> None:
    assert code_of(tokens, text) is Code.UNAUTHENTICATED


def test_every_flipped_character_is_noticed(tokens: Tokens) -> None:
    token, _ = tokens.issue(**ISSUED)
    for place in range(0, len(token) - 1, 7):
        if token[place] != ".":
            flipped = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
            assert code_of(tokens, flipped) is Code.UNAUTHENTICATED


def test_a_retired_key_still_verifies_what_it_signed(clock: HandClock) -> None:
    old = orjson.loads(new_keys())
    token, _ = Tokens(read_keys(orjson.dumps(old)), Settings(), clock).issue(**ISSUED)
    rotated = old | {"signing": orjson.loads(new_keys())["signing"] + old["signing"]}
    tokens = Tokens(read_keys(orjson.dumps(rotated)), Settings(), clock)
    assert tokens.read(token).user_id == ISSUED["user_id"]
    assert jwt.get_unverified_header(tokens.issue(**ISSUED)[0])["kid"] != jwt.get_unverified_header(token)["kid"]


def test_a_refresh_token_can_be_told_again_and_not_made_up(tokens: Tokens, clock: HandClock) -> None:
    family = new_id()
    token = tokens.refresh_token(family, 3)
    assert token == tokens.refresh_token(family, 3)
    assert tokens.read_refresh(token) == (family, 3)
    other = Tokens(read_keys(new_keys()), Settings(), clock)
    for text in (
        token.replace(".3.", ".4."),
        token.replace(".3.", ".03."),
        token.replace(family, new_id()),
        token[:-1],
        token + "=",
        token + "\n",
        other.refresh_token(family, 3),
        "",
    ):
        with pytest.raises(Refused) as caught:
            tokens.read_refresh(text)
        assert caught.value.problems[0].code is Code.UNAUTHENTICATED


def test_the_key_file_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: load_keys(tmp_path / "var"), range(8)))
    assert len({keys.kid for keys in made}) == 1
    assert len({keys.derived("cursors") for keys in made}) == 1
    assert made[0].derived("cursors") != made[0].derived("refresh tokens")
    assert os.listdir(tmp_path / "var") == [FILE_NAME]
    assert stat.S_IMODE((tmp_path / "var" / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("text", [b"", b"5", b"{}", b'{"root": "00", "signing": []}', b"\xff"])
def test_a_broken_key_file_stops_the_start_and_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(text)
    with pytest.raises(BadSetting, match=r"SELVEDGE_DATA_DIR.*keys\.json"):
        load_keys(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == text


def test_a_token_that_was_taken_is_refused_once_its_key_is_retired(
    tokens: Tokens, keys: Keys, clock: HandClock
) -> None:
    token, _ = tokens.issue(**ISSUED)
    assert tokens.read(token) == tokens.read(token)
    own = SigningKey(keys.kid, keys.signing, clock.now_ms, clock.now_ms + 1_000)
    tokens.ring.take([own])
    tokens.read(token)
    clock.forward(seconds=1)
    assert code_of(tokens, token) is Code.UNAUTHENTICATED
