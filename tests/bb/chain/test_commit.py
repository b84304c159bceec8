# SPDX-License-Identifier: MIT OR Apache-2.0
"""blockpull commit: what an image holds goes into a file below it; the image and all on top of it read the same, at
every moment, and so does the file below in the end. What others read from is not touched.

Random chains, judged by qemu-img for every head; and cases by name.
"""
import os
import random
import resource
import signal
import sys
import time

import harness
import images
from chains import Chain
from harness import DONE, FAILED, KIB, LOCKED, MIB, REFUSED, USAGE, Failed, Skip, bp, case, check, refused, same
from heads import Heads, child, ladder, names_of_chain
from images import Untouched, image_check, image_info, overlay, qemu_img, qemu_io, raw_image

SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
ROUNDS = int(os.environ.get('BB_ROUNDS', '6'))


def same_content(image, fmt, base, base_fmt, when):
    """As far as both reach; qemu-img compare takes what lies behind the shorter one's end for zeros."""
    result = qemu_img('compare', '-f', fmt, '-F', base_fmt, image, base, rc=range(256))
    same(result.rc, 0, f'{os.path.basename(base)} and {os.path.basename(image)} {when}: {result}')


# ---- any chain ----------------------------------------------------------------------------------

def commit_and_judge(d, seed):
    rng = random.Random(seed)
    chain = Chain(d, seed, depth=rng.randint(1, 5))
    layers = chain.layers
    top, depth = layers[0], rng.randint(1, len(layers) - 1)
    base = layers[depth]
    options = chain.args + [o for o in (rng.choice(['--io=threads', '']),
                                        rng.choice(['--json', '-q', '']), rng.choice(['--verify', ''])) if o]
    keeps = rng.random() < 0.3
    try:
        above = []
        if top.fmt != 'qed':
            above.append((child(os.path.dirname(top.path), 'child', top.path, top.fmt), 'qcow2'))
        heads = Heads(d, (top.path, top.fmt), *above)
        untouched = Untouched(*(layer.path for i, layer in enumerate(layers) if i not in (0, depth)), *(p for p, _ in above))
        whole = Untouched(*(layer.path for layer in layers))
        args = (['--base', base.path] if depth > 1 or rng.random() < 0.5 else []) + (['--keep'] if keeps else [])
        if base.size > top.size:  # it would become longer
            for dry in ['-n'], []:
                refused(FAILED, ['longer', os.path.basename(base.path)], 'commit', *dry, *args, *options, top.path)
            whole.verify('although the commit was refused')
            return
        bp('commit', '-n', *args, *options, top.path)
        whole.verify('by a dry run')
        bp('commit', *args, *options, top.path, timeout=20)
        untouched.verify('by the commit')
        heads.judge('after the commit')
        if base.fmt != 'raw':
            same(image_check(base.path, base.fmt), 0, 'qemu-img check of the base')
        same_content(top.path, top.fmt, base.path, base.fmt, 'after the commit')
        if not keeps:
            names = [os.path.basename(layer.path) for layer in layers]
            same(names_of_chain(top.path), names[:1] + names[depth:], 'the chain')
    except Failed as error:
        raise Failed(f'{error}\n{depth} {args} {options}\n{chain}\n'
                     f'again: BB_SEED={seed} BB_ROUNDS=1 {sys.executable} {sys.argv[0]} {harness.blockpull} random') from None


# ---- cases by name ------------------------------------------------------------------------------

@case('committed into the next file and the lowest: qcow2 over raw', 'qcow2', 'raw', None)
@case('committed into the next file and the lowest: qcow2 over qcow2, clusters of 512 bytes', 'qcow2', 'qcow2', 'cluster_size=512')
@case('committed into the next file and the lowest: version 2', 'qcow2', 'qcow2', 'compat=0.10')
@case('committed into the next file and the lowest: subclusters', 'qcow2', 'qcow2', 'extended_l2=on')
@case('committed into the next file and the lowest: QED', 'qed', 'raw', None)
def kinds(d, fmt, base_fmt, options):
    paths = ladder(d, 3, fmt=fmt, options=options, base_fmt=base_fmt)
    args = ['--backing-format=qed'] if fmt == 'qed' else []
    heads = Heads(d, (paths[0], fmt))
    before = Untouched(*paths[2:])
    bp('commit', *args, paths[0])
    heads.judge('after a commit into the file below')
    before.verify('by a commit above them')
    same_content(paths[0], fmt, paths[1], fmt, 'after the commit')
    bp('commit', *args, '--base', paths[-1], paths[0])
    heads.judge('after a commit into the lowest file')
    same_content(paths[0], fmt, paths[-1], base_fmt, 'after the commit')
    same(names_of_chain(paths[0]), ['3', 'base'], 'the chain')


