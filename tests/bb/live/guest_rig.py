# SPDX-License-Identifier: MIT OR Apache-2.0
"""A Linux guest on blockpull serve, whose one program is tests/serve/guest.c.

It draws its requests from a seed. Here it makes the same ones to a file, with which the image is compared. Its driver
is Linux's, on two queues; QEMU keeps the requests in flight and connects again.
"""
import hashlib
import os
import random
import shutil
import signal
import subprocess
import time

import harness
import images
import processes
import vm
from harness import KIB, MIB, bp, check, need, note, same
from images import image_check, image_map, overlay

SOURCES = [os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'serve', name) for name in ('guest.c', 'guest_work.c')]
WORKERS, PART, UNIT, REPORT = 4, 6 * MIB, 64 * KIB, 25  # as guest_work.h has them
LATE = 150  # seconds of the processor; 12 are used


def program(d):
    need('gcc')
    built = harness.run('gcc', '-D_GNU_SOURCE', '-O2', '-static', '-Wall', '-Wextra', '-Werror', '-o', f'{d}/guest', *SOURCES)
    same(built.rc, 0, f'gcc: {built}')
    return f'{d}/guest'


class Server:
    """One after another, of any of these commands."""

    def __init__(self, d, *args):
        self.socket, self.control, self.args, self.process = f'{d}/s', f'{d}/c', args, None

    def start(self, command):
        self.process = harness.start(command, 'serve', f'--socket-path={self.socket}', f'--control={self.control}', *self.args)
        processes.wait_listening(self.process, self.socket)
        same(os.readlink(f'/proc/{self.process.pid}/exe'), os.path.realpath(command), 'what serves')

    def end(self, number, rc):
        os.kill(self.process.pid, number)
        result = harness.finish(self.process)
        same(result.rc, rc, f'the server: {result}')

    def has_answered(self):
        stats = bp('ctl', '--json', self.control, 'info').json()['stats']
        return any(value for key, value in stats.items() if key.endswith('_operations'))

    def replace(self, command, number=signal.SIGKILL):
        self.end(number, 128 + 9 if number == signal.SIGKILL else 0)
        self.start(command)
        self.wait_until_answered()

    def wait_until_answered(self):
        """A request of the guest: QEMU before 9.1 never asks again where a server dies while it connects."""
        deadline = harness.clock() + harness.WAIT
        while not self.has_answered():
            check(harness.clock() < deadline, 'the guest stands still')
            time.sleep(0.1)


def machine(d, guest, words, *args, late=LATE, has_disk=True):
    """words: of its /init, tests/serve/guest.c."""
    disk = ('-chardev', f'socket,id=c,path={d}/s,reconnect=1', '-device', 'vhost-user-blk-pci,chardev=c,num-queues=2') if has_disk else ()
    kernel, *modules = vm.files(*vm.MODULES)
    entries = [(name, 0o040755, b'') for name in ('dev', 'sys')] + [('init', 0o100755, vm.content(guest))]
    entries += [(os.path.basename(path), 0o100644, vm.content(path)) for path in modules]
    return vm.Machine(  # QEMU has many words for a server that has gone
        d, kernel, entries, f'-- {words}', '-M', 'q35', '-smp', '2', '-m', '192',
        '-object', 'memory-backend-memfd,id=m,size=192M,share=on', '-numa', 'node,memdev=m', *disk, *args,
        late=late, stderr=subprocess.DEVNULL)


def digest(path):
    with open(path, 'rb') as file:
        return hashlib.sha256(file.read()).hexdigest()


def drawn(d, guest, more=0):
    """A seed, a base and an image over it, which is empty; with more bytes than the guest uses."""
    seed = int(os.environ.get('BB_SEED') or random.randrange(1 << 32))
    note(f'BB_SEED={seed}')
    same(harness.run(guest, 'fill', f'{d}/base.raw', seed).rc, 0, 'filling the base')
    with open(f'{d}/base.raw', 'ab') as base:
        base.write(random.Random(seed).randbytes(more))
    return seed, overlay(f'{d}/top.qcow2', 'base.raw')


def until(vm_guest, last, word, *starts):
    """Reads the console to the word, and does the next of these each time that a row of lines begins so."""
    starts, seen = list(starts), 0
    every = max(last // (len(starts) + 1), 1)
    for line in vm_guest.lines_until(word):
        check(not any(bad in line for bad in ('FAIL', 'I/O error', 'panic', 'BUG')), f'the guest says: {line}')
        if line.startswith(('at ', 'verified ')):
            seen += 1
            if starts and seen % every == 0:
                starts.pop(0)()
    same((seen, len(starts)), (last, 0), f'lines before {word}, and what was still to be done')


def judge(d, guest, top, seed, n, more=0, rounds=1):
    """From outside: the same requests on a copy of the base, which is so many bytes longer."""
    shutil.copy(f'{d}/base.raw', f'{d}/wanted')
    same(harness.run(guest, 'write', f'{d}/wanted', seed, n, rounds).rc, 0, 'the reference')
    os.truncate(f'{d}/wanted', os.path.getsize(f'{d}/wanted') + more)
    images.compare_flat(top, 'qcow2', f'{d}/wanted')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')
    for index in range(WORKERS):
        at = (index + 1) * PART - UNIT
        here = [row for row in image_map(top) if row['start'] <= at < row['start'] + row['length']]
        same((here[0]['zero'], here[0]['data']), (True, False), f'the map where worker {index} discarded')
