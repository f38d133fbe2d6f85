"""The customers a predicate chooses, as one statement: how many, and the first of them."""

from backend.auth.principal import Principal
from backend.domain.predicates import Predicate, Vocabulary
from backend.reads.entities.table import ENTITIES
from backend.reads.predicates import Given, Moment, PredicateCompiler
from backend.reads.scopes import Scopes
from backend.reads.sql import arguments_of, sql_of
from backend.storage.dialects import Dialect


def matching_statement(
    predicate: Predicate, vocabulary: Vocabulary, principal: Principal, dialect: Dialect, moment: Moment, *, first: int
) -> tuple[str, list[object]]:
    """Rows (how many in all, id), the first by id within the caller's scope; no row where there is nobody."""
    given = Given()
    scopes = Scopes(principal)
    compiled = PredicateCompiler(vocabulary, scopes, dialect, moment, given).compiled(predicate)
    scope = scopes.scope(ENTITIES["customers"], "k")
    text = sql_of(
        "WITH chosen AS MATERIALIZED (SELECT k.id FROM customer k WHERE ",
        scope,
        " AND ",
        compiled,
        ") SELECT (SELECT count(*) FROM chosen), c.id FROM chosen c ORDER BY c.id",
        given.sql(" LIMIT ?::bigint", first),
    )
    return text.text, arguments_of(text.parameters, principal, 0, given=given.values)
