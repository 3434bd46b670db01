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

impl Wrong {
    /// How long until another try.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let doublings = self.tries.checked_sub(FREE)?;
        let delay = Duration::from_secs(1).saturating_mul(1 << doublings.min(20)).min(DELAY_MAX);
        delay.checked_sub(now.duration_since(self.last)).filter(|wait| !wait.is_zero())
    }
}

impl Known {
    fn make_room(&mut self, counted: &Account, now: Instant) {
        if self.wrong.len() < KEPT_MAX || self.wrong.contains_key(counted) {
            return;
        }
        self.wrong.retain(|_, wrong| !wrong.is_over(now));
        let oldest = self.wrong.iter().min_by_key(|(_, wrong)| wrong.last).map(|(account, _)| account.clone());
        if let Some(oldest) = oldest.filter(|_| self.wrong.len() >= KEPT_MAX) {
            self.wrong.remove(&oldest);
        }
    }

    /// Its own where it is known, that of all others where it is not.
    fn counted(&self, account: &Account) -> Account {
        let address = account.address.filter(|_| self.right.contains(account));
        Account { who: account.who.clone(), address }
    }
}

impl Lockout {
    /// Takes a try, before anything is looked at: many at once have no more of them than one after another.
    ///
    /// # Errors
    /// How long to wait for one.
    pub(super) fn take(&self, account: &Account) -> Result<(), Duration> {
        let (mut known, now) = (self.0.lock(), Instant::now());
        let counted = known.counted(account);
        let before = known.wrong.get(&counted).filter(|wrong| !wrong.is_over(now)).copied();
        if let Some(wait) = before.and_then(|wrong| wrong.wait(now)) {
            return Err(wait);
        }
        known.make_room(&counted, now);
        let tries = before.map_or(0, |wrong| wrong.tries) + 1;
        known.wrong.insert(counted, Wrong { tries, last: now });
        Ok(())
    }

    /// The try that was taken found out nothing.
    pub(super) fn give_back(&self, account: &Account) {
        let mut known = self.0.lock();
        let counted = known.counted(account);
        if let Some(wrong) = known.wrong.get_mut(&counted) {
            wrong.tries = wrong.tries.saturating_sub(1);
        }
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
        (0..tries).filter(|_| lockout.take(account).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn each_wrong_try_after_three_doubles_the_wait_up_to_a_quarter_of_an_hour() {
        let lockout = Lockout::default();
        let marie = account("marie", 1);
        assert_eq!(looked_at(&lockout, &marie, 1_000), 3);
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            assert_eq!(lockout.take(&marie), Err(Duration::from_secs(seconds)));
            // From wherever it is tried.
            assert!(lockout.take(&account("marie", 200)).is_err());
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(looked_at(&lockout, &marie, 1_000), 1);
        }
        assert_eq!(lockout.take(&account("paul", 1)), Ok(()));
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert_eq!(looked_at(&lockout, &marie, 1_000), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_signed_in_from_an_address_is_not_locked_out_there_by_others() {
        let lockout = Lockout::default();
        let (home, afar) = (account("marie", 1), account("marie", 9));
        lockout.right(&home);
        assert_eq!(looked_at(&lockout, &afar, 100), 3);
        assert_eq!(looked_at(&lockout, &home, 100), 3, "but has no more tries than others");
        tokio::time::advance(Duration::from_secs(1)).await;
        lockout.right(&home);
        assert_eq!(lockout.take(&home), Ok(()));
        lockout.give_back(&home);
        assert_eq!(looked_at(&lockout, &home, 100), 3, "a try that found out nothing is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_whatever_names_are_tried() {
        let lockout = Lockout::default();
        for n in 0..KEPT_MAX + 100 {
            let _ = lockout.take(&account(&format!("p{n}"), 1));
            lockout.right(&account(&format!("q{n}"), 1));
        }
        let known = lockout.0.lock();
        assert!(known.wrong.len() <= KEPT_MAX && known.right.len() <= KEPT_MAX);
    }
}
