# SPDX-License-Identifier: MIT OR Apache-2.0
"""--expect: what a server exports is compared with what `blockpull hash --chunk` said of it, before the link goes."""
import os
import re
import signal

import facts
import harness
import images
from guest_rig import FIRST, SIZE, Front, Qmp, is_linked
from harness import DONE, MIB, REFUSED, USAGE, bp, case, check, refused, same
from images import qemu_img
from source_rig import end, nbdkit, pause
from test_remote_serve import over, serving

harness.cases.clear()  # test_remote_serve's own

CHUNK = 256 * 1024
DIFFERENT = 5


def disk(d, fmt='raw', name='top.img'):
    """An overlay of a base of random bytes that a server is to have at d/b."""
    if not os.path.exists(f'{d}/base'):
        with open(f'{d}/base.raw', 'wb') as file:
            file.write(os.urandom(8 * MIB) + bytes(4 * MIB) + bytes([FIRST]) * (SIZE - 12 * MIB))
        qemu_img('convert', '-O', fmt, f'{d}/base.raw', f'{d}/base')
    qemu_img('create', '-f', 'qcow2', '-u', '-b', f'nbd+unix:///?socket={d}/b', '-F', fmt, f'{d}/{name}', str(SIZE))
    return f'{d}/{name}'


def manifest(d, *words, name='m'):
    """As it is made on the server's side."""
    with open(f'{d}/{name}', 'w', encoding='utf-8') as file:
        file.write(bp('hash', f'--chunk={CHUNK}', '-f', 'raw', *words, f'{d}/base').out)
    return f'{d}/{name}'


def change(d, at):
    with open(f'{d}/base', 'r+b') as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def server(d):
    return nbdkit(f'{d}/b', '-r', 'file', f'{d}/base')


def allow(d):
    return f'--allow-remote=nbd+unix:{d}'


def named(d, file):
    return f'--expect=nbd+unix:///?socket=={d}/b={file}'


@case('a pull, a flatten and a verify of what is expected, as text and as JSON', 'raw')
@case('a pull, a flatten and a verify of a qcow2 base, whose file is what was hashed', 'qcow2')
def right(d, fmt):
    top, m = disk(d, fmt), manifest(d)
    remote = server(d)
    bp('flatten', allow(d), f'--expect={m}', top, f'{d}/flat')
    bp('verify', allow(d), named(d, manifest(d, '--json', name='j')), '-F', 'raw', top, f'{d}/base.raw')
    bp('pull', allow(d), named(d, m), top)
    images.judge_pulled(top, 'qcow2', f'{d}/base.raw')
    qemu_img('compare', f'{d}/flat', f'{d}/base.raw')
    end(remote)


@case('the hash of all of it: read before, and compared with what is read afterwards', 'raw')
@case('the hash of all of it, of a qcow2 base', 'qcow2')
def whole_hash(d, fmt):
    top = disk(d, fmt)
    digest = bp('hash', '-f', 'raw', f'{d}/base').out.split()[0]
    remote = server(d)
    for verb, more in ('pull', []), ('flatten', [f'{d}/flat']), ('verify', [f'{d}/base.raw']):
        words = ['-F', 'raw'] if verb == 'verify' else []
        other = f'{int(digest, 16) ^ 1:032x}'
        refused(DIFFERENT, ['not what is expected', other], verb, allow(d), f'--expect={other}', *words, top, *more)
        bp('verify', allow(d), named(d, digest.upper()), '-F', 'raw', top, f'{d}/base.raw')
    check(not os.path.exists(f'{d}/flat'), 'a file was made')
    is_linked(d)
    bp('flatten', allow(d), f'--expect={digest}', top, f'{d}/flat')
    qemu_img('compare', f'{d}/flat', f'{d}/base.raw')
    lines = bp('pull', '--progress=json', allow(d), f'--expect={digest}', top).lines()
    read = [line['network']['bytes-read'] for line in lines if line['event'] == 'result']
    check(read[0] > os.path.getsize(f'{d}/base'), f'{read}: it was not read before')
    images.judge_pulled(top, 'qcow2', f'{d}/base.raw')
    end(remote)


