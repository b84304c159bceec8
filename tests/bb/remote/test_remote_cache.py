# SPDX-License-Identifier: MIT OR Apache-2.0
"""A host's cache, made of an image and the plugin as docs/remote.md shows it: a qcow2 image over the remote base, filled once
by its pull and by what its clients read, under many clones. How much the server sends is counted by nbdkit's stats filter."""
import os
import re
import signal
import time

import facts
import harness
import images
import processes
from harness import MIB, bp, case, check, need, same
from remote_images import base, judge, overlay
from source_rig import end, nbdkit

SIZE = 128 * MIB
CLONES = 4
READ_ONCE = 16 * MIB


def origin(d, path):
    return nbdkit(f'{d}/o', '-r', '--filter=stats', '--filter=delay', 'file', path, 'rdelay=2ms', f'statsfile={d}/stats')


def sent(d, server):
    """Bytes that were read from the server, which ends."""
    os.kill(server.pid, signal.SIGTERM)
    server.wait()
    os.unlink(f'{d}/o')
    with open(f'{d}/stats', encoding='ascii') as file:
        text = file.read()
    if 'read:' not in text:
        return 0
    found = re.search(r'^read: .*, ([0-9.]+) (bytes|KiB|MiB|GiB),', text, re.M)
    check(found, text)
    return float(found[1]) * {'bytes': 1, 'KiB': 1 << 10, 'MiB': MIB, 'GiB': 1 << 30}[found[2]]


def cache(d, *parameters):
    """Serves d/cache.qcow2 to the clones of this host, who can't write to it."""
    process = harness.start('nbdkit', '-f', '-U', f'{d}/c', '--filter=protect', facts.nbdkit_plugin(), f'image={d}/cache.qcow2',
                            'copy-on-read=true', f'allow-remote=nbd+unix:{d}', f'control={d}/ctl', 'protect=0-', *parameters)
    processes.wait_listening(process, f'{d}/c', f'{d}/ctl')
    return process


def over(d, process):
    os.kill(process.pid, signal.SIGTERM)
    result = harness.finish(process)
    check(result.rc in (0, 128 + signal.SIGTERM), f'{result}')
    os.unlink(f'{d}/c')


def clones(d, fmt='raw'):
    return [overlay(d, f'nbd+unix:///?socket={d}/c', fmt, SIZE, name=f'clone{i}.qcow2') for i in range(CLONES)]


def scene(d):
    path, flat = base(d, 'raw', SIZE)
    overlay(d, f'nbd+unix:///?socket={d}/o', 'raw', SIZE, name='cache.qcow2')
    return path, flat


def filling(d):
    path, flat = scene(d)
    return flat, origin(d, path), cache(d, 'pull=true')


def sent_once(d, path):
    """Bytes that the server sends for one pull."""
    server = origin(d, path)
    pull_all(d, [overlay(d, f'nbd+unix:///?socket={d}/o', 'raw', SIZE, name='alone.qcow2')])
    return sent(d, server)


def pull_all(d, tops):
    bp('pull', '-q', f'-j{CLONES}', f'--allow-remote=nbd+unix:{d}', *tops)


@case('clones of a cache that is being filled: the server sends its data once')
def once(d):
    path, flat = scene(d)
    n_bytes = sent_once(d, path)
    server = origin(d, path)
    process = cache(d, 'pull=true')
    tops = clones(d)
    pull_all(d, tops)
    bp('ctl', f'{d}/ctl', 'wait')
    for top in tops:
        judge(top, flat)
    over(d, process)
    judge(f'{d}/cache.qcow2', flat)
    n_sent = sent(d, server)
    harness.note(f'{n_sent / n_bytes:.3f} of the data was sent')
    check(0.99 * n_bytes <= n_sent <= 1.25 * n_bytes, f'{n_sent} bytes were sent, of {n_bytes}')


@case('a cache that is full needs no server, also after a restart')
def full(d):
    flat, server, process = filling(d)
    bp('ctl', f'{d}/ctl', 'wait')
    end(server, f'{d}/o')
    over(d, process)
    process = cache(d)
    tops = clones(d)
    pull_all(d, tops)
    judge(tops[0], flat)
    over(d, process)


