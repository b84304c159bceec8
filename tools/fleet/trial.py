# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the trials of this folder have in common: how they run programs and fail, and their images."""
import os
import shutil
import socket
import subprocess
import time

MIB = 1 << 20


class Failed(Exception):
    """Its text is the whole story."""


class Skip(Exception):
    """Its text is the reason."""


def check(condition, message):
    if not condition:
        raise Failed(message)


def need(*programs):
    for program in programs:
        if not shutil.which(program, path=os.environ['PATH'] + ':/usr/sbin'):
            raise Skip(f'{program} is not installed')


def run(*argv, rc=0, **options):
    result = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False, timeout=900, **options)
    check(rc is None or result.returncode == rc, f'{argv}: exit {result.returncode}: {result.stdout}{result.stderr}')
    return result


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_for(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f'{what}: not within {seconds} s')
        time.sleep(0.1)


# ---- Images -------------------------------------------------------------------------------------

def make_images(d, n, rng):
    """A base and n overlays, each with a write of its own; the list, and what each must show afterwards."""
    content = rng.randbytes(2 * MIB)
    (d / 'base.raw').write_bytes(content + bytes(MIB))
    for i in range(n):
        run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', d / f'vm{i}.qcow2')
        run('qemu-io', '-f', 'qcow2', '-c', f'write -P {i % 255 + 1} {i % 32 * 64}k 64k', d / f'vm{i}.qcow2')
    (d / 'list').write_text('# made by try.py\n' + ''.join(f'{d}/vm{i}.qcow2\n' for i in range(n)))


def written(content, at, byte):
    """The content of a base under an overlay's write of 64 KiB."""
    return content[:at] + bytes([byte]) * 65536 + content[at + 65536:]


def judge_image(image, shown):
    """Without a link, whole, and with this content."""
    flat = image.parent / 'flat'
    flat.write_bytes(shown)
    check('backing file' not in run('qemu-img', 'info', image).stdout, f'{image} still has its link')
    run('qemu-img', 'check', '-q', '-f', 'qcow2', image)
    run('qemu-img', 'compare', '-q', '-f', 'qcow2', '-F', 'raw', image, flat)


def judge_images(d, n):
    content = (d / 'base.raw').read_bytes()
    for i in range(n):
        judge_image(d / f'vm{i}.qcow2', written(content, i % 32 * 65536, i % 255 + 1))


def stamps(d, n):
    return [os.stat(d / f'vm{i}.qcow2').st_mtime_ns for i in range(n)]
