// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pulls a disk image's backing chain into the image, and reads and writes its disk meanwhile.
//!
//! ```no_run
//! let engine = blockpull::Engine::open(&blockpull::EngineOptions::default())?;
//! let disk = engine.open_disk("overlay.qcow2".as_ref(), &blockpull::DiskOptions::default())?;
//! let job = disk.pull(&blockpull::JobOptions::default())?;
//! for progress in job.progress(std::time::Duration::from_millis(200)) {
//!     println!("{} of {}", progress.cur, progress.end);
//! }
//! job.wait()?;
//! # Ok::<(), blockpull::Error>(())
//! ```
//!
//! An engine has a thread of its own, so all types here may be used from any thread. A disk keeps its engine open, and
//! is closed when it is dropped. What each call does on disk is written in blockpull.h(3).
pub use blockpull_sys as sys;

mod disk;
mod disk_options;
mod engine;
mod error;
mod guest;
mod images;
mod job;
mod job_options;
mod layer;
mod opener;
mod snapshot;

pub use disk::{Disk, Extent};
pub use disk_options::DiskOptions;
pub use engine::{Engine, EngineOptions, Io};
pub use error::Error;
pub use guest::{DiskStats, IoStats};
pub use images::{
    check, create, info, measure, measure_pull, CheckOptions, CheckResult, CreateOptions, Finding, Measure, Repair,
};
pub use job::{Job, Progress, ProgressIter};
pub use job_options::{Compression, Copying, JobOptions, OnError, Rates};
pub use layer::{FormatFrom, Layer};
pub use opener::{OpenNeed, OpenRequest, OpenWhat};
pub use snapshot::SnapshotOptions;

/// The version of the library that runs.
pub fn version() -> String {
    // SAFETY: a static string.
    unsafe { error::text(sys::bpull_version()) }
}