@case('an image that was committed takes next to no space')
def emptied(d):
    raw_image(f'{d}/base', 16 * MIB)
    overlay(f'{d}/top', 'base')
    qemu_io(f'{d}/top', 'qcow2', 'write -P 3 1M 12M')
    heads = Heads(d, (f'{d}/top', 'qcow2'))
    line = bp('commit', '--json', f'{d}/top').json()
    same((line['status'], line['base'], line['dropped']), ('completed', f'{d}/base', []), 'the line')
    heads.judge('after the commit')
    check(os.stat(f'{d}/top').st_blocks * 512 < MIB, f'it takes {os.stat(f"{d}/top").st_blocks * 512} bytes')
    qemu_io(f'{d}/top', 'qcow2', 'write -P 4 0 3M')  # it can be used
    bp('commit', f'{d}/top')
    same_content(f'{d}/top', 'qcow2', f'{d}/base', 'raw', 'after a second commit')


@case('--keep leaves the image as it is, and its chain, of which nothing is named as not needed')
def keeps(d):
    paths = ladder(d, 2)
    heads, before = Heads(d, (paths[0], 'qcow2')), images.image_map(paths[0])
    bp('commit', '--keep', paths[0])
    heads.judge('after the commit')
    same([e for e in images.image_map(paths[0]) if e['depth'] == 0], [e for e in before if e['depth'] == 0], 'what it holds')
    result = bp('commit', '--keep', '--base', paths[2], paths[0])
    same((names_of_chain(paths[0]), 'not need' in result.err), (['2', '1', 'base'], False), str(result))
    same(bp('commit', '--json', '--keep', '--base', paths[2], paths[0]).json()['dropped'], [], 'dropped')
    heads.judge('after commits into the lowest file')


@case('sizes that differ')
def sizes(d):
    for base_size, top_size in (MIB, 3 * MIB + 512), (MIB + 700, 2 * MIB), (MIB, MIB + 512), (300 * KIB, MIB):
        raw_image(f'{d}/base', base_size)
        overlay(f'{d}/top', 'base', size=str(top_size))
        qemu_io(f'{d}/top', 'qcow2', f'write -P 3 {top_size - 70000} 70000', 'write -z 100k 50k')
        heads = Heads(d, (f'{d}/top', 'qcow2'))
        bp('commit', f'{d}/top')
        heads.judge(f'after a commit of {top_size} over {base_size}')
        same(os.path.getsize(f'{d}/base'), top_size, 'the size of the base')
        os.unlink(f'{d}/top')
    raw_image(f'{d}/base', 3 * MIB)
    overlay(f'{d}/top', 'base', size=str(MIB + 1536))
    before = Untouched(f'{d}/base', f'{d}/top')
    refused(FAILED, ['base', 'longer', 'resize'], 'commit', f'{d}/top')
    before.verify('although it was refused')


@case('zeros take no space in the holes of a raw base: those of a disk that grew, over a file between, and zero clusters')
def zeros_in_holes(d):
    raw_image(f'{d}/sparse', 6 * MIB, (0, MIB))
    overlay(f'{d}/probe', 'sparse')
    if 'truth about holes' in bp('pull', f'{d}/probe').err:
        raise Skip('this file system is not believed about holes')
    raw_image(f'{d}/base', 6 * MIB, (0, MIB), (2 * MIB, MIB))
    overlay(f'{d}/mid', 'base')
    overlay(f'{d}/top', 'mid', base_fmt='qcow2', size='1G')
    qemu_io(f'{d}/top', 'qcow2', 'write -z 256k 128k', 'write -z 1500k 1M', 'write -z 4M 1M')  # data, both, a hole
    heads, space = Heads(d, (f'{d}/top', 'qcow2')), os.stat(f'{d}/base').st_blocks * 512
    bp('commit', '--verify', '--base', f'{d}/base', f'{d}/top')
    heads.judge('after the commit')
    grown = os.stat(f'{d}/base').st_blocks * 512 - space
    check(grown < MIB, f'the base takes {grown} bytes more')


@case('bitmaps: those of the image stay, and a warning tells of those of the file below')
def bitmaps(d):
    qemu_img('create', '-q', '-f', 'qcow2', f'{d}/base', '2M')
    overlay(f'{d}/top', 'base', base_fmt='qcow2')
    for name in 'base', 'top':
        qemu_img('bitmap', '--add', f'{d}/{name}', 'backup')
    qemu_io(f'{d}/top', 'qcow2', 'write -P 3 1M 128k')
    heads, before = Heads(d, (f'{d}/top', 'qcow2')), image_info(f'{d}/top')['format-specific']['data']['bitmaps']
    for dry in ['-n'], []:
        result = bp('commit', *dry, f'{d}/top')
        check('warning' in result.err and 'bitmaps' in result.err, str(result))
    heads.judge('after the commit')
    same(image_info(f'{d}/top')['format-specific']['data']['bitmaps'], before, 'the bitmaps of the image')


