//! A verdict, and the story of how it came about.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{Product, Rejection};

/// One check, as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// What the evidence says.
    pub found: String,
    /// What was wanted.
    pub wanted: String,
    /// Whether it was good enough.
    pub passed: bool,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.passed { "ok " } else { "BAD" };
        write!(f, "{mark} {}: {}", self.name, self.found)?;
        if self.wanted.is_empty() || (self.passed && self.found == self.wanted) {
            return Ok(());
        }
        write!(f, " (wanted: {})", self.wanted)
    }
}

/// What was decided about a report, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    checks: Vec<Check>,
    rejections: Vec<Rejection>,
    complete: bool,
    product: Option<Product>,
    measurement: Option<[u8; 48]>,
    report_hash: [u8; 32],
}

impl Verdict {
    pub(super) fn open(report: &[u8]) -> Self {
        Self {
            checks: Vec::new(),
            rejections: Vec::new(),
            complete: false,
            product: None,
            measurement: None,
            report_hash: Sha256::digest(report).into(),
        }
    }

    /// A refusal before any report could be looked at.
    pub(crate) fn refused(report: &[u8], name: &'static str, rejection: Rejection) -> Self {
        let mut verdict = Self::open(report);
        verdict.reject(name, rejection);
        verdict
    }

    pub(super) fn reject(&mut self, name: &'static str, rejection: Rejection) {
        self.checks.push(Check { name, found: rejection.to_string(), wanted: String::new(), passed: false });
        self.rejections.push(rejection);
    }

    pub(super) fn pass(&mut self, name: &'static str, found: impl Into<String>, wanted: impl Into<String>) {
        self.checks.push(Check { name, found: found.into(), wanted: wanted.into(), passed: true });
    }

    /// Notes a check that does not end the judging: the operator sees everything that differs.
    pub(super) fn judge(
        &mut self,
        name: &'static str,
        found: String,
        wanted: String,
        rejection: Option<Rejection>,
    ) {
        self.checks.push(Check { name, found, wanted, passed: rejection.is_none() });
        self.rejections.extend(rejection);
    }

    pub(super) fn set_product(&mut self, product: Product) {
        self.product = Some(product);
    }

    pub(super) fn set_measurement(&mut self, measurement: [u8; 48]) {
        self.measurement = Some(measurement);
    }

    /// Every check was made. Only then can the verdict be "accepted".
    pub(super) fn close(mut self) -> Self {
        self.complete = true;
        self
    }

    /// Whether everything was checked and nothing refused.
    pub fn accepted(&self) -> bool {
        self.complete && self.rejections.is_empty()
    }

    /// The first reason for a refusal.
    pub fn reason(&self) -> Option<&Rejection> {
        self.rejections.first()
    }

    /// Every reason for a refusal that was found.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Every check, in the order in which it was made.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether the evidence is the simulator's, which proves nothing.
    pub fn simulated(&self) -> bool {
        self.product == Some(Product::Simulated)
    }

    /// The product by the chain that verified.
    pub fn product(&self) -> Option<Product> {
        self.product
    }

    /// The launch digest, once the report's signature was good.
    pub fn measurement(&self) -> Option<[u8; 48]> {
        self.measurement
    }

    /// SHA-256 of the report, for the audit line.
    pub fn report_hash(&self) -> [u8; 32] {
        self.report_hash
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            writeln!(f, "{check}")?;
        }
        match (self.accepted(), self.simulated()) {
            (true, false) => f.write_str("accepted"),
            (true, true) => f.write_str("accepted, but SIMULATED: this says nothing about hardware"),
            (false, _) => f.write_str("refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_that_was_not_finished_accepts_nothing() {
        let mut verdict = Verdict::open(b"");
        verdict.pass("report", "good", "");
        assert!(!verdict.accepted() && verdict.reason().is_none());
        assert!(verdict.clone().close().accepted());
        verdict.reject("vmpl", Rejection::VmplMismatch { found: 1, wanted: 0 });
        assert!(!verdict.close().accepted());
    }
}
