"""The territory tree, who holds which node, and which customer belonged where and when."""

from tortoise.models import Model

from backend.storage.models.columns import Id, Millis, Text


class Territory(Model):
    id = Id(primary_key=True)
    parent_id = Id(null=True, db_index=True)
    path = Text(max_length=300, unique=True)
    kind = Text(max_length=10)
    name_zh = Text(max_length=120, null=True)
    name_ko = Text(max_length=120, null=True)
    name_en = Text(max_length=120, null=True)
    timezone = Text(max_length=60)
    created_at = Millis()

    class Meta:
        table = "territory"


class TerritoryMember(Model):
    """A rep holds the node, a manager the subtree below it. Never updated but to end it."""

    id = Id(primary_key=True)
    territory_id = Id(db_index=True)
    user_id = Id(db_index=True)
    valid_from = Millis()
    valid_to = Millis(null=True)
    reason = Text(max_length=300, null=True)

    class Meta:
        table = "territory_member"


class TerritoryAssignment(Model):
    """Never updated but to end it, with at most one open row per customer (partial unique index)."""

    id = Id(primary_key=True)
    customer_id = Id(db_index=True)
    territory_id = Id(db_index=True)
    valid_from = Millis()
    valid_to = Millis(null=True)
    source = Text(max_length=10)
    reason = Text(max_length=300, null=True)
    assigned_by = Text(max_length=60)

    class Meta:
        table = "territory_assignment"
