# SPDX-License-Identifier: MIT OR Apache-2.0
"""Snapshots of a disk whose files have no names here: the server got descriptors (--fd-map), and gets that of each new image
from a client of its control socket (getfd), which has made the image itself."""
import os
import signal
import socket

import facts
import harness
import images
import qmp_sequences
import serve_rig
from handed_rig import by_names, count, hand, made, opened, refused_with, snapshot, start
from harness import Skip, case, check, same
from qmp_rig import Qmp, chain
from serve_rig import over


@case('each new image is handed over, and written to from then on')
@case('each new image is handed over, without a sandbox', '--no-sandbox')
def handed(d, *args):
    chain(d)
    server, front, client = start(d, *args)
    front.do('write', 0, 0, 0x41, answer=0)
    below = 'top'
    for n, name in enumerate(('s1', 's2')):
        made(d, name, below)
        same(hand(client, f'/disks/{name}.img', f'{d}/{name}.img'), {'return': {}}, 'getfd')
        same(snapshot(client, name, 's1' if n else 'drive0'), {'return': {}}, 'the snapshot')
        front.do('write', 0, 8 * (n + 1), 0x42 + n, answer=0)
        below = name
    for sector, byte in (0, 0x41), (8, 0x42), (16, 0x43):
        front.do('read', 0, sector, answer=byte)
    images.qemu_io(f'{d}/s2.img', 'qcow2', 'write 0 4k', rc=(1,))  # it is locked
    front.do('stop')
    front.do('start')
    front.do('write', 0, 24, 0x44, answer=0)
    over(server, front)
    images.qemu_io(f'{d}/s2.img', 'qcow2', 'read -P 0x41 0 4k', 'read -P 0x42 4k 4k', 'read -P 0x43 8k 4k', 'read -P 0x44 12k 4k')
    images.qemu_io(f'{d}/s1.img', 'qcow2', 'read -P 0x42 4k 4k', 'read -P 3 8k 4k')
    same([images.image_check(f'{d}/{name}.img', 'qcow2') for name in ('s2', 's1', 'top')], [0, 0, 0], 'check')


@case('two images that are handed over, by one transaction')
def both(d):
    chain(d)
    server, front, client = start(d)
    front.do('write', 0, 0, 0x41, answer=0)
    before = count(server)
    for name, below in ('s1', 'top'), ('s2', 's1'):
        made(d, name, below)
        same(hand(client, f'/disks/{name}.img', f'{d}/{name}.img'), {'return': {}}, 'getfd')
    steps = [qmp_sequences.sync(name, node, snapshot_file=f'/disks/{name}.img', mode='existing') for name, node in (('s1', 'drive0'), ('s2', 's1'))]
    step = qmp_sequences.transaction(*steps)
    same(client.send({'execute': step[0], 'arguments': step[1]}), {'return': {}}, 'the transaction')
    front.do('write', 0, 8, 0x42, answer=0)
    front.do('read', 0, 0, answer=0x41)
    check(count(server) <= before + 6, 'descriptors')  # of each image: ours, the library's, its header's
    over(server, front)
    images.qemu_io(f'{d}/s2.img', 'qcow2', 'read -P 0x41 0 4k', 'read -P 0x42 4k 4k')
    images.qemu_io(f'{d}/s1.img', 'qcow2', 'read -P 0x41 0 4k', 'read -P 3 4k 4k')


@case('what was written behind a snapshot is there when the server is killed')
def killed(d):
    chain(d)
    server, front, client = start(d)
    made(d, 's1', 'top')
    same(hand(client, '/disks/s1.img', f'{d}/s1.img'), {'return': {}}, 'getfd')
    same(snapshot(client, 's1', 'drive0'), {'return': {}}, 'the snapshot')
    front.do('write', 0, 8, 0x51, answer=0)
    front.dies()
    serve_rig.end(server, signal.SIGKILL, 137)
    images.settle(f'{d}/s1.img')
    images.qemu_io(f'{d}/s1.img', 'qcow2', 'read -P 0x51 4k 4k', 'read -P 3 0 4k')


@case('locks go with a server that is killed, though its starter keeps the descriptors')
def kept(d):
    chain(d)
    fds = opened(d)
    kept = [os.dup(fd) for fd in fds]
    server, front, _ = start(d, fds=fds)
    images.qemu_io(f'{d}/top.img', 'qcow2', 'write 0 4k', rc=(1,))
    front.dies()
    serve_rig.end(server, signal.SIGKILL, 137)
    images.settle(f'{d}/top.img')
    images.qemu_io(f'{d}/top.img', 'qcow2', 'write 0 4k')
    for fd in kept:
        os.close(fd)


@case('what was not handed over, or leads elsewhere, is refused, and the disk goes on')
def refusals(d):
    chain(d)
    made(d, 's1', 'top')
    made(d, 'other', 'mid')
    server, front, client = start(d)
    refused_with(client.send({'execute': 'getfd', 'arguments': {'fdname': 'x'}}), 'SCM_RIGHTS')
    refused_with(client.send({'execute': 'getfd'}), "'fdname' is missing")
    refused_with(snapshot(client, 's1', 'drive0'), '/disks/s1.img', 'getfd')
    refused_with(snapshot(client, 's2', 'drive0', mode='absolute-paths'), 'getfd', 'existing')
    refused_with(client.send({'execute': 'block-commit', 'arguments': {'device': 'drive0'}}), '/disks/base.img', '--fd-map')
    refused_with(hand(client, '/disks/top.img', f'{d}/top.img'), 'already')
    same(hand(client, '/disks/other.img', f'{d}/other.img'), {'return': {}}, 'getfd')
    refused_with(snapshot(client, 'other', 'drive0'), '/disks/other.img', 'not')
    same(hand(client, '/disks/ro.img', f'{d}/s1.img', flags=os.O_RDONLY), {'return': {}}, 'getfd')
    refused_with(snapshot(client, 'ro', 'drive0'), 'ro.img')
    same(hand(client, '/disks/s1.img', f'{d}/s1.img', f'{d}/other.img'), {'return': {}}, 'the first of two')
    front.do('write', 0, 0, 0x31, answer=0)
    front.do('read', 0, 0, answer=0x31)
    same(snapshot(client, 's1', 'drive0'), {'return': {}}, 'the snapshot, after all')
    front.do('read', 0, 0, answer=0x31)
    over(server, front)
    images.qemu_io(f'{d}/top.img', 'qcow2', 'read -P 0x31 0 4k')


@case('a server of names takes no descriptor')
def names(d):
    if facts.emulated():
        raise Skip('qemu-user has no Landlock')
    chain(d)
    server = by_names(d)
    client = Qmp(f'{d}/c', server)
    refused_with(hand(client, 'x', f'{d}/top.img'), 'by their names')
    serve_rig.end(server)


@case('descriptors that no request takes do not pile up')
def many(d):
    if facts.emulated():
        raise Skip('qemu-user 7.2 receives twice the descriptors that a program has room for, and keeps the rest')
    chain(d)
    server, front, client = start(d)
    before = count(server)
    for _ in range(50):
        with open(f'{d}/base.img', 'rb') as file:
            fds = [file.fileno(), file.fileno()]
            socket.send_fds(client.socket, [b'{"execute":"query-jobs"}'], fds)
        client.wait(lambda: client.answers)
        client.answers.clear()
    check(count(server) <= before + 1, 'they are kept')
    client.socket.close()
    Qmp(f'{d}/c', server)
    check(count(server) <= before + 1, 'the last one is kept')
    over(server, front)


if __name__ == '__main__':
    harness.main(workers=2)
