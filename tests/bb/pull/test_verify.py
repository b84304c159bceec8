# SPDX-License-Identifier: MIT OR Apache-2.0
"""pull --verify and flatten --verify, blockpull hash, blockpull verify.

What rots is written into the image behind the pull's back, as a device would do it: the pull is slow,
and the place is found by its content. The hashes are judged by another implementation where there is
one (xxh128sum), and by each other across formats.
"""
import json
import os
import random
import re
import shutil
import time

import harness
import images
import strace
from harness import KIB, MIB, bp, case, check, field, finish, kill, lines_of, note, refused, run, same, start
from images import Untouched, compare_flat, flatten, image_check, image_info, overlay, patch, qemu_img, qemu_io

DIFFERENT = 5


def random_base(path, size=6 * MIB, seed=1):
    """No two clusters alike, so that content tells where it is; a hole in the middle."""
    rng = random.Random(seed)
    with open(path, 'wb') as file:
        file.truncate(size)
        for at in range(0, size, MIB):
            if at != 3 * MIB:
                file.seek(at)
                file.write(rng.randbytes(MIB))
    return path


def place_of(path, content):
    with open(path, 'rb') as file:
        return file.read().find(content)


@case('what is right is found right: qcow2', 'qcow2', None)
@case('what is right is found right: qcow2 of 4 KiB clusters', 'qcow2', 'cluster_size=4k')
@case('what is right is found right: qcow2 of 2 MiB clusters', 'qcow2', 'cluster_size=2M')
@case('what is right is found right: qcow2 with subclusters', 'qcow2', 'cluster_size=64k,extended_l2=on')
@case('what is right is found right: compressed', 'qcow2', None, '--compress')
@case('what is right is found right: compressed, 2 MiB clusters', 'qcow2', 'cluster_size=2M', '--compress=zstd')
@case('what is right is found right: with a data file', 'qcow2', 'data_file=DIR/top.data')
@case('what is right is found right: qed', 'qed', None)
def verified(d, fmt, options, *args):
    base = random_base(f'{d}/base.img')
    top = f'{d}/top.img'
    overlay(top, 'base.img', fmt, options.replace('DIR', d) if options else None)
    qemu_io(top, fmt, 'write -P 7 100k 30k')
    flat = flatten(top, fmt, f'{d}/flat')
    result = bp('pull', '--verify', '--json', *args, top).json()
    copied, read_back = field(result, 'bytes', 'copied'), field(result, 'bytes', 'verified')
    check(0 < copied <= read_back < copied + 2 * MIB, f'{read_back} of {copied}')
    images.judge_pulled(top, fmt, flat)
    os.remove(base)
    compare_flat(top, fmt, flat)


@case('clusters of 2 MiB of which only a part was written')
def pieces(d):
    with open(f'{d}/base.img', 'wb') as file:
        file.truncate(16 * MIB)
        for at, length in (3 * MIB, MIB), (4 * MIB, 512), (7 * MIB + 99, 5), (10 * MIB, 2 * MIB):
            file.seek(at)
            file.write(random.Random(at).randbytes(length))
    top = overlay(f'{d}/top.img', 'base.img', options='cluster_size=2M')
    flat = flatten(top, 'qcow2', f'{d}/flat')
    same(field(bp('pull', '--verify', '--json', top).json(), 'bytes', 'verified'), 8 * MIB, 'read back')
    images.judge_pulled(top, 'qcow2', flat)


def slow_pull(top, *args):
    """A pull that has copied 2 MiB, and takes a while for the rest."""
    process = start(harness.blockpull, 'pull', '--verify', '--progress=json', '--bandwidth=1M', '--burst=2M', *args, top)
    check(lines_of(process, lambda e: e['event'] == 'progress' and e['bytes']['copied'] >= 2 * MIB), 'it is over already')
    return process


@case('a byte that rots keeps the link', 'qcow2', None)
@case('a byte that rots keeps the link, with threads', 'qcow2', None, '--io=threads')
@case('a byte that rots keeps the link, in QED', 'qed', None)
def rotten(d, fmt, options, *args):
    base = random_base(f'{d}/base.img')
    before = Untouched(base)
    top = f'{d}/top.img'
    overlay(top, 'base.img', fmt, options)
    with open(base, 'rb') as file:
        content = file.read()[512 * KIB:516 * KIB]
    process = slow_pull(top, *args)
    at = place_of(top, content)
    check(at > 0, 'what is copied is not there')
    patch(top, at + 100, b'rot')
    result = finish(process)
    same(result.rc, DIFFERENT, 'exit code')
    check(re.search(r'top\.img: .* guest offset 0x80000 .*backing link is kept', result.err), result.err)
    end = [json.loads(line) for line in result.out.splitlines()][-1]
    same((end['exit-class'], end['status']), ('different', 'failed'), 'the result')
    check('backing-filename' in image_info(top), 'the link is gone')
    same(image_check(top, fmt), 0, 'check')
    before.verify('by the pull')


