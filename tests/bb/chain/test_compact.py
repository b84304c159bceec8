# SPDX-License-Identifier: MIT OR Apache-2.0
"""blockpull compact: files of a chain become one, and every image that names a file of the chain reads the same, at
every moment; no file is written but the one that gets what the others hold.

Random chains with children of every file, judged by qemu-img for each; and cases by name.
"""
import os
import random
import resource
import signal
import sys
import time

import harness
import images
import processes
import strace
from chains import Chain
from harness import DONE, FAILED, KIB, LOCKED, MIB, REFUSED, USAGE, Failed, bp, case, check, refused, same
from heads import Heads, child, ladder, names_of_chain
from images import Untouched, image_check, image_info, overlay, qemu_img, qemu_io, raw_image

SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
ROUNDS = int(os.environ.get('BB_ROUNDS', '6'))
SLOW = ['--progress=none', '--bandwidth=1M', '--burst=64K']


# ---- any chain ----------------------------------------------------------------------------------

def some_options(rng):
    options = [rng.choice(['--io=threads', '--io=auto', '']), rng.choice(['--verify', '', '']), rng.choice(['--json', '-q', ''])]
    return [option for option in options if option]


def compact_and_judge(d, seed):
    rng = random.Random(seed)
    chain = Chain(d, seed, depth=rng.randint(3, 6))
    layers, n = chain.layers, len(chain.layers)
    if rng.random() < 0.5:
        keep = rng.randint(1, n - 1)
        top, bottom = (0, n - 1) if keep == 1 else (keep - 2, n - 2)
        stretch = ['--keep', str(keep)]
    else:
        top = rng.randint(0, n - 2)
        bottom = rng.randint(top + 1, n - 1)
        stretch = ['--from', layers[top].path, '--to', layers[bottom].path]
    options = chain.args + some_options(rng)
    try:
        children = []
        for number, layer in enumerate(layers):  # where QEMU follows the format of what is below
            if layer.fmt != 'qed':
                children.append((child(os.path.dirname(layer.path), f'child{number}', layer.path, layer.fmt), 'qcow2'))
        heads = Heads(d, *children, *((layer.path, layer.fmt) for layer in layers))
        untouched = Untouched(*(layer.path for i, layer in enumerate(layers) if i != top), *(path for path, _ in children))
        whole = Untouched(layers[top].path)
        bp('compact', '-n', *stretch, *options, layers[0].path)
        whole.verify('by a dry run')
        result = bp('compact', *stretch, *options, layers[0].path)
        untouched.verify('by the compaction')
        heads.judge('after the compaction')
        names = [os.path.basename(layer.path) for layer in layers]
        same(names_of_chain(layers[0].path), names[:top + 1] + names[bottom + 1:], 'the chain')
        for layer in layers[top + 1:bottom + 1]:  # this chain does not need them
            os.rename(layer.path, layer.path + '.away')
        gone = [path for path, _ in children] + [layer.path for layer in layers[top + 1:bottom + 1]]
        heads.judge('without the dropped files', [path for path in gone if path != layers[0].path])
        if '--json' in options:
            line = result.lines()[-1]
            same([os.path.basename(path) for path in line['dropped']], names[top + 1:bottom + 1], 'dropped')
    except Failed as error:
        raise Failed(f'{error}\n{stretch} {options}\n{chain}\n'
                     f'again: BB_SEED={seed} BB_ROUNDS=1 {sys.executable} {sys.argv[0]} {harness.blockpull} random') from None


# ---- how many files stay ------------------------------------------------------------------------

