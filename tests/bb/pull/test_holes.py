# SPDX-License-Identifier: MIT OR Apache-2.0
"""Whose word on holes is believed: file systems that lie, overlays on them, and overlays on sound ones.

tests/api/liefs.c shows files whose reads are right and calls all behind a number of bytes a hole. What it says
must not get into an image, a hash or a comparison, also through an overlayfs, which passes it on. On an overlayfs above
a sound file system (every container is one) holes must be left out still: judged by the bytes that the
command says it skipped, and by its processor time.
"""
import contextlib
import os
import random

import facts
import fuse_rig
import harness
import images
from harness import DONE, GIB, KIB, MIB, Skip, bp, case, check, field, need, run, same

DIFFERENT = 5
HINT = 'not known to tell the truth about holes'
SIZE = 6 * MIB + 4096


@contextlib.contextmanager
def lying(d, data_len):
    """The directory d/low seen through a file system that admits to so many bytes of each file."""
    liefs, mount = fuse_rig.program('liefs'), f'{d}/lie'
    for name in f'{d}/low', mount:
        os.makedirs(name, exist_ok=True)
    server = fuse_rig.mount(liefs, data_len, f'{d}/low', mount)
    try:
        yield mount
    finally:
        fuse_rig.unmount(server, mount, in_use=True)


@contextlib.contextmanager
def mounted(where, *args):
    """What `mount ARGS where` mounts, until the end; Skip where it can't be."""
    os.makedirs(where, exist_ok=True)
    if os.geteuid():
        raise Skip('only root mounts')
    result = run('mount', *args, where)
    if result.rc:
        raise Skip(f'cannot mount: {result.err.strip()}')
    try:
        yield where
    finally:
        result = run('umount', where)
        check(result.rc == 0, f'{where} is still mounted: {result}')


@contextlib.contextmanager
def through_overlay(d, low):
    """An overlayfs on this directory, to be read only."""
    os.makedirs(f'{d}/empty', exist_ok=True)
    with mounted(f'{d}/over', '-t', 'overlay', '-o', f'lowerdir={low}:{d}/empty', 'overlay') as over:
        yield over


@contextlib.contextmanager
def liar(d, data_len, overlay):
    with lying(d, data_len) as lie:
        if not overlay:
            yield lie
            return
        with through_overlay(d, lie) as over:
            yield over


def dense_base(d):
    os.makedirs(f'{d}/low', exist_ok=True)
    with open(f'{d}/low/base.raw', 'wb') as file:
        file.write(random.Random(5).randbytes(SIZE))
    return f'{d}/low/base.raw'


def top_on(d, base):
    top = f'{d}/top.qcow2'
    with contextlib.suppress(FileNotFoundError):
        os.remove(top)
    images.qemu_img('create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', top)
    return top


def same_bytes(top, truth):
    result = images.qemu_img('compare', '-q', '-f', 'qcow2', '-F', 'raw', top, truth, rc=range(256))
    return result.rc == 0


LIARS = [(0, False), (MIB, False), (0, True), (MIB, True)]


def each_liar(title, *args):
    """One case for each kind of liar."""
    def register(function):
        for data_len, overlay in reversed(LIARS):
            words = f'{"an overlay on " if overlay else ""}one that calls {"all" if not data_len else "most"} a hole'
            case(f'{title}: {words}', data_len, overlay, *args)(function)
        return function
    return register


@each_liar('a pull', ())
@each_liar('a pull that verifies', ('--verify',))
@each_liar('a pull that verifies what it was told to trust', ('--verify', '--holes=trust'))
@each_liar('a pull that reads holes', ('--holes=read',))
def pulls(d, data_len, overlay, args):
    truth = dense_base(d)
    with liar(d, data_len, overlay) as lie:
        check(harness.run('cmp', truth, f'{lie}/base.raw').rc == 0, 'the scene is no scene')
        top = top_on(d, f'{lie}/base.raw')
        result = bp('pull', '--json', *args, top)
        same(result.err.count(HINT), 0 if any('holes' in a for a in args) else 1, f'hints in {result.err}')
        same(field(result.json(), 'bytes', 'copied'), SIZE, 'bytes copied')
        check('backing-filename' not in images.image_info(top), 'the link is there')
        check(same_bytes(top, truth), 'the pulled image has not the bytes of its base')
        same(bp('pull', '-q', *args, top_on(d, f'{lie}/base.raw')).err, '', 'what -q says')


