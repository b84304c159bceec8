# SPDX-License-Identifier: MIT OR Apache-2.0
"""Measures a pull beside its peers and plain copies of the same bytes, in turn, until durable.

usage: run.py [--rounds N] [--scale X] [--methods A,B] [--syscalls] [--dir DIR] [--json FILE]
              [--html FILE] BLOCKPULL PLAIN_COPY [SCENARIO...]

A round runs every method once, each round another first, so that a slow minute of the machine meets
all methods. The file's fsync is inside the time. What each method made is compared with the truth in
its first round, and one that is wrong, or fails, makes the exit status 1: its times are not shown.
With --syscalls each runs once more, not timed, under strace.
"""
import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import methods
import reflink
import report
import scenarios
from methods import Broken

TIMED = 0.01  # at a smaller scale the times mean nothing


def sync(name):
    fd = os.open(name, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def warm():
    """The bases into the page cache: holes are skipped, as a reader of 1 TiB would wish."""
    for name in os.listdir("."):
        with open(name, "rb", buffering=0) as file:
            end = 0
            try:
                while True:
                    start = os.lseek(file.fileno(), end, os.SEEK_DATA)
                    end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                    for offset in range(start, end, scenarios.MIB):
                        os.pread(file.fileno(), min(scenarios.MIB, end - offset), offset)
            except OSError:
                pass  # ENXIO: no more data


def prove(form, made):
    info = json.loads(subprocess.run(["qemu-img", "info", "--output=json", made], check=True,
                                     capture_output=True).stdout)
    if "backing-filename" in info:
        raise Broken("the result still has a backing file")
    for command in (["qemu-img", "check", "-q", "-f", form, made],
                    ["qemu-img", "compare", "-q", "-f", form, "-F", "raw", made, "truth"]):
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            raise Broken(" ".join(command[:2]) + " says no")


def prove_copy(made):
    if subprocess.run(["cmp", "-s", "packed", made]).returncode:
        raise Broken("the copy differs")


def prepare(scale):
    for name in ("image", "new", "cost", "calls"):
        if os.path.exists(name):
            os.unlink(name)
    shutil.copyfile("fresh", "image")
    if scale >= TIMED:  # it also waits for what others have written
        os.sync()


def go(method, prefix):
    with tempfile.TemporaryFile() as out:
        try:
            method.go(prefix, out)
        except Broken as broken:
            out.seek(0)
            raise Broken(f"{broken}: {out.read()[-400:].decode(errors='replace').strip()}") from None


def one_run(args, s, form, method, first):
    prepare(args.scale)
    warm()
    subprocess.run([args.plain_copy, "touch", str(s.data // scenarios.MIB + int(64 * args.scale))], check=True)
    start = time.monotonic()
    go(method, [args.plain_copy, "cost", "cost"])
    sync(method.made)
    seconds = time.monotonic() - start
    with open("cost") as file:
        _, cpu_ns, rss_kib = map(int, file.read().split())
    if first and method.is_image:
        prove(form, method.made)
    elif first:
        prove_copy(method.made)
    return {"seconds": seconds, "cpu": cpu_ns / 1e9, "rss_kib": rss_kib}


def count_syscalls(args, method):
    """strace's total; what a ring does is not in it, as it is none."""
    prepare(args.scale)
    go(method, ["strace", "-f", "-c", "-o", "calls"])
    with open("calls") as file:
        totals = [line.split() for line in file if line.rstrip().endswith(" total")]
    if not totals:
        raise Broken("strace printed no total")
    return int(totals[-1][3])


def measure(args, s):
    scenarios.make_content(s)
    form = scenarios.make_overlay(s, scenarios.make_base(s))
    all_methods = methods.table(args.blockpull, args.plain_copy, form, s.unit == "s")
    if args.methods:
        all_methods = {name: all_methods[name] for name in all_methods if name in args.methods + [s.unit]}
    results = {name: {"runs": [], "error": None} for name in all_methods}
    for round_no in range(args.rounds + args.syscalls):
        for name, method in methods.rotated(all_methods, round_no).items():
            result = results[name]
            if result["error"]:
                continue
            try:
                if round_no < args.rounds:
                    result["runs"].append(one_run(args, s, form, method, round_no == 0))
                else:
                    result["syscalls"] = count_syscalls(args, method)
            except Broken as broken:
                result["error"] = str(broken)
    for result in results.values():
        result["proven"] = bool(result["runs"]) and not result["error"]
    return results


def measure_in(args, s, where):
    """In a new directory, which is gone afterwards."""
    row = {"name": s.name, "title": s.title, "data_len": s.data, "moved_len": s.data, "virtual_len": s.virtual,
           "unit": s.unit, "goal": s.goal, "results": {}, "skipped": None}
    home = os.getcwd()
    try:
        with contextlib.ExitStack() as stack:
            if s.unit == "s":
                stack.enter_context(reflink.mounted(where, s.data))
            else:
                os.mkdir(where)
                stack.callback(shutil.rmtree, where)
            stack.callback(os.chdir, home)
            os.chdir(where)
            row["results"] = measure(args, s)
            row["moved_len"] = os.path.getsize("packed")
    except reflink.Missing as missing:
        row["skipped"] = str(missing)
    return row


def show(row):
    unit = row["results"].get(row["unit"])
    times_unit = "s" if row["unit"] == "s" else f"x {row['unit']}"
    print(f"\n{row['name']}: {row['title']} (goal {row['goal']} {times_unit})")
    if row["skipped"]:
        print(f"  skipped: {row['skipped']}")
        return
    print(f"  {'':10} {'min':>8} {'median':>8} {'max':>8} {times_unit:>10} {'CPU s':>7} {'s/GiB':>7} {'MiB':>6}"
          f"  {'syscalls' if any('syscalls' in r for r in row['results'].values()) else ''}")
    for name, result in row["results"].items():
        if not result["proven"]:
            print(f"  {name:10} FAILED: {result['error']}")
            continue
        times = [run["seconds"] for run in result["runs"]]
        cpu = statistics.median(run["cpu"] for run in result["runs"])
        rss = max(run["rss_kib"] for run in result["runs"]) / 1024
        ratio = "-"
        if row["unit"] == "s":
            ratio = f"{statistics.median(times):.3f}"
        elif unit["proven"]:
            ratio = f"{statistics.median(times) / statistics.median(r['seconds'] for r in unit['runs']):.2f}"
        print(f"  {name:10} {min(times):8.3f} {statistics.median(times):8.3f} {max(times):8.3f} "
              f"{ratio:>10} {cpu:7.2f} {cpu / row['moved_len'] * scenarios.GIB:7.2f} {rss:6.1f}"
              f"  {result.get('syscalls', '')}", flush=True)


def machine(where):
    kernel = os.uname()
    kind = subprocess.run(["stat", "-f", "-c", "%T", where], capture_output=True, text=True).stdout.strip()
    return {"kernel": kernel.release, "processor": kernel.machine, "processors": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "file_system": {"ext2/ext3": "ext4"}.get(kind, kind)}


def parse():
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks every size")
    parser.add_argument("--methods", type=lambda names: names.split(","), metavar="A,B",
                        help="these only, and what the goal is a multiple of")
    parser.add_argument("--syscalls", action="store_true", help="count system calls, in runs of their own")
    parser.add_argument("--dir", help="where the files go (default: TMPDIR)", type=os.path.abspath)
    parser.add_argument("--json", help="the results go there too", type=os.path.abspath)
    parser.add_argument("--html", help="and a page of them there", type=os.path.abspath)
    parser.add_argument("blockpull", type=os.path.abspath)
    parser.add_argument("plain_copy", type=os.path.abspath)
    parser.add_argument("scenario", nargs="*")
    args = parser.parse_intermixed_args()  # options between names too
    known = {s.name: s for s in scenarios.TABLE}
    unknown = [name for name in args.scenario if name not in known]
    if unknown or args.rounds < 1 or not 0 < args.scale <= 1:
        parser.error(f"scenarios: {' '.join(known)}; rounds from 1; scale above 0, up to 1"
                     + (f"; unknown: {' '.join(unknown)}" if unknown else ""))
    if args.syscalls and not shutil.which("strace"):
        parser.error("--syscalls needs strace")
    return args, [scenarios.scaled(known[name], args.scale) for name in args.scenario or known]


def main():
    args, chosen = parse()
    # So that directories and mounts go also then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    result = {"tool": "bench/run.py", "kind": "scenarios", "rounds": args.rounds, "scale": args.scale, "rows": []}
    with tempfile.TemporaryDirectory(prefix="blockpull-bench.", dir=args.dir) as top:
        # truth, base, packed, image and new may each hold the data
        needed = 5 * max(s.data for s in chosen) + (256 << 20)
        if shutil.disk_usage(top).free < needed:
            sys.exit(f"bench: {top} needs {needed >> 20} MiB free; use --dir or --scale")
        result["machine"] = machine(top)
        for s in chosen:
            result["rows"].append(measure_in(args, s, os.path.join(top, s.name)))
            show(result["rows"][-1])
    if args.json:
        with open(args.json, "w") as file:
            json.dump(result, file, indent=1)
    if args.html:
        with open(args.html, "w", encoding="ascii") as file:
            file.write(report.page([result]))
    return 0 if all(r["proven"] for row in result["rows"] for r in row["results"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
