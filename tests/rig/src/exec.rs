//! Running other programs, with their last words in the error.

use crate::error::{Error, Result};
use std::{
    io::{ErrorKind, Write},
    process::{Command, Stdio},
};

/// Runs a program to its end and returns what it printed; `next` is the advice when it fails.
pub(crate) fn output(command: &mut Command, next: &str) -> Result<Vec<u8>> {
    filter(command, &[], next)
}

/// Like [`output`], with `input` on its standard input.
pub(crate) fn filter(command: &mut Command, input: &[u8], next: &str) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let what = format!("`{name}` failed");
    let failed = |why: String| Error::new(&what, why, next);
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    let mut child =
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| {
            match error.kind() {
                ErrorKind::NotFound => {
                    Error::new(&what, "it is not installed", "install the package that has it")
                }
                _ => failed(error.to_string()),
            }
        })?;
    let mut stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that stops reading early says why itself, through its status.
            stdin.take().map(|mut pipe| pipe.write_all(input))
        });
        child.wait_with_output()
    })
    .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(failed(format!("{}: {}", output.status, last_lines(&errors, 8))))
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
