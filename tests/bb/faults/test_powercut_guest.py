# SPDX-License-Identifier: MIT OR Apache-2.0
"""The power is cut while a guest writes, through nbdkit, to a disk that is being pulled.

What the guest flushed (or wrote with FUA) is there after the cut; what it wrote since then is there or not,
for each 512 bytes; everything else, snapshots too, is as before. The rest is as in test_powercut.py.
"""
import contextlib
import os
import random
import struct
import time

import facts
import harness
import images
import processes
from cut_rig import SEED, faults_of, judge_states
from cut_scene import Scene, reader, views
from harness import MIB, Failed, bp, case, check, note, same
from nbd_client import FLUSH, FUA, TRIM, WRITE, WRITE_ZEROES, Client

SECTOR = 512
N_OPS = int(os.environ.get('BB_GUEST_OPS', '60'))


class Request:
    def __init__(self, session, number, kind, at, length, fua):
        self.session, self.number, self.kind, self.at, self.length, self.fua = session, number, kind, at, length, fua
        self.begin = self.end = None  # places in the log

    def overlaps(self, other):
        return self.at < other.at + other.length and other.at < self.at + self.length

    def sector(self, number):
        """What it makes of a sector."""
        return struct.pack('>II', self.number, number) * (SECTOR // 8) if self.kind == WRITE else bytes(SECTOR)


class Guest:
    """Random requests, a few at a time, never two on one place."""

    def __init__(self, rng, recorded, path, trims, requests=()):
        self.rng, self.recorded, self.client, self.trims = rng, recorded, Client(path), trims
        self.requests, self.flying = list(requests), {}

    def draw(self):
        rng, size = self.rng, self.client.size
        kind = rng.choices((WRITE, FLUSH, WRITE_ZEROES, TRIM), (12, 4, 2, 1 if self.trims else 0))[0]
        length = 0 if kind == FLUSH else min(rng.choice((1, 2, 7, 8, 64, 128, 200)), size // SECTOR) * SECTOR
        at = rng.randrange(size - length) // SECTOR * SECTOR if length else 0
        return Request(self, len(self.requests), kind, at, length, kind != FLUSH and rng.random() < 0.1)

    def send(self, request):
        data = b''.join(request.sector((request.at + off) // SECTOR) for off in range(0, request.length, SECTOR)) \
            if request.kind == WRITE else b''
        self.requests.append(request)
        self.recorded.mark(f'begin {request.number}')
        cookie = self.client.send(request.kind, request.at, request.length, data, FUA if request.fua else 0)
        self.flying[cookie] = request

    def receive(self):
        cookie, error, _ = self.client.receive()
        request = self.flying.pop(cookie)
        check(not error, f'request {request.number} of the guest failed with {error}')
        self.recorded.mark(f'end {request.number}')

    def run(self, count):
        for _ in range(count):
            request = self.draw()
            while len(self.flying) > 3 or any(request.overlaps(other) for other in self.flying.values()):
                self.receive()
            self.send(request)
            if self.rng.random() < 0.3:
                time.sleep(self.rng.random() * 0.02)

    def leave(self):
        while self.flying:
            self.receive()
        self.client.close()


class GuestScene(Scene):
    """A Scene whose active disk the guest changes."""

    def judge_content(self, where, complete, leaks_allowed=True):
        image = reader(f'{where}/top.img')
        check(not (complete and image.backing), 'it was done, and the link is back')
        image.judge_refcounts(leaks_allowed)
        got = views(image, self.chains, self.data_of(where))
        for view, content in got.items():
            if view:
                check(content == self.expected[view], f'snapshot {view!r} changed')
        self.judge_guest(got[''])

    def judge(self, where, log, cut, number):
        self.cut = cut
        super().judge(where, log, cut, number)

    def compare(self, top):
        """QEMU must read what our reader reads, and that was judged."""
        got = views(reader(top), self.chains, self.data_of(os.path.dirname(top)))['']
        with open(f'{top}.raw', 'wb') as file:
            file.write(got)
        images.compare_flat(top, self.fmt, f'{top}.raw', 'as QEMU reads it')

    def learn_guest(self, log, requests):
        never = log.length + 2
        for request in requests:
            request.begin = log.marks[f'begin {request.number}']
            request.end = log.marks.get(f'end {request.number}', never)
        flushes = [r for r in requests if r.kind == FLUSH]
        for request in requests:
            # What a server had not flushed when it was killed no later flush covers.
            covers = [f.end for f in flushes if f.begin > request.end and f.session is request.session] + ([request.end] if request.fua else [])
            request.safe = min(covers, default=never)
        self.requests = [r for r in requests if r.length]

    def judge_guest(self, disk):
        same(len(disk), len(self.expected['']), 'length of the disk')
        begun = [r for r in self.requests if r.begin < self.cut]
        allowed = {}
        for request in sorted(begun, key=lambda r: r.begin):
            for number in range(request.at // SECTOR, (request.at + request.length) // SECTOR):
                # A trim is a hint: what was there may always stay.
                if request.safe < self.cut and request.kind != TRIM:
                    allowed[number] = [request]
                else:
                    allowed.setdefault(number, [None]).append(request)
        before = self.expected['']
        for number in range(len(disk) // SECTOR):
            was, now = (d[number * SECTOR:(number + 1) * SECTOR] for d in (before, disk))
            choices = allowed.get(number, [None])
            if not any(now == (r.sector(number) if r else was) for r in choices):
                raise Failed(f'sector {number} holds {now[:8].hex()}; allowed were '
                             f'{[f"request {r.number}" if r else f"before {was[:8].hex()}" for r in choices]}')


SHAPES = [
    ('qcow2', dict()),
    ('qcow2, 4 KiB', dict(options='cluster_size=4k')),
    ('qcow2, 512', dict(options='cluster_size=512')),
    ('qcow2 v2, snapshot', dict(options='compat=0.10,cluster_size=4k', snapshot=True)),
    ('snapshot, 64-bit refcounts', dict(options='cluster_size=1k,refcount_bits=64', snapshot=True)),
    ('refcounts of 1 bit', dict(options='cluster_size=4k,refcount_bits=1')),
    ('subclusters', dict(options='extended_l2=on,cluster_size=32k')),
    ('data file', dict(options='cluster_size=4k', data_file=True)),
    ('QED', dict(fmt='qed', options='cluster_size=4k')),
]


def shapes(function):
    for name, how in reversed(SHAPES):
        function = case(f'guest and pull, {name}', name, how)(function)
    return function


def serve(d, scene, *parameters):
    """A server on the disk, ready for clients."""
    for name in ('nbd', 'control'):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f'{d}/{name}')
    server = harness.start('nbdkit', '-f', '-U', f'{d}/nbd', facts.nbdkit_plugin(), f'image={scene.mounted_top}', 'pull=true',
                           f'control={d}/control', *parameters)
    processes.wait_listening(server, f'{d}/nbd', f'{d}/control')
    return server


def may_trim(how):
    return how.get('options', '')[:11] != 'compat=0.10' and how.get('fmt') != 'qed'


def record(d, name, how):
    """A disk used and pulled; returns the scene and its log."""
    rng = random.Random(f'{SEED} {name}')
    scene = GuestScene(d, **how)
    with scene.rec:
        server = serve(d, scene, 'bandwidth=1M')
        guest = Guest(rng, scene.rec, f'{d}/nbd', may_trim(how))
        guest.run(N_OPS)
        guest.leave()
        bp('ctl', f'{d}/control', 'speed', '0', rc=None)  # it may be over
        bp('ctl', f'{d}/control', 'wait', timeout=60)
        scene.rec.mark('done')
        server.terminate()
        same(harness.finish(server).rc, 0, 'exit code of nbdkit')
    log = scene.rec.log()
    scene.learn_guest(log, guest.requests)
    return scene, log, rng


@shapes
def guest_and_pull(d, name, how):
    scene, log, rng = record(d, name, how)
    judge_states(scene.judging(log), rng)


@case('killed under a guest, and begun again, qcow2', dict(options='cluster_size=4k'))
@case('killed under a guest, and begun again, 512-byte clusters', dict(options='cluster_size=512'))
@case('killed under a guest, and begun again, snapshot', dict(options='cluster_size=1k,refcount_bits=64', snapshot=True))
@case('killed under a guest, and begun again, QED', dict(fmt='qed', options='cluster_size=4k'))
def killed(d, how):
    """What one process let go and the next one counts free must not come back with the power."""
    rng = random.Random(f'{SEED} killed {how}')
    scene = GuestScene(d, **how)
    requests = []
    with scene.rec:
        for number in range(5):
            server = serve(d, scene, 'bandwidth=1M')
            guest = Guest(rng, scene.rec, f'{d}/nbd', may_trim(how), requests)
            guest.run(N_OPS // 4)
            harness.kill(server)  # with requests in flight
            harness.finish(server)
            guest.client.socket.close()
            requests = guest.requests
            if number % 2:
                bp('check', '--repair=leaks', scene.mounted_top, rc=(0, 5))
        harness.finish(harness.start(harness.blockpull, 'pull', '-q', scene.mounted_top))
        scene.rec.mark('done')
    log = scene.rec.log()
    scene.learn_guest(log, requests)
    judge_states(scene.judging(log), rng)


@case('a disk that lies to a guest is found out')
def lying(d):
    scene, log, rng = record(d, 'lying', dict(options='cluster_size=4k'))
    log.lie(2)
    faults, _ = faults_of(scene.judging(log), 200, rng)
    note(f'{len(faults)} of 200 states lost something, as {faults[0] if faults else "none"}')
    check(faults, 'the judge saw nothing wrong with lost syncs')


if __name__ == '__main__':
    harness.main()
