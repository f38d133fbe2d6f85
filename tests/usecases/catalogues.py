"""A small catalogue: one style in one colour and three sizes, a season whose book is open, one price list."""

from dataclasses import dataclass

from backend.ids import new_id
from backend.sync.work import Work
from tests import factories


@dataclass(frozen=True)
class Shelf:
    style: str
    colour: str
    small: str
    medium: str
    discontinued: str
    season: str
    closed_season: str
    price_list: str


async def stock(work: Work) -> Shelf:
    shelf = Shelf(*(new_id() for _ in range(8)))
    conn = work.conn
    for season_id, code, closes in ((shelf.season, "SS27", "2027-03-31"), (shelf.closed_season, "AW25", "2025-06-30")):
        await factories.insert(
            conn,
            "season",
            id=season_id,
            code=code,
            order_opens_on="2025-01-01",
            order_closes_on=closes,
            ships_from="2027-01-01",
            ships_to="2027-06-30",
        )
        work.touched("seasons", season_id)
    await factories.insert(
        conn,
        "style",
        id=shelf.style,
        code="HZ-2614",
        brand="HAIZHI",
        name_en="Linen shirt",
        category="TOPS",
        season_id=shelf.season,
        size_scale='["S","M","L"]',
        state="ACTIVE",
        created_at=factories.NOW_MS,
    )
    await factories.insert(conn, "colour", id=shelf.colour, style_id=shelf.style, code="01", name_en="White")
    for position, (sku, size, state) in enumerate(
        ((shelf.small, "S", "ACTIVE"), (shelf.medium, "M", "ACTIVE"), (shelf.discontinued, "L", "DISCONTINUED"))
    ):
        await factories.insert(
            conn,
            "sku",
            id=sku,
            style_id=shelf.style,
            colour_id=shelf.colour,
            size=size,
            position=position,
            state=state,
        )
    work.touched("styles", shelf.style)
    await factories.insert(conn, "price_list", id=shelf.price_list, code="CN", name="China", currency="CNY")
    for min_units, price_minor in ((1, 10_000), (50, 9_000)):
        await factories.insert(
            conn,
            "price",
            id=new_id(),
            price_list_id=shelf.price_list,
            style_id=shelf.style,
            min_units=min_units,
            price_minor=price_minor,
            valid_from="2025-01-01",
        )
    work.touched("priceLists", shelf.price_list)
    return shelf
