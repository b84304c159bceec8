# SPDX-License-Identifier: MIT OR Apache-2.0
"""A writer of QED images whose every byte can be bent; hostile_qcow2.py says how and why."""
import struct

from harness import KIB
from hostile_qcow2 import Image, pattern

FIELDS = {
    'magic': (0, '4s'), 'cluster_size': (4, 'I'), 'table_size': (8, 'I'), 'header_size': (12, 'I'),
    'features': (16, 'Q'), 'compat': (24, 'Q'), 'autoclear': (32, 'Q'), 'l1_off': (40, 'Q'), 'size': (48, 'Q'),
    'name_off': (56, 'I'), 'name_len': (60, 'I'),
}
BACKING, NEED_CHECK, NO_PROBE = 1, 2, 4


class Qed(Image):
    def __init__(self, cluster=4 * KIB, tables=2, size=8 << 20, backing=b'base.img', features=BACKING | NO_PROBE, header_size=1):
        self.cluster, self.tables, self.size, self.backing, self.features = cluster, tables, size, backing, features
        self.header_size, self.name_at = header_size, 64
        self.entries = tables * cluster // 8
        self.fields, self.patches, self.length = {}, [], None
        self.bytes, self.l1, self.l2, self.l2_off, self.guest, self.host = {}, {}, {}, {}, {}, {}
        self.end = header_size * cluster
        self.l1_off = self.alloc(tables)

    def alloc(self, clusters=1):
        off = self.end
        self.end += clusters * self.cluster
        return off

    def table(self, index):
        if index not in self.l2_off:
            self.l2_off[index] = self.l1[index] = self.alloc(self.tables)
            self.l2[index] = {}
        return self.l2_off[index]

    def entry(self, number, value):
        self.table(number // self.entries)
        self.l2[number // self.entries][number % self.entries] = value

    def data(self, number, host=None):
        self.table(number // self.entries)
        host = self.alloc() if host is None else host
        content = pattern(number, self.cluster)
        self.bytes[host] = content
        self.entry(number, host)
        self.host[number], self.guest[number] = host, content
        return host

    def zero(self, number):
        self.entry(number, 1)
        self.guest[number] = bytes(self.cluster)

    def at_l1(self, index):
        return self.l1_off + 8 * index

    def at_l2(self, number):
        return self.l2_off[number // self.entries] + number % self.entries * 8

    def save(self, path):
        fields = {'magic': b'QED\0', 'cluster_size': self.cluster, 'table_size': self.tables,
                  'header_size': self.header_size, 'features': self.features, 'compat': 0, 'autoclear': 0,
                  'l1_off': self.l1_off, 'size': self.size, 'name_off': 0, 'name_len': 0}
        out = bytearray(64)
        if self.backing is not None:
            fields.update(name_off=self.name_at, name_len=len(self.backing))
            out = out.ljust(self.name_at, b'\0')
            out[self.name_at:] = self.backing
        fields.update(self.fields)
        for name, value in fields.items():
            struct.pack_into('<' + FIELDS[name][1], out, FIELDS[name][0], value)
        with open(path, 'wb') as file:
            def put(off, content):
                file.seek(off)
                file.write(content)
            for off, content in self.bytes.items():
                put(off, content)
            put(0, out)
            for index, value in self.l1.items():
                put(self.at_l1(index), struct.pack('<Q', value))
            for index, table in self.l2.items():
                for at, value in table.items():
                    put(self.l2_off[index] + 8 * at, struct.pack('<Q', value))
            for off, content in self.patches:
                put(off, content)
            file.truncate(self.end if self.length is None else self.length)
        return path


def overlay(**options):
    image = Qed(**options)
    image.data(1)
    image.data(2)
    image.zero(5)
    image.data(image.entries)
    return image
