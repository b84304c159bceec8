// SPDX-License-Identifier: MIT OR Apache-2.0
//! New overlays for disks that are used.
use crate::disk::Disk;
use crate::disk_options::format_number;
use crate::error::{call, path_text, Result};
use crate::opener::{OpenFile, Opener};
use blockpull_sys as sys;
use std::ffi::CString;
use std::mem::{size_of, zeroed};
use std::path::{Path, PathBuf};
use std::ptr::null;

/// What the new overlays are to be.
#[derive(Debug, Clone, Default)]
pub struct SnapshotOptions {
    /// The overlays are there already, without data, and their links lead to the disks' images.
    pub existing: bool,
    /// "qcow2" or "qed"; None: qcow2.
    pub format: Option<String>,
    /// 0: 65536.
    pub cluster_size: u32,
    /// What they record as the name of the image below them; None: one is made.
    pub backing_name: Option<PathBuf>,
}

struct Row {
    path: CString,
    disk: *mut sys::bpull_disk,
}

pub(crate) fn snapshot<'a>(
    disks: &[(&Disk, &Path)],
    options: &SnapshotOptions,
    open_file: Option<&'a mut OpenFile<'a>>,
) -> Result<()> {
    let backing_name: Option<CString> = options.backing_name.as_deref().map(path_text).transpose()?;
    let row = |(disk, path): &(&Disk, &Path)| Ok(Row { path: path_text(path)?, disk: disk.pointer });
    let rows = disks.iter().map(row).collect::<Result<Vec<Row>>>()?;
    // SAFETY: zeros are the defaults of all fields.
    let mut create: sys::bpull_create_options = unsafe { zeroed() };
    create.size = size_of::<sys::bpull_create_options>();
    create.format = format_number(&options.format)?;
    create.cluster_size = options.cluster_size;
    create.backing_name = backing_name.as_ref().map_or(null(), |name| name.as_ptr());
    let mut opener = open_file.map(Opener::new);
    let mut snapshots = Vec::with_capacity(rows.len());
    for row in &rows {
        // SAFETY: as above.
        let mut c: sys::bpull_snapshot = unsafe { zeroed() };
        c.size = size_of::<sys::bpull_snapshot>();
        c.disk = row.disk;
        c.path = row.path.as_ptr();
        c.create = &create;
        c.flags = if options.existing { sys::BPULL_SNAPSHOT_EXISTING } else { 0 };
        if let Some(opener) = &mut opener {
            opener.put_snapshot(&mut c);
        }
        snapshots.push(c);
    }
    // SAFETY: what the rows point to, and the opener, live until the call is over.
    let made = call(|error| unsafe { sys::bpull_disk_snapshot(snapshots.as_ptr(), snapshots.len() as u32, error) });
    if let Some(opener) = opener {
        opener.end();
    }
    made.map(drop)
}
