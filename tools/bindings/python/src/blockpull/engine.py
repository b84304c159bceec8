# SPDX-License-Identifier: MIT OR Apache-2.0
"""An engine: a ring, its threads and a memory budget that any number of disks share."""
import threading
from contextlib import ExitStack
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Tuple, Union

from ._enums import BackingRule, DiskFlags, Io
from ._ffi import ffi, lib
from ._held import Held
from ._opener import OpenFile, Opener
from ._options import FormatLike, Options, Path, as_format, disk_options, path_bytes
from .disk import Disk
from .errors import check, new_error

EVENTS_MAX = 32


class Engine:
    """Sizes in bytes, rates in bytes a second; 0: the library's default, or no limit."""

    def __init__(self, io: Io = Io.AUTO, memory: int = 0, bandwidth: int = 0, burst: int = 0, iops: int = 0):
        options = Options("struct bpull_engine_options", io=io, memory=memory, bandwidth=bandwidth, burst=burst,
                          iops=iops, flags=lib.BPULL_ENGINE_THREAD)
        out, error = ffi.new("struct bpull_engine **"), new_error()
        self._disks: Dict[Any, Disk] = {}  # by their handles: those that are not closed
        # Events are handed on in their order, and none of a disk that is being closed: its texts go with it. A handler
        # of a signal may close while its own thread has this.
        self.taking = threading.RLock()
        check(lib.bpull_engine_open(options.struct, out, error), error)
        self._held = Held("engine", out[0], _ender(self._disks))

    @property
    def io(self) -> str:
        """The backend in use: "uring" or "threads"."""
        with self._held as pointer:
            return ffi.string(lib.bpull_engine_io_name(pointer)).decode()

    def set_speed(self, bandwidth: int, burst: int = 0) -> None:
        with self._held as pointer:
            lib.bpull_engine_set_speed(pointer, bandwidth, burst)

    def open(self, path: Path, *, read_only: bool = False, guest_io: bool = False, copy_on_read: bool = False,
             direct: bool = False, force_share: bool = False, no_backing: bool = False, flags: int = 0,
             format: FormatLike = None, backing_format: FormatLike = None,
             allow_backing: Union[Iterable[Path], BackingRule] = (),
             backing_formats: Optional[Mapping[Path, FormatLike]] = None, trust_backing: bool = False,
             relative_dir: Optional[Path] = None, open_file: Optional[OpenFile] = None) -> Disk:
        """Opens an image and its chain. guest_io: reads and writes of the disk will come.

        open_file opens the files instead of the library, which then looks up no name: it is called with an
        OpenRequest for each, on this thread, and answers with a descriptor, or raises OSError to refuse. The
        descriptor is the library's from then on, and an open file description of its own: from os.open(), not
        from os.dup(). It must not call blockpull."""
        for wanted, flag in ((read_only, DiskFlags.READ_ONLY), (guest_io, DiskFlags.GUEST_IO),
                             (copy_on_read, DiskFlags.COPY_ON_READ), (direct, DiskFlags.DIRECT),
                             (force_share, DiskFlags.FORCE_SHARE), (no_backing, DiskFlags.NO_BACKING)):
            flags |= flag if wanted else 0
        options = disk_options(flags, format, backing_format, allow_backing, backing_formats, trust_backing,
                               relative_dir, open_file)
        return self._opened(options, lambda engine, out, error: lib.bpull_disk_open(engine, path_bytes(path),
                                                                                    options.struct, out, error))

    def flatten(self, source: Path, out_path: Path, *, format: FormatLike = "qcow2", cluster_size: int = 0,
                source_format: FormatLike = None, backing_format: FormatLike = None,
                allow_backing: Union[Iterable[Path], BackingRule] = (),
                open_file: Optional[OpenFile] = None) -> Disk:
        """A disk whose job (Disk.pull()) makes the new file out_path, which stands alone; the chain stays as it is.
        The file has its name when the job has completed. open_file opens the source only."""
        options = disk_options(0, source_format, backing_format, allow_backing, open_file=open_file)
        new = Options("struct bpull_create_options", format=as_format(format), cluster_size=cluster_size)
        return self._opened(options, lambda engine, out, error: lib.bpull_flatten_open(
            engine, path_bytes(source), options.struct, path_bytes(out_path), new.struct, out, error))

    def snapshot(self, disks: Union[Mapping[Disk, Path], Iterable[Tuple[Disk, Path]]], *, existing: bool = False, format: FormatLike = None,
                 cluster_size: int = 0, backing_name: Optional[Path] = None,
                 open_file: Optional[OpenFile] = None) -> None:
        """Gives each disk a new overlay by the name that stands beside it: all of them, at one moment of all their
        guests, or none. In a list of pairs a disk may stand more than once: each of its overlays lies on the one before.
        What was each disk's image is only read from now on. format None: qcow2. existing: the
        overlays are there already, without data, and their links lead to the disks' images. open_file opens them, and
        then the image that each records, of disks whose files the program opened."""
        new = Options("struct bpull_create_options", format=as_format(format), cluster_size=cluster_size)
        new.name("backing_name", backing_name)
        new.opener = Opener(open_file) if open_file else None
        pairs = list(disks.items() if isinstance(disks, Mapping) else disks)
        rows, error = ffi.new("struct bpull_snapshot[]", len(pairs)), new_error()
        with ExitStack() as stack:
            for row, (disk, path) in zip(rows, pairs):
                row.size = ffi.sizeof("struct bpull_snapshot")
                row.disk, row.create = stack.enter_context(disk.held), new.struct
                row.path = new.keep(ffi.new("char[]", path_bytes(path)))
                row.flags = lib.BPULL_SNAPSHOT_EXISTING if existing else 0
                if new.opener:
                    row.open_file, row.open_opaque = new.opener.callback, new.opener.handle
            rc = lib.bpull_disk_snapshot(rows, len(pairs), error)
        new.check(rc, error)

    def _opened(self, options: Options, call: Any) -> Disk:
        disk = Disk(self)
        options.struct.user_data = disk.handle
        out, error = ffi.new("struct bpull_disk **"), new_error()
        with self._held as engine:
            rc = call(engine, out, error)
            if not rc:
                disk.open_as(out[0])
                with self.taking:
                    self._disks[disk.handle] = disk
        try:
            options.check(rc, error)
        except BaseException:
            disk.close()
            raise
        return disk

    def take_events(self) -> None:
        """Hands on the events that are there. Job calls it."""
        events = ffi.new("struct bpull_event[]", EVENTS_MAX)
        with self._held as engine, self.taking:
            while True:
                n = check(lib.bpull_engine_process(engine, events, EVENTS_MAX))
                for event in events[0:n]:
                    disk = self._disks.get(event.user_data)
                    if disk and not disk.is_leaving and event.type == lib.BPULL_EVENT_JOB:
                        disk.take_event(event)
                if n < EVENTS_MAX:
                    return

    def forget(self, disk: Disk) -> None:
        """Disk.close() calls it."""
        self._disks.pop(disk.handle, None)

    def close(self) -> None:
        """Closes the disks that are open, and the engine. A job that runs is stopped; its image stays valid. Calls of
        other threads end first; what they call afterwards raises ValueError."""
        self._held.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_held"):  # else __init__ has raised
            self.close()


def _ender(disks: Mapping[Any, Disk]) -> Callable[[Any], None]:
    """Closes an engine that opens no disk any more. It knows the engine's object not: that goes with its last user."""
    def end(pointer: Any) -> None:
        for disk in list(disks.values()):
            disk.close()
        lib.bpull_engine_close(pointer)
    return end
