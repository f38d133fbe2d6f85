"""The server's own secrets: the keys that sign access tokens, one secret that others are derived from, and the
keys that open rescue files.

They live in two files of the data folder, readable by their owner only, made on the first start. Every process that
serves the same database needs the same files. To change a key put a new one in front: what the others have signed
stays valid until it expires, and what was encrypted for them can still be opened.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backend.errors import BadSetting

T = TypeVar("T")
FILE_NAME = "keys.json"
RESCUE_FILE_NAME = "rescue-keys.json"
RESCUE_CURVE = ec.SECP256R1()
SEED_BYTES = 32


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


def load_keys(data_dir: Path) -> Keys:
    """The keys of this deployment, made when there are none yet. Raises `BadSetting` for an unreadable file."""
    return _load(data_dir / FILE_NAME, new_keys, read_keys)


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
