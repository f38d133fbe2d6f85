"""Customers, contacts and the links between them."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Day, Id, JsonText, LongText, Millis, Minor, Text


class Customer(Model):
    id = Id(primary_key=True)
    code = Text(max_length=60, null=True, db_index=True)
    name_zh = Text(max_length=200, null=True)
    name_ko = Text(max_length=200, null=True)
    name_en = Text(max_length=200, null=True)
    kind = Text(max_length=20)
    stage = Text(max_length=20)
    parent_id = Id(null=True, db_index=True)
    territory_id = Id(null=True)
    country = Text(max_length=2, null=True)
    province = Text(max_length=120, null=True)
    city = Text(max_length=120, null=True)
    district = Text(max_length=120, null=True)
    street = Text(max_length=200, null=True)
    postcode = Text(max_length=20, null=True)
    address_line = Text(max_length=400, null=True)
    phone = Text(max_length=20, null=True)
    email = Text(max_length=254, null=True)
    tax_id = Text(max_length=40, null=True)
    tags = JsonText()
    lat_e7 = fields.BigIntField(null=True)
    lon_e7 = fields.BigIntField(null=True)
    geofence_m = fields.IntField()
    timezone = Text(max_length=60, null=True)
    open_hours = JsonText(null=True)
    credit_limit_minor = Minor(null=True)
    currency = Text(max_length=3, null=True)
    terms_days = fields.IntField(null=True)
    price_list_id = Id(null=True)
    cadence_days = fields.IntField(null=True)
    customer_since = Day(null=True)
    notes = LongText(null=True)
    custom = JsonText(db_default="{}")
    search_keys = LongText()
    sort_key = Text(max_length=400)
    completeness_percent = fields.IntField()
    last_order_at = Millis(null=True)
    last_visit_at = Millis(null=True)
    created_at = Millis()
    created_by = Text(max_length=60)

    class Meta:
        table = "customer"
        indexes = (("territory_id", "sort_key", "id"), ("sort_key", "id"))


class Contact(Model):
    id = Id(primary_key=True)
    name_zh = Text(max_length=200, null=True)
    name_ko = Text(max_length=200, null=True)
    name_en = Text(max_length=200, null=True)
    birth_date = Day(null=True)
    phone = Text(max_length=20, null=True)
    email = Text(max_length=254, null=True)
    channels = JsonText()
    preferred_channel = Text(max_length=20, null=True)
    locale = Text(max_length=10, null=True)
    consent_events = JsonText()
    notes = LongText(null=True)
    custom = JsonText(db_default="{}")
    search_keys = LongText()
    sort_key = Text(max_length=400)
    created_at = Millis()
    created_by = Text(max_length=60)
    unrelated_since = Millis(null=True)
    """when the nightly retention first found it at no customer; null while it works at one"""

    class Meta:
        table = "contact"
        indexes = (("sort_key", "id"),)


class CustomerContact(Model):
    id = Id(primary_key=True)
    customer_id = Id(db_index=True)
    contact_id = Id(db_index=True)
    territory_id = Id(null=True)
    role = Text(max_length=20)
    is_primary = fields.BooleanField()
    created_at = Millis()

    class Meta:
        table = "customer_contact"
