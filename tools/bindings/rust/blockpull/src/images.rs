// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images at rest: describe, check, measure and create them, without an engine.
use crate::disk_options::{format_number, DiskOptions};
use crate::error::{call, check as check_rc, path_text, text, Result};
use crate::job_options::JobOptions;
use crate::layer::{layer_of, Layer};
use blockpull_sys as sys;
use std::ffi::CString;
use std::mem::{size_of, zeroed};
use std::os::raw::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

/// The format's word: "raw", "qcow2", "qed" or "unknown".
pub(crate) fn format_name(format: sys::bpull_format) -> String {
    // SAFETY: a static string.
    unsafe { text(sys::bpull_format_name(format)) }
}

struct Opened(*mut sys::bpull_info);

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: its only owner.
        unsafe { sys::bpull_info_close(self.0) }
    }
}

/// The image and its chain, the top first. Of the options `read_only` goes without saying.
pub fn info(path: &Path, options: &DiskOptions) -> Result<Vec<Layer>> {
    let path = path_text(path)?;
    let opened = options.given(None, |c| {
        let mut pointer = null_mut();
        // SAFETY: the name and the options live until the call is over.
        call(|error| unsafe { sys::bpull_info_open(path.as_ptr(), c, &mut pointer, error) })?;
        Ok(Opened(pointer))
    })?;
    let n = unsafe { sys::bpull_info_depth(opened.0) };
    let layer = |i| {
        // SAFETY: zeros are values of all fields; the strings are copied before the description is closed.
        let mut c: sys::bpull_layer_info = unsafe { zeroed() };
        c.size = size_of::<sys::bpull_layer_info>();
        check_rc(unsafe { sys::bpull_info_layer(opened.0, i, &mut c) })?;
        Ok(unsafe { layer_of(&c) })
    };
    (0..n).map(layer).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repair {
    /// The image is only read.
    #[default]
    None,
    /// Leaked clusters are freed, where nothing is worse.
    Leaks,
    /// Refcounts and flags, too, and the marks dirty and corrupt go.
    All,
}

#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    pub repair: Repair,
    /// None: probed.
    pub format: Option<String>,
    pub force_share: bool,
    /// 0: 100.
    pub max_reports: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub is_leak: bool,
    pub message: String,
}

/// struct bpull_check_result. After a repair the numbers are of what is there then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    pub format: String,
    pub n_corruptions: u64,
    pub n_leaks: u64,
    pub n_check_errors: u64,
    pub n_allocated_clusters: u64,
    pub n_compressed_clusters: u64,
    pub n_zero_clusters: u64,
    pub n_total_clusters: u64,
    pub image_end_offset: u64,
    pub n_corruptions_fixed: u64,
    pub n_leaks_fixed: u64,
    pub marks_cleared: bool,
    /// Why something was left, or "".
    pub unrepaired: String,
    pub mixed: bool,
    pub findings: Vec<Finding>,
}

impl CheckResult {
    pub fn is_clean(&self) -> bool {
        self.n_corruptions == 0 && self.n_leaks == 0 && self.n_check_errors == 0
    }
}

unsafe extern "C" fn report(opaque: *mut c_void, is_leak: c_int, message: *const c_char) {
    // SAFETY: check() hands over its list, which nothing else uses during the call. No code of the program runs here.
    let findings = &mut *opaque.cast::<Vec<Finding>>();
    findings.push(Finding { is_leak: is_leak != 0, message: text(message) });
}

/// Checks one image's tables; with a repair it is mended in place, under locks.
pub fn check(path: &Path, options: &CheckOptions) -> Result<CheckResult> {
    let path = path_text(path)?;
    let mut findings: Vec<Finding> = Vec::new();
    // SAFETY: zeros are the defaults of all fields.
    let mut c: sys::bpull_check_options = unsafe { zeroed() };
    c.size = size_of::<sys::bpull_check_options>();
    c.flags = if options.force_share { sys::BPULL_DISK_FORCE_SHARE } else { 0 };
    c.format = format_number(&options.format)?;
    c.report = Some(report);
    c.opaque = (&mut findings as *mut Vec<Finding>).cast();
    c.max_reports = options.max_reports;
    c.repair = match options.repair {
        Repair::None => sys::BPULL_REPAIR_NONE,
        Repair::Leaks => sys::BPULL_REPAIR_LEAKS,
        Repair::All => sys::BPULL_REPAIR_ALL,
    };
    // SAFETY: zeros are values of all fields; the list of findings lives until the call is over.
    let mut r: sys::bpull_check_result = unsafe { zeroed() };
    r.size = size_of::<sys::bpull_check_result>();
    call(|error| unsafe { sys::bpull_check(path.as_ptr(), &c, &mut r, error) })?;
    Ok(CheckResult {
        format: format_name(r.format),
        n_corruptions: r.n_corruptions,
        n_leaks: r.n_leaks,
        n_check_errors: r.n_check_errors,
        n_allocated_clusters: r.n_allocated_clusters,
        n_compressed_clusters: r.n_compressed_clusters,
        n_zero_clusters: r.n_zero_clusters,
        n_total_clusters: r.n_total_clusters,
        image_end_offset: r.image_end_offset,
        n_corruptions_fixed: r.n_corruptions_fixed,
        n_leaks_fixed: r.n_leaks_fixed,
        marks_cleared: r.marks_cleared != 0,
        unrepaired: unsafe { text(r.unrepaired.as_ptr()) },
        mixed: r.mixed != 0,
        findings,
    })
}