@case('a byte that changes behind the reading of all is met where it is read')
def changed_behind(d):
    disk(d)
    digest = bp('hash', '-f', 'raw', f'{d}/base').out.split()[0]
    remote = server(d)
    process = serving(d, allow(d), f'--expect={digest}')
    change(d, 3 * MIB)
    front = Front(d)
    front.do('read', 0, 3 * MIB // 512, answer='no')
    front.do('read', 0, SIZE // 512 - 8, answer=FIRST)
    front.over()
    over(process)
    is_linked(d)
    end(remote)


def inside(d):
    """Offsets of reads between what each connection reads to know the base again."""
    with open(f'{d}/log', encoding='utf-8') as file:
        found = [int(o, 16) for o in re.findall(r' Read id=\d+ offset=0x([0-9a-f]+)', file.read())]
    return [o for o in found if MIB < o < SIZE - MIB]


def slow_server(d):
    """Its base takes longer to be hashed than a signal to be heard."""
    return nbdkit(f'{d}/b', '-r', '--filter=pause', '--filter=log', '--filter=delay', 'file', f'{d}/base', f'logfile={d}/log',
                  'rdelay=300ms', f'pause-control={d}/p')


def catches(process):
    with open(f'/proc/{process.pid}/status', encoding='ascii') as file:
        return int(re.search(r'^SigCgt:\s*([0-9a-f]+)', file.read(), re.M)[1], 16) >> signal.SIGINT - 1 & 1


@case('Ctrl-C while the base is hashed is heard then, and nothing was written', '')
@case('Ctrl-C is heard where the program has begun to tidy up: the server stood still when it first looked', 'late')
def stopped(d, late):
    top = disk(d)
    digest = bp('hash', '-f', 'raw', f'{d}/base').out.split()[0]
    before = images.digest(top)
    for verb, words in ('pull', []), ('flatten', [f'{d}/flat']), ('serve', [f'--socket-path={d}/s']):
        remote = slow_server(d)
        if late:
            pause(f'{d}/p', b'p')
        process = harness.start(harness.blockpull, verb, allow(d), f'--expect={digest}', '--open-timeout=3', top, *words)
        if late:
            Qmp.until(lambda: catches(process), 'it does not look again')
            pause(f'{d}/p', b'r')
        Qmp.until(lambda: inside(d), 'it is not hashed')
        os.kill(process.pid, signal.SIGINT)
        result = harness.finish(process)
        same(result.rc, DONE if late and verb == 'serve' else 128 + signal.SIGINT, f'{verb}: {result}')
        check(max(inside(d)) < SIZE - 8 * MIB, f'{verb}: all of it was read')
        check(not set(os.listdir(d)) & {'flat', 's'}, f'{verb}: a file was made')
        same(images.digest(top), before, 'the image')
        end(remote, f'{d}/b')
        os.unlink(f'{d}/log')


@case('a base that is another one is read once to know that')
def read_once(d):
    top = disk(d)
    remote = nbdkit(f'{d}/b', '-r', '--filter=log', 'file', f'{d}/base', f'logfile={d}/log')
    refused(DIFFERENT, ['not what is expected'], 'pull', allow(d), '--expect=' + 32 * '0', top)
    offsets = inside(d)
    same(len(offsets), len(set(offsets)), f'reads: {sorted(offsets)}')
    end(remote)


@case('one byte is another: the pull fails, and the link stays', 'raw', 7 * MIB + 12345)
@case('the last byte is another: the pull fails, and the link stays', 'raw', SIZE - 1)
@case('a byte in the data of a qcow2 base is another: the pull fails, and the link stays', 'qcow2', 7 * MIB + 12345)
@case('a byte in the header of a qcow2 base is another: the pull fails, and the link stays', 'qcow2', 30)
def wrong(d, fmt, at):
    top, m = disk(d, fmt), manifest(d)
    change(d, at)
    remote = server(d)
    for verb, more in ('pull', []), ('flatten', [f'{d}/flat']), ('verify', [f'{d}/base.raw']):
        words = ['-F', 'raw'] if verb == 'verify' else []
        result = bp(verb, allow(d), f'--expect={m}', *words, top, *more, rc=DIFFERENT)
        check('expected' in result.err, f'{verb}: {result}')
    check(not os.path.exists(f'{d}/flat'), 'a file was made')
    is_linked(d)
    change(d, at)  # it is as it was
    bp('pull', allow(d), f'--expect={m}', top)
    images.judge_pulled(top, 'qcow2', f'{d}/base.raw')
    end(remote)


@case('a disk of another length is another one')
def length(d):
    top, m = disk(d), manifest(d)
    with open(f'{d}/base', 'ab') as file:
        file.write(bytes(512))
    remote = server(d)
    refused(DIFFERENT, [m, 'another one'], 'pull', allow(d), f'--expect={m}', top)
    is_linked(d)
    end(remote)


@case('serve and the plugin: an error for the guest, the pull fails, and what is right is served')
def served(d):
    top, m = disk(d), manifest(d)
    change(d, 3 * MIB)
    remote = server(d)
    process = serving(d, allow(d), named(d, m), '--pull', '--bandwidth=1M')  # its end is told to those who are there
    qmp, front = Qmp(d), Front(d)
    same(qmp.event('BLOCK_JOB_COMPLETED').get('x-errno'), 74, 'the error of the job')
    front.do('read', 0, 3 * MIB // 512, answer='no')
    front.do('read', 0, SIZE // 512 - 8, answer=FIRST)
    front.over()
    over(process)
    is_linked(d)
    run = ['nbdkit', '-U', '-', facts.nbdkit_plugin(), f'image={top}', allow(d)[2:], f'expect={m}', '--run']
    result = harness.run(*run, f'qemu-io -r -f raw -c "read {SIZE - MIB} 1M" $uri')
    same(result.rc, 0, f'{result}')
    result = harness.run(*run, 'qemu-io -r -f raw -c "read 3M 4k" $uri')
    check('Input/output error' in result.out + result.err, f'{result}')
    run[run.index(f'expect={m}')] = f'expect=other={m}'
    result = harness.run(*run, 'true')
    check(result.rc and "no image names 'other'" in result.err, f'{result}')
    end(remote)


@case('what makes no sense is refused before anything is written')
def refusals(d):
    top, m = disk(d), manifest(d)
    local = images.overlay(f'{d}/local.img', 'base.raw')
    whole = bp('hash', '-f', 'raw', f'{d}/base').out
    with open(f'{d}/whole', 'w', encoding='utf-8') as file:
        file.write(whole)
    remote = server(d)
    before = images.digest(top), images.digest(local)
    for verb, more in ('pull', []), ('flatten', [f'{d}/flat']), ('verify', [top]), ('serve', [f'--socket-path={d}/s']):
        for words, args, image in (
                (['no image names', 'other'], [f'--expect=other={m}'], top),
                (['--chunk=1M', 'the hash itself'], [f'--expect={d}/whole'], top),
                (['given twice'], [named(d, m), named(d, whole.split()[0])], top),
                (['absent'], [f'--expect={d}/absent'], top),
                (['NAME='], [f'--expect=={m}'], top),
                (['has no NAME='], [f'--expect={m}', named(d, m)], top),
                (['given twice'], [named(d, m), named(d, m)], top),
                (['there is none'], [f'--expect={m}'], local)):
            if verb != 'verify' or image == top:  # verify reads the server by its other image
                refused(USAGE, words, verb, allow(d), *args, image, *more)
        refused(REFUSED, ['base.raw', 'is a file'], verb, allow(d), f'--expect=base.raw={m}', local, *more)
        refused(USAGE, ['--expect', '--allow-remote'], verb, f'--expect={m}', top, *more)
    same((images.digest(top), images.digest(local)), before, 'the images')
    check(not os.path.exists(f'{d}/flat'), 'a file was made')
    end(remote)


@case('two bases: each by its name, and of one without a name it can\'t be told which')
def several(d):
    top, m = disk(d), manifest(d)
    second = f'{d}/second.img'
    qemu_img('create', '-f', 'qcow2', '-u', '-b', f'nbd+unix:///?socket={d}/c2', '-F', 'raw', second, str(SIZE))
    remotes = server(d), nbdkit(f'{d}/c2', '-r', 'file', f'{d}/base')
    refused(1, ['more than one base', f'nbd+unix:///?socket={d}/c2'], 'verify', allow(d), f'--expect={m}', top, second)
    bp('verify', allow(d), named(d, m), f'--expect=nbd+unix:///?socket=={d}/c2={m}', top, second)
    bp('pull', allow(d), named(d, m), f'--expect=nbd+unix:///?socket=={d}/c2={m}', top, second)
    for remote in remotes:
        end(remote)


if __name__ == '__main__':
    harness.main(workers=2)
