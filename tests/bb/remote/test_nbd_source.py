# SPDX-License-Identifier: MIT OR Apache-2.0
"""Sources of libblockpull-nbd over real servers: what they read, what they say of holes, and what becomes of
questions while servers go, come back, or come back with another disk. No engine: tests/nbd/source_driver.c asks."""
import os
import re
import signal
import subprocess
import time

import harness
import processes
from harness import KIB, MIB, case, check, need, same
from source_rig import Driver, crc, end, hostile, nbdkit, pause

URI = 'nbd+unix:///?socket='


def driver(d, **options):
    return Driver(**{'allow': f'nbd+unix:{d}', **options})


@case('what nbdkit serves is read, by each asker and at each end')
def reads(d):
    server = nbdkit(f'{d}/s', 'pattern', '8M')
    source = driver(d)
    same(source.open(f'{URI}{d}/s'), f'{8 * MIB} 512 0', 'what is opened')
    for offset, length in (0, 512), (0, MIB), (512, 512), (8 * MIB - 512, 512), (7 * MIB, MIB), (3 * MIB + 512, 64 * KIB):
        for asker in 'job', 'guest', 'call':
            source.right(offset, length, asker)
    state = source.state()
    same((state['state'], state['reconnects'], state['n']), ('connected', '0', '1'), f'{state}')
    check(int(state['bytes']) >= 7 * MIB, f'bytes: {state}')
    source.close(100)
    end(server)


def keep(source):
    source.say('keep')
    source.wait('keep')


def drop(source):
    """Closes what was kept: True if what was opened since is the same."""
    source.say('drop')
    return source.wait('drop').split()[1] == '1'


@case('a disk that is open is opened once, for as long as one that asked for it has it')
def opened_once(d):
    server = nbdkit(f'{d}/s', 'pattern', '8M')
    source = driver(d)
    source.open(f'{URI}{d}/s')
    before = source.state()['bytes']
    for _ in range(2):
        keep(source)
        source.say(f'open {URI}{d}/s')
        same(source.wait('open').split()[1], '0', 'opened once more')
        state = source.state()
        same((state['n'], state['connections'], state['bytes']), ('1', '1', before), f'{state}')
        check(drop(source), 'it is another one')
    source.right(3 * MIB, MIB)
    source.say('seal')
    source.wait('seal')
    keep(source)
    source.say(f'open {URI}{d}/s')
    check(source.wait('open').split()[1] != '0', 'opened, though no more may be')
    source.close(100)
    end(server)


@case('a disk whose server is lost is opened anew')
def lost_is_not_shared(d):
    server = nbdkit(f'{d}/s', 'pattern', '8M')
    source = driver(d, open=2)
    source.open(f'{URI}{d}/s')
    end(server, f'{d}/s')
    source.wait('changed', 'reconnecting')
    keep(source)
    source.say(f'open {URI}{d}/s')
    check(source.wait('open').split()[1] != '0', 'a server that is not there was opened')
    check(not drop(source), 'the lost one was taken')
    source.close(100)


@case('one more connection where those are busy, and only where the server allows it')
def connections(d):
    for words, wanted in (('pattern', '64M', '--filter=delay', 'rdelay=20ms'), '8'), (
            ('pattern', '64M', '--filter=delay', 'rdelay=20ms', '--filter=multi-conn', 'multi-conn-mode=disable'), '1'):
        server = nbdkit(f'{d}/s', *[w for w in words if w.startswith('--')], *[w for w in words if not w.startswith('--')])
        source = driver(d)
        source.open(f'{URI}{d}/s')
        same(source.state()['connections'], '1', 'at first')
        load_until(source, wanted)
        source.close(100)
        end(server, f'{d}/s')


def load_until(source, wanted):
    """Loads it until it has as many connections, and once more: it never has others."""
    for _ in range(50):
        before = source.state()['connections']
        source.say(f'load l {64 * MIB} {256 * MIB} {64 * KIB}')
        same(source.wait('load').split()[2], '0', 'the load')
        if before == wanted:
            break
    same(source.state()['connections'], wanted, 'connections')


