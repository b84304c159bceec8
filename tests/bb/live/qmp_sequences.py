# SPDX-License-Identifier: MIT OR Apache-2.0
"""What drivers of qemu-storage-daemon ask of it while a chain grows and shrinks. A step is a verb with its arguments, an
event to wait for, or guest I/O; $d is the directory of the images, whose nodes are drive0 above mid above base."""

ENDED = 'JOB_STATUS_CHANGE null'


def sync(name, node='drive0', **more):
    return 'blockdev-snapshot-sync', {'node-name': node, 'snapshot-file': f'$d/{name}.img', 'snapshot-node-name': name,
                                      **{key.replace('_', '-'): value for key, value in more.items()}}


def verb(name, **arguments):
    return name, {key.replace('_', '-'): value for key, value in arguments.items()}


def action(step):
    return {'type': step[0], 'data': step[1]}


def transaction(*steps, **more):
    return verb('transaction', actions=[action(step) for step in steps], **more)


def commit(device, **arguments):
    return verb('block-commit', **{'job_id': 'j', 'device': device, **arguments})


def stream(device, **arguments):
    return verb('block-stream', **{'job_id': 'j', 'device': device, **arguments})


def job(*verbs, **arguments):
    return [(name, {('device' if name.startswith('block-job') else 'id'): 'j', **arguments}) for name in verbs]


def created(name, backing, fmt='qcow2', *options):
    """An overlay that a driver makes itself."""
    return 'create', [fmt, '-b', f'{backing}.img', '-F', 'qcow2' if fmt == 'qcow2' else 'raw', '-u', *options, f'$d/{name}.img', '4M']


def io(*commands):
    return 'io', list(commands)


FILE = {'driver': 'file', 'filename': '$d/n1.img'}
OTHER = {'driver': 'file', 'filename': '$d/top.img'}
ABORT = 'abort', {}

