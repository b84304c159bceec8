# SPDX-License-Identifier: MIT OR Apache-2.0
"""Reads a public header: its calls, structs and enums with their comments. It is no parser of C, and reads
what clang-format and the rules of the headers leave: one declaration, its comment in front of it or, of a
field, behind it."""
import pathlib
import re

COMMENT = r"/\*(?:.*?)\*/"
CALL = re.compile(rf"(?:(?P<comment>{COMMENT}\n)(?:struct \w+;\n)?)?BPULL_(?:NBD_)?API (?P<returned>[^;(]*?[ *])(?P<name>bpull_\w+)\((?P<parameters>[^;]*?)\);", re.S)
TYPE = re.compile(rf"(?P<comment>{COMMENT}\n)?(?P<kind>struct|enum) (?P<name>bpull_\w+) \{{\n(?P<body>.*?)\n\}};", re.S)
TYPEDEF = re.compile(rf"(?P<comment>{COMMENT}\n)typedef (?P<declaration>[^;]*\(\*(?P<name>bpull_\w+)\)[^;]*);", re.S)
SECTION = re.compile(r"/\* ---- (?P<title>.*?) -+(?P<text>.*?)\*/", re.S)


def comment_text(comment):
    """A comment's paragraphs, without its marks: empty lines between them."""
    lines = [re.sub(r"^\s*(?:/\*+|\*(?!/))? ?", "", line).rstrip() for line in comment.strip().removesuffix("*/").split("\n")]
    return re.sub(r"[ \t]+", " ", "\n".join(lines)).strip()


class Field:
    """Of a struct, or a value of an enum."""

    def __init__(self, declaration, text):
        self.declaration, self.text = declaration, text


class Type:
    def __init__(self, found):
        self.kind, self.name = found["kind"], found["name"]
        self.text = comment_text(found["comment"] or "")
        self.fields = list(self.read(found["body"]))

    def read(self, body):
        """A comment belongs to what follows it, or, on the same line, to what it follows."""
        separator = ";" if self.kind == "struct" else ","
        pending, fields = "", []
        for token in re.finditer(rf"(?P<comment>{COMMENT})|(?P<declaration>[^/;,]+(?:,[^/;]+)?[;,]?)" if self.kind == "struct"
                                 else rf"(?P<comment>{COMMENT})|(?P<declaration>[^/,]+,?)", body, re.S):
            if token["comment"]:
                line = body[body.rfind("\n", 0, token.start()) + 1:token.start()]
                if line.strip() and fields and not pending:
                    fields[-1].text = comment_text(token["comment"])
                else:
                    pending = comment_text(token["comment"])
            elif token["declaration"].strip(f" \t\n{separator}"):
                declaration = " ".join(token["declaration"].split()).rstrip(separator).strip()
                fields.append(Field(declaration, pending))
                pending = ""
        return fields


class Callback:
    """A type of functions."""
    kind = "typedef"

    def __init__(self, found):
        self.name, self.text = found["name"], ""
        self.fields = [Field(" ".join(found["declaration"].split()), comment_text(found["comment"]))]


