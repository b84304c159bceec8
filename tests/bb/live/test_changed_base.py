# SPDX-License-Identifier: MIT OR Apache-2.0
"""A base that others change while it is pulled.

A write: the pull fails, the link stays, the image is marked, and no later pull goes on unasked or
is advised. A touch is no change. What QEMU's tools do to a marked image leaves the mark, and the
image opens and checks clean in all of them.
"""
import mmap
import os
import signal
import sys
import time

import harness
from harness import DONE, FAILED, KIB, MIB, REFUSED, bp, case, check, field, refused, same
from images import (Untouched, compare_flat, flatten, image_check, image_info, judge_pulled, overlay, patch, qemu_img,
                    qemu_io, raw_image, refused_alike)
SIZE = 6 * MIB
MARK = b'bpmx'


def scene(d, fmt='qcow2', options=None):
    raw_image(f'{d}/base.img', SIZE)
    return overlay(f'{d}/top.img', 'base.img', fmt, options)


def slow_pull(top, *args):
    """A pull that has copied some of it and has seconds to go."""
    pull = harness.start(harness.blockpull, 'pull', '--bandwidth=3M', '--burst=64K', '--progress=json', *args, top)
    check(harness.lines_of(pull, lambda line: field(line, 'bytes', 'copied') > 256 * KIB), 'it ended at once')
    return pull


def is_linked(top):
    return 'backing-filename' in image_info(top)


def is_marked(top):
    info = bp('info', '--json', top).json()
    marked = field(info, 'format-specific', 'data', 'mixed')
    same('mixed: yes' in bp('info', top).out, marked, 'the mark in the text of info')
    same(field(bp('check', '--json', top).json(), 'mixed'), marked, 'the mark in check --json')
    same('is marked' in bp('check', top).out, marked, 'the mark in check')
    return marked


def never_on(result):
    """No word of it advises to go on."""
    for words in ('again to go on', 'run it again', 'may be run again'):
        check(words not in result.err, f'it advises to go on: {result}')


def spoil(d, fmt='qcow2', options=None):
    """An image whose base was written to during a pull."""
    top = scene(d, fmt, options)
    pull = slow_pull(top)
    patch(f'{d}/base.img', 0, b'changed' * 100)
    result = harness.finish(pull)
    same(result.rc, FAILED, f'exit code: {result}')
    check('base.img' in result.err and 'changed' in result.err, str(result))
    never_on(result)
    check(is_linked(top), 'the link was dropped')
    same(image_check(top, fmt), 0, 'qemu-img check')
    return top


@case('a base that is written to: qcow2', None)
@case('a base that is written to: qcow2, version 2', 'compat=0.10')
@case('a base that is written to: clusters of 512 bytes', 'cluster_size=512')
@case('a base that is written to: extended L2 entries', 'extended_l2=on')
def written(d, options):
    top = spoil(d, options=options)
    check(is_marked(top), 'it is not marked')
    before = open(top, 'rb').read()
    result = refused(REFUSED, ['marked', 'changed', '--accept-mixed', 'top.img'], 'pull', top)
    never_on(result)
    refused(REFUSED, ['marked'], 'pull', '--dry-run', top)
    info = bp('info', '--json', top).json()
    same(field(info, 'pullable'), False, 'pullable')
    check('--accept-mixed' in field(info, 'unpullable-reason'), str(info))
    same(open(top, 'rb').read() == before, True, 'the image is as it was')
    flat = flatten(top, 'qcow2', f'{d}/flat')
    bp('pull', '--accept-mixed', top)
    judge_pulled(top, 'qcow2', flat)
    check(not is_marked(top), 'the mark outlived the link')


@case('a base that is written to: QED has no place for a mark')
def written_qed(d):
    top = spoil(d, 'qed')
    same(bp('check', '--json', top).json()['mixed'], False, 'mixed')


