# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the two examples of each language must do, whatever they are written in: one pulls with a progress bar, the
other serves a guest's reads over a socket while it pulls. `command` begins their command lines."""
import os
import signal
import socket

import harness
from harness import MIB, check, same
from images import flatten, judge_pulled, overlay, qemu_io, raw_image


def chain(d, name):
    os.mkdir(f'{d}/{name}')
    raw_image(f'{d}/{name}/base.img', 8 * MIB)
    top = overlay(f'{d}/{name}/top.img', 'base.img')
    qemu_io(top, 'qcow2', 'write -P 7 3M 100k')
    return top, flatten(top, 'qcow2', f'{d}/{name}/flat')


def judge_pull(d, command, env, trace):
    """trace: the word by which a program of this language tells that it died of an error it did not handle."""
    top, flat = chain(d, 'pull')
    result = harness.run(*command, top, env=env)
    check(result.rc == 0 and '100%' in result.err, str(result))
    judge_pulled(top, 'qcow2', flat)
    result = harness.run(*command, f'{d}/none.img', env=env)
    check(result.rc == 1 and 'none.img' in result.err and trace not in result.err, str(result))
    same(harness.run(*command, env=env).rc, 2, 'without an image')


def judge_interrupted_pull(d, command, env):
    top, flat = chain(d, 'interrupted')
    process = harness.start(*command, top, '1000', env=env)
    process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    result = harness.finish(process)
    check(result.rc == 130 and 'the same command goes on' in result.err, str(result))
    result = harness.run(*command, top, env=env)
    check(result.rc == 0, str(result))
    judge_pulled(top, 'qcow2', flat)


def read_some(client, content):
    for offset in (0, 3 * MIB - 100, 3 * MIB + 50000, 8 * MIB - 4096):
        client.sendall(f'{offset} 4096\n'.encode())
        got = b''
        while len(got) < 4096:
            part = client.recv(4096 - len(got))
            check(part, 'the connection ended early')
            got += part
        same(got, content[offset:offset + 4096], f'at {offset}')
    client.sendall(b'0 99999999999\n')
    same(client.recv(1), b'', 'after a length that is too large')


def judge_serve(d, command, env):
    top, flat = chain(d, 'serve')
    with open(flat, 'rb') as file:
        content = file.read()
    process = harness.start(*command, top, f'{d}/sock', str(4 * MIB), env=env)
    same(process.stdout.readline(), b'serving\n', 'first line')
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f'{d}/sock')
        read_some(client, content)
    result = harness.finish(process)
    check(result.rc == 0 and 'stands alone' in result.out, str(result))
    judge_pulled(top, 'qcow2', flat)
