"""The domain's enums as GraphQL enums. They may grow: a client keeps a value it does not know."""

from collections.abc import Mapping
from enum import StrEnum

import strawberry

from backend.domain.attachments import AttachedTo, AttachmentKind, AttachmentState, PreviewState
from backend.domain.cases import CaseKind, CasePriority, CaseState
from backend.domain.catalogue import ArticleState
from backend.domain.consent import Channel, ConsentChange, ConsentChannel, ConsentPurpose, ConsentSource
from backend.domain.contacts import ContactRole, Language
from backend.domain.custom import Customised, CustomKind
from backend.domain.customers import CustomerKind, LifecycleStage
from backend.domain.devices import DeviceState
from backend.domain.forms import FormOccasion, Measured, QuestionKind
from backend.domain.imports import ImportState
from backend.domain.issues import IssueState, Resolution, WayOut
from backend.domain.judgements import JudgementKind, JudgementReason
from backend.domain.orders import OrderSource, OrderState
from backend.domain.permissions import Role
from backend.domain.tasks import TaskPriority, TaskSource, TaskState
from backend.domain.territories import TerritoryKind
from backend.domain.visits import VisitOutcome, VisitPurpose, VisitReason, VisitState, VisitVerification
from backend.usecases.matches import MatchState

ENUMS: Mapping[str, type[StrEnum]] = {
    members.__name__: strawberry.enum(members, description=(members.__doc__ or "").strip())
    for members in (
        ArticleState,
        AttachedTo,
        AttachmentKind,
        AttachmentState,
        CaseKind,
        CasePriority,
        CaseState,
        Channel,
        ConsentChange,
        ConsentChannel,
        ConsentPurpose,
        ConsentSource,
        ContactRole,
        CustomKind,
        CustomerKind,
        Customised,
        DeviceState,
        FormOccasion,
        ImportState,
        IssueState,
        JudgementKind,
        JudgementReason,
        Language,
        LifecycleStage,
        MatchState,
        Measured,
        OrderSource,
        OrderState,
        PreviewState,
        QuestionKind,
        Resolution,
        Role,
        TaskPriority,
        TaskSource,
        TaskState,
        TerritoryKind,
        VisitOutcome,
        VisitPurpose,
        VisitReason,
        VisitState,
        VisitVerification,
        WayOut,
    )
}
"""Name, as the domain's fields give it → enum."""


def declare(*members: type[StrEnum]) -> None:
    """Make enums of one column known to the schema, each once, whichever column that shows it is imported first."""
    for one in members:
        if "__strawberry_definition__" not in vars(one):
            strawberry.enum(one, description=(one.__doc__ or "").strip())
