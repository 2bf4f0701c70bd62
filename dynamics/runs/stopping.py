"""Signals to stop. They are heard between stretches and while a program compiles, where nothing is half done."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

LOOK_S = 0.1  # between looks while a program compiles

_asked = threading.Event()


def ask() -> None:
    """Ask what is going on to stop."""
    _asked.set()


def check() -> None:
    """Raise KeyboardInterrupt if a signal to stop has come."""
    if _asked.is_set():
        raise KeyboardInterrupt


def awaited(future: Future[Any]) -> Any:
    """The result of a future; a signal to stop ends the wait."""
    while not future.done():
        check()
        with contextlib.suppress(TimeoutError):
            future.exception(timeout=LOOK_S)
    check()
    return future.result()


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Ctrl-C and SIGTERM stop what is going on at the next check; a second one stops it wherever it is.

    Only the main thread can hear signals; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(signum: int, frame: Any) -> None:
        del signum, frame
        check()
        ask()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()
