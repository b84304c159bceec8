# SPDX-License-Identifier: MIT OR Apache-2.0
"""Shapes of images that QEMU's tools build seldom or never, pulled and judged by qcow2_reader.py.

Each case is one promise about internal snapshots, subclusters, VM state or narrow refcounts. What
QEMU cannot write is patched into its image, and qemu-img check must like it before the pull, so
that a mistake here is not taken for one of the command's. Whole images written by hand were
rejected: their mistakes would be ours alone.
"""
import os
import struct

import harness
from harness import DONE, KIB, MIB, REFUSED, bp, case, check, same
from images import Untouched, image_check, overlay, patch, qemu_img, qemu_io, raw_image
from judge import Before
from qcow2_reader import Reader


def layers(directory, options='', size=MIB, base_size=None):
    base = raw_image(os.path.join(directory, 'base.raw'), base_size or size)
    return overlay(os.path.join(directory, 'top.qcow2'), 'base.raw', options=options or None, size=size), base


def snapshot(top, name):
    qemu_img('snapshot', '-c', name, top)


def pulled(directory, top, base, *args, rc=DONE, leaks=False):
    if not leaks:
        same(image_check(top, 'qcow2'), 0, 'qemu-img check of the image as built')
    before = Before(top, 'qcow2', (base, 'raw'), os.path.join(directory, 'j'))
    untouched, whole = Untouched(base), Untouched(top)
    result = bp('pull', *args, top, rc=rc)
    untouched.verify('by the pull')
    if result.rc == REFUSED:
        whole.verify('although the pull was refused')
        return before.reader, None
    before.verify()
    return before.reader, Reader(top)


@case('a table shared with a snapshot is filled once, in place')
def shared_table(directory):
    top, base = layers(directory)
    qemu_io(top, 'qcow2', 'write -P 1 64k 64k')
    snapshot(top, 'one')
    old, new = pulled(directory, top, base)
    same(new.l2_offset(new.active, 0), old.l2_offset(old.active, 0), 'host offset of the shared table')
    same(new.refcount(new.l2_offset(new.active, 0)), 2, 'references to the shared table')
    same({new.refcount(new.at(new.active, i * 64 * KIB).host) for i in range(16)}, {2}, 'refcounts of the data')


@case('tables of their own share the cluster that both read from the base')
def shared_copy(directory):
    top, base = layers(directory)
    qemu_io(top, 'qcow2', 'write -P 1 64k 64k')
    snapshot(top, 'one')
    qemu_io(top, 'qcow2', 'write -P 2 128k 64k')
    _, new = pulled(directory, top, base)
    one = new.snapshots[0]
    for number in range(16):
        hosts = [new.at(view, number * 64 * KIB).host for view in (new.active, one)]
        same(hosts[0] == hosts[1], number != 2, f'cluster {number} is shared ({hosts})')


@case('more ranges than a turn of the cursor takes, with nothing to copy between them')
def chessboard(directory):
    n = 5000
    top, base = layers(directory, 'cluster_size=512', size=n * KIB, base_size=n * KIB)
    os.truncate(base, 0)
    os.truncate(base, n * KIB)
    qemu_io(top, 'qcow2', *(f'write -q -P {1 + i % 255} {i * KIB} 512' for i in range(n)))
    pulled(directory, top, base)


@case('a snapshot without tables, the disk written since', 'first')
@case('tables in the snapshot, none in the disk', 'dropped')
def missing_tables(directory, how):
    top, base = layers(directory, 'cluster_size=4k', size=6 * MIB)
    if how == 'first':
        snapshot(top, 'empty')
        qemu_io(top, 'qcow2', 'write -P 3 0 1M', 'write -P 4 4M 100k')
    else:
        qemu_io(top, 'qcow2', 'write -P 3 0 1M', 'write -P 4 4M 100k')
        snapshot(top, 'full')
        # The active L1 forgets its tables, whose only references are the snapshot's then.
        reader = Reader(top)
        patch(top, reader.l1_off, bytes(8 * reader.l1_size))
        qemu_img('check', '-q', '-r', 'all', top, rc=(0, 2, 3))
    pulled(directory, top, base)