@case('an image with internal snapshots is refused')
def snapshots(d):
    raw_image(f'{d}/base', 4 * MIB)
    overlay(f'{d}/top', 'base')
    qemu_io(f'{d}/top', 'qcow2', 'write -P 1 1M 1M')
    qemu_img('snapshot', '-c', 's', f'{d}/top')
    qemu_io(f'{d}/top', 'qcow2', 'write -P 2 2M 1M')
    qemu_img('convert', '-l', 's', '-O', 'raw', f'{d}/top', f'{d}/before')
    heads, before = Heads(d, (f'{d}/top', 'qcow2')), Untouched(f'{d}/base', f'{d}/top')
    result = harness.run(harness.blockpull, 'commit', f'{d}/top')
    same(result.rc, REFUSED, str(result))
    before.verify('although it was refused')
    heads.judge('afterwards')
    qemu_img('convert', '-l', 's', '-O', 'raw', f'{d}/top', f'{d}/after')
    same(images.digest(f'{d}/after'), images.digest(f'{d}/before'), 'the snapshot')


# ---- what was written is read back --------------------------------------------------------------

def verifying(d, fmt, base_fmt):
    """A chain, and a commit into its lowest file that has written 2 MiB and takes a while for the rest."""
    rng = random.Random(3)
    content = rng.randbytes(6 * MIB)
    if base_fmt == 'raw':
        raw_image(f'{d}/base', 8 * MIB)
    else:
        qemu_img('create', '-q', '-f', base_fmt, f'{d}/base', '8M')
    overlay(f'{d}/mid', 'base', fmt, base_fmt=base_fmt)
    overlay(f'{d}/top', 'mid', fmt, base_fmt=fmt)
    with open(f'{d}/content', 'wb') as file:
        file.write(content)
    qemu_io(f'{d}/top', fmt, f'write -s {d}/content 1M 6M')
    heads, args = Heads(d, (f'{d}/top', fmt)), ['--backing-format=qed'] if fmt == 'qed' else []
    process = harness.start(harness.blockpull, 'commit', '--verify', '--progress=json', '--bandwidth=1M', '--burst=2M', *args,
                            '--base', f'{d}/base', f'{d}/top')
    check(harness.lines_of(process, lambda e: e['event'] == 'progress' and e['bytes']['copied'] >= 2 * MIB), 'it is over already')
    return process, content, heads


@case('what the medium of a raw base bends is found', 'qcow2', 'raw', 'bend')
@case('what that of a qcow2 base bends', 'qcow2', 'qcow2', 'bend')
@case('what a QED base loses', 'qed', 'qed', 'lose')
@case('what a raw base loses', 'qcow2', 'raw', 'lose')
def bent(d, fmt, base_fmt, how):
    process, content, heads = verifying(d, fmt, base_fmt)
    with open(f'{d}/base', 'r+b') as file:
        at = file.read().find(content[MIB + 4096:MIB + 8192])  # at guest offset 2 MiB and a page
        check(at > 0, 'it is not there yet')
        file.seek(at)
        file.write(bytes(512) if how == 'lose' else bytes([content[MIB + 4096] ^ 1]))
    result = harness.finish(process)
    same(result.rc, 5, str(result))
    check('base' in result.err and '0x200000' in result.err, str(result))
    heads.judge('after a commit that failed')
    same(names_of_chain(f'{d}/top'), ['top', 'mid', 'base'], 'the chain')
    bp('commit', '--verify', *(['--backing-format=qed'] if fmt == 'qed' else []), '--base', f'{d}/base', f'{d}/top')
    heads.judge('when the medium is good')
    same_content(f'{d}/top', fmt, f'{d}/base', base_fmt, 'after the commit')


@case('all of it is read back')
def verified(d):
    process, content, _ = verifying(d, 'qcow2', 'raw')
    result = harness.finish(process)
    line = result.lines()[-1]
    same((result.rc, line['bytes']['verified'], line['bytes']['copied']), (DONE, len(content), len(content)), str(result))


@case('what a commit does not do is no option of it')
def no_options(d):
    for option in '--compress', '--copy=read', '--direct':
        refused(USAGE, [option.split('=')[0]], 'commit', option, f'{d}/top')
        check(option.split('=')[0] not in bp('commit', '--help').out, f'{option} is in --help')


# ---- who else reads it --------------------------------------------------------------------------

