# SPDX-License-Identifier: MIT OR Apache-2.0
"""Many overlays on one base, pulled at once: the base is read once. nbdkit's statistics count, qemu-img judges."""
import os
import re
import resource
import shutil
import signal
import time

import fuse_rig
import harness
import images
import reach
from harness import MIB, NO_SPACE, bp, case, check, note, same
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


def base(d, fmt, size):
    """Noise of 16 letters, which takes time to unpack, and what packs well: (what is served, its disk)."""
    flat = f'{d}/flat.raw'
    with open(flat, 'wb') as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB // 2).translate(LETTERS) + b'read it once. ' * (MIB // 28))
        file.truncate(size)
    if fmt == 'raw':
        return flat, flat
    same(harness.run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-c', flat, f'{d}/base.qcow2').rc, 0, 'convert')
    return f'{d}/base.qcow2', flat


class Fan:
    def __init__(self, d, fmt, n=N, size=SIZE):
        if 'libnbd' not in harness.run(harness.blockpull, '--version').out:
            raise harness.Skip('built without libnbd')
        self.d = d
        self.path, self.flat = base(d, fmt, size)
        self.stats = f'{d}/stats'
        self.server = nbdkit(f'{d}/s', '-r', '--filter=stats', 'file', self.path, f'statsfile={self.stats}')
        self.tops = [overlay(d, f'nbd+unix:///?socket={d}/s', fmt, size, f'top{i}.qcow2') for i in range(n)]

    def words(self, *more):
        return ['pull', f'--allow-remote=nbd+unix:{self.d}', f'--jobs={len(self.tops)}', *more, *self.tops]

    def read_len(self):
        """Bytes that the server has sent: it writes them down when it ends."""
        self.server.send_signal(signal.SIGTERM)
        self.server.wait()
        with open(self.stats, encoding='utf-8') as file:
            found = re.search(r'^read: \d+ ops, [\d.]+ s, ([\d.]+) (\w+)', file.read(), re.MULTILINE)
        return int(float(found[1]) * UNITS[found[2]])

    def judge_once(self, alone=0):
        """But for what one read alone, in parts of the base."""
        read, length = self.read_len(), os.path.getsize(self.path)
        check_len = 0 if self.path == self.flat else CHECK
        note(f'{len(self.tops)} overlays: {read / MIB:.1f} MiB read of {length / MIB:.1f} MiB')
        check(read <= (1.05 + alone) * length + OPENING + check_len, f'{read} bytes read of a base of {length}')


def is_lean(result, n_jobs):
    note(f'{n_jobs} jobs: {result.max_rss / MIB:.1f} MiB of memory')
    check(harness.instrumented() or result.max_rss <= 64 * MIB + n_jobs * MIB // 2, f'{result.max_rss} bytes of memory')


@case('the base is read once: raw', 'raw')
@case('the base is read once: qcow2, packed with zlib', 'qcow2')
@case('the base is read once: into packed images', 'raw', '--compress')  # which takes long
@case('the base is read once: verified', 'raw', '--verify')
@case('the base is read once: threads', 'raw', '--io=threads')
def once(d, fmt, *words):
    fan = Fan(d, fmt, min(N, 6) if '--compress' in words else N)
    result = bp(*fan.words('--json', *words), timeout=600)
    is_lean(result, len(fan.tops))
    told = [line['bytes'] for line in result.lines()]
    same({one['source'] + one['shared'] for one in told}, {SIZE}, 'what each image had of the base')
    check(sum(one['source'] for one in told) <= 1.05 * SIZE, f'{told}')
    fan.judge_once()
    for top in fan.tops:
        judge(top, fan.flat)


@case('256 at once, and one more is refused')
def most(d):
    flat = images.raw_image(f'{d}/base.img', 2 * MIB)
    tops = [f'{d}/top{i}.img' for i in range(256)]
    images.overlay(tops[0], 'base.img')
    for top in tops[1:]:
        shutil.copyfile(tops[0], top)
    harness.refused(harness.USAGE, ["'257'", '256'], 'pull', '-j257', *tops)
    result = bp('pull', '--json', '-j256', *tops, timeout=600)
    told = [line['bytes'] for line in result.lines()]
    same(sum(one['source'] for one in told), 2 * MIB, 'what was read of the base')
    same(sum(one['shared'] for one in told), 255 * 2 * MIB, 'what they had of each other')
    is_lean(result, 256)
    for top in tops[:2] + tops[-2:]:
        images.judge_pulled(top, 'qcow2', flat)


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
    check(harness.instrumented() or times[1] < 4 * times[0] + 0.2, f'{times}')


# Where the namespace ends, so does what was mounted.
SMALL = 'mount -t tmpfs -o size=8m none "$1" && cp "$2" "$1/top.qcow2" && shift 2 && exec "$@"'


def small_space(d):
    """(words that a command runs behind, with a small file system mounted there; where)."""
    small = f'{d}/small'
    return [*reach.mounting(small), 'sh', '-c', SMALL, 'sh', small], small


@case('one finds no space: the others go on')
def one_fails(d):
    behind, small = small_space(d)
    fan = Fan(d, 'raw')
    full, fan.tops[3] = fan.tops[3], f'{small}/top.qcow2'
    result = harness.run(*behind, full, harness.blockpull, *fan.words(), timeout=600)
    same(result.rc, NO_SPACE, f'{result}')
    check(f'{small}/top.qcow2' in result.err and 'no space' in result.err.lower(), f'{result}')
    fan.judge_once()
    for top in fan.tops[:3] + fan.tops[4:]:
        judge(top, fan.flat)


SLOW, FULL, ABORTED = 1, 3, 5  # overlays
SLOW_RATE = int(float(os.environ.get('BB_SLOW_MIB', 16)) * MIB)


def slow_space(d, top, rate=SLOW_RATE):
    """The overlay lies on a slow device now: (that device, its new name)."""
    for name in 'low', 'slow':
        os.mkdir(f'{d}/{name}')
    shutil.move(top, f'{d}/low/top.qcow2')
    return fuse_rig.mount(fuse_rig.program('slowfs'), str(rate), '100', f'{d}/low', f'{d}/slow'), f'{d}/slow/top.qcow2'


def driver_path():
    return os.path.join(os.path.dirname(harness.blockpull), '..', 'tests', 'nbd_fan_driver')


def times_of(result):
    """When each ended, in ms: {index: ms}."""
    return {int(line.split()[0]): int(line.split()[4]) for line in result.out.splitlines()}


@case('of 64, one is written far more slowly: no other waits for it')
def far_slower(d):
    # The kernel's threads write one file at a time of those that share one of 64 buckets.
    fan = Fan(d, 'raw', 64, 4 * MIB)
    device, fan.tops[SLOW] = slow_space(d, fan.tops[SLOW], MIB // 2)
    result = harness.run(driver_path(), f'nbd+unix:{d}', str(ABORTED), *fan.tops, timeout=600)
    same(result.rc, 0, f'{result}')
    times = times_of(result)
    others_ms = max(ms for i, ms in times.items() if i != SLOW)
    note(f'the slow one took {times[SLOW]} ms, the others {others_ms}')
    check(harness.instrumented() or others_ms * 2 < times[SLOW], f'{times}')
    fuse_rig.unmount(device, f'{d}/slow')
    fan.tops[SLOW] = f'{d}/low/top.qcow2'
    for top in fan.tops[:3]:
        judge(top, fan.flat)


@case('one is written slowly, one fails, one is aborted: the base is read once for the others', 'raw')
@case('one is written slowly, one fails, one is aborted: a base packed with zlib is read once for the others', 'qcow2')
def in_trouble(d, fmt):
    behind, small = small_space(d)
    fan = Fan(d, fmt)
    device, fan.tops[SLOW] = slow_space(d, fan.tops[SLOW])
    full, fan.tops[FULL] = fan.tops[FULL], f'{small}/top.qcow2'
    result = harness.run(*behind, full, driver_path(), f'nbd+unix:{d}', str(ABORTED), *fan.tops, timeout=1200)
    same(result.rc, 0, f'{result}')
    ends = {int(line.split()[0]): line.split()[1:] for line in result.out.splitlines()}
    statuses = {FULL: 'failed', ABORTED: 'canceled'}
    same({i: end[0] for i, end in ends.items()}, {i: statuses.get(i, 'completed') for i in range(len(fan.tops))}, 'the ends')
    source = {i: int(end[1]) for i, end in ends.items()}
    times = times_of(result)
    others_ms = max(ms for i, ms in times.items() if i != SLOW)
    note(f'{len(ends)} jobs asked for {sum(source.values()) / SIZE:.3f} of the base, the slow one for {source[SLOW] / SIZE:.3f}; '
         f'it took {times[SLOW]} ms, the others {others_ms}')
    if not harness.instrumented():  # such a build is slower than the slow device, and its jobs keep no pace
        check(sum(source.values()) - source[SLOW] <= 1.05 * SIZE, f'{source}')
        fan.judge_once(source[SLOW] / SIZE)
    fuse_rig.unmount(device, f'{d}/slow')
    fan.tops[SLOW] = f'{d}/low/top.qcow2'
    for top in fan.tops[:FULL] + fan.tops[FULL + 1:ABORTED] + fan.tops[ABORTED + 1:]:
        judge(top, fan.flat)


@case('stopped overlays are pulled again')
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
