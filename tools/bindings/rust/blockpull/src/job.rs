// SPDX-License-Identifier: MIT OR Apache-2.0
//! A job: what pulls a chain into an image.
use crate::disk::Disk;
use crate::engine::End;
use crate::error::{call, check, Error, Result};
use crate::job_options::{nanos, JobOptions, Rates};
use blockpull_sys as sys;
use std::mem::{size_of, zeroed};
use std::time::{Duration, Instant};

const ETIMEDOUT: i32 = 110;
const ECANCELED: i32 = 125;
/// A wait looks so often whether the end has been told.
const WAIT_MS: u128 = 1000;

/// struct bpull_job_info: bytes of the guest's disk, but for what its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// `sys::BPULL_JOB_TYPE_PULL` and those behind it.
    pub kind: sys::bpull_job_type,
    /// `sys::BPULL_JOB_NONE` and those behind it.
    pub state: sys::bpull_job_state,
    /// `sys::BPULL_JOB_COMPLETED` and those behind it, where the job is concluded.
    pub status: sys::bpull_job_status,
    /// An errno, where it failed.
    pub error: i32,
    /// A request or an operation of its own failed, not a rule.
    pub error_was_io: bool,
    /// That was reading.
    pub error_was_read: bool,
    pub cur: u64,
    pub end: u64,
    pub copied_bytes: u64,
    pub cloned_bytes: u64,
    pub zero_bytes: u64,
    pub skipped_bytes: u64,
    pub present_bytes: u64,
    pub verified_bytes: u64,
    pub elapsed: Duration,
    pub n_commits: u64,
    /// An errno: why an error stopped it, while it is so. 0: none did.
    pub stop_error: i32,
    pub stop_offset: u64,
    pub stop_was_read: bool,
    /// Bytes a second, as it was asked for; 0: no limit.
    pub bandwidth: u64,
    /// Bytes a second that it is limited to now.
    pub limit: u64,
    /// Requests a second; 0: no limit.
    pub iops: u64,
    /// That it has made.
    pub requests: u64,
    /// Bytes a second.
    pub min_rate: u64,
    /// None: it has no deadline.
    pub within: Option<Duration>,
    /// What `elapsed` is to be then.
    pub deadline: Option<Duration>,
    /// Bytes a second that the deadline asks for now.
    pub needed_rate: u64,
    /// The deadline, or `min_rate`, can't be met.
    pub is_late: bool,
    /// About how long the copying will take yet. None: not known.
    pub left: Option<Duration>,
    /// As it was asked for.
    pub guest_p99: Option<Duration>,
    /// What 99 of 100 requests took less than lately. None: there were none.
    pub guest_p99_now: Option<Duration>,
    /// That it read from the chain.
    pub source_bytes: u64,
    /// That it had of other jobs, which read the same images.
    pub shared_bytes: u64,
    /// Of `source_bytes`: what was read from the device past the page cache.
    pub past_cache_bytes: u64,
}

fn time_of(ns: u64) -> Option<Duration> {
    (ns != 0).then(|| Duration::from_nanos(ns))
}

const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

fn after(time: Duration) -> Instant {
    Instant::now() + time.min(NEVER)
}

/// The job of a disk. When the next one starts, this speaks of that one. It goes on when this is dropped; closing the disk stops it.
pub struct Job<'a> {
    disk: &'a Disk,
}

impl<'a> Job<'a> {
    /// Refuses what start() would.
    pub(crate) fn check(disk: &Disk, job: sys::bpull_job_type, options: &JobOptions) -> Result<()> {
        options.given(job, |c| call(|error| unsafe { sys::bpull_job_check(disk.pointer, c, error) })).map(drop)
    }

