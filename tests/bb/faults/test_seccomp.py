# SPDX-License-Identifier: MIT OR Apache-2.0
"""Without io_uring: containers deny it by a seccomp filter, with EPERM or with ENOSYS.

The filter is a hand-made BPF program that the child installs in itself before exec, so neither
root nor a container is needed. Everything must work as before, but --io=uring, which was asked for
by name and so fails with a sentence.
"""
import errno
import os

import harness
import images
from chains import Chain
from harness import bp, case, check, refused
from images import overlay, raw_image
from seccomp_filter import denying, need_filter

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