# No library call changes anything in these: what is wrong is said by the same sentence.
REFUSALS = {
    'snapshots that are refused': [
        sync('s1', device='no', node='no'), sync('s1', node='no'), sync('s1', node='mid'), sync('s1', node='base'),
        verb('blockdev-snapshot-sync', device='no', snapshot_file='$d/s1.img'),
        verb('blockdev-snapshot-sync', device='drive0', snapshot_file='$d/s1.img'),
        verb('blockdev-snapshot-sync', snapshot_file='$d/s1.img'), verb('blockdev-snapshot-sync', node_name='drive0', snapshot_node_name='s1'),
        verb('blockdev-snapshot-sync', node_name='drive0', snapshot_file='$d/s1.img'),
        verb('blockdev-snapshot-sync', node_name=7, snapshot_file='$d/s1.img'),
        sync('mid'), sync('drive0'), sync('7bad'), sync(''), sync('a' * 40), sync('s1', format='foo'), sync('s1', format='raw'),
        sync('s1', mode='foo'), sync('s1', mode=7), sync('s1', foo=1), sync('none', mode='existing'), sync('s1', snapshot_node_name=7),
        verb('blockdev-snapshot', node='drive0', overlay='no'), verb('blockdev-snapshot', node='no', overlay='drive0'),
        verb('blockdev-snapshot', node='drive0', overlay='drive0'), verb('blockdev-snapshot', node='drive0', overlay='mid'),
        verb('blockdev-snapshot', node='drive0'), verb('blockdev-snapshot', overlay='mid'), verb('blockdev-snapshot', overlay='mid', node=7),
    ],
    'transactions that are refused': [
        verb('transaction', actions=[]), transaction(sync('s1'), sync('s2', 'no')), transaction(sync('s1'), sync('s2')),
        transaction(sync('s1'), ABORT), transaction(ABORT), verb('transaction', actions=7), verb('transaction', actions=[7]),
        verb('transaction'), verb('transaction', actions=[{'type': 'blockdev-snapshot-sync'}]), verb('transaction', actions=[{'data': {}}]),
        verb('transaction', actions=[{'type': 'foo', 'data': {}}]), verb('transaction', actions=[{'type': 7, 'data': {}}]),
        verb('transaction', actions=[{'type': 'abort', 'data': {}, 'x': 1}]), transaction(('abort', {'x': 1})),
        verb('transaction', actions=[{'type': 'abort'}]), transaction(('blockdev-snapshot', {'node': 'drive0'})),
        transaction(('blockdev-snapshot-sync', {'node-name': 'drive0'})), transaction(sync('s1', snapshot_node_name=7)),
        transaction(sync('s1', foo=1)), transaction(('blockdev-snapshot', {'node': 'drive0', 'overlay': 'no'})),
        transaction(sync('s1'), properties={'completion-mode': 'grouped'}), transaction(sync('s1'), properties={'completion-mode': 'x'}),
        transaction(ABORT, properties={'x': 1}), transaction(sync('s1'), x=1), transaction(ABORT, properties={'completion-mode': 7}),
    ],
    'nodes that come and go': [
        created('n1', 'top'), created('n2', 'top', 'qed'), ('mkdir', '$d/sub'),
        verb('blockdev-add', driver='qcow2', node_name='drive0', file=FILE, backing=None), verb('blockdev-add', driver='qcow2', file=FILE),
        verb('blockdev-add', driver='qcow2', node_name='7x', file=FILE), verb('blockdev-add', driver='foo', node_name='x', file=FILE),
        verb('blockdev-add', node_name='x', file=FILE), verb('blockdev-add', driver='qcow2', node_name='x'),
        verb('blockdev-add', driver='qcow2', node_name='x', file='no'), verb('blockdev-add', driver=7, node_name='x', file=FILE),
        verb('blockdev-add', driver='qcow2', node_name='x', file={'driver': 'file', 'filename': '$d/none'}),
        verb('blockdev-add', driver='qcow2', node_name='x', file={'driver': 'file', 'filename': '$d/n2.img'}),
        verb('blockdev-add', driver='qed', node_name='x', file=FILE), verb('blockdev-add', driver='qcow2', node_name='x', file={'driver': 'file'}),
        verb('blockdev-add', driver='qcow2', node_name='x', file={'filename': '$d/n1.img'}),
        verb('blockdev-add', driver='qcow2', node_name='x', file=FILE, backing='no'),
        verb('blockdev-add', driver='qcow2', node_name='x', file=FILE, foo=1),
        verb('blockdev-add', driver='qcow2', node_name='x', file={**FILE, 'foo': 1}),
        ('blockdev-add', {'driver': 'qcow2', 'node-name': 'x', 'file.driver': 'file', 'file.filename': '$d/n1.img'}),
        verb('blockdev-add', driver='qcow2', node_name='x', file=FILE, backing=7), verb('blockdev-add', driver='qcow2', node_name='x', file=7),
        verb('blockdev-add', driver='qcow2', node_name=7, file=FILE), verb('blockdev-add', driver='qcow2', node_name='x', file=None),
        verb('blockdev-add', driver='raw', node_name='x', file=FILE, backing=None), verb('blockdev-add', driver='file', node_name='x'),
        verb('blockdev-add', driver='file', node_name='x', filename='$d/none'),
        verb('blockdev-add', driver='file', node_name='x', filename='$d/n1.img', foo=1),
        verb('blockdev-add', driver='qcow2', node_name='x', file=FILE, discard='foo'), verb('blockdev-add', driver='qcow2', node_name='x', file=FILE, cache=7),
        verb('blockdev-add', driver='qcow2', node_name='x', file=FILE, cache={'x': 1}),
        verb('blockdev-add', driver='qcow2', node_name='x', file=FILE, cache={'direct': 7}),
        verb('blockdev-add', driver='qcow2', node_name='x', file=FILE, read_only=7),
        verb('blockdev-add', driver='qcow2', node_name='x', file=FILE, force_share=True),
        verb('blockdev-add', driver='qcow2', node_name='x', file={**FILE, 'locking': 'foo'}),
        verb('blockdev-add', driver='qcow2', node_name='x', file={**FILE, 'node-name': 'mid'}, backing=None),
        verb('blockdev-add', driver='qcow2', node_name='x', file={'driver': 'file', 'filename': '$d/sub'}),
        verb('blockdev-add', driver='qcow2', node_name='x', file=OTHER, backing=None),
        verb('blockdev-add', driver='qcow2', node_name='q', file={**FILE, 'locking': 'auto', 'aio': 'threads'}, backing=None, discard='unmap',
             cache={'direct': False, 'no-flush': False}, read_only=False, auto_read_only=False, detect_zeroes='off'),
        verb('blockdev-add', driver='qed', node_name='e', file={'driver': 'file', 'filename': '$d/n2.img'}, backing=None), 'nodes',
        verb('blockdev-del', node_name='no'), verb('blockdev-del'), verb('blockdev-del', node_name=7), verb('blockdev-del', node_name='q', x=1),
        verb('blockdev-del', node_name='drive0'), verb('blockdev-del', node_name='mid'), verb('blockdev-del', node_name='base'),
        verb('blockdev-del', node_name='q'), verb('blockdev-del', node_name='q'), 'nodes',
        verb('blockdev-add', driver='file', node_name='f', filename='$d/n1.img'), verb('blockdev-snapshot', node='drive0', overlay='f'),
        verb('blockdev-add', driver='qcow2', node_name='q', file='f', backing=None), verb('blockdev-del', node_name='f'), 'nodes',
        verb('blockdev-del', node_name='q'), verb('blockdev-del', node_name='f'),
        verb('blockdev-add', driver='qcow2', node_name='ro', file=FILE, backing=None, read_only=True),
        verb('blockdev-del', node_name='ro'), verb('blockdev-del', node_name='e'), 'nodes',
    ],
    'commits that are refused': [
        commit('no'), commit('mid'), commit('base'), commit('drive0', top_node='no'), commit('drive0', base_node='no'),
        commit('drive0', top_node='mid', base_node='drive0'), commit('drive0', top_node='mid', base_node='mid'),
        commit('drive0', top='no.img'), commit('drive0', base='no.img'), commit('drive0', top='x', top_node='mid'),
        commit('drive0', base='x', base_node='mid'), commit('drive0', backing_file='x'), commit('drive0', on_error='foo'),
        commit('drive0', top_node='base'), commit('drive0', base_node='drive0'), verb('block-commit', job_id='j'), commit(7), commit('drive0', foo=1),
        verb('block-commit', job_id='7x', device='drive0'), commit('drive0', top_node=7), commit('drive0', filter_node_name='mid'),
        commit('drive0', filter_node_name='7'), commit('drive0', speed='x'), commit('drive0', auto_finalize=1),
        verb('job-complete', id='j'), verb('block-job-complete', device='j'), 'nodes',
    ],
    'streams of a middle file that are refused': [
        stream('no'), stream('mid', base_node='drive0'), stream('mid', base_node='mid'), stream('mid', bottom='drive0'), stream('mid', base_node='no'),
        stream('mid', bottom='no'), stream('mid', base_node='base', bottom='base'), stream('mid', backing_file='x'), stream('mid', foo=1),
        stream('drive0', filter_node_name='mid'), stream('drive0', filter_node_name='7'), 'nodes',
    ],
}

