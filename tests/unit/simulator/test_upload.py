"""The confirmed upload: nothing is forgotten unconfirmed, whatever is lost on the way."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from drivers.simulator.state import Uploaded
from drivers.simulator.upload import Uploads


def window(size: int = 3, resend_s: float = 10.0, uploaded: Uploaded | None = None) -> Uploads:
    """A concentrator's memory."""
    return Uploads(uploaded or Uploaded(), window=size, resend_s=resend_s)


def send_due(uploads: Uploads, now_s: float) -> list[int]:
    """Hand everything over that is due."""
    seqs = [seq for seq, _ in uploads.due(now_s)]
    for seq in seqs:
        uploads.sent(seq, now_s)
    return seqs


def test_the_oldest_go_first_and_no_more_than_the_window() -> None:
    uploads = window()
    assert uploads.plan(5) == (1, 2, 3)
    assert send_due(uploads, 0.0) == [1, 2, 3]
    assert send_due(uploads, 5.0) == []
    uploads.confirmed([2])
    assert uploads.plan(5) == (4,)
    assert send_due(uploads, 5.0) == [4]
    assert uploads.on_the_way == (1, 3, 4)


def test_the_backlog_counts_what_is_kept_behind_and_stays_as_it_was_told() -> None:
    uploads = window()
    uploads.plan(5)
    assert uploads.due(0.0) == ((1, 4), (2, 3), (3, 2))
    send_due(uploads, 0.0)
    uploads.plan(9)
    assert uploads.due(10.0) == ((1, 4), (2, 3), (3, 2))


def test_asks_again_with_growing_but_bounded_patience() -> None:
    uploads = window(1)
    uploads.plan(1)
    times = [now for now in range(0, 200, 5) if send_due(uploads, float(now))]
    assert times == [0, 10, 30, 70, 110, 150, 190]
    assert uploads.resent == 6


def test_a_lost_connection_sends_again_at_once() -> None:
    uploads = window()
    uploads.plan(2)
    send_due(uploads, 0.0)
    assert uploads.wake_s() == 10.0
    uploads.disconnected()
    assert send_due(uploads, 0.1) == [1, 2]


def test_confirmations_in_any_order_twice_and_strange_ones() -> None:
    uploads = window()
    uploads.plan(3)
    send_due(uploads, 0.0)
    assert uploads.confirmed([3, 3, 1]) == ()
    assert uploads.confirmed_through == 1
    assert uploads.confirmed([1, 99, -4]) == (99,)
    uploads.confirmed([2])
    assert uploads.confirmed_through == 3
    assert uploads.kept == Uploaded(3, (), {})


def test_a_confirmation_that_comes_after_a_restart_counts() -> None:
    uploads = window()
    uploads.plan(3)
    send_due(uploads, 0.0)
    uploads.confirmed([2])
    kept = msgspec.json.decode(msgspec.json.encode(uploads.kept), type=Uploaded)
    again = window(uploaded=kept)
    assert again.plan(7) == (4,), "1 and 3 were announced before: same backlog, same bytes"
    assert again.due(0.0) == ((1, 2), (3, 0), (4, 3))


@given(st.data(), st.integers(1, 30), st.integers(1, 5))
def test_everything_arrives_over_any_losses(data: st.DataObject, last: int, size: int) -> None:
    uploads, arrived, now = window(size), set(), 0.0
    chance = st.sampled_from(["lost", "unconfirmed", "ok", "ok"])
    restart = st.booleans()
    for _ in range(40):
        uploads.plan(last)
        for seq in send_due(uploads, now):
            fate = data.draw(chance)
            if fate != "lost":
                arrived.add(seq)
            if fate == "ok":
                uploads.confirmed([seq])
        assert len(uploads.on_the_way) <= size
        assert set(range(1, uploads.confirmed_through + 1)) <= arrived
        if data.draw(restart):
            uploads = window(size, uploaded=uploads.kept)
        now += 7.0
    for _ in range(5 * last):  # at last the line is good
        now += 100.0
        uploads.plan(last)
        for seq in send_due(uploads, now):
            arrived.add(seq)
            uploads.confirmed([seq])
    assert arrived == set(range(1, last + 1))
    assert uploads.confirmed_through == last
