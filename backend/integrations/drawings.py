"""Small drawn pictures for the demo company: a shop's window and a signature. Nobody is on them."""

import io
import random

from PIL import Image, ImageDraw

WINDOW_SIZE = (640, 480)
SIGNATURE_SIZE = (480, 160)


def drawn_window(seed: int) -> bytes:
    """A JPEG of a shop's window with a row of clothes; the same for a seed."""
    rng = random.Random(seed)
    wide, high = WINDOW_SIZE
    image = Image.new("RGB", WINDOW_SIZE, (222, 214, 202))
    draw = ImageDraw.Draw(image)
    draw.rectangle((30, 60, wide - 30, high - 70), fill=(198, 214, 222), outline=(90, 84, 78), width=8)
    draw.rectangle((0, 0, wide, 52), fill=tuple(rng.randrange(40, 160) for _ in range(3)))
    for place in range(5):
        left = 70 + 105 * place
        colour = tuple(rng.randrange(60, 230) for _ in range(3))
        draw.polygon([(left, 170), (left + 80, 170), (left + 95, 350), (left - 15, 350)], fill=colour)
        draw.ellipse((left + 22, 110, left + 58, 150), outline=(90, 84, 78), width=3)
    found = io.BytesIO()
    image.save(found, "JPEG", quality=70)
    return found.getvalue()


def drawn_signature(seed: int) -> bytes:
    """A PNG of a line drawn by hand; the same for a seed."""
    rng = random.Random(seed)
    wide, high = SIGNATURE_SIZE
    image = Image.new("L", SIGNATURE_SIZE, 255)
    points = [(40 + step * (wide - 80) / 24, high / 2 + rng.uniform(-0.35, 0.35) * high) for step in range(25)]
    ImageDraw.Draw(image).line(points, fill=20, width=4, joint="curve")
    found = io.BytesIO()
    image.save(found, "PNG", optimize=True)
    return found.getvalue()
