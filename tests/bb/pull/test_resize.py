# SPDX-License-Identifier: MIT OR Apache-2.0
"""blockpull resize, beside qemu-img resize of a copy: the same size, the same content, nothing damaged; and what is
refused leaves the image as it was.
"""
import os
import shutil

import harness
import images
from harness import DONE, KIB, LOCKED, MIB, USAGE, bp, case, check, refused, same
from images import image_check, image_info, overlay, qemu_img, qemu_io

BELOW = 0x77  # what the base is full of


def pair(d, fmt, options, size, base_size, base_fmt='raw'):
    """An overlay of `size` bytes over a full base, written to at its end, and a copy of it."""
    with open(f'{d}/base.raw', 'wb') as file:
        file.write(bytes([BELOW]) * base_size)
    if base_fmt == 'raw':
        os.rename(f'{d}/base.raw', f'{d}/base')
    else:
        qemu_img('convert', '-f', 'raw', '-O', base_fmt, f'{d}/base.raw', f'{d}/base')
    top = overlay(f'{d}/top', 'base', fmt, options, base_fmt, size=str(size))
    qemu_io(top, fmt, 'write -P 3 0 64k', f'write -P 4 {size - 700} 700')
    shutil.copy(top, f'{d}/copy')
    return top, f'{d}/copy'


def content(path, fmt):
    flat = images.flatten(path, fmt, f'{path}.flat')
    with open(flat, 'rb') as file:
        return file.read()


def judge(top, fmt, before, new):
    same(image_info(top)['virtual-size'], new, 'the size')
    same(image_check(top, fmt), 0, 'qemu-img check')
    now = content(top, fmt)
    check(now[:len(before)] == before, 'what was there changed')
    check(not any(now[len(before):]), f'the new end shows {now[len(before):].lstrip(bytes(1))[:8].hex()}')


@case('a base that is longer than both', 'qcow2', None, MIB, 3 * MIB, 2 * MIB)
@case('a base that ends in the new end', 'qcow2', None, MIB, 2 * MIB + 512, 3 * MIB)
@case('a base as long as the disk', 'qcow2', None, MIB, MIB, 9 * MIB)
@case('a shorter base', 'qcow2', None, MIB, 300 * KIB, 9 * MIB)
@case('an end inside a cluster', 'qcow2', None, MIB + 1536, 3 * MIB, 2 * MIB + 512)
@case('an end inside a cluster, and a new one in the same', 'qcow2', None, MIB + 1536, 3 * MIB, MIB + 2560)
@case('clusters of 2 MiB', 'qcow2', 'cluster_size=2M', MIB, 7 * MIB, 6 * MIB)
@case('extended L2 entries', 'qcow2', 'extended_l2=on', MIB - 9 * KIB, 3 * MIB, 2 * MIB)
@case('a longer L1 table, whose counts need blocks', 'qcow2', 'cluster_size=512', MIB, 2 * MIB, 40 * MIB)
@case('a longer L1 table, whose counts of 64 bits need blocks', 'qcow2', 'cluster_size=512,refcount_bits=64', MIB, 2 * MIB, 40 * MIB)
@case('a longer L1 table, whose counts of one bit need blocks', 'qcow2', 'cluster_size=512,refcount_bits=1', MIB, 2 * MIB, 40 * MIB)
@case('version 2', 'qcow2', 'compat=0.10', MIB, 512 * KIB, 3 * MIB)
@case('lazy refcounts', 'qcow2', 'lazy_refcounts=on', MIB, 3 * MIB, 2 * MIB)
@case('QED', 'qed', None, MIB, 512 * KIB, 3 * MIB)
def grown(d, fmt, options, size, base_size, new):
    top, copy = pair(d, fmt, options, size, base_size)
    before = content(top, fmt)
    said = bp('resize', top, str(new)).out
    check(str(new) in said and str(size) in said, said)
    qemu_img('resize', '-q', '-f', fmt, copy, str(new))
    judge(top, fmt, before, new)
    check(content(top, fmt) == content(copy, fmt), 'qemu-img resize shows something else')


@case('QED below a longer base, which QEMU does not do')
def qed(d):
    top, _ = pair(d, 'qed', None, MIB + 512, 3 * MIB)
    before = content(top, 'qed')
    bp('resize', '-q', top, '+1M')
    judge(top, 'qed', before, 2 * MIB + 512)


