//! Whole-machine tests and the fixtures they share.
