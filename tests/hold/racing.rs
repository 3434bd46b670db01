//! A hold that is placed at any moment of a sweep: what it says to protect is there, what it says to be gone is gone.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use footage::units::TimeRange;
use vigie::hold::{HoldState, Why};

use crate::keeping::{between, copied, holds, on_gate, seconds_held, two_days};
use crate::rig::{Rig, at, bytes_of};

/// Polls a future so often and no more.
struct Steps<'a, F: ?Sized> {
    future: Pin<&'a mut F>,
    left: u32,
}

impl<F: Future<Output = ()> + ?Sized> Future for Steps<'_, F> {
    type Output = bool;

    /// True when the future is done.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        if self.left == 0 {
            return Poll::Ready(false);
        }
        self.left -= 1;
        match self.future.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if self.left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Three packs expire one after the other, and nothing stops on the way. True when the sweeps were over before the hold
/// was placed.
async fn placed_after(steps: u32) -> bool {
    let mut rig = Rig::new(two_days()).await;
    for start in [0, 600, 1_200] {
        rig.record("town/gate", start..start + 20).await;
    }
    rig.goes_on(Duration::from_secs(700)).await;
    let holds = holds(&rig);
    // Ranges differ from one moment to the next: inside a pack, over several, over what was not recorded.
    let (start, end) = (i64::from(steps * 7 % 16), 1_201 + i64::from(steps * 5 % 25));
    let asked = between(start, end);
    let (over, HoldState { hold, protected, absent, .. }) = {
        let mut sweeps = Box::pin(async {
            rig.goes_on(at(2 * 86_400 - 300).since(at(1_300)).to_duration()).await;
            for _ in 0..8 {
                rig.sweep().await;
                tokio::time::advance(Duration::from_secs(150)).await;
            }
        });
        let over = Steps { future: sweeps.as_mut(), left: steps }.await;
        let placed = holds.place(on_gate(start, end, 10)).await.unwrap();
        if !over {
            sweeps.await;
        }
        (over, placed)
    };
    let said: i64 = protected.iter().chain(absent.iter().map(|a| &a.range)).map(|range| range.duration().0).sum();
    assert_eq!(said, asked.duration().0, "after {steps} steps: {protected:?} {absent:?}");

    copied(&rig, &holds).await;
    rig.sweep_at(at(3 * 86_400)).await;
    let groups = |range: &TimeRange| {
        let seconds = |t: footage::units::WallTime| (t.since(at(0)).0 / 90_000) as u32;
        (seconds(range.start()) / 2 * 2, seconds(range.end()).next_multiple_of(2))
    };
    let expected: Vec<(u32, u32)> = protected.iter().map(groups).collect();
    let held = seconds_held(&rig, hold.facts.id).await;
    let held: Vec<(u32, u32)> = held.iter().map(|&(from, to)| (from as u32, to as u32)).collect();
    assert_eq!(held, expected, "after {steps} steps");
    assert_eq!(rig.held_bytes().await, expected.iter().map(|&(from, to)| bytes_of(from..to)).sum::<u64>());
    for (start, end) in [(0, 20), (600, 620), (1_200, 1_220)] {
        let gone = absent.iter().filter(|a| a.range.intersection(&between(start, end)).is_some());
        assert!(gone.clone().all(|a| a.why == Why::Destroyed), "after {steps} steps: {absent:?}");
    }
    rig.check().await;
    over
}

#[tokio::test(start_paused = true)]
async fn placed_at_any_step_of_the_sweeps_it_protects_what_it_says_and_names_what_is_gone() {
    let mut steps = 0;
    while !placed_after(steps).await {
        steps += 1;
        assert!(steps < 10_000, "the sweeps never end");
    }
    assert!(steps > 20, "the sweeps have more moments than {steps}");
}
