// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that the program opens by itself, and hands over as descriptors.
use blockpull_sys as sys;
use std::any::Any;
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::raw::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{IntoRawFd, OwnedFd};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::PathBuf;

const EIO: i32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenNeed {
    Read,
    Write,
    /// A second open file description of the file asked for just before, for QEMU's locks. It need not be had.
    Lock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenWhat {
    /// The image, or a backing file.
    Image,
    /// An image's external data file.
    Data,
}

/// A file that is asked for. An image may have made its names up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    pub name: PathBuf,
    /// As the image above it records it; None: the image itself.
    pub recorded: Option<PathBuf>,
    pub need: OpenNeed,
    pub what: OpenWhat,
}

pub(crate) type OpenFile<'a> = dyn FnMut(&OpenRequest) -> io::Result<OwnedFd> + 'a;

/// Calls the program's closure. A panic of it waits here until the library's call is over.
pub(crate) struct Opener<'a> {
    open_file: &'a mut OpenFile<'a>,
    panic: Option<Box<dyn Any + Send>>,
}

impl<'a> Opener<'a> {
    pub fn new(open_file: &'a mut OpenFile<'a>) -> Opener<'a> {
        Opener { open_file, panic: None }
    }

    /// Into options that are used while this stays where it is.
    pub fn put(&mut self, options: &mut sys::bpull_disk_options) {
        options.open_file = Some(answer);
        options.open_opaque = (self as *mut Opener<'a>).cast();
    }

    /// The same of a snapshot's overlay.
    pub fn put_snapshot(&mut self, snapshot: &mut sys::bpull_snapshot) {
        snapshot.open_file = Some(answer);
        snapshot.open_opaque = (self as *mut Opener<'a>).cast();
    }

    /// Goes on with a panic.
    pub fn end(self) {
        if let Some(panic) = self.panic {
            resume_unwind(panic);
        }
    }
}

/// # Safety
/// `name` is NULL or leads to a string that ends with a zero.
unsafe fn path(name: *const c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    Some(PathBuf::from(OsStr::from_bytes(CStr::from_ptr(name).to_bytes())))
}

unsafe extern "C" fn answer(opaque: *mut c_void, request: *const sys::bpull_open_request) -> c_int {
    // SAFETY: put() left it there, and the options' owner keeps it; no other reference is used meanwhile.
    let opener = &mut *opaque.cast::<Opener<'_>>();
    let c = &*request;
    let request = OpenRequest {
        name: path(c.name).unwrap_or_default(),
        recorded: path(c.recorded),
        need: match c.need {
            sys::BPULL_OPEN_READ => OpenNeed::Read,
            sys::BPULL_OPEN_WRITE => OpenNeed::Write,
            _ => OpenNeed::Lock,
        },
        what: if c.what == sys::BPULL_OPEN_DATA { OpenWhat::Data } else { OpenWhat::Image },
    };
    match catch_unwind(AssertUnwindSafe(|| (opener.open_file)(&request))) {
        Ok(Ok(fd)) => fd.into_raw_fd(),
        Ok(Err(error)) => -error.raw_os_error().unwrap_or(EIO),
        Err(panic) => {
            opener.panic = Some(panic);
            -EIO
        }
    }
}
