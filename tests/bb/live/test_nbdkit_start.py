# SPDX-License-Identifier: MIT OR Apache-2.0
"""How a server of the nbdkit plugin starts: what is wrong is said then, by a sentence on stderr and an exit
code that is not 0, also where nbdkit goes into the background."""
import contextlib
import os
import shutil
import signal
import time

import facts
import harness
import images
import processes
import strace
from harness import MIB, case, check, need, same
from images import overlay, patch, qemu_io, raw_image
from reach import as_nobody, copies


def disk(d, fmt='qcow2', size=16 * MIB):
    raw_image(f'{d}/base.img', size, (0, size // 2))
    top = overlay(f'{d}/top.img', 'base.img', fmt)
    qemu_io(top, fmt, 'write -P 7 10M 1M')
    return top


def in_background(d, *arguments, prefix=(), so=None, cwd=None):
    """nbdkit as it is started by itself: its first process ends when it serves, or when it does not. A session
    of its own keeps the server from ending with that."""
    return harness.run('setsid', '-w', *prefix, 'nbdkit', '-U', f'{d}/nbd', '-P', f'{d}/pid', so or facts.nbdkit_plugin(), *arguments, timeout=60,
                       cwd=cwd)


def serves(d):
    return harness.run('nbdinfo', '--size', f'nbd+unix:///?socket={d}/nbd').rc == 0


def end(d):
    """Ends the server in the background, and waits until it is gone."""
    with open(f'{d}/pid', encoding='ascii') as file:
        pid = int(file.read())
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + harness.WAIT
    while os.path.exists(f'/proc/{pid}') and open(f'/proc/{pid}/stat', encoding='ascii').read().split()[2] != 'Z':
        check(time.monotonic() < deadline, 'the server does not end')
        time.sleep(0.02)
    for name in 'nbd', 'pid':
        with contextlib.suppress(FileNotFoundError):
            os.remove(f'{d}/{name}')


def does_not_start(d, words, *arguments, prefix=(), so=None, anywhere=True, cwd=None):
    """In the background, in the foreground and with a captive command: each says why, with exit code 1. Not
    anywhere: in the background alone, for what comes before these ways part."""
    for way in ((), ('-f',), ('--run', f'touch {d}/ran'))[:3 if anywhere else 1]:
        for name in 'nbd', 'pid':
            with contextlib.suppress(FileNotFoundError):
                os.remove(f'{d}/{name}')
        result = in_background(d, *way, *arguments, prefix=prefix, so=so, cwd=cwd)
        same(result.rc, 1, f'exit code {way}: {result}')
        errors = [line for line in result.err.splitlines() if 'error: ' in line]
        same(len(errors), 1, f'{way}: sentences: {result}')
        for word in words:
            check(word in errors[0], f'{way}: the message does not say {word!r}: {result}')
        check(not os.path.exists(f'{d}/ran'), f'the command was run beside a server that is not there: {result}')
        check(not os.path.exists(f'{d}/nbd') or not serves(d), 'it serves all the same')


@contextlib.contextmanager
def beside(*argv):
    """A process that goes on meanwhile; ready when it listens on its socket, the first argument."""
    socket, *argv = argv
    process = harness.start(*argv)
    processes.wait_listening(process, socket)
    try:
        yield
    finally:
        harness.kill(process)  # qemu-nbd loses a SIGTERM that comes before its loop
        harness.finish(process)


# ---- What is said ----

@case('all is well: exit 0, and it serves at once', ())
@case('all is well with a pull and a socket', ('pull=true', 'bandwidth=1M', 'control={d}/ctl'))
@case('all is well with threads', ('pull=true', 'io=threads'))
@case('all is well giving way to the guest', ('pull=true', 'guest-p99=5ms', 'min-rate=1M'))
def well(d, parameters):
    need('nbdinfo')
    top = disk(d)
    result = in_background(d, f'image={top}', *[p.format(d=d) for p in parameters])
    same(result.rc, 0, str(result))
    same(result.err, '', 'stderr')
    check(serves(d), 'it does not serve')
    end(d)
    same(images.image_check(top, 'qcow2'), 0, 'check')


def missing(d, top):
    os.remove(top)


def no_base(d, top):
    os.remove(f'{d}/base.img')


def cut(d, top):
    os.truncate(top, 70000)


def bad_table(d, top):
    """An L2 entry into nowhere: only an audit of all tables finds it."""
    with open(top, 'rb') as file:
        content = file.read()
    l1 = int.from_bytes(content[40:48], 'big')
    l2 = int.from_bytes(content[l1:l1 + 8], 'big') & ((1 << 56) - 1)
    patch(top, l2, (1 << 63 | 1 << 40).to_bytes(8, 'big'))


@case('an image that is not there', missing, ['top.img'])
@case('a backing file that is not there', no_base, ['base.img'])
@case('an image that was cut', cut, ['top.img'])
@case('a damaged table, found by the audit behind the fork', bad_table, ['top.img'])
def broken(d, how, words):
    top = disk(d)
    how(d, top)
    does_not_start(d, words, f'image={top}', 'pull=true')


@case('a control socket in no directory', 'control={d}/none/ctl', 'none/ctl')
@case('a control socket that is a file', 'control={d}/base.img', 'base.img')
@case('a control socket with too long a name', 'control={d}/' + 'x' * 120, 'control socket')
@case('a base that is not in the chain', 'base={d}/other.img', 'other.img')
@case('a base that is the image', 'base={d}/top.img', 'top.img')
@case('a backing file out of reach', 'allow-backing=none', 'base.img')
@case('a format that it has not', 'format=qed', 'top.img')
@case('too little memory', 'memory=1M', 'memory')
def refused(d, parameter, word):
    top = disk(d)
    raw_image(f'{d}/other.img', MIB)
    does_not_start(d, [word], f'image={top}', 'pull=true', parameter.format(d=d))


@case('a directory that does not exist allows nothing, and does no harm', 'allow-backing={d}/none')
@case('a directory below a file allows nothing, and does no harm', 'allow-backing={d}/top.img/none')
def no_such_directory(d, parameter):
    top = disk(d)
    result = in_background(d, f'image={top}', parameter.format(d=d))
    same(result.rc, 0, str(result))
    check('warning: allow-backing: ' in result.err and 'none' in result.err, str(result))
    end(d)
    os.mkdir(f'{d}/else')
    os.rename(f'{d}/base.img', f'{d}/else/base.img')
    images.qemu_img('rebase', '-u', '-f', 'qcow2', '-b', f'{d}/else/base.img', '-F', 'raw', top)
    os.mkdir(f'{d}/vm')
    os.rename(top, f'{d}/vm/top.img')
    does_not_start(d, ['base.img', 'not allowed'], f'image={d}/vm/top.img', parameter.format(d=f'{d}/vm'))


@case('an image in use by a writer', ('-t',))
@case('an image in use by a reader', ('-r', '-t'))
def in_use(d, words):
    need('qemu-nbd')
    top = disk(d)
    with beside(f'{d}/q', 'qemu-nbd', *words, '-k', f'{d}/q', '-f', 'qcow2', top):
        does_not_start(d, ['top.img'], f'image={top}')


@case('an image that may not be written')
def no_permission(d):
    top = disk(d)
    here = copies(facts.nbdkit_plugin())
    os.chmod(d, 0o777)
    for name in 'top.img', 'base.img':
        os.chmod(f'{d}/{name}', 0o444)
    before = images.digest(top)
    does_not_start(d, ['top.img', 'no permission'], f'image={top}', prefix=as_nobody(), so=here.plugin)
    same(images.digest(top), before, 'the image')


@case('an image that may not be written by the user whom nbdkit becomes')
def no_permission_later(d):
    """Only behind -u is it known: nbdkit starts as root, which may."""
    as_nobody()
    top = disk(d)
    os.chmod(d, 0o777)
    os.chmod(top, 0o444)
    does_not_start(d, ['top.img', 'no permission'], '-u', 'nobody', f'image={top}')


@case('the reason a process without a pull can give is given once', ())
@case('the reason a process without a pull can give is given once by a server that talks', ('-v',))
def once(d, words):
    top = disk(d)
    bad_table(d, top)
    result = in_background(d, *words, f'image={top}')
    same(result.rc, 1, str(result))
    check('error: ' in result.err and 'top.img' in result.err, str(result))


# ---- Parameters ----

@case('two images', ['image={d}/top.img'], 'image')
@case('two images, by place', ['{d}/other.img'], 'image')
@case('pull twice', ['pull=true', 'pull=true'], 'pull')
@case('pull told both ways', ['pull=true', 'pull=false'], 'pull')
@case('two rates', ['pull=true', 'bandwidth=1M', 'bandwidth=2M'], 'bandwidth')
@case('two bases', ['pull=true', 'base={d}/base.img', 'base={d}/base.img'], 'base')
@case('two sockets', ['control={d}/a', 'control={d}/b'], 'control')
@case('two formats', ['format=qcow2', 'format=qcow2'], 'format')
@case('two memories', ['memory=48M', 'memory=64M'], 'memory')
@case('two words of holes', ['holes=read', 'holes=trust'], 'holes')
def twice(d, parameters, key):
    top = disk(d)
    does_not_start(d, [f'{key}: ', 'twice'], f'image={top}', *[p.format(d=d) for p in parameters], anywhere=False)


@case('a rate without a pull', 'bandwidth=1M')
@case('a base without a pull', 'base={d}/base.img')
@case('verify without a pull', 'verify=true')
@case('accept-mixed without a pull', 'accept-mixed=true')
@case('manual-finalize without a pull', 'manual-finalize=true')
@case('on-error without a pull', 'on-error=stop')
def alone(d, parameter):
    top = disk(d)
    parameter = parameter.format(d=d)
    key = parameter.split('=')[0]
    does_not_start(d, [f'{key}: ', 'pull=true', 'control='], f'image={top}', parameter, anywhere=False)
    does_not_start(d, [f'{key}: ', 'pull=true'], f'image={top}', parameter, 'pull=false', anywhere=False)
    partners = [f'control={d}/ctl']
    if key == 'manual-finalize':
        does_not_start(d, [f'{key}: ', 'control='], f'image={top}', parameter, 'pull=true', anywhere=False)
    else:
        partners.append('pull=true')
    for partner in partners:
        result = in_background(d, f'image={top}', parameter, partner)
        same(result.rc, 0, str(result))
        end(d)


@case('an image without a name', 'image=', 'image')
@case('a control socket without a name', 'control=', 'control')
@case('a base without a name', 'base=', 'base')
@case('a directory without a name', 'allow-backing=', 'allow-backing')
@case('a word that is none', 'on-error=ignore', 'on-error')
@case('no number', 'bandwidth=-1', 'bandwidth')
@case('no truth', 'pull=perhaps', 'perhaps')
@case('a key that is none', 'pul=true', "'pul'")
def no_value(d, parameter, word):
    top = disk(d)
    given = () if parameter == 'image=' else (f'image={top}',)
    does_not_start(d, [word], *given, parameter, anywhere=False)


@case('a server that is killed while it begins')
def killed(d):
    """chdir() is what nbdkit calls behind its fork, before the plugin's turn."""
    top = disk(d)
    result = in_background(d, f'image={top}', prefix=strace.words('chdir', ['chdir:signal=KILL']))
    same(result.rc, 1, str(result))
    check('ended while it was starting' in result.err, str(result))
    check(not serves(d), 'it serves')


@case('a relative file:NAME leads from where nbdkit was started, also behind its fork')
def relative_name(d):
    os.mkdir(f'{d}/sub')
    os.mkdir(f'{d}/other')
    raw_image(f'{d}/base.img', MIB, (0, 4096))
    raw_image(f'{d}/sub/dat.raw', MIB)
    images.qemu_img('create', '-q', '-f', 'qcow2', '-b', 'file:base.img', '-F', 'raw', '-o', f'data_file={d}/sub/dat.raw', f'{d}/sub/top.img',
                    cwd=d)
    for where, more in (d, ['allow-backing=.']), (f'{d}/sub', ['allow-backing=..']):
        if where != d:
            shutil.copy(f'{d}/base.img', where)
        result = in_background(d, *more, f'{d}/sub/top.img', cwd=where)
        same(result.rc, 0, f'exit code: {result}')
        images.qemu_img('compare', '-f', 'raw', '-F', 'raw', f'nbd+unix:///?socket={d}/nbd', f'{d}/base.img')
        end(d)
    # From here the same name leads to no file: that is told at the start.
    does_not_start(d, ['other/base.img', 'does not exist'], 'allow-backing=..', f'{d}/sub/top.img', cwd=f'{d}/other', anywhere=False)


@case('an allowed directory that does not exist is warned of, and allows nothing')
def missing_directory(d):
    os.mkdir(f'{d}/bases')
    os.mkdir(f'{d}/images')
    raw_image(f'{d}/bases/base.img', MIB)
    overlay(f'{d}/images/top.img', '../bases/base.img')
    for gone in f'{d}/gone', f'{d}/bases/base.img/x', 'gone':
        result = in_background(d, f'allow-backing={gone}', f'allow-backing={d}/bases', f'{d}/images/top.img')
        same(result.rc, 0, f'exit code: {result}')
        same(result.err.count(f"'{gone}' does not exist"), 1, f'warnings: {result}')
        end(d)
        result = in_background(d, f'allow-backing={gone}', f'{d}/images/top.img')
        same(result.rc, 1, f'exit code: {result}')
        check('bases' in result.err and f"'{gone}' does not exist" in result.err, str(result))
    loop = f'{d}/loop'
    os.symlink('loop', loop)
    check(loop in in_background(d, f'allow-backing={loop}', f'allow-backing={d}/bases', f'{d}/images/top.img').err, 'a loop of links')


if __name__ == '__main__':
    harness.main(workers=2)
