# SPDX-License-Identifier: MIT OR Apache-2.0
"""How flatten's new file gets its name, mode and durability where file systems refuse some of the calls.

strace refuses them as FUSE, NFS, FAT, vboxsf and old kernels do. Whatever is refused: a file that is there is
never replaced, nothing is left behind, and what can't work is said before anything is copied.
"""
import contextlib
import os
import shutil
import stat
import time

import harness
import images
import strace
from harness import FAILED, MIB, Skip, bp, case, check, need, refused, run, same
from images import overlay, qemu_img, raw_image

REFUSALS = 'EINVAL', 'ENOSYS', 'EPERM', 'EOPNOTSUPP'


def pair(d, size=MIB):
    raw_image(f'{d}/base.img', size)
    return overlay(f'{d}/top.img', 'base.img')


def injected(d, args, **errors):
    """Runs it with these calls refused; (result, the log)."""
    result, log = strace.run(harness.blockpull, *args, trace=','.join([*errors, 'renameat', 'mknodat', 'syncfs']),
                             inject=[f'{call}:error={error}' for call, error in errors.items()])
    return result, '\n'.join(log)


def judge(d, names, out='out'):
    same(qemu_img('compare', f'{d}/top.img', f'{d}/{out}', rc=range(256)).rc, 0, 'qemu-img compare')
    same(sorted(os.listdir(d)), sorted([*names, out]), 'what is in the directory')
    os.unlink(f'{d}/{out}')


@case('a directory in which the system allows no new file')
def no_new_file(d):
    """As in one that is marked immutable: EPERM, which is no refusal of ours."""
    for name in 'new.img', 'none/new.img':
        os.makedirs(os.path.dirname(f'{d}/{name}'), exist_ok=True)
        result, log = strace.run(harness.blockpull, 'create', '-f', 'qcow2', f'{d}/{name}', '1M', path=os.path.dirname(f'{d}/{name}'),
                                 inject=['openat:error=EPERM'])
        check(any('O_TMPFILE' in line and 'INJECTED' in line for line in log), f'the file itself was not refused: {log}')
        same(result.rc, FAILED, f'exit code: {result}')
        check(name in result.err and 'does not allow creating' in result.err, str(result))
        check(not os.path.exists(f'{d}/{name}'), 'a file is there')
    refused(harness.USAGE, ['name is empty'], 'create', '-f', 'qcow2', '', '1M')


@case('any of the calls that give a name is refused, and then two of them')
def refused_calls(d):
    top, names = pair(d), ['base.img', 'top.img']
    for error in REFUSALS:
        for calls in ['renameat2'], ['linkat'], ['renameat2', 'linkat']:
            result, trace = injected(d, ['flatten', '-q', top, f'{d}/out'], **dict.fromkeys(calls, error))
            same(result.rc, 0, f'exit code without {calls}, {error}: {result}')
            check(calls == ['linkat'] or 'INJECTED' in trace, 'nothing was refused')
            check(len(calls) < 2 or 'mknodat' in trace, 'no third way was taken')
            judge(d, names)


@case('all of them are refused: said before anything is copied')
def no_way(d):
    top, names = pair(d, 64 * MIB), ['base.img', 'top.img']
    result, _ = injected(d, ['flatten', '--bandwidth=100K', top, f'{d}/out'], renameat2='EINVAL', linkat='EPERM',
                         mknodat='EPERM')
    same(result.rc in (FAILED, harness.REFUSED), True, f'exit code: {result}')
    check("out'" in result.err and 'another directory' in result.err, str(result))
    check(result.seconds < 200, f'it copied before: {result}')
    same(sorted(os.listdir(d)), names, 'what is left')


@case('a file that appears meanwhile is left alone', ())
@case('a file that appears meanwhile is left alone, without renameat2', ('renameat2',))
@case('a file that appears meanwhile is left alone, without hard links too', ('renameat2', 'linkat'))
def appears(d, calls):
    top = pair(d, 4 * MIB)
    prefix = strace.words('renameat2,linkat', [f'{call}:error=EINVAL' for call in calls])
    for content in b'', b'theirs':
        process = harness.start(*prefix, harness.blockpull, 'flatten', '--bandwidth=2M', top, f'{d}/out', env=strace.environment())
        deadline = time.monotonic() + harness.WAIT
        while len(os.listdir(d)) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        with open(f'{d}/out', 'xb') as file:
            file.write(content)
        result = harness.finish(process)
        same(result.rc, FAILED, f'exit code: {result}')
        check('left alone' in result.err, str(result))
        with open(f'{d}/out', 'rb') as file:
            same(file.read(), content, 'what it holds')
        os.unlink(f'{d}/out')
        same(sorted(os.listdir(d)), ['base.img', 'top.img'], 'what is left')


