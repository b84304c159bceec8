# SPDX-License-Identifier: MIT OR Apache-2.0
"""Pulls of a list: which names it has, which of them a shard takes, and what its exit code says.

Which images were pulled is read from the lines of --json, and for some judged by qemu-img: each name is
pulled exactly once, whatever it looks like. A list is a unit of work: after a kill or a stop the same
command does the rest, and what is finished is not touched again.
"""
import os
import signal
import struct
import time

import harness
import images
import processes
from harness import CORRUPT, DONE, FAILED, LOCKED, MIB, REFUSED, USAGE, bp, case, check, refused, same
from images import Untouched, overlay, raw_image


def tops(d, *names, size=MIB):
    if not os.path.exists(f'{d}/base.img'):
        raw_image(f'{d}/base.img', size)
    return [overlay(os.path.join(d, name), f'{d}/base.img') for name in names]


def written(d, text, name='list'):
    with open(f'{d}/{name}', 'wb') as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return f'{d}/{name}'


def results(*args, rc=DONE, **options):
    """Names and exit codes, in order, of the images that a pull with --json tells of."""
    lines = bp('pull', '--json', '--allow-backing=any', *args, rc=rc, **options).lines()
    return [(line['filename'], line['exit-code']) for line in lines]


def pulled_names(*args, **options):
    return [name for name, _ in results(*args, **options)]


def is_pulled(path):
    return 'backing-filename' not in images.image_info(path)


def break_tables(path):
    """The first table lies beyond the end of the file."""
    images.patch(path, 40, struct.pack('>Q', 1 << 40))


@case('one name a line, comments and empty lines left out')
def lines(d):
    names = ['a.qcow2', ' blanks at both ends ', 'not # a comment', 'tab\there', '"quoted"', 'back\\slash', 'last']
    tops(d, *names)
    path = written(d, '# the first line\n' + '\n'.join(names[:3]) + '\n\n  \t\n#x\n' + '\n'.join(names[3:]))
    same(pulled_names('--list', path, cwd=d), names, 'names')
    for name in names:
        images.judge_pulled(f'{d}/{name}', 'qcow2', f'{d}/base.img')


@case('a name that begins with a # has a folder before it')
def hash_sign(d):
    tops(d, '#1.qcow2')
    same(pulled_names('--list', written(d, '#1.qcow2\n./#1.qcow2\n'), cwd=d), ['./#1.qcow2'], 'names')


@case('a list is read from standard input')
def standard_input(d):
    one, two = tops(d, 'one', 'two')
    with open(written(d, f'{one}\n{two}\n'), 'rb') as file:
        same(pulled_names('--list', '-', stdin=file), [one, two], 'names')
    check(is_pulled(one) and is_pulled(two), 'an image was left out')


@case('names that end with a NUL: --null', '--null')
@case('names that end with a NUL: -0', '-0')
def null(d, option):
    names = ['two\nlines', '#no comment', '  ', 'last']
    tops(d, *names)
    path = written(d, '\0'.join(names) + '\0\0')
    same(pulled_names('--list', path, option, cwd=d), names, 'names')
    check(all(is_pulled(f'{d}/{name}') for name in names), 'an image was left out')


@case('a list without a name', b'')
@case('a list of comments', b'# one\n\n   \n')
@case('a list of lines with a NUL', b'one\ntwo\0three\n')
@case('a list of NULs', b'\0\0\0', '-0')
@case('a list of lines that end with CR LF', b'# one\r\n\r\ntwo\r\nthree')
@case('a list that begins with a byte order mark', b'\xef\xbb\xbfone\n')
def bad_list(d, text, *args):
    refused(USAGE, ['--list', 'list'], 'pull', *args, '--list', written(d, text))


@case('a list that can not be read')
def unreadable(d):
    refused(FAILED, ['--list', 'gone', 'no such file'], 'pull', '--list', f'{d}/gone')
    refused(FAILED, ['--list', 'directory'], 'pull', '--list', d)


