"""A sign-in provider that speaks OpenID Connect: where to send a browser, what a code is worth, who a token names.

What the provider publishes is kept for an hour, and for a day while it cannot be reached. A token is taken only when
one of the provider's own public keys signed it, with an algorithm of public keys, for this client, within its time
and for the sign-in that was begun here. Source: OpenID Connect Core 1.0 §3.1.3.7, RFC 7636, RFC 8725.
"""

import asyncio
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from backend.clock import Clock
from backend.errors import BadSetting, Code, Problem, Refused
from backend.telemetry import logger

try:
    import httpx
    from authlib.common.urls import add_params_to_uri
    from authlib.oauth2.rfc7636 import create_s256_code_challenge
    from authlib.oidc.core import CodeIDToken
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet
    from joserfc.jws import deserialize_compact
except ImportError:  # the extra `oidc` is not installed
    httpx = None  # type: ignore[assignment]

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "Ed25519")
"""Signatures by public keys alone: no shared secrets, and never none."""
KEY_TYPE_OF = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
ANSWER_SECONDS_MAX = 5.0
ANSWER_BYTES_MAX = 1_000_000
KEYS_MAX = 100
TOKEN_CHARACTERS_MAX = 20_000
CODE_CHARACTERS_MAX = 2_000
FRESH_MS = 3_600_000
STALE_MS = 86_400_000
"""How long what was published is believed while the provider cannot be reached."""
ASK_AGAIN_MS = 30_000
"""How often an unknown key makes the provider be asked again: anybody can make up names of keys."""
LEEWAY_SECONDS = 60
TOKEN_AGE_SECONDS_MAX = 3_600
SCOPES = "openid email profile"
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_LOG = logger(__name__)


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """How this deployment is known to its provider."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token names. `email` only where the provider says that it was verified."""

    issuer: str
    subject: str
    email: str | None
    name: str | None
    locale: str | None


@dataclass(frozen=True, slots=True)
class _Published:
    """What the provider says of itself, and its public keys by name."""

    authorization_url: str
    token_url: str
    keys: Mapping[str, Any]
    read_at_ms: int


def challenge_of(verifier: str) -> str | None:
    """The S256 challenge of a PKCE verifier; None for a text that is no verifier."""
    return str(create_s256_code_challenge(verifier)) if _VERIFIER.fullmatch(verifier) else None


