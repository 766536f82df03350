//! Writing a policy: what `cloister run --print-policy` shows.

use std::fmt::Write;

/// What is known of a guest before it runs, to make a policy of.
#[derive(Debug, Clone, Default)]
pub struct Sketch {
    /// Predicted launch digests.
    pub measurements: Vec<[u8; 48]>,
    /// HOST_DATA, when it is fixed; a launch id makes it different every time, so mostly it is not.
    pub host_data: Option<[u8; 32]>,
    /// Whether the simulator's evidence is accepted.
    pub allow_sim: bool,
    /// Secrets: name and file.
    pub secrets: Vec<(String, String)>,
}

impl Sketch {
    /// The policy's text. It parses as a [`super::Policy`] if there is a measurement.
    pub fn render(&self) -> String {
        let mut text = String::from("# Cloister policy: which guest gets the secrets\nversion = 1\n");
        if self.allow_sim {
            text.push_str("# Accepts simulated evidence, which proves nothing. Never for a real secret.\n");
        }
        // Writing to a String does not fail.
        let _ = writeln!(text, "allow-sim = {}\n\n[snp]\n# launch digests that are accepted", self.allow_sim);
        let digests: Vec<_> =
            self.measurements.iter().map(|m| format!("    \"{}\",\n", hex::encode(m))).collect();
        let _ = writeln!(text, "measurements = [\n{}]", digests.concat());
        match &self.host_data {
            Some(data) => {
                let _ = writeln!(text, "host-data = \"{}\"", hex::encode(data));
            }
            None => text.push_str("# host-data is checked by the broker: it is different for every launch\n"),
        }
        text.push_str(
            "vmpl = 0\nallow-debug = false\nallow-migration-agent = false\n\
             # products = [\"genoa\", \"turin\"]\n\
             # min-tcb = { bootloader = 10, tee = 0, snp = 24, microcode = 84 }\n\
             # require-alias-check = true\n\
             # chip-ids = [\"<128 hex digits>\"]\n",
        );
        for (name, file) in &self.secrets {
            let file = toml::Value::String(file.clone());
            let _ = write!(text, "\n[secrets.{}]\nfile = {file}\n", quoted(name));
        }
        text
    }
}

/// A TOML key: bare where it can be.
fn quoted(name: &str) -> String {
    let bare = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare && !name.is_empty() { name.to_owned() } else { toml::Value::String(name.to_owned()).to_string() }
}
