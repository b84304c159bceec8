# SPDX-License-Identifier: MIT OR Apache-2.0
"""The judge of a pull that kept everything: every snapshot, field, bitmap, shared table and refcount.

Before(...) looks at an image as it is, verify() demands the same content after. The guest's disk is
judged by qemu-img; the snapshots by qcow2_reader.py, and where their size is the active disk's by
qemu-img as well. Reverting to each snapshot was rejected as the first judge: QEMU's revert fails
where refcounts are narrow, and costs a copy of the image.
"""
import os

from harness import check, same
from images import compare_flat, flatten, image_check, image_info, qemu_img
from qcow2_reader import COPIED, OFFSET, Reader

KEPT = ('compat', 'compression-type', 'lazy-refcounts', 'refcount-bits', 'extended-l2', 'bitmaps', 'data-file',
        'data-file-raw')


def flat_bytes(path, fmt, flat):
    with open(flatten(path, fmt, flat), 'rb') as file:
        return file.read()


def data_of(path):
    if not os.path.exists(path + '.data'):
        return None
    with open(path + '.data', 'rb') as file:
        return file.read()


def qemu_snapshot(path, sid, out):
    """A snapshot as QEMU reads it; of the active disk's size."""
    qemu_img('convert', '-f', 'qcow2', '-O', 'raw', '-l', f'snapshot.id={sid}', path, out)
    with open(out, 'rb') as file:
        return file.read()


def first_difference(one, two):
    if len(one) != len(two):
        return f'{len(one)} bytes became {len(two)}'
    at = next(i for i in range(0, len(one), 512) if one[i:i + 512] != two[i:i + 512])
    return f'differs in the sector at {at}, of {len(one)} bytes'


class Before:
    """path: the overlay; backing: (path, format) of its backing file, or None."""

    def __init__(self, path, fmt, backing, scratch):
        self.path, self.fmt, self.scratch = path, fmt, scratch
        self.flat = flatten(path, fmt, scratch + '.flat')
        self.info = image_info(path)
        self.check = image_check(path, fmt)
        if fmt != 'qcow2':
            return
        below = flat_bytes(*backing, scratch + '.below') if backing else b''
        self.reader = reader = Reader(path)
        self.disks = {v.id: reader.read(v, below, data_of(path)) for v in reader.views}
        with open(self.flat, 'rb') as file:
            same(first_difference_or_none(self.disks[''], file.read()), None, 'our reader and qemu-img, before')
        self.by_qemu = self._by_qemu()
        for sid, seen in self.by_qemu.items():
            same(first_difference_or_none(self.disks[sid], seen), None, f'reader and qemu-img on snapshot {sid}')
        self.tables, self.vm_state, self.bitmaps = reader.shared_tables(), reader.vm_state(), bitmap_bytes(reader)

    def _by_qemu(self):
        return {v.id: qemu_snapshot(self.path, v.id, self.scratch + '.snap')
                for v in self.reader.snapshots if v.size == self.reader.size}

    def verify(self, backing=None, compressed=False, idle=False):
        """backing: (path, format) that the image must have now; idle: what was wrong may be so still."""
        path = self.path
        idle = idle and self.check
        same(image_check(path, self.fmt), self.check if idle else 0,
             f'exit code of qemu-img check, which was {self.check} before')
        info = image_info(path)
        name = info.get('full-backing-filename', info.get('backing-filename'))
        if backing is None:
            same(name, None, 'backing file')
        else:
            same(name and os.path.realpath(name), os.path.realpath(backing[0]), 'backing file')
        compare_flat(path, self.fmt, self.flat, 'of the active disk')
        check(idle or not info.get('dirty-flag'), 'still marked dirty')
        if self.fmt == 'qcow2':
            if backing:
                same(info.get('backing-filename-format'), backing[1], 'recorded format of the backing file')
            self._verify_qcow2(info, backing, compressed, idle)

    def _verify_qcow2(self, info, backing, compressed, idle):
        old, new = (i['format-specific']['data'] for i in (self.info, info))
        for field in KEPT:
            if field == 'compression-type' and compressed:
                continue
            same(new.get(field), old.get(field), f'{field} of the image')
        same(info.get('cluster-size'), self.info['cluster-size'], 'cluster size')
        after = Reader(self.path)
        same([v[:2] + v[3:] for v in after.snapshots], [v[:2] + v[3:] for v in self.reader.snapshots], 'snapshots')
        below = flat_bytes(*backing, self.scratch + '.below') if backing else b''
        for view in after.views:
            got = after.read(view, below, data_of(self.path))
            same(first_difference_or_none(self.disks[view.id], got), None, f'view {view.name or "active"!r}')
        for sid, seen in self.by_qemu.items():
            got = qemu_snapshot(self.path, sid, self.scratch + '.snap')
            same(first_difference_or_none(seen, got), None, f'snapshot {sid} by qemu-img')
        if not idle:
            after.judge_refcounts()
            judge_copied_flags(after)
        same(after.vm_state(), self.vm_state, 'VM state')
        check(bitmap_bytes(after) == self.bitmaps, f'the bitmaps changed: {after.bitmaps()}')
        if 1 << after.order >= 8:
            self._verify_sharing(after)

    def _verify_sharing(self, after):
        views = {v.id: v for v in after.views}
        for group in self.tables:
            now = {after.l2_offset(views[sid], index) for sid, index in group}
            check(len(now) == 1, f'the table that {sorted(group)} shared was taken apart: {sorted(now)}')


def first_difference_or_none(one, two):
    return None if one == two else first_difference(one, two)


def bitmap_bytes(reader):
    """What each bitmap holds, wherever its clusters lie."""
    found = {}
    for name, (bits, flags, table, size) in reader.bitmaps().items():
        entries = [int.from_bytes(reader.file[table + 8 * i:table + 8 * i + 8], 'big') for i in range(size)]
        parts = [reader.file[e & OFFSET:(e & OFFSET) + reader.cluster] if e & OFFSET else e & 1 for e in entries]
        found[name] = (bits, flags, parts)
    return found


def judge_copied_flags(reader):
    """In the active disk's tables the flag says: exactly one reference."""
    for index, entry in enumerate(reader.l1(reader.active)):
        if not entry & OFFSET:
            continue
        same(bool(entry & COPIED), reader.refcount(entry & OFFSET) == 1, f'COPIED of L1 entry {index}')
        for j in range(reader.l2_entries):
            cell = reader.cell(entry & OFFSET, j)
            if cell.host is not None and not reader.external:
                same(bool(cell.entry & COPIED), reader.refcount(cell.host) == 1,
                     f'COPIED of cluster {j} in the table of L1 entry {index}')

