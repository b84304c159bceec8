// SPDX-License-Identifier: MIT OR Apache-2.0
//! Jobs and disks, on chains made by qemu-img and judged by it.
use blockpull::{
    create, CreateOptions, Disk, DiskOptions, Engine, EngineOptions, Job, JobOptions, OpenNeed, OpenRequest, OpenWhat, Progress, Rates,
    SnapshotOptions,
};
use std::fs;
use std::io;
use std::os::unix::io::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

const MIB: usize = 1 << 20;

struct Chain {
    dir: PathBuf,
    base: PathBuf,
    top: PathBuf,
    content: Vec<u8>,
}

fn qemu_img(words: &[&str], dir: &Path) -> String {
    let result = Command::new("qemu-img").args(words).current_dir(dir).output().expect("qemu-img is there");
    assert!(result.status.success(), "{words:?}: {}", String::from_utf8_lossy(&result.stderr));
    String::from_utf8_lossy(&result.stdout).into_owned()
}

impl Chain {
    fn new(name: &str) -> Chain {
        let dir = std::env::temp_dir().join(format!("blockpull-rust-{}-{name}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let mut content = vec![0; 8 * MIB];
        for (i, byte) in content[MIB..3 * MIB].iter_mut().enumerate() {
            *byte = (i * 7 + i / 4096) as u8 | 1;
        }
        fs::write(dir.join("base.raw"), &content).unwrap();
        qemu_img(&["create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2"], &dir);
        Chain { base: dir.join("base.raw"), top: dir.join("top.qcow2"), dir, content }
    }

    fn open(&self, engine: &Engine) -> Disk {
        engine.open_disk(&self.top, &DiskOptions { guest_io: true, ..Default::default() }).unwrap()
    }

    fn judge(&self) {
        qemu_img(&["check", "-q", "top.qcow2"], &self.dir);
        qemu_img(&["convert", "-O", "raw", "top.qcow2", "flat"], &self.dir);
        assert!(fs::read(self.dir.join("flat")).unwrap() == self.content, "QEMU reads something else");
    }

    fn has_link(&self) -> bool {
        qemu_img(&["info", "-U", "top.qcow2"], &self.dir).contains("backing file:")
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn engine() -> Engine {
    Engine::open(&EngineOptions::default()).unwrap()
}

#[test]
fn a_pull_ends_and_the_image_stands_alone() {
    let chain = Chain::new("alone");
    {
        let disk = chain.open(&engine());
        assert_eq!(disk.depth(), 2);
        let base = disk.layer_path(1).unwrap();
        let last = disk.pull(&JobOptions { verify: true, ..Default::default() }).unwrap().wait().unwrap();
        assert_eq!(last.copied_bytes, 2 * MIB as u64);
        assert_eq!(disk.depth(), 1);
        assert_eq!(disk.dropped(), [base]);
        assert!(disk.layer_path(1).is_err());
    }
    fs::remove_file(&chain.base).unwrap();
    chain.judge();
}

#[test]
fn the_guest_reads_and_writes_meanwhile() {
    let mut chain = Chain::new("guest");
    {
        let disk = Arc::new(chain.open(&engine()));
        let job = disk.pull(&JobOptions { bandwidth: 8 * MIB as u64, ..Default::default() }).unwrap();
        let reader = disk.clone();
        let expected = chain.content.clone();
        let thread = std::thread::spawn(move || {
            let mut room = vec![0; 4096];
            for offset in (0..8 * MIB).step_by(MIB / 2) {
                reader.read_at(&mut room, offset as u64).unwrap();
                assert!(room == expected[offset..offset + 4096]);
            }
        });
        disk.write_at(&[0x5a; 5000], 5 * MIB as u64 + 100_000).unwrap();
        disk.write_zeroes(7 * MIB as u64, 4096).unwrap();
        disk.flush().unwrap();
        thread.join().unwrap();
        job.wait().unwrap();
        chain.content[5 * MIB + 100_000..5 * MIB + 105_000].fill(0x5a);
    }
    chain.judge();
}

#[test]
fn what_was_asked_is_counted() {
    let chain = Chain::new("counted");
    let disk = chain.open(&engine());
    disk.read_at(&mut [0; 4096], 0).unwrap();
    disk.write_at(&[1; 512], 8192).unwrap();
    assert!(disk.write_at(&[1], disk.size()).is_err());
    let stats = disk.stats().unwrap();
    assert_eq!((stats.read.requests, stats.read.bytes, stats.read.errors), (1, 4096, 0));
    assert_eq!((stats.write.requests, stats.write.bytes, stats.write.refused), (1, 512, 1));
    assert_eq!((stats.write_end, stats.flush.requests), (8704, 0));
    assert_eq!(stats.read.latency.iter().sum::<u64>(), 1);
}

#[test]
fn an_aborted_job_says_so_and_keeps_the_link() {
    let chain = Chain::new("abort");
    {
        let disk = chain.open(&engine());
        let job = disk.pull(&JobOptions { bandwidth: 1, ..Default::default() }).unwrap();
        assert!(job.wait_timeout(Duration::from_millis(20)).unwrap().is_none());
        job.abort().unwrap();
        assert_eq!(job.wait().unwrap_err().errno, 125);
        assert_eq!(disk.pull(&JobOptions::default()).unwrap().wait().unwrap().copied_bytes, 2 * MIB as u64);
    }
    assert!(!chain.has_link());
    chain.judge();
}

#[test]
fn a_failed_job_has_the_librarys_sentence() {
    let chain = Chain::new("fail");
    let disk = chain.open(&engine());
    let job = disk.pull(&JobOptions { start_paused: true, ..Default::default() }).unwrap();
    let second = disk.pull(&JobOptions::default()).map(drop).unwrap_err();
    assert_eq!(second.errno, 16);
    fs::write(&chain.base, vec![7; 9 * MIB]).unwrap();
    // Before it rests it makes the image durable, and looks at the base: it may have failed by now.
    let _ = job.resume();
    let error = job.wait().unwrap_err();
    assert_eq!(error.errno, 116);
    let last = job.info().unwrap();
    assert_eq!((last.status, last.error, last.error_was_io), (blockpull::sys::BPULL_JOB_FAILED, 116, false));
    assert!(error.message.contains("base.raw"), "{error}");
    assert!(chain.has_link());
}

#[test]
fn a_limit_on_requests_is_kept_and_changed() {
    let chain = Chain::new("iops");
    {
        let disk = chain.open(&engine());
        let job = disk.pull(&JobOptions { iops: 1, ..Default::default() }).unwrap();
        assert!(job.wait_timeout(Duration::from_millis(300)).unwrap().is_none());
        let info = job.info().unwrap();
        assert!(info.iops == 1 && info.requests <= 2, "{info:?}");
        job.set_rates(&Rates { iops: Some(0), ..Default::default() }).unwrap();
        let last = job.wait().unwrap();
        assert!(last.iops == 0 && last.requests > 2, "{last:?}");
        assert_eq!((last.source_bytes, last.shared_bytes), (8 * MIB as u64, 0));
    }
    chain.judge();
}

#[test]
fn a_pull_is_done_within_its_time() {
    let chain = Chain::new("within");
    let disk = chain.open(&engine());
    let within = Duration::from_millis(1500);
    let job = disk.pull(&JobOptions { within, ..Default::default() }).unwrap();
    let seen: Vec<_> = job.progress(Duration::from_millis(100)).collect();
    assert_eq!((seen[0].within, seen[0].deadline), (Some(within), Some(within)));
    assert!(seen.iter().any(|p| p.needed_rate > 0 && p.limit >= p.needed_rate));
    assert!(job.wait().unwrap().elapsed > Duration::from_secs(1));
}

/// The engine takes up what is changed in its next round.
fn soon(job: &Job, is_so: impl Fn(&Progress) -> bool) -> Progress {
    for _ in 0..4000 {
        let info = job.info().unwrap();
        if is_so(&info) {
            return info;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{:?}", job.info());
}

#[test]
fn rates_change_while_it_runs() {
    let chain = Chain::new("rates");
    let disk = chain.open(&engine());
    let p99 = Duration::from_millis(5);
    let options = JobOptions { start_paused: true, min_rate: MIB as u64, guest_p99: p99, ..Default::default() };
    let job = disk.pull(&options).unwrap();
    let info = job.info().unwrap();
    assert_eq!((info.min_rate, info.guest_p99, info.within), (MIB as u64, Some(p99), None));
    let hour = Duration::from_secs(3600);
    job.set_rates(&Rates { within: Some(hour), min_rate: Some(0), ..Default::default() }).unwrap();
    let info = soon(&job, |info| info.within.is_some());
    assert_eq!((info.min_rate, info.guest_p99, info.within), (0, Some(p99), Some(hour)));
    assert!(!info.is_late && info.guest_p99_now.is_none());
    job.set_rates(&Rates { guest_p99: Some(Duration::ZERO), ..Default::default() }).unwrap();
    assert_eq!(soon(&job, |info| info.guest_p99.is_none()).guest_p99, None);
    job.resume().unwrap();
    job.set_rates(&Rates { within: Some(Duration::ZERO), ..Default::default() }).unwrap();
    job.wait().unwrap();
    assert_eq!(job.set_rates(&Rates { iops: Some(1), ..Default::default() }).unwrap_err().errno, 2);
}

#[test]
fn what_is_wanted_first_is_copied_first() {
    let chain = Chain::new("first");
    let disk = chain.open(&engine());
    let first = vec![2 * MIB as u64..2 * MIB as u64 + 65536, MIB as u64..MIB as u64 + 65536];
    let options = JobOptions { first, bandwidth: 1 << 19, ..Default::default() };
    let job = disk.pull(&options).unwrap();
    soon(&job, |info| info.copied_bytes > 3 << 16); // runs take turns
    job.abort().unwrap();
    assert_eq!(job.wait().unwrap_err().errno, 125);
    let place = 2 * MIB as u64;
    let extents = disk.extents().unwrap();
    assert!(extents.iter().any(|e| e.depth == 0 && e.start <= place && place < e.start + e.length));
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = JobOptions { first: vec![5..4], ..Default::default() };
    assert_eq!(disk.pull(&backwards).map(drop).unwrap_err().errno, 22);
}

#[test]
fn progress_never_falls_and_comes_to_the_end() {
    let chain = Chain::new("progress");
    let disk = chain.open(&engine());
    let job = disk.pull(&JobOptions { bandwidth: 8 * MIB as u64, ..Default::default() }).unwrap();
    let seen: Vec<_> = job.progress(Duration::from_millis(20)).collect();
    assert!(seen.len() > 2 && seen.windows(2).all(|pair| pair[0].cur <= pair[1].cur));
    let last = seen.last().unwrap();
    assert_eq!(last.cur, last.end);
    job.wait().unwrap();
}

#[test]
fn refusals_are_errors_with_a_sentence_and_a_remedy() {
    let chain = Chain::new("refuse");
    let engine = engine();
    let missing = engine.open_disk(&chain.dir.join("none.img"), &DiskOptions::default()).err().unwrap();
    assert!(missing.errno == 2 && missing.message.contains("none.img"), "{missing}");
    let other = DiskOptions { format: Some("vmdk".to_owned()), ..Default::default() };
    assert_eq!(engine.open_disk(&chain.top, &other).err().unwrap().errno, 22);
    let away = chain.dir.join("away");
    fs::create_dir(&away).unwrap();
    fs::rename(&chain.top, away.join("top.qcow2")).unwrap();
    qemu_img(&["rebase", "-u", "-b", chain.base.to_str().unwrap(), "-F", "raw", "away/top.qcow2"], &chain.dir);
    let refused = engine.open_disk(&away.join("top.qcow2"), &DiskOptions::default()).err().unwrap();
    assert_eq!(refused.remedy, blockpull::sys::BPULL_REMEDY_ALLOW_BACKING);
    let allowed = DiskOptions { allow_backing: vec![refused.remedy_name.into()], ..Default::default() };
    assert_eq!(engine.open_disk(&away.join("top.qcow2"), &allowed).unwrap().depth(), 2);
}

#[test]
fn extents_cover_the_disk() {
    let chain = Chain::new("extents");
    let disk = chain.open(&engine());
    let extents = disk.extents().unwrap();
    assert_eq!(extents.iter().map(|extent| extent.length).sum::<u64>(), disk.size());
    assert!(extents.iter().any(|extent| extent.depth == 1 && extent.data && extent.offset.is_some()));
}

#[test]
fn what_is_open_goes_to_other_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Engine>();
    is_send_and_sync::<Disk>();
    is_send_and_sync::<Job<'static>>();
}

fn opened(request: &OpenRequest) -> io::Result<OwnedFd> {
    let writes = request.need == OpenNeed::Write;
    Ok(fs::OpenOptions::new().read(true).write(writes).open(&request.name)?.into())
}

#[test]
fn a_program_opens_the_files() {
    let chain = Chain::new("opened");
    let options = DiskOptions { guest_io: true, ..Default::default() };
    let mut asked = Vec::new();
    {
        let engine = engine();
        let disk = engine.open_disk_with(&chain.top, &options, |request| {
            asked.push(request.clone());
            opened(request)
        });
        disk.unwrap().pull(&JobOptions::default()).unwrap().wait().unwrap();
        asked.retain(|request| request.need != OpenNeed::Lock);
        assert_eq!(asked.iter().map(|r| r.need).collect::<Vec<_>>(), [OpenNeed::Write, OpenNeed::Read]);
        assert_eq!((&asked[0].recorded, asked[1].recorded.as_deref()), (&None, Some(Path::new("base.raw"))));
        assert!(asked[0].name == chain.top && asked.iter().all(|request| request.what == OpenWhat::Image));
    }
    chain.judge();
}

#[test]
fn a_file_that_a_program_refuses() {
    let chain = Chain::new("refused");
    let engine = engine();
    let refused = engine.open_disk_with(&chain.top, &DiskOptions::default(), |request| match request.recorded {
        Some(_) => Err(io::Error::from_raw_os_error(13)),
        None => opened(request),
    });
    let error = refused.err().unwrap();
    assert!(error.errno == 13 && error.message.contains("base.raw"), "{error}");
    let allowed = DiskOptions { allow_backing: vec![chain.base.clone()], ..Default::default() };
    assert_eq!(engine.open_disk_with(&chain.top, &allowed, opened).err().unwrap().errno, 22);
    let panics = std::panic::AssertUnwindSafe(|| {
        engine.open_disk_with(&chain.top, &DiskOptions::default(), |_| panic!("a mistake in the program"))
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!(chain.open(&engine).depth(), 2);
}

#[test]
fn a_disk_becomes_longer() {
    let mut chain = Chain::new("longer");
    let size = 8 * MIB as u64;
    {
        let disk = chain.open(&engine());
        disk.resize(size + MIB as u64).unwrap();
        assert_eq!(disk.size(), size + MIB as u64);
        disk.write_at(&[7; 512], size + 512).unwrap();
        let shorter = disk.resize(size).unwrap_err();
        assert!(shorter.errno == 95 && shorter.message.contains("shorter"), "{shorter}");
        let job = disk.pull(&JobOptions { start_paused: true, ..Default::default() }).unwrap();
        assert_eq!(disk.resize(size + 2 * MIB as u64).unwrap_err().errno, 16);
        job.resume().unwrap();
        job.wait().unwrap();
    }
    chain.content.resize(9 * MIB, 0);
    chain.content[8 * MIB + 512..8 * MIB + 1024].fill(7);
    chain.judge();
}

#[test]
fn another_has_the_image_while_a_disk_rests() {
    let mut chain = Chain::new("rests");
    {
        let disk = chain.open(&engine());
        disk.write_at(&[1; 512], 0).unwrap();
        disk.inactivate().unwrap();
        assert_eq!(disk.read_at(&mut [0; 512], 0).unwrap_err().errno, 1);
        {
            let there = chain.open(&engine());
            there.write_at(&[2; 512], 512).unwrap();
            assert_eq!(disk.activate().unwrap_err().errno, 16);
        }
        disk.activate().unwrap();
        let mut room = [0; 1024];
        disk.read_at(&mut room, 0).unwrap();
        assert!(room[..512] == [1; 512] && room[512..] == [2; 512]);
    }
    chain.content[..512].fill(1);
    chain.content[512..1024].fill(2);
    chain.judge();
}

#[test]
fn a_disk_gets_a_new_overlay_and_is_committed_again() {
    let mut chain = Chain::new("snapshot");
    let over = chain.dir.join("over.qcow2");
    {
        let engine = engine();
        let disk = chain.open(&engine);
        disk.write_at(&[1; 512], 0).unwrap();
        let small = SnapshotOptions { cluster_size: 4096, ..Default::default() };
        let taken = engine.snapshot(&[(&disk, &chain.top)], &small).unwrap_err();
        assert!(taken.errno == 17 && disk.depth() == 2, "{taken}");
        engine.snapshot(&[(&disk, &over)], &small).unwrap();
        assert_eq!((disk.depth(), disk.find(&chain.top).unwrap()), (3, 1));
        disk.write_at(&[2; 512], 512).unwrap();
        chain.content[..512].fill(1);
    }
    chain.judge(); // without what was written behind it
    {
        let disk = engine().open_disk(&over, &DiskOptions::default()).unwrap();
        let top = JobOptions { top: Some(chain.top.clone()), ..Default::default() };
        let last = disk.commit(&top).unwrap().wait().unwrap();
        assert_eq!((last.kind, disk.depth()), (blockpull::sys::BPULL_JOB_TYPE_COMMIT, 2));
        assert_eq!(disk.dropped(), [chain.top.to_str().unwrap()]);
    }
    assert!(fs::read(&chain.base).unwrap() == chain.content);
    chain.content[512..1024].fill(2);
    fs::rename(&over, &chain.top).unwrap();
    chain.judge();
    {
        let disk = chain.open(&engine());
        let last = disk.commit(&JobOptions { keep: true, ..Default::default() }).unwrap().wait().unwrap();
        assert_eq!((last.kind, disk.depth()), (blockpull::sys::BPULL_JOB_TYPE_ACTIVE_COMMIT, 1));
    }
    assert!(fs::read(&chain.base).unwrap() == chain.content);
}

#[test]
fn a_snapshot_into_an_overlay_that_a_program_opens() {
    let chain = Chain::new("handed");
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "top.qcow2", "-F", "qcow2", "over.qcow2"], &chain.dir);
    let over = chain.dir.join("over.qcow2");
    let engine = engine();
    let options = DiskOptions { guest_io: true, ..Default::default() };
    let disk = engine.open_disk_with(&chain.top, &options, opened).unwrap();
    let there = SnapshotOptions { existing: true, ..Default::default() };
    let panics = std::panic::AssertUnwindSafe(|| {
        engine.snapshot_with(&[(&disk, &over)], &there, |_| panic!("a mistake in the program"))
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    let refused = engine.snapshot_with(&[(&disk, &over)], &there, |_| Err(io::Error::from_raw_os_error(13)));
    assert!(refused.unwrap_err().errno == 13 && disk.depth() == 2);
    let recorded = |request: &OpenRequest| match request.recorded {
        Some(_) => Ok(fs::File::open(chain.dir.join(request.recorded.as_ref().unwrap()))?.into()),
        None => opened(request),
    };
    engine.snapshot_with(&[(&disk, &over)], &there, recorded).unwrap();
    assert_eq!(disk.depth(), 3);
}

#[test]
fn what_a_job_has_told_is_read_while_the_next_one_starts() {
    let chain = Chain::new("told");
    let engine = Engine::open(&EngineOptions::default()).unwrap();
    let base = chain.base.to_str().unwrap();
    for i in 0..20 {
        let top = chain.dir.join(format!("told{i}.qcow2"));
        let new = CreateOptions {
            backing_name: Some("base.raw".into()),
            backing_format: Some("raw".to_owned()),
            ..Default::default()
        };
        create(&top, &new).unwrap();
        let disk = engine.open_disk(&top, &DiskOptions::default()).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let dropped = disk.dropped();
                    assert!(dropped.is_empty() || dropped == [base], "{dropped:?}");
                }
            });
            for _ in 0..2 {
                disk.pull(&JobOptions::default()).unwrap().wait().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn a_wait_may_be_as_long_as_it_likes() {
    let chain = Chain::new("long");
    let engine = Engine::open(&EngineOptions::default()).unwrap();
    let disk = chain.open(&engine);
    let job = disk.pull(&JobOptions::default()).unwrap();
    assert_eq!(job.progress(Duration::MAX).count(), 1);
    assert!(job.wait_timeout(Duration::MAX).unwrap().is_some());
    drop(disk);
    chain.judge();
}
