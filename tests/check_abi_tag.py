#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The libraries that were built, compared with what the last tag's tree has recorded of its own, as TAP: seconds, where
`./tools/dev abi` builds the tag. At the tag itself both must be alike, so that later ones are compared with what was released. Skipped
where no tag can be reached.

usage: check_abi_tag.py ROOT OUT LIBRARY..."""
import contextlib
import io
import pathlib
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools/packaging"))
import abi  # noqa: E402


def why_not(root, name, tag):
    """Why nothing can be compared, or None."""
    if not shutil.which("abidiff"):
        return "abidiff is not installed (abigail-tools)"
    if not tag:
        return "no tag"
    return None if abi.recorded_at(tag, name, root) else f"{tag} has recorded no {abi.recorded(name).name}"


def is_at(root, tag):
    return abi.git("rev-parse", f"{tag}^{{commit}}", root=root) == abi.git("rev-parse", "HEAD", root=root)


def complaints(root, name, tag, new, scratch):
    """Of the library that new describes. What the comparison prints is told where it fails."""
    old, said = scratch / f"{name}-{tag}.abi", io.StringIO()
    old.write_text(abi.recorded_at(tag, name, root))
    with contextlib.redirect_stdout(said):
        try:
            abi.compare(old, new, scratch, tag)
        except SystemExit as stop:
            return [*said.getvalue().splitlines(), str(stop)]
    if is_at(root, tag) and abi.differs(old, new):
        return [f"what {tag} has recorded is not its library: ./tools/dev abi record, before the tag"]
    return []


def main():
    root, scratch, libraries = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
    tag, failed = abi.last_tag(root), False
    scratch.mkdir(parents=True, exist_ok=True)
    print(f"1..{len(libraries)}")
    for i, library in enumerate(libraries, 1):
        name = pathlib.Path(library).name.split(".so")[0]
        reason = why_not(root, name, tag)
        if reason:
            print(f"ok {i} - {name}: programs that were compiled for the last tag go on working # SKIP {reason}")
            continue
        new = abi.describe(root, scratch, name, library, scratch / f"{name}.abi")
        wrong = complaints(root, name, tag, new, scratch)
        failed |= bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {i} - {name}: programs that were compiled for {tag} go on working")
        print("".join(f"# {line}\n" for line in wrong), end="")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
