# SPDX-License-Identifier: MIT OR Apache-2.0
"""System calls of the built command that fail: the n-th of its kind, by strace's injection.

Each verb is first traced as it is: that tells which calls it makes on its files, and as which of their
kind (strace counts them for each thread by itself, so the n-th of every thread fails).
Then each of these calls fails with each error that it may really give:

  EAGAIN, EINTR    no message tells of it: exit 0, the same result
  EIO              exit 1;  ENOSPC, EDQUOT  exit 7; a sentence that names a file, and what to do
  a mere hint      (punching holes, asking for them, reads that need not wait, ...) may be ignored

and never a signal or a hang. Then the same command without an injection succeeds, judged by qemu-img: an
image that is pulled has lost nothing, and a new one is there whole or not at all.

The ring is refused: its requests are no system calls of their own; tests/whole/faults/test_faults.c fails those. Short transfers
can't be injected; tests/whole/faults/test_faults_guest.c has them. What the sandbox would do to an injected error is not
asked here: a call that it refuses is never made.
"""
import errno
import os
import random
import re
import shutil
import time

import damaged_images
import harness
import images
import strace
from harness import CORRUPT, DONE, FAILED, MIB, NO_SPACE, bp, case, check, same
from images import image_check, overlay, qemu_img, qemu_io, raw_image

READS = ('pread64', 'preadv')
WRITES = ('pwrite64', 'pwritev', 'pwritev2', 'fdatasync', 'ftruncate', 'fsync', 'renameat2', 'linkat')
# preadv2 reads what need not wait; what it does not read a request does.
HINTS = ('preadv2', 'fallocate', 'lseek', 'sync_file_range', 'fadvise64', 'fstatfs')
CALLS = READS + WRITES + HINTS + ('openat',)
PASSING = ('EAGAIN', 'EINTR')
MOST = max(2, int(os.environ.get('BB_CALLS', '3')))  # indexes of one call and error: the first, the last, and some between
SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
TIMEOUT = 30


def errors_of(call):
    if call in READS:
        return ('EIO',) + PASSING
    if call in HINTS:
        return ('EIO', 'EINTR')
    if call in ('renameat2', 'linkat'):
        return ('EIO', 'ENOSPC', 'EDQUOT')
    if call == 'openat':
        return ('EIO', 'EINTR', 'ENOSPC')
    return ('EIO', 'ENOSPC', 'EDQUOT') + PASSING


class Verb:
    """A command on files that make() puts into a directory. args(d) is its command line; judge(d, out) its
    result, of which out is stdout; kept(d) what must hold however it ended; found: exit codes for what it may
    have found out about the image before a read failed."""

    def __init__(self, args, make, judge, kept=lambda d: None, found=()):
        self.args, self.make, self.judge, self.kept, self.found = args, make, judge, kept, found


def traced(args, calls, *inject):
    """With threads in place of io_uring, whose writes are no calls. strace makes only calls fail that it traces."""
    result, lines = strace.run(harness.blockpull, *args, trace=f'{calls},io_uring_setup',
                               inject=['io_uring_setup:error=EPERM', *inject], options=['-y'], timeout=TIMEOUT)
    return result, [line for line in lines if 'io_uring_setup(' not in line]


def calls_on_files(d, lines):
    """For each call, its indexes (from 1, each thread counting its own) that have to do with our files."""
    counts, found = {}, {}
    for line in lines:
        match = re.match(r'(\d+) +(\w+)\(', line)
        if not match or match[2] not in CALLS:
            continue
        count = counts[match.groups()] = counts.get(match.groups(), 0) + 1
        # Descriptors found again through /proc are ours, too.
        if d in line or (match[2] == 'openat' and '/proc/self/fd/' in line):
            found.setdefault(match[2], set()).add(count)
    return found


def spread(indexes):
    indexes = sorted(indexes)
    if len(indexes) <= MOST:
        return indexes
    return sorted({indexes[0], indexes[-1], *random.Random(SEED).sample(indexes[1:-1], MOST - 2)})


def in_turn(indexes, number):
    """One of three: each index has a third of the errors, each error one of the indexes. More than three are all wanted."""
    return [nth for i, nth in enumerate(indexes) if len(indexes) != 3 or (i + number) % 3 == 0]


