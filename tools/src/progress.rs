//! Progress bars for long work: on standard error, when that is a terminal, and nowhere else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};

/// A bar, or nothing.
pub struct Meter {
    bar: Option<ProgressBar>,
}

impl Meter {
    /// A bar that counts `unit`, to `total` where it is known. With the unit "bytes" it shows them as KiB, MiB, ….
    pub fn new(doing: &'static str, unit: &'static str, total: Option<u64>) -> Self {
        if !stderr().is_terminal() {
            return Meter { bar: None };
        }
        let counts = match (unit, total) {
            ("bytes", Some(_)) => {
                "[{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left".to_owned()
            }
            ("bytes", None) => "{spinner} {bytes}, {bytes_per_sec}, for {elapsed}".to_owned(),
            (_, Some(_)) => format!("[{{bar:30}}] {{human_pos}} of {{human_len}} {unit}, {{eta}} left"),
            (_, None) => format!("{{spinner}} {{human_pos}} {unit}, for {{elapsed}}"),
        };
        let style = ProgressStyle::with_template(&format!("{doing} {counts}"))
            .expect("the templates above are templates");
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.set_style(style);
        Meter { bar: Some(bar) }
    }

    /// No bar.
    pub fn none() -> Self {
        Meter { bar: None }
    }

    /// So much is done.
    pub fn set(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
