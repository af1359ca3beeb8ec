//! `reveille pfn`: what follows from the name of a package.

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure, print, print_json};
use crate::domain::identity::{PackageSid, Pfn};

/// Print the package family name and the Package SID that belong to a package's name.
#[derive(Args, Clone, Debug)]
pub(super) struct PfnArgs {
    /// Full or family name of the package, such as 52314Publisher.TestWNS_1.1.0.0_x86__t6e9vsyjkrw9w
    name: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    pfn: &'a str,
    package_sid: String,
    name: &'a str,
    publisher_id: &'a str,
}

pub(super) fn run(args: &PfnArgs) -> Result<Exit, Failure> {
    let pfn = Pfn::parse(&args.name).map_err(|error| Failure::new(Exit::Usage, error))?;
    let answer = Answer {
        pfn: pfn.as_str(),
        package_sid: PackageSid::of(&pfn).to_string(),
        name: pfn.name(),
        publisher_id: pfn.publisher_id(),
    };
    if args.json {
        print_json(&answer)?;
    } else {
        print(format_args!("PFN           {}", answer.pfn))?;
        print(format_args!("Package SID   {}", answer.package_sid))?;
        print(format_args!("name          {}", answer.name))?;
        print(format_args!("publisher id  {}", answer.publisher_id))?;
    }
    Ok(Exit::Done)
}
