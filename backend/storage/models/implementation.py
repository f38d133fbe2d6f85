"""The five steps: what there is to work with, who brings what, what is rolled out, goals, and what the system costs."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Day, Id, JsonText, LongText, Millis, Minor, Text


class Capacity(Model):
    """Minutes, budget and skills of a scope and period. Never changed, a newer one stands before it."""

    id = Id(primary_key=True)
    territory_id = Id(null=True)
    """The node it is of; without, the whole organisation."""
    starts_on = Day()
    ends_on = Day()
    working_days = fields.IntField()
    reps_n = fields.IntField()
    reps_assumed_n = fields.IntField()
    """Reps whose minutes were never recorded and taken as the usual day."""
    rep_minutes = fields.BigIntField()
    minutes_basis = Text(max_length=20)
    rollout_share_bp = fields.IntField()
    raisable_minutes = fields.BigIntField()
    budget_minor = Minor()
    raisable_budget_minor = Minor()
    currency = Text(max_length=3)
    wip_max = fields.IntField()
    skills = JsonText()
    constraints = JsonText()
    set_at = Millis()
    set_by = Text(max_length=60)

    class Meta:
        table = "capacity"
        indexes = (("territory_id", "set_at"),)


class ContributionRun(Model):
    """An analysis of who brings what, as it was found. Never changed, the oldest go when there are too many."""

    id = Id(primary_key=True)
    territory_id = Id(null=True)
    as_of = Day()
    quarters_n = fields.IntField()
    depth = Text(max_length=10)
    sample_bp = fields.IntField()
    top_n = fields.IntField(null=True)
    rows_n = fields.BigIntField()
    analysed_n = fields.IntField()
    milliseconds = fields.BigIntField()
    hours_hundredths = fields.IntField()
    """Hours people spent on it, in hundredths."""
    result = JsonText()
    started_at = Millis()
    started_by = Text(max_length=60)

    class Meta:
        table = "contribution_run"
        indexes = (("started_at", "id"),)


class RolloutItem(Model):
    """An improvement to be rolled out: five grades, what it takes, and how often it was begun and given up."""

    id = Id(primary_key=True)
    territory_id = Id(null=True)
    state = Text(max_length=10)
    name = Text(max_length=120)
    purpose = LongText(null=True)
    strategy = Text(max_length=40, null=True)
    importance = fields.IntField()
    urgency = fields.IntField()
    difficulty = fields.IntField()
    resources = fields.IntField()
    disruption = fields.IntField()
    minutes = fields.BigIntField()
    budget_minor = Minor()
    currency = Text(max_length=3)
    skills = JsonText()
    starts_n = fields.IntField()
    stops_n = fields.IntField()
    reason = LongText(null=True)
    """Why it was given up the last time."""
    proposed_at = Millis()
    proposed_by = Text(max_length=60)
    moved_at = Millis()
    """When its state changed last."""

    class Meta:
        table = "rollout_item"
        indexes = (("state", "territory_id"), ("proposed_at", "id"))


class Goal(Model):
    """A key figure from a baseline to a target by a day, and why."""

    id = Id(primary_key=True)
    name = Text(max_length=120)
    metric = Text(max_length=30)
    territory_id = Id(null=True)
    window_days = fields.IntField()
    baseline = fields.BigIntField()
    target = fields.BigIntField()
    starts_on = Day()
    due_on = Day()
    reason = LongText()
    judged_by = LongText()
    evaluation_id = Id(null=True)
    owner_id = Id()
    set_at = Millis()
    set_by = Text(max_length=60)
    closed_at = Millis(null=True)
    """When it was taken off the list."""

    class Meta:
        table = "goal"
        indexes = (("due_on", "id"),)


class SystemCost(Model):
    """What the system itself cost in a period. A row is taken back by another one of the opposite amount."""

    id = Id(primary_key=True)
    kind = Text(max_length=10)
    amount_minor = Minor()
    currency = Text(max_length=3)
    hours_hundredths = fields.IntField(null=True)
    starts_on = Day()
    ends_on = Day()
    note = LongText(null=True)
    told_at = Millis()
    told_by = Text(max_length=60)

    class Meta:
        table = "system_cost"
        indexes = (("told_at", "id"),)
