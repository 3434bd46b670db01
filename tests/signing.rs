//! A real gateway records a camera that signs its stream: verdicts on ranges, and an export that verifies by itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its case up fails there")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use footage::media::VideoCodec;
use footage::signing::{Anchors, Report, Trust, Verdict, Verifier, certificate_sei};
use footage::units::{CameraKey, Ticks90k, TimeRange, WallTime};
use futures::TryStreamExt;
use mp4_atom::{Decode, Moov, StszSamples};
use testkit::camera::{self, Server};
use testkit::signing::{Identity, Signing};
use vigie::demo;
use vigie::gateway::Gateway;
use vigie::retrieve::mp4::Clip;
use vigie::retrieve::signatures;

/// How long a condition may take to come true before the test gives up.
const PATIENCE: Duration = Duration::from_secs(40);

fn key(id: &str) -> CameraKey {
    format!("demo/{id}").parse().expect("a plain word is a name")
}

fn everything() -> TimeRange {
    TimeRange::new(WallTime(i64::MIN), WallTime(i64::MAX)).expect("not empty")
}

/// The access units of a clip without sound, as its sample table has them.
fn access_units(clip: &[u8]) -> Vec<&[u8]> {
    let at = |kind: &[u8]| clip.windows(4).position(|bytes| bytes == kind).expect("a box of this kind") - 4;
    let moov = Moov::decode(&mut &clip[at(b"moov")..]).unwrap();
    let stbl = &moov.trak[0].mdia.minf.stbl;
    let sizes: Vec<u32> = match &stbl.stsz.samples {
        StszSamples::Different { sizes } => sizes.clone(),
        StszSamples::Identical { count, size } => vec![*size; *count as usize],
    };
    let chunks = &stbl.stco.as_ref().unwrap().entries;
    let (mut units, mut chunk, mut left, mut place) = (Vec::new(), 0, 0, 0);
    for size in sizes {
        if left == 0 {
            let number = chunk as u32 + 1;
            left = stbl.stsc.entries.iter().rfind(|e| e.first_chunk <= number).unwrap().samples_per_chunk;
            place = chunks[chunk] as usize;
            chunk += 1;
        }
        units.push(&clip[place..place + size as usize]);
        (place, left) = (place + size as usize, left - 1);
    }
    units
}

fn verify(units: &[&[u8]], at: WallTime) -> Report {
    let mut verifier = Verifier::new(VideoCodec::H264, Anchors::default());
    units.iter().for_each(|unit| verifier.push(unit, at));
    verifier.finish()
}

async fn exported(gateway: &Gateway, id: &str, range: TimeRange) -> (Arc<Clip>, Vec<u8>) {
    let clip = Clip::new(gateway.footage(), &key(id), range).await.unwrap();
    let body: Vec<_> = clip.body(0..clip.len()).try_collect().await.unwrap();
    assert_eq!(body.iter().map(|bytes| bytes.len() as u64).sum::<u64>(), clip.len());
    (clip, body.concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_stream_has_its_verdict_and_an_export_from_its_middle_verifies_by_itself() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&pair).unwrap();
    let identity = Identity::new(&pair.serialize_der(), &certificate.pem()).unwrap();
    let mut signed = camera::demo_camera().unwrap();
    (signed.path, signed.signing) = ("signed".to_owned(), Some(Signing::of(identity)));
    let mut plain = camera::demo_camera().unwrap();
    plain.path = "plain".to_owned();
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), vec![signed, plain]).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cameras = ["signed", "plain"].map(|id| demo::camera(id.parse().unwrap(), id, server.url(id)));
    let mut config = demo::config((Ipv4Addr::LOCALHOST, 0).into(), dir.path(), cameras.to_vec()).unwrap();
    config.recording.tick = Duration::from_millis(20);
    config.recording.durability = Duration::from_millis(200);
    let anchor = dir.path().join("signing-ca.pem");
    std::fs::write(&anchor, certificate.pem()).unwrap();
    config.signing_ca_file = Some(anchor);
    let gateway = Gateway::start(&config).await.unwrap();

    let index = &gateway.footage().index;
    let waits = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        for id in ["signed", "plain"] {
            while index.spans(&key(id), everything()).await.unwrap().iter().all(|s| s.duration().0 < 11 * 90_000) {
                tick.tick().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("eleven seconds are recorded");
    let of = async |id: &str| index.spans(&key(id), everything()).await.unwrap()[0];

    let all = of("signed").await;
    let report = signatures::verdict(gateway.footage(), &key("signed"), all).await.unwrap();
    assert_eq!(report.verdict, Verdict::Authentic, "{report:#?}");
    assert_eq!(report.certificates[0].trust, Some(Trust::Anchored));
    assert!(report.stretches[0].authentic >= 80, "four GOPs of twenty pictures: {report:#?}");

    // From the third GOP on: the camera sent its certificate with the first.
    let middle = TimeRange::new(all.start().saturating_add(Ticks90k(5 * 90_000)), all.end()).unwrap();
    let report = signatures::verdict(gateway.footage(), &key("signed"), middle).await.unwrap();
    assert_eq!(report.verdict, Verdict::Authentic, "{report:#?}");
    let (clip, bytes) = exported(&gateway, "signed", middle).await;
    let units = access_units(&bytes);
    assert!(certificate_sei(VideoCodec::H264, units[0]).is_some(), "an export begins with the certificate");
    assert!(units[1..].iter().all(|unit| certificate_sei(VideoCodec::H264, unit).is_none()));
    let report = verify(&units, clip.covers().start());
    assert_eq!(report.verdict, Verdict::Authentic, "{report:#?}");

    // One bit of a picture, and one picture less.
    let mut altered = units.iter().map(|unit| unit.to_vec()).collect::<Vec<_>>();
    let last = altered[25].len() - 9;
    altered[25][last] ^= 4;
    let altered: Vec<&[u8]> = altered.iter().map(|unit| &unit[..]).collect();
    assert_eq!(verify(&altered, clip.covers().start()).verdict, Verdict::NotAuthentic);
    let less = [&units[..25], &units[26..]].concat();
    assert_eq!(verify(&less, clip.covers().start()).verdict, Verdict::AuthenticWithMissing);

    let toml = dir.path().join("vigie.toml");
    let text = format!(
        "[data]\ndir = {:?}\n[signing]\nca_file = {:?}\n[[tenant]]\nid = \"demo\"\n[[tenant.camera]]\nid = \"signed\"\nplace \
         = \"signed\"\nurl = \"rtsp://127.0.0.1/signed\"\n",
        dir.path(),
        dir.path().join("signing-ca.pem")
    );
    std::fs::write(&toml, text).unwrap();
    let whole = of("signed").await;
    let times = [whole.start().to_string(), whole.end().to_string()];
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vigie"));
    command
        .args(["signatures", "--camera", "demo/signed", "--start", &times[0], "--end", &times[1], "--config"])
        .arg(&toml);
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && printed.starts_with("verdict      authentic\n"), "{printed}");
    assert!(printed.contains("(anchored)") && printed.contains(" 0 missing, 0 altered"), "{printed}");

    let all = of("plain").await;
    let report = signatures::verdict(gateway.footage(), &key("plain"), all).await.unwrap();
    assert_eq!(report.verdict, Verdict::NotSigned, "{report:#?}");
    let (_, bytes) = exported(&gateway, "plain", all).await;
    assert!(access_units(&bytes).iter().all(|unit| certificate_sei(VideoCodec::H264, unit).is_none()));
    gateway.stop().await;
}
