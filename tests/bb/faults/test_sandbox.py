# SPDX-License-Identifier: MIT OR Apache-2.0
"""The sandbox seen from outside: that it is there, what happens inside it, and that no command fails for it.

What it refuses is shown by tests/unit/tools/test_sandbox.c. Here strace lists the calls behind the moment in which
the filter was installed: no name may be opened there any more, and nothing be refused, for then something
would be tried that does not work.
"""
import errno
import os
import re

import facts
import harness
import images
import seccomp_filter
import strace
from harness import MIB, Skip, bp, case, check, same
from images import overlay, raw_image

BOTH = ('uring', 'threads')


def chain(d, size=2 * MIB, name='top.img'):
    raw_image(f'{d}/base.img', size)
    return overlay(f'{d}/{name}', 'base.img')


def status(process):
    with open(f'/proc/{process.pid}/status', encoding='ascii') as file:
        text = file.read()
    return {key: int(re.search(rf'^{key}:\s*(\d+)', text, re.M)[1]) for key in ('Seccomp', 'NoNewPrivs')}


def slow(*args):
    process = harness.start(harness.blockpull, 'pull', '--bandwidth=4M', '--progress=json', *args)
    check(harness.lines_of(process, lambda line: True), 'the pull ended at once')
    return process


@case('a pull is in it', ())
@case('a pull is in it: threads', ('--io=threads',))
@case('several pulls at once are in it', ('-j2', 'second.img'))
def closed(d, args):
    top = chain(d, 8 * MIB)
    args = [overlay(f'{d}/second.img', 'base.img') if a == 'second.img' else a for a in args]
    before = status(harness.start('sleep', '20'))['Seccomp']
    process = slow(top, *args)
    same(status(process), {'Seccomp': 2, 'NoNewPrivs': 1}, 'in the middle of a pull')
    same(harness.finish(process).rc, 0, 'exit code')
    images.judge_pulled(top, 'qcow2', f'{d}/base.img')
    same(before in (0, 2), True, 'the test itself')


@case('with --no-sandbox there is no filter')
def left_open(d):
    outside = status(harness.start('sleep', '20'))
    process = slow('--no-sandbox', chain(d, 8 * MIB))
    same(status(process), outside, 'with --no-sandbox')
    same(harness.finish(process).rc, 0, 'exit code')


def traced(d, *args, rc=0):
    """The calls of one run behind the filter; they are also judged here."""
    result, log = strace.run(harness.blockpull, *args)
    same(result.rc, rc, f'{args}: {result}')
    return strace.inside_filter(list(strace.whole_calls(log)), args)


@case('nothing is opened behind it: pull, uring', ['pull', '--io=uring'])
@case('nothing is opened behind it: pull, threads', ['pull', '--io=threads'])
@case('nothing is opened behind it: pull, compressed', ['pull', '--compress'])
@case('nothing is opened behind it: pull, dry run', ['pull', '-n'])
@case('nothing is opened behind it: check', ['check'])
@case('nothing is opened behind it: check and repair', ['check', '--repair=all'])
@case('nothing is opened behind it: info', ['info', '--chain'])
@case('nothing is opened behind it: info, JSON', ['info', '--json'])
@case('nothing is opened behind it: map', ['map'])
@case('nothing is opened behind it: measure', ['measure'])
@case('nothing is opened behind it: pull that verifies', ['pull', '--verify'])
@case('nothing is opened behind it: hash', ['hash', '--chunk=64K'])
def nothing_opened(d, args):
    if '--io=uring' in args and not facts.has_uring():
        raise Skip('no io_uring here')
    inside = traced(d, *args, chain(d, name='traced.img'))
    check(not any(re.search(r'\b(unlink|rename|link)', line) for line in inside), 'a name is changed')


@case('nothing is opened behind it: flatten, and only its own name is given', 'raw')
@case('nothing is opened behind it: flatten to qcow2', 'qcow2')
def flattened(d, fmt):
    inside = traced(d, 'flatten', '-f', fmt, chain(d), f'{d}/out.img')
    named = [line for line in inside if re.search(r'\b(unlink|rename|link)', line)]
    same(len(named), 1, 'calls that change names')
    check('out.img' in named[0], str(named))
    images.compare_flat(f'{d}/out.img', fmt, f'{d}/base.img')


