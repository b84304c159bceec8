# SPDX-License-Identifier: MIT OR Apache-2.0
"""The power is cut while the command runs on a real file system, of which every write and sync was logged.

The judge knows the formats from their specifications and the disk from cut_states.py; of the command
it knows when it exited. In every state: the image opens, refcounts cover all references, the
content (of snapshots, too) is as before; once exit 0 was seen the image needs no base. A sample of the
states is judged by qemu-img check and compare, and another is pulled to the end.
"""
import random
import time

import facts
import harness
from cut_rig import SEED, faults_of, judge_states
from cut_scene import Scene
from harness import DONE, MIB, case, check, note, same

def pull_in_batches(scene, *args, pauses=3):
    """A pull that commits several times: a pause makes durable what was copied."""
    socket = f'{scene.d}/socket'
    pull = harness.start(harness.blockpull, 'pull', '-q', '--bandwidth=6M', '--burst=128k', f'--control={socket}',
                         *facts.possible(args), scene.mounted_top)
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
    ('refcount table that grows', dict(options='cluster_size=512,refcount_bits=64', size=3 * MIB), ['--io=uring']),
    ('compressed source, v2 snapshot', dict(options='compat=0.10,cluster_size=4k', snapshot=True, base_fmt='qcow2',
                                            base_options=['-c']), ['--io=uring']),
    ('data file', dict(options='cluster_size=4k', data_file=True), ['--io=uring']),
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
    n_faults = 0
    for first in range(every):
        log = scene.rec.log()
        log.lie(every, first)
        faults, _ = faults_of(scene.judging(log), 200, rng)
        note(f'{len(faults)} of 200 states lost something, as {faults[0] if faults else "none"}')
        n_faults += len(faults)
    check(n_faults, 'the judge saw nothing wrong with lost syncs')


if __name__ == '__main__':
    harness.main()