@case("a snapshot's own copy is verified, too")
def rotten_snapshot(d):
    base = random_base(f'{d}/base.img')
    top = f'{d}/top.img'
    overlay(top, 'base.img')
    qemu_img('snapshot', '-c', 'one', top)
    qemu_io(top, 'qcow2', 'write -P 9 512k 64k')
    with open(base, 'rb') as file:
        content = file.read()[512 * KIB:576 * KIB]
    process = slow_pull(top)
    at = place_of(top, content)
    check(at > 0, 'what is copied is not there')
    patch(top, at + 5000, b'rot')
    result = finish(process)
    same(result.rc, DIFFERENT, 'exit code')
    check('guest offset 0x80000 ' in result.err, result.err)


@case("a snapshot that is longer than the disk")
def longer_snapshot(d):
    random_base(f'{d}/base.img')
    top = f'{d}/top.img'
    overlay(top, 'base.img')
    qemu_img('snapshot', '-c', 'one', top)
    qemu_img('resize', '--shrink', '-f', 'qcow2', top, str(2 * MIB + 512))
    flat = flatten(top, 'qcow2', f'{d}/flat')
    result = bp('pull', '--verify', '--json', top).json()
    check(field(result, 'bytes', 'copied') > 4 * MIB, 'the snapshot was not pulled')
    same(field(result, 'bytes', 'verified'), 2 * MIB + 512, 'read back')  # as a guest would
    images.judge_pulled(top, 'qcow2', flat)


@case('a new file that rots is removed')
def rotten_flatten(d):
    random_base(f'{d}/base.img')
    top = f'{d}/top.img'
    overlay(top, 'base.img')
    before = Untouched(top, f'{d}/base.img')
    process = start(harness.blockpull, 'flatten', '--verify', '--progress=json', '--bandwidth=1M', '--burst=2M', '-f', 'raw',
                    top, f'{d}/out.img')
    check(lines_of(process, lambda e: e['event'] == 'progress' and e['bytes']['copied'] >= 2 * MIB), 'it is over already')
    new = [name for name in os.listdir(d) if name.startswith('.out.img')]
    same(len(new), 1, 'the unfinished file')
    patch(f'{d}/{new[0]}', MIB + 5, b'rot')
    same(finish(process).rc, DIFFERENT, 'exit code')
    same(sorted(os.listdir(d)), ['base.img', 'top.img'], 'what is left')
    before.verify('by flattening')


@case('what was written is read back from the device, not from the page cache')
def uncached(d):
    random_base(f'{d}/base.img')
    top = f'{d}/top.img'
    overlay(top, 'base.img')
    result, log = strace.run(harness.blockpull, 'pull', '--verify', '--io=threads', '-q', top,
                             trace='fdatasync,fadvise64,pread64,preadv,preadv2,readv')
    same(result.rc, 0, str(result))
    text = '\n'.join(log)
    dropped = text.rfind('POSIX_FADV_DONTNEED')
    check(0 < text.find('fdatasync') < dropped, 'the page cache is not dropped after a barrier')
    check(sum(int(n) for n in re.findall(r'p?readv?\w*.*= (\d+)$', text[dropped:], re.M)) >= 5 * MIB, 'and then nothing is read')


def in_formats(d):
    """The same content in several formats and with a chain."""
    raw = random_base(f'{d}/a.raw')
    made = [raw]
    for name, fmt, options in (('b.qcow2', 'qcow2', 'cluster_size=512'), ('c.qed', 'qed', None), ('d.qcow2', 'qcow2', 'compat=0.10')):
        qemu_img('convert', '-f', 'raw', '-O', fmt, *(('-o', options) if options else ()), raw, f'{d}/{name}')
        made.append(f'{d}/{name}')
    qemu_img('convert', '-c', '-f', 'raw', '-O', 'qcow2', raw, f'{d}/e.qcow2')
    overlay(f'{d}/f.qcow2', 'e.qcow2', base_fmt='qcow2')
    return made + [f'{d}/e.qcow2', f'{d}/f.qcow2']


@case('hash: the same for the same content')
def hashes(d):
    names = in_formats(d)
    lines = [line.split('  ', 1) for line in bp('hash', *names).out.splitlines()]
    same([name for _, name in lines], names, 'names')
    same(len({text for text, _ in lines}), 1, 'different hashes')
    check(re.fullmatch('[0-9a-f]{32}', lines[0][0]), lines[0][0])
    if shutil.which('xxh128sum'):
        same(lines[0][0], run('xxh128sum', names[0]).out.split()[0], 'by xxh128sum')
    qemu_io(f'{d}/f.qcow2', 'qcow2', 'write -P 1 5000000 1')
    check(bp('hash', f'{d}/f.qcow2').out.split()[0] != lines[0][0], 'one byte is nothing to it')


