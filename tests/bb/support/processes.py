# SPDX-License-Identifier: MIT OR Apache-2.0
"""What other processes do, as the kernel tells it."""
import contextlib
import fcntl
import os
import struct
import time

from harness import WAIT, Failed, check, clock, kill

OFD_GETLK = 36  # fcntl(2)
WRITES = 101, 1  # QEMU's byte of an image for "I write"


def _is_listening(path):
    """Read from the kernel: a trial connection would be one that the server minds."""
    with open('/proc/net/unix', encoding='utf-8', errors='surrogateescape') as sockets:
        next(sockets)
        for line in sockets:
            words = line.rstrip('\n').split(' ', 7)
            if words[-1].split(' ', 1)[-1] == path and int(words[3], 16) & 0x10000:  # __SO_ACCEPTCON
                return True
    return False


def _is_written(path):
    """Asked of the kernel: a look at the image by another program would be in the way of who is about to lock it."""
    with open(path, 'rb') as file:
        asked = struct.pack('hhqqi', fcntl.F_WRLCK, os.SEEK_SET, *WRITES, 0)
        return struct.unpack('hhqqi', fcntl.fcntl(file, OFD_GETLK, asked))[0] != fcntl.F_UNLCK


def _wait(process, done, paths, wanted):
    deadline = clock() + WAIT
    while not all(map(done, paths)):
        if process.poll() is not None:
            kill(process)  # what it started may hold stderr open
            raise Failed(f'it has ended: {process.args}: {process.stderr.read().decode(errors="replace")}')
        check(clock() < deadline, f'it does not {wanted}: {process.args}')
        time.sleep(0.01)


def wait_listening(process, *paths):
    """Until a process listens on each of these sockets: a name is there a moment before."""
    _wait(process, _is_listening, paths, 'listen')


def wait_writing(process, *paths):
    """Until a process has locked each of these images as one that it writes."""
    _wait(process, _is_written, paths, 'write')


def open_names(pid):
    """What a process has open, by name. One may be closed while we look."""
    names = []
    for fd in os.listdir(f'/proc/{pid}/fd'):
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(f'/proc/{pid}/fd/{fd}'))
    return names
