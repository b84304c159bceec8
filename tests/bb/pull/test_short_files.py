# SPDX-License-Identifier: MIT OR Apache-2.0
"""Files that stop inside their last cluster. QEMU writes a table no longer than it is, and reads what
is missing of the cluster as zeros; so that a table there is no damage, whatever its last entries are.
"""
import os
import shutil

import facts
import harness
import images
from harness import CORRUPT, GIB, MIB, bp, case, check, refused, same
from images import image_map, overlay, qemu_img, qemu_io, raw_image

SIZES = ('1M', '1G') if facts.emulated() else ('1M', '3G', '10G')  # hash reads every byte, slowly where it is emulated


def field(path, at, size):
    with open(path, 'rb') as file:
        file.seek(at)
        return int.from_bytes(file.read(size), 'big')


def same_as_qemu(d, image):
    """Every verb finds what QEMU's tools find, and leaves what they call clean."""
    qemu_img('check', '-q', '-f', 'qcow2', image)
    bp('check', image)
    ranges = bp('map', '--json', image).json()
    for entry in ranges:
        entry.pop('compressed')
    same(ranges, image_map(image), 'map --json')
    flat = images.flatten(image, 'qcow2', f'{d}/flat')
    for verb in ['check', '--repair=all'], ['pull', '-q']:
        copy = f'{d}/copy'
        shutil.copy(image, copy)
        bp(*verb, copy)
        qemu_img('check', '-q', '-f', 'qcow2', copy)
        images.compare_flat(copy, 'qcow2', flat, f'after {verb[0]}')
    for verb in ['pull', '-n'], ['measure'], ['hash'], ['info']:
        bp(*verb, image)


def move_l1(image, entry_off, n_l1_off):
    """An L1 table goes behind all else, as after a resize; the fields of the header or snapshot say where it is."""
    old, n_l1 = field(image, entry_off, 8), field(image, n_l1_off, 4)
    end = -(-os.path.getsize(image) // 65536) * 65536
    with open(image, 'rb') as file:
        file.seek(old)
        table = file.read(8 * n_l1)
    refcounts = field(image, field(image, 48, 8), 8)
    images.patch(image, end, table)
    images.patch(image, entry_off, end.to_bytes(8, 'big'))
    images.patch(image, refcounts + 2 * (end >> 16), b'\0\1')
    images.patch(image, refcounts + 2 * (old >> 16), b'\0\0')
    os.truncate(image, end + 8 * n_l1)
    return end, n_l1


@case('the L1 table ends with the file, or behind it', '64k')
@case('the L1 table ends with the file, or behind it; small clusters', '4k')
@case('the L1 table ends with the file, or behind it; large clusters', '2M')
def l1_table(d, cluster):
    raw_image(f'{d}/base', 4 * MIB)
    n_tried = 0
    for size in SIZES:
        image = overlay(f'{d}/image', 'base', options=f'cluster_size={cluster}', size=size)
        l1_off, n_l1 = field(image, 40, 8), field(image, 36, 4)
        end = os.path.getsize(image)
        in_last = (end - 1) % (1 << field(image, 20, 4)) + 1
        cuts = {0, 1, 8, in_last - 1} if end == l1_off + 8 * n_l1 else set()
        for cut in sorted(c for c in cuts if c < in_last):
            os.truncate(image, end - cut)
            same_as_qemu(d, image)
            n_tried += 1
        os.unlink(image)
    check(n_tried, 'QEMU made no file that ends with its L1 table')


@case("a table that begins where the file ends is damage still")
def no_table(d):
    qemu_img('create', '-q', '-f', 'qcow2', f'{d}/image', '1G')
    l1_off = field(f'{d}/image', 40, 8)
    for end in l1_off, l1_off - 1, 65536:
        os.truncate(f'{d}/image', end)
        for verb in ['check'], ['pull'], ['map']:
            bp(*verb, f'{d}/image', rc=CORRUPT)


@case("a snapshot's L1 table at the end of the file")
def snapshot(d):
    raw_image(f'{d}/base', 4 * MIB)
    image = overlay(f'{d}/image', 'base', size=2 * GIB)
    qemu_io(image, 'qcow2', 'write -P 7 0 64k')
    qemu_img('snapshot', '-c', 'one', image)
    entry = field(image, 64, 8)
    # The table moves behind all else, and its refcount with it.
    end, n_l1 = move_l1(image, entry, entry + 8)
    for cut in 0, 1, 8:
        os.truncate(image, end + 8 * n_l1 - cut)
        same_as_qemu(d, image)


LOST = 'ends inside'


def told_by_check(image):
    for verb in ['check'], ['check', '--repair=leaks'], ['check', '--repair=all']:
        result = bp(*verb, image, rc=CORRUPT)
        check(LOST in result.out + result.err, str(result))


@case('entries that are lost with the end of the L1 table are damage, and nothing is given away')
def lost_entries(d):
    raw_image(f'{d}/base', 4 * MIB)
    image = overlay(f'{d}/image', 'base', size=10 * GIB)
    qemu_io(image, 'qcow2', 'write -P 7 1M 64k', f'write -P 9 {9 * GIB} 64k')
    move_l1(image, 40, 36)
    same_as_qemu(d, image)
    os.truncate(image, os.path.getsize(image) - 64)  # eight entries, the last of which leads to data
    top = overlay(f'{d}/top', 'image', base_fmt='qcow2')
    before = images.Untouched(image, top)
    told_by_check(image)
    for verb in ['map'], ['hash'], ['pull'], ['pull', '-n']:
        refused(CORRUPT, ['image', LOST], *verb, image)
    for verb in ['pull'], ['hash'], ['map']:
        refused(CORRUPT, ['image', LOST], *verb, top)
    refused(CORRUPT, ['image', LOST], 'flatten', top, f'{d}/out')
    before.verify()


@case("entries that are lost with the end of a snapshot's L1 table")
def lost_in_snapshot(d):
    raw_image(f'{d}/base', 4 * MIB)
    image = overlay(f'{d}/image', 'base', size=2 * GIB)
    last = 3 * GIB // 2 + MIB
    qemu_io(image, 'qcow2', 'write -P 7 0 64k', f'write -P 9 {last} 64k')
    qemu_img('snapshot', '-c', 'one', image)
    qemu_io(image, 'qcow2', f'write -P 8 {last} 64k')
    entry = field(image, 64, 8)
    move_l1(image, entry, entry + 8)
    os.truncate(image, os.path.getsize(image) - 8)
    before = images.Untouched(image)
    told_by_check(image)
    refused(CORRUPT, ['image', LOST], 'pull', image)
    before.verify()


if __name__ == '__main__':
    harness.main(workers=2)