@case('refused where another image is known to read from a file that would change')
def shared(d):
    paths = ladder(d, 3)
    before = Untouched(*paths)
    for of, base in (paths[1], paths[1]), (paths[2], paths[3]), (paths[3], paths[3]):
        other = child(d, 'other', of, 'raw' if of == paths[3] else 'qcow2')
        for dry in [], ['-n']:
            refused(REFUSED, ['other', os.path.basename(of), '--shared-base-is-mine'], 'commit', *dry, '--base', base, paths[0])
        os.unlink(other)
    before.verify('although it was refused')
    other = child(d, 'other', paths[2])  # below what is written
    above = child(d, 'above', paths[0])
    heads = Heads(d, (paths[0], 'qcow2'), (other, 'qcow2'), (above, 'qcow2'))
    bp('commit', paths[0])
    heads.judge('after the commit')
    os.unlink(other)
    other = child(d, 'other', paths[1])
    bp('commit', '--shared-base-is-mine', '--base', paths[3], paths[0])
    same_content(paths[0], 'qcow2', paths[3], 'raw', 'after a commit that was insisted on')


@case('what is refused changes nothing')
def refusals(d):
    paths = ladder(d, 2)
    raw_image(f'{d}/stranger', MIB)
    before = Untouched(*paths, f'{d}/stranger')
    for rc, words, args in ((FAILED, ['stranger', 'chain'], ['--base', f'{d}/stranger', paths[0]]),
                            (FAILED, ['itself'], ['--base', paths[0], paths[0]]), (USAGE, ['name'], []),
                            (FAILED, ['no backing file'], ['-f', 'raw', paths[2]]),
                            (REFUSED, ['--allow-backing'], ['--allow-backing=none', paths[0]])):
        for dry in [], ['-n'], ['--json']:
            result = refused(rc, words, 'commit', *dry, *args)
        if rc != USAGE:
            line = result.json()
            same((line['status'], line['exit-code'], 'copied' in line['bytes']), ('failed', rc, True), 'the JSON line')
    before.verify('although it was refused')


@case('files that other programs use')
def locked(d):
    paths = ladder(d, 2)
    os.mkdir(f'{d}/far')
    other = child(f'{d}/far', 'other', paths[1])  # where it is not looked for
    before = Untouched(*paths)
    for used in paths[0], other:
        user = images.use(used)
        try:
            refused(LOCKED, [], 'commit', paths[0])
        finally:
            harness.kill(user)
        images.settle(used)
    before.verify('although it was refused')


# ---- ends ---------------------------------------------------------------------------------------

@case('stopped and run again', signal.SIGINT)
@case('killed and run again', signal.SIGKILL)
def stopped(d, number):
    raw_image(f'{d}/base', 24 * MIB, (0, 1))
    overlay(f'{d}/mid', 'base')
    qemu_io(f'{d}/mid', 'qcow2', 'write -P 5 1M 9M')
    overlay(f'{d}/top', 'mid', base_fmt='qcow2')
    qemu_io(f'{d}/top', 'qcow2', 'write -P 3 6M 9M')
    heads, untouched = Heads(d, (f'{d}/top', 'qcow2')), Untouched(f'{d}/mid')
    process = harness.start(harness.blockpull, 'commit', '--bandwidth=1M', '--burst=64K', '--progress=none', '--base', f'{d}/base',
                            f'{d}/top')
    deadline = time.monotonic() + harness.WAIT
    while os.stat(f'{d}/base').st_blocks * 512 < MIB and process.poll() is None:
        check(time.monotonic() < deadline, 'nothing was written')
        time.sleep(0.01)
    os.kill(process.pid, number)
    result = harness.finish(process)
    same(result.rc, 128 + number, str(result))
    images.settle(f'{d}/top')
    heads.judge('after a stop', leaks=True)
    same(names_of_chain(f'{d}/top'), ['top', 'mid', 'base'], 'the chain')
    bp('commit', '--base', f'{d}/base', f'{d}/top')
    untouched.verify('by two runs')
    heads.judge('after two runs')
    same(names_of_chain(f'{d}/top'), ['top', 'base'], 'the chain')


@case('no room, then room again')
def no_room(d):
    qemu_img('create', '-q', '-f', 'qcow2', f'{d}/base', '16M')
    overlay(f'{d}/top', 'base', base_fmt='qcow2')
    qemu_io(f'{d}/top', 'qcow2', 'write -P 77 0 7M')
    heads = Heads(d, (f'{d}/top', 'qcow2'))
    limit = 3 * MIB
    result = harness.run(harness.blockpull, 'commit', f'{d}/top',
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    same(result.rc, FAILED, str(result))
    check('base' in result.err, str(result))
    heads.judge('without room', leaks=True)
    bp('commit', f'{d}/top')
    heads.judge('with room again')
    same(image_check(f'{d}/base', 'qcow2'), 0, 'leaks')


if __name__ == '__main__':
    print(f'# BB_SEED={SEED}')
    for number in range(SEED, SEED + ROUNDS):
        harness.cases.append((f'random chain, seed {number}', commit_and_judge, (number,)))
    harness.main(2)
