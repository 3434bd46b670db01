//! What sessions with one camera have shown, for those that follow. Forgotten when the gateway stops.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use http_auth::PasswordClient;
use parking_lot::Mutex;

/// Requests that keep a session alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ping {
    Options,
    GetParameter,
}

impl Ping {
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Options => "OPTIONS",
            Self::GetParameter => "GET_PARAMETER",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Options => Self::GetParameter,
            Self::GetParameter => Self::Options,
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// One camera's.
#[derive(Debug, Default)]
pub(in super::super) struct Learnt {
    challenge: Mutex<Option<PasswordClient>>,
    /// Pings at which the camera closed the connection.
    ended_by: AtomicU8,
    /// Which way of calling a stream to begin with.
    variant: AtomicUsize,
}

impl Learnt {
    /// A challenge that the camera took an answer to, for the first request of the next session.
    pub(super) fn keep_challenge(&self, challenge: PasswordClient) {
        *self.challenge.lock() = Some(challenge);
    }

    pub(super) fn take_challenge(&self) -> Option<PasswordClient> {
        self.challenge.lock().take()
    }

    /// The camera closed the connection when this was asked.
    pub(super) fn ends_at(&self, ping: Ping) {
        let both = Ping::Options.bit() | Ping::GetParameter.bit();
        let before = self.ended_by.fetch_or(ping.bit(), Ordering::Relaxed);
        if before | ping.bit() == both {
            // Something else ended those sessions: without any ping the next would end in any case.
            self.ended_by.store(0, Ordering::Relaxed);
        }
    }

    /// How to keep a session alive: as the camera offers, without what it closes connections at.
    pub(super) fn ping(&self, offers_get_parameter: bool) -> Ping {
        let ended_by = self.ended_by.load(Ordering::Relaxed);
        let offered = if offers_get_parameter { Ping::GetParameter } else { Ping::Options };
        if ended_by & offered.bit() == 0 { offered } else { offered.other() }
    }

    pub(super) fn variant(&self) -> usize {
        self.variant.load(Ordering::Relaxed)
    }

    /// The way of calling a stream that worked, or the one to try after the camera closed the connection at another.
    pub(super) fn set_variant(&self, variant: usize) {
        self.variant.store(variant, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_at_which_the_camera_hangs_up_is_not_sent_again() {
        let learnt = Learnt::default();
        assert_eq!((learnt.ping(false), learnt.ping(true)), (Ping::Options, Ping::GetParameter));
        learnt.ends_at(Ping::Options);
        assert_eq!((learnt.ping(false), learnt.ping(true)), (Ping::GetParameter, Ping::GetParameter));
        // It hangs up whatever is asked: the ping is not what it minds.
        learnt.ends_at(Ping::GetParameter);
        assert_eq!((learnt.ping(false), learnt.ping(true)), (Ping::Options, Ping::GetParameter));
    }
}
