# SPDX-License-Identifier: MIT OR Apache-2.0
"""Many overlays on one base behind a server that counts: `blockpull pull` of all of them beside `qemu-img rebase` of each,
so many at a time.

usage: nbd_fanout.py [--images N] [--data MIB] [--base raw|qcow2|zlib] [--at-once N] [--rounds N]
                     [--delay MS] [--dir DIR] [--json FILE] BLOCKPULL

The server is nbdkit with its stats filter, inside of which a delay filter may make it far; each run has one of its own. What was
made is checked, and compared with the base, in the first round.
"""
import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from scenarios import MIB, run

LETTERS = bytes(ord("a") + i % 16 for i in range(256))
UNITS = {"bytes": 1, "KiB": 2 ** 10, "MiB": 2 ** 20, "GiB": 2 ** 30, "TiB": 2 ** 40}


def make_base(args):
    """`flat`, the disk, and `base`, which is served: noise that takes time to unpack, and what packs well."""
    with open("flat", "wb") as file:
        for _ in range(args.data):
            file.write(os.urandom(MIB // 2).translate(LETTERS) + b"read it once. " * (MIB // 28))
        file.truncate(args.data * MIB)
    if args.base == "raw":
        os.link("flat", "base")
        return "raw"
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *(["-c"] if args.base == "zlib" else []), "flat", "base")
    return "qcow2"


@contextlib.contextmanager
def served(args, found):
    """The base, at `sock`; what was read of it is in found["read_bytes"] afterwards."""
    for name in ("sock", "pid", "stats"):
        if os.path.exists(name):
            os.unlink(name)
    server = subprocess.Popen(["nbdkit", "-f", "-r", "-U", "sock", "-P", "pid", "--filter=stats", "--filter=delay", "file", "base",
                               f"rdelay={args.delay}ms", "statsfile=stats"])
    try:
        end = time.monotonic() + 20
        while not os.path.exists("pid"):  # written when it listens
            if server.poll() is not None or time.monotonic() > end:
                sys.exit("nbd_fanout: nbdkit does not serve")
            time.sleep(.01)
        yield
    finally:
        server.terminate()
        server.wait()
    with open("stats", encoding="utf-8") as file:
        count, size, unit = re.search(r"^read: (\d+) ops, [\d.]+ s, ([\d.]+) (\w+)", file.read(), re.MULTILINE).groups()
    found["reads"], found["read_bytes"] = int(count), int(float(size) * UNITS[unit])


def pulled(args, tops):
    done = subprocess.run([args.blockpull, "pull", "-q", f"--allow-remote=nbd+unix:{os.getcwd()}", f"--jobs={len(tops)}", *tops])
    if done.returncode:
        sys.exit("nbd_fanout: the pull failed")


def rebased(args, tops):
    waiting, running = list(tops), []
    while waiting or running:
        while waiting and len(running) < args.at_once:
            running.append(subprocess.Popen(["qemu-img", "rebase", "-f", "qcow2", "-b", "", waiting.pop(0)]))
        if running.pop(0).wait():
            sys.exit("nbd_fanout: qemu-img rebase failed")
    for top in tops:  # as durable as the pulls
        file = os.open(top, os.O_RDONLY)
        os.fsync(file)
        os.close(file)


def prove(tops):
    for top in tops:
        run("qemu-img", "check", "-q", "-f", "qcow2", top)
        run("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", top, "flat")


def one_run(args, method, form, first):
    tops, found = [f"top{i}" for i in range(args.images)], {}
    for top in tops:
        run("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", f"nbd+unix:///?socket={os.getcwd()}/sock", "-F", form, top,
            f"{args.data}M")
    os.sync()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with served(args, found):
        method(args, tops)
        found["seconds"] = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found["cpu_seconds"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if first:
        prove(tops)
    for top in tops:
        os.unlink(top)
    return found


def measure(args):
    form = make_base(args)
    methods, runs = [("blockpull", pulled), ("rebase", rebased)], {"blockpull": [], "rebase": []}
    for number in range(args.rounds):
        for name, method in methods[number % 2:] + methods[:number % 2]:
            runs[name].append(one_run(args, method, form, number == 0))
    base_len, unit = os.path.getsize("base"), statistics.median(one["seconds"] for one in runs["rebase"])
    ways = {}
    for name, found in runs.items():
        times, read = [one["seconds"] for one in found], max(one["read_bytes"] for one in found)
        ways[name] = {"min_seconds": min(times), "median_seconds": statistics.median(times), "max_seconds": max(times),
                      "ratio": statistics.median(times) / unit, "cpu_seconds": statistics.median(one["cpu_seconds"] for one in found),
                      "read_bytes": read, "read_of_base": read / base_len, "runs": found}
    return {"tool": "bench/nbd_fanout.py", "kind": "fanout", "ways": ways,
            "options": {"format": "qcow2", "base": f"{args.base}, behind nbdkit", "images": args.images, "data_bytes": base_len,
                        "delay_ms": args.delay, "rounds": args.rounds, "at_once": args.at_once, "unit": "rebase"}}


def main():
    parser = argparse.ArgumentParser(prog="nbd_fanout")
    for name, value in (("images", 32), ("data", 256), ("at-once", 8), ("rounds", 1), ("delay", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--base", choices=("raw", "qcow2", "zlib"), default="raw")
    parser.add_argument("--dir", type=os.path.abspath)
    parser.add_argument("--json", type=os.path.abspath)
    parser.add_argument("blockpull", type=os.path.abspath)
    args = parser.parse_args()
    if min(args.images, args.data, args.at_once, args.rounds) < 1 or args.images > 256 or args.delay < 0:
        parser.error("numbers are from 1; --images up to 256")
    home = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="blockpull-bench.", dir=args.dir) as top:
        needed = (args.images + 2) * (args.data + 2) * MIB + 64 * MIB
        if shutil.disk_usage(top).free < needed:
            sys.exit(f"nbd_fanout: {top} needs {needed // MIB} MiB free")
        os.chdir(top)
        try:
            result = measure(args)
        finally:
            os.chdir(home)
    o = result["options"]
    print(f"{o['images']} overlays on a base ({o['base']}) of {o['data_bytes'] / MIB:.1f} MiB, {o['delay_ms']} ms; rebase: {o['at_once']} at a "
          f"time\n  {'':10} {'min':>8} {'median':>8} {'max':>8} {'x rebase':>9} {'CPU s':>8} {'x base read':>12} {'reads':>8}")
    for name, way in result["ways"].items():
        print(f"  {name:10} {way['min_seconds']:8.3f} {way['median_seconds']:8.3f} {way['max_seconds']:8.3f} {way['ratio']:9.2f} "
              f"{way['cpu_seconds']:8.2f} {way['read_of_base']:12.3f} {max(one['reads'] for one in way['runs']):8}")
    if args.json:
        with open(args.json, "w", encoding="ascii") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
