# SPDX-License-Identifier: MIT OR Apache-2.0
"""What check finds that no refcount tells, and what it must not call clean.

Compressed data inside a plain cluster is made by QEMU itself: 7.2 goes on packing into a cluster that a
discard has freed and a plain write has taken. Then its repair makes the refcounts agree. Features unknown
here are made by hand, in headers whose fields are published.
"""
import os
import random
import shutil
import struct
import time

import harness
import images
from harness import CORRUPT, DONE, KIB, LEAKS, MIB, REFUSED, Skip, bp, case, check, note, same
from images import Untouched, overlay, patch, qemu_img, qemu_io, raw_image, refused_alike
from qcow2_reader import OFFSET, Reader

SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
INSIDE = 'compressed data lies inside'


def is_inside(path):
    """Whether the second reader sees compressed data in a cluster that is plain data as well."""
    r, plain, packed = Reader(path), set(), set()
    for number in range(r.size >> r.bits):
        cell = r.at(r.active, number << r.bits)
        if cell.kind == 'packed':
            host, length = r.packed_extent(cell.entry)
            packed |= set(range(host >> r.bits, (host + length - 1 >> r.bits) + 1))
        elif cell.host:
            plain.add(cell.host >> r.bits)
    return bool(plain & packed)


def by_qemu(path, *backing):
    """An image that qemu-img check calls clean."""
    qemu_img('create', '-q', '-f', 'qcow2', *backing, path, '4M')
    qemu_io(path, 'qcow2', 'write -c -P 1 0 64k', 'discard 0 64k', 'write -P 2 128k 64k',
            'write -c -P 3 256k 64k', flags=('-d', 'unmap'))
    qemu_img('check', '-q', '-r', 'all', path, rc=(0, 2, 3))
    if not is_inside(path):
        raise Skip('this QEMU packs nothing into a plain cluster')
    return path


@case('compressed data inside a plain cluster, by QEMU: the image')
def inside(d):
    raw_image(f'{d}/base.img', 4 * MIB)
    top = by_qemu(f'{d}/top', '-b', 'base.img', '-F', 'raw')
    before = Untouched(top)
    result = bp('check', top, rc=CORRUPT)
    check(INSIDE in result.out, str(result))
    result = bp('check', '--repair=all', top, rc=CORRUPT)
    check('Not repaired' in result.out and INSIDE in result.out, str(result))
    for extra in (), ('--compress',):
        result = bp('pull', *extra, top, rc=CORRUPT)
        check('damaged' in result.err and 'nothing was changed' in result.err, str(result))
    before.verify('although it is damaged')


@case('compressed data inside a plain cluster, by QEMU: marked dirty, refcounts gone')
def inside_dirty(d):
    raw_image(f'{d}/base.img', 4 * MIB)
    top = by_qemu(f'{d}/top', '-b', 'base.img', '-F', 'raw')
    r = Reader(top)
    patch(top, 72, struct.pack('>Q', 1))
    block, = struct.unpack_from('>Q', r.file, r.rt_off)
    patch(top, block + 2 * 4, bytes(8))
    before = Untouched(top)
    result = bp('pull', top, rc=CORRUPT)
    check('nothing was changed' in result.err, str(result))
    before.verify('although it is damaged')


@case('data over a refcount block of a dirty image is not mended by a pull')
def over_metadata(d):
    raw_image(f'{d}/base.img', 4 * MIB)
    for name in 'refcount block', 'refcount table':
        top = overlay(f'{d}/top', f'{d}/base.img', options='lazy_refcounts=on')
        qemu_io(top, 'qcow2', 'write -P 2 0 64k')
        r = Reader(top)
        l2 = struct.unpack_from('>Q', r.file, r.l1_off)[0] & OFFSET
        block, = struct.unpack_from('>Q', r.file, r.rt_off)
        patch(top, l2 + 8 * 5, struct.pack('>Q', 1 << 63 | (block if 'block' in name else r.rt_off)))
        patch(top, 72, struct.pack('>Q', 1))
        before = Untouched(top)
        result = bp('pull', top, rc=CORRUPT)
        check('one owner' in result.err, f'{name}: {result}')
        before.verify(f'although data lies over its {name}')
        os.unlink(top)


@case('compressed data inside a plain cluster, by QEMU: a backing file')
def inside_backing(d):
    by_qemu(f'{d}/base')
    top = overlay(f'{d}/top', 'base', base_fmt='qcow2')
    before = Untouched(top, f'{d}/base')
    result = bp('pull', top, rc=CORRUPT)
    check('nothing was changed' in result.err and 'base' in result.err, str(result))
    before.verify('although the chain is damaged')


