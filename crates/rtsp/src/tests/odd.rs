//! What cameras do beside the standards while a session is opened and kept, over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;

use super::camera::*;
use super::peer::{PCMA, SPS, h264, interleaved, rtp, sample};
use super::*;
use footage::clock::SystemClock;
use footage::media::GapCause;
use footage::source::Item;

fn source(camera: &Camera, adapt: impl FnOnce(&mut RtspConfig)) -> RtspSource {
    let mut config = config(camera.url.as_str());
    adapt(&mut config);
    RtspSource::new(config, Arc::new(SystemClock::default()), SessionGroup::default())
}

/// The next item that is no count of what was odd.
async fn next(session: &mut Session) -> Option<Result<Item, SourceError>> {
    loop {
        match session.items.next().await {
            Some(Ok(Item::Oddities(_))) => {}
            other => return other,
        }
    }
}

/// Opens a session and takes its first picture, which is the one that [`regular`] sends.
async fn first_picture(source: &RtspSource) -> Session {
    let mut session = source.open().await.expect("an open session");
    match next(&mut session).await {
        // Parameter sets that come with it may stay before it.
        Some(Ok(Item::AccessUnit(unit))) => assert!(unit.data.ends_with(&sample(IDR)), "{:02x?}", unit.data),
        other => panic!("{other:?} in the place of a picture"),
    }
    session
}

/// A camera whose answers are rewritten is recorded all the same.
async fn check_rewritten(what: &str, rewrite: impl Fn(&Asked, String) -> Vec<u8> + Send + Sync + 'static) {
    let camera = Camera::start(move |asked| match asked.method.as_str() {
        "PLAY" => {
            let answer = String::from_utf8(asked.head("200 OK").into_bytes()).expect("text") + "Session: 1\r\n\r\n";
            [rewrite(asked, answer), rtp(1, 0, true, IDR)].concat().into()
        }
        _ => rewrite(asked, String::from_utf8(regular(asked).bytes).expect("text")).into(),
    })
    .await;
    let opened = source(&camera, |_| ()).open().await;
    let mut session = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    let first = next(&mut session).await;
    assert!(matches!(first, Some(Ok(Item::AccessUnit(_)))), "{what}: {first:?}");
    assert_eq!(camera.methods(), ["DESCRIBE", "SETUP", "PLAY"], "{what}");
}

#[tokio::test]
async fn a_session_takes_one_connection_from_its_description_on() {
    for media in [h264(), h264() + PCMA] {
        let camera = Camera::start(move |asked| regular_with(asked, &format!("v=0\r\n{media}"))).await;
        let session = first_picture(&source(&camera, |c| c.audio = true)).await;
        assert_eq!((camera.connections(), camera.methods()[0].as_str()), (1, "DESCRIBE"));
        drop(session);
        camera.until(|asked| asked.iter().any(|a| a.method == "TEARDOWN")).await;
        assert_eq!(camera.connections(), 1);
    }
}

#[tokio::test]
async fn answers_are_understood_however_they_are_written() {
    check_rewritten("CSeq is always 1", |asked, answer| {
        answer.replace(&format!("CSeq: {}", asked.header("cseq")), "CSeq: 1").into()
    })
    .await;
    check_rewritten("no CSeq", |asked, answer| {
        answer.replace(&format!("CSeq: {}\r\n", asked.header("cseq")), "").into()
    })
    .await;
    check_rewritten("a space after CSeq", |asked, answer| {
        let cseq = format!("CSeq: {}", asked.header("cseq"));
        answer.replace(&cseq, &format!("{cseq} ")).into()
    })
    .await;
    check_rewritten("names in lower case, no space", |_, answer| {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let (first, headers) = head.split_once("\r\n").expect("headers");
        format!("{first}\r\n{}\r\n\r\n{body}", headers.to_lowercase().replace(": ", ":")).into()
    })
    .await;
    check_rewritten("bare line feeds", |_, answer| {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        format!("{}\n\n{body}", head.replace("\r\n", "\n")).into()
    })
    .await;
    check_rewritten("folded headers", |_, answer| answer.replace(";unicast", ";\r\n unicast").into()).await;
    check_rewritten("a length that is too low", |_, answer| {
        let length = sdp().len();
        let low = answer.replace(&format!("Length: {length}"), &format!("Length: {}", length - 2));
        format!("{low}\r\n").into()
    })
    .await;
    check_rewritten("no length", |_, answer| answer.replace("Content-Length", "X").into()).await;
    check_rewritten("Latin-1", |_, answer| answer.replace("s=x", "s=\u{e9}\u{fc}").chars().map(|c| c as u8).collect())
        .await;
    check_rewritten("a session without its header", |_, answer| answer.replace("Session: ", "X: ").into()).await;
    check_rewritten("100 Continue before", |_, answer| format!("RTSP/1.0 100 Continue\r\n\r\n{answer}").into()).await;
    check_rewritten("stray bytes before", |_, answer| [b"\0\0\xff!\r\n", answer.as_bytes()].concat()).await;
    check_rewritten("packets of another session before", |_, answer| {
        [interleaved(0, &[0x80; 40]), answer.into_bytes()].concat()
    })
    .await;
}

