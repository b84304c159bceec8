# SPDX-License-Identifier: MIT OR Apache-2.0
"""Servers that do harm (tests/nbd/hostile.py) and a source that they may not hang, crash or deceive."""
import resource
import time

import harness
from harness import KIB, MIB, case, check, same
from source_rig import Driver, end, hostile

URI = 'nbd+unix:///?socket='


def driver(d, **seconds):
    """With these limits, on a machine that runs programs as fast as they can: a sanitizer's take several times as long."""
    times = 5 if harness.instrumented() else 1
    return Driver(allow=f'nbd+unix:{d}', **{name: times * limit for name, limit in seconds.items()})


@case('no handshake hangs: mute', 'mute')
@case('no handshake hangs: garbage', 'garbage')
@case('no handshake hangs: one byte at a time', 'drip-handshake')
@case('no handshake hangs: answers on contexts that never end', 'endless-meta')
@case('no handshake hangs: facts on the export that never end', 'endless-info')
def handshakes(d, trick):
    server = hostile(f'{d}/s', trick)
    source = driver(d, open=4, request=2, remote=4, guest=4)
    source.say(f'open {URI}{d}/s')
    line = source.wait('open', seconds=harness.patience(10))
    check(int(line.split()[1]) < 0, line)
    source.close(300)
    end(server)


@case('facts that never end, while nothing but close() looks')
def closed_in_handshake(d):
    server = hostile(f'{d}/s', 'endless-info')
    source = driver(d, open=2, request=100, guest=100)
    began = time.monotonic()
    source.say(f'open {URI}{d}/s')
    same(source.wait('open').split()[1], '-110', 'the open')
    check(time.monotonic() - began < 60, 'it was not ended')
    source.close(300)
    end(server)


@case('facts that never end, on the second connection')
def held_up(d):
    server = hostile(f'{d}/s', 'again-endless-info', after=3)
    source = driver(d, guest=1, request=1, remote=4)
    source.open(f'{URI}{d}/s')
    source.right(0, 4096)
    for asker in 'guest', 'job':
        same(source.read(0, 4096, asker)[0], -113, asker)
    source.close(300)
    end(server)


@case('a size of almost 2^63')
def huge(d):
    server = hostile(f'{d}/s', 'huge')
    source = driver(d)
    source.say(f'open {URI}{d}/s')
    source.wait('open')
    source.close(300)
    end(server)


@case('an answer is taken for nothing else: half of the bytes', 'short')
@case('an answer is taken for nothing else: the first half twice and the second never', 'overlap')
@case('an answer is taken for nothing else: more bytes than were asked for', 'long')
@case('an answer is taken for nothing else: bytes of another place', 'elsewhere')
@case('an answer is taken for nothing else: never', 'silent')
@case('an answer is taken for nothing else: one byte at a time', 'drip')
@case('an answer is taken for nothing else: hanging up', 'hang-up')
@case('an answer is taken for nothing else: nonsense', 'nonsense')
@case('an answer is taken for nothing else: a length of 4 GiB', 'lying-length')
@case('an answer is taken for nothing else: the answer to another question', 'wrong-cookie')
@case('an answer is taken for nothing else: empty answers that never end', 'endless')
@case('an answer is taken for nothing else: one hole again and again, faster than it is read', 'endless-holes')
@case('an answer is taken for nothing else: always just about to shut down', 'shutdown')
def replies(d, trick):
    """No answer is taken for what it is not: it is an error in the end, after the time for it."""
    server = hostile(f'{d}/s', trick, after=3)
    source = driver(d, request=1, remote=4, guest=2, open=2)
    source.open(f'{URI}{d}/s')
    source.right(0, 4096)
    for asker in 'guest', 'job':
        source.say(f'read {asker} 4096 65536 {asker}')
    for asker in 'guest', 'job':
        rc, _ = source.answer(asker)
        check(rc in (-5, -113), f'{asker}: {rc}')
    state = source.state()
    check(int(state['bytes']) < 4 * MIB, f'{state}')
    check(all(' ' <= c <= '~' for c in state['message']), f'{state}')
    source.close(300)
    end(server)


@case('a server that answers all questions but one')
def all_but_one(d):
    """Others' answers are no answer to it: it ends in an error, and they go on."""
    server = hostile(f'{d}/s', 'passing-over', size=4096 * MIB)
    source = driver(d, request=1, remote=30, guest=2, open=2)
    source.open(f'{URI}{d}/s')
    source.say(f'read never {2048 * MIB} 4096 guest')
    source.say(f'load l {1024 * MIB} {MIB} {64 * KIB}')
    rc, _ = source.answer('never')
    same(rc, -113, 'the one')
    check(not any(line.startswith('load') for line in source.seen), 'it ended after all others')
    same(source.wait('load').split()[2], '0', 'the others')
    source.close(300)
    end(server)


@case('what is told of holes is judged: no entry at all', 'extents-none', None)
@case('what is told of holes is judged: entries of no length', 'extents-zero-length', [])
@case('what is told of holes is judged: entries of 4 GiB', 'extents-long', [(MIB, 1)])
@case('what is told of holes is judged: a hundred thousand entries', 'extents-many', [(1, 1)] * 4096)
@case('what is told of holes is judged: a hole that does not say that it is zero', 'extents-hole', [(MIB // 2, 0), (MIB // 2, 1)])
@case('what is told of holes is judged: an error', 'extents-error', None)
@case('what is told of holes is judged: half an entry', 'extents-odd', None)
@case('what is told of holes is judged: answers that never end', 'extents-endless', None)
@case('what is told of holes is judged: two answers', 'extents-twice', [(MIB // 2, 0), (MIB // 2, 1)])
@case('what is told of holes is judged: an answer of another context', 'extents-foreign', None)
def extents(d, trick, wanted):
    """What is told is told once, of the range alone; all else is not known. Then a read works."""
    server = hostile(f'{d}/s', trick)
    source = driver(d, request=1, remote=4, guest=4, open=4)
    source.open(f'{URI}{d}/s')
    rc, found = source.extents(MIB, MIB)
    if wanted is None:
        check(not found, f'{trick}: {rc} {found}')
    else:
        same((rc, found), (0, wanted), trick)
    source.right(0, MIB)
    source.close(300)
    end(server)


@case('a server that lies about how many clients it takes')
def one_client(d):
    server = hostile(f'{d}/s', 'one-client', size=32 * MIB)
    source = driver(d, request=5)
    source.open(f'{URI}{d}/s')
    source.say(f'load l {32 * MIB} {64 * MIB} {MIB}')
    same(source.wait('load').split()[2], '0', 'the load')
    same(source.state()['connections'], '1', 'connections')
    source.close(300)
    end(server)


@case('memory stays small, whatever is sent')
def memory(d):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    for trick in 'garbage', 'lying-length', 'extents-many', 'endless-info', 'endless', 'endless-holes':
        server = hostile(f'{d}/s', trick, after=3 if trick in ('lying-length', 'endless', 'endless-holes') else 0)
        source = driver(d, request=1, remote=2, guest=2, open=2)
        source.say(f'open {URI}{d}/s')
        if source.wait('open').split()[1] == '0':
            source.say('read a 0 65536 job')
            source.extents(0, MIB)
            source.answer('a')
        with open(f'/proc/{source.process.pid}/status', encoding='ascii') as status:
            peak = int(next(line for line in status if line.startswith('VmHWM')).split()[1])
        check(peak < 128 * 1024, f'{trick}: {peak} KiB, {before} before')
        source.close(300)
        end(server)


if __name__ == '__main__':
    harness.main(workers=4)
