"""Customers, the people at them, and pairs that may be one."""

from dataclasses import replace

from backend.domain.permissions import Action, Collection
from backend.reads.entities.entity import Beside, Entity, Filter, Kind, Many, Order, Relation
from backend.reads.entities.shorthand import (
    BY_CUSTOM,
    BY_ID,
    FOUND,
    FOUND_SQLITE,
    ID,
    NAMES,
    NO_PERSON,
    PERSONS,
    among,
    attached_to,
    by_key_beside,
    columns,
    custom_values,
    money,
    number_key,
    one,
    page,
    rev,
    same,
    text_key,
)
from backend.storage.models import customers, merges

CUSTOMERS = Entity(
    "customers",
    "Customer",
    customers.Customer,
    Collection.CUSTOMERS,
    (
        rev("customers"),
        *columns(ID, "id", "parentId", "territoryId", "priceListId"),
        *columns(Kind.TEXT, "code"),
        *(replace(name, personal_where=PERSONS) for name in columns(Kind.TEXT, *NAMES, personal=True)),
        *columns(Kind.ENUM, "kind", "stage"),
        *columns(Kind.TEXT, "country", "province", "city", "district", "postcode", "timezone", "currency"),
        *columns(Kind.TEXT, "street", "addressLine", "phone", "email", "taxId", "notes", personal=True),
        *columns(Kind.TEXTS, "tags"),
        *columns(Kind.INT, "latE7", "lonE7", personal=True),
        *columns(Kind.INT, "geofenceM", "termsDays", "cadenceDays", "completenessPercent"),
        *columns(Kind.JSON, "openHours"),
        custom_values("customers"),
        *columns(Kind.DATE, "customerSince"),
        *columns(Kind.TIMESTAMP, "createdAt", "lastOrderAt", "lastVisitAt"),
        money("creditLimit", "credit_limit_minor"),
        one("parent", "customers", "parent_id"),
        one("territory", "territories", "territory_id"),
        one("priceList", "priceLists", "price_list_id"),
        one("score", "scores", "id", "customer_id"),
        Relation("nextVisit", "visits", Many.FIRST, "id", "customer_id", "SOONEST", ("ahead",)),
        page("doors", "customers", "parent_id", "NAME"),
        page("contacts", "customerContacts", "customer_id", "CREATED_AT"),
        page("visits", "visits", "customer_id", "HAPPENS_AT"),
        page("orders", "orders", "customer_id", "ORDERED_AT"),
        page("tasks", "tasks", "customer_id", "DUE"),
        page("answers", "answers", "customer_id", "ANSWERED_AT"),
        page("cases", "cases", "customer_id", "OPENED_AT"),
        page("judgements", "judgements", "customer_id", "ENDS_ON"),
        attached_to("customers"),
    ),
    {
        "NAME": Order(text_key("{a}.sort_key", personal=True)),
        "PRIORITY": by_key_beside(Beside("customer_score", "customer_id", "priority", "scores", -1)),
        "CREATED_AT": Order(number_key("{a}.created_at"), descending=True),
        "LAST_ORDER_AT": Order(number_key("coalesce({a}.last_order_at, 0)"), descending=True),
    },
    {
        **BY_ID,
        **BY_CUSTOM,
        "search": Filter(FOUND, FOUND_SQLITE, repeats=True, personal=True, masked="searchTrade"),
        "searchTrade": Filter(f"{NO_PERSON} AND {FOUND}", f"{NO_PERSON} AND {FOUND_SQLITE}", repeats=True),
        **among("kindIn", "kind"),
        **among("stageIn", "stage"),
        **same("territoryId", "territory_id"),
        **same("parentId", "parent_id"),
        "tag": Filter(
            "EXISTS (SELECT 1 FROM json_array_elements_text({a}.tags::json) t(value) WHERE t.value = ?::text)",
            "EXISTS (SELECT 1 FROM json_each({a}.tags) t WHERE t.value = ?)",
        ),
    },
    node=True,
    few=True,
)
CUSTOMER_CONTACTS = Entity(
    "customerContacts",
    "CustomerContact",
    customers.CustomerContact,
    Collection.CONTACTS,
    (
        rev("customerContacts"),
        *columns(ID, "id", "customerId", "contactId"),
        *columns(Kind.ENUM, "role"),
        *columns(Kind.BOOL, primary="is_primary"),
        *columns(Kind.TIMESTAMP, "createdAt"),
        one("customer", "customers", "customer_id"),
        one("contact", "contacts", "contact_id"),
    ),
    {"CREATED_AT": Order(number_key("{a}.created_at"))},
    BY_ID,
    node=True,
)
CONTACTS = Entity(
    "contacts",
    "Contact",
    customers.Contact,
    Collection.CONTACTS,
    (
        rev("contacts"),
        *columns(ID, "id"),
        *columns(Kind.TEXT, *NAMES, "phone", "email", "notes", personal=True),
        *columns(Kind.DATE, "birthDate", personal=True),
        *columns(Kind.JSON, "channels", personal=True),
        *columns(Kind.ENUM, "preferredChannel", "locale"),
        *columns(Kind.JSON, "consentEvents"),
        custom_values("contacts"),
        *columns(Kind.TIMESTAMP, "createdAt"),
        page("customers", "customerContacts", "contact_id", "CREATED_AT"),
        attached_to("contacts"),
    ),
    {
        "NAME": Order(text_key("{a}.sort_key", personal=True)),
        "CREATED_AT": Order(number_key("{a}.created_at"), descending=True),
    },
    {
        **BY_ID,
        **BY_CUSTOM,
        "search": Filter(FOUND, FOUND_SQLITE, repeats=True, personal=True),
        "customerId": Filter(
            "EXISTS (SELECT 1 FROM customer_contact {a}l WHERE {a}l.contact_id = {a}.id"
            " AND {a}l.customer_id = ?::text AND {scope customerContacts {a}l})"
        ),
    },
    node=True,
    few=True,
)