@case('--keep: the lowest file and the newest ones stay, down to none but the image')
def keep(d):
    paths = ladder(d, 5)
    heads = Heads(d, (paths[0], 'qcow2'))
    for n, wanted in (9, '5 4 3 2 1 base'), (6, '5 4 3 2 1 base'), (5, '5 4 3 2 base'), (3, '5 4 base'), (2, '5 base'), (1, '5'):
        before = names_of_chain(paths[0])
        line = bp('compact', '--json', '--keep', n, paths[0]).json()
        same(names_of_chain(paths[0]), wanted.split(), f'the chain after --keep {n}')
        same(line['virtual-size'], bp('info', '--json', paths[0]).json()['virtual-size'], f'virtual-size, --keep {n}')
        same(sorted(os.path.basename(p) for p in line['dropped']), sorted(set(before) - set(wanted.split())), 'dropped')
        heads.judge(f'after --keep {n}')
    check('nothing to compact' in bp('compact', '--keep', 1, paths[0]).err, 'it does not say that there is nothing to do')


@case('nothing to compact: each file is made durable first, as an earlier call may have been killed before it was')
def nothing(d):
    paths = ladder(d, 2)
    line = [harness.blockpull, 'compact', '--keep', len(paths), paths[0]]
    result, lines = strace.run(*line, options=['-y'], trace='fsync')
    same((result.rc, 'nothing to compact' in result.err), (DONE, True), str(result))
    for path in paths:
        check(any(f'<{os.path.realpath(path)}>' in line for line in lines), f'{path} was not synced: {lines}')
    result, _ = strace.run(*line, inject=['fsync:error=EIO'])
    same(result.rc, FAILED, str(result))
    check("can't be made durable" in result.err, str(result))


@case('run again, as after a kill behind the change of the link: that is durable, and not done a second time')
def again(d):
    paths = ladder(d, 4)
    heads = Heads(d, *((path, 'qcow2') for path in paths[:3]))
    stretch = ['--from', paths[1], '--to', paths[3], paths[0]]
    bp('compact', *stretch)
    result, lines = strace.run(harness.blockpull, 'compact', *stretch, options=['-y'], trace='fsync')
    same((result.rc, 'is left alone' in result.err), (REFUSED, True), str(result))
    check(any(f'<{os.path.realpath(paths[1])}>' in line for line in lines), f'the upper file was not synced: {lines}')
    line = bp('compact', '-n', '--json', '--keep', 4, paths[0]).json()
    same((line['status'], line['bytes']['to-copy']), ('dry-run', 0), 'a dry run that finds nothing to do')
    # Others may read from what a killed command has not removed.
    refused(REFUSED, ['left alone'], 'compact', '--unlink', *stretch)
    check(os.path.exists(paths[3]), 'it has removed a file that the chain had not')
    heads.judge('after it was run again')


@case('a disk of the same template is not said to be merged: a script would remove it')
def sibling(d):
    raw_image(f'{d}/template', MIB, (0, MIB))
    for name in 'one', 'other':
        overlay(f'{d}/{name}', 'template')
    raw_image(f'{d}/alone', MIB)
    for upper, other in ('one', 'other'), ('template', 'alone'):
        refused(REFUSED, [f'{d}/{other}', 'or another disk'], 'compact', '--from', f'{d}/{upper}', '--to', f'{d}/{other}', f'{d}/one')


@case('files in the middle become one: qcow2 of version 2', 'qcow2', 'compat=0.10')
@case('files in the middle become one: clusters of 512 bytes, and those of 2 MiB', 'qcow2', 'cluster_size=512')
@case('files in the middle become one: subclusters', 'qcow2', 'extended_l2=on')
@case('files in the middle become one: QED', 'qed', None)
def kinds(d, fmt, options):
    paths = ladder(d, 4, fmt=fmt, options=options, base_fmt='raw')
    heads = Heads(d, *((path, fmt) for path in paths[:-1]))
    args = ['--backing-format=qed'] if fmt == 'qed' else []
    base = Untouched(paths[-1], paths[2], paths[3], paths[0])
    bp('compact', *args, '--from', paths[1], '--to', paths[3], '--verify', paths[0])
    base.verify('by the compaction')
    heads.judge('after the compaction')
    same(names_of_chain(paths[0]), ['4', '3', 'base'], 'the chain')


