"""Streets for the engine's tests."""

from collections.abc import Callable

import pytest

from support.streets import Street


@pytest.fixture
def street() -> Callable[..., Street]:
    """Builds a street; same seed, same street."""

    def make(name: str = "A", n: int = 24, days: int = 21, seed: int = 7) -> Street:
        return Street(name, n, days, seed)

    return make
