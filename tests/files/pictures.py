"""Pictures with everything a camera writes about its owner, made here."""

import io
import random

from PIL import Image

SERIAL = "SN-4711-0815"
MAKER = "Acme Optics"
COMMENT = "taken by Kim Min-seo"


def picture(
    mime: str = "image/jpeg", *, side: int = 64, seed: int = 1, orientation: int = 1, bare: bool = False
) -> bytes:
    """A small picture of noise, in shape 3:2, with position, serial number, maker and comment."""
    rng = random.Random(seed)
    size = (side * 3 // 2, side)
    image = Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1]))
    found = io.BytesIO()
    more = {} if bare else {"exif": exif(orientation)}
    match mime:
        case "image/jpeg":
            image.save(found, "JPEG", quality=90, **more, **({} if bare else {"comment": COMMENT}))
        case "image/png":
            image.save(found, "PNG", **more)
        case "image/webp":
            image.save(found, "WEBP", quality=80, **more)
    return found.getvalue()


def exif(orientation: int) -> Image.Exif:
    written = Image.Exif()
    written[0x0112] = orientation
    written[0x010F] = MAKER
    position = written.get_ifd(0x8825)
    position[1], position[2] = "N", (31.0, 14.0, 5.5)
    position[3], position[4] = "E", (121.0, 28.0, 9.1)
    written.get_ifd(0x8769)[0xA431] = SERIAL
    return written


def position_in(data: bytes) -> dict[int, object]:
    """The GPS directory of a picture; empty when there is none."""
    with Image.open(io.BytesIO(data)) as image:
        return dict(image.getexif().get_ifd(0x8825))


def orientation_in(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        return int(image.getexif().get(0x0112, 1))


def pixels(data: bytes) -> tuple[tuple[int, int], bytes]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size, image.convert("RGBA").tobytes()


def document(size: int, seed: int = 1) -> bytes:
    """Bytes that pass for a PDF."""
    return b"%PDF-1.7\n" + random.Random(seed).randbytes(size - 9)
