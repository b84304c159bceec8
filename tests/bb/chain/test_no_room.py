# SPDX-License-Identifier: MIT OR Apache-2.0
"""A disk that is full under commit, compact and snapshot, at every step: with one page more of room each time, until
there is enough. Nothing is lost by any of it, the message says what is full, and the same command goes on where it
stopped once there is room.
"""
import contextlib
import os

import facts
import harness
import images
from harness import DONE, KIB, MIB, NO_SPACE, Skip, bp, case, check, same
from heads import Heads, names_of_chain
from images import image_check, overlay, qemu_io, raw_image

PAGE = 4096
MOST = 400  # pages, more than any case here needs
STEP = 4 if facts.emulated() else 1  # pages more each time: an emulator takes minutes for what is done in seconds


@contextlib.contextmanager
def small_disk(where, size):
    """A file system of so many bytes."""
    os.mkdir(where)
    if os.geteuid():
        raise Skip('only root mounts')
    result = harness.run('mount', '-t', 'tmpfs', '-o', f'size={size}', 'none', where)
    if result.rc:
        raise Skip(f'cannot mount: {result.err.strip()}')
    try:
        yield where
    finally:
        result = harness.run('umount', where)
        check(result.rc == 0, f'{where} is still mounted: {result}')


def fill(where, pages):
    """A file that leaves so many pages."""
    stats = os.statvfs(where)
    with open(f'{where}/ballast', 'wb') as file:
        os.posix_fallocate(file.fileno(), 0, max((stats.f_bavail * stats.f_frsize // PAGE - pages) * PAGE, 1))


def files_of(where):
    return sorted(name for name in os.listdir(where) if name != 'ballast')


def each_step(d, make, command, heads, judge_done, made=()):
    """make(where) puts the files there, once, and each step begins with copies of them."""
    os.mkdir(f'{d}/first')
    make(f'{d}/first')
    wanted = Heads(d, *((f'{d}/first/{name}', fmt) for name, fmt in heads))
    with small_disk(f'{d}/small', 24 * MIB) as where:
        for pages in range(0, MOST, STEP):
            for name in os.listdir(where):
                os.unlink(f'{where}/{name}')
            for name in os.listdir(f'{d}/first'):
                harness.run('cp', '--sparse=always', f'{d}/first/{name}', f'{where}/{name}')
            here = Heads(d)
            here.flats = {(f'{where}/{os.path.basename(path)}', fmt): flat for (path, fmt), flat in wanted.flats.items()}
            fill(where, pages)
            result = harness.run(harness.blockpull, *command(where))
            if result.rc == DONE:
                break
            same(result.rc, NO_SPACE, f'with {pages} pages: {result}')
            check('space' in result.err, f'with {pages} pages it does not say what is wrong: {result}')
            here.judge(f'with {pages} pages', leaks=True)
            same(set(files_of(where)) - set(os.listdir(f'{d}/first')) - set(made), set(), 'what was left')
            os.unlink(f'{where}/ballast')
            for name in made:
                check(not os.path.exists(f'{where}/{name}'), f'with {pages} pages {name} is there')
            bp(*command(where))
            here.judge(f'after {pages} pages, and room again')
            judge_done(where)
        harness.note(f'{pages} pages are enough')
        check(0 < pages < MOST - 1, 'the disk was never full, or always')
        here.judge('with just enough')


def chain(where, base_fmt='raw', options='cluster_size=4k'):
    raw_image(f'{where}/base', MIB, (0, 300 * KIB))
    if base_fmt != 'raw':
        images.qemu_img('convert', '-f', 'raw', '-O', base_fmt, '-o', options, f'{where}/base', f'{where}/base.new')
        os.rename(f'{where}/base.new', f'{where}/base')
    overlay(f'{where}/mid', 'base', options=options, base_fmt=base_fmt)
    qemu_io(f'{where}/mid', 'qcow2', 'write -P 5 250k 60k', 'write -P 6 500k 30k', 'write -z 20k 30k')
    overlay(f'{where}/top', 'mid', options=options, base_fmt='qcow2')
    qemu_io(f'{where}/top', 'qcow2', 'write -P 7 270k 70k', 'write -P 8 800k 50k', 'write -z 510k 10k')


@case('commit into the file below', 'raw', [], 'mid', 'qcow2')
@case('commit into a raw base', 'raw', [], 'base', 'raw')
@case('commit into a qcow2 base, which is kept from the image', 'qcow2', ['--keep'], 'base', 'qcow2')
def commit(d, base_fmt, args, into, into_fmt):
    def done(where):
        if into_fmt != 'raw':
            same(image_check(f'{where}/{into}', into_fmt), 0, f'qemu-img check of {into}')
        result = images.qemu_img('compare', '-f', 'qcow2', '-F', into_fmt, f'{where}/top', f'{where}/{into}', rc=range(256))
        same(result.rc, 0, f'{into} holds what the image does: {result}')
    each_step(d, lambda where: chain(where, base_fmt), lambda where: ['commit', '-q', *args, '--shared-base-is-mine', '--base',
                                                                      f'{where}/{into}', f'{where}/top'],
              [('top', 'qcow2')], done)


@case('without room a compaction loses nothing, and goes on')
def compact(d):
    def make(where):
        chain(where)
        overlay(f'{where}/child', 'mid', base_fmt='qcow2')
        overlay(f'{where}/head', 'top', base_fmt='qcow2')
    each_step(d, make, lambda where: ['compact', '-q', '--from', f'{where}/top', '--to', f'{where}/mid', f'{where}/head'],
              [(name, 'qcow2') for name in ('top', 'mid', 'child', 'head')],
              lambda where: same(names_of_chain(f'{where}/head'), ['head', 'top', 'base'], 'the chain'))


@case('without room a snapshot is there whole or not at all')
@case('without room a snapshot is there whole or not at all, in QED', '-f', 'qed')
def snapshot(d, *args):
    def done(where):
        fmt = args[-1] if args else 'qcow2'
        same(image_check(f'{where}/new', fmt), 0, 'qemu-img check of the new image')
        same(images.image_info(f'{where}/new')['backing-filename'], 'top', 'its link')
    each_step(d, chain, lambda where: ['snapshot', '-q', *args, f'{where}/top', f'{where}/new'], [('top', 'qcow2'), ('mid', 'qcow2')],
              done, made=['new'])


if __name__ == '__main__':
    harness.main()
