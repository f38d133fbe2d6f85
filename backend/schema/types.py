"""The object types. Each field is a line in `backend/reads/entities/` too; `check_types` compares them.

A field below that is no column and no relation is *computed*: a selection asking for it is answered the
ordinary way, record by record.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import strawberry
from graphql import GraphQLNonNull, GraphQLObjectType, GraphQLSchema, get_named_type

from backend.domain.addresses import LAT_E7_MAX, LON_E7_MAX, haversine_m
from backend.domain.attachments import AttachedTo, AttachmentKind, AttachmentState, PreviewState
from backend.domain.cases import CaseKind, CasePriority, CaseState
from backend.domain.catalogue import ArticleState
from backend.domain.consent import Channel
from backend.domain.contacts import ContactRole, Language
from backend.domain.custom import Customised, CustomKind
from backend.domain.customers import CustomerKind, LifecycleStage
from backend.domain.forms import FormOccasion, Measured
from backend.domain.judgements import JudgementKind, JudgementReason
from backend.domain.orders import OrderSource, OrderState
from backend.domain.permissions import Role
from backend.domain.tasks import TaskPriority, TaskSource, TaskState
from backend.domain.territories import TerritoryKind
from backend.domain.times import days_between
from backend.domain.visits import VisitOutcome, VisitPurpose, VisitReason, VisitState, VisitVerification
from backend.errors import Code, Problem, refuse_if
from backend.reads.entities.entity import Column, Embedded, Entity, Kind, Many, Relation
from backend.reads.entities.table import ENTITIES
from backend.schema.enums import ENUMS
from backend.schema.paging import Connection, Node, to_one, to_page
from backend.schema.scalars import JSON, BigInt, Day, Instant

field = strawberry.field
ID = strawberry.ID

REV = "Number of the record's last change; given back as `baseRev` when changing it."
ATTACHED = "Photos, signatures and documents, latest first."
CUSTOM = "Values of the fields your organisation defined, by key."
ZH, KO, EN = "Name in Chinese.", "Name in Korean.", "Name in Latin script."


@strawberry.type(description="An amount of money in minor units of its currency (ISO 4217).")
class Money:
    amount_minor: BigInt = field(description="The amount in minor units: cents for USD, won for KRW.")
    currency: str = field(description="ISO 4217 code.")


@strawberry.type(description="A party the company trades with, of any kind.")
class Customer(Node):
    rev: BigInt = field(description=REV)
    code: str | None = field(description="The company's own code.")
    name_zh: str | None = field(description=ZH)
    name_ko: str | None = field(description=KO)
    name_en: str | None = field(description=EN)
    kind: CustomerKind = field(description="What the customer is to the company.")
    stage: LifecycleStage = field(description="How far the customer is on the way.")
    parent_id: ID | None = field(
        description="The head of the chain this customer is a door of. A head is no door itself."
    )
    parent: "Customer | None" = to_one("The head of the chain; null when out of your scope.")
    doors: "Connection[Customer]" = to_page("The chain's doors in your scope, by name.")
    territory_id: ID | None = field(description="The territory the customer belongs to.")
    territory: "Territory | None" = to_one("The territory the customer belongs to.")
    country: str | None = field(description="ISO 3166 code of the address.")
    province: str | None = field(description="Province or state of the address.")
    city: str | None = field(description="City of the address.")
    district: str | None = field(description="District of the address.")
    street: str | None = field(description="Street and number.")
    postcode: str | None = field(description="Postcode in its country's form.")
    address_line: str | None = field(description="The address as one line.")
    phone: str | None = field(description="Telephone number, E.164.")
    email: str | None = field(description="E-mail address.")
    tax_id: str | None = field(description="Tax number.")
    tags: list[str] = field(description="Free labels, sorted.")
    lat_e7: int | None = field(description="Latitude in degrees times 10^7.")
    lon_e7: int | None = field(description="Longitude in degrees times 10^7.")
    geofence_m: int = field(description="Radius in metres within which a check-in counts as on the spot.")
    timezone: str | None = field(description="IANA zone in which the customer's days are judged.")
    open_hours: JSON | None = field(description="Opening spans by weekday, MON to SUN.")
    credit_limit: Money | None = field(description="How much may be owed.")
    currency: str | None = field(description="ISO 4217 code of the customer's prices.")
    terms_days: int | None = field(description="Days until an invoice is due.")
    price_list_id: ID | None = field(description="The price list that holds for the customer.")
    price_list: "PriceList | None" = to_one("The price list that holds for the customer.")
    cadence_days: int | None = field(description="Days meant to lie between two visits.")
    notes: str | None = field(description="Free notes.")
    custom: JSON = field(description=CUSTOM)
    customer_since: Day | None = field(description="First day of the relation.")
    completeness_percent: int = field(description="How much of what a record of its kind needs is known, 0-100.")
    created_at: Instant = field(description="When the record was made.")
    last_order_at: Instant | None = field(description="When the latest order was placed.")
    last_visit_at: Instant | None = field(description="When the latest visit took place.")
    next_visit: "Visit | None" = to_one("The next visit planned or confirmed.")
    score: "CustomerScore | None" = to_one("What the latest score run found.")
    contacts: "Connection[CustomerContact]" = to_page("Links to the people at this customer, oldest first.")
    visits: "Connection[Visit]" = to_page("Visits, latest first.")
    orders: "Connection[Order]" = to_page("Orders, latest first.")
    tasks: "Connection[Task]" = to_page("Tasks, by due moment.")
    answers: "Connection[Answer]" = to_page("What the customer answered to forms, latest first.")
    cases: "Connection[Case]" = to_page("Complaints, latest first.")
    judgements: "Connection[Judgement]" = to_page("Skips and overrides of its priority, latest first.")
    attachments: "Connection[Attachment]" = to_page(ATTACHED)

    @field(description="Distance in metres from a position as the crow flies; null when either is unknown.")
    def distance_m(
        self: Any,
        from_lat_e7: Annotated[int, strawberry.argument(description="Latitude in degrees times 10^7.")],
        from_lon_e7: Annotated[int, strawberry.argument(description="Longitude in degrees times 10^7.")],
    ) -> int | None:
        bounds = (("fromLatE7", from_lat_e7, LAT_E7_MAX), ("fromLonE7", from_lon_e7, LON_E7_MAX))
        refuse_if(
            Problem(Code.OUT_OF_RANGE, (name,), allowed=(str(-most), str(most)))
            for name, given, most in bounds
            if abs(given) > most
        )
        lat_e7, lon_e7 = self.read("lat_e7"), self.read("lon_e7")
        if lat_e7 is None or lon_e7 is None:
            return None
        return round(haversine_m(from_lat_e7, from_lon_e7, lat_e7, lon_e7))


@strawberry.type(description="That a person is a contact at a customer, and as what.")
class CustomerContact(Node):
    rev: BigInt = field(description=REV)
    customer_id: ID = field(description="The customer.")
    customer: Customer | None = to_one("The customer; null when out of your scope.")
    contact_id: ID = field(description="The person.")
    contact: "Contact | None" = to_one("The person; null when out of your scope.")
    role: ContactRole = field(description="What the person does there.")
    primary: bool = field(description="Whether this is the first person to ask for.")
    created_at: Instant = field(description="When the link was made.")


@strawberry.type(description="A person at one or more customers.")
class Contact(Node):
    rev: BigInt = field(description=REV)
    name_zh: str | None = field(description=ZH)
    name_ko: str | None = field(description=KO)
    name_en: str | None = field(description=EN)
    birth_date: Day | None = field(description="Day of birth.")
    phone: str | None = field(description="Telephone number, E.164.")
    email: str | None = field(description="E-mail address.")
    channels: JSON | None = field(description="Address by channel; null for roles that read masked data.")
    preferred_channel: Channel | None = field(description="How the person likes to be reached.")
    locale: Language | None = field(description="The language the person is written to in.")
    consent_events: JSON = field(description="Every consent given and withdrawn, in full.")
    notes: str | None = field(description="Free notes.")
    custom: JSON = field(description=CUSTOM)
    created_at: Instant = field(description="When the record was made.")
    customers: Connection[CustomerContact] = to_page("Links to the customers of this person in your scope.")
    attachments: "Connection[Attachment]" = to_page(ATTACHED)


@strawberry.type(description="A call on a customer in person, planned or made.")
class Visit(Node):
    rev: BigInt = field(description=REV)
    customer_id: ID = field(description="Who is visited.")
    customer: Customer | None = to_one("Who is visited; null when out of your scope.")
    rep_id: ID = field(description="Who visits.")
    rep: "Person | None" = to_one("Who visits.")
    territory_id: ID | None = field(description="The customer's territory.")
    state: VisitState = field(description="Where the visit stands.")
    purpose: VisitPurpose = field(description="What the visit is for.")
    planned_at: Instant | None = field(description="When it is meant to begin.")
    window_start_at: Instant | None = field(description="Earliest moment agreed.")
    window_end_at: Instant | None = field(description="Latest moment agreed.")
    check_in_at: Instant | None = field(description="When the rep arrived.")
    check_in_lat_e7: int | None = field(description="Latitude on arrival, degrees times 10^7.")
    check_in_lon_e7: int | None = field(description="Longitude on arrival, degrees times 10^7.")
    check_in_accuracy_m: int | None = field(description="Accuracy of the position in metres.")
    check_in_fix_age_s: int | None = field(description="Age of the position in seconds.")
    check_out_at: Instant | None = field(description="When the rep left.")
    check_out_lat_e7: int | None = field(description="Latitude on leaving, degrees times 10^7.")
    check_out_lon_e7: int | None = field(description="Longitude on leaving, degrees times 10^7.")
    verification: VisitVerification = field(description="What the position on arrival proves.")
    outcome: VisitOutcome | None = field(description="What the visit brought.")
    next_step: str | None = field(description="What was agreed to happen next.")
    reason: VisitReason | None = field(description="Why it was aborted, missed or cancelled.")
    minutes_planned: int | None = field(description="How long it is meant to take.")
    rescheduled_from_id: ID | None = field(description="The missed visit it stands for.")
    rescheduled_from: "Visit | None" = to_one("The missed visit it stands for.")
    answers: "Connection[Answer]" = to_page("What was answered on it, latest first.")
    notes: str | None = field(description="Free notes.")
    custom: JSON = field(description=CUSTOM)
    happens_at: Instant = field(description="Arrival, else the plan: what lists are ordered by.")
    created_at: Instant = field(description="When the record was made.")
    accepted_late_at: Instant | None = field(
        description="When it was taken from whoever had the customer before, as captured before the change."
    )
    attachments: "Connection[Attachment]" = to_page(ATTACHED)


@strawberry.type(description="An order with its lines, one whole.")
class Order(Node):
    rev: BigInt = field(description=REV)
    number: str | None = field(description="The order number, given by the server.")
    customer_id: ID = field(description="Who orders.")
    customer: Customer | None = to_one("Who orders; null when out of your scope.")
    rep_id: ID | None = field(description="Who took the order.")
    rep: "Person | None" = to_one("Who took the order.")
    territory_id: ID | None = field(description="The customer's territory.")
    state: OrderState = field(description="Where the order stands.")
    source: OrderSource = field(description="How the order came in.")
    season_id: ID | None = field(description="The season it is placed in.")
    season: "Season | None" = to_one("The season it is placed in.")
    window: str | None = field(description="The delivery window.")
    currency: str = field(description="ISO 4217 code of all its amounts.")
    po_number: str | None = field(description="The customer's own number.")
    requested_ship_on: Day | None = field(description="Day on which the customer wants it shipped.")
    reject_reason: str | None = field(description="Why it was rejected.")
    notes: str | None = field(description="Free notes.")
    custom: JSON = field(description=CUSTOM)
    total: Money = field(description="Sum of the lines.")
    units: BigInt = field(description="Pieces in all.")
    ordered_on: Day = field(description="Local day in the customer's zone on which it counts as ordered.")
    ordered_at: Instant = field(description="When it counts as ordered.")
    submitted_at: Instant | None = field(description="When it was submitted.")
    created_at: Instant = field(description="When the record was made.")
    accepted_late_at: Instant | None = field(
        description="When it was taken from whoever had the customer before, as captured before the change."
    )
    lines: "list[OrderLine]" = to_one("The lines, in their order.")
    attachments: "Connection[Attachment]" = to_page(ATTACHED)

    @field(description="Days from the local day of the order to a given day; negative before it.")
    def age_days(self: Any, on: Annotated[Day, strawberry.argument(description="The day to count to.")]) -> int:
        return days_between(self.read("ordered_on"), on)


@strawberry.type(description="One style in one colour within an order, with its sizes.")
class OrderLine:
    id: ID = field(description="The line's UUID.")
    position: int = field(description="Place among the lines.")
    style_id: ID | None = field(description="What is ordered.")
    style: "Style | None" = to_one("What is ordered.")
    colour_id: ID | None = field(description="In which colour.")
    colour: "Colour | None" = to_one("In which colour.")
    description: str | None = field(description="What was sold, in history without articles.")
    unit_price_minor: BigInt = field(description="Price of one piece in minor units of the order's currency.")
    discount_bp: int = field(description="Discount in basis points, 0 to 10,000.")
    cells: JSON = field(description="Pieces by SKU id.")
    units: BigInt = field(description="Pieces of the line.")
    total_minor: BigInt = field(description="The line's amount in minor units of the order's currency.")


@strawberry.type(description="Something a colleague has to do.")
class Task(Node):
    rev: BigInt = field(description=REV)
    customer_id: ID | None = field(description="The customer it is about.")
    customer: Customer | None = to_one("The customer it is about; null when out of your scope.")
    assignee_id: ID = field(description="Who has to do it.")
    assignee: "Person | None" = to_one("Who has to do it.")
    territory_id: ID | None = field(description="The customer's territory.")
    title: str = field(description="What is to be done.")
    state: TaskState = field(description="Where the task stands.")
    priority: TaskPriority = field(description="How much it matters.")
    due_on: Day | None = field(description="Day by which it is due.")
    due_at: Instant | None = field(description="Moment at which it is due.")
    source: TaskSource = field(description="Who made it: a rule or a person.")
    related_id: ID | None = field(description="The record it came from.")
    snoozed_until: Instant | None = field(description="When it comes back.")
    done_at: Instant | None = field(description="When it was done.")
    notes: str | None = field(description="Free notes.")
    custom: JSON = field(description=CUSTOM)
    created_at: Instant = field(description="When the record was made.")
    accepted_late_at: Instant | None = field(
        description="When it was taken from whoever had the customer before, as captured before the change."
    )
    attachments: "Connection[Attachment]" = to_page(ATTACHED)


@strawberry.type(description="A photo, a signature or a document on a record. It is seen before its bytes are here.")
class Attachment(Node):
    rev: BigInt = field(description=REV)
    collection: AttachedTo = field(description="What kind of record it hangs on.")
    record_id: ID = field(description="The record it hangs on.")
    kind: AttachmentKind = field(description="What it is.")
    file_name: str = field(description="Its name on the device that made it.")
    caption: str | None = field(description="What is to be seen on it.")
    mime: str = field(description="Media type of the bytes.")
    sha256: str = field(description="SHA-256 of the bytes as the device holds them, hexadecimal.")
    size_bytes: int = field(description="Size of the bytes as the device holds them.")
    proof: bool = field(description="Whether it proves a visit; only then it keeps the position it was taken at.")
    state: AttachmentState = field(description="Where its bytes are.")
    refused_for: str | None = field(description="The code of why its bytes were refused.")
    stored_sha256: str | None = field(description="SHA-256 of the bytes kept here, which a download gives.")
    stored_bytes: int | None = field(description="Size of the bytes kept here.")
    preview_state: PreviewState = field(description="Whose small picture there is.")
    width: int | None = field(description="Width of the picture in pixels, as stored.")
    height: int | None = field(description="Height of the picture in pixels, as stored.")
    url: str = field(description="Path the bytes are sent to and fetched from.")
    preview_url: str = field(description="Path of the small picture, at most 20,000 bytes.")
    created_by: ID = field(description="The colleague who declared it.")
    created_at: Instant = field(description="When it was declared.")


@strawberry.type(description="A node of the territory tree.")
class Territory(Node):
    rev: BigInt = field(description=REV)
    parent_id: ID | None = field(description="The node above.")
    parent: "Territory | None" = to_one("The node above.")
    children: "Connection[Territory]" = to_page("The nodes below, by path.")
    path: str = field(description="Path in the tree, such as /cn/east/sh-01.")
    kind: TerritoryKind = field(description="How large the node is.")
    name_zh: str | None = field(description=ZH)
    name_ko: str | None = field(description=KO)
    name_en: str | None = field(description=EN)
    timezone: str = field(description="IANA zone of the territory.")
    created_at: Instant = field(description="When the record was made.")
    customers: Connection[Customer] = to_page("Customers of this node in your scope, by name.")


@strawberry.type(description="A field your organisation defined for its records.")
class CustomField(Node):
    rev: BigInt = field(description=REV)
    collection: Customised = field(description="Of which records.")
    key: str = field(description="Its name in `custom`; never changes.")
    kind: CustomKind = field(description="What it holds; never changes.")
    name_zh: str | None = field(description="Label in Chinese.")
    name_ko: str | None = field(description="Label in Korean.")
    name_en: str | None = field(description="Label in English.")
    required: bool = field(description="Whether a new record must have it.")
    required_since: Instant | None = field(description="Since when: what was entered before is taken without.")
    personal: bool = field(description="Whether roles that read masked data do not read it.")
    choices: JSON = field(description="Of CHOICE and CHOICES: values with their labels; a retired one is still taken.")
    least: BigInt | None = field(description="Of INT: the smallest number.")
    most: BigInt | None = field(description="Of INT: the largest number.")
    position: int = field(description="Its place on forms, smallest first.")
    retired: bool = field(description="No form shows it any more; what records hold stays.")
    created_at: Instant = field(description="When it was defined.")


@strawberry.type(description="A colleague, as far as everybody may know.")
class Person(Node):
    rev: BigInt = field(description=REV)
    name: str = field(description="Full name.")
    role: Role = field(description="What the colleague does in the company.")
    locale: Language = field(description="The colleague's language.")
    active: bool = field(description="Whether the colleague still works here.")


ACCEPTED_LATE = "When it was taken from whoever had the customer before, as captured before the change."


@strawberry.type(description="One version of a form; the highest one of a key that is not retired is in force.")
class Form(Node):
    rev: BigInt = field(description=REV)
    key: str = field(description="What its versions share.")
    version: int = field(description="Which version, counted from 1.")
    occasion: FormOccasion = field(description="When it is asked.")
    name_zh: str | None = field(description=ZH)
    name_ko: str | None = field(description=KO)
    name_en: str | None = field(description=EN)
    questions: JSON = field(
        description="What is asked, in that sequence: key, kind, labels, required, personal, choices, bounds, measure."
    )
    retired: bool = field(description="No longer asked; answers to it are still taken and read.")
    created_at: Instant = field(description="When it was published.")


@strawberry.type(description="What a customer answered to a form. Never changed: a correction is a further answer.")
class Answer(Node):
    rev: BigInt = field(description=REV)
    form_id: ID = field(description="The version that was asked.")
    form: Form | None = to_one("The version that was asked.")
    customer_id: ID = field(description="Who answered.")
    customer: Customer | None = to_one("Who answered; null when out of your scope.")
    visit_id: ID | None = field(description="The visit it was asked on.")
    visit: Visit | None = to_one("The visit it was asked on.")
    contact_id: ID | None = field(description="The person who answered.")
    style_id: ID | None = field(description="The style it is about.")
    style: "Style | None" = to_one("The style it is about.")
    corrects_id: ID | None = field(description="The answer it corrects.")
    corrects: "Answer | None" = to_one("The answer it corrects.")
    territory_id: ID | None = field(description="The customer's territory.")
    values: JSON | None = field(
        description="What was said, by the question's key; null for roles that read masked data, empty once erased."
    )
    measures: "list[AnswerMeasure]" = to_one("What of it is a measurement.")
    answered_at: Instant = field(description="When it was said.")
    created_at: Instant = field(description="When the record was made.")
    accepted_late_at: Instant | None = field(description=ACCEPTED_LATE)


@strawberry.type(description="A measurement in an answer.")
class AnswerMeasure:
    id: ID = field(description="The measurement's UUID.")
    position: int = field(description="Place among the measurements.")
    measure: Measured = field(description="What is measured.")
    question: str = field(description="The question it was an answer to.")
    value: BigInt = field(description="As asked: 1-5, 0-10, per cent, a count; or minor units of the currency.")
    currency: str | None = field(description="ISO 4217 code of an amount of money.")


@strawberry.type(description="A complaint, from the day it is heard until it is settled.")
class Case(Node):
    rev: BigInt = field(description=REV)
    kind: CaseKind = field(description="What it is about.")
    customer_id: ID = field(description="Who complains.")
    customer: Customer | None = to_one("Who complains; null when out of your scope.")
    contact_id: ID | None = field(description="The person who complains.")
    visit_id: ID | None = field(description="The visit on which it was heard.")
    visit: Visit | None = to_one("The visit on which it was heard.")
    about_order_id: ID | None = field(description="The order it is about.")
    about_order: Order | None = to_one("The order it is about.")
    style_id: ID | None = field(description="The style it is about.")
    style: "Style | None" = to_one("The style it is about.")
    assignee_id: ID | None = field(description="Who works on it.")
    assignee: "Person | None" = to_one("Who works on it.")
    territory_id: ID | None = field(description="The customer's territory.")
    subject: str = field(description="What it is about, in a line.")
    notes: str | None = field(description="What was said.")
    priority: CasePriority = field(description="How bad it is, P1 the worst.")
    state: CaseState = field(description="Where it stands.")
    escalated: bool = field(description="Whether a manager asked for it to be settled before others.")
    resolution: str | None = field(description="How it was settled.")
    opened_at: Instant = field(description="When it was heard.")
    due_at: Instant = field(description="By when it should be settled, time spent waiting for the customer added.")
    waiting_since: Instant | None = field(description="Since when the customer's answer is awaited.")
    resolved_at: Instant | None = field(description="When it was settled.")
    late: bool = field(description="Whether it was settled after it was due, this time or before it was reopened.")
    reopened_times: int = field(description="How often it was opened again.")
    created_at: Instant = field(description="When the record was made.")
    accepted_late_at: Instant | None = field(description=ACCEPTED_LATE)


@strawberry.type(description="Where people know better than a priority: a skip, or an override, with its reason.")
class Judgement(Node):
    rev: BigInt = field(description=REV)
    kind: JudgementKind = field(description="A skip, or an override.")
    reason: JudgementReason = field(description="Why.")
    note: str | None = field(description="Why, in words.")
    customer_id: ID = field(description="Who is judged.")
    customer: Customer | None = to_one("Who is judged; null when out of your scope.")
    territory_id: ID | None = field(description="The customer's territory.")
    starts_on: Day = field(description="First local day it holds.")
    ends_on: Day = field(description="Last local day it holds.")
    score: int | None = field(description="The priority an override puts the customer at, 0 to 100.")
    points: int | None = field(description="By how much an override moves the priority instead.")
    score_before: int | None = field(description="The priority the latest run had given when it was made.")
    withdrawn: bool = field(description="Whether it was taken back.")
    withdrawn_at: Instant | None = field(description="When it was taken back.")
    author: "Person | None" = to_one("Whose judgement it is.")
    created_by: str = field(description="Id of whose judgement it is.")
    created_at: Instant = field(description="When the record was made.")
    accepted_late_at: Instant | None = field(description=ACCEPTED_LATE)


@strawberry.type(description="What the latest score run found about a customer.")
class CustomerScore:
    rev: BigInt = field(description=REV)
    customer_id: ID = field(description="The customer.")
    customer: Customer | None = to_one("The customer; null when out of your scope.")
    run_id: ID = field(description="The run that found it.")
    table_id: ID = field(description="The published weights and tables its facts are ranked with.")
    territory_id: ID | None = field(description="The customer's territory.")
    priority: int = field(description="Priority of a visit, 0 to 100; the lines add up to it.")
    lines: "list[ScoreLine]" = to_one("What the priority is made of, in the order to be shown.")
    segment: str = field(description="Segment: H or L for existing value, potential, loyalty, satisfaction.")
    segment_since: Day = field(description="Day on which the segment was entered.")
    previous_segment: str | None = field(description="The segment before.")
    segment_cause: str = field(description="What moved the customer to its segment.")
    stage: LifecycleStage = field(description="Stage of the customer's life.")
    existing_value: Money | None = field(description="Value the customer brings today.")
    potential: Money | None = field(description="Value the customer could bring.")
    past_value: Money = field(description="Value of all past orders.")
    future_value: Money = field(description="Value expected of future orders.")
    loyalty_hundredths: int | None = field(description="Loyalty 0 to 100, times 100.")
    satisfaction_hundredths: int | None = field(description="Satisfaction 0 to 100, times 100.")
    churn_risk_bp: int | None = field(description="Risk of leaving in basis points.")
    basis: str = field(description="What the value stands on.")
    coverage_bp: int = field(description="Share of loyalty's parts that was recorded, basis points.")
    confidence_bp: int = field(description="Confidence in basis points.")
    as_of: Day = field(description="Day the run looked from.")
    facts: JSON = field(description="The whole numbers a phone ranks with.")
    questions: JSON = field(
        description="What to ask on the next visit, the most telling first: what it measures, whether it was never"
        " recorded or is old, and the segments the worst and the best answer would lead to."
    )
    measures: JSON = field(
        description="What the customer told us, by measure: value, confidence, what it stands on, from when until when"
        " in how many records, and the latest of those."
    )


@strawberry.type(description="One line of a priority.")
class ScoreLine:
    id: ID = field(description="The line's UUID.")
    position: int = field(description="Place among the lines.")
    code: str = field(description="What the line is about.")
    points: int = field(description="Points it adds or takes.")
    recorded: bool = field(description="Whether there was data for it.")
    numbers: JSON = field(description="The numbers behind it, for its text.")
    evidence: JSON = field(description="The records behind it.")


@strawberry.type(description="One run of the scoring of all customers.")
class ScoreRun:
    id: ID = field(description="The run's UUID.")
    state: str = field(description="Where the run stands.")
    as_of: Day = field(description="Day the run looked from.")
    table_id: ID = field(description="The priority table it used.")
    models: JSON = field(description="Fitted parameters and how each fit ended.")
    scope: JSON = field(description="What was scored.")
    problems: JSON = field(description="Why it failed, or whom it left out.")
    customers_scored: int = field(description="Customers looked at.")
    customers_changed: int = field(description="Customers whose score changed.")
    milliseconds: BigInt = field(description="How long it took.")
    started_at: Instant = field(description="When it began.")
    finished_at: Instant | None = field(description="When it ended.")
    cancel_asked_at: Instant | None = field(description="When somebody asked it to end.")
    started_by: str = field(description="Who started it.")


@strawberry.type(description="A season of the order book.")
class Season(Node):
    rev: BigInt = field(description=REV)
    code: str = field(description="Such as SS26.")
    name_zh: str | None = field(description=ZH)
    name_ko: str | None = field(description=KO)
    name_en: str | None = field(description=EN)
    order_opens_on: Day = field(description="First day of the order book.")
    order_closes_on: Day = field(description="Last day of the order book.")
    ships_from: Day = field(description="First day of delivery.")
    ships_to: Day = field(description="Last day of delivery.")


@strawberry.type(description="An article in all its colours and sizes.")
class Style(Node):
    rev: BigInt = field(description=REV)
    code: str = field(description="The style number.")
    brand: str = field(description="The brand.")
    name_zh: str | None = field(description=ZH)
    name_ko: str | None = field(description=KO)
    name_en: str | None = field(description=EN)
    category: str = field(description="What kind of garment it is.")
    season_id: ID | None = field(description="The season it belongs to.")
    season: Season | None = to_one("The season it belongs to.")
    size_scale: list[str] = field(description="Its sizes, small to large.")
    state: ArticleState = field(description="Whether it is still sold.")
    created_at: Instant = field(description="When the record was made.")
    colours: "list[Colour]" = to_one("Its colours, by code.")
    skus: "list[Sku]" = to_one("Its SKUs.")
    answers: Connection[Answer] = to_page("What customers answered about it, latest first.")


@strawberry.type(description="A colour of a style.")
class Colour:
    id: ID = field(description="The colour's UUID.")
    style_id: ID = field(description="The style.")
    code: str = field(description="The colour code.")
    name_zh: str | None = field(description=ZH)
    name_ko: str | None = field(description=KO)
    name_en: str | None = field(description=EN)


@strawberry.type(description="A style in one colour and size: what is counted in stock.")
class Sku:
    id: ID = field(description="The SKU's UUID.")
    style_id: ID = field(description="The style.")
    colour_id: ID = field(description="The colour.")
    colour: Colour | None = to_one("The colour.")
    size: str = field(description="The size.")
    position: int = field(description="Place in the size scale.")
    ean: str | None = field(description="Bar code.")
    state: ArticleState = field(description="Whether it is still sold.")


@strawberry.type(description="Prices in one currency.")
class PriceList(Node):
    rev: BigInt = field(description=REV)
    code: str = field(description="The list's code.")
    name: str = field(description="The list's name.")
    currency: str = field(description="ISO 4217 code of all its prices.")
    prices: "Connection[Price]" = to_page("The prices, by style.")


@strawberry.type(description="The price of a style from a number of pieces on, for a time.")
class Price:
    id: ID = field(description="The price's UUID.")
    price_list_id: ID = field(description="The list.")
    style_id: ID = field(description="The style.")
    style: Style | None = to_one("The style.")
    min_units: int = field(description="From how many pieces on it holds.")
    price_minor: BigInt = field(description="Price of one piece in minor units of the list's currency.")
    valid_from: Day = field(description="First day on which it holds.")
    valid_to: Day | None = field(description="Last day on which it holds.")


NODE_TYPES = (
    Customer,
    CustomerContact,
    Contact,
    Visit,
    Order,
    Task,
    Form,
    Answer,
    Case,
    Judgement,
    Attachment,
    Territory,
    Person,
    CustomField,
    Season,
    Style,
    PriceList,
)

_WORDS = "is said in the reader's language"
COMPUTED: Mapping[str, Mapping[str, str]] = {
    "Customer": {"distanceM": "is reckoned from a position that is given"},
    "Order": {"ageDays": "is reckoned from a day that is given"},
    "SyncIssue": {
        "title": _WORDS,
        "text": _WORDS,
        "waysOut": _WORDS,
        "escalated": "depends on a setting of the organisation",
    },
    "MatchPair": {"reasons": _WORDS},
    "ImportBatch": {"failedRows": "holds problems, which are said in the reader's language"},
}
"""Type → field that is no column → why. A selection with one of them is read the ordinary way, record by record.

