//! Whether the streams are terminals, and what may be drawn on them.

use std::io::IsTerminal;

/// Whether stderr may carry progress bars and colour: a terminal, and nobody asked for plainness
/// (`NO_COLOR`, `TERM=dumb`).
pub(crate) fn stderr_is_rich() -> bool {
    std::io::stderr().is_terminal() && wants_style()
}

/// As [`stderr_is_rich`], of stdout.
pub(crate) fn stdout_is_rich() -> bool {
    std::io::stdout().is_terminal() && wants_style()
}

fn wants_style() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !no_color && !dumb
}
