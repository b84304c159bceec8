# SPDX-License-Identifier: MIT OR Apache-2.0
"""Failures of the library as exceptions, with its sentence and its remedy."""
import os
from typing import Any, NoReturn

from ._enums import Remedy
from ._ffi import ffi


class Error(OSError):
    """A call failed: errno, the library's sentence (strerror), and what would let it pass."""

    def __init__(self, error: int, message: str, remedy: Remedy = Remedy.NONE, remedy_name: str = ""):
        super().__init__(error, message)
        self.remedy = remedy
        self.remedy_name = remedy_name

    def __str__(self) -> str:
        return self.strerror or ""


class JobFailed(Error):
    """The job failed. The link to the backing file is kept, and so is what was copied."""


class JobCanceled(Exception):
    """The job was aborted. The link is kept, and so is what was copied."""


def text(pointer: Any) -> str:
    """A C string of the library; file names may hold bytes that are no text."""
    return os.fsdecode(ffi.string(pointer)) if pointer else ""


def fail(rc: int, error: Any = None) -> NoReturn:
    """Raises what a call answered with -errno, and with `error` (struct bpull_error) if it has one."""
    message = text(error.message) if error else ""
    remedy = Remedy(error.remedy) if error else Remedy.NONE
    raise Error(-rc, message or os.strerror(-rc), remedy, text(error.remedy_name) if error else "")


def check(rc: int, error: Any = None) -> int:
    """rc, where it is no error."""
    if rc < 0:
        fail(rc, error)
    return rc


def new_error() -> Any:
    return ffi.new("struct bpull_error *")
