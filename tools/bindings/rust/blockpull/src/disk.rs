// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk: an image with its chain, as the guest sees it.
use crate::engine::Shared;
use crate::error::{call, check, path_text, text, Result};
use crate::job::Job;
use crate::job_options::JobOptions;
use crate::opener::{OpenFile, Opener};
use blockpull_sys as sys;
use std::ffi::CString;
use std::mem::{size_of, zeroed};
use std::os::raw::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Duration;

const EXTENTS_MAX: usize = 256;

/// How an image is opened (struct bpull_disk_options).
#[derive(Debug, Clone, Default)]
pub struct DiskOptions {
    pub read_only: bool,
    /// Reads and writes of the disk will come.
    pub guest_io: bool,
    pub copy_on_read: bool,
    pub direct: bool,
    /// "raw", "qcow2" or "qed"; None: probed.
    pub format: Option<String>,
    pub backing_format: Option<String>,
    /// Directories, files and devices that backing files may be or lie in, beside the image's own directory.
    pub allow_backing: Vec<PathBuf>,
    pub allow_any_backing: bool,
}

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

/// Requests of one kind (struct bpull_io_stats). `latency[i]` of them took less than 1024 << i ns, and not less than the
/// cell before; the last cell has all that took longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoStats {
    pub requests: u64,
    pub bytes: u64,
    pub total: Duration,
    pub errors: u64,
    pub refused: u64,
    pub latency: [u64; sys::BPULL_STATS_CELLS as usize],
}

/// What was asked of a disk since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskStats {
    pub read: IoStats,
    pub write: IoStats,
    pub flush: IoStats,
    pub discard: IoStats,
    pub write_zeroes: IoStats,
    /// Guest offset behind the last byte that was ever written.
    pub write_end: u64,
}

impl IoStats {
    fn of(c: &sys::bpull_io_stats) -> IoStats {
        IoStats {
            requests: c.requests,
            bytes: c.bytes,
            total: Duration::from_nanos(c.total_ns),
            errors: c.errors,
            refused: c.refused,
            latency: c.latency,
        }
    }
}

pub struct Disk {
    pub(crate) engine: Arc<Shared>,
    pub(crate) pointer: *mut sys::bpull_disk,
    pub(crate) id: usize,
}

// SAFETY: as the engine's; a disk is closed once, by Drop.
unsafe impl Send for Disk {}
unsafe impl Sync for Disk {}

pub(crate) fn format_number(name: &Option<String>) -> Result<sys::bpull_format> {
    let name = match name {
        None => return Ok(sys::BPULL_FORMAT_UNKNOWN),
        Some(name) => name,
    };
    let c = path_text(Path::new(name))?;
    match unsafe { sys::bpull_format_by_name(c.as_ptr()) } {
        sys::BPULL_FORMAT_UNKNOWN => {
            let mut error = crate::error::Error::of_errno(22);
            error.message = format!("'{name}' is no format: raw, qcow2 or qed");
            Err(error)
        }
        format => Ok(format),
    }
}

