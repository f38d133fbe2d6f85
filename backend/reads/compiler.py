"""Plans."""


class Plans:
    """Compiled plans, bounded."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
