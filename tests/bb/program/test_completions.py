# SPDX-License-Identifier: MIT OR Apache-2.0
"""The completions of bash, zsh and fish: beside each verb's --help and the command's own answers, and typed
in the shells themselves."""
import os
import pathlib
import pty
import re
import select
import shlex
import time

import harness
from harness import USAGE, WAIT, bp, case, check, need, same

ROOT = pathlib.Path(__file__).resolve().parents[3]
OPTION_LINE = re.compile(r'^ +(?:(-\w), )?(--[\w-]+)(.*)$', re.M)
# Of the words that the parser knows this would be refused when the image is open.
NEVER_RIGHT = {('check', '--format', 'raw')}


def script(name):
    path = pathlib.Path(harness.blockpull).parent / 'completion' / name
    check(path.exists(), f'{path} was not made')
    return path


def verbs():
    """As the command's own --help lists them."""
    found = re.search(r'Commands:\n((?:  \w+ +.*\n)+)', bp('--help').out)
    return re.findall(r'^  (\w+)', found[1], re.M)


def help_options(verb):
    """{option: its letter or ''} of a verb's --help."""
    return {long: letter for letter, long, _ in OPTION_LINE.findall(bp(verb, '--help').out)}


def with_letters(options):
    return set(options) | {letter for letter in options.values() if letter}


def bash(*words):
    """What bash offers for the last of these words behind `blockpull`."""
    text = (f'source {shlex.quote(str(script("blockpull")))}; COMP_WORDS=(blockpull {shlex.join(words)}); '
            'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _blockpull; printf "%s\\n" "${COMPREPLY[@]}"')
    result = harness.run('bash', '--norc', '-c', text)
    check(result.rc == 0 and not result.err, str(result))
    return [word for word in result.out.splitlines() if word]


def block(text, verb, start, end):
    found = re.search(rf'{start.format(verb=verb)}(.*?){end}', text, re.S | re.M)
    check(found, f'no part for {verb}')
    return found[1]


def zsh_options(verb):
    part = block(script('_blockpull').read_text(), verb, r'^        {verb}\)\n', r'^            ;;')
    return set(re.findall(r"^ +'\*?(--?[\w-]+?)[+=]?-?\[", part, re.M))


def fish_options(verb):
    found = set()
    for line in script('blockpull.fish').read_text().splitlines():
        if f"'__blockpull_at {verb}' -l " in line:
            found.add('--' + re.search(r' -l (\S+)', line)[1])
            found |= {'-' + letter for letter in re.findall(r' -s (\w)', line)}
    return found


@case('the options are those of --help, in every shell')
def options(d):
    for verb in verbs():
        if verb == 'help':
            continue
        wanted = with_letters(help_options(verb))
        check({'--help', '-h'} < wanted, f'{verb} --help was not understood: {wanted}')
        same(set(bash(verb, '-')), wanted, f'bash, {verb}')
        same(zsh_options(verb), wanted, f'zsh, {verb}')
        same(fish_options(verb), wanted, f'fish, {verb}')


@case('what an option does is told in whole words of --help')
def texts(d):
    told = 0
    for verb in verbs():
        said = ' '.join(bp(verb, '--help').out.split())
        for line in script('blockpull.fish').read_text().splitlines():
            if found := re.search(rf"'__blockpull_at {verb}' -l (\S+) .*-d '((?:[^'\\]|\\.)*)'$", line):
                text = re.sub(r'\\(.)', r'\1', found[2])
                check(re.search(re.escape(text) + r'(?!\w)', said) and text[-1] not in ':,.', f'{verb} --{found[1]}: {text}')
                told += 1
    check(told > 200, f'only {told} texts were found')


