# SPDX-License-Identifier: MIT OR Apache-2.0
"""Options as C structs. A struct points to names that Python made: each is kept with it."""
import os
from typing import Any, Iterable, Mapping, Optional, Tuple, Union

from ._enums import BackingRule, DiskFlags, Format, JobFlags, JobType
from ._ffi import ffi, lib
from ._opener import OpenFile, Opener
from .errors import check

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
FormatLike = Union[Format, str, None]


def path_bytes(path: Path) -> bytes:
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("a file's name has a zero byte")
    return name


def as_format(value: FormatLike) -> Format:
    if value is None:
        return Format.UNKNOWN
    if isinstance(value, Format):
        return value
    found = Format(lib.bpull_format_by_name(value.encode()) if "\0" not in value else 0)
    if found is Format.UNKNOWN:
        raise ValueError(f"'{value}' is no format: raw, qcow2 or qed")
    return found


def as_ns(seconds: float) -> int:
    """0 stays 0, and nothing else becomes it."""
    if seconds < 0:
        raise ValueError("a time is not below 0")
    return max(1, round(seconds * 1e9)) if seconds else 0


class Options:
    """A struct and all that it points to."""

    def __init__(self, c_type: str, **fields: Any):
        self._kept: list[Any] = []
        self.opener: Optional[Opener] = None
        self.struct = ffi.new(c_type + " *")
        self.struct.size = ffi.sizeof(c_type)
        for name, value in fields.items():
            setattr(self.struct, name, value)

    def keep(self, value: Any) -> Any:
        self._kept.append(value)
        return value

    def check(self, rc: int, error: Any) -> int:
        """rc, where neither the library's call failed nor the program's open_file did."""
        if self.opener and self.opener.raised:
            raise self.opener.raised
        return check(rc, error)

    def ranges(self, field: str, values: Iterable[Tuple[int, int]]) -> None:
        """Of (offset, length), and the field n_... that says how many."""
        rows = list(values)
        if rows:
            setattr(self.struct, field, self.keep(ffi.new("struct bpull_range[]", rows)))
            setattr(self.struct, "n_" + field, len(rows))

    def name(self, field: str, value: Optional[Path]) -> None:
        if value is not None:
            setattr(self.struct, field, self.keep(ffi.new("char[]", path_bytes(value))))


def job_options(job: JobType, flags: Mapping[JobFlags, bool], names: Mapping[str, Optional[Path]], *,
                within: float, guest_p99: float, **fields: Any) -> Options:
    """struct bpull_job_options: flags that are wanted, files that are named, times in seconds."""
    options = Options("struct bpull_job_options", type=job, flags=sum(flag for flag, wanted in flags.items() if wanted),
                      within_ns=as_ns(within), guest_p99_ns=as_ns(guest_p99), **fields)
    for field, name in names.items():
        options.name(field, name)
    return options


def disk_options(flags: int = 0, format: FormatLike = None, backing_format: FormatLike = None,
                 allow_backing: Union[Iterable[Path], BackingRule] = (),
                 backing_formats: Optional[Mapping[Path, FormatLike]] = None, trust_backing: bool = False,
                 relative_dir: Optional[Path] = None, open_file: Optional[OpenFile] = None) -> Options:
    """struct bpull_disk_options of what Engine.open() and the calls on images take."""
    options = Options("struct bpull_disk_options", flags=int(DiskFlags(flags)), format=as_format(format),
                      backing_format=as_format(backing_format))
    struct = options.struct
    if trust_backing:
        struct.backing_trust = lib.BPULL_TRUST_ALL
    if isinstance(allow_backing, BackingRule):
        struct.backing_rule = allow_backing
    elif isinstance(allow_backing, (str, bytes, os.PathLike)):
        raise TypeError("allow_backing is a list of names, or a BackingRule")
    else:
        names = [options.keep(ffi.new("char[]", path_bytes(name))) for name in allow_backing]
        struct.allowed_dirs = options.keep(ffi.new("char *[]", names or [ffi.NULL]))
        struct.n_allowed_dirs = len(names)
    if backing_formats:
        rows = options.keep(ffi.new("struct bpull_backing_format[]", len(backing_formats)))
        for row, (name, value) in zip(rows, backing_formats.items()):
            row.file = options.keep(ffi.new("char[]", path_bytes(name)))
            row.format = as_format(value)
        struct.backing_formats = rows
        struct.n_backing_formats = len(backing_formats)
    options.name("relative_dir", relative_dir)
    if open_file:
        options.opener = Opener(open_file)
        struct.open_file = options.opener.callback
        struct.open_opaque = options.opener.handle
    return options
