// SPDX-License-Identifier: MIT OR Apache-2.0
//! An engine: a ring, its threads and a memory budget that any number of disks share.
use crate::disk::Disk;
use crate::disk_options::DiskOptions;
use crate::error::{call, check, path_text, text, Result};
use crate::images::CreateOptions;
use crate::opener::{OpenFile, OpenRequest};
use crate::snapshot::{snapshot, SnapshotOptions};
use blockpull_sys as sys;
use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::unix::io::OwnedFd;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

const EVENTS_MAX: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Io {
    /// io_uring where the kernel allows it, else threads.
    #[default]
    Auto,
    Uring,
    Threads,
}

/// Bytes, and bytes a second; 0: the library's default, or no limit.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    pub io: Io,
    pub memory: u64,
    pub bandwidth: u64,
    pub burst: u64,
    /// Requests a second, of all jobs.
    pub iops: u64,
}

/// How a job ended, of its last event.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub status: sys::bpull_job_status,
    pub error: i32,
    pub message: String,
    pub remedy: sys::bpull_remedy,
}

/// Ends of jobs by the id of their disk.
#[derive(Default)]
pub(crate) struct Ends {
    of: HashMap<usize, End>,
    /// Disks that are being closed: the texts of their events go meanwhile.
    leaving: HashSet<usize>,
}

impl Ends {
    pub fn take(&mut self, id: usize) -> Option<End> {
        self.of.remove(&id)
    }
}

pub(crate) struct Shared {
    pub pointer: *mut sys::bpull_engine,
    next_id: AtomicUsize,
    /// Held while events are taken and used, so that they are kept in their order.
    ends: Mutex<Ends>,
}

// SAFETY: an engine with BPULL_ENGINE_THREAD takes every call from any thread but its closing, which Drop makes once.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    pub fn new_id(&self) -> usize {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes the events that are there. No more are taken while the answer is kept.
    pub fn take_events(&self) -> Result<MutexGuard<'_, Ends>> {
        let mut ends = self.ends.lock().unwrap();
        loop {
            // SAFETY: zeros are values of all fields; the library fills what it says it did.
            let mut events: [sys::bpull_event; EVENTS_MAX] = unsafe { zeroed() };
            let n = check(unsafe {
                sys::bpull_engine_process(self.pointer, events.as_mut_ptr(), EVENTS_MAX as i32)
            })?;
            for event in &events[..n as usize] {
                let is_end = event.type_ == sys::BPULL_EVENT_JOB && event.status != sys::BPULL_JOB_READY;
                if is_end && !ends.leaving.contains(&(event.user_data as usize)) {
                    // SAFETY: a message is valid until its disk is closed, which has said so here before, or a job
                    // starts on it, before which Job::start() takes all events. It is copied here.
                    let message = unsafe { text(event.message) };
                    let end = End { status: event.status, error: -event.error, message, remedy: event.remedy };
                    ends.of.insert(event.user_data as usize, end);
                }
            }
            if (n as usize) < EVENTS_MAX {
                return Ok(ends);
            }
        }
    }

    pub fn end_of(&self, id: usize) -> Option<End> {
        self.ends.lock().unwrap().of.get(&id).cloned()
    }

    pub fn put_end(&self, id: usize, end: End) {
        self.ends.lock().unwrap().of.insert(id, end);
    }

    /// Runs the call that closes a disk.
    pub fn leave(&self, id: usize, close: impl FnOnce()) {
        self.ends.lock().unwrap().leaving.insert(id);
        close();
        let mut ends = self.ends.lock().unwrap();
        ends.take(id);
        ends.leaving.remove(&id);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the last user of the engine; its disks are closed, as each holds a reference.
        unsafe { sys::bpull_engine_close(self.pointer) }
    }
}

