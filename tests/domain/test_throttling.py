"""How long whoever guesses passwords waits: doubled, bounded, forgotten after an hour of quiet."""

import pytest

from backend.domain.throttling import (
    ACCOUNT_SLOTS,
    ACCOUNT_WAITS,
    ADDRESS_WAITS,
    DEVICE_WAITS,
    MINUTE_MS,
    Tries,
    Waits,
    after_success,
    after_try,
    device_slot,
    slot,
    wait_ms,
)

NOW_MS = 1_767_225_600_000
EVERY = (ACCOUNT_WAITS, ADDRESS_WAITS, DEVICE_WAITS)


def tried(times: int, waits: Waits) -> Tries:
    """What is kept of so many failures, all of them now."""
    tries = Tries()
    for _ in range(times):
        tries = after_try(tries, waits, NOW_MS)
    return tries


def waited(times: int, waits: Waits) -> int:
    return wait_ms(tried(times, waits), waits, NOW_MS)


@pytest.mark.parametrize("waits", EVERY)
def test_some_failures_are_free_then_waits_double_up_to_a_bound(waits: Waits) -> None:
    assert waited(waits.free, waits) == 0
    told = [waited(waits.free + more, waits) for more in range(1, 40)]
    assert told[:4] == [1_000, 2_000, 4_000, 8_000]
    assert told == sorted(told)
    assert told[-1] == waits.most_ms <= 15 * MINUTE_MS


@pytest.mark.parametrize("waits", EVERY)
def test_an_hour_without_a_failure_is_a_new_beginning_and_a_minute_less_is_not(waits: Waits) -> None:
    tries = tried(waits.free + 20, waits)
    assert after_try(tries, waits, NOW_MS + waits.forget_ms).failures == 1
    assert after_try(tries, waits, NOW_MS + waits.forget_ms - MINUTE_MS).failures == waits.free + 21
    assert wait_ms(tries, waits, NOW_MS + waits.forget_ms) == 0


def test_a_clock_that_was_set_back_holds_nobody_longer_than_the_bound() -> None:
    tries = tried(ACCOUNT_WAITS.free + 20, ACCOUNT_WAITS)
    assert wait_ms(tries, ACCOUNT_WAITS, NOW_MS - 24 * 60 * MINUTE_MS) == ACCOUNT_WAITS.most_ms


def test_who_gets_in_is_forgiven_but_an_address_stays_known_for_the_failures_of_others() -> None:
    tries = tried(30, ADDRESS_WAITS)
    assert after_success(tries, forgiven=True) == Tries()
    assert after_success(tries, forgiven=False).failures == 29
    assert after_success(Tries(), forgiven=False).failures == 0


def test_rows_are_bounded_whatever_strangers_type_and_tell_nobody_whom_they_stand_for() -> None:
    keys = {slot(b"secret", "account", f"{n}@example.com") for n in range(200)}
    assert all(0 <= int(key.removeprefix("account:")) < ACCOUNT_SLOTS for key in keys)
    assert slot(b"secret", "account", "a@b.de") != slot(b"another", "account", "a@b.de")
    devices = {device_slot(b"secret", user, phone) for user in ("u1", "u2") for phone in ("p1", "p2")}
    assert len(devices) == 4
    assert not [key for key in devices if "u1" in key.partition(":")[2]]
