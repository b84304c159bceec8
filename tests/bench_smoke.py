# SPDX-License-Identifier: MIT OR Apache-2.0
"""The benchmarks at a tiny scale: results are proven, false ones are found out, nothing is left.

Never asserts on a time. usage: bench_smoke.py RUN_PY BLOCKPULL PLAIN_COPY BLOCKPULL_BENCH MICROBENCH [NBDKIT_PLUGIN]
"""
import html.parser
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

run_py, blockpull, plain_copy, bench_exe, micro_exe = sys.argv[1:6]
plugin = sys.argv[6:]
METHODS = {"blockpull", "rebase", "stream", "convert", "ceiling", "ref"}
VOID = {"meta", "line", "rect", "path", "br"}


def instrumented(program):
    """Whether it is a sanitizer's build, of which memory proves nothing."""
    with open(program, "rb") as file:
        return re.search(rb"__[at]san_init", file.read()) is not None


def bench(command, *words, **env):
    """run.py in a directory of its own: exit status, its JSON, the page, what it printed."""
    with tempfile.TemporaryDirectory() as top:
        out, page, files = (os.path.join(top, name) for name in ("out.json", "out.html", "files"))
        os.mkdir(files)
        done = subprocess.run([sys.executable, run_py, command, plain_copy, "--rounds", "1", "--scale", "0.001",
                               "--dir", files, "--json", out, "--html", page, *words], capture_output=True, text=True,
                              env={**os.environ, **env})
        assert os.listdir(files) == [], "files are left"
        with open(out) as file, open(page) as made:
            return done.returncode, json.load(file), made.read(), done.stdout + done.stderr


def ours(*words, code=0):
    """blockpull-bench in a directory of its own, which must be empty afterwards: its stdout."""
    with tempfile.TemporaryDirectory() as top:
        done = subprocess.run([bench_exe, *words, "--dir", top], capture_output=True, text=True)
        assert done.returncode == code, (words, done.returncode, done.stderr)
        assert os.listdir(top) == [], "files are left"
        return done.stdout if not code else done.stderr


class Page(html.parser.HTMLParser):
    """Well formed, and complete in itself."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.words = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe", "object"), tag
        assert not {"src", "href"} & {name for name, _ in attrs}, attrs
        for _, value in attrs:
            assert "nan" not in (value or "") and "inf" not in (value or "").split(), value
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.words += data


def page_of(*results):
    """What blockpull-bench makes of files of JSON."""
    return Page(subprocess.run([bench_exe, "report", *results], check=True, capture_output=True, text=True).stdout)


def proven():
    rc, result, page, text = bench(blockpull)
    assert len(result["rows"]) == 12, len(result["rows"])
    for row in result["rows"]:
        if row["skipped"]:
            assert row["name"] == "reflink" and not row["results"], row
            continue
        assert row["moved_len"] == row["data_len"] // (2 if row["name"] == "half" else 1), row
        assert set(row["results"]) == METHODS | ({"clone"} if row["name"] == "reflink" else set()), row
        for name, method in row["results"].items():
            # a kernel that forbids io_uring has no such copy; nothing else may fail
            if name == "ref" and "io_uring" in (method["error"] or ""):
                continue
            assert method["proven"] and len(method["runs"]) == 1, (row["name"], name, method["error"])
            assert set(method["runs"][0]) == {"seconds", "cpu", "rss_kib"}
    assert rc == 0 or "io_uring" in text, text
    seen = Page(page)
    assert seen.seen.count("svg") == sum(not row["skipped"] for row in result["rows"])
    for row in result["rows"]:
        assert row["title"] in seen.words


def floor():
    """A child's peak memory is not that of the Python that started it."""
    if instrumented(plain_copy):
        return "a sanitizer takes memory of its own"
    _, result, _, text = bench(blockpull, "--methods", "ceiling", "dense")
    rss = result["rows"][0]["results"]["ceiling"]["runs"][0]["rss_kib"]
    assert 0 < rss < 8192, (rss, text)
    return None


