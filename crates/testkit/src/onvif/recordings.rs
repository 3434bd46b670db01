//! The search and the replay service, by their WSDL (ONVIF Recording Search and Replay Control Service Specifications).

use std::time::Duration;

use footage::units::{Ticks90k, WallTime};

use super::answers::{PRIVATE, Reply, fault, ok};
use super::request::Asked;
use super::{Live, OnvifQuirk};

/// Of the one search that goes on at a time.
const SEARCH: &str = "search&1";

/// A recording on a device's card.
#[derive(Clone, Debug)]
pub struct SimulatedRecording {
    /// By which it is asked for.
    pub token: String,
    /// What it is of: another view has another.
    pub source: String,
    /// The path of its replay on the device's RTSP server.
    pub path: String,
    /// It has pictures, and not sound or metadata alone.
    pub video: bool,
    /// How long before now it begins.
    pub age: Duration,
}

impl SimulatedRecording {
    /// Of a day of the camera at this path.
    pub fn new(path: &str) -> Self {
        let age = Duration::from_secs(86_400);
        Self { token: "r&1".to_owned(), source: "vs1".to_owned(), path: path.to_owned(), video: true, age }
    }
}

/// Where both services are, as devices without GetServices say it.
pub(super) fn capabilities(live: &Live, base: &str) -> String {
    if live.device.recordings.is_empty() {
        return String::new();
    }
    let of = |name: &str, path: &str| format!("<tt:{name}><tt:XAddr>{base}/onvif/{path}</tt:XAddr></tt:{name}>");
    format!("<tt:Extension>{}{}</tt:Extension>", of("Search", "search"), of("Replay", "replay"))
}

pub(super) async fn answer(live: &Live, asked: &Asked) -> Reply {
    match asked.operation.as_str() {
        "FindRecordings" => {
            *live.search.lock() = (live.device.quirk != OnvifQuirk::ForgottenSearch).then_some(0);
            let token = quick_xml::escape::escape(SEARCH);
            ok(format!(
                "<tse:FindRecordingsResponse><tse:SearchToken>{token}</tse:SearchToken></tse:FindRecordingsResponse>"
            ))
        }
        "GetRecordingSearchResults" => results(live, asked).await,
        "EndSearch" => {
            *live.search.lock() = None;
            let now = live.now();
            ok(format!("<tse:EndSearchResponse><tse:Endpoint>{now}</tse:Endpoint></tse:EndSearchResponse>"))
        }
        _ => replay_uri(live, asked),
    }
}

async fn results(live: &Live, asked: &Asked) -> Reply {
    let quirk = live.device.quirk;
    let given = *live.search.lock();
    let (SEARCH, Some(given)) = (asked.field("SearchToken"), given) else {
        return fault(400, "Sender", "ter:InvalidToken", "no such search");
    };
    if quirk == OnvifQuirk::SlowSearch {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let recordings = &live.device.recordings;
    let some = if quirk == OnvifQuirk::SlowSearch { 1 } else { recordings.len() };
    let now = live.now();
    let found: String = recordings.iter().skip(given).take(some).map(|recording| information(recording, now)).collect();
    let given = given + some;
    *live.search.lock() = Some(given);
    let is_over = given >= recordings.len() && quirk != OnvifQuirk::EndlessSearch;
    let state = if is_over { "Completed" } else { "Searching" };
    ok(format!(
        "<tse:GetRecordingSearchResultsResponse><tse:ResultList><tt:SearchState>{state}</tt:SearchState>{found}</tse:ResultList></tse:GetRecordingSearchResultsResponse>"
    ))
}

fn information(recording: &SimulatedRecording, now: WallTime) -> String {
    let [token, source] = [&recording.token, &recording.source].map(|text| quick_xml::escape::escape(text.as_str()));
    let first = now.saturating_sub(Ticks90k::from_duration(recording.age));
    let kind = if recording.video { "Video" } else { "Audio" };
    format!(
        "<tt:RecordingInformation><tt:RecordingToken>{token}</tt:RecordingToken><tt:Source><tt:SourceId>{source}</tt:SourceId><tt:Name>Camera</tt:Name><tt:Location/><tt:Description/><tt:Address/></tt:Source><tt:EarliestRecording>{first}</tt:EarliestRecording><tt:LatestRecording>{now}</tt:LatestRecording><tt:Content>all</tt:Content><tt:Track><tt:TrackToken>t1</tt:TrackToken><tt:TrackType>{kind}</tt:TrackType><tt:Description/><tt:DataFrom>{first}</tt:DataFrom><tt:DataTo>{now}</tt:DataTo></tt:Track><tt:RecordingStatus>Recording</tt:RecordingStatus></tt:RecordingInformation>"
    )
}

fn replay_uri(live: &Live, asked: &Asked) -> Reply {
    let wanted = asked.field("RecordingToken");
    let Some(recording) = live.device.recordings.iter().find(|recording| recording.token == wanted) else {
        return fault(400, "Sender", "ter:InvalidToken", "no such recording");
    };
    if (asked.field("Stream"), asked.field("Protocol")) != ("RTP-Unicast", "RTSP") {
        return fault(400, "Sender", "ter:InvalidStreamSetup", "no such stream");
    }
    let (address, _) = &live.device.rtsp;
    let host = match live.device.quirk {
        OnvifQuirk::PrivateAddress => format!("admin:secret@{PRIVATE}:{}", address.port()),
        _ => address.to_string(),
    };
    ok(format!(
        "<trp:GetReplayUriResponse><trp:Uri>rtsp://{host}/{}/replay</trp:Uri></trp:GetReplayUriResponse>",
        recording.path
    ))
}
