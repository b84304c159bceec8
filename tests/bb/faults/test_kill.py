# SPDX-License-Identifier: MIT OR Apache-2.0
"""Pulls that are killed, interrupted and begun again.

A kill -9 at any moment may leak space and must lose nothing: the image opens, holds the same
content while its link stands, and the next pull ends it and takes the leaks out. A kill cannot show what a power cut does
(the page cache outlives the process); the simulator's tests do that. Moments are drawn from a
printed seed, spread over the time that an undisturbed pull was seen to take.
"""
import os
import random
import signal
import time

import harness
import images
from harness import DONE, KIB, MIB, bp, case, check, field, note, same
from images import Untouched, image_check, image_info, image_map, overlay, raw_image

SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
KILLS = int(os.environ.get('BB_KILLS', '3'))


def linked(path):
    return 'backing-filename' in image_info(path)


def held_bytes(path):
    """Guest bytes that the image itself holds."""
    return sum(e['length'] for e in image_map(path) if e['depth'] == 0 and e['data'])


class Scene:
    """A base with holes, and an overlay with something of its own; begin() puts it back."""

    def __init__(self, d, fmt, options, size):
        self.base, self.top, self.fmt = f'{d}/base.img', f'{d}/top.img', fmt
        raw_image(self.base, size, *((at, MIB - 24 * KIB) for at in range(0, size, MIB)))
        overlay(self.top, 'base.img', fmt, options)
        images.qemu_io(self.top, fmt, 'write -P 7 100k 300k', 'write -z 1M 200k')
        self.flat = images.flatten(self.top, fmt, f'{d}/flat')
        self.base_before = Untouched(self.base)
        self.expected = held_bytes(self.top)
        with open(self.top, 'rb') as file:
            self.fresh = file.read()

    def begin(self):
        with open(self.top, 'wb') as file:
            file.write(self.fresh)

    def judge_killed(self, when):
        """After a kill: readable, leaks at worst, and not a byte of content lost."""
        check(image_check(self.top, self.fmt) in (0, 3), f'corrupt {when}')
        images.compare_flat(self.top, self.fmt, self.flat, when)
        if not linked(self.top):  # then it must stand alone: the base may be deleted now
            os.rename(self.base, self.base + '.away')
            try:
                images.compare_flat(self.top, self.fmt, self.flat, when + ', without its base')
            finally:
                os.rename(self.base + '.away', self.base)

    def judge_end(self, when):
        check(not linked(self.top), f'link still there {when}')
        same(image_check(self.top, self.fmt), 0, f'exit code of qemu-img check {when}')
        images.compare_flat(self.top, self.fmt, self.flat, when)
        self.base_before.verify(when)


@case('SIGKILL at random moments, qcow2', 'qcow2', None, 24 * MIB, ())
@case('SIGKILL at random moments, qcow2 with tiny clusters', 'qcow2', 'cluster_size=512', 8 * MIB, ())
@case('SIGKILL at random moments, qcow2 v2', 'qcow2', 'compat=0.10,cluster_size=4k', 16 * MIB, ())
@case('SIGKILL at random moments, QED', 'qed', 'cluster_size=4k', 16 * MIB, ())
@case('SIGKILL at random moments, threads', 'qcow2', 'cluster_size=2M', 24 * MIB, ('--io=threads',))
@case('SIGKILL at random moments of a slow pull', 'qcow2', None, 24 * MIB, ('--bandwidth=32M',))
def killed(d, fmt, options, size, args):
    note(f'BB_SEED={SEED}')
    rng = random.Random(SEED)
    scene = Scene(d, fmt, options, size)
    lasts = bp('pull', *args, scene.top).seconds
    scene.judge_end('undisturbed')
    n_linked = n_leaky = 0
    for count in range(KILLS):
        scene.begin()
        moment = rng.uniform(0, lasts * 1.1)
        when = f'after a kill at {moment * 1000:.1f} of {lasts * 1000:.1f} ms (kill {count})'
        pull = harness.start(harness.blockpull, 'pull', *args, scene.top)
        time.sleep(max(0, moment - (time.monotonic() - pull.began)))
        harness.kill(pull)
        result = harness.finish(pull)
        check(result.rc in (137, DONE), f'{when}: {result}')
        scene.judge_killed(when)
        # A pull killed behind its last write has leaks at most when there is no link any more.
        n_linked += linked(scene.top)
        n_leaky += image_check(scene.top, fmt) == 3
        bp('pull', scene.top)
        scene.judge_end('pulled again ' + when)
    note(f'{n_linked} of {KILLS} kills struck before the link was dropped; {n_leaky} left leaks')


