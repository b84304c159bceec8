# SPDX-License-Identifier: MIT OR Apache-2.0
"""Pulls from a base that is not in the page cache.

It is read past the cache, and one page, its last, stays there: the mark, by which the next pull knows
that it is not the first. That one fills the cache, and all that follow read from there. What of a base
is cached mincore() tells. Which way it was read the job tells.
"""
import ctypes
import json
import mmap
import os

import harness
from facts import emulated
from harness import KIB, MIB, Skip, bp, case, check
from images import Untouched, flatten, judge_pulled, overlay, qemu_img, qemu_io

SIZE = 48 * MIB
PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)


def base_of(d, fmt):
    raw = f'{d}/raw.img'
    with open(raw, 'wb') as f:
        for _ in range(SIZE // MIB):
            f.write(os.urandom(MIB))
    if fmt == 'raw':
        os.rename(raw, f'{d}/base.img')
        raw = f'{d}/base.img'
    else:
        qemu_img('convert', '-O', fmt, raw, f'{d}/base.img')
    return f'{d}/base.img', raw


def cool(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def cached_pages(path):
    """Which pages of it are there, as bytes of 0 and 1."""
    length = os.path.getsize(path)
    with open(path, 'rb') as f, mmap.mmap(f.fileno(), length, flags=mmap.MAP_PRIVATE) as mapped:
        there = (ctypes.c_ubyte * (-(-length // PAGE)))()
        first = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(length), there)
        del first
    check(not failed, 'mincore fails')
    return bytes(page & 1 for page in there)


def must_go_past_the_cache():
    if emulated():
        raise Skip('qemu-user has no direct I/O as we ask for it')


def must_cool(path):
    cool(path)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        raise Skip('no direct I/O on this file system') from None
    if any(cached_pages(path)):
        raise Skip('this file system keeps what it is told to drop')


def pull_one(d, fmt, *arguments):
    """The new image, not judged yet: qemu-img would read the base. And how much the job says that it read past the cache."""
    top = overlay(f'{d}/top.img', 'base.img', base_fmt=fmt)
    told = json.loads(bp('pull', '-q', '--json', *arguments, top).out)['bytes']
    check(told['past-cache'] <= told['source'] and told['source'] >= SIZE, f'it tells of {told}')
    os.rename(top, f'{d}/pulled.img')
    return f'{d}/pulled.img', told['past-cache']


@case('past the cache first, and then through it: raw', 'raw')
@case('past the cache first, and then through it: raw, threads', 'raw', '--io=threads')
@case('past the cache first, and then through it: raw, small memory', 'raw', '--memory=8M')
@case('past the cache first, and then through it: raw, verified', 'raw', '--verify')
@case('past the cache first, and then through it: qcow2', 'qcow2')
@case('past the cache first, and then through it: qcow2, image direct', 'qcow2', '--direct')
def past_the_cache_and_then_through_it(d, fmt, *arguments):
    must_go_past_the_cache()
    base, raw = base_of(d, fmt)
    untouched = Untouched(base)
    must_cool(base)
    pulled, passed_len = pull_one(d, fmt, *arguments)
    check(passed_len > SIZE * 9 // 10, f'the first job tells of {passed_len} bytes past the cache')
    there = cached_pages(base)
    check(there[-1], 'the mark was not left')
    check(sum(there) * PAGE < 8 * MIB, f'{sum(there)} pages are cached behind the first pull')
    if raw != base:
        judge_pulled(pulled, 'qcow2', raw)
    pulled, passed_len = pull_one(d, fmt, *arguments)
    check(passed_len == 0, f'the second job tells of {passed_len} bytes past the cache')
    check(sum(cached_pages(base)) * PAGE > SIZE * 9 // 10, 'the second pull did not fill the cache')
    judge_pulled(pulled, 'qcow2', raw)
    cool(base)
    pulled, passed_len = pull_one(d, fmt, *arguments)
    check(passed_len > SIZE * 9 // 10, f'the third job tells of {passed_len} bytes past the cache')
    judge_pulled(pulled, 'qcow2', raw)
    untouched.verify('by the pulls')


@case('what is cached stays, and the rest is read past the cache')
def what_is_cached_stays(d):
    """A guest's boot has read some of it: that is read from the cache, and the rest past it."""
    must_go_past_the_cache()
    base, raw = base_of(d, 'raw')
    must_cool(base)
    with open(base, 'rb', buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(f.fileno(), 6 * MIB, 10 * MIB)
    before = sum(cached_pages(base))
    pulled, passed_len = pull_one(d, 'raw')
    check(passed_len <= SIZE - 6 * MIB and passed_len >= SIZE - 8 * MIB, f'the job tells of {passed_len} bytes past the cache')
    there = cached_pages(base)
    check(sum(there[10 * MIB // PAGE:16 * MIB // PAGE]) * PAGE == 6 * MIB, 'what was cached is gone')
    check((sum(there) - before) * PAGE < 8 * MIB, f'{before} pages became {sum(there)}')
    judge_pulled(pulled, 'qcow2', raw)


@case('each of two cold layers gets its mark in one run')
@case('each of two cold layers gets its mark in one run, threads', '--io=threads')
def one_run_reads_of_two_cold_layers(d, *arguments):
    """Each gets its mark, from a run of its own."""
    base, _ = base_of(d, 'raw')
    mid, flat = overlay(f'{d}/mid.img', 'base.img'), f'{d}/flat.img'
    qemu_io(mid, 'qcow2', 'write -P 7 64k 128k', 'write -P 8 24M 17M')
    flatten(mid, 'qcow2', flat)
    must_cool(base)
    must_cool(mid)
    top = overlay(f'{d}/top.img', 'mid.img', base_fmt='qcow2')
    bp('pull', '-q', *arguments, top)
    check(cached_pages(base)[-1] and cached_pages(mid)[-1], 'a mark was not left')
    judge_pulled(top, 'qcow2', flat)


@case('what is dirty in the cache is pulled')
def what_is_dirty_in_the_cache_is_pulled(d):
    """Written a moment ago, and not by the device's way: it is read all the same."""
    base, _ = base_of(d, 'raw')
    must_cool(base)
    with open(base, 'r+b') as f:
        for at in range(0, SIZE - MIB, 3 * MIB):
            f.seek(at + 4 * KIB)
            f.write(os.urandom(4 * KIB))
    judge_pulled(pull_one(d, 'raw')[0], 'qcow2', base)


@case('a base of odd length is pulled to its end')
def the_end_of_a_file_of_odd_length(d):
    base, _ = base_of(d, 'raw')
    with open(base, 'ab') as f:
        f.write(b'x' * 512 * 77)
    must_cool(base)
    judge_pulled(pull_one(d, 'raw')[0], 'qcow2', base)


if __name__ == '__main__':
    harness.main()
