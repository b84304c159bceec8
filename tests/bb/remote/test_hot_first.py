# SPDX-License-Identifier: MIT OR Apache-2.0
"""The hot blocks first: traces recorded by the plugin and by serve, and what a pull does with them. The base is an
nbdkit whose log filter, outside of its delay, says what was read and in which order.
"""
import os
import random
import re
import signal
import subprocess
import time
from xml.etree import ElementTree

import facts
import harness
import images
import processes
import remote_images
import strace
from harness import DONE, KIB, MIB, USAGE, bp, case, check, need, note, refused, same
from images import Untouched, overlay, qemu_img, raw_image
from source_rig import end

SIZE = 64 * MIB
BLOCK = 64 * KIB
MAGIC = 'blockpull trace 1\n'


def trace(path, *ranges):
    with open(path, 'w', encoding='ascii') as file:
        file.write(MAGIC + ''.join(f'{offset} {length} {i}\n' for i, (offset, length) in enumerate(ranges)))
    return path


def read_trace(path):
    with open(path, encoding='ascii') as file:
        text = file.read()
    check(text.startswith(MAGIC), text[:80])
    return [tuple(map(int, line.split())) for line in text.splitlines()[1:] if not line.startswith('#')]


def blocks(ranges):
    return [offset // BLOCK * BLOCK + i for offset, length, *_ in ranges
            for i in range(0, length + offset % BLOCK, BLOCK)]


class Base:
    """A served base of random bytes, and what was read of it."""

    def __init__(self, d, delay='0'):
        self.dir, self.log = d, f'{d}/log'
        if not os.path.exists(f'{d}/flat.raw'):
            with open(f'{d}/flat.raw', 'wb') as file:
                file.write(random.Random(7).randbytes(SIZE))
        self.process = harness.start('nbdkit', '-f', '-U', f'{d}/b', '--filter=log', '--filter=delay', 'file', f'{d}/flat.raw',
                                     f'rdelay={delay}', f'logfile={self.log}')
        processes.wait_listening(self.process, f'{d}/b')
        self.seen = 0

    def pulled(self):
        """The same without what each connection reads to know the base again."""
        return [r for r in self.reads() if r not in ((0, MIB), (SIZE - BLOCK, BLOCK))]

    def reads(self):
        """(offset, length) of each read since the last call, as they began."""
        with open(self.log, encoding='utf-8') as file:
            file.seek(self.seen)
            text = file.read()
            self.seen = file.tell()
        found = re.findall(r' Read id=\d+ offset=0x([0-9a-f]+) count=0x([0-9a-f]+)', text)
        return [(int(o, 16), int(n, 16)) for o, n in found]

    def overlay(self, name):
        return remote_images.overlay(self.dir, f'nbd+unix:///?socket={self.dir}/b', 'raw', SIZE, name)

    def end(self):
        end(self.process, f'{self.dir}/b')


def plugin(d, top, *parameters):
    process = harness.start('nbdkit', '-f', '-U', f'{d}/n', facts.nbdkit_plugin(), f'image={top}', f'allow-remote=nbd+unix:{d}',
                            *parameters)
    processes.wait_listening(process, f'{d}/n')
    return process


def over(d, process):
    os.kill(process.pid, signal.SIGTERM)
    result = harness.finish(process)
    check(result.rc in (0, 128 + signal.SIGTERM), f'{result}')
    if os.path.exists(f'{d}/n'):
        os.unlink(f'{d}/n')


def boot(d, requests):
    """Reads all of them, one after the other, as a machine does that waits for each. Seconds."""
    words = [word for offset, length in requests for word in ('-c', f'read {offset} {length}')]
    began = time.monotonic()
    result = harness.run('qemu-io', '-r', '-f', 'raw', *words, f'nbd+unix:///?socket={d}/n')
    same(result.rc, 0, f'{result}')
    return time.monotonic() - began


