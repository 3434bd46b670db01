//! The one writer of the index.
