"""What can be ordered: seasons, styles in colours and sizes, and prices."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Day, Id, JsonText, Millis, Minor, Text


class Season(Model):
    id = Id(primary_key=True)
    code = Text(max_length=20, unique=True)
    name_zh = Text(max_length=120, null=True)
    name_ko = Text(max_length=120, null=True)
    name_en = Text(max_length=120, null=True)
    order_opens_on = Day()
    order_closes_on = Day()
    ships_from = Day()
    ships_to = Day()

    class Meta:
        table = "season"


class Style(Model):
    id = Id(primary_key=True)
    code = Text(max_length=40, unique=True)
    brand = Text(max_length=40)
    name_zh = Text(max_length=160, null=True)
    name_ko = Text(max_length=160, null=True)
    name_en = Text(max_length=160, null=True)
    category = Text(max_length=30, db_index=True)
    season_id = Id(null=True, db_index=True)
    size_scale = JsonText()
    state = Text(max_length=12)
    created_at = Millis()

    class Meta:
        table = "style"


class Colour(Model):
    id = Id(primary_key=True)
    style_id = Id(db_index=True)
    code = Text(max_length=20)
    name_zh = Text(max_length=60, null=True)
    name_ko = Text(max_length=60, null=True)
    name_en = Text(max_length=60, null=True)

    class Meta:
        table = "colour"


class Sku(Model):
    id = Id(primary_key=True)
    style_id = Id(db_index=True)
    colour_id = Id(db_index=True)
    size = Text(max_length=12)
    position = fields.IntField()
    ean = Text(max_length=14, null=True)
    state = Text(max_length=12)

    class Meta:
        table = "sku"


class PriceList(Model):
    id = Id(primary_key=True)
    code = Text(max_length=40, unique=True)
    name = Text(max_length=120)
    currency = Text(max_length=3)

    class Meta:
        table = "price_list"


class Price(Model):
    id = Id(primary_key=True)
    price_list_id = Id(db_index=True)
    style_id = Id(db_index=True)
    min_units = fields.IntField()
    price_minor = Minor()
    valid_from = Day()
    valid_to = Day(null=True)

    class Meta:
        table = "price"


class ExchangeRate(Model):
    """One unit of `currency` in the reporting currency, times 10^9, from `valid_from` on."""

    id = Id(primary_key=True)
    currency = Text(max_length=3)
    valid_from = Day()
    rate_e9 = fields.BigIntField()

    class Meta:
        table = "exchange_rate"
        unique_together = (("currency", "valid_from"),)
