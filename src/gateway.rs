//! Composition root: starts everything in order, drains it in order.
