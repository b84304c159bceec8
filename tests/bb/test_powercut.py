# SPDX-License-Identifier: MIT OR Apache-2.0
"""The power is cut while the command runs on a real file system, of which every write and sync was logged.

The judge knows the formats from their specifications and the disk from cut_states.py; of the command
it knows when it exited. In every state: the image opens, refcounts cover all references, the
content (of snapshots, too) is as before; once exit 0 was seen the image needs no base. A sample of the
states is judged by qemu-img check and compare, and another is pulled to the end.
"""
import os
import random
import time
import zlib

import harness
import images
import qcow2_reader
import qed_reader
from cut_rig import SEED, Judging, Recorded, faults_of, judge_states
from harness import DONE, KIB, MIB, bp, case, check, note, same
from images import overlay, qemu_img, qemu_io, raw_image

QEMU_EVERY, RESUME_EVERY = 9, 7


def reader(path):
    with open(path, 'rb') as file:
        magic = file.read(4)
    return qed_reader.Reader(path) if magic == b'QED\0' else qcow2_reader.Reader(path)


def views(image, chains, data=None):
    """{view: content}; chains: {backing name: what it shows}."""
    below = chains[image.backing.decode()] if image.backing else b''
    if not hasattr(image, 'views'):
        return {'': image.read(below)}
    return {view.id: image.read(view, below, data) for view in image.views}


def slurp(path):
    with open(path, 'rb') as file:
        return file.read()


class Scene:
    """top.img over base.img in a recorded directory, and what a cut must leave of it."""

    def __init__(self, d, fmt='qcow2', options=None, size=MIB, base_size=None, snapshot=False, data_file=False):
        self.d, self.fmt, self.data_file = d, fmt, data_file
        self.rec = Recorded(d)
        self.top, self.base = f'{self.rec.disk}/top.img', f'{self.rec.disk}/base.img'
        base_size = base_size or size
        raw_image(self.base, base_size, *((at, min(160 * KIB, base_size - at)) for at in range(0, base_size, 192 * KIB)))
        if data_file:
            options = ','.join(filter(None, [options, 'data_file=top.data']))
        harness.run('true')
        if data_file:
            result = harness.run('qemu-img', 'create', '-q', '-f', fmt, '-o', options, '-b', 'base.img', '-F', 'raw',
                                 self.top, cwd=self.rec.disk)
            check(result.rc == 0, str(result))
        else:
            overlay(self.top, 'base.img', fmt, options)
        qemu_io(self.top, fmt, 'write -P 7 100k 30k', f'write -P 9 {size // 2}  3k', 'write -z 300k 20k')
        if snapshot:
            qemu_img('snapshot', '-c', 'one', self.top)
            qemu_io(self.top, fmt, 'write -P 8 120k 30k', f'write -P 4 {size - 64 * KIB} 5k')
        self.chains = {'base.img': slurp(self.base)}
        self.learn()

    def data_of(self, where):
        return slurp(f'{where}/top.data') if self.data_file else None

    def learn(self):
        self.flat = images.flatten(self.top, self.fmt, f'{self.d}/flat')
        self.expected = views(reader(self.top), self.chains, self.data_of(self.rec.disk))
        same(zlib.crc32(self.expected['']), zlib.crc32(slurp(self.flat)), 'the judge reads what QEMU reads')

    @property
    def mounted_top(self):
        return f'{self.rec.mount}/top.img'

    def judge(self, where, log, cut, number):
        top = f'{where}/top.img'
        self.judge_content(where, complete='done' in log.marks and log.marks['done'] < cut)
        if number % QEMU_EVERY == 0:
            check(images.image_check(top, self.fmt) in (0, 3), 'corrupt, says qemu-img check')
            images.compare_flat(top, self.fmt, self.flat, 'says qemu-img compare')
        if number % RESUME_EVERY == 0:
            bp('pull', '-q', top)
            self.judge_content(where, complete=True, leaks_allowed=False)
            same(images.image_check(top, self.fmt), 0, 'exit code of qemu-img check when pulled to the end')

    def judge_content(self, where, complete, leaks_allowed=True):
        image = reader(f'{where}/top.img')
        check(not (complete and image.backing), 'it was done, and the link is back')
        image.judge_refcounts(leaks_allowed)
        got = views(image, self.chains, self.data_of(where))
        same(set(got), set(self.expected), 'views')
        for view, content in got.items():
            if content != self.expected[view]:
                at = next(i for i, (a, b) in enumerate(zip(content, self.expected[view])) if a != b)
                raise harness.Failed(f'view {view!r} changed at {at}: {content[at:at + 8].hex()}, '
                                     f'was {self.expected[view][at:at + 8].hex()}')

    def judging(self, log):
        return Judging(self.d, log, self.judge, links=('base.img',))


def pull_in_batches(scene, *args, pauses=3):
    """A pull that commits several times: a pause makes durable what was copied."""
    socket = f'{scene.d}/socket'
    pull = harness.start(harness.blockpull, 'pull', '-q', '--bandwidth=6M', '--burst=128k', f'--control={socket}', *args,
                         scene.mounted_top)
    for _ in range(pauses):
        time.sleep(0.04)
        if harness.run(harness.blockpull, 'ctl', socket, 'pause').rc or \
                harness.run(harness.blockpull, 'ctl', socket, 'resume').rc:
            break  # it is over
    result = harness.finish(pull)
    same(result.rc, DONE, str(result))


SHAPES = [
    ('qcow2', dict(), ['--io=uring']),
    ('qcow2', dict(options='cluster_size=512'), ['--io=threads']),
    ('qcow2 v2, 4 KiB', dict(options='compat=0.10,cluster_size=4k'), ['--io=uring']),
    ('refcounts of 1 bit', dict(options='cluster_size=1k,refcount_bits=1'), ['--io=uring']),
    ('refcounts of 64 bits, snapshot', dict(options='cluster_size=1k,refcount_bits=64', snapshot=True), ['--io=threads']),
    ('snapshot, 64 KiB', dict(snapshot=True), ['--io=uring']),
    ('subclusters', dict(options='extended_l2=on,cluster_size=32k'), ['--io=uring']),
    ('QED', dict(fmt='qed', options='cluster_size=4k'), ['--io=uring']),
    ('QED, 64 KiB', dict(fmt='qed'), ['--io=threads']),
    ('compressing', dict(options='cluster_size=4k'), ['--io=uring', '--compress']),
]


def shapes(function):
    for name, how, args in reversed(SHAPES):
        function = case(f'pull, {name}, {" ".join(args)}', name, how, args)(function)
    return function


@shapes
def pulled(d, name, how, args):
    rng = random.Random(f'{SEED} {name}')
    scene = Scene(d, **how)
    with scene.rec:
        pull_in_batches(scene, *args)
        scene.rec.mark('done')
    judge_states(scene.judging(scene.rec.log()), rng)


@case('a disk that lies about every sync is found out', 1)
@case('a disk that lies about every other sync is found out', 2)
def lying(d, every):
    """Without this, a judge that sees nothing would look like a command that loses nothing."""
    rng = random.Random(SEED)
    scene = Scene(d, options='cluster_size=1k')
    with scene.rec:
        pull_in_batches(scene)
        scene.rec.mark('done')
    log = scene.rec.log()
    log.lie(every)
    faults, _ = faults_of(scene.judging(log), 60, rng)
    note(f'{len(faults)} of 60 states lost something, as {faults[0] if faults else "none"}')
    check(faults, 'the judge saw nothing wrong with lost syncs')


if __name__ == '__main__':
    harness.main()
