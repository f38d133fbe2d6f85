from tortoise.migrations import operations as ops
from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Id, JsonText, Millis, Text
from tortoise import fields
from tortoise.indexes import Index

class Migration(GrowingMigration):
    dependencies = [('selvedge', '0005_attachments')]

    operations = [
        ops.CreateModel(
            name='MatchKey',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('collection', Text(max_length=30)),
                ('record_id', Id()),
                ('key', Text(max_length=270)),
            ],
            options={'table': 'match_key', 'app': 'selvedge', 'indexes': [Index(fields=['collection', 'key']), Index(fields=['collection', 'record_id'])], 'pk_attr': 'id', 'table_description': 'What records are compared by: those without a key in common cannot match.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='MatchPair',
            fields=[
                ('id', Id(primary_key=True, unique=True, db_index=True)),
                ('collection', Text(max_length=30)),
                ('first_id', Id(db_index=True)),
                ('second_id', Id(db_index=True)),
                ('points', fields.IntField()),
                ('reasons', JsonText(unique=False)),
                ('state', Text(max_length=8)),
                ('found_at', Millis()),
                ('found_by', Text(max_length=60)),
                ('decided_at', Millis(null=True)),
                ('decided_by', Text(null=True, max_length=60)),
            ],
            options={'table': 'match_pair', 'app': 'selvedge', 'unique_together': (('collection', 'first_id', 'second_id'),), 'indexes': [Index(fields=['state', 'found_at', 'id'])], 'pk_attr': 'id', 'table_description': 'Two records that may be one, for somebody to look at. `first_id` sorts before `second_id`.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='RecordAlias',
            fields=[
                ('alias_id', Id(primary_key=True, unique=True, db_index=True)),
                ('collection', Text(max_length=30)),
                ('record_id', Id(db_index=True)),
                ('merge_id', Id(db_index=True)),
                ('created_at', Millis()),
            ],
            options={'table': 'record_alias', 'app': 'selvedge', 'pk_attr': 'alias_id', 'table_description': 'An id that was merged away, and the record it stands for ever since, never another alias.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='RecordMerge',
            fields=[
                ('id', Id(primary_key=True, unique=True, db_index=True)),
                ('collection', Text(max_length=30)),
                ('survivor_id', Id(db_index=True)),
                ('merged_id', Id(db_index=True)),
                ('state', Text(max_length=8)),
                ('undo', JsonText(unique=False)),
                ('merged_at', Millis()),
                ('merged_by', Text(max_length=60)),
                ('undone_at', Millis(null=True)),
                ('undone_by', Text(null=True, max_length=60)),
            ],
            options={'table': 'record_merge', 'app': 'selvedge', 'indexes': [Index(fields=['merged_at', 'id'])], 'pk_attr': 'id', 'table_description': 'One record made of two. `undo` holds what taking it back needs.'},
            bases=['Model'],
        ),
    ]
