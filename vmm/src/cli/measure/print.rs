//! Results, as a line or as JSON.

use std::io::Write;
use std::path::Path;

use cloister_firmware::explain::KernelInputs;
use cloister_firmware::linux::Blob;
use cloister_firmware::measure::Stage;
use serde_json::{Value, json};

/// A line on standard output. A reader that has seen enough is no failure.
pub(super) fn line(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// JSON on standard output.
pub(super) fn json(value: &Value) {
    line(format_args!("{value:#}"));
}

/// A file by its path, size and SHA-256.
pub(super) fn file(path: &Path, size: u64, sha256: &[u8; 32]) -> Value {
    json!({ "path": path.to_string_lossy(), "size": size, "sha256": hex::encode(sha256) })
}

/// What the firmware is handed.
pub(super) fn kernel(inputs: &KernelInputs, kernel: &Path, initrd: Option<&Path>) -> Value {
    let blob = |path: &Path, blob: &Blob| file(path, blob.len, &blob.sha256);
    let initrd = initrd.zip(inputs.initrd.as_ref()).map(|(path, initrd)| blob(path, initrd));
    json!({
        "kernel": blob(kernel, &inputs.kernel),
        "initrd": initrd,
        "cmdline": inputs.cmdline,
        "hashes": {
            "kernel": hex::encode(inputs.hashes().kernel),
            "initrd": hex::encode(inputs.hashes().initrd),
            "cmdline": hex::encode(inputs.hashes().cmdline),
        },
    })
}

/// Stages in launch order.
pub(super) fn stages(stages: &[Stage]) -> Value {
    let stage = |s: &Stage| {
        json!({
            "what": s.label,
            "gpa": format!("{:#x}", s.gpa),
            "pages": s.pages,
            "digest": s.digest_after.to_string(),
        })
    };
    stages.iter().map(stage).collect()
}
