"""The bound between the network thread and the writer."""

from __future__ import annotations

import threading

from drivers.mqtt.broker import Message
from headend.ingest.window import Arrived, Window


def arrived(name: str, *, qos: int = 1, size: int = 1, at_s: float = 0.0) -> Arrived:
    return Arrived(Message(name, b"x" * size, 1, qos, 1), 0, at_s)


def test_full_by_messages() -> None:
    window = Window(2, 100)
    assert [window.offer(arrived(n)) for n in "abc"] == [True, True, False]
    assert window.overflowed()
    assert not window.overflowed()
    first = window.take()
    assert first is not None
    assert first.message.topic == "a"
    assert window.offer(arrived("c"))


def test_full_by_bytes_but_one_large_message_fits() -> None:
    window = Window(10, 100)
    assert window.offer(arrived("a", size=1000))
    assert not window.offer(arrived("b"))
    taken = window.take()
    assert taken is not None
    assert window.held() == (1, 1000)
    assert not window.offer(arrived("b", size=60)), "what is in hand takes its room until it is released"
    window.release([taken.message])
    assert window.offer(arrived("b", size=60))
    assert not window.offer(arrived("c", size=60))


def test_so_many_and_so_large_are_taken_but_one_always() -> None:
    window = Window(10, 1000)
    for name, size in (("a", 90), ("b", 5), ("c", 5), ("d", 5)):
        window.offer(arrived(name, size=size))
    assert [a.message.topic for a in window.take_all(9, 50)] == ["a"]
    assert [a.message.topic for a in window.take_all(9, 10)] == ["b", "c"]
    assert [a.message.topic for a in window.take_all(9, 10)] == ["d"]
    assert window.take_all(9, 10) == []
    assert window.held() == (4, 105)


def test_who_waits_for_room_gets_it_when_something_in_hand_is_released() -> None:
    window = Window(10, 100)
    window.offer(arrived("a", size=100))
    taken = window.take_all(1, 100)
    done: list[bool] = []
    waiting = threading.Thread(target=lambda: done.append(window.offer(arrived("b", size=1), wait_s=20.0)))
    waiting.start()
    assert waiting.is_alive()
    window.release([t.message for t in taken])
    waiting.join(20)
    assert done == [True]


def test_qos_0_that_is_not_taken_needs_no_new_connection() -> None:
    window = Window(1, 100)
    window.offer(arrived("a"))
    assert not window.offer(arrived("b", qos=0))
    assert not window.overflowed()


def test_what_is_left_to_others_is_forgotten() -> None:
    window = Window(10, 100)
    for message in (arrived("a", at_s=3.0), arrived("b", qos=0, at_s=4.0), arrived("c", at_s=5.0)):
        window.offer(message)
    assert window.state() == (3, 3, 3.0, 5.0)
    assert window.drop("") == 2
    assert window.state()[:3] == (1, 1, 4.0)


def test_who_waits_for_room_gets_it_as_soon_as_something_is_taken() -> None:
    window = Window(1, 100)
    window.offer(arrived("a"))
    done: list[bool] = []
    waiting = threading.Thread(target=lambda: done.append(window.offer(arrived("b"), wait_s=20.0)))
    waiting.start()
    first = window.take()
    waiting.join(20)
    assert done == [True]
    second = window.take()
    assert first is not None
    assert second is not None
    assert (first.message.topic, second.message.topic) == ("a", "b")
    assert not window.overflowed()


def test_nobody_waits_for_a_window_that_is_closed() -> None:
    window = Window(1, 100)
    window.offer(arrived("a"))
    done: list[bool] = []
    waiting = threading.Thread(target=lambda: done.append(window.offer(arrived("b"), wait_s=3600.0)))
    waiting.start()
    window.close()
    waiting.join(20)
    assert done == [False]


def test_only_the_session_that_is_left_is_forgotten() -> None:
    window = Window(10, 100)
    for session in ("mine", "inherited", "mine"):
        window.offer(Arrived(Message("t", b"x", 1, 1, 1, session=session), 0, 0.0))
    assert window.drop("mine") == 2
    assert window.state()[0] == 1
