# SPDX-License-Identifier: MIT OR Apache-2.0
"""Hostile qcow2 images, part 2: compressed clusters, subclusters, snapshots, bitmaps, sizes out of proportion."""
import struct
import zlib

from harness import KIB, MIB, TIB
from hostile_images import BIG, FAR, PLACES, SMALL, add, base_file, bent, both, places
from hostile_qcow2 import (BASE, COMPRESSED, COPIED, ZERO, Qcow2, deflate, deflated_zeros, overlay, pattern, zstd_bomb,
                           zstd_frame)

PACKED_BITS = 12, 16


def compressed():
    cls = 'compressed clusters'

    def packed(title, verdict, bend, **options):
        for bits in PACKED_BITS:
            bent(cls, title, verdict, bend, bits, **options)
    packed('sound', 'pull', lambda q: q.packed(7))
    packed('sound, two in one host cluster', 'pull', two_in_one)
    packed('at the end of the file', 'refuse', lambda q: q.packed(7, host=q.end))
    packed('far past the end', 'refuse', lambda q: q.entry(7, COMPRESSED | 1 << 40))
    packed('its last sectors past the end', 'refuse',
           lambda q: q.packed(7, host=q.alloc() + q.cluster - 512, sectors=q.cluster // 512 - 1))
    packed('more sectors than the data needs', 'pull', lambda q: q.packed(7, host=q.alloc(2), sectors=q.cluster // 512 - 1))
    packed('the file ends inside its last sector', 'pull',
           lambda q: setattr(q, 'length', q.packed(7) or q.host[7] + len(q.bytes[q.host[7]])))
    packed('the file ends inside its data', 'refuse',
           lambda q: setattr(q, 'length', q.packed(7, pattern(1, 900)) or q.host[7] + 100))
    for name in ['the header'] + PLACES:
        packed(f'on {name}', 'refuse', lambda q, n=name: q.entry(7, COMPRESSED | (0 if n == 'the header' else places(q)[n])))
    packed('a reference more than is counted', 'refuse', lambda q: q.entry(7, q.l2[0][3][0]))
    packed('shared, counted', 'pull', lambda q: (q.entry(7, q.l2[0][3][0]), q.refs.update({q.host[3] >> q.bits: 1}),
                                                 q.guest.update({7: q.guest[3]})))
    packed('refcount 0', 'refuse', lambda q: q.counts.update({q.host[3] >> q.bits: 0}))
    packed('COPIED', 'refuse', lambda q: q.entry(7, q.l2[0][3][0] | COPIED))
    packed('all bits', 'refuse', lambda q: q.entry(7, (1 << 64) - 1))
    packed('all bits but COPIED', 'refuse', lambda q: q.entry(7, (1 << 63) - 1))
    bent(cls, 'offset bits above 55, clusters of 512 bytes', 'refuse', lambda q: q.entry(7, COMPRESSED | 1 << 57), SMALL)
    for bits in 9, 10, 14, 21:
        bent(cls, 'sound', 'pull', lambda q: q.packed(7), bits)
    zstd = {'incompat': 8, 'packer': 1}

    def as_zstd(q, blob, **options):
        q.set(**zstd)
        del q.l2[0][3], q.guest[3]
        q.refs.pop(q.host.pop(3) >> q.bits)
        q.packed(7, blob, **options)
    for bits in PACKED_BITS:
        bent(cls, 'zstd, sound', 'pull', lambda q: as_zstd(q, small_zstd(q.cluster), content=bytes(q.cluster)), bits)


def small_zstd(length):
    """length zeros, as a frame of one run."""
    return b'\x28\xb5\x2f\xfd\xa0' + struct.pack('<I', length) + struct.pack('<I', length << 3 | 2 | 1)[:3] + b'\0'


def two_in_one(q):
    host = q.alloc(refs=2)
    q.packed(7, host=host)
    q.packed(8, host=host + 512)
    q.bytes[host] = q.bytes[host].ljust(512, b'\0')


BLOBS = {
    'noise': lambda n: pattern(3, 400),
    'nothing': lambda n: bytes(16),
    'ones': lambda n: b'\xff' * 400,
    'half a cluster': lambda n: deflate(bytes(n // 2)),
    'two clusters': lambda n: deflate(bytes(2 * n)),
    '256 MiB of zeros': lambda n: deflated_zeros(256)[:60 * KIB] if n > 60 * KIB else deflate(bytes(n * 800)),
    'a zlib header': lambda n: zlib.compress(bytes(n)),
}
ZSTD_BLOBS = {
    'noise': lambda n: pattern(3, 400),
    'magic alone': lambda n: b'\x28\xb5\x2f\xfd',
    'half a cluster': lambda n: small_zstd(n // 2),
    'two clusters': lambda n: small_zstd(2 * n) if n < 1 << 16 else zstd_bomb(1),
    'runs of 128 KiB': lambda n: zstd_bomb(100),
    'a window of 2 GiB': lambda n: zstd_frame(b'x' * 64, window=0xa8),
    'the largest window': lambda n: zstd_frame(b'x' * 64, window=0xff),
    'a content size of 4 GiB': lambda n: zstd_frame(b'x' * 64, size=0xffffffff),
    'empty frames without end': lambda n: zstd_frame(b'') * 40,
    'a skippable frame of 4 GiB': lambda n: struct.pack('<II', 0x184d2a50, 0xffffffff) + b'x' * 100,
}


def streams():
    """Garbage that only decoding finds. In the image itself a pull never reads it: it stays what it was. In the
    base the pull needs it, and has to stop: the link is kept, and the image reads what it read."""
    cls = 'compressed streams'
    for packer, blobs in enumerate((BLOBS, ZSTD_BLOBS)):
        for name, blob in blobs.items():
            for bits in PACKED_BITS:
                def build(d, packer=packer, blob=blob, bits=bits):
                    image = Qcow2(bits, backing=None, size=256 * KIB)
                    image.packed(2, blob(1 << bits), host=image.alloc(2), content=b'')
                    image.set(**({'incompat': 8, 'packer': 1} if packer else {}))
                    image.save(f'{d}/base.img')
                    top = Qcow2(bits, fmt=b'qcow2', size=256 * KIB)
                    top.data(1)
                    top.save(f'{d}/top.img')
                    return top
                # Decoding stops when a cluster is full; what follows is of no interest.
                long = name in ('two clusters', '256 MiB of zeros', 'runs of 128 KiB')
                add(cls, f'{("deflate", "zstd")[packer]}, in the base: {name} ({1 << bits} bytes a cluster)',
                    'stop?' if long else 'stop', build)

                def bend(q, packer=packer, blob=blob):
                    q.l2[0].pop(3)
                    q.refs.pop(q.host.pop(3) >> q.bits)
                    q.packed(7, blob(q.cluster), host=q.alloc(2), content=b'')
                    if packer:
                        q.set(incompat=8, packer=1)
                bent(cls, f'{("deflate", "zstd")[packer]}, in the image: {name}', 'either', bend, bits)


def subclusters():
    cls = 'subclusters'

    def sub(title, verdict, bend):
        for bits in 14, 16:
            bent(cls, title, verdict, bend, bits, sub=True)
    sub('sound', 'pull', lambda q: q)
    for bit in 0, 5, 31:
        sub(f'subcluster {bit} both allocated and zero', 'refuse',
            lambda q, b=bit: q.entry(1, q.host[1] | COPIED, 0xffffffff | 1 << 32 + b))
        sub(f'subcluster {bit} allocated nowhere', 'refuse', lambda q, b=bit: q.entry(7, 0, 1 << b))
    sub('all bits', 'refuse', lambda q: q.entry(1, q.host[1] | COPIED, (1 << 64) - 1))
    sub('the zero flag of standard entries', 'refuse', lambda q: q.entry(1, q.host[1] | COPIED | ZERO, 0xffffffff))
    sub('the zero flag alone', 'refuse', lambda q: q.entry(7, ZERO, 0))
    sub('a cluster without allocated subclusters', 'pull', lambda q: q.entry(7, q.alloc() | COPIED, 0))
    sub('zero subclusters and no cluster', 'pull', lambda q: (q.entry(7, 0, 0xffffffff << 32), q.guest.update({7: bytes(q.cluster)})))
    sub('a bitmap in a compressed entry', 'either', lambda q: q.entry(3, q.l2[0][3][0], 0xff))
    sub('on the L1 table', 'refuse', lambda q: q.entry(7, q.l1_off | COPIED, 1))
    sub('on the L1 table, nothing allocated', 'refuse', lambda q: q.entry(7, q.l1_off | COPIED, 0))
    sub('past the end, nothing allocated', 'refuse', lambda q: q.entry(7, FAR | COPIED, 0))
    sub('noise', 'refuse', lambda q: q.patches.append((q.l2_off[0], pattern('sub', q.cluster))))
    for bits in 9, 12, 13:
        bent(cls, 'clusters too small for them', 'refuse', lambda q: q, bits, sub=True)


def snapshots():
    cls = 'snapshots'

    def shot(title, verdict, count=1, share=True, after=None, **bad):
        def bend(q):
            values = {k: v(q) if callable(v) else v for k, v in bad.items()}
            q.table_at = q.snapshots(*[q.snapshot(share=share, **{'id': b'%d' % (n + 1), 'name': b'n%d' % n, **values})
                                       for n in range(count)])
            if after:
                after(q)
        both(cls, title, verdict, bend)
    shot('sound', 'pull')
    shot('sound, three', 'pull', 3)
    shot('sound, empty', 'pull', share=False)
    shot('names of control characters', 'pull', name=b'\x1b]0;evil\x07\n\r\0\xff', id=b'\x1b[2J')
    shot('no name', 'pull', name=b'')
    shot('no id', 'either', id=b'')
    shot('the same id twice', 'either', 2, id=b'7')
    shot('the same name twice', 'pull', 2, name=b'same')
    for length in 65535, 1024:
        shot(f'an id of {length} bytes that are not there', 'either', id_len=length)
        shot(f'a name of {length} bytes that are not there', 'either', name_len=length)
    for length in 1025, 65536, 1 << 31, 0xffffffff, 0xfffffff8:
        shot(f'{length} bytes of extra data', 'refuse', extra_len=length)
    shot('no extra data', 'either', extra=b'')
    shot('eight bytes of extra data', 'either', extra=bytes(8))
    shot('unknown extra data', 'pull', extra=lambda q: struct.pack('>QQ', 0, q.size) + b'e' * 40)
    for size in (1 << 64) - 1, 1 << 63, 1 << 60:
        shot(f'a disk of {size:#x}', 'refuse', size=size)
    shot('a smaller disk', 'pull', size=32 * KIB)
    shot('a larger disk than the L1 table maps', 'refuse', size=lambda q: q.size * 4)
    shot('a disk of no bytes', 'pull', size=0)
    shot('VM state of 2^64-1 bytes', 'either', vm64=(1 << 64) - 1)
    for value in 1, 8, 256, FAR, 1 << 62, 1 << 63, (1 << 64) - 512, (1 << 64) - 1:
        shot(f'L1 table at {value:#x}', 'refuse', l1_off=value)
    for value in 0x400001, 1 << 29, 1 << 31, 0xffffffff:
        shot(f'L1 table of {value:#x} entries', 'refuse', l1_size=value)
    for name in ['the header'] + PLACES:
        def at(q, n=name):
            return 0 if n == 'the header' else places(q)[n]
        shot(f'L1 table on {name}', 'refuse', l1_off=at)
        shot(f'L1 entry on {name}', 'refuse' if name not in ('the header',) else 'either', share=False,
             after=lambda q, f=at: q.bytes.update({q.snapshot_l1: struct.pack('>Q', f(q) | COPIED)}))
    shot('L1 entry past the end', 'refuse', after=lambda q: q.bytes.update({q.snapshot_l1: struct.pack('>Q', FAR)}))
    shot('L1 entry with reserved bits', 'refuse', after=lambda q: q.bytes.update({q.snapshot_l1: struct.pack('>Q', q.l2_off[0] | 1 << 57)}))
    shot('tables counted once for two', 'refuse', after=lambda q: q.counts.update({q.l2_off[0] >> q.bits: 1}))
    shot('data counted once for two', 'refuse', after=lambda q: q.counts.update({q.host[1] >> q.bits: 1}))
    shot('COPIED although shared', 'refuse', after=lambda q: q.l1.update({0: q.l1[0] | COPIED}))
    shot('the L1 table counted 0', 'refuse', after=lambda q: q.counts.update({q.snapshot_l1 >> q.bits: 0}))
    shot('the snapshot table counted 0', 'refuse', after=lambda q: q.counts.update({q.table_at >> q.bits: 0}))
    shot('one more than there are', 'refuse', after=lambda q: q.set(n_snapshots=2))
    shot('65537', 'refuse', after=lambda q: q.set(n_snapshots=65537))
    shot('the table past the end', 'refuse', after=lambda q: q.set(snapshots_off=q.end))
    for name in 'the refcount table', 'a refcount block', 'the L1 table', 'an L2 table', 'a data cluster':
        shot(f'an L2 entry on the table, and it on {name}', 'refuse', after=lambda q, n=name: q.set(snapshots_off=places(q)[n]))
    shot('an L2 entry on the snapshot table', 'refuse', after=lambda q: q.entry(7, q.table_at | COPIED))
    shot("an L2 entry on a snapshot's L1 table", 'refuse', after=lambda q: q.entry(7, q.snapshot_l1 | COPIED))
    shot('a block on the snapshot table', 'refuse', after=lambda q: q.reftable.update({5: q.table_at}))
    shot("a block on a snapshot's L1 table", 'refuse', after=lambda q: q.reftable.update({5: q.snapshot_l1}))
    bent(cls, '2000, all without tables', 'pull', lambda q: q.snapshots(*[empty_record(q, n) for n in range(2000)]), BIG)
    bent(cls, '65536 that name one L1 table', 'refuse', lambda q: q.snapshots(*[empty_record(q, n, q.l1_off) for n in range(65536)]), BIG)


def empty_record(q, number, l1_off=0):
    sid = b'%d' % number
    record = struct.pack('>QIHHIIQII', l1_off, q.l1_size if l1_off else 0, len(sid), 0, 0, 0, 0, 0, 16) + bytes(16) + sid
    return record + bytes(-len(record) % 8)


def bitmaps():
    cls = 'bitmaps'

    def bitmap(title, verdict, after=None, autoclear=1, **bad):
        def bend(q):
            values = {k: v(q) if callable(v) else v for k, v in bad.items()}
            q.set(autoclear=autoclear)
            q.directory, q.bitmap_table = q.bitmap(**values)
            if after:
                after(q)
        bent(cls, title, verdict, bend, 12)
        bent(cls, title, verdict, bend, BIG)
    bitmap('sound', 'pull')
    bitmap('in use', 'pull', flags=3)
    bitmap('reserved flags', 'either', flags=0xfffffff8)
    bitmap('an unknown type', 'either', type=2)
    bitmap('type 0', 'either', type=0)
    for granularity in 0, 8, 32, 63, 64, 255:
        bitmap(f'granularity {granularity}', 'either', granularity=granularity, table_entries=[0], table_size=1)
    bitmap('no name', 'either', name=b'')
    bitmap('a name of control characters', 'pull', name=b'\x1b[31m\n')
    bitmap('a name of 65535 bytes that are not there', 'refuse', name_len=65535)
    bitmap('extra data of 4 GiB', 'refuse', extra=0xffffffff)
    for size in 1 << 20, 1 << 29, 1 << 31, 0xffffffff:
        bitmap(f'a table of {size:#x} entries', 'refuse', table_size=size)
    for value in 1, 512, FAR, 1 << 63, (1 << 64) - 1, 0:
        bitmap(f'a table at {value:#x}', 'refuse', table=value)
        bitmap(f'a directory at {value:#x}', 'refuse', dir_off=value)
    for name in PLACES:
        bitmap(f'a table on {name}', 'refuse', table=lambda q, n=name: places(q)[n])
        bitmap(f'a directory on {name}', 'refuse', dir_off=lambda q, n=name: places(q)[n])
        bitmap(f'bits on {name}', 'refuse', table_entries=lambda q, n=name: [places(q)[n]])
    for value in 512, FAR, 1 << 63, 1 << 56, 2:
        bitmap(f'an entry {value:#x}', 'refuse', table_entries=[value])
    bitmap('ones', 'pull', table_entries=[1])
    for size in 0, 8, 1 << 20, 1 << 62, (1 << 64) - 1:
        bitmap(f'a directory of {size:#x} bytes', 'refuse', dir_size=size)
    for count in 0, 2, 65536, 0xffffffff:
        bitmap(f'{count} bitmaps', 'refuse', after=lambda q, n=count: patch_count(q, n))
    bitmap('the same name twice', 'either', count=2)
    bitmap('reserved field', 'either', reserved=1)
    for content in b'', b'x' * 23, b'x' * 32:
        bitmap(f'an extension of {len(content)} bytes', 'refuse', ext=content)
    bitmap('counted 0', 'refuse', after=lambda q: q.counts.update({q.bitmap_table >> q.bits: 0}))
    bitmap('the directory counted 0', 'refuse', after=lambda q: q.counts.update({q.directory >> q.bits: 0}))
    bitmap('an L2 entry on the directory', 'refuse', after=lambda q: q.entry(7, q.directory | COPIED))
    bitmap('an L2 entry on the table', 'refuse', after=lambda q: q.entry(7, q.bitmap_table | COPIED))
    bitmap('not valid any more', 'pull', autoclear=0)
    bitmap('not valid any more, past the end', 'pull', autoclear=0, dir_off=FAR)
    bitmap('not valid any more, on the L1 table', 'pull', autoclear=0, dir_off=lambda q: q.l1_off)


def patch_count(q, count):
    kind, content = q.exts[-1]
    q.exts[-1] = kind, struct.pack('>I', count) + content[4:]


def giants():
    """Much from few bytes. 'fits': legal, and small enough for the judge's tools; 'limits': within time and memory."""
    cls = 'giants'

    def top(title, verdict, make, length=None):
        def build(d):
            base_file(d)
            image = make()
            image.length = length and length(image)
            image.save(f'{d}/top.img')
            return image
        add(cls, title, verdict, build)

    def huge(size, bits, **options):
        image = Qcow2(bits, size=size, **options)
        image.data(1)
        image.data((size >> bits) - 1)
        return image
    top('2 PiB, an L1 table of 32 MiB', 'limits', lambda: huge(2 << 50, 16))
    top('1 EiB, an L1 table of 16 MiB', 'limits', lambda: huge(1 << 60, 21))
    top('128 GiB in clusters of 512 bytes, an L1 table of 32 MiB', 'limits', lambda: huge(128 << 30, 9, rt_clusters=40))
    for tail in 8 * MIB, TIB, 8 * TIB:
        for bits in 9, 16:
            top(f'{tail >> 20} MiB of nothing behind the image ({1 << bits} bytes a cluster)', 'limits',
                lambda b=bits: overlay(b), lambda q, t=tail: q.end + t)

    def far_data(where, bits=16):
        q = Qcow2(bits, size=8 << 20, rt_clusters=1)
        index = (where >> bits) // q.per_block
        q.rt_clusters = index * 8 // q.cluster + 1
        q.rt_off = q.alloc(q.rt_clusters)
        q.data(1)
        q.block(index)
        q.refs[where >> bits] = 1
        q.data(2, where)
        q.end = where + q.cluster
        return q
    for where in 1 << 36, 1 << 40, 8 << 40:
        top(f'data at {where >> 30} GiB', 'limits', lambda w=where: far_data(w))
    top('data at 128 GiB, clusters of 4096 bytes', 'limits', lambda: far_data(1 << 37, 12))

    def many_tables():
        """4096 L1 entries at one L2 table: 2 TiB of entries to walk, were each walked for itself."""
        q = Qcow2(16, size=4096 << 29)
        q.data(1)
        for index in range(4096):
            q.l1[index] = q.l2_off[0]
        q.refs[q.l2_off[0] >> 16] = 4096
        q.entry(1, q.host[1])
        q.refs[q.host[1] >> 16] = 4096
        return q
    top('one L2 table for 4096 L1 entries, counted', 'limits', many_tables)

    def many_snapshots():
        q = overlay(16)
        q.snapshots(*[q.snapshot(id=b'%d' % n, name=b'') for n in range(1500)])
        return q
    top('1500 snapshots that share all', 'limits', many_snapshots)


for section in compressed, streams, subclusters, snapshots, bitmaps, giants:
    section()
