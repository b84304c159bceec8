# SPDX-License-Identifier: MIT OR Apache-2.0
"""The header's enumerations: each value is the library's own constant, not a copy of its number."""
import enum

from ._ffi import ffi, lib


class Format(enum.IntEnum):
    UNKNOWN = lib.BPULL_FORMAT_UNKNOWN
    RAW = lib.BPULL_FORMAT_RAW
    QCOW2 = lib.BPULL_FORMAT_QCOW2
    QED = lib.BPULL_FORMAT_QED

    @property
    def word(self) -> str:
        """As the command's options and JSON have it: "raw", "qcow2", "qed" or "unknown"."""
        return ffi.string(lib.bpull_format_name(self)).decode()


class FormatFrom(enum.IntEnum):
    """How it is known what a backing file is."""
    NOT_KNOWN = lib.BPULL_FORMAT_NOT_KNOWN
    RECORDED = lib.BPULL_FORMAT_RECORDED
    PROBED = lib.BPULL_FORMAT_PROBED
    TOLD = lib.BPULL_FORMAT_TOLD


class Io(enum.IntEnum):
    AUTO = lib.BPULL_IO_AUTO
    URING = lib.BPULL_IO_URING
    THREADS = lib.BPULL_IO_THREADS


class DiskFlags(enum.IntFlag):
    READ_ONLY = lib.BPULL_DISK_READ_ONLY
    FORCE_SHARE = lib.BPULL_DISK_FORCE_SHARE
    NO_BACKING = lib.BPULL_DISK_NO_BACKING
    READ_HOLES = lib.BPULL_DISK_READ_HOLES
    GUEST_IO = lib.BPULL_DISK_GUEST_IO
    COPY_ON_READ = lib.BPULL_DISK_COPY_ON_READ
    DIRECT = lib.BPULL_DISK_DIRECT
    TRUST_HOLES = lib.BPULL_DISK_TRUST_HOLES
    INACTIVE = lib.BPULL_DISK_INACTIVE


class BackingRule(enum.IntEnum):
    DIRS = lib.BPULL_BACKING_DIRS
    ANY = lib.BPULL_BACKING_ANY
    NONE = lib.BPULL_BACKING_NONE


class OpenNeed(enum.IntEnum):
    """What a file is asked for by open_file."""
    READ = lib.BPULL_OPEN_READ
    WRITE = lib.BPULL_OPEN_WRITE
    LOCK = lib.BPULL_OPEN_LOCK


class OpenWhat(enum.IntEnum):
    IMAGE = lib.BPULL_OPEN_IMAGE
    DATA = lib.BPULL_OPEN_DATA


class IoFlags(enum.IntFlag):
    FUA = lib.BPULL_IO_FUA
    UNMAP = lib.BPULL_IO_UNMAP


class JobType(enum.IntEnum):
    UNKNOWN = lib.BPULL_JOB_TYPE_UNKNOWN
    PULL = lib.BPULL_JOB_TYPE_PULL
    COMMIT = lib.BPULL_JOB_TYPE_COMMIT
    ACTIVE_COMMIT = lib.BPULL_JOB_TYPE_ACTIVE_COMMIT


class JobState(enum.IntEnum):
    NONE = lib.BPULL_JOB_NONE
    RUNNING = lib.BPULL_JOB_RUNNING
    PAUSED = lib.BPULL_JOB_PAUSED
    WAITING = lib.BPULL_JOB_WAITING
    STOPPING = lib.BPULL_JOB_STOPPING
    CONCLUDED = lib.BPULL_JOB_CONCLUDED


class JobStatus(enum.IntEnum):
    COMPLETED = lib.BPULL_JOB_COMPLETED
    FAILED = lib.BPULL_JOB_FAILED
    CANCELED = lib.BPULL_JOB_CANCELED
    READY = lib.BPULL_JOB_READY


class JobFlags(enum.IntFlag):
    MANUAL_FINALIZE = lib.BPULL_JOB_MANUAL_FINALIZE
    START_PAUSED = lib.BPULL_JOB_START_PAUSED
    VERIFY = lib.BPULL_JOB_VERIFY
    ACCEPT_MIXED = lib.BPULL_JOB_ACCEPT_MIXED
    KEEP = lib.BPULL_JOB_KEEP


class OnError(enum.IntEnum):
    REPORT = lib.BPULL_ON_ERROR_REPORT
    STOP = lib.BPULL_ON_ERROR_STOP
    ENOSPC = lib.BPULL_ON_ERROR_ENOSPC
    IGNORE = lib.BPULL_ON_ERROR_IGNORE


class Compression(enum.IntEnum):
    NONE = lib.BPULL_COMPRESSION_NONE
    OWN = lib.BPULL_COMPRESSION_OWN
    ZLIB = lib.BPULL_COMPRESSION_ZLIB
    ZSTD = lib.BPULL_COMPRESSION_ZSTD


class Copy(enum.IntEnum):
    AUTO = lib.BPULL_COPY_AUTO
    CLONE = lib.BPULL_COPY_CLONE
    READ = lib.BPULL_COPY_READ


class Repair(enum.IntEnum):
    NONE = lib.BPULL_REPAIR_NONE
    LEAKS = lib.BPULL_REPAIR_LEAKS
    ALL = lib.BPULL_REPAIR_ALL


class Remedy(enum.IntEnum):
    """What would let a refused call pass, if the caller knows better."""
    NONE = lib.BPULL_REMEDY_NONE
    ALLOW_BACKING = lib.BPULL_REMEDY_ALLOW_BACKING
    FORCE_SHARE = lib.BPULL_REMEDY_FORCE_SHARE
    READ_HOLES = lib.BPULL_REMEDY_READ_HOLES
    ACCEPT_MIXED = lib.BPULL_REMEDY_ACCEPT_MIXED
    REPAIR = lib.BPULL_REMEDY_REPAIR
    CUT_TAIL = lib.BPULL_REMEDY_CUT_TAIL
    BACKING_FORMAT = lib.BPULL_REMEDY_BACKING_FORMAT
    COMPRESSION = lib.BPULL_REMEDY_COMPRESSION
    LIST_CHAIN = lib.BPULL_REMEDY_LIST_CHAIN
    TRUST_BACKING = lib.BPULL_REMEDY_TRUST_BACKING
    CLOSE_DISK = lib.BPULL_REMEDY_CLOSE_DISK

    @classmethod
    def _missing_(cls, value):
        return cls.NONE  # a newer library may have more
