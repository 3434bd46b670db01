//! What a device recorded itself, on a card or a disk of its own (ONVIF Recording Search Service and Replay Control Service
//! Specifications, Profile G).
//!
//! Absent on purpose: the RTSP session that replays it (`vigie-rtsp`), and whatever would change a recording.

use std::time::Duration;

use footage::units::WallTime;

use crate::address;
use crate::device::Device;
use crate::error::Error;
use crate::http::endpoint;
use crate::media::MediaUri;
use crate::time;
use crate::xml::{Element, escaped};

const SEARCH: &str = "http://www.onvif.org/ver10/search/wsdl";
const REPLAY: &str = "http://www.onvif.org/ver10/replay/wsdl";

/// Recordings that are kept of one device: a recorder has some for each of its channels.
const RECORDINGS_MAX: usize = 256;
/// Results that are asked for at once.
const RESULTS_ASKED: usize = 64;
/// How often results are asked for: a search that is not over then is not waited for.
const ASKED_MAX: usize = 32;
/// How long the device may wait for more results.
const RESULTS_WAIT: Duration = Duration::from_secs(2);
/// How long it keeps a search that nobody asks about.
const KEPT: Duration = Duration::from_secs(60);
/// Longest token, in bytes (`tt:ReferenceToken`).
const TOKEN_BYTES_MAX: usize = 64;

/// A recording of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// By which it is asked for.
    pub token: String,
    /// What it is of: recordings of one view have the same. Empty where the device does not say.
    pub source: String,
    /// First instant, by the device's clock.
    pub earliest: Option<WallTime>,
    /// Last instant so far, by the device's clock.
    pub latest: Option<WallTime>,
}

impl Device {
    /// What it recorded and has pictures of (FindRecordings, GetRecordingSearchResults, EndSearch).
    pub async fn recordings(&self) -> Result<Vec<Recording>, Error> {
        let services = self.services().await?;
        let url = services.search.as_ref().ok_or(Error::NoService { service: "recording search" })?;
        let body = format!("<d:Scope/><d:KeepAliveTime>{}</d:KeepAliveTime>", time::duration(KEPT));
        let answered = self.ask("FindRecordings", SEARCH, url, &body).await?;
        let token = answered.body.text_at(&["SearchToken"]).filter(|token| token.len() <= TOKEN_BYTES_MAX);
        let Some(token) = token.map(|token| escaped(token).into_owned()) else {
            let why = "it names no search".to_owned();
            return Err(Error::Unusable { endpoint: endpoint(url), request: "FindRecordings", why });
        };
        let mut found = Vec::new();
        let body = format!(
            "<d:SearchToken>{token}</d:SearchToken><d:MaxResults>{RESULTS_ASKED}</d:MaxResults><d:WaitTime>{}</d:WaitTime>",
            time::duration(RESULTS_WAIT)
        );
        for _ in 0..ASKED_MAX {
            let answered = self.ask("GetRecordingSearchResults", SEARCH, url, &body).await?;
            let Some(list) = answered.body.at(&["ResultList"]) else { break };
            let room = RECORDINGS_MAX - found.len();
            found.extend(list.all("RecordingInformation").filter_map(|of| self.recording(of)).take(room));
            // A device that never says that it is over says it by finding nothing more.
            if list.text_at(&["SearchState"]) == Some("Completed") || found.len() == RECORDINGS_MAX {
                break;
            }
        }
        // It forgets the search by itself too.
        let _ = self.ask("EndSearch", SEARCH, url, &format!("<d:SearchToken>{token}</d:SearchToken>")).await;
        Ok(found)
    }

    /// `None` for one without pictures.
    fn recording(&self, of: &Element) -> Option<Recording> {
        let token = of.text_at(&["RecordingToken"]).filter(|token| token.len() <= TOKEN_BYTES_MAX)?;
        let mut tracks = of.all("Track").filter_map(|track| track.text_at(&["TrackType"])).peekable();
        if tracks.peek().is_some() && !tracks.any(|kind| kind == "Video") {
            return None;
        }
        let at = |name| time::date_time(of.text_at(&[name])?);
        Some(Recording {
            token: token.to_owned(),
            source: self.said(of.text_at(&["Source", "SourceId"]).unwrap_or_default()),
            earliest: at("EarliestRecording"),
            latest: at("LatestRecording"),
        })
    }

    /// Where a recording is replayed over RTSP (GetReplayUri), inside the connection.
    pub async fn replay_uri(&self, token: &str) -> Result<MediaUri, Error> {
        let services = self.services().await?;
        let url = services.replay.as_ref().ok_or(Error::NoService { service: "replay" })?;
        let request = "GetReplayUri";
        let body = format!(
            "<d:StreamSetup><t:Stream>RTP-Unicast</t:Stream><t:Transport><t:Protocol>RTSP</t:Protocol></t:Transport></d:StreamSetup><d:RecordingToken>{}</d:RecordingToken>",
            escaped(token)
        );
        let answered = self.ask(request, REPLAY, url, &body).await?;
        let named = answered.body.text_at(&["Uri"]).unwrap_or_default();
        let Some((url, named_host)) = address::media(&self.config().url, named, answered.peer, &["rtsp", "rtsps"])
        else {
            let why = "it names no address of a stream".to_owned();
            return Err(Error::Unusable { endpoint: endpoint(url), request, why });
        };
        Ok(MediaUri { url, named_host: named_host.map(|host| self.said(&host)) })
    }
}
