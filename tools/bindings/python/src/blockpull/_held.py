# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the library opened: closed when no call on any thread uses it any more."""
import os
import threading
from typing import Any, Callable, List, Optional


class Held:
    """`with held as pointer` has the pointer for a call, and the last close() of it wait for that call's end."""

    def __init__(self, what: str, pointer: Any, close: Callable[[Any], None]):
        self._what, self._pointer, self._close = what, pointer, close
        self._process = os.getpid()
        self._changed = threading.Condition()  # a handler of a signal may call this class, too
        self._users: List[int] = []  # threads, once a call
        self._is_closing = False
        self._closer: Optional[int] = None
        self._closed = threading.Event()

    @property
    def is_here(self) -> bool:
        """Not in a child of fork(): what other threads of the parent have there, locks too, they never give back."""
        return self._process == os.getpid()

    def __enter__(self) -> Any:
        with self._changed:
            if self._is_closing:
                raise ValueError(f"the {self._what} is closed")
            self._users.append(threading.get_ident())
        return self._pointer

    def __exit__(self, *unused: object) -> None:
        with self._changed:
            self._users.remove(threading.get_ident())
            self._changed.notify_all()

    def close(self) -> None:
        """Waits for other threads' calls, and until it is closed, whichever thread closes it. This thread's own calls
        are over, or were interrupted."""
        me = threading.get_ident()
        if self.is_here:
            with self._changed:
                self._is_closing = True
                while any(user != me for user in self._users):
                    self._changed.wait()
                is_mine, self._closer = self._closer is None, self._closer or me
            if not is_mine:
                if self._closer != me:
                    self._closed.wait()
                return
        self._is_closing = True
        pointer, self._pointer = self._pointer, None
        try:
            if pointer is not None:
                self._close(pointer)
        finally:
            self._closed.set()
