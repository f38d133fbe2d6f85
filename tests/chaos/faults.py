"""Which fault strikes which request: drawn from the seed and the request's own name, whatever the order of things."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """What can happen to a request on the way."""

    NONE = "NONE"
    DROP_BEFORE = "DROP_BEFORE"
    """the server never sees it"""
    DROP_AFTER = "DROP_AFTER"
    """the server has done it; the answer is swallowed"""
    TWICE = "TWICE"
    """the same bytes again, after the first was answered; the sender hears the second answer"""
    TWICE_AT_ONCE = "TWICE_AT_ONCE"
    """the same bytes on two connections at the same time, where there are two servers one to each"""
    LATE_REPLAY = "LATE_REPLAY"
    """answered now, and the same bytes again many requests later, for nobody"""
    CUT_REQUEST = "CUT_REQUEST"
    """the connection breaks in the middle of the request"""
    CUT_ANSWER = "CUT_ANSWER"
    """the connection breaks in the middle of the answer"""
    DELAY = "DELAY"


WEIGHTS: Mapping[Fault, int] = {
    Fault.NONE: 60,
    Fault.DROP_BEFORE: 5,
    Fault.DROP_AFTER: 8,
    Fault.TWICE: 5,
    Fault.TWICE_AT_ONCE: 5,
    Fault.LATE_REPLAY: 5,
    Fault.CUT_REQUEST: 3,
    Fault.CUT_ANSWER: 5,
    Fault.DELAY: 4,
}
REPLAY_AFTER_REQUESTS = (10, 400)
DELAY_SECONDS_MAX = 0.15
ONLINE = "/online"
"""How the name of a request ends that is no pull and no push."""


@dataclass
class FaultPlan:
    """Faults by name of request; `heal` ends them."""

    seed: int
    weights: Mapping[Fault, int] = field(default_factory=lambda: WEIGHTS)
    healthy: bool = False

    def draw(self, name: str) -> tuple[Fault, random.Random]:
        """The fault of this request, and the dice for its particulars.

        What the office does online has no receipts: doing it again at once changes nothing, but minutes later it
        would undo what was done since. So it is never replayed late; nobody's app does that either.
        """
        dice = random.Random(f"{self.seed}/{name}")
        if self.healthy:
            return Fault.NONE, dice
        fault = dice.choices(list(self.weights), list(self.weights.values()))[0]
        return Fault.NONE if fault is Fault.LATE_REPLAY and name.endswith(ONLINE) else fault, dice

    def heal(self) -> None:
        self.healthy = True
