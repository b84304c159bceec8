# SPDX-License-Identifier: MIT OR Apache-2.0
"""A Linux machine boots from an overlay whose base is far: 20 ms for each answer. Then a clone of it, for which a pull brings
what a trace of the first boot names; and one more while its pull is at that.

The kernel and a few modules are the machine's from the start; its disk has what comes then: the file system, its first
program, and a row of services of which each reads a few files. The base is an nbdkit whose log filter, outside of its
delay, counts. How long a boot takes is told, and no reason to fail.
"""
import hashlib
import os
import random
import re
import signal
import subprocess
import time

import harness
import images
import processes
import vm
from harness import DONE, KIB, MIB, bp, case, check, need, note, same
from images import image_check, image_info

SIZE = 192 * MIB
SERVICES, NEEDS, OTHERS = 120, 3, 24
DELAY = '20ms'

INIT = '''#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
for m in MODULES; do insmod /$m || echo FAIL $m; done
mount -t devtmpfs dev /dev
echo BEGIN
mount -t ext4 /dev/vda /mnt || echo FAIL mount
exec switch_root /mnt /sbin/init
'''

# From the disk, as all that it starts.
FIRST_PROGRAM = '''#!/bin/busybox sh
mount -t proc proc /proc
echo SUMS
for s in /etc/rc/*; do . $s; done | md5sum
date >/var/log/boot
sync
echo UP
poweroff -f
'''


def make_disk(d):
    """A file system with a small system on it. Returns what the services read, in order, as one sum."""
    seed = int(os.environ.get('BB_SEED') or random.randrange(1 << 32))
    note(f'BB_SEED={seed}')
    rng = random.Random(seed)
    root = f'{d}/root'
    for name in ('bin', 'sbin', 'etc/rc', 'usr/lib', 'var/log', 'srv', 'proc', 'dev'):
        os.makedirs(f'{root}/{name}')
    _, busybox = vm.files('busybox')
    applets = ('sh', 'mount', 'cat', 'md5sum', 'date', 'sync', 'poweroff')
    harness.run('cp', busybox, f'{root}/bin/busybox')
    for name in applets:
        os.symlink('busybox', f'{root}/bin/{name}')
    library = []
    for i in range(SERVICES * NEEDS):
        library.append(rng.randbytes(rng.choice((3 * KIB, 20 * KIB, 60 * KIB, 90 * KIB))))
        with open(f'{root}/usr/lib/f{i}', 'wb') as file:
            file.write(library[-1])
    for i in range(OTHERS):  # what a boot does not look at
        with open(f'{root}/srv/f{i}', 'wb') as file:
            file.write(rng.randbytes(3 * MIB))
    content, order = b'', rng.sample(range(len(library)), len(library))
    for i in range(SERVICES):
        needs = order[i * NEEDS:(i + 1) * NEEDS]
        content += b''.join(library[n] for n in needs)
        with open(f'{root}/etc/rc/{i:03}', 'w', encoding='ascii') as file:
            file.write('cat ' + ' '.join(f'/usr/lib/f{n}' for n in needs) + '\n' + '# ' + 'x' * rng.randrange(5000) + '\n')
    with open(f'{root}/sbin/init', 'w', encoding='ascii') as file:
        file.write(FIRST_PROGRAM)
    os.chmod(f'{root}/sbin/init', 0o755)
    with open(f'{d}/base.raw', 'wb') as file:
        file.truncate(SIZE)
    same(harness.run('mkfs.ext4', '-q', '-F', '-d', root, f'{d}/base.raw').rc, 0, 'mkfs.ext4')
    return hashlib.md5(content).hexdigest()


class Base:
    """A far server, and how often it was asked."""

    def __init__(self, d):
        self.log = f'{d}/log'
        self.process = harness.start('nbdkit', '-f', '-r', '-U', f'{d}/b', '--filter=log', '--filter=delay', 'file', f'{d}/base.raw',
                                     f'rdelay={DELAY}', f'logfile={self.log}', stdout=subprocess.DEVNULL)
        processes.wait_listening(self.process, f'{d}/b')

    def reads(self):
        with open(self.log, encoding='utf-8') as file:
            return len(re.findall(r' Read id=', file.read()))

    def end(self):
        harness.kill(self.process)
        self.process.wait()


