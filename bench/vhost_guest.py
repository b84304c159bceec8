# SPDX-License-Identifier: MIT OR Apache-2.0
"""A guest's requests over vhost-user: `blockpull serve` beside qemu-storage-daemon's export, by the same frontend.

usage: vhost_guest.py [--seconds N] [--rw read,write] [--depths N,N..] [--size MIB] [--data MIB] [--pairs N]
                      [--cores SERVER,FRONTEND] [--pull] [--priority N] [--dir DIR] [--json FILE] FRONTEND BLOCKPULL

The frontend is tests/serve's, which sleeps between answers as a guest does. Both servers run on one core, in turn, in pairs
whose order changes; each has its own copy of one image. The figures are medians over the pairs: requests a second, latencies,
the server's processor time a request, and how much the image held at the end. The ratios are the medians of the pairs' ratios,
with the least and the greatest: a machine that is slow for a moment moves those least. --pull sets an unlimited pull beside the
requests (QEMU's is block-stream): the first part of the image is its own, and what lies behind (--data, 1024 MiB then, so that no
pull ends before the requests do) is the base's, which is in the page cache. --priority N is a real-time one (chrt -r) for both
servers and the frontend: on a machine that is busy with other things it is the only way to get figures that mean something. Not beside a pull: the
kernel's threads that copy have the priority, too.
"""
import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

from nbd_guest import ended, is_listening, make, ring_is_there, wait_until
from scenarios import MIB

SERVERS = ("blockpull", "qsd")


def on_core(args, core, *command):
    before = ["chrt", "-r", str(args.priority)] if args.priority else []
    return ["taskset", "-c", str(core), *before, *map(str, command)]


@contextlib.contextmanager
def ours(args, image, pull):
    command = on_core(args, args.cores[0], args.blockpull, "serve", "--quiet", "--socket-path=sock", *(["--pull"] if pull else []), image)
    with ended(subprocess.Popen(command)) as server:
        wait_until(is_listening, "sock", server)
        yield server.pid


@contextlib.contextmanager
def qsd(args, image, pull):
    node = {"driver": "qcow2", "node-name": "top", "file": {"driver": "file", "filename": image, "aio": args.aio}}
    command = on_core(args, args.cores[0], "qemu-storage-daemon", "--blockdev", json.dumps(node), "--export",
                      "type=vhost-user-blk,id=e,node-name=top,addr.type=unix,addr.path=sock,writable=on",
                      "--chardev", "stdio,id=c", "--monitor", "chardev=c")
    with ended(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)) as server:
        wait_until(is_listening, "sock", server)
        words = [{"execute": "qmp_capabilities"}]
        words += [{"execute": "block-stream", "arguments": {"job-id": "j", "device": "top"}}] if pull else []
        for word in words:
            server.stdin.write(json.dumps(word).encode() + b"\n")
        server.stdin.flush()
        yield server.pid
        server.stdin.close()


def cpu_ns(pid):
    """Of all threads that live."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as stat:
            total += int(stat.read().split()[0])
    return total


def warm(name):
    with open(name, "rb", buffering=0) as file:
        while file.read(MIB):
            pass


def one_run(args, name, rw, depth):
    for old in ("image", "sock"):
        if os.path.exists(old):
            os.unlink(old)
    shutil.copyfile("fresh", "image")
    if args.pull:
        warm("base")
    with {"blockpull": ours, "qsd": qsd}[name](args, "image", args.pull) as pid:
        before = cpu_ns(pid)
        command = on_core(args, args.cores[1], args.frontend, "load", *(["-w"] if rw == "write" else []), "-d", depth,
                          "-s", args.seconds, "-n", args.size * MIB, "sock")
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"vhost_guest: {name}: {done.stderr.strip()}")
        row = json.loads(done.stdout)
        row["server-us"] = (cpu_ns(pid) - before) / 1e3 / max(1, row["iops"] * args.seconds)
        row["pulled-mib"] = os.stat("image").st_blocks * 512 / MIB
    return row


def measure(args):
    make(args)
    args.aio = "io_uring" if (shutil.copyfile("fresh", "image") and ring_is_there()) else "threads"
    rows = []
    for depth in args.depths:
        for rw in args.rw:
            found = {name: [] for name in SERVERS}
            for pair in range(args.pairs):
                for name in SERVERS if pair % 2 else SERVERS[::-1]:
                    found[name].append(one_run(args, name, rw, depth))
            row = {"rw": rw, "depth": depth}
            for name in SERVERS:
                row[name] = {key: statistics.median(one[key] for one in found[name]) for key in found[name][0]}
            for key in ("iops", "p99-us", "server-us"):
                ratios = sorted(a[key] / b[key] for a, b in zip(found["blockpull"], found["qsd"]))
                row[f"{key}-ratio"] = [ratios[0], statistics.median(ratios), ratios[-1]]
            rows.append(row)
            show(row)
    return rows


def show(row):
    for name in SERVERS:
        one = row[name]
        print(f"{row['rw']:5} {row['depth']:3} {name:9} {one['iops']:9.0f} {one['p50-us']:8.1f} {one['p99-us']:8.1f} "
              f"{one['server-us']:8.2f} {one['pulled-mib']:8.0f}")
    print("          ratio     " + "  ".join(f"{key} {row[key + '-ratio'][1]:.2f} ({row[key + '-ratio'][0]:.2f}-{row[key + '-ratio'][2]:.2f})"
                                        for key in ("iops", "p99-us", "server-us")), flush=True)


def main():
    parser = argparse.ArgumentParser(prog="vhost_guest")
    for name, value in (("seconds", 2), ("size", 256), ("data", 0), ("pairs", 5), ("priority", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--depths", type=lambda word: [int(n) for n in word.split(",")], default=[1, 32])
    parser.add_argument("--cores", type=lambda word: [int(n) for n in word.split(",")], default=None)
    parser.add_argument("--rw", type=lambda word: word.split(","), default=["read", "write"])
    parser.add_argument("--pull", action="store_true")
    parser.add_argument("--dir", type=os.path.abspath)
    parser.add_argument("--json", type=os.path.abspath)
    parser.add_argument("frontend", type=os.path.abspath)
    parser.add_argument("blockpull", type=os.path.abspath)
    args = parser.parse_args()
    if not args.cores:  # the first two that we may use; or one for both
        usable = sorted(os.sched_getaffinity(0))[:2]
        args.cores = [usable[0], usable[-1]]
    if not args.data:
        args.data = 1024 if args.pull else 64
    if min(args.seconds, args.size, args.data, args.pairs, *args.depths) < 1 or len(args.cores) != 2:
        parser.error("numbers are from 1, and cores are two")
    home = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="blockpull-bench.", dir=args.dir) as top:
        os.chdir(top)
        try:
            print(f"{'':5} {'':3} {'':9} {'a second':>9} {'p50 us':>8} {'p99 us':>8} {'CPU us':>8} {'MiB':>8}")
            rows = measure(args)
        finally:
            os.chdir(home)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"tool": "bench/vhost_guest.py", "seconds": args.seconds, "pairs": args.pairs, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
