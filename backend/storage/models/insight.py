"""Score runs and what they found. Rows are written by a run only."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Day, Id, JsonText, LongText, Millis, Minor, Text


class ScoreRun(Model):
    id = Id(primary_key=True)
    state = Text(max_length=10)
    as_of = Day()
    table_id = Id()
    models = JsonText()
    """Fitted parameters, their status and level factors, for the record."""
    scope = JsonText()
    problems = JsonText()
    """Why it failed, or whom it had to leave out: problems as clients see them."""
    customers_scored = fields.IntField()
    customers_changed = fields.IntField()
    milliseconds = fields.BigIntField()
    started_at = Millis()
    finished_at = Millis(null=True)
    beat_at = Millis()
    """The last sign of life while it runs."""
    cancel_asked_at = Millis(null=True)
    """When somebody asked it to end."""
    started_by = Text(max_length=60)

    class Meta:
        table = "score_run"
        indexes = (("started_at", "id"),)


class PriorityTable(Model):
    """The frozen weights, curves and 101-knot tables that a phone ranks with. Never updated."""

    id = Id(primary_key=True)
    version = Text(max_length=40)
    tables = JsonText()
    created_at = Millis()

    class Meta:
        table = "priority_table"


class CustomerScore(Model):
    customer_id = Id(primary_key=True)
    run_id = Id(db_index=True)
    table_id = Id()
    """The priority table its facts are ranked with."""
    territory_id = Id(null=True)
    priority = fields.IntField()
    segment = Text(max_length=12)
    segment_since = Day()
    previous_segment = Text(max_length=12, null=True)
    segment_cause = Text(max_length=20)
    stage = Text(max_length=20)
    existing_value_minor = Minor(null=True)
    potential_minor = Minor(null=True)
    loyalty_hundredths = fields.IntField(null=True)
    satisfaction_hundredths = fields.IntField(null=True)
    churn_risk_bp = fields.IntField(null=True)
    past_value_minor = Minor()
    future_value_minor = Minor()
    currency = Text(max_length=3)
    basis = Text(max_length=20)
    coverage_bp = fields.IntField()
    """Share of the weight of loyalty's parts that was recorded."""
    confidence_bp = fields.IntField()
    """How much the customer's own history weighs in its forecasts."""
    as_of = Day()
    facts = JsonText()
    """The integers a phone ranks with (`mobile_contract/priority.py`)."""
    evidence = LongText()
    """Ids of the order, visits and tasks the lines name, to tell whether they still stand."""
    segment_state = fields.BigIntField()
    segment_state_before = fields.BigIntField()
    segment_counted_on = Day()
    """The segment's memory, packed: as the night of that day left it, and as it found it."""
    questions = JsonText(db_default="[]")
    """What to ask on the next visit, the most telling first."""
    measures = JsonText(db_default="{}")
    """What the customer told us, by measure: value, confidence, basis, and the records it rests on."""

    class Meta:
        table = "customer_score"
        indexes = (("territory_id", "priority", "customer_id"), ("priority", "customer_id"))


class ScoreLine(Model):
    id = Id(primary_key=True)
    customer_id = Id(db_index=True)
    position = fields.IntField()
    code = Text(max_length=40)
    points = fields.IntField()
    recorded = fields.BooleanField()
    numbers = JsonText()
    evidence = JsonText()

    class Meta:
        table = "score_line"


class Purchase(Model):
    """How many orders of a customer are of one day, currency and amount. Kept by whatever changes orders."""

    id = fields.BigIntField(primary_key=True, generated=True)
    customer_id = Id()
    day = Day()
    currency = Text(max_length=3)
    amount_minor = Minor()
    orders_n = fields.IntField()

    class Meta:
        table = "purchase"
        unique_together = (("customer_id", "day", "currency", "amount_minor"),)
