//! Our view of KVM's interface, compared with the kernel's own: a C program over the newest headers that
//! Debian has says what every size, offset and number is there. No KVM needed.

mod abi {
    mod claim;
    mod exits;
    mod headers;
    mod numbers;
    mod sources;
    mod structs;
}
