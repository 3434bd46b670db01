//! `vigie generate`: man pages and shell completions, from the definition of the command line itself.
//!
//! Hidden: only packages need it. Hidden commands have no page.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure};

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// The directory that receives `man/` and `completions/`; existing files are replaced
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Writes `man/vigie*.1` and `completions/{vigie.bash,_vigie,vigie.fish}`.
pub(super) fn run(args: &Generate) -> Result<(), Failure> {
    let (man, completions) = (args.dir.join("man"), args.dir.join("completions"));
    for dir in [&man, &completions] {
        fs::create_dir_all(dir).map_err(|e| Failure::Failed(format!("{}: {e}", dir.display())))?;
    }
    // The name of a page's command, as in `vigie keys show`, and its file's, `vigie-keys-show.1`, come from `build`.
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    write_pages(&root, &man).map_err(|e| Failure::Failed(format!("{}: {e}", man.display())))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut root, "vigie", &completions)
            .map_err(|e| Failure::Failed(format!("{}: {e}", completions.display())))?;
    }
    Ok(())
}

/// One page for a command, and one for each of its subcommands.
fn write_pages(command: &clap::Command, dir: &Path) -> std::io::Result<()> {
    let page = clap_mangen::Man::new(command.clone());
    page.render(&mut File::create(dir.join(page.get_filename()))?)?;
    let mut shown = command.get_subcommands().filter(|c| !c.is_hide_set());
    shown.try_for_each(|c| write_pages(c, dir))
}
