# SPDX-License-Identifier: MIT OR Apache-2.0
"""Hostile qcow2 images, each with the verdict that the specification gives it. Part 1: header and tables.

A verdict is 'refuse' (a documented exit code, not a byte changed), 'pull' (legal, though odd), 'complete'
(there is nothing to pull, not a byte changed) or 'either' (the specification is silent: refused untouched, or
pulled so that QEMU finds it clean and reads what it read before). Nothing here was taken from what the engine
does: where they disagreed, the specification decided. Images of qemu-img with a byte flipped are in
test_damage.py; here every structure is placed by hand.
"""
import collections
import struct

import hostile_qcow2
from hostile_qcow2 import BASE, BITMAPS, COMPRESSED, COPIED, DATA_FILE, FEATURES, FMT, LUKS, Qcow2, ZERO, overlay

# build(directory) makes top.img and what it needs, and returns what has flat(path), or None.
Image = collections.namedtuple('Image', 'cls title verdict build')
images = []

FAR = 1 << 40          # aligned, far past the end of every file here
SMALL, BIG = 9, 16     # cluster_bits: many tables in a small file; what most images have


def add(cls, title, verdict, build):
    images.append(Image(cls, title, verdict, build))


def base_file(d, content=BASE):
    with open(f'{d}/base.img', 'wb') as file:
        file.write(content)


def bent(cls, title, verdict, bend, bits=SMALL, make=overlay, **options):
    """An image made by make(), bent by bend(image) just before it is written."""
    def build(d):
        base_file(d)
        image = make(bits, **options)
        bend(image)
        image.save(f'{d}/top.img')
        return image
    add(cls, f'{title} ({1 << bits} bytes a cluster)', verdict, build)


def both(cls, title, verdict, bend, **options):
    for bits in SMALL, BIG:
        bent(cls, title, verdict, bend, bits, **options)


def field(cls, verdict, widths=(SMALL, BIG), **fields):
    for b in widths:
        bent(cls, ', '.join(f'{n} = {v:#x}' for n, v in fields.items()), verdict, lambda q: q.set(**fields), b)


def places(q):
    """Where a reference has no business: name -> offset. Clusters in use, each counted once."""
    return {'the refcount table': q.rt_off, 'a refcount block': q.blocks[0], 'the L1 table': q.l1_off,
            'an L2 table': q.l2_off[0], 'the other L2 table': q.l2_off[1], 'a data cluster': q.host[2]}


PLACES = list(places(overlay()))


# ---- The header ---------------------------------------------------------------------------------

