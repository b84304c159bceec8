# SPDX-License-Identifier: MIT OR Apache-2.0
"""Partial pulls: --base makes a file further down the chain the new backing file.

Random chains as in test_random_chains.py, at a random depth each, and cases by name. Judged by what
the guest reads with every file between the image and its new base moved away.
"""
import os
import sys

import harness
import images
from chains import Chain
from harness import FAILED, MIB, USAGE, Failed, bp, case, check, refused, same
from images import Untouched, image_info, overlay, pair, qemu_img, qemu_io, raw_image
from test_random_chains import pull_options, seeds


def judge(top, fmt, flat, base, between):
    """Still the same, consistent, and on top of `base` alone."""
    same(images.image_check(top, fmt), 0, 'exit code of qemu-img check')
    named = image_info(top).get('full-backing-filename') or image_info(top).get('backing-filename')
    check(named and os.path.realpath(named) == os.path.realpath(base), f'its base is {named}, not {base}')
    for path in between:
        os.rename(path, path + '.away')
    try:
        images.compare_flat(top, fmt, flat, 'by the partial pull')
    finally:
        for path in between:
            os.rename(path + '.away', path)


def partial_and_judge(directory, seed):
    chain = Chain(directory, seed)
    if len(chain.layers) < 2:
        return
    top, depth = chain.top, chain.rng.randrange(1, len(chain.layers))
    base = chain.layers[depth]
    options = chain.args + pull_options(chain.rng)
    try:
        flat = images.flatten(top.path, top.fmt, os.path.join(directory, 'flat'))
        untouched = Untouched(*(layer.path for layer in chain.layers[1:]))
        bp('pull', '--base', base.path, *options, top.path)
        if len({os.path.realpath(l.path) for l in chain.layers}) == len(chain.layers):
            judge(top.path, top.fmt, flat, base.path, [l.path for l in chain.layers[1:depth]])
        untouched.verify('by the pull')
        if top.fmt == 'qed':  # it records no format but raw
            options = [o for o in options if '--backing-format' not in o] + [f'--backing-format={base.fmt}']
        if top.fmt != 'qed' or all(l.fmt != 'qed' for l in chain.layers[1:]):
            bp('pull', *options, top.path)
            images.judge_pulled(top.path, top.fmt, flat)
    except Failed as error:
        raise Failed(f'{error}\nbase: {depth} {base.path}\noptions: {options}\n{chain}\n'
                     f'again: BB_SEEDS={seed}-{seed} {sys.executable} {sys.argv[0]} {harness.blockpull}') from None


def three(d, fmt='qcow2', options=None):
    """top over mid over base, with something of its own in each, and zeros in mid over base's data."""
    raw_image(f'{d}/base.img', 4 * MIB)
    overlay(f'{d}/mid.img', 'base.img')
    qemu_io(f'{d}/mid.img', 'qcow2', 'write -P 1 100k 70k', 'write -z 1M 700k')
    qemu_img('create', '-q', '-f', fmt, *(['-o', options] if options else []), '-b', 'mid.img', '-F', 'qcow2',
             f'{d}/top.img')
    qemu_io(f'{d}/top.img', fmt, 'write -P 2 3M 5k')
    return f'{d}/top.img'


@case('zeros above the base stay zeros', 'qcow2', None)
@case('zeros above the base stay zeros, v2', 'qcow2', 'compat=0.10')
@case('zeros above the base stay zeros, 2 MiB clusters', 'qcow2', 'cluster_size=2M')
@case('zeros above the base stay zeros, v2, 2 MiB clusters', 'qcow2', 'compat=0.10,cluster_size=2M')
@case('zeros above the base stay zeros, subclusters', 'qcow2', 'extended_l2=on')
@case('zeros above the base stay zeros, QED', 'qed', None)
def zeros(d, fmt, options):
    top = three(d, fmt, options)
    flat = images.flatten(top, fmt, f'{d}/flat')
    extra = ['--backing-format=qcow2'] if fmt == 'qed' else []
    bp('pull', *extra, '--base', f'{d}/base.img', top)
    judge(top, fmt, flat, f'{d}/base.img', [f'{d}/mid.img'])
    same(image_info(top).get('backing-filename'), 'base.img', 'recorded name')
    if fmt == 'qcow2':
        same(image_info(top).get('backing-filename-format'), 'raw', 'recorded format')
    if '2M' not in str(options):
        check(os.stat(top).st_blocks * 512 < 4 * MIB, 'all of it was copied')


@case('zeros that were written above the base, 2 MiB clusters', None)
@case('zeros that were written above the base, v2, 2 MiB clusters', 'compat=0.10,cluster_size=2M')
def written_zeros(d, options):
    raw_image(f'{d}/base.img', 16 * MIB, (0, 16 * MIB))
    overlay(f'{d}/mid.img', 'base.img')
    qemu_io(f'{d}/mid.img', 'qcow2', 'write -P 0 2M 2M', 'write -P 0 6M 1M', 'write -P 0 9M 1M', 'write -P 3 12M 1k')
    overlay(f'{d}/top.img', 'mid.img', options=options or 'cluster_size=2M', base_fmt='qcow2')
    flat = images.flatten(f'{d}/top.img', 'qcow2', f'{d}/flat')
    bp('pull', '--base', f'{d}/base.img', f'{d}/top.img')
    judge(f'{d}/top.img', 'qcow2', flat, f'{d}/base.img', [f'{d}/mid.img'])


