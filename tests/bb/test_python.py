# SPDX-License-Identifier: MIT OR Apache-2.0
"""The Python package: built from its tree against the installed library, tried by its own tests, and its two
examples run as their first lines say."""
import os
import shutil
import signal
import socket

import harness
from harness import MIB, Skip, case, check, need, same
from images import flatten, judge_pulled, overlay, qemu_io, raw_image
from installed import install

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../tools/bindings/python')


def python_with(*modules):
    """A Python that has these modules: the one we run on, or the system's."""
    for python in (shutil.which('python3'), '/usr/bin/python3'):
        if python and not harness.run(python, '-c', 'import ' + ', '.join(modules)).rc:
            return python
    raise Skip('no Python here has ' + ', '.join(modules))


def built(d, *modules):
    """A Python and the environment in which it finds the package."""
    need('cc', 'qemu-img')
    python = python_with('cffi', 'setuptools', 'wheel', 'pip', *modules)
    env, _ = install(d)
    shutil.copytree(TREE, f'{d}/tree', ignore=shutil.ignore_patterns('__pycache__'))
    result = harness.run(python, '-m', 'pip', 'install', '--quiet', '--no-build-isolation', '--no-index', '--no-deps',
                         '--no-cache-dir', '--root-user-action=ignore', '--target', f'{d}/site', f'{d}/tree', env=env)
    check(result.rc == 0, str(result))
    env.update(PYTHONPATH=f'{d}/site', PYTHONDONTWRITEBYTECODE='1')
    return python, env


def chain(d):
    raw_image(f'{d}/base.img', 8 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    qemu_io(top, 'qcow2', 'write -P 7 3M 100k')
    return top, flatten(top, 'qcow2', f'{d}/flat')


@case('its own tests pass')
def own_tests(d):
    python, env = built(d, 'pytest')
    result = harness.run(python, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--basetemp', f'{d}/pytest',
                         f'{d}/tree/tests', env=env)
    check(result.rc == 0 and ' passed' in result.out, str(result))


@case('its types hold')
def types(d):
    python, env = built(d, 'mypy')
    env.pop('PYTHONPATH')
    result = harness.run(python, '-m', 'mypy', '--cache-dir', f'{d}/cache', '--ignore-missing-imports', f'{d}/tree/src',
                         f'{d}/tree/examples', env=dict(env, MYPYPATH=f'{d}/tree/src'))
    check(result.rc == 0, str(result))


@case('the example that pulls')
def example_pull(d):
    python, env = built(d)
    top, flat = chain(d)
    result = harness.run(python, f'{TREE}/examples/pull.py', top, env=env)
    check(result.rc == 0 and '100%' in result.err, str(result))
    judge_pulled(top, 'qcow2', flat)
    result = harness.run(python, f'{TREE}/examples/pull.py', f'{d}/none.img', env=env)
    check(result.rc == 1 and 'none.img' in result.err and 'Traceback' not in result.err, str(result))
    same(harness.run(python, f'{TREE}/examples/pull.py', env=env).rc, 2, 'without an image')


@case('the example that pulls, interrupted')
def example_interrupted(d):
    python, env = built(d)
    top, flat = chain(d)
    process = harness.start(python, f'{TREE}/examples/pull.py', top, '1000', env=env)
    process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    result = harness.finish(process)
    check(result.rc == 130 and 'the same command goes on' in result.err, str(result))
    result = harness.run(python, f'{TREE}/examples/pull.py', top, env=env)
    check(result.rc == 0, str(result))
    judge_pulled(top, 'qcow2', flat)


@case('the example that serves reads')
def example_serve(d):
    python, env = built(d)
    top, flat = chain(d)
    with open(flat, 'rb') as file:
        content = file.read()
    sock = f'{d}/sock'
    process = harness.start(python, f'{TREE}/examples/serve_reads.py', top, sock, str(4 * MIB), env=env)
    same(process.stdout.readline(), b'serving\n', 'first line')
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(sock)
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


if __name__ == '__main__':
    harness.main()
