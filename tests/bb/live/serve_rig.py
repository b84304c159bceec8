# SPDX-License-Identifier: MIT OR Apache-2.0
"""What drives a server: our own frontend, QEMU with its firmware, and a client of the control socket."""
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time

import harness
import images
import processes
import strace
from harness import DONE, MIB, check, need, same
from images import overlay, qemu_img

FIRST = 0x11  # what the base is full of
SIZE = 16 * MIB


def frontend(*args, timeout=120):
    program = os.path.join(os.path.dirname(harness.blockpull), '..', 'tests', 'vhost_frontend')
    result = harness.run(program, *args, timeout=timeout)
    same(result.rc, 0, f'the frontend: {result}')
    return result


class Front:
    """A frontend that is told what to say."""

    def __init__(self, d, *args):
        program = os.path.join(os.path.dirname(harness.blockpull), '..', 'tests', 'vhost_frontend')
        self.process = harness.start(program, 'steer', *args, f'{d}/s', stdin=subprocess.PIPE, stderr=None)

    def say(self, *words):
        self.process.stdin.write(' '.join(map(str, words)).encode() + b'\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().strip()

    def begin(self, *words):
        """The answer is left where it is: answered()."""
        self.process.stdin.write(' '.join(map(str, words)).encode() + b'\n')
        self.process.stdin.flush()

    def answered(self, seconds):
        """The answer, or None where none has come by then."""
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return None
        return self.process.stdout.readline().decode().strip()

    def do(self, *words, answer='ok'):
        same(self.say(*words), str(answer), ' '.join(map(str, words)))

    def runs(self):
        self.do('connect')
        self.do('start')

    def over(self):
        self.process.stdin.close()
        same(harness.finish(self.process, timeout=20).rc, 0, 'the frontend')

    def dies(self):
        harness.kill(self.process)
        harness.finish(self.process)


def disk(d, fmt='qcow2', options=None):
    with open(f'{d}/base.raw', 'wb') as file:
        file.write(bytes([FIRST]) * SIZE)
    return overlay(f'{d}/top.img', 'base.raw', fmt, options)


def serving(d, *args):
    """A server, which listens."""
    server = harness.start(harness.blockpull, 'serve', f'--socket-path={d}/s', *args)
    processes.wait_listening(server, f'{d}/s')
    return server


def end(server, number=signal.SIGTERM, rc=DONE):
    os.kill(server.pid, number)
    result = harness.finish(server, timeout=20)
    same(result.rc, rc, f'the server: {result}')
    return result


def running(d, *args, front=()):
    """A server that was started with these arguments, and a frontend, with those, whose rings run."""
    server, front = serving(d, *args), Front(d, *front)
    front.runs()
    return server, front


def traced(d, calls, *args, inject=(), front=()):
    """One whose threads make these calls under strace, and its frontend. The tracer ends as it does."""
    tracer = harness.start(*strace.words(calls, inject, options=['-y'], log=f'{d}/log'), harness.blockpull, 'serve', '--io=threads',
                           f'--socket-path={d}/s', *args, env=strace.environment())
    processes.wait_listening(tracer, f'{d}/s')
    front = Front(d, *front)
    front.runs()
    return tracer, front


def child(tracer):
    with open(f'/proc/{tracer.pid}/task/{tracer.pid}/children', encoding='ascii') as children:
        return int(children.read())


def over(server, *fronts):
    """All end in peace; how the server ended."""
    for front in fronts:
        front.over()
    return end(server)


def cpu_seconds(server):
    """Of all its threads."""
    tasks = f'/proc/{server.pid}/task'
    total = 0
    for task in os.listdir(tasks):
        with open(f'{tasks}/{task}/schedstat', encoding='ascii') as stat_file:
            total += int(stat_file.read().split()[0])
    return total / 1e9


def say(sock, number, payload=b'', fds=()):
    """A message of a frontend."""
    data = struct.pack('<III', number, 1, len(payload)) + payload
    if fds:
        socket.send_fds(sock, [data], list(fds))
    else:
        sock.sendall(data)


def hear(sock):
    sock.settimeout(harness.WAIT)
    number, _, length = struct.unpack('<III', sock.recv(12, socket.MSG_WAITALL))
    return number, sock.recv(length, socket.MSG_WAITALL) if length else b''


def ask(path, *requests):
    """The answers to requests of a QMP server."""
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(path)
        answers, lines = [], control.makefile('rb')
        for request in ({'execute': 'qmp_capabilities'}, *requests):
            control.sendall(json.dumps(request).encode())
            while True:
                answer = json.loads(lines.readline())
                if 'return' in answer or 'error' in answer:
                    break
            answers.append(answer)
    return answers[1:]


# ---- Firmware -----------------------------------------------------------------------------------

def boot_disk(d):
    """Whose boot sector reads a row of sectors and writes it with its numbers to another row."""
    need('as', 'ld', 'qemu-system-x86_64')
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'serve', 'boot.S')
    for command in (['as', '--32', source, '-o', f'{d}/boot.o'],
                    ['ld', '-m', 'elf_i386', '-Ttext', '0x7c00', '--oformat', 'binary', f'{d}/boot.o', '-o', f'{d}/boot.raw']):
        same(harness.run(*command).rc, 0, command[0])
    with open(f'{d}/boot.raw', 'r+b') as file:
        file.seek(64 * 512)
        file.write(b''.join(bytes([n + 1]) * 512 for n in range(200)))
        file.truncate(4 * MIB)
    qemu_img('convert', '-f', 'raw', '-O', 'qcow2', f'{d}/boot.raw', f'{d}/base.qcow2')
    return overlay(f'{d}/top.img', 'base.qcow2', base_fmt='qcow2')


