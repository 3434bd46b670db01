//! What a simulated camera sent against what was recorded of it.

use std::collections::{HashMap, HashSet};

use footage::units::CameraKey;
use testkit::camera::Sent;

/// What must have been recorded: of each session, all that was sent whole from the first random access point on, less
/// the end that the cut caught on its way.
pub(crate) fn check_handed_back(camera: &CameraKey, sent: &[Sent], recorded: &[blake3::Hash], in_flight_max: usize) {
    let place: HashMap<blake3::Hash, usize> = recorded.iter().enumerate().map(|(i, hash)| (*hash, i)).collect();
    assert_eq!(place.len(), recorded.len(), "{camera}: an access unit was handed back twice");
    let place_of = |unit: &Sent| place.get(&unit.hash).or_else(|| place.get(&unit.after_sets)).copied();
    let known: HashSet<_> = sent.iter().flat_map(|unit| [unit.hash, unit.after_sets, unit.arrived]).collect();
    // Of a unit that lost a packet, the rest may be kept: it is handed back as it came, and its loss is a gap.
    let (broken, other) =
        (sent.iter().filter(|unit| !unit.whole).count(), recorded.iter().filter(|hash| !known.contains(hash)).count());
    assert!(other <= broken, "{camera}: {other} units were handed back that were not sent");
    let mut sessions: Vec<u64> = sent.iter().map(|unit| unit.session).collect();
    sessions.dedup();
    let mut last = None;
    for session in sessions {
        let units: Vec<&Sent> = sent.iter().filter(|unit| unit.session == session).collect();
        let decodable = units.iter().position(|unit| unit.random_access && unit.whole).unwrap_or(units.len());
        let whole: Vec<&&Sent> = units[decodable..].iter().filter(|unit| unit.whole).collect();
        let missing: Vec<usize> =
            whole.iter().enumerate().filter(|(_, unit)| place_of(unit).is_none()).map(|(i, _)| i).collect();
        let tail = whole.len().saturating_sub(in_flight_max);
        assert!(
            missing.iter().all(|&i| i >= tail),
            "{camera}: session {session} lost units {missing:?} of {} that were sent whole",
            whole.len()
        );
        for at in whole.iter().filter_map(|unit| place_of(unit)) {
            let at = Some(at);
            assert!(at > last, "{camera}: session {session} was handed back out of order");
            last = at;
        }
    }
}