@case('no more connections than the program allows')
def few_connections(d):
    server = nbdkit(f'{d}/s', '--filter=delay', 'pattern', '64M', 'rdelay=20ms')
    source = driver(d, connections=3)
    source.open(f'{URI}{d}/s')
    load_until(source, '3')
    source.close(100)
    end(server)


@case('holes of nbdkit and of qemu-nbd are zeros, and nothing else is')
def extents(d):
    server = nbdkit(f'{d}/s', 'data', 'size=8M', 'data=@1048576 0x55*65536')
    source = driver(d)
    source.open(f'{URI}{d}/s')
    rc, found = source.extents(0, 8 * MIB)
    same((rc, sum(n for n, _ in found)), (0, 8 * MIB), f'{found}')
    zeros = sum(n for n, zero in found if zero)
    check(7 * MIB <= zeros < 8 * MIB and found[0] == (found[0][0], 1), f'{found}')
    same(source.extents(MIB + 5, 11), (0, [(11, 0)]), 'unaligned, data')
    same(source.extents(3 * MIB + 1, 1), (0, [(1, 1)]), 'unaligned, zeros')
    source.close()
    end(server, f'{d}/s')
    need('qemu-nbd')
    harness.run('qemu-img', 'create', '-f', 'qcow2', f'{d}/q.qcow2', '8M')
    harness.run('qemu-io', '-c', 'write -P 7 2M 1M', '-c', 'write -z 4M 1M', f'{d}/q.qcow2')
    server = harness.start('qemu-nbd', '-r', '-t', '-e', '8', '-k', f'{d}/s', '-f', 'qcow2', f'{d}/q.qcow2')
    processes.wait_listening(server, f'{d}/s')
    source = driver(d)
    source.open(f'{URI}{d}/s')
    same(source.extents(0, 8 * MIB), (0, [(2 * MIB, 1), (MIB, 0), (5 * MIB, 1)]), 'of qcow2')
    source.close()
    end(server)


@case('without base:allocation nothing is known of holes')
def no_extents(d):
    server = nbdkit(f'{d}/s', '--no-sr', 'memory', '8M')
    source = driver(d)
    source.open(f'{URI}{d}/s')
    same(source.extents(0, 8 * MIB), (0, []), 'extents')
    same(source.read(0, 64 * KIB)[0], 0, 'a read')
    source.close()
    end(server)


@case('an error of the server is an error of that question alone, and none that means more')
def errors(d):
    server = nbdkit(f'{d}/s', '--filter=error', 'pattern', '8M', 'error-pread-rate=100%', f'error-file={d}/fail', 'error=EINVAL')
    source = driver(d)
    source.open(f'{URI}{d}/s')
    open(f'{d}/fail', 'w', encoding='ascii').close()
    same(source.read(2 * MIB, 64 * KIB)[0], -5, 'while it fails')
    os.unlink(f'{d}/fail')
    source.right(2 * MIB, 64 * KIB)
    same(source.state()['reconnects'], '0', 'connections that were lost')
    source.close()
    end(server)
    for trick in 'error', 'error-words', 'errno':
        server = hostile(f'{d}/h', trick, after=4)
        source = driver(d)
        source.open(f'{URI}{d}/h')
        source.right(0, 4096)
        source.right(0, 4096)
        same(source.read(0, 4096)[0], -5, trick)
        source.close()
        end(server)


