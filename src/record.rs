//! One camera: source → fragments → packs, with reconnects and gaps.
