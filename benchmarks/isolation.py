"""Work in a process of its own, so that a crash or an endless loop ends that work only."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any


class IsolationError(Exception):
    """The work did not end by itself; the text says how it ended."""


def isolated(produce: Callable[[], Iterator[dict[str, Any]]], seconds: float) -> Iterator[dict[str, Any]]:
    """The items that `produce` yields in a child process, as they come.

    Raises `IsolationError` when the child raises, crashes, or has not finished after so many seconds. POSIX only.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(produce, sender), daemon=True)
    process.start()
    sender.close()
    end = monotonic() + seconds
    try:
        while receiver.poll(max(0.0, end - monotonic())):
            try:
                item, error = receiver.recv()
            except EOFError:
                process.join()
                raise IsolationError(f"the process crashed with exit code {process.exitcode}") from None
            if error is not None:
                raise IsolationError(error)
            if item is None:
                return
            yield item
        raise IsolationError(f"stopped after {seconds:g} seconds")
    finally:
        process.kill()
        process.join()


def _send(produce: Callable[[], Iterator[dict[str, Any]]], sender: Connection) -> None:
    try:
        for item in produce():
            sender.send((item, None))
        sender.send((None, None))
    except Exception as error:  # whatever it is, the parent reports it
        sender.send((None, f"{type(error).__name__}: {error}"))
