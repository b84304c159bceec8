# SPDX-License-Identifier: MIT OR Apache-2.0
"""The control socket beside QEMU's own monitor: qemu-storage-daemon and the nbdkit plugin serve the same chain,
are sent the same requests, and must answer in the same class and tell of the same events in the same order.
"""
import json
import os
import re
import select
import shutil
import time

import facts
import harness
import images
import strace
from harness import DONE, FAILED, MIB, bp, case, check, same
from qmp_rig import SIZE, Qmp, chain, end, filled, play, start_ours, start_qemu


def stream(**arguments):
    return 'block-stream', {'job-id': 'j', 'device': '$dev', **{k.replace('_', '-'): v for k, v in arguments.items()}}


def jobs(*verbs):
    return [(verb, {'device' if verb.startswith('block-job') and verb.split('-')[-1] not in ('finalize', 'dismiss') else 'id': 'j',
                    **({'speed': 0} if verb.endswith('set-speed') else {})}) for verb in verbs]


ALL = ('job-pause', 'block-job-pause', 'job-finalize', 'block-job-finalize', 'job-dismiss', 'block-job-dismiss',
       'job-complete', 'block-job-complete', 'block-job-set-speed', 'job-resume', 'block-job-resume')
ENDED = 'JOB_STATUS_CHANGE null'
QUERIES = ('query-jobs', {}), ('query-block-jobs', {})
SLOW = {'speed': 65536}

SESSIONS = {
    'to the end': [stream(), ENDED, *QUERIES],
    'kept until dismissed': [stream(auto_dismiss=False), 'JOB_STATUS_CHANGE concluded', *QUERIES, stream(), *jobs(*ALL[:4], *ALL[6:]),
                             *jobs('job-cancel', 'block-job-cancel', 'job-dismiss', 'job-dismiss', 'block-job-dismiss')],
    'finalized by hand': [stream(auto_finalize=False), 'BLOCK_JOB_PENDING', *QUERIES, *jobs(*ALL[:2], *ALL[4:]),
                          *jobs('job-finalize'), ENDED, *jobs('job-finalize', 'block-job-finalize')],
    'canceled while it is pending': [stream(auto_finalize=False), 'BLOCK_JOB_PENDING', *jobs('block-job-cancel'), ENDED],
    'canceled': [stream(**SLOW), *jobs('block-job-cancel'), ENDED, *jobs('block-job-cancel', 'job-cancel', 'job-dismiss')],
    'canceled and kept': [stream(auto_dismiss=False, **SLOW), *jobs('job-cancel'), 'JOB_STATUS_CHANGE concluded', *QUERIES,
                          *jobs('job-cancel', 'job-dismiss', 'job-dismiss')],
    'paused, resumed, canceled while paused': [
        stream(**SLOW), *jobs('job-pause'), 'JOB_STATUS_CHANGE paused', *QUERIES, *jobs('job-pause', 'block-job-pause', 'job-resume'),
        *jobs('job-resume', 'block-job-pause'), 'two pauses', *jobs('block-job-cancel'), ('job-cancel', {'id': 'j'}), ENDED],
    'force': [stream(**SLOW), *jobs('job-pause'), 'JOB_STATUS_CHANGE paused',
              ('block-job-cancel', {'device': 'j', 'force': True}), ENDED],
    'two at once': [stream(**SLOW), stream(), ('block-stream', {'job-id': 'k', 'device': '$dev'}), *jobs('job-complete', 'job-finalize'),
                    *jobs('job-cancel'), ENDED],
    'in the way until it is dismissed': [
        stream(base_node='$mid', auto_dismiss=False), 'JOB_STATUS_CHANGE concluded', stream(base_node='$base'),
        ('block-stream', {'job-id': 'k', 'device': '$dev', 'base-node': '$base'}), *QUERIES, *jobs('block-job-dismiss'),
        ('block-stream', {'job-id': 'k', 'device': '$dev', 'base-node': '$base', 'auto-dismiss': False}), 'two ends', *QUERIES,
        *jobs('job-dismiss'), ('job-dismiss', {'id': 'k'}), *QUERIES],
}


STOPS = 'BLOCK_JOB_ERROR read stop', 'JOB_STATUS_CHANGE paused', 'JOB_STATUS_CHANGE running'


def once(words):
    """strace fails one read of each thread, blkdebug one of all: errors in a row count as one."""
    text = '|'.join(words) + '|'
    for repeated in ('|'.join(STOPS) + '|', 'BLOCK_JOB_ERROR read ignore|'):
        text = re.sub(f'({re.escape(repeated)})+', repeated.replace('\\', ''), text)
    return text.split('|')[:-1]


