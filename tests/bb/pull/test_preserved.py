# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a pull has no business with survives it: dirty bitmaps, and zeros of version 2 images which
take no space. Bitmaps stay true because a pull changes nothing that the guest could see.
"""
import images
import harness
from harness import KIB, MIB, bp, case, check, same
from images import image_info, overlay, patch, qemu_img, qemu_io, raw_image


def autoclear(path):
    with open(path, 'rb') as file:
        return int.from_bytes(file.read(96)[88:], 'big')


def bitmaps(path):
    return sorted(image_info(path)['format-specific']['data'].get('bitmaps', []), key=lambda b: b['name'])


def with_bitmaps(d):
    raw_image(f'{d}/base.img', 4 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    for name, *more in ('on',), ('off', '--disable'), ('fine', '-g', '4k'):
        qemu_img('bitmap', '--add', *more, top, name)
    qemu_io(top, 'qcow2', 'write -P 5 1M 200k', 'write -P 6 3M 4k')
    return top


def bitmap_bits(d, path, name, copy):
    """The dirty ranges of a bitmap, as QEMU tells them when it merges it into another image's."""
    qemu_img('create', '-q', '-f', 'qcow2', f'{d}/{copy}', '4M')
    qemu_img('bitmap', '--add', '-g', '4k', f'{d}/{copy}', 'm')
    qemu_img('bitmap', '--merge', name, '-b', path, '-F', 'qcow2', f'{d}/{copy}', 'm')
    return images.digest(f'{d}/{copy}')


@case('bitmaps are the same before and after')
def kept(d):
    top = with_bitmaps(d)
    before = bitmaps(top)
    same(len(before), 3, 'bitmaps made')
    bits = [bitmap_bits(d, top, b['name'], f'before{i}') for i, b in enumerate(before)]
    check(bits[0] != bits[1], 'the bitmaps say nothing')
    images.pulled(top, 'qcow2')
    same(bitmaps(top), before, 'bitmaps')
    same([bitmap_bits(d, top, b['name'], f'after{i}') for i, b in enumerate(before)], bits, 'bits')
    same(autoclear(top) & 1, 1, 'the autoclear bit of bitmaps')


@case('bitmaps in use stay so')
def in_use(d):
    top = with_bitmaps(d)
    qemu_io(top, 'qcow2', 'write -P 7 0 64k', 'abort', rc=(0, 134, -6))
    before = bitmaps(top)
    check(any('in-use' in b['flags'] for b in before), f'no bitmap is in use: {before}')
    images.pulled(top, 'qcow2')
    same(bitmaps(top), before, 'bitmaps')


@case('bitmaps whose autoclear bit is gone are left as they are')
def inconsistent(d):
    top = with_bitmaps(d)
    patch(top, 95, b'\0')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    bp('pull', top)
    same(autoclear(top), 0, 'autoclear bits')
    # Nothing refers to their clusters then: leaks before, leaks or nothing after, never damage.
    check(images.image_check(top, 'qcow2') in (0, 3), 'the image is damaged')
    images.compare_flat(top, 'qcow2', flat, 'by the pull')
    check('backing-filename' not in image_info(top), 'the link is still there')


@case('unknown autoclear bits are cleared, the known kept')
def unknown_autoclear(d):
    top = with_bitmaps(d)
    patch(top, 88, b'\x80')
    images.pulled(top, 'qcow2')
    same(autoclear(top), 1, 'autoclear bits')


@case('zeros of version 2 take no space', '0.10')
@case('zeros of version 3 take no space', '1.1')
def zeros(d, compat):
    raw_image(f'{d}/base.img', 8 * MIB, (0, 256 * KIB))
    with open(f'{d}/base.img', 'r+b') as base:  # zeros as data, and a hole behind them
        base.seek(MIB)
        base.write(bytes(4 * MIB))
    top = overlay(f'{d}/top.img', 'base.img', options=f'compat={compat}')
    images.pulled(top, 'qcow2')
    for extent in images.image_map(top):
        check(extent['start'] < 256 * KIB or not extent['data'] and not extent.get('present'),
              f'zeros take space: {extent}')


if __name__ == '__main__':
    harness.main()