impl Disk {
    /// `open_file` None: the library opens the files.
    pub(crate) fn open<'a>(
        engine: Arc<Shared>,
        path: &Path,
        options: &DiskOptions,
        open_file: Option<&'a mut OpenFile<'a>>,
    ) -> Result<Disk> {
        let names = options.allow_backing.iter().map(|p| path_text(p)).collect::<Result<Vec<CString>>>()?;
        let pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let path = path_text(path)?;
        let id = engine.new_id();
        // SAFETY: zeros are the defaults of all fields.
        let mut c: sys::bpull_disk_options = unsafe { zeroed() };
        c.size = size_of::<sys::bpull_disk_options>();
        for (wanted, flag) in [
            (options.read_only, sys::BPULL_DISK_READ_ONLY),
            (options.guest_io, sys::BPULL_DISK_GUEST_IO),
            (options.copy_on_read, sys::BPULL_DISK_COPY_ON_READ),
            (options.direct, sys::BPULL_DISK_DIRECT),
        ] {
            c.flags |= if wanted { flag } else { 0 };
        }
        c.format = format_number(&options.format)?;
        c.backing_format = format_number(&options.backing_format)?;
        c.backing_rule = if options.allow_any_backing { sys::BPULL_BACKING_ANY } else { sys::BPULL_BACKING_DIRS };
        c.allowed_dirs = pointers.as_ptr();
        c.n_allowed_dirs = pointers.len();
        c.user_data = id as *mut c_void;
        let mut opener = open_file.map(Opener::new);
        if let Some(opener) = &mut opener {
            opener.put(&mut c);
        }
        let mut pointer = null_mut();
        // SAFETY: the names live until the call is over, which copies them; so does the opener.
        let opened = call(|error| unsafe { sys::bpull_disk_open(engine.pointer, path.as_ptr(), &c, &mut pointer, error) });
        let disk = opened.map(|_| Disk { engine, pointer, id });
        if let Some(opener) = opener {
            opener.end();
        }
        disk
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
        // SAFETY: nothing is written where there is no room.
        let len = check(unsafe { sys::bpull_disk_layer_path(self.pointer, depth, null_mut(), 0) })?;
        let mut path = vec![0u8; len as usize + 1];
        // SAFETY: there is room for so many bytes.
        check(unsafe { sys::bpull_disk_layer_path(self.pointer, depth, path.as_mut_ptr().cast(), path.len()) })?;
        path.pop();
        Ok(String::from_utf8_lossy(&path).into_owned())
    }

    /// The files that the chain has lost by the last job, which completed, the upper ones first.
    pub fn dropped(&self) -> Vec<String> {
        let mut paths = Vec::new();
        loop {
            // SAFETY: the name is copied before another call.
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

    pub fn stats(&self) -> Result<DiskStats> {
        // SAFETY: zeros are values of all fields.
        let mut c: sys::bpull_disk_stats = unsafe { zeroed() };
        c.size = size_of::<sys::bpull_disk_stats>();
        check(unsafe { sys::bpull_disk_get_stats(self.pointer, &mut c) })?;
        Ok(DiskStats {
            read: IoStats::of(&c.read),
            write: IoStats::of(&c.write),
            flush: IoStats::of(&c.flush),
            discard: IoStats::of(&c.discard),
            write_zeroes: IoStats::of(&c.write_zeroes),
            write_end: c.write_end,
        })
    }

    pub fn warning(&self) -> String {
        unsafe { text(sys::bpull_disk_warning(self.pointer)) }
    }

    pub fn hint(&self) -> String {
        unsafe { text(sys::bpull_disk_hint(self.pointer)) }
    }

    pub fn note(&self) -> String {
        unsafe { text(sys::bpull_disk_note(self.pointer)) }
    }

    pub fn set_copy_on_read(&self, on: bool) -> Result<()> {
        check(unsafe { sys::bpull_disk_set_copy_on_read(self.pointer, on as c_int) }).map(drop)
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

    /// Fills the buffer from an offset on.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        // SAFETY: the buffer is ours until the call, which waits, is over.
        check(unsafe { sys::bpull_pread(self.pointer, buffer.as_mut_ptr().cast(), buffer.len(), offset) })?;
        Ok(())
    }

    pub fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        check(unsafe { sys::bpull_pwrite(self.pointer, data.as_ptr().cast(), data.len(), offset, 0) })?;
        Ok(())
    }

    pub fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        check(unsafe { sys::bpull_pwrite_zeroes(self.pointer, offset, len, 0) })?;
        Ok(())
    }

    pub fn discard(&self, offset: u64, len: u64) -> Result<()> {
        check(unsafe { sys::bpull_pdiscard(self.pointer, offset, len) })?;
        Ok(())
    }

    /// Makes durable what was written before.
    pub fn flush(&self) -> Result<()> {
        check(unsafe { sys::bpull_pflush(self.pointer) })?;
        Ok(())
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
        unsafe { sys::bpull_disk_close(self.pointer) }
        self.engine.take_end(self.id);
    }
}
