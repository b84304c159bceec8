# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the driver of a sandbox asks of qemu-storage-daemon: it makes its own overlays, names each node, keeps its jobs until it
dismisses them, and tries what must be refused. Steps are those of qmp_sequences.py."""
from qmp_sequences import DATA, ENDED, FILE, MADE, MORE, READY, SEEN, commit, created, io, job, stream, sync, transaction, verb

N1 = {'driver': 'qcow2', 'node-name': 'n1', 'file': FILE, 'backing': None}
MID = {'driver': 'file', 'filename': '$d/mid.img'}
SNAPSHOT = verb('blockdev-snapshot', node='drive0', overlay='n1')
CONCLUDED = 'JOB_STATUS_CHANGE concluded'


def add(**more):
    return 'blockdev-add', {**N1, **{key.replace('_', '-'): value for key, value in more.items()}}


def with_options(**more):
    """Added, and taken away."""
    return [add(**more), deleted('n1')]


def deleted(name):
    return verb('blockdev-del', node_name=name)


def name_it(name):
    return ('block-job-set-speed', {'device': name, 'speed': 0})


SANDBOX = {
    'a file node, an image above it, and both taken away': [
        MADE, verb('blockdev-add', driver='file', node_name='f1', filename='$d/n1.img', read_only=False, auto_read_only=True, discard='unmap',
                   cache={'direct': False, 'no-flush': False}), 'files',
        add(file='f1', read_only=False, discard='unmap', detect_zeroes='off'), 'files', SNAPSHOT, 'files', DATA,
        verb('blockdev-del', node_name='f1'), verb('blockdev-del', node_name='n1'), verb('blockdev-del', node_name='drive0'),
        commit('n1', base_node='drive0'), READY, *job('job-complete'), ENDED, verb('blockdev-del', node_name='f1'),
        verb('blockdev-del', node_name='n1'), 'files', verb('blockdev-del', node_name='f1'), verb('blockdev-del', node_name='f1'), 'files', MORE, SEEN],
    'a name for the file inside of the image\'s own': [
        MADE, add(file={**FILE, 'node-name': 'f1'}), 'files', verb('blockdev-del', node_name='f1'), add(node_name='n2', file='f1'),
        add(node_name='f1'), add(node_name='n2', file={**FILE, 'node-name': 'n1'}), verb('blockdev-del', node_name='n1'), 'files',
        add(file={**FILE, 'node-name': 'f1'}), SNAPSHOT, 'files', DATA, io('read -P 3 0 64k', 'read -P 0 64k 64k')],
    'an overlay with something below it already': [
        MADE, created('n2', 'n1'), add(node_name='a', backing='drive0'), verb('blockdev-snapshot', node='drive0', overlay='a'),
        verb('blockdev-del', node_name='a'), add(node_name='a', backing='no'), add(node_name='a', file='no'), 'nodes',
        verb('blockdev-del', node_name='a'), 'nodes'],
    'two images that a driver adds, one above the other': [
        MADE, created('n2', 'n1'), add(), add(node_name='n2', file={'driver': 'file', 'filename': '$d/n2.img'}), 'nodes',
        SNAPSHOT, verb('blockdev-snapshot', node='n1', overlay='n2'), 'nodes', DATA, verb('blockdev-del', node_name='n1'),
        stream('n2', base_node='drive0'), ENDED, 'nodes', verb('blockdev-del', node_name='n1'), 'nodes', MORE, SEEN],
    'transactions whose second action fails': [
        MADE, add(), transaction(SNAPSHOT, verb('blockdev-snapshot', node='drive0', overlay='no')), 'nodes',
        transaction(SNAPSHOT, sync('s1', 'no')), 'nodes', transaction(sync('s1'), sync('s2', 'base')), 'nodes',
        transaction(SNAPSHOT, ('abort', {})), 'nodes', transaction(SNAPSHOT, ('blockdev-del', {'node-name': 'n1'})),
        transaction(SNAPSHOT, SNAPSHOT), 'nodes', transaction(SNAPSHOT), 'nodes', DATA, MORE, SEEN],
    'names of jobs': [
        sync('s1'), stream('drive0', job_id='', auto_dismiss=False), stream('drive0', job_id='a b'), stream('drive0', job_id='1x'),
        ('block-stream', {'device': 'drive0', 'job-id': 'x.y-z_1', 'base-node': 'mid', 'auto-dismiss': False}),
        CONCLUDED, name_it('j'), name_it('x.y-z_1'), ('job-dismiss', {'id': 'drive0'}), ('job-dismiss', {'id': 'x.y-z_1'}), ('job-dismiss', {'id': 'x.y-z_1'}), verb('query-jobs')],
    'a stream that is kept until it is dismissed': [
        sync('s1'), DATA, stream('drive0', base_node='base', auto_finalize=False, auto_dismiss=False), 'BLOCK_JOB_PENDING', 'jobs',
        *job('job-dismiss', 'job-pause', 'job-complete', 'block-job-complete'), *job('job-finalize'), CONCLUDED, 'jobs',
        *job('job-finalize', 'job-cancel', 'block-job-cancel', 'job-pause', 'job-resume'),
        *job('block-job-set-speed', speed=7), stream('drive0'), *job('job-dismiss'), 'jobs', *job('job-dismiss', 'block-job-cancel'), 'names',
        MORE, SEEN],
    'a commit by names of files that are wrong': [
        sync('s1'), sync('s2', 's1'), DATA, commit('s2', base='$d/no.img'), commit('s2', base='base.img', top='$d/no.img'),
        commit('s2', top='$d/s2.img', base='$d/s2.img'), commit('s2', top='$d/s1.img', base='$d/s2.img'),
        commit('s2', top='$d/s1.img', base_node='drive0', base='$d/top.img'), 'nodes'],
    'a commit that records another name': [
        sync('s1'), sync('s2', 's1'), DATA, commit('s2', top_node='s1', base_node='drive0', backing_file='top.img'), ENDED, 'nodes',
        ('link', 's2'), MORE, SEEN],
    'a stream that records another name': [
        sync('s1'), DATA, stream('drive0', base_node='base', backing_file='base.img'), ENDED, 'nodes', ('link', 'top'), MORE, SEEN],
    'a commit of the image as it is told': [
        sync('s1'), DATA, commit('s1', base_node='drive0', auto_dismiss=False), READY, 'jobs', *job('block-job-set-speed', speed=-1), stream('drive0', job_id='k'), sync('s9', 's1'),
        verb('blockdev-del', node_name='s1'), *job('job-finalize', 'job-dismiss', 'job-resume'), *job('job-complete'), CONCLUDED, 'jobs',
        *job('job-complete'), *job('job-dismiss'), 'names', MORE, SEEN],
    'a commit that is canceled, and one after it': [
        sync('s1'), DATA, commit('s1', base_node='drive0'), READY, *job('block-job-cancel', force=True), ENDED, 'names', MORE,
        commit('s1', base_node='drive0'), ('until', READY, 2), *job('job-complete'), ('until', ENDED, 2), 'nodes', SEEN],
    'options of an image that are taken, or wrong': [
        MADE, *with_options(lazy_refcounts=True), *with_options(pass_discard_request=False, pass_discard_snapshot=True, pass_discard_other=True),
        *with_options(overlap_check='none'), *with_options(overlap_check={'template': 'all', 'active-l2': False}),
        *with_options(file={**FILE, 'aio-max-batch': 4, 'drop-cache': False, 'x-check-cache-dropped': True}),
        add(lazy_refcounts=7), add(pass_discard_request='x'), add(overlap_check='x'), add(overlap_check=7), add(overlap_check={'template': 'x'}),
        add(overlap_check={'active-l2': 7}), add(overlap_check={'x': True}), add(file={**FILE, 'aio-max-batch': 'x'}), add(file={**FILE, 'drop-cache': 7}), 'nodes'],
    'jobs that are refused when they are made, or before': [
        stream('drive0', speed=-1), commit('drive0', speed=-1), commit('drive0', top_node='mid', speed=-1),
        commit('drive0', top_node='mid', filter_node_name='mid'), commit('drive0', filter_node_name='mid'), stream('drive0', filter_node_name='mid'),
        stream('drive0', base='$d/no.img'), stream('drive0', base='$d/top.img'), stream('mid', base='$d/mid.img'), stream('mid', base='top.img'), 'jobs', 'nodes'],
    'sets of descriptors, which the daemon has not': [('add-fd', {}), verb('remove-fd', fdset_id=1), verb('query-fdsets'), 'nodes'],
    'jobs that are not there': [
        *job('job-pause', 'job-resume', 'job-cancel', 'job-complete', 'job-finalize', 'job-dismiss'),
        *job('block-job-pause', 'block-job-resume', 'block-job-cancel', 'block-job-complete'), *job('block-job-set-speed', speed=1),
        ('block-job-finalize', {'id': 'j'}), ('block-job-dismiss', {'id': 'j'}), 'jobs'],
    'nodes that are not there, or in use': [
        MADE, verb('blockdev-del', node_name='drive0'), verb('blockdev-del', node_name='mid'), verb('blockdev-del', node_name='no'),
        sync('s1', 'no'), commit('no'), stream('no'), verb('block_resize', node_name='no', size=1 << 23),
        verb('block_resize', node_name='drive0', size=-1), verb('block_resize', device='no', size=1 << 23),
        verb('block_resize', node_name='drive0'), verb('blockdev-snapshot', node='drive0', overlay='base'),
        add(node_name='mid'), add(node_name='x', file=MID), add(node_name='x', file=MID, read_only=True), 'nodes',
        verb('blockdev-del', node_name='x'), 'nodes'],
    'nodes that a job uses': [
        sync('s1'), DATA, commit('s1', base_node='mid', speed=1), deleted('s1'), deleted('drive0'), deleted('mid'), deleted('base'),
        *job('block-job-set-speed', speed=0), READY, *job('job-cancel'), ENDED, 'names',
        stream('drive0', base_node='base', speed=1), deleted('s1'), deleted('drive0'), deleted('mid'), deleted('base'), *job('job-cancel'),
        ('until', ENDED, 2), 'names', MORE, SEEN],
    'what is told of nodes': [
        MADE, 'whole', 'stats', add(file={**FILE, 'node-name': 'f1'}), 'whole', 'stats', SNAPSHOT, 'files', 'stats'],
}
