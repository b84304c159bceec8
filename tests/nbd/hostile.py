# SPDX-License-Identifier: MIT OR Apache-2.0
"""An NBD server that misbehaves as it is told: newstyle, structured replies, base:allocation, on a unix
socket. As a program: hostile.py SOCKET SIZE TRICK [AFTER]; AFTER requests are served well first. Its disk is
that of nbdkit's pattern plugin, with `seed` added to each of its numbers."""
import contextlib
import os
import socket
import struct
import sys
import threading
import time

GO, META = 7, 10  # options
SHORT = 0x3e889045565a9
OK, INFO, META_REPLY = 1, 3, 4


def pattern(offset, length, seed=0):
    first, last = offset // 8, (offset + length + 7) // 8
    data = struct.pack(f'>{last - first}Q', *((8 * n + seed) % 2**64 for n in range(first, last)))
    return data[offset - 8 * first:][:length]


class Gone(Exception):
    """The client has left, or is to be left."""


class Server:
    def __init__(self, path, size, trick='', after=0, seed=0, flags=0x1 | 0x2 | 0x80 | 0x100, block=(1, 4096, 32 << 20)):
        self.size, self.trick, self.after, self.seed, self.flags, self.block = size, trick, after, seed, flags, block
        self.n_requests = self.n_connections = 0
        self.lock = threading.Lock()
        if os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)

    def run(self):
        while True:
            client, _ = self.listener.accept()
            with self.lock:
                self.n_connections += 1
                number = self.n_connections
            threading.Thread(target=self.serve, args=(client, number), daemon=True).start()

    def serve(self, client, number):
        try:
            if self.trick == 'one-client' and number > 1:
                return
            if self.trick == 'mute':
                time.sleep(3600)
            if self.trick == 'garbage':
                client.sendall(os.urandom(1 << 20))
            self.handshake(client)
            while self.request(client):
                pass
        except (Gone, OSError):
            pass
        finally:
            client.close()

    def take(self, client, length):
        data = b''
        while len(data) < length:
            more = client.recv(length - len(data))
            if not more:
                raise Gone
            data += more
        return data

    # ---- The handshake

    def handshake(self, client):
        greeting = struct.pack('>QQH', 0x4e42444d41474943, 0x49484156454f5054, 3)
        if self.trick == 'drip-handshake':
            for byte in greeting * 1000:
                client.sendall(bytes([byte]))
                time.sleep(0.3)
        client.sendall(greeting)
        self.take(client, 4)
        while True:
            _, option, length = struct.unpack('>QII', self.take(client, 16))
            data = self.take(client, length)
            if option == META:
                self.reply(client, option, META_REPLY, struct.pack('>I', 1) + b'base:allocation')
                while self.trick == 'endless-meta':
                    self.reply(client, option, META_REPLY, struct.pack('>I', 1) + b'base:allocation')
                self.reply(client, option, OK)
            elif option == GO:
                self.go(client, option)
                return
            elif option == 8:
                self.reply(client, option, OK)
            else:
                self.reply(client, option, 0x80000001)
            del data

    def go(self, client, option):
        size = self.size
        if self.trick == 'huge':
            size = (1 << 63) - 512
        self.reply(client, option, INFO, struct.pack('>HQH', 0, size, self.flags))
        self.reply(client, option, INFO, struct.pack('>HIII', 3, *self.block))
        if self.trick == 'endless-info' or (self.trick == 'again-endless-info' and self.n_connections > 1):
            self.flood(client, struct.pack('>QIIIHQH', SHORT, option, INFO, 12, 0, size, self.flags))
        self.reply(client, option, OK)

    def flood(self, client, one):
        """Sends this for ever, faster than it is read."""
        with contextlib.suppress(OSError):
            client.setsockopt(socket.SOL_SOCKET, 32, 16 << 20)  # SO_SNDBUFFORCE: root only
        many = one * 50000
        while True:
            client.sendall(many)

    def reply(self, client, option, kind, data=b''):
        client.sendall(struct.pack('>QIII', SHORT, option, kind, len(data)) + data)

    # ---- Requests

    def request(self, client):
        _, _, kind, cookie, offset, length = struct.unpack('>IHHQQI', self.take(client, 28))
        if kind == 2:
            return False
        with self.lock:
            self.n_requests += 1
            is_bad = self.n_requests > self.after
        trick = self.trick if is_bad else ''
        if kind == 0 and (offset % self.block[0] or length % self.block[0] or length > self.block[2]):
            self.part(client, cookie, 0x8001, struct.pack('>IH', 22, 0))
            return True
        if trick.startswith('all-'):
            trick = trick[4:]
        elif trick and kind == 0 and trick.startswith('extents-'):
            trick = ''
        elif trick and kind == 7 and not trick.startswith('extents-'):
            trick = ''
        (self.read if kind == 0 else self.status)(client, cookie, offset, length, trick)
        return True

    def part(self, client, cookie, kind, data, done=True, length=None):
        client.sendall(struct.pack('>IHHQI', 0x668e33ef, int(done), kind, cookie, len(data) if length is None else length) + data)

    def read(self, client, cookie, offset, length, trick):
        data = pattern(offset, length, self.seed)
        whole = struct.pack('>Q', offset) + data
        if trick == 'short':
            self.part(client, cookie, 1, whole[:8 + length // 2])
        elif trick == 'overlap':  # the first half twice, the second never
            self.part(client, cookie, 1, whole[:8 + length // 2], False)
            self.part(client, cookie, 1, whole[:8 + length // 2])
        elif trick == 'long':
            self.part(client, cookie, 1, whole + bytes(512))
        elif trick == 'elsewhere':
            self.part(client, cookie, 1, struct.pack('>Q', offset + length) + data)
        elif trick == 'silent':
            time.sleep(3600)
        elif trick == 'passing-over':  # the one in the middle never, and all others at once
            if offset <= self.size // 2 < offset + length:
                return
            self.part(client, cookie, 1, whole)
        elif trick == 'drip':
            self.drip(client, cookie, whole)
        elif trick in ('hang-up', 'again-endless-info'):
            raise Gone
        elif trick == 'nonsense':
            client.sendall(os.urandom(4096))
        elif trick == 'lying-length':
            self.part(client, cookie, 1, whole, length=0xffffffff)
        elif trick == 'wrong-cookie':
            self.part(client, cookie ^ 0x5555, 1, whole)
        elif trick == 'endless':
            while True:
                client.sendall(struct.pack('>IHHQI', 0x668e33ef, 0, 0, cookie, 0) * 1000)
        elif trick == 'endless-holes':
            self.flood(client, struct.pack('>IHHQIQI', 0x668e33ef, 0, 2, cookie, 12, offset, length))
        elif trick == 'shutdown':
            self.part(client, cookie, 0x8001, struct.pack('>IH', 108, 0))
        elif trick == 'error':
            self.part(client, cookie, 0x8001, struct.pack('>IH', 5, 0))
        elif trick == 'error-words':
            words = b'\x1b[2Jwords\n'
            self.part(client, cookie, 0x8001, struct.pack('>IH', 5, len(words)) + words)
        elif trick == 'errno':  # one that the library would take for its own
            self.part(client, cookie, 0x8001, struct.pack('>IH', 116, 0))
        else:
            self.part(client, cookie, 1, whole)

    def drip(self, client, cookie, whole):
        header = struct.pack('>IHHQI', 0x668e33ef, 1, 1, cookie, len(whole))
        for byte in header + whole:
            client.sendall(bytes([byte]))
            time.sleep(0.2)

    def status(self, client, cookie, offset, length, trick):
        half = length // 2
        answers = {
            'extents-none': [],
            'extents-zero-length': [(0, 3)] * 8,
            'extents-long': [(0xffffffff, 3)] * 8,
            'extents-many': [(1, 3)] * 100000,
            'extents-hole': [(half, 1), (length - half, 2)],
        }
        entries = answers.get(trick, [(half, 0), (length - half, 3)])
        data = struct.pack('>I', 1) + b''.join(struct.pack('>II', *entry) for entry in entries)
        if trick == 'extents-error':
            self.part(client, cookie, 0x8001, struct.pack('>IH', 22, 0))
        elif trick == 'extents-odd':
            self.part(client, cookie, 5, data[:-3])
        elif trick == 'extents-endless':
            self.flood(client, struct.pack('>IHHQI', 0x668e33ef, 0, 5, cookie, len(data)) + data)
        elif trick == 'extents-twice':
            self.part(client, cookie, 5, data, False)
            self.part(client, cookie, 5, struct.pack('>III', 1, length, 3))
        elif trick == 'extents-foreign':
            self.part(client, cookie, 5, struct.pack('>III', 77, length, 3))
        else:
            self.part(client, cookie, 5, data)


if __name__ == '__main__':
    after = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    more = {}
    for word in sys.argv[5:]:
        name, value = word.split('=')
        more[name] = tuple(map(int, value.split(','))) if name == 'block' else int(value)
    Server(sys.argv[1], int(sys.argv[2]), sys.argv[3], after, **more).run()
