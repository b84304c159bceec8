# SPDX-License-Identifier: MIT OR Apache-2.0
"""Several snapshots of one disk in one transaction: each on the one before. Steps are those of qmp_sequences.py."""
from qmp_sandbox import N1, SNAPSHOT, add
from qmp_sequences import ABORT, DATA, ENDED, MADE, MORE, READY, SEEN, commit, created, job, stream, sync, transaction, verb

N2 = add(node_name='n2', file={'driver': 'file', 'filename': '$d/n2.img'})
ONTO_N1 = verb('blockdev-snapshot', node='n1', overlay='n2')
BOTH = [MADE, created('n2', 'n1'), add(), N2]

CHAINED = {
    'three images by one transaction': [
        transaction(sync('s1'), sync('s2', 's1'), sync('s3', 's2')), 'nodes', DATA,
        commit('s3', top_node='s2', base_node='s1'), ENDED, 'nodes', transaction(sync('s4', 's3'), sync('s5', 's4')), MORE,
        commit('s5', base_node='drive0'), READY, *job('job-complete'), ('until', ENDED, 2), 'names', SEEN],
    'images that were added, by one transaction': [
        *BOTH, transaction(SNAPSHOT, ONTO_N1), 'nodes', DATA, verb('blockdev-del', node_name='n1'), stream('n2', base_node='drive0'), ENDED,
        'nodes', MORE, SEEN],
    'an added image and a new one on it, and the reverse': [
        MADE, add(), transaction(SNAPSHOT, sync('s2', 'n1')), 'nodes', created('n2', 's3'), N2,
        transaction(sync('s3', 's2'), verb('blockdev-snapshot', node='s3', overlay='n2')), 'nodes'],
    'chains that are refused whole': [
        transaction(sync('s1'), sync('s2', 's3'), sync('s3', 's1')), transaction(sync('s1'), verb('blockdev-snapshot', node='s1', overlay='s1')),
        transaction(sync('s1'), sync('s2', 's1'), properties={'completion-mode': 'grouped'}), 'nodes', DATA, MORE, SEEN],
    'chains of added images that are refused whole': [
        *BOTH, transaction(SNAPSHOT, verb('blockdev-snapshot', node='n1', overlay='n1')), transaction(SNAPSHOT, ONTO_N1, ABORT),
        transaction(SNAPSHOT, verb('blockdev-snapshot', node='drive0', overlay='n2')),
        transaction(SNAPSHOT, ONTO_N1, verb('blockdev-snapshot', node='n2', overlay='n1')), 'nodes',
        transaction(SNAPSHOT, sync('n2', 'n1')), 'nodes', verb('blockdev-del', node_name='n2'), transaction(SNAPSHOT, sync('s2', 'n1')), 'nodes',
        DATA, MORE, SEEN],
}

# QEMU 7.2 crashes as it undoes the first of two new images, so its daemon is not asked. What is wrong, as it says it elsewhere.
BUSY = "Node '%s' is busy: node is used as backing hd of '%s'"
UNDONE = [
    (BUSY % ('drive0', 's1'), sync('s2', 's1'), sync('s3')), (BUSY % ('s1', 's2'), sync('s2', 's1'), sync('s3', 's1')),
    (BUSY % ('mid', 'drive0'), sync('s2', 's1'), sync('s3', 'mid')), ('Transaction aborted using Abort action', sync('s2', 's1'), ABORT),
    ('New overlay node-name already in use', sync('s1', 's1', snapshot_file='$d/s2.img')),
    ("Cannot find device='' nor node-name='no'", sync('s2', 's1'), sync('s3', 'no')),
    ("Could not create '$d/no/s2.img': No such file or directory", sync('s2', 's1', snapshot_file='$d/no/s2.img'), sync('s3', 's2')),
    ("Could not open '$d/none.img': No such file or directory", sync('s2', 's1', mode='existing', snapshot_file='$d/none.img')),
    ("Backing file not supported for file format 'raw'", sync('s2', 's1', format='raw')), ("Unknown file format 'foo'", sync('s2', 's1', format='foo')),
    ('The overlay is already in use', verb('blockdev-snapshot', node='s1', overlay='drive0')),
]
