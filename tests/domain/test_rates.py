"""Token buckets: what is let in, what waits, and what is kept of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.rates import ADDRESS_UNKNOWN, Buckets, Rate, address_key, rate_limited

RATE = Rate(tokens=10, seconds=60)
NOW_MS = 1_795_320_000_000


def buckets(keys_max: int = 100) -> Buckets:
    return Buckets(RATE, keys_max=keys_max)


def test_a_bucket_gives_what_it_holds_and_then_what_comes_back() -> None:
    held = buckets()
    assert [held.take("wei", NOW_MS) for _ in range(11)] == [0] * 10 + [6_000]
    assert held.take("wei", NOW_MS + 5_999) == 1
    assert held.take("wei", NOW_MS + 6_000) == 0
    assert held.take("na", NOW_MS) == 0, "everybody has a bucket of his own"


def test_a_refusal_takes_nothing() -> None:
    held = buckets()
    held.take("wei", NOW_MS, 10)
    for _ in range(50):
        assert held.take("wei", NOW_MS, 5) == 30_000
    assert held.take("wei", NOW_MS + 30_000, 5) == 0


def test_what_costs_more_than_a_bucket_takes_a_full_one() -> None:
    held = buckets()
    assert held.take("wei", NOW_MS, 1_000) == 0
    assert held.take("wei", NOW_MS) == 6_000
    assert held.take("wei", NOW_MS + 59_000, 1_000) == 1_000


def test_a_clock_set_back_makes_nobody_wait_longer_than_a_bucket_needs_to_fill() -> None:
    held = buckets()
    held.take("wei", NOW_MS, 10)
    assert held.take("wei", NOW_MS - 10**9) == 6_000


def test_no_tokens_mean_no_limit() -> None:
    held = Buckets(Rate(0, 60), keys_max=1)
    assert not any(held.take("wei", NOW_MS) for _ in range(1_000))
    assert len(held) == 0


def test_however_many_ask_so_many_are_kept_and_the_longest_silent_is_forgotten() -> None:
    held = buckets(keys_max=3)
    for number in range(1_000):
        held.take("busy", NOW_MS + number)
        held.take(f"stranger {number}", NOW_MS + number)
        assert len(held) <= 3
    assert held.take("busy", NOW_MS + 1_000), "who asks again and again is not forgotten"
    for name in "abc":
        held.take(name, NOW_MS + 1_000)
    assert not held.take("busy", NOW_MS + 1_000)


@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 12)), max_size=60))
def test_in_no_span_is_more_let_in_than_a_bucket_and_what_came_back(asks: list[tuple[int, int]]) -> None:
    held, now_ms, let_in = buckets(), NOW_MS, []
    for later_ms, tokens in asks:
        now_ms += later_ms
        wait_ms = held.take("wei", now_ms, tokens)
        assert wait_ms <= RATE.refill_ms
        if not wait_ms:
            let_in.append((now_ms, min(tokens, RATE.tokens)))
    for first, (begun_ms, _) in enumerate(let_in):
        for last in range(first, len(let_in)):
            taken = sum(tokens for _, tokens in let_in[first : last + 1])
            span_ms = let_in[last][0] - begun_ms
            assert taken <= RATE.tokens + RATE.tokens * span_ms / RATE.refill_ms + 0.001


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("", ADDRESS_UNKNOWN),
        ("<script>", ADDRESS_UNKNOWN),
        ("203.0.113.9:80", ADDRESS_UNKNOWN),
    ],
)
def test_an_address_is_counted_by_what_its_holder_cannot_change(host: str, key: str) -> None:
    assert address_key(host) == key


def test_a_refusal_says_when_to_come_again() -> None:
    [problem] = rate_limited("user", 60, 1_001).problems
    assert problem.params == {"limit": 60, "retryAfterSeconds": 2}
    assert rate_limited("user", 60, 1).problems[0].params["retryAfterSeconds"] == 1