Whatever is not named here has to be in the entity table.
"""

_SCALARS: dict[Kind, frozenset[str]] = {
    Kind.ID: frozenset({"ID"}),
    Kind.TEXT: frozenset({"String"}),
    Kind.INT: frozenset({"Int"}),
    Kind.BIGINT: frozenset({"BigInt"}),
    Kind.TIMESTAMP: frozenset({"DateTime"}),
    Kind.DATE: frozenset({"Date"}),
    Kind.BOOL: frozenset({"Boolean"}),
    Kind.JSON: frozenset({"JSON"}),
    Kind.TEXTS: frozenset({"String"}),
}


def check_types(schema: GraphQLSchema) -> list[str]:
    """Where the object types and the entity table differ, one line each; empty when they agree."""
    return [line for entity in ENTITIES.values() for line in _differences(entity, schema)]


def _differences(entity: Entity, schema: GraphQLSchema) -> Iterator[str]:
    kind = schema.get_type(entity.typename)
    if not isinstance(kind, GraphQLObjectType):
        yield f"{entity.typename}: no such object type"
        return
    if entity.node != any(interface.name == "Node" for interface in kind.interfaces):
        yield f"{entity.typename}: Node in one place and not in the other"
    computed = set(COMPUTED.get(entity.typename, ()))
    for name in sorted(computed - set(kind.fields)):
        yield f"{entity.typename}.{name}: computed, but not in the types"
    declared = set(kind.fields) - computed
    for name in sorted(declared ^ set(entity.by_name)):
        yield f"{entity.typename}.{name}: only in {'the types' if name in declared else 'the entity table'}"
    for name in sorted(declared & set(entity.by_name)):
        yield from _difference(entity, kind, name)


def _difference(entity: Entity, kind: GraphQLObjectType, name: str) -> Iterator[str]:
    shown, found, where = kind.fields[name].type, entity.by_name[name], f"{entity.typename}.{name}"
    named = get_named_type(shown).name
    match found:
        case Column():
            if named not in _SCALARS.get(found.kind, frozenset(ENUMS)):
                yield f"{where}: {named}, but stored as {found.kind}"
            may_be_null = found.may_be_null or (
                found.expression is None
                and (entity.nullable(found.column) or (found.personal and found.kind is not Kind.TEXT))
            )
            if may_be_null == isinstance(shown, GraphQLNonNull):
                yield f"{where}: null in one place and not in the other"
        case Embedded():
            if named != found.typename:
                yield f"{where}: {named}, not {found.typename}"
            if entity.nullable(*found.unless_null) == isinstance(shown, GraphQLNonNull):
                yield f"{where}: null in one place and not in the other"
        case Relation():
            target = ENTITIES[found.entity]
            if named != (target.page_typename if found.many is Many.PAGE else target.typename):
                yield f"{where}: {named}, but leads to {target.typename}"
            if found.many in (Many.ONE, Many.FIRST) and isinstance(shown, GraphQLNonNull):
                yield f"{where}: what can leave the scope must be nullable"
