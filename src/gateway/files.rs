//! File descriptors: as many as the system grants, set aside for recording first.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// For a camera: its sockets (three over UDP), its pack, and an upload of it.
const PER_CAMERA: u64 = 6;
/// For the index, the log, locks, threads, and uploads of packs.
const FOR_ITSELF: u64 = 256;
/// What HTTP needs at the least to be of use.
const FOR_HTTP_MIN: u64 = 64;

/// Raises the limit on open files as far as the process may. What it is then; `None` where there is no limit.
pub(super) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            info!(before = current, now = maximum, "raised the limit on open files");
            maximum
        }
        Err(error) => {
            warn!(%error, limit = current, "the limit on open files stays as it is: set LimitNOFILE in the unit");
            current
        }
    }
}

/// Files that HTTP may open beside so many cameras.
pub(super) fn left_for_http(limit: Option<u64>, cameras: u64) -> u64 {
    let Some(limit) = limit else { return u64::MAX };
    let recording = cameras.saturating_mul(PER_CAMERA).saturating_add(FOR_ITSELF);
    let left = limit.saturating_sub(recording);
    if left < FOR_HTTP_MIN {
        let wanted = recording.saturating_add(FOR_HTTP_MIN);
        warn!(
            limit,
            wanted, cameras, "too few open files are allowed for these cameras: set LimitNOFILE to the wanted number"
        );
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recording_comes_before_http() {
        assert_eq!(left_for_http(None, 1_000), u64::MAX);
        assert_eq!(left_for_http(Some(65_536), 400), 65_536 - 2_400 - 256);
        assert_eq!(left_for_http(Some(1_024), 400), 0);
        assert_eq!(left_for_http(Some(0), u64::MAX), 0);
    }

    #[test]
    fn the_limit_is_raised_to_what_the_system_grants() {
        let raised = raise_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((current, raised), (maximum, maximum));
    }
}
