//! A source that plays access units from memory, on the test's clock.
