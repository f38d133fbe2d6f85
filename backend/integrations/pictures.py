"""Looking into pictures: how large they are, whether they can be shown, and a small one to show first.

A picture says its size before any of it is unpacked; one that would unpack to more than is allowed is refused
then. Pillow is given only the type that was found, and only what is needed to show the picture.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image, ImageOps

from backend.domain.attachments import JPEG, PNG, PREVIEW_BYTES_MAX, WEBP
from backend.domain.pictures import BadPicture, without_metadata

FORMATS: Mapping[str, str] = {JPEG: "JPEG", PNG: "PNG", WEBP: "WEBP"}
PREVIEW_SIDES = (480, 320, 200, 120, 64)
PREVIEW_QUALITIES = (75, 55, 35)
# the bound is our own setting, looked at before anything is unpacked
Image.MAX_IMAGE_PIXELS = None


class PictureTooLarge(ValueError):
    """More pixels than are allowed."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What was found. `data` is the picture without metadata, sizes are pixels as stored, `preview` is a JPEG."""

    data: bytes
    width: int
    height: int
    preview: bytes


def read_picture(data: bytes, mime: str, *, pixels_max: int) -> Picture:
    """Unpack a picture once. Raises `BadPicture`, `PictureTooLarge`; never anything else for what it is given."""
    plain = without_metadata(data, mime)
    try:
        with Image.open(io.BytesIO(plain), formats=[FORMATS[mime]]) as image:
            width, height = image.size
            if width * height > pixels_max:
                raise PictureTooLarge(f"{width} x {height}")
            return Picture(plain, width, height, _preview(image))
    except PictureTooLarge:
        raise
    except Exception as error:  # bytes made to mislead break a decoder in any way
        raise BadPicture(type(error).__name__) from error


def _preview(image: Image.Image) -> bytes:
    """A JPEG of at most 20,000 bytes, upright, on white where the picture is transparent."""
    # lets a large JPEG be unpacked at a fraction of its size
    image.draft("RGB", (2 * PREVIEW_SIDES[0], 2 * PREVIEW_SIDES[0]))
    small: Image.Image = ImageOps.exif_transpose(image)
    for side in PREVIEW_SIDES:
        small.thumbnail((side, side))
        shown = _on_white(small)
        for quality in PREVIEW_QUALITIES:
            found = io.BytesIO()
            shown.save(found, "JPEG", quality=quality, optimize=True)
            if found.tell() <= PREVIEW_BYTES_MAX:
                return found.getvalue()
    raise BadPicture("no preview is small enough")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGB", "L"):
        return image
    clear = image.convert("RGBA")
    ground = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(ground, clear).convert("RGB")
