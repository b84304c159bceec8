# SPDX-License-Identifier: MIT OR Apache-2.0
"""Blocks shared with the backing file instead of copied: XFS on a loop device, as root.

What is shared must read the same, take no space, and stay as it is whatever is written to either
side afterwards.
"""
import contextlib
import json
import os
import random
import shutil

import harness
import images
from harness import DONE, KIB, MIB, REFUSED, USAGE, Skip, bp, case, check, need, note, same
from images import Untouched, overlay, qemu_img, qemu_io, raw_image

SIZE = 64 * MIB


@contextlib.contextmanager
def xfs(d):
    """A directory on a new file system; gone at the end, whatever happens."""
    if os.geteuid():
        raise Skip('mounting needs root')
    if not shutil.which('mkfs.xfs'):
        raise Skip('mkfs.xfs is not installed')
    disk, where = f'{d}/disk', f'{d}/mnt'
    with open(disk, 'wb') as file:
        file.truncate(1 << 30)
    os.mkdir(where)
    made = harness.run('mkfs.xfs', '-q', '-m', 'reflink=1', disk)
    if made.rc or harness.run('mount', '-o', 'loop', disk, where).rc:
        raise Skip(f'cannot mount XFS on a loop device here {made.err}')
    try:
        yield where
    finally:
        if harness.run('umount', where).rc:
            harness.run('umount', '-l', where)
        os.unlink(disk)


def pulled(*arguments, rc=DONE):
    """The bytes of its result, as JSON tells them."""
    result = bp('pull', '--json', *arguments, rc=rc)
    return json.loads(result.out.splitlines()[-1])['bytes'] if rc == DONE else result


def used(where):
    harness.run('sync', '-f', where)  # not os.sync(): that waits for what every other program has written
    stat = os.statvfs(where)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


@case('a raw base', 'qcow2', None, None)
@case('a raw base, threads', 'qcow2', None, None, '--io=threads')
@case('a raw base, small clusters', 'qcow2', 'cluster_size=4k', None)
@case('a raw base, large clusters', 'qcow2', 'cluster_size=2M', None)
@case('a raw base, extended L2 entries', 'qcow2', 'extended_l2=on,cluster_size=64k', None)
@case('a raw base, QED', 'qed', None, None)
@case('a qcow2 base', 'qcow2', None, 'cluster_size=64k')
@case('a qcow2 base with smaller clusters', 'qcow2', 'cluster_size=1M', 'cluster_size=16k')
@case('a qcow2 base with larger clusters', 'qcow2', 'cluster_size=16k', 'cluster_size=2M')
def shared(d, fmt, options, base_options, *arguments):
    with xfs(d) as where:
        # Its last cluster is a part of one, and no whole block.
        flat = raw_image(f'{where}/flat', SIZE - 1536, (0, 20 * MIB), (26 * MIB, SIZE - 1536 - 26 * MIB))
        base, base_fmt = 'flat', 'raw'
        if base_options:
            qemu_img('convert', '-f', 'raw', '-O', 'qcow2', '-o', base_options, flat, f'{where}/base')
            base, base_fmt = 'base', 'qcow2'
        top = overlay(f'{where}/top', base, fmt, options, base_fmt)
        qemu_io(top, fmt, 'write -P 7 10M 192k')
        qemu_img('convert', '-f', fmt, '-O', 'raw', top, f'{where}/want')
        below, before = Untouched(f'{where}/{base}'), used(where)
        got = pulled(*arguments, '--copy=auto', top)
        note(f'{got}, {used(where) - before} bytes more in use')
        check(got['cloned'] > 52 * MIB, 'little was cloned')
        check(got['copied'] < 3 * MIB, 'much was copied')
        check(used(where) - before < 8 * MIB, f'{used(where) - before} bytes of space were taken')
        images.judge_pulled(top, fmt, f'{where}/want')
        # Neither side sees what is written to the other one.
        qemu_io(top, fmt, 'write -P 9 0 30M')
        below.verify('by a write to what it shares')
        os.truncate(f'{where}/{base}', 0)
        qemu_io(top, fmt, 'read -P 9 0 30M', 'read -P 7 10M 0')
        qemu_img('compare', '-f', fmt, '-F', fmt, top, top)


@case('what is written below afterwards does not show')
def independent(d):
    with xfs(d) as where:
        flat = raw_image(f'{where}/flat', 32 * MIB)
        top = overlay(f'{where}/top', 'flat')
        want = f'{where}/want'
        shutil.copyfile(flat, want)
        check(pulled(top)['cloned'] == 32 * MIB, 'not all was cloned')
        with open(flat, 'r+b') as file:
            file.write(random.randbytes(32 * MIB))
        images.judge_pulled(top, 'qcow2', want)


@case('copied when asked to, and when the bytes are needed', '--copy=read')
@case('copied when asked to, and when the bytes are needed: verify', '--verify')
@case('copied when asked to, and when the bytes are needed: compress', '--compress')
def read(d, *arguments):
    with xfs(d) as where:
        flat = raw_image(f'{where}/flat', 8 * MIB)
        top = overlay(f'{where}/top', 'flat')
        got = pulled(*arguments, top)
        same((got['cloned'], got['copied']), (0, 8 * MIB), 'cloned and copied')
        images.judge_pulled(top, 'qcow2', flat)


@case('two file systems: copied, or refused where only clones will do')
def two(d):
    with xfs(d) as where:
        flat = raw_image(f'{d}/flat', 8 * MIB)
        top = overlay(f'{where}/top', flat)
        whole = Untouched(top)
        same(bp('pull', '--copy=clone', '--allow-backing=any', top, rc=REFUSED).out, '', 'output')
        whole.verify('although the pull was refused')
        same(pulled('--allow-backing=any', top)['copied'], 8 * MIB, 'copied')
        images.judge_pulled(top, 'qcow2', flat)


@case('no limit holds for what is not moved')
def unlimited(d):
    with xfs(d) as where:
        flat = raw_image(f'{where}/flat', SIZE)
        top = overlay(f'{where}/top', 'flat')
        result = bp('pull', '--bandwidth=100K', top)  # ten minutes
        check(result.seconds < 200, f'{result.seconds} s: it was limited')
        images.judge_pulled(top, 'qcow2', flat)


@case('killed at any time, it goes on')
def killed(d):
    need('timeout')
    with xfs(d) as where:
        flat = raw_image(f'{where}/flat', 2 * SIZE)
        top = overlay(f'{where}/top', 'flat', options='cluster_size=4k')
        for tenths in range(1, 12):
            harness.run('timeout', '-s', 'KILL', f'{tenths * 0.004}', harness.blockpull, 'pull', '-q', top)
            images.settle(top)
            check(images.image_check(top, 'qcow2') in (0, 3), 'it is damaged')
            images.compare_flat(top, 'qcow2', flat, 'by a kill')
        bp('pull', top)
        images.judge_pulled(top, 'qcow2', flat)


@case('a word that is none, and words that do not go together')
def usage(d):
    top = overlay(f'{d}/top', raw_image(f'{d}/flat', 64 * KIB))
    check('auto' in bp('pull', '--copy=some', top, rc=USAGE).err, 'the words are not named')
    for other in '--verify', '--compress':
        bp('pull', '--copy=clone', other, top, rc=(1, 2, REFUSED))


if __name__ == '__main__':
    harness.main()
