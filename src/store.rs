//! The object store behind its seam: where whole packs live.
