# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the tests of served disks share: a disk over a server's base, the frontend, and what is told of servers."""
import json
import os
import select
import socket
import subprocess
import time

import harness
from harness import MIB, check, same
from images import compare_flat, image_check, image_info, qemu_img
from source_rig import nbdkit

FIRST = 0x11  # what the base is full of
SIZE = 32 * MIB
SECTORS = SIZE // 512


def disk(d):
    """An overlay of a base that a server has at d/b, which is not started; and a copy of what is read."""
    with open(f'{d}/base.raw', 'wb') as file:
        file.write(bytes([FIRST]) * SIZE)
    qemu_img('create', '-f', 'qcow2', '-u', '-b', f'nbd+unix:///?socket={d}/b', '-F', 'raw', f'{d}/top.img', str(SIZE))
    qemu_img('convert', '-O', 'raw', f'{d}/base.raw', f'{d}/flat')
    return f'{d}/top.img'


def base(d, *words):
    return nbdkit(f'{d}/b', '-r', '--filter=delay', 'file', f'{d}/base.raw', 'rdelay=2ms', *words)


def wrote(d, sector, byte):
    """In the copy, too."""
    with open(f'{d}/flat', 'r+b') as file:
        file.seek(sector * 512)
        file.write(bytes([byte]) * 4096)


def judge(d):
    """The disk stands alone and shows what it should."""
    check('backing-filename' not in image_info(f'{d}/top.img'), 'the link is there')
    same(image_check(f'{d}/top.img', 'qcow2'), 0, 'qemu-img check')
    compare_flat(f'{d}/top.img', 'qcow2', f'{d}/flat')


def is_linked(d):
    check('backing-filename' in image_info(f'{d}/top.img'), 'the link is gone')
    alone = {'driver': 'qcow2', 'backing': None, 'file': {'driver': 'file', 'filename': f'{d}/top.img'}}
    result = harness.run('qemu-img', 'check', f'json:{json.dumps(alone)}')  # which would connect to the base
    same(result.rc, 0, f'{result}')


class Front:
    """tests/serve/steer.c on the socket d/s."""

    def __init__(self, d):
        program = os.path.join(os.path.dirname(harness.blockpull), '..', 'tests', 'vhost_frontend')
        self.process = harness.start(program, 'steer', f'{d}/s', stdin=subprocess.PIPE, stderr=None)
        self.do('connect')
        self.do('start')

    def ask(self, *words):
        self.process.stdin.write(' '.join(map(str, words)).encode() + b'\n')
        self.process.stdin.flush()

    def has_answer(self, seconds):
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def answer(self):
        return self.process.stdout.readline().decode().strip()

    def do(self, *words, answer='ok'):
        self.ask(*words)
        same(self.answer(), str(answer), ' '.join(map(str, words)))

    def over(self):
        self.process.stdin.close()
        same(harness.finish(self.process, timeout=20).rc, 0, 'the frontend')


class Qmp:
    """A client of the control socket d/c."""

    def __init__(self, d):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(f'{d}/c')
        self.lines, self.events = self.socket.makefile('rb'), []
        self.ask('qmp_capabilities')

    def _receive(self):
        self.socket.settimeout(harness.WAIT)
        return json.loads(self.lines.readline())

    def ask(self, verb):
        self.socket.sendall(json.dumps({'execute': verb}).encode())
        while True:
            answer = self._receive()
            if 'return' in answer:
                return answer['return']
            check('error' not in answer, f'{verb}: {answer}')
            self.events.append(answer)

    def event(self, name, **data):
        """The next event of this name that says so."""
        deadline = time.monotonic() + harness.WAIT
        while True:
            while self.events:
                event = self.events.pop(0)
                if event.get('event') == name and all(event['data'].get(k) == v for k, v in data.items()):
                    return event['data']
            check(time.monotonic() < deadline, f'no {name} {data}')
            answer = self._receive()
            if 'event' in answer:
                self.events.append(answer)

    def server(self):
        found = self.ask('x-query-servers')
        same(len(found), 1, 'servers')
        return found[0]

    def wait_server(self, state):
        self.until(lambda: self.server()['state'] == state, f'the server is never {state}')

    def wait_copied(self, n):
        self.until(lambda: self.ask('x-query-job')[0]['cur'] >= n, f'{n} bytes are never copied')

    @staticmethod
    def until(is_so, complaint):
        deadline = time.monotonic() + harness.WAIT
        while not is_so():
            check(time.monotonic() < deadline, complaint)
            time.sleep(0.02)
