//! The answers of the device, media and media2 services, by their WSDL, and who answers for the others.

use super::request::Asked;
use super::{Live, OnvifQuirk, events, recordings};

/// Where a device behind an address translation believes to be.
pub(super) const PRIVATE: &str = "10.77.0.5";

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) challenges: Vec<String>,
    /// The element in the body, or a whole document that is no envelope.
    body: Body,
}

#[derive(Debug)]
enum Body {
    Element(String),
    Document(String),
}

pub(super) fn ok(element: String) -> Reply {
    Reply { status: 200, challenges: Vec::new(), body: Body::Element(element) }
}

/// A fault as ONVIF has it (Core Specification §5.8.2).
pub(super) fn fault(status: u16, code: &str, subcode: &str, reason: &str) -> Reply {
    let element = format!(
        r#"<env:Fault><env:Code><env:Value>env:{code}</env:Value><env:Subcode><env:Value xmlns:ter="http://www.onvif.org/ver10/error" xmlns:wsrf-rw="http://docs.oasis-open.org/wsrf/rw-2">{subcode}</env:Value></env:Subcode></env:Code><env:Reason><env:Text xml:lang="en">{}</env:Text></env:Reason></env:Fault>"#,
        quick_xml::escape::escape(reason)
    );
    Reply { status, challenges: Vec::new(), body: Body::Element(element) }
}

impl Reply {
    /// A fault of SOAP 1.1 §4.4.
    pub(super) fn old_fault(code: &str, reason: &str) -> Self {
        let document = format!(
            r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>{code}</faultcode><faultstring>{reason}</faultstring></s:Fault></s:Body></s:Envelope>"#
        );
        Self { status: 400, challenges: Vec::new(), body: Body::Document(document) }
    }

    fn document(document: String) -> Self {
        Self { status: 200, challenges: Vec::new(), body: Body::Document(document) }
    }

    pub(super) fn envelope(self) -> String {
        let element = match self.body {
            Body::Element(element) => element,
            Body::Document(document) => return document,
        };
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope" xmlns:tds="http://www.onvif.org/ver10/device/wsdl" xmlns:trt="http://www.onvif.org/ver10/media/wsdl" xmlns:tr2="http://www.onvif.org/ver20/media/wsdl" xmlns:tev="http://www.onvif.org/ver10/events/wsdl" xmlns:tse="http://www.onvif.org/ver10/search/wsdl" xmlns:trp="http://www.onvif.org/ver10/replay/wsdl" xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:wsnt="http://docs.oasis-open.org/wsn/b-2" xmlns:wsa="http://www.w3.org/2005/08/addressing" xmlns:tns1="http://www.onvif.org/ver10/topics"><env:Body>{element}</env:Body></env:Envelope>"#
        )
    }
}

/// The same document with other prefixes, and without one for the schema.
pub(super) fn with_other_prefixes(document: &str) -> String {
    let mut text = document.to_owned();
    let prefixes = [
        ("env", "SOAP-ENV"),
        ("tds", "n1"),
        ("trt", "n2"),
        ("tr2", "n3"),
        ("tev", "n4"),
        ("wsnt", "n5"),
        ("tse", "n6"),
        ("trp", "n7"),
    ];
    for (from, to) in prefixes {
        text = text
            .replace(&format!("{from}:"), &format!("{to}:"))
            .replace(&format!("xmlns:{from}="), &format!("xmlns:{to}="));
    }
    text.replace("<tt:", "<").replace("</tt:", "</").replace("xmlns:tt=", "xmlns=")
}

