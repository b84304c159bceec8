// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a job is asked for.
use crate::error::{path_text, Error, Result};
use blockpull_sys as sys;
use std::ffi::CString;
use std::mem::{size_of, zeroed};
use std::ops::Range;
use std::path::PathBuf;
use std::ptr::null;
use std::time::Duration;

const EINVAL: i32 = 22;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    #[default]
    None,
    /// The type that the image has.
    Own,
    Zlib,
    Zstd,
}

/// What an I/O error of the job's own does to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// It fails.
    #[default]
    Report,
    /// It pauses, and [`crate::Job::resume`] tries again.
    Stop,
    /// The same for want of space only.
    NoSpace,
    /// What can't be read is left out, and the job fails at its end.
    Ignore,
}

/// How data gets into the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Copying {
    /// Blocks are shared where the file system can.
    #[default]
    Auto,
    Clone,
    Read,
}

/// struct bpull_job_options.
#[derive(Debug, Clone, Default)]
pub struct JobOptions {
    /// Bytes a second; 0: no limit.
    pub bandwidth: u64,
    /// Bytes; 0: a tenth of the bandwidth.
    pub burst: u64,
    /// A file of the chain that becomes the backing file; None: all is pulled, and there is none. What a commit
    /// writes into.
    pub base: Option<PathBuf>,
    /// The name that is recorded for it; None: one is made.
    pub base_name: Option<PathBuf>,
    /// A backing file: the job is one between it and `base`. None: the image.
    pub top: Option<PathBuf>,
    /// Of a commit of the image itself: it is left as it is, and must not be used any more.
    pub keep: bool,
    pub verify: bool,
    pub manual_finalize: bool,
    pub start_paused: bool,
    /// Goes on with an image that is marked as a mixture of two states.
    pub accept_mixed: bool,
    pub compression: Compression,
    /// 0: the type's default.
    pub compression_level: u32,
    pub on_error: OnError,
    pub copy: Copying,
    /// Percent of the time that the job may take beside guests; 0: 25.
    pub guest_share: u32,
    /// Requests a second; 0: no limit.
    pub iops: u64,
    /// To be done in so long; it raises its own limit when it is late. Zero: no matter.
    pub within: Duration,
    /// Bytes a second: it gives way to guests above that only.
    pub min_rate: u64,
    /// 99 of 100 requests of the disk's guest are to take less; the disk needs guest I/O. Zero: no matter.
    pub guest_p99: Duration,
    /// Bytes of the guest's disk that are copied before the rest, in this order.
    pub first: Vec<Range<u64>>,
}

/// struct bpull_job_rates: what is to change; None stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    pub iops: Option<u64>,
    /// From now on.
    pub within: Option<Duration>,
    pub min_rate: Option<u64>,
    pub guest_p99: Option<Duration>,
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn ranges_of(first: &[Range<u64>]) -> Result<Vec<sys::bpull_range>> {
    let range_of = |r: &Range<u64>| match r.end.checked_sub(r.start) {
        Some(length) => Ok(sys::bpull_range { offset: r.start, length }),
        None => Err(Error::of_errno(EINVAL)),
    };
    first.iter().map(range_of).collect()
}

impl JobOptions {
    fn flags(&self) -> u32 {
        let flags = [
            (self.verify, sys::BPULL_JOB_VERIFY),
            (self.manual_finalize, sys::BPULL_JOB_MANUAL_FINALIZE),
            (self.start_paused, sys::BPULL_JOB_START_PAUSED),
            (self.accept_mixed, sys::BPULL_JOB_ACCEPT_MIXED),
            (self.keep, sys::BPULL_JOB_KEEP),
        ];
        flags.iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | flag)
    }

    /// Hands these options to a call of the library's, which copies what they point to.
    pub(crate) fn given<T>(
        &self,
        job: sys::bpull_job_type,
        call: impl FnOnce(*const sys::bpull_job_options) -> Result<T>,
    ) -> Result<T> {
        let base: Option<CString> = self.base.as_deref().map(path_text).transpose()?;
        let base_name: Option<CString> = self.base_name.as_deref().map(path_text).transpose()?;
        let top: Option<CString> = self.top.as_deref().map(path_text).transpose()?;
        let first = ranges_of(&self.first)?;
        // SAFETY: zeros are the defaults of all fields.
        let mut c: sys::bpull_job_options = unsafe { zeroed() };
        c.size = size_of::<sys::bpull_job_options>();
        c.type_ = job;
        c.flags = self.flags();
        c.bandwidth = self.bandwidth;
        c.burst = self.burst;
        c.base = base.as_ref().map_or(null(), |name| name.as_ptr());
        c.base_name = base_name.as_ref().map_or(null(), |name| name.as_ptr());
        c.top = top.as_ref().map_or(null(), |name| name.as_ptr());
        self.put_copying(&mut c);
        c.iops = self.iops;
        c.within_ns = nanos(self.within);
        c.min_rate = self.min_rate;
        c.guest_p99_ns = nanos(self.guest_p99);
        c.first = if first.is_empty() { null() } else { first.as_ptr() };
        c.n_first = first.len();
        call(&c)
    }

    /// How data is read, and written.
    fn put_copying(&self, c: &mut sys::bpull_job_options) {
        c.compression = match self.compression {
            Compression::None => sys::BPULL_COMPRESSION_NONE,
            Compression::Own => sys::BPULL_COMPRESSION_OWN,
            Compression::Zlib => sys::BPULL_COMPRESSION_ZLIB,
            Compression::Zstd => sys::BPULL_COMPRESSION_ZSTD,
        };
        c.compression_level = self.compression_level;
        c.on_error = match self.on_error {
            OnError::Report => sys::BPULL_ON_ERROR_REPORT,
            OnError::Stop => sys::BPULL_ON_ERROR_STOP,
            OnError::NoSpace => sys::BPULL_ON_ERROR_ENOSPC,
            OnError::Ignore => sys::BPULL_ON_ERROR_IGNORE,
        };
        c.copy = match self.copy {
            Copying::Auto => sys::BPULL_COPY_AUTO,
            Copying::Clone => sys::BPULL_COPY_CLONE,
            Copying::Read => sys::BPULL_COPY_READ,
        };
        c.guest_share = self.guest_share;
    }
}
