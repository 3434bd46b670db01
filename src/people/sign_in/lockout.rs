//! Wrong sign-ins of an account, slowed more and more: after three, a second, two, four, up to a quarter of an hour.
//!
//! An address from which the person signed in before has tries of its own, so that nobody locks a person out from afar. Names
//! are counted whether they exist or not.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Presented;
use footage::units::{PersonId, TenantId};

/// Wrong tries that cost nothing.
const FREE: u32 = 3;
const DELAY_MAX: Duration = Duration::from_secs(15 * 60);
/// Wrong tries are forgotten after so long without another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);
/// Accounts and addresses that are remembered; beyond it those of longest ago are forgotten.
const KEPT_MAX: usize = 8_192;

/// Who is tried, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::people) struct Account {
    who: (TenantId, PersonId),
    address: Option<IpAddr>,
}

impl Account {
    pub(super) fn of(presented: &Presented, address: Option<IpAddr>) -> Self {
        Self { who: (presented.tenant.clone(), presented.person.clone()), address }
    }
}

/// Wrong tries lately.
#[derive(Debug, Default)]
pub(in crate::people) struct Lockout(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    wrong: HashMap<Account, Wrong>,
    /// From where each signed in.
    right: HashSet<Account>,
}

#[derive(Clone, Copy, Debug)]
struct Wrong {
    tries: u32,
    last: Instant,
}

impl Wrong {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.last) >= FORGOTTEN_AFTER
    }
}

impl Known {
    /// Its own where it is known, that of all others where it is not.
    fn counted(&self, account: &Account) -> Account {
        let address = account.address.filter(|_| self.right.contains(account));
        Account { who: account.who.clone(), address }
    }
}

impl Lockout {
    /// How long to wait before anything is looked at; `None`: not at all.
    pub(super) fn wait(&self, account: &Account) -> Option<Duration> {
        let (known, now) = (self.0.lock(), Instant::now());
        let wrong = known.wrong.get(&known.counted(account)).filter(|wrong| !wrong.is_over(now))?;
        let doublings = wrong.tries.checked_sub(FREE)?;
        let delay = Duration::from_secs(1).saturating_mul(1 << doublings.min(20)).min(DELAY_MAX);
        delay.checked_sub(now.duration_since(wrong.last)).filter(|wait| !wait.is_zero())
    }

    pub(super) fn wrong(&self, account: &Account) {
        let (mut known, now) = (self.0.lock(), Instant::now());
        let counted = known.counted(account);
        if known.wrong.len() >= KEPT_MAX && !known.wrong.contains_key(&counted) {
            known.wrong.retain(|_, wrong| !wrong.is_over(now));
            let oldest = known.wrong.iter().min_by_key(|(_, wrong)| wrong.last).map(|(account, _)| account.clone());
            if let Some(oldest) = oldest.filter(|_| known.wrong.len() >= KEPT_MAX) {
                known.wrong.remove(&oldest);
            }
        }
        let wrong = known.wrong.entry(counted).or_insert(Wrong { tries: 0, last: now });
        let tries = if wrong.is_over(now) { 0 } else { wrong.tries };
        *wrong = Wrong { tries: tries + 1, last: now };
    }

    pub(super) fn right(&self, account: &Account) {
        let mut known = self.0.lock();
        if known.right.len() < KEPT_MAX {
            known.right.insert(account.clone());
        }
        let counted = known.counted(account);
        known.wrong.remove(&counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(person: &str, last: u8) -> Account {
        let who = ("town".parse().unwrap(), person.parse().unwrap());
        Account { who, address: Some([192, 0, 2, last].into()) }
    }

    /// How many of so many tries in a row are looked at.
    fn looked_at(lockout: &Lockout, account: &Account, tries: usize) -> usize {
        let tries = (0..tries).filter(|_| {
            let looked_at = lockout.wait(account).is_none();
            if looked_at {
                lockout.wrong(account);
            }
            looked_at
        });
        tries.count()
    }

    #[tokio::test(start_paused = true)]
    async fn each_wrong_try_after_three_doubles_the_wait_up_to_a_quarter_of_an_hour() {
        let lockout = Lockout::default();
        let marie = account("marie", 1);
        assert_eq!(looked_at(&lockout, &marie, 1_000), 3);
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(lockout.wait(&marie), Some(Duration::from_secs(seconds)));
            // From wherever it is tried.
            assert!(lockout.wait(&account("marie", 200)).is_some());
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(looked_at(&lockout, &marie, 1_000), 1);
        }
        assert_eq!(lockout.wait(&account("paul", 1)), None);
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert_eq!(looked_at(&lockout, &marie, 1_000), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_signed_in_from_an_address_is_not_locked_out_there_by_others() {
        let lockout = Lockout::default();
        let (home, afar) = (account("marie", 1), account("marie", 9));
        lockout.right(&home);
        assert_eq!(looked_at(&lockout, &afar, 100), 3);
        assert_eq!(lockout.wait(&home), None);
        assert_eq!(looked_at(&lockout, &home, 100), 3, "but has no more tries than others");
        tokio::time::advance(Duration::from_secs(1)).await;
        lockout.right(&home);
        assert_eq!(lockout.wait(&home), None);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_whatever_names_are_tried() {
        let lockout = Lockout::default();
        for n in 0..KEPT_MAX + 100 {
            lockout.wrong(&account(&format!("p{n}"), 1));
            lockout.right(&account(&format!("q{n}"), 1));
        }
        let known = lockout.0.lock();
        assert!(known.wrong.len() <= KEPT_MAX && known.right.len() <= KEPT_MAX);
    }
}
