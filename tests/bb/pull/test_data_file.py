# SPDX-License-Identifier: MIT OR Apache-2.0
"""qcow2 with external data files: as the overlay, and as a file of the chain.

Every data file is full of junk before anything is pulled, because nothing promises that it is empty
where the image has no entry. Names are absolute unless a case says so: QEMU looks for a relative
one in the directory it runs in, blockpull next to the image.
"""
import os
import random
import re
import shutil
import struct
import time

import harness
import images
import strace
from harness import CORRUPT, DONE, FAILED, KIB, LOCKED, MIB, REFUSED, bp, case, check, note, refused, same
from images import Untouched, image_info, overlay, patch, qemu_img, qemu_io, raw_image, refused_unchanged

SEED = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
EXTENSION = struct.pack('>I', 0x44415441)
RAW_MARK = 95, b'\x02'  # autoclear bit 1


def with_data(d, options=None):
    return f'data_file={d}/dat.img' + (f',{options}' if options else '')


def junk(path):
    """Random bytes all over a file, its length kept."""
    size = os.path.getsize(path)
    with open(path, 'r+b') as file:
        for at in range(0, size, MIB):
            file.write(random.randbytes(min(MIB, size - at)))


def own_data(d, options=None, size=MIB, base_fmt='raw'):
    """top.img, with its data in dat.img, over base.img."""
    if not os.path.exists(f'{d}/base.img'):
        raw_image(f'{d}/base.img', size)
    overlay(f'{d}/top.img', 'base.img', options=with_data(d, options), base_fmt=base_fmt)
    junk(f'{d}/dat.img')
    qemu_io(f'{d}/top.img', 'qcow2', 'write -P 7 64k 4k')
    return f'{d}/top.img', f'{d}/base.img'


def judged(d, top, *args):
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    result = bp('pull', *args, top)
    images.judge_pulled(top, 'qcow2', flat)
    bp('check', top)
    return result


def rename_data(image, name):
    """Another name of the same length in the header."""
    with open(image, 'rb') as file:
        header = file.read(4096)
    at = header.index(EXTENSION)
    same(struct.unpack('>I', header[at + 4:at + 8])[0], len(name), 'length of the name')
    patch(image, at + 8, name.encode())


# ---- What is pulled -----------------------------------------------------------------------------

SHAPES = [None, 'cluster_size=512', 'cluster_size=4k', 'cluster_size=2M', 'extended_l2=on',
          'extended_l2=on,cluster_size=16k', 'extended_l2=on,cluster_size=2M', 'refcount_bits=1']


