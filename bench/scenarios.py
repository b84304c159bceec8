# SPDX-License-Identifier: MIT OR Apache-2.0
"""The scenarios, as data: one line each, and how the images of one are made.

A scenario's guest content is a sparse raw file, `truth`, made of pieces; the chain is made from it,
and each result is compared with it. `packed` holds the bytes a pull must move, back to back: what
the plain copies copy. Bytes are random, so that nothing can shortcut them; for compressed bases
they are hexadecimal digits, which shrink to about a half.
"""
import collections
import os
import subprocess

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

# virtual, data: bytes at --scale 1. piece: length of one island, 0 when dense.
# base: raw, qcow2, zlib, zstd, qed or chain. unit: what `goal` is a multiple of; s: seconds.
Scenario = collections.namedtuple("Scenario", "name title virtual data piece base overlay cluster unit goal")

TABLE = [
    Scenario("dense", "dense raw base", 2 * GIB, 2 * GIB, 0, "raw", "qcow2", 64 * KIB, "ceiling", 1.15),
    Scenario("qcow2", "dense qcow2 base", GIB, GIB, 0, "qcow2", "qcow2", 64 * KIB, "ceiling", 1.15),
    Scenario("scattered", "16 GiB, 512 MiB scattered, raw base", 16 * GIB, 512 * MIB, 64 * KIB, "raw",
             "qcow2", 64 * KIB, "ceiling", 1.25),
    Scenario("wide", "64 GiB, 2 GiB scattered, qcow2 base", 64 * GIB, 2 * GIB, 64 * KIB, "qcow2",
             "qcow2", 64 * KIB, "ref", 1.25),
    Scenario("huge", "1 TiB, 64 MiB data, qcow2 base", TIB, 64 * MIB, 64 * KIB, "qcow2", "qcow2",
             64 * KIB, "ceiling", 2),
    Scenario("zlib", "zlib-compressed base", GIB // 2, GIB // 2, 0, "zlib", "qcow2", 64 * KIB, "ceiling", 2),
    Scenario("zstd", "zstd-compressed base", GIB // 2, GIB // 2, 0, "zstd", "qcow2", 64 * KIB, "ceiling", 1.4),
    Scenario("half", "half-allocated overlay, alternating 64 KiB", GIB, GIB, 0, "raw", "half", 64 * KIB,
             "ceiling", 1.5),
    Scenario("qed", "QED on QED", GIB, GIB, 0, "qed", "qed", 64 * KIB, "ceiling", 1.15),
    Scenario("chain", "chain of 16, 256 KiB pieces", GIB, GIB, 256 * KIB, "chain", "qcow2", 64 * KIB,
             "ceiling", 1.25),
    Scenario("clusters2m", "2 MiB clusters", GIB, GIB, 0, "qcow2", "qcow2", 2 * MIB, "ref", 1.15),
    Scenario("reflink", "one file system that shares blocks (XFS), dense raw base", 4 * GIB, 4 * GIB, 0, "raw",
             "qcow2", 64 * KIB, "s", .2),
]


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def scaled(scenario, scale):
    """Whole 4 MiB, so that every scenario keeps whole pieces and clusters."""
    def cut(size):
        return max(4 * MIB, int(size * scale) // (4 * MIB) * 4 * MIB)
    return scenario._replace(virtual=cut(scenario.virtual), data=cut(scenario.data))


def pieces(s):
    length = s.piece or MIB
    count = s.data // length
    stride = s.virtual // count // length * length
    for i in range(count):
        yield i, i * stride, length


def make_content(s):
    half = s.overlay == "half"
    with open("truth", "wb") as truth, open("packed", "wb") as packed:
        truth.truncate(s.virtual)
        for _, offset, length in pieces(s):
            compressible = s.base in ("zlib", "zstd")
            data = os.urandom(length // 2).hex().encode() if compressible else os.urandom(length)
            os.pwrite(truth.fileno(), data, offset)
            if half:  # odd clusters are the overlay's own
                data = b"".join(data[i:i + s.cluster] for i in range(0, length, 2 * s.cluster))
            packed.write(data)


def write_pieces(image, s, wanted):
    """Writes the wanted pieces of the truth into an image, through qemu-io."""
    script = "".join(f"write -q -s piece.{i} {offset} {length}\n" for i, offset, length in wanted)
    with open("truth", "rb") as truth:
        for i, offset, length in wanted:
            with open(f"piece.{i}", "wb") as piece:
                piece.write(os.pread(truth.fileno(), length, offset))
    subprocess.run(["qemu-io", "-f", "qcow2", image], input=script.encode(), check=True,
                   stdout=subprocess.DEVNULL)
    for i, _, _ in wanted:
        os.unlink(f"piece.{i}")


def make_chain(s):
    below = None
    for level in range(16):
        name = f"layer{level}" if level < 15 else "base"
        link = ["-b", below, "-F", "qcow2"] if below else []
        run("qemu-img", "create", "-q", "-f", "qcow2", *link, name, str(s.virtual))
        write_pieces(name, s, [piece for piece in pieces(s) if piece[0] % 16 == level])
        below = name


def make_base(s):
    """Makes `base` in the current directory; returns its format."""
    if s.base == "raw":
        os.link("truth", "base")
        return "raw"
    if s.base == "chain":
        make_chain(s)
        return "qcow2"
    options = {"qcow2": ["-o", f"cluster_size={s.cluster}"], "zlib": ["-c"],
               "zstd": ["-c", "-o", "compression_type=zstd"], "qed": []}[s.base]
    form = "qed" if s.base == "qed" else "qcow2"
    run("qemu-img", "convert", "-f", "raw", "-O", form, *options, "truth", "base")
    return form


def make_overlay(s, base_format):
    """Makes `fresh`, which every run gets a copy of; returns its format."""
    form = "qed" if s.overlay == "qed" else "qcow2"
    options = ["-o", f"cluster_size={s.cluster}"] if form == "qcow2" else []
    run("qemu-img", "create", "-q", "-f", form, *options, "-b", "base", "-F", base_format, "fresh")
    if s.overlay == "half":
        odd = range(s.cluster, s.virtual, 2 * s.cluster)
        write_pieces("fresh", s, [(i, offset, s.cluster) for i, offset in enumerate(odd)])
    return form
