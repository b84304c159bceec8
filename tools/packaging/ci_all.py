#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs everything that a release needs, one verb of tools/dev after the other, and prints one table: `./tools/dev
ci-all`. A step that fails does not stop the next; the exit status is 1 if any failed. What each prints is in OUT. Below
the table stands what a step has left out, and why: the lines of it that begin with "skipped: ".

    ci_all.py [--only A,B] [--without A,B] [--fuzz-minutes N] [--list] [--dev PROGRAM] OUT
"""
import argparse
import pathlib
import re
import signal
import subprocess
import sys
import time

# A step's name, and the verb with its arguments. The order is that of what fails soonest.
STEPS = {
    "lint": ("lint",),
    "abi": ("abi",),
    "sbom": ("sbom",),
    "test": ("test",),
    "without-uring": ("without-uring",),
    "sanitize": ("sanitize",),
    "sanitize-thread": ("sanitize", "thread"),
    "coverage": ("coverage",),
    "fuzz": ("fuzz", "MINUTES"),
    "oss-fuzz": ("oss-fuzz",),
    "cross-arm64": ("cross", "arm64"),
    "cross-armhf": ("cross", "armhf"),
    "cross-s390x": ("cross", "s390x"),
    "cross-musl": ("cross", "musl"),
    "deb": ("deb",),
    "rpm": ("rpm",),
    "fleet": ("fleet",),
    "container": ("container",),
    "remote": ("remote",),
    "bench": ("bench", "--rounds", "1", "--scale", "0.05"),
}
# Verbs that no release waits for, and why: tests/check_ci_all.py knows all others as steps.
NO_STEPS = {
    "help": "a text", "deps": "each verb installs what it needs", "build": "`test` builds", "format": "`lint` asks for it",
    "demo": "shows what `test` proves", "soak": "ends when you want it to", "ci-all": "this",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog="steps: " + " ".join(STEPS))
    parser.add_argument("--only", metavar="A,B", help="these steps alone")
    parser.add_argument("--without", metavar="A,B", help="all but these")
    parser.add_argument("--fuzz-minutes", type=int, default=10, metavar="N", help="for all targets together (10)")
    parser.add_argument("--list", action="store_true", help="the steps and their commands, and nothing is run")
    parser.add_argument("--dev", default=pathlib.Path(__file__).resolve().parents[1] / "dev", help="in place of tools/dev")
    parser.add_argument("out", type=pathlib.Path, metavar="OUT")
    args = parser.parse_args()
    args.steps = chosen(parser, args)
    if args.fuzz_minutes < 1:
        parser.error("--fuzz-minutes is at least 1")
    return args


def chosen(parser, args):
    named = {option: getattr(args, option).split(",") for option in ("only", "without") if getattr(args, option) is not None}
    for option, names in named.items():
        unknown = sorted(set(names) - set(STEPS))
        if unknown:
            parser.error(f"--{option}: no step '{unknown[0]}'; they are: {' '.join(STEPS)}")
    steps = [name for name in STEPS if name in named.get("only", STEPS) and name not in named.get("without", ())]
    if not steps:
        parser.error("no step is left")
    return steps


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def ending(status, n_skipped):
    if status == 0:
        return f"passed, {n_skipped} skipped" if n_skipped else "passed"
    return f"failed, {signal.Signals(-status).name}" if status < 0 else f"failed, exit {status}"


def run(name, args):
    """(result, minutes, the last line it printed, what it skipped)"""
    command = [str(args.dev), *(str(args.fuzz_minutes) if word == "MINUTES" else word for word in STEPS[name])]
    log, began = args.out / f"{name}.log", time.monotonic()
    print(f"ci-all: {name} ({log})", file=sys.stderr, flush=True)
    with open(log, "wb") as out:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    text = log.read_text(errors="replace")
    skipped = re.findall(r"^skipped: (.+)$", text, re.M)
    return ending(status, len(skipped)), (time.monotonic() - began) / 60, last_line(text), skipped


def table(rows):
    print(f"{'step':16} {'result':18} {'minutes':>7}  last line")
    for name, (result, minutes, said, _) in rows.items():
        spent = f"{minutes:7.1f}" if minutes is not None else f"{'':7}"
        print(f"{name:16} {result:18} {spent}  {said[:90]}")
    for name, (_, _, _, skipped) in rows.items():
        for what in skipped:
            print(f"skipped in {name}: {what}")
    n_failed = sum(result.startswith("failed") for result, *_ in rows.values())
    n_passed = sum(result.startswith("passed") for result, *_ in rows.values())
    print(f"ci-all: {n_passed} passed, {n_failed} failed, {len(rows) - n_passed - n_failed} not run", flush=True)
    return n_failed


def main():
    args = arguments()
    if args.list:
        for name in args.steps:
            print(f"{name:16} ./tools/dev {' '.join(STEPS[name]).replace('MINUTES', str(args.fuzz_minutes))}")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    rows = {name: ("not run", None, "", []) for name in args.steps}
    try:
        for name in args.steps:
            rows[name] = run(name, args)
    except KeyboardInterrupt:
        table(rows)
        return 130
    return 1 if table(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
