"""The whole schema, composed of the columns."""

import strawberry
from graphql import print_schema

from backend.schema.clock import ClockQueries
from backend.schema.execute import core_schema
from backend.schema.scalars import schema_config
from backend.schema.sessions import SessionMutations, SessionQueries
from backend.schema.sync import SyncMutations, SyncQueries


@strawberry.type(description="Everything that can be read. What is outside your scope is not found.")
class Query(ClockQueries, SessionQueries, SyncQueries):
    pass


@strawberry.type(description="Everything that can be changed. Each mutation answers its payload or a Refusal.")
class Mutation(SessionMutations, SyncMutations):
    pass


def build_schema() -> strawberry.Schema:
    return strawberry.Schema(query=Query, mutation=Mutation, config=schema_config(getattr))


def print_sdl() -> str:
    """The schema in GraphQL's own language, with every description."""
    return print_schema(core_schema(build_schema())) + "\n"
