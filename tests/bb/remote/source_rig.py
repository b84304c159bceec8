# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the tests of sources behind a network share: their driver, and servers that come and go."""
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import zlib

import harness
import processes
from harness import Failed, MIB, check

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'nbd'))
from hostile import pattern  # noqa: E402  pylint: disable=wrong-import-position

HOSTILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'nbd', 'hostile.py')


def driver_path():
    path = os.environ.get('NBD_SOURCE_DRIVER') or os.path.join(os.path.dirname(harness.blockpull), '..', 'tests',
                                                               'nbd_source_driver')
    if not os.path.exists(path):
        raise harness.Skip('libblockpull-nbd is not built')
    return path


def crc(offset, length, seed=0):
    return f'{zlib.crc32(pattern(offset, length, seed)):08x}'


class Driver:
    """tests/nbd/source_driver.c: commands in, lines out."""

    def __init__(self, **options):
        with open(__file__, encoding='utf-8') as inherited:  # a broker may keep none of these
            self.process = harness.start(driver_path(), stdin=subprocess.PIPE, pass_fds=[inherited.fileno()])
        self.lines, self.seen = queue.Queue(), []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        for name, value in options.items():
            for one in value if isinstance(value, list) else [value]:
                self.say(f'option {name} {one}')

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.decode(errors='replace').rstrip('\n'))
        self.lines.put(None)

    def say(self, line):
        self.process.stdin.write(line.encode() + b'\n')
        self.process.stdin.flush()

    def wait(self, *words, seconds=harness.WAIT):
        """The first line that begins with these words, of those that were not taken yet."""
        start = ' '.join(words)
        deadline = time.monotonic() + seconds
        while True:
            for i, line in enumerate(self.seen):
                if line == start or line.startswith(start + ' '):
                    return self.seen.pop(i)
            try:
                line = self.lines.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                raise Failed(f'no line "{start}" came; there were {self.seen}') from None
            if line is None:
                raise Failed(f'the driver has ended: {self.process.stderr.read().decode()}; no "{start}"; {self.seen}')
            self.seen.append(line)

    def has_not(self, *words):
        """No line that begins so has come by now."""
        self.state()
        start = ' '.join(words)
        check(not any(line.startswith(start + ' ') for line in self.seen), f'"{start}" came: {self.seen}')

    def open(self, name, rc=0):
        self.say(f'open {name}')
        line = self.wait('open')
        check(int(line.split()[1]) == rc, f'open {name}: {line}, wanted {rc}')
        if rc == 0 and ' file ' not in line:
            self.wait('changed', 'connected')
        return line.split(None, 2)[2]

    def read(self, offset, length, asker='job', name='r'):
        """Reads, and gives (rc, sum)."""
        self.say(f'read {name} {offset} {length} {asker}')
        return self.answer(name)

    def answer(self, name):
        words = self.wait('read', name).split()
        return int(words[2]), words[3]

    def right(self, offset, length, asker='job', seed=0):
        got = self.read(offset, length, asker)
        check(got == (0, crc(offset, length, seed)), f'read {offset}+{length}: {got}, wanted {crc(offset, length, seed)}')

    def extents(self, offset, length, asker='job'):
        """(rc, [(length, is_zero)])"""
        self.say(f'extents x {offset} {length} {asker}')
        words = self.wait('extents', 'x').split()
        return int(words[2]), [tuple(map(int, word.split(':'))) for word in words[4:]]

    def state(self):
        self.say('state')
        head, _, message = self.wait('state').partition(' message=')
        found = dict(word.split('=', 1) for word in head.split()[1:])
        return {**found, 'message': message}

    def left_to_child(self):
        """Has the driver fork: how many of the source's descriptors the child has when it has left it."""
        self.say('fork')
        return int(self.wait('fork').split()[2])

    def close(self, ms=None):
        """Closes, which may take so many ms of a quiet machine."""
        self.say('close')
        took = int(self.wait('close').split()[1])
        check(ms is None or took < ms * 10, f'close took {took} ms')
        self.process.stdin.close()
        self.process.stdin = None
        self.reader.join(harness.WAIT)
        error = self.process.stderr.read().decode()
        check(self.process.wait(harness.WAIT) == 0, f'the driver failed: {error}')


def nbdkit(sock, *words):
    harness.need('nbdkit')
    process = harness.start('nbdkit', '-f', '-U', sock, *words, stdout=subprocess.DEVNULL)
    processes.wait_listening(process, sock)
    return process


def hostile(sock, trick, size=8 * MIB, after=0, **more):
    words = [f'{name}={value}' for name, value in more.items()]
    process = harness.start(sys.executable, '-B', HOSTILE, sock, size, trick, after, *words, stdout=subprocess.DEVNULL)
    processes.wait_listening(process, sock)
    return process


def pause(path, word):
    """Tells nbdkit's pause filter, by its socket: b'p' pause, b'r' go on."""
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(path)
        control.sendall(word)
        control.recv(1)


def end(process, sock=None):
    harness.kill(process)
    process.wait()
    if sock and os.path.exists(sock):
        os.unlink(sock)
