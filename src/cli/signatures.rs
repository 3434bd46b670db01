//! `vigie signatures`: whether recorded footage is as its camera signed it, beside a gateway that may be running.

use std::fmt::Write as _;

use footage::failure::Kind;
use footage::signing::{Report, Verdict};
use jiff::tz::TimeZone;
use vigie::gateway;
use vigie::retrieve::{Footage, RetrieveError, signatures};

use super::{Failure, FootageArg, range, show};

pub(super) async fn run(args: FootageArg) -> Result<(), Failure> {
    let config = args.config.load()?.config;
    let asked = range(&config, &args.start, &args.end)?;
    let anchors = gateway::signing_anchors(&config).map_err(Failure::failed)?;
    let opened = gateway::open(&config, true).await.map_err(Failure::failed)?;
    let footage = Footage::new(opened.index, opened.packs, opened.clock).trusting(anchors);
    let report = signatures::verdict(&footage, &args.camera, asked).await.map_err(|e| match e {
        RetrieveError::Invalid(what) => Failure::Usage(what),
        e => Failure::failed(e),
    })?;
    show::print(&said(&config.time_zone, &report))?;
    match report.verdict {
        Verdict::NotAuthentic => Err(Failure::Of(Kind::Corrupt, "the footage is not authentic".to_owned())),
        Verdict::Authentic | Verdict::AuthenticWithMissing | Verdict::NotSigned => Ok(()),
    }
}

fn said(zone: &TimeZone, report: &Report) -> String {
    let mut text = format!("verdict      {}\n", report.verdict);
    let word = |value: Option<serde_json::Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    // Writing to a String cannot fail.
    for stretch in &report.stretches {
        let times = format!("{} to {}", show::time(zone, stretch.start), show::time(zone, stretch.last));
        let counts = (stretch.authentic, stretch.missing, stretch.altered);
        let _ = writeln!(
            text,
            "  {times}: {}; {} NAL units as signed, {} missing, {} altered",
            stretch.verdict, counts.0, counts.1, counts.2
        );
        let reason = word(stretch.reason.and_then(|reason| serde_json::to_value(reason).ok()));
        let remark = word(stretch.remark.and_then(|remark| serde_json::to_value(remark).ok()));
        for why in [reason, remark].into_iter().flatten() {
            let _ = writeln!(text, "    {why}");
        }
        if let Some((start, last)) = stretch.signed_start.zip(stretch.signed_last) {
            let _ =
                writeln!(text, "    by the camera's clock {} to {}", show::time(zone, start), show::time(zone, last));
        }
    }
    for used in &report.certificates {
        let trust = word(used.trust.and_then(|trust| serde_json::to_value(trust).ok())).unwrap_or_default();
        let _ =
            writeln!(text, "certificate  {} ({trust})\n  SHA-256 of its key {}", used.subject, used.public_key_sha256);
    }
    if report.unverified_at_start + report.unverified_at_end > 0 {
        let _ = writeln!(
            text,
            "not verified {} NAL units at the start, {} at the end: ask for some seconds more",
            report.unverified_at_start, report.unverified_at_end
        );
    }
    text
}
