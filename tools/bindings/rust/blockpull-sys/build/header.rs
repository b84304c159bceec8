// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads blockpull.h: enumerations, structs and functions, of the shapes that it has. Anything else is an error with
//! the words where it stands, so that a new shape can't be skipped in silence.

#[derive(Debug, Clone)]
pub struct Type {
    pub base: String, // "int", "bpull_disk" of a struct or enum, "fn" of a function pointer
    pub pointers: Vec<bool>, // from the inside out: is what it points to const
    pub array: Option<String>,
    pub params: Vec<Decl>, // of a function pointer
    pub returns: Option<String>, // of a function pointer: the type; None: nothing
}

#[derive(Debug, Clone)]
pub struct Decl {
    pub name: String,
    pub ty: Type,
}

#[derive(Debug)]
pub enum Item {
    Enum(String, Vec<(String, String)>),
    Struct(String, Vec<Decl>),
    Opaque(String),
    Function { name: String, result: Type, params: Vec<Decl> },
    Define(String, String),
}

struct Words {
    words: Vec<String>,
    at: usize,
}

type Found<T> = Result<T, String>;

impl Words {
    fn peek(&self) -> &str {
        self.words.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> String {
        self.at += 1;
        self.words.get(self.at - 1).cloned().unwrap_or_default()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == word;
        self.at += found as usize;
        found
    }

    fn expect(&mut self, word: &str) -> Found<()> {
        if self.take(word) {
            return Ok(());
        }
        let end = (self.at + 8).min(self.words.len());
        Err(format!("'{word}' is missing before: {}", self.words[self.at.min(end)..end].join(" ")))
    }
}

fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("/*") {
        out.push_str(&rest[..start]);
        out.push(' ');
        rest = rest[start..].find("*/").map_or("", |end| &rest[start + end + 2..]);
    }
    out + rest
}

/// Words of the language, and the numbers that the header defines. Other directives are for the compiler.
fn words(text: &str, items: &mut Vec<Item>) -> Words {
    let mut words = Vec::new();
    let mut in_cplusplus = false;
    for line in without_comments(text).lines() {
        let line = line.trim();
        if line.starts_with('#') {
            let parts: Vec<&str> = line.split_whitespace().collect();
            in_cplusplus = line == "#ifdef __cplusplus" || (in_cplusplus && line != "#endif");
            if parts.len() == 3 && parts[0] == "#define" && parts[2].parse::<u64>().is_ok() {
                items.push(Item::Define(parts[1].to_owned(), parts[2].to_owned()));
            }
            continue;
        }
        if in_cplusplus {
            continue;
        }
        let mut word = String::new();
        for c in line.chars().chain(" ".chars()) {
            if c.is_ascii_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            if !c.is_whitespace() {
                words.push(c.to_string());
            }
        }
    }
    Words { words, at: 0 }
}

/// A type up to its first declarator.
fn specifier(w: &mut Words) -> Found<(String, bool)> {
    let mut is_const = w.take("const");
    if !w.take("struct") {
        w.take("enum");
    }
    let base = w.next();
    is_const |= w.take("const");
    if base.is_empty() || !base.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(format!("a type is missing at '{base}'"));
    }
    Ok((base, is_const))
}

fn declarator(w: &mut Words, base: &str, mut is_const: bool) -> Found<Decl> {
    let mut pointers = Vec::new();
    while w.take("*") {
        pointers.push(is_const);
        is_const = w.take("const");
    }
    if w.take("(") {
        if !matches!(base, "void" | "int" | "uint64_t") || !pointers.is_empty() {
            return Err(format!("a function pointer that returns '{base}'"));
        }
        w.expect("*")?;
        let name = w.next();
        w.expect(")")?;
        w.expect("(")?;
        let returns = (base != "void").then(|| base.to_owned());
        let ty = Type { base: "fn".to_owned(), pointers, array: None, params: params(w)?, returns };
        return Ok(Decl { name, ty });
    }
    let name = if matches!(w.peek(), "," | ")") { String::new() } else { w.next() };
    let array = if w.take("[") {
        let count = w.next();
        w.expect("]")?;
        Some(count)
    } else {
        None
    };
    Ok(Decl { name, ty: Type { base: base.to_owned(), pointers, array, params: Vec::new(), returns: None } })
}

/// Behind the opening bracket; takes the closing one.
fn params(w: &mut Words) -> Found<Vec<Decl>> {
    let mut found = Vec::new();
    if w.take("void") {
        if w.take(")") {
            return Ok(found);
        }
        w.at -= 1;
    }
    loop {
        let (base, is_const) = specifier(w)?;
        found.push(declarator(w, &base, is_const)?);
        if w.take(")") {
            return Ok(found);
        }
        w.expect(",")?;
    }
}

fn enumerators(w: &mut Words) -> Found<Vec<(String, String)>> {
    let mut found = Vec::new();
    while !w.take("}") {
        let name = w.next();
        w.expect("=")?;
        let mut value = String::new();
        while !matches!(w.peek(), "," | "}" | "") {
            value.push_str(&w.next());
        }
        found.push((name, value));
        if !w.take(",") && w.peek() != "}" {
            return Err("an enumeration does not end".to_owned());
        }
    }
    Ok(found)
}

fn fields(w: &mut Words) -> Found<Vec<Decl>> {
    let mut found = Vec::new();
    while !w.take("}") {
        let (base, is_const) = specifier(w)?;
        loop {
            found.push(declarator(w, &base, is_const)?);
            if !w.take(",") {
                break;
            }
        }
        w.expect(";")?;
    }
    Ok(found)
}

fn function(w: &mut Words) -> Found<Item> {
    let (base, is_const) = specifier(w)?;
    let result = declarator(w, &base, is_const)?;
    w.expect("(")?;
    let params = params(w)?;
    Ok(Item::Function { name: result.name, result: result.ty, params })
}

pub fn parse(text: &str) -> Found<Vec<Item>> {
    let mut items = Vec::new();
    let mut w = words(text, &mut items);
    while !w.peek().is_empty() {
        let item = if w.take("BPULL_API") {
            function(&mut w)?
        } else if w.take("enum") {
            let name = w.next();
            w.expect("{")?;
            Item::Enum(name, enumerators(&mut w)?)
        } else {
            w.expect("struct")?;
            let name = w.next();
            if w.take("{") {
                Item::Struct(name, fields(&mut w)?)
            } else {
                Item::Opaque(name)
            }
        };
        w.expect(";")?;
        items.push(item);
    }
    Ok(items)
}