READY = 'BLOCK_JOB_READY'
MADE = created('n1', 'top')
ADDED = verb('blockdev-add', driver='qcow2', node_name='n1', file=FILE, backing=None)
DATA = io('write -P 7 2M 64k', 'write -P 8 2200k 4k', 'write -z 64k 64k')
MORE = io('write -P 9 3M 64k', 'write -P 10 2M 4k')
SEEN = io('read -P 3 0 64k', 'read -P 0 64k 64k', 'read -P 9 3M 64k', 'read -P 10 2M 4k', 'read -P 7 2052k 60k', 'read -P 8 2200k 4k')

# What drivers do, to the end. The guest reads what it wrote.
DEEDS = {
    'a snapshot by name, and one above it': [
        sync('s1'), 'nodes', DATA, sync('s2', 's1', format='qcow2'), 'nodes', MORE, SEEN, sync('s3', 'drive0'), sync('s3', 's1'),
        sync('s2', 's2'), verb('blockdev-del', node_name='s1'), verb('blockdev-del', node_name='drive0'), 'nodes'],
    'a snapshot onto a file that a driver has made': [MADE, sync('n1', mode='existing'), 'nodes', DATA, MORE, SEEN],
    'a snapshot onto a node that a driver has added': [
        MADE, ADDED, 'nodes', verb('blockdev-snapshot', node='drive0', overlay='n1'), 'nodes', DATA, MORE, SEEN,
        verb('blockdev-snapshot', node='n1', overlay='n1'), verb('blockdev-snapshot', node='drive0', overlay='n1'),
        verb('blockdev-del', node_name='n1'), verb('blockdev-del', node_name='drive0')],
    'a transaction with one snapshot': [transaction(sync('s1')), 'nodes', DATA, MORE, SEEN],
    'a transaction onto a node': [
        MADE, ADDED, transaction(('blockdev-snapshot', {'node': 'drive0', 'overlay': 'n1'}), ABORT), 'nodes',
        transaction(('blockdev-snapshot', {'node': 'drive0', 'overlay': 'n1'}), properties={'completion-mode': 'individual'}), 'nodes'],
    'a stream into a file in the middle': [
        sync('s1'), sync('s2', 's1'), DATA, stream('s1', base_node='mid'), ENDED, MORE, SEEN,
        stream('s1', bottom='s1'), ('until', ENDED, 2), stream('mid'), ('until', ENDED, 3), SEEN],
    'a file in the middle that lets all below it go': [
        sync('s1'), DATA, stream('drive0', auto_finalize=False), 'BLOCK_JOB_PENDING', *job('job-finalize'), ENDED, MORE, SEEN],
    'a stream into the file below the image': [
        io('write -P 9 3M 64k'), stream('mid'), ENDED, 'nodes', verb('blockdev-del', node_name='base'), 'nodes', verb('blockdev-del', node_name='mid'),
        io('read -P 3 0 64k', 'read -P 2 1M 64k', 'read -P 1 2M 64k', 'read -P 9 3M 64k')],
    'a stream of all': [
        stream('drive0'), ENDED, 'nodes', verb('blockdev-del', node_name='mid'), verb('blockdev-del', node_name='base'), 'nodes',
        io('read -P 3 0 64k', 'read -P 2 1M 64k', 'read -P 1 2M 64k')],
}

