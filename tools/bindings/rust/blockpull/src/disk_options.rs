// SPDX-License-Identifier: MIT OR Apache-2.0
//! How an image and its chain are opened.
use crate::error::{path_text, Error, Result};
use crate::opener::{OpenFile, Opener};
use blockpull_sys as sys;
use std::ffi::CString;
use std::mem::{size_of, zeroed};
use std::os::raw::c_char;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

const EINVAL: i32 = 22;

/// How an image is opened (struct bpull_disk_options).
#[derive(Debug, Clone, Default)]
pub struct DiskOptions {
    pub read_only: bool,
    /// Reads and writes of the disk will come.
    pub guest_io: bool,
    pub copy_on_read: bool,
    pub direct: bool,
    /// With `read_only`: no locks are taken.
    pub force_share: bool,
    /// With `read_only`: the image alone.
    pub no_backing: bool,
    /// No file system's word on holes of raw files is taken.
    pub read_holes: bool,
    /// Any file system's word is.
    pub trust_holes: bool,
    /// Another process has the image still: [`crate::Disk::activate`] takes it.
    pub inactive: bool,
    /// "raw", "qcow2" or "qed"; None: probed.
    pub format: Option<String>,
    pub backing_format: Option<String>,
    /// Directories, files and devices that backing files may be or lie in, beside the image's own directory.
    pub allow_backing: Vec<PathBuf>,
    pub allow_any_backing: bool,
    /// No backing file is followed.
    pub no_backing_allowed: bool,
    /// What single backing files are.
    pub backing_formats: Vec<(PathBuf, String)>,
    /// Backing files whose format no one records are what they look like, and so is what they name.
    pub trust_backing: bool,
    /// Where a relative name behind "file:" leads from; None: the process's directory.
    pub relative_dir: Option<PathBuf>,
}

pub(crate) fn format_number(name: &Option<String>) -> Result<sys::bpull_format> {
    let name = match name {
        None => return Ok(sys::BPULL_FORMAT_UNKNOWN),
        Some(name) => name,
    };
    let c = path_text(Path::new(name))?;
    match unsafe { sys::bpull_format_by_name(c.as_ptr()) } {
        sys::BPULL_FORMAT_UNKNOWN => {
            let mut error = Error::of_errno(EINVAL);
            error.message = format!("'{name}' is no format: raw, qcow2 or qed");
            Err(error)
        }
        format => Ok(format),
    }
}

impl DiskOptions {
    fn flags(&self) -> u32 {
        let flags = [
            (self.read_only, sys::BPULL_DISK_READ_ONLY),
            (self.guest_io, sys::BPULL_DISK_GUEST_IO),
            (self.copy_on_read, sys::BPULL_DISK_COPY_ON_READ),
            (self.direct, sys::BPULL_DISK_DIRECT),
            (self.force_share, sys::BPULL_DISK_FORCE_SHARE),
            (self.no_backing, sys::BPULL_DISK_NO_BACKING),
            (self.read_holes, sys::BPULL_DISK_READ_HOLES),
            (self.trust_holes, sys::BPULL_DISK_TRUST_HOLES),
            (self.inactive, sys::BPULL_DISK_INACTIVE),
        ];
        flags.iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | flag)
    }

    /// Hands these options to a call of the library's, which copies what they point to, and the closure that opens
    /// files with them (None: the library opens them). A panic of the closure goes on when the call is over.
    pub(crate) fn given<'a, T>(
        &self,
        open_file: Option<&'a mut OpenFile<'a>>,
        call: impl FnOnce(&mut sys::bpull_disk_options) -> Result<T>,
    ) -> Result<T> {
        let names = self.allow_backing.iter().map(|p| path_text(p)).collect::<Result<Vec<CString>>>()?;
        let pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let files = self.backing_formats.iter().map(|(p, _)| path_text(p)).collect::<Result<Vec<CString>>>()?;
        let mut rows = Vec::with_capacity(files.len());
        for (file, (_, format)) in files.iter().zip(&self.backing_formats) {
            // SAFETY: zeros are the defaults of all fields.
            let mut row: sys::bpull_backing_format = unsafe { zeroed() };
            row.file = file.as_ptr();
            row.format = format_number(&Some(format.clone()))?;
            rows.push(row);
        }
        let relative_dir: Option<CString> = self.relative_dir.as_deref().map(path_text).transpose()?;
        // SAFETY: as above.
        let mut c: sys::bpull_disk_options = unsafe { zeroed() };
        c.size = size_of::<sys::bpull_disk_options>();
        c.flags = self.flags();
        c.format = format_number(&self.format)?;
        c.backing_format = format_number(&self.backing_format)?;
        c.backing_rule = match (self.allow_any_backing, self.no_backing_allowed) {
            (true, true) => return Err(Error::of_errno(EINVAL)),
            (true, false) => sys::BPULL_BACKING_ANY,
            (false, true) => sys::BPULL_BACKING_NONE,
            (false, false) => sys::BPULL_BACKING_DIRS,
        };
        c.allowed_dirs = pointers.as_ptr();
        c.n_allowed_dirs = pointers.len();
        c.backing_trust = if self.trust_backing { sys::BPULL_TRUST_ALL } else { sys::BPULL_TRUST_ALONE };
        c.backing_formats = if rows.is_empty() { null_mut() } else { rows.as_mut_ptr() };
        c.n_backing_formats = rows.len();
        c.relative_dir = relative_dir.as_ref().map_or(null(), |name| name.as_ptr());
        let mut opener = open_file.map(Opener::new);
        if let Some(opener) = &mut opener {
            opener.put(&mut c);
        }
        // What the options point to, and the opener, live until the call is over.
        let result = call(&mut c);
        if let Some(opener) = opener {
            opener.end();
        }
        result
    }
}
