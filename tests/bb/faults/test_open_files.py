# SPDX-License-Identifier: MIT OR Apache-2.0
"""The limit on open files: raised as far as the command may, and where that is not enough, fewer images
are pulled at once or one sentence says what is wrong."""
import os
import resource
import time

import facts
import harness
import images
import processes
from harness import DONE, FAILED, MIB, bp, case, check, same
from images import overlay, raw_image

DEPTH = 10


def limited(soft, hard):
    return {'preexec_fn': lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))}


def chains(d, n):
    """So many images, each on a chain of its own over one base."""
    raw_image(f'{d}/base', MIB)
    tops = []
    for i in range(n):
        below, fmt = 'base', 'raw'
        for level in range(DEPTH):
            name = f'i{i}.{level}'
            bp('create', '-q', '-f', 'qcow2', '-b', below, '-F', fmt, f'{d}/{name}')
            below, fmt = name, 'qcow2'
        tops.append(f'{d}/{below}')
    return tops


def all_pulled(tops):
    for top in tops:
        check('backing-filename' not in images.image_info(top), f'{top} was not pulled')


@case('the soft limit is raised to the hard one')
def raised(d):
    tops = chains(d, 12)
    bp('pull', '-q', '-j', '12', *tops, **limited(64, 4096))
    all_pulled(tops)


@case('below the hard limit too, with fewer images at once')
def fewer(d):
    tops = chains(d, 12)
    result = bp('pull', '-j', '12', *tops, **limited(64, 64))
    same(result.err.count('ulimit -n'), 1, f'notes in {result}')
    all_pulled(tops)
    os.mkdir(f'{d}/more')
    tops = chains(f'{d}/more', 8)
    result = bp('pull', '-q', '--json', '-j', '8', *tops, **limited(64, 64))
    same([line['status'] for line in result.lines() if line['event'] == 'result'], ['completed'] * 8, 'results')
    same(result.err, '', 'stderr')


@case('one image that needs more than there are')
def too_deep(d):
    tops = chains(d, 2)
    most = 24 if facts.has_uring() else 16  # threads need none for the ring and its locks
    for top in tops[0], tops[1]:
        result = bp('pull', top, rc=FAILED, **limited(most, most))
        check('ulimit -n' in result.err and str(most) in result.err and 'as many files open' in result.err, str(result))
    result = bp('pull', '-q', '-j', '2', *tops, rc=FAILED, **limited(most, most))
    same(result.err.count('as many files open'), 2, f'sentences in {result}')
    bp('pull', '-q', *tops)
    all_pulled(tops)


@case('at most two descriptors a file')
def counted(d):
    top = chains(d, 1)[0]
    overlay(f'{d}/top', os.path.basename(top), base_fmt='qcow2')
    process = harness.start(harness.blockpull, 'pull', '-q', '--bandwidth=64K', f'{d}/top')
    own, before = [], None
    # All files are open, and have been for a moment: one that is being opened has a third for the look.
    while own != before or len(set(own)) < DEPTH + 2:
        time.sleep(0.3)
        before = own
        check(process.poll() is None, f'ended early: {own}')
        own = sorted(name for name in processes.open_names(process.pid) if name.startswith(d))
    for name in set(own):
        check(own.count(name) <= 2, f'{name} is open {own.count(name)} times')
    harness.kill(process, 15)
    check(harness.finish(process).rc != DONE, 'it was done already')


if __name__ == '__main__':
    harness.main(workers=2)