@case('a server that is killed and comes back costs only time')
def comes_back(d):
    server = nbdkit(f'{d}/s', '--filter=delay', 'pattern', '64M', 'rdelay=50ms')  # for a load of 200 ms at least
    source = driver(d, request=5)
    source.open(f'{URI}{d}/s')
    source.say(f'load l {64 * MIB} {16 * MIB} {256 * KIB}')
    time.sleep(0.1)
    end(server, f'{d}/s')
    source.wait('changed', 'reconnecting')
    time.sleep(1)
    server = nbdkit(f'{d}/s', 'pattern', '64M')
    whole = source.wait('load').split()
    same(whole[2], '0', 'the load')
    source.say(f'load m {64 * MIB} {16 * MIB} {256 * KIB}')
    same(source.wait('load').split()[4], whole[4], 'what was read beside the loss')
    state = source.state()
    check(int(state['reconnects']) >= 1 and state['state'] == 'connected', f'{state}')
    source.close(100)
    end(server)


@case('jobs, guests and calls wait as long as they are to, and not at all when it is over')
def timeouts(d):
    server = nbdkit(f'{d}/s', 'pattern', '8M')
    source = driver(d, remote=15, guest=1, open=8, request=10)  # a busy machine may look some seconds late
    source.open(f'{URI}{d}/s')
    end(server, f'{d}/s')
    source.wait('changed', 'reconnecting')
    for asker in 'job', 'call', 'guest':
        source.say(f'read {asker} 0 4096 {asker}')
    same(source.answer('guest')[0], -113, 'a guest')
    source.has_not('read', 'call')
    same(source.answer('call')[0], -113, 'a call')
    source.has_not('read', 'job')
    same(source.answer('job')[0], -113, 'a job')
    source.wait('changed', 'away')
    began = time.monotonic()
    for asker in 'guest', 'call', 'job':
        same(source.read(0, 4096, asker)[0], -113, f'{asker}, afterwards')
    same(source.extents(0, 4096)[0], -113, 'extents')
    check(time.monotonic() - began < 60, 'they were not ended at once')
    server = nbdkit(f'{d}/s', 'pattern', '8M')
    source.wait('changed', 'connected')
    source.right(MIB, MIB, 'guest')
    end(server, f'{d}/s')
    source.wait('changed', 'reconnecting')
    source.say('read again 0 4096 job')  # the time begins anew
    server = nbdkit(f'{d}/s', 'pattern', '8M')
    same(source.answer('again'), (0, crc(0, 4096)), 'a second loss')
    source.close(100)
    end(server)


@case('another disk after a reconnect: all is stale, for good')
def another_disk(d):
    for words, was in (('pattern', '8M'), 'pattern'), (('memory', '8M'), 'pattern'), (('pattern', '9M'), 'pattern'), (
            ('memory', '9M'), 'memory'):
        server = nbdkit(f'{d}/s', was, '8M')
        source = driver(d)
        source.open(f'{URI}{d}/s')
        same(source.read(0, MIB)[0], 0, 'before')
        end(server, f'{d}/s')
        source.wait('changed', 'reconnecting')
        source.say('read w 4194304 4096 job')
        server = nbdkit(f'{d}/s', *words)
        if words == ('pattern', '8M'):
            same(source.answer('w')[0], 0, 'the same disk')
        else:
            same(source.answer('w')[0], -116, f'{words}')
            source.wait('changed', 'gone')
            end(server, f'{d}/s')
            server = nbdkit(f'{d}/s', was, '8M')  # it comes too late
            same(source.read(0, 4096)[0], -116, 'afterwards')
            same(source.extents(0, 4096)[0], -116, 'extents')
            check('another disk' in source.state()['message'] or 'another length' in source.state()['message'], f'{source.state()}')
        source.close(100)
        end(server, f'{d}/s')


