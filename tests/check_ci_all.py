#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""tools/packaging/ci_all.py, as TAP, with a program in place of tools/dev that only says what it was asked: each verb
of tools/dev is a step or is named as none, each black-box test runs on other processors or is left out for a reason, a
failure stops nothing and is the exit status, and options are obeyed.

usage: check_ci_all.py ROOT"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1])
PROGRAM = ROOT / "tools/packaging/ci_all.py"
sys.path.insert(0, str(PROGRAM.parent))
import ci_all  # noqa: E402

FAKE = """#!/bin/sh
echo "$*" >>"$(dirname "$0")/asked"
echo "this was $*"
case "$*" in
    'cross s390x') exit 3 ;;
    rpm) kill -9 $$ ;;
    fleet) echo "skipped: kubernetes: npm could not fetch the schema" >&2 ;;
esac
"""


class Run:
    def __init__(self, scratch, *options):
        fake, out = pathlib.Path(scratch, "dev"), pathlib.Path(scratch, "out")
        fake.write_text(FAKE)
        fake.chmod(0o755)
        pathlib.Path(scratch, "asked").unlink(missing_ok=True)
        result = subprocess.run([sys.executable, "-B", PROGRAM, "--dev", fake, *options, out], capture_output=True, text=True)
        self.rc, self.out, self.err = result.returncode, result.stdout, result.stderr
        asked = pathlib.Path(scratch, "asked")
        self.asked = asked.read_text().splitlines() if asked.exists() else []
        self.logs = {path.stem: path.read_text() for path in out.glob("*.log")}


def same(got, wanted, what):
    if got != wanted:
        yield f"{what}: {got!r}, not {wanted!r}"


def forgotten_verbs(_):
    text = (ROOT / "tools/dev").read_text()
    verbs = set(re.search(r"^ +([a-z|-]+)\) \"verb_\$verb\"", text, re.M)[1].split("|"))
    yield from same(verbs, set(re.findall(r"^verb_([a-z-]+)\(\)", text, re.M)), "the verbs that tools/dev takes, and has")
    steps = {words[0] for words in ci_all.STEPS.values()}
    yield from same(sorted(steps | set(ci_all.NO_STEPS)), sorted(verbs), "the verbs that are steps or named as none")
    yield from (f"{verb} is both" for verb in steps & set(ci_all.NO_STEPS))
    for processor in set(re.findall(r"^        (\w+)\) .*compiler=", text, re.M)) | {"musl"}:
        yield from [] if ("cross", processor) in ci_all.STEPS.values() else [f"cross {processor} is no step"]


def left_out_tests(_):
    """tools/cross/run runs each black-box test on other processors but those that left_out names, with a reason."""
    there = {path.stem.removeprefix("test_") for path in (ROOT / "tests/bb").glob("*/test_*.py")}
    listed = []
    for line in (ROOT / "tools/cross/left_out").read_text().splitlines():
        parts = re.fullmatch(r"(all|arm64|armhf|s390x): ([a-z0-9_ ]+): (\S.{9,})", line)
        if parts:
            listed += [(parts[1], name) for name in parts[2].split()]
        elif not line.startswith("#"):
            yield f"no place, names and reason: {line}"
    yield from same(sorted({name for _, name in listed} - there), [], "what is left out, and is no test")
    yield from same(sorted({name for name in there if sum(name == other for _, other in listed) > 1}), [], "left out twice")
    yield from same(len(there) - len({name for _, name in listed}) >= 40, True, "forty or more are run")
    for arch in "arm64", "s390x":
        script = (ROOT / "tools/cross/run").read_text()
        function = re.search(r"^all_tests\(\) \{\n.*?^\}\n", script, re.M | re.S)[0]
        run = subprocess.run(["bash", "-euc", f"ARCH={arch}\n{function}all_tests"], cwd=ROOT, capture_output=True, text=True).stdout
        out = {name for where, name in listed if where in ("all", arch)}
        yield from same(sorted(run.split()), sorted(there - out), f"what is run on {arch}")


def goes_on(scratch):
    run = Run(scratch)
    yield from same(run.rc, 1, "exit status")
    yield from same(len(run.asked), len(ci_all.STEPS), "commands")
    for name, wanted in (("test", "passed"), ("cross-s390x", "failed, exit 3"), ("rpm", "failed, SIGKILL"), ("bench", "passed"),
                         ("fleet", "passed, 1 skipped")):
        row = re.search(rf"^{name} +(.*?) +(\d+\.\d)  (?:this was )?(.*)$", run.out, re.M)
        yield from same(row and row[1], wanted, f"the row of {name}")
        if name != "fleet":
            yield from same(row and row[3], run.logs[name].removeprefix("this was ").strip(), f"the last line of {name}")
    yield from same("skipped in fleet: kubernetes: npm could not fetch the schema" in run.out.splitlines(), True, "what was left out")
    yield from same(run.out.splitlines()[-1], f"ci-all: {len(ci_all.STEPS) - 2} passed, 2 failed, 0 not run", "the sum")


def obeys(scratch):
    run = Run(scratch, "--only", "fuzz,lint", "--fuzz-minutes", "7")
    yield from same((run.rc, run.asked), (0, ["lint", "fuzz 7"]), "--only")
    run = Run(scratch, "--only", "deb,rpm,test", "--without", "rpm,fleet")
    yield from same((run.rc, run.asked), (0, ["test", "deb"]), "--only with --without")
    run = Run(scratch, "--list", "--only", "cross-arm64")
    yield from same((run.rc, run.out.split(), run.asked), (0, ["cross-arm64", "./tools/dev", "cross", "arm64"], []), "--list")


def refuses(scratch):
    for options, word in ((("--only", "tests"), "tests"), (("--without", ""), "''"), (("--only", "deb", "--without", "deb"), "left"),
                          (("--fuzz-minutes", "0"), "minutes"), (("--maybe",), "maybe")):
        run = Run(scratch, *options)
        if (run.rc, run.asked) != (2, []) or word not in run.err:
            yield f"{options}: exit {run.rc}, {run.asked}, {run.err}"


CASES = (("no verb of tools/dev is forgotten", forgotten_verbs),
         ("what runs on other processors is all but what is left out", left_out_tests),
         ("a failure stops nothing, and is the exit status", goes_on),
         ("it runs what is asked for", obeys), ("what it can't do is refused before anything runs", refuses))
print(f"1..{len(CASES)}")
failed = False
for number, (title, look) in enumerate(CASES, 1):
    with tempfile.TemporaryDirectory() as directory:
        findings = list(look(directory))
    failed |= bool(findings)
    print(f"{'not ok' if findings else 'ok'} {number} - {title}")
    for finding in findings:
        print(f"# {finding}")
sys.exit(failed)
