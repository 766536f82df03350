//! Constants of the simulated PKI.
