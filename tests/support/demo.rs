//! A gateway of the demonstration in a process of its own, to be killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// It ends with the value.
pub(crate) struct Demo {
    child: Child,
    /// Where it is reached.
    pub(crate) address: String,
}

impl Demo {
    /// One that records into this folder, once it has an address.
    pub(crate) fn start(data_dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vigie"))
            .args(["--log", "warn", "demo", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the built binary");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| line.split("http://").nth(1)?.split('/').next().map(str::to_owned))
            .expect("the gateway prints its address");
        Self { child, address }
    }

    /// SIGKILL; `then` is called before its end is waited for.
    pub(crate) fn kill<T>(mut self, then: impl FnOnce() -> T) -> T {
        self.child.kill().expect("SIGKILL");
        let done = then();
        self.child.wait().expect("an exit status");
        done
    }

    /// SIGTERM, and a clean stop.
    pub(crate) fn end(mut self) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        assert!(sent.success());
        assert!(self.child.wait().expect("an exit status").success(), "a clean stop");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for nothing but time: the moment of a kill is what these tests are about.
pub(crate) fn pass(time: Duration) {
    let (_keep, never) = mpsc::sync_channel::<()>(1);
    assert!(never.recv_timeout(time).is_err());
}
