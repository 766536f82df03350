//! Worker tests.
