#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The order of the folders, as TAP: no file includes a header of a folder above its
own, no object calls a function or takes an address from there, no two files
of the library use each other, directly or in a circle, a layer's operations are
called by their wrappers only, and headers and structs stay small.

usage: check_rooms.py ROOT [ARCHIVE...]   (the static libraries that it is made of; without
them only the sources are looked at)"""
import collections
import pathlib
import re
import subprocess
import sys

import tree

# From the ground up: a folder may use itself and those before it.
ORDER = ["io", "io/file", "io/backends", "io/source", "io/posix",
         "formats/core", "formats/raw", "formats/qed",
         "formats/qcow2/image", "formats/qcow2/space", "formats/qcow2/tables", "formats/qcow2/snapshots",
         "formats/qcow2/check", "formats/qcow2/write", "formats/qcow2/compress", "formats/qcow2",
         "formats/chain",
         "engine/core/ranges", "engine/core/rate", "engine/core",
         "engine/commit",
         "engine/copy/walk", "engine/copy/phases", "engine/copy",
         "engine/guest",
         "engine/job/progress", "engine/job/chain", "engine/job", "engine/job/ahead",
         "engine/api/options", "engine/api/images", "engine/api", "engine/api/libvirt"]
# The same for the programs. Of the library they see its public headers alone (check_tree.py).
PROGRAMS = ["tools/clock", "tools/sockets", "tools/words", "tools/trace", "tools/vhost", "tools/budget", "tools/nbd/names", "tools/nbd", "tools/bases", "tools/cli", "tools/control/wire", "tools/control/state", "tools/control/jobs", "tools/control", "tools/pull", "tools/chain", "tools/images", "tools/ctl", "tools/nbdkit", "tools/serve", "tools/vmm",
            "tools", "tools/completion", "tools/packaging"]
# Of no floor: what programs see of the library.
PUBLIC = {"engine/blockpull.h", "engine/blockpull-libvirt.h"}


def folder_of(path):
    return path.rpartition("/")[0]


def climbs(order, above, below):
    """Does a file in the folder `below` that uses one in `above` look up?"""
    return order.index(above) > order.index(below)


def sources(root, order):
    for folder in order:
        yield from sorted((root / folder).glob("*.[ch]"))


def strangers(root, order):
    """Source files that are in no folder of the list."""
    for top in sorted({folder.split("/")[0] for folder in order}):
        for path in sorted((root / top).glob("**/*.[ch]")):
            name = str(path.relative_to(root))
            if name not in PUBLIC and folder_of(name) not in order:
                yield name


def upward_includes(root, order):
    for path in sources(root, order):
        name = str(path.relative_to(root))
        for included in tree.INCLUDE.findall(path.read_text()):
            if included in PUBLIC:
                continue
            if folder_of(included) not in order:
                yield f"{name} includes {included}, which is in no room"
            elif climbs(order, folder_of(included), folder_of(name)):
                yield f"{name} includes {included}"


LAYER_OP = re.compile(r"\b\w*(?:layer|overlay|top)\w*(?:\(\w*\)|\[\w+\])?->ops->|\blayers\[[^]]*\]->ops->")


def direct_layer_ops(root):
    """Above formats/ a layer's operations are reached by formats/core/layer*.h, which check them."""
    for top in ("engine", "tools", "bench"):
        for path in sorted((root / top).glob("**/*.[ch]")):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if LAYER_OP.search(line):
                    yield f"{path.relative_to(root)}:{number}"


MAX_PROTOTYPES = 15
PROTOTYPE = re.compile(r"^(?!static|typedef|struct \w+ \{|#|\t|}| \*|/\*)[a-z][\w \t*]*?\b\w+\([^{;]*\)"
                       r"(?:\s*__attribute__\(\(.*?\)\))?;", re.M)


def big_headers(root):
    for path in sources(root, ORDER):
        name = str(path.relative_to(root))
        if path.suffix == ".h":
            n = len(PROTOTYPE.findall(path.read_text()))
            if n > MAX_PROTOTYPES:
                yield f"{name} has {n} prototypes"


MAX_FIELDS = 26
STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\}", re.M | re.S)
NESTED = re.compile(r"\b(?:struct|union|enum)\s*\w*\s*\{[^{}]*\}")


def n_fields(body):
    """Fields of a struct; a part of its own is one."""
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    while (flat := NESTED.sub("part", body)) != body:
        body = flat
    fields = [re.sub(r"\([^()]*\)", "", field) for field in body.split(";") if field.strip()]
    return len(fields) + sum(field.count(",") for field in fields)


def big_structs(root):
    n = 0
    for path in sources(root, ORDER + PROGRAMS):
        if (name := str(path.relative_to(root))) in PUBLIC:
            continue
        for found in STRUCT.finditer(path.read_text()):
            n += 1
            if (fields := n_fields(found[2])) > MAX_FIELDS:
                yield f"struct {found[1]} in {name} has {fields} fields"
    if n < 150:
        yield f"only {n} structs found: the pattern is wrong"