@case('--holes=trust takes the word of one that lies', 0, False)
@case('--holes=trust takes the word of one that lies through an overlay', 0, True)
def trusting(d, data_len, overlay):
    truth = dense_base(d)
    with liar(d, data_len, overlay) as lie:
        top = top_on(d, f'{lie}/base.raw')
        result = bp('pull', '--json', '--holes=trust', top)
        same(field(result.json(), 'bytes', 'skipped'), SIZE, 'bytes skipped')
        check(HINT not in result.err, result.err)
        check(not same_bytes(top, truth), 'nothing was lost, so nothing was trusted')
        right, trusted = (bp('hash', *a, f'{lie}/base.raw').out.split()[0] for a in ((), ('--holes=trust',)))
        check(right != trusted, '--holes has no meaning to hash')


@each_liar('flatten, hash, verify, map and measure')
def readers(d, data_len, overlay):
    truth = dense_base(d)
    other = f'{d}/other.raw'
    with open(truth, 'rb') as file, open(other, 'wb') as out:
        out.write(file.read()[:-1] + b'x')
    with liar(d, data_len, overlay) as lie:
        base = f'{lie}/base.raw'
        result = bp('hash', base)
        same(result.out.split()[0], bp('hash', truth).out.split()[0], 'the hash')
        check(HINT in result.err, result.err)
        bp('verify', base, truth)
        bp('verify', other, base, rc=DIFFERENT)
        same(bp('verify', '-q', base, truth).err, '', 'what verify -q says')
        for args in (), ('--verify',), ('--verify', '--holes=trust'):
            bp('flatten', '-q', '-f', 'raw', *args, base, f'{d}/out{len(args)}.raw')
            check(harness.run('cmp', truth, f'{d}/out{len(args)}.raw').rc == 0, f'flatten {args}: other bytes')
        extents = bp('map', '--json', base).json()
        same([e['data'] for e in extents], [True], 'what the map calls data')
        extents = bp('map', '--json', '--holes=trust', base).json()
        check(any(e['zero'] for e in extents), f'--holes has no meaning to map: {extents}')
        top = top_on(d, base)
        same(field(bp('measure', '--json', top).json(), 'copy-bytes'), SIZE, 'bytes to copy')
        check(field(bp('measure', '--json', '--holes=trust', top).json(), 'copy-bytes') < SIZE, 'no meaning to measure')


@each_liar('over NBD')
def served(d, data_len, overlay):
    plugin = facts.nbdkit_plugin()
    truth = dense_base(d)
    with liar(d, data_len, overlay) as lie:
        top = top_on(d, f'{lie}/base.raw')
        for holes, rc in ('auto', 0), ('read', 0), ('trust', 1):
            result = run('nbdkit', '-U', '-', plugin, f'image={top}', f'holes={holes}', '--run',
                         f'qemu-img compare -f raw -F raw "$uri" {truth}')
            same(result.rc, rc, f'holes={holes}: {result}')
            same(HINT in result.err, holes == 'auto', f'the hint in {result.err}')
        result = run('nbdkit', '-U', '-', plugin, f'image={top}', 'holes=maybe', '--run', 'true')
        check(result.rc and 'holes' in result.err, str(result))


@case('every verb that reads raw files knows --holes, and no other word than its own')
def words(d):
    truth = dense_base(d)
    top = top_on(d, truth)
    names = {'pull': [top], 'flatten': [top, f'{d}/out'], 'hash': [top], 'verify': [top, top], 'map': [top], 'measure': [top]}
    for verb, args in names.items():
        harness.refused(harness.USAGE, ['--holes', 'maybe'], verb, '--holes=maybe', *args)
        check('--holes' in bp(verb, '--help').out, f'{verb} --help does not tell')
    for verb in 'info', 'check', 'create':
        harness.refused(harness.USAGE, ['--holes'], verb, '--holes=read', top)
    bp('verify', '--holes=trust', '--holes=read', truth, top)


# ---- overlays on sound file systems ----

