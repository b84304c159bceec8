// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every struct has the size, and every field the offset, that the C compiler gives it.
use std::fs;
use std::process::Command;

fn run(command: &mut Command) -> String {
    let result = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(result.status.success(), "{command:?}: {}", String::from_utf8_lossy(&result.stderr));
    String::from_utf8(result.stdout).unwrap()
}

#[test]
fn structs_are_laid_out_as_in_c() {
    let layout = blockpull_sys::layout();
    assert!(layout.len() >= 12, "only {} structs were read", layout.len());
    let mut c = String::from("#include <blockpull.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{\n");
    let mut ours = String::new();
    for (name, size, fields) in &layout {
        c += &format!("printf(\"{name} %zu\\n\", sizeof(struct {name}));\n");
        ours += &format!("{name} {size}\n");
        for (field, offset) in fields {
            c += &format!("printf(\"{name}.{field} %zu\\n\", offsetof(struct {name}, {field}));\n");
            ours += &format!("{name}.{field} {offset}\n");
        }
    }
    c += "return 0;\n}\n";
    let dir = std::env::temp_dir().join(format!("blockpull-layout-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let (source, program) = (dir.join("layout.c"), dir.join("layout"));
    fs::write(&source, c).unwrap();
    let flags = run(Command::new("pkg-config").args(["--cflags", "blockpull"]));
    run(Command::new("cc").args(flags.split_whitespace()).arg("-o").arg(&program).arg(&source));
    let theirs = run(&mut Command::new(&program));
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn constants_are_the_headers() {
    assert_eq!(blockpull_sys::BPULL_DISK_TRUST_HOLES, 1 << 7);
    assert_eq!(blockpull_sys::BPULL_DISK_INACTIVE, 1 << 8);
    assert_eq!(blockpull_sys::BPULL_REMEDY_TRUST_BACKING, 10);
    assert_eq!(blockpull_sys::BPULL_REMEDY_CLOSE_DISK, 11);
    let version = unsafe { std::ffi::CStr::from_ptr(blockpull_sys::bpull_version()) };
    assert!(version.to_str().unwrap().starts_with(&format!("{}.", blockpull_sys::BPULL_VERSION_MAJOR)));
}