def resume_to_the_end(client):
    while ENDED not in client.words():
        n = client.words().count(STOPS[0])
        same(client.send({'execute': 'job-resume', 'arguments': {'id': 'j'}}), {'return': {}}, 'job-resume')
        client.wait(lambda: ENDED in client.words() or
                    client.words()[-1] == STOPS[1] and client.words().count(STOPS[0]) > n)  # pylint: disable=cell-var-from-loop


def compare(d, steps, fault=None):
    results = []
    for name, start in ('qemu', start_qemu), ('ours', start_ours):
        where = f'{d}/{name}'
        os.mkdir(where)
        chain(where)
        process, client, names = start(where, fault=fault)
        special = {'two pauses': 'JOB_STATUS_CHANGE paused', 'two ends': 'JOB_STATUS_CHANGE concluded'}
        classes = []
        for step in steps:
            if step == 'resumed':
                resume_to_the_end(client)
            elif isinstance(step, str) and step in special:
                client.wait(lambda word=special[step]: client.words().count(word) == 2, what=f' for {step}')
            else:
                classes += play(client, names, [step])
        results.append((classes, once(client.words()), client.keys(), images.image_info(f'{where}/top.img', '-U').get('backing-filename')))
        end(where, process)
    qemu, ours = results
    same([a for a, b in zip(ours[0], qemu[0]) if a != b], [b for a, b in zip(ours[0], qemu[0]) if a != b], 'the answers')
    same(ours[1], qemu[1], 'the events')
    same(ours[2], qemu[2], 'the members of events')
    same(os.path.basename(ours[3] or ''), os.path.basename(qemu[3] or ''), 'the backing file')


def side_by_side(d, name):
    compare(d, SESSIONS[name])


for _name in SESSIONS:
    side_by_side = case(f'a job is {_name}, as with QEMU', _name)(side_by_side)


BAD = [
    stream(speed=-1), stream(speed=1.5), stream(speed='1'), stream(speed=1 << 63), stream(speed=(1 << 64) - 1), stream(speed=1 << 64),
    stream(speed=10 ** 30), stream(speed=None), stream(speed=True), stream(on_error='foo'), stream(on_error=7), stream(auto_finalize='yes'),
    stream(auto_dismiss=1), stream(base='no.img'), stream(base=7), stream(base_node='no'), stream(base_node=7), stream(bottom='no'),
    stream(base_node='$dev'), stream(base='mid.img', base_node='$mid'), stream(base='mid.img', bottom='$mid'),
    stream(base_node='$mid', bottom='$mid'), stream(backing_file='x.img'), stream(base='base.img', backing_file=7), stream(foo=1),
    stream(filter_node_name=7), stream(filter_node_name='bad name'), ('block-stream', {'job-id': 'j', 'device': 'other'}),
    ('block-stream', {'job-id': 7, 'device': '$dev'}), ('block-stream', {'job-id': '1 bad', 'device': '$dev'}),
    ('block-stream', {'job-id': '', 'device': '$dev'}), ('query-jobs', {'a': 1}), ('query-block-jobs', {'a': 1}), ('no-such', {}),
    ('query-version', {'a': 1}), ('query-commands', {'a': 1}), ('query-named-block-nodes', {'a': 1}), ('query-named-block-nodes', {'flat': 7}),
    ('query-named-block-nodes', {'flat': True}), ('block-job-set-speed', {'device': 'j'}), ('block-job-set-speed', {'device': 'j', 'speed': -1}),
    ('block-job-set-speed', {'device': 'j', 'speed': 1 << 63}), ('block-job-cancel', {'device': 'j', 'force': 1}), ('block-job-cancel', {'id': 'j'}),
    ('job-cancel', {'device': 'j'}), ('job-cancel', {'id': 7}), ('job-pause', {'id': 'j', 'x': 1}), ('block-job-finalize', {'device': 'j'}),
    ('block-job-dismiss', {'id': 'j', 'x': 1}), ('qmp_capabilities', {}), ('qmp_capabilities', {'x': 1}), ('qmp_capabilities', {'enable': 7}),
    *jobs(*ALL, 'job-cancel', 'block-job-cancel')]