class Provider:
    """One provider, as one process knows it."""

    def __init__(self, settings: ProviderSettings, clock: Clock) -> None:
        if httpx is None:
            raise BadSetting("SELVEDGE_OIDC_ISSUER: signing in with a provider needs the extra `oidc`:"
                             " pip install 'selvedge[oidc]'")  # fmt: skip
        self._settings = settings
        self._clock = clock
        self._client = httpx.AsyncClient(timeout=ANSWER_SECONDS_MAX, follow_redirects=False, trust_env=False)
        self._published: _Published | None = None
        self._asked_at_ms: int | None = None
        self._alone = asyncio.Lock()

    async def close(self) -> None:
        await self._client.aclose()

    async def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """Where the browser goes. Raises `Refused(PROVIDER_UNAVAILABLE)`."""
        published = await self._known()
        given = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPES,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return str(add_params_to_uri(published.authorization_url, list(given.items())))

    async def exchange(self, code: str, *, redirect_uri: str, verifier: str) -> str:
        """The ID token a code is worth. Raises `Refused`: SIGN_IN_FAILED for a code the provider does not take,
        PROVIDER_UNAVAILABLE."""
        published = await self._known()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self._settings.client_id,
            "code_verifier": verifier,
        }
        if self._settings.client_secret is not None:
            form["client_secret"] = self._settings.client_secret
        status, answer = await self._ask("POST", published.token_url, form)
        token = answer.get("id_token")
        if status != 200 or not isinstance(token, str):
            raise Refused(Problem(Code.SIGN_IN_FAILED, ("code",)))
        return token

    async def identity(self, token: str, nonce: str) -> Identity:
        """Whom an ID token names. Raises `Refused`: SIGN_IN_FAILED at `idToken`, PROVIDER_UNAVAILABLE."""
        if len(token) > TOKEN_CHARACTERS_MAX or token.count(".") != 2:
            raise _untaken("form")
        try:
            header = orjson.loads(_padded(token.partition(".")[0]))
        except ValueError:
            raise _untaken("header") from None
        algorithm = header.get("alg") if isinstance(header, dict) else None
        if algorithm not in ALGORITHMS or "crit" in header:
            raise _untaken("algorithm")
        key = await self._key(header.get("kid"), algorithm)
        try:
            checked = deserialize_compact(token, key, algorithms=[algorithm])
            claims = orjson.loads(checked.payload)
        except (JoseError, ValueError, TypeError):
            raise _untaken("signature") from None
        if not isinstance(claims, dict):
            raise _untaken("claims")
        return self._identity(claims, header, nonce)

    def _identity(self, claims: dict[str, Any], header: Mapping[str, Any], nonce: str) -> Identity:
        client_id, now_s = self._settings.client_id, self._clock() // 1_000
        token = CodeIDToken(
            claims,
            dict(header),
            options={
                "iss": {"essential": True, "value": self._settings.issuer},
                "aud": {"essential": True, "value": client_id},
                "sub": {"essential": True},
                "exp": {"essential": True},
                "iat": {"essential": True},
                "nonce": {"essential": True, "value": nonce},
            },
            params={"client_id": client_id, "nonce": nonce},
        )
        try:
            token.validate(now=now_s, leeway=LEEWAY_SECONDS)
        except Exception as error:  # noqa: BLE001 - claims of any form come from outside; none of them may be a failure
            raise _untaken(type(error).__name__) from None
        subject, issued_s = claims.get("sub"), claims.get("iat")
        if not isinstance(subject, str) or not 1 <= len(subject) <= 255 or claims.get("iss") != self._settings.issuer:
            raise _untaken("subject")
        if isinstance(issued_s, bool) or not isinstance(issued_s, int | float):
            raise _untaken("issued")
        if not -LEEWAY_SECONDS <= now_s - issued_s <= TOKEN_AGE_SECONDS_MAX:
            raise _untaken("issued")
        audience = claims.get("aud")
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != client_id:
            raise _untaken("authorised party")
        verified = claims.get("email_verified") is True
        email = claims.get("email")
        return Identity(
            self._settings.issuer,
            subject,
            email.strip() if verified and isinstance(email, str) and 0 < len(email) <= 254 else None,
            _text(claims.get("name")),
            _text(claims.get("locale")),
        )

    async def _key(self, kid: object, algorithm: str) -> Any:
        """The key of a name; of a provider with one key it may be left out. Asks again for names it does not know."""
        published = await self._known()
        found = _pick(published.keys, kid, algorithm)
        if found is None:
            published = await self._known(anew=True)
            found = _pick(published.keys, kid, algorithm)
        if found is None:
            raise _untaken("key")
        return found

    async def _known(self, *, anew: bool = False) -> _Published:
        """What the provider publishes. Raises `Refused(PROVIDER_UNAVAILABLE)` when nothing is known of it."""
        if not self._must_ask(anew) and self._published is not None:
            return self._published
        async with self._alone:
            if self._must_ask(anew):
                self._asked_at_ms = self._clock()
                try:
                    self._published = await self._read()
                except Refused as refused:
                    _LOG.warning("the sign-in provider does not answer", error_type=refused.problems[0].code.value)
            if self._published is None or self._age_ms(self._published.read_at_ms) >= STALE_MS:
                raise Refused(Problem(Code.PROVIDER_UNAVAILABLE))
            return self._published

    def _must_ask(self, anew: bool) -> bool:
        asked_lately = self._asked_at_ms is not None and self._age_ms(self._asked_at_ms) < ASK_AGAIN_MS
        if self._published is None:
            # whoever comes while nothing is known asks again at once: nothing here is made up by strangers
            return True
        return not asked_lately and (anew or self._age_ms(self._published.read_at_ms) >= FRESH_MS)

    def _age_ms(self, at_ms: int) -> int:
        return abs(self._clock() - at_ms)

    async def _read(self) -> _Published:
        issuer = self._settings.issuer
        status, found = await self._ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        urls = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        if status != 200 or found.get("issuer") != issuer or not all(_is_reachable(url, issuer) for url in urls):
            raise Refused(Problem(Code.PROVIDER_UNAVAILABLE))
        authorization_url, token_url, keys_url = (str(url) for url in urls)
        status, published = await self._ask("GET", keys_url)
        listed = published.get("keys")
        if status != 200 or not isinstance(listed, list):
            raise Refused(Problem(Code.PROVIDER_UNAVAILABLE))
        return _Published(authorization_url, token_url, _keys(listed[:KEYS_MAX]), self._clock())

    async def _ask(self, method: str, url: str, form: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        """(status, JSON object). Raises `Refused(PROVIDER_UNAVAILABLE)` for no answer, a failure, or too long a one."""
        body = bytearray()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                async with self._client.stream(
                    method, url, data=form, headers={"accept": "application/json"}
                ) as answer:
                    async for part in answer.aiter_bytes():
                        body += part
                        if len(body) > ANSWER_BYTES_MAX:
                            raise Refused(Problem(Code.PROVIDER_UNAVAILABLE))
            found = orjson.loads(bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            raise Refused(Problem(Code.PROVIDER_UNAVAILABLE)) from None
        except orjson.JSONDecodeError:
            found = None
        if answer.status_code >= 500 or not isinstance(found, dict):
            raise Refused(Problem(Code.PROVIDER_UNAVAILABLE))
        return answer.status_code, found


def _keys(listed: list[Any]) -> dict[str, Any]:
    """Public keys for signatures by name; what cannot be read, is secret or is for something else is left out."""
    found: dict[str, Any] = {}
    for place, one in enumerate(listed):
        if not isinstance(one, dict) or one.get("kty") not in ("RSA", "EC", "OKP") or one.get("use") == "enc":
            continue
        try:
            (key,) = KeySet.import_key_set({"keys": [one]}).keys
        except Exception:  # noqa: BLE001 - a key nobody can read is like one that is not there
            continue
        found[str(one.get("kid") or f"#{place}")] = key
    return found


def _pick(keys: Mapping[str, Any], kid: object, algorithm: str) -> Any:
    """The key of a name, when it is of the algorithm's kind: an RSA key never checks another kind of signature."""
    found = keys.get(kid) if isinstance(kid, str) else None
    if kid is None and len(keys) == 1:
        (found,) = keys.values()
    if found is None or found.key_type != KEY_TYPE_OF[algorithm[:2]] or found.get("alg") not in (None, algorithm):
        return None
    return found


def _is_reachable(url: object, issuer: str) -> bool:
    """HTTPS, or plain HTTP on this machine where the issuer is there too."""
    if not isinstance(url, str):
        return False
    return check_url(url) and (url.startswith("https://") or issuer.startswith("http://"))


def check_url(url: str) -> bool:
    """True for an HTTPS address, or an HTTP one of this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return (parts.scheme == "https" and bool(host)) or (
        parts.scheme == "http" and host in ("127.0.0.1", "localhost", "::1")
    )


def _padded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(value: object) -> str | None:
    return value.strip()[:120] or None if isinstance(value, str) else None


def _untaken(why: str) -> Refused:
    _LOG.info("an ID token was not taken", where=why)
    return Refused(Problem(Code.SIGN_IN_FAILED, ("idToken",)))
