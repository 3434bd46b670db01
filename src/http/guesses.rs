//! Guessing of access tokens, slowed: wrong credentials use up what a peer and an account have, and what is used up
//! comes back with time. Meanwhile credentials are refused without being compared.
//!
//! | counted by | at once | then |
//! |---|---|---|
//! | peer | 10 | one in 6 s |
//! | account, over all peers | 60 | one a second |
//!
//! Right credentials use up nothing. A peer whose credentials were right for an account is not held back by what
//! others try on it, so that nobody locks a town out from afar; it is by what it tries itself. Names of accounts are
//! counted whether they exist or not, so that the answer does not say which do.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::peer::Peer;

/// How many wrong tries, and how soon another.
#[derive(Clone, Copy)]
struct Rate {
    burst: f64,
    every: Duration,
}

const OF_PEER: Rate = Rate { burst: 10.0, every: Duration::from_secs(6) };
const OF_ACCOUNT: Rate = Rate { burst: 60.0, every: Duration::from_secs(1) };

/// Peers, accounts and pairs that are remembered. Beyond it those that have all of their tries are forgotten, and then
/// the rest are not counted one by one: the other of the two limits still holds.
const REMEMBERED_MAX: usize = 8_192;

/// One line in the log in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Wrong tries lately.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    peers: HashMap<Peer, Used>,
    accounts: HashMap<String, Used>,
    known: HashSet<(Peer, String)>,
    line: Line,
}

/// Tries that are used up, at a time: fewer as time passes.
#[derive(Clone, Copy, Debug)]
struct Used {
    tries: f64,
    at: Instant,
}

impl Used {
    fn now(self, rate: Rate, now: Instant) -> f64 {
        let back = now.duration_since(self.at).as_secs_f64() / rate.every.as_secs_f64();
        (self.tries - back).max(0.0)
    }
}

/// What the log will say.
#[derive(Debug, Default)]
struct Line {
    logged: Option<Instant>,
    wrong: u64,
    held_back: u64,
}

fn wait<K: Eq + Hash>(map: &HashMap<K, Used>, key: &K, rate: Rate, now: Instant) -> Option<Duration> {
    let used = map.get(key)?.now(rate, now);
    let over = used + 1.0 - rate.burst;
    (over > 0.0).then(|| rate.every.mul_f64(over))
}

fn use_up<K: Eq + Hash>(map: &mut HashMap<K, Used>, key: K, rate: Rate, now: Instant) {
    if map.len() >= REMEMBERED_MAX && !map.contains_key(&key) {
        map.retain(|_, used| used.now(rate, now) > 0.0);
        if map.len() >= REMEMBERED_MAX {
            return;
        }
    }
    let used = map.entry(key).or_insert(Used { tries: 0.0, at: now });
    *used = Used { tries: used.now(rate, now) + 1.0, at: now };
}

impl Guesses {
    /// How long this peer has to wait before credentials for this account are looked at; `None`: not at all.
    pub(super) fn wait(&self, peer: Peer, account: &str) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.0.lock();
        let of_account = || wait(&state.accounts, &account.to_owned(), OF_ACCOUNT, now);
        let is_known = || state.known.contains(&(peer, account.to_owned()));
        let wait = wait(&state.peers, &peer, OF_PEER, now).or_else(|| of_account().filter(|_| !is_known()));
        if wait.is_some() {
            state.line.held_back += 1;
            state.line.write(now);
        }
        wait
    }

    /// The credentials were wrong.
    pub(super) fn wrong(&self, peer: Peer, account: &str) {
        let now = Instant::now();
        let mut state = self.0.lock();
        use_up(&mut state.peers, peer, OF_PEER, now);
        use_up(&mut state.accounts, account.to_owned(), OF_ACCOUNT, now);
        state.line.wrong += 1;
        state.line.write(now);
    }

    /// The credentials were right.
    pub(super) fn right(&self, peer: Peer, account: &str) {
        let mut state = self.0.lock();
        if state.known.len() < REMEMBERED_MAX && !state.known.contains(&(peer, account.to_owned())) {
            state.known.insert((peer, account.to_owned()));
        }
    }
}

impl Line {
    /// The first at once, the others together. Neither names nor addresses: an attacker chooses both.
    fn write(&mut self, now: Instant) {
        if self.logged.is_some_and(|at| now.duration_since(at) < LOG_EVERY) {
            return;
        }
        self.logged = Some(now);
        let (wrong, held_back) = (std::mem::take(&mut self.wrong), std::mem::take(&mut self.held_back));
        tracing::warn!(
            wrong,
            held_back,
            "wrong access tokens were presented: check the clients' tokens, or for somebody who guesses"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::new([203, 0, 113, last].into())
    }

    fn tries(guesses: &Guesses, peer: Peer, account: &str, asked: usize) -> usize {
        let compared = (0..asked).filter(|_| {
            let looked_at = guesses.wait(peer, account).is_none();
            if looked_at {
                guesses.wrong(peer, account);
            }
            looked_at
        });
        compared.count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_gets_ten_tries_and_then_one_in_six_seconds() {
        let guesses = Guesses::default();
        assert_eq!(tries(&guesses, peer(1), "town", 100_000), 10);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(tries(&guesses, peer(1), "town", 100_000), 10);
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(tries(&guesses, peer(1), "other", 100_000), 1);
        assert_eq!(tries(&guesses, peer(2), "other", 5), 5, "another peer has its own");
    }

    #[tokio::test(start_paused = true)]
    async fn many_peers_share_what_an_account_has_and_a_known_peer_does_not_suffer() {
        let guesses = Guesses::default();
        guesses.right(peer(0), "town");
        let compared: usize = (1..=255).map(|last| tries(&guesses, peer(last), "town", 10)).sum();
        assert_eq!(compared, 60);
        assert_eq!(guesses.wait(peer(0), "town"), None);
        assert_eq!(tries(&guesses, peer(0), "town", 100), 10, "but it has no more tries than others");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_whatever_names_are_tried() {
        let guesses = Guesses::default();
        for n in 0..3 * REMEMBERED_MAX {
            let from = Peer::new(std::net::Ipv4Addr::from(n as u32).into());
            guesses.wrong(from, &format!("town-{n}"));
            guesses.right(from, &format!("town-{n}"));
        }
        let state = guesses.0.lock();
        let sizes = [state.peers.len(), state.accounts.len(), state.known.len()];
        assert!(sizes.iter().all(|len| *len <= REMEMBERED_MAX), "{sizes:?}");
    }
}
