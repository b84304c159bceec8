# SPDX-License-Identifier: MIT OR Apache-2.0
"""Without io_uring: containers deny it by a seccomp filter, with EPERM or with ENOSYS.

The filter is a hand-made BPF program that the child installs in itself before exec, so neither
root nor a container is needed. Everything must work as before, but --io=uring, which was asked for
by name and so fails with a sentence.
"""
import ctypes
import errno
import os
import platform
import struct

import harness
import images
from chains import Chain
from harness import Skip, bp, case, check, refused
from images import overlay, raw_image

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


def denying(error):
    code, length = filter_program(error)
    program = Program(length, code)
    libc = ctypes.CDLL(None, use_errno=True)

    def install():
        if (libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)):
            os._exit(99)
    return {'preexec_fn': install}


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


@case('pull, map, info and check without io_uring: EPERM', errno.EPERM)
@case('pull, map, info and check without io_uring: ENOSYS', errno.ENOSYS)
def without_uring(d, error):
    need_filter(error)
    for seed in range(6):
        directory = f'{d}/{seed}'
        os.mkdir(directory)
        chain = Chain(directory, seed)
        top = chain.top
        flat = images.flatten(top.path, top.fmt, f'{directory}/flat')
        with_uring = bp('map', '--json', *chain.args, top.path).out
        check(bp('map', '--json', *chain.args, top.path, **denying(error)).out == with_uring, 'map differs')
        bp('info', *chain.args, top.path, **denying(error))
        bp('check', top.path, **denying(error))
        io = ['--io=threads'] if seed % 2 else []
        bp('pull', *io, *chain.args, top.path, **denying(error))
        images.judge_pulled(top.path, top.fmt, flat)


@case('the speed limit holds without io_uring')
def limited(d):
    need_filter(errno.EPERM)
    raw_image(f'{d}/base.img', 8 << 20)
    top = overlay(f'{d}/top.img', 'base.img')
    result = bp('pull', '--bandwidth=8M', top, **denying(errno.EPERM))
    check(result.seconds > 0.8, f'8 MiB at 8 MiB/s took {result.seconds:.3f} s')
    images.judge_pulled(top, 'qcow2', f'{d}/base.img')


@case('--io=uring is refused where it is denied: EPERM', errno.EPERM)
@case('--io=uring is refused where it is denied: ENOSYS', errno.ENOSYS)
def asked_by_name(d, error):
    need_filter(error)
    raw_image(f'{d}/base.img', 1 << 20)
    top = overlay(f'{d}/top.img', 'base.img')
    before = images.Untouched(top, f'{d}/base.img')
    refused((harness.FAILED, harness.REFUSED), ['io_uring', '--io=threads'], 'pull', '--io=uring', top, **denying(error))
    before.verify('although the pull was refused')


if __name__ == '__main__':
    harness.main()
