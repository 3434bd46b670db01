//! One device: who asks, its clock, what it is, where its services are.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use footage::clock::{Clock, Reading};
use http_auth::{PasswordClient, PasswordParams};
use parking_lot::Mutex;
use rtsp::{TlsTrust, strongest_challenge};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use crate::address;
use crate::error::{Error, presentable};
use crate::http::{Answer, BODY_BYTES_MAX, HttpError, Post, endpoint, request_target};
use crate::soap::{self, Fault, Message};
use crate::time::{ClockOffset, system_date_and_time};
use crate::xml::Element;

const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";
const MEDIA: &str = "http://www.onvif.org/ver10/media/wsdl";
const MEDIA2: &str = "http://www.onvif.org/ver20/media/wsdl";
const EVENTS: &str = "http://www.onvif.org/ver10/events/wsdl";
const SEARCH: &str = "http://www.onvif.org/ver10/search/wsdl";
const REPLAY: &str = "http://www.onvif.org/ver10/replay/wsdl";

/// Challenges of digest authentication that are answered for one request: some devices take each nonce once.
const CHALLENGES_MAX: u32 = 3;

/// How to reach one device.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// Whose it is, for the log.
    pub label: String,
    /// `http://host[:port]/onvif/device_service` or `https://…`; credentials in it are ignored.
    pub url: Url,
    /// Which certificates of the device are accepted, for `https`.
    pub tls: TlsTrust,
    /// Its user.
    pub username: Option<String>,
    /// The user's password: it is never sent, only digests of it.
    pub password: Option<SecretString>,
    /// For one operation, all its requests together.
    pub timeout: Duration,
}

/// What a device is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Information {
    /// Who made it.
    pub manufacturer: String,
    /// Which model.
    pub model: String,
    /// The version of its firmware.
    pub firmware: String,
    /// Its serial number.
    pub serial: String,
}

/// Where a device's services are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Services {
    pub(crate) media2: Option<Url>,
    pub(crate) media: Option<Url>,
    pub(crate) events: Option<Url>,
    pub(crate) search: Option<Url>,
    pub(crate) replay: Option<Url>,
}

/// How a device wants to know who asks.
#[derive(Debug, Default)]
enum Login {
    /// It has not asked yet.
    #[default]
    Unasked,
    /// By HTTP digest (RFC 7616).
    Digest(PasswordClient),
    /// By a user name token in the envelope.
    Token,
}

#[derive(Debug, Default)]
struct Known {
    login: Login,
    clock: Option<ClockOffset>,
    services: Option<Arc<Services>>,
}

/// An operation.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// Its name, for errors.
    pub(crate) request: &'static str,
    pub(crate) url: &'a Url,
    pub(crate) action: String,
    /// Blocks of the header.
    pub(crate) header: String,
    pub(crate) body: String,
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The first element of the body.
    pub(crate) body: Element,
    /// Whom it came from.
    pub(crate) peer: IpAddr,
    /// When the request that was answered began, and when its answer was whole.
    pub(crate) span: [Reading; 2],
}

/// What was tried for one call.
#[derive(Debug, Default)]
struct Tried {
    challenges: u32,
    token: bool,
}

/// A device reached over ONVIF.
#[derive(Debug)]
pub struct Device {
    config: DeviceConfig,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

impl Device {
    /// A device that has not been asked yet.
    pub fn new(mut config: DeviceConfig, clock: Arc<dyn Clock>) -> Self {
        // Fails only for a URL without a host, which has no credentials either; the first call then says what is wrong.
        let _ = config.url.set_username("").and_then(|()| config.url.set_password(None));
        Self { config, clock, known: Mutex::default() }
    }

    /// How far its clock is from this machine's (GetSystemDateAndTime).
    pub async fn clock_offset(&self) -> Result<ClockOffset, Error> {
        let call = self.clock_call();
        let answered = self.answered(&call).await?;
        self.takes_clock(&answered)
    }

    /// What it is (GetDeviceInformation).
    pub async fn information(&self) -> Result<Information, Error> {
        let answered = self.ask("GetDeviceInformation", DEVICE, &self.config.url, "").await?;
        let text = |name| self.said(answered.body.text_at(&[name]).unwrap_or_default());
        Ok(Information {
            manufacturer: text("Manufacturer"),
            model: text("Model"),
            firmware: text("FirmwareVersion"),
            serial: text("SerialNumber"),
        })
    }

    /// Where its services are, asked once.
    pub(crate) async fn services(&self) -> Result<Arc<Services>, Error> {
        if let Some(services) = self.known.lock().services.clone() {
            return Ok(services);
        }
        let body = "<d:IncludeCapability>false</d:IncludeCapability>";
        let services = match self.ask("GetServices", DEVICE, &self.config.url, body).await {
            Ok(answered) => self.services_of(&answered),
            // As devices of before 2012 have it.
            Err(error) if error.is_unsupported() || matches!(error, Error::Unusable { .. }) => {
                let body = "<d:Category>All</d:Category>";
                let answered = self.ask("GetCapabilities", DEVICE, &self.config.url, body).await?;
                self.services_of_capabilities(&answered)
            }
            Err(error) => return Err(error),
        };
        let services = Arc::new(services);
        self.known.lock().services = Some(services.clone());
        Ok(services)
    }

