# SPDX-License-Identifier: MIT OR Apache-2.0
"""One HTML page, with pictures, of the benchmarks' JSON. usage: report.py FILE.json... >PAGE.html

The page refers to nothing outside itself and runs no script: it can be mailed, and opened in ten
years. A plotting library was rejected for that, and because few machines have it installed. What a file
does not say is not shown; nothing is computed here but the places of lines.

blockpull-bench carries this file with it (embed.py), so it is ASCII and needs the standard library only.
"""
import html
import json
import math
import os
import sys

WIDTH = 760
NAMES = {"blockpull": "blockpull", "ceiling": "plain copy", "ref": "O_DIRECT copy", "rebase": "qemu-img rebase",
         "stream": "QSD block-stream", "convert": "qemu-img convert", "clone": "FICLONERANGE", "raw": "raw io_uring",
         "alone": "library", "with_pull": "library, beside a pull", "together": "one engine", "apart": "a process each",
         "without": "no pull", "hot_first": "hot blocks first", "beside_first": "beside such a pull", "beside_pull": "beside a pull",
         "direct": "one engine, O_DIRECT", "copies": "plain copies", "device": "device alone"}
COLOURS = {"blockpull": 1, "ceiling": 0, "ref": 0, "clone": 0, "rebase": 2, "stream": 3, "convert": 4, "raw": 0,
           "alone": 1, "with_pull": 2, "together": 1, "apart": 3, "direct": 1, "copies": 0,
           "device": 0, "without": 0, "hot_first": 1, "beside_first": 1, "beside_pull": 2}

STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #1c2126; --dim: #5c6670; --line: #e1e4e8;
  --c0: #8b949e; --c1: #1f6feb; --c2: #d9730d; --c3: #8250df; --c4: #12806a; --goal: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1317; --card: #171c22; --ink: #e6e9ec; --dim: #9aa4ae;
  --line: #2b333b; --c0: #7d8792; --c1: #58a6ff; --c2: #f0883e; --c3: #bc8cff; --c4: #3fb99b; --goal: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em; } h2 { font-size: 18px; margin: 0 0 2px; }
