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
