"""The server's own secrets: the keys that sign access tokens, one secret that others are derived from, and the
keys that open rescue files.

The root secret and the rescue keys live in two files of the data folder, readable by their owner only, made on the
first start; every process that serves the same database needs the same. The keys that sign are kept in the database,
sealed under the root secret, so that all its processes hold the same ring: a key is published before anybody signs
with it and trusted until it is retired. What is derived from the root (cursors, refresh tokens) never rotates with
them. A fresh deployment's first signing key comes from the file.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backend.errors import BadSetting

T = TypeVar("T")
FILE_NAME = "keys.json"
RESCUE_FILE_NAME = "rescue-keys.json"
RESCUE_CURVE = ec.SECP256R1()
SEED_BYTES = 32
NONCE_BYTES = 12
SEALING = "signing keys"


@dataclass(frozen=True, slots=True)
class Keys:
    """`signing` signs under the name `kid`; `verifying` holds the public key of every `kid` still trusted."""

    kid: str
    signing: Ed25519PrivateKey
    verifying: Mapping[str, Ed25519PublicKey]
    root: bytes

    def derived(self, purpose: str) -> bytes:
        """A secret of 32 bytes for one purpose, from which no other can be found."""
        return hmac.digest(self.root, f"selvedge/{purpose}".encode(), hashlib.sha256)


def new_keys() -> bytes:
    """What a fresh key file holds."""
    return orjson.dumps(
        {
            "root": secrets.token_hex(SEED_BYTES),
            "signing": [{"kid": secrets.token_hex(8), "seed": secrets.token_hex(SEED_BYTES)}],
        },
        option=orjson.OPT_INDENT_2,
    )


def read_keys(text: bytes) -> Keys:
    """Keys from a key file's bytes; raises ValueError for anything else."""
    found = orjson.loads(text)
    try:
        private = {
            str(entry["kid"]): Ed25519PrivateKey.from_private_bytes(bytes.fromhex(entry["seed"]))
            for entry in found["signing"]
        }
        root = bytes.fromhex(found["root"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"no such entry: {error}") from None
    if not private or len(root) < SEED_BYTES:
        raise ValueError("no signing key, or a root secret that is too short")
    kid = next(iter(private))
    return Keys(kid, private[kid], {name: key.public_key() for name, key in private.items()}, root)


def load_keys(data_dir: Path, root_secret: str | None = None) -> Keys:
    """The keys of this deployment, made when there are none yet. `root_secret`: 64 hex digits or more in place of the
    file's, for servers that share no folder. Raises `BadSetting` for an unreadable file."""
    keys = _load(data_dir / FILE_NAME, new_keys, read_keys)
    return keys if root_secret is None else replace(keys, root=bytes.fromhex(root_secret))


@dataclass(frozen=True)
class SigningKey:
    """A key of the ring; moments in milliseconds. It signs from `signs_from_ms`, and is trusted until it is retired."""

    kid: str
    private: Ed25519PrivateKey
    signs_from_ms: int
    retired_at_ms: int | None = None

    @cached_property
    def public(self) -> Ed25519PublicKey:
        """Worked out once: it takes longer than everything else that is asked of a key in a request."""
        return self.private.public_key()

    def trusted_at(self, now_ms: int) -> bool:
        return self.retired_at_ms is None or now_ms < self.retired_at_ms


class KeyRing:
    """The signing keys as this process read them last; `take` puts what was read anew in their place."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._ring: dict[str, SigningKey] = {keys.kid: SigningKey(keys.kid, keys.signing, 0)}
        # what a key file of several entries still trusts
        self._trusted_by_file = keys.verifying

    @property
    def file_keys(self) -> Keys:
        """What the file says: the root, and the first key of a fresh deployment."""
        return self._keys

    def derived(self, purpose: str) -> bytes:
        return self._keys.derived(purpose)

    def take(self, ring: Iterable[SigningKey]) -> None:
        """Hold these keys and no others."""
        self._ring = {key.kid: key for key in ring}
        self._trusted_by_file = {}

    def signing_at(self, now_ms: int) -> SigningKey:
        """The key to sign with: the newest whose time has come. Raises LookupError when every key was retired."""
        trusted = [key for key in self._ring.values() if key.trusted_at(now_ms)]
        due = [key for key in trusted if key.signs_from_ms <= now_ms]
        if due:
            return max(due, key=lambda key: (key.signs_from_ms, key.kid))
        return min(trusted, key=lambda key: (key.signs_from_ms, key.kid), default=None) or _none_left()

    def verifying_at(self, kid: str, now_ms: int) -> Ed25519PublicKey | None:
        """The public key of a name that is trusted now."""
        key = self._ring.get(kid)
        if key is not None:
            return key.public if key.trusted_at(now_ms) else None
        return self._trusted_by_file.get(kid)

    def jwks_at(self, now_ms: int) -> dict[str, list[dict[str, str]]]:
        """The public keys trusted now as a JWK set (RFC 7517, RFC 8037)."""
        return {
            "keys": [
                {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.kid, "x": _public_x(key)}
                for key in sorted(self._ring.values(), key=lambda one: (one.signs_from_ms, one.kid))
                if key.trusted_at(now_ms)
            ]
        }

    def seal(self, kid: str, private: Ed25519PrivateKey) -> str:
        """A private key as the database keeps it: AES-GCM under the root, bound to its name."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(self.derived(SEALING)).encrypt(nonce, private.private_bytes_raw(), kid.encode())
        return urlsafe_b64encode(nonce + sealed).decode()

    def unseal(self, kid: str, sealed: str) -> Ed25519PrivateKey:
        """Raises ValueError for what was sealed under another root secret, for another name, or altered."""
        try:
            given = urlsafe_b64decode(sealed)
            seed = AESGCM(self.derived(SEALING)).decrypt(given[:NONCE_BYTES], given[NONCE_BYTES:], kid.encode())
            return Ed25519PrivateKey.from_private_bytes(seed)
        except (InvalidTag, ValueError):
            raise ValueError(f"the key {kid} was sealed under another root secret") from None


def new_signing_key() -> tuple[str, Ed25519PrivateKey]:
    """(kid, key), made up."""
    return secrets.token_hex(8), Ed25519PrivateKey.generate()


def _public_x(key: SigningKey) -> str:
    return urlsafe_b64encode(key.public.public_bytes_raw()).decode().rstrip("=")


def _none_left() -> SigningKey:
    raise LookupError("no signing key is left")


@dataclass(frozen=True, slots=True)
class RescueKeys:
    """Rescue files are encrypted for `kid`; those of every other `kid` in `private` can be opened too."""

    kid: str
    private: Mapping[str, ec.EllipticCurvePrivateKey]

    @property
    def public(self) -> bytes:
        """The public key of `kid` as WebCrypto imports it `raw`: the uncompressed point, 65 bytes."""
        return self.private[self.kid].public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def new_rescue_keys() -> bytes:
    """What a fresh file of rescue keys holds."""
    number = ec.generate_private_key(RESCUE_CURVE).private_numbers().private_value
    return orjson.dumps(
        {"rescue": [{"kid": secrets.token_hex(8), "private": f"{number:064x}"}]}, option=orjson.OPT_INDENT_2
    )


def read_rescue_keys(text: bytes) -> RescueKeys:
    """Rescue keys from their file's bytes; raises ValueError for anything else."""
    found = orjson.loads(text)
    try:
        private = {
            str(entry["kid"]): ec.derive_private_key(int(entry["private"], 16), RESCUE_CURVE)
            for entry in found["rescue"]
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"no such entry: {error}") from None
    if not private:
        raise ValueError("no rescue key")
    return RescueKeys(next(iter(private)), private)


def load_rescue_keys(data_dir: Path) -> RescueKeys:
    """The rescue keys of this deployment, made when there are none yet. Raises `BadSetting` for an unreadable file."""
    return _load(data_dir / RESCUE_FILE_NAME, new_rescue_keys, read_rescue_keys)


def _load(path: Path, fresh: Callable[[], bytes], read: Callable[[bytes], T]) -> T:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path, fresh())
        return read(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadSetting(
            f"SELVEDGE_DATA_DIR: {path} cannot be used ({error}); wanted: a folder whose {path.name}"
            " was written by this product, or none"
        ) from None


def _make(path: Path, content: bytes) -> None:
    """Written aside and linked into place, so that of several processes starting at once one file wins."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink()
