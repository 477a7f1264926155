"""Objects by numbers: what the operators that `torch.compile` keeps whole can be told."""

from __future__ import annotations

import secrets
import threading
import weakref
from typing import Generic, TypeVar, final

from optlayers.errors import ArgumentError

Held = TypeVar("Held")


@final
class Handles(Generic[Held]):
    """A number for each object, good as long as it lives: a random one, so that a program that another process exported
    finds no object rather than a wrong one.

    advice: what the user can do where there is none.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._objects: weakref.WeakValueDictionary[int, Held] = weakref.WeakValueDictionary()
        self._handles: dict[int, int] = {}
        """By the identity of an object, as long as it lives."""
        self._lock = threading.Lock()

    def of(self, held: Held) -> int:
        """The handle of an object."""
        identity = id(held)
        with self._lock:
            if identity not in self._handles:
                self._handles[identity] = secrets.randbits(63)
                self._objects[self._handles[identity]] = held
                weakref.finalize(held, self._handles.pop, identity, None)
            return self._handles[identity]

    def find(self, handle: int) -> Held:
        """The object of a handle. Raises `ArgumentError` where it is gone, or in another process."""
        held = self._objects.get(handle)
        if held is None:
            raise ArgumentError(
                "a compiled or exported function was called whose layer is not in this process: keep the layer as long "
                f"as the function, and {self._advice}."
            )
        return held
