# SPDX-License-Identifier: MIT OR Apache-2.0
"""blockpull serve with a base behind a server that goes away: our own frontend is the machine, qemu-img judges."""
import os
import signal
import time

import harness
import processes
from guest_rig import FIRST, MIB, SECTORS, Front, Qmp, base, disk, is_linked, judge, wrote
from harness import DONE, REFUSED, USAGE, bp, case, check, refused, same
from source_rig import end

BLOCK = 128  # sectors of a cluster


def serving(d, *args):
    server = harness.start(harness.blockpull, 'serve', f'--socket-path={d}/s', f'--control={d}/c', *args, f'{d}/top.img')
    processes.wait_listening(server, f'{d}/s', f'{d}/c')
    return server


def over(server):
    os.kill(server.pid, signal.SIGTERM)
    result = harness.finish(server, timeout=20)
    same(result.rc, DONE, f'the server: {result}')
    return result.err


@case('a server that is away for 3 s: requests wait, and then all is right', [])
@case('a server that is away for 3 s: requests wait, with --no-sandbox', ['--no-sandbox'])
def away(d, words):
    disk(d)
    remote = base(d)
    server = serving(d, f'--allow-remote=nbd+unix:{d}', '--pull', '--bandwidth=4M', *words)
    qmp, front = Qmp(d), Front(d)
    node = qmp.ask('query-named-block-nodes')[1]
    same((node['file'], node['drv']), (f'nbd+unix:///?socket={d}/b', 'raw'), 'the node of the base')
    front.do('read', 0, SECTORS - BLOCK, answer=FIRST)
    front.do('write', 0, SECTORS - 2 * BLOCK, 0x22, answer=0)
    wrote(d, SECTORS - 2 * BLOCK, 0x22)
    end(remote, f'{d}/b')
    qmp.wait_server('reconnecting')
    front.ask('read', 0, SECTORS - 3 * BLOCK)
    check(not front.has_answer(3), 'the request did not wait')
    remote = base(d)
    same(front.answer(), str(FIRST), 'the request that waited')
    qmp.wait_server('connected')
    check(qmp.server()['reconnects'] >= 1 and qmp.server()['bytes-read'] > 0, f'{qmp.server()}')
    told = bp('ctl', f'{d}/c', 'info')
    check(f'server: nbd+unix:///?socket={d}/b: connected' in told.out and 'connected again' in told.out, f'{told}')
    same(bp('ctl', f'{d}/c', 'info', '--json').json()['servers'][0]['state'], 'connected', 'ctl info --json')
    bp('ctl', f'{d}/c', 'speed', '0')
    qmp.event('BLOCK_JOB_COMPLETED')
    front.do('read', 0, 0, answer=FIRST)
    front.over()
    said = over(server)
    check('is lost' in said and 'is back' in said, said)
    judge(d)
    end(remote)



def mapped(server):
    """Bytes of address space."""
    with open(f'/proc/{server.pid}/status', encoding='ascii') as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith('VmSize'))


@case('--memory: buffers for as much as is asked for')
def memory(d):
    disk(d)
    remote = base(d)
    sizes = []
    for words in [], ['--memory=192M']:
        server = serving(d, f'--allow-remote=nbd+unix:{d}', '--io=threads', *words)
        sizes.append(mapped(server))
        over(server)
    check(sizes[1] - sizes[0] >= 40 * MIB, f'{sizes} bytes of address space')
    for verb, more in ('pull', []), ('flatten', [f'{d}/flat']), ('serve', [f'--socket-path={d}/s']):
        refused(USAGE, ['--memory', '8M'], verb, '--memory=7M', f'{d}/top.img', *more)
    bp('flatten', f'--allow-remote=nbd+unix:{d}', '--memory=128M', f'{d}/top.img', f'{d}/out')
    bp('pull', f'--allow-remote=nbd+unix:{d}', '--memory=8M', f'{d}/top.img')
    judge(d)
    end(remote)


