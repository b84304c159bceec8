# SPDX-License-Identifier: MIT OR Apache-2.0
"""Prometheus' text format, read more strictly than Prometheus does: what any reader may stumble over is an error.

Each metric has its HELP and TYPE lines, in this order, right before its samples, which stand together; no
series comes twice; names and labels are of the allowed characters; every line ends with a newline.
"""
import re

from harness import Failed, check

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def _labels(text):
    labels, at = {}, 0
    while at < len(text):
        found = LABEL.match(text, at)
        check(found, f'bad labels: {text!r}')
        check(found[1] not in labels, f'a label twice: {text!r}')
        labels[found[1]] = re.sub(r'\\(.)', lambda m: '\n' if m[1] == 'n' else m[1], found[2])
        at = found.end()
    return labels


def parse(text):
    """[(name, labels, value)] of all samples."""
    check(text.endswith('\n'), f'it ends within a line: ...{text[-80:]!r}')
    samples, seen, metric, helped = [], set(), None, None
    for line in text.split('\n')[:-1]:
        if line.startswith('# HELP '):
            helped = line.split(' ', 3)[2]
            check(helped not in seen, f'{helped} has two places')
            seen.add(helped)
        elif line.startswith('# TYPE '):
            metric, kind = line.split(' ')[2:]
            check(metric == helped and kind in ('gauge', 'counter'), f'out of order: {line}')
            check(metric.endswith('_total') == (kind == 'counter'), f'only counters end with _total: {line}')
        else:
            found = SAMPLE.fullmatch(line)
            check(found, f'no sample: {line!r}')
            check(found[1] == metric, f'{line!r} stands in the group of {metric}')
            samples.append((found[1], _labels(found[2] or ''), float(found[3])))
    series = [(name, *sorted(labels.items())) for name, labels, _ in samples]
    check(len(set(series)) == len(series), 'a series comes twice')
    return samples


def read(path):
    with open(path, encoding='utf-8', errors='strict', newline='') as file:
        return parse(file.read())


def value(samples, name, **labels):
    """Of the one sample with these labels."""
    found = [v for n, has, v in samples if n == name and labels.items() <= has.items()]
    if len(found) != 1:
        raise Failed(f'{len(found)} samples of {name} {labels}: {samples}')
    return found[0]


def label(samples, name, which, **labels):
    """That label of the one sample."""
    found = [has[which] for n, has, _ in samples if n == name and labels.items() <= has.items()]
    if len(found) != 1:
        raise Failed(f'{len(found)} samples of {name} {labels}: {samples}')
    return found[0]
