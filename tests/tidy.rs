//! House rules that the compiler does not know: the order of the modules, lengths, links, licences, what ships beside
//! the binary.
//!
//! Each check lists everything that breaks its rule, with file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::de::DeTable;

/// Longer files are split.
const FILE_LINES_MAX: usize = 900;

/// Files that may be longer, each with its reason.
const LONG_FILES: [&str; 0] = [];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every text file of the repository below `dir`, as paths relative to its root.
fn files(dir: &str) -> Vec<String> {
    // With what the fuzzer is given and what it finds.
    const SKIPPED: [&str; 9] =
        [".git", "target", "var", "node_modules", "dist", "Cargo.lock", "seeds", "corpus", "artifacts"];
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        // Other tests may be making and removing files meanwhile: what is gone is none of ours.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if SKIPPED.iter().any(|s| *s == name) {
                continue;
            }
            match entry.file_type() {
                Ok(t) if t.is_dir() => dirs.push(entry.path()),
                Ok(t) if t.is_file() && fs::read_to_string(entry.path()).is_ok() => {
                    let relative = entry.path().strip_prefix(root()).expect("found below the root").to_path_buf();
                    found.push(relative.to_str().expect("our names are UTF-8").to_owned());
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<String> {
    let dirs = ["src", "crates", "tests", "benches", "fuzz"];
    dirs.into_iter().flat_map(files).filter(|f| f.ends_with(".rs")).collect()
}

/// Fails with everything that is in the list.
fn expect_none(broken: Vec<String>, rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

/// Lines of a file with their number, from 1.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, l)| (i + 1, l))
}

/// The modules of a crate in their order: rows such as "| `units` | … |" below the crate's heading in docs/ARCHITECTURE.md.
fn module_order(folder: &str) -> Vec<String> {
    let map = read("docs/ARCHITECTURE.md");
    let heading = format!("\n### `{folder}`\n");
    let (_, section) = map.split_once(&heading).unwrap_or_else(|| panic!("docs/ARCHITECTURE.md has no {folder}"));
    let section = section.split("\n#").next().expect("a split has a first part");
    let rows = section.lines().filter_map(|l| l.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

/// Modules named by `crate::…` in a line of code, those of `use crate::{a::…, b::…}` too.
fn imported(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let name = |text: &str| -> String { text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect() };
    let after = code.match_indices("crate::").map(|(i, found)| &code[i + found.len()..]);
    let names = after.flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => group.split(", ").map(name).collect(),
        None => vec![name(rest)],
    });
    names.filter(|n| !n.is_empty()).collect()
}

#[test]
fn modules_import_only_from_those_before_them() {
    let mut broken = Vec::new();
    for (folder, sources) in
        [("src", "src"), ("crates/footage", "crates/footage/src"), ("crates/testkit", "crates/testkit/src")]
    {
        let order = module_order(folder);
        let declared: BTreeSet<_> = read(&format!("{sources}/lib.rs"))
            .lines()
            .filter_map(|l| Some(l.strip_prefix("pub mod ")?.trim_end_matches(';').to_owned()))
            .collect();
        let mapped: BTreeSet<_> = order.iter().cloned().collect();
        assert_eq!(mapped, declared, "docs/ARCHITECTURE.md maps other modules than {sources}/lib.rs");
        broken.extend(imports_against(&order, sources));
    }
    expect_none(broken, "a module imports only from those before it in docs/ARCHITECTURE.md");
}

/// Imports of a later module, in the sources of one crate.
fn imports_against(order: &[String], sources: &str) -> Vec<String> {
    let rank = |module: &str| order.iter().position(|m| m == module);
    let mut broken = Vec::new();
    for file in files(sources).iter().filter(|f| f.ends_with(".rs")) {
        let below = file.strip_prefix(&format!("{sources}/")).expect("a file of that folder");
        let module = below.split(['/', '.']).next().expect("a split has a first part");
        // The library's root, and the command, which imports the library by its name.
        let Some(own_rank) = rank(module) else {
            assert!(["lib", "main", "cli"].contains(&module), "{file} is no module of docs/ARCHITECTURE.md");
            continue;
        };
        let text = read(file);
        // Tests may use what comes later, as a user would.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        if file.ends_with("/tests.rs") || file.contains("/tests/") {
            continue;
        }
        for (line, text) in numbered(code) {
            for target in imported(text) {
                if rank(&target).is_some_and(|r| r > own_rank) {
                    broken.push(format!("{file}:{line}: {module} imports {target}"));
                }
            }
        }
    }
    broken
}

#[test]
fn imports_are_found_in_every_form() {
    let check = |line: &str, expect: &[&str]| assert_eq!(imported(line), expect, "{line}");
    check("use crate::units::WallTime;", &["units"]);
    check("    let x = crate::media::Sample::new(crate::index::query::y());", &["media", "index"]);
    check("use crate::{units::WallTime, http};", &["units", "http"]);
    check("//! See [`crate::http`].", &[]);
    check("use super::units;", &[]);
}

#[test]
fn files_are_short_enough_to_read() {
    let mut broken = Vec::new();
    for file in rust_files() {
        let lines = read(&file).lines().count();
        let allowed = LONG_FILES.contains(&file.as_str());
        if (lines > FILE_LINES_MAX) != allowed {
            broken.push(format!("{file}: {lines} lines{}", if allowed { ", and is listed as long" } else { "" }));
        }
    }
    expect_none(broken, &format!("a file has at most {FILE_LINES_MAX} lines: split it at a seam of its own"));
}

#[test]
fn nothing_is_left_for_later() {
    // In two halves, so that this file does not hold them.
    let words = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("XX", "X:"),
    ];
    let mut broken = Vec::new();
    for file in files(".") {
        for (line, text) in numbered(&read(&file)) {
            if words.iter().any(|w| text.contains(w)) {
                broken.push(format!("{file}:{line}: {}", text.trim()));
            }
        }
    }
    expect_none(broken, "what is not done is an issue, not a comment");
}

