"""Ports: the preferred one, its neighbour when taken, the same again next time."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headend.embedded.errors import EmbeddedError
from headend.embedded.ports import NEIGHBOURS, PortBook, choose_port, port_free


def test_preferred_port_is_kept_when_free() -> None:
    free = choose_port(0)
    assert choose_port(free) == free


def test_taken_port_moves_to_a_free_one_nearby() -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupier:
        taken = occupier.getsockname()[1]
        assert not port_free(taken)
        chosen = choose_port(taken)
        assert chosen != taken
        assert port_free(chosen)


def test_port_with_connections_in_time_wait_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first and lingers
        client.close()
    assert port_free(port)


def test_any_port_when_all_neighbours_are_avoided() -> None:
    neighbours = frozenset(range(40_000, 40_000 + NEIGHBOURS + 1))
    assert choose_port(40_000, avoid=neighbours) not in neighbours


def test_port_outside_its_range_is_named() -> None:
    with pytest.raises(ValueError, match="port 70000 is outside"):
        choose_port(70_000)


def test_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(EmbeddedError, match=r"192\.0\.2\.1"):
        choose_port(0, host="192.0.2.1")


def test_book_remembers_and_never_gives_one_port_twice(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ports.json"
    preferred = choose_port(0)
    book = PortBook(path)
    web, billing = book.choose("web", preferred), book.choose("billing", preferred)
    assert web == preferred
    assert billing != web
    book.release()
    again = PortBook(path)
    assert (again.choose("billing", preferred), again.choose("web", 1)) == (billing, web)
    with socket.create_server(("127.0.0.1", web)):
        assert PortBook(path).choose("web", preferred) != web


def test_two_books_in_use_never_give_the_same_port(tmp_path: Path) -> None:
    """Two demos started together: neither listens yet when the other one chooses."""
    preferred = choose_port(0)
    first, second = PortBook(tmp_path / "first.json"), PortBook(tmp_path / "second.json")
    mine, others = first.choose("web", preferred), second.choose("web", preferred)
    assert mine == preferred != others
    first.release()
    third = PortBook(tmp_path / "third.json")
    assert third.choose("web", preferred) == preferred
    third.release()
    second.release()


def test_a_dead_process_claims_no_port(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib; from headend.embedded.ports import PortBook\n"
        "book = PortBook(pathlib.Path(sys.argv[1])); print(book.choose('web', int(sys.argv[2])), flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    preferred = choose_port(0)
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "dead.json"), str(preferred)], capture_output=True, check=False
    )
    assert run.stdout.strip() == str(preferred).encode()
    book = PortBook(tmp_path / "ports.json")
    assert book.choose("web", preferred) == preferred
    book.release()


@pytest.mark.parametrize("content", ["{", "[1]", '{"web": "80"}', '{"web": 0}'])
def test_damaged_book_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ports.json"
    path.write_text(content)
    with pytest.raises(EmbeddedError, match=r"ports\.json"):
        PortBook(path).choose("web", 8000)
