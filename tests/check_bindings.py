#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The Python package and the Rust crates beside the library's header, as TAP: each call is in them, or left out for a
reason that stands here, and so are each option of a job and each constant of an enumeration that Python has.

usage: check_bindings.py ROOT"""
import pathlib
import re
import sys

import tree

OWN_LOOP = "the engine has a thread of its own: requests wait for their result, and events are taken by its jobs"
SOURCES = "bases behind the program's own protocol are written in C"
NOT_YET = "not written yet; what there is goes without it"
AT_REST = "the crate has engine, disk and job; images at rest are the command's, with --json"
LEFT_OUT = {
    **dict.fromkeys(("bpull_read", "bpull_write", "bpull_write_zeroes", "bpull_discard", "bpull_flush", "bpull_block_status",
                     "bpull_disk_resize", "bpull_disk_drain", "bpull_engine_fd", "bpull_engine_poll", "bpull_engine_wait"),
                    OWN_LOOP),
    **dict.fromkeys(("bpull_source_extents_done", "bpull_source_read_done"), SOURCES),
    **dict.fromkeys(("bpull_preadv", "bpull_pwritev", "bpull_pblock_status", "bpull_disk_try_activate", "bpull_job_check",
                     "bpull_measure_job", "bpull_format_name"), NOT_YET),
}
LEFT_OUT_OF = {
    "Python": {},
    "Rust": {**dict.fromkeys(("bpull_check", "bpull_create", "bpull_image_measure", "bpull_info_open", "bpull_info_close",
                              "bpull_info_depth", "bpull_info_layer"), AT_REST),
             "bpull_flatten_open": NOT_YET},
}
# Its files, what is a call in them, and what gives a job's option its value.
WHERE = {"Python": ("tools/bindings/python/src/blockpull", "*.py", r"\blib\.(bpull_\w+)", r'(?:\b{0}=|"{0}")'),
         "Rust": ("tools/bindings/rust/blockpull/src", "*.rs", r"\bsys::(bpull_\w+)", r"\bc\.{0}_? = ")}


def plain(header):
    return re.sub(r"^\s*#.*$", "", re.sub(r"/\*.*?\*/", "", header, flags=re.S), flags=re.M)


def calls(header):
    return set(re.findall(r"BPULL_API\b[^;]*?\b(bpull_\w+)\(", header))


def fields(header, struct):
    body = re.search(rf"struct {struct} \{{(.*?)\n\}};", header, re.S)[1]
    names = {name for line in body.split(";") for name in re.findall(r"(\w+)\s*$", line)}
    return {name for name in names if name != "size" and name.removeprefix("n_") not in names - {name}}


def enumerations(header):
    """{its name: its constants}"""
    return {name: set(re.findall(r"\b(BPULL_\w+)", body)) for name, body in re.findall(r"enum (\w+) \{(.*?)\};", header, re.S)}


def lacking_calls(header, text, language):
    left_out = {**LEFT_OUT, **LEFT_OUT_OF[language]}
    there, wanted = set(re.findall(WHERE[language][2], text)), calls(header)
    yield from (f"{language} lacks {name}" for name in sorted(wanted - there - left_out.keys()))
    yield from (f"{language} has {name}, which is said to be left out" for name in sorted(there & left_out.keys()))
    yield from (f"no call, and left out of {language}: {name}" for name in sorted(left_out.keys() - wanted))


def lacking_options(header, text, language):
    yield from (f"{language} lacks a job's {name}" for name in sorted(fields(header, "bpull_job_options"))
                if not re.search(WHERE[language][3].format(name), text))


def lacking_constants(header, text):
    for name, constants in enumerations(header).items():
        there = {constant for constant in constants if re.search(rf"^    \w+ = lib\.{constant}$", text, re.M)}
        if there:
            yield from (f"Python's enumeration lacks {constant} of {name}" for constant in sorted(constants - there))


def careless(header, texts):
    """What must be noticed, and is not."""
    more = header.replace("BPULL_API", "BPULL_API int bpull_disk_forget(struct bpull_disk *disk);\nBPULL_API", 1)
    longer = header.replace("struct bpull_job_options {", "struct bpull_job_options {\n\tuint32_t urgency;", 1)
    wider = header.replace("enum bpull_copy {", "enum bpull_copy {\n\tBPULL_COPY_LATER = 9,", 1)
    for language, text in texts.items():
        if not list(lacking_calls(more, text, language)):
            yield f"a call that {language} lacks"
        if not list(lacking_options(longer, text, language)):
            yield f"an option that {language} lacks"
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
    checks += [(f"each option of a job is in {language}", lacking_options(header, text, language))
               for language, text in texts.items()]
    checks.append(("Python's enumerations are whole", lacking_constants(header, texts["Python"])))
    checks.append(("what is new and forgotten is noticed", careless(header, texts)))
    return tree.report(checks)


if __name__ == "__main__":
    sys.exit(main())
