# SPDX-License-Identifier: MIT OR Apache-2.0
"""Images whose bases are served, and who judges what came of a pull: qemu-img."""
import os

import harness
from harness import KIB, MIB, check, same


def _need_libnbd():
    if 'libnbd' not in harness.run(harness.blockpull, '--version').out:
        raise harness.Skip('built without libnbd')


def base(d, fmt, size=64 * MIB):
    """An image of random data with holes, and a raw copy of its disk."""
    _need_libnbd()
    flat = f'{d}/flat.raw'
    with open(flat, 'wb') as file:
        file.truncate(size)
        for offset in range(0, size, 4 * MIB):
            file.seek(offset + 64 * KIB * (offset // MIB % 7))
            file.write(os.urandom(2 * MIB + 512))
        file.truncate(size)
    path = f'{d}/base.{fmt}'
    if fmt == 'raw':
        os.link(flat, path)
    else:
        same(harness.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-c', flat, path).rc, 0, 'convert')
    return path, flat


def overlay(d, backing, fmt, size=64 * MIB, name='top.qcow2'):
    _need_libnbd()
    top = f'{d}/{name}'
    same(harness.run('qemu-img', 'create', '-f', 'qcow2', '-u', '-b', backing, '-F', fmt, top, str(size)).rc, 0, 'create')
    return top


def judge(top, flat):
    info = harness.run('qemu-img', 'info', '--output=json', top).json()
    check('backing-filename' not in info, f'{info}')
    same(harness.run('qemu-img', 'check', top).rc, 0, 'check')
    result = harness.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', top, flat)
    same(result.rc, 0, f'{result}')