@case('options that do not go together')
def together(d):
    top, other = tops(d, 'top', 'other')
    before = Untouched(top, other)
    path = written(d, f'{top}\n{other}\n')
    refused(USAGE, ['--list', 'both', 'other'], 'pull', '--list', path, other)
    refused(USAGE, ['--null', '--list'], 'pull', '-0', top)
    refused(USAGE, ['--control', 'one image'], 'pull', '--control', f'{d}/s', '--list', path)
    refused(USAGE, ['name is missing'], 'pull')
    refused(USAGE, ['name is missing'], 'pull', '--shard=0/2')
    with open(f'{d}/trace', 'w', encoding='ascii') as file:
        file.write('blockpull trace 1\n0 4096 0\n')
    for option in f'--list={path}', '--shard=0/2', f'--control={d}/s', f'--metrics-file={d}/m', f'--first={d}/trace':
        refused(USAGE, [option.split('=')[0], 'twice'], 'pull', option, option, *([] if 'list' in option else [top]))
    before.verify('although it was refused')


@case('a shard that is none')
def bad_shard(d):
    top, = tops(d, 'top')
    before = Untouched(top)
    for text in ('', '1', '/', '1/', '/2', '0/0', 'x/2', '0/x', '-1/2', '+0/2', ' 0/2', '0/2 ', '0/2/3', '0 /2', '0.5/2',
                 '1/1', '2/2', '0/1000001', '99999999999999999999/2', '0/99999999999999999999'):
        refused(USAGE, ['--shard'], 'pull', f'--shard={text}', top)
    before.verify('although it was refused')


@case('shards have each name once, every N-th: of 1', 1)
@case('shards have each name once, every N-th: of 3', 3)
@case('shards have each name once, every N-th: of 7', 7)
@case('shards have each name once, every N-th: of 12', 12)
def shards(d, n):
    names = tops(d, *(f'v{i}' for i in range(10)))
    path = written(d, '\n#\n'.join(names) + '\n')
    parts = [pulled_names('-n', '--list', path, '--shard', f'{i}/{n}') for i in range(n)]
    same(parts, [names[i::n] for i in range(n)], 'names by shard')
    same(sorted(sum(parts, [])), sorted(names), 'all names')
    # Names that are appended move no other to another shard.
    more = tops(d, 'new1', 'new2')
    path = written(d, '\n'.join(names + more) + '\n')
    for i, part in enumerate(parts):
        same(pulled_names('-n', '--list', path, '--shard', f'{i}/{n}')[:len(part)], part, f'shard {i}, appended to')


@case('a shard of the names on the command line')
def shard_of_words(d):
    names = tops(d, 'one', 'two', 'three')
    same(pulled_names('--shard=1/2', *names), names[1::2], 'names')
    same([is_pulled(name) for name in names], [False, True, False], 'pulled')


@case('a shard without a name has nothing to do')
def empty_shard(d):
    top, = tops(d, 'top')
    before = Untouched(top)
    result = bp('pull', '--list', written(d, top), '--shard=4/5')
    check('nothing to do' in result.err and '4/5' in result.err, str(result))
    same(bp('pull', '-q', '--list', written(d, top), '--shard=4/5').err, '', 'stderr with -q')
    before.verify('of another shard')


@case('the same list again does nothing')
@case('the same list again does nothing, several at once', '-j3')
def again(d, *args):
    names = tops(d, *(f'v{i}' for i in range(5)))
    path = written(d, '\n'.join(names))
    first = bp('pull', '--allow-backing=any', *args, '--list', path)
    before = Untouched(*names)
    second = bp('pull', '--allow-backing=any', *args, '--list', path)
    before.verify('although it was finished')
    same(first.err.count('copied'), 5, 'images copied by the first run')
    same(second.err.count('nothing to pull'), 5, 'images that the second run found finished')
    os.unlink(f'{d}/base.img')
    bp('pull', '--list', path)


@case('a list down to a base does nothing the second time')
def again_base(d):
    raw_image(f'{d}/base.img', MIB)
    overlay(f'{d}/mid', 'base.img')
    images.qemu_io(f'{d}/mid', 'qcow2', 'write -P 5 0 64k')
    top = overlay(f'{d}/top', 'mid', base_fmt='qcow2')
    path = written(d, top)
    bp('pull', '--base', f'{d}/base.img', '--list', path)
    before = Untouched(top)
    bp('pull', '--base', f'{d}/base.img', '--list', path)
    before.verify('although it was finished')


