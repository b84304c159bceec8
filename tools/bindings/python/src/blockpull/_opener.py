# SPDX-License-Identifier: MIT OR Apache-2.0
"""Files that the program opens by itself, and hands over as descriptors."""
import errno
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ._enums import OpenNeed, OpenWhat
from ._ffi import ffi, lib
from .errors import text


@dataclass(frozen=True)
class OpenRequest:
    """A file that is asked for: by the name that leads to it, and as the image above records it (None: the image
    itself). An image may have made its names up."""
    name: str
    recorded: Optional[str]
    need: OpenNeed
    what: OpenWhat


OpenFile = Callable[[OpenRequest], int]


class Opener:
    """Calls the program's function. What that raises stays here until the library's call is over."""

    def __init__(self, open_file: OpenFile):
        self._open_file = open_file
        self.handle = ffi.new_handle(self)
        self.callback = lib.blockpull_open_file
        self.raised: Optional[BaseException] = None

    def answer(self, request: Any) -> int:
        recorded = text(request.recorded) if request.recorded else None
        try:
            fd = self._open_file(OpenRequest(text(request.name), recorded, OpenNeed(request.need),
                                             OpenWhat(request.what)))
            if not isinstance(fd, int) or isinstance(fd, bool) or fd < 0:
                raise TypeError(f"open_file answers with a descriptor, not with {fd!r}")
            return fd
        except OSError as error:
            return -(error.errno or errno.EIO)
        except BaseException as error:
            self.raised = error
            return -errno.EIO


@ffi.def_extern(error=-errno.EIO)
def blockpull_open_file(opaque: Any, request: Any) -> int:
    return ffi.from_handle(opaque).answer(request)
