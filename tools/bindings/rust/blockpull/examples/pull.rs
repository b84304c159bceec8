// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pulls an image's chain into it, with a progress bar: pull IMAGE [BYTES_A_SECOND]
use blockpull::{DiskOptions, Engine, EngineOptions, Error, JobOptions};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const WIDTH: u64 = 40;

fn pull(image: &str, bandwidth: u64) -> Result<(), Error> {
    let engine = Engine::open(&EngineOptions { bandwidth, ..Default::default() })?;
    let disk = engine.open_disk(Path::new(image), &DiskOptions::default())?;
    let job = disk.pull(&JobOptions::default())?;
    for progress in job.progress(Duration::from_millis(200)) {
        let done = (progress.cur * WIDTH / progress.end) as usize;
        eprint!(
            "\r[{:<40}] {:3}%, {} MiB copied",
            "#".repeat(done),
            progress.cur * 100 / progress.end,
            progress.copied_bytes >> 20
        );
    }
    eprintln!();
    job.wait().map(drop)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let bandwidth = words.get(1).map_or(Some(0), |text| text.parse().ok());
    let (image, bandwidth) = match (words.len(), bandwidth) {
        (1..=2, Some(bandwidth)) => (&words[0], bandwidth),
        _ => {
            eprintln!("usage: pull IMAGE [BYTES_A_SECOND]");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = pull(image, bandwidth) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