@case('images that read each other, and one that is named twice, wait for each other')
@case('images that read each other, and one that is named twice, wait for each other, threads', '--io=threads')
def related(d, *args):
    raw_image(f'{d}/base.img', 2 * MIB)
    middle = overlay(f'{d}/middle', 'base.img')
    top = overlay(f'{d}/top', 'middle', base_fmt='qcow2')
    after, = tops(d, 'after')
    os.symlink('top', f'{d}/link')
    names = [middle, top, top, f'{d}/link', middle, after]
    for order in names, names[::-1]:
        path = written(d, '\n'.join(order))
        same(sorted(results('-j4', *args, '--list', path)), sorted((name, DONE) for name in order), 'exit codes')
        check(all(is_pulled(name) for name in names), 'not all are pulled')
        for name in names:
            images.judge_pulled(name, 'qcow2', f'{d}/base.img')
        os.unlink(middle)
        overlay(middle, 'base.img')
        os.unlink(top)
        overlay(top, 'middle', base_fmt='qcow2')


@case('killed again and again, a list is finished')
def killed(d):
    names = tops(d, *(f'v{i}' for i in range(6)), size=4 * MIB)
    path = written(d, '\n'.join(names))
    for delay in range(8):
        process = harness.start(harness.blockpull, 'pull', '-j2', '--bandwidth=24M', '--allow-backing=any', '--list', path)
        time.sleep(0.03 * delay)
        process.kill()
        harness.finish(process)
        for name in names:
            images.settle(name)
    bp('pull', '--allow-backing=any', '--list', path)
    for name in names:
        images.judge_pulled(name, 'qcow2', f'{d}/base.img')


@case('a stop leaves the rest for the next time: SIGINT', signal.SIGINT)
@case('a stop leaves the rest for the next time: SIGTERM', signal.SIGTERM)
def stopped(d, sig):
    names = tops(d, *(f'v{i}' for i in range(6)), size=4 * MIB)
    path = written(d, '\n'.join(names))
    process = harness.start(harness.blockpull, 'pull', '-j2', '--bandwidth=1M', '--progress=json', '--allow-backing=any',
                            '--list', path)
    check(harness.lines_of(process, lambda line: line.get('cur')), 'it has ended already')
    harness.kill(process, sig)
    result = harness.finish(process)
    same(result.rc, 128 + sig, 'exit code')
    check('4 of 6 images were not begun' in result.err, str(result))
    same([code for _, code in results('--list', path)], [0] * 6, 'exit codes of the second run')
    for name in names:
        images.judge_pulled(name, 'qcow2', f'{d}/base.img')


@case('the exit code of a list: what can be tried again comes first')
def exit_codes(d):
    corrupt, encrypted, locked, good = tops(d, 'corrupt', 'encrypted', 'locked', 'good')
    break_tables(corrupt)
    images.add_luks_extension(encrypted)
    images.patch(encrypted, 32, struct.pack('>I', 2))
    user = images.use(locked)
    path = written(d, '\n'.join([corrupt, encrypted, locked, f'{d}/gone', good]))
    same([code for _, code in results('--list', path, rc=LOCKED)], [CORRUPT, REFUSED, LOCKED, FAILED, DONE], 'exit codes')
    check(is_pulled(good), 'a failure kept the last image from being pulled')
    harness.kill(user)
    harness.finish(user)
    results('--list', path, rc=FAILED)
    check(is_pulled(locked), 'it is not locked any more')
    results('--list', written(d, '\n'.join([corrupt, encrypted, locked])), rc=CORRUPT)
    # Names on the command line: the first that failed.
    results(corrupt, f'{d}/gone', rc=CORRUPT)


@case('--control of a list with one name')
def control(d):
    top, = tops(d, 'top')
    process = harness.start(harness.blockpull, 'pull', '--manual-finalize', '--control', f'{d}/socket', '--allow-backing=any',
                            '--list', written(d, f'# one\n{top}\n'))
    processes.wait_listening(process, f'{d}/socket')
    deadline = time.monotonic() + harness.WAIT
    while bp('ctl', f'{d}/socket', 'finalize', rc=None).rc:
        check(time.monotonic() < deadline, 'it is never ready')
        time.sleep(0.1)
    same(harness.finish(process).rc, DONE, 'exit code')
    check(is_pulled(top), 'not pulled')


@case('a long list')
def long_list(d):
    """Of one name that is not there: what is measured is what the list costs."""
    path = written(d, f'{d}/gone\n' * 20000)
    result = bp('pull', '-q', '--json', '--list', path, rc=FAILED)
    same(len(result.out.splitlines()), 20000, 'lines')
    check(harness.instrumented() or result.max_rss < 96 * MIB, f'{result.max_rss / MIB:.1f} MiB')


if __name__ == '__main__':
    harness.main()
