//! What operators read when a camera fails.
