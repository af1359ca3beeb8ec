//! `reveille completions`: what a shell needs to complete our commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit, Failure};

/// Print the completion script of a shell.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell to complete in
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "reveille", &mut script);
    let text = String::from_utf8(script).map_err(|error| Failure::new(Exit::Failed, error))?;
    super::print(text.trim_end())?;
    Ok(Exit::Done)
}
