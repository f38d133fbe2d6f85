"""What a resolver is handed: who asks, when, and the doors to the floors below."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import strawberry

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.config import Settings, load_messages
from backend.domain.messages import LOCALE_DEFAULT, Catalogue
from backend.errors import Code, Problem, Refused
from backend.sync.pull import SumsKept
from backend.sync.push import UseCaseTable

if TYPE_CHECKING:
    from backend.auth.keys import RescueKeys
    from backend.reads.ordinary import Loader
    from backend.reads.plans import Plans
    from backend.schema.finished import Picked
    from backend.schema.sensitive import SensitiveKeys
    from backend.storage.engine import Engine
    from backend.sync.poke import Pokes
    from backend.usecases.oidc import OidcSignIn
    from backend.usecases.privacy.eraser import Eraser
    from backend.usecases.sessions import Session, Sessions
    from backend.usecases.watching import Watch


@dataclass
class ReadCounts:
    """How the selections of one request were answered."""

    selections: int = 0
    compiled: int = 0
    fallbacks: int = 0
    statements: int = 0
    plan_hits: int = 0
    at_root: int = 0
    """selections that the fields of the operation itself returned"""
    shortcuts: int = 0
    finished: "tuple[Picked, ...] | None" = None
    """what was asked of a finished answer that a field of the operation itself returned"""

    def count_statement(self) -> None:
        self.statements += 1


@dataclass
class Context:
    """One per request. `plans` is shared by all requests of a process."""

    engine: "Engine"
    principal: Principal | None
    settings: Settings
    clock: Clock
    now_ms: int
    plans: "Plans"
    document_key: str = ""
    """Identity of the document text; without one no plan is kept."""
    messages: Catalogue = field(default_factory=load_messages)
    locale: str = LOCALE_DEFAULT
    use_cases: UseCaseTable = field(default_factory=dict)
    """(collection, intent) → use case, handed in by the composition root."""
    cursor_secret: bytes = b""
    sums_kept: SumsKept | None = None
    """Checksums computed for clients of older schema versions, shared by all requests of a process."""
    address: str = ""
    """What a caller's address is counted under; empty where it is not known."""
    retry_after_seconds: int | None = None
    """When a refusal among the answers says to come again."""
    oidc_door: "OidcSignIn[Session] | None" = None
    """Without one there is no provider to sign in with."""
    rescue_door: "RescueKeys | None" = None
    session_door: "Sessions | None" = None
    poke_hub: "Pokes | None" = None
    privacy_door: "Eraser | None" = None
    watch_door: "Watch | None" = None
    """Counts what is given out; None where nobody counts."""
    sensitive_keys: "SensitiveKeys | None" = None
    score_command: tuple[str, ...] | None = None
    """The process that carries out score runs; None where they are carried out here."""
    connected_clock: int | None = None
    """The feed's clock before the connection was acknowledged; None where there is no connection that stays open."""
    look_again: Callable[[], Awaitable[Principal | None]] | None = None
    """Who asks by now, on a connection that stays open; raises what a new request would be refused with."""
    compiled: bool = True
    """False sends every selection down the ordinary path, which tests compare with."""
    put_aside: Mapping[str, Any] = field(default_factory=dict)
    """Pushed mutations that GraphQL could not read, by the token that stands in for each."""
    trail_noted: bool = False
    """That the audit trail was looked at is noted once per request, however often it is selected."""
    reads: ReadCounts = field(default_factory=ReadCounts)
    loader: "Loader | None" = None
    """Of the ordinary way, made when first needed; never kept across a write."""

    @property
    def caller(self) -> Principal:
        """Who asks; raises UNAUTHENTICATED when nobody has signed in."""
        if self.principal is None:
            raise Refused(Problem(Code.UNAUTHENTICATED))
        return self.principal

    async def caller_now(self) -> Principal:
        """Who asks, looked up again: for what is told later than it was asked for.

        Raises `Refused` when the caller would be refused now.
        """
        if self.look_again is not None:
            self.principal = await self.look_again()
        return self.caller

    @property
    def pokes(self) -> "Pokes":
        """Where the clock is followed, which every served request has."""
        assert self.poke_hub is not None, "no clock to follow was handed in"
        return self.poke_hub

    @property
    def rescue_keys(self) -> "RescueKeys":
        """What rescue files are encrypted for, which every served request has."""
        assert self.rescue_door is not None, "no rescue keys were handed in"
        return self.rescue_door

    @property
    def eraser(self) -> "Eraser":
        """What erases people, which every served request has."""
        assert self.privacy_door is not None, "nothing that erases was handed in"
        return self.privacy_door

    @property
    def oidc(self) -> "OidcSignIn[Session]":
        """The door to signing in with a provider; raises NOT_FOUND where the settings name none."""
        if self.oidc_door is None:
            raise Refused(Problem(Code.NOT_FOUND, ("provider",)))
        return self.oidc_door

    @property
    def sessions(self) -> "Sessions":
        """The door to signing in, which every served request has."""
        assert self.session_door is not None, "no door to signing in was handed in"
        return self.session_door


Info = strawberry.Info[Context, Any]