@case('the data file of a base that is written to')
def written_data_file(d):
    raw_image(f'{d}/data.raw', SIZE)
    qemu_img('create', '-f', 'qcow2', '-o', f'data_file={d}/data.raw,data_file_raw=on', f'{d}/base.img', str(SIZE))
    raw_image(f'{d}/data.raw', SIZE)
    top = overlay(f'{d}/top.img', 'base.img', 'qcow2', None, 'qcow2')
    pull = slow_pull(top)
    patch(f'{d}/data.raw', 0, b'changed' * 100)
    result = harness.finish(pull)
    same(result.rc, FAILED, f'exit code: {result}')
    check('data.raw' in result.err and 'changed' in result.err, str(result))
    check(is_linked(top) and is_marked(top), 'it is not marked')


@case('a pull that is stopped after its base was changed marks the image, too')
def stopped(d):
    top = scene(d)
    pull = slow_pull(top)
    patch(f'{d}/base.img', 0, b'changed')
    os.kill(pull.pid, signal.SIGINT)
    result = harness.finish(pull)
    check(result.rc in (FAILED, 128 + signal.SIGINT), str(result))
    check('base.img' in result.err, str(result))
    never_on(result)
    check(is_linked(top) and is_marked(top), 'it is not marked')


@case('a pull that is stopped marks nothing')
def stopped_unchanged(d):
    top = scene(d)
    pull = slow_pull(top)
    os.kill(pull.pid, signal.SIGINT)
    result = harness.finish(pull)
    same(result.rc, 128 + signal.SIGINT, str(result))
    check('again to go on' in result.err, str(result))
    check(not is_marked(top), 'it is marked')
    bp('pull', top)


def touch(path):
    qemu_like = harness.run('touch', path)
    same(qemu_like.rc, 0, 'touch')


def touch_old(path):
    os.utime(path, (1000, 1000))


def touch_often(path):
    for _ in range(200):
        os.utime(path)


def new_mode(path):
    os.chmod(path, 0o600)
    os.link(path, path + '.link')


@case('a base that is touched', touch)
@case('a base whose time is set to an old one', touch_old)
@case('a base that is touched often', touch_often)
@case('a base with a new mode and a new name', new_mode)
def touched(d, how):
    top = scene(d)
    flat = flatten(top, 'qcow2', f'{d}/flat')
    pull = slow_pull(top)
    how(f'{d}/base.img')
    time.sleep(0.1)
    how_again = touch if how is new_mode else how
    how_again(f'{d}/base.img')
    result = harness.finish(pull)
    same(result.rc, DONE, f'exit code: {result}')
    judge_pulled(top, 'qcow2', flat)
    check(not is_marked(top), 'it is marked')


TOUCHER = 'import os, sys\nwhile True: os.utime(sys.argv[1])'


@case('a base that is touched without a pause, by two programs', False)
@case('a base that is touched without a pause by two programs, and written to once', True)
def touched_always(d, is_written):
    top = scene(d)
    flat = flatten(top, 'qcow2', f'{d}/flat')
    touchers = [harness.start(sys.executable, '-c', TOUCHER, f'{d}/base.img') for _ in range(2)]
    pull = slow_pull(top)
    if is_written:
        patch(f'{d}/base.img', SIZE - 512, b'new')
    result = harness.finish(pull)
    check(all(toucher.poll() is None for toucher in touchers), 'one that touches it has ended')
    for toucher in touchers:
        harness.kill(toucher)
    same(is_linked(top), is_written, 'the link is there')
    same(is_marked(top), is_written, 'it is marked')
    same(result.rc, FAILED if is_written else DONE, f'exit code: {result}')
    if is_written:
        never_on(result)
    else:
        judge_pulled(top, 'qcow2', flat)


def write_and_set_back(path):
    was = os.stat(path)
    patch(path, 4096, b'changed')
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def write_and_touch(path):
    patch(path, 4096, b'changed')
    touch(path)


def touch_and_write(path):
    touch(path)
    patch(path, 4096, b'changed')


def map_and_touch(path):
    with open(path, 'r+b') as file, mmap.mmap(file.fileno(), SIZE) as view:
        view[4096:4100] = b'bite'
        view.flush()
    time.sleep(0.05)
    touch(path)


