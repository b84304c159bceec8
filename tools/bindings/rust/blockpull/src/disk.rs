// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk: an image with its chain, as the guest sees it.
use crate::disk_options::DiskOptions;
use crate::engine::Shared;
use crate::error::{call, check, path_text, text, Result};
use crate::job::Job;
use crate::job_options::JobOptions;
use crate::opener::OpenFile;
use blockpull_sys as sys;
use std::mem::zeroed;
use std::os::raw::{c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::{Arc, RwLock};

pub(crate) const EXTENTS_MAX: usize = 256;

/// A range that maps alike, in bytes of the guest's disk; `offset` in the file of layer `depth`, if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub start: u64,
    pub length: u64,
    pub depth: u32,
    pub present: bool,
    pub zero: bool,
    pub data: bool,
    pub compressed: bool,
    pub offset: Option<u64>,
}

pub struct Disk {
    pub(crate) engine: Arc<Shared>,
    pub(crate) pointer: *mut sys::bpull_disk,
    pub(crate) id: usize,
    /// What a start of a job takes away is read under it: the last job's texts.
    pub(crate) texts: RwLock<()>,
}

// SAFETY: as the engine's; a disk is closed once, by Drop.
unsafe impl Send for Disk {}
unsafe impl Sync for Disk {}

