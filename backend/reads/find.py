"""Which entity an id belongs to: for `node(id)`, which is given nothing else."""

from collections.abc import Callable

from backend.auth.principal import Principal
from backend.ids import is_id
from backend.reads.entities.table import ENTITIES
from backend.reads.scopes import Scopes
from backend.reads.sql import Parameter, Source, Sql, arguments_of, sql_of
from backend.storage.engine import Engine


async def entity_of(engine: Engine, principal: Principal, record_id: str, counted: Callable[[], None]) -> str | None:
    """The entity with a visible record of this id, or None: one statement, one index look-up per table."""
    if not is_id(record_id):
        return None
    scopes = Scopes(principal)
    arms: list[Sql] = []
    for entity in ENTITIES.values():
        if entity.node:
            alias = scopes.alias("t")
            same = Sql(f'{alias}."{entity.id_column}" = ?::text', (Parameter(Source.GIVEN),))
            arms.append(sql_of(f"SELECT '{entity.name}'", scopes.rows_of(entity, alias, iter([same]))))
    sql = sql_of(*arms, by=" UNION ALL ")
    counted()
    rows = await engine.fetch(sql.text, *arguments_of(sql.parameters, principal, 0, given=[record_id]))
    return str(rows[0][0]) if rows else None
