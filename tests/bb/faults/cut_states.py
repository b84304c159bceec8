# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a disk may hold after a power cut, made from the log that tests/powercut/cutfs.c wrote.

The model is the disk's, and knows nothing of images: a sync of a file makes durable what had been
answered before the sync came in, once the sync has been answered itself. Every other change may be there,
be missing, or, a write, be torn at 512 bytes; a length may stay grown over bytes that never came,
which read as zeros then. Names obey the sync of their directory in the same way. A cut may be in front of
any record of the log. Replaying only prefixes of the log was rejected: that is what a kill
leaves, and hides every missing sync.
"""
import bisect
import collections
import math
import struct

from harness import check

RECORD = struct.Struct('<cxxxiQQQQ')
SECTOR = 512
FILE_OPS, DIR_OPS = b'WTAKPZ', b'CRLU'

# How the changes that no sync covers fare, beside the random subsets.
NASTY = ('none', 'all', 'last', 'first', 'all but the last', 'all but the first', 'header', 'all but the header',
         'small', 'large', 'in place', 'appended', 'only lengths', 'torn', 'one', 'all but one')


class Event:
    """A request: begin and end are places in the log; safe is that of the sync that covers it."""
    __slots__ = ('op', 'begin', 'end', 'safe', 'file', 'at', 'data', 'appends')

    def __init__(self, op, begin, file, at, data):
        self.op, self.begin, self.end, self.safe = op, begin, math.inf, math.inf
        self.file, self.at, self.data, self.appends = file, at, data, False


class Log:
    """A log, and the bytes that the files had before: {name: bytes}; numbers: {name: inode number}."""

    def __init__(self, path, before, numbers):
        self.before, self.numbers = before, numbers
        self.events, self.marks = [], {}
        self.length = 0
        self._read(path)
        self._mend_splits()
        self.changes = [e for e in self.events if e.op in FILE_OPS]
        self.names = [e for e in self.events if e.op in DIR_OPS]
        self._find_syncs()
        self._find_appends()

    def _read(self, path):
        with open(path, 'rb') as file:
            raw = file.read()
        at, place, waiting, instance = 0, 0, {}, {}
        while at < len(raw):
            op, result, number, inode, off, length = RECORD.unpack_from(raw, at)
            op, at = op[0], at + RECORD.size
            data, at, place = raw[at:at + length], at + length, place + 1
            check(len(data) == length, 'the log is cut short')
            if op != ord('E'):
                event = waiting[number] = Event(op, place, (inode, instance.get(inode, 0)), off, data)
                self.events.append(event)
                if op == ord('M'):
                    self.marks.setdefault(data.decode(), place)
                continue
            event = waiting.pop(number)
            event.end = place
            if result < 0:
                event.op = ord('F')  # it failed: nothing changed, nothing is durable
            elif event.op == ord('C'):
                # A number may have been a removed file's.
                instance[inode] = instance.get(inode, 0) + 1
                event.file = (inode, instance[inode])
        self.length = place
        self.events.sort(key=lambda e: e.begin)

    def _mend_splits(self):
        """FUSE may split a request in the middle of a sector, where a buffer's page was not at hand. A
        disk gets that sector whole: it goes with the second half."""
        last = {}
        for event in self.events:
            if event.op == ord('M'):
                continue
            first = last.get(event.file)
            if event.op == ord('W') and first and first.op == ord('W') and first.at + len(first.data) == event.at:
                shared = min(event.at % SECTOR, len(first.data))
                if shared:
                    event.data, event.at = first.data[-shared:] + event.data, event.at - shared
                    first.data = first.data[:-shared]
            last[event.file] = event

    def _find_syncs(self):
        syncs = collections.defaultdict(list)
        for event in self.events:
            if event.op in b'SD':
                syncs[event.file if event.op == ord('S') else 'dir'].append(event)
        for event in self.changes + self.names:
            later = syncs[event.file if event.op in FILE_OPS else 'dir']
            first = bisect.bisect_right([s.begin for s in later], event.end)
            event.safe = min((s.end for s in later[first:]), default=math.inf)

    def _find_appends(self):
        lengths = {(number, 0): len(self.before[name]) for name, number in self.numbers.items()}
        for event in self.changes:
            have = lengths.get(event.file, 0)
            event.appends = event.at >= have
            lengths[event.file] = max(have, event.at + len(event.data)) if event.op == ord('W') else \
                event.at if event.op == ord('T') else have

    def lie(self, every, first=0):
        """For testing the judge: each n-th sync did nothing, and its caller was told it had."""
        for event in [e for e in self.events if e.op == ord('S')][first::every]:
            event.op = ord('F')
        self._find_syncs()

    def in_doubt(self, cut):
        return any(e.begin < cut <= e.safe for e in self.changes + self.names)

    # ---- States -------------------------------------------------------------------------------

    def state(self, cut, how, rng):
        """{name: bytes} after a cut in front of record `cut`, and how many changes were in doubt."""
        files = {(number, 0): bytearray(self.before[name]) for name, number in self.numbers.items()}
        live = [e for e in self.changes if e.begin < cut]
        doubtful = [e for e in live if e.safe >= cut]
        fate = self._fates(doubtful, how, rng)
        for event in live:
            kept = fate.get(event, True)
            content = files.setdefault(event.file, bytearray())
            if event.op == ord('W'):
                self._write(content, event, kept, how, rng)
            elif kept:
                self._change(content, event)
        names = self._names(cut, how, rng)
        return {name: bytes(files.get(file, b'')) for name, file in names.items()}, len(doubtful)

    @staticmethod
    def _fates(doubtful, how, rng):
        def choose(event):
            small = len(event.data) <= 4096
            header = event.at < SECTOR
            return {'none': False, 'all': True, 'header': header, 'all but the header': not header,
                    'small': small, 'large': not small, 'in place': not event.appends,
                    'appended': event.appends, 'torn': 'torn', 'only lengths': False}.get(how)
        if not doubtful:
            return {}
        one = {'last': doubtful[-1], 'first': doubtful[0], 'all but the last': doubtful[-1],
               'all but the first': doubtful[0]}.get(how) or rng.choice(doubtful)
        if how in ('last', 'first', 'one'):
            return {e: e is one for e in doubtful}
        if how.startswith('all but') and how != 'all but the header':
            return {e: e is not one for e in doubtful}
        if how != 'random':
            return {e: choose(e) for e in doubtful}
        share = rng.choice((0.1, 0.5, 0.9))
        return {e: 'torn' if rng.random() < 0.2 else rng.random() < share for e in doubtful}

    @staticmethod
    def _write(content, event, kept, how, rng):
        end = event.at + len(event.data)
        if len(content) < end and (kept or how == 'only lengths' or (how == 'random' and rng.random() < 0.5)):
            content.extend(bytes(end - len(content)))
        if kept is True:
            content[event.at:end] = event.data
        elif kept == 'torn':
            first, last = event.at // SECTOR, (end - 1) // SECTOR + 1
            middle, shape = rng.randrange(first, last + 1), rng.randrange(4)
            for sector in range(first, last if event.data else first):
                if (sector < middle, sector >= middle, rng.random() < 0.5, sector == middle)[shape]:
                    a, b = max(sector * SECTOR, event.at), min((sector + 1) * SECTOR, end)
                    content[a:b] = event.data[a - event.at:b - event.at]

    @staticmethod
    def _change(content, event):
        length = struct.unpack('<Q', event.data)[0] if event.data else 0
        end = event.at + length
        if event.op == ord('T'):
            del content[event.at:]
            content.extend(bytes(event.at - len(content)))
        elif event.op in b'PZ':
            content[event.at:min(end, len(content))] = bytes(max(0, min(end, len(content)) - event.at))
        if event.op in b'AZ' and end > len(content):
            content.extend(bytes(end - len(content)))

    def _names(self, cut, how, rng):
        names = {name: (number, 0) for name, number in self.numbers.items()}
        for event in self.names:
            if event.begin >= cut:
                break
            if event.safe >= cut and not (how in ('all', 'small', 'last') or
                                          (how not in ('none', 'first') and rng.random() < 0.7)):
                continue
            name, _, to = event.data.decode().partition('/')
            if event.op == ord('C'):
                names[name] = event.file
            elif name in names:
                file = names[name] if event.op == ord('L') else names.pop(name)
                if event.op in b'RL':
                    names[to] = file
        return names
