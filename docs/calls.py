#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Makes a page of section 3 for each public call, out of the comments of the public headers and
of the libraries' files of facts (calls.ini, calls-nbd.ini). What a page needs and neither has is an error: a call cannot be added without its page.

usage: calls.py list HEADER...               the calls' names, one a line
       calls.py pages DIR VERSION FACTS.INI... HEADER...
       calls.py page NAME VERSION FACTS.INI... HEADER...    one page on stdout"""
import configparser
import os
import pathlib
import re
import sys
import textwrap
import time

import header

COMMON_ERRORS = {
    "blockpull.h": "bpull_error(3) has the codes that calls have in common. A pointer that is NULL where this page does "
                   "not allow it is -EINVAL. What a failed call was to fill stays as it was.",
    "blockpull-libvirt.h": "A call that fails returns -1 and fills error; its code is one of bpull_error(3). A pointer that "
                           "is NULL where this page does not allow it is -EINVAL.",
    "blockpull-nbd.h": "bpull_error(3) has the codes that calls have in common. A pointer that is NULL where this page does "
                       "not allow it is -EINVAL.",
}
LINKED = {"blockpull.h": "\\-lblockpull", "blockpull-libvirt.h": "\\-lblockpull",
          "blockpull-nbd.h": "\\-lblockpull\\-nbd \\-lblockpull"}
# What a call without an error code does with a pointer that is NULL where its page does not allow it.
NULL_DOES = {"void": "does nothing", "*": "returns NULL", "": "returns 0"}
# What points to another place of the header, as a page has to say it.
PLACES = {" (see the top)": "", "told apart above": "of bpull_error(3)", "are those above": "are those of bpull_read()"}
SENTENCE = re.compile(r"(?<=[.])\s+(?=[A-Z\-]|bpull)")
OWNER = "The thread that owns the engine; any thread where the engine has one of its own (\\fBBPULL_ENGINE_THREAD\\fR)."
# Calls on an engine or a disk that open files, and so wait for locks.
OPENING = {"bpull_disk_open", "bpull_flatten_open", "bpull_disk_activate"}
ALONE = (" Where the engine has a thread of its own, that holds up the caller alone, and calls that open, start, map or close the "
         "same disk; guests and jobs of other disks go on. Without one the engine waits as well.")
# Sentences of a comment that a section of the page says: on threads and waiting, what is returned, and an error.
OF_A_SECTION = re.compile(r"(?:Blocking(?: \(see the top\))?|Any thread|Owner thread|Does not wait)\.|Returns .*|-E[A-Z]+: .*", re.S)


class Missing(Exception):
    """What neither the headers nor calls.ini say."""


# ---- From text to roff --------------------------------------------------------------------------

def roff(text):
    """A comment's text, or a line of calls.ini, for a page."""
    for here, there in PLACES.items():
        text = text.replace(here, there)
    text = text.replace("\\-", "-").replace("\\", "\\e")
    text = re.sub(r"`([^`]+)`", r"\\fI\1\\fR", text)
    text = re.sub(r"\b(bpull_error|blockpull)\(3\)", r"\\fB\1\\fR(3)", text)
    text = re.sub(r"(?<![\w\\-])-(?=[A-Z\d])", r"\\-", text)
    text = re.sub(r"\b(bpull_\w+|qemu-img)\(\)", lambda m: f"\\fB{m[1]}\\fR()", text)
    text = re.sub(r"(?<![\w.])((?:BPULL|RLIMIT)_[A-Z\d_]+|\\-E[A-Z]{3,})\b", r"\\fB\1\\fR", text)
    text = re.sub(r"\b(struct|enum) (bpull_\w+)", r"\\fI\1 \2\\fR", text)
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def filled(text):
    """Lines that an editor can show, broken between words."""
    return "\n".join(re.sub(r"^([.'])", r"\\&\1", line)
                     for line in textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False))


def paragraphs(text):
    return "\n.PP\n".join(filled(roff(paragraph)) for paragraph in text.split("\n\n"))


def sentence(text):
    """A comment behind a field, or the reason of an error: it begins and ends as a sentence does."""
    if re.fullmatch(r"sizeof\(.*\)|enum \w+", text):
        return text
    if re.match(r"[a-z]+(?:'s)?(?:[ ,;:]|$)", text):
        text = text[0].upper() + text[1:]
    return text if not text or text[-1] in ".:" else text + "."


def item(term, text):
    return f".TP\n{term}\n{filled(roff(sentence(text))) if text else '.'}"


# ---- What each section says ---------------------------------------------------------------------

