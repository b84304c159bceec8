# SPDX-License-Identifier: MIT OR Apache-2.0
"""The nbdkit plugin with a base behind a server that goes away: other people's clients use the disk, qemu-img judges."""
import os
import signal
import subprocess

import facts
import harness
import images
import processes
from guest_rig import FIRST, MIB, SIZE, Qmp, base, disk, is_linked, judge
from harness import bp, case, check, need, same
from source_rig import end


def serving(d, *parameters):
    process = harness.start('nbdkit', '-f', '-U', f'{d}/n', facts.nbdkit_plugin(), f'image={d}/top.img', f'control={d}/c',
                            f'allow-remote=nbd+unix:{d}', *parameters)
    processes.wait_listening(process, f'{d}/n', f'{d}/c')
    return process


def over(process):
    os.kill(process.pid, signal.SIGTERM)
    result = harness.finish(process)
    check(result.rc in (0, 128 + signal.SIGTERM), f'{result}')
    return result.err


def read(d, offset, rc=0, length=MIB, byte=FIRST):
    result = harness.run('qemu-io', '-r', '-f', 'raw', '-c', f'read -P {byte} {offset} {length}', f'nbd+unix:///?socket={d}/n')
    same(result.rc, rc, f'{result}')
    return result.out + result.err


@case('a server that is away for 3 s: a client waits, copies all of the disk, and the pull ends by itself')
def away(d):
    need('nbdcopy')
    disk(d)
    remote = base(d)
    process = serving(d, 'pull=true', 'bandwidth=4M')
    qmp = Qmp(d)
    same(qmp.ask('query-named-block-nodes')[1]['file'], f'nbd+unix:///?socket={d}/b', 'the node of the base')
    qmp.wait_copied(MIB)
    end(remote, f'{d}/b')
    qmp.wait_server('reconnecting')
    copy = harness.start('nbdcopy', f'nbd+unix:///?socket={d}/n', f'{d}/out')
    try:
        copy.wait(3)
        check(False, 'the client did not wait')
    except subprocess.TimeoutExpired:
        pass
    remote = base(d)
    same(harness.finish(copy).rc, 0, 'nbdcopy')
    same(images.digest(f'{d}/out'), images.digest(f'{d}/flat'), 'what nbdcopy read')
    bp('ctl', f'{d}/c', 'speed', '0')
    qmp.event('BLOCK_JOB_COMPLETED')
    server = qmp.server()
    check(server['reconnects'] >= 1 and server['bytes-read'] >= SIZE, f'{server}')
    said = over(process)
    check('reconnecting' in said and 'connected again' in said, said)
    judge(d)
    end(remote)


@case('a server that is away for long: an error after guest-timeout, what was pulled is served, the pull pauses and goes on')
def pauses(d):
    disk(d)
    remote = base(d)
    process = serving(d, 'pull=true', 'bandwidth=8M', 'guest-timeout=1', 'remote-timeout=2')
    qmp = Qmp(d)
    qmp.wait_copied(4 * MIB)
    end(remote, f'{d}/b')
    check('Input/output error' in read(d, SIZE - MIB, rc=1), 'another error')
    read(d, 0)
    qmp.event('BLOCK_JOB_ERROR', operation='read', action='stop')
    qmp.event('JOB_STATUS_CHANGE', status='paused')
    read(d, 0)
    remote = base(d)
    qmp.event('JOB_STATUS_CHANGE', status='running')
    qmp.event('BLOCK_JOB_COMPLETED')
    read(d, SIZE - MIB)
    over(process)
    judge(d)
    end(remote)


@case('a server that is away for good: the plugin ends, and the link stays')
def for_good(d):
    disk(d)
    remote = base(d)
    process = serving(d, 'pull=true', 'bandwidth=4M', 'guest-timeout=1', 'remote-timeout=1')
    qmp = Qmp(d)
    qmp.wait_copied(2 * MIB)
    end(remote, f'{d}/b')
    qmp.event('JOB_STATUS_CHANGE', status='paused')
    qmp.wait_server('away')
    read(d, 0)
    over(process)
    is_linked(d)


@case('in the background, and beside a command')
def forks(d):
    disk(d)
    remote = base(d)
    result = harness.run('nbdkit', '-U', '-', facts.nbdkit_plugin(), f'image={d}/top.img', f'allow-remote=nbd+unix:{d}',
                         '--run', f'qemu-io -r -f raw -c "read -P {FIRST} 0 {SIZE}" $uri')
    same(result.rc, 0, f'{result}')
    result = harness.run('setsid', '-w', 'nbdkit', '-P', f'{d}/pid', '-U', f'{d}/n', facts.nbdkit_plugin(), f'image={d}/top.img',
                         f'map-backing=nbd+unix:///?socket=={d}/b=base.raw', 'map-backing=other=nbd://h', cwd=d)
    same(result.rc, 0, f'{result}')
    check("no image names 'other'" in result.err, f'{result}')
    with open(f'{d}/pid', encoding='ascii') as file:
        pid = int(file.read())
    try:
        read(d, 0)
    finally:
        os.kill(pid, signal.SIGTERM)
    Qmp.until(lambda: not os.path.exists(f'/proc/{pid}'), 'it does not end')
    end(remote)


@case('parameters that make no sense, and names that are not allowed')
def parameters(d):
    top = disk(d)
    remote = base(d)
    for words, given in ((['guest-timeout', 'allow-remote'], ['guest-timeout=5']),
                         (['remote-timeout', 'soon'], ['allow-remote=nbd:h', 'remote-timeout=soon']),
                         (['open-timeout', 'twice'], ['allow-remote=nbd:h', 'open-timeout=5', 'open-timeout=6']),
                         (['tls-psk-file', 'tls-user'], ['allow-remote=nbd:h', 'tls-user=me']),
                         (['a pattern is'], ['allow-remote=ftp:h']),
                         (['allow-remote=nbd'], [])):
        result = harness.run('nbdkit', '-f', '-U', f'{d}/n', facts.nbdkit_plugin(), f'image={top}', *given)
        check(result.rc and all(word in result.err for word in words), f'{given}: {result}')
    end(remote)


if __name__ == '__main__':
    harness.main(workers=2)
