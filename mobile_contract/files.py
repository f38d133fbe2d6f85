"""The bytes of attachments, as a device sends and fetches them. Standard library only; see `attachments.md`.

The row goes through the queue like any other record (`Replica.edit("attachments", …)`); this is the other half:
bytes in chunks that a dead connection does not lose, and downloads that go on where they broke off.
"""

import hashlib
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

CHUNK_BYTES = 262_144
"""Small enough for a weak signal: what is lost with a connection is at most the end of one chunk."""
PREVIEW_BYTES_MAX = 20_000
Headers = Mapping[str, str]


class Transport(Protocol):
    """One request over HTTP, with the access token; raises `OSError` when the connection dies. Header names are
    lower case in the answer."""

    def request(self, method: str, path: str, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]: ...


class FileRefused(Exception):
    """The server said no. `later` says whether the same may pass another time."""

    def __init__(self, status: int, code: str, later: bool) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.later = later


def fields_of(
    data: bytes, *, collection: str, record_id: str, kind: str, file_name: str, mime: str, **more: Any
) -> dict[str, Any]:
    """The fields of a new row for these bytes. `more`: `caption`, `proof`."""
    return {
        "collection": collection,
        "recordId": record_id,
        "kind": kind,
        "fileName": file_name,
        "mime": mime,
        "sha256": hashlib.sha256(data).hexdigest(),
        "sizeBytes": len(data),
        **more,
    }


def upload(
    transport: Transport, attachment_id: str, data: bytes, *, chunk_bytes: int = CHUNK_BYTES, deaths_max: int = 20
) -> str:
    """Send what the server does not have yet; returns the attachment's state, `STORED`.

    Raises `FileRefused`, and `OSError` after `deaths_max` dead connections that brought nothing forward.
    """
    deaths, offset, known = 0, 0, False
    while True:
        try:
            if not known:
                offset, state = _standing(transport, attachment_id)
                if state == "STORED":
                    return state
                known = True
            answer = _send(transport, attachment_id, data, offset, chunk_bytes)
        except OSError:
            deaths += 1
            if deaths > deaths_max:
                raise
            known = False
            continue
        deaths = 0
        if answer is None:
            known = False  # somebody else sent a part, or an answer was lost: ask again
            continue
        offset = int(answer["offset"])
        if answer["state"] == "STORED":
            return "STORED"


def send_preview(transport: Transport, attachment_id: str, preview: bytes) -> None:
    """A picture of at most 20,000 bytes, ahead of the whole one, so that colleagues see something at once."""
    status, _, body = transport.request("PUT", f"/files/{attachment_id}/preview", {}, preview)
    if status != 200:
        raise _refused(status, body)


def download(
    transport: Transport,
    attachment_id: str,
    *,
    preview: bool = False,
    part_bytes: int = CHUNK_BYTES,
    deaths_max: int = 20,
) -> bytes:
    """The file whole, in ranges of one and the same version of it. Raises as `upload` does."""
    path = f"/files/{attachment_id}/preview" if preview else f"/files/{attachment_id}"
    data, tag, deaths = bytearray(), "", 0
    while True:
        wish = {"range": f"bytes={len(data)}-{len(data) + part_bytes - 1}", **({"if-range": tag} if tag else {})}
        try:
            status, headers, body = transport.request("GET", path, wish, b"")
        except OSError:
            deaths += 1
            if deaths > deaths_max:
                raise
            continue
        deaths = 0
        if status == 200:
            return body  # the whole, because it is another file by now
        if status != 206:
            raise _refused(status, body)
        tag = headers["etag"]
        data += body
        if len(data) >= int(headers["content-range"].rpartition("/")[2]):
            if hashlib.sha256(data).hexdigest() != tag.strip('"'):
                raise FileRefused(status, "DAMAGED", later=True)
            return bytes(data)


def _standing(transport: Transport, attachment_id: str) -> tuple[int, str]:
    status, headers, _ = transport.request("HEAD", f"/files/{attachment_id}", {}, b"")
    if status not in (200, 204):
        # an answer to HEAD has no body: the status is all there is
        raise FileRefused(status, "", later=status in (429, 503, 507))
    return int(headers["upload-offset"]), "STORED" if headers["upload-complete"] == "?1" else "DECLARED"


def _send(
    transport: Transport, attachment_id: str, data: bytes, offset: int, chunk_bytes: int
) -> dict[str, Any] | None:
    """The server's answer to one chunk; None when it does not begin where the server is."""
    chunk = data[offset : offset + chunk_bytes]
    span = f"{offset}-{offset + len(chunk) - 1}" if chunk else "*"
    headers = {"content-range": f"bytes {span}/{len(data)}"}
    status, _, body = transport.request("PUT", f"/files/{attachment_id}", headers, chunk)
    if status == 409 and _code(body)[0] == "UPLOAD_OFFSET":
        return None
    if status != 200:
        raise _refused(status, body)
    answer: dict[str, Any] = json.loads(body)
    return answer


def _code(body: bytes) -> tuple[str, bool]:
    problem = json.loads(body)["errors"][0]["extensions"]
    return problem["code"], problem["retry"] == "LATER"


def _refused(status: int, body: bytes) -> FileRefused:
    code, later = _code(body)
    return FileRefused(status, code, later)


@dataclass
class Http:
    """A transport over the standard library, a connection per request."""

    address: str
    token: str
    seconds_max: float = 60

    def request(self, method: str, path: str, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
        parts = urlsplit(self.address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=self.seconds_max)
        try:
            connection.request(method, path, body, {**headers, "authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            found = answer.read()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, found
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
