//! Where two measurements part.

use std::fmt;

use super::stages::{Digest384, Measurement, Stage};

/// The first step at which two launches differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Index of the step, from 0.
    pub index: usize,
    /// The step that was expected, if there was one left.
    pub expected: Option<Stage>,
    /// The step that happened, if there was one left.
    pub launched: Option<Stage>,
}

impl Difference {
    /// What differs, for people: the label of the expected step, or of the one too many.
    pub fn label(&self) -> &str {
        self.expected.as_ref().or(self.launched.as_ref()).map_or("end of the launch", |s| &s.label)
    }

    /// The digest that was expected after this step.
    pub fn expected_digest(&self) -> Option<Digest384> {
        self.expected.as_ref().map(|s| s.digest_after)
    }

    /// The digest that the launch had after this step.
    pub fn launched_digest(&self) -> Option<Digest384> {
        self.launched.as_ref().map(|s| s.digest_after)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.expected, &self.launched) {
            (Some(e), Some(l)) if (&e.label, e.gpa, e.pages) == (&l.label, l.gpa, l.pages) => {
                writeln!(f, "first difference: {} at {:#x} ({} pages)", e.label, e.gpa, e.pages)?;
                writeln!(f, "  expected {}", e.digest_after)?;
                write!(f, "  launched {}", l.digest_after)
            }
            (e, l) => {
                writeln!(f, "first difference: step {}", self.index + 1)?;
                for (name, stage) in [("expected", e), ("launched", l)] {
                    match stage {
                        Some(s) => writeln!(
                            f,
                            "  {name} {} at {:#x} ({} pages), digest {}",
                            s.label, s.gpa, s.pages, s.digest_after
                        )?,
                        None => writeln!(f, "  {name} nothing more")?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// The first step at which `launched` is not what was `expected`, or `None` if they are the same.
pub fn explain_difference(expected: &Measurement, launched: &Measurement) -> Option<Difference> {
    let steps = expected.stages.len().max(launched.stages.len());
    (0..steps)
        .map(|index| Difference {
            index,
            expected: expected.stages.get(index).cloned(),
            launched: launched.stages.get(index).cloned(),
        })
        .find(|d| d.expected != d.launched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(stages: &[(&str, u8)]) -> Measurement {
        let stages: Vec<_> = stages
            .iter()
            .map(|&(label, d)| Stage {
                label: label.to_owned(),
                gpa: 0x1000,
                pages: 1,
                digest_after: Digest384([d; 48]),
            })
            .collect();
        Measurement { digest: stages.last().map_or(Digest384::ZERO, |s| s.digest_after), stages }
    }

    #[test]
    fn the_first_differing_step_is_named() {
        let expected = measurement(&[("gdt", 1), ("kernel", 2), ("vCPU 0 state", 3)]);
        assert_eq!(explain_difference(&expected, &expected), None);

        let tampered = measurement(&[("gdt", 1), ("kernel", 9), ("vCPU 0 state", 8)]);
        let d = explain_difference(&expected, &tampered).unwrap();
        assert_eq!((d.index, d.label()), (1, "kernel"));
        assert_eq!(d.expected_digest(), Some(Digest384([2; 48])));
        assert_eq!(d.launched_digest(), Some(Digest384([9; 48])));
        let text = d.to_string();
        assert!(text.contains("kernel at 0x1000") && text.contains(&"09".repeat(48)), "{text}");
    }

    #[test]
    fn a_step_too_many_or_too_few_is_a_difference() {
        let long = measurement(&[("gdt", 1), ("kernel", 2)]);
        let short = measurement(&[("gdt", 1)]);
        assert_eq!(explain_difference(&long, &short).unwrap().label(), "kernel");
        assert_eq!(explain_difference(&short, &long).unwrap().label(), "kernel");
        assert!(explain_difference(&long, &short).unwrap().to_string().contains("nothing more"));
    }
}
