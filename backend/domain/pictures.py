"""Pictures without what their camera wrote about time, place and owner, the pixels untouched.

JPEG, PNG and WebP are taken apart into their parts, and only parts that are needed to show the picture are put
together again: what is not known to be needed is left out, so no new kind of metadata slips through. The one thing
told of the old metadata is how the picture is to be turned. Sources: ITU T.81 and JFIF 1.02, PNG third edition,
RFC 9649 (WebP), Exif 2.32.
"""

import re
import struct
import zlib
from collections.abc import Iterator

from backend.domain.attachments import JPEG, PNG, WEBP

UPRIGHT = 1
_ORIENTATION_TAG, _SHORT = 0x0112, 3
_IFD_ENTRIES_MAX = 1_000
_EXIF = b"Exif\0\0"

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP0, _APP1, _APP2, _APP14, _APP15, _COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends the entropy-coded data of a scan."""
_JFIF_BYTES = 12

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_SHOWN = frozenset(
    {
        b"IHDR",
        b"PLTE",
        b"IDAT",
        b"IEND",
        b"tRNS",
        b"cHRM",
        b"gAMA",
        b"iCCP",
        b"sBIT",
        b"sRGB",
        b"bKGD",
        b"pHYs",
        b"cICP",
    }
)
_WEBP_SHOWN = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP"})
_WEBP_EXIF_FLAG, _WEBP_XMP_FLAG, _WEBP_MOVING_FLAG = 0x08, 0x04, 0x02


class BadPicture(ValueError):
    """The bytes are not a whole picture of their type."""


def without_metadata(data: bytes, mime: str) -> bytes:
    """The same picture without position, times, makers, numbers, comments and thumbnails. Raises `BadPicture`."""
    take_apart = {JPEG: _jpeg, PNG: _png, WEBP: _webp}[mime]
    try:
        return take_apart(data)
    except (struct.error, IndexError) as error:
        raise BadPicture(str(error)) from error


def orientation_of(tiff: bytes) -> int:
    """How a picture is to be turned, 1 to 8, by the first directory of its Exif data; 1 where it does not say."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return UPRIGHT
    start = struct.unpack_from(f"{order}I", tiff, 4)[0]
    if start + 2 > len(tiff):
        return UPRIGHT
    count = min(struct.unpack_from(f"{order}H", tiff, start)[0], _IFD_ENTRIES_MAX)
    for at in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
        if tag == _ORIENTATION_TAG and kind == _SHORT:
            found = int(struct.unpack_from(f"{order}H", tiff, at + 8)[0])
            return found if 1 <= found <= 8 else UPRIGHT
    return UPRIGHT


def tiff_with(orientation: int) -> bytes:
    """Exif data that says how to turn the picture and nothing else."""
    return struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, _ORIENTATION_TAG, _SHORT, 1, orientation, 0, 0)


def _jpeg(data: bytes) -> bytes:
    opening: list[bytes] = []
    rest: list[bytes] = []
    orientation = UPRIGHT
    for marker, part in _jpeg_parts(data):
        body = part[4:]
        if marker == _APP0 and body.startswith(b"JFIF\0"):
            # without the small picture it may carry
            opening.append(_segment(_APP0, body[:_JFIF_BYTES].ljust(_JFIF_BYTES, b"\0") + b"\0\0"))
        elif marker == _APP1 and body.startswith(_EXIF):
            orientation = orientation_of(body[len(_EXIF) :])
        elif _shown_in_jpeg(marker, body):
            rest.append(part)
    if orientation != UPRIGHT:
        opening.append(_segment(_APP1, _EXIF + tiff_with(orientation)))
    return b"".join([b"\xff\xd8", *opening, *rest, b"\xff\xd9"])


def _shown_in_jpeg(marker: int, body: bytes) -> bool:
    if marker == _APP2:
        return body.startswith(b"ICC_PROFILE\0")
    if marker == _APP14:
        return body.startswith(b"Adobe")
    return marker != _COM and not _APP0 <= marker <= _APP15


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _jpeg_parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, segment with the scan that follows it) up to the end of the first picture; what comes after is left."""
    if data[:2] != b"\xff\xd8":
        raise BadPicture("no start of image")
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        if data[at] != 0xFF:
            raise BadPicture("a segment begins without a marker")
        marker = data[at + 1]
        if marker == _EOI:
            return
        if marker in _STANDALONE:
            yield marker, data[at : at + 2]
            at += 2
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise BadPicture("a segment is longer than the file")
        if marker == _SOS:
            found = _AFTER_SCAN.search(data, end)
            if found is None:
                raise BadPicture("the scan does not end")
            end = found.start()
        yield marker, data[at:end]
        at = end


def _png(data: bytes) -> bytes:
    if not data.startswith(_PNG_SIGNATURE):
        raise BadPicture("no PNG signature")
    parts = list(_png_parts(data))
    if not parts or parts[0][0] != b"IHDR" or parts[-1][0] != b"IEND":
        raise BadPicture("no whole PNG")
    orientation = next((orientation_of(body) for name, body in parts if name == b"eXIf"), UPRIGHT)
    shown = [_chunk(name, body) for name, body in parts if name in _PNG_SHOWN]
    if orientation != UPRIGHT:
        shown.insert(1, _chunk(b"eXIf", tiff_with(orientation)))
    return b"".join([_PNG_SIGNATURE, *shown])


def _png_parts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG_SIGNATURE)
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise BadPicture("a chunk is longer than the file")
        yield name, data[at + 8 : end]
        if name == b"IEND":
            return
        at = end + 4


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _webp(data: bytes) -> bytes:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise BadPicture("no WebP container")
    parts = list(_webp_parts(data))
    names = [name for name, _ in parts]
    if b"ANMF" in names or not {b"VP8 ", b"VP8L"} & set(names):
        raise BadPicture("no single picture")
    exif = next((body for name, body in parts if name == b"EXIF"), b"")
    orientation = orientation_of(exif.removeprefix(_EXIF))
    turned = orientation != UPRIGHT and b"VP8X" in names
    shown = []
    for name, body in parts:
        if name == b"VP8X" and body:
            kept = body[0] & ~(_WEBP_EXIF_FLAG | _WEBP_XMP_FLAG | _WEBP_MOVING_FLAG)
            body = bytes([kept | (_WEBP_EXIF_FLAG if turned else 0)]) + body[1:]
        if name in _WEBP_SHOWN:
            shown.append(_riff(name, body))
    if turned:
        shown.append(_riff(b"EXIF", tiff_with(orientation)))
    whole = b"WEBP" + b"".join(shown)
    return b"RIFF" + struct.pack("<I", len(whole)) + whole


def _webp_parts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks within the container; what follows it is left."""
    end_of_all = min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    at = 12
    while at + 8 <= end_of_all:
        name, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length
        if end > end_of_all:
            raise BadPicture("a chunk is longer than the file")
        yield name, data[at + 8 : end]
        at = end + length % 2


def _riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
