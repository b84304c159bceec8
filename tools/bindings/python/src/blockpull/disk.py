# SPDX-License-Identifier: MIT OR Apache-2.0
"""A disk: an image with its chain, as the guest sees it."""
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterable, Iterator, List, Optional, Sequence, Tuple

from ._enums import Compression, Copy, IoFlags, JobFlags, JobType, OnError
from ._ffi import ffi, lib
from ._held import Held
from ._options import Options, Path, job_options, path_bytes
from .errors import check, new_error, text
from .job import Job

if TYPE_CHECKING:
    from .engine import Engine

EXTENTS_MAX = 256


@dataclass(frozen=True)
class Extent:
    """A range that maps alike, in bytes of the guest's disk; `offset` in the file of layer `depth`, if it is known."""
    start: int
    length: int
    depth: int
    present: bool
    zero: bool
    data: bool
    compressed: bool
    offset: Optional[int]


@dataclass(frozen=True)
class IoStats:
    """Requests of one kind (struct bpull_io_stats). `latency[i]` of them took less than 1024 << i ns, and not less than
    the cell before; the last cell has all that took longer."""
    requests: int
    bytes: int
    total_ns: int
    errors: int
    refused: int
    latency: tuple[int, ...]


@dataclass(frozen=True)
class DiskStats:
    """What was asked of a disk since it was opened."""
    read: IoStats
    write: IoStats
    flush: IoStats
    discard: IoStats
    write_zeroes: IoStats
    write_end: int  # guest offset behind the last byte that was ever written