@case('again and again, and pulled: the end stays zeros')
def pulled(d):
    top, _ = pair(d, 'qcow2', 'cluster_size=512', MIB, 3 * MIB)
    before = content(top, 'qcow2')
    for new in MIB + 512, MIB + 20 * KIB, 2 * MIB, 2 * MIB, 17 * MIB, 33 * MIB:
        bp('resize', '-q', top, str(new))
        judge(top, 'qcow2', before, new)
    bp('pull', '-q', top)
    os.unlink(f'{d}/base')
    judge(top, 'qcow2', before, 33 * MIB)


@case('internal snapshots keep their size and content')
def snapshots(d):
    top, copy = pair(d, 'qcow2', 'cluster_size=4k', MIB, 3 * MIB)
    for path in top, copy:
        qemu_img('snapshot', '-c', 'one', path)
        qemu_io(path, 'qcow2', 'write -P 9 100k 50k')
    bp('resize', '-q', top, '5M')
    qemu_img('resize', '-q', '-f', 'qcow2', copy, '5M')
    check(content(top, 'qcow2') == content(copy, 'qcow2'), 'the disk')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    for path in top, copy:
        qemu_img('snapshot', '-a', 'one', path)
    check(content(top, 'qcow2') == content(copy, 'qcow2'), 'the snapshot')


@case('a data file grows with it')
def data_file(d):
    top = f'{d}/top'
    qemu_img('create', '-q', '-f', 'qcow2', '-o', f'data_file={d}/data', top, '1M')
    qemu_io(top, 'qcow2', 'write -P 5 1000k 24k')
    before = content(top, 'qcow2')
    bp('resize', '-q', top, '3M')
    judge(top, 'qcow2', before, 3 * MIB)
    same(os.path.getsize(f'{d}/data'), 3 * MIB, "the data file's size")


@case('raw, where it is said')
def raw(d):
    with open(f'{d}/raw', 'wb') as file:
        file.write(b'x' * MIB)
    said = bp('resize', f'{d}/raw', '2M', rc=None)
    check(said.rc != DONE and '--format=raw' in said.err, f'raw was resized unasked: {said}')
    said = bp('resize', '--backing-format=none=raw', overlay(f'{d}/top', 'raw'), '2M', rc=None)
    check("'none'" in said.err and '--format=raw' not in said.err, f'advice for another error: {said}')
    same(os.path.getsize(f'{d}/raw'), MIB, 'size')
    bp('resize', '-q', '-f', 'raw', f'{d}/raw', '+1M')
    with open(f'{d}/raw', 'rb') as file:
        check(file.read() == b'x' * MIB + bytes(MIB), 'content')


@case('what is refused leaves the image as it was')
def refusals(d):
    top, _ = pair(d, 'qcow2', None, MIB, MIB)
    qemu_img('bitmap', '--add', top, 'b')
    os.mkdir(f'{d}/v2')
    old, _ = pair(f'{d}/v2', 'qcow2', 'compat=0.10', MIB, 3 * MIB)
    snap = overlay(f'{d}/snap', 'base', 'qcow2', 'compat=0.10')
    qemu_img('snapshot', '-c', 'one', snap)
    plain = overlay(f'{d}/plain', 'base')
    for path, size, words in ((plain, '512K', ['shorter']), (plain, '2000001', ['multiple of 512']), (top, '2M', ['bitmap']),
                              (old, '2M', ['backing file is longer', 'compat=1.1']), (snap, '2M', ['snapshot', 'version 2']),
                              (plain, '+8E', ['bytes'])):
        before = images.digest(path)
        result = bp('resize', path, size, rc=None)
        check(result.rc not in (DONE, USAGE) and all(word in result.err for word in words), f'{path} {size}: {result}')
        same(images.digest(path), before, f'{path} changed')
    refused(USAGE, ['size'], 'resize', plain)
    refused(USAGE, ['SIZE'], 'resize', plain, '12b')
    refused(USAGE, ['no size', 'image comes first'], 'resize', '2M', plain)
    refused(USAGE, ['one size'], 'resize', plain, '2M', '3M')
    user = images.use(plain)
    refused(LOCKED, ['lock'], 'resize', plain, '2M')
    harness.kill(user)
    harness.finish(user)


if __name__ == '__main__':
    harness.main(workers=2)