#[tokio::test]
async fn the_transport_may_be_answered_in_any_way() {
    for answered in ["", "Transport: RTP/AVP/TCP;unicast\r\n", "Transport: RTP/AVP/TCP;interleaved=2-3\r\n"] {
        let camera = Camera::start(move |asked| match asked.method.as_str() {
            "SETUP" => format!("{}Session: 1\r\n{answered}\r\n", asked.head("200 OK")).into(),
            _ => regular(asked),
        })
        .await;
        let session = first_picture(&source(&camera, |_| ())).await;
        let noted = session.odd.iter().any(|odd| odd.contains("channels"));
        assert_eq!(noted, !answered.contains("interleaved"), "{answered:?}: {:?}", session.odd);
    }
}

#[tokio::test]
async fn a_stream_is_asked_for_until_the_camera_knows_its_name() {
    // It gives the address that it has behind its router, and does not know that itself.
    let camera = Camera::start(|asked| {
        let described = "Content-Base: rtsp://192.0.2.1/x/\r\nContent-Length:";
        match asked.method.as_str() {
            "SETUP" | "PLAY" if asked.url.contains("192.0.2.1") => format!("{}\r\n", asked.head("404 No")).into(),
            "DESCRIBE" => {
                let answer = String::from_utf8(regular(asked).bytes).expect("text");
                answer.replace("Content-Length:", described).into()
            }
            _ => regular(asked),
        }
    })
    .await;
    let source = source(&camera, |_| ());
    let session = first_picture(&source).await;
    assert!(session.odd.iter().any(|odd| odd.contains("address")), "{:?}", session.odd);
    drop(session);
    drop(first_picture(&source).await);
    let setups: Vec<_> = camera.asked().into_iter().filter(|a| a.method == "SETUP").map(|a| a.url).collect();
    let own = format!("{}/pictures", camera.url);
    assert_eq!(setups, ["rtsp://192.0.2.1/x/pictures", &own, &own], "the next session begins with what worked");
}

#[tokio::test]
async fn redirects_are_followed_to_the_camera_itself_alone() {
    let moved =
        |asked: &Asked, to: &str| -> Reaction { format!("{}Location: {to}\r\n\r\n", asked.head("302 Moved")).into() };
    let camera = Camera::start(move |asked| match asked.method.as_str() {
        "DESCRIBE" if !asked.url.contains("/real") => moved(asked, &format!("{}/real1", asked.url)),
        "DESCRIBE" if asked.url.ends_with("/real1") => moved(asked, "/real2"),
        // A stream is at yet another place.
        "SETUP" if asked.url.contains("/real2/") => moved(asked, &asked.url.replace("/real2/", "/real3/")),
        _ => regular(asked),
    })
    .await;
    let session = first_picture(&source(&camera, |_| ())).await;
    assert!(session.odd.iter().any(|odd| odd.contains("redirected")), "{:?}", session.odd);
    let play = camera.asked().into_iter().find(|asked| asked.method == "PLAY").expect("it was played");
    assert!(play.url.contains("/real3"), "{play:?}");

    let other = Camera::start(regular).await;
    let elsewhere = other.url.as_str().replace("127.0.0.1", "127.0.0.2");
    for (to, words) in [(elsewhere, "127.0.0.2"), ("file:///etc/passwd".to_owned(), "file://")] {
        let camera = Camera::start(move |asked| moved(asked, &to)).await;
        let error = source(&camera, |_| ()).open().await.err().expect("no session");
        assert_says(&error, GapCause::ProtocolError, &["redirects", words]);
        assert_eq!(camera.methods(), ["DESCRIBE"]);
    }
    assert_eq!(other.connections(), 0);

    let camera = Camera::start(move |asked| moved(asked, "/again")).await;
    let error = source(&camera, |_| ()).open().await.err().expect("no session");
    assert_says(&error, GapCause::ProtocolError, &["circles"]);
    assert_eq!(camera.methods().len(), 6, "the first and five redirects");
}