@case('a server that is away for good: errors in time, what was pulled is served, the link stays')
def for_good(d):
    disk(d)
    remote = base(d)
    server = serving(d, f'--allow-remote=nbd+unix:{d}', '--guest-timeout=1', '--remote-timeout=8', '--pull', '--bandwidth=2M')
    qmp, front = Qmp(d), Front(d)
    qmp.wait_copied(2 * MIB)
    end(remote, f'{d}/b')
    front.do('read', 0, SECTORS - BLOCK, answer='no')
    same(qmp.server()['state'], 'reconnecting', 'the server before the time of --remote-timeout')
    front.do('read', 0, 0, answer=FIRST)
    front.do('write', 0, 8, 0x33, answer=0)
    wrote(d, 8, 0x33)
    qmp.event('BLOCK_JOB_ERROR', operation='read', action='stop')
    qmp.event('JOB_STATUS_CHANGE', status='paused')
    qmp.wait_server('away')
    front.do('read', 0, SECTORS - 2 * BLOCK, answer='no')
    front.do('read', 0, 8, answer=0x33)
    check('stays away' in end_of(server, front), 'nothing is said')
    is_linked(d)
    remote = base(d)
    bp('pull', f'--allow-remote=nbd+unix:{d}', f'{d}/top.img')
    judge(d)
    end(remote)


def end_of(server, front):
    front.over()
    return over(server)


@case('a job that has paused for it goes on by itself')
def goes_on(d):
    disk(d)
    remote = base(d)
    server = serving(d, f'--allow-remote=nbd+unix:{d}', '--guest-timeout=1', '--remote-timeout=1', '--pull', '--bandwidth=8M')
    qmp, front = Qmp(d), Front(d)
    qmp.wait_copied(2 * MIB)
    end(remote, f'{d}/b')
    qmp.event('JOB_STATUS_CHANGE', status='paused')
    remote = base(d)
    qmp.event('JOB_STATUS_CHANGE', status='running')
    qmp.event('BLOCK_JOB_COMPLETED')
    front.do('read', 0, SECTORS - BLOCK, answer=FIRST)
    end_of(server, front)
    judge(d)
    end(remote)


@case('serve ends when it is told to, while the job and a request wait for a server')
def ends(d):
    disk(d)
    remote = base(d)
    server = serving(d, f'--allow-remote=nbd+unix:{d}', '--guest-timeout=2', '--pull', '--bandwidth=4M')
    qmp, front = Qmp(d), Front(d)
    qmp.wait_copied(2 * MIB)
    end(remote, f'{d}/b')
    qmp.wait_server('reconnecting')
    front.ask('read', 0, SECTORS - BLOCK)
    began = time.monotonic()
    over(server)
    check(time.monotonic() - began < harness.patience(60), 'it waited for the server')
    harness.kill(front.process)
    is_linked(d)


@case('--incoming: an image that another server has still is opened, and served when a ring starts')
def incoming(d):
    disk(d)
    remote = base(d)
    first = serving(d, f'--allow-remote=nbd+unix:{d}')
    front = Front(d)
    front.do('write', 0, 0, 0x44, answer=0)
    front.do('stop')
    os.rename(f'{d}/s', f'{d}/old')
    os.rename(f'{d}/c', f'{d}/old-c')
    second = serving(d, f'--allow-remote=nbd+unix:{d}', '--incoming', '--pull', '--bandwidth=4M')
    front.over()
    front = Front(d)
    front.do('read', 0, 0, answer=0x44)
    front.do('read', 0, SECTORS - BLOCK, answer=FIRST)
    wrote(d, 0, 0x44)
    front.do('stop')
    front.do('start')
    qmp = Qmp(d)
    bp('ctl', f'{d}/c', 'speed', '0')
    Qmp.until(lambda: qmp.ask('x-query-job')[0]['status'] == 'completed', 'the pull does not end')
    end_of(second, front)
    harness.kill(first)
    judge(d)
    end(remote)


@case('command lines that make no sense, and names that are not allowed')
def usage(d):
    top = disk(d)
    for words, args in ((['--guest-timeout', '--allow-remote'], ['--guest-timeout=5']),
                        (['--guest-timeout', 'soon'], ['--allow-remote=nbd:h', '--guest-timeout=soon']),
                        (['--fd-map', '--allow-remote'], ['--allow-remote=nbd:h', '--fd-map=x=0'])):
        refused(USAGE, words, 'serve', f'--socket-path={d}/s', *args, top)
    remote = base(d)
    refused(REFUSED, ['--allow-remote'], 'serve', f'--socket-path={d}/s', top)
    refused(USAGE, ['guest-timeout'], 'pull', f'--allow-remote=nbd+unix:{d}', '--guest-timeout=5', top)
    end(remote)


if __name__ == '__main__':
    harness.main(workers=2)
