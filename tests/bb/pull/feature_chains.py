# SPDX-License-Identifier: MIT OR Apache-2.0
"""Random chains over everything that QEMU's tools can put into an image.

What chains.py draws, and: extended L2, external data files (raw ones at the bottom), internal
snapshots between writes, discards, VM state and resizes, bitmaps, images left dirty by a crash,
symbolic links and odd names. A seed makes the same chain always. What QEMU refuses to build
(snapshots of a disk with a data file, a resize of a v2 image with snapshots) is left out;
compressed clusters come before any discard, since 7.2 damages its image otherwise. Drawing the
features one by one was rejected: it is their company that breaks.
"""
import os

from chains import Chain, Layer
from harness import KIB, MIB, check, same
from images import image_info, qemu_img, qemu_io

KINDS = ['data', 'data', 'data', 'zero', 'unmap', 'discard']


class FeatureChain(Chain):
    def __init__(self, directory, seed):
        self.data_files, self.n_snapshots, self.dirty, self.bitmaps = [], 0, False, 0
        super().__init__(directory, seed, depth=None, whole_sectors=False)
        if self.top.fmt == 'qcow2':
            self._finish_top()
        self.name = self._another_name()

    def _place(self, directory):
        outer = directory
        if self.rng.random() < 0.25:
            directory = os.path.join(directory, self.rng.choice(['a b', 'dé日本', 'x:y']))
        super()._place(directory)
        self.directory = outer  # for what qemu-io must name: its commands know no quotes

    def _size(self):
        return min(super()._size(), self.rng.choice([2, 4, 8]) * MIB)

    def _qcow2_options(self):
        options, cluster = super()._qcow2_options()
        if cluster >= 16 * KIB and 'compat=1.1' in options and self.rng.random() < 0.3:
            options += ',extended_l2=on'
        return options, cluster

    def _create(self, path, fmt, size, *backing):
        rng = self.rng
        if fmt != 'qcow2' or rng.random() > 0.12:
            super()._create(path, fmt, size, *backing)
            return
        options, cluster = self._qcow2_options()
        if 'compat=0.10' in options:
            options = f'cluster_size={cluster},compat=1.1'
        data = path + '.data'
        options += f',data_file={data}'
        if not backing and rng.random() < 0.5:
            options += ',data_file_raw=on'
        qemu_img('create', '-q', '-f', fmt, '-o', options, *backing, path, *([size] if size else []))
        self.data_files.append(data)
        size = image_info(path)['virtual-size']
        self.layers.insert(0, Layer(path, fmt, size, cluster, f'{options} {" ".join(backing)}'))
        self._scribble(self.top)

    def _write(self, layer):
        if 'data_file' in layer.text:
            return
        if 'extended_l2' not in layer.text:
            super()._write(layer)
        elif 'preallocation' not in layer.text and self.rng.random() < 0.4:
            self._compress_some(layer)
        else:
            self._scribble(layer)

    def _compress_some(self, layer):
        """QEMU can't zero a part of a compressed cluster of an extended table: nothing follows these."""
        numbers = self.rng.sample(range(layer.size // layer.cluster), min(2, layer.size // layer.cluster))
        commands = [f'write -c -P {self.rng.randint(1, 255)} {n * layer.cluster} {layer.cluster}' for n in numbers]
        if commands:
            qemu_io(layer.path, layer.fmt, *commands)
            layer.text += '; compressed clusters'

    def _scribble(self, layer, vm_state=False):
        """Writes, zeros and discards; nothing compressed."""
        rng, commands = self.rng, []
        for _ in range(rng.randint(0, 4)):
            align = rng.choice([1, 512, 4 * KIB, layer.cluster])
            start, length = self._range(layer.size, align)
            kinds = ['data'] if 'compressed clusters' in layer.text else KINDS
            commands.append({
                'data': f'write -P {rng.randint(1, 255)} {start} {length}',
                'zero': f'write -z {start} {length}',
                'unmap': f'write -z -u {start} {length}',
                'discard': f'discard {start} {length}',
            }[rng.choice(kinds)])
        if vm_state and rng.random() < 0.3:
            commands.append(f'write -b -P {rng.randint(1, 255)} 0 {rng.randint(1, 200) * KIB}')
        if commands:
            qemu_io(layer.path, layer.fmt, *commands, flags=('-d', 'unmap'))

    def _finish_top(self):
        rng, top = self.rng, self.top
        details = image_info(top.path)['format-specific']['data']
        self.refcount_bits, self.version3 = details['refcount-bits'], details['compat'] == '1.1'
        if not details.get('data-file') and rng.random() < 0.6:
            # Every snapshot is one more reference, and the active disk is one.
            for number in range(min(rng.randint(1, 4), 2 ** self.refcount_bits - 2)):
                self._scribble(top, vm_state=True)
                qemu_img('snapshot', '-c', rng.choice(['s', 'snap é', '7']) + str(number), top.path)
                self.n_snapshots += 1
                if self.version3 and rng.random() < 0.4:
                    self._resize()
            self._scribble(top)
        if self.version3 and rng.random() < 0.25:
            for number in range(rng.randint(1, 2)):
                qemu_img('bitmap', '--add', '-g', str(rng.choice([512, 4096, 65536])), top.path, f'map{number}')
                self.bitmaps += 1
            self._scribble(top)
        if details.get('lazy-refcounts') and rng.random() < 0.6:
            self._crash()
        top.text += f'; {self.n_snapshots} snapshots, {self.bitmaps} bitmaps{", dirty" * self.dirty}'

    def _resize(self):
        size = self._size()
        if size == self.top.size:
            return
        shrink = ['--shrink'] if size < self.top.size else []
        result = qemu_img('resize', '-q', '-f', 'qcow2', *shrink, self.top.path, size, rc=(0, 1))
        if result.rc:
            # With extended L2 entries QEMU can't zero the rest of a compressed last cluster.
            check('Failed to zero out new clusters: Operation not supported' in result.err, f'qemu-img: {result}')
            same(image_info(self.top.path)['virtual-size'], self.top.size, 'length behind a resize that was refused')
            return
        self.top.size = size
        self.top.text += f'; resized to {size}'

    def _crash(self):
        """As qemu-io dies after a flush, the image stays marked dirty, its refcounts behind."""
        start, length = self._range(self.top.size, 512)
        qemu_io(self.top.path, 'qcow2', f'write -P 77 {start} {length}', 'flush', 'abort', rc=(134, 6, 1))
        self.dirty = image_info(self.top.path)['dirty-flag']

    def _another_name(self):
        """The name to give to the command: the path, or a link beside it."""
        if self.rng.random() > 0.2:
            return self.top.path
        link = os.path.join(self.top_dir, self.rng.choice(['link', 'a link', 'lïnk']) + '.img')
        os.symlink(self.rng.choice([os.path.basename(self.top.path), self.top.path]), link)
        return link

    def files_below(self):
        own = self.top.path + '.data'
        return [layer.path for layer in self.layers[1:]] + [d for d in self.data_files if d != own]