@case('an internal snapshot of the upper file, compressed clusters and a data file in the stretch')
def features(d):
    raw_image(f'{d}/base', 4 * MIB)
    overlay(f'{d}/1', 'base')
    qemu_io(f'{d}/1', 'qcow2', 'write -c -P 5 1M 128k', 'write -P 6 100k 100k')
    overlay(f'{d}/2', '1', base_fmt='qcow2', options=f'data_file={d}/2.data')
    qemu_io(f'{d}/2', 'qcow2', 'write -P 8 2M 70k')
    overlay(f'{d}/3', '2', base_fmt='qcow2')
    qemu_img('snapshot', '-c', 's', f'{d}/3')
    qemu_io(f'{d}/3', 'qcow2', 'write -P 9 1M 2M')
    overlay(f'{d}/4', '3', base_fmt='qcow2')
    qemu_img('convert', '-l', 's', '-O', 'raw', f'{d}/3', f'{d}/before')
    heads = Heads(d, *((f'{d}/{n}', 'qcow2') for n in (1, 2, 3, 4)))
    untouched = Untouched(f'{d}/base', f'{d}/1', f'{d}/2', f'{d}/2.data', f'{d}/4')
    bp('compact', '--keep', 3, f'{d}/4')
    untouched.verify('by the compaction')
    heads.judge('after the compaction')
    qemu_img('convert', '-l', 's', '-O', 'raw', f'{d}/3', f'{d}/after')
    same(images.digest(f'{d}/after'), images.digest(f'{d}/before'), 'the snapshot')


@case('compressed, and the answer in JSON lines')
def compressed(d):
    paths = ladder(d, 3)
    heads = Heads(d, *((path, 'qcow2') for path in paths[:-1]))
    lines = bp('compact', '--progress=json', '--compress', '--keep', 3, paths[0]).lines()
    same({k: lines[-1][k] for k in ('event', 'filename', 'status', 'exit-code', 'depth', 'top', 'bottom', 'base', 'dropped',
                                    'unlinked')},
         {'event': 'result', 'filename': paths[0], 'status': 'completed', 'exit-code': 0, 'depth': 4, 'top': paths[1],
          'bottom': paths[2], 'base': paths[3], 'dropped': [paths[2]], 'unlinked': []}, 'the last line')
    check(any(e['compressed'] for e in bp('map', '--json', paths[0]).json() if 'compressed' in e), 'nothing is compressed')
    heads.judge('after the compaction')


# ---- files that go ------------------------------------------------------------------------------

@case('--unlink removes what the chain does not need, and nothing else')
def unlink(d):
    paths = ladder(d, 5)
    kept = child(d, 'kept', paths[1])  # of the file that stays
    heads = Heads(d, (paths[0], 'qcow2'), (kept, 'qcow2'), (paths[1], 'qcow2'))
    bp('compact', '-n', '--keep', 3, '--unlink', paths[0])
    check(all(map(os.path.exists, paths)), 'a dry run removed a file')
    line = bp('compact', '--keep', 3, '--unlink', '--json', paths[0]).json()
    same([os.path.basename(path) for path in line['unlinked']], ['3', '2', '1'], 'unlinked')
    same([os.path.basename(path) for path in paths if os.path.exists(path)], ['5', '4', 'base'], 'what is left')
    heads.judge('after the compaction')


@case('--unlink is refused where another image reads from what would go')
def unlink_used(d):
    paths = ladder(d, 4)
    os.mkdir(f'{d}/sub')
    for name, of, how in ('other', paths[2], None), ('other', paths[3], None), ('sub/other', paths[2], 'via'):
        other = child(f'{d}/{os.path.dirname(name)}', os.path.basename(name), of)
        if how:  # through an image that lies elsewhere
            os.mkdir(f'{d}/else')
            os.rename(other, f'{d}/else/other')
            qemu_img('rebase', '-u', '-b', '../2', '-F', 'qcow2', f'{d}/else/other')
            other = overlay(f'{d}/via', 'else/other', base_fmt='qcow2')
        before = Untouched(*paths)
        for dry in [], ['-n']:
            refused(REFUSED, [os.path.basename(of), os.path.basename(other), '--unlink'], 'compact', *dry, '--keep', 3, '--unlink',
                    paths[0])
        before.verify('although it was refused')
        os.unlink(other)
    os.symlink('2', f'{d}/link')
    qemu_img('rebase', '-u', '-b', 'link', '-F', 'qcow2', paths[1])
    refused(REFUSED, ['link', '--unlink'], 'compact', '--keep', 3, '--unlink', paths[0])
    bp('compact', '--keep', 3, paths[0])


