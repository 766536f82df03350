//! Whole-machine tests: run by `cargo xtask test`, in the rig where the host has no hardware virtualisation.
