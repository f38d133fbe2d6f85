"""A sign-in provider on a real socket: discovery, keys that rotate, codes with PKCE; and every kind of forgery.

`Provider.token` makes an ID token of any claims, header and key, so a test says what is wrong with it.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import uvicorn
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.servers import _Server

CLIENT_ID = "selvedge-app"
JsonObject = dict[str, Any]


def new_key(kind: str = "RSA", kid: str | None = None) -> Any:
    """A key pair of the kind RSA, EC or OKP, with a name of its own."""
    parameters = {"kid": kid or secrets.token_hex(4), "use": "sig"}
    if kind == "RSA":
        return RSAKey.generate_key(2048, parameters, private=True)
    if kind == "EC":
        return ECKey.generate_key("P-256", parameters, private=True)
    return OKPKey.generate_key("Ed25519", parameters, private=True)


class Provider:
    """`keys` are published; `down` answers 503 to everything; `asked` counts requests by path."""

    def __init__(self) -> None:
        self.issuer = ""
        self.keys = [new_key()]
        self.down = False
        self.asked: dict[str, int] = {}
        self.metadata: JsonObject = {}
        self.codes: dict[str, tuple[JsonObject, str, str]] = {}

    def claims(self, nonce: str, **changed: object) -> JsonObject:
        now = int(time.time())
        claims: JsonObject = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "subject-1",
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "email": "min@example.com",
            "email_verified": True,
            "name": "Kim Min-seo",
        }
        claims.update(changed)
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, claims: JsonObject, *, key: Any = None, alg: str | None = None, **header: object) -> str:
        """An ID token signed with the first published key, or another."""
        key = key or self.keys[0]
        alg = alg or {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519", "oct": "HS256"}[key.key_type]
        protected = {"alg": alg, "kid": key.kid, **header}
        protected = {name: value for name, value in protected.items() if value is not None}
        return str(jws.serialize_compact(protected, orjson.dumps(claims), key, algorithms=[alg]))

    def unsigned(self, claims: JsonObject) -> str:
        """`alg: none`."""
        return f"{_b64(orjson.dumps({'alg': 'none', 'kid': self.keys[0].kid}))}.{_b64(orjson.dumps(claims))}."

    def signed_with_the_public_key(self, claims: JsonObject) -> str:
        """HS256 with the published key's text for a secret: what a server that trusts `alg` would take."""
        pem = self.keys[0].as_pem(private=False)
        header = {"alg": "HS256", "kid": self.keys[0].kid}
        text = f"{_b64(orjson.dumps(header))}.{_b64(orjson.dumps(claims))}"
        return f"{text}.{_b64(_hmac(pem, text))}"

    def authorize(self, url: str, **changed: object) -> str:
        """What a browser would bring back after the user agreed: a code for these claims."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert asked["client_id"] == CLIENT_ID
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = (self.claims(asked["nonce"], **changed), asked["code_challenge"], asked["redirect_uri"])
        return code

    async def serve_discovery(self, request: Request) -> Response:
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            **self.metadata,
        }
        return self._count(request) or JSONResponse(found)

    async def serve_keys(self, request: Request) -> Response:
        published = [key.as_dict(private=False) for key in self.keys]
        return self._count(request) or JSONResponse({"keys": published})

    async def serve_token(self, request: Request) -> Response:
        if refused := self._count(request):
            return refused
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        claims, challenge, redirect_uri = self.codes.pop(form["code"], ({}, "", ""))
        digest = _b64(hashlib.sha256(form["code_verifier"].encode()).digest())
        if not claims or digest != challenge or form["redirect_uri"] != redirect_uri:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": self.token(claims)})

    def _count(self, request: Request) -> Response | None:
        path = request.url.path
        self.asked[path] = self.asked.get(path, 0) + 1
        return JSONResponse({"error": "down"}, 503) if self.down else None


@asynccontextmanager
async def serve_provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", provider.serve_discovery),
            Route("/keys", provider.serve_keys),
            Route("/token", provider.serve_token, methods=["POST"]),
        ]
    )
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    provider.issuer = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False))
    running = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn tells it no other way
            await asyncio.sleep(0.005)
        yield provider
    finally:
        server.should_exit = True
        await running
        listening.close()


def challenge_of(verifier: str) -> str:
    return _b64(hashlib.sha256(verifier.encode()).digest())


def _hmac(secret: bytes, text: str) -> bytes:
    return hmac.digest(secret, text.encode(), hashlib.sha256)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