/// struct bpull_measure: bytes. `data_...`: of the file that the image has its data in, else 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    pub guest_size: u64,
    pub file_size: u64,
    pub needed_size: u64,
    pub growth: u64,
    pub missing: u64,
    pub copy_bytes: u64,
    pub is_device: bool,
    pub has_backing: bool,
    pub has_data_file: bool,
    pub data_is_device: bool,
    pub data_file_size: u64,
    pub data_needed_size: u64,
    pub data_growth: u64,
    pub data_missing: u64,
}

fn measured(made: impl FnOnce(*mut sys::bpull_measure, *mut sys::bpull_error) -> c_int) -> Result<Measure> {
    // SAFETY: zeros are values of all fields.
    let mut r: sys::bpull_measure = unsafe { zeroed() };
    r.size = size_of::<sys::bpull_measure>();
    call(|error| made(&mut r, error))?;
    Ok(Measure {
        guest_size: r.guest_size,
        file_size: r.file_size,
        needed_size: r.needed_size,
        growth: r.growth,
        missing: r.missing,
        copy_bytes: r.copy_bytes,
        is_device: r.is_device != 0,
        has_backing: r.has_backing != 0,
        has_data_file: r.has_data_file != 0,
        data_is_device: r.data_is_device != 0,
        data_file_size: r.data_file_size,
        data_needed_size: r.data_needed_size,
        data_growth: r.data_growth,
        data_missing: r.data_missing,
    })
}

/// The space that a pull of the whole chain needs at most.
pub fn measure(path: &Path, options: &DiskOptions) -> Result<Measure> {
    let path = path_text(path)?;
    // SAFETY: the name and the options live until the call is over.
    options.given(None, |c| measured(|r, error| unsafe { sys::bpull_image_measure(path.as_ptr(), c, r, error) }))
}

/// The space that [`crate::Disk::pull`] with these options needs at most; with a top the numbers are of that file.
pub fn measure_pull(path: &Path, options: &DiskOptions, job: &JobOptions) -> Result<Measure> {
    let path = path_text(path)?;
    options.given(None, |c| {
        job.given(sys::BPULL_JOB_TYPE_PULL, |job| {
            // SAFETY: as above.
            measured(|r, error| unsafe { sys::bpull_measure_job(path.as_ptr(), c, job, r, error) })
        })
    })
}

/// What a new image is to be (struct bpull_create_options).
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// "qcow2" or "qed"; None: qcow2, and of a flatten that of its source.
    pub format: Option<String>,
    /// Bytes; 0: the backing file's.
    pub virtual_size: u64,
    /// Recorded as given, and relative to the new image.
    pub backing_name: Option<PathBuf>,
    /// Needed with a backing file.
    pub backing_format: Option<String>,
    /// 0: 65536.
    pub cluster_size: u32,
    /// Of qcow2; 0: 3.
    pub version: u32,
    /// Of qcow2; 0: 16.
    pub refcount_bits: u32,
    /// Of QED, clusters; 0: 4.
    pub table_size: u32,
    pub lazy_refcounts: bool,
    pub zstd: bool,
    /// A disk of no bytes is meant.
    pub empty: bool,
}

impl CreateOptions {
    /// Hands these options to a call of the library's, which copies what they point to.
    pub(crate) fn given<T>(&self, call: impl FnOnce(&mut sys::bpull_create_options) -> Result<T>) -> Result<T> {
        let backing_name: Option<CString> = self.backing_name.as_deref().map(path_text).transpose()?;
        // SAFETY: zeros are the defaults of all fields.
        let mut c: sys::bpull_create_options = unsafe { zeroed() };
        c.size = size_of::<sys::bpull_create_options>();
        c.format = format_number(&self.format)?;
        c.virtual_size = self.virtual_size;
        c.backing_name = backing_name.as_ref().map_or(null(), |name| name.as_ptr());
        c.backing_format = format_number(&self.backing_format)?;
        c.cluster_size = self.cluster_size;
        c.version = self.version;
        c.refcount_bits = self.refcount_bits;
        c.table_size = self.table_size;
        c.lazy_refcounts = self.lazy_refcounts.into();
        c.zstd = self.zstd.into();
        c.empty = self.empty.into();
        call(&mut c)
    }
}

/// Makes a new image, never over an existing file, and makes it durable.
pub fn create(path: &Path, options: &CreateOptions) -> Result<()> {
    let path = path_text(path)?;
    options.given(|c| {
        if c.format == sys::BPULL_FORMAT_UNKNOWN {
            c.format = sys::BPULL_FORMAT_QCOW2;
        }
        // SAFETY: the names live until the call is over.
        call(|error| unsafe { sys::bpull_create(path.as_ptr(), c, error) }).map(drop)
    })
}
