//! A Debian of its own below a folder, made by `.ci/setup`, and the package that is installed there.
//!
//! Commands run there by chroot, as root or through sudo. The network is the machine's; no test uses it but to reach
//! ports of this machine.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use tempfile::TempDir;

/// What a command printed, and whether it did what was asked.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) done: bool,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = [output.stdout, output.stderr].concat();
        Self { done: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
    }
}

/// A command that runs as root.
fn as_root(program: &str) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", program]);
        sudo
    };
    command.stdin(Stdio::null());
    command
}

/// Fails with what the command printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}: run .ci/setup"));
    let Outcome { done, text } = output.into();
    assert!(done, "{command:?}:\n{text}");
    text
}

/// The file that `.ci/setup` makes, whose name follows from the packages in it.
fn tar_file() -> PathBuf {
    let setup = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/setup")).unwrap();
    let packages = setup.lines().find_map(|line| line.strip_prefix("root_packages=")).expect("a list of packages");
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache"));
    cache.join("vigie").join(format!("bookworm-{}.tar", packages.replace(',', "-")))
}

/// The package of the binary under test. The first test that needs it builds it.
fn package() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = File::create(folder.join("package.lock")).unwrap();
    lock.lock().unwrap();
    let built = folder.join("vigie.deb");
    let inputs = ["Cargo.toml", "README.md", "packaging", "systemd", "config", "docs"];
    let inputs = inputs.map(|input| newest(&Path::new(env!("CARGO_MANIFEST_DIR")).join(input)));
    let inputs = inputs.into_iter().chain([newest(Path::new(env!("CARGO_BIN_EXE_vigie")))]).max();
    if !built.exists() || inputs > Some(newest(&built)) {
        // Built aside: a build that is cut off leaves no package.
        let draft = tempfile::tempdir_in(folder).unwrap();
        let deb = draft.path().join("vigie.deb");
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/deb"));
        run(command.args(["--built", env!("CARGO_BIN_EXE_vigie")]).arg(&deb).stdin(Stdio::null()));
        fs::rename(&deb, &built).unwrap();
    }
    built
}

/// When a file, or any file below a folder, was changed last.
fn newest(path: &Path) -> SystemTime {
    let metadata = fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let below = metadata.is_dir().then(|| fs::read_dir(path).unwrap());
    let below = below.into_iter().flatten().map(|entry| newest(&entry.unwrap().path()));
    below.fold(metadata.modified().unwrap(), Ord::max)
}

/// A clean Debian; removed when dropped.
#[derive(Debug)]
pub(crate) struct Root {
    dir: TempDir,
}

impl Root {
    /// Without Vigie.
    pub(crate) fn clean() -> Self {
        let dir = tempfile::Builder::new().prefix("debian").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let tar = tar_file();
        assert!(tar.exists(), "{} is missing: run .ci/setup", tar.display());
        run(as_root("tar").arg("--extract").arg("--file").arg(tar).arg("--directory").arg(dir.path()));
        let root = Self { dir };
        // sudo looks the machine's name up.
        root.sh("echo \"127.0.0.1 localhost $(hostname)\" >/etc/hosts");
        root
    }

    /// With the package of the binary under test in its root folder, as `/vigie.deb`.
    pub(crate) fn with_package() -> Self {
        let root = Self::clean();
        run(as_root("cp").arg(package()).arg(root.path("/vigie.deb")));
        root
    }

    /// With Vigie installed as the README says.
    pub(crate) fn installed() -> Self {
        let root = Self::with_package();
        root.sh("apt-get install --yes /vigie.deb");
        root
    }

    /// A path of the root, as this machine sees it.
    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.dir.path().join(absolute.trim_start_matches('/'))
    }

    /// A program of the root, run there as root, with nothing of the tests' environment.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, program: &[A]) -> Command {
        let mut command = as_root("env");
        command.args(["--ignore-environment", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "HOME=/"]);
        command.arg("PATH=/usr/sbin:/usr/bin:/sbin:/bin");
        command.arg("chroot").arg(self.dir.path()).args(program);
        command
    }

    /// What this machine's systemd-analyze finds in the unit that is installed, with its drop-ins; nothing where there is
    /// none. The root has no units beside it that it could be checked against.
    pub(crate) fn analyze(&self, arguments: &[&str]) -> Option<Outcome> {
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("vigie.service");
        let binary = self.path("/usr/bin/vigie");
        let text = self.sh("cat /usr/lib/systemd/system/vigie.service");
        fs::write(&unit, text.replace("/usr/bin/vigie", binary.to_str().unwrap())).unwrap();
        let drop_ins = self.path("/etc/systemd/system/vigie.service.d");
        if drop_ins.exists() {
            run(as_root("cp").arg("--recursive").arg(drop_ins).arg(dir.path()));
        }
        Command::new("systemd-analyze").args(arguments).arg(&unit).output().ok().map(Outcome::from)
    }

    /// What a script does, line by line until one fails.
    pub(crate) fn try_sh(&self, script: &str) -> Outcome {
        self.command(&["bash", "-euo", "pipefail", "-c", script]).output().expect("chroot runs").into()
    }

    /// What a script prints; fails if the script does.
    pub(crate) fn sh(&self, script: &str) -> String {
        let Outcome { done, text } = self.try_sh(script);
        assert!(done, "{script}\n{text}");
        text
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // The folder belongs to root where the tests do not.
        let _ = as_root("rm").args(["--recursive", "--force", "--one-file-system"]).arg(self.dir.path()).status();
    }
}
