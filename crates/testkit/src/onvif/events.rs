//! What a device notices, and whom it tells: pull points (ONVIF Core Specification §9.2).

use std::collections::VecDeque;
use std::time::Duration;

use footage::units::Ticks90k;
use tokio::time::{Instant, timeout_at};

use super::answers::{Reply, fault, ok};
use super::request::Asked;
use super::{Live, OnvifQuirk};

/// Messages that wait for one subscriber: the oldest go.
const WAITING_MAX: usize = 1_000;

/// What can be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// `tns1:RuleEngine/CellMotionDetector/Motion`.
    Motion,
    /// `tns1:VideoSource/GlobalSceneChange/ImagingService`.
    SceneChange,
    /// `tns1:Device/Trigger/DigitalInput`.
    DigitalInput,
    /// `tns1:RuleEngine/FaceRecognition/Face`, which nobody should keep.
    Face,
}

/// Something that is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub kind: NoticeKind,
    /// Whether it is so now.
    pub active: bool,
    /// `Changed`, `Initialized` or `Deleted`.
    pub operation: &'static str,
    /// By what part of the device.
    pub source: &'static str,
}

impl Notice {
    /// A change.
    pub fn changed(kind: NoticeKind, active: bool) -> Self {
        Self { kind, active, operation: "Changed", source: "source-1" }
    }
}

#[derive(Debug)]
pub(super) struct Subscriber {
    waiting: VecDeque<String>,
    until: Instant,
}

fn message(live: &Live, notice: &Notice) -> String {
    let (topic, source, item) = match notice.kind {
        NoticeKind::Motion => {
            ("tns1:RuleEngine/CellMotionDetector/Motion", "VideoSourceConfigurationToken", "IsMotion")
        }
        NoticeKind::SceneChange => ("tns1:VideoSource/GlobalSceneChange/ImagingService", "Source", "State"),
        NoticeKind::DigitalInput => ("tns1:Device/Trigger/DigitalInput", "InputToken", "LogicalState"),
        NoticeKind::Face => ("tns1:RuleEngine/FaceRecognition/Face", "VideoSourceConfigurationToken", "Name"),
    };
    let (utc, operation, token, active) = (live.now(), notice.operation, notice.source, notice.active);
    format!(
        r#"<wsnt:NotificationMessage><wsnt:Topic Dialect="http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet">{topic}</wsnt:Topic><wsnt:Message><tt:Message UtcTime="{utc}" PropertyOperation="{operation}"><tt:Source><tt:SimpleItem Name="{source}" Value="{token}"/></tt:Source><tt:Data><tt:SimpleItem Name="{item}" Value="{active}"/></tt:Data></tt:Message></wsnt:Message></wsnt:NotificationMessage>"#
    )
}

pub(super) fn notice(live: &Live, notice: &Notice) {
    let message = message(live, notice);
    for subscriber in live.subscriptions.lock().values_mut() {
        if subscriber.waiting.len() == WAITING_MAX {
            subscriber.waiting.pop_front();
        }
        subscriber.waiting.push_back(message.clone());
    }
    live.noticed.notify_waiters();
}

/// Seconds of an `xs:duration` as the tests write them.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.strip_prefix("PT")?.strip_suffix('S')?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn times(live: &Live, until: Instant) -> (String, String) {
    let left = until.saturating_duration_since(Instant::now());
    let now = live.now();
    (now.to_string(), now.saturating_add(Ticks90k::from_duration(left)).to_string())
}