@case('killed again and again, it still arrives', 'qcow2')
@case('killed again and again, it still arrives, QED', 'qed')
def killed_repeatedly(d, fmt):
    rng = random.Random(SEED)
    note(f'BB_SEED={SEED}')
    scene = Scene(d, fmt, None, 24 * MIB)
    for count in range(10):
        pull = harness.start(harness.blockpull, 'pull', '--bandwidth=16M', scene.top)
        time.sleep(rng.uniform(0.02, 0.3))
        harness.kill(pull)
        harness.finish(pull)
        scene.judge_killed(f'after kill {count}')
    bp('pull', scene.top)
    scene.judge_end('at last')


def is_done(line):
    """Whether a line reports the completion."""
    return line.get('state') == 'concluded' or line.get('status') == 'completed'


@case('SIGKILL when it reports done: never zeros', 'qcow2')
@case('SIGKILL when it reports done: never zeros, QED', 'qed')
def killed_when_done(d, fmt):
    scene = Scene(d, fmt, None, 16 * MIB)
    for count in range(KILLS):
        scene.begin()
        pull = harness.start(harness.blockpull, 'pull', '--progress=json', scene.top)
        last = harness.lines_of(pull, is_done)
        harness.kill(pull)
        harness.finish(pull)
        check(last, '--progress=json never reported the completion')
        check(not linked(scene.top), 'done was reported before the link was dropped')
        same(image_check(scene.top, fmt), 0, f'exit code of qemu-img check (kill {count})')
        scene.judge_killed(f'after it reported done (kill {count})')


def interrupt(scene, sig):
    """A slow pull that gets a signal; returns how it ended."""
    pull = harness.start(harness.blockpull, 'pull', '--bandwidth=8M', '--progress=json', scene.top)
    check(harness.lines_of(pull, lambda line: field(line, 'bytes', 'copied') > 2 * MIB), 'it ended at once')
    os.kill(pull.pid, sig)
    return harness.finish(pull, 20)


@case('SIGINT keeps what was copied', signal.SIGINT, 'qcow2')
@case('SIGTERM keeps what was copied', signal.SIGTERM, 'qcow2')
@case('SIGINT keeps what was copied, QED', signal.SIGINT, 'qed')
def interrupted(d, sig, fmt):
    scene = Scene(d, fmt, None, 24 * MIB)
    before = held_bytes(scene.top)
    result = interrupt(scene, sig)
    same(result.rc, 128 + sig, f'exit code: {result}')
    same(image_check(scene.top, fmt), 0, 'exit code of qemu-img check after a clean stop')
    scene.judge_killed('after a clean stop')
    check(linked(scene.top), 'the link was dropped early')
    kept = held_bytes(scene.top) - before
    check(kept > MIB, f'only {kept} bytes were kept')
    copied = field(bp('pull', '--json', scene.top).json(), 'bytes', 'copied')
    scene.judge_end('after going on')
    whole = held_bytes(scene.top) - before
    note(f'kept {kept}, then copied {copied} of {whole} bytes')
    check(copied <= whole - kept + MIB, f'the second pull copied {copied} bytes though {kept} of {whole} were there')


@case('a second SIGINT ends it at once')
def twice(d):
    scene = Scene(d, 'qcow2', None, 24 * MIB)
    pull = harness.start(harness.blockpull, 'pull', '--bandwidth=64K', '--progress=json', scene.top)
    harness.lines_of(pull, lambda line: True)
    os.kill(pull.pid, signal.SIGINT)
    os.kill(pull.pid, signal.SIGINT)
    began = time.monotonic()
    result = harness.finish(pull, 20)
    check(result.rc == 130, str(result))
    check(time.monotonic() - began < 120, 'it took its time: to the end it would be 6 minutes')
    scene.judge_killed('after two SIGINTs')


@case('a pull that stood still for a while goes on')
def stopped(d):
    scene = Scene(d, 'qcow2', None, 8 * MIB)
    pull = harness.start(harness.blockpull, 'pull', '--bandwidth=16M', scene.top)
    time.sleep(0.15)
    os.kill(pull.pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(pull.pid, signal.SIGCONT)
    result = harness.finish(pull)
    check(result.rc == DONE, str(result))
    scene.judge_end('after SIGSTOP and SIGCONT')


if __name__ == '__main__':
    harness.main()
