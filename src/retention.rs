//! Retention: a pure plan, then a sweep in the safe order.
