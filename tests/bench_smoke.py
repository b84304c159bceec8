# SPDX-License-Identifier: MIT OR Apache-2.0
"""bench/run.py at a tiny scale: every scenario's results are proven, and false ones are found out.

Never asserts on a time. usage: bench_smoke.py RUN_PY BLOCKPULL PLAIN_COPY
"""
import json
import os
import subprocess
import sys
import tempfile

run_py, blockpull, plain_copy = sys.argv[1:]
METHODS = {"blockpull", "rebase", "stream", "convert", "ceiling", "ref"}


def bench(command, *scenarios):
    with tempfile.TemporaryDirectory() as top:
        out = os.path.join(top, "out.json")
        files = os.path.join(top, "files")
        os.mkdir(files)
        done = subprocess.run([sys.executable, run_py, command, plain_copy, "--rounds", "1", "--scale", "0.004",
                               "--dir", files, "--json", out, *scenarios], capture_output=True, text=True)
        assert os.listdir(files) == [], "files are left"
        with open(out) as file:
            return done.returncode, json.load(file)["rows"], done.stdout + done.stderr


def proven():
    rc, rows, text = bench(blockpull)
    assert len(rows) == 11, len(rows)
    for row in rows:
        assert set(row["results"]) == METHODS, row
        for name, result in row["results"].items():
            # a kernel that forbids io_uring has no such copy; nothing else may fail
            if name == "ref" and "io_uring" in (result["error"] or ""):
                continue
            assert result["proven"] and len(result["runs"]) == 1, (row["name"], name, result["error"])
            assert set(result["runs"][0]) == {"seconds", "cpu", "rss_kib"}
    assert rc == 0 or "io_uring" in text, text


def found_out(command, why):
    rc, rows, text = bench(command, "dense")
    result = rows[0]["results"]["blockpull"]
    assert rc == 1 and not result["proven"] and why in result["error"], text
    assert rows[0]["results"]["rebase"]["proven"], text


CASES = [("every scenario is proven", proven),
         ("a pull that did nothing is found out", lambda: found_out("/bin/true", "backing file")),
         ("a pull that failed is found out", lambda: found_out("/bin/false", "exit status 1"))]
print(f"1..{len(CASES)}")
for number, (title, case) in enumerate(CASES, 1):
    try:
        case()
        print(f"ok {number} - {title}")
    except Exception as error:  # told as TAP
        print(f"not ok {number} - {title}\n# {error!r}")