RAW = [b'nonsense\n', b'[]', b'7 ', b'"x"', b'null ', b'{}', b'}', b']', b',', b':', b'{"execute":7}', b'{"execute":"x","arguments":[]}',
       b'{"execute":"query-jobs","arguments":null}', b'{"execute":"query-jobs","foo":1}', b'{"exec-oob":"query-jobs"}',
       b'{"exec-oob":"query-jobs","execute":"query-jobs"}', b'{"arguments":{}}', b'\x00', b'\xff', b'{"execute":"\xc3"}',
       b'{"execute":"query-jobs",}', b'{"execute":"query-jobs","execute":"query-jobs"}', b'{"execute" "query-jobs"}', b'{"a":tru}', b'[}',
       b"{'execute':'query-jobs'}", b'{"execute":"que\xff', b'{"execute":\n\t"query-jobs"\r\n}', b'{"execute":"query-jobs"}\r\n',
       b'{"execute":"query-jobs","id":{"a":[1,null]}}', b'\r\n{"execute":"query-jobs","id":null}\n', b'@@@ ']


@case('what is refused has QEMU\'s class, and starts nothing')
def refusals(d):
    compare(d, [*BAD, stream(on_error='auto', **SLOW), ('block-job-set-speed', {'device': 'j', 'speed': -1}),
                ('block-job-set-speed', {'device': 'j', 'speed': 1.5}), *jobs('job-cancel'), ENDED][1:])


@case('bytes that are no request, and the one behind them')
def garbage(d):
    steps = []
    for raw in RAW:
        steps += [raw, b'{"execute":"query-jobs"}']
    compare(d, steps)


@case('an error of the base, on-error=report', 'report', 5, [ENDED])
@case('an error of the base, on-error=auto', 'auto', 5, [ENDED])
@case('an error of the base, on-error=enospc', 'enospc', 5, [ENDED])
@case('an error of the base, on-error=ignore', 'ignore', 5, [ENDED])
@case('an error of the base, on-error=stop, and resumed', 'stop', 5, ['JOB_STATUS_CHANGE paused', *jobs('job-pause'), 'resumed'])
@case('an error of the base, on-error=stop, and canceled', 'stop', 5, ['JOB_STATUS_CHANGE paused', *jobs('job-cancel'), ENDED])
@case('no space, on-error=auto, and resumed', 'auto', 28, ['JOB_STATUS_CHANGE paused', 'resumed'])
def errors(d, on_error, fault, steps):
    compare(d, [stream(on_error=on_error), *steps], fault)


@case('base, base-node and bottom mean one link each, backing-file names it', {'base': '{d}/mid.img'}, 'mid.img')
@case('base of the chain\'s own word', {'base': '{d}/base.img'}, 'base.img')
@case('base-node', {'base-node': '#layer2'}, 'base.img')
@case('bottom', {'bottom': '#layer1'}, 'base.img')
@case('bottom, of the last file', {'bottom': '#layer2'}, None)
@case('bottom, of the image itself', {'bottom': '#layer0'}, 'mid.img')
@case('backing-file', {'base': '{d}/base.img', 'backing-file': './base.img'}, './base.img')
@case('an absolute backing-file', {'base-node': '#layer2', 'backing-file': '{d}/base.img'}, '{d}/base.img')
def links(d, arguments, wanted):
    chain(d)
    process, client, _ = start_ours(d)
    arguments = {key: value.format(d=d) for key, value in arguments.items()}
    same(client.send({'execute': 'block-stream', 'arguments': arguments}), {'return': {}}, 'the answer')
    client.until(ENDED)
    same([e['data'].get('error') for e in client.events if e['event'] == 'BLOCK_JOB_COMPLETED'], [None], 'how it ended')
    names = [n['node-name'] for n in client.send({'execute': 'query-named-block-nodes'})['return'] if n['drv'] != 'file']
    same(images.image_info(f'{d}/top.img', '-U').get('backing-filename'), wanted and wanted.format(d=d), 'the link')
    kept = {None: ['#layer0'], 'mid.img': ['#layer0', '#layer1', '#layer2']}.get(wanted, ['#layer0', '#layer2'])
    same(names, kept, 'the names of nodes, which stay')
    end(d, process)
    same(images.image_check(f'{d}/top.img', 'qcow2'), 0, 'check')
    images.qemu_io(f'{d}/top.img', 'qcow2', 'read -P 3 0 64k', 'read -P 2 1M 64k', 'read -P 1 2M 1M', 'read -P 0 3M 1M')


