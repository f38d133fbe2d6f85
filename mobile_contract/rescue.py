"""Writing a rescue file: a device's unsent work, encrypted so that only its own server can open it.

For porting: everything here is in WebCrypto (ECDH P-256, HKDF with SHA-256, AES-256-GCM). The file holds nothing a
finder could read, so it may be sent by mail or lie in a downloads folder. What a device needs is the server's public
key, from the query `rescueKey`: keep it from every sign-in, so that a file can be written without signal.
"""

import base64
import json
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Document = dict[str, Any]
FORMAT = "selvedge-rescue-1"
IV_BYTES = 12
KEY_BYTES = 32


def rescue_content(user_id: str, device_id: str, queue: Iterable[Document], made_at: str) -> Document:
    """What a rescue file holds: whose work, and the queue as `syncPush` takes it. `made_at` is the device's clock."""
    return {"format": FORMAT, "user": user_id, "device": device_id, "madeAt": made_at, "queue": list(queue)}


def write_rescue(content: Document, kid: str, public_key: str, *, iv: bytes) -> bytes:
    """The bytes of a rescue file. `public_key` as `rescueKey` gives it; `iv` 12 random bytes, never used twice.

    1. Make an ECDH P-256 key pair for this file alone and agree on 32 bytes with the server's public key.
    2. HKDF-SHA256 of them, salt = our public point (65 bytes, uncompressed), info = `<format>.<kid>` → 32 bytes.
    3. AES-256-GCM of the content as UTF-8 JSON, additional data = `<format>.<kid>.<our public point in base64url>`.
    """
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unbase64(public_key))
    own = ec.generate_private_key(ec.SECP256R1())
    point = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    agreed = own.exchange(ec.ECDH(), theirs)
    secret = HKDF(hashes.SHA256(), KEY_BYTES, salt=point, info=f"{FORMAT}.{kid}".encode()).derive(agreed)
    plain = json.dumps(content).encode()
    sealed = AESGCM(secret).encrypt(iv, plain, f"{FORMAT}.{kid}.{base64url(point)}".encode())
    file = {
        "format": FORMAT,
        "kid": kid,
        "key": base64url(point),
        "iv": base64url(iv),
        "sealed": base64url(sealed),
    }
    return json.dumps(file).encode()


def base64url(data: bytes) -> str:
    """RFC 4648 §5, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
