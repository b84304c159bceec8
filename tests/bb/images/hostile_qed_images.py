# SPDX-License-Identifier: MIT OR Apache-2.0
"""Hostile QED images, by qed_spec; the verdicts are those of hostile_images.py."""
import os

from harness import KIB, TIB
from hostile_images import FAR, add, base_file
from hostile_qcow2 import pattern
from hostile_qed import BACKING, NEED_CHECK, NO_PROBE, Qed, overlay


def bent(cls, title, verdict, bend, **options):
    def build(d):
        base_file(d)
        image = overlay(**options)
        bend(image)
        image.fmt = 'qed'
        image.save(f'{d}/top.img')
        return image
    add(cls, title, verdict, build)


def field(cls, verdict, **fields):
    bent(cls, ', '.join(f'{n} = {v:#x}' for n, v in fields.items()), verdict, lambda q: q.set(**fields))


def header():
    cls = 'QED header'
    # Not larger: where one L2 table maps more than 2 GiB, qemu-img 7.2 fails an assertion of its own.
    for cluster, tables in (4 * KIB, 2), (4 * KIB, 4), (4 * KIB, 16), (16 * KIB, 16), (64 * KIB, 2), (64 * KIB, 4):
        bent(cls, f'sound, {cluster} bytes, tables of {tables}', 'pull', lambda q: q, cluster=cluster, tables=tables,
             size=(tables * cluster // 8 + 8) * cluster)
    bent(cls, 'sound, a header of three clusters', 'pull', lambda q: q, header_size=3)
    bent(cls, 'sound, the name in the third cluster', 'pull', lambda q: setattr(q, 'name_at', 9000), header_size=3)
    for value in 0, 1, 512, 2048, 4095, 4097, 6144, 1 << 27, 1 << 31, 0xffffffff, 8192:
        field(cls, 'refuse', cluster_size=value)
    for value in 0, 3, 5, 17, 32, 1 << 31, 0xffffffff:
        field(cls, 'refuse', table_size=value)
    for value in 0, 2, 100, 1 << 20, 1 << 31, 0xffffffff:
        field(cls, 'refuse', header_size=value)
    for bit in 3, 4, 31, 32, 63:
        field(cls, 'refuse', features=BACKING | NO_PROBE | 1 << bit)
    field(cls, 'pull', compat=(1 << 64) - 1)
    field(cls, 'pull', autoclear=(1 << 64) - 1)
    field(cls, 'pull', features=BACKING | NO_PROBE | NEED_CHECK)
    field(cls, 'pull', features=BACKING)          # probed, as its specification says: the base stands alone
    field(cls, 'complete', features=0)
    field(cls, 'complete', features=NO_PROBE)
    for value in 0, 1, 512, 4095, 1 << 32, FAR, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1:
        field(cls, 'refuse', l1_off=value)
    bent(cls, 'the L1 table on an L2 table', 'refuse', lambda q: q.set(l1_off=q.l2_off[0]))
    bent(cls, 'the L1 table on data', 'refuse', lambda q: q.set(l1_off=q.host[1]))
    bent(cls, 'the L1 table half past the end', 'refuse', lambda q: q.set(l1_off=q.end - q.cluster))
    for value in 1, 511, 513, (1 << 64) - 512, (1 << 64) - 1, 1 << 63, (1024 * 1024 * 4096) + 512:
        field(cls, 'refuse', size=value)
    bent(cls, 'size 512', 'pull', lambda q: setattr(q, 'size', 512))
    bent(cls, 'size 0', 'pull', lambda q: q.guest.clear() or setattr(q, 'size', 0))
    bent(cls, 'the largest size', 'pull', lambda q: setattr(q, 'size', 1024 * 1024 * 4096))
    cls = 'QED backing name'
    for value in 0, 8, 63, 4090, 4096, 1 << 31, 0xffffffff, 0xfffffff8:
        field(cls, 'refuse', name_off=value)
    for value in 0, 1024, 4096, 1 << 31, 0xffffffff:
        field(cls, 'refuse' if value else 'either', name_len=value)
    field(cls, 'refuse', name_off=0xffffffff, name_len=0xffffffff)
    for name in (b'/etc/passwd', b'../secret.img', b'top.img', b'nbd:x:1', b'json:{}', b'base.img\0', b'a\0b', b'\x1b[31m', b'a\nb',
                 b'/dev/zero', b'/proc/self/fd/0', b'gone', b'.', b'%s%n', b'\xff'):
        bent(cls, repr(name), 'refuse', lambda q, n=name: setattr(q, 'backing', n))
    bent(cls, '1023 bytes', 'pull', lambda q: setattr(q, 'backing', b'./' * 507 + b'/base.img'))


def places(q):
    return {'the header': 0, 'the L1 table': q.l1_off, 'the second half of the L1 table': q.l1_off + q.cluster, 'an L2 table': q.l2_off[0],
            'the other L2 table': q.l2_off[1], 'data': q.host[1]}


PLACES = list(places(overlay()))


def tables():
    cls = 'QED tables'
    for marked in '', ', in need of a check':
        def bad(title, verdict, bend, marked=marked):
            bent(cls, title + marked, verdict, lambda q: (bend(q), q.set(features=BACKING | NO_PROBE | NEED_CHECK) if marked else None))
        for value in 1, 2, 512, 4095, FAR, 1 << 62, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1:
            bad(f'an L1 entry {value:#x}', 'refuse', lambda q, v=value: q.l1.update({0: v}))
            bad(f'an unused L1 entry {value:#x}', 'refuse', lambda q, v=value: q.l1.update({7: v}))
            if value != 1:
                bad(f'an L2 entry {value:#x}', 'refuse', lambda q, v=value: q.entry(9, v))
        bad('an L1 entry not aligned', 'refuse', lambda q: q.l1.update({0: q.l2_off[0] + 512}))
        bad('an L1 entry at the end', 'refuse', lambda q: q.l1.update({0: q.end}))
        bad('an L1 entry half past the end', 'refuse', lambda q: q.l1.update({0: q.end - q.cluster}))
        bad('an L2 entry at the end', 'refuse', lambda q: q.entry(9, q.end))
        bad('an L2 entry not aligned', 'refuse', lambda q: q.entry(9, q.host[1] + 512))
        bad('an L2 entry with a low bit', 'refuse', lambda q: q.entry(9, q.alloc() + 1))
        for name in PLACES[1:]:
            bad(f'an L2 entry at {name}', 'refuse', lambda q, n=name: q.entry(9, places(q)[n]))
            bad(f'an L2 entry of the other table at {name}', 'refuse', lambda q, n=name: q.entry(q.entries + 9, places(q)[n]))
            if name != 'an L2 table':
                bad(f'an L1 entry at {name}', 'refuse', lambda q, n=name: q.l1.update({0: places(q)[n]}))
        bad('a table for two L1 entries', 'refuse', lambda q: q.l1.update({1: q.l1[0]}))
        bad('tables that overlap', 'refuse', lambda q: q.l1.update({1: q.l1[0] + q.cluster}))
        bad('leaks', 'pull', lambda q: q.alloc(5))
        bad('an L2 table of noise', 'refuse', lambda q: q.patches.append((q.l2_off[0], pattern('q', q.cluster))))
        bad('an L1 table of ones', 'refuse', lambda q: q.patches.append((q.l1_off, b'\xff' * 2 * q.cluster)))
        bad('an entry behind the end of the disk, past the end', 'refuse', lambda q: q.entry(q.entries * 2 - 1, FAR))
    cls = 'QED lengths'
    whole = overlay()
    for off in sorted({0, 1, 4, 20, 63, 64, 70, 4095} | set(places(whole).values()) | {o + 2048 for o in places(whole).values()} |
                      {whole.host[2], whole.host[whole.entries]}):
        bent(cls, f'cut at {off}', 'refuse', lambda q, n=off: setattr(q, 'length', n))
    bent(cls, 'cut inside the last cluster', 'either', lambda q: setattr(q, 'length', q.end - 100))
    bent(cls, 'a little longer', 'pull', lambda q: setattr(q, 'length', q.end + 100))
    for tail in 1 << 30, TIB, 8 * TIB:
        bent(cls, f'{tail >> 30} GiB of nothing behind it', 'limits', lambda q, t=tail: setattr(q, 'length', q.end + t))


def places_of_files():
    cls = 'QED files'

    def swapped(title, how):
        def build(d):
            base_file(d)
            os.unlink(f'{d}/base.img')
            how(f'{d}/base.img')
            overlay().save(f'{d}/top.img')
        add(cls, title, 'refuse', build)
    swapped('a fifo below', os.mkfifo)
    swapped('a directory below', os.mkdir)
    swapped('a link out of the tree below', lambda p: os.symlink('/etc/passwd', p))
    swapped('a link to the image below', lambda p: os.symlink('top.img', p))


for section in header, tables, places_of_files:
    section()