#[tokio::test]
async fn packets_that_come_before_the_answer_to_play_are_recorded() {
    for answers in [true, false] {
        let camera = Camera::start(move |asked| match asked.method.as_str() {
            "PLAY" => {
                let answer = if answers { format!("{}\r\n", asked.head("200 OK")) } else { String::new() };
                [rtp(1, 0, true, IDR), answer.into_bytes(), rtp(2, 3_600, true, &[0x41, 0x9a])].concat().into()
            }
            _ => regular(asked),
        })
        .await;
        let mut session = first_picture(&source(&camera, |_| ())).await;
        assert!(matches!(next(&mut session).await, Some(Ok(Item::AccessUnit(_)))), "answers: {answers}");
    }
}

#[tokio::test]
async fn timestamps_of_any_clock_rate_are_put_on_that_of_recording() {
    let camera = Camera::start(|asked| match asked.method.as_str() {
        "PLAY" => [regular(asked).bytes, rtp(2, 40, true, &[0x41, 0x9a])].concat().into(),
        _ => regular_with(asked, &sdp().replace("H264/90000", "H264/1000")),
    })
    .await;
    let mut session = first_picture(&source(&camera, |_| ())).await;
    let Some(Ok(Item::AccessUnit(unit))) = next(&mut session).await else { panic!("a second picture") };
    assert_eq!(unit.timestamp, 3_600);
    assert!(session.odd.iter().any(|odd| odd.contains("90 kHz")));
}

#[tokio::test]
async fn descriptions_with_sets_of_no_use_wait_for_those_of_the_pictures() {
    let useless = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, [0x67, 0xff]);
    let media = format!("{}a=fmtp:96 sprop-parameter-sets={useless},aMuMsg==\r\n", super::peer::bare_h264());
    let camera = Camera::start(move |asked| match asked.method.as_str() {
        "PLAY" => {
            let sets = [rtp(1, 0, false, SPS), rtp(2, 0, false, super::peer::PPS), rtp(3, 0, true, IDR)].concat();
            [format!("{}\r\n", asked.head("200 OK")).into_bytes(), sets].concat().into()
        }
        _ => regular_with(asked, &format!("v=0\r\n{media}")),
    })
    .await;
    let session = first_picture(&source(&camera, |_| ())).await;
    assert_eq!(session.params.video.width, 320);
}

#[tokio::test]
async fn requests_of_the_camera_are_answered() {
    let camera = Camera::start(|asked| match asked.method.as_str() {
        "PLAY" => {
            let asks = b"OPTIONS * RTSP/1.0\r\nCSeq: 77\r\n\r\nSET_PARAMETER * RTSP/1.0\r\nCSeq: 78\r\nContent-Length: 3\r\n\r\n$$$";
            let answer = format!("{}\r\n", asked.head("200 OK")).into_bytes();
            [answer, asks.to_vec(), rtp(1, 0, true, IDR)].concat().into()
        }
        _ => regular(asked),
    })
    .await;
    let mut session = first_picture(&source(&camera, |c| c.silence_max = Duration::from_secs(1))).await;
    // The camera would have taken what is no answer for a request.
    assert!(next(&mut session).await.is_some_and(|end| end.is_err_and(|e| e.cause == GapCause::Silent)));
    assert_eq!(camera.methods(), ["DESCRIBE", "SETUP", "PLAY"]);
}

