// SPDX-License-Identifier: MIT OR Apache-2.0
//! Serves a disk's bytes while its chain is pulled into the image: serve_reads IMAGE SOCKET [BYTES_A_SECOND]
//!
//! A client sends lines "OFFSET LENGTH" over the unix socket and gets that many bytes; anything else ends its
//! connection. The program ends when the pull is over.
use blockpull::{Disk, DiskOptions, Engine, EngineOptions, Error, JobOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

const LENGTH_MAX: usize = 1 << 20;

fn answer(disk: &Disk, line: &str, client: &mut UnixStream) -> Option<()> {
    let mut words = line.split_whitespace();
    let (offset, length) = (words.next()?.parse().ok()?, words.next()?.parse::<usize>().ok()?);
    if length > LENGTH_MAX || words.next().is_some() {
        return None;
    }
    let mut room = vec![0; length];
    disk.read_at(&mut room, offset).ok()?;
    client.write_all(&room).ok()
}

fn serve(disk: &Disk, mut client: UnixStream) {
    let reader = match client.try_clone() {
        Ok(stream) => BufReader::new(stream),
        Err(_) => return,
    };
    for line in reader.lines() {
        if line.ok().and_then(|line| answer(disk, &line, &mut client)).is_none() {
            return;
        }
    }
}

fn run(image: &str, socket: &str, bandwidth: u64) -> Result<(), Error> {
    let engine = Engine::open(&EngineOptions::default())?;
    let options = DiskOptions { guest_io: true, ..Default::default() };
    let disk = Arc::new(engine.open_disk(Path::new(image), &options)?);
    let listener = UnixListener::bind(socket).unwrap_or_else(|error| {
        eprintln!("{socket}: {error}");
        std::process::exit(1);
    });
    let served = disk.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let disk = served.clone();
            std::thread::spawn(move || serve(&disk, client));
        }
    });
    println!("serving");
    let end = disk.pull(&JobOptions { bandwidth, ..Default::default() })?.wait();
    let _ = std::fs::remove_file(socket);
    end?;
    println!("stands alone");
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let bandwidth = words.get(2).map_or(Some(0), |text| text.parse().ok());
    let bandwidth = match (words.len(), bandwidth) {
        (2..=3, Some(bandwidth)) => bandwidth,
        _ => {
            eprintln!("usage: serve_reads IMAGE SOCKET [BYTES_A_SECOND]");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = run(&words[0], &words[1], bandwidth) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