def sparse_base(path, size):
    """A few MiB of data, some not written out yet, in so large a hole; some of that is preallocated."""
    rng = random.Random(7)
    with open(path, 'wb') as file:
        file.truncate(size)
        for at in 0, size // 3 + 12345, size - 4096:
            file.seek(at)
            file.write(rng.randbytes(4096))
        os.posix_fallocate(file.fileno(), size // 2, 2 * MIB)
        file.seek(size // 2 + MIB)
        file.write(rng.randbytes(64 * KIB))
    return path


def cpu_seconds(command, *args):
    before = os.times()
    result = command(*args)
    after = os.times()
    return result, (after.children_user + after.children_system) - (before.children_user + before.children_system)


def sound(d, make, size):
    """A sound file system made by this command on a loop device, seen through an overlay."""
    need(make[0])
    with open(f'{d}/disk', 'wb') as file:
        file.truncate(512 * MIB)
    result = run(*make, f'{d}/disk')
    check(result.rc == 0, str(result))
    with mounted(f'{d}/low', '-o', 'loop', f'{d}/disk') as low:
        base = sparse_base(f'{low}/base.raw', size)
        with through_overlay(d, low) as over:
            judge_sound(d, base, f'{over}/base.raw', size)


def judge_sound(d, base, seen, size):
    for args in ('--holes=auto',), ('--verify',):
        top = top_on(d, seen)
        result, seconds = cpu_seconds(bp, 'pull', '--json', *args, top)
        count = {n: field(result.json(), 'bytes', n) for n in ('copied', 'zero', 'skipped')}
        check(HINT not in result.err, result.err)
        check(count['skipped'] > size - 8 * MIB and count['copied'] + count['zero'] < 8 * MIB, f'{args}: {count}')
        check(harness.instrumented() or seconds < 5, f'{args}: {seconds} s of processor time')
        bp('verify', '-q', top, base)
    result, seconds = cpu_seconds(bp, 'verify', top, seen)
    check(harness.instrumented() or seconds < 5, f'verify: {seconds} s of processor time')


@case('an overlay on ext4 stays fast', ('mkfs.ext4', '-q', '-F'), 64 * GIB)
@case('an overlay on XFS stays fast', ('mkfs.xfs', '-q', '-f'), 64 * GIB)
@case('an overlay on btrfs stays fast', ('mkfs.btrfs', '-q', '-f'), 64 * GIB)
def overlay_on_sound(d, make, size):
    sound(d, make, size)


@case('tmpfs by itself is believed')
def plain_tmpfs(d):
    with mounted(f'{d}/low', '-t', 'tmpfs', '-o', 'size=64M', 'none') as low:
        base = sparse_base(f'{low}/base.raw', 8 * GIB)
        judge_sound(d, base, base, 8 * GIB)


@case('an overlay on tmpfs cannot be told from one on a liar, and is read')
def overlay_on_tmpfs(d):
    with mounted(f'{d}/low', '-t', 'tmpfs', '-o', 'size=64M', 'none') as low:
        base = sparse_base(f'{low}/base.raw', 256 * MIB)
        with through_overlay(d, low) as over:
            result = bp('pull', '--json', top_on(d, f'{over}/base.raw'))
            check(HINT in result.err, result.err)
            bp('verify', '-q', f'{d}/top.qcow2', base)
            result = bp('pull', '--json', '--holes=trust', top_on(d, f'{over}/base.raw'))
            check(field(result.json(), 'bytes', 'skipped') > 240 * MIB, result.out)
            bp('verify', '-q', f'{d}/top.qcow2', base)


@case('an overlay on an overlay')
def nested(d):
    need('mkfs.ext4')
    with open(f'{d}/disk', 'wb') as file:
        file.truncate(512 * MIB)
    same(run('mkfs.ext4', '-q', '-F', f'{d}/disk').rc, DONE, 'mkfs')
    with mounted(f'{d}/low', '-o', 'loop', f'{d}/disk') as low, through_overlay(d, low) as over:
        os.mkdir(f'{d}/second')
        base = sparse_base(f'{low}/base.raw', 16 * GIB)
        with through_overlay(f'{d}/second', over) as twice:
            judge_sound(d, base, f'{twice}/base.raw', 16 * GIB)


if __name__ == '__main__':
    harness.main()
