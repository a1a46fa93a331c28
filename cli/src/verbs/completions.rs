//! `comanda completions`: what a shell needs to complete verbs and options.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Exit, Failure};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda completions bash > /etc/bash_completion.d/comanda
  comanda completions zsh > \"${fpath[1]}/_comanda\"
  comanda completions fish > ~/.config/fish/completions/comanda.fish

Exit codes: 0 printed; 1 stdout cannot be written to; 2 usage.")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "comanda", &mut script);
    match std::io::stdout().write_all(&script) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(Exit::Done),
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_verbs() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "comanda", &mut script);
            let script = String::from_utf8(script).unwrap();
            for verb in ["doctor", "shards", "events"] {
                assert!(script.contains(verb), "{shell} does not know {verb}");
            }
        }
    }
}