@case('compressed data inside a plain cluster, by QEMU: a file that a compaction would leave out')
def inside_compacted(d):
    by_qemu(f'{d}/base')
    middle = overlay(f'{d}/middle', 'base', base_fmt='qcow2')
    top = overlay(f'{d}/top', 'middle', base_fmt='qcow2')
    before = Untouched(top, middle, f'{d}/base')
    result = bp('compact', '--from', middle, '--to', f'{d}/base', top, rc=CORRUPT)
    check('nothing was changed' in result.err and 'base' in result.err, str(result))
    before.verify('although the chain is damaged')


@case('compressed data inside a plain cluster, by QEMU: what a commit takes down', 'middle', None)
@case('compressed data inside a plain cluster, by QEMU: the image that is committed', 'top', None)
@case('compressed data inside a plain cluster, by QEMU: the base that a commit writes to', 'base', None)
@case('a table entry that leads behind the end: what a commit takes down', 'middle', 'bend')
@case('a table entry that leads behind the end: the image that is committed', 'top', 'bend')
@case('a table entry that leads behind the end: the base that a commit writes to', 'base', 'bend')
def committed(d, which, bends):
    paths = [f'{d}/{name}' for name in ('base', 'middle', 'top')]
    for number, path in enumerate(paths):
        link = ('-b', paths[number - 1], '-F', 'qcow2') if number else ()
        if os.path.basename(path) == which and not bends:
            by_qemu(path, *link)
            continue
        qemu_img('create', '-q', '-f', 'qcow2', *link, path, '4M')
        qemu_io(path, 'qcow2', f'write -P {number + 4} {number}M 64k')
    if bends:
        bend_l2(f'{d}/{which}')
    before = Untouched(*paths)
    for dry in ('-n',), ():
        result = bp('commit', *dry, '--base', paths[0], paths[2], rc=CORRUPT)
        check('nothing was changed' in result.err and f'{d}/{which}: damaged' in result.err and
              'blockpull check' in result.err, f'{dry}: {result}')
        before.verify('although the chain is damaged')


@case('compressed data inside a plain cluster, by QEMU: a dry run and measure refuse it, too')
def inside_backing_dry(d):
    by_qemu(f'{d}/base')
    top = overlay(f'{d}/top', 'base', base_fmt='qcow2')
    refused_alike(CORRUPT, ['base', 'damaged'], top, f'{d}/base')


def bend_l2(path):
    """The first table entry points far behind the file's end."""
    l2 = struct.unpack_from('>Q', Reader(path).file, Reader(path).l1_off)[0] & OFFSET
    patch(path, l2, struct.pack('>Q', 1 << 63 | 1 << 40))


def bend_l1(path):
    """The first table is where none can be."""
    patch(path, Reader(path).l1_off, struct.pack('>Q', 1 << 63 | 1 << 40))


@case('a backing file with a damaged table: a dry run and measure refuse it, too', bend_l2, ())
@case('a backing file whose first table is gone: a dry run and measure refuse it, too', bend_l1, ())
@case('a damaged table above the base that stays', bend_l2, ('--base',))
def damaged_backing(d, bend, args):
    raw_image(f'{d}/raw', 4 * MIB)
    mid = overlay(f'{d}/mid', 'raw')
    qemu_io(mid, 'qcow2', 'write -P 1 0 64k')
    bend(mid)
    top = overlay(f'{d}/top', 'mid', base_fmt='qcow2', size='4M')
    refused_alike(CORRUPT, ['mid', 'damaged'], top, mid, f'{d}/raw', args=(*args, f'{d}/raw') if args else ())


@case('compressed data inside a plain cluster, by QEMU: a base that stays and is copied from in part')
def inside_base_that_stays(d):
    """The middle layer has 4 KiB of a cluster of the top one: the rest of it comes from the base."""
    base = by_qemu(f'{d}/base')
    mid = overlay(f'{d}/mid', 'base', options='cluster_size=4k', base_fmt='qcow2')
    top = overlay(f'{d}/top', 'mid', base_fmt='qcow2')
    whole = Untouched(top, mid, base)
    # Where the middle layer has the whole cluster, or a part of one that the base does not have, all is well.
    for number, command in enumerate(('write -P 5 256k 64k', 'write -P 5 1M 4k')):
        for name in 'mid', 'top':
            shutil.copy(f'{d}/{name}', f'{d}/{name}{number}')
        qemu_img('rebase', '-u', '-f', 'qcow2', '-b', f'mid{number}', '-F', 'qcow2', f'{d}/top{number}')
        qemu_io(f'{d}/mid{number}', 'qcow2', command)
        bp('pull', '--base', base, f'{d}/top{number}')
    whole.verify('by other pulls')
    qemu_io(mid, 'qcow2', 'write -P 5 256k 4k')
    refused_alike(CORRUPT, ['base', 'damaged', 'nothing was changed'], top, mid, base, args=('--base', base))


