//! `reveille bundle`: what support needs to know of a broker, in one archive without a secret.
//!
//! A broker answers from its API; what it does not answer is noted in the archive and does not stop the rest. Everything passes
//! [`Scrubber`] before it is written, the answers of the broker too, although it tells no secrets.

mod scrub;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use reqwest::{Client, redirect};
use serde_json::{Value, json};

use self::scrub::{Scrubber, public, redacted};
use super::{Exit, Failure, client::BrokerArgs, print, print_json};
use crate::{adapters::clock::SystemClock, ports::clock::Clock};

/// Longest time for one question to the broker.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Files that a reader may open, and nobody else on the machine.
const MODE: u32 = 0o600;
/// What is asked of every broker.
const QUESTIONS: [(&str, &str); 2] = [("readiness.json", "/readyz"), ("metrics.txt", "/metrics")];
/// Lists that are asked for, page by page.
const LISTS: [(&str, &str); 2] = [("apps.json", "/v1/apps"), ("tenants.json", "/v1/tenants")];
/// Items of a page, and pages of a list.
const PAGE: usize = 1_000;
const PAGES_MAX: usize = 100;

/// Collect what support needs: version, configuration, metrics, recent failures with their WNS ids.
///
/// The archive holds no secret, no token and no channel URI; device ids are not collected. Look at it before you send it. The
/// key needs the scope read for everything.
#[derive(Args, Clone, Debug)]
pub(super) struct BundleArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Configuration file of the broker
    #[arg(long, short, env = "REVEILLE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to write the archive [default: reveille-bundle-TIME.tar.gz]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Files by name, and what could not be had.
#[derive(Debug, Default)]
struct Collected {
    files: BTreeMap<String, String>,
    missing: Vec<String>,
}

pub(super) async fn run(args: BundleArgs) -> Result<Exit, Failure> {
    let now = SystemClock.now();
    let mut collected = Collected::default();
    let mut scrubber = Scrubber::default();
    scrubber.learn(args.broker.key.as_deref().unwrap_or_default());
    configuration(args.config.as_deref(), &mut collected, &mut scrubber);
    ask_broker(&args, &mut collected).await?;
    about(&args, now, &mut collected, &mut scrubber);
    let output = args
        .output
        .unwrap_or_else(|| format!("reveille-bundle-{}.tar.gz", now.as_second()).into());
    write(&output, &collected, &scrubber, now).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot write {}: {error}", output.display()),
        )
    })?;
    if args.json {
        let files: Vec<&String> = collected.files.keys().collect();
        print_json(&json!({"bundle": output, "files": files, "missing": collected.missing}))?;
    } else {
        print(format_args!(
            "{}: {} files",
            output.display(),
            collected.files.len()
        ))?;
        collected
            .missing
            .iter()
            .try_for_each(|what| print(format_args!("  without {what}")))?;
    }
    Ok(if collected.missing.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    })
}

/// The configuration file without what is private in it, and the names of the variables that change it.
fn configuration(path: Option<&Path>, collected: &mut Collected, scrubber: &mut Scrubber) {
    let mut names = Vec::new();
    for (name, value) in std::env::vars_os() {
        if let Some(name) = name.to_str().filter(|name| name.starts_with("REVEILLE_")) {
            names.push(name.to_owned());
            public(&value.to_string_lossy(), scrubber);
        }
    }
    names.sort();
    collected
        .files
        .insert("environment.txt".to_owned(), names.join("\n") + "\n");
    let Some(path) = path else {
        collected
            .missing
            .push("the configuration: --config names none".to_owned());
        return;
    };
    let read = fs::read_to_string(path).map_err(|error| error.to_string());
    match read.and_then(|text| redacted(&text, scrubber)) {
        Ok(text) => drop(collected.files.insert("reveille.toml".to_owned(), text)),
        Err(error) => collected
            .missing
            .push(format!("the configuration {}: {error}", path.display())),
    }
}

