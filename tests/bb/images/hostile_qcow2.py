# SPDX-License-Identifier: MIT OR Apache-2.0
"""A writer of qcow2 images whose every byte can be bent, for the tests with hostile images.

An image is sound until told otherwise: header fields (set()), table entries (l1, l2, reftable),
refcounts (counts), bytes (patches) and the length (length) are all overruled just before it is
written. What the guest sees is kept beside it (guest), so that a legal image has a judge that needs
no reader. Tables are dicts, so that an L1 table of 32 MiB costs nothing. Bending images that qemu-img
made was rejected: it makes none with odd refcounts, gaps, shared tables or bitmaps in use.
"""
import collections
import random
import struct
import zlib

from harness import KIB

COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1
BASE = random.Random(5).randbytes(256 * KIB)  # what base.img holds
FMT, FEATURES, BITMAPS, LUKS, DATA_FILE = 0xe2792aca, 0x6803f857, 0x23852875, 0x0537be77, 0x44415441

# name: (offset, struct code)
FIELDS = {
    'magic': (0, '4s'), 'version': (4, 'I'), 'backing_off': (8, 'Q'), 'backing_len': (16, 'I'), 'bits': (20, 'I'),
    'size': (24, 'Q'), 'crypt': (32, 'I'), 'l1_size': (36, 'I'), 'l1_off': (40, 'Q'), 'rt_off': (48, 'Q'),
    'rt_clusters': (56, 'I'), 'n_snapshots': (60, 'I'), 'snapshots_off': (64, 'Q'), 'incompat': (72, 'Q'),
    'compat': (80, 'Q'), 'autoclear': (88, 'Q'), 'order': (96, 'I'), 'header_len': (100, 'I'), 'packer': (104, 'B'),
}


def pattern(seed, length):
    return random.Random(seed).randbytes(length)


def zstd_frame(content, window=None, size=None):
    """A frame of raw blocks: descriptor byte, window or content size, blocks. size lies if given."""
    if window is None:  # single segment: content size of four bytes
        head = b'\xa0' + struct.pack('<I', len(content) if size is None else size)
    else:
        head = b'\x00' + bytes([window])
    out, at = b'\x28\xb5\x2f\xfd' + head, 0
    while True:
        block = content[at:at + 65536]
        at += 65536
        out += struct.pack('<I', len(block) << 3 | (at >= len(content)))[:3] + block
        if at >= len(content):
            return out


def zstd_bomb(blocks, window=0x50):
    """Runs of 128 KiB each, in four bytes each."""
    out = b'\x28\xb5\x2f\xfd\x00' + bytes([window])
    for n in range(blocks):
        out += struct.pack('<I', 0x20000 << 3 | 1 << 1 | (n == blocks - 1))[:3] + b'\0'
    return out


def deflate(content, window=12):
    packer = zlib.compressobj(9, zlib.DEFLATED, -window)
    return packer.compress(content) + packer.flush()


def deflated_zeros(mibs):
    """A mebibyte at a time: what this process has touched counts as its children's peak memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    return b''.join(packer.compress(bytes(1024 * KIB)) for _ in range(mibs)) + packer.flush()


class Image:
    """What the writers of both formats have: fields to bend, and the guest's clusters by number."""

    def set(self, **fields):
        self.fields.update(fields)
        return self

    def flat(self, path, below=BASE):
        """What the guest sees, as a sparse file."""
        with open(path, 'wb') as file:
            file.write(below[:self.size])
            for number, content in self.guest.items():
                at = number * self.cluster
                if at < self.size:
                    file.seek(at)
                    file.write(content[:self.size - at])
            file.truncate(self.size)
        return path


