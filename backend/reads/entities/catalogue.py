"""Seasons, styles, colours, sizes and prices."""

from backend.domain.permissions import Collection
from backend.reads.entities.entity import Entity, Kind, Order
from backend.reads.entities.shorthand import (
    BY_ID,
    ID,
    NAMES,
    among,
    columns,
    listing,
    number_key,
    one,
    page,
    rev,
    same,
    text_key,
)
from backend.storage.models import catalogue

SEASONS = Entity(
    "seasons",
    "Season",
    catalogue.Season,
    Collection.CATALOGUE,
    (
        rev("seasons"),
        *columns(ID, "id"),
        *columns(Kind.TEXT, "code", *NAMES),
        *columns(Kind.DATE, "orderOpensOn", "orderClosesOn", "shipsFrom", "shipsTo"),
    ),
    {"CODE": Order(text_key("{a}.code"))},
    BY_ID,
    node=True,
)
STYLES = Entity(
    "styles",
    "Style",
    catalogue.Style,
    Collection.CATALOGUE,
    (
        rev("styles"),
        *columns(ID, "id", "seasonId"),
        *columns(Kind.TEXT, "code", "brand", *NAMES, "category"),
        *columns(Kind.TEXTS, "sizeScale"),
        *columns(Kind.ENUM, "state"),
        *columns(Kind.TIMESTAMP, "createdAt"),
        one("season", "seasons", "season_id"),
        listing("colours", "colours", "style_id", "CODE"),
        listing("skus", "skus", "style_id", "POSITION"),
        page("answers", "answers", "style_id", "ANSWERED_AT"),
    ),
    {"CODE": Order(text_key("{a}.code"))},
    {
        **BY_ID,
        **same("seasonId", "season_id"),
        **among("categoryIn", "category"),
        **among("stateIn", "state"),
        **same("code", "code"),
    },
    node=True,
)
COLOURS = Entity(
    "colours",
    "Colour",
    catalogue.Colour,
    Collection.CATALOGUE,
    (*columns(ID, "id", "styleId"), *columns(Kind.TEXT, "code", *NAMES)),
    {"CODE": Order(text_key("{a}.code"))},
    part_of=("styles", "style_id", "id"),
)
SKUS = Entity(
    "skus",
    "Sku",
    catalogue.Sku,
    Collection.CATALOGUE,
    (
        *columns(ID, "id", "styleId", "colourId"),
        *columns(Kind.TEXT, "size", "ean"),
        *columns(Kind.INT, "position"),
        *columns(Kind.ENUM, "state"),
        one("colour", "colours", "colour_id"),
    ),
    {"POSITION": Order(number_key("{a}.position"))},
    part_of=("styles", "style_id", "id"),
)
PRICE_LISTS = Entity(
    "priceLists",
    "PriceList",
    catalogue.PriceList,
    Collection.CATALOGUE,
    (
        rev("priceLists"),
        *columns(ID, "id"),
        *columns(Kind.TEXT, "code", "name", "currency"),
        page("prices", "prices", "price_list_id", "STYLE"),
    ),
    {"CODE": Order(text_key("{a}.code"))},
    BY_ID,
    node=True,
)
PRICES = Entity(
    "prices",
    "Price",
    catalogue.Price,
    Collection.CATALOGUE,
    (
        *columns(ID, "id", "priceListId", "styleId"),
        *columns(Kind.INT, "minUnits"),
        *columns(Kind.BIGINT, "priceMinor"),
        *columns(Kind.DATE, "validFrom", "validTo"),
        one("style", "styles", "style_id"),
    ),
    {"STYLE": Order(text_key("{a}.style_id"))},
    part_of=("priceLists", "price_list_id", "id"),
)