/// Lines with one of these words, each as a whole word.
fn lines_with(words: &[&str], dirs: &[&str]) -> Vec<String> {
    let mut broken = Vec::new();
    for file in dirs.iter().flat_map(|dir| files(dir)).filter(|f| !f.ends_with(".h264")) {
        for (line, text) in numbered(&read(&file)) {
            let lower = text.to_lowercase();
            if lower.split(|c: char| !c.is_alphanumeric()).any(|word| words.contains(&word)) {
                broken.push(format!("{file}:{line}: {}", text.trim()));
            }
        }
    }
    broken
}

#[test]
fn words_are_those_that_a_reader_would_search_for() {
    // In two halves, so that this file does not hold them.
    let idioms = [concat!("an", "ew"), concat!("am", "id"), concat!("who", "ever"), concat!("there", "upon")];
    let broken = lines_with(&idioms, &["src", "crates", "tests", "benches", "fuzz", "docs", "config", "systemd"]);
    expect_none(broken, "plain technical English: say it with a term of the field");
}

#[test]
fn tests_wait_for_events_and_not_for_time() {
    let words = [concat!("thread::", "sleep"), concat!("time::", "sleep")];
    let mut broken = Vec::new();
    // tests/support polls with a deadline, for all of them.
    for file in rust_files().iter().filter(|f| f.starts_with("tests/") && !f.starts_with("tests/support/")) {
        for (line, text) in numbered(&read(file)) {
            if words.iter().any(|w| text.contains(w)) {
                broken.push(format!("{file}:{line}: {}", text.trim()));
            }
        }
    }
    expect_none(broken, "a test waits for what it tests, with a deadline");
}

#[test]
fn no_path_of_one_machine_is_written_anywhere() {
    let places = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
        concat!("/t", "mp/"),
    ];
    let mut broken = Vec::new();
    for file in files(".") {
        for (line, text) in numbered(&read(&file)) {
            // Part of a longer path or URL is another matter.
            let begins = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || "._-*}/".contains(c));
            if places.iter().any(|p| text.match_indices(p).any(|(at, _)| begins(at))) {
                broken.push(format!("{file}:{line}: {}", text.trim()));
            }
        }
    }
    expect_none(broken, "paths are relative, or of the system");
}

