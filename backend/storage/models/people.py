"""Users, their devices and sign-in families."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Id, Millis, Text


class User(Model):
    id = Id(primary_key=True)
    email = Text(max_length=254, unique=True)
    name = Text(max_length=120)
    sort_key = Text(max_length=200)
    role = Text(max_length=20)
    locale = Text(max_length=10)
    password_hash = Text(max_length=200)
    manager_id = Id(null=True, db_index=True)
    active = fields.BooleanField()
    home_lat_e7 = fields.BigIntField(null=True)
    home_lon_e7 = fields.BigIntField(null=True)
    day_minutes = fields.IntField(null=True)
    created_at = Millis()

    class Meta:
        table = "user_account"


class Device(Model):
    id = Id(primary_key=True)
    user_id = Id(db_index=True)
    name = Text(max_length=120)
    platform = Text(max_length=40)
    state = Text(max_length=10)
    created_at = Millis()
    last_seen_at = Millis()
    acked_seq = fields.BigIntField()
    """what the device has surely seen: the base of the newest cursor it presented"""
    last_client_seq = fields.BigIntField()
    state_since = Millis(null=True)
    """null: as it was registered"""
    state_reason = Text(max_length=200, null=True)
    state_by = Id(null=True)
    """who changed the state; null: the server itself"""
    drain_until = Millis(null=True)
    """while DRAINING: when it becomes REVOKED; work captured after `state_since` is not taken"""
    wipe_acked_at = Millis(null=True)
    dropped_at = Millis(null=True)
    """silent for so long that nothing is kept for it any more"""
    pulled_at = Millis(null=True)
    pushed_at = Millis(null=True)
    schema_version = fields.IntField(null=True)
    clock_offset_ms = fields.BigIntField(null=True)
    app_version = Text(max_length=40, null=True)
    unsent_count = fields.IntField(null=True)
    unsent_oldest_at = Millis(null=True)
    refused_count = fields.IntField(null=True)
    reported_at = Millis(null=True)

    class Meta:
        table = "device"


class RefreshFamily(Model):
    """One sign-in. Its refresh tokens differ by `generation` only: a token of an older one revokes it."""

    id = Id(primary_key=True)
    user_id = Id(db_index=True)
    device_id = Id(db_index=True)
    generation = fields.IntField()
    rotated_at = Millis()
    expires_at = Millis()
    revoked_at = Millis(null=True)

    class Meta:
        table = "refresh_family"
