"""Whether it works: backtests of the priority, and evaluations of what was done to customers."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Day, Id, JsonText, LongText, Millis, Minor, Text


class PriorityEvaluation(Model):
    """A backtest that was run on this organisation's own records. Never changed once it ended."""

    id = Id(primary_key=True)
    state = Text(max_length=10)
    cuts = JsonText()
    holdout_days = fields.IntField()
    seed = fields.BigIntField()
    result = JsonText(null=True)
    problems = JsonText()
    milliseconds = fields.BigIntField()
    started_at = Millis()
    finished_at = Millis(null=True)
    beat_at = Millis()
    started_by = Text(max_length=60)

    class Meta:
        table = "priority_evaluation"
        indexes = (("started_at", "id"),)


class Evaluation(Model):
    """Something done to customers, judged against customers to whom it was not done."""

    id = Id(primary_key=True)
    state = Text(max_length=10)
    subject_kind = Text(max_length=20)
    subject_id = Text(max_length=80)
    name = Text(max_length=120)
    strategy = Text(max_length=40, null=True)
    territory_id = Id(null=True)
    """The node it is limited to; without, the whole organisation."""
    segments = JsonText()
    kinds = JsonText()
    metric = Text(max_length=20)
    starts_on = Day()
    ends_on = Day()
    holdout_bp = fields.IntField()
    salt = Text(max_length=40)
    cost_minor = Minor()
    currency = Text(max_length=3)
    expectation = LongText(null=True)
    planned_at = Millis()
    planned_by = Text(max_length=60)
    frozen_at = Millis(null=True)
    treated_n = fields.IntField(null=True)
    control_n = fields.IntField(null=True)
    ended_at = Millis(null=True)
    ended_by = Text(max_length=60, null=True)
    result = JsonText(null=True)
    lesson = LongText(null=True)

    class Meta:
        table = "evaluation"
        indexes = (("planned_at", "id"), ("subject_kind", "planned_at"))


class EvaluationArm(Model):
    """A customer as it stood when the arms were drawn: what is judged later may not move."""

    id = Id(primary_key=True)
    evaluation_id = Id()
    customer_id = Id(db_index=True)
    held_out = fields.BooleanField()
    stratum = Text(max_length=12)
    forecast_minor = Minor(null=True)
    """Margin expected of the two quarters to come, known before the start."""

    class Meta:
        table = "evaluation_arm"
        unique_together = (("evaluation_id", "customer_id"),)
