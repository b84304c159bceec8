# SPDX-License-Identifier: MIT OR Apache-2.0
"""Images at rest: describe, check, measure and create them, without an engine."""
from dataclasses import dataclass
from typing import Any, List, Optional

from ._enums import DiskFlags, Format, Repair
from ._ffi import ffi, lib
from ._options import FormatLike, Options, Path, as_format, disk_options, path_bytes
from .errors import check as check_rc, new_error, text


def version() -> str:
    """Of the library that runs."""
    return text(lib.bpull_version())


@dataclass(frozen=True)
class Layer:
    """One image of a chain (struct bpull_layer_info)."""
    path: str
    format: Format
    virtual_size: int
    file_size: int
    disk_size: int
    cluster_size: int
    backing_name: Optional[str]
    backing_format: Optional[str]
    dirty: bool
    corrupt: bool
    mixed: bool
    unreadable: Optional[str]
    unwritable: Optional[str]


def info(path: Path, *, flags: int = 0, **how: Any) -> List[Layer]:
    """The image and its chain, the top first; `how` as Engine.open() has it."""
    options, out, error = disk_options(flags, **how), ffi.new("struct bpull_info **"), new_error()
    rc = lib.bpull_info_open(path_bytes(path), options.struct, out, error)
    try:
        options.check(rc, error)
        return [_layer(out[0], i) for i in range(lib.bpull_info_depth(out[0]))]
    finally:
        lib.bpull_info_close(out[0])


def _layer(opened: Any, i: int) -> Layer:
    found = ffi.new("struct bpull_layer_info *")
    found.size = ffi.sizeof("struct bpull_layer_info")
    check_rc(lib.bpull_info_layer(opened, i, found))
    return Layer(text(found.path), Format(found.format), found.virtual_size, found.file_size, found.disk_size,
                 found.cluster_size, text(found.backing_name) or None, text(found.backing_format) or None,
                 bool(found.dirty), bool(found.corrupt), bool(found.mixed), text(found.unreadable) or None,
                 text(found.unwritable) or None)


@dataclass(frozen=True)
class Finding:
    is_leak: bool
    message: str


@dataclass(frozen=True)
class CheckResult:
    format: Format
    n_corruptions: int
    n_leaks: int
    n_check_errors: int
    n_corruptions_fixed: int
    n_leaks_fixed: int
    mixed: bool
    unrepaired: str
    findings: List[Finding]

    @property
    def is_clean(self) -> bool:
        return not (self.n_corruptions or self.n_leaks or self.n_check_errors)


@ffi.def_extern()
def blockpull_report(opaque: Any, is_leak: int, message: Any) -> None:
    ffi.from_handle(opaque).append(Finding(bool(is_leak), text(message)))


def check(path: Path, *, repair: Repair = Repair.NONE, format: FormatLike = None, force_share: bool = False,
          max_reports: int = 0) -> CheckResult:
    """Checks one image's tables; with a repair it is mended in place, under locks."""
    findings: List[Finding] = []
    handle = ffi.new_handle(findings)
    options = Options("struct bpull_check_options", flags=int(DiskFlags.FORCE_SHARE) if force_share else 0,
                      format=as_format(format), repair=repair, report=lib.blockpull_report, opaque=handle,
                      max_reports=max_reports)
    result, error = ffi.new("struct bpull_check_result *"), new_error()
    result.size = ffi.sizeof("struct bpull_check_result")
    check_rc(lib.bpull_check(path_bytes(path), options.struct, result, error), error)
    return CheckResult(Format(result.format), result.n_corruptions, result.n_leaks, result.n_check_errors,
                       result.n_corruptions_fixed, result.n_leaks_fixed, bool(result.mixed), text(result.unrepaired),
                       findings)


@dataclass(frozen=True)
class Measure:
    """struct bpull_measure: bytes."""
    guest_size: int
    file_size: int
    needed_size: int
    growth: int
    missing: int
    copy_bytes: int
    is_device: bool
    has_backing: bool


def measure(path: Path, *, flags: int = 0, **how: Any) -> Measure:
    """The space that a pull of the whole chain needs at most."""
    options, error = disk_options(flags, **how), new_error()
    result = ffi.new("struct bpull_measure *")
    result.size = ffi.sizeof("struct bpull_measure")
    options.check(lib.bpull_image_measure(path_bytes(path), options.struct, result, error), error)
    return Measure(result.guest_size, result.file_size, result.needed_size, result.growth, result.missing,
                   result.copy_bytes, bool(result.is_device), bool(result.has_backing))


def create(path: Path, size: int = 0, *, format: FormatLike = "qcow2", backing: Optional[Path] = None,
           backing_format: FormatLike = None, cluster_size: int = 0, version: int = 0, zstd: bool = False,
           lazy_refcounts: bool = False) -> None:
    """Makes a new image, never over an existing file, and makes it durable. size 0: the backing file's."""
    options = Options("struct bpull_create_options", format=as_format(format), virtual_size=size,
                      backing_format=as_format(backing_format), cluster_size=cluster_size, version=version, zstd=zstd,
                      lazy_refcounts=lazy_refcounts)
    options.name("backing_name", backing)
    error = new_error()
    check_rc(lib.bpull_create(path_bytes(path), options.struct, error), error)
