#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Rules of the tree that a compiler does not check, as TAP: commands use the public
header only, the shared library exports what the header declares and nothing
else, every file carries its licence line, no line and no file is too long, no folder has too
many entries, every folder has a README that says what it may use and where to start reading,
no source, manual page or black-box test is left out of the build, no message of the library names an option of the command, every pointer of a public function
has a row in the table of NULLs, no two functions of the library have one name, what runs in
the simulated machine begins no thread, README.md is short, nothing new lies at the top level. The order of the folders: check_rooms.py.

usage: check_tree.py ROOT [LIBRARY]"""
import pathlib
import re
import subprocess
import sys

import tree

EMBEDDERS = ("tools", "bench")
INSIDES = "bench/micro"  # measures the library's insides, as unit tests look at them


PUBLIC = "engine/blockpull.h", "engine/blockpull-libvirt.h"


def sources(root, *folders):
    for folder in folders:
        for path in sorted((root / folder).glob("**/*.[ch]")):
            yield path


def tracked(root):
    """What git has; nothing where this is no checkout that git reads."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name]


TOP_LEVEL = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md", "meson.build", "meson_options.txt",
             "bench", "docs", "engine", "formats", "io", "tests", "tools"}


def stray_names(root):
    """What git has at the top level beside these and dotfiles."""
    names = {name.split("/")[0] for name in tracked(root)}
    yield from sorted(name for name in names - TOP_LEVEL if not name.startswith("."))


def private_includes(root):
    for path in sources(root, *EMBEDDERS):
        if path.is_relative_to(root / INSIDES):
            continue
        for name in tree.INCLUDE.findall(path.read_text()):
            if name not in PUBLIC and name.split("/")[0] not in EMBEDDERS:
                yield f"{path.relative_to(root)} includes {name}"


def unlicensed(root):
    for path in sources(root, "engine", "formats", "io", "tools", "bench", "tests"):
        if "SPDX-License-Identifier: MIT OR Apache-2.0" not in path.read_text()[:200]:
            yield str(path.relative_to(root))


