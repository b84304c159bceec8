# SPDX-License-Identifier: MIT OR Apache-2.0
"""A file system that can share blocks between files, for the scenario that needs one: XFS on a
loop device, in a file that is gone afterwards. As root only; else the scenario is skipped, with a
reason. Looking for such a file system among those that are mounted was rejected: the figures would
be of another device than all others.
"""
import contextlib
import os
import shutil
import subprocess


class Missing(Exception):
    pass


def run(*command):
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Missing(f"{command[0]}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}")


@contextlib.contextmanager
def mounted(where, data_len):
    """`where`, a new directory, on such a file system with room for five times the data. An absolute
    name; no process may have its current directory in it at the end."""
    if os.geteuid():
        raise Missing("mounting a file system needs root")
    if not shutil.which("mkfs.xfs"):
        raise Missing("mkfs.xfs (xfsprogs) is not installed")
    disk = where + ".xfs"
    try:
        with open(disk, "wb") as file:
            file.truncate(5 * data_len + (1 << 30))
        os.mkdir(where)
        run("mkfs.xfs", "-q", "-m", "reflink=1", disk)
        run("mount", "-o", "loop", disk, where)
        try:
            yield where
        finally:
            subprocess.run(["umount", where], check=False)
    finally:
        if os.path.ismount(where):
            subprocess.run(["umount", "-l", where], check=False)
        os.unlink(disk)
        if os.path.isdir(where):
            os.rmdir(where)