class Call:
    def __init__(self, found, header):
        self.name, self.header = found["name"], header.name
        self.returned = " ".join(found["returned"].split())
        self.start = found.start()
        self.prototype = " ".join(f"{found['returned']}{found['name']}({found['parameters']});".split())
        self.parameters = [self.parameter(text) for text in found["parameters"].split(",") if text.strip() != "void"]
        self.own_text = comment_text(found["comment"] or "")
        self.text = self.own_text
        self.section, self.section_text, self.neighbours = "", "", []

    @staticmethod
    def parameter(text):
        """("const char *", "path")"""
        found = re.fullmatch(r"(.*?[ *])(\w+)", " ".join(text.split()))
        return found[1].strip(), found[2]

    @property
    def is_request(self):
        """Ends with an event of its own."""
        return self.returned == "void" and self.parameters[-1][1] == "user_data"

    @property
    def is_waiting(self):
        """A request that is waited for."""
        return re.match(r"bpull_p[a-z]+\w*$", self.name) is not None and self.section == "Guest I/O"

    def flag_types(self):
        """Enums whose bits a parameter called flags has."""
        if self.section == "Guest I/O" and any(name == "flags" for _, name in self.parameters):
            return " enum bpull_io_flags"
        virt = f"enum {self.name}_flags" if self.header == "blockpull-libvirt.h" else ""
        return f" {virt}"

    def synopsis(self):
        """Broken between parameters, so that no line is wider than a terminal."""
        out, line, pad = [], f"\\fB{self.returned}{'' if self.returned.endswith('*') else ' '}{self.name}(", " " * 6
        width = len(line) - 3
        for number, (kind, name) in enumerate(self.parameters):
            space = "" if kind.endswith("*") else " "
            last = number + 1 == len(self.parameters)
            plain = f"{kind}{space}{name}{');' if last else ','}"
            if width + len(plain) > 72:
                out.append(line.rstrip() + "\\fR")
                line, width = f"\\fB{pad}", len(pad)
            line += f"{kind}{space}\\fI{name}\\fB{');' if last else ', '}"
            width += len(plain) + 1
        if not self.parameters:
            line += "void);"
        return "\n".join([*out, line + "\\fR"])


class Header:
    def __init__(self, path):
        text = pathlib.Path(path).read_text()
        self.name = pathlib.Path(path).name
        self.top = comment_text(re.search(rf"{COMMENT}\n({COMMENT})", text, re.S)[1])
        self.types = {one.name: one for one in map(Type, self.separate(TYPE, text))}
        self.types.update({one.name: one for one in map(Callback, self.separate(TYPEDEF, text))})
        self.calls = [Call(found, self) for found in self.separate(CALL, text)]
        self.place(text)

    @staticmethod
    def separate(pattern, text):
        """Matches of which the comment is the nearest one, not several with code between."""
        start = 0
        while found := pattern.search(text, start):
            comment = found["comment"]
            if comment and "*/" in comment.rstrip()[:-2]:
                start = found.start() + comment.index("*/") + 2
                continue
            yield found
            start = found.end()

    def place(self, text):
        """Sections, neighbours, and the comment that the calls of a group share."""
        sections = [(found.start(), found["title"], comment_text(found["text"])) for found in SECTION.finditer(text)]
        for before, call in zip([None, *self.calls], self.calls):
            for start, title, section_text in sections:
                if start < call.start:
                    call.section, call.section_text = title, section_text
            if call.is_waiting:
                call.text = self.waiting_text(call)
            elif call.text.startswith("The same") and before: # as what, the page must say
                call.text = f"The same as {before.name}()" + call.text.removeprefix("The same")
        for call in self.calls:
            call.neighbours = [other for other in self.calls if other.section == call.section
                               and other.name.split("_")[1] == call.name.split("_")[1]]
            if call.section == "Guest I/O":
                call.neighbours = [other for other in self.calls if other.is_request == call.is_request
                                   and other.section == call.section]

    def waiting_text(self, call):
        """Of the calls that wait the first has the comment of all, and the first with a vector theirs; one may have its own."""
        group = [other for other in self.calls if other.is_waiting]
        twin = call.name.replace("bpull_p", "bpull_", 1).removesuffix("v")
        if twin not in {other.name for other in self.calls}:
            twin = call.name.replace("bpull_p", "bpull_disk_", 1)
        own = [other.own_text for other in group if other.own_text and other is not group[0]
               and (call is other or call.name.endswith("v") == other.name.endswith("v") == True)]
        text, _, errors = (f"As {twin}()" + group[0].own_text.removeprefix("The same")).partition("Errors: ")
        own = " ".join(own)
        return " ".join([text, own] if "Errors: " in own else [text, own, "Errors: ", errors])


def read(path):
    return Header(path)