class Server:
    def __init__(self, d, name, *args):
        self.top, self.control = f'{d}/{name}.qcow2', f'{d}/c'
        same(harness.run('qemu-img', 'create', '-f', 'qcow2', '-u', '-b', f'nbd+unix:///?socket={d}/b', '-F', 'raw', self.top, SIZE).rc,
             0, 'create')
        self.process = harness.start(harness.blockpull, 'serve', f'--socket-path={d}/s', f'--control={self.control}',
                                     f'--allow-remote=nbd+unix:{d}', *args, self.top)
        processes.wait_listening(self.process, f'{d}/s', self.control)

    def ctl(self, *words, rc=DONE):
        return bp('ctl', *(['--json'] if words[0] == 'info' else []), self.control, *words, rc=rc)

    def wait_copied(self, length):
        until = time.monotonic() + harness.WAIT
        while self.ctl('info').json()['bytes']['copied'] < length:
            check(time.monotonic() < until, f'{length} bytes are never copied')
            time.sleep(0.02)

    def end(self):
        os.kill(self.process.pid, signal.SIGTERM)
        result = harness.finish(self.process)
        same(result.rc, DONE, f'the server: {result}')


def boot(d, wanted):
    """Seconds from when the machine mounts its disk until it is up."""
    kernel, busybox, *modules = vm.files('busybox', *vm.MODULES)
    entries = [(name, 0o040755, b'') for name in ('bin', 'dev', 'mnt')]
    entries += [('bin/busybox', 0o100755, vm.content(busybox)),
                ('init', 0o100755, INIT.replace('MODULES', ' '.join(map(os.path.basename, modules))).encode())]
    entries += [(os.path.basename(path), 0o100644, vm.content(path)) for path in modules]
    machine = vm.Machine(
        d, kernel, entries, '', '-M', 'q35', '-m', '192', '-no-reboot', '-object', 'memory-backend-memfd,id=m,size=192M,share=on',
        '-numa', 'node,memdev=m', '-chardev', f'socket,id=c,path={d}/s', '-device', 'vhost-user-blk-pci,chardev=c')
    machine.until('BEGIN')
    began = time.monotonic()
    machine.until('SUMS')
    lines = machine.until('UP')
    seconds = time.monotonic() - began
    machine.ended()
    check(f'{wanted}  -' in lines and not any('FAIL' in line for line in machine.lines), f'the guest says {lines}')
    return seconds


def trace_len(path):
    with open(path, encoding='ascii') as file:
        return sum(int(line.split()[1]) for line in file if line[0].isdigit())


def judge(d, server):
    """What it has when it is pulled to the end, which goes on without the machine."""
    server.end()
    bp('pull', f'--allow-remote=nbd+unix:{d}', server.top)
    check('backing-filename' not in image_info(server.top), 'it has a backing file still')
    same(image_check(server.top, 'qcow2'), 0, 'qemu-img check')
    images.flatten(server.top, 'qcow2', f'{d}/flat')
    check(harness.run('e2fsck', '-fn', f'{d}/flat').rc == 0, 'e2fsck')
    same(harness.run('debugfs', '-R', 'cat /sbin/init', f'{d}/flat').out, FIRST_PROGRAM, 'a file of it')
    check(harness.run('debugfs', '-R', 'cat /var/log/boot', f'{d}/flat').out, 'what the machine wrote is not there')


@case('a clone boots from what a trace of the first boot brought, and another one while its pull brings it')
def boots(d):
    need('mkfs.ext4', 'qemu-system-x86_64', 'nbdkit')
    if 'libnbd' not in bp('--version').out:
        raise harness.Skip('built without libnbd')
    wanted = make_disk(d)
    base = Base(d)
    first = Server(d, 'first', f'--trace={d}/t')
    before = base.reads()
    cold_s = boot(d, wanted)
    misses = base.reads() - before
    first.end()
    hot_len = trace_len(f'{d}/t')
    note(f'first boot: {misses} reads of the base, {cold_s:.2f} s; {hot_len / MIB:.1f} MiB in its trace')

    second = Server(d, 'second', '--pull', f'--first={d}/t', '--bandwidth=16M')
    second.wait_copied(hot_len)
    second.ctl('pause')  # what is read from now on is the machine's
    time.sleep(0.2)
    before = base.reads()
    warm_s = boot(d, wanted)
    left = base.reads() - before
    note(f'with all of that copied: {left} reads, {warm_s:.2f} s, {cold_s / warm_s:.1f} times faster')
    check(left * 20 <= misses, f'{left} misses of {misses} are left')
    judge(d, second)

    third = Server(d, 'third', '--pull', f'--first={d}/t')
    beside_s = boot(d, wanted)
    note(f'beside the pull from its start: {beside_s:.2f} s, {cold_s / beside_s:.1f} times faster')
    judge(d, third)
    base.end()


if __name__ == '__main__':
    harness.main()
