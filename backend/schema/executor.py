"""The executor that completes a `Selection` in the database."""

from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext


class SelectionExecutor(StrawberryGraphQLCoreExecutionContext):
    """Graphql-core's executor."""
