# SPDX-License-Identifier: MIT OR Apache-2.0
"""Two programs and one image: QEMU's tools and blockpull refuse each other, both ways.

The other side is a real qemu-io or qemu-storage-daemon that has the image open, not a hand-made
lock: what counts is that the users of one disk notice each other.
"""
import ctypes
import errno
import os
import platform
import signal
import struct
import subprocess
import time

import harness
import images
import seccomp_filter
from harness import DONE, LOCKED, MIB, Skip, bp, case, check, need, refused
from images import Untouched, overlay, qemu_img, raw_image

LOCK_WORDS = ('lock', 'in use', 'another process')


def chain(d, data=4 * MIB):
    raw_image(f'{d}/base.img', data)
    overlay(f'{d}/middle.img', 'base.img')
    return overlay(f'{d}/top.img', 'middle.img', base_fmt='qcow2')


class Holder:
    """A qemu-io that has an image open until it is told to leave."""

    def __init__(self, path, fmt, *flags):
        self.process = harness.start('qemu-io', '-f', fmt, *flags, path, stdin=subprocess.PIPE)
        self.tell('read 0 512')
        while b'512/512' not in (line := self.process.stdout.readline()):
            check(line, f'qemu-io could not open {path}')

    def tell(self, command):
        self.process.stdin.write(command.encode() + b'\n')
        self.process.stdin.flush()

    def leave(self):
        self.tell('quit')
        self.process.stdin.close()
        harness.finish(self.process)


def busy(command, path):
    check(command.rc and 'lock' in command.err, f'{path} should be locked: {command}')


@case('an image that qemu-io has open for writing', 'top.img', 'qcow2', ())
@case('an image that qemu-io has open for reading', 'top.img', 'qcow2', ('-r',))
@case('an image whose direct backing file is being written', 'middle.img', 'qcow2', ())
@case('an image whose deepest backing file is being written', 'base.img', 'raw', ())
def held(d, name, fmt, flags):
    top = chain(d)
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    before = Untouched(top, f'{d}/middle.img', f'{d}/base.img')
    holder = Holder(f'{d}/{name}', fmt, *flags)
    refused(LOCKED, [name, LOCK_WORDS], 'pull', top, timeout=20)
    before.verify()
    holder.leave()
    bp('pull', top)
    images.judge_pulled(top, 'qcow2', flat)


@case('backing files may be in use by readers')
def shared_base(d):
    top = chain(d)
    overlay(f'{d}/sibling.img', 'middle.img', base_fmt='qcow2')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    holders = [Holder(f'{d}/sibling.img', 'qcow2'), Holder(f'{d}/base.img', 'raw', '-r')]
    bp('pull', top)
    images.judge_pulled(top, 'qcow2', flat)
    for holder in holders:
        holder.leave()


@case('an image exported by qemu-storage-daemon')
def exported(d):
    need('qemu-storage-daemon')
    top = chain(d)
    before = Untouched(top)
    daemon = harness.start('qemu-storage-daemon', '--blockdev', f'file,filename={top},node-name=f',
                           '--blockdev', 'qcow2,file=f,node-name=q',
                           '--nbd-server', f'addr.type=unix,addr.path={d}/s',
                           '--export', 'nbd,id=e,node-name=q,writable=on', '--pidfile', f'{d}/pid')
    deadline = time.monotonic() + harness.WAIT
    while not os.path.exists(f'{d}/pid') and daemon.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    refused(LOCKED, ['top.img', LOCK_WORDS], 'pull', top, timeout=20)
    before.verify()
    harness.kill(daemon, signal.SIGTERM)
    harness.finish(daemon)
    bp('pull', top)


class SlowPull:
    """A pull that takes its time, from its first progress line on."""

    def __init__(self, top, bandwidth='512K'):
        self.process = harness.start(harness.blockpull, 'pull', f'--bandwidth={bandwidth}', '--progress=json', top)
        check(harness.lines_of(self.process, lambda line: True), 'the pull ended at once')

    def end(self, sig):
        harness.kill(self.process, sig)
        return harness.finish(self.process, 20)


def judge_killed(result, top, flat):
    """The slow pull was killed in its middle, and the image can be pulled to its end."""
    check(result.rc == 137, f'the slow pull was over too soon: {result}')
    images.settle(top)
    bp('pull', top)
    images.judge_pulled(top, 'qcow2', flat)


