# SPDX-License-Identifier: MIT OR Apache-2.0
"""Whether `guest-p99` is met: fio reads over NBD beside a pull on a slow device, alone, beside a pull that knows no target, and
for each target.

usage: guest_p99.py [--targets MS,MS..] [--seconds N] [--settle N] [--depth N] [--iops N] [--device MIB] [--size MIB] [--data MIB]
                    [--dir DIR] [--json FILE] PLUGIN SLOWFS

The image's first part is its own, and the reads go there; what lies behind is the base's and is pulled. Both lie on a device that
SLOWFS (tests/support/slowfs.c) makes, which does one request after the other: so a pull that does not give way costs the guest more
than the targets on any machine, and lasts as long as the measurement. What fio saw is told, after --settle seconds.
"""
import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

import report
from nbd_guest import ended, latency_of, wait_until
from scenarios import MIB, run

EACH_US = 100  # what a request takes beside its bytes


@contextlib.contextmanager
def slow(args):
    """`m`: what is in `low`, on a device of so many bytes a second."""
    for name in ("low", "m"):
        os.makedirs(name, exist_ok=True)
    command = [args.slowfs, str(args.device * MIB), str(EACH_US), "low", "m"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as device:
        try:
            wait_until(os.path.ismount, "m", device)
            yield
        finally:
            if os.path.ismount("m"):
                run("fusermount3", "-uz", "m")
            else:
                device.terminate()


def make(args):
    """`base`, and `fresh`, which every run gets a copy of; both in `low`."""
    block = os.urandom(MIB)
    with open("low/base", "wb") as base:
        base.truncate((args.size + args.data) * MIB)
        base.seek(args.size * MIB)
        for _ in range(args.data):
            base.write(block)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "low/fresh")
    for at in range(0, args.size, 256):
        run("qemu-io", "-f", "qcow2", "-c", f"write -q -P 90 {at}M {min(256, args.size - at)}M", "low/fresh")


def renew():
    for name in ("low/image", "sock", "pid", "ctl"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    shutil.copyfile("low/fresh", "low/image")


def job_now(args):
    """What the server tells of its job; {}: it is over."""
    told = subprocess.run([args.ctl, "ctl", "--json", "ctl", "info"], capture_output=True, text=True, check=False)
    return json.loads(told.stdout) if told.returncode == 0 else {}


def load(args):
    command = ["fio", "--name=guest", "--ioengine=nbd", "--uri=nbd+unix:///?socket=sock", "--rw=randread", "--bs=4k", "--time_based",
               f"--iodepth={args.depth}", f"--rate_iops={args.iops}", "--rate_process=poisson", f"--size={args.size}M", "--randseed=1",
               f"--ramp_time={args.settle}", f"--runtime={args.seconds}", "--output-format=json", "--percentile_list=50:90:99:99.9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"guest_p99: fio: {done.stderr.strip() or done.stdout[-400:]}")
    read = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]["read"]
    return {"iops": read["iops"], **latency_of(read)}


def one_run(args, *words):
    """What fio saw, and how fast the pull was; "ended": it was over too soon for that to count."""
    renew()
    command = ["nbdkit", "-f", "-U", "sock", "-P", "pid", args.plugin, "image=m/image", *words]
    with slow(args), ended(subprocess.Popen(command)) as server:
        wait_until(os.path.exists, "pid", server)
        result = load(args)
        job = job_now(args) if "pull=true" in words else {}
    copied = job.get("bytes", {}).get("copied", 0)
    return {**result, "ended": "pull=true" in words and not job, "copied": copied, "rate": copied / (args.seconds + args.settle),
            "told_ns": job.get("guest-p99-now-us", 0) * 1000}


def measure(args):
    pull = ["pull=true", "control=ctl"]
    found = {"alone": one_run(args), "beside a pull": one_run(args, *pull)}
    for target in args.targets:
        found[f"guest-p99={target:g}ms"] = {**one_run(args, *pull, f"guest-p99={target * 1000:.0f}us", "min-rate=256K"),
                                            "target_ns": target * 1e6}
    return found


def show(found):
    print(f"  {'':22} {'IOPS':>7} {'p50':>9} {'p90':>9} {'p99':>9} {'p99.9':>9} {'longest':>9} {'pull MiB/s':>10}  of the target")
    for name, row in found.items():
        of = f"{row['p99_ns'] / row['target_ns']:.3f}" if "target_ns" in row else ""
        print(f"  {name:22} {row['iops']:7.0f} " + " ".join(
            f"{report.duration(row[key]):>9}" for key in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")) +
            f" {row['rate'] / MIB:10.1f}  {of}" + (" (the pull ended)" if row["ended"] else ""))


def parsed():
    parser = argparse.ArgumentParser(prog="guest_p99")
    for name, value in (("seconds", 40), ("settle", 20), ("depth", 8), ("iops", 500), ("device", 100), ("size", 1024), ("data", 4096)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--targets", type=lambda text: [float(one) for one in text.split(",")], default=[2, 4, 8])
    parser.add_argument("--dir", type=os.path.abspath)
    parser.add_argument("--json", type=os.path.abspath)
    parser.add_argument("plugin", type=os.path.abspath)
    parser.add_argument("slowfs", type=os.path.abspath)
    args = parser.parse_args()
    if min(args.seconds, args.depth, args.iops, args.device, args.size, args.data, *args.targets) <= 0 or args.settle < 0:
        parser.error("numbers are from 1")
    args.ctl = os.path.join(os.path.dirname(args.plugin), "blockpull")
    return args


def main():
    args = parsed()
    home = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="blockpull-bench.", dir=args.dir) as top:
        if shutil.disk_usage(top).free < 2 * (args.size + args.data) * MIB + 256 * MIB:
            sys.exit(f"guest_p99: {top} has too little space")
        os.chdir(top)
        try:
            os.mkdir("low")
            make(args)
            found = measure(args)
        finally:
            os.chdir(home)
    print(f"4 KiB, random reads, {args.depth} in flight at most, over NBD; the device does {args.device} MiB/s")
    show(found)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"tool": "bench/guest_p99.py", "kind": "guest_p99", "depth": args.depth, "iops": args.iops, "device": args.device * MIB,
                       "seconds": args.seconds, "settle": args.settle, "results": found}, file, indent=1)


if __name__ == "__main__":
    main()