/// Does what is asked.
pub(super) async fn answer(live: &Live, asked: &Asked) -> Reply {
    let quirk = live.device.quirk;
    match quirk {
        OnvifQuirk::Silent => std::future::pending::<()>().await,
        OnvifQuirk::Oversized => return ok(format!("<tds:Answer>{}</tds:Answer>", "x".repeat((1 << 20) + 16))),
        OnvifQuirk::EntityBomb => {
            let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><x>&c;</x>"#;
            return Reply::document(bomb.to_owned());
        }
        OnvifQuirk::Deep => return Reply::document("<a>".repeat(300_000)),
        OnvifQuirk::NotXml => return Reply::document("<html><body><p>Welcome<br></body>".to_owned()),
        OnvifQuirk::Faults if asked.operation != "GetSystemDateAndTime" => {
            let words = format!("no memory for user operator with {}\r\n", live.device.credentials.1);
            return fault(500, "Receiver", "ter:OutofMemory", &words);
        }
        _ => {}
    }
    let base = match quirk {
        OnvifQuirk::PrivateAddress => format!("http://{PRIVATE}"),
        _ => format!("http://{}", live.address),
    };
    match asked.operation.as_str() {
        "GetSystemDateAndTime" => system_date_and_time(live),
        "GetDeviceInformation" => ok(
            "<tds:GetDeviceInformationResponse><tds:Manufacturer>Vigie</tds:Manufacturer><tds:Model>Simulated</tds:Model><tds:FirmwareVersion>1.2.3 &amp; more</tds:FirmwareVersion><tds:SerialNumber>0001</tds:SerialNumber><tds:HardwareId>1</tds:HardwareId></tds:GetDeviceInformationResponse>"
                .to_owned(),
        ),
        "GetServices" if quirk != OnvifQuirk::NoGetServices => services(live, &base),
        "GetCapabilities" => ok(format!(
            "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Device><tt:XAddr>{base}/onvif/device_service</tt:XAddr></tt:Device><tt:Events><tt:XAddr>{base}/onvif/events</tt:XAddr><tt:WSPullPointSupport>true</tt:WSPullPointSupport></tt:Events><tt:Media><tt:XAddr>{base}/onvif/media</tt:XAddr></tt:Media>{}</tds:Capabilities></tds:GetCapabilitiesResponse>",
            recordings::capabilities(live, &base)
        )),
        "GetProfiles" if asked.namespace.contains("ver20") => profiles2(),
        "GetProfiles" => profiles(),
        "GetStreamUri" => stream_uri(live, asked),
        "GetSnapshotUri" => snapshot_uri(live, asked, &base),
        "CreatePullPointSubscription" => events::subscribe(live, asked, &base),
        "PullMessages" => events::pull(live, asked).await,
        "Renew" if quirk != OnvifQuirk::NoRenew => events::renew(live, asked),
        "Unsubscribe" => events::unsubscribe(live, asked),
        "FindRecordings" | "GetRecordingSearchResults" | "EndSearch" | "GetReplayUri"
            if !live.device.recordings.is_empty() =>
        {
            recordings::answer(live, asked).await
        }
        _ => fault(500, "Receiver", "ter:ActionNotSupported", "Optional Action Not Implemented"),
    }
}

fn system_date_and_time(live: &Live) -> Reply {
    let utc = live.now().to_timestamp().to_string();
    // As RFC 3339 writes it: 2026-11-27T22:00:00…Z.
    let number = |from: usize, to: usize| utc[from..to].trim_start_matches('0').parse::<u32>().unwrap_or(0);
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    ok(format!(
        "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>NTP</tt:DateTimeType><tt:DaylightSavings>false</tt:DaylightSavings><tt:TimeZone><tt:TZ>CET-1CEST,M3.5.0,M10.5.0/3</tt:TZ></tt:TimeZone><tt:UTCDateTime><tt:Time><tt:Hour>{hour}</tt:Hour><tt:Minute>{minute}</tt:Minute><tt:Second>{second}</tt:Second></tt:Time><tt:Date><tt:Year>{year}</tt:Year><tt:Month>{month}</tt:Month><tt:Day>{day}</tt:Day></tt:Date></tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
    ))
}

fn services(live: &Live, base: &str) -> Reply {
    let has_card = !live.device.recordings.is_empty();
    let all = [
        ("http://www.onvif.org/ver10/device/wsdl", "device_service"),
        ("http://www.onvif.org/ver10/media/wsdl", "media"),
        ("http://www.onvif.org/ver20/media/wsdl", "media2"),
        ("http://www.onvif.org/ver10/events/wsdl", "events"),
        ("http://www.onvif.org/ver10/search/wsdl", "search"),
        ("http://www.onvif.org/ver10/replay/wsdl", "replay"),
    ];
    let offered = all.iter().filter(|(_, path)| match *path {
        "media2" => live.device.quirk != OnvifQuirk::NoMedia2,
        "search" | "replay" => has_card,
        _ => true,
    });
    let services: String = offered
        .map(|(namespace, path)| {
            format!("<tds:Service><tds:Namespace>{namespace}</tds:Namespace><tds:XAddr>{base}/onvif/{path}</tds:XAddr><tds:Version><tt:Major>2</tt:Major><tt:Minor>60</tt:Minor></tds:Version></tds:Service>")
        })
        .collect();
    ok(format!("<tds:GetServicesResponse>{services}</tds:GetServicesResponse>"))
}

