# SPDX-License-Identifier: MIT OR Apache-2.0
"""Heads: images that name files of a chain, each of which must read the same whatever is done to the chain."""
import os
import random

import images
from harness import MIB, same
from images import Untouched, image_check, overlay, qemu_img, qemu_io, raw_image


class Heads:
    """What each (path, format) reads now; judge() demands it again, and that each is sound."""

    def __init__(self, d, *heads):
        self.flats = {}
        for number, (path, fmt) in enumerate(heads):
            self.flats[path, fmt] = images.flatten(path, fmt, f'{d}/head{number}.flat')

    def judge(self, when, without=(), leaks=False):
        for (path, fmt), flat in self.flats.items():
            if path in without:
                continue
            if fmt != 'raw':
                allowed = (0, 3) if leaks else (0,)
                same(image_check(path, fmt) in allowed, True, f'qemu-img check of {os.path.basename(path)} {when}')
            images.compare_flat(path, fmt, flat, f'of {os.path.basename(path)} {when}')


def names_of_chain(path):
    """The files of a chain, by the last parts of their names, as QEMU follows it."""
    infos = images.json.loads(qemu_img('info', '--output=json', '--backing-chain', path).out)
    return [os.path.basename(info['filename']) for info in infos]


def ladder(d, n, size=4 * MIB, fmt='qcow2', options=None, base_fmt='raw', seed=1):
    """base and 1 ... n over it, each with data, zeros and holes of its own; n is the image. Their paths, the top first."""
    rng = random.Random(seed)
    base = f'{d}/base'
    raw_image(f'{base}.raw', size, (0, size // 2), (size // 2 + size // 4, size // 8))
    if base_fmt == 'raw':
        os.rename(f'{base}.raw', base)
    else:
        qemu_img('convert', '-f', 'raw', '-O', base_fmt, f'{base}.raw', base)
        os.unlink(f'{base}.raw')
    paths, below, below_fmt = [base], 'base', base_fmt
    for number in range(1, n + 1):
        path = overlay(f'{d}/{number}', below, fmt, options, below_fmt)
        for _ in range(4):
            start = rng.randrange(0, size - 200 * 1024) // 512 * 512
            qemu_io(path, fmt, f'write {rng.choice(["-P 7", f"-P {number + 40}", f"-P {number + 90}", "-z"])} {start} '
                               f'{rng.randrange(512, 200 * 1024)}')
        below, below_fmt = str(number), fmt
        paths.insert(0, path)
    return paths


def child(d, name, of, fmt='qcow2', child_fmt='qcow2'):
    """Another image over a file of a chain, with a write of its own."""
    path = overlay(f'{d}/{name}', os.path.relpath(of, d), child_fmt, base_fmt=fmt)
    size = images.image_info(path)['virtual-size']
    qemu_io(path, child_fmt, f'write -P 99 {size // 3} {min(20 * 1024, size - size // 3)}')
    return path


__all__ = ['Heads', 'Untouched', 'child', 'ladder', 'names_of_chain']