@case('--unlink keeps the files where others came into the directory meanwhile')
def unlink_changed(d):
    paths = ladder(d, 4)
    qemu_io(paths[2], 'qcow2', 'write -P 77 0 3M')
    heads = Heads(d, *((path, 'qcow2') for path in paths[:-1]))
    process = harness.start(harness.blockpull, 'compact', *SLOW, '--unlink', '--keep', '3', paths[0])
    processes.wait_writing(process, paths[1])
    other = child(d, 'other', paths[2])
    result = harness.finish(process)
    same(result.rc, REFUSED, str(result))
    check(d in result.err and 'does not need' in result.err, str(result))
    same(names_of_chain(paths[0]), ['4', '3', 'base'], 'the chain')
    heads.judge('after the compaction')
    same(names_of_chain(other), ['other', '2', '1', 'base'], 'the chain of the other')


# ---- refusals -----------------------------------------------------------------------------------

@case('what is refused changes nothing')
def refusals(d):
    paths = ladder(d, 3)
    raw_image(f'{d}/stranger', MIB)
    before = Untouched(*paths)
    image = paths[0]
    for rc, words, args in (
            (USAGE, ['--keep', '--from'], []), (USAGE, ['--keep'], ['--keep', 0]), (USAGE, ['--keep'], ['--keep', 'x']),
            (USAGE, ['--to'], ['--from', paths[1]]), (USAGE, ['one of the two'], ['--keep', 2, '--from', paths[1]]),
            (FAILED, ['stranger', 'chain'], ['--from', paths[1], '--to', f'{d}/stranger']),
            (FAILED, ['gone', 'chain'], ['--from', f'{d}/gone', '--to', paths[2]]),
            (USAGE, ['below'], ['--from', paths[2], '--to', paths[1]]), (USAGE, ['below'], ['--from', paths[2], '--to', paths[2]]),
            (REFUSED, ['--allow-backing'], ['--keep', 2, '--allow-backing=none'])):
        for dry in [], ['-n']:
            refused(rc, words, 'compact', *dry, *args, image)
        if rc != harness.USAGE:
            line = refused(rc, words, 'compact', '--json', *args, image).json()
            same((line['status'], line['exit-code']), ('failed', rc), 'the JSON line')
    before.verify('although it was refused')


@case('files that other programs use')
def locked(d):
    paths = ladder(d, 3)
    qemu_io(paths[2], 'qcow2', 'write -P 77 0 3M')
    other = child(d, 'other', paths[1])
    before = Untouched(*paths)
    for used in paths[0], other:  # each has the upper file in its chain
        user = images.use(used)
        try:
            refused(LOCKED, [], 'compact', '--keep', 3, paths[0])
        finally:
            harness.kill(user)
        images.settle(used)
    before.verify('although it was refused')
    process = harness.start(harness.blockpull, 'compact', *SLOW, '--keep', '3', paths[0])
    processes.wait_writing(process, paths[1])
    for path in paths[0], paths[1], other:
        check(qemu_io(path, 'qcow2', 'read 0 1', rc=(0, 1)).rc, f'{path} could be opened for writing meanwhile')
    alone = images.json.dumps({'driver': 'qcow2', 'backing': None, 'file': {'driver': 'file', 'filename': paths[0]}})
    result = harness.run('qemu-io', '-c', 'write 0 1', f'json:{alone}')  # without the files below, which are locked, too
    check(result.rc and 'lock' in result.err, f'the image could be written meanwhile: {result}')
    same(harness.finish(process).rc, DONE, 'the compaction')


