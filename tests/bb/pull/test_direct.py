# SPDX-License-Identifier: MIT OR Apache-2.0
"""pull --direct: the image is written past the page cache, whatever is in it.

Tables, compressed clusters and headers are no multiples of a device's blocks, so each shape of image
has requests that O_DIRECT would refuse.
"""
import os

import harness
import images
import strace
from harness import DONE, KIB, MIB, REFUSED, USAGE, Skip, bp, case, check, same
from images import Untouched, overlay, qemu_img, qemu_io, raw_image

SIZE = 24 * MIB


def chain(d, fmt, options, snapshots=False):
    """Data in odd places, some of it the overlay's own; the top and its content as a raw file."""
    pieces = [(at * 333 * KIB // 512 * 512, 100 * KIB) for at in range(60)] + [(20 * MIB, 4 * MIB)]
    raw_image(f'{d}/base.img', SIZE, *pieces)
    top = overlay(f'{d}/top.img', 'base.img', fmt, options)
    if snapshots:
        qemu_img('snapshot', '-c', 'one', top)
    qemu_io(top, fmt, *(f'write -P {at} {at * 700}k 3k' for at in range(1, 20)))
    qemu_img('convert', '-f', fmt, '-O', 'raw', top, f'{d}/flat.img')
    return top, f'{d}/flat.img'


def may_be_direct(d):
    try:
        os.close(os.open(f'{d}/base.img', os.O_RDWR | os.O_DIRECT))
    except OSError:
        raise Skip('no direct I/O on this file system') from None


@case('pulled directly: qcow2', 'qcow2', None)
@case('pulled directly: qcow2, threads', 'qcow2', None, '--io=threads')
@case('pulled directly: qcow2, clusters of a block', 'qcow2', 'cluster_size=4k')
@case('pulled directly: qcow2, large clusters', 'qcow2', 'cluster_size=2M')
@case('pulled directly: qcow2, extended L2 entries', 'qcow2', 'extended_l2=on,cluster_size=128k')
@case('pulled directly: qcow2, narrow refcounts, snapshot', 'qcow2', 'refcount_bits=2', '-q')
@case('pulled directly: qcow2, written compressed', 'qcow2', 'cluster_size=16k', '--compress')
@case('pulled directly: qcow2, written compressed, threads', 'qcow2', 'cluster_size=16k', '--compress', '--io=threads')
@case('pulled directly: qcow2, slow', 'qcow2', None, '--bandwidth=6M')
@case('pulled directly: qcow2, verified', 'qcow2', None, '--verify')
@case('pulled directly: QED', 'qed', None)
@case('pulled directly: QED, threads', 'qed', None, '--io=threads')
def pulled(d, fmt, options, *arguments):
    snapshots = options == 'refcount_bits=2'
    top, flat = chain(d, fmt, options, snapshots)
    may_be_direct(d)
    base = Untouched(f'{d}/base.img')
    bp('pull', '--direct', *arguments, top)
    images.judge_pulled(top, fmt, flat)
    base.verify('by the pull')
    if snapshots:
        qemu_img('snapshot', '-a', 'one', top)
        images.compare_flat(top, fmt, f'{d}/base.img', 'in the snapshot')


@case('the file is opened for direct I/O, and not without being asked')
def opened(d):
    top, _ = chain(d, 'qcow2', None)
    may_be_direct(d)
    for arguments, wanted in ([], False), (['--direct'], True):
        _, log = strace.run(harness.blockpull, 'pull', *arguments, top, trace='openat')
        same(any('O_DIRECT' in line for line in log), wanted, f'direct with {arguments}')
        qemu_img('rebase', '-u', '-b', 'base.img', '-F', 'raw', top)


@case('refused for clusters smaller than blocks')
def refused(d):
    top, _ = chain(d, 'qcow2', 'cluster_size=512')
    may_be_direct(d)
    whole = Untouched(top)
    result = bp('pull', '--direct', top, rc=None)
    if result.rc == DONE:
        raise Skip('blocks of 512 bytes here: nothing to refuse')
    same(result.rc, REFUSED, 'exit code')
    check('smaller than the blocks of direct I/O' in result.err, result.err)
    whole.verify('although the pull was refused')


@case('a dry run writes nothing, so it may be asked for there')
def dry_run(d):
    top, _ = chain(d, 'qcow2', None)
    whole = Untouched(top)
    same(bp('pull', '-n', '--direct', top).out, bp('pull', '-n', top).out, 'the plan')
    whole.verify('by a dry run')


@case('an unknown word is a usage error')
def usage(d):
    result = bp('pull', '--direct=yes', f'{d}/x', rc=USAGE)
    check('--direct' in result.err, result.err)


if __name__ == '__main__':
    harness.main()