impl Disk {
    /// `open_file` None: the library opens the files. `make` is the library's call.
    pub(crate) fn open<'a>(
        engine: Arc<Shared>,
        options: &DiskOptions,
        open_file: Option<&'a mut OpenFile<'a>>,
        make: impl FnOnce(
            *mut sys::bpull_engine,
            *const sys::bpull_disk_options,
            *mut *mut sys::bpull_disk,
            *mut sys::bpull_error,
        ) -> c_int,
    ) -> Result<Disk> {
        let id = engine.new_id();
        let mut pointer = null_mut();
        options.given(open_file, |c| {
            c.user_data = id as *mut c_void;
            call(|error| make(engine.pointer, c, &mut pointer, error))?;
            Ok(Disk { engine, pointer, id, texts: RwLock::default() })
        })
    }

    /// Bytes of the guest's disk.
    pub fn size(&self) -> u64 {
        unsafe { sys::bpull_disk_size(self.pointer) }
    }

    /// Images in the chain; 1: it stands alone.
    pub fn depth(&self) -> u32 {
        unsafe { sys::bpull_disk_depth(self.pointer) }
    }

    /// The name by which an image of the chain was opened, 0 the top one.
    pub fn layer_path(&self, depth: u32) -> Result<String> {
        let mut path = Vec::<u8>::new();
        loop {
            // SAFETY: there is room for so many bytes, none at first.
            let len = check(unsafe {
                sys::bpull_disk_layer_path(self.pointer, depth, path.as_mut_ptr().cast(), path.len())
            })? as usize;
            if len < path.len() {
                return Ok(String::from_utf8_lossy(&path[..len]).into_owned());
            }
            // A snapshot on another thread may give it a longer name meanwhile.
            path = vec![0u8; len + 1];
        }
    }

    /// The files that the chain has lost by the last job, which completed, the upper ones first.
    pub fn dropped(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let _kept = self.texts.read().unwrap();
        loop {
            // SAFETY: no job starts while the name is copied.
            let path = unsafe { sys::bpull_job_dropped(self.pointer, paths.len() as u32) };
            if path.is_null() {
                return paths;
            }
            paths.push(unsafe { text(path) });
        }
    }

    /// The depth of a file of the chain.
    pub fn find(&self, path: &Path) -> Result<u32> {
        let path = path_text(path)?;
        let mut depth = 0;
        call(|error| unsafe { sys::bpull_disk_find(self.pointer, path.as_ptr(), &mut depth, error) })?;
        Ok(depth)
    }

    pub fn warning(&self) -> String {
        unsafe { text(sys::bpull_disk_warning(self.pointer)) }
    }

    pub fn hint(&self) -> String {
        unsafe { text(sys::bpull_disk_hint(self.pointer)) }
    }

    pub fn note(&self) -> String {
        let _kept = self.texts.read().unwrap();
        unsafe { text(sys::bpull_disk_note(self.pointer)) }
    }

    pub fn set_copy_on_read(&self, on: bool) -> Result<()> {
        check(unsafe { sys::bpull_disk_set_copy_on_read(self.pointer, on as c_int) }).map(drop)
    }

    /// Refuses what [`Disk::pull`] with these options would be refused for, and starts nothing: the disk may be open
    /// read-only.
    pub fn check_pull(&self, options: &JobOptions) -> Result<()> {
        Job::check(self, sys::BPULL_JOB_TYPE_PULL, options)
    }

    /// The same of [`Disk::commit`].
    pub fn check_commit(&self, options: &JobOptions) -> Result<()> {
        Job::check(self, sys::BPULL_JOB_TYPE_COMMIT, options)
    }

    /// Starts the job: copies what the image reads from its chain, then drops the link.
    pub fn pull(&self, options: &JobOptions) -> Result<Job<'_>> {
        Job::start(self, sys::BPULL_JOB_TYPE_PULL, options)
    }

    /// Starts the job the other way: writes what the files from `top` (None: the image itself) down to `base` hold into
    /// `base` (None: the file right below `top`), and leaves them out of the chain. Those between the two must not be
    /// used any more; the image itself is emptied, but with `keep`.
    pub fn commit(&self, options: &JobOptions) -> Result<Job<'_>> {
        Job::start(self, sys::BPULL_JOB_TYPE_COMMIT, options)
    }

    /// Makes the guest's disk longer, durably; the new end reads zeros. It needs `guest_io`, and no job that runs.
    pub fn resize(&self, size: u64) -> Result<()> {
        call(|error| unsafe { sys::bpull_presize(self.pointer, size, error) }).map(drop)
    }

    /// Gives the image away for a while: makes all durable and gives the locks back. Requests fail (EPERM) until
    /// [`Disk::activate`].
    pub fn inactivate(&self) -> Result<()> {
        call(|error| unsafe { sys::bpull_disk_inactivate(self.pointer, error) }).map(drop)
    }

    /// Takes the locks again and reads the image anew, as another program may have left it.
    pub fn activate(&self) -> Result<()> {
        call(|error| unsafe { sys::bpull_disk_activate(self.pointer, error) }).map(drop)
    }

    /// The same, but it asks for a lock once: for a program that must not sleep.
    pub fn try_activate(&self) -> Result<()> {
        call(|error| unsafe { sys::bpull_disk_try_activate(self.pointer, error) }).map(drop)
    }

    /// What the disk is, from its beginning to its end.
    pub fn extents(&self) -> Result<Vec<Extent>> {
        let mut all = Vec::new();
        let mut start = 0;
        loop {
            // SAFETY: zeros are values of all fields.
            let mut found: [sys::bpull_extent; EXTENTS_MAX] = unsafe { zeroed() };
            let n = call(|error| unsafe {
                sys::bpull_disk_map(self.pointer, start, found.as_mut_ptr(), EXTENTS_MAX as i32, error)
            })?;
            if n == 0 {
                return Ok(all);
            }
            all.extend(found[..n as usize].iter().map(Extent::from));
            start = found[n as usize - 1].start + found[n as usize - 1].length;
        }
    }
}

impl From<&sys::bpull_extent> for Extent {
    fn from(c: &sys::bpull_extent) -> Extent {
        Extent {
            start: c.start,
            length: c.length,
            depth: c.depth,
            present: c.present != 0,
            zero: c.zero != 0,
            data: c.data != 0,
            compressed: c.compressed != 0,
            offset: if c.has_offset != 0 { Some(c.offset) } else { None },
        }
    }
}

impl Drop for Disk {
    /// Stops a job that runs, makes durable what it copied, and unlocks the image.
    fn drop(&mut self) {
        // SAFETY: the disk's only owner.
        self.engine.leave(self.id, || unsafe { sys::bpull_disk_close(self.pointer) });
    }
}