@case('hash: of chunks')
def chunks(d):
    names = in_formats(d)
    results = [bp('hash', '--chunk', '1000000', '--json', name).json() for name in (names[0], names[-1])]
    same(results[0]['chunks'], results[1]['chunks'], 'chunks of the same content')
    same(field(results[0], 'hash'), results[1]['hash'], 'hash')
    same((results[0]['virtual-size'], results[0]['algorithm'], results[0]['chunk-size']), (6 * MIB, 'XXH3-128', 1000000), 'the rest')
    same([(c['start'], c['length']) for c in results[0]['chunks']],
         [(at, min(1000000, 6 * MIB - at)) for at in range(0, 6 * MIB, 1000000)], 'chunks')
    lines = bp('hash', '--chunk', '1000000', names[1]).out.splitlines()
    same([line.split('  ')[0] for line in lines], [c['hash'] for c in results[0]['chunks']] + [results[0]['hash']], 'lines')
    qemu_io(names[-1], 'qcow2', 'write -P 1 2500000 1')
    changed = bp('hash', '--chunk', '1000000', '--json', names[-1]).json()['chunks']
    same([i for i, (a, b) in enumerate(zip(changed, results[0]['chunks'])) if a != b], [2], 'chunks that changed')
    refused(2, ['--chunk'], 'hash', '--chunk', '100', names[0])


@case('hash: errors')
def hash_errors(d):
    top, base = images.pair(d)
    refused(2, ['name'], 'hash')
    refused(1, ['none.img'], 'hash', f'{d}/none.img')
    os.truncate(base, 100 * KIB)
    result = bp('hash', top, base)  # a base cut short reads zeros behind its end
    same(len(result.out.splitlines()), 2, result.out)
    user = images.use(top)
    refused(3, ['top.img'], 'hash', top)
    bp('hash', '--force-share', top)
    kill(user)


@case('verify: the same in any format')
def same_content(d):
    names = in_formats(d)
    for name in names[1:]:
        check('the same' in bp('verify', names[0], name).out, name)
        same(bp('verify', '-q', '-F', 'raw', name, names[0]).out, '', 'quiet')
    same(bp('verify', '--json', names[0], names[-1]).json(),
         {'first': names[0], 'second': names[-1], 'first-size': 6 * MIB, 'second-size': 6 * MIB, 'identical': True,
          'first-difference': None}, 'JSON')


@case('verify: the first difference is told')
def differences(d):
    names = in_formats(d)
    seed = int(os.environ.get('BB_SEED', time.time_ns() % 10**6))
    note(f'seed {seed}')
    rng = random.Random(seed)
    for at in [0, 6 * MIB - 1, 3 * MIB + 77] + [rng.randrange(6 * MIB) for _ in range(6)]:
        shutil.copy(names[0], f'{d}/other.raw')
        with open(f'{d}/other.raw', 'r+b') as file:
            for place in {at, min(at + rng.randrange(MIB), 6 * MIB - 1)}:
                file.seek(place)
                old = file.read(1)
                file.seek(place)
                file.write(bytes([old[0] ^ 1]))
        for name in (names[0], names[-1]):
            same(bp('verify', '--json', f'{d}/other.raw', name, rc=DIFFERENT).json()['first-difference'], at, 'first difference')
        check(f'offset {at} ' in bp('verify', names[-2], f'{d}/other.raw', rc=DIFFERENT).out, 'the text')


@case('verify: unequal sizes')
def sizes(d):
    names = in_formats(d)
    shutil.copy(names[0], f'{d}/long.raw')
    os.truncate(f'{d}/long.raw', 9 * MIB + 5 * 512)
    for a, b in ((names[-1], f'{d}/long.raw'), (f'{d}/long.raw', names[-1])):
        check('sizes' in bp('verify', a, b).out, 'nothing is said of the sizes')
        check('sizes' in bp('verify', '--strict', a, b, rc=DIFFERENT).out, 'nothing is said of the sizes')
    with open(f'{d}/long.raw', 'r+b') as file:
        file.seek(9 * MIB)
        file.write(b'x')
    for a, b in ((names[-1], f'{d}/long.raw'), (f'{d}/long.raw', names[-1])):
        same(bp('verify', '--json', a, b, rc=DIFFERENT).json()['first-difference'], 9 * MIB, 'first difference')


@case('verify: a terabyte of holes takes no time')
def holes(d):
    for name in ('a.qcow2', 'b.qcow2'):
        qemu_img('create', '-f', 'qcow2', f'{d}/{name}', '1T')
        qemu_io(f'{d}/{name}', 'qcow2', 'write -P 3 500G 64k')
    bp('verify', f'{d}/a.qcow2', f'{d}/b.qcow2', timeout=20)
    qemu_io(f'{d}/b.qcow2', 'qcow2', 'write -P 3 900G 1')
    same(bp('verify', '--json', f'{d}/a.qcow2', f'{d}/b.qcow2', rc=DIFFERENT).json()['first-difference'], 900 << 30, 'difference')


@case('verify: errors')
def verify_errors(d):
    top, base = images.pair(d)
    refused(2, ['two images'], 'verify', top)
    refused(1, ['none.img'], 'verify', top, f'{d}/none.img')
    refused(2, ['second-format', 'vhd'], 'verify', '-F', 'vhd', top, base)
    refused(1, ['base.img', 'qcow2'], 'verify', '-F', 'qcow2', top, base)


if __name__ == '__main__':
    harness.main(workers=2)
