// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes bindings.rs from the header that pkg-config finds, and says how to link.
mod header;
mod rust;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Flags, those for the system's own directories too. PKG_CONFIG_PATH leads to a library elsewhere.
fn pkg_config(what: &str) -> Vec<String> {
    let found = Command::new("pkg-config")
        .args([what, "blockpull"])
        .env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1")
        .env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1")
        .output()
        .expect("pkg-config can't be started; install it");
    if !found.status.success() {
        panic!("libblockpull is not installed: {}", String::from_utf8_lossy(&found.stderr));
    }
    let text = String::from_utf8(found.stdout).expect("pkg-config's words are text");
    text.split_whitespace().map(str::to_owned).collect()
}

fn installed_header() -> PathBuf {
    let flags = pkg_config("--cflags-only-I");
    flags
        .iter()
        .map(|flag| Path::new(&flag[2..]).join("blockpull.h"))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("blockpull.h is in none of {flags:?}; is it installed?"))
}

fn main() {
    let path = installed_header();
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let items = header::parse(&text).unwrap_or_else(|what| panic!("{}: {what}", path.display()));
    let out = Path::new(&env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    fs::write(&out, rust::write(&items)).unwrap_or_else(|error| panic!("{}: {error}", out.display()));

    for flag in pkg_config("--libs-only-L") {
        println!("cargo:rustc-link-search=native={}", &flag[2..]);
    }
    println!("cargo:rustc-link-lib=blockpull");
    println!("cargo:include={}", path.parent().expect("a file lies in a directory").display());
    println!("cargo:rerun-if-changed={}", path.display());
    for name in ["PKG_CONFIG_PATH", "PKG_CONFIG_SYSROOT_DIR"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
}
