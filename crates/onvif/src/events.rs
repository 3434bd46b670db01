//! What a device notices: a pull point of its event service (ONVIF Core Specification §9.2), read as typed notifications.
//!
//! Invariant: of all that a device notices, motion, tampering and digital inputs alone leave this module; the rest is counted
//! and forgotten.

use std::time::Duration;

use footage::units::WallTime;
use url::Url;

use crate::device::{Answered, Call, Device};
use crate::error::{Error, presentable};
use crate::soap::addressing;
use crate::time;
use crate::xml::Element;

const PULL_POINT: &str = "http://www.onvif.org/ver10/events/wsdl";
const NOTIFICATION: &str = "http://docs.oasis-open.org/wsn/b-2";
const MANAGER: &str = "http://docs.oasis-open.org/wsn/bw-2/SubscriptionManager";

/// Messages that are asked for at once.
const MESSAGES_ASKED: usize = 100;
/// Messages that are read of one answer: a device that sends more than was asked for is not believed.
const MESSAGES_MAX: usize = 1_000;
/// Characters that are kept of a source's name.
const SOURCE_CHARS_MAX: usize = 64;
/// Blocks that a subscription may want back.
const PARAMETERS_MAX: usize = 8;

/// What was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotificationKind {
    /// Something moves in the picture.
    Motion,
    /// The view was changed, covered, blurred or blinded.
    Tampering,
    /// A contact at the device opened or closed.
    DigitalInput,
}

impl NotificationKind {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Motion, Self::Tampering, Self::DigitalInput];

    /// The word in the configuration and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Motion => "motion",
            Self::Tampering => "tampering",
            Self::DigitalInput => "digital_input",
        }
    }
}

/// What a notification says of its property (ONVIF Core Specification §9.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// How it is at the beginning of the subscription.
    Initialized,
    /// It is so from now on.
    Changed,
    /// It is no longer watched.
    Deleted,
}

/// One notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What was noticed.
    pub kind: NotificationKind,
    /// The topic without prefixes, as in `RuleEngine/CellMotionDetector/Motion`.
    pub topic: String,
    /// By what part of the device: tokens of its sources, with a space between; may be empty.
    pub source: String,
    /// Whether it is so now; none where the device does not say, as for what has no duration.
    pub active: Option<bool>,
    /// What it says of its property.
    pub operation: Operation,
    /// When, by the device's own clock.
    pub device_time: Option<WallTime>,
}

/// What one pull gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// What is known.
    pub notifications: Vec<Notification>,
    /// Messages of other topics, which are forgotten.
    pub ignored: usize,
}

/// A pull point that a device keeps for us.
#[derive(Clone, Debug)]
pub struct Subscription {
    url: Url,
    /// As the device called it.
    address: String,
    /// What it wants back with each request.
    parameters: Vec<Element>,
    /// How long it lasts from `granted` on.
    lifetime: Duration,
    /// Monotonic time.
    granted: Duration,
}

impl Device {
    /// Begins to be told what the device notices (CreatePullPointSubscription). It forgets us after `lifetime`, or the time
    /// that it grants, unless [`Device::renew`] comes before.
    pub async fn subscribe(&self, lifetime: Duration) -> Result<Subscription, Error> {
        let services = self.services().await?;
        let url = services.events.as_ref().ok_or(Error::NoService { service: "event" })?;
        let action = format!("{PULL_POINT}/EventPortType/CreatePullPointSubscriptionRequest");
        let call = Call {
            request: "CreatePullPointSubscription",
            url,
            header: addressing(&action, url.as_str(), &[]),
            action,
            body: format!(
                r#"<e:CreatePullPointSubscription xmlns:e="{PULL_POINT}"><e:InitialTerminationTime>{}</e:InitialTerminationTime></e:CreatePullPointSubscription>"#,
                time::duration(lifetime)
            ),
            time: self.config().timeout,
        };
        let answered = self.answered(&call).await?;
        let reference = answered.body.at(&["SubscriptionReference"]);
        let address = reference.and_then(|reference| reference.text_at(&["Address"]));
        let found = address.and_then(|named| Some((named.to_owned(), self.service_url(named, answered.peer)?)));
        let Some((address, url)) = found else {
            return Err(self.unusable(&call, "it names no address of the subscription"));
        };
        let parameters = reference.and_then(|reference| reference.at(&["ReferenceParameters"]));
        let parameters = parameters.into_iter().flat_map(Element::children).take(PARAMETERS_MAX).cloned().collect();
        let lifetime = granted(&answered.body).unwrap_or(lifetime);
        Ok(Subscription { url, address, parameters, lifetime, granted: self.now().mono })
    }