def cut(path):
    os.truncate(path, SIZE // 2)
    os.truncate(path, SIZE)


@case('a write whose time is set back is a change', write_and_set_back)
@case('a write and a touch are a change', write_and_touch)
@case('a touch and a write are a change', touch_and_write)
@case('a write through a mapping and a touch are a change', map_and_touch)
@case('a file cut and made longer again is changed', cut)
def changed(d, how):
    top = scene(d)
    pull = slow_pull(top)
    how(f'{d}/base.img')
    result = harness.finish(pull)
    same(result.rc, FAILED, f'exit code: {result}')
    check(is_linked(top) and is_marked(top), 'it is not marked')


@case('QEMU keeps the mark and opens the image')
def qemu_keeps_it(d):
    top = spoil(d)
    check(is_marked(top), 'it is not marked')
    qemu_io(top, 'qcow2', 'read 0 1M', 'write -P 7 0 64k')
    check(is_marked(top), 'a write by QEMU took the mark away')
    os.link(f'{d}/base.img', f'{d}/other.img')
    qemu_img('rebase', '-u', '-b', 'other.img', '-F', 'raw', '-f', 'qcow2', top)
    same(image_info(top)['backing-filename'], 'other.img', 'backing file')
    check(is_marked(top), 'qemu-img rebase -u took the mark away')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


@case('a pull to a base that stays keeps the mark')
def to_a_base(d):
    raw_image(f'{d}/base.img', SIZE)
    overlay(f'{d}/mid.img', 'base.img')
    qemu_io(f'{d}/mid.img', 'qcow2', 'write -P 3 1M 4M')
    top = overlay(f'{d}/top.img', 'mid.img', base_fmt='qcow2')
    pull = slow_pull(top)
    patch(f'{d}/base.img', 0, b'changed')
    same(harness.finish(pull).rc, FAILED, 'exit code')
    check(is_marked(top), 'it is not marked')
    flat = flatten(top, 'qcow2', f'{d}/flat')
    refused_alike(REFUSED, ['marked'], top, args=(f'--base={d}/base.img',))
    for verb in ('pull', '-n'), ('measure',):
        bp(*verb, '--accept-mixed', f'--base={d}/base.img', top)
    bp('pull', '--accept-mixed', f'--base={d}/base.img', top)
    compare_flat(top, 'qcow2', flat)
    same(os.path.basename(image_info(top)['backing-filename']), 'base.img', 'backing file')
    check(is_marked(top), 'the mark is gone, but the link is not')
    bp('pull', '--accept-mixed', top)
    judge_pulled(top, 'qcow2', flat)
    check(not is_marked(top), 'the mark outlived the link')


@case('a dry run and measure refuse a marked image, too, unless it is accepted')
def refused_by_all(d):
    top = spoil(d)
    refused_alike(REFUSED, ['marked', '--accept-mixed'], top, f'{d}/base.img')
    whole = Untouched(top, f'{d}/base.img')
    for verb in ('pull', '-n'), ('measure',):
        bp(*verb, '--accept-mixed', top)
    whole.verify('by what writes nothing')
    check(is_marked(top), 'the mark is gone')


@case('who reads a marked image is warned')
def warned(d):
    top = spoil(d)
    for args in (('hash', top), ('flatten', top, f'{d}/new.img')):
        result = bp(*args)
        check('warning' in result.err and 'marked' in result.err, str(result))
    upper = overlay(f'{d}/upper.img', 'top.img', base_fmt='qcow2')
    result = bp('pull', upper)
    check('warning' in result.err and 'top.img' in result.err, str(result))


@case('a mark whose image stands alone is in the way of nothing')
def alone(d):
    top = spoil(d)
    qemu_img('rebase', '-u', '-b', '', '-f', 'qcow2', top)
    check(is_marked(top), 'qemu-img rebase -u took the mark away')
    bp('pull', top)
    check(is_marked(top), 'it went unasked')
    bp('pull', '--accept-mixed', top)
    check(not is_marked(top), 'it is still there')
    same(image_check(top, 'qcow2'), 0, 'qemu-img check')


if __name__ == '__main__':
    harness.main(workers=2)  # each sleeps most of its time, behind a limited rate