async fn ask_broker(args: &BundleArgs, collected: &mut Collected) -> Result<(), Failure> {
    let http = Client::builder()
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::none());
    let http = http
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no HTTP client: {error}")))?;
    for (name, path) in QUESTIONS {
        match ask(&http, args, &args.broker.address.url(path)).await {
            Ok(text) => drop(collected.files.insert(name.to_owned(), text)),
            Err(why) => collected.missing.push(format!("{path}: {why}")),
        }
    }
    for (name, path) in LISTS {
        match ask_pages(&http, args, path).await {
            Ok(text) => drop(collected.files.insert(name.to_owned(), text)),
            Err(why) => collected.missing.push(format!("{path}: {why}")),
        }
    }
    for app in apps(collected) {
        let path = format!("/v1/apps/{app}/failures");
        match ask(&http, args, &args.broker.address.url(&path)).await {
            Ok(text) => drop(
                collected
                    .files
                    .insert(format!("recent-failures/{app}.json"), text),
            ),
            Err(why) => collected.missing.push(format!("{path}: {why}")),
        }
    }
    Ok(())
}

/// The apps that the broker has named.
fn apps(collected: &Collected) -> Vec<String> {
    let text = collected
        .files
        .get("apps.json")
        .map(String::as_str)
        .unwrap_or_default();
    let listed: Value = serde_json::from_str(text).unwrap_or_default();
    let names = listed["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|app| app["app"].as_str());
    names.map(str::to_owned).collect()
}

/// All items of a list, as one page; what is beyond [`PAGES_MAX`] is named by its cursor.
async fn ask_pages(http: &Client, args: &BundleArgs, path: &str) -> Result<String, String> {
    let (mut items, mut cursor) = (Vec::new(), Value::Null);
    for _ in 0..PAGES_MAX {
        let mut url = args.broker.address.url(&format!("{path}?limit={PAGE}"));
        if let Some(cursor) = cursor.as_str() {
            let cursor = url::form_urlencoded::byte_serialize(cursor.as_bytes());
            url.extend(["&cursor="].into_iter().chain(cursor));
        }
        let text = ask(http, args, &url).await?;
        let mut page: Value =
            serde_json::from_str(&text).map_err(|_| "the answer is no JSON".to_owned())?;
        match page["items"].take() {
            Value::Array(more) => items.extend(more),
            _ => return Err("the answer has no items".to_owned()),
        }
        cursor = page["next_cursor"].take();
        if cursor.is_null() {
            break;
        }
    }
    Ok(json!({"items": items, "next_cursor": cursor}).to_string())
}

async fn ask(http: &Client, args: &BundleArgs, url: &str) -> Result<String, String> {
    let request = http.get(url);
    let request = match &args.broker.key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    let answer = request
        .send()
        .await
        .map_err(|error| error.without_url().to_string())?;
    let status = answer.status();
    let text = answer
        .text()
        .await
        .map_err(|error| error.without_url().to_string())?;
    // A broker that is not ready says why, with 503: that is what a bundle is for.
    if status.is_success() || (url.ends_with("/readyz") && !text.is_empty()) {
        return Ok(text);
    }
    Err(format!("the broker answered {status}"))
}

fn about(args: &BundleArgs, now: Timestamp, collected: &mut Collected, scrubber: &mut Scrubber) {
    let about = json!({
        "collected_at": now.to_string(),
        "collected_by": env!("CARGO_PKG_VERSION"),
        "server": public(&args.broker.address.url(""), scrubber),
        "system": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "missing": collected.missing,
    });
    collected
        .files
        .insert("about.json".to_owned(), format!("{about:#}\n"));
}

fn write(
    output: &Path,
    collected: &Collected,
    scrubber: &Scrubber,
    now: Timestamp,
) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, MODE);
    let mut archive = tar::Builder::new(GzEncoder::new(
        options.open(output)?,
        Compression::default(),
    ));
    for (name, text) in &collected.files {
        let text = scrubber.scrub(text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(MODE);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or(0));
        archive.append_data(
            &mut header,
            format!("reveille-bundle/{name}"),
            text.as_bytes(),
        )?;
    }
    archive.into_inner()?.finish()?.sync_all()
}
