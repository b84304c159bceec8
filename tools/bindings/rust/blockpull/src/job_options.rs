// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a job is asked for.
use crate::error::{Error, Result};
use blockpull_sys as sys;
use std::ops::Range;
use std::path::PathBuf;
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

/// struct bpull_job_options.
#[derive(Debug, Clone, Default)]
pub struct JobOptions {
    /// Bytes a second; 0: no limit.
    pub bandwidth: u64,
    /// A file of the chain that becomes the backing file; None: all is pulled, and there is none.
    pub base: Option<PathBuf>,
    pub verify: bool,
    pub manual_finalize: bool,
    pub start_paused: bool,
    pub compression: Compression,
    /// Requests a second; 0: no limit.
    pub iops: u64,
    /// To be done in so long; it raises its own limit when it is late. Zero: no matter.
    pub within: Duration,
    /// Bytes a second: it gives way to guests above that only.
    pub min_rate: u64,
    /// 99 of 100 requests of the disk's guest are to take less. Zero: no matter.
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

pub(crate) fn ranges_of(first: &[Range<u64>]) -> Result<Vec<sys::bpull_range>> {
    let range_of = |r: &Range<u64>| match r.end.checked_sub(r.start) {
        Some(length) => Ok(sys::bpull_range { offset: r.start, length }),
        None => Err(Error::of_errno(EINVAL)),
    };
    first.iter().map(range_of).collect()
}
