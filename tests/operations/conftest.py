"""The served database and its rep, as the tests of GraphQL know them."""

from tests.schema.conftest import door, server_settings

__all__ = ["door", "server_settings"]
