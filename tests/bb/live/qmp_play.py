# SPDX-License-Identifier: MIT OR Apache-2.0
"""Sequences of requests (qmp_sequences.py, qmp_sandbox.py), sent to qemu-storage-daemon, to the nbdkit plugin and to serve.

What QEMU 7.2 says is written down in qmp_recorded.json: with QMP_RECORD=1 in the environment it is written anew.
"""
import json
import os
import threading

import images
import serve_rig
from harness import case, same
from qmp_rig import Qmp, chain, end, start_ours, start_qemu

RECORDED = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'qmp_recorded.json')
NODES = 'drive0', 'mid', 'base'
LOCK = threading.Lock()


def filled(value, d):
    if isinstance(value, dict):
        return {key: filled(member, d) for key, member in value.items()}
    if isinstance(value, list):
        return [filled(member, d) for member in value]
    return value.replace('$d', d) if isinstance(value, str) else value


def nodes(client):
    """The chain, and what was added: without files, filters and what differs by nature."""
    answer = client.send({'execute': 'query-named-block-nodes', 'arguments': {'flat': True}})['return']
    return sorted([node['node-name'], node['drv'], node['ro']] for node in answer if node['drv'] in ('qcow2', 'qed', 'raw'))


def made_up(name):
    """Names that no client and no operator gave are told as one."""
    return '#' if name.startswith('#') else name


def files(client):
    """All nodes, those of files too."""
    answer = client.send({'execute': 'query-named-block-nodes', 'arguments': {'flat': True}})['return']
    return sorted([made_up(node['node-name']), node['drv'], node['ro']] for node in answer)


def ours_too(members):
    """Without what only we have."""
    return {key: value for key, value in members.items() if not key.startswith('x-')}


def whole(client, d):
    """Nodes with all that is told of them, but for what differs by nature: the room that files take, and names of files, which
    QEMU makes up where a driver has said what lies below."""
    rows = []
    for node in client.send({'execute': 'query-named-block-nodes', 'arguments': {'flat': True}})['return']:
        image = {**node['image'], 'actual-size': 0, 'virtual-size': node['image']['virtual-size'] if node['drv'] != 'file' else 0}
        named = {'node-name': made_up(node['node-name']), 'image': {**image, 'filename': ''}, 'file': '', 'backing_file': 'backing_file' in node}
        rows.append(ours_too({**node, **named}))
    return json.loads(json.dumps(sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))).replace(d, '$d'))


def stats(client):
    """Counters by nodes: which there are."""
    answer = client.send({'execute': 'query-blockstats', 'arguments': {'query-nodes': True}})['return']
    return sorted([made_up(node['node-name']), made_up(node.get('parent', {}).get('node-name', '')),
                   sorted(key for key in node['stats'] if 'histogram' not in key)] for node in answer)


def jobs(client):
    """Both lists. How far a job is differs by what each counts; that it is at its end does not."""
    return [[{**ours_too(job), far: '', end: job[far] == job[end]} for job in client.send({'execute': verb})['return']]
            for verb, far, end in (('query-block-jobs', 'offset', 'len'), ('query-jobs', 'current-progress', 'total-progress'))]


def link(d, name):
    told = images.image_info(f'{d}/{name}.img', '-U')
    return [told.get('backing-filename'), told.get('backing-filename-format')]


def said(answer, d):
    if 'return' in answer:
        return answer['return'] if isinstance(answer['return'], dict) else sorted(answer['return'], key=str)
    return answer['error']['class'] + ': ' + answer['error']['desc'].replace(d, '$d')


def through_nbd(d):
    return lambda commands: images.qemu_io(f'nbd+unix:///?socket={d}/n', 'raw', *commands)


def through_rings(front):
    """What qemu-io would do, by the eight sectors that our frontend does at a time."""
    def run(commands):
        for command in commands:
            verb, *words, off, n = command.split()
            byte = 0 if words == ['-z'] else int(words[-1])
            first, n = (int(word.replace('M', '').replace('k', '')) * (2048 if 'M' in word else 2) for word in (off, n))
            for sector in range(first, first + n, 8):
                if verb == 'write':
                    front.do('write', 0, sector, byte, answer=0)
                else:
                    front.do('read', 0, sector, answer=byte)
    return run