@case('a backing-file that leads elsewhere, or is no file\'s name')
def bad_links(d):
    chain(d)
    shutil.copy(f'{d}/base.img', f'{d}/other.img')
    before = images.image_info(f'{d}/top.img')
    process, client, _ = start_ours(d)
    for name in 'other.img', 'none.img', '', 'nbd:base.img', 'json:{}', 'mid.img', 'top.img', 'a\nb', 'base\u0000.img', 'x' * 2000:
        answer = client.send({'execute': 'block-stream', 'arguments': {'base': f'{d}/base.img', 'backing-file': name}})
        same(answer.get('error', {}).get('class'), 'GenericError', f'backing-file {name!r:.40}')
    for arguments in ({'base': f'{d}/mid.img', 'backing-file': './mid.img'}, {'filter-node-name': '7'}, {'base-node': '#layer0'},
                      {'base-node': '#layer3'}, {'bottom': '#layer'}):
        answer = client.send({'execute': 'block-stream', 'arguments': arguments})
        same(answer.get('error', {}).get('class'), 'GenericError', f'{arguments}')
    same(client.words(), [], 'events')
    end(d, process)
    after = images.image_info(f'{d}/top.img')
    same(after['backing-filename'], before['backing-filename'], 'the link')


@case('a job with nothing to do waits to be finalized all the same', 'job-finalize', 'BLOCK_JOB_COMPLETED')
@case('a job with nothing to do may be canceled', 'job-cancel', 'BLOCK_JOB_CANCELLED')
def nothing_to_do(d, verb, last):
    chain(d)
    process, client, _ = start_ours(d)
    client.send({'execute': 'block-stream', 'arguments': {'bottom': '#layer0', 'auto-finalize': False, 'job-id': 'j'}})
    client.until('BLOCK_JOB_PENDING')
    same(client.send({'execute': 'query-jobs'})['return'][0]['status'], 'pending', 'status')
    same(client.send({'execute': 'job-pause'})['error']['class'], 'GenericError', 'a pause')
    same(client.send({'execute': verb, 'arguments': {'id': 'j'}}), {'return': {}}, verb)
    client.until(ENDED)
    check(last in client.words(), f'{client.words()}')
    end(d, process)


def progress(client):
    """What a job that waits to be finalized says of itself, and its last event."""
    client.until('BLOCK_JOB_PENDING')
    job = client.send({'execute': 'query-block-jobs'})['return'][0]
    also = client.send({'execute': 'query-jobs'})['return'][0]
    client.send({'execute': 'job-finalize', 'arguments': {'id': 'j'}})
    client.until(ENDED)
    data = next(event['data'] for event in client.events if event['event'] == 'BLOCK_JOB_COMPLETED')
    return job['offset'], job['len'], also['current-progress'], also['total-progress'], data['offset'], data['len']


@case('a job with nothing to pull says 0 of 0, as with QEMU', '$mid')
@case('a job with something to pull has a length', '$base')
def lengths(d, base):
    for start in start_qemu, start_ours:
        os.makedirs(f'{d}/{start.__name__}')
    seen = []
    for start in start_qemu, start_ours:
        chain(f'{d}/{start.__name__}')
        process, client, names = start(f'{d}/{start.__name__}')
        client.send({'execute': 'block-stream',
                     'arguments': filled({'device': '$dev', 'job-id': 'j', 'base-node': base, 'auto-finalize': False}, names)})
        seen.append(progress(client))
        end(f'{d}/{start.__name__}', process)
    same([all(numbers) for numbers in seen], [base == '$base'] * 2, f'lengths: {seen}')
    if base == '$mid':
        same(seen[1], seen[0], 'offset and len')


@case('an image without a backing file: 0 of 0')
def alone(d):
    images.qemu_img('create', '-q', '-f', 'qcow2', f'{d}/top.img', str(SIZE))
    process, client, _ = start_ours(d)
    client.send({'execute': 'block-stream', 'arguments': {'job-id': 'j', 'auto-finalize': False}})
    same(progress(client), (0,) * 6, 'offset and len')
    end(d, process)


@case("the plugin's base is the default; the lowest file as bottom pulls everything all the same")
def whole_in_spite_of_base(d):
    chain(d)
    process, client, _ = start_ours(d, f'base={d}/mid.img')
    client.send({'execute': 'block-stream', 'arguments': {}})
    client.until(ENDED)
    same(client.send({'execute': 'query-named-block-nodes'})['return'][0]['backing_file_depth'], 2, 'depth with the base')
    client.events.clear()
    client.send({'execute': 'block-stream', 'arguments': {'bottom': '#layer2'}})
    client.until(ENDED)
    check('BLOCK_JOB_COMPLETED' in client.words(), f'{client.words()}')
    same(client.send({'execute': 'query-named-block-nodes'})['return'][0]['backing_file_depth'], 0, 'depth')
    end(d, process)
    check('backing-filename' not in images.image_info(f'{d}/top.img'), 'the link is there still')


