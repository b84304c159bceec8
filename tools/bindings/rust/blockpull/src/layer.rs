// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an image of a chain is.
use crate::error::text;
use crate::images::format_name;
use blockpull_sys as sys;
use std::os::raw::c_char;

/// How it is known what a backing file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatFrom {
    NotKnown,
    Recorded,
    Probed,
    Told,
}

/// One image of a chain (struct bpull_layer_info).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub path: String,
    pub format: String,
    pub virtual_size: u64,
    pub file_size: u64,
    pub disk_size: u64,
    pub cluster_size: u32,
    pub backing_name: Option<String>,
    pub backing_format: Option<String>,
    /// Of qcow2: 2 or 3; else 0.
    pub version: u32,
    pub refcount_bits: u32,
    /// Of QED: clusters.
    pub table_size: u32,
    pub n_snapshots: u32,
    /// Of qcow2: "zlib" or "zstd".
    pub compression: Option<String>,
    /// "aes" or "luks".
    pub encryption: Option<String>,
    pub dirty: bool,
    pub corrupt: bool,
    pub lazy_refcounts: bool,
    pub extended_l2: bool,
    pub has_data_file: bool,
    pub has_bitmaps: bool,
    pub unreadable: Option<String>,
    pub unwritable: Option<String>,
    /// `sys::BPULL_REMEDY_*`.
    pub unwritable_remedy: sys::bpull_remedy,
    pub data_file: Option<String>,
    pub data_file_raw: bool,
    pub mixed: bool,
    pub backing_format_from: FormatFrom,
    /// "unknown": there is no backing file, or it was not opened.
    pub backing_opened_as: String,
}

/// # Safety
/// Its strings are NULL or end with a zero.
pub(crate) unsafe fn layer_of(c: &sys::bpull_layer_info) -> Layer {
    let or_none = |pointer: *const c_char| (!pointer.is_null()).then(|| text(pointer));
    Layer {
        path: text(c.path),
        format: format_name(c.format),
        virtual_size: c.virtual_size,
        file_size: c.file_size,
        disk_size: c.disk_size,
        cluster_size: c.cluster_size,
        backing_name: or_none(c.backing_name),
        backing_format: or_none(c.backing_format),
        version: c.version,
        refcount_bits: c.refcount_bits,
        table_size: c.table_size,
        n_snapshots: c.n_snapshots,
        compression: or_none(c.compression),
        encryption: or_none(c.encryption),
        dirty: c.dirty != 0,
        corrupt: c.corrupt != 0,
        lazy_refcounts: c.lazy_refcounts != 0,
        extended_l2: c.extended_l2 != 0,
        has_data_file: c.has_data_file != 0,
        has_bitmaps: c.has_bitmaps != 0,
        unreadable: or_none(c.unreadable),
        unwritable: or_none(c.unwritable),
        unwritable_remedy: c.unwritable_remedy,
        data_file: or_none(c.data_file),
        data_file_raw: c.data_file_raw != 0,
        mixed: c.mixed != 0,
        backing_format_from: match c.backing_format_from {
            sys::BPULL_FORMAT_RECORDED => FormatFrom::Recorded,
            sys::BPULL_FORMAT_PROBED => FormatFrom::Probed,
            sys::BPULL_FORMAT_TOLD => FormatFrom::Told,
            _ => FormatFrom::NotKnown,
        },
        backing_opened_as: format_name(c.backing_opened_as),
    }
}