COMMITS = {
    'a commit of the image': [
        sync('s1'), DATA, commit('s1', base_node='drive0'), READY, MORE, *job('job-complete'), ENDED, 'nodes', SEEN,
        verb('blockdev-del', node_name='s1'), verb('blockdev-del', node_name='drive0'), verb('query-jobs')],
    'a commit of the image, finalized and dismissed by hand': [
        sync('s1'), DATA, commit('s1', auto_finalize=False, auto_dismiss=False), READY, *job('job-finalize', 'job-dismiss'),
        MORE, *job('block-job-complete'), 'BLOCK_JOB_PENDING', *job('job-complete', 'job-pause'), *job('job-finalize'),
        'JOB_STATUS_CHANGE concluded', *job('job-complete'), *job('job-dismiss'), ENDED, 'nodes', SEEN],
    'a commit of the image, canceled when it is ready': [
        sync('s1'), DATA, commit('s1', base_node='drive0'), READY, MORE, *job('job-cancel'), ENDED, 'names', SEEN],
    'a commit of the image, ended without a turn': [
        sync('s1'), DATA, commit('s1', base_node='drive0'), READY, MORE, *job('block-job-cancel'), ENDED, 'names', SEEN],
    'a commit of the image, canceled by force': [
        sync('s1'), DATA, commit('s1', base_node='drive0'), READY, *job('block-job-cancel', force=True), ENDED, 'names'],
    'a commit of the image, canceled when it is pending': [
        sync('s1'), DATA, commit('s1', base_node='drive0', auto_finalize=False), READY, *job('job-complete'), 'BLOCK_JOB_PENDING',
        *job('job-cancel'), ENDED, 'names', MORE, SEEN],
    'a commit of the image, paused when it is ready': [
        sync('s1'), DATA, commit('s1', base_node='drive0'), READY, *job('job-pause'), 'JOB_STATUS_CHANGE standby', *job('job-pause'),
        *job('job-complete'), *job('job-resume'), ENDED, 'nodes', MORE, SEEN],
    'an added overlay that was committed stays until it is taken away': [
        MADE, ADDED, verb('blockdev-snapshot', node='drive0', overlay='n1'), DATA, commit('n1', base_node='drive0'), READY, *job('job-complete'),
        ENDED, 'nodes', verb('blockdev-del', node_name='n1'), verb('blockdev-del', node_name='n1'), 'nodes', MORE, SEEN],
    'a commit of a file in the middle': [
        sync('s1'), sync('s2', 's1'), DATA, commit('s2', top_node='s1', base_node='drive0'), ENDED, 'nodes', verb('blockdev-del', node_name='s1'),
        MORE, SEEN, commit('s2', top_node='drive0', base_node='mid', auto_finalize=False, auto_dismiss=False), 'BLOCK_JOB_PENDING',
        *job('job-complete'), *job('job-finalize'), ('until', 'JOB_STATUS_CHANGE concluded', 2), *job('job-dismiss'), ('until', ENDED, 2), SEEN],
    'what a job keeps from others': [
        sync('s1'), DATA, commit('s1', base_node='drive0', speed=1), verb('job-complete', id='j'), verb('block-job-complete', device='j'),
        *job('job-cancel'), ENDED],
}
