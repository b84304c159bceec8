# SPDX-License-Identifier: MIT OR Apache-2.0
"""A second opinion on qcow2 files: a reader that shares no code with the engine or with QEMU.

It answers what qemu-img cannot: the content of an internal snapshot whose size is not the active
disk's, where a cluster's or a subcluster's bytes lie, which tables views share, and whether each
refcount is exactly the number of references. The whole file is read into memory, since test images
are small; every fault raises Failed. Asking qemu-img alone was rejected: it reverts to a snapshot to
show it, and that writes.
"""
import collections
import ctypes
import ctypes.util
import struct
import zlib

from harness import Failed, check

OFFSET = 0x00FFFFFFFFFFFE00
COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1

View = collections.namedtuple('View', 'id name l1_off l1_size size vm_size')
# What holds a guest cluster: kind is 'none', 'zero', 'data' or 'packed'; host is its offset or None;
# alloc and zeros are the subcluster bits (standard tables: all or nothing).
Cell = collections.namedtuple('Cell', 'kind host entry alloc zeros')


def _unzstd(data, length):
    lib = ctypes.CDLL(ctypes.util.find_library('zstd') or 'libzstd.so.1')
    for name in ('ZSTD_findFrameCompressedSize', 'ZSTD_decompress'):
        getattr(lib, name).restype = ctypes.c_size_t
    out = b''
    while len(out) < length:
        used = lib.ZSTD_findFrameCompressedSize(data, ctypes.c_size_t(len(data)))
        check(0 < used <= len(data), 'a compressed cluster is no zstd frame')
        buffer = ctypes.create_string_buffer(length)
        got = lib.ZSTD_decompress(buffer, ctypes.c_size_t(length), data, ctypes.c_size_t(used))
        check(got <= length, 'a zstd frame does not decompress')
        out, data = out + buffer.raw[:got], data[used:]
    return out[:length]


