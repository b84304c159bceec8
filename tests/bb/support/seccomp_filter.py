# SPDX-License-Identifier: MIT OR Apache-2.0
"""Seccomp filters that a child installs in itself before exec, written by hand as BPF: what a container's
profile does to io_uring, or an old kernel to locks. Neither root nor a container is needed.
"""
import ctypes
import os
import platform
import struct

import harness
from harness import Skip

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
IO_URING = (425, 426, 427)  # setup, enter, register: the same number on every architecture
RET_ALLOW, RET_ERRNO = 0x7fff0000, 0x00050000
LOAD_NUMBER, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06


class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_char_p)]


def filter_program(error):
    """Loads the call's number; the io_uring calls jump to the line that returns the error."""
    lines = [(LOAD_NUMBER, 0, 0, 0)]
    for index, number in enumerate(IO_URING):
        lines.append((JUMP_EQUAL, len(IO_URING) - index, 0, number))
    lines += [(RETURN, 0, 0, RET_ALLOW), (RETURN, 0, 0, RET_ERRNO | error)]
    return b''.join(struct.pack('=HBBI', *line) for line in lines), len(lines)


def deny(error, no_new_privileges=True):
    """In this process, and all that it starts."""
    code, length = filter_program(error)
    program = Program(length, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if (no_new_privileges and libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)):
        os._exit(99)


def denying(error):
    return {'preexec_fn': lambda: deny(error)}


def setup_says():
    """The errno of an io_uring_setup() that is wrong where it is allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(IO_URING[0], 0, None)
    return ctypes.get_errno()


def need_filter(error):
    """Shows that the filter denies what it should before anything is concluded from it."""
    if platform.system() != 'Linux':
        raise Skip('seccomp is Linux')
    probe = ('import ctypes; libc = ctypes.CDLL(None, use_errno=True); '
             'print(libc.syscall(425, 1, None), ctypes.get_errno())')
    result = harness.run('python3', '-c', probe, **denying(error))
    if result.rc == 99:
        raise Skip('may not install a seccomp filter')
    harness.same(result.out.split(), ['-1', str(error)], 'what io_uring_setup says under the filter')
