#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The Python package and the Rust crates beside the library's header, as TAP: each call is in them, or left out for a
reason that stands here, and so are each field of the structs below and each constant of an enumeration that Python has.

usage: check_bindings.py ROOT"""
import pathlib
import re
import sys

import tree

OWN_LOOP = "the engine has a thread of its own: requests wait for their result, and events are taken by its jobs"
SOURCES = "bases behind the program's own protocol are written in C"
AT_OPEN = "of a call that opens: `open_file` is there for programs that give up their rights; these two only say when"
OWN_EVENTS = "leads from an event to its disk, which both do by themselves"
LEFT_OUT = {
    **dict.fromkeys(("bpull_read", "bpull_write", "bpull_write_zeroes", "bpull_discard", "bpull_flush", "bpull_block_status",
                     "bpull_disk_resize", "bpull_disk_drain", "bpull_engine_fd", "bpull_engine_poll", "bpull_engine_wait"),
                    OWN_LOOP),
    **dict.fromkeys(("bpull_source_extents_done", "bpull_source_read_done"), SOURCES),
}
# What the caller fills, and what the library does. Of those named *_opaque both make their own.
OPTIONS = "bpull_job_options", "bpull_disk_options", "bpull_create_options"
RESULTS = "bpull_layer_info", "bpull_measure", "bpull_check_result", "bpull_disk_stats", "bpull_job_info"
FIELDS_LEFT_OUT = {"opened": AT_OPEN, "creating": AT_OPEN, "find_base": SOURCES, "user_data": OWN_EVENTS}
# Its files, what is a call in them, what gives an option its value, and what reads a result's field.
WHERE = {"Python": ("tools/bindings/python/src/blockpull", "*.py", r"\blib\.(bpull_\w+)",
                    r'(?:\b{0}=|"{0}"|\bstruct\.{0} = )', r"\b(?:found|result|info|stats)\.{0}\b"),
         "Rust": ("tools/bindings/rust/blockpull/src", "*.rs", r"\bsys::(bpull_\w+)", r"\b(?:c|options)\.{0}_? = ",
                  r"\b[cr]\.{0}_?\b")}


def plain(header):
    return re.sub(r"^\s*#.*$", "", re.sub(r"/\*.*?\*/", "", header, flags=re.S), flags=re.M)


def calls(header):
    return set(re.findall(r"BPULL_API\b[^;]*?\b(bpull_\w+)\(", header))


def fields(header, struct):
    """Their names, without the size in front, and without the number of what another field leads to."""
    names = set()
    for line in re.search(rf"struct {struct} \{{(.*?)\n\}};", header, re.S)[1].split(";"):
        pointer = re.search(r"\(\*(\w+)\)", line)
        names |= {pointer[1]} if pointer else set(re.findall(r"(\w+)\s*(?:\[\w+\]\s*)?(?:,|$)", line))
    return {name for name in names if name != "size" and name.removeprefix("n_") not in names - {name}}


def enumerations(header):
    """{its name: its constants}"""
    return {name: set(re.findall(r"\b(BPULL_\w+)", body)) for name, body in re.findall(r"enum (\w+) \{(.*?)\};", header, re.S)}


def lacking_calls(header, text, language):
    there, wanted = set(re.findall(WHERE[language][2], text)), calls(header)
    yield from (f"{language} lacks {name}" for name in sorted(wanted - there - LEFT_OUT.keys()))
    yield from (f"{language} has {name}, which is said to be left out" for name in sorted(there & LEFT_OUT.keys()))
    yield from (f"no call, and left out: {name}" for name in sorted(LEFT_OUT.keys() - wanted))


def lacking_fields(header, text, language):
    for structs, pattern in (OPTIONS, WHERE[language][3]), (RESULTS, WHERE[language][4]):
        for struct in structs:
            for name in sorted(fields(header, struct) - FIELDS_LEFT_OUT.keys()):
                if not name.endswith("_opaque") and not re.search(pattern.format(name), text):
                    yield f"{language} lacks {name} of {struct}"


def lacking_constants(header, text):
    for name, constants in enumerations(header).items():
        there = {constant for constant in constants if re.search(rf"^    \w+ = lib\.{constant}$", text, re.M)}
        if there:
            yield from (f"Python's enumeration lacks {constant} of {name}" for constant in sorted(constants - there))


def careless(header, texts):
    """What must be noticed, and is not."""
    more = header.replace("BPULL_API", "BPULL_API int bpull_disk_forget(struct bpull_disk *disk);\nBPULL_API", 1)
    longer = [header.replace(f"struct {name} {{", f"struct {name} {{\n\tuint32_t urgency, kept;", 1) for name in OPTIONS + RESULTS]
    wider = header.replace("enum bpull_copy {", "enum bpull_copy {\n\tBPULL_COPY_LATER = 9,", 1)
    for language, text in texts.items():
        if not list(lacking_calls(more, text, language)):
            yield f"a call that {language} lacks"
        for struct, one in zip(OPTIONS + RESULTS, longer):
            if len(list(lacking_fields(one, text, language))) < 2:
                yield f"fields of {struct} that {language} lacks"
    if not list(lacking_constants(wider, texts["Python"])):
        yield "a constant that Python lacks"


def main():
    root = pathlib.Path(sys.argv[1])
    header = plain((root / "engine/blockpull.h").read_text())
    texts = {language: "".join(path.read_text() for path in sorted((root / where).glob(pattern)))
             for language, (where, pattern, *_) in WHERE.items()}
    few = [f"only {len(calls(header))} calls were found"] if len(calls(header)) < 50 else []
    checks = [(f"each call is in {language}, or left out for a reason", few + list(lacking_calls(header, text, language)))
              for language, text in texts.items()]
    checks += [(f"each field of options and results is in {language}", lacking_fields(header, text, language))
               for language, text in texts.items()]
    checks.append(("Python's enumerations are whole", lacking_constants(header, texts["Python"])))
    checks.append(("what is new and forgotten is noticed", careless(header, texts)))
    return tree.report(checks)


if __name__ == "__main__":
    sys.exit(main())