class Qcow2(Image):
    def __init__(self, bits=9, size=256 * KIB, version=3, order=4, backing=b'base.img', fmt=b'raw', sub=False,
                 l1_size=None, rt_clusters=1):
        self.bits, self.size, self.version, self.order, self.sub = bits, size, version, order, sub
        self.cluster = 1 << bits
        self.l2_entries = self.cluster // (16 if sub else 8)
        self.l1_size = -(-size // (self.cluster * self.l2_entries)) if l1_size is None else l1_size
        self.backing = backing
        self.exts = [(FMT, fmt)] if fmt is not None and backing is not None else []
        self.tail = None        # raw bytes instead of exts and their end
        self.name_at = None     # where the name goes, if not behind the extensions
        self.fields, self.counts, self.patches, self.length = {}, {}, [], None
        self.bytes, self.l1, self.l2, self.l2_off, self.reftable = {}, {}, {}, {}, {}
        self.guest, self.host = {}, {}
        self.refs = collections.Counter({0: 1})
        self.end = self.cluster
        self.rt_clusters, self.rt_off = rt_clusters, self.alloc(rt_clusters)
        self.blocks = {}
        self.block(0)
        self.l1_off = self.alloc(max(1, -(-8 * self.l1_size // self.cluster)))

    def alloc(self, clusters=1, refs=1):
        off = self.end
        self.end += clusters * self.cluster
        for number in range(clusters):
            self.refs[(off >> self.bits) + number] += refs
        return off

    @property
    def per_block(self):
        return self.cluster * 8 >> self.order

    def block(self, index):
        if index not in self.blocks:
            self.blocks[index] = self.alloc()
        return self.blocks[index]

    # ---- Guest clusters ---------------------------------------------------------------------------

    def table(self, index):
        if index not in self.l2_off:
            self.l2_off[index] = self.alloc()
            self.l2[index] = {}
            self.l1[index] = self.l2_off[index] | COPIED
        return self.l2_off[index]

    def entry(self, number, value, bitmap=0):
        """Sets the L2 entry of a guest cluster."""
        self.table(number // self.l2_entries)
        self.l2[number // self.l2_entries][number % self.l2_entries] = value, bitmap

    def data(self, number, host=None, bitmap=0xffffffff):
        self.table(number // self.l2_entries)  # tables lie in front of what they map
        if host is None:
            host = self.alloc()
        content = pattern(number, self.cluster)
        self.bytes[host] = content
        self.entry(number, host | COPIED, bitmap)
        self.host[number] = host
        self.guest[number] = content
        return host

    def zero(self, number, host=0):
        self.entry(number, ZERO | host)
        self.guest[number] = bytes(self.cluster)

    def packed(self, number, blob=None, host=None, sectors=None, flags=COMPRESSED, content=None):
        """A compressed cluster in one of its own; content is what blob decodes to."""
        self.table(number // self.l2_entries)
        if content is None:
            content = bytes([number % 251]) * self.cluster
        if blob is None:
            blob = deflate(content)
        if host is None:
            host = self.alloc(max(1, -(-len(blob) // self.cluster)))
        self.bytes[host] = blob
        if sectors is None:
            sectors = (host % 512 + len(blob) - 1) // 512
        self.entry(number, flags | sectors << (62 - (self.bits - 8)) | host)
        self.host[number], self.guest[number] = host, content

    def at_l1(self, index):
        return self.l1_off + 8 * index

    def at_l2(self, number):
        return self.l2_off[number // self.l2_entries] + number % self.l2_entries * (16 if self.sub else 8)

    # ---- More structures --------------------------------------------------------------------------

    def snapshot(self, share=True, **bad):
        """A snapshot that shares all tables and clusters of the active disk, as one just taken."""
        l1 = self.alloc(max(1, -(-8 * self.l1_size // self.cluster)))
        if share:
            for index, entry in list(self.l1.items()):
                self.l1[index] = entry & ~COPIED
                self.bytes[l1 + 8 * index] = struct.pack('>Q', entry & ~COPIED)
                self.refs[self.l2_off[index] >> self.bits] += 1
                for at, (value, bitmap) in self.l2[index].items():
                    if value & COMPRESSED or value & ((1 << 56) - 512):
                        self.l2[index][at] = value & ~COPIED, bitmap
            for host in self.host.values():
                self.refs[host >> self.bits] += 1
        self.snapshot_l1 = l1
        values = {'l1_off': l1, 'l1_size': self.l1_size, 'id': b'1', 'name': b'one', 'vm_size': 0, 'extra': None,
                  'size': self.size, 'id_len': None, 'name_len': None, 'extra_len': None, 'vm64': 0}
        values.update(bad)
        extra = struct.pack('>QQ', values['vm64'], values['size']) if values['extra'] is None else values['extra']
        sid, name = values['id'], values['name']
        record = struct.pack('>QIHHIIQII', values['l1_off'], values['l1_size'],
                             len(sid) if values['id_len'] is None else values['id_len'],
                             len(name) if values['name_len'] is None else values['name_len'], 1, 2, 3,
                             values['vm_size'], len(extra) if values['extra_len'] is None else values['extra_len'])
        record += extra + sid + name
        return record + bytes(-len(record) % 8)

    def snapshots(self, *records):
        table = b''.join(records)
        at = self.alloc(max(1, -(-len(table) // self.cluster)))
        self.bytes[at] = table
        self.set(n_snapshots=len(records), snapshots_off=at)
        return at

    def bitmap(self, table_entries=None, **bad):
        """A bitmap directory with one bitmap; the autoclear bit is set. Returns (directory, table)."""
        values = {'flags': 2, 'type': 1, 'granularity': 16, 'name': b'b0', 'name_len': None, 'extra': 0, 'table': None,
                  'table_size': None, 'count': 1, 'reserved': 0, 'dir_size': None, 'dir_off': None, 'ext': None}
        values.update(bad)
        bits_of_map = -(-self.size // (1 << min(values['granularity'], 63)))
        n_clusters = max(1, -(-bits_of_map // (8 * self.cluster)))
        table = self.alloc(max(1, -(-8 * n_clusters // self.cluster)))
        if table_entries is None:
            data = self.alloc()
            self.bytes[data] = b'\x01'
            table_entries = [data] + [0] * (n_clusters - 1)
        self.bytes[table] = struct.pack(f'>{len(table_entries)}Q', *table_entries)
        name = values['name']
        record = struct.pack('>QIIBBHI', table if values['table'] is None else values['table'],
                             n_clusters if values['table_size'] is None else values['table_size'], values['flags'],
                             values['type'], values['granularity'],
                             len(name) if values['name_len'] is None else values['name_len'], values['extra'])
        record = (record + name + bytes(-len(name) % 8)) * max(1, min(2, values['count']))
        directory = self.alloc()
        self.bytes[directory] = record
        ext = struct.pack('>IIQQ', values['count'], values['reserved'],
                          len(record) if values['dir_size'] is None else values['dir_size'],
                          directory if values['dir_off'] is None else values['dir_off'])
        self.exts.append((BITMAPS, ext if values['ext'] is None else values['ext']))
        self.fields.setdefault('autoclear', 1)
        return directory, table

    # ---- Writing ----------------------------------------------------------------------------------

    def header(self):
        length = 72 if self.version == 2 else self.fields.get('header_len', 112)
        fields = {'magic': b'QFI\xfb', 'version': self.version, 'backing_off': 0, 'backing_len': 0, 'bits': self.bits,
                  'size': self.size, 'crypt': 0, 'l1_size': self.l1_size, 'l1_off': self.l1_off, 'rt_off': self.rt_off,
                  'rt_clusters': self.rt_clusters, 'n_snapshots': 0, 'snapshots_off': 0}
        if self.version != 2:
            fields.update(incompat=16 if self.sub else 0, compat=0, autoclear=0, order=self.order, header_len=length)
        at = length if 72 <= length <= self.cluster else 112
        tail = self.tail
        if tail is None:
            tail = b''.join(struct.pack('>II', kind, len(data)) + data + bytes(-len(data) % 8)
                            for kind, data in self.exts) + bytes(8)
        out = bytearray(at) + tail
        if self.backing is not None:
            name_at = self.name_at or len(out)
            fields.update(backing_off=name_at, backing_len=len(self.backing))
            out = out.ljust(name_at, b'\0')
            out[name_at:name_at + len(self.backing)] = self.backing
        fields.update(self.fields)
        for name, value in fields.items():
            struct.pack_into('>' + FIELDS[name][1], out, FIELDS[name][0], value)
        return bytes(out)

    def _refcounts(self):
        """Blocks for all that is in use, among it the blocks; {offset: bytes}."""
        while True:
            wanted = {number // self.per_block for number in list(self.refs) + list(self.counts)}
            if wanted <= set(self.blocks):
                break
            self.block(min(wanted - set(self.blocks)))
        width, blocks = 1 << self.order, {i: bytearray(self.cluster) for i in self.blocks}
        for number, count in {**self.refs, **self.counts}.items():
            block, at = blocks[number // self.per_block], number % self.per_block * width
            if width < 8:
                block[at // 8] |= (count & ((1 << width) - 1)) << at % 8
            else:
                block[at // 8:at // 8 + width // 8] = (count & ((1 << width) - 1)).to_bytes(width // 8, 'big')
        return {self.blocks[i]: bytes(b) for i, b in blocks.items()}

    def save(self, path):
        blocks = self._refcounts()
        entries = dict(self.blocks)
        entries.update(self.reftable)
        with open(path, 'wb') as file:
            def put(off, content):
                file.seek(off)
                file.write(content)
            for off, content in {**blocks, **self.bytes}.items():
                put(off, content)
            put(0, self.header())
            for index, value in entries.items():
                put(self.rt_off + 8 * index, struct.pack('>Q', value))
            for index, value in self.l1.items():
                put(self.at_l1(index), struct.pack('>Q', value))
            for index, table in self.l2.items():
                for at, (value, bitmap) in table.items():
                    put(self.l2_off[index] + at * (16 if self.sub else 8),
                        struct.pack('>QQ', value, bitmap) if self.sub else struct.pack('>Q', value))
            for off, content in self.patches:
                put(off, content)
            file.truncate(self.end if self.length is None else self.length)
        return path


def overlay(bits=9, **options):
    """The image that most others are bent from: data under two L1 entries, a zero and a compressed cluster."""
    options.setdefault('size', 256 * KIB if bits == 9 else 3 << (2 * bits - 4))
    image = Qcow2(bits, **options)
    image.data(1)
    image.data(2)
    if image.version > 2 and not image.sub:
        image.zero(5)
    image.data(image.l2_entries)
    if bits > 9:
        image.packed(3)
    return image
