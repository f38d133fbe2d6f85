"""Access tokens and refresh tokens: made and checked, nothing stored.

An access token is a JWT signed with Ed25519 and valid for minutes. It says who asks, never what he may see.
A refresh token names a sign-in (its family) and a generation, sealed with an HMAC: the successor of a token can
be told again, which is what lets a lost answer be repeated. Source: RFC 8725, RFC 9068, RFC 9700 §4.14.
"""

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from backend.auth.keys import KeyRing, Keys
from backend.clock import Clock
from backend.config import Settings
from backend.errors import Code, Problem, Refused
from backend.ids import is_id, new_id

ALGORITHM = "EdDSA"
TYPE = "at+jwt"
AUDIENCE = "selvedge"
TOKEN_CHARACTERS_MAX = 2_000
TOKENS_KEPT_MAX = 10_000
"""Access tokens of which it is remembered that they proved genuine: checking one costs more than a small answer."""
_REFRESH = re.compile(r"r1\.([0-9a-f-]{36})\.([1-9][0-9]{0,8})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Claims:
    """What an access token says. `family` is the sign-in it came from."""

    user_id: str
    device_id: str
    family_id: str
    role: str
    locale: str
    expires_at_ms: int


class Tokens:
    def __init__(self, keys: Keys | KeyRing, settings: Settings, clock: Clock) -> None:
        self.ring = keys if isinstance(keys, KeyRing) else KeyRing(keys)
        """the signing keys, which whoever shares them between processes renews"""
        self._settings = settings
        self._clock = clock
        self._refresh_secret = keys.derived("refresh tokens")
        self._proved: OrderedDict[str, tuple[str, Ed25519PublicKey, Claims]] = OrderedDict()

    def issue(self, *, user_id: str, device_id: str, family_id: str, role: str, locale: str) -> tuple[str, int]:
        """An access token and the moment it expires, in milliseconds."""
        now_s = self._clock() // 1_000
        expires_s = now_s + self._settings.access_token_seconds
        key = self.ring.signing_at(self._clock())
        token = jwt.encode(
            {
                "iss": self._settings.token_issuer,
                "aud": AUDIENCE,
                "sub": user_id,
                "jti": new_id(),
                "iat": now_s,
                "exp": expires_s,
                "device": device_id,
                "family": family_id,
                "role": role,
                "locale": locale,
            },
            key.private,
            algorithm=ALGORITHM,
            headers={"kid": key.kid, "typ": TYPE},
        )
        return token, expires_s * 1_000

    def read(self, token: str) -> Claims:
        """What the token says, once it has proved genuine.

        Raises `Refused`: TOKEN_EXPIRED for one of ours that has run out, UNAUTHENTICATED for anything else.
        """
        claims = self._remembered(token) or self._proved_now(token)
        if self._clock() >= claims.expires_at_ms:
            raise Refused(Problem(Code.TOKEN_EXPIRED))
        return claims

    def _remembered(self, token: str) -> Claims | None:
        """What a token said when its signature was checked, by a key that is trusted still."""
        found = self._proved.get(token)
        if found is None:
            return None
        kid, key, claims = found
        if self.ring.verifying_at(kid, self._clock()) != key:
            del self._proved[token]
            return None
        self._proved.move_to_end(token)
        return claims

    def _proved_now(self, token: str) -> Claims:
        kid, key, payload = self._verified(token)
        texts = {name: payload[name] for name in ("sub", "device", "family", "role", "locale") if name in payload}
        expires_s = payload["exp"]
        if len(texts) != 5 or not all(isinstance(text, str) for text in texts.values()) or type(expires_s) is not int:
            raise Refused(Problem(Code.UNAUTHENTICATED))
        claims = Claims(
            texts["sub"], texts["device"], texts["family"], texts["role"], texts["locale"], expires_s * 1_000
        )
        self._proved[token] = kid, key, claims
        while len(self._proved) > TOKENS_KEPT_MAX:
            self._proved.popitem(last=False)
        return claims

    def _verified(self, token: str) -> tuple[str, Ed25519PublicKey, dict[str, Any]]:
        """(kid, the key that proves it, what it says)."""
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise Refused(Problem(Code.UNAUTHENTICATED))
        try:
            header = jwt.get_unverified_header(token)
            kid = str(header.get("kid"))
            key = self.ring.verifying_at(kid, self._clock())
            if key is None or header.get("typ") != TYPE:
                raise Refused(Problem(Code.UNAUTHENTICATED))
            return (
                kid,
                key,
                jwt.decode(
                    token,
                    key,
                    # pinned: what the header says about its algorithm decides nothing
                    algorithms=[ALGORITHM],
                    issuer=self._settings.token_issuer,
                    audience=AUDIENCE,
                    # expiry is judged by the clock handed in
                    options={
                        "require": ["exp", "iat", "iss", "aud", "sub", "jti"],
                        "verify_exp": False,
                        "verify_iat": False,
                        "verify_nbf": False,
                    },
                ),
            )
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise Refused(Problem(Code.UNAUTHENTICATED)) from None

    def refresh_token(self, family_id: str, generation: int) -> str:
        """The refresh token of a family's generation: always the same text."""
        seal = hmac.digest(self._refresh_secret, f"{family_id}.{generation}".encode(), hashlib.sha256)
        return f"r1.{family_id}.{generation}.{base64.urlsafe_b64encode(seal).decode().rstrip('=')}"

    def read_refresh(self, token: str) -> tuple[str, int]:
        """(family id, generation) of a refresh token; raises `Refused(UNAUTHENTICATED)` for any other text."""
        found = _REFRESH.fullmatch(token)
        if found is None or not is_id(found[1]):
            raise Refused(Problem(Code.UNAUTHENTICATED))
        family_id, generation = found[1], int(found[2])
        if not hmac.compare_digest(token, self.refresh_token(family_id, generation)):
            raise Refused(Problem(Code.UNAUTHENTICATED))
        return family_id, generation
