"""Who gets in beside passwords: the keys that sign, services and their keys, other providers, throttling."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Id, JsonText, Millis, Text


class SigningKey(Model):
    """A key that access tokens are signed with, sealed under the deployment's root secret."""

    kid = Text(max_length=40, primary_key=True)
    sealed = Text(max_length=200)
    created_at = Millis()
    signs_from = Millis()
    """later than it was made, so that every process knows it before anybody signs with it"""
    retired_at = Millis(null=True)
    """what it signed is refused from then on"""

    class Meta:
        table = "signing_key"


class SignInThrottle(Model):
    """Failed sign-ins by account, address or known device. Keys are sealed and of a bounded number."""

    key = Text(max_length=60, primary_key=True)
    failures = fields.IntField()
    failed_at = Millis(db_index=True)
    free_at = Millis()
    """no further try before"""

    class Meta:
        table = "sign_in_throttle"


class Service(Model):
    """Another system that asks in its own name."""

    id = Id(primary_key=True)
    name = Text(max_length=80, unique=True)
    rights = JsonText()
    everywhere = fields.BooleanField()
    """true: all territories, and what stands in none; false: those in `service_territory` and below"""
    locale = Text(max_length=10)
    requests_per_minute = fields.IntField()
    active = fields.BooleanField()
    created_at = Millis()
    created_by = Text(max_length=60)

    class Meta:
        table = "service"


class ServiceTerritory(Model):
    """A node of the tree a service works in, with all below it."""

    id = Id(primary_key=True)
    service_id = Id(db_index=True)
    territory_id = Id()

    class Meta:
        table = "service_territory"
        unique_together = (("service_id", "territory_id"),)


class ServiceKey(Model):
    """A key of a service. Its secret was shown once and is kept as SHA-256."""

    id = Id(primary_key=True)
    service_id = Id(db_index=True)
    name = Text(max_length=80)
    secret_sha256 = Text(max_length=64)
    created_at = Millis()
    created_by = Text(max_length=60)
    expires_at = Millis(null=True)
    revoked_at = Millis(null=True)
    last_used_at = Millis(null=True)

    class Meta:
        table = "service_key"


class OidcLink(Model):
    """A colleague as another provider knows him: by issuer and subject, never by a name that may pass on."""

    id = Id(primary_key=True)
    issuer = Text(max_length=300)
    subject = Text(max_length=255)
    user_id = Id(db_index=True)
    created_at = Millis()

    class Meta:
        table = "oidc_link"
        unique_together = (("issuer", "subject"),)


class OidcFinished(Model):
    """A sign-in with a provider that was finished. It cannot be finished again while its state is valid."""

    state_sha256 = Text(max_length=64, primary_key=True)
    expires_at = Millis(db_index=True)

    class Meta:
        table = "oidc_finished"


class PasswordReset(Model):
    """A one-time token an operator or admin handed to a colleague, kept as SHA-256."""

    token_sha256 = Text(max_length=64, primary_key=True)
    user_id = Id(db_index=True)
    expires_at = Millis(db_index=True)
    created_at = Millis()

    class Meta:
        table = "password_reset"
