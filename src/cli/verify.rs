//! `vigie verify`: an evidence package, as `vigie-verify` does it.

use evidence::cli::VerifyArgs;
use footage::failure::Kind;

use super::{Failure, show};

pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let (said, sound) = evidence::cli::run(args).map_err(Failure::failed)?;
    show::print(&said)?;
    match sound {
        true => Ok(()),
        false => Err(Failure::Of(Kind::Corrupt, "the package is not sound".to_owned())),
    }
}
