//! What an export is asked to be.

use crate::hold::one_line;
use footage::units::{CameraId, HoldId, TICKS_PER_DAY, TenantId, Ticks90k, TimeRange, WallTime};

/// Cameras of one export.
const CAMERAS_MAX: usize = 64;
/// Days that one export covers.
const RANGE_DAYS_MAX: i64 = 31;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose footage.
    pub tenant: TenantId,
    /// Of which cameras.
    pub cameras: Vec<CameraId>,
    /// Of which time.
    pub range: TimeRange,
    /// What this hold keeps of its camera.
    pub hold: Option<HoldId>,
    /// The requisition's reference.
    pub reference: String,
    /// Why.
    pub reason: String,
    /// Who receives it.
    pub recipient: String,
}

/// The request, trimmed; or what to ask instead.
pub(super) fn checked(request: Request, now: WallTime) -> Result<Request, String> {
    let reference = one_line("the reference", &request.reference)?;
    let reason = one_line("the reason", &request.reason)?;
    let recipient = one_line("the recipient", &request.recipient)?;
    if reason.is_empty() || recipient.is_empty() {
        return Err("an export says why (reason) and who receives it (recipient)".to_owned());
    }
    let mut cameras = request.cameras.clone();
    cameras.sort();
    cameras.dedup();
    if cameras.is_empty() || cameras.len() != request.cameras.len() || cameras.len() > CAMERAS_MAX {
        return Err(format!("an export is of 1 to {CAMERAS_MAX} cameras, each named once"));
    }
    if request.range.duration() > Ticks90k(RANGE_DAYS_MAX * TICKS_PER_DAY) {
        return Err(format!("one export covers at most {RANGE_DAYS_MAX} days"));
    }
    if request.range.end() > now {
        return Err(format!("an export is of what is recorded: its end is {now} at the latest"));
    }
    Ok(Request { cameras, reference, reason, recipient, ..request })
}