def wanted_codes(verb, call, error, injected):
    if not injected or error in PASSING:
        return (DONE,)
    code = NO_SPACE if error in ('ENOSPC', 'EDQUOT') else FAILED
    # The descriptor that the locks would rather be on.
    is_spare = call == 'openat' and all('/proc/self/fd' in line and 'O_RDONLY' in line for line in injected)
    # Tables that are loaded ahead, each into a buffer of its own: one that is wanted is read again, alone.
    is_ahead = call == 'preadv' and all(line.count('iov_len=4096}') > 1 for line in injected)
    if call in READS:
        return (code, *verb.found, *([DONE] if is_ahead else []))
    return (DONE, code) if call in HINTS + ('ftruncate',) or is_spare else (code,)


def judge_words(result, error, what):
    text = result.err
    if 'did not come to its end' in text: # of a check the sentence is one of its findings
        text += result.out
    check(os.strerror(getattr(errno, error)) in text, f'{what}: it does not say what failed: {result}')
    check(re.search(r'\.img', text), f'{what}: no file is named: {result}')
    check(re.search(r'hint: |make room|again', text), f'{what}: it does not say what to do: {result}')
    check(not re.search(r'assert|abort|sanitizer|core dumped|runtime error', text, re.I), f'{what}: {result}')


def fresh(verb, parent):
    d = f'{parent}/d'
    shutil.rmtree(d, ignore_errors=True)
    shutil.copytree(f'{parent}/made', d)
    return d


def try_one(verb, parent, call, error, nth):
    d = fresh(verb, parent)
    what = f'{call} number {nth}: {error}'
    result, lines = traced(verb.args(d), call, f'{call}:error={error}:when={nth}')
    injected = [line for line in lines if 'INJECTED' in line]
    codes = wanted_codes(verb, call, error, injected)
    check(result.rc in codes, f'{what}: exit code {result.rc}, wanted {codes}: {injected}: {result}')
    if result.rc:
        judge_words(result, error, what)
        verb.kept(d)
        result = bp(*verb.args(d), timeout=TIMEOUT)
    try:
        verb.judge(d, result.out)
    except harness.Failed as failed:
        raise harness.Failed(f'{what}: {failed}') from None
    return bool(injected)


