# SPDX-License-Identifier: MIT OR Apache-2.0
"""Images with a damage that check --repair mends: published fields of headers and tables, bent.

What can't be mended is hostile_images.py's business.
"""
import os
import struct

import images
from harness import KIB, MIB
from images import overlay, patch, qemu_io, raw_image

OFFSET = 0x00fffffffffffe00
COPIED = 1 << 63


def be64_at(path, offset):
    with open(path, 'rb') as file:
        file.seek(offset)
        return struct.unpack('>Q', file.read(8))[0]


def put_be64(path, offset, value):
    patch(path, offset, struct.pack('>Q', value))


def tables(path):
    """Host offsets of the first L1 entry, of the L2 table it names, and of the first refcount block."""
    l1 = be64_at(path, 40)
    return l1, be64_at(path, l1) & OFFSET, be64_at(path, be64_at(path, 48)) & OFFSET


def image(d, fmt='qcow2', options=None):
    """An overlay with data of its own, and its content as a raw file."""
    raw_image(f'{d}/base.img', 4 * MIB)
    top = overlay(f'{d}/top.img', 'base.img', fmt, options)
    qemu_io(top, fmt, 'write -P 1 0 300k', 'write -P 2 500k 100k', 'write -z 1M 64k')
    return top, images.flatten(top, fmt, f'{d}/flat')


def leak(path):
    """Clusters that are counted and not used, inside and at the end."""
    _, _, block = tables(path)
    end = -(-os.path.getsize(path) // (64 * KIB))
    patch(path, end * 64 * KIB, bytes(3 * 64 * KIB))
    patch(path, block + 2 * end, struct.pack('>HHH', 1, 0, 1))


def refcount_too_low(path):
    _, l2, block = tables(path)
    patch(path, block + 2 * ((be64_at(path, l2) & OFFSET) // (64 * KIB)), b'\0\0')


def all_refcounts_gone(path):
    patch(path, tables(path)[2] + 2, bytes(200))


def no_block(path):
    put_be64(path, be64_at(path, 48), 0)


def flag_clear(path):
    l1, l2, _ = tables(path)
    put_be64(path, l2, be64_at(path, l2) & ~COPIED)
    put_be64(path, l1, be64_at(path, l1) & ~COPIED)


def flag_set(path):
    _, l2, block = tables(path)
    patch(path, block + 2 * ((be64_at(path, l2) & OFFSET) // (64 * KIB)), b'\0\2')


def named_twice(path):
    """Guest cluster 1 reads what 0 does: both had the same bytes."""
    _, l2, _ = tables(path)
    put_be64(path, l2 + 8, be64_at(path, l2))


def marked_corrupt(path):
    put_be64(path, 72, 2)