fn profiles2() -> Reply {
    let profile = |token: &str, name: &str, coding: &str, width: u32, height: u32| {
        format!(
            r#"<tr2:Profiles token="{token}" fixed="true"><tr2:Name>{name}</tr2:Name><tr2:Configurations><tr2:VideoEncoder token="e-{token}" GovLength="50" Profile="Main"><tt:Name>e</tt:Name><tt:UseCount>1</tt:UseCount><tt:Encoding>{coding}</tt:Encoding><tt:Resolution><tt:Width>{width}</tt:Width><tt:Height>{height}</tt:Height></tt:Resolution><tt:RateControl ConstantBitRate="false"><tt:FrameRateLimit>25</tt:FrameRateLimit><tt:BitrateLimit>4096</tt:BitrateLimit></tt:RateControl><tt:Quality>5</tt:Quality></tr2:VideoEncoder></tr2:Configurations></tr2:Profiles>"#
        )
    };
    let (main, sub) = (profile("p&amp;1", "main", "H265", 1920, 1080), profile("p2", "sub", "H264", 704, 576));
    ok(format!(
        r#"<tr2:GetProfilesResponse>{main}{sub}<tr2:Profiles token="p3"><tr2:Name>sound</tr2:Name></tr2:Profiles></tr2:GetProfilesResponse>"#
    ))
}

fn profiles() -> Reply {
    ok(r#"<trt:GetProfilesResponse><trt:Profiles token="p&amp;1" fixed="true"><tt:Name>main</tt:Name><tt:VideoEncoderConfiguration token="e1"><tt:Name>e</tt:Name><tt:UseCount>1</tt:UseCount><tt:Encoding>H264</tt:Encoding><tt:Resolution><tt:Width>1280</tt:Width><tt:Height>720</tt:Height></tt:Resolution><tt:Quality>5</tt:Quality><tt:RateControl><tt:FrameRateLimit>12</tt:FrameRateLimit><tt:EncodingInterval>1</tt:EncodingInterval><tt:BitrateLimit>2048</tt:BitrateLimit></tt:RateControl><tt:H264><tt:GovLength>24</tt:GovLength><tt:H264Profile>Main</tt:H264Profile></tt:H264><tt:SessionTimeout>PT60S</tt:SessionTimeout></tt:VideoEncoderConfiguration></trt:Profiles></trt:GetProfilesResponse>"#.to_owned())
}

fn is_known_profile(asked: &Asked) -> bool {
    ["p&1", "p2"].contains(&asked.field("ProfileToken"))
}

fn no_profile() -> Reply {
    fault(400, "Sender", "ter:NoProfile", "no such profile")
}

fn stream_uri(live: &Live, asked: &Asked) -> Reply {
    if !is_known_profile(asked) {
        return no_profile();
    }
    let (address, path) = &live.device.rtsp;
    let scheme = match asked.field("Protocol") {
        "RTSP" => "rtsp",
        "RtspsUnicast" => "rtsps",
        _ => return fault(400, "Sender", "ter:InvalidStreamSetup", "no such protocol"),
    };
    let host = match live.device.quirk {
        OnvifQuirk::PrivateAddress => format!("admin:secret@{PRIVATE}:{}", address.port()),
        _ => address.to_string(),
    };
    let uri = format!("{scheme}://{host}/{path}?profile=1&amp;unicast=true");
    ok(if asked.namespace.contains("ver20") {
        format!("<tr2:GetStreamUriResponse><tr2:Uri>{uri}</tr2:Uri></tr2:GetStreamUriResponse>")
    } else if asked.field("Stream") == "RTP-Unicast" {
        format!(
            "<trt:GetStreamUriResponse><trt:MediaUri><tt:Uri>{uri}</tt:Uri><tt:InvalidAfterConnect>false</tt:InvalidAfterConnect><tt:InvalidAfterReboot>false</tt:InvalidAfterReboot><tt:Timeout>PT60S</tt:Timeout></trt:MediaUri></trt:GetStreamUriResponse>"
        )
    } else {
        return fault(400, "Sender", "ter:InvalidStreamSetup", "no such stream");
    })
}

fn snapshot_uri(live: &Live, asked: &Asked, base: &str) -> Reply {
    if !is_known_profile(asked) {
        return no_profile();
    }
    let uri =
        if live.device.quirk == OnvifQuirk::NoAddress { "none".to_owned() } else { format!("{base}/onvif/snapshot") };
    ok(if asked.namespace.contains("ver20") {
        format!("<tr2:GetSnapshotUriResponse><tr2:Uri>{uri}</tr2:Uri></tr2:GetSnapshotUriResponse>")
    } else {
        format!(
            "<trt:GetSnapshotUriResponse><trt:MediaUri><tt:Uri>{uri}</tt:Uri><tt:InvalidAfterConnect>false</tt:InvalidAfterConnect><tt:InvalidAfterReboot>false</tt:InvalidAfterReboot><tt:Timeout>PT60S</tt:Timeout></trt:MediaUri></trt:GetSnapshotUriResponse>"
        )
    })
}