@case('files in several directories: the image\'s own place says what may be opened')
def places(d):
    os.makedirs(f'{d}/a')
    os.makedirs(f'{d}/b')
    raw_image(f'{d}/base', 2 * MIB)
    overlay(f'{d}/a/1', '../base')
    qemu_io(f'{d}/a/1', 'qcow2', 'write -P 1 0 100k')
    overlay(f'{d}/b/2', '../a/1', base_fmt='qcow2')
    qemu_io(f'{d}/b/2', 'qcow2', 'write -P 2 50k 100k')
    overlay(f'{d}/3', 'b/2', base_fmt='qcow2')
    heads = Heads(d, (f'{d}/3', 'qcow2'), (f'{d}/b/2', 'qcow2'))
    for cwd, image in (d, '3'), (f'{d}/a', '../3'):
        bp('compact', '-n', '--keep', 3, image, cwd=cwd)
    bp('compact', '-q', '--keep', 3, '3', cwd=d)
    heads.judge('after the compaction')
    same(image_info(f'{d}/b/2')['backing-filename'], '../base', 'the link')


# ---- ends ---------------------------------------------------------------------------------------

def started(d, paths, *args):
    process = harness.start(harness.blockpull, 'compact', *args, '--keep', '3', paths[0])
    deadline = time.monotonic() + harness.WAIT
    size = os.stat(paths[1]).st_blocks
    while os.stat(paths[1]).st_blocks <= size + 256 and process.poll() is None:
        check(time.monotonic() < deadline, 'nothing was copied')
        time.sleep(0.01)
    return process


@case('stopped and run again', signal.SIGINT)
@case('terminated and run again', signal.SIGTERM)
@case('killed and run again', signal.SIGKILL)
def stopped(d, number):
    paths = ladder(d, 5, size=12 * MIB)
    qemu_io(paths[3], 'qcow2', 'write -P 77 0 5M')
    heads = Heads(d, *((path, 'qcow2') for path in paths[:-1]))
    untouched = Untouched(*(path for path in paths if path != paths[1]))
    # At this rate it doesn't end by itself before that, on a busy machine either.
    process = started(d, paths, '--bandwidth=256K', '--burst=64K', '--progress=none')
    os.kill(process.pid, number)
    result = harness.finish(process)
    same(result.rc, 128 + number, str(result))
    check(number == signal.SIGKILL or 'again' in result.err and 'compaction' not in result.out, str(result))
    images.settle(paths[1])
    heads.judge('after a stop', leaks=True)
    same(names_of_chain(paths[0]), ['5', '4', '3', '2', '1', 'base'], 'the chain')
    line = bp('compact', '--json', '--keep', 3, paths[0]).json()
    if number != signal.SIGKILL:
        check(line['bytes']['present'] > 64 * KIB, f'nothing was kept: {line}')
    untouched.verify('by two runs')
    heads.judge('after two runs')
    same(names_of_chain(paths[0]), ['5', '4', 'base'], 'the chain')


@case('no room, then room again')
def no_room(d):
    paths = ladder(d, 4, size=12 * MIB)
    qemu_io(paths[2], 'qcow2', 'write -P 77 0 7M')
    heads = Heads(d, *((path, 'qcow2') for path in paths[:-1]))
    limit = os.path.getsize(paths[1]) + 2 * MIB
    result = harness.run(harness.blockpull, 'compact', '--keep', '3', paths[0],
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    same(result.rc, FAILED, str(result))
    check('4' in result.err and 'keeps its backing file' in result.err, str(result))
    heads.judge('without room', leaks=True)
    bp('compact', '--keep', 3, paths[0])
    heads.judge('with room again')
    same(image_check(paths[1], 'qcow2'), 0, 'leaks')


if __name__ == '__main__':

    print(f'# BB_SEED={SEED}')
    for number in range(SEED, SEED + ROUNDS):
        harness.cases.append((f'random chain, seed {number}', compact_and_judge, (number,)))
    harness.main(2)
