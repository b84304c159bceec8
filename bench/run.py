# SPDX-License-Identifier: MIT OR Apache-2.0
"""Measures a pull beside its peers and plain copies of the same bytes, in turn, until durable.

usage: run.py [--rounds N] [--scale X] [--dir DIR] [--json FILE] BLOCKPULL PLAIN_COPY [SCENARIO...]

A round runs every method once, so that a slow minute of the machine is everybody's. The file's
fsync is inside the time. What each method made is compared with the truth in its first round, and
one that is wrong, or fails, makes the exit status 1: its times are not shown.
Peak memory has a floor: a child's begins with that of this program, about 20 MiB.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import scenarios


class Broken(Exception):
    pass


def child(command, out):
    """Runs it; returns its CPU seconds (user and system) and peak memory in KiB."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    return reap(process, command[0])


def reap(process, name):
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Broken(f"{os.path.basename(name)}: exit status {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def stream(form, out):
    """block-stream in a qemu-storage-daemon that is spoken to on its standard input."""
    node = {"driver": form, "node-name": "top", "file": {"driver": "file", "filename": "image"}}
    daemon = subprocess.Popen(
        ["qemu-storage-daemon", "--chardev", "stdio,id=c", "--monitor", "chardev=c",
         "--blockdev", json.dumps(node)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out)
    error = "ended early"
    with daemon.stdin, daemon.stdout:
        for command in ({"execute": "qmp_capabilities"},
                        {"execute": "block-stream", "arguments": {"job-id": "j", "device": "top"}}):
            daemon.stdin.write(json.dumps(command).encode() + b"\n")
        daemon.stdin.flush()
        for line in daemon.stdout:
            message = json.loads(line)
            if "error" in message:
                error = message["error"]["desc"]
                break
            if message.get("event") == "BLOCK_JOB_COMPLETED":
                error = message["data"].get("error")
                break
        daemon.stdin.write(b'{"execute": "quit"}\n')
        daemon.stdin.flush()
        daemon.stdout.read()
    cost = reap(daemon, "qemu-storage-daemon")
    if error:
        raise Broken(f"block-stream: {error}")
    return cost


def methods(args, form):
    """Name: (what runs it, the file it makes, whether that is an image)."""
    def command(*words):
        return lambda out: child(list(words), out)
    # A QED file can't record its backing file's format.
    backing = ["--backing-format=qed"] if form == "qed" else []
    return {
        "blockpull": (command(args.blockpull, "pull", "-q", "--progress=none", *backing, "image"), "image", True),
        "rebase": (command("qemu-img", "rebase", "-f", form, "-b", "", "image"), "image", True),
        "stream": (lambda out: stream(form, out), "image", True),
        "convert": (command("qemu-img", "convert", "-f", form, "-O", form, "image", "new"), "new", True),
        "ceiling": (command(args.plain_copy, "ceiling", "packed", "new"), "new", False),
        "ref": (command(args.plain_copy, "ref", "packed", "new"), "new", False),
    }


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


def one_run(args, s, form, method, first):
    go, made, is_image = method
    for name in ("image", "new"):
        if os.path.exists(name):
            os.unlink(name)
    shutil.copyfile("fresh", "image")
    os.sync()
    warm()
    subprocess.run([args.plain_copy, "touch", str(s.data // scenarios.MIB + 64)], check=True)
    with tempfile.TemporaryFile() as out:
        start = time.monotonic()
        try:
            cpu, rss = go(out)
        except Broken as broken:
            out.seek(0)
            raise Broken(f"{broken}: {out.read()[-400:].decode(errors='replace').strip()}") from None
        sync(made)
        seconds = time.monotonic() - start
    if first and is_image:
        prove(form, made)
    elif first:
        prove_copy(made)
    return {"seconds": seconds, "cpu": cpu, "rss_kib": rss}


def measure(args, s):
    scenarios.make_content(s)
    form = scenarios.make_overlay(s, scenarios.make_base(s))
    results = {}
    for round_no in range(args.rounds):
        for name, method in methods(args, form).items():
            result = results.setdefault(name, {"runs": [], "error": None})
            if result["error"]:
                continue
            try:
                result["runs"].append(one_run(args, s, form, method, round_no == 0))
            except Broken as broken:
                result["error"] = str(broken)
    for result in results.values():
        result["proven"] = bool(result["runs"]) and not result["error"]
    return {"name": s.name, "title": s.title, "data_len": s.data, "virtual_len": s.virtual,
            "unit": s.unit, "goal": s.goal, "results": results}


def show(row):
    print(f"\n{row['name']}: {row['title']} (goal {row['goal']} x {row['unit']})")
    print(f"  {'':10} {'min':>8} {'median':>8} {'max':>8} {'x ' + row['unit']:>10} {'CPU s':>7} {'MiB':>6}")
    unit = row["results"][row["unit"]]
    for name, result in row["results"].items():
        if not result["proven"]:
            print(f"  {name:10} FAILED: {result['error']}")
            continue
        times = [run["seconds"] for run in result["runs"]]
        cpu = statistics.median(run["cpu"] for run in result["runs"])
        rss = max(run["rss_kib"] for run in result["runs"]) / 1024
        ratio = "-"
        if unit["proven"]:
            ratio = f"{statistics.median(times) / statistics.median(r['seconds'] for r in unit['runs']):.2f}"
        print(f"  {name:10} {min(times):8.3f} {statistics.median(times):8.3f} {max(times):8.3f} "
              f"{ratio:>10} {cpu:7.2f} {rss:6.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks every size")
    parser.add_argument("--dir", help="where the files go (default: TMPDIR)")
    parser.add_argument("--json", help="the results go there too")
    parser.add_argument("blockpull", type=os.path.abspath)
    parser.add_argument("plain_copy", type=os.path.abspath)
    parser.add_argument("scenario", nargs="*")
    args = parser.parse_intermixed_args()  # options between names too
    known = {s.name: s for s in scenarios.TABLE}
    unknown = [name for name in args.scenario if name not in known]
    if unknown or args.rounds < 1 or not 0 < args.scale <= 1:
        parser.error(f"scenarios: {' '.join(known)}; rounds from 1; scale above 0, up to 1"
                     + (f"; unknown: {' '.join(unknown)}" if unknown else ""))
    chosen = [scenarios.scaled(known[name], args.scale) for name in args.scenario or known]
    home = os.getcwd()
    rows = []
    with tempfile.TemporaryDirectory(prefix="blockpull-bench.", dir=args.dir) as top:
        # truth, base, packed, image and new may each hold the data
        needed = 5 * max(s.data for s in chosen) + (256 << 20)
        if shutil.disk_usage(top).free < needed:
            sys.exit(f"bench: {top} needs {needed >> 20} MiB free; use --dir or --scale")
        for s in chosen:
            os.mkdir(os.path.join(top, s.name))
            os.chdir(os.path.join(top, s.name))
            rows.append(measure(args, s))
            os.chdir(home)
            shutil.rmtree(os.path.join(top, s.name))
            show(rows[-1])
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"rounds": args.rounds, "scale": args.scale, "rows": rows}, file, indent=1)
    return 0 if all(r["proven"] for row in rows for r in row["results"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
