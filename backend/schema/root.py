"""The whole schema, composed of the columns."""

import strawberry
from graphql import print_schema

from backend.errors import SelvedgeError
from backend.reads.entities.table import check_entities
from backend.schema.affinity import AffinityQueries
from backend.schema.arguments import prepare_inputs
from backend.schema.backtests import BacktestMutations, BacktestQueries
from backend.schema.behaviour import BehaviourQueries
from backend.schema.bottlenecks import BottleneckQueries
from backend.schema.campaign_advisor import CampaignAdvisorQueries
from backend.schema.capacity import CapacityMutations, CapacityQueries
from backend.schema.changes import RecordMutations
from backend.schema.clock import ClockQueries
from backend.schema.cockpit import CockpitMutations, CockpitQueries
from backend.schema.cohorts import CohortQueries
from backend.schema.contribution_runs import ContributionRunMutations, ContributionRunQueries
from backend.schema.cube import CubeQueries
from backend.schema.custom_fields import CustomFieldQueries
from backend.schema.decisions import DecisionQueries
from backend.schema.devices import DeviceMutations, DeviceQueries
from backend.schema.evaluations import EvaluationMutations, EvaluationQueries
from backend.schema.execute import core_schema
from backend.schema.executor import SelectionExecutor, read_attribute
from backend.schema.feedback import FeedbackQueries
from backend.schema.goals import GoalMutations, GoalQueries
from backend.schema.imports import ImportMutations, ImportQueries
from backend.schema.issues import IssueMutations, IssueQueries
from backend.schema.judgements import JudgementQueries
from backend.schema.kpis import KpiQueries
from backend.schema.merges import MergeMutations, MergeQueries
from backend.schema.metrics import MetricQueries
from backend.schema.orders import OrderMutations
from backend.schema.people import PeopleMutations
from backend.schema.predicates import PredicateQueries
from backend.schema.priorities import PriorityMutations, PriorityQueries
from backend.schema.privacy import PrivacyMutations, PrivacyQueries
from backend.schema.quality import QualityQueries
from backend.schema.queries import RecordQueries
from backend.schema.records import TrailQueries
from backend.schema.rollouts import RolloutMutations, RolloutQueries
from backend.schema.rxdb import HEADER_SCALARS, RxdbMutations, RxdbQueries, RxdbSubscriptions
from backend.schema.scalars import schema_config
from backend.schema.score_policies import ScorePolicyMutations, ScorePolicyQueries
from backend.schema.segment_models import SegmentModelQueries
from backend.schema.services import ServiceMutations, ServiceQueries
from backend.schema.sessions import SessionMutations, SessionQueries
from backend.schema.seven_p import SevenPQueries
from backend.schema.sync import SyncMutations, SyncQueries, SyncSubscriptions
from backend.schema.territories import TerritoryMutations
from backend.schema.types import NODE_TYPES, check_types
from backend.schema.values import ValueQueries
from backend.schema.watermelon import WatermelonMutations, WatermelonQueries


@strawberry.type(description="Everything that can be read. What is outside your scope is not found.")
class Query(
    ClockQueries,
    RecordQueries,
    CustomFieldQueries,
    FeedbackQueries,
    JudgementQueries,
    PriorityQueries,
    BacktestQueries,
    EvaluationQueries,
    CapacityQueries,
    ContributionRunQueries,
    RolloutQueries,
    GoalQueries,
    CockpitQueries,
    CubeQueries,
    PredicateQueries,
    BottleneckQueries,
    QualityQueries,
    CohortQueries,
    AffinityQueries,
    CampaignAdvisorQueries,
    BehaviourQueries,
    KpiQueries,
    DecisionQueries,
    ScorePolicyQueries,
    SegmentModelQueries,
    SevenPQueries,
    MetricQueries,
    SessionQueries,
    ServiceQueries,
    SyncQueries,
    DeviceQueries,
    ImportQueries,
    IssueQueries,
    MergeQueries,
    TrailQueries,
    ValueQueries,
    PrivacyQueries,
    WatermelonQueries,
    RxdbQueries,  # type: ignore[misc]
):
    pass


@strawberry.type(description="Everything that can be changed. Each mutation answers its payload or a Refusal.")
class Mutation(
    SessionMutations,
    ServiceMutations,
    RecordMutations,  # type: ignore[misc]
    OrderMutations,
    TerritoryMutations,
    PeopleMutations,
    PriorityMutations,
    ScorePolicyMutations,
    BacktestMutations,
    EvaluationMutations,
    CapacityMutations,
    ContributionRunMutations,
    RolloutMutations,
    GoalMutations,
    CockpitMutations,
    SyncMutations,
    DeviceMutations,
    ImportMutations,
    IssueMutations,
    MergeMutations,
    PrivacyMutations,
    WatermelonMutations,
    RxdbMutations,  # type: ignore[misc]
):
    pass


@strawberry.type(description="What is told as it happens, while a connection stays open.")
class Subscription(SyncSubscriptions, RxdbSubscriptions):  # type: ignore[misc]
    pass


class Mismatch(SelvedgeError):
    """The entity table, the models and the object types do not say the same."""


def build_schema() -> strawberry.Schema:
    """The schema, checked against the entity table; raises `Mismatch` with one line for each difference."""
    schema = strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=NODE_TYPES,
        config=schema_config(read_attribute, HEADER_SCALARS),
        execution_context_class=SelectionExecutor,
    )
    prepare_inputs(schema)
    if problems := [*check_entities(), *check_types(core_schema(schema))]:
        raise Mismatch("\n".join(problems))
    return schema


def print_sdl() -> str:
    """The schema in GraphQL's own language, with every description."""
    return print_schema(core_schema(build_schema())) + "\n"
