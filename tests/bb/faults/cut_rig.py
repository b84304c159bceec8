# SPDX-License-Identifier: MIT OR Apache-2.0
"""Running commands on the logging file system, and judging thousands of the states a cut could leave.

Recording: a directory is mounted through cutfs, the command runs in it as anywhere else, and `mark`
puts moments into the log that only we know (it exited, it answered). Judging: states are drawn from a
seed, written to a directory of their own and handed to the judge, in as many processes as there are
processors; a mount for each state was rejected, since reading needs no log.
"""
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import time
import traceback

import cut_states
import fuse_rig
from harness import Failed, check, note

SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
STATES = int(os.environ.get('BB_STATES', '20'))  # of each case
CUTS = int(os.environ.get('BB_CUTS', '1'))
KEEP = os.environ.get('BB_KEEP')  # where a failing state and its log are put


class Recorded:
    """A directory d, seen through cutfs at m; log() when all is over."""

    def __init__(self, d):
        self.disk, self.mount, self.log_path = f'{d}/disk', f'{d}/mnt', f'{d}/log'
        os.mkdir(self.disk)
        os.mkdir(self.mount)
        self.server = None

    def __enter__(self):
        cutfs = fuse_rig.program('cutfs')
        self.before, self.numbers = {}, {}
        for name in os.listdir(self.disk):
            with open(f'{self.disk}/{name}', 'rb') as file:
                self.before[name] = file.read()
            self.numbers[name] = os.stat(f'{self.disk}/{name}').st_ino
        self.server = fuse_rig.mount(cutfs, self.log_path, self.disk, self.mount)
        return self

    def __exit__(self, *error):
        result = fuse_rig.unmount(self.server, self.mount, in_use=bool(error[0]))
        check(error[0] or result.rc == 0, f'cutfs: {result}')

    def mark(self, text):
        with contextlib.suppress(OSError):
            os.mkdir(f'{self.mount}/{text}')

    def log(self):
        return cut_states.Log(self.log_path, self.before, self.numbers)


class Judging:
    """judge(directory, log, cut, number) looks at one state and raises Failed."""

    def __init__(self, d, log, judge, links=()):
        self.d, self.log, self.judge, self.links = d, log, judge, links

    def put(self, where, cut, how, rng):
        state, doubtful = self.log.state(cut, how, rng)
        os.mkdir(where)
        for name, content in state.items():
            if name in self.links and content == self.log.before[name]:
                os.link(f'{self.d}/disk/{name}', f'{where}/{name}')
                continue
            with open(f'{where}/{name}', 'wb') as file:
                file.write(content)
        return doubtful

    def one(self, number, cut, how, seed):
        """What is wrong with this state, or None; and how many changes were in doubt."""
        where = f'{self.d}/state{number}'
        rng = random.Random(seed)
        story = f'state {number}: cut at {cut} of {self.log.length}, {how}, seed {seed}'
        fault, doubtful = None, 0
        try:
            doubtful = self.put(where, cut, how, rng)
            self.judge(where, self.log, cut, number)
        except Failed as error:
            fault = f'{story}: {error}'
        except Exception:
            fault = f'{story}: {traceback.format_exc()}'
        if fault and KEEP and os.path.isdir(where):
            shutil.copytree(where, f'{KEEP}/{os.getpid()}-{number}', dirs_exist_ok=True)
            shutil.rmtree(where)
            self.put(where, cut, how, random.Random(seed))  # as it was before the judge touched it
            shutil.copytree(where, f'{KEEP}/{os.getpid()}-{number}-state', dirs_exist_ok=True)
            shutil.copy(f'{self.d}/log', f'{KEEP}/{os.getpid()}-{number}.log')
        os.chdir('/')
        shutil.rmtree(where, ignore_errors=True)
        return fault, doubtful

    def each(self, step):
        """Each step-th point of the log by its number, with one fate after the other."""
        for number, cut in enumerate(range(1, self.log.length + 2, step)):
            yield number, cut, cut_states.NASTY[number % len(cut_states.NASTY)], cut

    def choose(self, count, rng):
        """Cuts and fates: every eighth at the end, where links are dropped, one in eight anywhere, and
        the rest where something is in doubt."""
        last = self.log.length + 1
        doubtful = [cut for cut in range(1, last + 1) if self.log.in_doubt(cut)] or [last]
        for number in range(count):
            if number % 8 == 0:
                cut = rng.randint(max(1, last - 12), last)
            else:
                cut = rng.choice(doubtful) if number % 8 > 1 else rng.randint(1, last)
            how = rng.choice(cut_states.NASTY) if number % 3 else 'random'
            yield number, cut, how, rng.randrange(1 << 32)


_judging = None


def _child():
    for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(sig, signal.SIG_DFL)  # the parent's handler cleans up after all of us


def _one(choice):
    return _judging.one(*choice)


def _outcomes(judging, choices):
    global _judging
    _judging = judging
    with multiprocessing.get_context('fork').Pool(os.cpu_count(), _child) as pool:
        outcomes = pool.map(_one, list(choices), chunksize=4)
    return [fault for fault, _ in outcomes if fault], sum(doubtful for _, doubtful in outcomes)


def faults_of(judging, count, rng):
    """Judges so many states; returns the faults found, and the number of changes that were in doubt."""
    return _outcomes(judging, judging.choose(count, rng))


def judge_each(judging):
    """Every point of the log, or every BB_CUTS-th."""
    faults, _ = _outcomes(judging, judging.each(CUTS))
    note(f'each cut of {judging.log.length} records, {len(faults)} lost')
    check(not faults, '\n'.join(faults[:5]))


def judge_states(judging, rng, count=None):
    count = count or STATES
    faults, doubtful = faults_of(judging, count, rng)
    syncs = sum(e.op == ord('S') for e in judging.log.events)
    note(f'BB_SEED={SEED}: {count} states of {judging.log.length} records ({syncs} syncs), '
         f'{doubtful / count:.1f} changes in doubt in each, {len(faults)} lost')
    check(not faults, '\n'.join(faults[:5]))
    check(doubtful or not judging.log.changes, 'no change was ever in doubt: this has judged nothing')
