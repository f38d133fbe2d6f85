"""Colleagues."""

from typing import Annotated

import strawberry

from backend.domain.permissions import Role
from backend.errors import Refused
from backend.ids import new_id
from backend.reads.selection import one
from backend.schema.changes import tell
from backend.schema.context import Info
from backend.schema.refusals import Refusal, refuse
from backend.schema.types import Person
from backend.usecases.people import create_user, set_active


@strawberry.type(description="A colleague was added.")
class UserCreated:
    id: strawberry.ID = strawberry.field(description="The id.")

    @strawberry.field(description="The colleague.")
    def person(self) -> Person | None:
        return one("people", self.id)  # type: ignore[return-value]


@strawberry.input(description="A new colleague.")
class UserInput:
    email: str = strawberry.field(description="For signing in.")
    name: str = strawberry.field(description="As shown.")
    role: Role = strawberry.field(description="What the colleague does.")
    password: str = strawberry.field(description="The first password.")
    locale: str = strawberry.field(default="en", description="en, zh-CN or ko.")
    manager_id: strawberry.ID | None = strawberry.field(default=None, description="Who manages.")


@strawberry.type(description="A colleague was let in or out.")
class ActiveChanged:
    user_id: strawberry.ID = strawberry.field(description="Who.")
    active: bool = strawberry.field(description="In or out.")


ActiveResult = Annotated[
    ActiveChanged | Refusal, strawberry.union("ActiveResult", description="What was changed, or why nothing was.")
]
UserResult = Annotated[
    UserCreated | Refusal, strawberry.union("UserResult", description="Who was added, or why nobody was.")
]


@strawberry.type
class PeopleMutations:
    @strawberry.mutation(description="Add a colleague, who can then sign in.")
    async def create_user(
        self, info: Info, input: Annotated[UserInput, strawberry.argument(description="The colleague.")]
    ) -> UserResult:
        context = info.context
        try:
            password_hash, problems = await context.sessions.password_hash(input.password)
            user_id = await tell(
                context,
                lambda work: create_user(
                    work,
                    email=input.email,
                    name=input.name,
                    role=input.role.value,
                    password_hash=password_hash,
                    problems=problems,
                    locale=input.locale,
                    manager_id=input.manager_id,
                    user_id=new_id(),
                ),
            )
        except Refused as refused:
            return refuse(info, refused)
        return UserCreated(id=strawberry.ID(user_id))

    @strawberry.mutation(description="Let a colleague in or out. Who is out signs in no more and sees nothing.")
    async def set_user_active(
        self,
        info: Info,
        user_id: Annotated[strawberry.ID, strawberry.argument(description="Who.")],
        active: Annotated[bool, strawberry.argument(description="In or out.")],
    ) -> ActiveResult:
        try:
            await tell(info.context, lambda work: set_active(work, user_id, active=active))
        except Refused as refused:
            return refuse(info, refused)
        return ActiveChanged(user_id=user_id, active=active)