@case('a snapshot shorter than the disk', MIB, 3 * MIB + 512)
@case('a snapshot longer than the disk', 3 * MIB + 512, MIB)
@case('a snapshot that ends inside a cluster', MIB + 1536, MIB + 32 * KIB)
def sizes(directory, first, second):
    top, base = layers(directory, 'cluster_size=64k', size=first, base_size=4 * MIB)
    qemu_io(top, 'qcow2', 'write -P 1 70k 3k')
    snapshot(top, 'one')
    qemu_img('resize', '-q', '-f', 'qcow2', *(['--shrink'] if second < first else []), top, second)
    qemu_io(top, 'qcow2', 'write -P 2 200k 70k')
    qemu_img('check', '-q', '-r', 'leaks', top, rc=(0, 3))
    old, new = pulled(directory, top, base)
    same([v.size for v in new.views], [second, first], 'sizes of disk and snapshot')


@case('VM state stays where it is')
def vm_state(directory):
    top, base = layers(directory, 'cluster_size=16k')
    qemu_io(top, 'qcow2', 'write -P 1 64k 64k', 'write -b -P 9 0 100k')
    snapshot(top, 'live')
    reader = Reader(top)
    at = reader.snapshots_off  # vm_size, and its 64-bit twin in the extra data
    patch(top, at + 32, struct.pack('>I', 100 * KIB))
    patch(top, at + 40, struct.pack('>Q', 100 * KIB))
    old, new = pulled(directory, top, base)
    check(old.vm_state(), 'the case has no VM state')
    same(new.snapshots[0].vm_size, 100 * KIB, 'size of the VM state')


@case('refcounts of 2 bits, all used up', 2, 2)
@case('refcounts of 2 bits, one left', 2, 1)
@case('refcounts of 1 bit, no snapshot', 1, 0)
@case('refcounts of 4 bits and 14 snapshots', 4, 14)
def narrow(directory, bits, n_snapshots):
    top, base = layers(directory, f'refcount_bits={bits},cluster_size=4k')
    for number in range(n_snapshots):
        qemu_io(top, 'qcow2', f'write -P {number + 1} {number * 8}k 2k')
        snapshot(top, f's{number}')
    qemu_io(top, 'qcow2', 'write -P 99 500k 4k')
    _, new = pulled(directory, top, base, rc=(DONE, REFUSED) if n_snapshots else DONE)
    harness.note('pulled' if new else 'refused')


@case('each pattern of subclusters: only the missing ones are filled, in place')
def subclusters(directory):
    top, base = layers(directory, 'extended_l2=on,cluster_size=16k', size=2 * MIB)
    # Cluster n has subcluster n and what follows by these strides, each also with zeros between.
    commands = []
    for number in range(64):
        start, stride = number * 16384, 1 + number % 7
        for s in range(number % 32, 32, stride):
            commands.append(f'write -P {number + 1} {start + s * 512} 512')
        if number % 3 == 0:
            commands.append(f'write -z {start + (number % 31) * 512} 512')
    commands.append(f'write -z {64 * 16384} {16384 + 512}')
    qemu_io(top, 'qcow2', *commands)
    old, new = pulled(directory, top, base)
    for number in range(2 * MIB // 16384):
        was, now = (r.at(r.active, number * 16384) for r in (old, new))
        if was.host is not None:
            same(now.host, was.host, f'host offset of cluster {number}')
            same(now.alloc & was.alloc, was.alloc, f'subclusters of cluster {number} that were there')
        same(now.zeros & was.zeros, was.zeros, f'zero subclusters of cluster {number}')
        check(now.alloc | now.zeros == 0xFFFFFFFF, f'cluster {number}: {now}')


@case('subclusters and snapshots together')
def subclusters_snapshots(directory):
    top, base = layers(directory, 'extended_l2=on,cluster_size=32k', size=2 * MIB)
    qemu_io(top, 'qcow2', 'write -P 1 5k 2k', 'write -P 2 40k 1k', 'write -z 100k 3k')
    snapshot(top, 'one')
    qemu_io(top, 'qcow2', 'write -P 3 1M 1k', 'write -P 4 6k 1k')
    snapshot(top, 'two')
    qemu_io(top, 'qcow2', 'write -P 5 41k 1k', 'write -z 0 32k')
    pulled(directory, top, base)


@case('snapshots of a v2 image, and zeros in its base')
def version2(directory):
    top, base = layers(directory, 'compat=0.10')
    patch(base, 256 * KIB, bytes(256 * KIB))
    qemu_io(top, 'qcow2', 'write -P 1 64k 64k')
    snapshot(top, 'one')
    qemu_io(top, 'qcow2', 'write -P 2 300k 64k')
    _, new = pulled(directory, top, base)
    same([new.at(v, 448 * KIB).kind for v in new.views], ['none', 'none'], 'zeros at 448 KiB')


if __name__ == '__main__':
    harness.main(workers=2)
