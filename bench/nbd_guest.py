# SPDX-License-Identifier: MIT OR Apache-2.0
"""A guest's latencies beside a pull, ours and qemu-storage-daemon's, by the same client: fio over NBD.

usage: nbd_guest.py [--seconds N] [--depth N] [--rw WORD] [--size MIB] [--data MIB] [--rounds N]
                    [--dir DIR] [--json FILE] PLUGIN

The image's first part is its own, and the requests go there; what lies behind is the base's and is
pulled without a limit. --rw alloc leaves the first part without space, so that each write takes some.
Both servers pay for the socket, so the figures are no measure of the library alone: that is
`blockpull-bench guest`.
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
import time

import report
from scenarios import MIB, run


def make(args):
    """`base`, and `fresh`, which every run gets a copy of."""
    size, data = args.size * MIB, args.data * MIB
    with open("base", "wb") as base:
        base.truncate(size + data)
        base.seek(size)
        for _ in range(args.data):
            base.write(os.urandom(MIB))
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "fresh")
    if args.rw != "alloc":
        for at in range(0, args.size, 256):
            run("qemu-io", "-f", "qcow2", "-c", f"write -q -P 90 {at}M {min(256, args.size - at)}M", "fresh")


@contextlib.contextmanager
def ended(process):
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def is_listening(path):
    """As the kernel tells: a name is there a moment before, and the server minds a trial connection."""
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as sockets:
        return any(line.endswith(f" {path}\n") and int(line.split()[3], 16) & 0x10000  # __SO_ACCEPTCON
                   for line in list(sockets)[1:])


def wait_until(is_ready, path, process):
    end = time.monotonic() + 20
    while not is_ready(path):
        if process.poll() is not None or time.monotonic() > end:
            sys.exit(f"nbd_guest: {process.args[0]} does not serve")
        time.sleep(.01)


@contextlib.contextmanager
def ours(args, pull):
    command = ["nbdkit", "-f", "-U", "sock", "-P", "pid", args.plugin, "image=image", f"pull={str(pull).lower()}"]
    with ended(subprocess.Popen(command)) as server:
        wait_until(os.path.exists, "pid", server)  # written when it listens
        yield


def ring_is_there():
    """QEMU falls back by itself for "threads" only."""
    probe = ["qemu-io", "-i", "io_uring", "-c", "quit", "image"]
    return not subprocess.run(probe, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


@contextlib.contextmanager
def qsd(_, pull):
    sock = os.path.abspath("sock")
    node = {"driver": "qcow2", "node-name": "top",
            "file": {"driver": "file", "filename": "image", "aio": "io_uring" if ring_is_there() else "threads"}}
    command = ["qemu-storage-daemon", "--blockdev", json.dumps(node), "--nbd-server", f"addr.type=unix,addr.path={sock}",
               "--export", "type=nbd,id=e,node-name=top,name=,writable=on", "--chardev", "stdio,id=c", "--monitor", "chardev=c"]
    with ended(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)) as server:
        wait_until(is_listening, sock, server)
        words = [{"execute": "qmp_capabilities"}]
        words += [{"execute": "block-stream", "arguments": {"job-id": "j", "device": "top"}}] if pull else []
        for word in words:
            server.stdin.write(json.dumps(word).encode() + b"\n")
        server.stdin.flush()
        yield
        server.stdin.close()


def latency_of(job):
    """Of fio's numbers. A percentile is the middle of one of its bins, which may lie above the longest request."""
    clat = job["clat_ns"]
    return {**{f"p{name}_ns": min(clat["percentile"][key], clat["max"]) for name, key in
               (("50", "50.000000"), ("90", "90.000000"), ("99", "99.000000"), ("999", "99.900000"))}, "max_ns": clat["max"]}


def load(args):
    kind = {"read": "randread"}.get(args.rw, "randwrite")
    command = ["fio", "--name=guest", "--ioengine=nbd", "--uri=nbd+unix:///?socket=sock", f"--rw={kind}", "--bs=4k",
               f"--iodepth={args.depth}", f"--size={args.size}M", f"--runtime={args.seconds}",
               "--randseed=1", "--output-format=json", "--percentile_list=50:90:99:99.9"]
    # Allocations: one in each cluster, and no second round.
    command += ["--ba=64k", f"--io_size={args.size * MIB // 16}"] if args.rw == "alloc" else ["--time_based"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"nbd_guest: fio: {done.stderr.strip() or done.stdout[-400:]}")
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]["read" if kind == "randread" else "write"]
    return {"iops": job["iops"], **latency_of(job)}


def one_run(args, server, pull):
    for name in ("image", "sock", "pid"):
        if os.path.exists(name):
            os.unlink(name)
    shutil.copyfile("fresh", "image")
    os.sync()
    with open("base", "rb", buffering=0) as base:  # warm
        while base.read(MIB):
            pass
    with server(args, pull):
        result = load(args)
    return result


def middle(runs):
    """Each figure's median; of the longest, the longest."""
    figures = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
    return {**figures, "max_ns": max(one["max_ns"] for one in runs)}


def measure(args):
    make(args)
    cases = [(name, server, pull) for pull in (False, True) for name, server in (("blockpull", ours), ("qsd", qsd))]
    runs = {}
    for round_no in range(args.rounds):
        for name, server, pull in cases[round_no % 2:] + cases[:round_no % 2]:
            runs.setdefault(f"{name}, {'beside a pull' if pull else 'alone'}", []).append(one_run(args, server, pull))
    return {name: middle(found) for name, found in sorted(runs.items())}


def main():
    parser = argparse.ArgumentParser(prog="nbd_guest")
    for name, value in (("seconds", 10), ("depth", 1), ("size", 1024), ("data", 8192), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rw", choices=("read", "write", "alloc"), default="read")
    parser.add_argument("--dir", type=os.path.abspath)
    parser.add_argument("--json", type=os.path.abspath)
    parser.add_argument("plugin", type=os.path.abspath)
    args = parser.parse_args()
    if min(args.seconds, args.depth, args.size, args.data, args.rounds) < 1:
        parser.error("numbers are from 1")
    home = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="blockpull-bench.", dir=args.dir) as top:
        needed = (3 * args.size + 2 * args.data) * MIB + 256 * MIB
        if shutil.disk_usage(top).free < needed:
            sys.exit(f"nbd_guest: {top} needs {needed // MIB} MiB free")
        os.chdir(top)
        try:
            results = measure(args)
        finally:
            os.chdir(home)
    print(f"4 KiB, {args.rw}, {args.depth} in flight, over NBD\n  {'':26} {'IOPS':>8} {'p50':>9} {'p90':>9} {'p99':>9} "
          f"{'p99.9':>9} {'longest':>9}")
    for name, row in results.items():
        print(f"  {name:26} {row['iops']:8.0f} " + " ".join(
            f"{report.duration(row[key]):>9}" for key in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")))
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"tool": "bench/nbd_guest.py", "kind": "nbd_guest", "rw": args.rw, "depth": args.depth,
                       "seconds": args.seconds, "rounds": args.rounds, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