#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    pub fn open(options: &EngineOptions) -> Result<Engine> {
        // SAFETY: zeros are the defaults of all fields.
        let mut c: sys::bpull_engine_options = unsafe { zeroed() };
        c.size = size_of::<sys::bpull_engine_options>();
        c.io = match options.io {
            Io::Auto => sys::BPULL_IO_AUTO,
            Io::Uring => sys::BPULL_IO_URING,
            Io::Threads => sys::BPULL_IO_THREADS,
        };
        c.memory = options.memory;
        c.bandwidth = options.bandwidth;
        c.burst = options.burst;
        c.iops = options.iops;
        c.flags = sys::BPULL_ENGINE_THREAD;
        let mut pointer = null_mut();
        call(|error| unsafe { sys::bpull_engine_open(&c, &mut pointer, error) })?;
        let shared = Shared { pointer, next_id: AtomicUsize::new(1), ends: Mutex::default() };
        Ok(Engine { shared: Arc::new(shared) })
    }

    /// The backend in use: "uring" or "threads".
    pub fn io_name(&self) -> String {
        // SAFETY: a static string.
        unsafe { text(sys::bpull_engine_io_name(self.shared.pointer)) }
    }

    /// Changes the limit that all jobs share; 0: none.
    pub fn set_speed(&self, bandwidth: u64, burst: u64) {
        unsafe { sys::bpull_engine_set_speed(self.shared.pointer, bandwidth, burst) }
    }

    /// Opens an image and its chain.
    pub fn open_disk(&self, path: &Path, options: &DiskOptions) -> Result<Disk> {
        self.opened(path, options, None)
    }

    /// The same for a program that opens the files itself: the library looks up no name. `open_file` is called for
    /// each, on this thread, and must not use this crate. Each descriptor is an open file description of its own:
    /// from opening, not from cloning another one. `allow_backing` goes without it.
    pub fn open_disk_with(
        &self,
        path: &Path,
        options: &DiskOptions,
        mut open_file: impl FnMut(&OpenRequest) -> io::Result<OwnedFd>,
    ) -> Result<Disk> {
        self.opened(path, options, Some(&mut open_file))
    }

    fn opened<'a>(
        &self,
        path: &Path,
        options: &DiskOptions,
        open_file: Option<&'a mut OpenFile<'a>>,
    ) -> Result<Disk> {
        let path = path_text(path)?;
        // SAFETY: the name lives until the call is over.
        Disk::open(self.shared.clone(), options, open_file, |engine, c, disk, error| unsafe {
            sys::bpull_disk_open(engine, path.as_ptr(), c, disk, error)
        })
    }

    /// A disk whose job ([`Disk::pull`]) makes the new file `out`, which stands alone; the chain stays as it is. The
    /// file has its name when the job has completed.
    pub fn flatten(&self, source: &Path, options: &DiskOptions, out: &Path, new: &CreateOptions) -> Result<Disk> {
        self.flattened(source, options, out, new, None)
    }

    /// The same for a program that opens the source's files itself, as [`Engine::open_disk_with`] has it.
    pub fn flatten_with(
        &self,
        source: &Path,
        options: &DiskOptions,
        out: &Path,
        new: &CreateOptions,
        mut open_file: impl FnMut(&OpenRequest) -> io::Result<OwnedFd>,
    ) -> Result<Disk> {
        self.flattened(source, options, out, new, Some(&mut open_file))
    }

    fn flattened<'a>(
        &self,
        source: &Path,
        options: &DiskOptions,
        out: &Path,
        new: &CreateOptions,
        open_file: Option<&'a mut OpenFile<'a>>,
    ) -> Result<Disk> {
        let (source, out) = (path_text(source)?, path_text(out)?);
        new.given(|new| {
            // SAFETY: the names and the new file's options live until the call is over.
            Disk::open(self.shared.clone(), options, open_file, |engine, c, disk, error| unsafe {
                sys::bpull_flatten_open(engine, source.as_ptr(), c, out.as_ptr(), new, disk, error)
            })
        })
    }

    /// Gives each of this engine's disks a new overlay by the name that stands beside it: all of them, at one moment
    /// of all their guests, or none. A disk may stand there more than once: each of its overlays lies on the one
    /// before. What was each disk's image is only read from now on.
    pub fn snapshot(&self, disks: &[(&Disk, &Path)], options: &SnapshotOptions) -> Result<()> {
        snapshot(disks, options, None)
    }

    /// The same with overlays that are there (`existing`), of disks whose files the program opened: `open_file` opens
    /// each overlay, and then the image that it records.
    pub fn snapshot_with(
        &self,
        disks: &[(&Disk, &Path)],
        options: &SnapshotOptions,
        mut open_file: impl FnMut(&OpenRequest) -> io::Result<OwnedFd>,
    ) -> Result<()> {
        snapshot(disks, options, Some(&mut open_file))
    }
}
