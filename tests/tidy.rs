//! The rules of the house that a machine can judge: layers, sizes, words. Reads the source as text.
#![allow(clippy::disallowed_methods, reason = "this test reads the source tree, not the world of a node")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules and their layers; imports point to lower layers only. `node` and `client` stand side by side.
const LAYERS: [(&str, u8); 17] = [
    ("types", 0),
    ("error", 0),
    ("Error", 0),
    ("ErrorCode", 0),
    ("Result", 0),
    ("limits", 0),
    ("config", 0),
    ("faults", 0),
    ("env", 1),
    ("wire", 1),
    ("storage", 2),
    ("cluster", 2),
    ("replication", 3),
    ("rpc", 4),
    ("node", 5),
    ("client", 5),
    ("python", 6),
];

/// Names at the root of the crate that every layer may use.
const EVERYWHERE: [&str; 2] = ["VERSION", "sync"];

const SOURCE_LINES_MAX: usize = 400;
const OTHER_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// What must not stand in the tree: left-overs, and tests that hope instead of waiting.
const BANNED_WORDS: [&str; 9] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("TO", "DO"),
    concat!("thread::", "sleep("),
    concat!("time.", "sleep("),
    concat!("breakpoint", "()"),
];

struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below the folders with one of the endings, generated and installed ones left out.
fn sources(folders: &[&str], endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder of the source tree can be read").path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && name != "__pycache__" {
                open.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                let path = path.strip_prefix(root()).expect("it lies below the root").to_string_lossy().into_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no sources below {folders:?}");
    found
}

fn all_code() -> Vec<Source> {
    sources(&["src", "tests", "examples", "benches", "bench", "python", "scripts"], &[".rs", ".py", ".pyi"])
}

fn assert_none(rule: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

/// The first path segments that follow `crate::`, also inside braces.
fn crate_imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let is_own = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + "crate::".len()..];
        if !is_own {
            continue;
        }
        match rest.strip_prefix('{') {
            Some(list) => found.extend(outer_names(list).into_iter().map(|name| (line, name))),
            None => found.push((line, first_name(rest))),
        }
    }
    found
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The names at the outermost level of `a, b::c, d::{e, f}}`, up to the brace that closes it.
fn outer_names(list: &str) -> Vec<String> {
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(first_name(&list[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(first_name(&list[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|&(_, layer)| layer)
}

#[test]
fn imports_point_down_the_layers() {
    let mut offences = Vec::new();
    for source in sources(&["src"], &[".rs"]).iter().filter(|source| source.path != "src/lib.rs") {
        let module = first_name(source.path.trim_start_matches("src/").trim_end_matches(".rs"));
        if EVERYWHERE.contains(&module.as_str()) {
            continue;
        }
        let own = layer(&module).unwrap_or_else(|| panic!("{}: {module} has no layer in tests/tidy.rs", source.path));
        for (line, import) in crate_imports(&source.text) {
            if import == module || EVERYWHERE.contains(&import.as_str()) {
                continue;
            }
            let target = layer(&import).unwrap_or(u8::MAX);
            if target > own || (target == own && own > 1) {
                offences.push(format!("{}:{line}: {module} (L{own}) must not use crate::{import}", source.path));
            }
        }
    }
    assert_none("imports point down the layers", offences);
}

#[test]
fn only_rpc_and_wire_name_tonic() {
    let mut offences = Vec::new();
    for source in sources(&["src"], &[".rs"]) {
        if !source.path.starts_with("src/rpc/")
            && !source.path.starts_with("src/wire/")
            && source.text.contains("tonic::")
        {
            offences.push(source.path);
        }
    }
    assert_none("only src/rpc and src/wire name tonic", offences);
}

#[test]
fn files_are_short() {
    let mut offences = Vec::new();
    for source in all_code() {
        let lines = source.text.lines().count();
        let limit = if source.path.starts_with("src/") { SOURCE_LINES_MAX } else { OTHER_LINES_MAX };
        if lines > limit {
            offences.push(format!("{}: {lines} lines, the limit is {limit}", source.path));
        }
    }
    assert_none("files are short", offences);
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The functions of a formatted file: name, first line, number of lines.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let is_rust = source.path.ends_with(".rs");
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let keyword = if is_rust { "fn " } else { "def " };
        let Some(at) = code.find(keyword) else { continue };
        let before = &code[..at];
        let is_definition = before.split_whitespace().all(|word| {
            let word = word.split('(').next().unwrap_or(word);
            ["pub", "async", "const", "extern"].contains(&word) || word.ends_with(')')
        });
        if !is_definition {
            continue;
        }
        let rest = &lines[first + 1..];
        let is_end = |line: &&str| match is_rust {
            true => indent(line) == indent(lines[first]) && line.trim_start().starts_with('}'),
            false => !line.trim().is_empty() && indent(line) <= indent(lines[first]) && !line.trim().starts_with(')'),
        };
        let is_one_line = is_rust && (code.ends_with('}') || code.ends_with(';'));
        let length = if is_one_line { 1 } else { rest.iter().position(is_end).unwrap_or(rest.len()) + 2 };
        found.push((first_name(&code[at + keyword.len()..]), first + 1, length));
    }
    found
}

#[test]
fn functions_fit_a_screen() {
    let mut offences = Vec::new();
    for source in all_code() {
        for (name, line, length) in functions(&source) {
            if length > FUNCTION_LINES_MAX {
                offences.push(format!("{}:{line}: {name} has {length} lines", source.path));
            }
        }
    }
    assert_none("functions fit a screen", offences);
}

#[test]
fn no_banned_words() {
    let mut offences = Vec::new();
    for source in all_code() {
        for (number, line) in source.text.lines().enumerate() {
            let banned = BANNED_WORDS.iter().filter(|word| line.contains(**word));
            offences.extend(banned.map(|word| format!("{}:{}: {word}", source.path, number + 1)));
        }
    }
    assert_none("no banned words", offences);
}

#[test]
fn every_module_says_what_it_is_for() {
    let offences = sources(&["src"], &[".rs"])
        .into_iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.path)
        .collect();
    assert_none("every module begins with its doc", offences);
}

#[test]
fn unsafe_code_is_forbidden() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs can be read");
    assert!(lib.contains("#![forbid(unsafe_code)]"), "src/lib.rs must forbid unsafe code");
}

#[test]
fn the_judge_itself_sees_what_it_should() {
    let text =
        "use crate::{\n    env::Clock,\n    types::{Key, Value},\n    rpc,\n};\nlet x = crate::limits::A; mycrate::b";
    let names: Vec<String> = crate_imports(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["env", "types", "rpc", "limits"]);
    let rust = Source {
        path: "a.rs".into(),
        text: "impl A {\n    pub(crate) async fn long(\n    ) {\n        1;\n    }\n}\n".into(),
    };
    assert_eq!(functions(&rust), [("long".to_string(), 2, 4)]);
    let python = Source { path: "a.py".into(), text: "def f(\n    a,\n):\n    return 1\n\n\nx = 2\n".into() };
    assert_eq!(functions(&python).len(), 1);
    assert!(functions(&python)[0].2 >= 4, "{:?}", functions(&python));
}
