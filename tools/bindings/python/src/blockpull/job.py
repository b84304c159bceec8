# SPDX-License-Identifier: MIT OR Apache-2.0
"""A job: what pulls a chain into an image."""
import time
from dataclasses import dataclass
from errno import ENOENT, ETIMEDOUT
from typing import TYPE_CHECKING, Any, Iterator, Optional

from ._enums import JobState, JobStatus, JobType, Remedy
from ._ffi import ffi, lib
from ._options import as_ns
from .errors import Error, JobCanceled, JobFailed, check

if TYPE_CHECKING:
    from .disk import Disk

# A wait comes back to Python so often, for Ctrl-C.
WAIT_MS = 100


@dataclass(frozen=True)
class Progress:
    """struct bpull_job_info: bytes of the guest's disk, but for what its name says."""
    type: JobType
    state: JobState
    status: JobStatus  # where state is CONCLUDED
    error: int         # an errno, where it failed
    error_was_io: bool    # a request or an operation of its own failed, not a rule
    error_was_read: bool  # that was reading
    bandwidth: int     # bytes a second; 0: no limit
    cur: int
    end: int
    copied_bytes: int
    cloned_bytes: int
    zero_bytes: int
    skipped_bytes: int
    present_bytes: int
    verified_bytes: int
    elapsed_ns: int
    n_commits: int
    stop_error: int    # an errno: why an error stopped it; 0: it did not
    stop_offset: int
    stop_was_read: bool
    iops: int              # requests a second; 0: no limit
    n_requests: int        # that it has made
    limit: int             # bytes a second that it is limited to now
    min_rate: int          # bytes a second
    within_ns: int         # 0: it has no deadline
    deadline_ns: int       # what elapsed_ns is to be then
    needed_rate: int       # bytes a second that the deadline asks for now
    is_late: bool          # the deadline, or min_rate, can't be met
    left_ns: int           # about how long the copying will take yet; 0: not known
    guest_p99_ns: int      # as it was asked for; 0: it was not
    guest_p99_now_ns: int  # what 99 of 100 requests took less than lately; 0: there were none
    source_bytes: int      # that it read from the chain
    shared_bytes: int      # that it had of other jobs, which read the same images
    past_cache_bytes: int  # of source_bytes: read from the device past the page cache

    @property
    def fraction(self) -> float:
        """From 0 to 1. At 1 the job may still have to commit and to verify."""
        return self.cur / self.end


@dataclass(frozen=True)
class End:
    """What the job's last event said."""
    status: JobStatus
    error: int
    message: str
    remedy: Remedy


