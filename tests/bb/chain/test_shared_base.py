# SPDX-License-Identifier: MIT OR Apache-2.0
"""A base that images share: a compaction never writes to it, and a commit into it is refused when another image is known
to read from it, by whatever name. The other images do not change by a byte, nor does the base.
"""
import json
import os
import random

import harness
import images
from harness import KIB, REFUSED, bp, case, check, refused, same
from heads import Heads, Untouched, child, ladder, names_of_chain
from images import overlay, qemu_img, qemu_io

SEED = int(os.environ.get('BB_SEED', random.randrange(10**6)))


def bytes_of(*paths):
    return {path: images.digest(path) for path in paths}


def namer(d, how):
    """A backing file's name for `base` in d, as people and programs write it."""
    os.symlink('base', f'{d}/link')
    return {'relative': 'base', 'absolute': f'{d}/base', 'dot': './base', 'file:': f'file:{d}/base', 'link': 'link',
            'json': 'json:' + json.dumps({'driver': 'raw', 'file': {'driver': 'file', 'filename': f'{d}/base'}}),
            'roundabout': f'../{os.path.basename(d)}/base'}[how]


@case('a child that names the base relatively', 'relative', 'qcow2')
@case('a child that names the base absolutely', 'absolute', 'qcow2')
@case('a child that names ./base', 'dot', 'qcow2')
@case('a child that names file:base', 'file:', 'qcow2')
@case('a child that names a link to the base', 'link', 'qcow2')
@case('a child that names the base by json:', 'json', 'qcow2')
@case('a child that goes through the directory above', 'roundabout', 'qcow2')
@case('a QED child', 'relative', 'qed')
def known(d, how, fmt):
    paths = ladder(d, 3)
    other = overlay(f'{d}/other', namer(d, how), fmt)
    if how != 'json':
        qemu_io(other, fmt, 'write -P 99 300k 20k')
    heads = Heads(d, (other, fmt), (paths[0], 'qcow2'))
    before, untouched = bytes_of(*paths, other), Untouched(*paths, other)
    for dry in [], ['-n']:
        for args in [], ['--keep'], ['--json']:
            result = harness.run(harness.blockpull, 'commit', *dry, *args, '--base', paths[-1], paths[0])
            same(result.rc, REFUSED, str(result))
            check('other' in result.err + result.out, f'it does not say which: {result}')
    untouched.verify('although the commit was refused')
    same(bytes_of(*before), before, 'all files')
    heads.judge('after commits that were refused')
    # What is above the shared base may go down as far as the file above it.
    bp('commit', '-q', '--base', paths[-2], paths[0])
    same(bytes_of(paths[-1], other), {path: before[path] for path in (paths[-1], other)}, 'the base and its other child')
    heads.judge('after a commit that ends above the base')


@case('children of every file, and a commit into each')
def each_file(d):
    paths = ladder(d, 4)
    children = [child(d, f'child{i}', path, 'raw' if path == paths[-1] else 'qcow2') for i, path in enumerate(paths[1:], 1)]
    heads = Heads(d, *((path, 'qcow2') for path in children), (paths[0], 'qcow2'))
    untouched = Untouched(*paths, *children)
    for path in paths[1:]:
        refused(REFUSED, ['child', '--shared-base-is-mine'], 'commit', '--base', path, paths[0])
    untouched.verify('although the commits were refused')
    heads.judge('after commits that were refused')


@case('a compaction writes to the upper file alone')
def compacted(d):
    rng = random.Random(SEED)
    harness.note(f'BB_SEED={SEED}')
    paths = ladder(d, 6, seed=SEED)
    children = [child(d, f'child{i}', path, 'raw' if path == paths[-1] else 'qcow2') for i, path in enumerate(paths)]
    heads = Heads(d, *((path, 'qcow2') for path in children + paths[:-1]))
    alive = list(paths)
    while len(alive) > 1:
        top = rng.randrange(len(alive) - 1)
        bottom = rng.randrange(top + 1, len(alive))
        others = [path for path in paths + children if path != alive[top]]
        before, untouched = bytes_of(*others), Untouched(*others)
        bp('compact', '-q', '--from', alive[top], '--to', alive[bottom], alive[0])
        untouched.verify(f'by a compaction of {alive[top:bottom + 1]}')
        same(bytes_of(*others), before, 'all other files')
        del alive[top + 1:bottom + 1]
        same(names_of_chain(alive[0]), [os.path.basename(path) for path in alive], 'the chain')
        heads.judge(f'with {len(alive)} files left')


@case('a commit that is insisted on changes its own chain alone')
def insisted(d):
    paths = ladder(d, 3)
    safe = child(d, 'safe', paths[0])  # reads the image that goes down
    os.mkdir(f'{d}/apart')
    qemu_img('convert', '-f', 'qcow2', '-O', 'raw', paths[0], f'{d}/apart/whole')
    child(d, 'lost', paths[-1], 'raw')
    heads = Heads(d, (paths[0], 'qcow2'), (safe, 'qcow2'))
    others = Untouched(safe, *paths[1:-1])
    bp('commit', '-q', '--shared-base-is-mine', '--base', paths[-1], paths[0])
    others.verify('by a commit that was insisted on')
    heads.judge('after a commit that was insisted on')
    with open(paths[-1], 'rb') as base, open(f'{d}/apart/whole', 'rb') as whole:
        check(base.read(64 * KIB) == whole.read(64 * KIB), 'the base does not hold what the image does')


if __name__ == '__main__':
    harness.main()
