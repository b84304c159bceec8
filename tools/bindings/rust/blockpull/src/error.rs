// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failures of the library: an errno, its sentence, and what would let the call pass.
use blockpull_sys as sys;
use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::raw::{c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// An errno value, above 0.
    pub errno: i32,
    /// The library's sentence, or that of the errno.
    pub message: String,
    /// `sys::BPULL_REMEDY_*`.
    pub remedy: sys::bpull_remedy,
    pub remedy_name: String,
}

pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(io::Error::from_raw_os_error(error.errno).kind(), error)
    }
}

impl Error {
    pub(crate) fn of_errno(errno: i32) -> Error {
        let message = io::Error::from_raw_os_error(errno).to_string();
        Error { errno, message, remedy: sys::BPULL_REMEDY_NONE, remedy_name: String::new() }
    }

    fn new(rc: c_int, found: &sys::bpull_error) -> Error {
        let mut error = Error::of_errno(-rc);
        // SAFETY: the library ends both texts with a zero.
        let (message, name) = unsafe { (text(found.message.as_ptr()), text(found.remedy_name.as_ptr())) };
        if !message.is_empty() {
            error.message = message;
        }
        error.remedy = found.remedy;
        error.remedy_name = name;
        error
    }
}

/// A string of the library's; names of files may hold bytes that are no text.
///
/// # Safety
/// `pointer` is NULL or leads to a string that ends with a zero.
pub(crate) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    CStr::from_ptr(pointer).to_string_lossy().into_owned()
}

/// What a call answered.
pub(crate) fn check(rc: c_int) -> Result<c_int> {
    if rc < 0 {
        return Err(Error::of_errno(-rc));
    }
    Ok(rc)
}

/// What a call answered that has a struct bpull_error.
pub(crate) fn call(made: impl FnOnce(*mut sys::bpull_error) -> c_int) -> Result<c_int> {
    // SAFETY: all fields are numbers, of which zeros are values.
    let mut error: sys::bpull_error = unsafe { std::mem::zeroed() };
    let rc = made(&mut error);
    if rc < 0 {
        return Err(Error::new(rc, &error));
    }
    Ok(rc)
}

pub(crate) fn path_text(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error {
        message: "a file's name has a zero byte".to_owned(),
        ..Error::of_errno(22)
    })
}
