# SPDX-License-Identifier: MIT OR Apache-2.0
"""Another program that has an image, whether one may have it, and what a server says of that."""
import os
import select
import subprocess
import time

import harness
from harness import check, same


def is_free(image):
    """Whether a program that wants to write to it may."""
    result = harness.run('qemu-io', '-f', 'qcow2', '-c', 'read 0 512', image)
    check(result.rc == 0 or 'lock' in result.err, f'qemu-io: {result}')
    return result.rc == 0


def has(image, free, when):
    same(is_free(image), free, f'{when}: another program may have the image')


class Holder:
    """Another program that has the image for writing."""

    def __init__(self, image):
        self.process = harness.start('qemu-io', '-f', 'qcow2', image, stdin=subprocess.PIPE)
        self.ask('read 0 512')

    def ask(self, line):
        self.process.stdin.write(line.encode() + b'\n')
        self.process.stdin.flush()
        while b'ops' not in self.process.stdout.readline():
            check(self.process.poll() is None, 'qemu-io has ended')

    def over(self):
        self.process.stdin.close()
        same(harness.finish(self.process, timeout=20).rc, 0, 'qemu-io')


def heard(server, word):
    """Reads what the server says up to a line with this word. What it says behind that is left where it is."""
    deadline, line = time.monotonic() + harness.WAIT, b''
    while not line.endswith(b'\n') or word.encode() not in line:
        left = deadline - time.monotonic()
        check(left > 0 and select.select([server.stderr], [], [], left)[0], f'the server does not say {word}, but {line}')
        byte = os.read(server.stderr.fileno(), 1)
        check(byte, f'the server ended before it said {word}')
        line = byte if line.endswith(b'\n') else line + byte
    return line.decode()