    fn services_of(&self, answered: &Answered) -> Services {
        let at = |namespace: &str| {
            let mut services = answered.body.all("Service");
            let service = services.find(|service| service.text_at(&["Namespace"]) == Some(namespace))?;
            self.service_url(service.text_at(&["XAddr"])?, answered.peer)
        };
        Services { media2: at(MEDIA2), media: at(MEDIA), events: at(EVENTS), search: at(SEARCH), replay: at(REPLAY) }
    }

    fn services_of_capabilities(&self, answered: &Answered) -> Services {
        let at = |path: &[&str]| {
            let address = answered.body.at(&["Capabilities"])?.at(path)?.text_at(&["XAddr"])?;
            self.service_url(address, answered.peer)
        };
        Services {
            media2: None,
            media: at(&["Media"]),
            events: at(&["Events"]),
            search: at(&["Extension", "Search"]),
            replay: at(&["Extension", "Replay"]),
        }
    }

    /// Where a device's own words lead, at its configured host.
    pub(crate) fn service_url(&self, named: &str, peer: IpAddr) -> Option<Url> {
        address::service(&self.config.url, named, peer)
    }

    pub(crate) fn config(&self) -> &DeviceConfig {
        &self.config
    }

    pub(crate) fn now(&self) -> Reading {
        self.clock.read()
    }

    /// A text of the device, presentable and without the password.
    pub(crate) fn said(&self, text: &str) -> String {
        presentable(text, self.config.password.as_ref().map(|p| p.expose_secret()))
    }

    /// Asks for an operation of a service whose requests are named like it; `d` is the service's prefix in `body`.
    pub(crate) async fn ask(
        &self,
        request: &'static str,
        service: &str,
        url: &Url,
        body: &str,
    ) -> Result<Answered, Error> {
        self.answered(&Call {
            request,
            url,
            action: format!("{service}/{request}"),
            header: String::new(),
            body: format!(
                r#"<d:{request} xmlns:d="{service}" xmlns:t="http://www.onvif.org/ver10/schema">{body}</d:{request}>"#
            ),
            time: self.config.timeout,
        })
        .await
    }

    /// Does what a call says, in its time, and answers what the device asks of us meanwhile.
    pub(crate) async fn answered(&self, call: &Call<'_>) -> Result<Answered, Error> {
        let attempts = timeout(call.time, self.attempts(call)).await;
        attempts.unwrap_or_else(|_| {
            let seconds = call.time.as_secs_f32();
            Err(Error::NoAnswer { endpoint: endpoint(call.url), request: call.request, seconds })
        })
    }

    async fn attempts(&self, call: &Call<'_>) -> Result<Answered, Error> {
        let mut tried = Tried::default();
        loop {
            let token = self.token().await;
            let (answer, span) = self.exchange(call, token.as_deref()).await?;
            let read = soap::read(&answer.body);
            let fault = match &read {
                Ok(Message::Fault(fault)) => Some(fault),
                _ => None,
            };
            if answer.status == 401 || fault.is_some_and(Fault::is_of_login) {
                self.takes_refusal(call, &answer, fault, &mut tried)?;
                continue;
            }
            return match (read, answer.status) {
                (Ok(Message::Body(body)), 200..300) => Ok(Answered { body, peer: answer.peer, span }),
                (Ok(Message::Fault(fault)), _) => Err(Error::Fault {
                    request: call.request,
                    code: self.said(&fault.code),
                    reason: self.said(&fault.reason),
                }),
                (_, 300..400) => Err(self.moved(call, &answer)),
                (Err(error), 200..300) => Err(self.unusable(call, &error.to_string())),
                (_, status) => Err(Error::Status { endpoint: endpoint(call.url), request: call.request, status }),
            };
        }
    }

    /// An answer that lacks what the operation has to say.
    pub(crate) fn unusable(&self, call: &Call<'_>, why: &str) -> Error {
        Error::Unusable { endpoint: endpoint(call.url), request: call.request, why: self.said(why) }
    }

    fn moved(&self, call: &Call<'_>, answer: &Answer) -> Error {
        // Of the place no more than its host: what follows may hold anything.
        let place = answer.location.as_deref().and_then(|to| call.url.join(to).ok());
        let location = place.map_or("nowhere".to_owned(), |to| format!("{}://{}", to.scheme(), endpoint(&to)));
        Error::Moved { endpoint: endpoint(call.url), request: call.request, location: self.said(&location) }
    }

