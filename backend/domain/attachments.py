"""Attachments: photos, signatures and documents that hang on a record, and what their bytes must be.

The row is a record like any other and travels by sync; the bytes come later, by `PUT /files/{id}`. What of the
bytes can be judged without reading pictures is judged here.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from backend.domain.fields import Field, Kind, Merge, Shape, enum_field, server_field
from backend.errors import Code, Problem, Refused


class AttachedTo(StrEnum):
    """The collections an attachment may hang on."""

    customers = "customers"
    contacts = "contacts"
    visits = "visits"
    orders = "orders"
    tasks = "tasks"


class AttachmentKind(StrEnum):
    """What an attachment is."""

    PHOTO = "PHOTO"
    SIGNATURE = "SIGNATURE"
    DOCUMENT = "DOCUMENT"


class AttachmentState(StrEnum):
    """Where the bytes of an attachment are."""

    DECLARED = "DECLARED"
    """on the device that made it, or on their way"""
    STORED = "STORED"
    """here, and checked"""
    REFUSED = "REFUSED"
    """they came and cannot be taken: sending them again does not help"""
    LOST = "LOST"
    """they were here and are not any more; who still has them may send them again"""


class PreviewState(StrEnum):
    """Whose small picture there is to show."""

    NONE = "NONE"
    DEVICE = "DEVICE"
    """the one its device sent ahead"""
    READY = "READY"
    """made here from the whole picture"""


JPEG, PNG, WEBP, HEIC, PDF = "image/jpeg", "image/png", "image/webp", "image/heic", "application/pdf"
PICTURES = frozenset({JPEG, PNG, WEBP})
MIMES: Mapping[AttachmentKind, tuple[str, ...]] = {
    AttachmentKind.PHOTO: (JPEG, PNG, WEBP),
    AttachmentKind.SIGNATURE: (PNG, JPEG, WEBP),
    AttachmentKind.DOCUMENT: (PDF, JPEG, PNG, WEBP),
}
"""Kind → types taken. HEIC is none of them: no part of this server can take its position out (ADR 0012)."""
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    JPEG: (".jpg", ".jpeg"),
    PNG: (".png",),
    WEBP: (".webp",),
    PDF: (".pdf",),
}
PREVIEW_BYTES_MAX = 20_000
FILE_NAME_CHARACTERS_MAX = 120
CAPTION_CHARACTERS_MAX = 500
SIZE_BYTES_MOST = 2**31 - 1
HEAD_BYTES = 32
"""How many bytes `sniffed` looks at."""
UPLOADABLE = frozenset({AttachmentState.DECLARED, AttachmentState.LOST})

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif"})
_UNWANTED = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]')
_NAMELESS = "file"


@dataclass(frozen=True, slots=True)
class AttachmentLimits:
    """How large a file of each kind may be, and how many hang on one record."""

    photo_bytes_max: int = 20_000_000
    signature_bytes_max: int = 1_000_000
    document_bytes_max: int = 50_000_000
    per_record_max: int = 100

    def bytes_max(self, kind: str) -> int:
        """The largest file of a kind."""
        return {
            AttachmentKind.PHOTO: self.photo_bytes_max,
            AttachmentKind.SIGNATURE: self.signature_bytes_max,
            AttachmentKind.DOCUMENT: self.document_bytes_max,
        }[AttachmentKind(kind)]


def parse_sha256(text: str) -> str:
    """64 hexadecimal digits in lower case; raises INVALID_VALUE."""
    digits = text.lower()
    if _SHA256.fullmatch(digits) is None:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("SHA-256",)))
    return digits


def parse_mime(text: str) -> str:
    """One of the media types taken at all; raises NOT_ALLOWED_VALUE with those that are."""
    mime = text.lower()
    if mime not in SUFFIXES:
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, allowed=tuple(sorted(SUFFIXES))))
    return mime


def clean_file_name(text: str) -> str:
    """The last part of a path, without what a file system or a header could take for an order.

    A name is shown and offered for saving, never opened here: bytes are kept under their hash.
    """
    last = unicodedata.normalize("NFC", text).replace("\\", "/").rstrip("/").rpartition("/")[2]
    plain = _UNWANTED.sub("", last).strip().strip(".").strip()
    return plain or _NAMELESS


def download_name(file_name: str, mime: str) -> str:
    """The name to save under, which always ends as its type does."""
    suffixes = SUFFIXES[mime]
    return file_name if file_name.lower().endswith(suffixes) else f"{file_name}{suffixes[0]}"


def sniffed(head: bytes) -> str | None:
    """The media type the first bytes of a file speak for; None for what is not known."""
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return HEIC
    return PDF if head.startswith(b"%PDF-") else None


def _mime_of_kind(record: Mapping[str, object]) -> Iterable[Problem]:
    kind, mime = record.get("kind"), record.get("mime")
    if kind is not None and mime is not None and mime not in MIMES[AttachmentKind(str(kind))]:
        yield Problem(Code.NOT_ALLOWED_VALUE, ("mime",), MIMES[AttachmentKind(str(kind))])


def _proof_is_a_visit_photo(record: Mapping[str, object]) -> Iterable[Problem]:
    photo = (record.get("collection"), record.get("kind")) == (AttachedTo.visits, AttachmentKind.PHOTO)
    if record.get("proof") and "kind" in record and not photo:
        yield Problem(Code.NOT_ALLOWED_VALUE, ("proof",), ("false",))


ATTACHMENT = Shape(
    "attachments",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        enum_field("collection", AttachedTo, nullable=False, fixed=True),
        Field("recordId", Kind.ID, nullable=False, fixed=True),
        enum_field("kind", AttachmentKind, nullable=False, fixed=True),
        Field(
            "fileName",
            Kind.TEXT,
            nullable=False,
            limit=FILE_NAME_CHARACTERS_MAX,
            check=clean_file_name,
            fixed=True,
            personal=True,
        ),
        # Of the bytes as the device holds them; what is kept here may be without its metadata.
        Field("sha256", Kind.TEXT, nullable=False, limit=64, check=parse_sha256, fixed=True),
        Field("sizeBytes", Kind.INT, nullable=False, least=1, most=SIZE_BYTES_MOST, fixed=True),
        Field("mime", Kind.TEXT, nullable=False, limit=60, check=parse_mime, fixed=True),
        # A photo that proves a visit keeps its position and everything else its camera wrote.
        Field("proof", Kind.BOOL, nullable=False, default=False, fixed=True),
        Field("caption", Kind.TEXT, limit=CAPTION_CHARACTERS_MAX, merge=Merge.MERGE, personal=True),
        server_field("state", Kind.ENUM),
        server_field("refusedFor", Kind.TEXT),
        server_field("storedSha256", Kind.TEXT),
        server_field("storedBytes", Kind.INT),
        server_field("previewState", Kind.ENUM),
        server_field("width", Kind.INT),
        server_field("height", Kind.INT),
        server_field("createdAt", Kind.TIMESTAMP),
        server_field("createdBy", Kind.TEXT),
    ),
    required=(("collection",), ("recordId",), ("kind",), ("fileName",), ("sha256",), ("sizeBytes",), ("mime",)),
    rules=(_mime_of_kind, _proof_is_a_visit_photo),
)