def header():
    cls = 'header'
    for version in 0, 1, 4, 255, 0x80000003, 0xffffffff:
        field(cls, 'refuse', [BIG], version=version)
    bent(cls, 'magic', 'refuse', lambda q: q.set(magic=b'QFI\xfa'))
    for bits in 0, 1, 8, 22, 31, 32, 33, 48, 62, 63, 64, 255, 0x80000010, 0xffffffff:
        field(cls, 'refuse', [BIG], bits=bits)
    for bits in 10, 15, 17, 21:
        field(cls, 'refuse', [BIG], bits=bits)  # the tables were made for 16
    for bits in 9, 10, 12, 14, 16, 18, 21:
        for version in 2, 3:
            bent(cls, f'sound, version {version}', 'pull', lambda q: q, bits, version=version)
    for order in range(7):
        bent(cls, f'sound, refcount_order {order}', 'pull', lambda q: q, 12, order=order)
    for size in 1 << 63, (1 << 64) - 1, (1 << 64) - 512, (1 << 63) - 512, 1 << 60, 1 << 50:
        field(cls, 'refuse', size=size)
    both(cls, 'size 0', 'pull', lambda q: q, make=lambda b: Qcow2(b, size=0, l1_size=0))
    both(cls, 'size 0, one L1 entry', 'pull', lambda q: q, make=lambda b: Qcow2(b, size=0, l1_size=1))
    for size in 1, 511, 513, 1000, 65537:
        both(cls, f'size {size}', 'either', lambda q: q, make=lambda b, size=size: Qcow2(b, size=size))
    for method in 1, 2, 3, 0x100, 0xffffffff:
        field(cls, 'refuse', [BIG], crypt=method)
    bent(cls, 'LUKS with a header past the end', 'refuse',
         lambda q: (q.set(crypt=2), q.exts.append((LUKS, struct.pack('>QQ', FAR, 4096)))), BIG)
    bent(cls, 'a LUKS header, but no encryption', 'either',
         lambda q: q.exts.append((LUKS, struct.pack('>QQ', q.alloc(), 4096))), BIG)
    for order in 7, 8, 31, 32, 63, 64, 0xffffffff:
        field(cls, 'refuse', [BIG], order=order)
    for order in 0, 3, 5, 6:
        field(cls, 'refuse', order=order)   # the blocks were made for 4
    for length in 0, 8, 71, 72, 96, 103, 105, 108, 116, 0x10008, 0x7ffffff8, 0xfffffff8, 0xffffffff:
        field(cls, 'refuse', [BIG], header_len=length)
    field(cls, 'refuse', [SMALL], header_len=520)
    for length in 104, 112, 120, 256:
        both(cls, f'sound, header_length {length}', 'pull', lambda q, n=length: q.set(header_len=n))
    both(cls, 'unknown fields of the header', 'pull', lambda q: (q.set(header_len=160), q.patches.append((112, b'u' * 48))))
    bent(cls, 'version 2 with junk behind its header', 'pull', lambda q: q.set(order=200, autoclear=1 << 40), BIG,
         make=lambda b: junk_of_version_2(b))


def junk_of_version_2(bits):
    """Bytes 72... are header extensions in version 2: an unknown one that holds the later fields."""
    image = overlay(bits, version=2)
    image.exts.insert(0, (0x11111111, b'j' * 56))
    return image


def features():
    cls = 'features'
    for bit in 5, 6, 31, 32, 62, 63:
        field(cls, 'refuse', [BIG], incompat=1 << bit)
    field(cls, 'refuse', incompat=2)
    field(cls, 'refuse', incompat=3)
    field(cls, 'refuse', incompat=4)          # a data file without a name
    field(cls, 'refuse', incompat=8)          # a compression type of 0
    field(cls, 'refuse', incompat=16)         # tables made for entries of 8 bytes
    field(cls, 'refuse', packer=1)
    for packer in 2, 255:
        field(cls, 'refuse', [BIG], packer=packer, incompat=8)
    bent(cls, 'a compression type without room for it', 'refuse', lambda q: q.set(incompat=8, header_len=104), BIG)
    field(cls, 'pull', incompat=1)
    field(cls, 'pull', compat=1)
    field(cls, 'pull', compat=(1 << 64) - 1)
    field(cls, 'pull', [BIG], autoclear=(1 << 64) - 4)
    field(cls, 'either', [BIG], autoclear=1)
    field(cls, 'either', [BIG], autoclear=2)
    both(cls, 'dirty, refcounts all wrong', 'pull', lambda q: (q.set(incompat=1), q.counts.update({n: 0 for n in range(2, 12)})))
    both(cls, 'dirty, two references to a cluster', 'refuse',
         lambda q: (q.set(incompat=1), q.entry(7, q.host[1] | COPIED)))
    both(cls, 'dirty, a reference onto the L1 table', 'refuse',
         lambda q: (q.set(incompat=1), q.entry(7, q.l1_off | COPIED)))
    both(cls, 'dirty, a reference past the end', 'refuse', lambda q: (q.set(incompat=1), q.entry(7, FAR | COPIED)))
    both(cls, 'dirty, the refcount table past the end', 'either', lambda q: q.set(incompat=1, rt_off=FAR))
    both(cls, 'dirty, a refcount table entry past the end', 'either',
         lambda q: (q.set(incompat=1), q.reftable.update({0: FAR})))
    for marks in 1 << 20, (1 << 64) - 4:  # which a pull clears, but not in what it refuses
        both(cls, f'dirty, unknown autoclear bits {marks:#x}, a reference past the end', 'refuse',
             lambda q, m=marks: (q.set(incompat=1, autoclear=m), q.entry(7, FAR | COPIED)))
    both(cls, 'leaks, unknown autoclear bits, and a file longer than any refcount table counts', 'either',
         lambda q: (q.alloc(3), q.set(autoclear=1 << 20), setattr(q, 'length', q.end + (1 << 38))))
    both(cls, 'dirty, wrong refcounts, and a file longer than any refcount table counts', 'either',
         lambda q: (q.set(incompat=1), q.counts.update({5: 0}), setattr(q, 'length', q.end + (1 << 38))))
    both(cls, 'dirty, wrong refcounts, a table of snapshots in pieces', 'refuse',
         lambda q: (q.counts.update({5: 0}), q.snapshots(q.snapshot(extra=bytes(8))), q.set(incompat=1)))
    bent(cls, 'names of unknown features with control characters', 'refuse',
         lambda q: (q.set(incompat=1 << 20), q.exts.append((FEATURES, b'\x00\x14' + b'\x1b[31m\n\r\x07evil\xff'.ljust(46, b'\0')))), BIG)
    bent(cls, 'a feature name table of odd length', 'either', lambda q: q.exts.append((FEATURES, b'\0\0dirty bit')), BIG)