def fail_all(parent, verb):
    d = f'{parent}/made'
    os.mkdir(d)
    verb.make(d)
    d = fresh(verb, parent)
    result, lines = traced(verb.args(d), ','.join(CALLS))
    same(result.rc, DONE, f'without an injection: {result}')
    verb.judge(d, result.out)
    n, n_hit = 0, 0
    for call, indexes in sorted(calls_on_files(d, lines).items()):
        for number, error in enumerate(errors_of(call), SEED):
            for nth in in_turn(spread(indexes), number):
                n_hit += try_one(verb, parent, call, error, nth)
                n += 1
    # Which thread makes which call differs from run to run, so a few are not met.
    check(n_hit >= n * 2 // 3 and n_hit >= 10, f'of {n} failures only {n_hit} were met')
    harness.note(f'{n_hit} failing calls')


# ---- what is run --------------------------------------------------------------------------------

def chain(fmt='qcow2', options=None):
    """An overlay with data of its own over a middle with compressed clusters over a raw file, and what it reads."""
    def make(d):
        raw_image(f'{d}/base.img', 3 * MIB, (0, MIB), (2 * MIB, 300000))
        qemu_img('create', '-q', '-f', 'qcow2', '-b', 'base.img', '-F', 'raw', f'{d}/mid.img')
        qemu_io(f'{d}/mid.img', 'qcow2', 'write -c -P 5 1M 128k', 'write -P 6 100k 100k')
        top = overlay(f'{d}/top.img', 'mid.img', fmt, options, 'qcow2')
        qemu_io(top, fmt, 'write -P 1 0 70k', 'write -P 2 500k 10k')
        images.flatten(top, fmt, f'{d}/flat')
    return make


def base_args(fmt):
    return ['--backing-format=qcow2'] if fmt == 'qed' else []


def pull(fmt, *args):
    def judge(d, _):
        images.judge_pulled(f'{d}/top.img', fmt, f'{d}/flat')

    def kept(d):
        check(image_check(f'{d}/top.img', fmt) in (0, 3), 'damaged by a failed pull')
        # Not through qemu-img: QED records no format of its base for it to open.
        if fmt != 'qed':
            images.compare_flat(f'{d}/top.img', fmt, f'{d}/flat', 'by a failed pull')
    return Verb(lambda d: ['pull', '--no-sandbox', '--progress=none', *base_args(fmt), *args, f'{d}/top.img'],
                chain(fmt), judge, kept)


def reads(verb, *args, two=False):
    """A verb that only looks; its answer is the same each time, and the files are."""
    seen = {}

    def make(d):
        chain()(d)
        if two:
            qemu_img('convert', '-f', 'qcow2', '-O', 'qcow2', f'{d}/top.img', f'{d}/other.img')

    def judge(d, out):
        out = out.replace(d, '')
        same(out, seen.setdefault('out', out), 'what it prints')
        same(images.digest(f'{d}/top.img'), seen.setdefault('top', images.digest(f'{d}/top.img')), 'the image')
    return Verb(lambda d: [verb, '--no-sandbox', *args, f'{d}/top.img'] + ([f'{d}/other.img'] if two else []), make, judge)


def flatten(fmt, *args):
    def judge(d, _):
        if fmt != 'raw':
            same(image_check(f'{d}/new.img', fmt), 0, 'qemu-img check of the new image')
        images.compare_flat(f'{d}/new.img', fmt, f'{d}/flat')
        kept(d, True)

    def kept(d, made=False):
        left = [name for name in os.listdir(d) if name not in ('base.img', 'mid.img', 'top.img', 'flat')]
        same(left, ['new.img'] if made else [], 'files')
    return Verb(lambda d: ['flatten', '--no-sandbox', '--progress=none', '-f', fmt, *args, f'{d}/top.img', f'{d}/new.img'],
                chain(), judge, kept)


def create(fmt):
    def judge(d, _):
        same(image_check(f'{d}/new.img', fmt), 0, 'qemu-img check of the new image')

    def kept(d):
        same(sorted(os.listdir(d)), ['base.img'], 'files')
    return Verb(lambda d: ['create', '-f', fmt, '-b', f'{d}/base.img', '-F', 'raw', f'{d}/new.img'],
                lambda d: raw_image(f'{d}/base.img', MIB), judge, kept)


def snapshot(fmt):
    def judge(d, _):
        same(image_check(f'{d}/new.img', fmt), 0, 'qemu-img check of the new image')
        kept(d, ['new.img'])

    def kept(d, made=()):
        same(sorted(os.listdir(d)), sorted(['base.img', 'mid.img', 'top.img', 'flat', *made]), 'files')
    return Verb(lambda d: ['snapshot', '-f', fmt, f'{d}/top.img', f'{d}/new.img'], chain(), judge, kept)


def repair(damage):
    def make(d):
        top, _ = damaged_images.image(d)
        damage(top)

    def judge(d, _):
        same(image_check(f'{d}/top.img', 'qcow2'), 0, 'qemu-img check of the repaired image')
        images.compare_flat(f'{d}/top.img', 'qcow2', f'{d}/flat')
    return Verb(lambda d: ['check', '--no-sandbox', '--repair=all', f'{d}/top.img'], make, judge, found=(CORRUPT,))


case('pull, qcow2', pull('qcow2'))(fail_all)
case('pull, QED', pull('qed'))(fail_all)
case('pull that compresses', pull('qcow2', '--compress'))(fail_all)
case('pull that verifies', pull('qcow2', '--verify'))(fail_all)
case('flatten, raw', flatten('raw'))(fail_all)
case('flatten, qcow2', flatten('qcow2'))(fail_all)
case('create, qcow2', create('qcow2'))(fail_all)
case('create, QED', create('qed'))(fail_all)
case('snapshot', snapshot('qcow2'))(fail_all)
case('check and repair: leaks', repair(damaged_images.leak))(fail_all)
case('check and repair: refcounts', repair(damaged_images.all_refcounts_gone))(fail_all)
case('check', reads('check'))(fail_all)
case('measure', reads('measure'))(fail_all)
case('map', reads('map', '--json'))(fail_all)
case('info', reads('info', '--json'))(fail_all)
case('hash', reads('hash'))(fail_all)
case('verify', reads('verify', two=True))(fail_all)

if __name__ == '__main__':
    print(f'# BB_SEED={SEED}')
    harness.main(2)