def machine(d, *args):
    return harness.start(
        'qemu-system-x86_64', '-M', 'q35,accel=tcg', '-m', '64', '-object', 'memory-backend-memfd,id=m,size=64M,share=on',
        '-numa', 'node,memdev=m', '-chardev', f'socket,id=c,path={d}/s,reconnect=1',
        '-device', 'vhost-user-blk-pci,chardev=c,num-queues=1,bootindex=0', '-display', 'none', '-vga', 'none', '-net', 'none',
        '-serial', f'file:{d}/serial', '-device', 'isa-debug-exit,iobase=0xf4', '-no-reboot', *args)


def serial(d):
    if not os.path.exists(f'{d}/serial'):
        return ''
    with open(f'{d}/serial', encoding='ascii', errors='replace') as file:
        return file.read()


def wait_for_rows(d, n):
    until = time.monotonic() + 60
    while serial(d).count('.') < n:
        check(time.monotonic() < until, f'the guest wrote less than {n} sectors: {serial(d)!r}')
        time.sleep(0.02)


def written_rows(d, image):
    """Which of the sectors that the guest writes the image has."""
    qemu_img('convert', '-O', 'raw', image, f'{d}/after')
    with open(f'{d}/after', 'rb') as file:
        file.seek(1024 * 512)
        return {n for n in range(200) if file.read(512) == bytes([n + 1]) * 508 + bytes([n, 0, n + 1, n + 1])}


def check_rows(d, top):
    said = serial(d)
    same((said.split()[0], said.split()[-1], said.count('.')), ('BOOTED', 'DONE', 200), 'the guest')
    qemu_img('convert', '-O', 'raw', top, f'{d}/after')
    with open(f'{d}/after', 'rb') as file:
        file.seek(1024 * 512)
        for n in range(200):
            wanted = bytes([n + 1]) * 508 + bytes([n, 0, n + 1, n + 1])
            same(file.read(512), wanted, f'sector {n} of those that the guest wrote')


def after_the_guest(top, flat):
    """What is to be read when the guest of boot_disk() has written its rows: `flat` is changed."""
    images.flatten(top, 'qcow2', flat)
    with open(flat, 'r+b') as file:
        file.seek(1024 * 512)
        for n in range(200):
            file.write(bytes([n + 1]) * 508 + bytes([n, 0, n + 1, n + 1]))
    return flat