@case('a cache that is killed half full goes on where it was')
def killed(d):
    path, flat = scene(d)
    n_bytes = sent_once(d, path)
    server = origin(d, path)
    process = cache(d, 'pull=true', 'bandwidth=16M')
    tops = clones(d)
    while bp('ctl', f'{d}/ctl', 'info', '--json').json()['bytes']['copied'] < 16 * MIB:
        time.sleep(0.1)
    time.sleep(2.5)  # what was copied is durable after 2 s at the latest
    harness.kill(process)
    process.wait()
    os.unlink(f'{d}/c')
    images.settle(f'{d}/cache.qcow2')
    end(server, f'{d}/o')  # nbdkit 1.32 may abort when a client is killed
    server = origin(d, path)
    process = cache(d, 'pull=true')
    pull_all(d, tops)
    bp('ctl', f'{d}/ctl', 'wait')
    for top in tops:
        judge(top, flat)
    over(d, process)
    judge(f'{d}/cache.qcow2', flat)
    n_sent = sent(d, server)
    harness.note(f'{n_sent / n_bytes:.3f} of the data was sent by the second server')
    check(0 < n_sent < 0.85 * n_bytes, f'{n_sent} bytes of {n_bytes} were sent again')


@case('a server with other bytes fills no cache: the manifest says what they must be')
def checked(d):
    path, _ = scene(d)
    with open(f'{d}/manifest', 'wb') as file:
        file.write(bp('hash', '--chunk=1M', '-f', 'raw', path).out.encode())
    with open(path, 'r+b') as file:
        file.seek(41 * MIB)
        file.write(bytes(4096))
    server = origin(d, path)
    process = cache(d, f'expect={d}/manifest', 'pull=true')
    told = bp('ctl', f'{d}/ctl', 'wait', rc=harness.FAILED)
    check('differ' in told.err or 'expect' in told.err or 'manifest' in told.err, f'{told}')
    over(d, process)
    same('backing-filename' in harness.run('qemu-img', 'info', '--output=json', f'{d}/cache.qcow2').out, True, 'the link')
    end(server, f'{d}/o')


@case('no client changes a cache')
def kept(d):
    flat, server, process = filling(d)
    result = harness.run('qemu-io', '-f', 'raw', '-c', f'write 0 {MIB}', f'nbd+unix:///?socket={d}/c')
    check(result.rc != 0, f'{result}')
    bp('ctl', f'{d}/ctl', 'wait')
    over(d, process)
    judge(f'{d}/cache.qcow2', flat)
    end(server, f'{d}/o')


def sent_for(d, flat, *session):
    """Bytes that the server sends while a new cache serves these clients, one after the other."""
    overlay(d, f'nbd+unix:///?socket={d}/o', 'raw', READ_ONCE, name='cache.qcow2')
    server = origin(d, flat)
    process = cache(d)
    for words in session:
        same(harness.run(*words, f'nbd+unix:///?socket={d}/c').rc, 0, ' '.join(words))
    over(d, process)
    return sent(d, server)


@case('what a client reads comes from the server once, page by page and side by side')
def read_once(d):
    need('qemu-img')
    flat = f'{d}/flat.raw'
    with open(flat, 'wb') as file:
        file.write(os.urandom(READ_ONCE))
    pages = READ_ONCE // 4096
    known = sent_for(d, flat, ['nbdinfo', '--size'])  # what each connection reads to know it again
    for name, words in (('one after the other', ['-d', '1', '-s', '65536', '-S', '65536', '-c', str(pages // 16)]),
                        ('16 at a time', ['-d', '16', '-s', '4096', '-S', '4096', '-c', str(pages)])):
        bench = ['qemu-img', 'bench', '-q', '-f', 'raw', *words]
        n_sent = sent_for(d, flat, bench, bench) - known
        harness.note(f'{name}: {n_sent / READ_ONCE:.3f} of what was read twice')
        check(0.99 * READ_ONCE <= n_sent <= 1.1 * READ_ONCE, f'{name}: {n_sent} bytes were sent, of {READ_ONCE}')


need('nbdkit')
if __name__ == '__main__':
    harness.main()