@case('nothing is opened behind it: hash and verify of two')
def two_images(d):
    one, two = chain(d, name='one.img'), chain(d, name='two.img')
    traced(d, 'hash', one, two)
    traced(d, 'verify', one, two)


@case('nothing is opened behind it: resize, and commit into the file below')
def written_to(d):
    raw_image(f'{d}/base.img', MIB)
    overlay(f'{d}/mid.img', 'base.img')
    top = overlay(f'{d}/top.img', 'mid.img', base_fmt='qcow2')
    images.qemu_io(top, 'qcow2', 'write -P 7 4k 64k')
    traced(d, 'commit', top)
    traced(d, 'resize', top, '+1M')
    same(images.image_info(top)['virtual-size'], 2 * MIB, 'size')


@case('pull --base, and a control socket that is taken away at the end')
def with_extras(d):
    base = raw_image(f'{d}/base.img', MIB)
    overlay(f'{d}/mid.img', 'base.img')
    top = overlay(f'{d}/top.img', 'mid.img', base_fmt='qcow2')
    traced(d, 'pull', '--base', base, top)
    traced(d, 'pull', f'--control={d}/socket', top)
    check(not os.path.exists(f'{d}/socket'), 'the socket is still there')
    images.judge_pulled(top, 'qcow2', base)


@case('nothing is opened behind it: compact, which removes what it was asked to, and no more')
def compacted(d):
    def made():
        raw_image(f'{d}/base.img', MIB)
        for name, below in ('one', 'base'), ('two', 'one'), ('top', 'two'):
            overlay(f'{d}/{name}.img', f'{below}.img', base_fmt='raw' if below == 'base' else 'qcow2')
        return f'{d}/top.img'
    for args, wanted in (['-n'], []), ([], []), (['--unlink'], ['one.img']):
        inside = traced(d, 'compact', '--keep=3', *args, made())
        named = [line for line in inside if re.search(r'\b(unlink|rename|link)', line)]
        same([name for name in ('base.img', 'one.img', 'two.img', 'top.img') for line in named if name in line], wanted, 'removed')
        check(os.path.exists(f'{d}/one.img') == ('--unlink' not in args), f'{args}: {os.listdir(d)}')


@case('ctl is in it', 'threads')
def steering(d, io):
    process = slow(chain(d, 8 * MIB), f'--control={d}/socket', f'--io={io}')
    traced(d, 'ctl', f'{d}/socket', 'info')
    traced(d, 'ctl', f'{d}/socket', 'speed', '0')
    same(harness.finish(process).rc, 0, 'exit code')


@case('where a filter may not be installed, everything works without', errno.EPERM)
@case('where there is no seccomp(2), everything works without', errno.ENOSYS)
def unavailable(d, error):
    top = chain(d)
    for args in ['pull', top], ['check', top], ['map', top], ['flatten', top, f'{d}/out.img']:
        result, _ = strace.run(harness.blockpull, *args, trace='seccomp,prctl',
                               inject=[f'{call}:error={errno.errorcode[error]}' for call in ('seccomp', 'prctl')])
        same(result.rc, 0, f'{args}: {result}')
    images.judge_pulled(top, 'qcow2', f'{d}/base.img')


@case('inside the filter of another program', errno.EPERM)
def nested(d, error):
    seccomp_filter.need_filter(error)
    top = chain(d)
    bp('pull', top, **seccomp_filter.denying(error))
    images.judge_pulled(top, 'qcow2', f'{d}/base.img')


@case('a program with borrowed rights refuses to run')
def set_user_id(d):
    # A build's own library is not found by a program that really is set-user-ID: so it is told that it is.
    top = chain(d)
    for call in 'geteuid', 'getegid':
        result, _ = strace.run(harness.blockpull, 'info', top, trace=call, inject=[f'{call}:retval=4321'])
        same(result.rc, harness.REFUSED, str(result))
        check('set-user-ID' in result.err and not result.out, str(result))


if __name__ == '__main__':
    harness.main()
