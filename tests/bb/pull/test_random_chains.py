# SPDX-License-Identifier: MIT OR Apache-2.0
"""Pulls random chains and has qemu-img judge the result.

One case a seed. BB_SEEDS says how many (or which: "17", "100-199"); a failing seed prints its
chain and how to run it alone. Two workers, because a case mostly waits for short-lived commands.
"""
import os
import shlex
import sys

import facts
import harness
import images
from chains import Chain
from harness import Failed, bp, check, field
from images import Untouched, judge_pulled


def seeds(default=12):
    """So many seeds, or as many, or those, that BB_SEEDS says: new ones with BB_FIRST_SEED, always the same ones
    without."""
    text = os.environ.get('BB_SEEDS', str(default))
    if '-' in text:
        first, last = text.split('-')
        return range(int(first), int(last) + 1)
    first = int(os.environ.get('BB_FIRST_SEED', '1'))
    return range(first, first + int(text))


def pull_options(rng):
    backend = rng.choice(['--io=auto', '--io=uring', '--io=threads', ''])
    if backend == '--io=uring' and not facts.has_uring():  # as in a container: refused by name, rightly
        backend = '--io=auto'
    options = [backend,
               rng.choice(['--progress=none', '--progress=json', '--progress=plain', '--progress=bar', '']),
               rng.choice(['--holes=read', '--holes=auto', '', '']),
               rng.choice(['--json', '-q', '', ''])]
    if rng.random() < 0.15:
        options.append(f'--bandwidth={rng.randint(16, 500)}M')
        if rng.random() < 0.5:
            options.append(f'--burst={rng.randint(64, 4096)}K')
    return [o for o in options if o]


def pull_and_judge(directory, seed):
    chain = Chain(directory, seed)
    top = chain.top
    options = chain.args + pull_options(chain.rng)
    try:
        flat = images.flatten(top.path, top.fmt, os.path.join(directory, 'flat'))
        untouched = Untouched(*(layer.path for layer in chain.layers[1:]))
        if chain.rng.random() < 0.2:
            whole = Untouched(*(layer.path for layer in chain.layers))
            bp('pull', '--dry-run', *options, top.path)
            whole.verify('by --dry-run')
        result = bp('pull', *options, top.path)
        judge_pulled(top.path, top.fmt, flat)
        untouched.verify('by the pull')
        if '--json' in options:
            moved = sum(field(result.lines()[-1], 'bytes', name) for name in ('copied', 'cloned'))
            slack = 2 * max(layer.cluster for layer in chain.layers)
            check(moved <= top.size + slack, f'{moved} bytes copied into a disk of {top.size}')
        if chain.rng.random() < 0.3:
            go_on_writing(chain, flat)
    except Failed as error:
        raise Failed(f'{error}\noptions: {shlex.join(options)}\n{chain}\n'
                     f'again: BB_SEEDS={seed}-{seed} {sys.executable} {sys.argv[0]} {harness.blockpull}') from None


def go_on_writing(chain, flat):
    """A pulled image must be good for more than reading."""
    start = chain.rng.randrange(0, chain.top.size, 512)
    length = min(300000, chain.top.size - start) // 512 * 512
    images.qemu_io(chain.top.path, chain.top.fmt, f'write -P 0x5a {start} {length}')
    images.qemu_io(flat, 'raw', f'write -P 0x5a {start} {length}')
    judge_pulled(chain.top.path, chain.top.fmt, flat)


if __name__ == '__main__':
    print(f'# seeds {seeds().start} to {seeds().stop - 1}')
    for number in seeds():
        harness.cases.append((f'random chain, seed {number}', pull_and_judge, (number,)))
    harness.main(workers=2)