    pub(crate) fn start(disk: &'a Disk, job: sys::bpull_job_type, options: &JobOptions) -> Result<Job<'a>> {
        let _changed = disk.texts.write().unwrap();
        // The end of the job before; it stays that one's if no new one starts.
        let mut ends = disk.engine.take_events()?;
        let before = ends.take(disk.id);
        // One without an end runs: refused, or it ends now, and the text of that goes with a start.
        let is_running = before.is_none() && (Job { disk }).info()?.state != sys::BPULL_JOB_NONE;
        let untaken = is_running.then(|| ends);
        let started = options.given(job, |c| call(|error| unsafe { sys::bpull_job_start(disk.pointer, c, error) }));
        drop(untaken);
        if let (Err(_), Some(end)) = (&started, before) {
            disk.engine.put_end(disk.id, end);
        }
        started?;
        Ok(Job { disk })
    }

    pub fn info(&self) -> Result<Progress> {
        // SAFETY: zeros are values of all fields.
        let mut c: sys::bpull_job_info = unsafe { zeroed() };
        c.size = size_of::<sys::bpull_job_info>();
        check(unsafe { sys::bpull_job_get_info(self.disk.pointer, &mut c) })?;
        Ok(Progress {
            kind: c.type_,
            state: c.state,
            status: c.status,
            error: -c.error,
            error_was_io: c.error_was_io != 0,
            error_was_read: c.error_was_read != 0,
            cur: c.cur,
            end: c.end,
            copied_bytes: c.copied_bytes,
            cloned_bytes: c.cloned_bytes,
            zero_bytes: c.zero_bytes,
            skipped_bytes: c.skipped_bytes,
            present_bytes: c.present_bytes,
            verified_bytes: c.verified_bytes,
            elapsed: Duration::from_nanos(c.elapsed_ns),
            n_commits: c.n_commits,
            stop_error: -c.stop_error,
            stop_offset: c.stop_offset,
            stop_was_read: c.stop_was_read != 0,
            bandwidth: c.bandwidth,
            limit: c.limit,
            iops: c.iops,
            requests: c.n_requests,
            min_rate: c.min_rate,
            within: time_of(c.within_ns),
            deadline: time_of(c.deadline_ns),
            needed_rate: c.needed_rate,
            is_late: c.is_late != 0,
            left: time_of(c.left_ns),
            guest_p99: time_of(c.guest_p99_ns),
            guest_p99_now: time_of(c.guest_p99_now_ns),
            source_bytes: c.source_bytes,
            shared_bytes: c.shared_bytes,
            past_cache_bytes: c.past_cache_bytes,
        })
    }

    pub fn set_speed(&self, bandwidth: u64) -> Result<()> {
        check(unsafe { sys::bpull_job_set_speed(self.disk.pointer, bandwidth, 0) }).map(drop)
    }

    /// Changes what is given, at once.
    pub fn set_rates(&self, rates: &Rates) -> Result<()> {
        // SAFETY: zeros are values of all fields.
        let mut c: sys::bpull_job_rates = unsafe { zeroed() };
        c.size = size_of::<sys::bpull_job_rates>();
        for (value, field, flag) in [
            (rates.iops, &mut c.iops, sys::BPULL_JOB_RATE_IOPS),
            (rates.within.map(nanos), &mut c.within_ns, sys::BPULL_JOB_RATE_WITHIN),
            (rates.min_rate, &mut c.min_rate, sys::BPULL_JOB_RATE_MIN),
            (rates.guest_p99.map(nanos), &mut c.guest_p99_ns, sys::BPULL_JOB_RATE_GUEST_P99),
        ] {
            if let Some(value) = value {
                *field = value;
                c.which |= flag;
            }
        }
        check(unsafe { sys::bpull_job_set_rates(self.disk.pointer, &c) }).map(drop)
    }

    pub fn pause(&self) -> Result<()> {
        check(unsafe { sys::bpull_job_pause(self.disk.pointer) }).map(drop)
    }

    pub fn resume(&self) -> Result<()> {
        check(unsafe { sys::bpull_job_resume(self.disk.pointer) }).map(drop)
    }

    /// Asks it to stop; wait() says how it ended.
    pub fn abort(&self) -> Result<()> {
        check(unsafe { sys::bpull_job_abort(self.disk.pointer) }).map(drop)
    }

    /// Of a job with manual_finalize that is READY: lets the link go.
    pub fn finalize(&self) -> Result<()> {
        check(unsafe { sys::bpull_job_finalize(self.disk.pointer) }).map(drop)
    }

    /// Waits for the end. Err: why it failed, or ECANCELED; the link is kept then, and so is what was copied.
    pub fn wait(&self) -> Result<Progress> {
        loop {
            if let Some(end) = self.wait_until(after(NEVER))? {
                return self.result(&end);
            }
        }
    }

    /// The same for some time; None: it still runs.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<Progress>> {
        match self.wait_until(after(timeout))? {
            Some(end) => self.result(&end).map(Some),
            None => Ok(None),
        }
    }

    /// Progress every so often, the last one when the job is over; wait() then says how it ended.
    pub fn progress(&self, interval: Duration) -> ProgressIter<'_, 'a> {
        ProgressIter { job: self, interval, is_over: false }
    }

    fn wait_until(&self, deadline: Instant) -> Result<Option<End>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            let rc = unsafe { sys::bpull_job_wait(self.disk.pointer, left.min(WAIT_MS) as i32) };
            if rc < 0 && rc != -ETIMEDOUT {
                check(rc)?;
            }
            drop(self.disk.engine.take_events()?);
            let end = self.disk.engine.end_of(self.disk.id).filter(|_| rc == 0);
            if end.is_some() || left == 0 {
                return Ok(end);
            }
        }
    }

    fn result(&self, end: &End) -> Result<Progress> {
        let errno = match end.status {
            sys::BPULL_JOB_COMPLETED => return self.info(),
            sys::BPULL_JOB_CANCELED => ECANCELED,
            _ => end.error,
        };
        let mut error = Error::of_errno(errno);
        if !end.message.is_empty() {
            error.message = end.message.clone();
        }
        error.remedy = end.remedy;
        Err(error)
    }
}

/// From [`Job::progress`].
pub struct ProgressIter<'j, 'a> {
    job: &'j Job<'a>,
    interval: Duration,
    is_over: bool,
}

impl Iterator for ProgressIter<'_, '_> {
    type Item = Progress;

    fn next(&mut self) -> Option<Progress> {
        if self.is_over {
            return None;
        }
        self.is_over = !matches!(self.job.wait_until(after(self.interval)), Ok(None));
        self.job.info().ok()
    }
}
