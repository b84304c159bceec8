# SPDX-License-Identifier: MIT OR Apache-2.0
"""The control socket, as a QMP client and as `blockpull ctl` use it; and pulls that stop at errors.

The client here is a plain socket that knows QMP's text and nothing of blockpull.
"""
import contextlib
import json
import os
import random
import resource
import signal
import socket
import stat
import time

import harness
import images
import processes
from harness import DONE, FAILED, KIB, MIB, USAGE, Failed, bp, case, check, refused, same
from images import overlay, raw_image

# At this rate no pull here ends by itself while a busy machine, or a sanitizer's build, is at a case: its end would close
# the sockets.
RATE = 128 * KIB
SLOW = ('--bandwidth', str(RATE))


class Client:
    def __init__(self, path, negotiate=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(harness.WAIT)
        self.socket.connect(path)
        self.file = self.socket.makefile('rb')
        self.events = []
        self.greeting = self.line()
        if negotiate:
            same(self.ask('qmp_capabilities'), {}, 'the answer to qmp_capabilities')

    def line(self):
        line = self.file.readline()
        check(line, 'the connection was closed')
        return json.loads(line)

    def raw(self, data):
        self.socket.sendall(data)
        while True:
            answer = self.line()
            if 'event' not in answer:
                return answer
            self.events.append(answer)

    def ask(self, verb, **arguments):
        request = {'execute': verb, 'arguments': {k.replace('_', '-'): v for k, v in arguments.items()}, 'id': 7}
        answer = self.raw(json.dumps(request).encode() + b'\n')
        same(answer.get('id'), 7, 'the id of the answer')
        check('return' in answer, f'{verb} was refused: {answer}')
        return answer['return']

    def job(self):
        jobs = self.ask('query-block-jobs')
        same(len(jobs), 1, 'jobs')
        return jobs[0]

    def event(self, name):
        for event in self.events:
            if event['event'] == name:
                return event
        while True:
            event = self.line()
            self.events.append(event)
            if event.get('event') == name:
                return event


def pulling(d, *args, size=40 * MIB, **options):
    """A pull under way, its socket, and what the image held before."""
    base = raw_image(f'{d}/base.img', size)
    top = overlay(f'{d}/top.img', 'base.img')
    process = harness.start(harness.blockpull, 'pull', '--control', f'{d}/s', *args, top, **options)
    processes.wait_listening(process, f'{d}/s')
    return process, f'{d}/s', top, base


def state(client, wanted):
    deadline = harness.clock() + harness.WAIT
    while harness.clock() < deadline:
        job = client.job()
        if job['status'] == wanted:
            return job
        time.sleep(0.02)
    raise Failed(f'not {wanted}: {job}')


def stands_still(client):
    """What is in flight when a job is paused ends after that, and is counted; no more is begun."""
    deadline = harness.clock() + harness.WAIT
    offset, before = client.job()['offset'], None
    while offset != before:
        check(harness.clock() < deadline, f'a paused job goes on: it is at {offset}')
        time.sleep(1)
        offset, before = client.job()['offset'], offset


@case('a whole session: greeting, speed, pause, resume, completion')
def session(d):
    process, path, top, base = pulling(d, *SLOW)
    mode = os.stat(path)
    check(stat.S_ISSOCK(mode.st_mode), 'no socket')
    same(stat.S_IMODE(mode.st_mode), 0o600, 'the mode')
    client = Client(path)
    check('version' in client.greeting['QMP'] and 'capabilities' in client.greeting['QMP'], str(client.greeting))
    job = client.job()
    same((job['type'], job['len'], job['speed']), ('stream', 40 * MIB, RATE), 'type, len and speed')
    client.ask('job-pause', id=top)
    state(client, 'paused')
    stands_still(client)
    check(any(e['event'] == 'JOB_STATUS_CHANGE' and e['data']['status'] == 'paused' for e in client.events)
          or client.event('JOB_STATUS_CHANGE'), 'no JOB_STATUS_CHANGE')
    client.ask('job-resume', id=top)
    client.ask('block-job-set-speed', device=top, speed=0)
    ended = client.event('BLOCK_JOB_COMPLETED')
    same(ended['data']['offset'], ended['data']['len'], 'offset and len at the end')
    check('error' not in ended['data'] and ended['timestamp']['seconds'] > 0, str(ended))
    same(harness.finish(process).rc, DONE, 'exit code')
    check(not os.path.exists(path), 'the socket was left behind')
    images.judge_pulled(top, 'qcow2', base)


def rates(client):
    job = client.ask('x-query-job')[0]
    return [job[name] for name in ('bandwidth', 'iops', 'within', 'min-rate', 'guest-p99-us')]


@case('each of its other rates changes alone, and what is no rate changes none')
def rates_change(d):
    process, path, top, base = pulling(d, *SLOW)
    client = Client(path)
    same(rates(client), [RATE, 0, None, 0, 0], 'at first')
    client.ask('x-job-set-rates', id=top, iops=900)
    client.ask('x-job-set-rates', id=top, within_us=3600 * 10 ** 6)
    client.ask('x-job-set-rates', id=top, min_rate=4096)
    client.ask('block-job-set-speed', device=top, speed=2 * RATE)
    wanted = [2 * RATE, 900, 3600.0, 4096, 0]
    same(rates(client), wanted, 'changed')
    for bad in ({'iops': -1}, {'iops': '1'}, {'iops': 1.5}, {'within-us': 2 ** 63 - 1}, {'min-rate': -1}, {'guest-p99-us': None},
                {'iops': 1, 'guest-p99-us': -1}, {'iops': 1, 'guest-p99-us': 1}, {'iops': 1, 'speed': 1}, {'iops': 1, 'id': 'no such job'}):
        answer = client.raw(json.dumps({'execute': 'x-job-set-rates', 'arguments': {'id': top, **bad}}).encode() + b'\n')
        check('error' in answer, f'{bad}: {answer}')
        same(rates(client), wanted, f'after {bad}')
    refused(FAILED, ['not served', 'no guest'], 'ctl', path, 'guest-p99', '8ms')
    bp('ctl', path, 'guest-p99', '0')
    client.ask('x-job-set-rates', id=top, iops=0, within_us=0, min_rate=1 << 30, guest_p99_us=0)
    same(harness.finish(process).rc, DONE, 'exit code')  # the least rate is more than the bandwidth
    images.judge_pulled(top, 'qcow2', base)


@case('cancel, seen by two clients')
def cancel(d):
    process, path, top, base = pulling(d, *SLOW)
    clients = [Client(path), Client(path)]
    clients[0].ask('block-job-cancel', device=top)
    for client in clients:
        client.event('BLOCK_JOB_CANCELLED')
    result = harness.finish(process)
    same(result.rc, FAILED, 'exit code')
    check('aborted' in result.err, str(result))
    same(images.image_info(top)['backing-filename'], 'base.img', 'the link')
    images.compare_flat(top, 'qcow2', base)
    same(images.image_check(top, 'qcow2'), 0, 'check')


@case('a manual end: pending, finalize')
def finalize(d):
    process, path, top, base = pulling(d, '--manual-finalize', size=4 * MIB)
    client = Client(path)
    job = state(client, 'pending')
    check(not job['ready'] and not job['auto-finalize'], str(job))
    time.sleep(0.2)
    same(images.image_info(top, '-U')['backing-filename'], 'base.img', 'the link before')
    bp('ctl', path, 'finalize')
    same(harness.finish(process).rc, DONE, 'exit code')
    images.judge_pulled(top, 'qcow2', base)


@case('what is no request is answered with an error')
def hostile(d):
    process, path, top, _ = pulling(d, *SLOW)
    early = Client(path, negotiate=False).raw(b'{"execute":"query-jobs"}\n')
    same(early['error']['class'], 'CommandNotFound', 'a verb before qmp_capabilities')
    client = Client(path)
    for line in (b'nonsense', b'[]', b'7', b'"x"', b'null', b'{}', b'{"execute":7}', b'{"execute":"x","arguments":[]}',
                 b'{"execute":"no-such"}', b'\x00', b'\xff', b'{"execute":"\xc3"}', b'{"execute":"query\xff',
                 b'[' * 5000, b'{"execute":"block-job-set-speed","arguments":{"speed":-1}}',
                 b'{"execute":"block-job-set-speed","arguments":{"speed":"fast"}}',
                 b'{"execute":"block-job-set-speed","arguments":{}}',
                 b'{"execute":"job-pause","arguments":{"id":7}}', b'{"execute":"job-pause","arguments":{"id":"other"}}',
                 b'{"execute":"block-stream","arguments":{"device":"' + top.encode() + b'"}}',
                 b'{"execute":"block-stream","arguments":{"on-error":"ignored"}}',
                 b'{"execute":"job-finalize","arguments":{"id":"' + top.encode() + b'"}}',
                 b'{"execute":"job-dismiss","arguments":{"id":"' + top.encode() + b'"}}'):
        answer = client.raw(line + b'\n')
        check('error' in answer and answer['error']['desc'], f'{line[:60]}: {answer}')
    seed = random.randrange(1 << 32)
    harness.note(f'seed {seed}')
    rng = random.Random(seed)
    good = b'{"execute":"query-block-jobs","id":{"a":[1,{"b":"c"}]}}'
    for _ in range(300):
        bent = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            bent[rng.randrange(len(bent))] = rng.choice([rng.randrange(256), 34, 123, 125, 92])
        client.socket.sendall(bytes(bent) + b'\xff{"execute":"query-version","id":"behind it"}')
        while client.line().get('id') != 'behind it':
            pass
    for at in range(len(good)):  # a line in two pieces
        client.socket.sendall(good[:at])
        check('return' in client.raw(good[at:] + b'\r\n'), 'a line in two pieces')
    flood = Client(path)
    for _ in range(2):
        check('error' in flood.raw(b'x' * (1 << 20) + b'\n'), 'a word without end')
    flood.ask('query-jobs')
    client.ask('job-cancel', id=top)
    harness.finish(process)


@case('a socket that is in use, stale, or none')
def places(d):
    process, path, top, _ = pulling(d, *SLOW)
    refused((FAILED, harness.LOCKED), ['another process listens'], 'pull', '--control', path, overlay(f'{d}/other.img', 'base.img'))
    harness.kill(process)
    harness.finish(process)
    check(os.path.exists(path), 'a killed pull leaves its socket')
    refused(FAILED, ['no process listens'], 'ctl', path, 'info')
    images.settle(top)
    bp('pull', '--control', path, top)
    check(not os.path.exists(path), 'the socket was left behind')
    with open(path, 'w', encoding='ascii') as file:
        file.write('mine')
    refused(FAILED, ['no socket'], 'pull', '--control', path, f'{d}/other.img')
    with open(path, encoding='ascii') as file:
        same(file.read(), 'mine', 'the file that was there')
    refused(FAILED, ['is no socket', '--control'], 'ctl', path, 'info')
    refused(FAILED, ['No such file', 'serve'], 'ctl', f'{d}/none', 'info')


@case('a socket whose queue of clients is full is in use, and found so without waiting')
def crowded(d):
    raw_image(f'{d}/base.img', MIB)
    overlay(f'{d}/top.img', 'base.img')
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as clients:
        listener.bind(f'{d}/socket')
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(f'{d}/socket')
        refused((FAILED, harness.LOCKED), ['another process listens'], 'pull', '--control', f'{d}/socket', f'{d}/top.img',
                timeout=10)


@case('blockpull ctl: every verb')
def ctl(d):
    process, path, top, _ = pulling(d, *SLOW)
    check('running' in bp('ctl', path, 'info').out, 'info')
    bp('ctl', path, 'pause')
    client = Client(path)
    state(client, 'paused')
    check('paused' in bp('ctl', path, 'info').out, 'info of a paused job')
    same(bp('ctl', path, 'info', '--json').json()['bandwidth'], RATE, 'bandwidth')
    bp('ctl', path, 'speed', '16M')
    state(client, 'paused')
    same(client.job()['speed'], 16 * MIB, 'speed, changed')
    refused(FAILED, ['finalize', 'paused'], 'ctl', path, 'finalize')
    refused(USAGE, ['pause'], 'ctl', path, 'puase')
    refused(USAGE, ['rate'], 'ctl', path, 'speed')
    refused(USAGE, ['verb'], 'ctl', path)
    bp('ctl', path, 'speed', '0')
    waiter = harness.start(harness.blockpull, 'ctl', path, 'wait')
    bp('ctl', path, 'resume')
    same(harness.finish(waiter).rc, DONE, 'wait')
    same(harness.finish(process).rc, DONE, 'exit code')


@case('ctl wait tells of an abort')
def wait_abort(d):
    process, path, _, _ = pulling(d, *SLOW)
    waiter = harness.start(harness.blockpull, 'ctl', path, 'wait')
    time.sleep(0.3)
    bp('ctl', path, 'abort')
    result = harness.finish(waiter)
    same(result.rc, FAILED, 'wait')
    check('canceled' in result.err, str(result))
    harness.finish(process)


@case('ctl wait --json has the numbers of the end', 'abort')
@case('ctl wait --json has the numbers of a pull that completes', 'speed')
def wait_json(d, verb):
    process, path, _, _ = pulling(d, *SLOW, '--json')
    waiter = harness.start(harness.blockpull, 'ctl', path, 'wait', '--json')
    time.sleep(0.7)
    bp('ctl', path, *('speed', '0') if verb == 'speed' else (verb,))
    told, result = harness.finish(waiter).json(), harness.finish(process).json()
    same(told['bytes'], result['bytes'], 'bytes')
    same(told['status'], result['status'], 'status')
    same(told['seconds-left'], 0, 'seconds-left')
    same(told['cur'], sum(told['bytes'][k] for k in ('copied', 'zero', 'skipped', 'present')), 'cur')


def small_files(limit):
    """No file of the process may grow beyond that; raised again from outside."""
    def install():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    return install


@case('--on-error=stop waits, is told of, and goes on', 'ctl')
@case('--on-error=stop waits, and goes on at SIGCONT', 'signal')
def stops(d, how):
    base = raw_image(f'{d}/base.img', 12 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    process = harness.start(harness.blockpull, 'pull', '--io=threads', '--on-error=stop', '--control', f'{d}/s', '-q', top,
                            preexec_fn=small_files(5 * MIB))
    processes.wait_listening(process, f'{d}/s')
    client = Client(f'{d}/s')
    job = state(client, 'paused')
    check(job['io-status'] != 'ok', str(job))
    check(process.poll() is None, 'it did not wait')
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if how == 'ctl':
        bp('ctl', f'{d}/s', 'resume')
    else:
        os.kill(process.pid, signal.SIGCONT)
    result = harness.finish(process)
    same(result.rc, DONE, f'exit code: {result}')
    check('resum' in result.err, f'nothing was said: {result}')
    images.judge_pulled(top, 'qcow2', base)


@case('--on-error=report fails as ever')
def reports(d):
    base = raw_image(f'{d}/base.img', 12 * MIB)
    top = overlay(f'{d}/top.img', 'base.img')
    result = harness.run(harness.blockpull, 'pull', '--io=threads', '-q', top, preexec_fn=small_files(5 * MIB))
    check(result.rc in (FAILED, harness.NO_SPACE), str(result))
    images.compare_flat(top, 'qcow2', base)


@case('options that do not go together')
def usage(d):
    base = raw_image(f'{d}/base.img', MIB)
    top = overlay(f'{d}/top.img', os.path.basename(base))
    refused(USAGE, ['--control'], 'pull', '--manual-finalize', top)
    refused(USAGE, ['one image'], 'pull', '--control', f'{d}/s', top, top)
    refused(USAGE, ['--on-error'], 'pull', '--on-error=ignore', top)
    for words, args in ((['--json', 'info and wait'], ('--json', f'{d}/s', 'pause')), (['--base', 'name is missing'], ('--base=', f'{d}/s', 'commit')),
                        (['name is missing'], (f'{d}/s', 'snapshot', '')), (["'8E'", 'too large'], (f'{d}/s', 'speed', '8E')),
                        (['too large'], (f'{d}/s', 'resize', '8E'))):
        refused(USAGE, words, 'ctl', *args)


if __name__ == '__main__':
    harness.main(workers=2)
