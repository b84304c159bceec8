# SPDX-License-Identifier: MIT OR Apache-2.0
"""Images at rest: describe, check, measure and create them, without an engine."""
from dataclasses import dataclass
from typing import Any, List, Optional

from ._enums import Compression, DiskFlags, Format, FormatFrom, JobFlags, JobType, Remedy, Repair
from ._ffi import ffi, lib
from ._options import FormatLike, Options, Path, as_format, disk_options, job_options, path_bytes
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
    version: int        # qcow2: 2 or 3; else 0
    refcount_bits: int  # qcow2
    table_size: int     # qed: clusters a table
    n_snapshots: int    # qcow2
    compression: Optional[str]  # qcow2: "zlib" or "zstd"
    encryption: Optional[str]   # "aes" or "luks"
    dirty: bool
    corrupt: bool
    lazy_refcounts: bool
    extended_l2: bool
    has_data_file: bool
    has_bitmaps: bool
    unreadable: Optional[str]
    unwritable: Optional[str]
    unwritable_remedy: Remedy
    data_file: Optional[str]
    data_file_raw: bool
    mixed: bool
    backing_format_from: FormatFrom
    backing_opened_as: Format


def info(path: Path, *, flags: int = 0, **how: Any) -> List[Layer]:
    """The image and its chain, the top first. flags are DiskFlags; `how` has format and what stands behind it in
    Engine.open()."""
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
    return Layer(path=text(found.path), format=Format(found.format), virtual_size=found.virtual_size,
                 file_size=found.file_size, disk_size=found.disk_size, cluster_size=found.cluster_size,
                 backing_name=text(found.backing_name) or None, backing_format=text(found.backing_format) or None,
                 version=found.version, refcount_bits=found.refcount_bits, table_size=found.table_size,
                 n_snapshots=found.n_snapshots, compression=text(found.compression) or None,
                 encryption=text(found.encryption) or None, dirty=bool(found.dirty), corrupt=bool(found.corrupt),
                 lazy_refcounts=bool(found.lazy_refcounts), extended_l2=bool(found.extended_l2),
                 has_data_file=bool(found.has_data_file), has_bitmaps=bool(found.has_bitmaps),
                 unreadable=text(found.unreadable) or None, unwritable=text(found.unwritable) or None,
                 unwritable_remedy=Remedy(found.unwritable_remedy), data_file=text(found.data_file) or None,
                 data_file_raw=bool(found.data_file_raw), mixed=bool(found.mixed),
                 backing_format_from=FormatFrom(found.backing_format_from),
                 backing_opened_as=Format(found.backing_opened_as))


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
    n_allocated_clusters: int
    n_compressed_clusters: int
    n_zero_clusters: int
    n_total_clusters: int
    image_end_offset: int
    n_corruptions_fixed: int
    n_leaks_fixed: int
    marks_cleared: bool
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
    return CheckResult(format=Format(result.format), n_corruptions=result.n_corruptions, n_leaks=result.n_leaks,
                       n_check_errors=result.n_check_errors, n_allocated_clusters=result.n_allocated_clusters,
                       n_compressed_clusters=result.n_compressed_clusters, n_zero_clusters=result.n_zero_clusters,
                       n_total_clusters=result.n_total_clusters, image_end_offset=result.image_end_offset,
                       n_corruptions_fixed=result.n_corruptions_fixed, n_leaks_fixed=result.n_leaks_fixed,
                       marks_cleared=bool(result.marks_cleared), mixed=bool(result.mixed),
                       unrepaired=text(result.unrepaired), findings=findings)


@dataclass(frozen=True)
class Measure:
    """struct bpull_measure: bytes. data_...: of the file that the image has its data in, else 0."""
    guest_size: int
    file_size: int
    needed_size: int
    growth: int
    missing: int
    copy_bytes: int
    is_device: bool
    has_backing: bool
    has_data_file: bool
    data_is_device: bool
    data_file_size: int
    data_needed_size: int
    data_growth: int
    data_missing: int


def _measured(options: Options, call: Any) -> Measure:
    result, error = ffi.new("struct bpull_measure *"), new_error()
    result.size = ffi.sizeof("struct bpull_measure")
    options.check(call(result, error), error)
    return Measure(guest_size=result.guest_size, file_size=result.file_size, needed_size=result.needed_size,
                   growth=result.growth, missing=result.missing, copy_bytes=result.copy_bytes,
                   is_device=bool(result.is_device), has_backing=bool(result.has_backing),
                   has_data_file=bool(result.has_data_file), data_is_device=bool(result.data_is_device),
                   data_file_size=result.data_file_size, data_needed_size=result.data_needed_size,
                   data_growth=result.data_growth, data_missing=result.data_missing)


def measure(path: Path, *, flags: int = 0, **how: Any) -> Measure:
    """The space that a pull of the whole chain needs at most; flags and `how` as info() has them."""
    options = disk_options(flags, **how)
    return _measured(options, lambda result, error: lib.bpull_image_measure(path_bytes(path), options.struct, result,
                                                                            error))


def measure_pull(path: Path, *, base: Optional[Path] = None, top: Optional[Path] = None,
                 compression: Compression = Compression.NONE, accept_mixed: bool = False, flags: int = 0,
                 **how: Any) -> Measure:
    """The space that Disk.pull() with these options needs at most; with a top the numbers are of that file. flags and
    `how` as info() has them."""
    options = disk_options(flags, **how)
    job = job_options(JobType.PULL, {JobFlags.ACCEPT_MIXED: accept_mixed}, {"base": base, "top": top}, within=0,
                      guest_p99=0, compression=compression)
    return _measured(options, lambda result, error: lib.bpull_measure_job(path_bytes(path), options.struct, job.struct,
                                                                          result, error))


def create(path: Path, size: int = 0, *, format: FormatLike = "qcow2", backing: Optional[Path] = None,
           backing_format: FormatLike = None, cluster_size: int = 0, version: int = 0, refcount_bits: int = 0,
           table_size: int = 0, zstd: bool = False, lazy_refcounts: bool = False, empty: bool = False) -> None:
    """Makes a new image, never over an existing file, and makes it durable. size 0: the backing file's; with empty a
    disk of no bytes. refcount_bits and version are qcow2's, table_size is QED's; 0: 16, 3 and 4."""
    options = Options("struct bpull_create_options", format=as_format(format), virtual_size=size,
                      backing_format=as_format(backing_format), cluster_size=cluster_size, version=version,
                      refcount_bits=refcount_bits, table_size=table_size, zstd=zstd, lazy_refcounts=lazy_refcounts,
                      empty=empty)
    options.name("backing_name", backing)
    error = new_error()
    check_rc(lib.bpull_create(path_bytes(path), options.struct, error), error)