def found_out(command, why):
    rc, result, page, text = bench(command, "--methods", "blockpull,rebase", "dense")
    methods = result["rows"][0]["results"]
    assert rc == 1 and not methods["blockpull"]["proven"] and why in methods["blockpull"]["error"], text
    assert methods["rebase"]["proven"], text
    assert why in Page(page).words


def syscalls():
    with tempfile.TemporaryDirectory() as top:
        probe = subprocess.run(["strace", "-f", "-c", "-o", os.path.join(top, "calls"), "true"], capture_output=True)
    if probe.returncode:
        return "strace may not trace here"
    # LeakSanitizer does not work under ptrace.
    _, result, page, text = bench(blockpull, "--syscalls", "--methods", "blockpull,rebase,stream,ceiling", "dense", ASAN_OPTIONS="detect_leaks=0")
    for name in ("blockpull", "rebase", "stream", "ceiling"):
        assert result["rows"][0]["results"][name]["syscalls"] > 10, (name, text)
    assert "system calls" in Page(page).words
    return None


def pull(*words, rounds=1):
    result = json.loads(ours("pull", "--data", "8M", "--rounds", str(rounds), "--json", *words))
    assert result["kind"] == "pull" and set(result["methods"]) == {"blockpull", "ceiling"}
    for method in result["methods"].values():
        assert len(method["runs"]) == rounds and method["min_seconds"] <= method["median_seconds"] <= method["max_seconds"]
        assert method["rss_bytes"] > 0 and method["throughput"]
        moved = before = 0
        for seconds, rate in method["throughput"]:
            moved += (seconds - before) * rate
            before = seconds
        assert abs(moved - result["options"]["moved_bytes"]) < 1, moved  # all of it is in the curve
    assert result["methods"]["ceiling"]["ratio"] == 1
    return result


def every_pull():
    for pattern in ("dense", "scattered", "half", "chain"):
        for form in ("qcow2", "qed"):
            pull("--pattern", pattern, "--format", form)
    pull("--cluster-size", "2M", "--pattern", "half", rounds=2)
    slow = pull("--speed", "40M")
    # The one thing about time that can't be false: no limit was exceeded as a whole.
    assert slow["methods"]["blockpull"]["min_seconds"] > 0.1, slow