def _pair_of(entity: str, table: str) -> str:
    """Both records are seen; of a pair that was merged one record is no more, and the other is."""

    def there(column: str, more: str = "") -> str:
        return f"EXISTS (SELECT 1 FROM {table} {{a}}x WHERE {{a}}x.id = {{a}}.{column}{more})"

    seen = f" AND {{scope {entity} {{a}}x}}"
    either = [f"({there(column, seen)} OR NOT {there(column)})" for column in ("first_id", "second_id")]
    merged = f"{{a}}.state = 'MERGED' AND {' AND '.join(either)} AND ({there('first_id')} OR {there('second_id')})"
    both = f"{there('first_id', seen)} AND {there('second_id', seen)}"
    return f"{{a}}.collection = '{entity}' AND ({{a}}.state <> 'MERGED' AND {both} OR {merged})"


MATCH_PAIRS = Entity(
    "matchPairs",
    "MatchPair",
    merges.MatchPair,
    Collection.CUSTOMERS,
    (
        *columns(ID, "id", "firstId", "secondId"),
        *columns(Kind.TEXT, "collection"),
        *columns(Kind.INT, "points"),
        *columns(Kind.ENUM, "state"),
        *columns(Kind.TEXTS, reasonCodes="reasons"),
        *columns(Kind.TIMESTAMP, "foundAt"),
        one("firstCustomer", "customers", "first_id"),
        one("secondCustomer", "customers", "second_id"),
        one("firstContact", "contacts", "first_id"),
        one("secondContact", "contacts", "second_id"),
    ),
    {"FOUND_AT": Order(number_key("{a}.found_at"), descending=True)},
    {**BY_ID, **same("collection", "collection"), **same("state", "state")},
    actions=(Action.MERGE,),
    sees=lambda _: f"({_pair_of('customers', 'customer')} OR {_pair_of('contacts', 'contact')})",
)