def scribble(rng, path, size):
    for _ in range(rng.randrange(8)):
        at, length = 512 * rng.randrange(size // 512), 512 * rng.randrange(1, 1000)
        length = min(length, size - at)
        what = rng.choice([f'write -P {rng.randrange(1, 255)}', 'write -z', 'write -zu', 'write -P 0'])
        qemu_io(path, 'qcow2', f'{what} {at} {length}')


def random_pull(d, shape, below):
    rng = random.Random(f'{SEED} {shape} {below}')
    note(f'BB_SEED={SEED}')
    size = 6 * MIB + 512 * rng.choice([0, 0, 1, 77])
    raw_image(f'{d}/base.img', size, (0, 300 * KIB), (MIB + 5 * KIB, 400), (2 * MIB + MIB // 2, 2 * MIB))
    base_fmt = 'raw'
    if below:
        overlay(f'{d}/mid.img', 'base.img', options=f'data_file={d}/mid.dat,{rng.choice(SHAPES) or "compat=1.1"}')
        junk(f'{d}/mid.dat')
        scribble(rng, f'{d}/mid.img', size)
        os.rename(f'{d}/base.img', f'{d}/raw.img')
        qemu_img('rebase', '-u', '-b', 'raw.img', '-F', 'raw', f'{d}/mid.img')
        os.rename(f'{d}/mid.img', f'{d}/base.img')
        base_fmt = 'qcow2'
    top, _ = own_data(d, shape, size, base_fmt)
    scribble(rng, top, size)
    before = Untouched(*(f'{d}/{name}' for name in ('base.img', 'raw.img', 'mid.dat') if os.path.exists(f'{d}/{name}')))
    data_len = os.path.getsize(f'{d}/dat.img')  # QEMU writes whole clusters; we need not
    judged(d, top, *rng.choice([[], ['--io=threads'], ['--holes=read']]))
    same(os.path.getsize(f'{d}/dat.img'), data_len, 'length of the data file')
    before.verify('by the pull')


for shape_ in SHAPES:
    case(f'an overlay with a data file, {shape_}', shape_, False)(random_pull)
    case(f'data files in the overlay and below it, {shape_}', shape_, True)(random_pull)


@case('a data file below a plain overlay', 'qcow2')
@case('a data file below a plain overlay, QED', 'qed')
def below(d, fmt):
    qemu_img('create', '-q', '-f', 'qcow2', '-o', with_data(d), f'{d}/base.img', '4M')
    junk(f'{d}/dat.img')
    qemu_io(f'{d}/base.img', 'qcow2', 'write -P 1 0 70k', 'write -P 2 3M 1M', 'write -z 3M 100k')
    top = overlay(f'{d}/top.img', 'base.img', fmt, base_fmt='qcow2')
    qemu_io(top, fmt, 'write -P 3 32k 4k')
    flat, before = images.flatten(top, fmt, f'{d}/flat'), Untouched(f'{d}/base.img', f'{d}/dat.img')
    bp('pull', *([] if fmt == 'qcow2' else ['--backing-format=qcow2']), top)
    images.judge_pulled(top, fmt, flat)
    before.verify('by the pull')


@case('two overlays of one image with a data file, at once')
def shared(d):
    qemu_img('create', '-q', '-f', 'qcow2', '-o', with_data(d), f'{d}/base.img', '4M')
    qemu_io(f'{d}/base.img', 'qcow2', 'write -P 2 1M 2M')
    tops = [overlay(f'{d}/top{i}.img', 'base.img', base_fmt='qcow2') for i in range(2)]
    flat = images.flatten(f'{d}/base.img', 'qcow2', f'{d}/flat')
    bp('pull', '--jobs=2', *tops)
    for top in tops:
        images.judge_pulled(top, 'qcow2', flat)


@case('zeros read from the chain are not junk', 'cluster_size=64k')
@case('zeros read from the chain are not junk, 2 MiB clusters', 'cluster_size=2M')
@case('zeros read from the chain are not junk, subclusters', 'extended_l2=on')
def zeros(d, options):
    with open(f'{d}/base.img', 'wb') as file:  # zeros that are no holes, and a byte in every 1.5 MiB
        file.write((b'\1' + bytes(MIB + MIB // 2 - 1)) * 16)  # longer than the image's own file
    top, _ = own_data(d, options, 24 * MIB)
    judged(d, top, '--holes=read')


@case('a partial pull', None)
@case('a partial pull, 2 MiB clusters', 'cluster_size=2M')
@case('a partial pull, subclusters', 'extended_l2=on')
def partial(d, options):
    raw_image(f'{d}/raw.img', 4 * MIB)
    overlay(f'{d}/base.img', 'raw.img', options=f'data_file={d}/mid.dat')
    junk(f'{d}/mid.dat')
    qemu_io(f'{d}/base.img', 'qcow2', 'write -P 1 100k 70k', 'write -z 1M 700k')
    top, _ = own_data(d, options, base_fmt='qcow2')
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    bp('pull', '--base', f'{d}/raw.img', top)
    os.rename(f'{d}/base.img', f'{d}/away')
    same(images.image_check(top, 'qcow2'), 0, 'exit code of qemu-img check')
    images.compare_flat(top, 'qcow2', flat, 'by the partial pull')
    same(image_info(top)['backing-filename'], 'raw.img', 'recorded name')
    judged(d, top)


@case('a name relative to the image')
def relative(d):
    os.mkdir(f'{d}/sub')
    top, _ = own_data(f'{d}/sub')
    rename_data(top, relative_name(f'{d}/sub/dat.img'))
    result = bp('pull', top, cwd='/')
    check('copied' in result.err + result.out, str(result))
    check('backing-filename' not in image_info(top, '-U'), 'the link is still there')
    qemu_img('check', '-f', 'qcow2', 'top.img', cwd=f'{d}/sub')


def relative_name(path):
    """dat.img, made as long as path by slashes that mean nothing."""
    return './' + (len(path) - len('./dat.img')) * '/' + 'dat.img'


@case('the rate limit counts what goes to the data file')
def rate(d):
    top, _ = own_data(d, size=8 * MIB)
    seconds = judged(d, top, '--bandwidth=4M').seconds
    check(seconds > 1.6, f'8 MiB at 4 MiB/s took {seconds:.2f} s')


@case('info, check and --dry-run')
def described(d):
    top, base = own_data(d)
    before = Untouched(top, base, f'{d}/dat.img')
    bp('pull', '--dry-run', top)
    data = bp('info', '--json', top).json()['format-specific']['data']
    same((data['has-data-file'], data['data-file'], data['data-file-raw']), (True, f'{d}/dat.img', False), 'info --json')
    check(f'data file: {d}/dat.img' in bp('info', top).out, 'info does not name the data file')
    before.verify()
    os.unlink(f'{d}/dat.img')
    same(bp('info', '--json', top).json()['readable'], True, 'readable')
    bp('check', top)


# ---- The raw mark -------------------------------------------------------------------------------

def is_marked(image):
    with open(image, 'rb') as file:
        return file.read(96)[95] & 2 != 0


@case('the raw mark is false above a backing file: a pull takes it away, and says so')
def mark(d):
    top, _ = own_data(d, size=2 * MIB)
    patch(top, *RAW_MARK)
    check(image_info(top)['format-specific']['data']['data-file-raw'], 'QEMU does not see the mark')
    same(bp('info', '--json', top).json()['format-specific']['data']['data-file-raw'], True, 'data-file-raw')
    bp('pull', '--dry-run', top)
    check(is_marked(top), 'the mark went in a dry run')
    result = judged(d, top)
    check('raw' in result.err and 'mark' in result.err, f'not a word of it: {result}')
    check(not is_marked(top), 'the mark is still there')


@case('a raw mark that is true stays')
def true_mark(d):
    qemu_img('create', '-q', '-f', 'qcow2', '-o', with_data(d, 'data_file_raw=on'), f'{d}/base.img', '2M')
    qemu_io(f'{d}/base.img', 'qcow2', 'write -P 2 1M 300k')
    before = Untouched(f'{d}/base.img', f'{d}/dat.img')
    bp('pull', f'{d}/base.img')
    top = overlay(f'{d}/top.img', 'base.img', base_fmt='qcow2')
    bp('pull', top)
    images.judge_pulled(top, 'qcow2', f'{d}/dat.img')
    before.verify()
    check(is_marked(f'{d}/base.img'), 'the mark is gone')


# ---- What is refused ----------------------------------------------------------------------------

@case('a data file outside the tree')
def outside(d):
    os.mkdir(f'{d}/in')
    raw_image(f'{d}/in/base.img', MIB)
    top = overlay(f'{d}/in/top.img', 'base.img', options=with_data(d))
    before = Untouched(f'{d}/dat.img')
    refused_unchanged(REFUSED, ['dat.img', 'top.img', '--allow-backing'], top, f'{d}/in/base.img')
    before.verify()
    judged(d, top, f'--allow-backing={d}')


@case('a data file outside the tree, below the overlay')
def outside_below(d):
    os.mkdir(f'{d}/in')
    qemu_img('create', '-q', '-f', 'qcow2', '-o', with_data(d), f'{d}/in/base.img', '1M')
    top = overlay(f'{d}/in/top.img', 'base.img', base_fmt='qcow2')
    refused_unchanged(REFUSED, ['dat.img', 'base.img', '--allow-backing'], top, f'{d}/in/base.img')
    judged(d, top, '--allow-backing=any')


@case('a symbolic link that leads out of the tree')
def symlink(d):
    os.mkdir(f'{d}/in')
    top, base = own_data(f'{d}/in')
    os.rename(f'{d}/in/dat.img', f'{d}/secret')
    os.symlink('../secret', f'{d}/in/dat.img')
    before = Untouched(f'{d}/secret')
    refused_unchanged(REFUSED, ['dat.img', '--allow-backing'], top, base)
    before.verify()
    judged(d, top, f'--allow-backing={d}')


@case('what is no file, and a file that is not there')
def no_file(d):
    top, base = own_data(d)
    os.unlink(f'{d}/dat.img')
    refused_unchanged(FAILED, ['dat.img', 'top.img', ('no such', 'not exist')], top, base)
    os.mkfifo(f'{d}/dat.img')
    refused_unchanged(FAILED, ['dat.img', 'top.img'], top, base)
    os.unlink(f'{d}/dat.img')
    os.mkdir(f'{d}/dat.img')
    refused_unchanged(FAILED, ['dat.img', 'top.img'], top, base)


@case('names that are no plain file names')
def strange_names(d):
    top, base = own_data(d)
    length = len(f'{d}/dat.img')
    for name, rc in (('json:{"driver"'.ljust(length, 'x'), REFUSED), ('nbd://'.ljust(length, 'x'), REFUSED),
                     ('a\x1b[31m'.ljust(length, 'x'), REFUSED)):
        rename_data(top, name)
        result = refused_unchanged(rc, ['top.img', 'data file'], top, base)
        check('\x1b' not in result.err, f'a raw escape character: {result.err!r}')


@case('a file that the chain uses already')
def used_twice(d):
    top, base = own_data(d)
    rename_data(top, f'{d}/top.img')
    refused_unchanged(FAILED, ['top.img', 'data file', 'same chain'], top, base)
    os.link(base, f'{d}/lnk.img')
    rename_data(top, f'{d}/lnk.img')
    refused_unchanged(FAILED, ['base.img', 'data file', 'top.img'], top, base)
    rename_data(top, f'{d}/dat.img')
    qemu_img('rebase', '-u', '-b', 'dat.img', '-F', 'raw', top)
    refused_unchanged(FAILED, ['dat.img', 'data file', 'top.img'], top, base)
    os.link(f'{d}/dat.img', f'{d}/other.img')
    qemu_img('rebase', '-u', '-b', 'other.img', '-F', 'raw', top)
    refused_unchanged(FAILED, ['other.img', 'data file', 'top.img'], top, base)


@case('two images of a chain with one data file')
def common(d):
    qemu_img('create', '-q', '-f', 'qcow2', '-o', f'data_file={d}/mid.img', f'{d}/base.img', '1M')
    top, base = own_data(d, base_fmt='qcow2')
    rename_data(top, f'{d}/mid.img')
    refused_unchanged(FAILED, ['mid.img', 'data file'], top, base)


@case('a data file in use')
def locked(d):
    top, base = own_data(d)
    shutil.copy(top, f'{d}/other.img')
    user = images.use(f'{d}/other.img')
    try:
        refused_unchanged(LOCKED, ['dat.img', 'top.img'], top, base)
    finally:
        harness.kill(user)
    images.settle(f'{d}/other.img')
    judged(d, top)


@case('a data file in use by a pull is locked for others')
def locks(d):
    top, _ = own_data(d, size=8 * MIB)
    pull = harness.start(harness.blockpull, 'pull', '--bandwidth=4M', '--progress=json', top)
    harness.lines_of(pull, lambda line: True)
    result = qemu_io(f'{d}/dat.img', 'raw', 'write -P 1 0 512', rc=(0, 1))
    same(result.rc, 1, f'exit code of qemu-io during the pull: {result}')
    same(harness.finish(pull).rc, DONE, 'exit code')


@case('no recorded name')
def no_name(d):
    top, base = own_data(d)
    with open(top, 'rb') as file:
        patch(top, file.read(4096).index(EXTENSION), struct.pack('>I', 0x12345678))
    refused_unchanged(REFUSED, ['top.img', 'data file', 'name'], top, base)
    refused(REFUSED, ['top.img', 'data file'], 'map', top)


@case('entries that point elsewhere in the data file')
def elsewhere(d):
    top, base = own_data(d)
    entry = struct.pack('>Q', 1 << 63 | 64 * KIB)
    with open(top, 'rb') as file:
        patch(top, file.read().index(entry), struct.pack('>Q', 1 << 63 | 128 * KIB))
    refused_unchanged(CORRUPT, ['top.img'], top, base)
    os.rename(top, f'{d}/mid.img')
    overlay(top, 'mid.img', base_fmt='qcow2', size=MIB)
    refused_unchanged(CORRUPT, ['mid.img'], top, base)


@case('a data file shorter than its entries say is no disk of zeros')
def short(d):
    qemu_img('create', '-q', '-f', 'qcow2', '-o', with_data(d), f'{d}/base.img', '1M')
    qemu_io(f'{d}/base.img', 'qcow2', 'write -P 1 512k 64k')
    os.truncate(f'{d}/dat.img', 100 * KIB)
    top = overlay(f'{d}/top.img', 'base.img', base_fmt='qcow2')
    bp('pull', top, rc=CORRUPT)
    check('backing-filename' in image_info(top), 'the link was dropped')


@case("a backing file's data file that changes meanwhile keeps the link")
def changed(d):
    qemu_img('create', '-q', '-f', 'qcow2', '-o', with_data(d), f'{d}/base.img', '8M')
    qemu_io(f'{d}/base.img', 'qcow2', 'write -P 1 0 8M')
    top = overlay(f'{d}/top.img', 'base.img', base_fmt='qcow2')
    pull = harness.start(harness.blockpull, 'pull', '--bandwidth=4M', '--progress=json', top)
    harness.lines_of(pull, lambda line: True)
    time.sleep(0.1)
    patch(f'{d}/dat.img', 5, b'changed')
    result = harness.finish(pull)
    same(result.rc, FAILED, f'exit code: {result}')
    check('dat.img' in result.err and 'changed' in result.err, str(result))
    check('backing-filename' in image_info(top), 'the link was dropped')


# ---- Order and interruption ---------------------------------------------------------------------

def events(log):
    """('start' or 'end', file name, call, offset or None) of calls, in the order they happened."""
    pending = {}
    for line in log:
        thread = line.split(maxsplit=1)[0]
        resumed, unfinished = 'resumed>' in line, 'unfinished ...>' in line
        if resumed:
            line = pending.pop(thread, '') + line
        call = strace.FILE_CALL.search(line)
        if not call:
            continue
        arguments = re.sub(r' *<(unfinished|\.\.\. \w+ resumed)[^>]*>', '', call[4].rpartition(')')[0]).split(', ')
        which = {'pwrite64': -1, 'pwritev': -1, 'pwritev2': -2}.get(call[1])
        name = os.path.basename(call[3])
        if unfinished:
            pending[thread] = line.rstrip('\n')
            yield 'start', name, call[1], None
            continue
        if not resumed:
            yield 'start', name, call[1], None
        yield 'end', name, call[1], int(arguments[which]) if which else None


@case('the data file is flushed before the image, in every batch')
def order(d):
    top, _ = own_data(d, size=96 * MIB)
    flat = images.flatten(top, 'qcow2', f'{d}/flat')
    result, log = strace.run(harness.blockpull, 'pull', '--io=threads', top, options=['-y', '-s', '0'], timeout=180,
                             trace='pwrite64,pwritev,pwritev2,write,writev,fdatasync,fsync,ftruncate,fallocate')
    same(result.rc, DONE, f'exit code: {result}')
    images.judge_pulled(top, 'qcow2', flat)
    flushing, n_flushes, unflushed, flushed_top = False, 0, False, False
    for event, name, call, offset in events(log):
        flush = call in ('fdatasync', 'fsync')
        if name == 'dat.img' and flush:
            flushing = event == 'start'
            n_flushes += event == 'end'
            unflushed &= event == 'end'  # what ends meanwhile counts again
            flushed_top = False
        elif name == 'dat.img' and event == 'end':
            unflushed = True
        elif name == 'top.img' and event == 'start':
            check(not flushing, f'{call} of the image while its data file is being flushed')
            check(n_flushes or not flush, 'the image was flushed before its data file')
        elif name == 'top.img' and flush:
            flushed_top = True
        elif name == 'top.img' and offset is not None and offset < 512:
            check(not unflushed and flushed_top, 'the link was dropped before all was flushed')
    note(f'{n_flushes} flushes of the data file for 96 MiB')
    check(2 <= n_flushes <= 7, f'{n_flushes} flushes of the data file')


@case('SIGKILL at random moments, then again', None, ())
@case('SIGKILL at random moments, then again, subclusters', 'extended_l2=on', ('--io=threads',))
def killed(d, options, args):
    rng = random.Random(SEED)
    note(f'BB_SEED={SEED}')
    top, base = own_data(d, options, size=16 * MIB)
    flat, before = images.flatten(top, 'qcow2', f'{d}/flat'), Untouched(base)
    shutil.copy(top, f'{d}/fresh')
    lasts = bp('pull', *args, top).seconds
    for count in range(max(1, int(os.environ.get('BB_KILLS', '8')) // 2)):
        shutil.copy(f'{d}/fresh', top)  # the data file stays as the last pull left it
        moment = rng.uniform(0, lasts * 1.1)
        when = f'after a kill at {moment * 1000:.1f} of {lasts * 1000:.1f} ms (kill {count})'
        pull = harness.start(harness.blockpull, 'pull', *args, top)
        time.sleep(max(0, moment - (time.monotonic() - pull.began)))
        harness.kill(pull)
        check(harness.finish(pull).rc in (137, DONE), when)
        images.settle(top)
        check(images.image_check(top, 'qcow2') in (0, 3), f'corrupt {when}')
        images.compare_flat(top, 'qcow2', flat, when)
        bp('pull', *args, top)
        images.compare_flat(top, 'qcow2', flat, 'pulled again ' + when)
        check('backing-filename' not in image_info(top), f'link still there {when}')
    before.verify('by the pulls')


if __name__ == '__main__':
    harness.main(workers=2)
