"""Who was erased, what was pulled by whom and how much of it was unusual, and which nightly job ran when."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Day, Id, Millis, Text


class ErasedPerson(Model):
    """An id under which a person's data was held and never is again. Ids say nothing: they were made at random."""

    id = Id(primary_key=True)
    collection = Text(max_length=30)
    erasure_id = Id(db_index=True)
    """one erasure takes several ids: those that were merged into the record, and a consumer's own contacts"""
    reason = Text(max_length=24)
    erased_at = Millis()
    erased_by = Text(max_length=60)

    class Meta:
        table = "erased_person"


class SecurityEvent(Model):
    """Something an admin should look at. Counts and ids, never values."""

    id = Id(primary_key=True)
    at = Millis()
    kind = Text(max_length=24)
    user_id = Id()
    device_id = Id(null=True)
    rows = fields.BigIntField()
    rows_expected = fields.BigIntField()

    class Meta:
        table = "security_event"
        indexes = (("at", "id"), ("user_id", "at"))


class PulledRows(Model):
    """How many rows a device was given on a day of the organisation's, and whether that was found unusual."""

    device_id = Id(primary_key=True)
    day = Day()
    rows = fields.BigIntField()
    told = fields.BooleanField()

    class Meta:
        table = "pulled_rows"


class NightlyRun(Model):
    """The last run of each nightly job, claimed by one process."""

    job = Text(max_length=24, primary_key=True)
    day = Day()
    started_at = Millis()
    finished_at = Millis(null=True)
    failed_with = Text(max_length=60, null=True)

    class Meta:
        table = "nightly_run"