def header_tables():
    cls = 'places of tables'
    wrong = [1, 8, 256, 1 << 56, 1 << 62, 1 << 63, (1 << 64) - 512, (1 << 64) - 1, (1 << 64) - 65536, FAR]
    for value in wrong + [0]:
        field(cls, 'refuse', l1_off=value)
        field(cls, 'refuse', rt_off=value)
    for value in wrong:
        field(cls, 'refuse', n_snapshots=1, snapshots_off=value)
        aligned = not value & 0xffff and value < 1 << 63  # QEMU opens no other
        field(cls, 'pull' if aligned else 'refuse', [BIG], n_snapshots=0, snapshots_off=value)
    for name in PLACES:
        if name != 'the L1 table':
            both(cls, f'the L1 table on {name}', 'refuse', lambda q, n=name: q.set(l1_off=places(q)[n]))
        if name != 'the refcount table':
            both(cls, f'the refcount table on {name}', 'refuse', lambda q, n=name: q.set(rt_off=places(q)[n]))
        both(cls, f'the snapshot table on {name}', 'refuse',
             lambda q, n=name: q.set(n_snapshots=1, snapshots_off=places(q)[n]))
    for entries in 0, 1, 0x400001, 1 << 28, 1 << 29, 1 << 31, 0xffffffff:
        field(cls, 'refuse', l1_size=entries)
    both(cls, 'an L1 table over the tables behind it', 'refuse', lambda q: q.set(l1_size=3 * q.cluster // 8))
    both(cls, 'an L1 table with room to spare', 'pull', lambda q: q, make=lambda b: overlay(b, l1_size=40))
    both(cls, 'an L1 table with an entry for VM state', 'pull', lambda q: q.table(30), make=lambda b: overlay(b, l1_size=40))
    both(cls, 'an L1 entry for VM state past the end', 'refuse', lambda q: q.l1.update({30: FAR}),
         make=lambda b: overlay(b, l1_size=40))
    for clusters in 0, 2, 3, 1 << 14, 1 << 15, 1 << 23, 1 << 31, 0xffffffff:
        field(cls, 'refuse', rt_clusters=clusters)
    both(cls, 'a refcount table of three clusters', 'pull', lambda q: q, make=lambda b: overlay(b, rt_clusters=3))
    both(cls, 'a refcount table with a leaked cluster behind it', 'pull', lambda q: q.set(rt_clusters=1),
         make=lambda b: overlay(b, rt_clusters=2))
    for count in 2, 65536, 65537, 1 << 31, 0xffffffff:
        both(cls, f'{count} snapshots without a table', 'refuse', lambda q, n=count: q.set(n_snapshots=n, snapshots_off=FAR))
        both(cls, f'{count} snapshots in a table of zeros', 'refuse',
             lambda q, n=count: q.set(n_snapshots=n, snapshots_off=q.alloc()))


# ---- Extensions and the name --------------------------------------------------------------------

def ext(kind, length, data=b''):
    return struct.pack('>II', kind, length) + data


def extensions():
    cls = 'header extensions'

    def tail(title, verdict, content, bits=BIG, **options):
        bent(cls, title, verdict, lambda q: setattr(q, 'tail', content), bits, **options)
    fmt = ext(FMT, 3, b'raw'.ljust(8, b'\0'))
    for length in 0xffffffff, 0xfffffff9, 0xfffffff8, 0x80000000, 0x7fffffff, 65536, 65000:
        tail(f'unknown, length {length:#x}', 'refuse', fmt + ext(0x12345678, length, b'x' * 8) + bytes(8))
        tail(f'the format, length {length:#x}', 'refuse', ext(FMT, length, b'raw\0\0\0\0\0') + bytes(8))
    for kind, name in (BITMAPS, 'bitmaps'), (FEATURES, 'feature names'), (LUKS, 'encryption'), (DATA_FILE, 'data file'):
        tail(f'{name}, length 2^32-1', 'refuse', fmt + ext(kind, 0xffffffff, b'x' * 8) + bytes(8))
    tail('no end marker: the name ends them', 'pull', fmt)
    tail('no end marker: the name ends them, small clusters', 'pull', fmt, SMALL)
    tail('no end marker, the name beyond sector 0', 'refuse', fmt + ext(0x12345678, 600, b'x' * 600))
    tail('no end marker, half a record before the name', 'refuse', fmt + b'\x12\x34\x56\x78')
    tail('a length that reaches into the name', 'refuse', fmt + ext(0x12345678, 16, b'x' * 8))
    tail('the format twice, alike', 'either', fmt + fmt + bytes(8))
    tail('the format twice, at odds', 'refuse', fmt + ext(FMT, 5, b'qcow2\0\0\0') + bytes(8))
    tail('the format twice, at odds, the other way', 'refuse', ext(FMT, 5, b'qcow2\0\0\0') + fmt + bytes(8))
    tail('unknown ones', 'pull', ext(0x12345678, 5, b'hello\0\0\0') + fmt + ext(0x12345679, 0) + bytes(8))
    tail('many unknown ones', 'pull', fmt + b''.join(ext(0x10000000 + i, 0) for i in range(5000)) + bytes(8))
    tail('data behind the end marker', 'pull', fmt + bytes(8) + b'junk' * 16)
    for name in (b'', b'RAW', b'raw\0', b'qcow2 ', b'r' * 100, b'raw\n', b'\x1b[31mraw', b'vmdk', b'vdi',
                 b'nbd', b'luks', b'json:', b'\xff\xfe', b'qcow', b'%s%n'):
        tail(f'the format {name[:12]!r}', 'refuse', ext(FMT, len(name), name + bytes(-len(name) % 8)) + bytes(8))
    for name in b'file', b'host_device':  # QEMU's words for the file itself
        tail(f'the format {name!r}', 'pull', ext(FMT, len(name), name + bytes(-len(name) % 8)) + bytes(8))
    tail('no format', 'refuse', bytes(8))
    tail('a type of 0 with a length of 4 GiB', 'refuse', fmt + ext(0, 0xffffffff))
    bent(cls, 'the whole first cluster full', 'pull', lambda q: setattr(q, 'tail', fmt + ext(0x12345678, 512 - 112 - 16 - 8 - 8 - 8,
         b'f' * (512 - 112 - 16 - 8 - 8 - 8)) + bytes(8)), SMALL)


def backing_place():
    cls = 'the place of the name'
    for off in 1, 8, 72, 100, 111, 112, 120, 65530, 65536, 65537, 1 << 20, 1 << 32, 1 << 63, (1 << 64) - 1, (1 << 64) - 8:
        field(cls, 'refuse', [BIG], backing_off=off)
    for off in 8, 112, 508, 512, 1 << 63:
        field(cls, 'refuse', [SMALL], backing_off=off)
    for length in 1024, 1025, 65535, 1 << 31, 0xffffffff:
        field(cls, 'refuse', [BIG], backing_len=length)
    for length in 1024, 500, 0xffffffff:
        field(cls, 'refuse', [SMALL], backing_len=length)
    both(cls, 'a name of no bytes', 'either', lambda q: q.set(backing_len=0))
    both(cls, 'no name, but a length', 'complete', lambda q: q.set(backing_off=0))
    both(cls, 'a name at the end of the first cluster', 'pull', lambda q: setattr(q, 'name_at', q.cluster - 8))
    both(cls, 'a name that leaves the first cluster', 'refuse',
         lambda q: (setattr(q, 'backing', b'b'), q.set(backing_off=q.cluster - 7, backing_len=8)))


# ---- L1 and L2 ----------------------------------------------------------------------------------

def tables():
    cls = 'L1 entries'
    for bit in 0, 1, 8, 56, 57, 62:
        both(cls, f'reserved bit {bit}', 'refuse', lambda q, b=bit: q.l1.update({0: q.l1[0] | 1 << b}))
    both(cls, 'reserved bits alone', 'refuse', lambda q: q.l1.update({1: 1 << 56}))
    bent(cls, 'not aligned', 'refuse', lambda q: q.l1.update({0: q.l1[0] + 512}), BIG)
    for value in FAR, 1 << 55, ((1 << 56) - 1) & ~0xffff:
        both(cls, f'past the end: {value:#x}', 'refuse', lambda q, v=value: q.l1.update({0: v | COPIED}))
        both(cls, f'past the end, not COPIED: {value:#x}', 'refuse', lambda q, v=value: q.l1.update({0: v}))
    both(cls, 'at the end', 'refuse', lambda q: q.l1.update({0: q.end | COPIED}))
    both(cls, 'COPIED and nothing else', 'either', lambda q: q.l1.update({1: COPIED}))
    both(cls, 'COPIED clear', 'pull', lambda q: q.l1.update({0: q.l1[0] & ~COPIED}))
    for name in PLACES:
        for flag in (COPIED, 0) if name in ('the L1 table', 'the other L2 table') else (COPIED,):
            both(cls, f'on {name}' + (', not COPIED' if not flag else ''), 'refuse' if name != 'an L2 table' else 'pull',
                 lambda q, n=name, f=flag: q.l1.update({0: places(q)[n] | f}))
    both(cls, 'a table that two entries share, counted', 'either', shared_table)
    cls = 'L2 entries'
    for bit in 1, 4, 8, 56, 60, 61:
        both(cls, f'reserved bit {bit}', 'refuse', lambda q, b=bit: q.entry(1, q.host[1] | COPIED | 1 << b))
        both(cls, f'reserved bit {bit} alone', 'refuse', lambda q, b=bit: q.entry(7, 1 << b))
    bent(cls, 'not aligned', 'refuse', lambda q: q.entry(1, q.host[1] + 512 | COPIED), BIG)
    bent(cls, 'not aligned, zero', 'refuse', lambda q: q.entry(1, q.host[1] + 512 | COPIED | ZERO), BIG)
    for value in FAR, 1 << 55, ((1 << 56) - 1) & ~0xffff:
        for flags in COPIED, 0, COPIED | ZERO, ZERO:
            both(cls, f'past the end: {value | flags:#x}', 'refuse', lambda q, v=value | flags: q.entry(7, v))
    both(cls, 'at the end', 'refuse', lambda q: q.entry(7, q.end | COPIED))
    both(cls, 'on the header: COPIED and nothing else', 'refuse', lambda q: q.entry(7, COPIED))
    both(cls, 'zero and COPIED and nothing else', 'either', lambda q: q.entry(7, COPIED | ZERO))
    for name in PLACES:
        for flag in COPIED, 0:
            both(cls, f'on {name}' + (', not COPIED' if not flag else ''), 'refuse',
                 lambda q, n=name, f=flag: q.entry(7, places(q)[n] | f))
        both(cls, f'zero, on {name}', 'refuse', lambda q, n=name: q.entry(7, places(q)[n] | COPIED | ZERO))
    both(cls, 'two at one cluster, counted', 'pull', twice_counted)
    both(cls, 'two at one cluster, counted, COPIED', 'refuse', lambda q: (q.entry(7, q.host[1] | COPIED), q.refs.update({q.host[1] >> q.bits: 1})))
    both(cls, 'a cluster of two L2 tables, counted once', 'refuse', lambda q: q.entry(q.l2_entries + 3, q.host[1] | COPIED))
    both(cls, 'COPIED clear', 'pull', lambda q: q.entry(1, q.host[1]))
    both(cls, 'zero with a cluster', 'pull', lambda q: q.zero(7, q.alloc() | COPIED))
    bent(cls, 'the zero flag in version 2', 'refuse', lambda q: q.entry(7, ZERO), BIG, version=2)
    bent(cls, 'the zero flag in version 2, with a cluster', 'refuse', lambda q: q.entry(7, ZERO | COPIED | q.alloc()), BIG, version=2)
    both(cls, 'junk behind the end of the disk', 'refuse', lambda q: q.entry(q.l2_entries + 3, FAR | COPIED), make=half_table)
    both(cls, 'a cluster behind the end of the disk', 'pull', lambda q: q.entry(q.l2_entries + 3, q.alloc() | COPIED), make=half_table)
    both(cls, 'a table of noise', 'refuse', lambda q: q.patches.append((q.l2_off[0], hostile_qcow2.pattern('noise', 512))))
    both(cls, 'a table of ones', 'refuse', lambda q: q.patches.append((q.l2_off[0], b'\xff' * q.cluster)))


def half_table(bits):
    image = Qcow2(bits, size=(1 << 2 * bits - 3) + 2 * (1 << bits))
    image.data(1)
    image.data(image.l2_entries)
    return image


def shared_table(q):
    """Legal by the letter (refcount 2, no COPIED); QEMU never makes it."""
    q.l1[0] = q.l2_off[0]
    q.l1[1] = q.l2_off[0]
    q.refs.update({q.l2_off[0] >> q.bits: 1})
    for at, (value, bitmap) in q.l2[0].items():
        if not value & COMPRESSED and value > 511:
            q.l2[0][at] = value & ~COPIED, bitmap
            q.refs.update({(value & ~COPIED) >> q.bits: 1})
        elif value & COMPRESSED:
            q.refs.update({q.host[at] >> q.bits: 1})
    del q.l2[1]
    q.refs[q.l2_off[1] >> q.bits] = q.refs[q.host[q.l2_entries] >> q.bits] = 0
    del q.guest[q.l2_entries]
    for number in list(q.guest):
        if (q.l2_entries + number) << q.bits < q.size:
            q.guest[q.l2_entries + number] = q.guest[number]


def twice_counted(q):
    q.entry(1, q.host[1])
    q.entry(7, q.host[1])
    q.refs.update({q.host[1] >> q.bits: 1})
    q.guest[7] = q.guest[1]


# ---- Refcounts ----------------------------------------------------------------------------------

def refcounts():
    cls = 'refcounts'
    for name in ['the header'] + PLACES:
        def off(q, n=name):
            return 0 if n == 'the header' else places(q)[n]
        both(cls, f'0 for {name}', 'refuse', lambda q, o=off: q.counts.update({o(q) >> q.bits: 0}))
        both(cls, f'9 for {name}', 'either', lambda q, o=off: q.counts.update({o(q) >> q.bits: 9}))
        both(cls, f'a block on {name}', 'pull' if name == 'a refcount block' else 'refuse',
             lambda q, o=off: q.reftable.update({0: o(q)}))
    both(cls, 'leaks', 'pull', lambda q: q.alloc(5))
    both(cls, 'leaks past the end', 'either', lambda q: q.counts.update({(q.end >> q.bits) + 9: 1}))
    both(cls, 'all counts 65535', 'either', lambda q: q.counts.update({n: 65535 for n in range(q.end >> q.bits)}))
    for bit in 0, 1, 8:
        both(cls, f'reserved bit {bit} of a table entry', 'refuse', lambda q, b=bit: q.reftable.update({0: q.blocks[0] | 1 << b}))
    bent(cls, 'a table entry not aligned', 'refuse', lambda q: q.reftable.update({0: q.blocks[0] + 512}), BIG)
    for value in FAR, 1 << 62, 1 << 63, (1 << 64) - 65536:
        both(cls, f'a table entry past the end: {value:#x}', 'refuse', lambda q, v=value: q.reftable.update({0: v}))
        both(cls, f'an unneeded table entry past the end: {value:#x}', 'refuse', lambda q, v=value: q.reftable.update({5: v}))
    both(cls, 'an unneeded table entry at another block', 'refuse', lambda q: q.reftable.update({5: q.blocks[0]}))
    both(cls, 'an unneeded table entry at data', 'refuse', lambda q: q.reftable.update({5: q.host[1]}))
    both(cls, 'an unneeded table entry not aligned', 'refuse', lambda q: q.reftable.update({5: 1}))
    both(cls, 'no block', 'refuse', lambda q: q.reftable.update({0: 0}))
    both(cls, 'a block for later', 'pull', lambda q: q.block(3))
    both(cls, 'a table of noise', 'refuse', lambda q: q.patches.append((q.rt_off, hostile_qcow2.pattern('rt', 512))))
    both(cls, 'a block of zeros', 'refuse', lambda q: q.patches.append((q.blocks[0], bytes(q.cluster))))
    for order in 0, 1, 2:
        bent(cls, f'counts of {1 << order} bits, 0 for data', 'refuse', lambda q: q.counts.update({q.host[1] >> q.bits: 0}), 12,
             order=order)
    bent(cls, 'counts of 64 bits, 2^63 for data', 'either', lambda q: q.counts.update({q.host[1] >> q.bits: 1 << 63}), 12, order=6)
    bent(cls, 'counts of 64 bits, 2^64-1 everywhere', 'either',
         lambda q: q.counts.update({n: (1 << 64) - 1 for n in range(q.end >> q.bits)}), 12, order=6)


def lengths():
    """Files cut off at and around every structure."""
    cls = 'truncated files'
    for bits in SMALL, BIG:
        whole = overlay(bits)
        whole._refcounts()
        cluster = whole.cluster
        cuts = {0, 1, 3, 4, 7, 71, 72, 100, 103, 104, 111, 112, 119, 130}
        for off in list(places(whole).values()) + list(whole.host.values()):
            cuts |= {off, off + 8, off + cluster // 2}
        last = max(whole.host.values())
        for cut in sorted(cuts):
            if cut < whole.end:
                # A file may end inside its last cluster: the rest reads as zeros. Here that loses data.
                verdict = 'refuse' if cut <= last else 'either'
                bent(cls, f'cut at {cut}', verdict, lambda q, n=cut: setattr(q, 'length', n), bits)
    both(cls, 'longer than the refcounts reach', 'either', lambda q: setattr(q, 'length', q.end + 64 * 1024 * 1024))
    both(cls, 'not a multiple of a cluster', 'pull', lambda q: setattr(q, 'length', q.end + 100))
    both(cls, 'ends inside a table behind everything', 'pull', lambda q: setattr(q, 'length', q.table(0) and q.end - q.cluster + 16),
         make=table_last)


def table_last(bits):
    """The last cluster is an L2 table of which only the first entries were ever written."""
    image = Qcow2(bits, size=1 << 2 * bits - 3)
    host = image.alloc()
    image.data(1, host)
    return image


for section in header, features, header_tables, extensions, backing_place, tables, refcounts, lengths:
    section()
