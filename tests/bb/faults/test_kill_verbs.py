# SPDX-License-Identifier: MIT OR Apache-2.0
"""SIGKILL at random moments of everything that writes, beside the plain pulls of test_kill.py: compression,
pull --base, finalize, flatten, check --repair, and nbdkit under a guest.

After each kill the content is as before (a guest's: as flushed, or as written since), leaks are the worst,
and the second run ends clean. What was committed is not copied again. Moments are drawn from a
printed seed, spread over the time that an undisturbed run takes.
"""
import itertools
import os
import random
import shutil
import time

import cut_scene
import damaged_images
import harness
import images
import test_powercut_guest
import test_powercut_verbs
from harness import DONE, MIB, bp, case, check, field, note, same
from images import image_check, image_info, raw_image

harness.cases.clear()  # theirs
SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
KILLS = int(os.environ.get('BB_KILLS', '3'))
SIZE = 8 * MIB


class NoLog:
    """What cut_scene's judges ask a log for, where there is none: the image as it is, and when we knew what."""

    def __init__(self):
        self.before, self.marks, self.places, self.length = {}, {}, itertools.count(1), 0

    def mark(self, text):
        self.length = self.marks[text] = next(self.places)


class Killing:
    """A scene without the logging mount; run() once undisturbed, then killed at random moments."""

    def __init__(self, scene):
        self.scene, self.disk = scene, scene.rec.disk
        self.fresh = f'{scene.d}/fresh'
        shutil.copytree(self.disk, self.fresh)

    def begin(self):
        for name in os.listdir(self.disk):
            if not os.path.exists(f'{self.fresh}/{name}'):
                os.unlink(f'{self.disk}/{name}')
        for name in os.listdir(self.fresh):
            if name not in ('base.img', 'mid.img'):
                shutil.copyfile(f'{self.fresh}/{name}', f'{self.disk}/{name}')

    def each(self, command, after):
        """after(when, killed): judges, goes on to the end, and judges again."""
        note(f'BB_SEED={SEED}')
        rng = random.Random(f'{SEED} {command}')
        lasts = bp(*command).seconds
        n_killed = 0
        for count in range(KILLS):
            self.begin()
            moment = rng.uniform(0, lasts * 1.1)
            when = f'after a kill at {moment * 1000:.1f} of {lasts * 1000:.1f} ms (kill {count})'
            process = harness.start(harness.blockpull, *command)
            time.sleep(max(0, moment - (time.monotonic() - process.began)))
            harness.kill(process)
            result = harness.finish(process)
            check(result.rc in (137, DONE), f'{when}: {result}')
            n_killed += result.rc == 137
            try:
                after(result.rc == DONE)
            except harness.Failed as error:
                raise harness.Failed(f'{when}: {error}') from None
        note(f'{n_killed} of {KILLS} kills struck before the end')


@case('pull --compress', cut_scene.Scene, dict(options='cluster_size=4k'), ['--compress'])
@case('pull --compress=zstd, threads', cut_scene.Scene, dict(options='compression_type=zstd'), ['--compress', '--io=threads'])
@case('pull, data file', cut_scene.Scene, dict(options='cluster_size=4k', data_file=True), [])
@case('pull, snapshot', cut_scene.Scene, dict(options='cluster_size=4k,refcount_bits=64', snapshot=True), [])
@case('pull --base', test_powercut_verbs.BaseScene, dict(options='cluster_size=4k'), ['--base', 'base.img'])
@case('pull --base, QED', test_powercut_verbs.BaseScene, dict(fmt='qed', options='cluster_size=4k'), ['--base', 'base.img'])
def pulls(d, kind, how, args):
    scene = kind(d, size=SIZE, **how)
    killing = Killing(scene)
    os.chdir(scene.rec.disk)

    def after(done):
        scene.judge_content(scene.rec.disk, complete=done)
        scene.compare(scene.top)
        scene.resume(scene.top)
        scene.judge_content(scene.rec.disk, complete=True, leaks_allowed=False)
        same(image_check(scene.top, scene.fmt), 0, 'exit code of qemu-img check when pulled to the end')
    killing.each(['pull', '-q', *args, *getattr(scene, 'extra', []), scene.top], after)
    os.chdir('/')


@case('flatten to qcow2', ['-f', 'qcow2', '-o', 'cluster_size=4k'])
@case('flatten to raw', ['-f', 'raw'])
@case('flatten to compressed qcow2', ['-f', 'qcow2', '--compress'])
def flatten(d, args):
    scene = test_powercut_verbs.FlattenScene(d, args, size=SIZE)
    killing, log = Killing(scene), NoLog()
    log.before = {'top.img': cut_scene.slurp(scene.top)}
    out = f'{scene.rec.disk}/out.img'

    def after(done):
        check(os.path.exists(out) or not done, 'it was done, and is not there')
        if os.path.exists(out):
            images.settle(out)
        scene.judge(scene.rec.disk, log, 1, 1)
        if not os.path.exists(out):
            bp('flatten', '-q', *args, scene.top, out)
        scene.judge(scene.rec.disk, log, 1, 0)
        left = [n for n in os.listdir(scene.rec.disk) if 'blockpull-' in n]
        check(len(left) <= (not done), f'{left} was left behind')
    killing.each(['flatten', '-q', *args, scene.top, out], after)


