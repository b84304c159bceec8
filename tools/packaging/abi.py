#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Compares the libraries that programs would get with the last released ones: `./tools/dev abi`, with Debian's
abigail-tools. Released is the last tag v*; while there is none, what is recorded in abi/ here. docs/abi.md says what
may change.

    abi.py OUT compare    fails on what programs that were compiled before would notice
    abi.py OUT record     writes these libraries' descriptions into abi/, for those who have no tag
"""
import pathlib
import platform
import re
import subprocess
import sys
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The folder of each library and its public headers.
LIBRARIES = {"libblockpull": ("engine", ("blockpull.h", "blockpull-libvirt.h")),
             "libblockpull-nbd": ("tools/nbd", ("blockpull-nbd.h",))}
STRUCTS_MIN = 5
INCOMPATIBLE = 8  # a bit of abidiff's exit status; 4 is any change, 1 and 2 are errors


def run(*words, **more):
    return subprocess.run(list(map(str, words)), check=True, stdout=sys.stderr, **more)


def recorded(name):
    return ROOT / "tools/packaging/abi" / f"{name}.{platform.machine()}.abi"


def git(*words, root=ROOT):
    """What git says, or None where it refuses."""
    result = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    return result.stdout if result.returncode == 0 else None


def last_tag(root=ROOT):
    """The last release that can be reached, or None. In a tarball below another repository that one's tags are not ours."""
    top = git("rev-parse", "--show-toplevel", root=root)
    if top is None or pathlib.Path(top.strip()).resolve() != root.resolve():
        return None
    return (git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", root=root) or "").strip() or None


def recorded_at(tag, name, root=ROOT):
    """The description that a tag's own tree has of its library, or None."""
    return git("show", f"{tag}:{recorded(name).relative_to(ROOT)}", root=root)


def tree_of(tag, out):
    """The files of a tag, below out."""
    tree = out / f"tree-{tag}"
    if not tree.exists():
        tree.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", tag], cwd=ROOT, check=True, capture_output=True).stdout
        run("tar", "-x", "-C", tree, input=archive)
    return tree


def library(tree, build, name):
    """Built with debugging information, which is what is compared."""
    if not (build / "build.ninja").exists():
        run("meson", "setup", build, tree, "--buildtype=debugoptimized", "-Dtests=disabled", "-Ddocs=disabled",
            "-Dnbdkit=disabled", "-Dlibnbd=enabled", "-Dstatic=disabled")
    run("meson", "compile", "-C", build, f"{name.removeprefix('lib')}:shared_library")
    return build / LIBRARIES[name][0] / f"{name}.so"


def describe(tree, scratch, name, shared_object, out):
    """A description by abidw: the calls and the types that the public headers show."""
    folder, names = LIBRARIES[name]
    headers = scratch / "public-headers" / name
    headers.mkdir(parents=True, exist_ok=True)
    for one in names:
        (headers / one).write_text((tree / folder / one).read_text())
    run("abidw", "--exported-interfaces-only", "--drop-private-types", "--no-show-locs", "--no-comp-dir-path",
        "--no-corpus-path", "--no-elf-needed", "--no-write-default-sizes", "--headers-dir", headers, "--out-file", out,
        shared_object)
    return out


def build_and_describe(tree, build, name, out):
    return describe(tree, build, name, library(tree, build, name), out)


def sized_structs():
    """Those that begin with the size of what the caller knows: they may grow at their end."""
    text = "".join((ROOT / folder / name).read_text() for folder, names in LIBRARIES.values() for name in names)
    return re.findall(r"^struct (bpull_\w+) \{\s*(?:/\*(?:(?!\*/).)*\*/\s*)?(?:size_t|uint32_t) size;", text, re.M | re.S)


def structs(tree):
    """{name: element} of a description, those that have a body."""
    return {e.get("name"): e for e in tree.iter("class-decl") if e.get("size-in-bits")}


def without_growth(old, new, out):
    """The new description without what a sized struct got at its end. What lies in the padding of the old one stays, as
    the size that old programs pass takes that in."""
    before, tree = structs(xml.etree.ElementTree.parse(old)), xml.etree.ElementTree.parse(new)
    names = sized_structs()
    if len(names) < STRUCTS_MIN:
        raise SystemExit(f"abi: only {len(names)} structs that begin with their size: the pattern is wrong")
    for name, struct in structs(tree).items():
        if name not in names or name not in before:
            continue
        end = int(before[name].get("size-in-bits"))
        for member in struct.findall("data-member")[len(before[name].findall("data-member")):]:
            if int(member.get("layout-offset-in-bits")) >= end:
                print(f"abi: struct {name} ends with {member.find('var-decl').get('name')} now")
                struct.remove(member)
                struct.set("size-in-bits", str(end))
    tree.write(out)
    return out


def soname(description):
    return re.search(r"soname='([^']*)'", description.read_text())[1]


def differs(old, new):
    """In anything, were it only a call that is new."""
    return subprocess.run(["abidiff", old, new], capture_output=True, check=False).returncode != 0


def compare(old, new, out, what):
    result = subprocess.run(["abidiff", old, without_growth(old, new, out / "not-grown.abi")], capture_output=True,
                            text=True, check=False)
    print(result.stdout, end="")
    if result.returncode & 3:
        raise SystemExit(f"abi: abidiff failed: {result.stderr}")
    if soname(old) != soname(new):
        print(f"abi: {soname(new)} follows {soname(old)}: programs are compiled anew, and anything may differ")
    elif result.returncode & INCOMPATIBLE or re.search(r"[1-9]\d* (Removed|Changed|function.* with some)", result.stdout):
        raise SystemExit(f"abi: programs compiled for {what} would notice (docs/abi.md)")
    else:
        print(f"abi: programs compiled for {what} go on working")


def compare_with_released(name, new, out):
    tag = last_tag()
    if tag:
        tree = tree_of(tag, out)
        if not (tree / LIBRARIES[name][0] / f"{name}.map").exists():
            print(f"abi: {tag} has no {name}: no program is compiled for it yet")
        else:
            compare(build_and_describe(tree, out / f"build-{tag}", name, out / f"{name}-{tag}.abi"), new, out, tag)
    elif recorded(name).exists():
        compare(recorded(name), new, out, f"the library that {recorded(name).relative_to(ROOT)} describes")
    else:
        raise SystemExit(f"abi: no tag, and no {name} recorded for {platform.machine()}; `./tools/dev abi record` does it")


def main():
    if len(sys.argv) != 3 or sys.argv[2] not in ("compare", "record"):
        raise SystemExit(__doc__)
    out, verb = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    out.mkdir(parents=True, exist_ok=True)
    for name in LIBRARIES:
        new = build_and_describe(ROOT, out / "new", name, out / f"new-{name}.abi")
        if verb == "record":
            recorded(name).parent.mkdir(exist_ok=True)
            recorded(name).write_text(new.read_text())
        else:
            compare_with_released(name, new, out)


if __name__ == "__main__":
    main()