    /// What was noticed since the last time, after `wait` at the latest (PullMessages).
    pub async fn pull(&self, subscription: &mut Subscription, wait: Duration) -> Result<Pulled, Error> {
        let body = format!(
            r#"<e:PullMessages xmlns:e="{PULL_POINT}"><e:Timeout>{}</e:Timeout><e:MessageLimit>{MESSAGES_ASKED}</e:MessageLimit></e:PullMessages>"#,
            time::duration(wait)
        );
        let action = format!("{PULL_POINT}/PullPointSubscription/PullMessagesRequest");
        let answered = self.to(subscription, "PullMessages", action, body, wait + self.config().timeout).await?;
        if let Some(lifetime) = granted(&answered.body) {
            (subscription.lifetime, subscription.granted) = (lifetime, self.now().mono);
        }
        Ok(pulled(&answered.body, |text| self.said(text)))
    }

    /// Whether half of the subscription's time is over: it is time to renew it.
    pub fn is_due(&self, subscription: &Subscription) -> bool {
        self.now().mono.saturating_sub(subscription.granted) >= subscription.lifetime / 2
    }

    /// Lengthens a subscription (Renew).
    pub async fn renew(&self, subscription: &mut Subscription, lifetime: Duration) -> Result<(), Error> {
        let body = format!(
            r#"<n:Renew xmlns:n="{NOTIFICATION}"><n:TerminationTime>{}</n:TerminationTime></n:Renew>"#,
            time::duration(lifetime)
        );
        let action = format!("{MANAGER}/RenewRequest");
        let answered = self.to(subscription, "Renew", action, body, self.config().timeout).await?;
        subscription.lifetime = granted(&answered.body).unwrap_or(lifetime);
        subscription.granted = self.now().mono;
        Ok(())
    }

    /// Ends a subscription (Unsubscribe).
    pub async fn unsubscribe(&self, subscription: Subscription) -> Result<(), Error> {
        let body = format!(r#"<n:Unsubscribe xmlns:n="{NOTIFICATION}"/>"#);
        let action = format!("{MANAGER}/UnsubscribeRequest");
        self.to(&subscription, "Unsubscribe", action, body, self.config().timeout).await?;
        Ok(())
    }

    async fn to(
        &self,
        subscription: &Subscription,
        request: &'static str,
        action: String,
        body: String,
        time: Duration,
    ) -> Result<Answered, Error> {
        let header = addressing(&action, &subscription.address, &subscription.parameters);
        self.answered(&Call { request, url: &subscription.url, action, header, body, time }).await
    }
}

/// How long the subscription lasts from now on: both times are the device's, whose clock may be wrong.
fn granted(answer: &Element) -> Option<Duration> {
    let at = |name| time::date_time(answer.text_at(&[name])?);
    let left = at("TerminationTime")?.since(at("CurrentTime")?);
    (left.0 > 0).then(|| left.to_duration())
}

fn pulled(answer: &Element, said: impl Fn(&str) -> String) -> Pulled {
    let mut pulled = Pulled::default();
    for message in answer.all("NotificationMessage").take(MESSAGES_MAX) {
        match notification(message, &said) {
            Some(notification) => pulled.notifications.push(notification),
            None => pulled.ignored += 1,
        }
    }
    pulled
}

fn notification(message: &Element, said: impl Fn(&str) -> String) -> Option<Notification> {
    let topic = topic(message.text_at(&["Topic"])?);
    let kind = kind(&topic)?;
    let message = message.at(&["Message", "Message"])?;
    let items = |group: &'static str| {
        let group = message.at(&[group]);
        group.into_iter().flat_map(|group| group.all("SimpleItem"))
    };
    let sources: Vec<&str> = items("Source").filter_map(|item| item.attribute("Value")).collect();
    let active = items("Data").find_map(|item| state(item.attribute("Name")?, item.attribute("Value")?));
    let operation = match message.attribute("PropertyOperation") {
        Some("Initialized") => Operation::Initialized,
        Some("Deleted") => Operation::Deleted,
        _ => Operation::Changed,
    };
    Some(Notification {
        kind,
        topic: said(&topic),
        source: said(&presentable(&sources.join(" "), None)).chars().take(SOURCE_CHARS_MAX).collect(),
        active,
        operation,
        device_time: message.attribute("UtcTime").and_then(time::date_time),
    })
}

/// A topic without the prefixes of its parts: devices bind them as they like, and some forget to.
fn topic(text: &str) -> String {
    let local = |part: &str| part.rsplit(':').next().unwrap_or_default().trim().to_owned();
    text.split('/').map(local).collect::<Vec<_>>().join("/")
}

/// What a topic is about (ONVIF Imaging, Analytics and Device I/O specifications; annex of the Core Specification).
fn kind(topic: &str) -> Option<NotificationKind> {
    let parts: Vec<&str> = topic.split('/').collect();
    match parts[..] {
        ["RuleEngine", "CellMotionDetector" | "MotionRegionDetector", "Motion"] | ["VideoSource", "MotionAlarm"] => {
            Some(NotificationKind::Motion)
        }
        ["RuleEngine", "TamperDetector", ..]
        | ["VideoSource", "GlobalSceneChange" | "ImageTooBlurry" | "ImageTooDark" | "ImageTooBright", ..] => {
            Some(NotificationKind::Tampering)
        }
        ["Device", "Trigger", "DigitalInput"] => Some(NotificationKind::DigitalInput),
        _ => None,
    }
}