@case('the verbs are those of --help, in every shell')
def all_verbs(d):
    wanted = set(verbs())
    check(len(wanted) > 9, f'--help was not understood: {wanted}')
    same(set(bash('')) - {'-h', '--help', '-V', '--version'}, wanted, 'bash')
    same(set(bash('help', '')), wanted, 'bash, help')
    listed = re.search(r'verbs=\((.*?)^    \)', script('_blockpull').read_text(), re.S | re.M)[1]
    same(set(re.findall(r"^        '(\w+):", listed, re.M)), wanted, 'zsh')
    same(set(re.findall(r'no_verb -a (\w+)', script('blockpull.fish').read_text())), wanted, 'fish')


@case('every option is in the manual page of its verb')
def manual(d):
    for verb in verbs():
        page = ROOT / f'docs/blockpull-{verb}.1.scd'
        if verb == 'help':
            continue
        check(page.exists(), f'{page} is not there: write it, and name it in docs/meson.build')
        text = page.read_text().replace('\\', '')
        missing = [option for option in help_options(verb)
                   if option not in ('--help', '--no-sandbox') and not re.search(re.escape(option) + r'(?![\w-])', text)]
        check(not missing, f'{page.name} lacks {missing}')


def valued(verb):
    """Options of the verb that take a value."""
    return [option for _, option, rest in OPTION_LINE.findall(bp(verb, '--help').out) if re.match(r'\[?=| [A-Z]{2,}', rest)]


def told_words(err):
    """The words that the parser says it would take; empty: it names none."""
    found = re.search(r'it must be (?:one of )?(.*)|takes (.*), not', err)
    return set(re.findall(r'[a-z]\w+', found[1] or found[2])) - {'or', 'of', 'one'} if found else set()


@case('the values offered are those that the parser takes')
def values(d):
    seen = 0
    for verb in verbs():
        for option in valued(verb) if verb != 'help' else []:
            err = bp(verb, f'{option}=xyzzyx', 'x.img', rc=None, cwd=d).err
            if f'{option}: bases behind a network are not built in' in err:
                continue  # refused whatever its value is
            offered = bash(verb, option, '=', '')
            for word in offered:
                if not word.endswith('='):
                    bp(verb, f'{option}={word}', '--help')  # an option in front of --help must be right
                    seen += 1
            told = told_words(err)
            told -= {word for word in told if (verb, option, word) in NEVER_RIGHT}
            if told and option != '--options':
                same(set(offered), told, f'{verb} {option}')
    check(seen > 60, f'only {seen} values were tried')


@case('the names behind -o are those that the parser takes')
def names_behind_o(d):
    wanted = set(re.findall(r'^     (\w+=)', bp('create', '--help').out, re.M))
    check(len(wanted) > 4, f'create --help was not understood: {wanted}')
    for verb in 'create', 'flatten':
        same(set(bash(verb, '-o', '')), wanted, f'{verb} -o')
        same(set(bash(verb, '--options', '=', 'cluster_size', '=', '64K,c')),
             {f'64K,{name}' for name in wanted if name[0] == 'c'}, f'{verb} -o cluster_size=64K,c')
        same(bash(verb, '-o', 'compat', '=', ''), [], 'a value of a name')
    for name in wanted:
        err = bp('create', '-f', 'qcow2', '-o', f'{name}xyzzyx', f'{d}/x.img', '1M', rc=USAGE).err
        check('unknown name' not in err and name[:-1] in err, err)


@case('what is left open: no names for numbers, files for the rest, one word after the other')
def places(d):
    same(bash('ctl', 'sock', ''), ['info', 'speed', 'pause', 'resume', 'abort', 'finalize', 'wait', 'resize', 'iops', 'within', 'min-rate', 'host-budget', 'guest-p99', 'snapshot', 'commit', 'complete'], 'ctl')
    same(bash('ctl', '--json', 'sock', 'f'), ['finalize'], 'ctl, behind an option')
    same(bash('ctl', 'sock', 'speed', ''), [], 'a rate')
    same(bash('pull', '--jobs', ''), [], 'a number')
    same(bash('pull', '--compress', '--j'), ['--jobs', '--json'], 'a value that may be left out')
    same(bash('pull', '--compress', '=', 'zs'), ['zstd'], 'the same, given')
    same(bash('pull', '--backing-format', 'a.img', '=', 'q'), ['qcow2', 'qed'], 'FILE=')
    check({'any', 'none'} <= set(bash('pull', '--allow-backing', '')), 'neither any nor none')


