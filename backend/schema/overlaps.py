"""Whether fields that answer under one name can be merged, found out within a bound.

The specification compares such fields in pairs, and what stands below each pair again. A few hundred of them in inline
fragments, or the same few in a hundred fragments, are tens of thousands of comparisons: half a second of one processor
for six kilobytes. No document an app is built with needs any number of them. Source: promises.md §3.
"""

from typing import Any

from graphql import OverlappingFieldsCanBeMergedRule, SelectionSetNode, ValidationContext
from graphql.validation.validate import ValidationAbortedError

from backend.errors import Code, Problem, Refused

MEASURE = "comparisons"


def bounded_overlaps(comparisons_max: int) -> type[OverlappingFieldsCanBeMergedRule]:
    """The rule of the specification, which raises `Refused` with QUERY_TOO_COSTLY beyond so many comparisons."""
    params: dict[str, str | int] = {"measure": MEASURE, "cost": comparisons_max + 1, "limit": comparisons_max}
    costly = Problem(Code.QUERY_TOO_COSTLY, (), (str(comparisons_max),), params)

    class BoundedOverlaps(OverlappingFieldsCanBeMergedRule):
        def __init__(self, context: ValidationContext) -> None:
            super().__init__(context)
            self.rule_context.remaining_complexity_budget = comparisons_max

        def enter_selection_set(self, selection_set: SelectionSetNode, _key: Any, parent: Any, *_args: Any) -> None:
            try:
                super().enter_selection_set(selection_set, _key, parent, *_args)
            except ValidationAbortedError:
                if self.rule_context.remaining_complexity_budget >= 0:
                    raise  # so many errors that no more are told
                raise Refused(costly) from None

    return BoundedOverlaps
