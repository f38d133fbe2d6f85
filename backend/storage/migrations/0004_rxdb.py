from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Id, LongText, Millis, Text


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0003_devices")]

    operations = [
        ops.CreateModel(
            name='RxdbKept',
            fields=[
                ('key', Text(primary_key=True, unique=True, db_index=True, max_length=80)),
                ('device_id', Id(db_index=True)),
                ('collection', Text(max_length=30)),
                ('presented', Text(null=True, max_length=64)),
                ('answer', LongText(null=True, unique=False)),
                ('base_seq', fields.BigIntField()),
                ('seen_at', Millis()),
            ],
            options={'table': 'rxdb_kept', 'app': 'selvedge', 'pk_attr': 'key', 'table_description': 'One row per device and collection: how far it has come, and the checkpoint of its last empty answer.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='RxdbWaiting',
            fields=[
                ('mutation_id', Id(primary_key=True, unique=True, db_index=True)),
                ('device_id', Id(db_index=True)),
                ('first_at', Millis()),
            ],
            options={'table': 'rxdb_waiting', 'app': 'selvedge', 'pk_attr': 'mutation_id', 'table_description': 'A row pushed before the record it names: since when it has been told to come again.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='RxdbPushed',
            fields=[
                ('key', Text(primary_key=True, unique=True, db_index=True, max_length=120)),
                ('device_id', Id()),
                ('collection', Text(max_length=30)),
                ('record_id', Id()),
                ('at', Millis()),
            ],
            options={'table': 'rxdb_pushed', 'app': 'selvedge', 'indexes': [Index(fields=['device_id', 'collection', 'at'])], 'pk_attr': 'key', 'table_description': 'When a device last pushed a record: for some seconds it may not hear what it is told of it.'},
            bases=['Model'],
        ),
    ]
