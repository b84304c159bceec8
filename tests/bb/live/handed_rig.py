# SPDX-License-Identifier: MIT OR Apache-2.0
"""A server that was given descriptors, and a client that hands over more."""
import json
import os
import socket

import harness
import images
import processes
import qmp_sequences
import serve_rig
from harness import check
from qmp_rig import Qmp

NAMES = 'top', 'mid', 'base'


def opened(d, writable=('top',)):
    """Descriptors of the chain's files."""
    return [os.open(f'{d}/{name}.img', os.O_RDWR if name in writable else os.O_RDONLY) for name in NAMES]


def start(d, *args, fds=None, writable=('top',)):
    """The server of the images that are called /disks/NAME.img there, and its frontend, whose rings run."""
    fds = fds or opened(d, writable)
    server = harness.start(harness.blockpull, 'serve', '-q', f'--socket-path={d}/s', f'--control={d}/c', '--node-name=drive0',
                           *(f'--fd-map=/disks/{name}.img={fd}' for name, fd in zip(NAMES, fds)), *args, '/disks/top.img', pass_fds=fds)
    for fd in fds:
        os.close(fd)
    processes.wait_listening(server, f'{d}/s')
    front = serve_rig.Front(d)
    front.runs()
    return server, front, Qmp(f'{d}/c', server)


def hand(client, name, *paths, flags=os.O_RDWR):
    """getfd, with descriptors of these files."""
    fds = [os.open(path, flags) for path in paths]
    request = {'execute': 'getfd', 'arguments': {'fdname': name}}
    socket.send_fds(client.socket, [json.dumps(request).encode()], fds)
    for fd in fds:
        os.close(fd)
    client.wait(lambda: client.answers, what=' for the answer to getfd')
    return client.answers.pop(0)


def made(d, name, below):
    images.qemu_img('create', '-q', '-f', 'qcow2', '-b', f'{below}.img', '-F', 'qcow2', '-u', f'{d}/{name}.img', '4M')


def snapshot(client, name, node, **more):
    step = qmp_sequences.sync(name, node, **{'snapshot_file': f'/disks/{name}.img', 'mode': 'existing', **more})
    return client.send({'execute': step[0], 'arguments': step[1]})


def refused_with(answer, *words):
    said = answer.get('error', {}).get('desc', '')
    check(all(word in said for word in words), f'{words}: {answer}')


def count(server):
    """What it has open."""
    return len(os.listdir(f'/proc/{server.pid}/fd'))


def by_names(d):
    """The server that opens files by their names."""
    return serve_rig.serving(d, '-q', f'--control={d}/c', f'--snapshot-dir={d}', f'{d}/top.img')
