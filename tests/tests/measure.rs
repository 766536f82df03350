//! Predicted measurements against vectors and tools from outside this project. No KVM needed.

mod measure {
    mod images;
    mod mrtd;
    mod oracle;
    mod published;
    mod rtmr;
    mod synthetic;
    mod vectors;
}
