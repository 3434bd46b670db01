//! What the demonstration, the tests and the benchmark simulate.

pub mod camera;