@case('snapshots keep what they read above the base')
def snapshots(d):
    top = three(d)
    qemu_img('snapshot', '-c', 's', top)
    qemu_io(top, 'qcow2', 'write -P 9 1M 2M')
    qemu_img('convert', '-l', 's', '-O', 'raw', top, f'{d}/before')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    bp('pull', '--base', f'{d}/base.img', top)
    judge(top, 'qcow2', flat, f'{d}/base.img', [f'{d}/mid.img'])
    qemu_img('convert', '-l', 's', '-O', 'raw', top, f'{d}/after')
    same(images.digest(f'{d}/after'), images.digest(f'{d}/before'), 'the snapshot')


@case('the backing file itself as the base: nothing to do')
def immediate(d):
    top, base = pair(d)
    before = Untouched(top, base)
    bp('pull', '--base', base, top)
    before.verify('although nothing was to be done')


@case('a base that is none')
def no_base(d):
    top, base = pair(d)
    raw_image(f'{d}/other.img', MIB)
    before = Untouched(top, base)
    for name, word in (f'{d}/other.img', 'chain'), (f'{d}/gone.img', 'chain'), (top, 'itself'):
        refused(FAILED, ['top.img', word], 'pull', '--base', name, top)
        refused(FAILED, ['top.img', word], 'pull', '--dry-run', '--base', name, top)
    refused(USAGE, ['--base'], 'pull', '--base')
    before.verify('although the pull was refused')


@case('names: another directory, absolute, colons')
def names(d):
    os.makedirs(f'{d}/a/b')
    os.makedirs(f'{d}/c')
    raw_image(f'{d}/c/x:y', MIB)
    for top_name, mid_name, base_name, wanted in (
            ('a/b/top', '../mid', '../c/x:y', '../../c/x:y'), ('c/top', '../a/mid', '../c/x:y', './x:y'),
            ('a/b/top', f'{d}/a/mid', '../c/x:y', f'{d}/c/x:y')):
        overlay(f'{d}/a/mid', base_name, size=MIB)
        qemu_io(f'{d}/a/mid', 'qcow2', 'write -P 1 0 70k')
        overlay(f'{d}/{top_name}', mid_name, base_fmt='qcow2')
        flat = images.flatten(f'{d}/{top_name}', 'qcow2', f'{d}/flat')
        bp('pull', f'--allow-backing={d}', '--base', f'{d}/c/x:y', f'{d}/{top_name}')
        same(image_info(f'{d}/{top_name}')['backing-filename'], wanted, 'recorded name')
        judge(f'{d}/{top_name}', 'qcow2', flat, f'{d}/c/x:y', [f'{d}/a/mid'])
        os.unlink(f'{d}/{top_name}')
        os.unlink(f'{d}/a/mid')


@case('a name that does not fit is refused before anything is copied')
def no_room(d):
    long = 'l' * 200
    os.mkdir(f'{d}/{long}')
    raw_image(f'{d}/{long}/{long}', MIB)
    overlay(f'{d}/{long}/mid', long)
    overlay(f'{d}/top', f'{long}/mid', options='cluster_size=512', base_fmt='qcow2')
    before = Untouched(f'{d}/top')
    refused(harness.REFUSED, ['top', 'name'], 'pull', '--base', f'{d}/{long}/{long}', f'{d}/top')
    before.verify('although the pull was refused')


@case('a name that does not fit: a dry run and measure refuse it, too')
def no_room_dry(d):
    name = 'l' * 200
    os.mkdir(f'{d}/{name}')
    base = raw_image(f'{d}/{name}/{name}', MIB)
    mid = overlay(f'{d}/{name}/mid', name)
    top = overlay(f'{d}/top', f'{name}/mid', options='cluster_size=512', base_fmt='qcow2')
    images.refused_alike(harness.REFUSED, ['top', 'room', 'name'], top, mid, base, args=('--base', base))
    for verb in ('pull', '-n'), ('measure',), ('pull',):  # the whole chain needs no name
        bp(*verb, top)


@case('a terabyte of zeros above the base')
def terabyte(d):
    raw_image(f'{d}/base', 1 << 40, (5 * MIB, 10000))
    overlay(f'{d}/mid', 'base')
    qemu_io(f'{d}/mid', 'qcow2', *(f'write -z {at << 30} 1G' for at in range(0, 1024, 2)))
    overlay(f'{d}/top', 'mid', base_fmt='qcow2')
    bp('pull', '--base', f'{d}/base', f'{d}/top', timeout=30)
    same(images.image_check(f'{d}/top', 'qcow2'), 0, 'exit code of qemu-img check')
    same(qemu_io(f'{d}/top', 'qcow2', 'read -P 0 5M 10000').rc, 0, 'zeros over data')


@case('an image in the middle of a chain')
def middle(d):
    top = three(d)
    flat, base = images.flatten(top, 'qcow2', f'{d}/flat'), Untouched(f'{d}/base.img')
    user = images.use(top)
    try:
        refused(harness.LOCKED, ['mid.img'], 'pull', f'{d}/mid.img')
    finally:
        harness.kill(user)
    images.settle(top)
    bp('pull', f'{d}/mid.img')
    base.verify('by the pull')
    check('backing-filename' not in image_info(f'{d}/mid.img'), 'the link of mid.img is still there')
    images.compare_flat(top, 'qcow2', flat, 'by a pull below it')


if __name__ == '__main__':
    print(f'# seeds {seeds().start} to {seeds().stop - 1}')
    for number in seeds():
        harness.cases.append((f'random partial pull, seed {number}', partial_and_judge, (number,)))
    harness.main(workers=2)