@case('a directory that can not be synced is no reason to fail; one whose device fails is')
def sync(d):
    top, names = pair(d), ['base.img', 'top.img']
    for error in 'EINVAL', 'EOPNOTSUPP', 'ENOSYS':
        result, trace = injected(d, ['flatten', '-q', top, f'{d}/out'], fsync=error)
        same(result.rc, 0, f'exit code: {result}')
        check('INJECTED' in trace and 'syncfs' in trace, f'the file system was not synced: {trace}')
        judge(d, names)
    for errors in {'fsync': 'EIO'}, {'fsync': 'EINVAL', 'syncfs': 'EIO'}:
        result, _ = injected(d, ['flatten', '-q', top, f'{d}/out'], **errors)
        same(result.rc, FAILED, f'exit code of {errors}: {result}')
        same(sorted(os.listdir(d)), names, f'what is left after {errors}')
    # What failed is another's file, since the new one can be synced.
    result, trace = injected(d, ['flatten', '-q', top, f'{d}/out'], fsync='EINVAL:when=1', syncfs='EIO')
    same((result.rc, trace.count('INJECTED')), (0, 2), f'exit code, refused calls: {result}\n{trace}')
    judge(d, names)


@case('a directory that may be written and searched, not read')
def drop_box(d):
    need('setpriv')
    if os.geteuid():
        raise Skip('only root can become another user')
    program = shutil.copytree(os.path.dirname(os.path.dirname(harness.blockpull)), f'{d}/program', symlinks=True,
                              ignore=lambda path, names: [n for n in names if n.endswith(('.p', '.o', '.a'))
                                                          or (os.path.basename(path) in ('tests', 'bench'))]) \
        if os.path.isdir(os.path.join(os.path.dirname(os.path.dirname(harness.blockpull)), 'tools')) else None
    command = os.path.join(program, os.path.relpath(harness.blockpull, os.path.dirname(os.path.dirname(harness.blockpull)))) \
        if program else harness.blockpull
    top = pair(d)
    for path in d, f'{d}/box':
        os.makedirs(path, exist_ok=True)
    os.chmod(d, 0o755)
    os.chmod(f'{d}/box', 0o333)
    for fmt in 'raw', 'qcow2', 'qed':
        for mask in 0o022, 0o377:
            result = run('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', command, 'flatten', '-f', fmt, top, f'{d}/box/out',
                         umask=mask)
            if result.rc == 127 or 'failed to execute' in result.err:
                raise Skip('the command can not be reached by another user')
            same(result.rc, 0, f'exit code: {result}')
            same(qemu_img('compare', top, f'{d}/box/out', rc=range(256)).rc, 0, 'qemu-img compare')
            same(os.listdir(f'{d}/box'), ['out'], 'what is in the box')
            os.unlink(f'{d}/box/out')


@case('the mode is the source\'s, whatever the umask says, and private until then')
def mode(d):
    top = pair(d, 2 * MIB)
    for bits in 0o600, 0o640, 0o664, 0o755, 0o444, 0o400, 0o4755:
        os.chmod(top, bits)
        for mask in 0o022, 0o077, 0:
            bp('flatten', '-q', top, f'{d}/out', umask=mask)
            same(oct(stat.S_IMODE(os.stat(f'{d}/out').st_mode)), oct(bits & 0o777), f'mode, of {bits:o}, umask {mask:o}')
            os.unlink(f'{d}/out')
    os.chmod(top, 0o666)
    process = harness.start(harness.blockpull, 'flatten', '--bandwidth=1M', top, f'{d}/out')
    modes = []
    while not modes and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # it has tried whether it can be renamed
            modes = [stat.S_IMODE(os.stat(f'{d}/{n}').st_mode) for n in os.listdir(d) if 'blockpull-' in n]
        time.sleep(0.01)
    same([oct(bits) for bits in modes], ['0o600'], 'modes of unfinished files')
    same(harness.finish(process).rc, 0, 'exit code')


@case('an access list: the group gets what the list says, and the note tells')
def access_list(d):
    need('setfacl')
    top = pair(d)
    os.chmod(top, 0o600)
    if run('setfacl', '-m', 'u:65534:rw', top).rc:
        raise Skip('no access lists here')
    same(oct(stat.S_IMODE(os.stat(top).st_mode)), '0o660', 'what stat says of the source')
    result = bp('flatten', top, f'{d}/out')
    same(oct(stat.S_IMODE(os.stat(f'{d}/out').st_mode)), '0o600', 'mode')
    check('access list' in result.err, str(result))


@case('what is left behind is said in one line, and only where it is')
def note(d):
    top = pair(d)
    result = bp('flatten', top, f'{d}/out')
    check('does not get' not in result.err, f'there is nothing to say: {result}')
    qemu_img('snapshot', '-c', 's', top)
    qemu_img('bitmap', '--add', top, 'b')
    if not os.geteuid():
        os.chown(top, 65534, 65534)
    result = bp('flatten', top, f'{d}/two')
    for word in ['1 internal snapshot', 'bitmaps'] + ([] if os.geteuid() else ['owner', 'group']):
        check(word in result.err, f'no word of {word}: {result}')
    same(result.err.count('does not get'), 1, 'lines')
    check('does not get' not in bp('flatten', '-q', top, f'{d}/three').err, '--quiet does not leave it out')


@case('names: empty, as long as can be, and of wide characters')
def names_of(d):
    top = pair(d)
    refused(FAILED, ['empty'], 'flatten', top, '')
    for name in 'x' * 255, '\u4e2d' * 85, '\u00e9' * 127:
        bp('flatten', '-q', top, f'{d}/{name}')
        judge(d, ['base.img', 'top.img'], name)
    same(sorted(os.listdir(d)), ['base.img', 'top.img'], 'what is left')


if __name__ == '__main__':
    harness.main(workers=2)
