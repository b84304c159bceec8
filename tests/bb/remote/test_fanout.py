# SPDX-License-Identifier: MIT OR Apache-2.0
"""Many overlays on one base, pulled at once: the base is read once. nbdkit's statistics count, qemu-img judges."""
import os
import re
import resource
import signal
import time

import harness
from harness import MIB, NO_SPACE, bp, case, check, need, note, same
from remote_images import judge, overlay
from source_rig import nbdkit

N = int(os.environ.get('BB_OVERLAYS', 20))
SIZE = int(os.environ.get('BB_BASE_MIB', 64)) * MIB
LETTERS = bytes(ord('a') + i % 16 for i in range(256))
UNITS = {'bytes': 1, 'KiB': 2 ** 10, 'MiB': 2 ** 20, 'GiB': 2 ** 30}
# The first image to open a base takes a fingerprint of it; the others find it open.
OPENING = MIB + 64 * 1024
# The first job to start checks a packed base: that no cluster has two owners.
CHECK = 384 * 1024


def base(d, fmt):
    """Noise of 16 letters, which takes time to unpack, and what packs well: (what is served, its disk)."""
    flat = f'{d}/flat.raw'
    with open(flat, 'wb') as file:
        for _ in range(SIZE // MIB):
            file.write(os.urandom(MIB // 2).translate(LETTERS) + b'read it once. ' * (MIB // 28))
        file.truncate(SIZE)
    if fmt == 'raw':
        return flat, flat
    same(harness.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-c', flat, f'{d}/base.qcow2').rc, 0, 'convert')
    return f'{d}/base.qcow2', flat


class Fan:
    def __init__(self, d, fmt, n=N):
        if 'libnbd' not in harness.run(harness.blockpull, '--version').out:
            raise harness.Skip('built without libnbd')
        self.d = d
        self.path, self.flat = base(d, fmt)
        self.stats = f'{d}/stats'
        self.server = nbdkit(f'{d}/s', '-r', '--filter=stats', 'file', self.path, f'statsfile={self.stats}')
        self.tops = [overlay(d, f'nbd+unix:///?socket={d}/s', fmt, SIZE, f'top{i}.qcow2') for i in range(n)]

    def words(self, *more):
        return ['pull', f'--allow-remote=nbd+unix:{self.d}', f'--jobs={len(self.tops)}', *more, *self.tops]

    def read_len(self):
        """Bytes that the server has sent: it writes them down when it ends."""
        self.server.send_signal(signal.SIGTERM)
        self.server.wait()
        with open(self.stats, encoding='utf-8') as file:
            found = re.search(r'^read: \d+ ops, [\d.]+ s, ([\d.]+) (\w+)', file.read(), re.MULTILINE)
        return int(float(found[1]) * UNITS[found[2]])

    def judge_once(self):
        read, length = self.read_len(), os.path.getsize(self.path)
        check_len = 0 if self.path == self.flat else CHECK
        note(f'{len(self.tops)} overlays: {read / MIB:.1f} MiB read of {length / MIB:.1f} MiB')
        check(read <= 1.05 * length + OPENING + check_len, f'{read} bytes read of a base of {length}')


@case('raw', 'raw')
@case('qcow2, packed with zlib', 'qcow2')
@case('into packed images', 'raw', '--compress')
@case('verified', 'raw', '--verify')
@case('threads', 'raw', '--io=threads')
def once(d, fmt, *words):
    fan = Fan(d, fmt)
    told = [line['bytes'] for line in bp(*fan.words('--json', *words), timeout=600).lines()]
    same({one['source'] + one['shared'] for one in told}, {SIZE}, 'what each image had of the base')
    check(sum(one['source'] for one in told) <= 1.05 * SIZE, f'{told}')
    fan.judge_once()
    for top in fan.tops:
        judge(top, fan.flat)


@case('a base packed with zlib is unpacked once')
def unpacked_once(d):
    fan = Fan(d, 'qcow2', 1)
    times = []
    for tops in fan.tops, [overlay(d, f'nbd+unix:///?socket={d}/s', 'qcow2', SIZE, f'more{i}.qcow2') for i in range(8)]:
        fan.tops = tops
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        bp(*fan.words(), timeout=600)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime)
    note(f'one {times[0]:.2f} s, eight {times[1]:.2f} s of processor time in the program')
    check(times[1] < 4 * times[0] + 0.2, f'{times}')


# Where the namespace ends, so does what was mounted.
SMALL = 'mount -t tmpfs -o size=8m none "$1" && cp "$2" "$1/top.qcow2" && shift 2 && exec "$@"'


@case('one finds no space: the others go on')
def one_fails(d):
    need('unshare')
    namespace = ['unshare', '-m'] if os.geteuid() == 0 else ['unshare', '-Urm']
    small = f'{d}/small'
    os.mkdir(small)
    if harness.run(*namespace, 'mount', '-t', 'tmpfs', 'none', small).rc:
        raise harness.Skip('may not mount, even in a namespace of our own')
    fan = Fan(d, 'raw')
    full, fan.tops[3] = fan.tops[3], f'{small}/top.qcow2'
    result = harness.run(*namespace, 'sh', '-c', SMALL, 'sh', small, full, harness.blockpull, *fan.words(), timeout=600)
    same(result.rc, NO_SPACE, f'{result}')
    check(f'{small}/top.qcow2' in result.err and 'no space' in result.err.lower(), f'{result}')
    fan.judge_once()
    for top in fan.tops[:3] + fan.tops[4:]:
        judge(top, fan.flat)


@case('stopped, and pulled again')
def stopped(d):
    fan = Fan(d, 'raw')
    pull = harness.start(harness.blockpull, *fan.words('--progress=json', '--bandwidth=64M'))
    time.sleep(1)
    harness.kill(pull, signal.SIGINT)
    same(harness.finish(pull, 120).rc, 130, 'stopped')
    bp(*fan.words(), timeout=600)
    for top in fan.tops:
        judge(top, fan.flat)


if __name__ == '__main__':
    harness.main()
