# SPDX-License-Identifier: MIT OR Apache-2.0
"""check --repair, and what a pull mends before it writes: leaks and images marked dirty.

Damage is made by qemu-io (killed with lazy refcounts) and by bending published fields of the
headers and tables; the verdict before and after is qemu-img's, and the guest's content, taken
before, must be the same afterwards. What can't be mended without a guess must stay byte by byte.
"""
import os
import struct
import subprocess

import harness
import images
from damaged_images import (COPIED, OFFSET, all_refcounts_gone, be64_at, flag_clear, flag_set, image, leak, marked_corrupt,
                            named_twice, no_block, put_be64, refcount_too_low, tables)
from harness import CORRUPT, DONE, KIB, LEAKS, LOCKED, MIB, REFUSED, USAGE, bp, case, check, field, need, same
from images import Untouched, image_check, image_info, overlay, patch, qemu_img, qemu_io, raw_image

@case('leaks, qcow2', leak, LEAKS, 'leaks')
@case('leaks with --repair=all', leak, LEAKS, 'all')
@case('a refcount that is too low', refcount_too_low, CORRUPT, 'all')
@case('no refcount left', all_refcounts_gone, CORRUPT, 'all')
@case('no refcount block left', no_block, CORRUPT, 'all')
@case('COPIED flags that are clear without need', flag_clear, CORRUPT, 'leaks')
@case('a COPIED flag over a shared cluster', flag_set, CORRUPT, 'all')
@case('a cluster that is named twice', named_twice, CORRUPT, 'all')
@case('the corrupt mark alone', marked_corrupt, DONE, 'all')
def repaired(d, damage, found, what):
    top, flat = image(d)
    base_before = Untouched(f'{d}/base.img')
    damage(top)
    before = Untouched(top)
    bp('check', top, rc=found)
    before.verify('by a check')
    result = bp('check', f'--repair={what}', top)
    check(found == DONE or 'Repaired' in result.out, str(result))
    same(image_check(top, 'qcow2'), 0, 'exit code of qemu-img check')
    images.compare_flat(top, 'qcow2', flat, 'by the repair')
    check(not image_info(top)['format-specific']['data'].get('corrupt'), 'still marked corrupt')
    again = Untouched(top)
    bp('check', f'--repair={what}', top)
    again.verify('by a repair of what is sound')
    bp('pull', top)
    images.judge_pulled(top, 'qcow2', flat)
    base_before.verify()


@case('numbers as qemu-img has them')
def numbers(d):
    top, _ = image(d)
    leak(top)
    refcount_too_low(top)
    before = Untouched(top)
    result = bp('check', '--repair=leaks', '--json', top, rc=CORRUPT).json()
    check(field(result, 'unrepaired'), 'not a word on why')
    before.verify('although nothing can be told')
    result = bp('check', '--repair=all', '--json', top).json()
    same([field(result, name) for name in ('corruptions', 'leaks', 'leaks-fixed', 'check-errors')], [0, 0, 2, 0],
         'numbers')
    check(field(result, 'corruptions-fixed') >= 1, str(result))


@case('what can not be repaired stays as it is')
def left_alone(d):
    for name, bend in (('data outside the file', lambda p: put_be64(p, tables(p)[1], 1 << 40 | COPIED)),
                       ('an L2 table outside the file', lambda p: put_be64(p, tables(p)[0], 1 << 40 | COPIED)),
                       ('data over the L1 table', lambda p: put_be64(p, tables(p)[1], tables(p)[0] | COPIED)),
                       ('reserved bits', lambda p: put_be64(p, tables(p)[0], be64_at(p, tables(p)[0]) | 2))):
        top, _ = image(d)
        bend(top)
        leak(top) if 'L2' not in name else None
        before = Untouched(top)
        result = bp('check', '--repair=all', top, rc=CORRUPT)
        check('Not repaired' in result.out, f'{name}: {result}')
        before.verify(f'({name})')
        os.unlink(top)


@case('images that must not be touched')
def refused(d):
    top, _ = image(d)
    before = Untouched(top, f'{d}/base.img')
    bp('check', '--repair=all', f'{d}/base.img', rc=REFUSED)
    bp('check', '--repair=some', top, rc=USAGE)
    bp('check', '--repair=all', '--force-share', top, rc=USAGE)
    before.verify()
    put_be64(top, 72, 1 << 20)
    before = Untouched(top)
    bp('check', '--repair=all', top, rc=REFUSED)
    before.verify('with an unknown feature')


@case('an image in use is not repaired')
def in_use(d):
    top, _ = image(d)
    leak(top)
    holder = harness.start('qemu-io', '-r', '-f', 'qcow2', top, stdin=subprocess.PIPE)
    holder.stdin.write(b'read 0 512\n')
    holder.stdin.flush()
    while b'512/512' not in (line := holder.stdout.readline()):
        check(line, 'qemu-io could not open it')
    bp('check', '--repair=leaks', top, rc=LOCKED)
    holder.stdin.close()
    harness.finish(holder)
    bp('check', '--repair=leaks', top)