def guest(*words):
    result = json.loads(ours("guest", "--size", "8M", "--seconds", "1", "--json", *words))
    for name, phase in result["phases"].items():
        latency = phase["latency"]
        order = [latency[key] for key in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")]
        assert order == sorted(order) and order[0] > 0, (name, order)
        assert sum(count for _, _, count in latency["buckets"]) == latency["n"] > 0
        assert all(begin < end for begin, end, _ in latency["buckets"])
    assert "raw" in result["phases"] or "io_uring" in result["no_raw"], result
    assert "alone" in result["phases"]
    return result


def every_guest():
    result = guest("--with-pull", "--data", "16M")
    assert "with_pull" in result["phases"] and result["pull_completed"], result
    assert result["pulled_bytes"] == 16 << 20, result["pulled_bytes"]
    guest("--rw", "write", "--depth", "32", "--format", "qed")
    guest("--rw", "alloc", "--depth", "4", "--with-pull", "--data", "1M")


def limit(*words):
    return json.loads(ours("limit", "--seconds", "2", "--json", *words))["runs"]


def boots():
    result = json.loads(ours("boot", "--delay", "1", "--json"))
    assert result["ranges"] and result["hot_bytes"] > result["ranges"] * 512, result
    assert result["without"]["base_reads"] >= result["ranges"] and result["hot_first"]["base_reads"] == 0, result
    # How far a pull is when a machine asks is the processor's affair.
    assert all(result[how]["ns"] > 0 and result[how]["base_reads"] >= 0 for how in ("beside_first", "beside_pull")), result
    with tempfile.NamedTemporaryFile("w", suffix=".trace") as trace:
        trace.write("blockpull trace 1\n0 65536 0\n70000000 200000 5\n")
        trace.flush()
        result = json.loads(ours("boot", "--delay", "1", "--json", "--trace", trace.name))
        assert (result["ranges"], result["hot_bytes"], result["without"]["base_reads"]) == (2, 5 * 65536, 5), result
        trace.write("1 2\n")
        trace.flush()
        assert "line 4" in ours("boot", "--trace", trace.name, code=2)


def fanouts():
    for words in (), ("--format", "qed"):
        result = json.loads(ours("fanout", "--images", "5", "--data", "8M", "--json", *words))
        read = {name: way["read_bytes"] / (8 << 20) for name, way in result["ways"].items()}
        assert 1 <= read["together"] <= 1.05 and 1 <= read["direct"] <= 1.05, read  # once, whatever the number of overlays
        assert 5 <= read["apart"] <= 5.25 and read["copies"] == 5, read
        for way in result["ways"].values():
            (run,) = way["runs"]
            assert 0 < run["first_seconds"] <= run["seconds"] == way["median_seconds"], run
        assert result["ways"]["together"]["runs"][0]["reads"] * 3 < result["ways"]["apart"]["runs"][0]["reads"], result
    without = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bb", "without_uring.py")
    done = subprocess.run([sys.executable, without, bench_exe, "fanout", "--images", "2", "--data", "2M", "--json"], capture_output=True, text=True)
    if done.returncode != 99:  # it may set no filter
        assert json.loads(done.stdout)["options"]["copies"] == "pread() and pwrite()", done
    assert "x base read" in ours("fanout", "--images", "1", "--data", "2M", "--rounds", "2", "--delay", "1")
    assert "free" in ours("fanout", "--images", "256", "--data", "64G", code=7)


def every_stall():
    """That each operation was made, and reads beside it were counted; never how long they took."""
    phases = json.loads(ours("stall", "--size", "512M", "--times", "2", "--json"))["phases"]
    assert [p["beside"] for p in phases] == ["alone", "open", "close", "refused", "open_job", "start", "start_own",
                                             "check", "close_job", "start_guest", "finalize", "finalize_flat",
                                             "abort_flat"], phases
    assert all(p["reads"]["n"] for p in phases), phases
    assert all(p["longest_operation_ns"] for p in phases[1:]), phases
    assert "start_own" in ours("stall", "--size", "512M", "--times", "1")
    assert "512M" in ours("stall", "--size", "1M", code=2)


def every_limit():
    low, high = limit("--rate", "1M", "--rate", "8M")
    for run in (low, high):
        # Over the whole no more than rate and burst, however slow the machine is.
        assert 0 < run["bytes"] <= run["rate"] * (run["seconds"] + .1) + (1 << 20), run
        assert 0 < run["longest_sample_gap_seconds"] <= run["seconds"]
        assert run["throughput"] and run["tenth_max_bytes"] > 0 and not run["ended_early"]
    (shared,) = limit("--rate", "8M", "--jobs", "3")
    assert len(shared["job_throughput"]) == 3 and shared["share_low"] <= 1 <= shared["share_high"], shared
    (budget,) = limit("--rate", "8M", "--processes", "3", "--kill")
    assert budget["are_processes"] and .9 < budget["killed_seconds"] < budget["seconds"], budget
    assert 0 < budget["bytes"] <= budget["rate"] * (budget["seconds"] + .05) + (3 << 20), budget
    # The killed one is not in the shares, and its last bytes are from before.
    assert budget["share_low"] <= 1 <= budget["share_high"] and len(budget["job_throughput"]) == 3, budget
    assert budget["job_throughput"][0][-1][0] <= budget["killed_seconds"] + .2 < budget["throughput"][-1][0], budget
    assert budget["after_kill_of_rate"] <= 1.6, budget  # half a second each of the budget's and of three runs, of one
    (early,) = limit("--rate", "100M", "--data", "2M")
    assert early["ended_early"]


def merges():
    for verb, pattern in ("compact", "dense"), ("compact", "scattered"), ("commit", "dense"), ("commit", "scattered"):
        result = json.loads(ours(verb, "--pattern", pattern, "--data", "3M", "--rounds", "2", "--json"))
        assert result["kind"] == verb and result["options"]["moved_bytes"] == 3 << 20, result
        there = {"blockpull", "ceiling"} | ({"qemu"} if shutil.which("qemu-storage-daemon") else set())
        assert set(result["methods"]) == there, result["methods"]
        for method in result["methods"].values():
            assert len(method["runs"]) == 2 and all(run["seconds"] > 0 for run in method["runs"]), method
            assert method["ratio"] > 0, method
    assert "x ceiling" in ours("compact", "--data", "1M", "--rounds", "1")
    kept = json.loads(ours("commit", "--keep", "--data", "3M", "--rounds", "2", "--json"))["methods"]
    assert len(kept["keep"]["runs"]) == 2 and all(run["seconds"] > 0 for run in kept["keep"]["runs"]), kept


def no_direct():
    """Why nothing can be read past the page cache of a directory for temporary files; None: it can."""
    with tempfile.TemporaryDirectory() as top:
        path = os.path.join(top, "file")
        with open(path, "wb") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        except OSError:
            return "no direct I/O on this file system"
        os.close(fd)
        done = subprocess.run([bench_exe, "cold", "--data", "1M", "--rounds", "1", "--dir", top], capture_output=True, text=True)
        return "this file system keeps what it is told to drop" if "keeps what it is told" in done.stderr else None


def colds():
    why = no_direct()
    if why:
        return why
    for words, base in (((), "raw"), (("--base", "qcow2"), "qcow2")):
        result = json.loads(ours("cold", "--data", "20M", "--rounds", "2", "--json", *words))
        assert result["kind"] == "cold" and result["options"]["base"] == base
        assert set(result["methods"]) == {"device", "blockpull", "ceiling", "rebase"}
        assert result["methods"]["device"]["ratio"] == 1
        for name, method in result["methods"].items():
            assert len(method["runs"]) == 2 and method["min_seconds"] > 0 and method["ratio"] > 0, name
        for one in result["methods"]["blockpull"]["runs"]:
            assert 18 << 20 < one["past_cache_bytes"] <= 20 << 20, one
        with tempfile.NamedTemporaryFile("w") as file:
            json.dump(result, file)
            file.flush()
            page = page_of(file.name)
        assert page.seen.count("svg") == 1 and f"Cold base: {base}" in page.words and "device alone" in page.words
    with tempfile.TemporaryDirectory(prefix="blockpull-smoke.") as elsewhere:
        for base in "raw", "qcow2":
            text = ours("cold", "--data", "1M", "--rounds", "1", "--base", base, "--image-dir", elsewhere)
            assert "x device" in text and f"durable in {elsewhere}" in text, text
        assert not os.listdir(elsewhere), "what was made is left"
    return None


def reports():
    with tempfile.TemporaryDirectory() as top:
        names = []
        for words in (("pull", "--data", "4M", "--rounds", "1"), ("guest", "--size", "4M", "--seconds", "1", "--with-pull", "--data", "4M"),
                      ("limit", "--rate", "4M", "--jobs", "2", "--seconds", "1"),
                      ("limit", "--rate", "5M", "--processes", "2", "--kill", "--seconds", "1"), ("fanout", "--images", "2", "--data", "4M"), ("boot", "--delay", "1")):
            names.append(os.path.join(top, "".join(words[:4])))
            with open(names[-1], "w") as file:
                file.write(ours(*words, "--json"))
        page = page_of(*names)
        assert page.seen.count("svg") == 2 + 2 + 1 + 1 + 2 + 2, page.seen.count("svg")
        for words in ("library, beside a pull", "plain copy", "4 MiB/s", "job 2", "process 2", "killed", "2 overlays", "a process each", "beside such a pull"):
            assert words in page.words, words
        with open(names[0]) as file:
            hostile = json.load(file)
        hostile["options"]["pattern"] = "<script>alert(1)</script>"
        for bad, why in ((json.dumps({"kind": "pull"}), "incomplete"), ("{", "Expecting"), ("[]", "not a result")):
            with open(os.path.join(top, "bad"), "w") as file:
                file.write(bad)
            done = subprocess.run([bench_exe, "report", os.path.join(top, "bad")], capture_output=True, text=True)
            assert done.returncode == 1 and why in done.stderr and "Traceback" not in done.stderr, done.stderr
        with open(os.path.join(top, "bad"), "w") as file:
            json.dump(hostile, file)
        page_of(os.path.join(top, "bad"))


def told():
    for command in ("pull", "guest", "limit", "stall", "boot", "cold", "fanout", "compact", "commit", "report"):
        done = subprocess.run([bench_exe, command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith(f"Usage: blockpull-bench {command}"), done
        done = subprocess.run([bench_exe, command, "--no-such"], capture_output=True, text=True)
        assert done.returncode == 2 and "--no-such" in done.stderr and not done.stdout, done
    for words in (("pull", "--rounds", "0"), ("pull", "--data", "0"), ("guest", "--size", "0"), ("pull", "--data", "1Mb"), ("pull", "name"), ("guest", "--depth", "257"),
                  ("guest", "--rw", "erase"), ("limit", "--rate", "0"), ("limit", "--jobs", "17"), ("limit", "--kill"), ("limit", "--jobs", "2", "--processes", "2"),
                  ("limit", "--processes", "2", "--rate", "17G"), ("fanout", "--images", "257"), ("fanout", "--data", "0"), ("compact", "--rounds", "0"), ("compact", "--keep"), ("cold", "--base", "qed"), ("cold", "--rounds", "0"), ("compact", "--pattern", "half"), ("pull", "--cluster-size", "5000"),
                  ("erase",), (), ("report",)):
        assert subprocess.run([bench_exe, *words], capture_output=True).returncode == 2, words
    assert "free" in ours("pull", "--data", "1000T", code=7)
    with open("/dev/full", "w") as full:
        assert subprocess.run([bench_exe, "pull", "--help"], stdout=full, stderr=subprocess.DEVNULL).returncode == 7


def interrupted(which):
    with tempfile.TemporaryDirectory() as top:
        bench_run = subprocess.Popen([bench_exe, "limit", "--rate", "1M", "--seconds", "60", "--dir", top],
                                     stdout=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while not any("image0" in names for _, _, names in os.walk(top)):
            assert time.monotonic() < end and bench_run.poll() is None, "no image comes"
            time.sleep(.01)
        bench_run.send_signal(which)
        assert bench_run.wait(30) == -which, bench_run.returncode
        assert os.listdir(top) == [], "files are left"


def percentiles():
    """fio's lie in the middle of its bins: above the longest request, here."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.dirname(run_py))
    latency_of = importlib.import_module("nbd_guest").latency_of
    seen = latency_of({"clat_ns": {"percentile": {"50.000000": 90, "90.000000": 100, "99.000000": 130, "99.900000": 130}, "max": 128}})
    assert seen == {"p50_ns": 90, "p90_ns": 100, "p99_ns": 128, "p999_ns": 128, "max_ns": 128}, seen


def over_nbd():
    for tool in ("nbdkit", "fio", "qemu-storage-daemon"):
        if not plugin or not shutil.which(tool):
            return f"needs the plugin and {tool}"
    if instrumented(plugin[0]):
        return "nbdkit is not a sanitizer's build"
    script = os.path.join(os.path.dirname(run_py), "nbd_guest.py")
    with tempfile.TemporaryDirectory() as top:
        files, out = os.path.join(top, "files"), os.path.join(top, "out.json")
        os.mkdir(files)
        for rw in ("read", "alloc"):
            done = subprocess.run([sys.executable, script, "--rw", rw, "--seconds", "1", "--size", "8", "--data", "8", "--rounds", "1",
                                   "--dir", files, "--json", out, *plugin], capture_output=True, text=True)
            assert done.returncode == 0 and os.listdir(files) == [], done.stdout + done.stderr
            with open(out) as file:
                rows = json.load(file)["results"]
            assert set(rows) == {f"{who}, {how}" for who in ("blockpull", "qsd") for how in ("alone", "beside a pull")}, rows
            assert all(row["iops"] > 0 and 0 < row["p50_ns"] <= row["p99_ns"] <= row["max_ns"] for row in rows.values()), rows
        page = page_of(out)
        assert "qsd, beside a pull" in page.words
    return None


def guest_p99():
    for tool in ("nbdkit", "fio", "fusermount3"):
        if not plugin or not shutil.which(tool):
            return f"needs the plugin and {tool}"
    slowfs = os.path.join(os.path.dirname(plugin[0]), "..", "tests", "slowfs")
    if instrumented(plugin[0]) or not os.path.exists(slowfs) or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "needs an ordinary build and FUSE"
    script = os.path.join(os.path.dirname(run_py), "guest_p99.py")
    with tempfile.TemporaryDirectory() as top:
        files, out = os.path.join(top, "files"), os.path.join(top, "out.json")
        os.mkdir(files)
        done = subprocess.run([sys.executable, script, "--targets", "5", "--seconds", "1", "--settle", "0", "--size", "8", "--data", "64",
                               "--dir", files, "--json", out, *plugin, slowfs], capture_output=True, text=True)
        if "slowfs does not serve" in done.stderr:
            return "FUSE does not mount here"
        assert done.returncode == 0 and os.listdir(files) == [], done.stdout + done.stderr
        with open(out) as file:
            rows = json.load(file)["results"]
        assert list(rows) == ["alone", "beside a pull", "guest-p99=5ms"], rows
        assert all(0 < row["p50_ns"] <= row["p99_ns"] <= row["p999_ns"] for row in rows.values()), rows
        assert rows["guest-p99=5ms"]["target_ns"] == 5e6, rows
        assert "guest-p99=5ms" in page_of(out).words
    return None


def fanout_over_nbd():
    for tool in ("nbdkit", "qemu-img"):
        if not shutil.which(tool):
            return f"needs {tool}"
    if "libnbd" not in subprocess.run([blockpull, "--version"], check=True, capture_output=True, text=True).stdout:
        return "built without libnbd"
    script = os.path.join(os.path.dirname(run_py), "nbd_fanout.py")
    with tempfile.TemporaryDirectory() as top:
        files, out = os.path.join(top, "files"), os.path.join(top, "out.json")
        os.mkdir(files)
        for base in ("raw", "zlib"):
            done = subprocess.run([sys.executable, script, "--images", "6", "--data", "32", "--base", base, "--dir", files, "--json", out,
                                   blockpull], capture_output=True, text=True)
            assert done.returncode == 0 and os.listdir(files) == [], done.stdout + done.stderr
            with open(out) as file:
                result = json.load(file)
            # Once, and what the opening reads; the peer, once for each.
            extra = (1 << 20 | 1 << 19) / result["options"]["data_bytes"]
            ours_read, theirs = (result["ways"][name]["read_of_base"] for name in ("blockpull", "rebase"))
            assert 1 <= ours_read <= 1.05 + extra and theirs > 5, result
        page = page_of(out)
        assert "behind nbdkit" in page.words and "x qemu-img rebase" in page.words
    return None


def over_vhost():
    frontend = os.path.join(os.path.dirname(bench_exe), os.pardir, "tests", "vhost_frontend")
    if not os.path.exists(frontend) or not shutil.which("qemu-storage-daemon"):
        return "needs the tests' frontend and qemu-storage-daemon"
    script = os.path.join(os.path.dirname(run_py), "vhost_guest.py")
    with tempfile.TemporaryDirectory() as top:
        files, out = os.path.join(top, "files"), os.path.join(top, "out.json")
        os.mkdir(files)
        for pull in ([], ["--pull"]):
            done = subprocess.run([sys.executable, script, "--seconds", "1", "--size", "8", "--data", "8", "--pairs", "1", "--depths", "2",
                                   *pull, "--dir", files, "--json", out, frontend, blockpull], capture_output=True, text=True)
            assert done.returncode == 0 and os.listdir(files) == [], done.stdout + done.stderr
            with open(out) as file:
                rows = json.load(file)["rows"]
            assert [(row["rw"], row["depth"]) for row in rows] == [("read", 2), ("write", 2)], rows
            for row in rows:
                assert all(row[name]["iops"] > 0 and row[name]["server-us"] > 0 for name in ("blockpull", "qsd")), rows
                assert row["iops-ratio"] == [row["blockpull"]["iops"] / row["qsd"]["iops"]] * 3, rows
    return None


def micro():
    done = subprocess.run([micro_exe, "--seconds", "0.01", "--json"], check=True, capture_output=True, text=True)
    rows = json.loads(done.stdout)
    assert {row["name"] for row in rows} == {"map-random", "map-walk", "refcount-run", "zero-scan", "inflate-zlib", "inflate-zstd", "guest-read"}
    assert all(row["per_second"] > 0 for row in rows)
    assert subprocess.run([micro_exe, "no-such"], capture_output=True).returncode == 2


CASES = [("every scenario is proven", proven),
         ("peak memory is the method's own", floor),
         ("system calls are counted", syscalls),
         ("a pull that did nothing is found out", lambda: found_out("/bin/true", "backing file")),
         ("a pull that failed is found out", lambda: found_out("/bin/false", "exit status 1")),
         ("blockpull-bench pull: every pattern and format", every_pull),
         ("blockpull-bench guest: reads, writes, allocations, a pull beside them", every_guest),
         ("blockpull-bench limit: rates and shares", every_limit),
         ("blockpull-bench boot: what a pull brought first is not read of the base again", boots),
         ("blockpull-bench cold: what is measured was not cached, and what comes out is right", colds),
         ("blockpull-bench fanout: a base is read once for all", fanouts),
         ("blockpull-bench compact: what comes out is right, beside QEMU's", merges),
         ("blockpull-bench stall: each operation, with reads beside it", every_stall),
         ("a report is one sound page, and says what is wrong with a result", reports),
         ("help, usage, no room, no output", told),
         ("Ctrl-C leaves nothing", lambda: interrupted(signal.SIGINT)),
         ("SIGTERM leaves nothing", lambda: interrupted(signal.SIGTERM)),
         ("no percentile is above the longest request", percentiles),
         ("a guest over NBD, beside qemu-storage-daemon", over_nbd),
         ("a guest's latency beside a pull that has a target", guest_p99),
         ("many overlays on a base over NBD, beside qemu-img rebase", fanout_over_nbd),
         ("a guest over vhost-user, beside qemu-storage-daemon", over_vhost),
         ("the microbenchmarks run", micro)]
print(f"1..{len(CASES)}", flush=True)
for number, (title, case) in enumerate(CASES, 1):
    try:
        skipped = case()
        print(f"ok {number} - {title}" + (f" # SKIP {skipped}" if skipped else ""), flush=True)
    except Exception as error:  # told as TAP
        print(f"not ok {number} - {title}\n# " + repr(error).replace("\n", "\n# "), flush=True)
