//! The index anew.
