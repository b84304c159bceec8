#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What `./tools/dev abi` lets pass, as TAP: changes are put into the recorded descriptions of the libraries, and
tools/packaging/abi.py must find those that programs would notice, and no others; and check_abi_tag.py what changed since a tag,
in a repository that is made for it. Skipped without abidiff.

usage: check_abidiff.py ROOT"""
import contextlib
import io
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(ROOT / "tools/packaging"))
import abi  # noqa: E402
import check_abi_tag  # noqa: E402

RECORDED = ROOT / "tools/packaging/abi/libblockpull.x86_64.abi"
NBD_RECORDED = ROOT / "tools/packaging/abi/libblockpull-nbd.x86_64.abi"
OPTIONS = r"(<class-decl name='bpull_engine_options' size-in-bits=')576('.*?)(    </class-decl>)"
EVENT = r"(<class-decl name='bpull_event' size-in-bits=')512('.*?)(    </class-decl>)"
MEMBER = ("      <data-member access='public' layout-offset-in-bits='{}'>\n"
          "        <var-decl name='more' type-id='{}' visibility='default'/>\n      </data-member>\n")
FUNCTION = r"    <function-decl name='bpull_flush'.*?</function-decl>\n"
SYMBOL = r"    <elf-symbol name='bpull_flush' .*?/>\n"
NBD_SEAL = (r"    <function-decl name='bpull_nbd_seal'.*?</function-decl>\n", r"    <elf-symbol name='bpull_nbd_seal' .*?/>\n")
NBD_OPTIONS = r"(<class-decl name='bpull_nbd_options' size-in-bits=')896('.*?)(    </class-decl>)"

# What is done to it, and whether programs notice.
CHANGES = (
    ("nothing", False, ()),
    ("a call is gone", True, ((FUNCTION, ""), (SYMBOL, ""))),
    ("a call's node is another", True, (("bpull_flush@@BLOCKPULL_0.1", "bpull_flush@@BLOCKPULL_0.2"),
                                        ("(name='bpull_flush' version='BLOCKPULL_0).1", r"\1.2"))),
    ("a call is new", False, ((SYMBOL, lambda m: m[0] + m[0].replace("bpull_flush", "bpull_g")),
                              (FUNCTION, lambda m: m[0] + m[0].replace("bpull_flush", "bpull_g")))),
    ("a call has a parameter less", True, ((r"(name='bpull_flush' mangled.*?\n).*?name='user_data'/>\n", r"\1"),)),
    ("a sized struct has a member more at its end", False, ((OPTIONS, rf"\g<1>640\2{MEMBER.format(576, 'U64')}\3"),)),
    ("a member lies in the padding of a sized struct", True, ((OPTIONS, rf"\g<1>576\2{MEMBER.format(352, 'U32')}\3"),)),
    ("a sized struct's member has moved", True,
     ((r"(name='bpull_engine_options'.*?layout-offset-in-bits=')128", r"\g<1>256"),)),
    ("a struct without a size has grown", True, ((EVENT, rf"\g<1>576\2{MEMBER.format(512, 'U64')}\3"),)),
    ("an enumerator has another value", True, (("(name='BPULL_IO_THREADS' value=')2", r"\g<1>3"),)),
    ("an enumerator is new", False,
     ((r"( *<enumerator name='BPULL_IO_)THREADS' value='2'/>\n", r"\g<0>\1NEW' value='3'/>\n"),)),
    ("the library's name is another", False, ((FUNCTION, ""), (SYMBOL, ""), ("libblockpull.so.0", "libblockpull.so.1"))),
)
# The same of libblockpull-nbd.
NBD_CHANGES = (
    ("nothing", False, ()),
    ("a call is gone", True, tuple((pattern, "") for pattern in NBD_SEAL)),
    ("a sized struct has a member more at its end", False, ((NBD_OPTIONS, rf"\g<1>960\2{MEMBER.format(896, 'U32')}\3"),)),
    ("a sized struct's member has moved", True,
     ((r"(name='bpull_nbd_source' size.*?layout-offset-in-bits=')64'", r"\g<1>72'"),)),
    ("an enumerator has another value", True, (("(name='BPULL_NBD_GONE' value=')4", r"\g<1>6"),)),
)


def changed(text, steps):
    for pattern, put in steps:
        if isinstance(put, str):
            put = re.sub("U(64|32)", lambda m: re.search(rf"name='uint{m[1]}_t'.* id='(.*?)'", text)[1], put)
        text, n = re.subn(pattern, put, text, count=1, flags=re.S)
        if not n:
            raise SystemExit(f"the pattern is not there: {pattern}")
    return text


def noticed(description, steps):
    """(whether, what is said)"""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as scratch:
        new = pathlib.Path(scratch, "new.abi")
        new.write_text(changed(description.read_text(), steps))
        with contextlib.redirect_stdout(said):
            try:
                abi.compare(description, new, pathlib.Path(scratch), "the last release")
            except SystemExit as stop:
                return True, f"{said.getvalue()}{stop}"
    return False, said.getvalue()


def tagged(title, steps, tag, commits_after, wanted):
    """A repository whose only file is what was recorded, changed before the tag, or after it."""
    with tempfile.TemporaryDirectory() as scratch:
        root, scratch = pathlib.Path(scratch, "root"), pathlib.Path(scratch)
        record = root / RECORDED.relative_to(ROOT)
        record.parent.mkdir(parents=True)
        record.write_text(RECORDED.read_text())
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")
        for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "a"), *([("tag", tag)] if tag else []),
                      *[(*who, "commit", "-qm", "b", "--allow-empty")] * commits_after):
            subprocess.run(["git", *words], cwd=root, check=True)
        new = scratch / "new.abi"
        new.write_text(changed(RECORDED.read_text(), steps))
        found = abi.last_tag(root)
        reason = check_abi_tag.why_not(root, "libblockpull", found)
        said = [reason] if reason else check_abi_tag.complaints(root, "libblockpull", found, new, scratch)
    return f"since a tag: {title}", wanted in " ".join(said) if wanted else not said, said


ADDED = ((SYMBOL, lambda m: m[0] + m[0].replace("bpull_flush", "bpull_g")),
         (FUNCTION, lambda m: m[0] + m[0].replace("bpull_flush", "bpull_g")))
TAGGED = (
    ("nothing", (), "v0.1.0", 1, ""),
    ("a call is gone", ((FUNCTION, ""), (SYMBOL, "")), "v0.1.0", 1, "compiled for v0.1.0 would notice"),
    ("a call is new", ADDED, "v0.1.0", 1, ""),
    ("a call is new, and not recorded at the tag itself", ADDED, "v0.1.0", 0, "not its library"),
    ("no tag", ((FUNCTION, ""), (SYMBOL, "")), None, 1, "no tag"),
    ("a tag of something else", ((FUNCTION, ""), (SYMBOL, "")), "try", 1, "no tag"),
)


def main():
    if not shutil.which("abidiff"):
        print("1..0 # SKIP abidiff is not installed (abigail-tools)")
        return 0
    cases = [(description, *change) for description, changes in ((RECORDED, CHANGES), (NBD_RECORDED, NBD_CHANGES)) for change in changes]
    print(f"1..{len(cases) + len(TAGGED)}")
    failed = False
    for i, (description, title, wanted, steps) in enumerate(cases, 1):
        is_noticed, said = noticed(description, steps)
        wrong = is_noticed != wanted or (wanted and "programs compiled" not in said)
        failed |= wrong
        print(f"{'not ok' if wrong else 'ok'} {i} - {description.name.split('.')[0]}: {title}: {'an error' if wanted else 'none'}")
        if wrong:
            print("".join(f"# {line}\n" for line in said.splitlines()), end="")
    for i, (title, right, said) in enumerate((tagged(*row) for row in TAGGED), len(cases) + 1):
        failed |= not right
        print(f"{'ok' if right else 'not ok'} {i} - {title}")
        print("" if right else "".join(f"# {line}\n" for line in said), end="")
    return int(failed)


sys.exit(main())