/// What an item of data says of the state, where it is the item for that.
fn state(name: &str, value: &str) -> Option<bool> {
    if !matches!(name, "State" | "IsMotion" | "IsTamper" | "LogicalState" | "Value") {
        return None;
    }
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "active" | "on" => Some(true),
        "false" | "0" | "inactive" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(topic: &str, attributes: &str, source: &str, data: &str) -> Pulled {
        let text = format!(
            r#"<P><NotificationMessage><Topic Dialect="x">{topic}</Topic><Message><t:Message xmlns:t="urn:t" {attributes}><t:Source>{source}</t:Source><t:Data>{data}</t:Data></t:Message></Message></NotificationMessage></P>"#
        );
        pulled(&Element::parse(text.as_bytes()).expect("well-formed"), str::to_owned)
    }

    #[test]
    fn topics_are_known_whatever_their_prefixes() {
        let check = |topic: &str, expect: Option<NotificationKind>| {
            let pulled = read(topic, "", "", "");
            assert_eq!(pulled.notifications.first().map(|n| n.kind), expect, "{topic}");
            assert_eq!(pulled.ignored, usize::from(expect.is_none()), "{topic}");
        };
        check("tns1:RuleEngine/CellMotionDetector/Motion", Some(NotificationKind::Motion));
        check("x:RuleEngine/x:CellMotionDetector/x:Motion", Some(NotificationKind::Motion));
        check("VideoSource/MotionAlarm", Some(NotificationKind::Motion));
        check("tns1:VideoSource/GlobalSceneChange/ImagingService", Some(NotificationKind::Tampering));
        check("tns1:VideoSource/ImageTooBlurry/AnalyticsService", Some(NotificationKind::Tampering));
        check("tns1:RuleEngine/TamperDetector/Tamper", Some(NotificationKind::Tampering));
        check("tns1:Device/Trigger/DigitalInput", Some(NotificationKind::DigitalInput));
        check("tns1:Device/Trigger/Relay", None);
        check("tns1:RuleEngine/FaceDetector/Face", None);
        check("tns1:RuleEngine/CellMotionDetector/Motion/Other", None);
        check("", None);
    }

    #[test]
    fn a_notification_says_what_when_and_whether_it_still_lasts() {
        let item = |name: &str, value: &str| format!(r#"<t:SimpleItem Name="{name}" Value="{value}"/>"#);
        let check = |attributes: &str, data: String, active, operation, time: Option<&str>| {
            let source = item("VideoSourceConfigurationToken", "vs1") + &item("Rule", "r\u{7}1");
            let pulled = read("tns1:RuleEngine/CellMotionDetector/Motion", attributes, &source, &data);
            let found = &pulled.notifications[0];
            assert_eq!((found.active, found.operation), (active, operation), "{attributes} {data}");
            assert_eq!(found.device_time.map(|t| t.to_string()).as_deref(), time, "{attributes}");
            assert_eq!(found.source, "vs1 r 1");
        };
        let (utc, seen) = (r#"UtcTime="2026-11-27T22:00:00Z""#, Some("2026-11-27T22:00:00.000000Z"));
        let changed = format!(r#"{utc} PropertyOperation="Changed""#);
        check(&changed, item("IsMotion", "true"), Some(true), Operation::Changed, seen);
        check(&changed, item("Count", "1") + &item("IsMotion", "0"), Some(false), Operation::Changed, seen);
        check(r#"PropertyOperation="Initialized""#, item("IsMotion", "x"), None, Operation::Initialized, None);
        check(r#"UtcTime="?" PropertyOperation="Deleted""#, String::new(), None, Operation::Deleted, None);
    }

    #[test]
    fn a_subscription_lasts_as_long_as_the_device_says_by_its_own_clock() {
        let check = |current: &str, termination: &str, expect: Option<u64>| {
            let text =
                format!("<r><CurrentTime>{current}</CurrentTime><TerminationTime>{termination}</TerminationTime></r>");
            let answer = Element::parse(text.as_bytes()).expect("well-formed");
            assert_eq!(granted(&answer), expect.map(Duration::from_secs), "{current} {termination}");
        };
        check("1970-01-01T00:10:00Z", "1970-01-01T00:11:00Z", Some(60));
        check("1970-01-01T00:10:00Z", "1970-01-01T00:10:00Z", None);
        check("1970-01-01T00:10:00Z", "1970-01-01T00:09:00Z", None);
        check("", "1970-01-01T00:09:00Z", None);
    }

    #[test]
    fn more_messages_than_were_asked_for_are_not_read() {
        let one = "<NotificationMessage><Topic>Device/Trigger/DigitalInput</Topic></NotificationMessage>";
        let text = format!("<P>{}</P>", one.repeat(2_000));
        let pulled = pulled(&Element::parse(text.as_bytes()).expect("well-formed"), str::to_owned);
        assert_eq!((pulled.notifications.len(), pulled.ignored), (0, MESSAGES_MAX));
    }
}
