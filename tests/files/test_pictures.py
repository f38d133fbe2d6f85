"""What leaves a picture and what stays: position, serial numbers and comments go, pixels and orientation stay."""

import io
import random
import struct
import zlib

import pytest
from PIL import Image

from backend.domain.attachments import (
    HEIC,
    JPEG,
    PDF,
    PICTURES,
    PNG,
    PREVIEW_BYTES_MAX,
    WEBP,
    clean_file_name,
    download_name,
    sniffed,
)
from backend.domain.pictures import BadPicture, orientation_of, tiff_with, without_metadata
from backend.integrations.pictures import PictureTooLarge, read_picture
from tests.files.pictures import COMMENT, MAKER, SERIAL, orientation_in, picture, pixels, position_in

MIMES = sorted(PICTURES)
PERSONAL = [SERIAL.encode(), MAKER.encode(), COMMENT.encode()]


@pytest.mark.parametrize("mime", MIMES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_metadata_goes_and_the_picture_stays(mime: str, orientation: int) -> None:
    taken = picture(mime, orientation=orientation)
    assert position_in(taken), "the test's own picture says where it was taken"
    assert SERIAL.encode() in taken
    plain = without_metadata(taken, mime)
    assert position_in(plain) == {}
    assert not [word for word in PERSONAL if word in plain]
    assert pixels(plain) == pixels(taken)
    assert orientation_in(plain) == orientation
    assert without_metadata(plain, mime) == plain


@pytest.mark.parametrize("mime", MIMES)
def test_what_hangs_behind_a_picture_goes(mime: str) -> None:
    taken = picture(mime)
    hidden = taken + picture("image/jpeg", seed=2) + b"MotionPhoto_Data"
    assert without_metadata(hidden, mime) == without_metadata(taken, mime)


def test_a_jpeg_keeps_its_colours_and_loses_every_other_segment() -> None:
    taken = picture(JPEG, bare=True)
    profile = b"ICC_PROFILE\0\1\1" + b"p" * 40
    extra = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
        for marker, body in [
            (0xE1, b"http://ns.adobe.com/xap/1.0/\0<GPSLatitude>31,14N"),
            (0xED, b"Photoshop 3.0\0by-line"),
            (0xE2, profile),
            (0xE2, b"MPF\0another picture"),
            (0xEB, b"maker's own"),
            (0xFE, b"a comment"),
        ]
    )
    plain = without_metadata(taken[:2] + extra + taken[2:], JPEG)
    assert profile in plain
    assert not [word for word in (b"GPS", b"by-line", b"MPF", b"maker", b"comment") if word in plain]
    assert pixels(plain) == pixels(taken)


def test_a_png_loses_its_texts_and_its_time() -> None:
    taken = picture(PNG, bare=True)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    at = taken.index(b"IDAT") - 4
    extra = (
        chunk(b"tEXt", b"Author\0Kim") + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0gps") + chunk(b"tIME", b"1234567")
    )
    plain = without_metadata(taken[:at] + extra + chunk(b"prVt", b"private") + taken[at:], PNG)
    assert plain == without_metadata(taken, PNG)


@pytest.mark.parametrize("mime", MIMES)
def test_broken_pictures_are_called_that_and_nothing_worse(mime: str) -> None:
    """Cut anywhere, and with single bytes changed: a picture or `BadPicture`, and never its old metadata."""
    taken = picture(mime, side=24)
    rng = random.Random(7)
    refused = 0
    for cut in rng.sample(range(len(taken)), 60):
        with pytest.raises(BadPicture):
            read_picture(taken[:cut], mime, pixels_max=10_000)
    for _ in range(150):
        changed = bytearray(taken)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        try:
            found = read_picture(bytes(changed), mime, pixels_max=10_000)
        except (BadPicture, PictureTooLarge):
            refused += 1
        else:
            assert position_in(found.data) == {}
            assert len(found.preview) <= PREVIEW_BYTES_MAX
    assert refused > 5


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    with pytest.raises(PictureTooLarge):
        read_picture(bomb, PNG, pixels_max=64_000_000)
    with pytest.raises(BadPicture):
        read_picture(picture(PNG), JPEG, pixels_max=64_000_000)


@pytest.mark.parametrize("mime", MIMES)
def test_a_preview_is_small_upright_and_says_nothing(mime: str) -> None:
    found = read_picture(picture(mime, side=500, orientation=6), mime, pixels_max=1_000_000)
    assert (found.width, found.height) == (750, 500)
    assert len(found.preview) <= PREVIEW_BYTES_MAX
    assert sniffed(found.preview) == JPEG
    with Image.open(io.BytesIO(found.preview)) as small:
        assert small.height > small.width
        assert not small.getexif()


def test_a_clear_picture_is_shown_on_white() -> None:
    drawn = io.BytesIO()
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(drawn, "PNG")
    preview = read_picture(drawn.getvalue(), PNG, pixels_max=1_000).preview
    with Image.open(io.BytesIO(preview)) as small:
        assert small.convert("RGB").getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_in_both_byte_orders(order: str) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tiff = mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, 8, 0, 0)
    assert orientation_of(tiff) == 8
    assert orientation_of(tiff[:-4]) == 8
    assert orientation_of(tiff[:12]) == orientation_of(b"") == orientation_of(b"XX" + tiff) == 1
    assert orientation_of(tiff_with(3)) == 3
    assert orientation_of(tiff_with(99)) == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\kim\\photo.jpg", "photo.jpg"),
        ("..", "file"),
        ("...", "file"),
        ("/", "file"),
        ("a/../b.jpg", "b.jpg"),
        (".htaccess", "htaccess"),
        ("店面照片.jpg", "店面照片.jpg"),
        ("매장 사진.jpg", "매장 사진.jpg"),
        ("e\u0301.jpg", "\u00e9.jpg"),
        ("invoice\u202egpj.exe", "invoicegpj.exe"),
        ('a"b<c>|?*:.pdf', "abc.pdf"),
        ("name\u0000.jpg", "name.jpg"),
    ],
)
def test_names_lose_their_paths_and_their_tricks(given: str, kept: str) -> None:
    assert clean_file_name(given) == kept
    assert clean_file_name(kept) == kept


def test_a_download_is_named_after_what_it_is() -> None:
    assert download_name("photo.exe", JPEG) == "photo.exe.jpg"
    assert download_name("photo.JPEG", JPEG) == "photo.JPEG"
    assert download_name("page.html", PDF) == "page.html.pdf"


def test_types_are_known_by_their_first_bytes() -> None:
    assert [sniffed(picture(mime)) for mime in (JPEG, PNG, WEBP)] == [JPEG, PNG, WEBP]
    assert sniffed(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == HEIC
    assert sniffed(b"%PDF-1.4") == PDF
    for other in (b"", b"<svg xmlns=", b"<!doctype html>", b"GIF89a", b"RIFF\0\0\0\0WAVE", b"MZ", b"PK\3\4"):
        assert sniffed(other) is None
