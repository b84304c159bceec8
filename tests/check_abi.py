#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The public calls and their versions, as TAP: the headers, engine/libblockpull.map, the library and the list that
Debian's package records (libblockpull0.symbols) agree, so that no call comes, goes or changes its version unnoticed.

usage: check_abi.py ROOT VERSION LIBRARY"""
import pathlib
import re
import subprocess
import sys

HEADERS = "engine/blockpull.h", "engine/blockpull-libvirt.h"
MAP = "engine/libblockpull.map"
SYMBOLS = "tools/packaging/debian/libblockpull0.symbols"
CALLS_MIN = 60


def declared(root):
    """Calls that the headers mark as public."""
    text = "".join(re.sub(r"/\*.*?\*/", "", (root / path).read_text(), flags=re.S) for path in HEADERS)
    text = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*\n", "", text, flags=re.M)
    return re.findall(r"BPULL_API\b[^;]*?\b(bpull_\w+)\(", text)


def nodes(text):
    """[(node, [call], the node before or None)] of a version script."""
    text = re.sub(r"#.*|/\*.*?\*/", "", text)
    found = []
    for name, body, before in re.findall(r"(\w[\w.]*)\s*\{(.*?)\}\s*([\w.]*)\s*;", text, re.S):
        listed = re.sub(r"local:.*", "", body, flags=re.S).replace("global:", "")
        found.append((name, [word.strip() for word in listed.split(";") if word.strip()], before or None))
    return found


def number(node):
    return tuple(int(part) for part in re.findall(r"\d+", node))


def mapped(text):
    return [f"{call}@{node}" for node, calls, _ in nodes(text) for call in calls]


def exported(library):
    """call@node. The nodes themselves are names, too."""
    out = subprocess.run(["nm", "-D", "--defined-only", "--with-symbol-versions", library], check=True,
                         capture_output=True, text=True).stdout
    words = [line.split()[-1].replace("@@", "@") for line in out.splitlines()]
    return [word for word in words if not word.startswith("BLOCKPULL_")]


def recorded(text):
    """{call@node: the version it came with}, without the nodes themselves."""
    return {name: version for name, version in re.findall(r"^ (\S+@\S+) (\S+)$", text, re.M)
            if not name.startswith("BLOCKPULL_")}


def differences(what, ours, with_what, theirs):
    for twice in sorted({name for name in ours if ours.count(name) > 1}):
        yield f"{what} has {twice} twice"
    yield from (f"{name}: {what} has it, {with_what} not" for name in sorted(set(ours) - set(theirs)))
    yield from (f"{name}: {with_what} has it, {what} not" for name in sorted(set(theirs) - set(ours)))


def wrong_nodes(text, version):
    """A node is named for the version that its calls came with, and follows the one before."""
    last = None
    for name, calls, before in nodes(text):
        if not re.fullmatch(r"BLOCKPULL_\d+\.\d+", name) or number(name) > number(version)[:2]:
            yield f"{name} is not of a version up to {version}"
        if before != last or last and number(name) <= number(last):
            yield f"{name} does not follow {last}"
        yield from (f"{name}: {call} is a pattern" for call in calls if not re.fullmatch(r"bpull_\w+", call))
        last = name


def wrong_versions(text):
    """Of a package: that of the node."""
    for name, version in recorded(text).items():
        if number(name.split("@")[1]) != number(version)[:2]:
            yield f"{name} did not come with {version}"


def disagreements(root, version, script, symbols, calls):
    yield from differences("the map", [name.split("@")[0] for name in mapped(script)], "a header", declared(root))
    yield from differences("the library", calls, "the map", mapped(script))
    yield from differences("the library", calls, "the recorded list", list(recorded(symbols)))
    yield from wrong_nodes(script, version)
    yield from wrong_versions(symbols)
    if len(calls) < CALLS_MIN:
        yield f"only {len(calls)} calls are exported: the pattern is wrong"


# What careless changes would be, and the word that is said about them.
CARELESS = (
    ("map", r"\tbpull_flush;\n", "", "bpull_flush"),
    ("map", r"\tbpull_flush;\n", "\tbpull_*;\n", "pattern"),
    ("map", r"\Z", "BLOCKPULL_9.9 {\nglobal:\n\tbpull_new;\n} BLOCKPULL_0.1;\n", "BLOCKPULL_9.9"),
    ("map", r"\Z", "BLOCKPULL_0.0 {\nglobal:\n\tbpull_new;\n};\n", "does not follow"),
    ("symbols", r" bpull_flush@.*\n", "", "bpull_flush"),
    ("symbols", r"(?<=bpull_flush@BLOCKPULL_0.1) 0.1.0", " 0.2.0", "bpull_flush"),
    ("calls", "bpull_flush@BLOCKPULL_0.1", None, "bpull_flush"),
)


def missed(root, version, script, symbols, calls):
    for where, pattern, put, word in CARELESS:
        one = {"map": script, "symbols": symbols, "calls": calls}
        if where == "calls":
            one["calls"] = [call for call in calls if call != pattern]
        else:
            one[where] = re.sub(pattern, put, one[where], count=1)
        if one[where] == {"map": script, "symbols": symbols, "calls": calls}[where]:
            yield f"nothing to change: {pattern}"
        elif not any(word in said for said in disagreements(root, version, one["map"], one["symbols"], one["calls"])):
            yield f"not noticed in {where}: {pattern} -> {put}"


def main():
    root, version, library = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    facts = (root / MAP).read_text(), (root / SYMBOLS).read_text(), exported(library)
    cases = (("headers, map, library and recorded list have the same calls", disagreements(root, version, *facts)),
             ("careless changes are noticed", missed(root, version, *facts)))
    failed = False
    print(f"1..{len(cases)}")
    for i, (title, wrong) in enumerate(cases, 1):
        wrong = list(wrong)
        failed |= bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {i} - {title}")
        for line in wrong:
            print(f"# {line}")
    return int(failed)


sys.exit(main())
