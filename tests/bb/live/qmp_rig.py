# SPDX-License-Identifier: MIT OR Apache-2.0
"""One chain behind qemu-storage-daemon, and behind ours; a client that sends both the same requests.

It sends bare JSON without line ends, as QEMU's own Python client does.
"""
import json
import os
import select
import signal
import socket

import facts
import harness
import images
import processes
import strace
from harness import MIB, Failed, check, need, same

SIZE = 4 * MIB


class Qmp:
    """One connection. Answers and events are kept apart: which goes first is not promised."""
    def __init__(self, path, process):
        processes.wait_listening(process, path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.data, self.answers, self.events = b'', [], []
        self.wait(lambda: self.answers)
        self.greeting = self.answers.pop()
        same(self.send({'execute': 'qmp_capabilities'}), {'return': {}}, 'qmp_capabilities')

    def wait(self, until, seconds=20, what=''):
        deadline = harness.clock() + seconds
        while not until():
            check(harness.clock() < deadline, f'waited in vain{what}: {self.words()}')
            if not select.select([self.socket], [], [], harness.NAP)[0]:
                continue
            got = self.socket.recv(65536)
            check(got, f'the connection was closed{what}: {self.words()}')
            self.data += got
            *lines, self.data = self.data.split(b'\n')
            for line in lines:
                value = json.loads(line)
                (self.events if 'event' in value else self.answers).append(value)

    def send(self, request):
        """The answer to one request, a dict or bytes."""
        self.socket.sendall(request if isinstance(request, bytes) else json.dumps(request).encode())
        self.wait(lambda: self.answers, what=f' for the answer to {request!r:.200}')
        return self.answers.pop(0)

    def words(self):
        """The events, without what differs by nature: times, numbers and names."""
        out = []
        for event in self.events:
            data = event['data']
            word = event['event'] + ''.join(f' {data[key]}' for key in ('status', 'operation', 'action') if key in data)
            out.append(word + (' error' if 'error' in data else ''))
        return out

    def until(self, word):
        self.wait(lambda: word in self.words(), what=f' for {word}')

    def keys(self):
        """Which members the data of each kind of event has."""
        return {e['event']: sorted(k for k in e['data'] if not k.startswith('x-')) for e in self.events}


def chain(d):
    """base.img <- mid.img <- top.img, and what the guest reads."""
    images.qemu_img('create', '-q', '-f', 'raw', f'{d}/base.img', str(SIZE))
    images.qemu_io(f'{d}/base.img', 'raw', 'write -P 1 0 3M')
    images.overlay(f'{d}/mid.img', 'base.img')
    images.qemu_io(f'{d}/mid.img', 'qcow2', 'write -P 2 1M 64k')
    images.overlay(f'{d}/top.img', 'mid.img', base_fmt='qcow2')
    images.qemu_io(f'{d}/top.img', 'qcow2', 'write -P 3 0 64k')


def start_qemu(d, fault=None, owned=False):
    """owned: the middle file is the monitor's, too, and the disk is exported at d/n."""
    need('qemu-storage-daemon')
    base = {'driver': 'raw', 'node-name': 'base', 'read-only': True,
            'file': {'driver': 'file', 'filename': f'{d}/base.img'}}
    if fault:
        base['file'] = {'driver': 'blkdebug', 'image': base['file'],
                        'inject-error': [{'event': 'read_aio', 'once': True, 'errno': fault}]}
    top = {'driver': 'qcow2', 'node-name': 'drive0', 'file': {'driver': 'file', 'filename': f'{d}/top.img'},
           'backing': {'driver': 'qcow2', 'node-name': 'mid', 'file': {'driver': 'file', 'filename': f'{d}/mid.img'},
                       'backing': 'base'}}
    if owned:
        more = ['--blockdev', json.dumps({**top['backing'], 'read-only': True})]
        top['backing'] = 'mid'
        serve = ['--nbd-server', f'addr.type=unix,addr.path={d}/n', '--export', 'nbd,id=e,node-name=drive0,writable=on,name=']
    else:
        more = serve = []
    command = ['qemu-storage-daemon', '--blockdev', json.dumps(base), *more, '--blockdev', json.dumps(top), *serve,
               '--chardev', f'socket,path={d}/q,server=on,wait=off,id=c', '--monitor', 'chardev=c']
    tries = 3
    while True:
        process = harness.start(*command)
        try:
            return process, Qmp(f'{d}/q', process), {'$dev': 'drive0', '$mid': 'mid', '$base': 'base'}
        except Failed:  # one start in a thousand loses the first request, or the connection, of its client
            tries -= 1
            if not tries or process.poll() is not None:
                raise
        harness.kill(process)
        harness.finish(process)


def start_ours(d, *parameters, fault=None):
    words = ['nbdkit', '-f', '-P', f'{d}/pid', '-U', f'{d}/n', facts.nbdkit_plugin(), f'{d}/top.img', f'control={d}/c', 'io=threads', *parameters]
    if fault:
        calls = 'pread64,preadv,preadv2'
        name = {5: 'EIO', 28: 'ENOSPC'}[fault]
        words = strace.words(calls, [f'{calls}:error={name}:when=1'], path=f'{d}/base.img') + words
    process = harness.start(*words)
    return process, Qmp(f'{d}/c', process), {'$dev': f'{d}/top.img', '$mid': '#layer1', '$base': '#layer2'}


def end(d, process):
    """Under strace it is the child that must be told."""
    try:
        with open(f'{d}/pid', encoding='ascii') as file:
            os.kill(int(file.read()), signal.SIGTERM)
    except FileNotFoundError:
        process.terminate()
    harness.finish(process)


def filled(value, names):
    if isinstance(value, dict):
        return {key: filled(member, names) for key, member in value.items()}
    return names.get(value, value) if isinstance(value, str) else value


def play(client, names, steps):
    """The classes of all answers. A step is an event to wait for, or a verb with its arguments."""
    classes = []
    for step in steps:
        if isinstance(step, str):
            client.until(step)
        elif isinstance(step, bytes):
            answer = client.send(step)
            classes.append((step, answer.get('error', {}).get('class', 'return')))
        else:
            verb, arguments = step
            answer = client.send({'execute': verb, 'arguments': filled(arguments, names)})
            classes.append((verb, arguments, answer.get('error', {}).get('class', 'return')))
    return classes