class Facts:
    """What calls.ini and its like say, and what of it was used."""

    def __init__(self, paths):
        self.parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
        self.parser.optionxform = str
        for path in paths:
            self.parser.read_string(pathlib.Path(path).read_text(), source=str(path))
        self.used = set()

    def of_call(self, call, key):
        if self.parser.has_option(call.name, key):
            self.used.add((call.name, key))
            return self.parser.get(call.name, key)
        return None

    def parameter(self, call, name):
        for key in (f"{call.name}.{name}", name):
            if self.parser.has_option("parameters", key):
                self.used.add(("parameters", key))
                return self.parser.get("parameters", key)
        raise Missing(f"{call.name}: no line for its parameter {name}")

    def unused(self):
        for section in self.parser.sections():
            for key in self.parser.options(section):
                if (section, key) not in self.used:
                    yield f"facts: [{section}] {key} is of no call, or no key"


class Pages:
    def __init__(self, facts, headers):
        self.facts = facts
        self.headers = headers
        self.calls = [call for one in headers for call in one.calls]
        self.types = {name: body for one in headers for name, body in one.types.items()}
        self.top = {one.name: one.top for one in headers}
        self.homes = self.find_homes()

    # -- types --

    def types_of(self, call):
        """The structs and enums that a call's prototype names, and those that these name."""
        todo, found = re.findall(r"(?:struct|enum) (bpull_\w+)", call.prototype + call.flag_types()), []
        todo += (self.facts.of_call(call, "types") or "").split()
        while todo:
            name = todo.pop(0)
            if name in self.types and name not in found:
                found.append(name)
                todo += [other for field in self.types[name].fields
                         for other in re.findall(r"(?:struct|enum) (bpull_\w+)", field.text + " " + field.declaration)]
        return found

    def find_homes(self):
        """{type: the first call that uses it}, on whose page it is described."""
        homes = {}
        for call in self.calls:
            for name in self.types_of(call):
                homes.setdefault(name, call.name)
        # What nearly all calls have would make the first page one of errors.
        homes.update({name: "bpull_error" for name in ("bpull_error", "bpull_remedy") if name in homes})
        return homes

    def type_text(self, name):
        one = self.types[name]
        out = [f".SS {one.kind} {name}"]
        if one.text:
            out.append(paragraphs(one.text))
        for field in one.fields:
            out.append(item(f"\\fB{field.declaration}\\fR".replace("-", "\\-"), field.text))
        return "\n".join(out)

    # -- sections --

    def description(self, call):
        lead, text = self.facts.of_call(call, "lead"), self.facts.of_call(call, "text") or call.text
        if not text:
            raise Missing(f"{call.name}: the header has no comment, and calls.ini no text")
        out = [paragraphs(self.of_no_section(f"{lead} {text}" if lead else text))]
        if call.is_request:
            out += [".SS Requests of guests", paragraphs(self.of_no_section(call.section_text))]
        return "\n".join(out)

    @staticmethod
    def of_no_section(text):
        """What of a comment the other sections of a page do not say."""
        parts = re.sub(r"\s*\bErrors:\s.*?(?=\n\n|\Z)", "", text, flags=re.S).split("\n\n")
        kept = [" ".join(s for s in SENTENCE.split(" ".join(part.split())) if not OF_A_SECTION.fullmatch(s)) for part in parts]
        return "\n\n".join(part for part in kept if part)

    def parameters(self, call):
        if not call.parameters:
            return "None."
        return "\n".join(item(f"\\fI{name}\\fR", self.facts.parameter(call, name)) for _, name in call.parameters)

    def returns(self, call):
        said = self.facts.of_call(call, "returns")
        if said:
            return filled(roff(said))
        if call.returned == "void":
            return "Nothing." if not call.is_request else "Nothing: the result comes as an event, \\fBBPULL_EVENT_IO\\fR."
        if call.returned == "int":
            told = [s for s in SENTENCE.split(call.text.replace("\n", " ")) if s.startswith("Returns ")]
            if told:
                return filled(roff(re.sub(r"^Returns (\w)", lambda m: m[1].upper(), " ".join(told))))
            if call.header == "blockpull-libvirt.h":
                return "0, or \\-1 after a failure."
            return "0, or a negative errno value."
        if call.returned.endswith("char *"):
            return "The text, which ends with a NUL" + ("" if "Static" in call.text or "io_name" in call.name else
                                                       "; NULL where there is none") + "."
        raise Missing(f"{call.name}: nothing says what it returns")

    def errors(self, call):
        of_requests = re.search(r"\bErrors:\s(.*?)(?:\n\n|\Z)", call.section_text, re.S)
        if call.is_request:
            return "\n".join(["These come as the event's \\fIerror\\fR:", *self.listed_errors(call, of_requests[1])])
        if call.returned != "int":
            kind = next(kind for kind in NULL_DOES if call.returned.endswith(kind))
            takes_one = any(of.endswith("*") for of, _ in call.parameters)
            return "None." + (f" With a pointer that is NULL where this page does not allow it the call {NULL_DOES[kind]}."
                              if takes_one else "")
        before, _, listed = call.text.replace("\n", " ").partition("Errors: ")
        alone = [s for s in SENTENCE.split(before) if re.match(r"-E[A-Z]{3}", s)]
        if "those of requests" in listed:
            listed = listed.replace("those of requests", of_requests[1].rstrip(" .\n"))
        return "\n.PP\n".join([*self.listed_errors(call, " ".join([*alone, listed])), filled(roff(COMMON_ERRORS[call.header]))])

    @staticmethod
    def listed_errors(call, text):
        """A list: "Those of bpull_read(). -EINVAL no such base; -EBUSY a job runs already". A code needs its reason."""
        first, *rest = re.split(r"[,;.]? (?=-E[A-Z]+\b)(?<!/ )", " " + " ".join(text.split()))
        items = []
        for part in rest:
            codes, why = re.fullmatch(r"((?:-E[A-Z]+(?: / )?)+(?: or another code of [^:]*:)?)[:,]? ?(.*)", part).groups()
            if not why.strip(" ."):
                raise Missing(f"{call.name}: no reason for its error {codes}")
            codes, *more = codes.rstrip(":").split(" or ", 1)
            term = f"\\fB{codes}\\fR".replace("-", "\\-") + "".join(f" or {one}" for one in more)
            items.append(f".TP\n{term}\n" + filled(roff(sentence(why.strip()))))
        return ["\n".join([filled(roff(sentence(one))) for one in [first.strip()] if one] + items)] if first.strip() or items else []

    def owns(self, call):
        said = self.facts.of_call(call, "owns")
        if said:
            return filled(roff(said))
        told = [s for s in SENTENCE.split(call.text.replace("\n", " ")) if re.search(r"\bValid until\b|\bStatic\b|stays the", s)]
        if told:
            told = ["The text is static: it is never freed." if s.startswith("Static") else s for s in told]
            return filled(roff(" ".join(told)))
        if call.is_request:
            return "Buffers and extents are the caller's and stay in place until the request's event."
        if call.returned.endswith("*"):
            raise Missing(f"{call.name}: nothing says who owns what it returns")
        return "Nothing changes hands: what the parameters point to stays the caller's."

    def thread(self, call):
        said = self.facts.of_call(call, "thread")
        if said:
            return filled(roff(said))
        if call.header in ("blockpull-libvirt.h", "blockpull-nbd.h"):
            return "Any thread."
        if call.name in self.any_thread():
            return "Any thread, while the engine, or the disk, is open."
        if call.is_waiting:
            return "Any thread but the engine's own, where the engine has one (\\fBBPULL_ENGINE_THREAD\\fR)."
        if "Owner thread" in call.text:
            return OWNER
        kinds = {re.search(r"struct (bpull_\w+) \*+$", kind)[1] for kind, _ in call.parameters
                 if re.search(r"struct bpull_(?:engine|disk|info) \*+$", kind)}
        if not kinds:
            return "Any thread: the call shares nothing with others."
        if kinds == {"bpull_info"}:
            return "Any thread, but one at a time for the same description."
        if call.name == "bpull_engine_open":
            return "Any thread. The thread that opens an engine owns it."
        return OWNER

    def any_thread(self):
        found = re.search(r"exceptions may be called from any thread.*?: (.*?)\. ", self.top["blockpull.h"].replace("\n", " "))
        return set(re.findall(r"bpull_\w+", found[1]))

    def waits(self, call):
        said = self.facts.of_call(call, "waits")
        if said:
            return filled(roff(said))
        blocking = re.search(r"BLOCKING\. (.*?)\n\n", self.top["blockpull.h"] + "\n\n", re.S)[1].replace("\n", " ")
        listed = set(re.findall(r"(bpull_\w+)\(", blocking))
        at_rest = call.section == "Images at rest" and call.header == "blockpull.h"
        if call.name in listed or at_rest:
            opens = call.name in OPENING or at_rest and call.name not in listed
            alone = any(re.search(r"struct bpull_(?:engine|disk|snapshot) \*$", kind) for kind, _ in call.parameters)
            return filled(roff("It waits for files, " + "for a lock that another process holds (up to a second), " * opens +
                               "and may walk tables, which takes seconds where those map terabytes." + (ALONE if alone else "")))
        if call.is_waiting:
            return "It waits for the result."
        if re.search(r"\b(Blocking|Blocks|Waits)\b", call.text):
            raise Missing(f"{call.name}: its comment says that it waits, but neither the header's list nor calls.ini does")
        return "It does not wait for I/O."

    def structures(self, call):
        used = self.types_of(call)
        out = [self.type_text(name) for name in used if self.homes[name] == call.name]
        elsewhere = [f"\\fI{self.types[name].kind} {name}\\fR: see \\fB{self.homes[name]}\\fR(3)." for name in used
                     if self.homes[name] != call.name and re.search(rf"\b{name}\b", call.prototype + call.flag_types())]
        if elsewhere:
            out.insert(0, "\n.br\n".join(elsewhere))
        return "\n".join(out)

    def see_also(self, call):
        named = set(re.findall(r"\bbpull_\w+(?=\()", call.text + (self.facts.of_call(call, "text") or "")
                               + (self.facts.of_call(call, "owns") or "")))
        near = [other.name for other in call.neighbours]
        known = {other.name for other in self.calls}
        names = sorted((named | set(near)) & known - {call.name})
        return ",\n".join([f"\\fB{name}\\fR(3)" for name in names] + ["\\fBbpull_error\\fR(3)", "\\fBblockpull\\fR(3)"])

    def error_page(self, version):
        """The one page of a struct, which nearly all calls have."""
        said = re.search(r"ERRORS\. (.*?)\n\n", self.top["blockpull.h"] + "\n\n", re.S)[1].replace("\n", " ")
        said, codes = re.fullmatch(r"(.*?) Some codes mean more than errno says: (.*)", said).groups()
        return self.whole("bpull_error", version, [
            ("NAME", "bpull_error \\- why a call failed"),
            ("SYNOPSIS", "\\fB#include <blockpull.h>\\fR"),
            ("DESCRIPTION", paragraphs(said)),
            ("ERRORS", "Some codes mean more than errno says:\n" + self.listed_errors(None, codes)[0]),
            ("STRUCTURES", self.type_text("bpull_error") + "\n" + self.type_text("bpull_remedy")),
            ("SEE ALSO", "\\fBblockpull\\fR(3)")])

    @staticmethod
    def whole(name, version, sections):
        # As scdoc dates the pages of section 1.
        day = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
        text = f'.TH "{name}" "3" "{day}" "blockpull {version}" "libblockpull"\n.nh\n.ad l\n'
        return text + "".join(f".SH {title}\n{body}\n" for title, body in sections if body)

    def page(self, call, version):
        name = self.facts.of_call(call, "name")
        if not name:
            raise Missing(f"{call.name}: calls.ini has no name line for it")
        sections = [("NAME", f"{call.name} \\- {name}"),
                    ("SYNOPSIS", f".nf\n\\fB#include <{call.header}>\\fR\n.sp\n{call.synopsis()}\n.fi\n.sp\n"
                                 f"Link with \\fI{LINKED[call.header]}\\fR."),
                    ("DESCRIPTION", self.description(call)),
                    ("PARAMETERS", self.parameters(call)),
                    ("RETURN VALUE", self.returns(call)),
                    ("ERRORS", self.errors(call)),
                    ("OWNERSHIP", self.owns(call)),
                    ("THREADS", self.thread(call)),
                    ("BLOCKING", self.waits(call)),
                    ("STRUCTURES", self.structures(call)),
                    ("SEE ALSO", self.see_also(call))]
        return self.whole(call.name, version, sections)


def main():
    if sys.argv[1:2] == ["list"]:
        for path in sys.argv[2:]:
            print("\n".join(call.name for call in header.read(path).calls))
        print("bpull_error")
        return 0
    if sys.argv[1:2] not in (["pages"], ["page"]) or len(sys.argv) < 6:
        sys.exit(__doc__)
    place, version, *paths = sys.argv[2:]
    facts = Facts([path for path in paths if path.endswith(".ini")])
    pages = Pages(facts, [header.read(path) for path in paths if path.endswith(".h")])
    missing = []
    for call in pages.calls:
        try:
            text = pages.page(call, version)
        except Missing as error:
            missing.append(str(error))
            continue
        if sys.argv[1] == "pages":
            pathlib.Path(place, f"{call.name}.3").write_text(text)
        elif call.name == place:
            print(text, end="")
    if sys.argv[1] == "pages":
        pathlib.Path(place, "bpull_error.3").write_text(pages.error_page(version))
    missing += facts.unused()
    for line in missing:
        print(f"calls.py: {line}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