// ---- authentication

/// A camera that asks for digest authentication and takes each nonce for so many requests.
async fn asking(uses: usize, stale: bool, close: bool) -> Camera {
    let (nonce, used) = (AtomicUsize::new(1), AtomicUsize::new(0));
    Camera::start(move |asked| {
        let given = asked.header("authorization");
        let current = format!("nonce=\"n{}\"", nonce.load(Ordering::SeqCst));
        if given.contains(&current) && used.fetch_add(1, Ordering::SeqCst) < uses {
            return regular(asked);
        }
        used.store(0, Ordering::SeqCst);
        let next = nonce.fetch_add(1, Ordering::SeqCst) + 1;
        let stale = if stale && !given.is_empty() { ", stale=TRUE" } else { "" };
        let challenge = format!("WWW-Authenticate: Digest realm=\"cam\", nonce=\"n{next}\"{stale}\r\n");
        let refusal = Reaction::from(format!("{}{challenge}\r\n", asked.head("401 Unauthorized")));
        if close { refusal.then_close() } else { refusal }
    })
    .await
}

#[tokio::test]
async fn nonces_may_age_at_any_request() {
    for stale in [true, false] {
        for uses in [1, 2] {
            let camera = asking(uses, stale, false).await;
            drop(first_picture(&source(&camera, |_| ())).await);
        }
    }
    let camera = asking(usize::MAX, false, true).await;
    drop(first_picture(&source(&camera, |_| ())).await);
    assert_eq!(camera.connections(), 2, "it closed the one on which it asked");
}

#[tokio::test]
async fn the_next_session_begins_with_the_challenge_of_the_last() {
    let camera = asking(usize::MAX, false, false).await;
    let source = source(&camera, |_| ());
    for _ in 0..3 {
        drop(first_picture(&source).await);
    }
    let without = camera.asked().iter().filter(|asked| asked.header("authorization").is_empty()).count();
    assert_eq!(without, 1, "cameras count requests without credentials towards a lock");
}

#[tokio::test]
async fn wrong_credentials_are_tried_once_an_attempt() {
    for stale in [true, false] {
        let camera = asking(0, stale, false).await;
        let error = source(&camera, |_| ()).open().await.err().expect("no session");
        assert_says(&error, GapCause::Unauthorized, &["operateur", "check username and password"]);
        let tried = camera.asked().iter().filter(|asked| !asked.header("authorization").is_empty()).count();
        // A camera that calls every nonce stale is believed a few times.
        assert_eq!(tried, if stale { 3 } else { 1 });
    }
}

#[tokio::test]
async fn credentials_are_hidden_where_a_digest_is_offered_beside_basic() {
    let offers = "WWW-Authenticate: Basic realm=\"r\"\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\", \
                  algorithm=SHA-256, qop=\"auth\"\r\n";
    let camera = Camera::start(move |asked| match asked.header("authorization") {
        given if given.starts_with("Digest ") && given.contains("SHA-256") => regular(asked),
        _ => format!("{}{offers}\r\n", asked.head("401 Unauthorized")).into(),
    })
    .await;
    drop(first_picture(&source(&camera, |_| ())).await);
    assert!(camera.asked().iter().all(|asked| !asked.header("authorization").starts_with("Basic")));
}

// ---- keeping a session

/// A session of a camera that forgets it after so many seconds, and does this with keep-alives.
async fn kept(react: impl Fn(&Asked) -> Option<Reaction> + Send + Sync + 'static) -> (Camera, RtspSource) {
    let camera = Camera::start(move |asked| match asked.method.as_str() {
        "SETUP" => {
            let transport = asked.header("transport");
            format!("{}Session: 1; Timeout = 1\r\nTransport: {transport}\r\n\r\n", asked.head("200 OK")).into()
        }
        "OPTIONS" | "GET_PARAMETER" => react(asked).unwrap_or_else(|| regular(asked)),
        _ => regular(asked),
    })
    .await;
    let source = source(&camera, |_| ());
    (camera, source)
}

/// Keep-alives so far.
fn pings(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|a| a.method.as_str()).filter(|m| matches!(*m, "OPTIONS" | "GET_PARAMETER")).collect()
}