@case('compressed data beside the rest, at random, agrees with a second reader')
def packed_at_random(d):
    note(f'BB_SEED={SEED}')
    rng, seen = random.Random(SEED), set()
    for number in range(25):
        path, cluster = f'{d}/{number}', rng.choice([4, 16, 64]) * KIB
        size = 40 * cluster
        qemu_img('create', '-q', '-f', 'qcow2', '-o', f'cluster_size={cluster}', path, str(size))
        commands = []
        for _ in range(rng.randint(3, 14)):
            at = rng.randrange(40) * cluster
            commands.append(rng.choice([f'write -c -P {rng.randint(1, 255)} {at} {cluster}',
                                        f'write -c -P {rng.randint(1, 255)} {at} {cluster}',
                                        f'write -P {rng.randint(1, 255)} {at} {cluster}',
                                        f'discard {at} {cluster}']))
        # Not images.qemu_io(): QEMU finds some of its own damage, and fails.
        harness.run('qemu-io', '-f', 'qcow2', '-d', 'unmap', *(w for c in commands for w in ('-c', c)), path)
        if rng.random() < 0.3:
            qemu_img('snapshot', '-c', 's', path, rc=(0, 1))
        qemu_img('check', '-q', '-r', 'all', path, rc=(0, 1, 2, 3))
        wanted = is_inside(path)
        seen.add(wanted)
        result = bp('check', path, rc=CORRUPT if wanted else None)
        check(wanted == (INSIDE in result.out), f'{commands}: {result}')
        theirs = qemu_img('check', '-f', 'qcow2', path, rc=(0, 1, 2, 3)).rc
        check(wanted or result.rc == {0: DONE, 2: CORRUPT, 3: LEAKS}.get(theirs), f'{commands}: {result}')
    check(False in seen, 'every image was damaged')


def compressed_entry(path):
    """Host byte of the L2 entry of guest cluster 0, which is compressed."""
    r = Reader(path)
    return r, struct.unpack_from('>Q', r.file, r.l1_off)[0] & OFFSET


@case('compressed data over every kind of metadata')
def over_tables(d):
    pristine = f'{d}/pristine'
    qemu_img('create', '-q', '-f', 'qcow2', pristine, '4M')
    qemu_io(pristine, 'qcow2', 'write -c -P 1 0 64k', 'write -P 2 1M 64k')
    qemu_img('snapshot', '-c', 's', pristine)
    qemu_img('bitmap', '--add', pristine, 'b')
    r, l2 = compressed_entry(pristine)
    r_bitmap = next(data for kind, data in r.extensions.items() if kind == 0x23852875)
    block, = struct.unpack_from('>Q', r.file, r.rt_off)
    directory = struct.unpack_from('>Q', r_bitmap, 16)[0]
    places = {'L1': r.l1_off, 'L2': l2, 'refcount table': r.rt_off, 'refcount block': block,
              'snapshot table': r.snapshots_off, "a snapshot's L1": r.snapshots[0].l1_off,
              'bitmap directory': directory, 'bitmap table': struct.unpack_from('>Q', r.file, directory)[0],
              'header': 0, 'a data cluster': r.at(r.active, MIB).host}
    same(bp('check', pristine, rc=None).rc, DONE, 'before')
    for name, host in places.items():
        for within in 0, 33000:
            if host + within >= len(r.file):
                continue  # the file ends inside the table's cluster
            path = shutil.copy(pristine, f'{d}/bent')
            patch(path, l2, struct.pack('>Q', 1 << 62 | host + within))
            before = Untouched(path)
            result = bp('check', path, rc=CORRUPT)
            check('one owner' in result.out or 'guest data' in result.out or INSIDE in result.out,
                  f'{name}: {result}')
            before.verify()
    end = os.path.getsize(pristine)
    for host in end, end + 1, 1 << 40:
        path = shutil.copy(pristine, f'{d}/bent')
        patch(path, l2, struct.pack('>Q', 1 << 62 | host))
        result = bp('check', path, rc=CORRUPT)
        check('beyond the end' in result.out, f'{host}: {result}')