# ---- Typed ---------------------------------------------------------------------------------------

def typed(argv, setup, *lines):
    """What a command called blockpull got, for each line that was typed into the shell."""
    env = harness.environment(TERM='vt100', PS1='$ ', HISTFILE='/dev/null', HOME=harness.root)
    main, end = pty.openpty()
    shell = harness.start(*argv, stdin=end, stdout=end, stderr=end, env=env)
    os.close(end)
    text, answers = '', []
    for line in [*setup, 'blockpull() { printf "GOT<%s>\\n" "$*"; }', 'echo READ''Y$((1))']:
        os.write(main, line.encode() + b'\n')
    deadline = time.monotonic() + WAIT
    sent = False
    while len(answers) < len(lines):
        check(time.monotonic() < deadline, f'no answer to {lines[len(answers)]!r}: {text!r}')
        if 'READY1' in text and not sent:
            os.write(main, lines[len(answers)].encode() + b'\n')
            sent = True
        if select.select([main], [], [], 0.2)[0]:
            text += os.read(main, 65536).decode(errors='replace')
        answers_now = re.findall(r'GOT<([^%>]*)>', text)
        sent = sent and len(answers_now) == len(answers)
        answers = answers_now
    harness.kill(shell)
    os.close(main)
    return answers


LINES = {
    'blockpull pul\t--on-e\tenos\ttop\t': 'pull --on-error enospc top image.qcow2',
    'blockpull chec\t--rep\t': 'check --repair',
    'blockpull ctl sock fin\t': 'ctl sock finalize',
    'blockpull help fla\t': 'help flatten',
}


def type_all(d, argv, *setup):
    pathlib.Path(d, 'top image.qcow2').touch()
    got = typed(argv, [f'cd {shlex.quote(d)}', *setup], *LINES)
    for line, answer in zip(LINES, got):
        same(answer.replace('=', ' ').strip(), LINES[line], repr(line))


@case('completions offer what they should, typed in bash')
def in_bash(d):
    type_all(d, ['bash', '--norc', '--noprofile', '-i'], f'source {shlex.quote(str(script("blockpull")))}')


@case('completions offer what they should, typed in zsh')
def in_zsh(d):
    need('zsh')
    type_all(d, ['zsh', '-f', '-i'], f'fpath=({shlex.quote(str(script("_blockpull").parent))} $fpath)',
             f'autoload -Uz compinit; compinit -u -d {shlex.quote(d)}/dump', 'unsetopt auto_menu')


@case('completions offer what they should, asked of fish')
def in_fish(d):
    need('fish')
    pathlib.Path(d, 'top image.qcow2').touch()
    for line, wanted in (('blockpull pul', {'pull'}), ('blockpull check --rep', {'--repair'}), ('blockpull check --repair ', {'leaks', 'all'}),
                         ('blockpull pull --on-error=e', {'--on-error=enospc'}), ('blockpull ctl sock fin', {'finalize'}),
                         ('blockpull ctl sock speed ', set()), ('blockpull pull top', {'top image.qcow2'}),
                         ('blockpull pull --base top', {'top image.qcow2'}), ('blockpull help fla', {'flatten'}),
                         ('blockpull create -o cl', {'cluster_size='}), ('blockpull pull --jobs ', set())):
        result = harness.run('fish', '--no-config', '-c', f'source {script("blockpull.fish")}; complete -C {shlex.quote(line)}', cwd=d,
                             env=harness.environment(HOME=harness.root))
        check(not result.err, str(result))
        same({row.split('\t')[0] for row in result.out.splitlines()}, wanted, repr(line))
        check('report:' not in result.out, f'a value with the text of another: {result}')
    for line, wanted in (('blockpull-bench gue', {'guest'}), ('blockpull-bench guest --rw ', {'read', 'write', 'alloc'})):
        result = harness.run('fish', '--no-config', '-c', f'source {bench_script("blockpull-bench.fish")}; complete -C {shlex.quote(line)}',
                             cwd=d, env=harness.environment(HOME=harness.root))
        same({row.split('\t')[0] for row in result.out.splitlines()}, wanted, repr(line))


