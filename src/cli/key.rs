//! `reveille key`: API keys and the configuration entries that let them in.

use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use jiff::civil::Date;
use rand::Rng;
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::domain::{
    api_key::{KEY_SECRET_BYTES, NewKey, Scope, new_key},
    id::{AppId, IdError, KeyId, TenantId},
};

use super::{Exit, Failure};

/// What stands for every tenant.
const ALL_TENANTS: &str = "*";

/// Make API keys.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum KeyCommand {
    New(KeyNewArgs),
}

/// Make a key, and print it with the configuration entry that lets it in.
///
/// The key is shown this once: the entry holds only a hash of it. Nothing is written anywhere.
#[derive(Args, Clone, Debug)]
pub struct KeyNewArgs {
    /// Name of the key; it appears in the log
    #[arg(long)]
    id: KeyId,
    /// App whose tenants the key reaches, those made later too; may be repeated
    #[arg(
        long = "app",
        value_name = "APP",
        value_delimiter = ',',
        required_unless_present = "tenants"
    )]
    apps: Vec<AppId>,
    /// Tenant that the key reaches, or * for all; may be repeated
    #[arg(long = "tenant", value_name = "TENANT", value_delimiter = ',', value_parser = tenant)]
    tenants: Vec<String>,
    /// What the key may do; admin includes the others; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', required = true, value_parser = scope())]
    scopes: Vec<Scope>,
    /// Last day (UTC) on which the key is taken, such as 2027-12-31
    #[arg(long, value_name = "DATE")]
    expires: Option<Date>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    key: &'a str,
    hash: String,
    toml: String,
}

pub(super) fn run(args: KeyArgs) -> Result<Exit, Failure> {
    match args.command {
        KeyCommand::New(args) => {
            let mut random = [0; KEY_SECRET_BYTES];
            rand::rng().fill_bytes(&mut random);
            make(&args, random)
        }
    }
}

fn make(args: &KeyNewArgs, random: [u8; KEY_SECRET_BYTES]) -> Result<Exit, Failure> {
    let made = new_key(&args.id, random);
    if args.json {
        let answer = Answer {
            id: args.id.as_str(),
            key: made.key.expose_secret(),
            hash: made.hash.to_string(),
            toml: entry(args, &made),
        };
        super::print_json(&answer)?;
    } else {
        let key = made.key.expose_secret();
        let entry = entry(args, &made);
        super::print(format_args!(
            "The key, shown this once:\n{key}\n\nIts entry in the configuration:\n{entry}"
        ))?;
    }
    Ok(Exit::Done)
}

/// The `[[keys]]` entry. No value needs escaping: ids, hashes and scopes have narrow alphabets.
fn entry(args: &KeyNewArgs, made: &NewKey) -> String {
    let mut lines = format!("[[keys]]\nid = \"{}\"\nhash = \"{}\"\n", args.id, made.hash);
    let mut list = |name: &str, items: Vec<String>| {
        if !items.is_empty() {
            let quoted: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
            lines.push_str(&format!("{name} = [{}]\n", quoted.join(", ")));
        }
    };
    list("apps", args.apps.iter().map(ToString::to_string).collect());
    list("tenants", args.tenants.clone());
    list(
        "scopes",
        args.scopes.iter().map(ToString::to_string).collect(),
    );
    if let Some(expires) = args.expires {
        lines.push_str(&format!("expires = \"{expires}\"\n"));
    }
    lines.truncate(lines.trim_end().len());
    lines
}

fn tenant(text: &str) -> Result<String, IdError> {
    if text != ALL_TENANTS {
        TenantId::new(text)?;
    }
    Ok(text.to_owned())
}

fn scope() -> impl TypedValueParser<Value = Scope> {
    let words = PossibleValuesParser::new(Scope::ALL.map(Scope::as_str));
    words.try_map(|word| {
        Scope::ALL
            .into_iter()
            .find(|scope| scope.as_str() == word)
            .ok_or("unknown scope")
    })
}
