//! Processes being measured: what Linux says of them in /proc (proc_pid_stat(5), proc_pid_status(5)).

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::Failure;

/// Clock ticks a second of the times in /proc: `USER_HZ`, 100 wherever Linux runs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cpu {
    pub(super) user: f64,
    pub(super) system: f64,
}

impl Cpu {
    pub(super) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }

    pub(super) fn total(self) -> f64 {
        self.user + self.system
    }
}

/// One line of /proc/PID/stat.
struct Stat {
    cpu: Cpu,
    /// It has ended, and waits for its parent to take note.
    ended: bool,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(line: &str) -> Option<Stat> {
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let seconds = |field: usize| Some(fields.get(field)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    let ended = matches!(*fields.first()?, "Z" | "X");
    Some(Stat { cpu: Cpu { user: seconds(11)?, system: seconds(12)? }, ended })
}

/// Processor time of a process so far.
pub(super) fn cpu(pid: u32) -> Cpu {
    stat(pid).map(|stat| stat.cpu).unwrap_or_default()
}

/// Bytes of a line of /proc/PID/status, as `VmRSS`.
fn status_bytes(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0) * 1024
}

/// One or many processes that record together.
pub(super) struct ProcessGroup {
    children: Vec<Child>,
}

impl ProcessGroup {
    /// Starts them; what they say goes to one file.
    pub(super) fn start(commands: Vec<Command>, log: &Path) -> Result<Self, Failure> {
        let said = File::create(log).map_err(Failure::failed)?;
        let start = |mut command: Command| {
            let said = said.try_clone()?;
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).kill_on_drop(true).spawn()
        };
        let children: std::io::Result<_> = commands.into_iter().map(start).collect();
        Ok(Self { children: children.map_err(Failure::failed)? })
    }

    fn pids(&self) -> impl Iterator<Item = u32> {
        self.children.iter().filter_map(Child::id)
    }

    /// Processor time so far.
    pub(super) fn cpu(&self) -> Cpu {
        self.pids()
            .map(cpu)
            .fold(Cpu::default(), |all, one| Cpu { user: all.user + one.user, system: all.system + one.system })
    }

    /// Processor time so far of the threads whose names begin so.
    pub(super) fn cpu_of_threads(&self, prefix: &str) -> Cpu {
        let mut sum = Cpu::default();
        for task in
            self.pids().filter_map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten().flatten()
        {
            let line = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let named = line.split_once('(').is_some_and(|(_, rest)| rest.starts_with(prefix));
            if let Some(stat) = parse_stat(&line).filter(|_| named) {
                sum = Cpu { user: sum.user + stat.cpu.user, system: sum.system + stat.cpu.system };
            }
        }
        sum
    }

    /// Resident memory now, in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.pids().map(|pid| status_bytes(pid, "VmRSS")).sum()
    }

    /// The most that was resident, in bytes.
    pub(super) fn memory_peak(&self) -> u64 {
        self.pids().map(|pid| status_bytes(pid, "VmHWM")).sum()
    }

    /// One of them has ended.
    pub(super) fn is_broken(&self) -> bool {
        self.pids().any(|pid| stat(pid).is_none_or(|stat| stat.ended))
    }

    /// Asks them to end, waits until they have, and gives their processor time with how long it took.
    pub(super) async fn end(mut self, within: Duration) -> Result<(Cpu, Duration), Failure> {
        let began = Instant::now();
        let pids: Vec<u32> = self.pids().collect();
        for pid in pids.iter().filter_map(|&pid| Pid::from_raw(pid as i32)) {
            // One that has ended by itself is found out below.
            let _ = kill_process(pid, Signal::TERM);
        }
        while !pids.iter().all(|&pid| stat(pid).is_none_or(|stat| stat.ended)) {
            if began.elapsed() > within {
                return Err(Failure(format!("a recorder did not end within {} s", within.as_secs())));
            }
            sleep(Duration::from_millis(20)).await;
        }
        let (cpu, took) = (self.cpu(), began.elapsed());
        for child in &mut self.children {
            child.wait().await.map_err(Failure::failed)?;
        }
        Ok((cpu, took))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_a_name_that_holds_anything() {
        let line = "42 (a) R 1 (b)) S 1 42 42 0 -1 4194304 100 0 0 0 250 1050 0 0 20 0 8 0 100 1000 10";
        let read = parse_stat(line).unwrap();
        assert_eq!(read.cpu, Cpu { user: 2.5, system: 10.5 });
        assert!(!read.ended);
        assert!(parse_stat("42 (a) Z 1 42 42 0 -1 4194304 100 0 0 0 1 1 0").unwrap().ended);
        assert!(parse_stat("42 (a) S 1").is_none());
    }
}