@case('what others may do while a pull runs')
def while_pulling(d):
    top = chain(d, 32 * MIB)
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    pull = SlowPull(top)
    try:
        busy(images.qemu_io(top, 'qcow2', 'write -P 1 0 4k', rc=(1,)), 'top.img')
        busy(images.qemu_io(f'{d}/middle.img', 'qcow2', 'write -P 1 0 4k', rc=(1,)), 'middle.img')
        busy(images.qemu_io(f'{d}/base.img', 'raw', 'write -P 1 0 4k', rc=(1,)), 'base.img')
        busy(qemu_img('check', top, rc=(1,)), 'top.img')
        busy(qemu_img('rebase', '-f', 'qcow2', '-b', '', top, rc=(1,)), 'top.img')
        images.image_info(top, '-U')
        images.image_map(top, '-U')
        images.image_info(f'{d}/middle.img')  # readers may share the backing files
        overlay(f'{d}/sibling.img', 'middle.img', base_fmt='qcow2')
        images.qemu_io(f'{d}/sibling.img', 'qcow2', 'write -P 9 1M 64k')
        refused(LOCKED, ['top.img', LOCK_WORDS], 'pull', top, timeout=20)
        refused(LOCKED, ['middle.img', LOCK_WORDS], 'pull', f'{d}/middle.img', timeout=20)
    finally:
        result = pull.end(signal.SIGKILL)
    judge_killed(result, top, flat)


@case('what qemu-storage-daemon and other commands of ours may do while a pull runs')
def daemon_while_pulling(d):
    need('qemu-storage-daemon')
    top = chain(d, 16 * MIB)
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    pull = SlowPull(top)
    try:
        for name in 'top.img', 'base.img':
            daemon = harness.run('qemu-storage-daemon', '--blockdev', f'file,filename={d}/{name},node-name=f',
                                 '--blockdev', 'raw,file=f,node-name=q', '--nbd-server', f'addr.type=unix,addr.path={d}/s',
                                 '--export', 'nbd,id=e,node-name=q,writable=on', timeout=20)
            busy(daemon, name)
        before = images.digest(f'{d}/base.img')
        for args in ['check', '--repair=all', top], ['flatten', top, f'{d}/new.img'], ['measure', top], ['check', top], \
                ['map', top], ['info', top]:
            refused(LOCKED, ['top.img', LOCK_WORDS], *args, timeout=20)
        bp('info', '--force-share', top)
        bp('flatten', f'{d}/middle.img', f'{d}/new.img')  # readers may share the backing files
        check(images.digest(f'{d}/base.img') == before, 'the base changed')
    finally:
        result = pull.end(signal.SIGKILL)
    judge_killed(result, top, flat)


def without_ofd_locks():
    """fcntl(2) as a file system or kernel without open file description locks answers it."""
    number = {'x86_64': 72, 'aarch64': 25}.get(platform.machine())
    if number is None:
        raise Skip('fcntl has another number here')
    allow, deny = 0x7fff0000, 0x00050000 | errno.EINVAL
    lines = [(0x20, 0, 0, 0), (0x15, 0, 4, number), (0x20, 0, 0, 24),  # the low half of the command
             (0x35, 0, 2, 36), (0x25, 1, 0, 38), (0x06, 0, 0, deny), (0x06, 0, 0, allow)]
    code = b''.join(struct.pack('=HBBI', *line) for line in lines)
    program = seccomp_filter.Program(len(lines), code)
    libc = ctypes.CDLL(None, use_errno=True)

    def install():
        if (libc.prctl(seccomp_filter.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                or libc.prctl(seccomp_filter.PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0)):
            os._exit(99)
    return {'preexec_fn': install}


@case('where there are no OFD locks: said in one line, and done')
def no_ofd_locks(d):
    top = chain(d)
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    probe = harness.run('python3', '-c', 'import fcntl, struct; fcntl.fcntl(0, 37, bytes(32))', **without_ofd_locks())
    if probe.rc == 99:
        raise Skip('may not install a seccomp filter')
    check('Invalid argument' in probe.err, f'the filter denies nothing: {probe}')
    result = bp('pull', top, **without_ofd_locks())
    told = [line for line in result.err.splitlines() if 'no locks' in line]
    check(len(told) == 1 and 'warning' in told[0], f'locks are not spoken of in one line: {result}')
    images.judge_pulled(top, 'qcow2', flat)


@case('a base that two pulls share')
def two_pulls(d):
    raw_image(f'{d}/base.img', 8 * MIB)
    tops = [overlay(f'{d}/{n}.img', 'base.img', fmt) for n, fmt in (('one', 'qcow2'), ('two', 'qed'))]
    before = Untouched(f'{d}/base.img')
    pulls = [harness.start(harness.blockpull, 'pull', '--bandwidth=8M', top) for top in tops]
    for top, pull in zip(tops, pulls):
        result = harness.finish(pull)
        check(result.rc == DONE, str(result))
        images.judge_pulled(top, images.image_info(top)['format'], f'{d}/base.img')
    before.verify()


@case('one image named twice')
def named_twice(d):
    top = chain(d)
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    os.link(top, f'{d}/again.img')
    result = bp('pull', top, f'{d}/again.img', rc=None, timeout=30)
    check(result.rc == DONE or 'again.img' in result.err, f'the message names no file: {result}')
    bp('pull', top)
    images.judge_pulled(top, 'qcow2', flat)


if __name__ == '__main__':
    harness.main()
