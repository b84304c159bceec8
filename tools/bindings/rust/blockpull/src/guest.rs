// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's requests: reading and writing a disk, and what was asked of it.
use crate::disk::{Disk, Extent, EXTENTS_MAX};
use crate::error::{check, Error, Result};
use blockpull_sys as sys;
use std::io::{IoSlice, IoSliceMut};
use std::mem::{size_of, zeroed};
use std::os::raw::c_int;
use std::time::Duration;

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

/// Of buffers. More than the library takes it refuses by itself.
fn count(n: usize) -> Result<c_int> {
    c_int::try_from(n).map_err(|_| Error::of_errno(22))
}

impl Disk {
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

    /// Fills the buffers, one behind the other, by one request.
    pub fn read_vectored_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> Result<()> {
        // SAFETY: IoSliceMut has the layout of struct iovec, and the buffers are ours until the call is over.
        check(unsafe { sys::bpull_preadv(self.pointer, buffers.as_ptr().cast(), count(buffers.len())?, offset) })?;
        Ok(())
    }

    /// Writes the buffers, one behind the other, by one request.
    pub fn write_vectored_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> Result<()> {
        // SAFETY: the same of IoSlice.
        check(unsafe { sys::bpull_pwritev(self.pointer, buffers.as_ptr().cast(), count(buffers.len())?, offset, 0) })?;
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

    /// What a range is, beside the disk's other requests: what is in flight may or may not be told. It may end before
    /// the range does; ask for the rest then.
    pub fn block_status(&self, offset: u64, len: u64) -> Result<Vec<Extent>> {
        // SAFETY: zeros are values of all fields.
        let mut found: [sys::bpull_extent; EXTENTS_MAX] = unsafe { zeroed() };
        let n = check(unsafe {
            sys::bpull_pblock_status(self.pointer, offset, len, found.as_mut_ptr(), EXTENTS_MAX as c_int)
        })?;
        Ok(found[..n as usize].iter().map(Extent::from).collect())
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
}