/// A Markdown text without its comments and blocks of code, line numbers kept.
fn prose(text: &str) -> String {
    let mut out = String::new();
    let (mut in_code, mut in_comment) = (false, false);
    for line in text.lines() {
        in_code ^= line.starts_with("```");
        in_comment |= line.starts_with("<!--");
        if !in_code && !in_comment {
            out += line;
        }
        out += "\n";
        in_comment &= !line.contains("-->");
    }
    out
}

#[test]
fn documents_link_to_what_exists() {
    let mut broken = Vec::new();
    for file in files(".").iter().filter(|f| f.ends_with(".md")) {
        let folder = Path::new(file).parent().expect("a file has a folder");
        for (line, text) in numbered(&prose(&read(file))) {
            let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let links = links.filter(|l| !l.contains("://") && !l.starts_with('#')).map(|l| folder.join(l));
            // A path between backticks is a promise too.
            let tops = [
                "src/", "tests/", "docs/", "config/", "systemd/", "benches/", "fuzz/", "ui/", ".ci/", ".config/",
                "crates/",
            ];
            let paths = text.split('`').skip(1).step_by(2).filter(|p| tops.iter().any(|t| p.starts_with(t)));
            let paths = paths.filter(|p| !p.contains(['*', ' ', '{', '<'])).map(PathBuf::from);
            for target in links.chain(paths) {
                let target = target.to_string_lossy().split('#').next().unwrap_or_default().to_owned();
                if !root().join(&target).exists() {
                    broken.push(format!("{file}:{line}: {target}"));
                }
            }
        }
    }
    expect_none(broken, "a document names only what exists");
}

#[test]
fn readme_shows_the_two_commands() {
    let readme = read("README.md");
    for command in ["\n./.ci/demo\n", "\n./.ci/run\n"] {
        assert!(readme.contains(command), "README.md does not give {command:?}");
    }
    for script in [".ci/run", ".ci/setup", ".ci/demo"] {
        let mode = fs::metadata(root().join(script)).expect(script).permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} cannot be executed");
    }
}

#[test]
fn unsafe_code_is_forbidden() {
    assert!(read("Cargo.toml").contains("unsafe_code = \"forbid\""));
    let attribute = concat!("allow(un", "safe_code");
    let broken = rust_files().into_iter().filter(|f| read(f).contains(attribute)).collect();
    expect_none(broken, "no file makes an exception");
}

fn vigie() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vigie"))
}

#[test]
fn service_and_readme_start_vigie_with_arguments_that_exist() {
    let mut broken = Vec::new();
    for file in ["systemd/vigie.service", "README.md", "docs/ARCHITECTURE.md"] {
        for (line, text) in numbered(&read(file)) {
            let command = text.trim().trim_start_matches("ExecStart=/usr/bin/");
            let arguments = command.strip_prefix("vigie ").or_else(|| command.strip_prefix("cargo run --release -- "));
            let Some(arguments) = arguments.map(|a| a.split('#').next().unwrap_or_default()) else { continue };
            // Arguments before `--help` are parsed, and an unknown one is an error.
            let out = vigie().args(arguments.split_whitespace()).arg("--help").output().expect("the command runs");
            if !out.status.success() {
                broken.push(format!("{file}:{line}: {text}\n{}", String::from_utf8_lossy(&out.stderr)));
            }
        }
    }
    expect_none(broken, "commands are those that the command line knows");
}

#[test]
fn service_starts_the_binary_and_keeps_its_own_promises() {
    let unit = read("systemd/vigie.service");
    assert!(unit.contains("\nExecStart=/usr/bin/vigie run --config /etc/vigie/vigie.toml\n"));
    for line in
        ["Type=notify", "NoNewPrivileges=yes", "ProtectSystem=strict", "StateDirectory=vigie", "LimitNOFILE=65536"]
    {
        assert!(unit.lines().any(|l| l == line), "{line} is missing");
    }
}

#[test]
fn service_passes_systemd_analyze_where_there_is_one() {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    let unit = read("systemd/vigie.service").replace("/usr/bin/vigie", env!("CARGO_BIN_EXE_vigie"));
    let file = dir.path().join("vigie.service");
    fs::write(&file, unit).expect("written");
    let Ok(out) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output() else { return };
    let said = String::from_utf8_lossy(&out.stderr);
    let about_ours: Vec<_> = said.lines().filter(|l| l.contains("vigie.service")).map(str::to_owned).collect();
    expect_none(about_ours, "systemd-analyze verify");
}

