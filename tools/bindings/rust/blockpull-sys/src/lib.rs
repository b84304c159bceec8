// SPDX-License-Identifier: MIT OR Apache-2.0
//! libblockpull's C interface as its installed header has it: nothing is written down here a second time but the one
//! type that comes from another header.
#![allow(non_camel_case_types)]

use std::os::raw::c_void;

/// `struct iovec` of <sys/uio.h>.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct iovec {
    pub iov_base: *mut c_void,
    pub iov_len: usize,
}

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