pub(super) fn subscribe(live: &Live, asked: &Asked, base: &str) -> Reply {
    let Some(time) = seconds(asked.field("InitialTerminationTime")) else {
        return fault(400, "Sender", "ter:InvalidArgVal", "no time");
    };
    let until = Instant::now() + time;
    let mut subscriptions = live.subscriptions.lock();
    let id = subscriptions.keys().max().map_or(1, |last| last + 1);
    subscriptions.insert(id, Subscriber { waiting: VecDeque::new(), until });
    drop(subscriptions);
    // A new pull point gets the present value of each property.
    let first = Notice { operation: "Initialized", ..Notice::changed(NoticeKind::Motion, false) };
    let message = message(live, &first);
    if let Some(subscriber) = live.subscriptions.lock().get_mut(&id) {
        subscriber.waiting.push_back(message);
    }
    let (now, end) = times(live, until);
    ok(format!(
        r#"<tev:CreatePullPointSubscriptionResponse><tev:SubscriptionReference><wsa:Address>{base}/onvif/subscription</wsa:Address><wsa:ReferenceParameters><sim:SubscriptionId xmlns:sim="urn:vigie:simulated">{id}</sim:SubscriptionId></wsa:ReferenceParameters></tev:SubscriptionReference><wsnt:CurrentTime>{now}</wsnt:CurrentTime><wsnt:TerminationTime>{end}</wsnt:TerminationTime></tev:CreatePullPointSubscriptionResponse>"#
    ))
}

fn unknown() -> Reply {
    fault(400, "Sender", "wsrf-rw:ResourceUnknownFault", "no such subscription")
}

pub(super) async fn pull(live: &Live, asked: &Asked) -> Reply {
    let (Some(id), Some(wait)) = (asked.subscription, seconds(asked.field("Timeout"))) else { return unknown() };
    let Ok(limit) = asked.field("MessageLimit").parse::<usize>() else { return unknown() };
    let deadline = Instant::now() + wait;
    loop {
        let noticed = live.noticed.notified();
        tokio::pin!(noticed);
        noticed.as_mut().enable();
        let (taken, until) = {
            let mut subscriptions = live.subscriptions.lock();
            subscriptions.retain(|_, subscriber| subscriber.until > Instant::now());
            let Some(subscriber) = subscriptions.get_mut(&id) else { return unknown() };
            let count = subscriber.waiting.len().min(limit);
            (subscriber.waiting.drain(..count).collect::<Vec<_>>(), subscriber.until)
        };
        let waited = Instant::now() >= deadline;
        // One that floods does not wait either.
        if taken.is_empty() && !waited && live.device.quirk != OnvifQuirk::Flood {
            let _ = timeout_at(deadline, noticed).await;
            continue;
        }
        let (now, end) = times(live, until);
        let mut messages = taken.concat();
        if live.device.quirk == OnvifQuirk::Flood {
            let face = message(live, &Notice::changed(NoticeKind::Face, true));
            messages = message(live, &Notice::changed(NoticeKind::Motion, true)) + &face.repeat(1_500);
        }
        return ok(format!(
            "<tev:PullMessagesResponse><tev:CurrentTime>{now}</tev:CurrentTime><tev:TerminationTime>{end}</tev:TerminationTime>{messages}</tev:PullMessagesResponse>"
        ));
    }
}

pub(super) fn renew(live: &Live, asked: &Asked) -> Reply {
    let (Some(id), Some(time)) = (asked.subscription, seconds(asked.field("TerminationTime"))) else {
        return unknown();
    };
    let mut subscriptions = live.subscriptions.lock();
    let Some(subscriber) = subscriptions.get_mut(&id) else { return unknown() };
    subscriber.until = Instant::now() + time;
    let (now, end) = times(live, subscriber.until);
    ok(format!(
        "<wsnt:RenewResponse><wsnt:TerminationTime>{end}</wsnt:TerminationTime><wsnt:CurrentTime>{now}</wsnt:CurrentTime></wsnt:RenewResponse>"
    ))
}

pub(super) fn unsubscribe(live: &Live, asked: &Asked) -> Reply {
    match asked.subscription.and_then(|id| live.subscriptions.lock().remove(&id)) {
        Some(_) => {
            live.noticed.notify_waiters();
            ok("<wsnt:UnsubscribeResponse/>".to_owned())
        }
        None => unknown(),
    }
}
