# SPDX-License-Identifier: MIT OR Apache-2.0
"""Images at rest."""
import errno

import pytest

import blockpull


def test_info_tells_of_each_layer(chain):
    top, base = blockpull.info(chain.top)
    assert (top.format, base.format) == (blockpull.Format.QCOW2, blockpull.Format.RAW)
    assert top.backing_name == "base.raw" and top.backing_format == "raw"
    assert top.virtual_size == base.file_size == len(chain.content)
    assert base.backing_name is None


def test_check_finds_a_leak_and_frees_it(chain):
    assert blockpull.check(chain.top).is_clean
    with open(chain.top, "r+b") as file:
        file.seek(48)
        table = int.from_bytes(file.read(8), "big")
        file.seek(table)
        block = int.from_bytes(file.read(8), "big")
        file.seek(0, 2)
        clusters = (file.tell() + 65535) // 65536
        file.truncate((clusters + 1) * 65536)
        file.seek(block + 2 * clusters)
        file.write(b"\0\1")
    found = blockpull.check(chain.top)
    assert found.n_leaks == 1 and found.findings[0].is_leak and found.findings[0].message
    mended = blockpull.check(chain.top, repair=blockpull.Repair.LEAKS)
    assert mended.n_leaks_fixed == 1 and mended.is_clean
    chain.judge()


def test_measure_is_an_upper_bound(chain, engine):
    told = blockpull.measure(chain.top)
    assert told.has_backing and not told.is_device
    with engine.open(chain.top) as disk:
        disk.pull().wait()
    assert chain.top.stat().st_size <= told.needed_size


def test_create_never_overwrites(chain):
    with pytest.raises(blockpull.Error) as caught:
        blockpull.create(chain.top, 1 << 20)
    assert caught.value.errno == errno.EEXIST
    chain.judge()


def test_flatten_makes_a_new_file(chain, engine, tmp_path):
    out = tmp_path / "flat.qcow2"
    with engine.flatten(chain.top, out) as disk:
        assert not out.exists()
        disk.pull().wait()
    assert chain.has_link()
    chain.top = out
    chain.judge()


def test_the_library_says_its_version():
    assert blockpull.version().count(".") == 2


def test_measure_pull_heeds_the_base_and_the_top(chain, tmp_path):
    upper = tmp_path / "upper.qcow2"
    blockpull.create(upper, backing="top.qcow2", backing_format="qcow2")
    whole, above = blockpull.measure_pull(upper), blockpull.measure_pull(upper, base=chain.base)
    assert whole == blockpull.measure(upper) and 0 < above.copy_bytes < whole.copy_bytes
    assert blockpull.measure_pull(upper, top=chain.top).file_size == chain.top.stat().st_size
    with pytest.raises(blockpull.Error) as caught:
        blockpull.measure_pull(upper, base=tmp_path / "none")
    assert caught.value.errno == errno.EINVAL and "none" in str(caught.value)


def test_create_makes_what_it_is_asked_for(tmp_path):
    blockpull.create(tmp_path / "a.qcow2", 1 << 20, cluster_size=4096, refcount_bits=64, lazy_refcounts=True, zstd=True)
    blockpull.create(tmp_path / "b.qed", 1 << 20, format="qed", table_size=2)
    blockpull.create(tmp_path / "c.qcow2", empty=True)
    a, b, c = (blockpull.info(tmp_path / name)[0] for name in ("a.qcow2", "b.qed", "c.qcow2"))
    assert (a.version, a.cluster_size, a.refcount_bits, a.lazy_refcounts, a.compression) == (3, 4096, 64, True, "zstd")
    assert (b.format.word, b.table_size, b.virtual_size) == ("qed", 2, 1 << 20)
    assert (c.virtual_size, c.refcount_bits, c.compression) == (0, 16, "zlib")


def test_info_says_how_a_backing_format_is_known(chain):
    top, base = blockpull.info(chain.top)
    assert top.backing_format_from is blockpull.FormatFrom.RECORDED
    assert (top.backing_opened_as, base.backing_opened_as) == (blockpull.Format.RAW, blockpull.Format.UNKNOWN)
    assert base.backing_format_from is blockpull.FormatFrom.NOT_KNOWN
    assert [layer.format.word for layer in (top, base)] == ["qcow2", "raw"]


def test_check_counts_clusters(chain):
    found = blockpull.check(chain.top)
    assert found.n_total_clusters == 8 << 4 and 0 < found.n_allocated_clusters < found.n_total_clusters
    assert found.image_end_offset == chain.top.stat().st_size and not found.marks_cleared
