# SPDX-License-Identifier: MIT OR Apache-2.0
"""Random backing chains: a seed in, images on disk out, made by QEMU's own tools.

The same seed makes the same chain. Layers differ in format, version, cluster size, length (shorter
or longer than what they back on, ending inside a cluster or, raw, inside a sector), in what is
written how (data, data that is all zero, zero writes, discards, compressed clusters) and in how
the next layer is named. What QEMU itself can't say is left out: raw stands at the bottom only. A
grammar of operations replayed from a text was rejected: a seed is shorter and can't go stale.
"""
import os
import random

from harness import KIB, MIB
from images import image_info, qemu_img, qemu_io

QCOW2_CLUSTERS = [512 << i for i in range(13)]
QED_CLUSTERS = [4 * KIB << i for i in range(9)]


class Layer:
    def __init__(self, path, fmt, size, cluster, text):
        self.path, self.fmt, self.size, self.cluster, self.text = path, fmt, size, cluster, text

    def __str__(self):
        return f'{os.path.basename(self.path)}: {self.text}'


class Chain:
    """layers[0] is the image to pull, layers[-1] the deepest; args: what blockpull needs to open it."""

    def __init__(self, directory, seed, depth=None, whole_sectors=False):
        self.seed, self.rng = seed, random.Random(seed)
        rng = self.rng
        if depth is None:
            depth = 12 if rng.random() < 0.04 else rng.randint(1, 6)
        self.layers, self.args, self.whole_sectors = [], [], whole_sectors
        # QED records "raw" or nothing about its backing file's format, and --backing-format is one
        # format for all that record none.
        self.unrecorded = rng.choice(['qcow2', 'qed'])
        self._place(directory)
        self._bottom()
        for index in range(depth):
            self._overlay(top=index == depth - 1)

    def __str__(self):
        return f'seed {self.seed}:\n  ' + '\n  '.join(map(str, self.layers))

    @property
    def top(self):
        return self.layers[0]

    def _place(self, directory):
        self.directory = directory
        place = self.rng.choice(['together', 'together', 'below', 'beside'])
        self.top_dir = self.base_dir = directory
        if place == 'below':
            self.base_dir = os.path.join(directory, 'base images')
        elif place == 'beside':
            self.top_dir = os.path.join(directory, 'top')
            self.args.append('--allow-backing=' + self.rng.choice(['any', directory]))
        for name in {self.top_dir, self.base_dir}:
            os.makedirs(name, exist_ok=True)

    def _size(self):
        """Lengths near each other, so that layers end inside each other's clusters."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.1:
            size = rng.randint(512, 64 * KIB)
        elif kind < 0.4:
            size = rng.randint(1, 12) * MIB
        else:
            size = rng.randint(64 * KIB, 12 * MIB)
        return size // 512 * 512

    def _bottom(self):
        rng = self.rng
        fmt = rng.choice(['raw', 'raw', 'qcow2', 'qed'])
        path = os.path.join(self.base_dir, f'base.{fmt}')
        size = self._size()
        if fmt == 'raw':
            tail = rng.choice([0, 0, rng.randint(1, 511)])
            size += 0 if self.whole_sectors else tail
            self._write_raw(path, size)
            self.layers.insert(0, Layer(path, fmt, (size + 511) // 512 * 512, 512, f'raw, {size} bytes'))
        elif fmt == 'qcow2' and rng.random() < 0.3:
            options, cluster = self._qcow2_options()
            source = path + '.raw'
            self._write_raw(source, size)
            qemu_img('convert', '-f', 'raw', '-O', 'qcow2', *rng.choice([['-c'], []]), '-o', options, source, path)
            os.unlink(source)
            self.layers.insert(0, Layer(path, fmt, size, cluster, f'converted, {options}, {size} bytes'))
        else:
            self._create(path, fmt, size)

    def _overlay(self, top):
        rng, below = self.rng, self.top
        fmt = rng.choice(['qcow2', 'qcow2', 'qed'])
        if fmt == 'qed' and below.fmt not in ('raw', self.unrecorded):
            fmt = 'qcow2'
        if fmt == 'qed' and below.fmt != 'raw' and '--backing-format=' + below.fmt not in self.args:
            self.args.append('--backing-format=' + below.fmt)
        name = f'{"top" if top else "mid"}{len(self.layers)}.{fmt}'
        path = os.path.join(self.top_dir if top else self.base_dir, name)
        backing = below.path
        if rng.random() < 0.7:
            backing = os.path.relpath(below.path, os.path.dirname(path))
        size = None if rng.random() < 0.4 else self._size()
        self._create(path, fmt, size, '-b', backing, '-F', below.fmt)

    def _qcow2_options(self):
        rng = self.rng
        cluster = rng.choice(QCOW2_CLUSTERS + [64 * KIB] * 4)
        options = [f'cluster_size={cluster}']
        if rng.random() < 0.25:
            return ','.join(options + ['compat=0.10']), cluster
        options += ['compat=1.1', f'compression_type={rng.choice(["zlib", "zstd"])}']
        if rng.random() < 0.4:
            options.append(f'refcount_bits={1 << rng.randint(0, 6)}')
        if rng.random() < 0.2:
            options.append('lazy_refcounts=on')
        return ','.join(options), cluster

    def _create(self, path, fmt, size, *backing):
        rng = self.rng
        if fmt == 'qcow2':
            options, cluster = self._qcow2_options()
            if not backing and rng.random() < 0.3:
                options += ',preallocation=' + rng.choice(['metadata', 'falloc', 'full'])
        else:
            cluster, table = rng.choice(QED_CLUSTERS), 1 << rng.randint(1, 4)
            if cluster * table > 4 * MIB:  # tables are whole clusters, mostly empty: keep them small
                table = 2
            options = f'cluster_size={cluster},table_size={table}'
        qemu_img('create', '-q', '-f', fmt, '-o', options, *backing, path, *([size] if size else []))
        size = image_info(path)['virtual-size']
        layer = Layer(path, fmt, size, cluster, f'{options}, {size} bytes, {" ".join(backing)}')
        self.layers.insert(0, layer)
        self._write(layer)

    def _range(self, size, align):
        """A range inside the disk; often it ends with the disk or is a few bytes long."""
        rng = self.rng
        length = min(size, rng.choice([rng.randint(1, 4 * KIB), rng.randint(1, 256 * KIB), rng.randint(1, MIB)]))
        start = size - length if rng.random() < 0.15 else rng.randint(0, size - length)
        start = start // align * align
        length = max(length // align * align, align)
        return start, min(length, size - start)

    def _write(self, layer):
        rng, commands, compressed = self.rng, [], []
        noise = os.path.join(self.directory, 'noise')
        taken = [(0, layer.size)] if 'preallocation' in layer.text else []
        with open(noise, 'wb') as file:
            file.write(rng.randbytes(64 * KIB))
        for _ in range(rng.choice([0, 1, 3, 8])):
            align = rng.choice([1, 512, 4 * KIB, layer.cluster])
            start, length = self._range(layer.size, align)
            kind = rng.choice(['data', 'data', 'noise', 'zeros', '-z', '-z -u', 'discard', '-c', '-c'])
            if kind == '-c':
                start = start // layer.cluster * layer.cluster
                length = min(layer.cluster, layer.size - start)
            # QEMU compresses whole clusters, and those only that the image does not hold yet; and 7.2
            # corrupts its image if it is to compress again after a compressed cluster was freed.
            held = any(start < t + n + layer.cluster and t < start + length + layer.cluster for t, n in taken)
            taken.append((start, length))
            if kind == '-c' and layer.fmt == 'qcow2' and not held:
                compressed.append(f'write -c -P {rng.randint(1, 255)} {start} {length}')
            elif kind == 'noise':
                commands.append(f'write -s {noise} {start} {length}')
            elif kind in ('-z', '-z -u'):
                commands.append(f'write {kind} {start} {length}')
            elif kind == 'discard':
                commands.append(f'discard {start} {length}')
            else:
                commands.append(f'write -P {0 if kind == "zeros" else rng.randint(1, 255)} {start} {length}')
        if compressed + commands:
            # Discards reach the image only when they are let through.
            qemu_io(layer.path, layer.fmt, *compressed, *commands, flags=('-d', 'unmap'))
        os.unlink(noise)

    def _write_raw(self, path, size):
        rng = self.rng
        with open(path, 'wb') as file:
            file.truncate(size)
            for _ in range(rng.choice([0, 1, 4, 10])):
                start, length = self._range(size, 1)
                file.seek(start)
                file.write(rng.choice([rng.randbytes, lambda n: bytes([rng.randint(1, 255)]) * n, bytes])(length))
            if rng.random() < 0.5:
                file.seek(size - 1)
                file.write(b'\xee')