@case('leaks with internal snapshots and bitmaps')
def snapshots(d):
    raw_image(f'{d}/base.img', 4 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    qemu_io(top, 'qcow2', 'write -P 1 0 300k')
    qemu_img('snapshot', '-c', 'one', top)
    qemu_io(top, 'qcow2', 'write -P 2 100k 300k')
    qemu_img('bitmap', '--add', top, 'dirty')
    qemu_io(top, 'qcow2', 'write -P 3 1M 64k')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    qemu_img('convert', '-l', 'one', '-O', 'raw', top, f'{d}/flat.one')
    for what in leak, refcount_too_low:
        what(top)
        bp('check', '--repair=all', top)
        same(image_check(top, 'qcow2'), 0, 'exit code of qemu-img check')
        images.compare_flat(top, 'qcow2', flat)
    qemu_img('convert', '-l', 'one', '-O', 'raw', top, f'{d}/flat.again')
    with open(f'{d}/flat.one', 'rb') as a, open(f'{d}/flat.again', 'rb') as b:
        check(a.read() == b.read(), 'the snapshot changed')
    bitmaps = image_info(top)['format-specific']['data']['bitmaps']
    same([b['name'] for b in bitmaps], ['dirty'], 'bitmaps')


def make_dirty(top):
    """A writer that dies with lazy refcounts."""
    result = harness.run('qemu-io', '-f', 'qcow2', '-c', 'write -P 9 2M 700k', '-c', 'write -P 3 100k 50k',
                         '-c', 'flush', '-c', 'abort', top)
    check(result.rc not in (0, 1), str(result))
    images.settle(top)
    check(image_info(top).get('dirty-flag'), 'it is not dirty')


def dirty_image(d):
    raw_image(f'{d}/base.img', 4 * MIB)
    top = overlay(f'{d}/top.img', 'base.img', options='lazy_refcounts=on')
    make_dirty(top)
    # Opened for reading only, since QEMU repairs it otherwise.
    qemu_img('convert', '-U', '-f', 'qcow2', '-O', 'raw', top, f'{d}/flat')
    check(image_info(top).get('dirty-flag'), 'the reference repaired it')
    return top, f'{d}/flat'


@case('an image that is marked dirty is mended and pulled')
def dirty_pull(d):
    top, flat = dirty_image(d)
    before = Untouched(f'{d}/base.img')
    bp('check', top, rc=CORRUPT)
    check(image_info(top).get('dirty-flag'), 'a check repaired it')
    result = bp('pull', top)
    check('top.img' in result.err and 'dirty' in result.err, f'not a word on it: {result}')
    images.judge_pulled(top, 'qcow2', flat)
    check(not image_info(top).get('dirty-flag'), 'still dirty')
    check(image_info(top)['format-specific']['data']['lazy-refcounts'], 'lazy refcounts are gone')
    before.verify()


@case('an image that is marked dirty is repaired')
def dirty_repair(d):
    top, flat = dirty_image(d)
    result = bp('check', '-r', 'all', top)
    check('mark' in result.out, str(result))
    check(not image_info(top).get('dirty-flag'), 'still dirty')
    same(image_check(top, 'qcow2'), 0, 'exit code of qemu-img check')
    images.compare_flat(top, 'qcow2', flat)


@case('a dirty image as backing file is only read')
def dirty_backing(d):
    middle, _ = dirty_image(d)
    before = Untouched(middle)
    top = overlay(f'{d}/over.img', 'top.img', base_fmt='qcow2')
    bp('pull', top)
    before.verify()
    images.compare_flat(top, 'qcow2', f'{d}/flat')


def qed_tables(path):
    with open(path, 'rb') as file:
        l1, = struct.unpack('<Q', file.read(48)[40:])
        file.seek(l1)
        return l1, struct.unpack('<Q', file.read(8))[0]


@case('QED: leaks and NEED_CHECK')
def qed(d):
    need('qemu-io')
    for what in 'leaks', 'all', 'pull':
        top, _ = image(d, 'qed', 'cluster_size=4k')
        _, l2 = qed_tables(top)
        patch(top, l2 + 8 * 2, bytes(8 * 40))  # 40 clusters in the middle; the base shows through
        patch(top, 16, struct.pack('<Q', 1 | 2 | 4))
        # QEMU repairs it as soon as it opens it for writing.
        qemu_img('convert', '-U', '-f', 'qed', '-O', 'raw', top, f'{d}/flat')
        bp('check', top, rc=LEAKS)
        size = os.path.getsize(top)
        if what == 'pull':
            result = bp('pull', top)
            check('40 leaked' in result.err and 'check' in result.err, str(result))
            images.judge_pulled(top, 'qed', f'{d}/flat')
        else:
            bp('check', f'--repair={what}', top)
            same(size - os.path.getsize(top), 40 * 4 * KIB, 'bytes cut off')
            with open(top, 'rb') as file:
                same(bool(file.read(17)[16] & 2), what == 'leaks', 'NEED_CHECK')
            same(qemu_img('check', '-f', 'qed', top, rc=(0, 2, 3)).rc, 0, 'exit code of qemu-img check')
            images.compare_flat(top, 'qed', f'{d}/flat')
        os.unlink(top)


@case('QED: what can not be repaired stays as it is')
def qed_left_alone(d):
    top, _ = image(d, 'qed')
    _, l2 = qed_tables(top)
    patch(top, l2, struct.pack('<Q', 1 << 40))
    patch(top, l2 + 8, bytes(8))
    before = Untouched(top)
    result = bp('check', '--repair=all', top, rc=CORRUPT)
    check('Not repaired' in result.out, str(result))
    bp('pull', top, rc=CORRUPT)
    before.verify()


if __name__ == '__main__':
    harness.main()
