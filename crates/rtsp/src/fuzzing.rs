//! What must hold of any bytes that a camera may send: one function for each fuzz target of `fuzz/`, which panics where
//! it does not hold, and says how much was found to be checked: messages, pictures, units.
//!
//! Compiled for the targets and for the tests, which replay the seeds of the targets; no part of the client.

use super::codec;
use super::description::{Description, Media};
use super::direct;

/// RTSP messages and interleaved packets: each step takes something; what is waited for is bounded; the same bytes in
/// other reads are the same messages; an answer that is written again is read as the same.
pub fn messages(data: &[u8]) -> usize {
    direct::fuzzing::messages(data)
}

/// Interleaved RTP and RTCP of a session, to access units: NAL units that fill their access unit exactly, never more
/// bytes than came, sample descriptions that are whole boxes.
pub fn packets(data: &[u8]) -> usize {
    direct::fuzzing::packets(data)
}

/// NAL units packed into RTP, of which some packets are lost, swapped or doubled, and put together again: each comes out
/// as it was sent or not at all, in its order, and all of them where nothing is lost.
pub fn units(data: &[u8]) -> usize {
    direct::fuzzing::units(data)
}

/// Parameter sets of both codings: a set that comes again is no change, and the sample description names the sets that
/// make the same one again.
pub fn parameter_sets(data: &[u8]) -> usize {
    codec::fuzzing::parameter_sets(data)
}

/// Session descriptions: what is read of them is bounded, does not depend on how lines end, and is read again from a
/// description that says only that.
pub fn description(data: &[u8]) -> usize {
    let description = Description::parse(data);
    assert!(description.media.len() <= 64);
    for media in &description.media {
        assert!(media.clock_rate > 0 && media.payload_type < 128);
        let sets = media.parameter_sets();
        assert!(sets.len() <= 64 && sets.iter().all(|set| !set.is_empty()));
        assert!(sets.iter().map(|set| set.len()).sum::<usize>() <= data.len());
        if let Some(codec) = media.codec() {
            codec::fuzzing::described(codec, &sets);
        }
    }
    let mut returns = Vec::with_capacity(data.len());
    data.iter().for_each(|byte| match byte {
        b'\n' => returns.extend_from_slice(b"\r\n"),
        other => returns.push(*other),
    });
    assert_eq!(Description::parse(&returns), description);

    // What trims a line does not trim its end again: a NUL, or a kind without a name, is not written again.
    if !data.contains(&0) && description.media.iter().all(|media| !media.kind.is_empty()) {
        let again = Description::parse(written(&description).as_bytes());
        assert_eq!((&again.control, &again.media), (&description.control, &description.media));
    }
    description.media.len()
}

fn written(description: &Description) -> String {
    let control = |control: &Option<String>| control.as_ref().map_or(String::new(), |c| format!("a=control:{c}\r\n"));
    let media = |media: &Media| {
        let Media { kind, payload_type, encoding, clock_rate, channels, format, .. } = media;
        let channels = channels.map_or(String::new(), |channels| format!("/{channels}"));
        let format = format.as_ref().map_or(String::new(), |format| format!("a=fmtp:{payload_type} {format}\r\n"));
        format!(
            "m={kind} 0 RTP/AVP {payload_type}\r\na=rtpmap:{payload_type} {encoding}/{clock_rate}{channels}\r\n{format}{}",
            control(&media.control)
        )
    };
    let streams: String = description.media.iter().map(media).collect();
    format!("v=0\r\n{}{streams}", control(&description.control))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every seed of a target. One in which nothing is found would test nothing.
    fn replay(target: &str, judge: fn(&[u8]) -> usize) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
        let mut seeds = 0;
        for entry in std::fs::read_dir(&folder).expect("seeds of the target") {
            let seed = entry.expect("an entry").path();
            let found = judge(&std::fs::read(&seed).expect("a seed"));
            assert!(found > 0, "nothing was found in {}", seed.display());
            seeds += 1;
        }
        assert!(seeds > 0, "no seed in {}", folder.display());
    }

    #[test]
    fn seeds_of_messages_hold() {
        replay("messages", super::messages);
    }

    #[test]
    fn seeds_of_packets_hold() {
        replay("packets", super::packets);
    }

    #[test]
    fn seeds_of_units_hold() {
        replay("units", super::units);
    }

    #[test]
    fn seeds_of_parameter_sets_hold() {
        replay("parameter_sets", super::parameter_sets);
    }

    #[test]
    fn seeds_of_descriptions_hold() {
        replay("description", super::description);
    }
}
