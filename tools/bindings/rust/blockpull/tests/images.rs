// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images at rest, flattened copies, and what a job would be refused for: on images that the crate makes.
use blockpull::{
    CheckOptions, CreateOptions, Disk, DiskOptions, Engine, EngineOptions, FormatFrom, JobOptions, OpenNeed, Repair,
};
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
const EXIST: i32 = 17;
const BUSY: i32 = 16;
const INVAL: i32 = 22;
const ROFS: i32 = 30;

struct Scene {
    dir: PathBuf,
}

impl Scene {
    /// base.raw of 8 MiB with 2 MiB of data, top.qcow2 on it.
    fn new(name: &str) -> Scene {
        let dir = std::env::temp_dir().join(format!("blockpull-images-{}-{name}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let mut content = vec![0; 8 * MIB as usize];
        content[MIB as usize..3 * MIB as usize].fill(0x42);
        fs::write(dir.join("base.raw"), content).unwrap();
        let scene = Scene { dir };
        scene.create("top.qcow2", "base.raw", "raw");
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn create(&self, name: &str, backing: &str, format: &str) {
        let options = CreateOptions {
            backing_name: Some(backing.into()),
            backing_format: Some(format.to_owned()),
            ..Default::default()
        };
        blockpull::create(&self.path(name), &options).unwrap();
    }

    fn open(&self, engine: &Engine, name: &str) -> Disk {
        engine.open_disk(&self.path(name), &DiskOptions { guest_io: true, ..Default::default() }).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn engine() -> Engine {
    Engine::open(&EngineOptions::default()).unwrap()
}

fn how() -> DiskOptions {
    DiskOptions::default()
}

#[test]
fn info_tells_of_each_layer() {
    let scene = Scene::new("info");
    let layers = blockpull::info(&scene.path("top.qcow2"), &how()).unwrap();
    let [top, base] = <[_; 2]>::try_from(layers).unwrap();
    assert_eq!((top.format.as_str(), base.format.as_str()), ("qcow2", "raw"));
    assert_eq!((top.virtual_size, base.file_size), (8 * MIB, 8 * MIB));
    assert_eq!((top.backing_name.as_deref(), top.backing_format.as_deref()), (Some("base.raw"), Some("raw")));
    assert_eq!((top.backing_format_from, base.backing_format_from), (FormatFrom::Recorded, FormatFrom::NotKnown));
    assert_eq!((top.version, top.refcount_bits, top.compression.as_deref()), (3, 16, Some("zlib")));
    assert_eq!((base.backing_name, base.unreadable, base.dirty), (None, None, false));
    let alone = DiskOptions { no_backing: true, ..how() };
    assert_eq!(blockpull::info(&scene.path("top.qcow2"), &alone).unwrap().len(), 1);
    assert_eq!(blockpull::info(&scene.path("none"), &how()).unwrap_err().errno, 2);
}

#[test]
fn a_format_that_no_one_records_is_told() {
    let scene = Scene::new("told");
    scene.create("top.qed", "base.raw", "raw");
    let told = |format: &str| DiskOptions { backing_formats: vec![("base.raw".into(), format.to_owned())], ..how() };
    let layers = blockpull::info(&scene.path("top.qed"), &told("raw")).unwrap();
    assert_eq!(layers[0].backing_opened_as, "raw");
    let wrong = blockpull::info(&scene.path("top.qed"), &told("qcow2")).unwrap_err();
    assert!(wrong.message.contains("base.raw"), "{wrong}");
    assert_eq!(blockpull::info(&scene.path("top.qed"), &told("vmdk")).unwrap_err().errno, INVAL);
    let refused = DiskOptions { no_backing_allowed: true, ..how() };
    assert_eq!(blockpull::info(&scene.path("top.qed"), &refused).unwrap_err().errno, 1);
}

#[test]
fn check_finds_a_leak_and_frees_it() {
    let scene = Scene::new("check");
    let path = scene.path("top.qcow2");
    let clean = blockpull::check(&path, &CheckOptions::default()).unwrap();
    assert!(clean.is_clean() && clean.findings.is_empty() && clean.format == "qcow2");
    assert_eq!((clean.n_total_clusters, clean.n_allocated_clusters), (128, 0));
    let mut bytes = fs::read(&path).unwrap();
    let at = |bytes: &[u8], i: usize| u64::from_be_bytes(bytes[i..i + 8].try_into().unwrap()) as usize;
    let block = at(&bytes, at(&bytes, 48));
    let clusters = (bytes.len() + 65535) / 65536;
    bytes.resize((clusters + 1) * 65536, 0);
    bytes[block + 2 * clusters + 1] = 1;
    fs::write(&path, bytes).unwrap();
    let found = blockpull::check(&path, &CheckOptions::default()).unwrap();
    assert!(found.n_leaks == 1 && found.findings.len() == 1 && found.findings[0].is_leak && !found.is_clean());
    assert!(!found.findings[0].message.is_empty());
    let repair = CheckOptions { repair: Repair::Leaks, ..Default::default() };
    let mended = blockpull::check(&path, &repair).unwrap();
    assert!(mended.n_leaks_fixed == 1 && mended.is_clean());
}

#[test]
fn measures_heed_the_base_and_the_top() {
    let scene = Scene::new("measure");
    scene.create("upper.qcow2", "top.qcow2", "qcow2");
    scene.open(&engine(), "top.qcow2").write_at(&[1; 65536], 5 * MIB).unwrap();
    let path = scene.path("upper.qcow2");
    let of = |job: JobOptions| blockpull::measure_pull(&path, &how(), &job);
    let whole = of(JobOptions::default()).unwrap();
    assert_eq!(whole, blockpull::measure(&path, &how()).unwrap());
    let above = of(JobOptions { base: Some(scene.path("base.raw")), ..Default::default() }).unwrap();
    assert_eq!((whole.guest_size, above.copy_bytes, whole.has_backing), (8 * MIB, 65536, true));
    assert!(whole.copy_bytes > above.copy_bytes);
    let top = of(JobOptions { top: Some(scene.path("top.qcow2")), ..Default::default() }).unwrap();
    assert_eq!(top.file_size, fs::metadata(scene.path("top.qcow2")).unwrap().len());
    assert_eq!(of(JobOptions { base: Some("none".into()), ..Default::default() }).unwrap_err().errno, INVAL);
}

#[test]
fn images_are_made_as_asked_and_never_over_another() {
    let scene = Scene::new("create");
    let qed = CreateOptions { format: Some("qed".to_owned()), virtual_size: MIB, table_size: 2, ..Default::default() };
    blockpull::create(&scene.path("a.qed"), &qed).unwrap();
    let fine = CreateOptions { virtual_size: MIB, cluster_size: 4096, refcount_bits: 64, zstd: true, ..Default::default() };
    blockpull::create(&scene.path("b.qcow2"), &CreateOptions { lazy_refcounts: true, ..fine }).unwrap();
    blockpull::create(&scene.path("c.qcow2"), &CreateOptions { empty: true, ..Default::default() }).unwrap();
    let of = |name: &str| blockpull::info(&scene.path(name), &how()).unwrap().remove(0);
    let (a, b, c) = (of("a.qed"), of("b.qcow2"), of("c.qcow2"));
    assert_eq!((a.format.as_str(), a.table_size, a.virtual_size), ("qed", 2, MIB));
    assert_eq!((b.cluster_size, b.refcount_bits, b.lazy_refcounts), (4096, 64, true));
    assert_eq!((b.compression.as_deref(), c.virtual_size), (Some("zstd"), 0));
    assert_eq!(blockpull::create(&scene.path("a.qed"), &qed).unwrap_err().errno, EXIST);
    assert_eq!(of("a.qed"), a);
}

#[test]
fn a_flatten_makes_a_new_file() {
    let scene = Scene::new("flatten");
    let (engine, out) = (engine(), scene.path("flat.qcow2"));
    let new = CreateOptions { cluster_size: 4096, ..Default::default() };
    let disk = engine.flatten(&scene.path("top.qcow2"), &how(), &out, &new).unwrap();
    assert!(!out.exists());
    disk.pull(&JobOptions::default()).unwrap().wait().unwrap();
    drop(disk);
    let layers = blockpull::info(&out, &how()).unwrap();
    assert_eq!((layers.len(), layers[0].cluster_size), (1, 4096));
    assert_eq!(blockpull::info(&scene.path("top.qcow2"), &how()).unwrap().len(), 2);
    let mut read = vec![0; 8 * MIB as usize];
    engine.open_disk(&out, &DiskOptions { read_only: true, guest_io: true, ..how() }).unwrap().read_at(&mut read, 0).unwrap();
    assert!(read == fs::read(scene.path("base.raw")).unwrap());
}

#[test]
fn a_flatten_of_files_that_the_program_opens() {
    let scene = Scene::new("handed");
    let (engine, out, dir) = (engine(), scene.path("flat.qcow2"), scene.dir.clone());
    let mut asked = Vec::new();
    let disk = engine
        .flatten_with(Path::new("top.qcow2"), &how(), &out, &CreateOptions::default(), |request| {
            asked.push((request.name.clone(), request.need));
            Ok(fs::File::open(dir.join(request.name.file_name().unwrap()))?.into())
        })
        .unwrap();
    disk.pull(&JobOptions::default()).unwrap().wait().unwrap();
    drop(disk);
    assert!(asked.contains(&("top.qcow2".into(), OpenNeed::Read)) && asked.contains(&("base.raw".into(), OpenNeed::Read)));
    assert_eq!(blockpull::info(&out, &how()).unwrap().len(), 1);
    let no = |_: &blockpull::OpenRequest| Err(io::Error::from_raw_os_error(13));
    let refused = engine.flatten_with(Path::new("top.qcow2"), &how(), &scene.path("no"), &CreateOptions::default(), no);
    assert_eq!(refused.err().map(|error| error.errno), Some(13));
    assert!(!scene.path("no").exists());
}

#[test]
fn what_a_job_would_be_refused_for_is_asked_first() {
    let scene = Scene::new("asked");
    let engine = engine();
    let disk = engine.open_disk(&scene.path("top.qcow2"), &DiskOptions { read_only: true, ..how() }).unwrap();
    let plain = JobOptions::default;
    disk.check_pull(&plain()).unwrap();
    disk.check_pull(&JobOptions { base: Some(scene.path("base.raw")), ..plain() }).unwrap();
    assert_eq!(disk.check_pull(&JobOptions { top: Some("none".into()), ..plain() }).unwrap_err().errno, INVAL);
    assert_eq!(disk.check_commit(&plain()).unwrap_err().errno, ROFS);
    drop(disk);
    let disk = scene.open(&engine, "top.qcow2");
    disk.check_commit(&JobOptions { keep: true, ..plain() }).unwrap();
    let job = disk.pull(&JobOptions { start_paused: true, ..plain() }).unwrap();
    assert_eq!(disk.check_pull(&plain()).unwrap_err().errno, BUSY);
    job.resume().unwrap();
    job.wait().unwrap();
}

#[test]
fn one_request_has_several_buffers() {
    let scene = Scene::new("vectors");
    let disk = scene.open(&engine(), "top.qcow2");
    disk.write_vectored_at(&[IoSlice::new(&[0x11; 512]), IoSlice::new(&[0x22; 4096])], 6 * MIB).unwrap();
    let (mut a, mut b) = ([0; 511], [0; 4097]);
    disk.read_vectored_at(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)], 6 * MIB).unwrap();
    assert_eq!((a, b[0]), ([0x11; 511], 0x11));
    assert_eq!(b[1..], [0x22; 4096]);
    let stats = disk.stats().unwrap();
    assert_eq!((stats.read.requests, stats.write.requests), (1, 1));
    let many = vec![IoSlice::new(b"x"); 1025];
    assert_eq!(disk.write_vectored_at(&many, 0).unwrap_err().errno, INVAL);
    let of = |offset| disk.block_status(offset, 4096).unwrap();
    let (own, below) = (of(6 * MIB), of(MIB));
    assert_eq!((own.len(), own[0].start, own[0].length, own[0].depth, own[0].data), (1, 6 * MIB, 4096, 0, true));
    assert_eq!((below.len(), below[0].depth, below[0].data), (1, 1, true));
    assert_eq!(disk.block_status(8 * MIB, 1).unwrap_err().errno, INVAL);
}

#[test]
fn a_lock_is_asked_for_once() {
    let scene = Scene::new("once");
    let (here, there) = (engine(), engine());
    let disk = scene.open(&here, "top.qcow2");
    disk.inactivate().unwrap();
    let other = scene.open(&there, "top.qcow2");
    assert_eq!(disk.try_activate().unwrap_err().errno, BUSY);
    drop(other);
    disk.try_activate().unwrap();
    disk.write_at(b"again", 0).unwrap();
}
