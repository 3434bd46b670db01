//! Which connections are open, whose they are, and which of them goes when there are too many.
//!
//! A connection is idle while no request of it is being answered. At a bound the longest idle connection goes, of the
//! peer that has the most: who opens many pays with its own. A connection that answers is never cut here.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::http::peer::Peer;

/// Every open connection.
#[derive(Debug)]
pub(super) struct Connections {
    total_max: usize,
    per_peer_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with each connection and each change: ids, and what is older than what.
    next: u64,
    open: HashMap<u64, Open>,
    refused: u64,
}

#[derive(Debug)]
struct Open {
    peer: Peer,
    /// Being answered.
    requests: u32,
    idle_since: u64,
    cut: CancellationToken,
}

impl State {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The longest idle connection among those that `of` picks.
    fn idle(&self, of: impl Fn(&Open) -> bool) -> Option<u64> {
        let idle = self.open.iter().filter(|(_, open)| open.requests == 0 && of(open));
        idle.min_by_key(|(_, open)| open.idle_since).map(|(id, _)| *id)
    }

    /// Of the peer with the most connections that has an idle one.
    fn idle_of_the_greediest(&self) -> Option<u64> {
        let mut peers: HashMap<Peer, (usize, bool)> = HashMap::new();
        for open in self.open.values() {
            let (count, has_idle) = peers.entry(open.peer).or_default();
            *count += 1;
            *has_idle |= open.requests == 0;
        }
        let greediest = peers.iter().filter(|(_, (_, has_idle))| *has_idle).max_by_key(|(_, (count, _))| *count);
        greediest.and_then(|(peer, _)| self.idle(|open| open.peer == *peer))
    }

    fn cut(&mut self, id: u64) {
        if let Some(open) = self.open.remove(&id) {
            open.cut.cancel();
        }
    }
}

impl Connections {
    pub(super) fn new(total_max: usize, per_peer_max: usize) -> Arc<Self> {
        Arc::new(Self { total_max, per_peer_max, state: Mutex::default() })
    }

    /// Takes a connection in, cutting an idle one where there are too many. `None`: all are busy, and this one is
    /// refused.
    pub(super) fn admit(self: &Arc<Self>, peer: Peer) -> Option<Connection> {
        let mut state = self.state.lock();
        // A proxy on this machine brings everybody's connections.
        let of_peer = state.open.values().filter(|open| open.peer == peer).count();
        if !peer.is_loopback() && of_peer >= self.per_peer_max {
            let victim = state.idle(|open| open.peer == peer);
            let Some(id) = victim else {
                state.refused += 1;
                return None;
            };
            state.cut(id);
        }
        if state.open.len() >= self.total_max {
            let Some(id) = state.idle_of_the_greediest() else {
                state.refused += 1;
                return None;
            };
            state.cut(id);
        }
        let (id, cut) = (state.tick(), CancellationToken::new());
        state.open.insert(id, Open { peer, requests: 0, idle_since: id, cut: cut.clone() });
        Some(Connection { id, cut, of: self.clone() })
    }

    /// Cuts the longest idle connection, whosever it is. False when there is none.
    pub(super) fn cut_one(&self) -> bool {
        let mut state = self.state.lock();
        let victim = state.idle_of_the_greediest();
        victim.is_some_and(|id| {
            state.cut(id);
            true
        })
    }

    /// Connections refused since the last call.
    pub(super) fn take_refused(&self) -> u64 {
        std::mem::take(&mut self.state.lock().refused)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.state.lock().open.len()
    }
}

/// One connection: forgotten when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    cut: CancellationToken,
    of: Arc<Connections>,
}

impl Connection {
    /// Cancelled when another connection takes this one's place.
    pub(super) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// A request of it is being answered until the guard is dropped.
    pub(super) fn answering(&self) -> Answering {
        if let Some(open) = self.of.state.lock().open.get_mut(&self.id) {
            open.requests += 1;
        }
        Answering { id: self.id, of: self.of.clone() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.of.state.lock().open.remove(&self.id);
    }
}

/// A request that is being answered, until its body has ended.
#[derive(Debug)]
pub(super) struct Answering {
    id: u64,
    of: Arc<Connections>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.of.state.lock();
        let now = state.tick();
        if let Some(open) = state.open.get_mut(&self.id) {
            open.requests = open.requests.saturating_sub(1);
            open.idle_since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::new([203, 0, 113, last].into())
    }

    #[test]
    fn a_peer_that_opens_too_many_loses_its_own_longest_idle_one() {
        let all = Connections::new(100, 2);
        let (first, second) = (all.admit(peer(1)).unwrap(), all.admit(peer(1)).unwrap());
        let other = all.admit(peer(2)).unwrap();
        drop(first.answering());
        let third = all.admit(peer(1)).unwrap();
        assert!(second.cut.is_cancelled(), "the first was used after it");
        assert!(!first.cut.is_cancelled() && !other.cut.is_cancelled() && !third.cut.is_cancelled());
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn at_the_total_the_greediest_peer_pays_and_never_one_that_is_answered() {
        let all = Connections::new(4, 100);
        let quiet = all.admit(peer(1)).unwrap();
        let greedy = [(); 3].map(|()| all.admit(peer(2)).unwrap());
        let busy = greedy[0].answering();
        let newcomer = all.admit(peer(3)).unwrap();
        assert!(greedy[1].cut.is_cancelled() && !greedy[0].cut.is_cancelled() && !quiet.cut.is_cancelled());
        drop((busy, newcomer));
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn where_all_are_busy_the_newcomer_is_refused_and_counted() {
        let all = Connections::new(2, 1);
        let (one, two) = (all.admit(peer(1)).unwrap(), all.admit(peer(2)).unwrap());
        let busy = (one.answering(), two.answering());
        assert!(all.admit(peer(1)).is_none(), "its own share is used");
        assert!(all.admit(peer(3)).is_none(), "all are busy");
        assert_eq!((all.take_refused(), all.take_refused()), (2, 0));
        drop(busy);
        assert!(all.admit(peer(3)).is_some());
    }

    #[test]
    fn this_machine_has_no_share_but_the_total() {
        let all = Connections::new(3, 1);
        let local = Peer::new([127, 0, 0, 1].into());
        let held = [(); 3].map(|()| all.admit(local).unwrap());
        assert!(held.iter().all(|one| !one.cut.is_cancelled()));
        let _more = all.admit(local).unwrap();
        assert!(held[0].cut.is_cancelled());
    }
}