# ---- what is not understood ------------------------------------------------------------------------


def plain(d, fmt='qcow2', options=None):
    raw_image(f'{d}/base.img', MIB)
    top = overlay(f'{d}/top', 'base.img', fmt, options)
    qemu_io(top, fmt, 'write -P 1 0 4k')
    return top


def refused_by_all(top, rc, words):
    before = Untouched(top)
    for verb in ('check',), ('check', '--json'), ('check', '--force-share'), ('check', '--repair=leaks'), \
            ('check', '--repair=all'), ('pull',), ('measure',):
        result = bp(*verb, top, rc=rc)
        check(words in result.err, f'{verb}: {result}')
        check('No errors' not in result.out, f'{verb}: {result}')
    before.verify(f'({words})')


@case('unknown incompatible features of qcow2', 'qcow2', 72, '>Q', range(5, 64, 7))
@case('unknown incompatible features of QED', 'qed', 16, '<Q', range(3, 64, 7))
def unknown_feature(d, fmt, offset, layout, bits):
    top = plain(d, fmt)
    with open(top, 'rb') as file:
        file.seek(offset)
        old, = struct.unpack(layout, file.read(8))
    for bit in bits:
        patch(top, offset, struct.pack(layout, old | 1 << bit))
        refused_by_all(top, REFUSED, 'feature unknown here')


@case('a compression type that its feature bit does not vouch for, and an unknown one')
def compression_type(d):
    top = plain(d)
    patch(top, 104, b'\1')
    refused_by_all(top, CORRUPT, 'disagree')
    patch(top, 104, b'\0')
    patch(top, 72, struct.pack('>Q', 8))
    refused_by_all(top, CORRUPT, 'disagree')
    patch(top, 104, b'\7')
    refused_by_all(top, REFUSED, 'compression type is unknown')
    patch(top, 104, b'\1')
    bp('check', top)


@case('an encryption method unknown here')
def crypt_method(d):
    top = plain(d)
    patch(top, 32, struct.pack('>I', 3))
    refused_by_all(top, REFUSED, 'method unknown')


@case('refcount widths and header lengths that can not be')
def header_limits(d):
    top = plain(d)
    for offset, value in (96, 7), (96, 1 << 31), (100, 96), (100, 103), (100, 108), (100, 1 << 30):
        copy = shutil.copy(top, f'{d}/bent')
        patch(copy, offset, struct.pack('>I', value))
        refused_by_all(copy, CORRUPT, 'damaged qcow2')


@case('what may be ignored is: autoclear and compatible bits, unknown extensions')
def ignorable(d):
    top = plain(d)
    patch(top, 80, struct.pack('>QQ', 1 << 33, 1 << 44))
    bp('check', top)
    same(images.image_check(top, 'qcow2'), DONE, 'exit code of qemu-img check')
    bp('pull', top)
    same(Reader(top).autoclear, 0, 'autoclear bits after the pull')
    same(Reader(top).compat, 1 << 33, 'compatible bits after the pull')


@case('encrypted images are checked: their tables are understood')
def encrypted(d):
    qemu_img('create', '-q', '-f', 'qcow2', '--object', 'secret,id=s,data=x', '-o',
             'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10', f'{d}/luks', '1M')
    bp('check', f'{d}/luks')


@case('bitmaps that QEMU opens no image with', 12, struct.pack('>I', 4 | 2))
@case('bitmaps with extra data', 20, struct.pack('>I', 8))
def bitmap_extra(d, offset, data):
    top = plain(d)
    qemu_img('bitmap', '--add', top, '12345678')
    bp('check', top)
    r = Reader(top)
    directory = struct.unpack_from('>Q', r.extensions[0x23852875], 16)[0]
    patch(top, directory + offset, data)
    if offset == 20:  # the name moves behind the extra data, and the directory grows
        patch(top, directory + 24, b'\0' * 8 + b'12345678')
        at = r.file.index(struct.pack('>II', 0x23852875, 24)) + 16
        patch(top, at, struct.pack('>Q', 40))
    check(qemu_img('check', top, rc=(0, 1)).rc == 1, 'this QEMU opens it')
    result = bp('check', top, rc=CORRUPT)
    check('extra data' in result.out, str(result))
    same(len(bp('check', '--json', top, rc=CORRUPT).json()['findings']), 1, 'findings')


if __name__ == '__main__':
    harness.main()
