"""Fields an organisation defines for itself."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Id, JsonText, Millis, Text


class CustomFieldRow(Model):
    """A definition. The values are in the `custom` columns of the records."""

    id = Id(primary_key=True)
    collection = Text(max_length=30)
    key = Text(max_length=40)
    kind = Text(max_length=12)
    name_zh = Text(max_length=80, null=True)
    name_ko = Text(max_length=80, null=True)
    name_en = Text(max_length=80, null=True)
    required = fields.BooleanField()
    personal = fields.BooleanField()
    choices = JsonText()
    least = fields.BigIntField(null=True)
    most = fields.BigIntField(null=True)
    position = fields.IntField()
    retired = fields.BooleanField()
    required_since = Millis(null=True)
    created_at = Millis()
    created_by = Text(max_length=60)

    class Meta:
        table = "custom_field"
        unique_together = (("collection", "key"),)
