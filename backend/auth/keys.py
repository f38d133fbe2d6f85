"""The server's own secrets: the keys that sign access tokens, and one secret that others are derived from.

They live in one file of the data folder, readable by its owner only, made on the first start. Every process that
serves the same database needs the same file. To change the signing key put a new one in front: what the others
have signed stays valid until it expires.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from backend.errors import BadSetting

FILE_NAME = "keys.json"
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
    path = data_dir / FILE_NAME
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        return read_keys(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadSetting(
            f"SELVEDGE_DATA_DIR: {path} cannot be used ({error}); wanted: a folder whose {FILE_NAME}"
            " was written by this product, or none"
        ) from None


def _make(path: Path) -> None:
    """Written aside and linked into place, so that of several processes starting at once one file wins."""
    aside = path.with_name(f".{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(new_keys())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink()