h3 { font-size: 13px; margin: 18px 0 4px; color: var(--dim); font-weight: 600; }
p { margin: 0 0 10px; } .dim { color: var(--dim); font-size: 13px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px; margin-top: 20px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--dim); font: 12px system-ui, sans-serif; } svg .strong { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--line); } .goal { stroke: var(--goal); stroke-dasharray: 5 4; stroke-width: 1.5; } svg .goalt { fill: var(--goal); }
.whisker { stroke: var(--ink); stroke-width: 1.2; } .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin-top: 12px; min-width: 100%; }
th, td { text-align: right; padding: 4px 0 4px 16px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--dim); font-weight: 500; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin: 0 6px 0 0; }
.legend { font-size: 13px; color: var(--dim); } .legend span + span { margin-left: 18px; }
.bad { color: var(--goal); }
""" + "".join(f".f{i} {{ fill: var(--c{i}); }} .s{i} {{ stroke: var(--c{i}); }} .b{i} {{ background: var(--c{i}); }}\n"
              for i in range(5))


def esc(text):
    return html.escape(str(text))


def size(n, per=""):
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n < 1024 or unit == "TiB":
            return f"{n:.4g} {unit}{per}"
        n /= 1024
    return ""


def figure(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def duration(ns):
    for limit, scale, unit in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if ns < limit:
            return f"{ns / scale:.3g} {unit}"
    return f"{ns / 1e9:.3g} s"


def ticks(top, count=5, powers=10):
    """Round numbers from 0 up to at least top."""
    raw = max(top, 1e-9) / count
    base = powers ** math.floor(math.log(raw, powers))
    steps = (1, 2, 2.5, 5, 10) if powers == 10 else tuple(2 ** i for i in range(11))
    step = base * next(s for s in steps if s * base >= raw * .999)
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


def svg(height, *parts, label=""):
    return (f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{esc(label)}">' + "".join(parts) + "</svg>")


def text(x, y, words, anchor="start", cls=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{cls}">{esc(words)}</text>'


def line(x1, y1, x2, y2, cls):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{cls}"/>'


def legend(entries):
    return '<p class="legend">' + "".join(
        f'<span><i class="key b{colour}"></i>{esc(name)}</span>' for name, colour in entries) + "</p>"


def table(head, rows):
    def cells(tag, row):
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in row) + "</tr>"
    return ('<div class="wide"><table>' + cells("th", map(esc, head)) + "".join(cells("td", row) for row in rows)
            + "</table></div>")


def bars(rows, unit, goal=None, left=130):
    """rows: (name, colour, median, min, max), in one unit; a goal is a line across."""
    right, step = 70, 26
    top = max([row[4] for row in rows] + [goal or 0])
    marks = ticks(top)
    scale = (WIDTH - left - right) / marks[-1]
    bottom = step * len(rows) + 6
    out = []
    for mark in marks:
        x = left + mark * scale
        out += [line(x, 0, x, bottom, "grid"), text(x, bottom + 16, f"{mark:g}", "middle")]
    out.append(text(left - 10, bottom + 16, unit, "end"))
    for i, (name, colour, median, low, high) in enumerate(rows):
        y = i * step + 4
        tip = f"{name}: {figure(median)} ({figure(low)} to {figure(high)}) {unit}"
        out += [text(left - 10, y + 14, name, "end", "strong" if colour == 1 else ""),
                f'<rect x="{left}" y="{y}" width="{max(median * scale, 1):.1f}" height="18" rx="3" class="f{colour}">'
                f"<title>{esc(tip)}</title></rect>",
                line(left + low * scale, y + 9, left + high * scale, y + 9, "whisker"),
                text(left + high * scale + 8, y + 14, figure(median), cls="strong")]
    if goal:
        x = left + goal * scale
        out += [line(x, -4, x, bottom, "goal"), text(x, -8, f"goal {goal:g}", "middle", "goalt")]
    head = 20 if goal else 0  # for the goal's name
    return svg(head + bottom + 24, f'<g transform="translate(0 {head})">', *out, "</g>", label=f"bars, {unit}")


def curves(series, limits=(), height=220, moments=()):
    """Bytes a second over seconds. series: (name, colour, [[seconds, rate], ...]); limits: (name, rate); moments:
    (name, seconds)."""
    left, right, low = 84, 16, height - 34
    end = max([point[0] for _, _, points in series for point in points] + [1e-3])
    top = max([point[1] for _, _, points in series for point in points] + [rate for _, rate in limits] + [1])
    marks = ticks(top, powers=1024)
    x_of = lambda seconds: left + seconds / end * (WIDTH - left - right)
    y_of = lambda rate: low - rate / marks[-1] * (low - 14)
    out = [part for mark in marks for part in
           (line(left, y_of(mark), WIDTH - right, y_of(mark), "grid"),
            text(left - 8, y_of(mark) + 4, size(mark, "/s"), "end"))]
    out += [text(x_of(mark), low + 18, f"{mark:g} s", "middle") for mark in ticks(end) if mark <= end]
    for name, colour, points in series:
        path, before = "", 0
        for seconds, rate in points:
            path += f"{'L' if path else 'M'}{x_of(before):.1f} {y_of(rate):.1f}L{x_of(seconds):.1f} {y_of(rate):.1f}"
            before = seconds
        out.append(f'<path d="{path}" class="curve s{colour}"><title>{esc(name)}</title></path>')
    for name, rate in limits:
        out += [line(left, y_of(rate), WIDTH - right, y_of(rate), "goal"),
                text(WIDTH - right, y_of(rate) - 5, name, "end", "goalt")]
    for name, seconds in moments:
        out += [line(x_of(seconds), 14, x_of(seconds), low, "goal"), text(x_of(seconds) + 5, 24, name, cls="goalt")]
    return svg(height, *out, label="throughput over time")


def log_axis(values):
    low, high = min(values), max(values)
    return math.floor(math.log10(max(low, 1))), math.ceil(math.log10(max(high, 10)))


def percentiles(phases, height=270):
    """Latency at every percentile; the right half of the picture is the slowest hundredth."""
    left, right, low = 84, 16, height - 34
    first, last = log_axis([row[0] for _, _, h in phases for row in h["buckets"] if row[0]] + [h["max_ns"] for *_, h in phases])
    nines = max(2.0, math.log10(max(h["n"] for *_, h in phases)))
    x_of = lambda share: left + min(-math.log10(max(1 - share, 1e-12)), nines) / nines * (WIDTH - left - right)
    y_of = lambda ns: low - (math.log10(max(ns, 1)) - first) / (last - first) * (low - 14)
    out = [part for power in range(first, last + 1) for part in
           (line(left, y_of(10 ** power), WIDTH - right, y_of(10 ** power), "grid"),
            text(left - 8, y_of(10 ** power) + 4, duration(10 ** power), "end"))]
    for share, name in ((0, "0"), (.5, "50 %"), (.9, "90 %"), (.99, "99 %"), (.999, "99.9 %"), (.9999, "99.99 %"), (.99999, "99.999 %")):
        if -math.log10(1 - share) <= nines:
            out += [line(x_of(share), 14, x_of(share), low, "grid"), text(x_of(share), low + 18, name, "middle")]
    for name, colour, h in phases:
        seen, path = 0, ""
        for begin, end, count in h["buckets"]:
            path += f"{'L' if path else 'M'}{x_of(seen / h['n']):.1f} {y_of(begin):.1f}"
            seen += count
            path += f"L{x_of(seen / h['n']):.1f} {y_of(min(end, h['max_ns'])):.1f}"
        out.append(f'<path d="{path}" class="curve s{colour}"><title>{esc(name)}</title></path>')
    return svg(height, *out, label="latency at each percentile")


def distribution(phases, height=220):
    """Share of the requests for each tenth of a power of ten; by powers of ten too, or no stall would be seen."""
    left, right, low = 84, 16, height - 34
    first, last = log_axis([row[0] for *_, h in phases for row in h["buckets"] if row[0]] + [h["max_ns"] for *_, h in phases])
    floor = min(-2, math.floor(-math.log10(max(h["n"] for *_, h in phases))))
    x_of = lambda i: left + i / ((last - first) * 10) * (WIDTH - left - right)
    y_of = lambda share: low - (1 - math.log10(share) / floor) * (low - 14) if share > 10 ** floor else low
    out = [part for power in range(floor, 1) for part in
           (line(left, y_of(10 ** power), WIDTH - right, y_of(10 ** power), "grid"),
            text(left - 8, y_of(10 ** power) + 4, f"{100 * 10 ** power:.10g} %" if power > -6 else "", "end"))]
    out += [text(x_of(i * 10), low + 18, duration(10 ** (first + i)), "middle") for i in range(last - first + 1)]
    for name, colour, h in phases:
        bins = [0.0] * ((last - first) * 10)
        for begin, end, count in h["buckets"]:
            place = int((math.log10(max((begin + end) / 2, 1)) - first) * 10)
            bins[min(max(place, 0), len(bins) - 1)] += count / h["n"]
        path = f"M{x_of(0):.1f} {low}" + "".join(
            f"L{x_of(i):.1f} {y_of(share):.1f}L{x_of(i + 1):.1f} {y_of(share):.1f}" for i, share in enumerate(bins))
        path += f"L{x_of(len(bins)):.1f} {low}"
        out.append(f'<path d="{path}Z" class="f{colour}" fill-opacity=".14"/>'
                   f'<path d="{path}" class="curve s{colour}"><title>{esc(name)}</title></path>')
    return svg(height, *out, label="distribution of latencies")


def section(title, *parts):
    return f"<section><h2>{esc(title)}</h2>" + "".join(parts) + "</section>"


def dim(words):
    return f'<p class="dim">{esc(words)}</p>'


def machine_words(result):
    m = result.get("machine", {})
    words = [f"Linux {m['kernel']}" if "kernel" in m else "", m.get("processor", ""),
             f"{m['processors']} processors" if "processors" in m else "",
             f"{size(m['memory_bytes'])} of memory" if "memory_bytes" in m else "", m.get("file_system", "")]
    return ", ".join(word for word in words if word)


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def show_scenario(row, rounds):
    about = dim(f"{size(row['moved_len'])} to move of a disk of {size(row['virtual_len'])}, {rounds} rounds; until durable; "
                "whiskers from the fastest to the slowest")
    if row.get("skipped"):
        return section(row["title"], about, dim(f"Skipped: {row['skipped']}."))
    unit_runs = row["results"].get(row["unit"], {"proven": False})
    unit = median([run["seconds"] for run in unit_runs["runs"]]) if unit_runs["proven"] else 1
    label = f"x {NAMES.get(row['unit'], row['unit'])}" if unit_runs["proven"] else "seconds"
    head = ["", "min s", "median s", "max s"] + ([label] if unit_runs["proven"] else []) + ["CPU s", "peak memory", "system calls"]
    drawn, cells = [], []
    for name, result in row["results"].items():
        cells.append([esc(NAMES.get(name, name))])
        if not result["proven"]:
            cells[-1].append(f'<span class="bad">{esc(result["error"] or "not run")}</span>')
            continue
        times = [run["seconds"] for run in result["runs"]]
        shown = [value / unit for value in (median(times), min(times), max(times))]
        drawn.append((NAMES.get(name, name), COLOURS.get(name, 0), *shown))
        cells[-1] += [f"{min(times):.3f}", f"{median(times):.3f}", f"{max(times):.3f}"]
        cells[-1] += [f"{shown[0]:.2f}"] if unit_runs["proven"] else []
        cells[-1] += [f"{median([run['cpu'] for run in result['runs']]):.2f}",
                      size(max(run["rss_kib"] for run in result["runs"]) * 1024)]
        cells[-1] += [f"{result['syscalls']:,}"] if "syscalls" in result else []
    head = head[:max(len(cell) for cell in cells)]
    goal = row["goal"] if unit_runs["proven"] or row["unit"] == "s" else None
    return section(row["title"], about, bars(drawn, label, goal) if drawn else "",
                   table(head, [cell + [""] * (len(head) - len(cell)) for cell in cells]))


def show_scenarios(result):
    note = "" if result.get("scale", 1) == 1 else f" Scaled to {result['scale']:g} of full size: these figures mean little."
    return dim("Pulls beside QEMU's tools and plain copies, in turn. " + note) + "".join(
        show_scenario(row, result["rounds"]) for row in result["rows"])


def show_pull(result):
    o = result["options"]
    rows = [(NAMES.get(n, n), COLOURS.get(n, 0), m["median_seconds"], m["min_seconds"], m["max_seconds"])
            for n, m in result["methods"].items()]
    cells = [[esc(NAMES.get(n, n)), f"{m['min_seconds']:.3f}", f"{m['median_seconds']:.3f}", f"{m['max_seconds']:.3f}",
              f"{m['ratio']:.2f}", f"{m['cpu_seconds_per_gib']:.2f}", size(m["rss_bytes"])]
             for n, m in result["methods"].items()]
    lines = [(NAMES.get(n, n), COLOURS.get(n, 0), m["throughput"]) for n, m in result["methods"].items()]
    limits = [("limit", o["speed"])] if o.get("speed") else []
    return section(
        f"Pull: {o['format']}, {o['pattern']}",
        dim(f"{size(o['moved_bytes'])} to move of a disk of {size(o['size_bytes'])}, clusters of {size(o['cluster_size'])}, "
            f"{o['rounds']} rounds; until durable"),
        bars(rows, "seconds"), "<h3>Throughput of the last round</h3>", legend([(n, c) for n, c, _ in lines]),
        curves(lines, limits),
        table(["", "min s", "median s", "max s", "x plain copy", "CPU s/GiB", "peak memory"], cells))


def show_guest(result):
    o = result["options"]
    phases = [(NAMES.get(n, n), COLOURS.get(n, 0), p["latency"]) for n, p in result["phases"].items() if p["latency"]["n"]]
    cells = [[esc(NAMES.get(n, n)), f"{p['iops']:,.0f}"] +
             [duration(p["latency"][k]) for k in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")]
             for n, p in result["phases"].items()]
    words = f"4 KiB at random in {size(o['size_bytes'])}, {o['depth']} in flight."
    if result["ratio"] is not None:
        words += f" {100 * result['ratio']:.1f} % of raw io_uring's requests, the median of {len(result['pair_ratios'])} pairs."
    elif result["no_raw"]:
        words += f" Not compared: {result['no_raw']}."
    if o["with_pull"]:
        words += f" {size(result['pulled_bytes'])} pulled beside it."
    return section(f"Guest: {o['format']}, {o['rw']}", dim(words), legend([(n, c) for n, c, _ in phases]),
                   "<h3>Latency at each percentile</h3>", percentiles(phases),
                   "<h3>Share of the requests, by latency</h3>", distribution(phases),
                   table(["", "IOPS", "p50", "p90", "p99", "p99.9", "longest"], cells))


def show_limit_run(run):
    one, killed = "process" if run.get("are_processes") else "job", run.get("killed_seconds")
    many = one + ("es" if run.get("are_processes") else "s")
    lines = [("all " + many, 1, run["throughput"])]
    if run["jobs"] > 1:
        lines = [(f"{one} {i + 1}", 2 + i % 3, points) for i, points in enumerate(run["job_throughput"])] + lines
    share = lambda value: "-" if value is None else f"{100 * value:.2f} %"
    tenth = "-" if run["tenth_max_bytes"] is None else size(run["tenth_max_bytes"])
    cells = [[f"{run['seconds']:.2f}", size(run["bytes"]), share(run["mean_of_rate"]), share(run["second_low_of_rate"]),
              share(run["second_high_of_rate"]), tenth, size(run["tenth_allowed_bytes"]),
              f"{100 * run['share_low']:.1f}-{100 * run['share_high']:.1f} %"]]
    note = dim("The run ended early: all was copied.") if run["ended_early"] else ""
    if killed:
        note += dim(f"One was killed after {killed:.2f} s; from then on the others had {share(run['after_kill_of_rate'])} of the rate.")
    return section(f"Limit: {size(run['rate'], '/s')}" + (f", {run['jobs']} {many}" if run["jobs"] > 1 else ""),
                   legend([(n, c) for n, c, _ in lines[-4:]]) if run["jobs"] > 1 else "",
                   curves(lines, [("limit", run["rate"])], moments=[("killed", killed)] if killed else ()), note,
                   table(["seconds", "copied", "mean", "lowest second", "highest second", "worst 0.1 s", "allowed", "shares"], cells))


def show_limit(result):
    return "".join(show_limit_run(run) for run in result["runs"])


def show_boot(result):
    runs = [(n, result[n]) for n in ("without", "hot_first", "beside_first", "beside_pull") if n in result]
    times = [(NAMES[n], COLOURS[n], *(run["ns"] / 1e9,) * 3) for n, run in runs]
    reads = [(NAMES[n], COLOURS[n], *(run["base_reads"],) * 3) for n, run in runs]
    cells = [[esc(NAMES[n]), f"{run['ns'] / 1e9:.3f}", f"{result['without']['ns'] / run['ns']:.1f}", f"{run['base_reads']:,}"]
             for n, run in runs]
    return section(
        f"Boot over a base of {result['delay_ms']} ms",
        dim(f"{result['ranges']:,} ranges, {size(result['hot_bytes'])} in blocks of 64 KiB, read one after the other; "
            f"the pull had brought them in {duration(result['pull_ns'])}"),
        bars(times, "seconds", left=170), "<h3>Reads of the base for the machine</h3>", bars(reads, "reads", left=170),
        table(["", "seconds", "times less", "reads of the base"], cells))


def show_cold(result):
    o, methods = result["options"], result["methods"]
    rows = [(NAMES.get(n, n), COLOURS.get(n, 0), m["ratio"], *(m[k] / methods["device"]["median_seconds"] for k in ("min_seconds", "max_seconds")))
            for n, m in methods.items()]
    cells = [[esc(NAMES.get(n, n)), f"{m['min_seconds']:.3f}", f"{m['median_seconds']:.3f}", f"{m['max_seconds']:.3f}",
              f"{m['ratio']:.2f}", f"{m['cpu_seconds']:.2f}", size(m["rss_bytes"])] for n, m in methods.items()]
    past = min(run["past_cache_bytes"] for run in methods["blockpull"]["runs"])
    return section(
        f"Cold base: {o['base']}",
        dim(f"{size(o['data_bytes'])} that the page cache does not have, {o['rounds']} rounds; until durable"
            + (f" in {esc(o['image_dir'])}" if o.get("image_dir") else "") + f". Each pull read {size(past)} or more past the cache"),
        bars(rows, "x device alone", goal=1.05),
        table(["", "min s", "median s", "max s", "x device", "CPU s", "peak memory"], cells))


def show_fanout(result):
    o, ways = result["options"], result["ways"]
    times = [(NAMES.get(n, n), COLOURS.get(n, 0), w["median_seconds"], w["min_seconds"], w["max_seconds"]) for n, w in ways.items()]
    reads = [(NAMES.get(n, n), COLOURS.get(n, 0), *(w["read_of_base"],) * 3) for n, w in ways.items()]
    cells = [[esc(NAMES.get(n, n)), f"{w['min_seconds']:.3f}", f"{w['median_seconds']:.3f}", f"{w['max_seconds']:.3f}",
              f"{w['ratio']:.2f}", f"{w['cpu_seconds']:.2f}", size(w["read_bytes"]), f"{w['read_of_base']:.3f}"]
             for n, w in ways.items()]
    return section(
        f"Fan-out: {o['images']} overlays ({o['format']}) on one base" + (f": {o['base']}" if "base" in o else ""),
        dim(f"A base of {size(o['data_bytes'])}, whose answers take {o['delay_ms']} ms, {o['rounds']} rounds; until all is durable" +
            (f"; plain copies by {o['copies']}" if "copies" in o else "")),
        bars(times, "seconds", left=170), "<h3>Bytes read of the base, in its length</h3>", bars(reads, "x base", left=170),
        table(["", "min s", "median s", "max s", f"x {NAMES[o.get('unit', 'copies')]}", "CPU s", "read", "x base"], cells))


def show_nbd_guest(result):
    rows, words = result["results"], ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")
    drawn = [(name, 1 if name.startswith("blockpull") else 3, *(row["p99_ns"] / 1e3,) * 3) for name, row in rows.items()]
    return section(f"Guest over NBD: {result['rw']}", dim(
        f"4 KiB at random, {result['depth']} in flight; fio against nbdkit with our plugin and qemu-storage-daemon; medians of "
        f"{result['rounds']} rounds, and the longest request of all"), "<h3>99th percentile</h3>", bars(drawn, "us", left=200),
        table(["", "IOPS", "p50", "p90", "p99", "p99.9", "longest"],
              [[esc(name), f"{row['iops']:,.0f}"] + [duration(row[word]) for word in words] for name, row in rows.items()]))


def show_guest_p99(result):
    rows = result["results"]
    drawn = [(name, 1 if "target_ns" in row else 3, *(row["p99_ns"] / 1e6,) * 3) for name, row in rows.items()]
    words = ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")
    return section("Guest's latency and guest-p99", dim(
        f"4 KiB at random, {result['iops']} requests a second; a device of {size(result['device'])}/s"),
        "<h3>99th percentile</h3>", bars(drawn, "ms", left=200),
        table(["", "p50", "p90", "p99", "p99.9", "longest", "pull", "of the target"],
              [[esc(name)] + [duration(row[word]) for word in words] +
               [f"{size(row['rate'])}/s", f"{row['p99_ns'] / row['target_ns']:.3f}" if "target_ns" in row else ""]
               for name, row in rows.items()]))


SHOW = {"nbd_guest": show_nbd_guest, "guest_p99": show_guest_p99, "scenarios": show_scenarios, "pull": show_pull, "guest": show_guest, "limit": show_limit,
        "fanout": show_fanout, "boot": show_boot, "cold": show_cold}


def page(results):
    machines = sorted({machine_words(result) for result in results} - {""})
    body = "".join(SHOW[result["kind"]](result) for result in results)
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>blockpull: measured</title><style>{STYLE}</style></head>\n<body><main><h1>blockpull, measured</h1>"
            + "".join(dim(words) for words in machines) + body + "</main></body></html>\n")


def load(name):
    with open(name, encoding="utf-8") as file:
        result = json.load(file)
    if not isinstance(result, dict) or result.get("kind") not in SHOW:
        raise ValueError("it is not a result of these benchmarks")
    return result


def main(names):
    if not names:
        sys.exit("usage: report.py FILE.json... >PAGE.html")
    results = []
    for name in names:
        try:
            results.append(load(name))
            SHOW[results[-1]["kind"]](results[-1])  # so that an error names its file
        except (OSError, ValueError) as error:
            sys.exit(f"blockpull-bench: {name}: {error}")
        except (KeyError, TypeError, IndexError) as error:
            sys.exit(f"blockpull-bench: {name}: it is incomplete ({type(error).__name__}: {error})")
    try:
        sys.stdout.write(page(results))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