LOOKS = {'nodes': lambda client, _: nodes(client), 'files': lambda client, _: files(client), 'whole': whole,
         'stats': lambda client, _: stats(client), 'jobs': lambda client, _: jobs(client)}


def without_drains(words, steps):
    """QEMU pauses a job for a moment where another request makes its disk still."""
    if any('pause' in step[0] for step in steps if isinstance(step, tuple)):
        return words
    words = list(words)
    for pause, on in ('standby', 'ready'), ('paused', 'running'):
        while f'JOB_STATUS_CHANGE {pause}' in words:
            at = words.index(f'JOB_STATUS_CHANGE {pause}')
            same(words[at + 1:at + 2], [f'JOB_STATUS_CHANGE {on}'], f'what follows a pause: {words}')
            del words[at:at + 2]
    return words


def play(client, d, steps, guest):
    """What came of each step."""
    lines = []
    for step in steps:
        if step == 'names':  # QEMU leaves what it has opened to write to a base open so
            lines.append([name for name, *_ in nodes(client)])
        elif isinstance(step, str) and step in LOOKS:
            lines.append(LOOKS[step](client, d))
        elif step[0] == 'link':
            lines.append(link(d, step[1]))
        elif step[0] == 'until':
            client.wait(lambda word=step[1], n=step[2]: client.words().count(word) == n, what=f' for {step}')
        elif isinstance(step, str):
            client.until(step)
        elif step[0] == 'create':
            images.qemu_img('create', '-q', '-f', *filled(step[1], d))
        elif step[0] == 'mkdir':
            os.mkdir(filled(step[1], d))
        elif step[0] == 'io':
            guest(step[1])
        else:
            lines.append([step[0], said(client.send({'execute': step[0], 'arguments': filled(step[1], d)}), d)])
    return {'answers': lines, 'events': without_drains(client.words(), steps), 'members': {kind: sorted(keys) for kind, keys in client.keys().items()}}


def transcript(d, start, steps):
    os.mkdir(d)
    chain(d)
    process, client, _ = start(d)
    lines = play(client, d, steps, through_nbd(d))
    end(d, process)
    return lines


# ---- what was recorded --------------------------------------------------------------------------

def compare(ours, wanted):
    for i, (line, right) in enumerate(zip(ours['answers'], wanted['answers'])):
        same(line, right, f'answer {i}')
    same(ours, wanted, 'what came')


def recorded(name):
    with LOCK, open(RECORDED, encoding='utf-8') as file:
        return json.load(file)[name]


def write_down(name, lines):
    with LOCK:
        found = {}
        if os.path.exists(RECORDED):
            with open(RECORDED, encoding='utf-8') as file:
                found = json.load(file)
        found[name] = lines
        with open(RECORDED, 'w', encoding='utf-8') as file:
            json.dump(found, file, indent=1, sort_keys=True)
            file.write('\n')


# ---- cases --------------------------------------------------------------------------------------

def serve(d, name, steps):
    chain(d)
    server, front = serve_rig.running(d, '-q', f'--control={d}/c', f'--snapshot-dir={d}', *(f'--node-name={node}' for node in NODES), f'{d}/top.img')
    lines = play(Qmp(f'{d}/c', server), d, steps, through_rings(front))
    serve_rig.over(server, front)
    compare(lines, recorded(name))


def plugin(d, name, steps):
    compare(transcript(f'{d}/ours', lambda d: start_ours(d, *(f'node-name={node}' for node in NODES)), steps), recorded(name))


def qemu(d, name, steps):
    lines = transcript(f'{d}/qemu', lambda d: start_qemu(d, owned=True), steps)
    if 'QMP_RECORD' in os.environ:
        write_down(name, lines)
    compare(lines, recorded(name))


def register(sequences):
    """Three cases for each."""
    for name, steps in sequences.items():
        case(f'serve: {name}', name, steps)(serve)
        case(f'the plugin: {name}', name, steps)(plugin)
        case(f'what was written down of QEMU: {name}', name, steps)(qemu)
