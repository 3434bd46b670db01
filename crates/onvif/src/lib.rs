//! ONVIF devices over SOAP 1.2: found on the network, their clock compared, their profiles and streams named, what they
//! notice told, what they recorded themselves found (ONVIF Core, Media2, Media, Event, Recording Search and Replay Control
//! specifications).
//!
//! The few messages are written by hand and read with an XML library ([ADR 30](../../../docs/adr/0030-onvif-by-hand.md)).
//!
//! | module | what it is |
//! |---|---|
//! | `error` | why a device gave no answer |
//! | `xml` | documents, bounded |
//! | `soap` | envelopes, faults, user name tokens |
//! | `time` | times as devices write them |
//! | `address` | where a device may send us |
//! | `http` | one request, bounded |
//! | `device` | who asks, its clock, its services |
//! | `media` | profiles, streams, pictures |
//! | `events` | what it notices |
//! | `recordings` | what its own storage holds |
//! | `discovery` | who is there |
//!
//! Invariants:
//! - Requests go to the configured host alone, whatever a device names; TLS is never left.
//! - A password is never sent, only digests of it; none is in an error, a log line or a `Debug`.
//! - What a device sends is bounded in bytes and time before it is kept; document types are refused.
//! - Texts that a device chose are one short line without control characters.
//!
//! Absent on purpose: retries and timetables (the gateway's), any setting of a device, metadata of analytics.

mod address;
mod device;
mod discovery;
mod error;
mod events;
mod http;
mod media;
mod recordings;
mod soap;
#[cfg(test)]
mod tests;
mod time;
mod xml;

pub use device::{Device, DeviceConfig, Information};
pub use discovery::{Discovery, Found, MULTICAST, discover, own_addresses};
pub use error::Error;
pub use events::{Notification, NotificationKind, Operation, Pulled, Subscription};
pub use media::{MediaService, MediaUri, Profile, Profiles, StreamTransport};
pub use recordings::Recording;
pub use time::ClockOffset;