@case('a disk that was read-only and is so no more is another one; what clients may ask of a server is its own matter')
def other_flags(d):
    with open(f'{d}/a', 'wb') as image:
        image.write(os.urandom(8 * MIB))
    little = [f'--filter={name}' for name in ('noextents', 'nozero', 'cacheextents', 'noparallel')]
    for before, after, is_same in ((['-r'], [], False), (['-r', *little], [], False), ([], ['-r'], True), (['-r'], ['-r'], True),
                                   ([], little, True), (['-r', *little], ['-r'], True)):
        server = nbdkit(f'{d}/s', *before, 'file', f'{d}/a')
        source = driver(d)
        source.open(f'{URI}{d}/s')
        end(server, f'{d}/s')
        source.wait('changed', 'reconnecting')
        source.say('read w 4194304 4096 job')
        server = nbdkit(f'{d}/s', *after, 'file', f'{d}/a')
        same(source.answer('w')[0], 0 if is_same else -116, f'{before}, then {after}')
        if not is_same:
            source.wait('changed', 'gone')
            check('read-only' in source.state()['message'], f'{source.state()}')
        source.close(100)
        end(server, f'{d}/s')


@case('the last bytes of a disk tell it from another one, too')
def another_tail(d):
    for seed_at in 'head', 'tail':
        with open(f'{d}/a', 'wb') as image:
            image.truncate(8 * MIB)
        server = nbdkit(f'{d}/s', 'file', f'{d}/a')
        source = driver(d)
        source.open(f'{URI}{d}/s')
        end(server, f'{d}/s')
        source.wait('changed', 'reconnecting')
        with open(f'{d}/a', 'r+b') as image:
            image.seek(MIB - 1 if seed_at == 'head' else 8 * MIB - 1)
            image.write(b'x')
        server = nbdkit(f'{d}/s', 'file', f'{d}/a')
        source.wait('changed', 'gone')
        source.close()
        end(server, f'{d}/s')


@case('a server that stands still, and one that lets go of clients one by one')
def stands_still(d):
    server = nbdkit(f'{d}/s', '--filter=pause', 'pattern', '8M', f'pause-control={d}/p')
    source = driver(d, request=1, guest=4, remote=30)
    source.open(f'{URI}{d}/s')
    pause(f'{d}/p', b'p')
    source.say('read g 0 4096 guest')
    source.wait('changed', 'reconnecting')
    same(source.answer('g')[0], -113, 'a guest')
    source.say('read j 0 4096 job')
    pause(f'{d}/p', b'r')
    same(source.answer('j'), (0, crc(0, 4096)), 'a job')
    source.close(100)
    end(server, f'{d}/s')


@case('a child of fork() leaves all that it inherited, and the parent reads on')
def forks(d):
    for broker in 0, 1:
        server = nbdkit(f'{d}/s', '--filter=delay', 'pattern', '64M', 'rdelay=10ms')
        source = driver(d, broker=broker)
        source.open(f'{URI}{d}/s')
        load_until(source, '8')
        source.say('fork')
        had, has = map(int, source.wait('fork').split()[1:])
        check(had > 8 and has == 0, f'broker={broker}: the child had {had} sockets and eventfds, and has {has}')
        source.right(0, MIB)
        same(source.state()['reconnects'], '0', 'connections that the child ended')
        source.close()
        end(server, f'{d}/s')


@case('close() ends what is asked, at once, whatever the server does')
def closes(d):
    for trick in 'silent', 'drip', 'endless', 'endless-holes':
        server = hostile(f'{d}/s', trick, after=3)
        source = driver(d)
        source.open(f'{URI}{d}/s')
        source.right(0, 4096)
        for i in range(40):
            source.say(f'read {i} {i * 4096} 4096 {"job" if i % 2 else "guest"}')
        time.sleep(0.3)
        source.close(200)
        for i in range(40):
            same(int(source.wait('read', str(i)).split()[2]), -125, f'{trick}: question {i}')
        end(server, f'{d}/s')
    server = nbdkit(f'{d}/s', 'pattern', '8M')
    source = driver(d)
    source.open(f'{URI}{d}/s')
    end(server, f'{d}/s')
    source.wait('changed', 'reconnecting')
    source.say('read a 0 4096 job')
    source.close(200)
    same(source.answer('a')[0], -125, 'while it is away')


