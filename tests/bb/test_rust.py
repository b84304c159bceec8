# SPDX-License-Identifier: MIT OR Apache-2.0
"""The Rust crates: built against the installed library without a network, tried by their own tests, and the two
examples run."""
import os
import shutil
import socket

import harness
from harness import MIB, case, check, need, same
from images import flatten, judge_pulled, overlay, qemu_io, raw_image
from installed import install

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../tools/bindings/rust')


def chain(d, name):
    os.mkdir(f'{d}/{name}')
    raw_image(f'{d}/{name}/base.img', 8 * MIB)
    top = overlay(f'{d}/{name}/top.img', 'base.img')
    qemu_io(top, 'qcow2', 'write -P 7 3M 100k')
    return top, flatten(top, 'qcow2', f'{d}/{name}/flat')


def pulls(d, program, env):
    top, flat = chain(d, 'pull')
    result = harness.run(program, top, env=env)
    check(result.rc == 0 and '100%' in result.err, str(result))
    judge_pulled(top, 'qcow2', flat)
    result = harness.run(program, f'{d}/none.img', env=env)
    check(result.rc == 1 and 'none.img' in result.err and 'panicked' not in result.err, str(result))
    same(harness.run(program, env=env).rc, 2, 'without an image')


def serves(d, program, env):
    top, flat = chain(d, 'serve')
    with open(flat, 'rb') as file:
        content = file.read()
    process = harness.start(program, top, f'{d}/sock', str(4 * MIB), env=env)
    same(process.stdout.readline(), b'serving\n', 'first line')
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f'{d}/sock')
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
    result = harness.finish(process)
    check(result.rc == 0 and 'stands alone' in result.out, str(result))
    judge_pulled(top, 'qcow2', flat)


# One build for all of it: a compiler's minutes are dearer than a case of its own.
@case('their tests pass, and the examples pull and serve')
def crates(d):
    need('cargo', 'cc', 'qemu-img')
    env, _ = install(d)
    shutil.copytree(TREE, f'{d}/tree', ignore=shutil.ignore_patterns('target'))
    env.update(CARGO_TARGET_DIR=f'{d}/target', CARGO_NET_OFFLINE='true', CARGO_INCREMENTAL='0',
               CARGO_PROFILE_DEV_DEBUG='0', CARGO_PROFILE_TEST_DEBUG='0')
    result = harness.run('cargo', 'test', '--quiet', '--offline', '--manifest-path', f'{d}/tree/Cargo.toml', env=env,
                         timeout=300)
    check(result.rc == 0 and 'warning' not in result.err, str(result))
    pulls(d, f'{d}/target/debug/examples/pull', env)
    serves(d, f'{d}/target/debug/examples/serve_reads', env)


if __name__ == '__main__':
    harness.main()
