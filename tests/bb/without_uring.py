#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs a command where io_uring is forbidden, as containers often have it: everything goes by the backend of threads.

usage: without_uring.py COMMAND [ARGUMENT...]"""
import ctypes
import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'support'))
import seccomp_filter  # noqa: E402


def main():
    # Only root does without the promise that no program gains rights: tests mount by setuid programs.
    seccomp_filter.deny(errno.EPERM, no_new_privileges=os.geteuid() != 0)
    if seccomp_filter.setup_says() != errno.EPERM:
        sys.exit('without_uring: io_uring is not forbidden')
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == '__main__':
    main()
