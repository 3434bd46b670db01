//! What a device can send: its profiles, and where their streams and pictures are (ONVIF Media2 Service Specification, and
//! Media Service Specification for devices that have no other).

use url::Url;

use crate::address;
use crate::device::{Answered, Device};
use crate::error::Error;
use crate::http::endpoint;
use crate::xml::{Element, escaped};

const MEDIA: &str = "http://www.onvif.org/ver10/media/wsdl";
const MEDIA2: &str = "http://www.onvif.org/ver20/media/wsdl";

/// Profiles that are kept of one device: a recorder has a few for each of its channels.
const PROFILES_MAX: usize = 256;
/// Longest token, in bytes (`tt:ReferenceToken`).
const TOKEN_BYTES_MAX: usize = 64;

/// Which service a profile is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaService {
    /// The one of today (`ver20`).
    Media2,
    /// The one before (`ver10`).
    Media,
}

/// How a stream travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamTransport {
    /// RTSP over TCP, RTP inside it.
    Tcp,
    /// RTSP inside TLS, which Media2 alone offers.
    Tls,
}

/// What a device can send at one time: a picture of one size in one coding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// By which it is asked for.
    pub token: String,
    /// For people.
    pub name: String,
    /// `H264`, `H265`, `JPEG`, …; none where no video is configured.
    pub encoding: Option<String>,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Pictures a second, at most.
    pub frame_rate: Option<f32>,
    /// Kilobits a second, at most.
    pub bit_rate_kbps: Option<u32>,
    /// Pictures from one random access point to the next.
    pub gov_length: Option<u32>,
}

/// Profiles, and the service that named them.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiles {
    /// Which service.
    pub service: MediaService,
    /// In the order of the device.
    pub profiles: Vec<Profile>,
}

/// Where a stream or a picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaUri {
    /// At the host that the device is configured with, without credentials.
    pub url: Url,
    /// The host that the device named instead, as those behind an address translation do.
    pub named_host: Option<String>,
}

impl Device {
    /// Its profiles, of Media2 where it has that.
    pub async fn profiles(&self) -> Result<Profiles, Error> {
        let services = self.services().await?;
        if let Some(url) = &services.media2 {
            match self.ask("GetProfiles", MEDIA2, url, "<d:Type>VideoEncoder</d:Type>").await {
                Ok(answered) => {
                    let profiles = self.profiles_of(&answered, profile_of_media2);
                    return Ok(Profiles { service: MediaService::Media2, profiles });
                }
                Err(error) if error.is_unsupported() && services.media.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        let url = services.media.as_ref().ok_or(Error::NoService { service: "media" })?;
        let answered = self.ask("GetProfiles", MEDIA, url, "").await?;
        Ok(Profiles { service: MediaService::Media, profiles: self.profiles_of(&answered, profile_of_media) })
    }

    fn profiles_of(&self, answered: &Answered, of: fn(&Element) -> Profile) -> Vec<Profile> {
        let named = answered.body.all("Profiles").filter_map(|element| {
            let token = element.attribute("token").filter(|token| token.len() <= TOKEN_BYTES_MAX)?;
            let mut profile = of(element);
            profile.token = token.to_owned();
            profile.name = self.said(element.text_at(&["Name"]).unwrap_or_default());
            profile.encoding = profile.encoding.map(|encoding| self.said(&encoding));
            Some(profile)
        });
        named.take(PROFILES_MAX).collect()
    }

    /// Where a profile's stream is (GetStreamUri).
    pub async fn stream_uri(
        &self,
        service: MediaService,
        token: &str,
        transport: StreamTransport,
    ) -> Result<MediaUri, Error> {
        let token = escaped(token);
        let body = match (service, transport) {
            (MediaService::Media2, StreamTransport::Tcp) => {
                format!("<d:Protocol>RTSP</d:Protocol><d:ProfileToken>{token}</d:ProfileToken>")
            }
            (MediaService::Media2, StreamTransport::Tls) => {
                format!("<d:Protocol>RtspsUnicast</d:Protocol><d:ProfileToken>{token}</d:ProfileToken>")
            }
            (MediaService::Media, StreamTransport::Tcp) => format!(
                "<d:StreamSetup><t:Stream>RTP-Unicast</t:Stream><t:Transport><t:Protocol>RTSP</t:Protocol></t:Transport></d:StreamSetup><d:ProfileToken>{token}</d:ProfileToken>"
            ),
            (MediaService::Media, StreamTransport::Tls) => {
                return Err(Error::NoService { service: "media2" });
            }
        };
        self.uri("GetStreamUri", service, &body, &["rtsp", "rtsps"]).await
    }

    /// Where a profile's pictures are (GetSnapshotUri).
    pub async fn snapshot_uri(&self, service: MediaService, token: &str) -> Result<MediaUri, Error> {
        let body = format!("<d:ProfileToken>{}</d:ProfileToken>", escaped(token));
        self.uri("GetSnapshotUri", service, &body, &["http", "https"]).await
    }

    async fn uri(
        &self,
        request: &'static str,
        service: MediaService,
        body: &str,
        schemes: &[&str],
    ) -> Result<MediaUri, Error> {
        let services = self.services().await?;
        let (url, namespace, path): (_, _, &[&str]) = match service {
            MediaService::Media2 => (&services.media2, MEDIA2, &["Uri"]),
            MediaService::Media => (&services.media, MEDIA, &["MediaUri", "Uri"]),
        };
        let url = url.as_ref().ok_or(Error::NoService { service: "media" })?;
        let answered = self.ask(request, namespace, url, body).await?;
        let named = answered.body.text_at(path).unwrap_or_default();
        let Some((url, named_host)) = address::media(&self.config().url, named, answered.peer, schemes) else {
            let why = "it names no address of the expected kind".to_owned();
            return Err(Error::Unusable { endpoint: endpoint(url), request, why });
        };
        Ok(MediaUri { url, named_host: named_host.map(|host| self.said(&host)) })
    }
}

fn profile_of_media2(element: &Element) -> Profile {
    profile(element.at(&["Configurations", "VideoEncoder"]), |encoder| {
        encoder.attribute("GovLength").and_then(|length| length.parse().ok())
    })
}

fn profile_of_media(element: &Element) -> Profile {
    profile(element.at(&["VideoEncoderConfiguration"]), |encoder| {
        let coding = encoder.text_at(&["Encoding"])?;
        encoder.number_at(&[coding, "GovLength"])
    })
}

/// What both services say alike; what is left out stays unknown.
fn profile(encoder: Option<&Element>, gov_length: impl Fn(&Element) -> Option<u32>) -> Profile {
    let Some(encoder) = encoder else { return Profile::default() };
    Profile {
        encoding: encoder.text_at(&["Encoding"]).map(str::to_owned),
        width: encoder.number_at(&["Resolution", "Width"]),
        height: encoder.number_at(&["Resolution", "Height"]),
        frame_rate: encoder.number_at(&["RateControl", "FrameRateLimit"]),
        bit_rate_kbps: encoder.number_at(&["RateControl", "BitrateLimit"]),
        gov_length: gov_length(encoder),
        ..Profile::default()
    }
}