def bench(*args):
    return harness.run(pathlib.Path(harness.blockpull).parents[1] / 'bench/blockpull-bench', *args)


def bench_script(name):
    path = pathlib.Path(harness.blockpull).parents[1] / 'bench/completion' / name
    check(path.exists(), f'{path} was not made')
    return path


def bench_bash(*words):
    text = (f'source {shlex.quote(str(bench_script("blockpull-bench")))}; COMP_WORDS=(blockpull-bench {shlex.join(words)}); '
            'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _blockpull_bench; printf "%s\\n" "${COMPREPLY[@]}"')
    result = harness.run('bash', '--norc', '-c', text)
    check(result.rc == 0 and not result.err, str(result))
    return [word for word in result.out.splitlines() if word]


def bench_offered(verb):
    """{options} that each shell's script offers."""
    part = block(bench_script('_blockpull-bench').read_text(), verb, r'^        {verb}\)\n', r'^            ;;')
    zsh = set(re.findall(r"^ +'\*?(--?[\w-]+?)[+=]?-?\[", part, re.M))
    fish = set()
    for line in bench_script('blockpull-bench.fish').read_text().splitlines():
        if f"'__blockpull_bench_at {verb}' -l " in line:
            fish |= {'--' + re.search(r' -l (\S+)', line)[1]} | {'-' + letter for letter in re.findall(r' -s (\w)', line)}
    return {'bash': set(bench_bash(verb, '-')), 'zsh': zsh, 'fish': fish}


@case('blockpull-bench: verbs, options and words are those of its --help and its answers, in every shell')
def bench_tables(d):
    listed = re.search(r'Commands:\n((?:  \w+ +.*\n)+)', bench('--help').out)[1]
    found = re.findall(r'^  (\w+)', listed, re.M)
    check(len(found) > 4, f'--help was not understood: {found}')
    same(set(bench_bash('')) - {'-h', '--help', '-V', '--version'}, set(found), 'verbs')
    n_words = 0
    for verb in found:
        lines = OPTION_LINE.findall(bench(verb, '--help').out)
        wanted = {long for _, long, _ in lines} | {'-h'}
        for shell, offered in bench_offered(verb).items():
            same(offered, wanted, f'{shell}, {verb}')
        for option in (long for _, long, rest in lines if re.match(r' (WORD|FMT)', rest)):
            answer = re.search(r'it is one of (.*)', bench(verb, option, 'nonsense').err)
            check(answer, f'{verb} {option} takes any word')
            same(set(bench_bash(verb, option, '')), set(answer[1].strip('\n.').split(', ')), f'{verb} {option}')
            n_words += 1
    check(n_words >= 4, f'only {n_words} options with words: --help was not understood')
    same(bench_bash('pull', ''), [], 'a word for pull')
    pathlib.Path(d, 'one.json').touch()
    same(bench_bash('report', f'{d}/one'), [], 'report: names are left to readline')


@case('blockpull-bench: the shells read the scripts')
def bench_shells(d):
    for shell, name in (('bash', 'blockpull-bench'), ('zsh', '_blockpull-bench'), ('fish', 'blockpull-bench.fish')):
        need(shell)
        result = harness.run(shell, '-n', bench_script(name))
        check(result.rc == 0 and not result.err, f'{shell}: {result}')


harness.main()