class Disk:
    """From Engine.open() or Engine.flatten(): open until close(), the end of its `with`, or the engine's. Reading and
    writing need guest_io."""

    def __init__(self, engine: "Engine"):
        self.engine = engine
        self.handle = ffi.new_handle(self)
        self.held = Held("disk", None, lib.bpull_disk_close)
        self.is_leaving = False  # no event of it is handed on
        self._job: Optional[Job] = None  # the last one that was started
        self._jobs: List[Job] = []  # those whose end is not known, the oldest first; under Engine.taking
        self._texts = threading.RLock()  # a start of a job takes the last one's away

    def open_as(self, pointer: Any) -> None:
        self.held = Held("disk", pointer, lib.bpull_disk_close)

    def call(self, function: Any, *arguments: Any) -> Any:
        """One of the library's, which takes the disk first."""
        with self.held as pointer:
            return function(pointer, *arguments)

    def _text(self, function: Any) -> str:
        with self.held as pointer:
            return text(function(pointer))

    @property
    def size(self) -> int:
        return self.call(lib.bpull_disk_size)

    @property
    def depth(self) -> int:
        """Images in the chain; 1: it stands alone."""
        return self.call(lib.bpull_disk_depth)

    def layer_path(self, depth: int = 0) -> str:
        """The name by which an image of the chain was opened, 0 the top one; IndexError: there is none."""
        path, room = ffi.NULL, 0
        while (length := self.call(lib.bpull_disk_layer_path, depth, path, room) if depth >= 0 else -1) >= room:
            room = length + 1  # a snapshot on another thread may give it a longer name meanwhile
            path = ffi.new("char[]", room)
        if length < 0:
            raise IndexError(f"the chain has no image {depth}")
        return text(path)

    @property
    def dropped(self) -> List[str]:
        """The files that the chain has lost by the last job, which completed, the upper ones first."""
        paths: List[str] = []
        with self.held as disk, self._texts:
            while pointer := lib.bpull_job_dropped(disk, len(paths)):
                paths.append(text(pointer))
        return paths

    @property
    def warning(self) -> str:
        return self._text(lib.bpull_disk_warning)

    @property
    def hint(self) -> str:
        return self._text(lib.bpull_disk_hint)

    @property
    def note(self) -> str:
        with self._texts:
            return self._text(lib.bpull_disk_note)

    def find(self, path: Path) -> int:
        """The depth of a file of the chain."""
        depth, error = ffi.new("uint32_t *"), new_error()
        check(self.call(lib.bpull_disk_find, path_bytes(path), depth, error), error)
        return depth[0]

    def pull(self, *, base: Optional[Path] = None, base_name: Optional[Path] = None, top: Optional[Path] = None,
             bandwidth: int = 0, burst: int = 0, verify: bool = False, manual_finalize: bool = False,
             start_paused: bool = False, accept_mixed: bool = False, compression: Compression = Compression.NONE,
             compression_level: int = 0, on_error: OnError = OnError.REPORT, copy: Copy = Copy.AUTO,
             guest_share: int = 0, iops: int = 0, within: float = 0, min_rate: int = 0, guest_p99: float = 0,
             first: Iterable[Tuple[int, int]] = ()) -> Job:
        """Starts the job: copies what the image reads from its chain (above base), then drops the link. top: a backing
        file that gets what lies between it and base, in place of the image.

        Rates are bytes a second, iops requests a second, times seconds; 0: no matter. within: to be done in so
        long; it raises its own limit when it is late. min_rate: it gives way to guests above that only. guest_p99:
        99 of 100 requests of the disk's guest are to take less (needs guest_io). first: ranges of the guest's disk, as
        (offset, length), that are copied before the rest, in that order."""
        flags = {JobFlags.VERIFY: verify, JobFlags.MANUAL_FINALIZE: manual_finalize,
                 JobFlags.START_PAUSED: start_paused, JobFlags.ACCEPT_MIXED: accept_mixed}
        options = job_options(JobType.PULL, flags, {"base": base, "base_name": base_name, "top": top}, within=within,
                              guest_p99=guest_p99, bandwidth=bandwidth, burst=burst, compression=compression,
                              compression_level=compression_level, on_error=on_error, copy=copy,
                              guest_share=guest_share, iops=iops, min_rate=min_rate)
        options.ranges("first", first)
        return self._start(options)

    def commit(self, *, base: Optional[Path] = None, base_name: Optional[Path] = None, top: Optional[Path] = None,
               keep: bool = False, bandwidth: int = 0, burst: int = 0, verify: bool = False,
               manual_finalize: bool = False, start_paused: bool = False, accept_mixed: bool = False,
               on_error: OnError = OnError.REPORT, guest_share: int = 0, iops: int = 0, within: float = 0,
               min_rate: int = 0, guest_p99: float = 0) -> Job:
        """Starts the job the other way: writes what the files from top (None: the image itself) down to base hold
        into base (None: the file right below top), and leaves them out of the chain. The files between the two must
        not be used any more. The image itself is emptied, but with keep. Units as in pull()."""
        flags = {JobFlags.VERIFY: verify, JobFlags.MANUAL_FINALIZE: manual_finalize,
                 JobFlags.START_PAUSED: start_paused, JobFlags.ACCEPT_MIXED: accept_mixed, JobFlags.KEEP: keep}
        return self._start(job_options(JobType.COMMIT, flags, {"base": base, "base_name": base_name, "top": top},
                                       within=within, guest_p99=guest_p99, bandwidth=bandwidth, burst=burst,
                                       on_error=on_error, guest_share=guest_share, iops=iops, min_rate=min_rate))

    def check_job(self, job: JobType = JobType.PULL, *, base: Optional[Path] = None, base_name: Optional[Path] = None,
                  top: Optional[Path] = None, keep: bool = False, verify: bool = False, accept_mixed: bool = False,
                  compression: Compression = Compression.NONE, compression_level: int = 0,
                  copy: Copy = Copy.AUTO) -> None:
        """Raises what pull(), or commit(), with these options would be refused with. Nothing is started or changed;
        for a pull the disk may be open read-only."""
        flags = {JobFlags.VERIFY: verify, JobFlags.ACCEPT_MIXED: accept_mixed, JobFlags.KEEP: keep}
        options = job_options(job, flags, {"base": base, "base_name": base_name, "top": top}, within=0, guest_p99=0,
                              compression=compression, compression_level=compression_level, copy=copy)
        error = new_error()
        check(self.call(lib.bpull_job_check, options.struct, error), error)

    def _start(self, options: Options) -> Job:
        self.engine.take_events()  # of a job before
        job, before, error = Job(self), self._job, new_error()
        if before:
            before.keep()
        with self.engine.taking:
            self._jobs.append(job)  # its end may come at once
        # A job that is not over: refused, or its end comes now, and the text of that goes with a start.
        with ExitStack() as stack:
            stack.enter_context(self._texts)
            if before and not before.is_over:
                stack.enter_context(self.engine.taking)
            rc = self.call(lib.bpull_job_start, options.struct, error)
        if not rc:
            self._job = job
        else:
            with self.engine.taking:
                self._jobs.remove(job)
        check(rc, error)
        return job

    def snapshot(self, path: Path, **how: Any) -> None:
        """A new overlay becomes the top of this disk's chain; `how` as Engine.snapshot() has it, which does it for
        several disks at once."""
        self.engine.snapshot({self: path}, **how)

    def take_event(self, event: Any) -> None:
        if self._jobs and self._jobs[0].take_event(event):
            self._jobs.pop(0)

    def read(self, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        self.readinto(offset, buffer)
        return bytes(buffer)

    def readinto(self, offset: int, buffer: Any) -> None:
        """Fills a writable buffer."""
        room = ffi.from_buffer(buffer, require_writable=True)
        check(self.call(lib.bpull_pread, room, len(room), offset))

    def write(self, offset: int, data: Any, fua: bool = False) -> None:
        room = ffi.from_buffer(data)
        check(self.call(lib.bpull_pwrite, room, len(room), offset, IoFlags.FUA if fua else 0))

    def readv(self, offset: int, buffers: Sequence[Any]) -> None:
        """Fills writable buffers, one behind the other, by one request."""
        vector, kept = _vector(buffers, require_writable=True)
        check(self.call(lib.bpull_preadv, vector, len(kept), offset))

    def writev(self, offset: int, buffers: Sequence[Any], fua: bool = False) -> None:
        """Writes buffers, one behind the other, by one request."""
        vector, kept = _vector(buffers)
        check(self.call(lib.bpull_pwritev, vector, len(kept), offset, IoFlags.FUA if fua else 0))

    def write_zeroes(self, offset: int, length: int, fua: bool = False, unmap: bool = False) -> None:
        check(self.call(lib.bpull_pwrite_zeroes, offset, length,
                                      (IoFlags.FUA if fua else 0) | (IoFlags.UNMAP if unmap else 0)))

    def discard(self, offset: int, length: int) -> None:
        check(self.call(lib.bpull_pdiscard, offset, length))

    def flush(self) -> None:
        """Makes durable what was written before."""
        check(self.call(lib.bpull_pflush))

    def resize(self, size: int) -> None:
        """Makes the guest's disk longer, durably; the new end reads zeros. Needs guest_io and no job that runs."""
        error = new_error()
        check(self.call(lib.bpull_presize, size, error), error)

    def inactivate(self) -> None:
        """Gives the image away for a while: makes all durable and gives the locks back. Until activate() requests
        fail with EPERM."""
        error = new_error()
        check(self.call(lib.bpull_disk_inactivate, error), error)

    def activate(self, wait: bool = True) -> None:
        """Takes the locks again and reads the image anew, as another program may have left it. wait: for a second,
        for a lock that another process holds."""
        error = new_error()
        function = lib.bpull_disk_activate if wait else lib.bpull_disk_try_activate
        check(self.call(function, error), error)

    @property
    def stats(self) -> DiskStats:
        stats = ffi.new("struct bpull_disk_stats *")
        stats.size = ffi.sizeof("struct bpull_disk_stats")
        check(self.call(lib.bpull_disk_get_stats, stats))
        return DiskStats(read=_io_stats(stats.read), write=_io_stats(stats.write), flush=_io_stats(stats.flush),
                         discard=_io_stats(stats.discard), write_zeroes=_io_stats(stats.write_zeroes),
                         write_end=stats.write_end)

    def set_copy_on_read(self, on: bool) -> None:
        check(self.call(lib.bpull_disk_set_copy_on_read, on))

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """What the disk is, from an offset to its end."""
        found = ffi.new("struct bpull_extent[]", EXTENTS_MAX)
        while True:
            error = new_error()
            n = check(self.call(lib.bpull_disk_map, start, found, EXTENTS_MAX, error), error)
            if not n:
                return
            for extent in found[0:n]:
                yield _extent(extent)
                start = extent.start + extent.length

    def block_status(self, offset: int, length: int) -> List[Extent]:
        """What a range is, as a guest's request, beside others of its disk; needs guest_io. Writes in flight may or may
        not be told. It may end before the range does; ask for the rest then."""
        found = ffi.new("struct bpull_extent[]", EXTENTS_MAX)
        n = check(self.call(lib.bpull_pblock_status, offset, length, found, EXTENTS_MAX))
        return [_extent(extent) for extent in found[0:n]]

    def close(self) -> None:
        """Stops a job that runs, makes durable what it copied, and unlocks the image. Calls of other threads end first;
        what they call afterwards raises ValueError."""
        with ExitStack() as stack:
            if self.held.is_here:
                stack.enter_context(self.engine.taking)
            self.is_leaving = True
        self.held.close()
        self.engine.forget(self)

    def __enter__(self) -> "Disk":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def _vector(buffers: Sequence[Any], require_writable: bool = False) -> Tuple[Any, List[Any]]:
    """An array of struct iovec, and the buffers that it leads to, which are kept while it is used."""
    kept = [ffi.from_buffer(buffer, require_writable=require_writable) for buffer in buffers]
    return ffi.new("struct iovec[]", [(ffi.cast("void *", room), len(room)) for room in kept]), kept


def _extent(extent: Any) -> Extent:
    return Extent(extent.start, extent.length, extent.depth, bool(extent.present), bool(extent.zero), bool(extent.data),
                  bool(extent.compressed), extent.offset if extent.has_offset else None)


def _io_stats(stats: Any) -> IoStats:
    return IoStats(requests=stats.requests, bytes=stats.bytes, total_ns=stats.total_ns, errors=stats.errors,
                   refused=stats.refused, latency=tuple(stats.latency))