    /// One request and its answer.
    async fn exchange(&self, call: &Call<'_>, token: Option<&str>) -> Result<(Answer, [Reading; 2]), Error> {
        let header = format!("{}{}", token.unwrap_or_default(), call.header);
        let body = soap::envelope(&header, &call.body);
        let authorization = self.authorization(call.url, &body);
        let began = self.clock.read();
        let post = Post {
            url: call.url,
            trust: &self.config.tls,
            label: &self.config.label,
            content_type: &format!("application/soap+xml; charset=utf-8; action=\"{}\"", call.action),
            authorization: authorization.as_deref(),
            body,
        };
        let answer = post.send().await.map_err(|error| self.failed(call, error))?;
        Ok((answer, [began, self.clock.read()]))
    }

    fn failed(&self, call: &Call<'_>, error: HttpError) -> Error {
        let (endpoint, request) = (endpoint(call.url), call.request);
        match error {
            HttpError::Connect(error) => Error::Connect { endpoint, reason: error.to_string() },
            HttpError::Tls(source) => Error::Tls { endpoint, source },
            HttpError::TooLarge => Error::TooLarge { endpoint, request, bytes_max: BODY_BYTES_MAX },
            HttpError::Ended(reason) => Error::Ended { endpoint, request, reason: self.said(&reason) },
        }
    }

    /// What proves who asks in a header of HTTP, where the device has asked for that.
    fn authorization(&self, url: &Url, body: &str) -> Option<String> {
        let (username, password) = self.user()?;
        let Login::Digest(client) = &mut self.known.lock().login else { return None };
        let params = PasswordParams {
            username,
            password: password.expose_secret(),
            uri: &request_target(url),
            method: "POST",
            body: Some(body.as_bytes()),
        };
        client.respond(&params).ok()
    }

    fn user(&self) -> Option<(&str, &SecretString)> {
        self.config.username.as_deref().zip(self.config.password.as_ref())
    }

    /// What proves who asks in the envelope, where the device has asked for that: made at the device's own time, which
    /// it says to anybody.
    async fn token(&self) -> Option<String> {
        let (username, password) = self.user()?;
        if !matches!(self.known.lock().login, Login::Token) {
            return None;
        }
        let known = self.known.lock().clock;
        let clock = match known {
            Some(clock) => Some(clock),
            None => self.anonymous_clock().await,
        };
        let created = clock.map_or(self.clock.wall(), |clock| self.clock.wall().saturating_add(clock.offset));
        Some(soap::username_token(username, password.expose_secret(), created))
    }

    /// The device's clock, where it says so to anybody.
    async fn anonymous_clock(&self) -> Option<ClockOffset> {
        let call = self.clock_call();
        let (answer, span) = self.exchange(&call, None).await.ok()?;
        let Ok(Message::Body(body)) = soap::read(&answer.body) else { return None };
        self.takes_clock(&Answered { body, peer: answer.peer, span }).ok()
    }

    fn clock_call(&self) -> Call<'_> {
        let request = "GetSystemDateAndTime";
        Call {
            request,
            url: &self.config.url,
            action: format!("{DEVICE}/{request}"),
            header: String::new(),
            body: format!(r#"<d:{request} xmlns:d="{DEVICE}"/>"#),
            time: self.config.timeout,
        }
    }

    fn takes_clock(&self, answered: &Answered) -> Result<ClockOffset, Error> {
        let Some((device, by_ntp)) = system_date_and_time(&answered.body) else {
            return Err(self.unusable(&self.clock_call(), "it names no UTC time"));
        };
        let [began, ended] = answered.span;
        let offset = ClockOffset::new(device, ended.wall, ended.mono.saturating_sub(began.mono), by_ntp);
        self.known.lock().clock = Some(offset);
        Ok(offset)
    }

    /// The device wants to know who asks, or did not believe it: what the next attempt does, or why there is none.
    /// A wrong password is tried as seldom as can be, because devices lock accounts.
    fn takes_refusal(
        &self,
        call: &Call<'_>,
        answer: &Answer,
        fault: Option<&Fault>,
        tried: &mut Tried,
    ) -> Result<(), Error> {
        let Some((user, _)) = self.user() else { return Err(Error::NoUser { request: call.request }) };
        let mut known = self.known.lock();
        let challenge = strongest_challenge(answer.challenges.iter().map(String::as_str));
        if let Some(PasswordClient::Digest(digest)) = challenge {
            if tried.challenges == 0 || (digest.stale() && tried.challenges < CHALLENGES_MAX) {
                tried.challenges += 1;
                known.login = Login::Digest(PasswordClient::Digest(digest));
                return Ok(());
            }
        } else if !tried.token {
            tried.token = true;
            // It may have been set since.
            known.clock = None;
            known.login = Login::Token;
            return Ok(());
        }
        let said = fault.map(|fault| format!(" ({}: {})", self.said(&fault.code), self.said(&fault.reason)));
        Err(Error::Denied { user: user.to_owned(), request: call.request, said: said.unwrap_or_default() })
    }
}
