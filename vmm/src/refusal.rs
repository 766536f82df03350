//! A mistake of the operator's, told in three lines: what, why, what to do.

use std::fmt;

/// Something that was asked for and cannot be. Found before anything is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    what: String,
    why: String,
    remedy: String,
}

impl Refusal {
    pub(crate) fn new(what: impl fmt::Display, why: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Refusal { what: what.to_string(), why: why.to_string(), remedy: remedy.to_string() }
    }

    /// Why it cannot be.
    pub(crate) fn why(&self) -> &str {
        &self.why
    }

    /// From a message that is three lines of this form already.
    pub(crate) fn from_lines(message: &str) -> Self {
        let mut lines = message.lines();
        let mut next = |label: &str| {
            let line = lines.next().unwrap_or_default().trim();
            line.strip_prefix(label).unwrap_or(line).trim().to_owned()
        };
        Refusal { what: next(""), why: next("why:"), remedy: next("do:") }
    }

    /// From a message that ends with a sentence saying what to do, as those of the lower rooms do.
    pub(crate) fn from_message(what: impl fmt::Display, message: &str, otherwise: &str) -> Self {
        match message.trim_end().rsplit_once(". ") {
            Some((why, remedy)) => Refusal::new(what, why, remedy),
            None => Refusal::new(what, message, otherwise),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  why: {}\n  do:  {}", self.what, self.why, self.remedy)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_lines() {
        let r = Refusal::from_message("cannot plan", "k is empty. Was it downloaded?", "");
        assert_eq!(r.to_string(), "cannot plan\n  why: k is empty\n  do:  Was it downloaded?");
    }
}
