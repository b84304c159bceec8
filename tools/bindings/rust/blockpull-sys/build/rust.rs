// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes what header.rs read as Rust.
use crate::header::{Decl, Item, Type};
use std::collections::HashSet;
use std::fmt::Write;

fn base(name: &str) -> &str {
    match name {
        "void" => "::std::os::raw::c_void",
        "char" => "::std::os::raw::c_char",
        "int" => "::std::os::raw::c_int",
        "unsigned" => "::std::os::raw::c_uint",
        "size_t" => "usize",
        "uint8_t" => "u8",
        "uint32_t" => "u32",
        "uint64_t" => "u64",
        other => other,
    }
}

fn rust_type(ty: &Type) -> String {
    if ty.base == "fn" {
        let params: Vec<String> = ty.params.iter().map(|p| rust_type(&p.ty)).collect();
        let result = ty.returns.as_ref().map_or(String::new(), |name| format!(" -> {}", base(name)));
        return format!("Option<unsafe extern \"C\" fn({}){result}>", params.join(", "));
    }
    let mut text = base(&ty.base).to_owned();
    for points_to_const in &ty.pointers {
        text = format!("*{} {text}", if *points_to_const { "const" } else { "mut" });
    }
    match &ty.array {
        Some(count) => format!("[{text}; {count}]"),
        None => text,
    }
}

fn name(decl: &Decl, i: usize) -> String {
    match decl.name.as_str() {
        "" => format!("arg{i}"),
        "type" | "in" | "ref" | "move" | "match" | "use" => format!("{}_", decl.name),
        other => other.to_owned(),
    }
}

fn write_struct(out: &mut String, struct_name: &str, fields: &[Decl]) {
    writeln!(out, "#[repr(C)]\n#[derive(Clone, Copy)]\npub struct {struct_name} {{").unwrap();
    for (i, field) in fields.iter().enumerate() {
        writeln!(out, "    pub {}: {},", name(field, i), rust_type(&field.ty)).unwrap();
    }
    writeln!(out, "}}").unwrap();
}

/// Size and offsets as Rust lays a struct out, for the test that compares them with C's.
fn write_layout(out: &mut String, items: &[Item]) {
    writeln!(out, "/// Name, size, and fields with their offsets, of each struct.").unwrap();
    writeln!(out, "pub fn layout() -> Vec<(&'static str, usize, Vec<(&'static str, usize)>)> {{\n    vec![").unwrap();
    for item in items {
        if let Item::Struct(struct_name, fields) = item {
            writeln!(out, "        (\"{struct_name}\", ::std::mem::size_of::<{struct_name}>(), {{").unwrap();
            writeln!(out, "            let room = ::std::mem::MaybeUninit::<{struct_name}>::uninit();").unwrap();
            writeln!(out, "            let at = room.as_ptr();").unwrap();
            writeln!(out, "            vec![").unwrap();
            for (i, field) in fields.iter().enumerate() {
                let rust_name = name(field, i);
                writeln!(
                    out,
                    "                (\"{}\", unsafe {{ ::std::ptr::addr_of!((*at).{rust_name}) }} as usize - at as usize),",
                    field.name
                )
                .unwrap();
            }
            writeln!(out, "            ]\n        }}),").unwrap();
        }
    }
    writeln!(out, "    ]\n}}").unwrap();
}

pub fn write(items: &[Item]) -> String {
    let mut out = String::new();
    let mut opaque = HashSet::new();
    let defined: HashSet<&String> =
        items.iter().filter_map(|i| if let Item::Struct(n, _) = i { Some(n) } else { None }).collect();
    for item in items {
        match item {
            Item::Define(define, value) => writeln!(out, "pub const {define}: u32 = {value};").unwrap(),
            Item::Enum(enum_name, values) => {
                writeln!(out, "pub type {enum_name} = ::std::os::raw::c_uint;").unwrap();
                for (value_name, value) in values {
                    writeln!(out, "pub const {value_name}: {enum_name} = {value};").unwrap();
                }
            }
            Item::Struct(struct_name, fields) => write_struct(&mut out, struct_name, fields),
            Item::Opaque(struct_name) if !defined.contains(struct_name) && opaque.insert(struct_name) => {
                writeln!(out, "#[repr(C)]\npub struct {struct_name} {{\n    _private: [u8; 0],\n}}").unwrap()
            }
            Item::Opaque(_) => (),
            Item::Function { name: fn_name, result, params } => {
                let list: Vec<String> =
                    params.iter().enumerate().map(|(i, p)| format!("{}: {}", name(p, i), rust_type(&p.ty))).collect();
                let result = rust_type(result);
                let arrow = if result == base("void") { String::new() } else { format!(" -> {result}") };
                writeln!(out, "extern \"C\" {{\n    pub fn {fn_name}({}){arrow};\n}}", list.join(", ")).unwrap();
            }
        }
    }
    write_layout(&mut out, items);
    out
}
