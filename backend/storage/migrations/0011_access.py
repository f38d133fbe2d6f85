from tortoise.migrations import operations as ops
from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Id, JsonText, Millis, Text
from tortoise import fields

class Migration(GrowingMigration):
    dependencies = [('selvedge', '0009_digests')]

    operations = [
        ops.CreateModel(
            name='OidcFinished',
            fields=[
                ('state_sha256', Text(primary_key=True, unique=True, db_index=True, max_length=64)),
                ('expires_at', Millis(db_index=True)),
            ],
            options={'table': 'oidc_finished', 'app': 'selvedge', 'pk_attr': 'state_sha256', 'table_description': 'A sign-in with a provider that was finished. It cannot be finished again while its state is valid.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='OidcLink',
            fields=[
                ('id', Id(primary_key=True, unique=True, db_index=True)),
                ('issuer', Text(max_length=300)),
                ('subject', Text(max_length=255)),
                ('user_id', Id(db_index=True)),
                ('created_at', Millis()),
            ],
            options={'table': 'oidc_link', 'app': 'selvedge', 'unique_together': (('issuer', 'subject'),), 'pk_attr': 'id', 'table_description': 'A colleague as another provider knows him: by issuer and subject, never by a name that may pass on.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='PasswordReset',
            fields=[
                ('token_sha256', Text(primary_key=True, unique=True, db_index=True, max_length=64)),
                ('user_id', Id(db_index=True)),
                ('expires_at', Millis(db_index=True)),
                ('created_at', Millis()),
            ],
            options={'table': 'password_reset', 'app': 'selvedge', 'pk_attr': 'token_sha256', 'table_description': 'A one-time token an operator or admin handed to a colleague, kept as SHA-256.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='Service',
            fields=[
                ('id', Id(primary_key=True, unique=True, db_index=True)),
                ('name', Text(unique=True, max_length=80)),
                ('rights', JsonText(unique=False)),
                ('everywhere', fields.BooleanField()),
                ('locale', Text(max_length=10)),
                ('requests_per_minute', fields.IntField()),
                ('active', fields.BooleanField()),
                ('created_at', Millis()),
                ('created_by', Text(max_length=60)),
            ],
            options={'table': 'service', 'app': 'selvedge', 'pk_attr': 'id', 'table_description': 'Another system that asks in its own name.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='ServiceKey',
            fields=[
                ('id', Id(primary_key=True, unique=True, db_index=True)),
                ('service_id', Id(db_index=True)),
                ('name', Text(max_length=80)),
                ('secret_sha256', Text(max_length=64)),
                ('created_at', Millis()),
                ('created_by', Text(max_length=60)),
                ('expires_at', Millis(null=True)),
                ('revoked_at', Millis(null=True)),
                ('last_used_at', Millis(null=True)),
            ],
            options={'table': 'service_key', 'app': 'selvedge', 'pk_attr': 'id', 'table_description': 'A key of a service. Its secret was shown once and is kept as SHA-256.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='ServiceTerritory',
            fields=[
                ('id', Id(primary_key=True, unique=True, db_index=True)),
                ('service_id', Id(db_index=True)),
                ('territory_id', Id()),
            ],
            options={'table': 'service_territory', 'app': 'selvedge', 'unique_together': (('service_id', 'territory_id'),), 'pk_attr': 'id', 'table_description': 'A node of the tree a service works in, with all below it.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='SignInThrottle',
            fields=[
                ('key', Text(primary_key=True, unique=True, db_index=True, max_length=60)),
                ('failures', fields.IntField()),
                ('failed_at', Millis(db_index=True)),
                ('free_at', Millis()),
            ],
            options={'table': 'sign_in_throttle', 'app': 'selvedge', 'pk_attr': 'key', 'table_description': 'Failed sign-ins by account, address or known device. Keys are sealed and of a bounded number.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='SigningKey',
            fields=[
                ('kid', Text(primary_key=True, unique=True, db_index=True, max_length=40)),
                ('sealed', Text(max_length=200)),
                ('created_at', Millis()),
                ('signs_from', Millis()),
                ('retired_at', Millis(null=True)),
            ],
            options={'table': 'signing_key', 'app': 'selvedge', 'pk_attr': 'kid', 'table_description': "A key that access tokens are signed with, sealed under the deployment's root secret."},
            bases=['Model'],
        ),
    ]