def session(seed, n, size=SIZE):
    """What a machine asks for when it boots: a few files, each in its order, at places that repeat."""
    rng = random.Random(seed)
    places = [rng.randrange(0, size // MIB) * MIB + rng.randrange(0, 8) * BLOCK for _ in range(12)]
    out = []
    while len(out) < n:
        place = rng.choice(places)
        offset = place + rng.randrange(0, 96) * 4096
        length = rng.choice((4096, 4096, 16384, 65536))
        if offset + length <= size:
            out.append((offset, length))
    return out


def slow_pull(d, top, *args):
    process = harness.start(harness.blockpull, 'pull', f'--allow-remote=nbd+unix:{d}', f'--control={d}/c', *args, top)
    processes.wait_listening(process, f'{d}/c')
    return process


def wait_copied(d, length):
    until = time.monotonic() + harness.WAIT
    while bp('ctl', '--json', f'{d}/c', 'info').json()['bytes']['copied'] < length:
        check(time.monotonic() < until, f'{length} bytes were not copied')
        time.sleep(0.02)


# ---- Recording ----------------------------------------------------------------------------------

@case('the plugin records each block once, in the order of first touches')
def recorded(d):
    need('qemu-io')
    base = Base(d)
    process = plugin(d, base.overlay('top'), f'trace={d}/t')
    requests = session(1, 200)
    boot(d, requests)
    over(d, process)
    got, wanted = blocks(read_trace(f'{d}/t')), list(dict.fromkeys(blocks(requests)))
    same(sorted(got), sorted(wanted), 'blocks')
    # A block may go on with one of the last few ranges, and comes earlier by that: what comes first stays first.
    same(got[0], wanted[0], 'the first block')
    times = [us for _, _, us in read_trace(f'{d}/t')]
    same(times, sorted(times), 'times')
    check(f'{len(times)} ranges' in bp('trace', 'show', f'{d}/t').out, 'show')
    process = plugin(d, base.overlay('other'), f'trace={d}/t')
    over(d, process)
    same(blocks(read_trace(f'{d}/t')), got, 'a server without a client')
    base.end()


def wait_for_change(path, before):
    """A trace that is not that text: it is whole at any moment."""
    until = time.monotonic() + harness.WAIT
    while not os.path.exists(path) or open(path, encoding='ascii').read() == before:
        check(time.monotonic() < until, 'what was touched is not written before the end')
        time.sleep(0.02)
    return read_trace(path)


@case('what a client touched survives a kill of the plugin')
def plugin_killed(d):
    need('qemu-io')
    base = Base(d)
    process = plugin(d, base.overlay('top'), f'trace={d}/t')
    requests, more = session(1, 50), session(2, 50)
    boot(d, requests)
    wait_for_change(f'{d}/t', '')
    same(sorted(blocks(read_trace(f'{d}/t'))), sorted(set(blocks(requests))), 'blocks of the first client')
    with open(f'{d}/t', encoding='ascii') as file:
        before = file.read()
    boot(d, more)
    got = wait_for_change(f'{d}/t', before)
    harness.kill(process, signal.SIGKILL)
    harness.finish(process)
    same(sorted(blocks(got)), sorted(set(blocks(requests + more))), 'blocks of both')
    same(read_trace(f'{d}/t'), got, 'the trace after the kill')
    check(not os.path.exists(f'{d}/t.tmp'), 'a file was left behind')
    base.end()


def steer(d, *words):
    """A frontend that does so and goes."""
    program = os.path.join(os.path.dirname(harness.blockpull), '..', 'tests', 'vhost_frontend')
    front = harness.start(program, 'steer', f'{d}/s', stdin=subprocess.PIPE)
    front.stdin.write(''.join(f'{word}\n' for word in words).encode())
    front.stdin.flush()
    for _ in words:
        check(front.stdout.readline(), 'the frontend ended')
    front.stdin.close()
    harness.finish(front)


@case('what a machine touched survives a kill of serve, which writes it inside its sandbox')
def serve_killed(d):
    base = Base(d)
    server = harness.start(harness.blockpull, 'serve', f'--socket-path={d}/s', f'--allow-remote=nbd+unix:{d}', f'--trace={d}/t',
                           base.overlay('top'))
    processes.wait_listening(server, f'{d}/s')
    steer(d, 'connect', 'start', 'read 0 8', 'read 0 4096')
    got = wait_for_change(f'{d}/t', '')
    harness.kill(server, signal.SIGKILL)
    same(harness.finish(server).rc, 137, 'the server')
    same([r[:2] for r in got], [(0, BLOCK), (2 * MIB, BLOCK)], 'ranges')
    same(read_trace(f'{d}/t'), got, 'the trace after the kill')
    base.end()


@case('serve says once that a trace can\'t be written, and that it will be tried again')
def serve_complains(d):
    base = Base(d)
    os.mkdir(f'{d}/sub')
    server = harness.start(harness.blockpull, 'serve', f'--socket-path={d}/s', f'--allow-remote=nbd+unix:{d}', f'--trace={d}/sub/t',
                           base.overlay('top'))
    processes.wait_listening(server, f'{d}/s')
    os.rmdir(f'{d}/sub')
    steer(d, 'connect', 'start', 'read 0 8')
    steer(d, 'connect', 'start', 'read 0 8')
    time.sleep(0.5)
    steer(d, 'connect', 'start', 'read 0 8')
    os.mkdir(f'{d}/sub')
    os.kill(server.pid, signal.SIGTERM)
    result = harness.finish(server)
    same(result.err.count('the trace could not be written'), 1, result.err)
    check('the next try follows' in result.err, result.err)
    same(read_trace(f'{d}/sub/t')[0][:2], (0, BLOCK), 'what was written in the end')
    base.end()


@case('serve records inside its sandbox, and a killed one leaves a whole trace')
def served(d):
    base = Base(d)
    top = base.overlay('top')
    program = os.path.join(os.path.dirname(harness.blockpull), '..', 'tests', 'vhost_frontend')
    old = trace(f'{d}/t', (0, 512))
    for number, sectors in ((signal.SIGKILL, (8, 4096)), (signal.SIGTERM, (65536, 8, 65544, 16))):
        server = harness.start(harness.blockpull, 'serve', f'--socket-path={d}/s', f'--allow-remote=nbd+unix:{d}', f'--trace={d}/t', top)
        processes.wait_listening(server, f'{d}/s')
        text = 'connect\nstart\n' + ''.join(f'read 0 {sector}\n' for sector in sectors) + 'write 0 8192 7\n'
        front = harness.start(program, 'steer', f'{d}/s', stdin=subprocess.PIPE)
        front.stdin.write(text.encode())
        front.stdin.flush()
        for _ in range(len(sectors) + 3):
            check(front.stdout.readline(), 'the frontend ended')
        os.kill(server.pid, number)
        same(harness.finish(server).rc, DONE if number == signal.SIGTERM else 137, 'the server')
        front.stdin.close()
        harness.finish(front)
        if number == signal.SIGKILL:
            read_trace(old)
    same([r[:2] for r in read_trace(old)], [(32 * MIB, BLOCK), (0, BLOCK), (4 * MIB, BLOCK)], 'ranges')
    base.end()


# ---- Replaying ----------------------------------------------------------------------------------

def present(top):
    """The blocks that an image holds itself."""
    found = harness.run('qemu-img', 'map', '--output=json', '-U', top).json()
    return {b for e in found if e['depth'] == 0 and e['data'] for b in range(e['start'], e['start'] + e['length'], BLOCK)}


def is_walk(found):
    """So many blocks from the disk's beginning on."""
    return found == set(range(0, len(found) * BLOCK, BLOCK))


@case('a pull that is stopped has copied the trace up to a place, and nothing else; then the rest from the front')
def first(d):
    base = Base(d)
    hot = [(i * BLOCK, BLOCK) for i in random.Random(3).sample(range(100, SIZE // BLOCK - 1), 60)]
    trace(f'{d}/t', *hot)
    for name, size, n in ('top', '', 20), ('other', f':{10 * BLOCK}', 20):
        top = base.overlay(name)
        pull = slow_pull(d, top, f'--first={d}/t{size}', '--bandwidth=2M', '-q')
        wait_copied(d, n * BLOCK)
        os.kill(pull.pid, signal.SIGINT)
        same(harness.finish(pull).rc, 128 + signal.SIGINT, 'the pull')
        found = present(top)
        listed = {o for o, _ in (hot[:10] if size else hot[:len(found)])}
        check(listed <= found and is_walk(found - listed), f'{size}: {sorted(found)}, {hot}')
        check(len(found) < 900, 'it was not stopped')
        base.reads()
        bp('pull', f'--allow-remote=nbd+unix:{d}', f'--first={d}/t', top)
        reads = base.pulled()
        again = [r for r in hot if sum(o < r[0] + BLOCK and r[0] < o + n for o, n in reads) != (r[0] not in found)]
        same(again, [], 'ranges that were read twice, or not')
        remote_images.judge(top, f'{d}/flat.raw')
    base.end()


@case('a second machine boots from what a trace of the first has brought: its misses, and its time')
def replayed(d):
    need('qemu-io')
    base = Base(d, '20ms')
    requests = session(5, 150)
    process = plugin(d, base.overlay('one'), f'trace={d}/t')
    base.reads()
    cold_s = boot(d, requests)
    over(d, process)
    misses = len(base.reads())
    hot = sum(length for _, length, _ in read_trace(f'{d}/t'))
    two = base.overlay('two')
    pull = slow_pull(d, two, f'--first={d}/t', '--bandwidth=24M', '-q')
    wait_copied(d, hot)
    os.kill(pull.pid, signal.SIGINT)
    harness.finish(pull)
    process = plugin(d, two)
    base.reads()
    warm_s = boot(d, requests)
    over(d, process)
    left = len(base.reads())
    check(left * 20 <= misses, f'{left} misses of {misses} are left')
    note(f'{misses} misses in {cold_s:.2f} s; with what a pull had brought first {left} in {warm_s:.2f} s, '
         f'{cold_s / warm_s:.1f} times faster')
    base.end()


@case('serve and the plugin pull what comes first beside the guest')
def beside(d):
    base = Base(d)
    hot = [(i * MIB, BLOCK) for i in (60, 33, 41)]
    trace(f'{d}/t', *hot)
    for kind in 'plugin', 'serve':
        top = base.overlay(kind)
        if kind == 'plugin':
            server = plugin(d, top, 'pull=true', f'first={d}/t', f'control={d}/c', 'bandwidth=1M')
            processes.wait_listening(server, f'{d}/c')
        else:
            server = harness.start(harness.blockpull, 'serve', '--pull', f'--first={d}/t', f'--socket-path={d}/s', f'--control={d}/c',
                                   f'--allow-remote=nbd+unix:{d}', '--bandwidth=1M', top)
            processes.wait_listening(server, f'{d}/s', f'{d}/c')
        wait_copied(d, 5 * BLOCK)
        over(d, server)
        found = present(top)
        listed = {o for o, _ in hot}
        check(listed <= found and is_walk(found - listed) and len(found) < 500, f'{kind}: {sorted(found)}')
        bp('pull', f'--allow-remote=nbd+unix:{d}', top)
        remote_images.judge(top, f'{d}/flat.raw')
    base.end()


@case('killed amid what comes first, and pulled again by another trace')
def killed(d):
    # A file: nbdkit 1.32 ends itself now and then when a client is killed.
    with open(f'{d}/base.img', 'wb') as file:
        file.write(random.Random(7).randbytes(SIZE))
    top = overlay(f'{d}/top', 'base.img')
    rng = random.Random(11)
    for n in range(8):
        trace(f'{d}/t', *[(rng.randrange(SIZE), rng.randrange(1, 3 * MIB)) for _ in range(40)])
        pull = harness.start(harness.blockpull, 'pull', f'--control={d}/c', f'--first={d}/t', '--bandwidth=40M', '-q', top)
        processes.wait_listening(pull, f'{d}/c')
        time.sleep(rng.random() * 0.1)
        os.kill(pull.pid, signal.SIGKILL)
        result = harness.finish(pull)
        same(result.rc, 137, f'the end of {n}: {result}')
        images.check_leaks_at_worst(top, 'qcow2', f'after kill {n}')
        same(harness.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', top, f'{d}/base.img').rc, 0, f'compare after kill {n}')
    bp('pull', f'--first={d}/t', top)
    remote_images.judge(top, f'{d}/base.img')


@case('a read that a slow base holds up brings its neighbourhood', 'copy-on-read=true')
@case('a pull copies that next', 'pull=true')
def neighbours(d, how):
    need('qemu-io')
    base = Base(d, '20ms')
    top = base.overlay('top')
    pull = how == 'pull=true'
    server = plugin(d, top, how, *(['bandwidth=1M', f'control={d}/c'] if pull else []))
    offset = 48 * MIB + 70 * KIB
    boot(d, [(offset, 4096)])
    if pull:
        processes.wait_listening(server, f'{d}/c')
        length = bp('ctl', '--json', f'{d}/c', 'info').json()['bytes']['copied']
        wait_copied(d, length + MIB)
    over(d, server)
    around = set(range(48 * MIB, 48 * MIB + 256 * KIB, BLOCK))
    found = present(top)
    check(around <= found and is_walk(found - around) and len(found) < 500, f'{sorted(found)}')
    base.end()


# ---- Traces of strangers ------------------------------------------------------------------------

@case('what is no trace is refused with file and line, before an image is touched')
def hostile(d):
    raw_image(f'{d}/base.img', MIB)
    qemu_img('create', '-q', '-f', 'qcow2', '-b', 'base.img', '-F', 'raw', f'{d}/top')
    before = Untouched(f'{d}/top')
    for text, words in (('', ['line 1']), ('QFI\xfb', ['line 1']), (MAGIC + '1 2\n', ['line 2']), (MAGIC + '0 1 1\n1 0 1\n', ['line 3']),
                        (MAGIC + '0 1 1', ['line 2', 'cut']), (MAGIC + f'0 {2**63} 1\n', ['line 2']), (MAGIC + 'x' * 300, ['line 2', '200']),
                        (MAGIC + '0 1 1\n' * 3 + '\0\n', ['line 5']), (MAGIC + '#\n' * 5000000, ['8 MiB'])):
        with open(f'{d}/t', 'w', encoding='latin-1') as file:
            file.write(text)
        refused(USAGE, [f'{d}/t', *words], 'pull', f'--first={d}/t', f'{d}/top')
        refused(USAGE, [f'{d}/t', *words], 'serve', '--pull', f'--first={d}/t', f'--socket-path={d}/s', f'{d}/top')
        refused(USAGE, [f'{d}/t', *words], 'trace', 'show', f'{d}/t')
    for bad in f'{d}/nothing', d:
        refused(USAGE, [bad], 'pull', f'--first={bad}', f'{d}/top')
    refused(USAGE, ['--first', '--pull'], 'serve', f'--first={trace(f"{d}/t", (0, 1))}', f'--socket-path={d}/s', f'{d}/top')
    before.verify()
    result = harness.run('nbdkit', '-U', f'{d}/s', facts.nbdkit_plugin(), f'image={d}/top', 'pull=true', f'first={d}/nothing', '--run', 'true')
    check(result.rc == 1 and f'{d}/nothing' in result.err, f'{result}')
    before.verify()


@case('sound traces that make no sense are hints: what lies behind the end is cut, with a sentence')
def senseless(d):
    raw_image(f'{d}/base.img', 4 * MIB, (0, 4 * MIB))
    rng = random.Random(5)
    for n, ranges in enumerate((
            [], [(0, 2**63 - 1)], [(2**63 - 2, 1)], [(4 * MIB - 1, 9), (1, 1)] * 50, [(i, 1) for i in range(65536)],
            [(2 * i, 1) for i in range(65536)], [(rng.randrange(8 * MIB), rng.randrange(1, MIB)) for _ in range(5000)])):
        qemu_img('create', '-q', '-f', 'qcow2', '-b', 'base.img', '-F', 'raw', f'{d}/top')
        result = bp('pull', f'--first={trace(f"{d}/t", *ranges)}', f'{d}/top')
        same(any(o + s > 4 * MIB for o, s in ranges), 'behind the disk' in result.err, f'{n}: a sentence: {result}')
        same(harness.run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', f'{d}/top', f'{d}/base.img').rc, 0, f'{n}: compare')
        same(harness.run('qemu-img', 'check', '-q', f'{d}/top').rc, 0, f'{n}: check')
        os.unlink(f'{d}/top')


@case('a trace is written over a trace only, and merged durably')
def written(d):
    raw_image(f'{d}/base.img', MIB)
    before = Untouched(f'{d}/base.img')
    trace(f'{d}/a', (0, 10), (100, 10))
    trace(f'{d}/b', (5, 10))
    refused(USAGE, ['base.img'], 'trace', 'merge', f'--output={d}/base.img', f'{d}/a')
    refused(USAGE, ['--output'], 'trace', 'merge', '--output=', f'{d}/a')
    qemu_img('create', '-q', '-f', 'qcow2', '-b', 'base.img', '-F', 'raw', f'{d}/top')
    top = f'{d}/top'
    result = bp('serve', f'--trace={d}/base.img', f'--socket-path={d}/s', top, rc=None)
    check(result.rc != DONE and 'base.img' in result.err and not os.path.exists(f'{d}/s'), f'{result}')
    result = harness.run('nbdkit', '-U', f'{d}/s', facts.nbdkit_plugin(), f'image={top}', f'trace={d}/base.img', '--run', 'true')
    check(result.rc == 1 and 'base.img' in result.err, f'{result}')
    before.verify()
    bp('trace', 'merge', f'--output={d}/a', f'{d}/a', f'{d}/b')
    same([r[:2] for r in read_trace(f'{d}/a')], [(0, 15), (100, 10)], 'merged')
    same(bp('trace', 'merge', f'{d}/a').out.splitlines()[2:], ['0 15 0', '100 10 1'], 'to stdout')
    same(sorted(os.listdir(d)), ['a', 'b', 'base.img', 'top'], 'files')
    picture = bp('trace', 'show', '--svg', f'{d}/a').out
    same(picture.count('<rect'), 3, 'rectangles')
    with open(f'{d}/svg', 'w', encoding='ascii') as file:
        file.write(picture)
    ElementTree.parse(f'{d}/svg')


@case('a trace takes its name when it is durable, and then the name is')
def durable(d):
    trace(f'{d}/a', (0, 10))
    result, lines = strace.run(harness.blockpull, 'trace', 'merge', f'--output={d}/new', f'{d}/a', options=['-y'],
                               trace='write,fsync,fdatasync,rename,renameat,renameat2')
    same(result.rc, DONE, f'{result}')
    found = [re.search(rf'(\w+)\(.*{re.escape(d)}(/new\.tmp)?[>"]', line) for line in strace.whole_calls(lines)]
    same([(call[1].replace('fdata', 'f'), call[2]) for call in found if call],
         [('write', '/new.tmp'), ('fsync', '/new.tmp'), ('rename', '/new.tmp'), ('fsync', None)], f'{lines}')
    same([r[:2] for r in read_trace(f'{d}/new')], [(0, 10)], 'merged')


if __name__ == '__main__':
    harness.main()
