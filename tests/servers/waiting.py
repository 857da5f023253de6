"""Wait for a condition with a deadline: the only place in the tests that sleeps on the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T | None], *, within: float = 10.0, every: float = 0.02, what: str = "") -> T:
    """Ask `condition` again and again until it is truthy, and return what it said.

    Raises
    ------
    AssertionError
        It was still falsy after `within` seconds; the message says what was awaited and the last answer.
    """
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {within:g} s in vain for {what or condition!r}; last answer: {answer!r}")
        time.sleep(every)