def wide(root):
    """Lines of more than 100 columns: clang-format leaves comments alone."""
    for path in sources(root, "engine", "formats", "io", "tools", "bench", "tests"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if len(line.expandtabs(8)) > 100:
                yield f"{path.relative_to(root)}:{number}"


MAX_LINES = 400
WHOLE = {"engine/blockpull.h"}  # one page of the manual


def long_files(root):
    for path in sources(root, "engine", "formats", "io", "tools", "bench", "tests"):
        n = len(path.read_text().splitlines())
        if n > MAX_LINES and str(path.relative_to(root)) not in WHOLE:
            yield f"{path.relative_to(root)} has {n} lines"


MAX_ENTRIES = 40


def crowded(root):
    """Folders with more files and folders than a reader can look over."""
    entries = {}
    for name in tracked(root):
        parts = name.split("/")
        for depth, part in enumerate(parts):
            entries.setdefault("/".join(parts[:depth]) or ".", set()).add(part)
    yield from (f"{folder} has {len(names)} entries" for folder, names in sorted(entries.items())
                if len(names) > MAX_ENTRIES)


# Folders that others lay out: the README of the folder around them says what is there.
OTHERS_LAYOUT = ("tests/fuzz/corpus", "tools/bindings/python", "tools/bindings/rust", "tools/packaging/abi",
                 "tools/packaging/debian", "tools/packaging/oss-fuzz")
README_PARTS = "**It may use:**", "**Start reading:**"


def without_readme(root):
    """A newcomer who opens a folder finds out there what it is for, what it may use and where to begin."""
    names = tracked(root)
    folders = {str(parent) for name in names for parent in pathlib.PurePath(name).parents}
    for folder in sorted(folders):
        if folder == "." or folder.startswith(".") or folder.startswith(OTHERS_LAYOUT):
            continue
        if f"{folder}/README.md" not in names:
            yield f"{folder} has no README.md"
        else:
            text = (root / folder / "README.md").read_text()
            yield from (f"{folder}/README.md has no part {part}" for part in README_PARTS if part not in text)


# What other tools than Meson compile.
BUILT_ELSEWHERE = {"tests/serve/guest.c": "for a guest, by tests/bb/live/",
                   "tests/serve/guest_work.c": "for a guest, by tests/bb/live/",
                   "tools/packaging/try_dev.c": "against the installed package",
                   "tools/packaging/try_nbd.c": "against the installed package"}


def unbuilt(root):
    """Sources, manual pages and black-box tests that no meson.build of a folder around them names: they are forgotten
    without a word."""
    texts = {path.parent: path.read_text() for top in ("engine", "formats", "io", "tools", "bench", "tests", "docs")
             for path in (root / top).glob("**/meson.build")}
    wanted = {path: path.name for path in sources(root, "engine", "formats", "io", "tools", "bench", "tests")
              if path.suffix == ".c"}
    wanted.update({path: path.name.removesuffix(".scd") for path in (root / "docs").glob("*.scd")})
    if len(wanted) < 600:
        yield f"only {len(wanted)} sources found: the pattern is wrong"
    for path, name in wanted.items():
        near = [(folder, text) for folder, text in texts.items() if path.is_relative_to(folder)]
        if str(path.relative_to(root)) not in BUILT_ELSEWHERE and not any(
                f"'{(path.parent / name).relative_to(folder)}'" in text for folder, text in near):
            yield str(path.relative_to(root))
    rows = (root / "tests/meson.build").read_text().partition("black_box_tests = {")[2]
    for path in sorted((root / "tests/bb").glob("*/test_*.py")):
        if f"'{path.stem.removeprefix('test_')}'" not in rows:
            yield str(path.relative_to(root))


def declared(root):
    text = "".join((root / name).read_text() for name in PUBLIC)
    return set(re.findall(r"^BPULL_API[^;(]*?\b(bpull_\w+)\(", text, re.M))


# Parameters of the public functions that may be NULL, as the headers say; all others need a row.
MAY_BE_NULL = {"error", "options", "engine_options", "disk_options", "source_options", "out_options",
               "job", "user_data", "opaque"}
NULL_TABLE = "tests/api/test_api_null.c"
NULL_ROW = re.compile(r"\b[A-Z_]+\(\s*(bpull_\w+),\s*(\w+),")


def pointer_parameters(root):
    for name in PUBLIC:
        for function, parameters in re.findall(r"^BPULL_API[^;(]*?\b(bpull_\w+)\(([^;]*)\);",
                                               (root / name).read_text(), re.M):
            for parameter in parameters.split(","):
                if "*" in parameter and (last := re.search(r"(\w+)\s*$", parameter)):
                    yield function, last[1]


def untested_pointers(root):
    rows = set(NULL_ROW.findall((root / NULL_TABLE).read_text()))
    wanted = {pair for pair in pointer_parameters(root) if pair[1] not in MAY_BE_NULL}
    yield from (f"no row in {NULL_TABLE}: {function}, {parameter}"
                for function, parameter in sorted(wanted - rows))
    if len(wanted) < 60:
        yield f"only {len(wanted)} pointers found: the pattern is wrong"


COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"((?:[^"\\\n]|\\.)*)"', re.S)
OPTION = re.compile(r"(?:^|[^\w-])--[a-z]")
OTHER_COMMAND = re.compile(r"\b(?:blockdev|losetup|qemu-img [a-z]+) --[a-z]+")  # advice that is not ours to put in words


def options_named(root):
    """Of the library's users only some have a command line; tools/cli/advice.c says what theirs has."""
    for path in sources(root, "engine", "formats", "io"):
        for found in COMMENT_OR_STRING.finditer(path.read_text()):
            if found[1] and OPTION.search(OTHER_COMMAND.sub("", found[1])):
                yield f'{path.relative_to(root)}: "{found[1]}"'


