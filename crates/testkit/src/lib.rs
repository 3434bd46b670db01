//! What the demonstration, the tests and the benchmark simulate: an RTSP camera, a fleet of them, an ONVIF device, and a
//! source that replays access units without a network.

pub mod camera;
pub mod onvif;
pub mod replay;
pub mod signing;
