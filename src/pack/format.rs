//! The boxes of a pack: encoding and decoding, no I/O.