/// The session goes on until so many keep-alives were sent.
async fn goes_on(camera: &Camera, session: &mut Session, number: usize) {
    tokio::select! {
        () = camera.until(|asked| pings(asked).len() >= number) => {}
        item = next(session) => panic!("{item:?} after {:?}", camera.methods()),
    }
}

#[tokio::test]
async fn no_answer_to_a_keep_alive_ends_a_session() {
    let answers: [fn(&Asked) -> Reaction; 5] = [
        |_| Reaction::nothing(),
        |asked| format!("{}\r\n", asked.head("400 Bad Request")).into(),
        |asked| format!("{}\r\n", asked.head("454 Session Not Found")).into(),
        |_| "RTSP/1.0 200 OK\r\nCSeq: 0\r\n\r\n".into(),
        |_| "RTSP/1.0 what\r\n\r\n\0\0\0".into(),
    ];
    for answer in answers {
        let (camera, source) = kept(move |asked| Some(answer(asked))).await;
        let mut session = first_picture(&source).await;
        goes_on(&camera, &mut session, 3).await;
    }
}

#[tokio::test]
async fn a_keep_alive_that_is_refused_gives_way_to_the_other() {
    let (camera, source) = kept(|asked| {
        (asked.method == "GET_PARAMETER").then(|| format!("{}\r\n", asked.head("501 Not Implemented")).into())
    })
    .await;
    let mut session = first_picture(&source).await;
    goes_on(&camera, &mut session, 3).await;
    assert_eq!(pings(&camera.asked())[..3], ["OPTIONS", "GET_PARAMETER", "OPTIONS"]);
}

#[tokio::test]
async fn a_keep_alive_at_which_the_camera_hangs_up_is_not_sent_again() {
    for bad in ["OPTIONS", "GET_PARAMETER"] {
        let (camera, source) = kept(move |asked| (asked.method == bad).then(|| Reaction::nothing().then_close())).await;
        let mut session = first_picture(&source).await;
        let end = next(&mut session).await;
        assert!(end.is_some_and(|end| end.is_err_and(|e| e.cause == GapCause::Disconnected)));
        drop(session);
        let before = pings(&camera.asked()).len();
        let mut session = first_picture(&source).await;
        goes_on(&camera, &mut session, before + 3).await;
        assert!(pings(&camera.asked())[before..].iter().all(|ping| *ping != bad), "{bad}");
    }
}

#[tokio::test]
async fn a_keep_alive_with_an_old_nonce_is_sent_again_at_once_with_the_new_one() {
    let refused = Arc::new(AtomicBool::new(false));
    let once = refused.clone();
    let (camera, source) = kept(move |asked| {
        let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"new\", stale=true";
        let first = !once.swap(true, Ordering::SeqCst);
        first.then(|| format!("{}{challenge}\r\n\r\n", asked.head("401 Unauthorized")).into())
    })
    .await;
    let mut session = first_picture(&source).await;
    goes_on(&camera, &mut session, 2).await;
    let asked = camera.asked();
    let second = asked.iter().filter(|a| a.method == "OPTIONS").nth(1).expect("the same request again");
    assert!(second.header("authorization").contains("nonce=\"new\""), "{second:?}");
}

// ---- hostile cameras

/// No session comes of this answer to DESCRIBE, soon.
async fn check_hostile(bytes: Vec<u8>, cause: GapCause, words: &[&str]) {
    let camera = Camera::start(move |_| bytes.clone().into()).await;
    let source = source(&camera, |c| c.setup_timeout = Duration::from_secs(2));
    let error = source.open().await.err().expect("no session");
    assert_says(&error, cause, words);
    assert_eq!(camera.methods(), ["DESCRIBE"]);
}

