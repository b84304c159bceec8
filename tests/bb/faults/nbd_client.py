# SPDX-License-Identifier: MIT OR Apache-2.0
"""A small NBD client which has several requests in flight and says which of them was answered when.

qemu-io and nbdsh were rejected: what they merge, split or flush on their own is not known.
"""
import itertools
import socket
import struct

from harness import WAIT, check

READ, WRITE, DISCONNECT, FLUSH, TRIM, WRITE_ZEROES = 0, 1, 2, 3, 4, 6
FUA = 1


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT)
        self.socket.connect(path)
        check(self._get(16) == b'NBDMAGICIHAVEOPT', 'the server greets in an unknown way')
        self._get(2)
        self.socket.sendall(struct.pack('>I8sII', 3, b'IHAVEOPT', 1, 0))
        self.size, self.flags = struct.unpack('>QH', self._get(10))
        self.cookies, self.reads = itertools.count(1), {}

    def _get(self, length):
        data = b''
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            check(more, 'the server hung up')
            data += more
        return data

    def send(self, kind, off=0, length=0, data=b'', flags=0):
        """Returns the request's cookie."""
        cookie = next(self.cookies)
        self.socket.sendall(struct.pack('>IHHQQI', 0x25609513, flags, kind, cookie, off, len(data) or length) + data)
        if kind == READ:
            self.reads[cookie] = length
        return cookie

    def receive(self):
        """The next answer: its cookie, its error, what was read."""
        magic, error, cookie = struct.unpack('>IIQ', self._get(16))
        check(magic == 0x67446698, 'an answer begins in an unknown way')
        length = self.reads.pop(cookie, 0)
        return cookie, error, self._get(length if not error else 0)

    def close(self):
        self.send(DISCONNECT)
        self.socket.close()
