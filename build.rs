//! Builds the page (`ui/`) for `src/http/page.rs` to embed, where node is there; the gateway builds without it too.
//!
//! Absent on purpose: a built copy in the repository. It is built again only when the page's own files change.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// What the page is made of.
const SOURCES: [&str; 8] = [
    "ui/src",
    "ui/index.html",
    "ui/sign-in.html",
    "ui/welcome.html",
    "ui/package.json",
    "ui/package-lock.json",
    "ui/tsconfig.json",
    "ui/vite.config.ts",
];

const NODE_MAJOR_MIN: u32 = 18;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VIGIE_PAGE");
    SOURCES.iter().for_each(|path| println!("cargo::rerun-if-changed={path}"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names it"));
    let built = out.join("page");
    let (files, missing) = match build(Path::new("ui"), &built) {
        Ok(()) => (files_below(&built)?, None),
        Err(why) => {
            assert!(
                env::var_os("VIGIE_PAGE").is_none_or(|want| want != "required"),
                "the page could not be built: {why}"
            );
            println!("cargo::warning=this gateway is built without its page: {why}");
            // It is built once node is on the path.
            println!("cargo::rerun-if-env-changed=PATH");
            (Vec::new(), Some(why))
        }
    };
    fs::write(out.join("page.rs"), table(&files, &built, missing.as_deref()))
}

/// Builds the page into `built`; the error says what to do.
fn build(ui: &Path, built: &Path) -> Result<(), String> {
    let node = output(Command::new("node").arg("--version"))
        .map_err(|e| format!("node {NODE_MAJOR_MIN} or newer is not installed ({e})"))?;
    let major = node.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE_MAJOR_MIN) {
        return Err(format!("node is {}, and {NODE_MAJOR_MIN} or newer is needed", node.trim()));
    }
    install(ui)?;
    let built = std::path::absolute(built).map_err(|e| e.to_string())?;
    let vite = ["node_modules/vite/bin/vite.js", "build", "--emptyOutDir", "--logLevel", "warn", "--outDir"];
    output(Command::new("node").args(vite).arg(built).current_dir(ui)).map(drop)
}

/// The packages that the lock file names, unless they are there.
fn install(ui: &Path) -> Result<(), String> {
    let (lock, done) = (ui.join("package-lock.json"), ui.join("node_modules/.installed-lock.json"));
    let wanted = fs::read(&lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    if fs::read(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    output(Command::new("npm").args(quiet).current_dir(ui))
        .map_err(|e| format!("npm could not install its packages: {e}"))?;
    fs::write(done, wanted).map_err(|e| e.to_string())
}

/// What a command says; what it complains of, where it fails.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" "))
}

fn files_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files_below(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

/// The module that `src/http/page.rs` includes.
fn table(files: &[PathBuf], built: &Path, missing: Option<&str>) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "/// Why the page is not here.\npub(super) const MISSING: Option<&str> = {missing:?};");
    let _ = writeln!(out, "/// The page's files, by their paths.\npub(super) static FILES: &[(&str, &[u8])] = &[");
    for file in files {
        let name = file.strip_prefix(built).expect("found below it");
        let _ = writeln!(out, "    ({name:?}, include_bytes!({file:?})),");
    }
    out.push_str("];\n");
    out
}
