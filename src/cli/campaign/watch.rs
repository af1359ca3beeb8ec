//! `reveille campaign watch`: how far a campaign is, until it has ended or somebody must decide.

use std::{io::IsTerminal, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::summary::{counted, ended, progress, table};
use crate::{
    cli::{
        Exit, Failure,
        client::{Api, ServerArgs},
        output::say,
        print, print_json,
    },
    domain::{id::CampaignId, plain_text::shown},
};

/// How often the broker is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often a pipe gets a line, if there is something new.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// For how long a broker may be away, such as while it restarts.
const AWAY_MAX: Duration = Duration::from_secs(60);

const AFTER_HELP: &str = "\
Progress goes to standard error, the table at the end to standard output.

Exit codes:
  0  finished, and every target has reached the goal
  3  finished, but some targets have not; report --state expired,cancelled,rejected names them
  5  cancelled
  6  paused by a gate: resume or cancel it
  2  there is no such campaign, or it is a draft that nobody has started
  4  the broker could not be reached for a minute";

/// Show how far a campaign is until it is over, or until a gate has paused it.
///
/// A campaign that was paused by hand is waited for.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The campaign's id
    #[arg(value_name = "ID")]
    id: CampaignId,
    /// Print the campaign at the end as one JSON object, and no progress
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &WatchArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.server)?;
    let mut view = View::new(args.json);
    let mut seen = Instant::now();
    loop {
        let request = api.request(Method::GET, &super::path(&args.id, ""));
        match api.call(request).await {
            Ok(campaign) => {
                seen = Instant::now();
                if let Some(exit) = verdict(&campaign)? {
                    view.clear();
                    return end(&campaign, exit, args.json);
                }
                view.show(&campaign);
            }
            Err(failure) if failure.exit == Exit::Unreachable && seen.elapsed() < AWAY_MAX => {
                view.say(&failure.message);
            }
            Err(failure) => {
                view.clear();
                return Err(failure);
            }
        }
        sleep(INTERVAL).await;
    }
}

/// How the watch ends if it ends now.
fn verdict(campaign: &Value) -> Result<Option<Exit>, Failure> {
    let reached = counted(campaign, "accepted") + counted(campaign, "checked_in");
    Ok(match campaign["state"].as_str().unwrap_or_default() {
        "draft" => {
            return Err(Failure::new(
                Exit::Usage,
                "the campaign is a draft: start it first",
            ));
        }
        "finished" if reached == counted(campaign, "targets") => Some(Exit::Done),
        "finished" => Some(Exit::Partly),
        // What was left is cleared a moment later.
        "cancelled" if campaign["counts_final"] == true => Some(Exit::Cancelled),
        "paused" if campaign["pause"]["cause"] == "gate" => Some(Exit::Gate),
        _ => None,
    })
}

fn end(campaign: &Value, exit: Exit, as_json: bool) -> Result<Exit, Failure> {
    if as_json {
        print_json(campaign)?;
    } else {
        print(table(campaign))?;
    }
    Ok(exit)
}

/// A bar on a terminal, lines in a pipe, nothing with `--json`.
struct View {
    bar: Option<ProgressBar>,
    quiet: bool,
    said: Option<(Instant, String)>,
}

impl View {
    fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style =
                ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {percent}%  {wide_msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style.progress_chars("=> "))
        });
        Self {
            bar,
            quiet,
            said: None,
        }
    }

    fn show(&mut self, campaign: &Value) {
        let text = shown(&progress(campaign)).into_owned();
        let Some(bar) = &self.bar else {
            self.say(&text);
            return;
        };
        bar.set_length(counted(campaign, "targets"));
        bar.set_position(ended(campaign));
        bar.set_message(text);
    }

    /// Says something that stays, unless it has been said or something else has just been said.
    fn say(&mut self, text: &str) {
        let now = Instant::now();
        let heard = self
            .said
            .as_ref()
            .is_some_and(|(at, said)| said == text || now.duration_since(*at) < LINE_INTERVAL);
        if self.quiet || heard {
            return;
        }
        self.said = Some((now, text.to_owned()));
        match &self.bar {
            Some(bar) => bar.println(shown(text)),
            None => say(text),
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(state: &str, cause: Option<&str>, counts: [u64; 3]) -> Option<Exit> {
        let [targets, checked_in, cancelled] = counts;
        let pause = cause.map(|cause| json!({ "cause": cause }));
        let counts =
            json!({ "targets": targets, "checked_in": checked_in, "cancelled": cancelled });
        let is_final = state == "finished";
        let campaign =
            json!({ "state": state, "pause": pause, "counts": counts, "counts_final": is_final });
        verdict(&campaign).unwrap()
    }

    #[test]
    fn a_cancelled_campaign_is_watched_until_its_counts_are_final() {
        let mut campaign =
            json!({ "state": "cancelled", "counts": { "targets": 2, "cancelled": 2 } });
        for (is_final, exit) in [(false, None), (true, Some(Exit::Cancelled))] {
            campaign["counts_final"] = is_final.into();
            assert_eq!(verdict(&campaign).unwrap(), exit);
        }
    }

    #[test]
    fn a_script_can_tell_how_a_campaign_ended() {
        for (state, cause, counts, exit) in [
            ("preparing", None, [0, 0, 0], None),
            ("running", None, [2, 1, 0], None),
            ("paused", Some("request"), [2, 1, 0], None),
            ("paused", Some("gate"), [2, 1, 0], Some(Exit::Gate)),
            ("finished", None, [2, 2, 0], Some(Exit::Done)),
            ("finished", None, [0, 0, 0], Some(Exit::Done)),
            ("finished", None, [2, 1, 1], Some(Exit::Partly)),
            ("cancelled", None, [2, 1, 1], None),
        ] {
            assert_eq!(judged(state, cause, counts), exit, "{state} {counts:?}");
        }
    }

    #[test]
    fn a_draft_is_not_watched_for_ever() {
        let failure = verdict(&json!({ "state": "draft" })).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[test]
    fn the_help_names_every_end() {
        for exit in [
            Exit::Done,
            Exit::Partly,
            Exit::Cancelled,
            Exit::Gate,
            Exit::Usage,
            Exit::Unreachable,
        ] {
            assert!(
                AFTER_HELP.contains(&format!("\n  {}  ", exit as u8)),
                "{exit:?}"
            );
        }
    }
}