def unmapped(root):
    """Files that the map in docs/architecture.md does not name, and names there without a file."""
    text = (root / "docs/architecture.md").read_text()
    for folder in ORDER:
        part = re.search(rf"^### `{folder}/`\n(.*?)(?=^#)", text, re.M | re.S)
        rows = re.findall(r"^\|([^|]*)\|", part[1], re.M) if part else []
        named = {name for row in rows for name in re.findall(r"`(\w+\.c)`", row)}
        there = {path.name for path in (root / folder).glob("*.c")}
        yield from (f"{folder}/{name} is not in the map" for name in sorted(there - named))
        yield from (f"the map names {folder}/{name}" for name in sorted(named - there))


def source_of(root, top, name):
    """("engine", "core_loop.c.o") -> engine/core/loop.c: Meson writes the folders with _."""
    name = pathlib.Path(name).name.removesuffix(".o")
    for folder in ORDER:
        head, _, inner = folder.partition("/")
        prefix = inner.replace("/", "_") + "_" if inner else ""
        if head == top and name.startswith(prefix) and (root / folder / name[len(prefix):]).exists():
            return f"{folder}/{name[len(prefix):]}"
    raise SystemExit(f"no source for {name} of {top}")


def symbols(archive, name_of):
    """{what name_of() calls it: (names that others can see, names that it wants)} of an archive's objects."""
    out = subprocess.run(["nm", archive], check=True, capture_output=True, text=True).stdout
    found, current = {}, None
    for line in out.splitlines():
        if line.endswith(".o:"):
            current = found[name_of(line[:-1])] = set(), set()
        elif line.strip():
            kind, name = line.split()[-2:]
            if kind == "U":
                current[1].add(name)
            elif kind.isupper():
                current[0].add(name)
    return found


def namer(root, archive):
    """What an object of the archive is called: its source, where that is the library's."""
    top = re.match(r"lib([a-z]+)", archive.name)[1]
    if any(folder.partition("/")[0] == top for folder in ORDER):
        return lambda member: source_of(root, top, member)
    return lambda member: f"{top}: {member.removesuffix('.o')}"


def call_graph(root, archives):
    """{file: {file it uses: a name that it uses}}, and how many files there are."""
    home, uses = {}, {}
    for archive in archives:
        for name, (defined, wanted) in symbols(archive, namer(root, archive)).items():
            home.update(dict.fromkeys(defined, name))
            uses[name] = wanted
    graph = collections.defaultdict(dict)
    for name, wanted in uses.items():
        for symbol in sorted(wanted):
            if home.get(symbol, name) != name:
                graph[name].setdefault(home[symbol], symbol)
    return graph, len(uses)


def upward_calls(graph):
    for name, used in sorted(graph.items()):
        for other, symbol in sorted(used.items()):
            if climbs(ORDER, folder_of(other), folder_of(name)):
                yield f"{name} uses {symbol} of {other}"


def reachable(graph, start):
    seen, todo = set(), [start]
    while todo:
        for other in graph.get(todo.pop(), ()):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return seen


def circles(graph):
    reach = {name: reachable(graph, name) for name in graph}
    for name in sorted(graph):
        for other in sorted(graph[name]):
            if name in reach.get(other, ()):
                yield f"{name} uses {graph[name][other]} of {other}, which leads back"


def calls(root, archives):
    programs = [archive for archive in archives if "tools" in archive.parts]
    graph, n_files = call_graph(root, [archive for archive in archives if archive not in programs])
    few = [f"only {n_files} objects found: the pattern is wrong"] if n_files < 100 else []
    checks = [("no call climbs", few + list(upward_calls(graph)),
               "move the function down, or have the upper room hand it down in a table"),
              ("no files use each other in a circle", circles(graph), "move what both need to a third file")]
    if programs:
        graph, n_files = call_graph(root, programs)
        few = [f"only {n_files} objects found: the pattern is wrong"] if n_files < 100 else []
        checks.append(("nor do those of the programs", few + list(circles(graph)), "move what both need to a third file"))
    return checks


def main():
    root, *archives = map(pathlib.Path, sys.argv[1:])
    room = "add the folder to {} of tests/check_rooms.py, behind all folders that it uses"
    lower = "move what both need to the lower room, or have the upper one hand it down"
    checks = [("every file of the library has a room", strangers(root, ORDER), room.format("ORDER")),
              ("no include climbs", upward_includes(root, ORDER), lower),
              ("every file of the programs has a room", strangers(root, PROGRAMS), room.format("PROGRAMS")),
              ("no include of the programs climbs", upward_includes(root, PROGRAMS), lower),
              ("the architecture's map has every file", unmapped(root),
               "mend the folder's table in docs/architecture.md, below \"Where things are\""),
              ("a layer is called by its wrappers", direct_layer_ops(root), "call the function of formats/core/layer*.h"),
              (f"no header has more than {MAX_PROTOTYPES} prototypes", big_headers(root), "split it, and its source, by subject"),
              (f"no struct has more than {MAX_FIELDS} fields", big_structs(root), "put fields that belong together into a part")]
    if archives:
        checks += calls(root, archives)
    return tree.report(checks)


if __name__ == "__main__":
    sys.exit(main())
