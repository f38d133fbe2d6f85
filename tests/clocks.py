"""A clock that stands still until a test moves it."""

from tests.factories import NOW_MS


class HandClock:
    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def forward(self, *, seconds: float = 0, days: float = 0) -> None:
        self.now_ms += round(seconds * 1_000 + days * 86_400_000)
