"""The composition root: what exists once per process, and which use case answers to which intent."""

from backend.sync.changes import Intent
from backend.sync.push import UseCaseTable
from backend.usecases.contacts import change_contacts, change_customer_contacts
from backend.usecases.customers import change_customers
from backend.usecases.orders import change_orders
from backend.usecases.tasks import change_tasks
from backend.usecases.visits import change_visits

USE_CASES: UseCaseTable = {
    (collection, intent): use_case
    for collection, use_case in {
        "customers": change_customers,
        "contacts": change_contacts,
        "customerContacts": change_customer_contacts,
        "visits": change_visits,
        "orders": change_orders,
        "tasks": change_tasks,
    }.items()
    for intent in Intent
}
"""The table: (collection, intent) → use case, for online mutations and pushes alike."""
