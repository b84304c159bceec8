#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The public calls of each library and their versions, as TAP: the headers, the map, the library and the list that
Debian's package records (*.symbols) agree, so that no call comes, goes or changes its version unnoticed, and CHANGELOG.md
names each in a section of its version.

usage: check_abi.py ROOT VERSION LIBRARY..."""
import pathlib
import re
import subprocess
import sys

class Library:
    """Where a library's calls are declared, mapped and recorded; `known`: a call that careless changes are about."""

    def __init__(self, headers, mark, script, symbols, node, calls_min, known):
        self.headers, self.mark, self.script, self.symbols = headers, mark, script, symbols
        self.node, self.calls_min, self.known = node, calls_min, known


LIBRARIES = {
    "libblockpull": Library(("engine/blockpull.h", "engine/blockpull-libvirt.h"), "BPULL_API", "engine/libblockpull.map",
                            "tools/packaging/debian/libblockpull0.symbols", "BLOCKPULL", 60, "bpull_flush"),
    "libblockpull-nbd": Library(("tools/nbd/blockpull-nbd.h",), "BPULL_NBD_API", "tools/nbd/libblockpull-nbd.map",
                                "tools/packaging/debian/libblockpull-nbd0.symbols", "BLOCKPULL_NBD", 9, "bpull_nbd_seal"),
}


def declared(root, one):
    """Calls that the headers mark as public."""
    text = "".join(re.sub(r"/\*.*?\*/", "", (root / path).read_text(), flags=re.S) for path in one.headers)
    text = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*\n", "", text, flags=re.M)
    return re.findall(rf"{one.mark}\b[^;]*?\b(bpull_\w+)\(", text)


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


def wrong_nodes(one, text, version):
    """A node is named for the version that its calls came with, and follows the one before."""
    last = None
    for name, calls, before in nodes(text):
        if not re.fullmatch(rf"{one.node}_\d+\.\d+", name) or number(name) > number(version)[:2]:
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


def told(node, changelog):
    """The sections of CHANGELOG.md where a node's calls may stand: those of its version, and of the one to come."""
    sections = re.findall(r"^## (.*)\n((?:(?!## ).*\n?)*)", changelog, re.M)
    return "".join(text for title, text in sections if title == "Unreleased" or number(title)[:2] == number(node))


def unnamed(script, changelog):
    for node, calls, _ in nodes(script):
        named = set(re.findall(r"`(bpull_\w+)\(\)`", told(node, changelog)))
        yield from (f"{call}: CHANGELOG.md does not name it where {node} is told of" for call in calls if call not in named)


def disagreements(root, one, version, script, symbols, calls, changelog):
    yield from differences("the map", [name.split("@")[0] for name in mapped(script)], "a header", declared(root, one))
    yield from differences("the library", calls, "the map", mapped(script))
    yield from differences("the library", calls, "the recorded list", list(recorded(symbols)))
    yield from wrong_nodes(one, script, version)
    yield from wrong_versions(symbols)
    yield from unnamed(script, changelog)
    if len(calls) < one.calls_min:
        yield f"only {len(calls)} calls are exported: the pattern is wrong"


def careless(one):
    """What careless changes would be, and the word that is said about them."""
    call, node = one.known, one.node
    return (
        ("map", rf"\t{call};\n", "", call),
        ("map", rf"\t{call};\n", "\tbpull_*;\n", "pattern"),
        ("map", r"\Z", f"{node}_9.9 {{\nglobal:\n\tbpull_new;\n}} {node}_0.1;\n", f"{node}_9.9"),
        ("map", r"\Z", f"{node}_0.0 {{\nglobal:\n\tbpull_new;\n}};\n", "does not follow"),
        ("symbols", rf" {call}@.*\n", "", call),
        ("symbols", rf"(?<={call}@{node}_0.1) 0.1.0", " 0.2.0", call),
        ("calls", f"{call}@{node}_0.1", None, call),
        ("changelog", rf"(?s)`{call}\(\).*", "", call),
        ("changelog", r"(?s).+", lambda m: re.sub(r"^## .*$", "## 9.9.0", m[0], flags=re.M), call),
    )


def missed(root, one, version, script, symbols, calls, changelog):
    for where, pattern, put, word in careless(one):
        facts = {"map": script, "symbols": symbols, "calls": calls, "changelog": changelog}
        if where == "calls":
            facts["calls"] = [call for call in calls if call != pattern]
        else:
            facts[where] = re.sub(pattern, put, facts[where], count=1)
        if list(facts.values()) == [script, symbols, calls, changelog]:
            yield f"nothing to change: {pattern}"
        elif not any(word in said for said in disagreements(root, one, version, *facts.values())):
            yield f"not noticed in {where}: {pattern} -> {put}"


def cases_of(root, version, library):
    name = pathlib.Path(library).name.split(".so")[0]
    one = LIBRARIES[name]
    facts = (root / one.script).read_text(), (root / one.symbols).read_text(), exported(library), (root / "CHANGELOG.md").read_text()
    return ((f"{name}: headers, map, library and recorded list have the same calls, and CHANGELOG.md names them", disagreements(root, one, version, *facts)),
            (f"{name}: careless changes are noticed", missed(root, one, version, *facts)))


def main():
    root, version, libraries = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    cases = [case for library in libraries for case in cases_of(root, version, library)]
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