class Job:
    """The job of a disk, from Disk.pull() or Disk.commit(). Iterating gives Progress until the job is over, and raises as wait() does."""

    def __init__(self, disk: "Disk"):
        self._disk = disk
        self._end: Optional[End] = None
        self._last: Optional[Progress] = None

    @property
    def info(self) -> Progress:
        if self._last:
            return self._last
        info = ffi.new("struct bpull_job_info *")
        info.size = ffi.sizeof("struct bpull_job_info")
        check(self._disk.call(lib.bpull_job_get_info, info))
        return _progress(info)

    @property
    def is_over(self) -> bool:
        """Its end is known."""
        return self._end is not None

    def keep(self) -> None:
        """The disk's next job begins: what is told of this one stays, and nothing that is asked of it is that one's."""
        if self._end and not self._last:
            self._last = self.info

    @property
    def warning(self) -> str:
        """What the end said of a job that did not fail, or ""."""
        return self._end.message if self._end else ""

    def set_speed(self, bandwidth: int, burst: int = 0) -> None:
        self._steer(lib.bpull_job_set_speed, bandwidth, burst)

    def set_rates(self, *, iops: Optional[int] = None, within: Optional[float] = None,
                  min_rate: Optional[int] = None, guest_p99: Optional[float] = None) -> None:
        """Changes what is given, at once; the others stay. Units as in Disk.pull(); within counts from now."""
        rates = ffi.new("struct bpull_job_rates *")
        rates.size = ffi.sizeof("struct bpull_job_rates")
        for value, field, flag in ((iops, "iops", lib.BPULL_JOB_RATE_IOPS),
                                   (None if within is None else as_ns(within), "within_ns", lib.BPULL_JOB_RATE_WITHIN),
                                   (min_rate, "min_rate", lib.BPULL_JOB_RATE_MIN),
                                   (None if guest_p99 is None else as_ns(guest_p99), "guest_p99_ns",
                                    lib.BPULL_JOB_RATE_GUEST_P99)):
            if value is not None:
                setattr(rates, field, value)
                rates.which |= flag
        self._steer(lib.bpull_job_set_rates, rates)

    def pause(self) -> None:
        self._steer(lib.bpull_job_pause)

    def resume(self) -> None:
        self._steer(lib.bpull_job_resume)

    def abort(self) -> None:
        """Asks it to stop; wait() says how it ended."""
        self._steer(lib.bpull_job_abort)

    def finalize(self) -> None:
        """Of a job with manual_finalize that is READY: lets the link go."""
        self._steer(lib.bpull_job_finalize)

    def wait(self, timeout: Optional[float] = None) -> Progress:
        """Waits for the end (seconds; None: for ever; TimeoutError). COMPLETED: the last Progress. Else it raises
        JobFailed or JobCanceled."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_over(WAIT_MS if deadline is None else _left_ms(deadline)):
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError("the job still runs")
        return self._result()

    def progress(self, interval: float = 0.2) -> Iterator[Progress]:
        """Progress every so many seconds, a last one at the end; then it raises as wait() does."""
        while True:
            deadline = time.monotonic() + interval
            over = self._is_over(_left_ms(deadline))
            while not over and time.monotonic() < deadline:
                over = self._is_over(_left_ms(deadline))
            yield self.info
            if over:
                self._result()
                return

    def _steer(self, function: Any, *arguments: Any) -> None:
        """A call that changes the job while it runs: it may end at any moment, of itself or of a changed base."""
        rc = -ENOENT if self._last else self._disk.call(function, *arguments)
        if rc == -ENOENT:
            raise Error(ENOENT, "the job is over: wait() says how it ended")
        check(rc)

    def __iter__(self) -> Iterator[Progress]:
        return self.progress()

    def _is_over(self, timeout_ms: int) -> bool:
        if self._last:
            return True
        rc = self._disk.call(lib.bpull_job_wait, timeout_ms)
        if rc < 0 and rc != -ETIMEDOUT:
            check(rc)
        self._disk.engine.take_events()
        return rc == 0 and self._end is not None

    def _result(self) -> Progress:
        assert self._end
        if self._end.status == JobStatus.FAILED:
            raise JobFailed(self._end.error, self._end.message, self._end.remedy)
        if self._end.status == JobStatus.CANCELED:
            raise JobCanceled(self._end.message or "the job was aborted")
        return self.info

    def take_event(self, event: Any) -> bool:
        """Disk calls it. True: it was the job's end."""
        if event.status != JobStatus.READY:
            self._end = End(JobStatus(event.status), -event.error, _message(event), Remedy(event.remedy))
        return self.is_over


def _left_ms(deadline: float) -> int:
    return int(max(0, min(WAIT_MS, (deadline - time.monotonic()) * 1000)))


def _message(event: Any) -> str:
    return ffi.string(event.message).decode(errors="replace") if event.message else ""


def _progress(info: Any) -> Progress:
    return Progress(type=JobType(info.type), state=JobState(info.state), status=JobStatus(info.status), error=-info.error,
                    error_was_io=bool(info.error_was_io), error_was_read=bool(info.error_was_read),
                    stop_was_read=bool(info.stop_was_read),
                    bandwidth=info.bandwidth, cur=info.cur, end=info.end, copied_bytes=info.copied_bytes,
                    cloned_bytes=info.cloned_bytes, zero_bytes=info.zero_bytes, skipped_bytes=info.skipped_bytes,
                    present_bytes=info.present_bytes, verified_bytes=info.verified_bytes, elapsed_ns=info.elapsed_ns,
                    n_commits=info.n_commits, stop_error=-info.stop_error, stop_offset=info.stop_offset,
                    iops=info.iops, n_requests=info.n_requests, limit=info.limit, min_rate=info.min_rate,
                    within_ns=info.within_ns, deadline_ns=info.deadline_ns, needed_rate=info.needed_rate,
                    is_late=bool(info.is_late), left_ns=info.left_ns, guest_p99_ns=info.guest_p99_ns,
                    guest_p99_now_ns=info.guest_p99_now_ns, source_bytes=info.source_bytes,
                    shared_bytes=info.shared_bytes, past_cache_bytes=info.past_cache_bytes)