@case('check --repair=leaks', damaged_images.leak, True, 'leaks', dict())
@case('check --repair=all, all refcounts gone', damaged_images.all_refcounts_gone, False, 'all', dict(snapshot=True))
@case('check --repair=all, QED', test_powercut_verbs.qed_leaks, True, 'all', dict(fmt='qed'))
def repair(d, damage, leaks_only, what, how):
    scene = test_powercut_verbs.RepairScene(d, damage, leaks_only, what, **how)
    log = NoLog()

    def after(done):
        scene.judge(scene.rec.disk, log, 1, 0)
    Killing(scene).each(['check', f'--repair={what}', scene.top], after)


def wait_until_ready(socket):
    deadline = time.monotonic() + harness.WAIT
    while '"state":"waiting"' not in harness.run(harness.blockpull, 'ctl', '--json', socket, 'info').out:
        check(time.monotonic() < deadline, 'it never was ready to be finalized')
        time.sleep(0.01)


@case('finalize', dict(options='cluster_size=4k'), [])
@case('finalize, pull --base', dict(options='cluster_size=4k'), ['--base', 'base.img'])
@case('finalize, QED', dict(fmt='qed', options='cluster_size=4k'), [])
def finalize(d, how, args):
    """All is copied; what is killed is the changing of the link."""
    kind = test_powercut_verbs.BaseScene if args else cut_scene.Scene
    scene = kind(d, **how)
    killing, rng = Killing(scene), random.Random(SEED)
    note(f'BB_SEED={SEED}')
    n_linked, before = 0, cut_scene.reader(scene.top).backing
    os.chdir(scene.rec.disk)
    for count in range(KILLS):
        killing.begin()
        socket = f'{d}/socket{count}'
        pull = harness.start(harness.blockpull, 'pull', '-q', '--manual-finalize', f'--control={socket}',
                             *args, scene.top)
        wait_until_ready(socket)
        check(cut_scene.reader(scene.top).backing == before, 'the link was changed unasked')
        asks = harness.start(harness.blockpull, 'ctl', socket, 'finalize')
        time.sleep(rng.uniform(0, 0.012))
        harness.kill(pull)
        done = harness.finish(pull).rc == DONE
        harness.finish(asks)
        n_linked += cut_scene.reader(scene.top).backing == before
        scene.judge_content(scene.rec.disk, complete=done)
        scene.compare(scene.top)
        scene.resume(scene.top)
        scene.judge_content(scene.rec.disk, complete=True, leaks_allowed=False)
    os.chdir('/')
    note(f'{n_linked} of {KILLS} kills struck before the link was changed')


@case('nbdkit under a guest, qcow2', dict(options='cluster_size=4k'))
@case('nbdkit under a guest, snapshot', dict(snapshot=True))
@case('nbdkit under a guest, QED', dict(fmt='qed', options='cluster_size=4k'))
def guest(d, how):
    rng = random.Random(f'{SEED} {how}')
    note(f'BB_SEED={SEED}')
    scene = test_powercut_guest.GuestScene(d, **how)
    scene.rec.mount = scene.rec.disk  # no log, no mount
    log, requests = NoLog(), []
    for count in range(KILLS):
        server = test_powercut_guest.serve(d, scene, 'bandwidth=1M')
        guest = test_powercut_guest.Guest(rng, log, f'{d}/nbd', test_powercut_guest.may_trim(how), requests)
        guest.run(rng.randrange(5, 40))
        harness.kill(server)  # with requests in flight
        harness.finish(server)
        guest.client.socket.close()
        requests = guest.requests
        scene.learn_guest(log, requests)
        scene.judge(scene.rec.disk, log, log.length + 1, 1)
        same(image_check(scene.top, scene.fmt) in (0, 3), True, f'leaks at worst, after kill {count}')
    scene.resume(scene.top)
    scene.judge(scene.rec.disk, log, log.length + 1, 0)
    check('backing-filename' not in image_info(scene.top), 'pulled to the end, it has a backing file')


def copied_twice(d, size, rate, at, batch, fmt='qcow2'):
    """Killed when it said that `at` bytes were copied: how much of that the second pull copies again."""
    base, top = raw_image(f'{d}/base.img', size), f'{d}/top.img'
    images.overlay(top, 'base.img', fmt)
    pull = harness.start(harness.blockpull, 'pull', f'--bandwidth={rate}', '--progress=json', top)
    line = harness.lines_of(pull, lambda line: field(line, 'bytes', 'copied') >= at)
    harness.kill(pull)
    harness.finish(pull)
    check(line, 'it ended before it could be killed')
    seen = field(line, 'bytes', 'copied')
    again = field(bp('pull', '--json', top).json(), 'bytes', 'copied') - (size - seen)
    note(f'{seen >> 20} of {size >> 20} MiB were copied, {again / MIB:.1f} MiB of them again; a batch is {batch / MIB:.0f} MiB')
    check(again <= batch, 'more than the last batch was copied twice')
    images.compare_flat(top, fmt, base)


@case('at most 2 s are copied twice', 'qcow2')
@case('at most 2 s are copied twice, QED', 'qed')
def seconds(d, fmt):
    # Half a second more for the commit itself.
    copied_twice(d, 40 * MIB, '8M', 34 * MIB, 5 * 4 * MIB, fmt)


@case('at most 64 MiB are copied twice')
def batches(d):
    # What is copied while a batch is being committed belongs to the next one; a slow disk makes that more.
    copied_twice(d, 256 * MIB, '150M', 200 * MIB, 64 * MIB + 16 * MIB)


if __name__ == '__main__':
    harness.main()
