# SPDX-License-Identifier: MIT OR Apache-2.0
"""Compressed clusters below an overlay: each is decoded once, however much of it is hidden."""
import os

import harness
import images
from harness import KIB, MIB, bp, case, check, note, same
from images import overlay, qemu_img

SIZE = 8 * MIB


def compressed_base(d, kind, cluster):
    with open(f'{d}/raw.img', 'wb') as file:  # every 16 bytes say where they are, and compress well
        for at in range(0, SIZE, 16):  # no long string: a child's peak begins with this process's
            file.write(b'%015d\n' % at)
    qemu_img('convert', '-c', '-O', 'qcow2', '-o', f'cluster_size={cluster},compression_type={kind}',
             f'{d}/raw.img', f'{d}/base.img')
    compressed = bp('map', '--json', f'{d}/base.img').out.replace(' ', '').count('"compressed":true')
    check(compressed, 'qemu-img compressed nothing')


@case('compressed clusters of 2 MiB behind a chessboard, zlib', 'zlib', 2 * MIB)
@case('compressed clusters of 2 MiB behind a chessboard, zstd', 'zstd', 2 * MIB)
@case('compressed clusters of 64 KiB behind a chessboard', 'zlib', 64 * KIB)
def chessboard(d, kind, cluster):
    """A layer with every other KiB of its own makes a thousand parts of each MiB of the base: here across
    a border of large clusters. The judge decodes a cluster anew for each part, so it is not more."""
    compressed_base(d, kind, cluster)
    middle = overlay(f'{d}/middle.img', 'base.img', 'qcow2', 'cluster_size=512', 'qcow2')
    images.qemu_io(middle, 'qcow2', *(f'write -P {1 + at // KIB % 255} {at} 512' for at in range(3 * MIB // 2, 5 * MIB // 2, KIB)))
    top = overlay(f'{d}/top.img', 'middle.img', 'qcow2', None, 'qcow2')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    result = bp('pull', top)
    note(f'{result.seconds:.2f} s, {result.max_rss / MIB:.1f} MiB')
    if not harness.instrumented():
        check(result.max_rss < 64 * MIB, f'{result.max_rss / MIB:.1f} MiB of memory')
    images.judge_pulled(top, 'qcow2', flat)


@case('clusters that share their compressed bytes, each of them whole')
def shared(d):
    """No table says that compressed bytes belong to one cluster only."""
    compressed_base(d, 'zlib', 64 * KIB)
    with open(f'{d}/base.img', 'r+b') as file:
        l1 = int.from_bytes(os.pread(file.fileno(), 8, 40), 'big')
        l2 = int.from_bytes(os.pread(file.fileno(), 8, l1), 'big') & 0x00fffffffffffe00
        entry = os.pread(file.fileno(), 8, l2)
        for cluster in range(1, 40):
            os.pwrite(file.fileno(), entry, l2 + 8 * cluster)
    top = overlay(f'{d}/top.img', 'base.img', 'qcow2', None, 'qcow2')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    bp('pull', top)
    images.judge_pulled(top, 'qcow2', flat)


@case('compressed clusters at one place of two files')
def one_place(d):
    """The base's first compressed cluster and that of the image above lie at one offset, as long, and side by side."""
    base, mid, top = (f'{d}/{name}' for name in ('base.img', 'mid.img', 'top.img'))
    with open(f'{base}.raw', 'wb') as file:
        file.truncate(MIB)
        file.seek(64 * KIB)
        file.write(b'B' * 64 * KIB)
    qemu_img('convert', '-c', '-O', 'qcow2', '-f', 'raw', f'{base}.raw', base)
    overlay(mid, 'base.img', 'qcow2', None, 'qcow2')
    images.qemu_io(mid, 'qcow2', 'write -c -P 77 0 64k')
    compressed = [(extent['depth'], extent['start']) for extent in bp('map', '--json', mid).json() if extent['compressed']]
    same(compressed, [(0, 0), (1, 64 * KIB)], 'compressed clusters')
    overlay(top, 'mid.img', 'qcow2', None, 'qcow2')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    bp('pull', top)
    images.judge_pulled(top, 'qcow2', flat)


if __name__ == '__main__':
    harness.main()