# Each of these is one program, or the one library; a function's name is found once in it, so that a
# search, a backtrace and a breakpoint lead to one place.
NAMESPACES = ("io", "formats", "engine"), ("tools",), ("bench",)


def names_found_twice(root):
    for folders in NAMESPACES:
        home = {}
        for path in sources(root, *folders):
            for name in sorted(set(tree.functions(path)) - {"main"}):
                other = home.setdefault(name, path)
                if other != path:
                    yield f"{name}() in {other.relative_to(root)} and {path.relative_to(root)}"
        if len(home) < 100:
            yield f"only {len(home)} functions found in {folders[0]}: the pattern is wrong"


THREADS = re.compile(r"\b(?:pthread_create|bpull_engine_open|io_open)\(")
# Those with real files, and the allocations of a thread that fail: in the suite `threads` of tests/meson.build.
REAL_FILES = {"oom.c", "oom_calls.c", "test_oom_api.c", "test_oom_libvirt.c"}


def threads_simulated(root):
    """The thread sanitizer's run leaves the simulated machine out, because it has one thread."""
    for path in sources(root, "tests/machine", "tests/whole"):
        if path.name not in REAL_FILES and (found := THREADS.search(path.read_text())):
            yield f"{path.relative_to(root)}: {found[0]}"


def exported(library):
    out = subprocess.run(["nm", "-D", "--defined-only", library], check=True,
                         capture_output=True, text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in out.splitlines()}
    return {name for name in names if not name.startswith("BLOCKPULL_")}


def export_differences(root, library):
    header, symbols = declared(root), exported(library)
    yield from (f"declared, not exported: {name}" for name in sorted(header - symbols))
    yield from (f"exported, not declared: {name}" for name in sorted(symbols - header))
    if len(header) < 20:
        yield f"only {len(header)} declarations found: the pattern is wrong"


README_LINES = 150


def long_readme(root):
    lines = (root / "README.md").read_text().count("\n")
    if lines >= README_LINES:
        yield f"README.md: {lines}"


def main():
    root = pathlib.Path(sys.argv[1])
    checks = [("commands use the public header only", private_includes(root),
               "use what engine/blockpull.h has, or add a call there (docs/abi.md)"),
              ("every file has its licence line", unlicensed(root),
               "begin it with the first line that the files beside it have"),
              ("no line is longer than 100 columns", wide(root),
               "run clang-format -i on the file; break comments and strings by hand"),
              (f"no file has more than {MAX_LINES} lines", long_files(root), "move one subject of it to a file of its own"),
              (f"no folder has more than {MAX_ENTRIES} entries", crowded(root),
               "make a room in it, with a README.md, a place in ORDER of tests/check_rooms.py and a table in docs/architecture.md"),
              ("every folder has a README", without_readme(root),
               f"write one as those beside it are, with the parts {' and '.join(README_PARTS)}"),
              ("what is built or run has its row", unbuilt(root),
               "name it in the meson.build of its folder, or of the one around that"),
              ("no message of the library names an option", options_named(root), "say it in tools/cli/advice.c"),
              ("each public pointer was tried as NULL", untested_pointers(root),
               "add the row, or write in the header that NULL is allowed and put the name into MAY_BE_NULL here"),
              ("a function's name is found once", names_found_twice(root),
               "put its file's or its format's name before it, in the newer of the two files"),
              ("what is simulated begins no thread", threads_simulated(root),
               "make a test of real files of it, in tests/api/ or tests/bb/"),
              (f"README.md has less than {README_LINES} lines", long_readme(root), "docs/ has room for more"),
              ("nothing new lies at the top level", stray_names(root), "put it into a folder")]
    if len(sys.argv) > 2:
        checks.append(("the library exports the header", export_differences(root, sys.argv[2]),
                       "write its name into engine/libblockpull.map (docs/abi.md says into which node)"))
    return tree.report(checks)


if __name__ == "__main__":
    sys.exit(main())
