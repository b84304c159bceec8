# SPDX-License-Identifier: MIT OR Apache-2.0
"""Disks of no bytes: QEMU's tools make, describe and read them, and so must every command here."""
import os

import harness
import images
from harness import DONE, USAGE, bp, case, check, same
from images import image_map, overlay, qemu_img, raw_image

# A disk of no bytes has no first range; these are the columns that qemu-img prints, too.
COLUMNS = ['Start', 'Length', 'Depth', 'Kind', 'Offset', 'in', 'file']


def like_qemu(image):
    """map --json says what qemu-img's says, and one thing more (compressed)."""
    ranges = bp('map', '--json', image).json()
    for entry in ranges:
        entry.pop('compressed')
    same(ranges, image_map(image), 'map --json')
    same(bp('map', image).out.split(), COLUMNS, 'the text of map')


def every_reader(image):
    like_qemu(image)
    same(bp('info', '--json', image).json()['virtual-size'], 0, 'virtual size')
    for args in (['info', '--chain'], ['hash'], ['measure'], ['pull', '-n'], ['pull', '-q']):
        bp(*args, image)
    bp('verify', image, image)


@case('create IMAGE 0: qcow2', 'qcow2', [])
@case('create IMAGE 0, version 2, small clusters', 'qcow2', ['-o', 'compat=0.10,cluster_size=512'])
@case('create IMAGE 0, large clusters', 'qcow2', ['-o', 'cluster_size=2M,refcount_bits=64'])
@case('create IMAGE 0: QED', 'qed', [])
@case('create IMAGE 0, tables of two clusters', 'qed', ['-o', 'table_size=2,cluster_size=4K'])
def made(d, fmt, args):
    for number, size in enumerate(('0', '0K', '0.0', '0B')):
        image = f'{d}/image{number}'
        bp('create', '-q', '-f', fmt, *args, image, size)
        images.image_check(image, fmt)
        same(images.image_info(image)['virtual-size'], 0, 'virtual size')
    every_reader(image)
    bp('check', image)
    bp('check', '--repair=all', image)
    qemu_img('resize', '-q', '-f', fmt, f'{d}/image0', '1M')
    images.qemu_io(f'{d}/image0', fmt, 'write -P 7 64k 64k')
    images.image_check(f'{d}/image0', fmt)


@case('an empty disk over one that is not reads nothing of it', 'qcow2')
@case('an empty QED disk over one that is not reads nothing of it', 'qed')
def over_base(d, fmt):
    base, top = raw_image(f'{d}/base', harness.MIB), f'{d}/top'
    bp('create', '-q', '-f', fmt, '-b', 'base', '-F', 'raw', top, '0')
    same(images.image_info(top)['virtual-size'], 0, 'virtual size')
    every_reader(top)
    check('backing-filename' not in images.image_info(top), 'the link is still there')
    images.image_check(top, fmt)
    bp('create', '-q', '-f', fmt, '-b', 'base', '-F', 'raw', f'{d}/other')
    same(images.image_info(f'{d}/other')['virtual-size'], os.path.getsize(base), 'size without an argument')


@case('flatten of an empty disk: raw', 'raw')
@case('flatten of an empty disk: qcow2', 'qcow2')
@case('flatten of an empty disk: QED', 'qed')
def flattened(d, fmt):
    qemu_img('create', '-q', '-f', 'qcow2', f'{d}/empty', '0')
    bp('flatten', '-q', '-f', fmt, f'{d}/empty', f'{d}/out')
    same(images.image_info(f'{d}/out', '-f', fmt)['virtual-size'], 0, 'virtual size')
    bp('verify', f'{d}/empty', f'{d}/out')
    if fmt != 'raw':
        images.image_check(f'{d}/out', fmt)


@case("QEMU's own empty images, and an empty file")
def foreign(d):
    for fmt in 'qcow2', 'qed', 'raw':
        qemu_img('create', '-q', '-f', fmt, f'{d}/{fmt}', '0')
        like_qemu(f'{d}/{fmt}')
        bp('hash', f'{d}/{fmt}')
    overlay(f'{d}/top', 'qcow2', base_fmt='qcow2')
    every_reader(f'{d}/top')
    bp('verify', f'{d}/qcow2', f'{d}/qed')


@case('without a size there is none')
def no_size(d):
    harness.refused(USAGE, ['size'], 'create', '-f', 'qcow2', f'{d}/new')
    same(bp('create', '-q', '-f', 'qcow2', f'{d}/new', '1', rc=DONE).rc, DONE, 'one byte')


if __name__ == '__main__':
    harness.main(workers=2)