class Reader:
    def __init__(self, path):
        with open(path, 'rb') as file:
            self.file = file.read()
        self.path = path
        (magic, self.version, self.backing_off, self.backing_len, self.bits, self.size, self.crypt, self.l1_size,
         self.l1_off, self.rt_off, self.rt_clusters, self.n_snapshots,
         self.snapshots_off) = struct.unpack_from('>4sIQIIQIIQQIIQ', self.file)
        check(magic == b'QFI\xfb', f'{path} is no qcow2 file')
        self.cluster = 1 << self.bits
        self.incompat = self.compat = self.autoclear = 0
        self.order, self.header_len, self.packer = 4, 72, 0
        if self.version >= 3:
            self.incompat, self.compat, self.autoclear, self.order, self.header_len = \
                struct.unpack_from('>QQQII', self.file, 72)
            if self.header_len > 104:
                self.packer = self.file[104]
        self.dirty, self.corrupt, self.external, self.extended = (bool(self.incompat & b) for b in (1, 2, 4, 16))
        self.l2_entries = self.cluster // (16 if self.extended else 8)
        self.sub = self.cluster // 32 if self.extended else self.cluster
        self.extensions = dict(self._extensions())
        self.backing = self.file[self.backing_off:self.backing_off + self.backing_len] if self.backing_off else None
        self.active = View('', '', self.l1_off, self.l1_size, self.size, 0)
        self.snapshots = list(self._snapshots())
        self.views = [self.active] + self.snapshots

    def _extensions(self):
        at = self.header_len
        end = self.backing_off or self.cluster
        while at + 8 <= end:
            kind, length = struct.unpack_from('>II', self.file, at)
            if kind == 0:
                return
            yield kind, self.file[at + 8:at + 8 + length]
            at += 8 + (length + 7) // 8 * 8

    def _snapshots(self):
        at = self.snapshots_off
        for _ in range(self.n_snapshots):
            l1_off, l1_size, id_len, name_len, _, _, _, vm_size, extra = \
                struct.unpack_from('>QIHHIIQII', self.file, at)
            size = self.size
            if extra >= 8:
                vm_size = struct.unpack_from('>Q', self.file, at + 40)[0]
            if extra >= 16:
                size = struct.unpack_from('>Q', self.file, at + 48)[0]
            at += 40 + extra
            sid, name = self.file[at:at + id_len], self.file[at + id_len:at + id_len + name_len]
            at = (at + id_len + name_len + 7) // 8 * 8
            self.snapshots_end = at
            yield View(sid.decode(), name.decode(), l1_off, l1_size, size, vm_size)

    # ---- Mapping ------------------------------------------------------------------------------

    def l1(self, view):
        check(view.l1_off + 8 * view.l1_size <= len(self.file), f'L1 of view {view.id!r} lies outside the file')
        return struct.unpack_from(f'>{view.l1_size}Q', self.file, view.l1_off)

    def l2_offset(self, view, index):
        return self.l1(view)[index] & OFFSET if index < view.l1_size else 0

    def cell(self, l2_off, index):
        if not l2_off:
            return Cell('none', None, 0, 0, 0)
        every = 0xFFFFFFFF
        if self.extended:
            entry, bitmap = struct.unpack_from('>QQ', self.file, l2_off + 16 * index)
            alloc, zeros = bitmap & every, bitmap >> 32
            check(not alloc & zeros, f'subclusters both allocated and zero in the L2 table at {l2_off}')
        else:
            entry = struct.unpack_from('>Q', self.file, l2_off + 8 * index)[0]
            alloc = zeros = 0
        if entry & COMPRESSED:
            return Cell('packed', None, entry, every, 0)
        host = entry & OFFSET
        here = bool(host) or (self.external and bool(entry & COPIED))
        if not self.extended:
            if entry & ZERO and self.version >= 3:
                return Cell('zero', host if here else None, entry, 0, every)
            alloc = every if here else 0
        check(here or not alloc, f'subclusters allocated nowhere in the L2 table at {l2_off}')
        kind = 'data' if here else 'zero' if zeros else 'none'
        return Cell(kind, host if here else None, entry, alloc, zeros)

    def at(self, view, guest_off):
        number = guest_off >> self.bits
        return self.cell(self.l2_offset(view, number // self.l2_entries), number % self.l2_entries)

    def packed_extent(self, entry):
        """Host offset and length in bytes, to the end of the last sector."""
        x = 62 - (self.bits - 8)
        host = entry & ((1 << x) - 1)
        sectors = (entry & (COMPRESSED - 1)) >> x
        return host, (sectors + 1) * 512 - host % 512

    def unpack(self, entry):
        host, length = self.packed_extent(entry)
        data = self.file[host:host + length]
        if self.packer:
            return _unzstd(data, self.cluster)
        out = zlib.decompressobj(-12).decompress(data, self.cluster)
        check(len(out) == self.cluster, f'the compressed cluster at {host} is cut short')
        return out

    def n_l2(self, view):
        """Tables that map the view's disk; what follows in L1 is VM state."""
        return -(-view.size // (self.cluster * self.l2_entries))

    def read(self, view, backing=b'', data_file=None):
        """The guest's bytes. backing: what the chain below shows; it reads as zeros past its end."""
        disk = bytearray(view.size)
        disk[:min(len(backing), view.size)] = backing[:view.size]
        source = self.file if data_file is None else data_file
        l1 = self.l1(view)
        for i in range(min(self.n_l2(view), len(l1))):
            l2_off = l1[i] & OFFSET
            for j in range(self.l2_entries if l2_off else 0):
                start = (i * self.l2_entries + j) << self.bits
                if start >= view.size:
                    break
                self._read_cell(disk, start, self.cell(l2_off, j), source)
        return bytes(disk)

    def _read_cell(self, disk, start, cell, source):
        def put(off, data):
            data = data[:max(0, len(disk) - off)]
            disk[off:off + len(data)] = data
        if cell.kind == 'packed':
            put(start, self.unpack(cell.entry))
        elif self.extended:
            for s in range(32):
                off = s * self.sub
                if cell.zeros >> s & 1:
                    put(start + off, bytes(self.sub))
                elif cell.alloc >> s & 1:
                    put(start + off, source[cell.host + off:cell.host + off + self.sub].ljust(self.sub, b'\0'))
        elif cell.kind == 'zero':
            put(start, bytes(self.cluster))
        elif cell.kind == 'data':
            put(start, source[cell.host:cell.host + self.cluster].ljust(self.cluster, b'\0'))

    # ---- Refcounts ----------------------------------------------------------------------------

    def refcount(self, host_off):
        number, width = host_off >> self.bits, 1 << self.order
        per_block = self.cluster * 8 // width
        index = number // per_block
        if index >= self.rt_clusters * self.cluster // 8:
            return 0
        block = struct.unpack_from('>Q', self.file, self.rt_off + 8 * index)[0] & OFFSET
        if not block:
            return 0
        bit = number % per_block * width
        if width < 8:
            return self.file[block + bit // 8] >> bit % 8 & ((1 << width) - 1)
        return int.from_bytes(self.file[block + bit // 8:block + (bit + width) // 8], 'big')

    def references(self):
        """Counter of references by host cluster number, over everything the file holds."""
        refs = collections.Counter()

        def add(off, length, times=1):
            for number in range(off >> self.bits, (off + length + self.cluster - 1) >> self.bits) if length else ():
                refs[number] += times
        add(0, self.cluster)
        add(self.rt_off, self.rt_clusters * self.cluster)
        for block in struct.unpack_from(f'>{self.rt_clusters * self.cluster // 8}Q', self.file, self.rt_off):
            add(block & OFFSET, self.cluster if block else 0)
        if self.n_snapshots:
            add(self.snapshots_off, self.snapshots_end - self.snapshots_off)
        tables = collections.Counter()
        for view in self.views:
            add(view.l1_off, 8 * view.l1_size)
            tables.update(e & OFFSET for e in self.l1(view) if e & OFFSET)
        for l2_off, times in tables.items():
            add(l2_off, self.cluster, times)
            for j in range(self.l2_entries):
                cell = self.cell(l2_off, j)
                if cell.kind == 'packed':
                    add(*self.packed_extent(cell.entry), times)
                elif cell.host is not None and not self.external:
                    add(cell.host, self.cluster, times)
        self._bitmap_references(add)
        return refs

    def bitmaps(self):
        """{name: (granularity bits, flags, directory entry)}."""
        found = {}
        if 0x23852875 in self.extensions and self.autoclear & 1:
            count, _, _, at = struct.unpack('>IIQQ', self.extensions[0x23852875])
            for _ in range(count):
                table, size, flags, _, bits, name_len, extra = struct.unpack_from('>QIIBBHI', self.file, at)
                end = at + 24 + extra + name_len
                found[self.file[end - name_len:end].decode()] = (bits, flags, table, size)
                at = (end + 7) // 8 * 8
        return found

    def _bitmap_references(self, add):
        if 0x23852875 in self.extensions and self.autoclear & 1:
            _, _, length, at = struct.unpack('>IIQQ', self.extensions[0x23852875])
            add(at, length)
        for _, _, table, size in self.bitmaps().values():
            add(table, 8 * size)
            for entry in struct.unpack_from(f'>{size}Q', self.file, table):
                add(entry & OFFSET, self.cluster if entry & OFFSET else 0)

    def judge_refcounts(self, leaks_allowed=False):
        refs = self.references()
        for number in range(-(-len(self.file) // self.cluster)):
            have, want = self.refcount(number << self.bits), refs[number]
            if have != want and not (leaks_allowed and have > want):
                raise Failed(f'{self.path}: cluster {number} of {self.cluster} bytes: refcount {have}, '
                             f'{want} references')

    def shared_tables(self):
        """Groups of (view id, L1 index) that name one L2 table, those of more than one."""
        groups = collections.defaultdict(set)
        for view in self.views:
            for index, entry in enumerate(self.l1(view)):
                if entry & OFFSET:
                    groups[entry & OFFSET].add((view.id, index))
        return [g for g in groups.values() if len(g) > 1]

    def vm_state(self):
        """{view id: the bytes of VM state, table by table} of views that have any."""
        found = {}
        for view in self.views:
            for index in range(self.n_l2(view), view.l1_size):
                l2_off = self.l2_offset(view, index)
                cells = [self.cell(l2_off, j) for j in range(self.l2_entries if l2_off else 0)]
                data = [(j, c.host, self.file[c.host:c.host + self.cluster])
                        for j, c in enumerate(cells) if c.host is not None]
                if data:
                    found[view.id, index - self.n_l2(view)] = data
        return found
