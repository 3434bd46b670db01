//! The fleet's own process, and the handle that the benchmark has on it.
//!
//! One line of JSON answers each line of its standard input: `state`, or `hush`, after which nothing is sent. It ends
//! when its standard input does, and so with its parent.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use testkit::camera::fleet::{self, FleetPlan, FleetTally};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Failure;

/// What the fleet says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) address: SocketAddr,
    pub(super) playing: u64,
    pub(super) bytes: u64,
    pub(super) late_max_ms: f64,
    pub(super) cameras: Vec<FleetTally>,
}

fn state(fleet: &fleet::Fleet) -> State {
    State {
        address: fleet.address(),
        playing: fleet.playing(),
        bytes: fleet.bytes(),
        late_max_ms: fleet.late_max().as_secs_f64() * 1e3,
        cameras: fleet.tallies(),
    }
}

/// The process.
pub(super) async fn run(args: super::Fleet) -> Result<(), Failure> {
    let plan = FleetPlan { cameras: args.cameras, bits_per_second: args.bits_per_second, threads: args.threads };
    let fleet = fleet::Fleet::start((Ipv4Addr::LOCALHOST, 0).into(), plan).await.map_err(Failure::failed)?;
    let mut asked = BufReader::new(tokio::io::stdin()).lines();
    let mut out = tokio::io::stdout();
    while let Some(line) = asked.next_line().await.map_err(Failure::failed)? {
        if line == "hush" {
            fleet.hush();
        }
        let mut answer = serde_json::to_vec(&state(&fleet)).map_err(Failure::failed)?;
        answer.push(b'\n');
        out.write_all(&answer).await.map_err(Failure::failed)?;
        out.flush().await.map_err(Failure::failed)?;
    }
    Ok(())
}

/// A fleet in a process of its own. It ends when this is dropped.
pub(super) struct Handle {
    child: Child,
    asked: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Handle {
    pub(super) fn start(plan: FleetPlan) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe().map_err(Failure::failed)?)
            .args(["fleet", "--cameras"])
            .arg(plan.cameras.to_string())
            .arg("--bits-per-second")
            .arg(plan.bits_per_second.to_string())
            .arg("--threads")
            .arg(plan.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (asked, answers) = pipes.ok_or_else(|| Failure("the fleet has no pipes".to_owned()))?;
        Ok(Self { child, asked, answers: BufReader::new(answers).lines() })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// How it is now.
    pub(super) async fn state(&mut self) -> Result<State, Failure> {
        self.ask("state\n").await
    }

    /// From now on it is quiet.
    pub(super) async fn hush(&mut self) -> Result<State, Failure> {
        self.ask("hush\n").await
    }

    async fn ask(&mut self, what: &str) -> Result<State, Failure> {
        self.asked.write_all(what.as_bytes()).await.map_err(Failure::failed)?;
        self.asked.flush().await.map_err(Failure::failed)?;
        let line = self.answers.next_line().await.map_err(Failure::failed)?;
        let line = line.ok_or_else(|| Failure("the fleet has ended".to_owned()))?;
        serde_json::from_str(&line).map_err(Failure::failed)
    }
}