@case('names that are not allowed, mapped ones, and the sentence')
def policy(d):
    server = nbdkit(f'{d}/s', 'pattern', '8M')
    source = Driver()
    check('allow' in source.open(f'{URI}{d}/s', -1), 'no sentence')
    source.close()
    source = Driver(allow=f'nbd+unix:{d}/elsewhere')
    source.open(f'{URI}{d}/s', -1)
    source.close()
    source = Driver(map=[f'http://base/=nbd+unix:///?socket={d}/s', 'old.img=/new.img'])
    same(source.open('http://base/').split()[0], str(8 * MIB), 'mapped')
    source.right(0, MIB)
    source.close()
    source = Driver(map=f'old.img={d}/new.img')
    same(source.open('old.img'), f'file {d}/new.img', 'a file')
    source.close()
    source = Driver()
    source.open('plain.img', 1)
    source.close()
    end(server)


@case('sealed: what is open stays, nothing new is opened')
def sealed(d):
    server = nbdkit(f'{d}/s', 'pattern', '8M')
    source = driver(d)
    source.open(f'{URI}{d}/s')
    source.say('seal')
    source.right(0, 4096)
    source.say(f'open {URI}{d}/s')
    same(source.wait('open').split()[1], '-1', 'another one')
    source.process.stdin.close()
    end(server)


@case('the broker connects, again too, and ends by itself')
def broker(d):
    server = nbdkit(f'{d}/s', 'pattern', '8M')
    source = driver(d, broker=1)
    source.open(f'{URI}{d}/s')
    (pid,) = brokers(source)
    names = [os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')]
    check(all(n == '/dev/null' or n.startswith(('socket:', 'anon_inode:[eventfd')) for n in names), f'it keeps {names}')
    for sig in 'INT', 'TERM', 'HUP':
        subprocess.run(['kill', f'-{sig}', str(pid)], check=True)
    source.say('seal')
    source.right(0, MIB)
    end(server, f'{d}/s')
    source.wait('changed', 'reconnecting')
    server = nbdkit(f'{d}/s', 'pattern', '8M')
    source.wait('changed', 'connected')
    source.right(MIB, MIB)
    source.close(100)
    gone(source, 'when it was closed')
    source = driver(d, broker=1)
    source.open(f'{URI}{d}/s')
    same(len(brokers(source)), 1, 'brokers')
    os.kill(source.process.pid, signal.SIGKILL)  # alone, not with all of its group
    source.process.wait()
    gone(source, 'when its process was killed')
    source = Driver(broker=1)
    source.open(f'{URI}{d}/s', -1)
    source.close()
    end(server)


def brokers(source):
    """Of this driver alone: each has a session of its own, and other cases run beside this one."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/comm', encoding='ascii') as comm:
                if comm.read().strip() == 'blockpull-nbd' and os.getsid(int(pid)) == source.process.pid:
                    found.append(int(pid))
        except OSError:
            continue
    return found


def gone(source, when):
    deadline = time.monotonic() + harness.WAIT
    while brokers(source):
        check(time.monotonic() < deadline, f'the broker is there {when}')
        time.sleep(0.02)


@case('the library shows what its header declares, and nothing else')
def names(d):
    need('nm')
    library = os.path.join(os.path.dirname(harness.blockpull), 'nbd', 'libblockpull-nbd.so')
    if not os.path.exists(library):
        raise harness.Skip('libblockpull-nbd is not built')
    with open(os.path.join(os.path.dirname(__file__), '../../../tools/nbd/blockpull-nbd.h'), encoding='utf-8') as header:
        declared = set(re.findall(r'^BPULL_NBD_API[^;(]*?\b(bpull_nbd_\w+)\(', header.read(), re.M))
    shown = {line.split()[-1].split('@')[0] for line in harness.run('nm', '-D', '--defined-only', library).out.splitlines()}
    same(shown - {'BLOCKPULL_NBD_0.1'}, declared, 'names')
    check(len(declared) >= 8, f'{declared}')


if __name__ == '__main__':
    harness.main(workers=2)
