# SPDX-License-Identifier: MIT OR Apache-2.0
"""What this machine and this build have: a test of what they lack is skipped, or goes another way."""
import ctypes
import errno
import functools
import os

import harness
from harness import Skip, emulated, instrumented, need

IO_URING_SETUP = 425  # the system call, on every processor


@functools.lru_cache(1)
def has_uring():
    """Whether io_uring is allowed here; containers often forbid it. io_uring_setup(0, NULL) is an invalid call where
    it is allowed, and a refused one elsewhere."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(IO_URING_SETUP, 0, None)
    return not emulated() and ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS)


def possible(args):
    """Options of the command, with threads in the place of an io_uring that is forbidden here."""
    return ['--io=threads' if arg == '--io=uring' and not has_uring() else arg for arg in args]


def nbdkit_plugin():
    """Path of the nbdkit plugin. Skips where there is none, no nbdkit, or an nbdkit that can't load it: a sanitizer's
    runtime has to be there before everything else. LD_PRELOAD alone leaves a process whose first newlocale(), of
    json-c, waits for ever: libp11-kit's constructor comes before the runtime's and is inside newlocale() when its
    malloc() wakes the runtime, whose dlerror() gives back glibc's lock of locales a second time. A library that is
    preloaded beside it, linked with -z initfirst and with a constructor that calls malloc(), ends that."""
    path = os.path.join(os.path.dirname(harness.blockpull), 'nbdkit-blockpull-plugin.so')
    if not os.path.exists(path):
        raise Skip('the nbdkit plugin is not built')
    need('nbdkit')
    if instrumented():
        raise Skip('nbdkit is not a sanitizer\'s build')
    return path


def told_of_sigbus():
    """Whether a handler of SIGBUS is told the address: by qemu-user 7.2, only a 64-bit program of this byte order."""
    if not emulated():
        return True
    with open(os.environ['BB_EMULATED'], 'rb') as program:
        return program.read(6)[4:] == bytes([2, 1])  # ELFCLASS64, ELFDATA2LSB
