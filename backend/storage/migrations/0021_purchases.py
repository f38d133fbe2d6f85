from tortoise import fields
from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Day, Id, Minor, Text


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0020_judged")]

    operations = [
        ops.CreateModel(
            name="Purchase",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("customer_id", Id()),
                ("day", Day()),
                ("currency", Text(max_length=3)),
                ("amount_minor", Minor()),
                ("orders_n", fields.IntField()),
            ],
            options={
                "table": "purchase",
                "app": "selvedge",
                "unique_together": (("customer_id", "day", "currency", "amount_minor"),),
                "pk_attr": "id",
                "table_description": "How many orders of a customer are of one day, currency and amount. Kept by whatever changes orders.",
            },
            bases=["Model"],
        ),
        # as `storage/purchases.py` counts them
        ops.RunSQL(
            sql="INSERT INTO purchase (customer_id, day, currency, amount_minor, orders_n)"
            " SELECT customer_id, ordered_on, currency, total_minor, COUNT(*) FROM sales_order"
            " WHERE state NOT IN ('DRAFT', 'CANCELLED', 'REJECTED') AND total_minor <> 0"
            " GROUP BY customer_id, ordered_on, currency, total_minor",
            reverse_sql="DELETE FROM purchase",
        ),
    ]
