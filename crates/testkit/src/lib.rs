//! What the demonstration, the tests and the benchmark simulate: an RTSP camera, a fleet of them, and a source that
//! replays access units without a network.

pub mod camera;
pub mod replay;
pub mod signing;
