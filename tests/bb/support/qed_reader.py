# SPDX-License-Identifier: MIT OR Apache-2.0
"""A second opinion on QED files, like qcow2_reader: content, and that no two references share a cluster.

Written from the specification; every fault raises Failed. The file is read into memory.
"""
import struct

from harness import check

BACKING, NEED_CHECK = 1, 2


class Reader:
    def __init__(self, path):
        with open(path, 'rb') as file:
            self.file = file.read()
        self.path = path
        (magic, self.cluster, self.table_clusters, self.header_clusters, self.features, _, _, self.l1_off,
         self.size, name_off, name_len) = struct.unpack_from('<4sIIIQQQQQII', self.file)
        check(magic == b'QED\0', f'{path} is no QED file')
        self.entries = self.cluster * self.table_clusters // 8
        self.backing = self.file[name_off:name_off + name_len] if self.features & BACKING else None

    def _table(self, off):
        check(off % self.cluster == 0 and off + 8 * self.entries <= len(self.file),
              f'{self.path}: a table at {off}, in a file of {len(self.file)} bytes')
        return struct.unpack_from(f'<{self.entries}Q', self.file, off)

    def judge_refcounts(self, leaks_allowed=False):
        """The name is qcow2_reader's; QED counts nothing, and may only refer to a cluster once."""
        seen = set(range(self.header_clusters))

        def take(off, n, what):
            for number in range(off // self.cluster, off // self.cluster + n):
                check(number not in seen, f'{self.path}: {what} at {off} lies on something else')
                seen.add(number)
        take(self.l1_off, self.table_clusters, 'the L1 table')
        for l2_off in filter(None, self._table(self.l1_off)):
            take(l2_off, self.table_clusters, 'an L2 table')
            for off in self._table(l2_off):
                if off > 1:
                    check(off % self.cluster == 0 and off + self.cluster <= len(self.file),
                          f'{self.path}: data at {off}, in a file of {len(self.file)} bytes')
                    take(off, 1, 'data')
        check(leaks_allowed or len(seen) * self.cluster >= len(self.file), f'{self.path} has leaks')

    def read(self, backing=b''):
        disk = bytearray(backing[:self.size].ljust(self.size, b'\0'))
        for i, l2_off in enumerate(self._table(self.l1_off)):
            for j, off in enumerate(self._table(l2_off) if l2_off else ()):
                at = (i * self.entries + j) * self.cluster
                length = min(self.cluster, self.size - at)
                if off and length > 0:
                    disk[at:at + length] = bytes(length) if off == 1 else self.file[off:off + length]
        return bytes(disk)
