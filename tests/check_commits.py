#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Subjects of commits, as TAP: `area: what`, at most 60 characters. Looked at are
the commits since the upstream branch, or, where there is none, since the last
tag: what is not published yet and can still be mended. Without a git directory,
as in a tarball, and with neither upstream nor tag nothing is looked at.

usage: check_commits.py ROOT"""
import pathlib
import re
import subprocess
import sys

MAX_SUBJECT = 60
MAX_BODY = 72
SUBJECT = re.compile(r"([\w-]+(?:, [\w-]+)*): ([^A-Z\s].*[^.\s])")
# Areas beside the folders and the files.
WORDS = {"tree", "build", "ci", "man", "changelog", "contributing", "readme", "security", "plugin", "libvirt", "locks"}
SOURCES = ("io", "formats", "engine", "tools", "bench", "tests", "docs")


def git(root, *args):
    """What git says, or None where it refuses."""
    try:
        done = subprocess.run(["git", "-C", root, *args], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def first_unpublished(root):
    """The commit behind which the looked-at ones begin, or None and why."""
    top = git(root, "rev-parse", "--show-toplevel")
    if top is None or pathlib.Path(top).resolve() != root.resolve():
        return None, "no git directory"
    upstream = git(root, "merge-base", "HEAD", "@{upstream}")
    if upstream:
        return upstream, ""
    tag = git(root, "describe", "--tags", "--abbrev=0")
    return (tag, "") if tag else (None, "neither an upstream branch nor a tag")


def areas(root):
    """Names of folders, and of files without their endings."""
    found = set(WORDS)
    for top in SOURCES:
        found.add(top)
        for path in (root / top).glob("**/*"):
            found |= {path.name} if path.is_dir() else {path.stem, path.stem.removeprefix("test_")}
    return found


def faults(message, known):
    subject, _, body = message.partition("\n")
    parts = SUBJECT.fullmatch(subject)
    if not parts:
        yield "the subject is not `area: what`, in lower case, without a full stop"
    else:
        yield from (f"'{area}' is no folder, no file without its ending, and none of {', '.join(sorted(WORDS))}"
                    for area in parts[1].split(", ") if area not in known)
    if len(subject) > MAX_SUBJECT:
        yield f"the subject has {len(subject)} characters: at most {MAX_SUBJECT} are read in a list, so say the rest in the body"
    if body.strip() and not body.startswith("\n"):
        yield "no empty line behind the subject"
    if any(len(line) > MAX_BODY and " " in line.strip() for line in body.splitlines()):
        yield f"a line of the body is longer than {MAX_BODY} columns"


def main():
    root = pathlib.Path(sys.argv[1])
    base, why = first_unpublished(root)
    if not base:
        print(f"1..0 # SKIP {why}")
        return 0
    log = git(root, "log", "--no-merges", "--format=%h%x1f%B%x1e", f"{base}..HEAD") or ""
    known, bad = areas(root), 0
    commits = [entry.strip().split("\x1f") for entry in log.split("\x1e") if entry.strip()]
    for name, message in commits:
        for fault in faults(message.strip(), known):
            bad += 1
            print(f"# {name} \"{message.splitlines()[0]}\": {fault}")
    print(f"1..1\n{'not ok' if bad else 'ok'} 1 - the subjects of {len(commits)} commits say area and what")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
