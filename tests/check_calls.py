#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The pages of section 3, as TAP: each call of the libraries has one, with every section and parameter;
each field and constant of the headers is on one; groff and mandoc have nothing to say; and docs/calls.py
refuses a header whose call lacks what a page needs.

usage: check_calls.py ROOT LIBRARY... PAGE..."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import tree

SECTIONS = ("NAME", "SYNOPSIS", "DESCRIPTION", "PARAMETERS", "RETURN VALUE", "ERRORS", "OWNERSHIP", "THREADS", "BLOCKING",
            "SEE ALSO")
# The headers of each library, by its file, and what docs/calls.py reads beside them.
HEADERS = {"libblockpull": ("engine/blockpull.h", "engine/blockpull-libvirt.h"), "libblockpull-nbd": ("tools/nbd/blockpull-nbd.h",)}
FACTS = {"libblockpull": "docs/calls.ini", "libblockpull-nbd": "docs/calls-nbd.ini"}
NOT_CALLS = {"bpull_error"}  # a struct's page


def name_of(library):
    return library.name.split(".so")[0]


def exported(library):
    out = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {name for line in out.splitlines() if (name := line.split()[-1].split("@")[0]).startswith("bpull_")}


def sections(text):
    """{title: body}"""
    parts = re.split(r"^\.SH (.*)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def plain(text):
    return re.sub(r"\\f[BIR]", "", text).replace("\\-", "-").replace("\\&", "")


def lacking_calls(pages, libraries):
    there, wanted = set(pages), set().union(*map(exported, libraries))
    yield from (f"no page: {name}" for name in sorted(wanted - there))
    yield from (f"a page of no call: {name}" for name in sorted(there - wanted - NOT_CALLS))
    if len(wanted) < 50:
        yield f"only {len(wanted)} calls are exported: the pattern is wrong"


def lacking_sections(pages):
    for name, text in pages.items():
        found = sections(text)
        for title in SECTIONS if name not in NOT_CALLS else ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
            if not plain(found.get(title, "")).strip(" .\n"):
                yield f"{name}: {title} is missing or empty"


def lacking_parameters(pages):
    """A prototype's parameters are in italics."""
    n_seen = 0
    for name in sorted(set(pages) - NOT_CALLS):
        found = sections(pages[name])
        prototype = re.search(r"\.nf\n.*?\.sp\n(.*?)\.fi", found["SYNOPSIS"], re.S)[1]
        for parameter in re.findall(r"\\fI(\w+)\\fB[,)]", prototype):
            n_seen += 1
            said = re.search(rf"^\.TP\n\\fI{parameter}\\fR\n(.+)", found["PARAMETERS"], re.M)
            if not said or len(said[1]) < 4:
                yield f"{name}: nothing on {parameter}"
        if "(" not in plain(prototype) or plain(prototype).count(",") and not re.findall(r"\\fI(\w+)", prototype):
            yield f"{name}: its prototype was not understood"
    if n_seen < 150:
        yield f"only {n_seen} parameters found: the pattern is wrong"


def lacking_fields(root, libraries, pages):
    """Fields and constants, read in another way than docs/header.py does."""
    everything = plain("\n".join(pages.values()))
    n_seen = 0
    for path in [path for library in libraries for path in HEADERS[name_of(library)]]:
        text = re.sub(r"/\*.*?\*/", "", (root / path).read_text(), flags=re.S)
        for kind, name, body in re.findall(r"^(struct|enum) (bpull_\w+) \{(.*?)^\};", text, re.S | re.M):
            part = re.search(rf"^\.SS {kind} {name}\n(.*?)(?=^\.S[SH] )", everything, re.S | re.M)
            if not part:
                yield f"{kind} {name} is on no page"
                continue
            names = re.findall(r"(\w+)\s*(?:=[^,]*)?(?:,|\s*$)", body.strip() if kind == "enum" else "")
            names += re.findall(r"(\w+)(?:\[\w+\])?\s*[;,]|\(\*(\w+)\)", body) if kind == "struct" else []
            for one in names:
                one = one if isinstance(one, str) else one[0] or one[1]
                n_seen += 1
                if not re.search(rf"\b{one}\b", part[1]):
                    yield f"{kind} {name}: {one} is not on its page"
    if n_seen < 200:
        yield f"only {n_seen} fields found: the pattern is wrong"


def lost_places(pages):
    """Words of the header that point to another place of it."""
    for name, text in pages.items():
        for found in re.findall(r"see the top|told apart above|those above|`", plain(text)):
            yield f"{name}: {found}"


def unowned(pages):
    """Calls on an engine, a disk or a description, which their thread owns or takes turns on."""
    for name in sorted(set(pages) - NOT_CALLS):
        found = sections(pages[name])
        if re.search(r"bpull_(?:engine|disk|snapshot|info) \*\w", plain(found["SYNOPSIS"])) and "shares nothing" in found["THREADS"]:
            yield f"{name}: {found['THREADS']}"


def complaints(paths, *command):
    """All pages in one go: man(1) itself would start a dozen processes for each."""
    result = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True,
                            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
    yield from (result.stderr + (result.stdout if command[0] == "mandoc" else "")).splitlines()


# What a careless change of the header would be, and what calls.py must say.
CARELESS = (
    (r"BPULL_API const char \*bpull_version", r"/* New. */\nBPULL_API int bpull_new(int depth);\n\g<0>", "bpull_new"),
    (r"BPULL_API uint64_t bpull_disk_size\(const struct bpull_disk \*disk", r"\g<0>, int in_blocks", "in_blocks"),
    (r"BPULL_API int bpull_disk_find", "BPULL_API int bpull_disk_seek", "bpull_disk_seek"),
    (r"/\* Maps up to max extents.*?\*/\n", "", "bpull_disk_map"),
    (r"/\* Changes the shared limit", "/* Blocking. Changes the shared limit", "bpull_engine_set_speed"),
    (r"/\* Changes the shared limit", "/* Changes the limit of all", None),
    (r"-EFBIG the format can't hold the\s+\*?\s*result", "-EFBIG", "bpull_image_measure"),
    (r"BPULL_NBD_API void bpull_nbd_seal", r"BPULL_NBD_API int bpull_nbd_new(int depth);\n\g<0>", "bpull_nbd_new"),
    (r"BPULL_NBD_API int bpull_nbd_start_broker", "/* New. */\nBPULL_NBD_API int bpull_nbd_begin_broker", "bpull_nbd_begin_broker"),
)


def changed_headers(root, pattern, put, scratch):
    """All headers below scratch, one of them changed."""
    paths, n_changed = [], 0
    for one in [one for headers in HEADERS.values() for one in headers]:
        text, n = re.subn(pattern, put, (root / one).read_text(), count=1, flags=re.S)
        paths.append(pathlib.Path(scratch, pathlib.Path(one).name))
        paths[-1].write_text(text)
        n_changed += n
    return paths, n_changed


def missed(root):
    for pattern, put, word in CARELESS:
        with tempfile.TemporaryDirectory() as scratch:
            headers, n_changed = changed_headers(root, pattern, put, scratch)
            if n_changed != 1:
                yield f"the pattern {pattern} is in {n_changed} headers"
            result = subprocess.run([sys.executable, "-B", root / "docs/calls.py", "pages", scratch, "0",
                                     *(root / one for one in FACTS.values()), *headers], capture_output=True, text=True)
        if word is None and result.returncode:
            yield f"refused, and has nothing to refuse: {result.stderr}"
        elif word is not None and (not result.returncode or word not in result.stderr):
            yield f"not refused: {put or pattern}: {result.stderr}"


def main():
    root, *paths = map(pathlib.Path, sys.argv[1:])
    libraries = [path for path in paths if path.suffix != ".3"]
    paths = [path for path in paths if path.suffix == ".3"]
    pages = {path.stem: path.read_text() for path in paths}
    checks = [("each call has a page", lacking_calls(pages, libraries)),
              ("each page has its sections", lacking_sections(pages)),
              ("each parameter is explained", lacking_parameters(pages)),
              ("each field and constant is on a page", lacking_fields(root, libraries, pages)),
              ("no page points to another place of the header", lost_places(pages)),
              ("no page of a disk's or an engine's call says that it shares nothing", unowned(pages)),
              ("a call without what its page needs is refused", missed(root))]
    for tool, words in (("groff", ("-k", "-man", "-Tutf8", "-ww", "-z")), ("mandoc", ("-T", "lint", "-W", "warning"))):
        title = f"{tool} has nothing to say"
        if shutil.which(tool):
            checks.append((title, complaints(paths, tool, *words)))
        else:
            checks.append((f"{title} # SKIP {tool} is not installed", []))
    return tree.report(checks)


if __name__ == "__main__":
    sys.exit(main())
