//! Whole-machine tests: run by `cargo xtask test`, in the rig where the host has no hardware virtualisation.

mod machine {
    mod attest;
    mod boot;
    mod end;
    mod firmware;
    mod planned;
    mod protected;
    mod protected_conversion;
    mod protected_sides;
    mod trace;
}