#[tokio::test]
async fn answers_beyond_their_bounds_end_the_attempt_at_once() {
    let cause = GapCause::ProtocolError;
    let head = |text: &str| format!("RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\n{text}").into_bytes();
    let many = |line: &[u8]| line.repeat(8_000_000 / line.len());
    check_hostile([head("X: "), many(b"a")].concat(), cause, &["65536 bytes of headers"]).await;
    check_hostile([head(""), many(b"X-1: aaaaaaaaaaaaaaaa\r\n")].concat(), cause, &["65536 bytes of headers"]).await;
    let described = |length: &str| [head(&format!("Content-Length: {length}\r\n\r\n")), many(b"a=x:yyyy\r\n")].concat();
    for length in ["1073741824", "18446744073709551615"] {
        check_hostile(described(length), cause, &["262144 bytes"]).await;
    }
    let html = "RTSP/1.0 500 \u{1b}[2J<script>\u{1b}[31m2026-01-01 ERROR forged\r\n\r\n";
    check_hostile(html.into(), cause, &["500 to DESCRIBE"]).await;
}

#[tokio::test]
async fn answers_that_never_end_take_the_time_of_an_attempt_and_no_more() {
    let slow = |bytes: &[u8]| {
        let bytes = bytes.to_vec();
        Camera::start(move |_| bytes.clone().into())
    };
    let announced = b"RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\nContent-Length: 99\r\n\r\nv=0\r\n";
    let packets = interleaved(0, &[0x80; 12]).repeat(10_000);
    for bytes in [&b""[..], b"RTSP/1.0 200 OK\r\n", announced, b"HTTP/1.1 200 OK\r\n\r\n", b"\0\0\0", &packets] {
        let camera = slow(bytes).await;
        let source = source(&camera, |c| c.setup_timeout = Duration::from_millis(200));
        let error = source.open().await.err().expect("no session");
        assert_says(&error, GapCause::SetupTimeout, &["did not answer DESCRIBE"]);
    }
}

#[tokio::test]
async fn a_camera_that_floods_leaves_others_their_turn() {
    let camera = Camera::start(|asked| match asked.method.as_str() {
        // 40 MB of packets of a stream that was not set up: nothing comes of them.
        "PLAY" => [regular(asked).bytes, interleaved(9, &[0x80; 4_000]).repeat(10_000)].concat().into(),
        _ => regular(asked),
    })
    .await;
    let mut session = source(&camera, |_| ()).open().await.expect("an open session");
    let mut turns = 0;
    // Each time that it gives way, another task of this thread has its turn.
    while turns < 20 {
        match std::future::poll_fn(|cx| std::task::Poll::Ready(session.items.poll_next_unpin(cx))).await {
            std::task::Poll::Pending => {
                turns += 1;
                tokio::task::yield_now().await;
            }
            std::task::Poll::Ready(item) => assert!(item.is_some_and(|item| item.is_ok()), "after {turns} turns"),
        }
    }
}

// ---- UDP

#[tokio::test]
async fn datagrams_are_taken_from_a_camera_that_does_not_say_its_ports() {
    for said in ["", ";server_port=0-0", ";source=127.0.0.1"] {
        let to = Arc::new(AtomicUsize::new(0));
        let client = to.clone();
        let camera = Camera::start(move |asked| match asked.method.as_str() {
            "SETUP" => {
                let transport = asked.header("transport");
                let ports = transport.split("client_port=").nth(1).expect("ports");
                client.store(ports.split('-').next().and_then(|p| p.parse().ok()).expect("a port"), Ordering::SeqCst);
                format!("{}Session: 1\r\nTransport: {transport}{said}\r\n\r\n", asked.head("200 OK")).into()
            }
            "PLAY" => format!("{}\r\n", asked.head("200 OK")).into(),
            _ => regular(asked),
        })
        .await;
        let source = source(&camera, |c| c.transport = Transport::Udp);
        let mut session = source.open().await.expect("an open session");
        let port = u16::try_from(to.load(Ordering::SeqCst)).expect("a port");
        let stranger = tokio::net::UdpSocket::bind("127.0.0.2:0").await.expect("a socket");
        let own = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let packet = |nal: &[u8]| rtp(1, 0, true, nal)[4..].to_vec();
        stranger.send_to(&packet(&[0x65, 0x88, 9]), ("127.0.0.1", port)).await.expect("sent");
        own.send_to(&packet(IDR), ("127.0.0.1", port)).await.expect("sent");
        let Some(Ok(Item::AccessUnit(unit))) = next(&mut session).await else { panic!("a picture") };
        assert_eq!(unit.data, sample(IDR), "{said:?}");
    }
}