@case('names: the device as it was given, the job as its client called it')
def names(d):
    chain(d)
    process = harness.start('nbdkit', '-f', '-U', f'{d}/n', facts.nbdkit_plugin(), 'top.img', f'control={d}/c', 'bandwidth=64K', 'pull=true', cwd=d)
    client = Qmp(f'{d}/c', process)
    same([j['device'] for j in client.send({'execute': 'query-block-jobs'})['return']], ['top.img'], 'the job of pull=true')
    client.send({'execute': 'block-job-cancel', 'arguments': {'device': 'top.img'}})
    client.until(ENDED)
    job = {'device': 'top.img', 'job-id': 'mine', 'auto-dismiss': False, 'auto-finalize': False, 'speed': 65536}
    same(client.send({'execute': 'block-stream', 'arguments': job, 'id': [1]}), {'return': {}, 'id': [1]}, 'block-stream')
    seen = client.send({'execute': 'query-block-jobs'})['return'][0]
    same((seen['device'], seen['auto-finalize'], seen['auto-dismiss'], seen['ready']), ('mine', False, False, False), 'the job')
    same(client.send({'execute': 'block-job-cancel', 'arguments': {'device': 'top.img'}})['error']['class'], 'DeviceNotActive', 'its device')
    client.send({'execute': 'block-job-cancel', 'arguments': {'device': 'mine'}})
    while (seen := client.send({'execute': 'query-jobs'})['return'][0])['status'] != 'concluded':
        time.sleep(0.05)
    same(seen['error'], 'Operation canceled', 'error')
    end(d, process)


@case('a stream of requests: cut anywhere, many at once, too long, too deep')
def streams(d):
    chain(d)
    process, client, _ = start_ours(d)
    request = b'{"execute":"query-jobs","id":"}{\\"]["}'
    for at in range(1, len(request)):
        client.socket.sendall(request[:at])
        time.sleep(0.001)
        same(client.send(request[at:]), {'return': [], 'id': '}{"]['}, f'cut at {at}')
    n = 3000  # more than what is kept for a client that does not read
    many = b'{"execute":"query-named-block-nodes"}' * n
    client.socket.setblocking(False)
    while many or len(client.answers) < n:
        if many and select.select([], [client.socket], [], 0)[1]:
            many = many[client.socket.send(many[:65536]):]
        if select.select([client.socket], [], [], 0)[0]:
            before = len(client.answers)
            client.wait(lambda: len(client.answers) > before)  # pylint: disable=cell-var-from-loop
    same([a for a in client.answers if len(a.get('return', [])) != 6], [], 'answers to many at once')
    client.answers.clear()
    client.socket.setblocking(True)
    for long in b'[' * 5000, b'{"a":' * 5000, b'"' + b'x' * 100000, b'y' * 100000, b'{"execute":"' + b'z' * 100000 + b'"}':
        same(client.send(long + b'\n').get('error', {}).get('class'), 'GenericError', f'{long[:20]}')
        same(client.send(request)['return'], [], f'behind {long[:20]}')
        same(client.answers, [], f'one answer to {long[:20]}')
    same(client.send(b'{"execute":"query-jobs","id":' + b'[' * 30 + b']' * 30 + b'}')['return'], [], 'some depth')
    end(d, process)