/// An SPDX licence expression, evaluated against what is allowed. `/` is the old way to write `OR`.
fn allowed(expression: &str, allow: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = &tokens[..];
    let value = either(&mut rest, allow);
    assert!(rest.is_empty(), "not a licence expression: {expression}");
    value
}

fn either(rest: &mut &[&str], allow: &BTreeSet<String>) -> bool {
    let mut value = both(rest, allow);
    while let ["OR", tail @ ..] = *rest {
        *rest = tail;
        value |= both(rest, allow);
    }
    value
}

fn both(rest: &mut &[&str], allow: &BTreeSet<String>) -> bool {
    let mut value = one(rest, allow);
    while let ["AND", tail @ ..] = *rest {
        *rest = tail;
        value &= one(rest, allow);
    }
    value
}

fn one(rest: &mut &[&str], allow: &BTreeSet<String>) -> bool {
    match *rest {
        ["(", tail @ ..] => {
            *rest = tail;
            let value = either(rest, allow);
            assert_eq!(rest.first(), Some(&")"), "not a licence expression");
            *rest = &rest[1..];
            value
        }
        // An exception only allows more.
        [licence, "WITH", _, tail @ ..] | [licence, tail @ ..] => {
            *rest = tail;
            allow.contains(*licence)
        }
        [] => panic!("not a licence expression"),
    }
}

#[test]
fn licence_expressions_are_evaluated_as_spdx_says() {
    let allow = ["MIT".to_owned(), "ISC".to_owned()].into();
    let check = |expression: &str, expect: bool| assert_eq!(allowed(expression, &allow), expect, "{expression}");
    check("MIT", true);
    check("GPL-3.0", false);
    check("GPL-3.0 OR MIT", true);
    check("GPL-3.0/MIT", true);
    check("MIT AND GPL-3.0", false);
    check("MIT AND GPL-3.0 OR ISC", true);
    check("MIT AND (GPL-3.0 OR ISC)", true);
    check("(MIT OR ISC) AND GPL-3.0", false);
    check("Apache-2.0 WITH LLVM-exception OR MIT", true);
}

/// A list of texts in deny.toml.
fn deny_list(section: &str, key: &str) -> BTreeSet<String> {
    let text = read("deny.toml");
    let document = DeTable::parse(&text).expect("deny.toml is TOML");
    let section = document.get_ref().get(section).and_then(|s| s.get_ref().as_table());
    let list = section.and_then(|s| s.get(key)).and_then(|v| v.get_ref().as_array());
    list.into_iter().flat_map(|l| l.iter()).filter_map(|v| v.get_ref().as_str()).map(str::to_owned).collect()
}

#[test]
fn dependencies_have_licences_and_sources_that_deny_toml_allows() {
    let arguments =
        ["metadata", "--locked", "--offline", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"];
    let out = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).expect("cargo writes JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let allow = deny_list("licenses", "allow");
    let sources: BTreeSet<_> =
        deny_list("sources", "allow-registry").into_iter().map(|url| format!("registry+{url}")).collect();
    assert!(!allow.is_empty() && !sources.is_empty(), "deny.toml allows nothing");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(packages.len() > 100, "only {} packages", packages.len());
    let mut licences = BTreeMap::new();
    let mut broken = Vec::new();
    for package in packages {
        let (name, licence) = (text(&package["name"]), text(&package["license"]));
        if licence.is_empty() || !allowed(&licence, &allow) {
            broken.push(format!("{name}: licence {licence:?}"));
        }
        if !package["source"].is_null() && !sources.contains(&text(&package["source"])) {
            broken.push(format!("{name}: source {}", package["source"]));
        }
        if ["openssl-sys", "native-tls"].contains(&name.as_str()) {
            broken.push(format!("{name}: TLS is rustls"));
        }
        licences.insert(name, licence);
    }
    let unused = allow.into_iter().filter(|a| !licences.values().any(|l| l.contains(a.as_str())));
    broken.extend(unused.map(|a| format!("{a} is allowed, and no dependency has it")));
    expect_none(broken, "deny.toml");
}
