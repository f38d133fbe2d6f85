"""What reps do: visits, orders with their lines, and tasks. Each carries its customer's territory."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Day, Id, JsonText, LongText, Millis, Minor, Text


class Visit(Model):
    id = Id(primary_key=True)
    customer_id = Id()
    rep_id = Id()
    territory_id = Id(null=True)
    state = Text(max_length=12)
    purpose = Text(max_length=12)
    planned_at = Millis(null=True)
    window_start_at = Millis(null=True)
    window_end_at = Millis(null=True)
    check_in_at = Millis(null=True)
    check_in_lat_e7 = fields.BigIntField(null=True)
    check_in_lon_e7 = fields.BigIntField(null=True)
    check_in_accuracy_m = fields.IntField(null=True)
    check_in_fix_age_s = fields.IntField(null=True)
    check_out_at = Millis(null=True)
    check_out_lat_e7 = fields.BigIntField(null=True)
    check_out_lon_e7 = fields.BigIntField(null=True)
    verification = Text(max_length=12)
    outcome = Text(max_length=200, null=True)
    next_step = Text(max_length=400, null=True)
    reason = Text(max_length=200, null=True)
    minutes_planned = fields.IntField(null=True)
    rescheduled_from_id = Id(null=True)
    notes = LongText(null=True)
    custom = JsonText(db_default="{}")
    happens_at = Millis()
    """Check-in, else planned, else created: what lists are ordered by."""
    created_at = Millis()
    created_by = Text(max_length=60)
    accepted_late_at = Millis(null=True)

    class Meta:
        table = "visit"
        indexes = (
            ("customer_id", "happens_at", "id"),
            ("rep_id", "state"),
            ("territory_id", "happens_at", "id"),
            ("happens_at", "id"),
        )


class SalesOrder(Model):
    id = Id(primary_key=True)
    number = Text(max_length=40, null=True)
    customer_id = Id()
    rep_id = Id(null=True)
    territory_id = Id(null=True)
    state = Text(max_length=20)
    source = Text(max_length=10)
    season_id = Id(null=True)
    window = Text(max_length=20, null=True)
    currency = Text(max_length=3)
    po_number = Text(max_length=60, null=True)
    requested_ship_on = Day(null=True)
    reject_reason = Text(max_length=300, null=True)
    notes = LongText(null=True)
    custom = JsonText(db_default="{}")
    total_minor = Minor()
    units = fields.BigIntField()
    ordered_on = Day()
    """Local day in the customer's zone on which it counts as ordered."""
    ordered_at = Millis()
    submitted_at = Millis(null=True)
    created_at = Millis()
    created_by = Text(max_length=60)
    accepted_late_at = Millis(null=True)

    class Meta:
        table = "sales_order"
        indexes = (
            ("customer_id", "ordered_at", "id"),
            ("territory_id", "ordered_at", "id"),
            ("ordered_at", "id"),
        )


class OrderLine(Model):
    id = Id(primary_key=True)
    order_id = Id(db_index=True)
    position = fields.IntField()
    style_id = Id(null=True)
    colour_id = Id(null=True)
    description = Text(max_length=200, null=True)
    """What was sold, for imported history without articles."""
    unit_price_minor = Minor()
    discount_bp = fields.IntField()
    cells = JsonText()
    """{sku id: quantity > 0}, imported history without articles has one cell named `-`."""
    units = fields.BigIntField()
    total_minor = Minor()

    class Meta:
        table = "order_line"


class Task(Model):
    id = Id(primary_key=True)
    customer_id = Id(null=True, db_index=True)
    assignee_id = Id()
    territory_id = Id(null=True)
    title = Text(max_length=200)
    state = Text(max_length=12)
    priority = Text(max_length=8)
    due_on = Day(null=True)
    due_at = Millis(null=True)
    due_sort = Millis()
    """The due moment, or a far future: what lists are ordered by."""
    source = Text(max_length=8)
    related_id = Id(null=True)
    snoozed_until = Millis(null=True)
    done_at = Millis(null=True)
    notes = LongText(null=True)
    custom = JsonText(db_default="{}")
    created_at = Millis()
    created_by = Text(max_length=60)
    accepted_late_at = Millis(null=True)

    class Meta:
        table = "task"
        indexes = (("assignee_id", "due_sort", "id"), ("territory_id", "due_sort", "id"))