@case('an answer of half a megabyte comes whole, also to a client that reads it late')
def long_answer(d):
    where = d
    while len(where) < 3600:
        where += '/' + 'x' * 200
        os.mkdir(where)
    images.raw_image(f'{where}/l0', MIB)
    for i in range(1, 81):
        images.qemu_img('create', '-q', '-u', '-f', 'qcow2', '-b', f'l{i - 1}', '-F', 'qcow2' if i > 1 else 'raw', f'{where}/l{i}', MIB)
    process = harness.start('nbdkit', '-f', '-P', f'{d}/pid', '-U', f'{d}/n', facts.nbdkit_plugin(), f'{where}/l80', f'control={d}/c')
    client = Qmp(f'{d}/c', process)
    for late in 0, 0.5:
        client.socket.sendall(b'{"execute":"query-named-block-nodes","id":1}{"execute":"query-jobs","id":2}')
        time.sleep(late)
        client.wait(lambda: len(client.answers) == 2)
        nodes, empty = client.answers
        same((nodes['id'], len(nodes['return']), empty), (1, 2 * 81, {'return': [], 'id': 2}), 'the answers')
        check(len(json.dumps(nodes)) > MIB // 2, 'the answer is not long')
        client.answers.clear()
    end(d, process)


@case('a client that connects as early as it can is never hung up on')
def early(d):
    """nbdkit tries the socket before it forks. strace holds up each listen(), which is when a client gets through."""
    chain(d)
    process = harness.start(*strace.words('listen', ['listen:delay_exit=700000']), 'nbdkit', '-f', '-P', f'{d}/pid', '-U', f'{d}/n',
                            facts.nbdkit_plugin(), f'{d}/top.img', f'control={d}/c')
    same(Qmp(f'{d}/c', process).send({'execute': 'query-jobs'}), {'return': []}, 'the answer')
    end(d, process)


@case('ctl speaks as pull --json does, and knows how it ended', 'nothing', 'completed', DONE)
@case('of a job that was aborted', 'abort', 'canceled', FAILED)
def vocabulary(d, verb, status, code):
    chain(d)
    process, client, _ = start_ours(d)
    client.send({'execute': 'block-stream', 'arguments': {'speed': MIB}})
    job = {'seconds': 0}
    while job['seconds'] <= 0.5 and job.get('state') != 'concluded':
        time.sleep(0.1)
        job = bp('ctl', f'{d}/c', 'info', '--json').json()
    words = {'event', 'filename', 'state', 'cur', 'end', 'bandwidth', 'bytes', 'seconds', 'rate', 'seconds-left'}
    check(words <= set(job), f'{words - set(job)} missing: {job}')
    same((job['event'], job['state'], job['bandwidth'], job['status']), ('progress', 'running', MIB, None), 'the job')
    check(0 < job['rate'] < 8 * MIB and 0 < job['seconds-left'] < 60 and 0.5 < job['seconds'] < 60, str(job))
    text = bp('ctl', f'{d}/c', 'info').out
    check('MiB/s' in text and 'elapsed' in text and 'left' in text, text)
    bp('ctl', f'{d}/c', *([verb] if verb == 'abort' else ['speed', '0']))
    ended = harness.run(harness.blockpull, 'ctl', f'{d}/c', 'wait', '--json')
    same(ended.rc, code, f'exit code: {ended}')
    for said in json.loads(ended.out), bp('ctl', f'{d}/c', 'info', '--json').json():
        same((said['event'], said['status'], said['exit-code'], said['state']), ('result', status, code, 'concluded'), 'the end')
    check(status in bp('ctl', f'{d}/c', 'info').out, 'info of a job that is over')
    end(d, process)
    lines = [json.loads(line) for line in bp('pull', '--progress=json', '--bandwidth=8M', f'{d}/top.img').out.splitlines()]
    if status == 'canceled':
        check(words <= set(lines[0]), f'pull --json lacks {words - set(lines[0])}')


@case('ctl info tells why a job failed, with its number')
def why(d):
    chain(d)
    process, client, _ = start_ours(d, fault=5)
    client.send({'execute': 'block-stream'})
    client.until(ENDED)
    said = bp('ctl', f'{d}/c', 'info', '--json').json()
    same((said['status'], said['errno'], said['exit-code']), ('failed', 5, 1), 'the end')
    check('base.img' in said['error'] and 'read' in said['error'], str(said))
    check('base.img' in bp('ctl', f'{d}/c', 'info').out, 'info')
    end(d, process)


@case('pull --control: the same states, and the end is told')
def pulling(d):
    chain(d)
    process = harness.start(harness.blockpull, 'pull', '-q', '--bandwidth=64K', f'--control={d}/c', f'{d}/top.img')
    client = Qmp(f'{d}/c', process)
    same(len(client.send({'execute': 'query-named-block-nodes'})['return']), 2 * 3, 'nodes')
    same(client.send({'execute': 'block-stream'})['error']['class'], 'GenericError', 'a second job')
    client.send({'execute': 'block-job-set-speed', 'arguments': {'speed': 0}})
    client.until(ENDED)
    same([w for w in client.words() if w.startswith('JOB')],
         [f'JOB_STATUS_CHANGE {s}' for s in ('waiting', 'pending', 'concluded', 'null')], 'states')
    same(harness.finish(process).rc, DONE, 'exit code')


if __name__ == '__main__':
    harness.main(workers=2)
