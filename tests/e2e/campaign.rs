//! `reveille campaign` as scripts use it: a list becomes a campaign, its end is an exit code, what is left becomes the next.

use std::{collections::BTreeSet, time::Duration};

use reveille::sandbox::{Behaviour, CheckIns, Delay, Share};
use serde_json::Value;

use crate::rig::{Rig, TENANT};

const DEVICES: u32 = 300;

/// A fleet that answers quickly, except `never`.
async fn rig(never: &str) -> Rig {
    let behaviour = Behaviour {
        check_in: CheckIns {
            delay: Delay::fixed(Duration::from_millis(50)),
            never: never.parse::<Share>().unwrap(),
            ..CheckIns::default()
        },
        ..Behaviour::default()
    };
    let mut rig = Rig::new(DEVICES, behaviour);
    rig.start().await;
    rig.register_all().await;
    rig
}

fn ids(rig: &Rig) -> BTreeSet<String> {
    let devices = rig.sandbox.channels(TENANT);
    devices.map(|(device, _)| device.to_string()).collect()
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_devices_becomes_a_campaign_whose_end_a_script_can_tell() {
    let rig = rig("0%").await;
    let fleet = ids(&rig);
    let mut list: String = fleet.iter().map(|id| format!("{id}\n")).collect();
    list.push_str("stranger\n");

    // when a draft is made of a list with a device that nobody knows
    let create = [
        "campaign",
        "create",
        "--name",
        "revoke CA 7",
        "--goal",
        "check_in",
        "--wave",
        "10%:hold=1s",
        "--devices",
        "-",
    ];
    let (code, id, told) = rig.client(&create, &list).await;

    // then its id is all that is printed, and the stranger is told by its line
    assert_eq!(code, Some(3), "{told}");
    let id = id.trim();
    assert!(told.contains(&format!("line {}: ", DEVICES + 1)), "{told}");
    let (code, told, _) = rig.client(&["campaign", "dry-run", id], "").await;
    assert_eq!(code, Some(0));
    assert!(told.starts_with("300 of 300 targets"), "{told}");
    let (code, _, told) = rig.client(&["campaign", "watch", id], "").await;
    assert_eq!(code, Some(2), "a draft is not watched for ever: {told}");

    // when it is started and watched
    let (code, shown, _) = rig.client(&["campaign", "start", id, "--json"], "").await;
    assert_eq!(code, Some(0));
    let started: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(started["state"], "running");
    let (code, table, told) = rig.client(&["campaign", "watch", id], "").await;

    // then it ends with zero, and the report names every device
    assert_eq!(code, Some(0), "{table}{told}");
    assert!(
        table.contains("checked_in") && table.contains("gate 1"),
        "{table}"
    );
    assert!(told.contains("running"), "{told}");
    let report = ["campaign", "report", id, "--state", "checked_in"];
    let (_, woken, _) = rig
        .client(&[&report[..], &["--format", "ids"]].concat(), "")
        .await;
    assert_eq!(lines(&woken), fleet);
    let (_, table, _) = rig.client(&report, "").await;
    assert_eq!(table.lines().count(), fleet.len() + 1);
    let (_, csv, _) = rig
        .client(&[&report[..], &["--format", "csv"]].concat(), "")
        .await;
    assert_eq!(csv.lines().count(), fleet.len() + 1);
    let (_, json, _) = rig.client(&[&report[..], &["--json"]].concat(), "").await;
    let devices = json
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let devices = devices.map(|d| d["device"].as_str().unwrap().to_owned());
    assert_eq!(devices.collect::<BTreeSet<_>>(), fleet);
    let (code, listed, _) = rig.client(&["campaign", "list"], "").await;
    assert_eq!(code, Some(0));
    assert!(
        listed.contains(id) && listed.contains("finished"),
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_campaign_leaves_behind_becomes_the_next_one() {
    let rig = rig("30%").await;
    let file = rig.dir.path().join("campaign.json");
    let body = r#"{"name": "first", "goal": "check_in", "expires_in": "1h", "targets": "all"}"#;
    std::fs::write(&file, body).unwrap();
    let file = file.to_str().unwrap();

    // given a campaign from a file, over before a third of the fleet has answered
    let create = [
        "campaign",
        "create",
        "--file",
        file,
        "--expires-in",
        "4s",
        "--start",
    ];
    let (code, first, told) = rig.client(&create, "").await;
    assert_eq!(code, Some(0), "{told}");
    let first = first.trim();
    let (code, shown, told) = rig
        .client(&["campaign", "watch", first, "--json"], "")
        .await;
    assert_eq!((code, told.as_str()), (Some(3), ""), "done in part");
    let ended: Value = serde_json::from_str(&shown).unwrap();
    let expired = ended["counts"]["expired"].as_u64().unwrap();
    assert!((1..u64::from(DEVICES)).contains(&expired), "{ended}");

    // when the list of what is left is piped into the next
    let report = [
        "campaign", "report", first, "--state", "expired", "--format",
    ];
    let (_, left, _) = rig.client(&[&report[..], &["ids"]].concat(), "").await;
    let (_, objects, _) = rig.client(&[&report[..], &["ndjson"]].concat(), "").await;
    assert_eq!(lines(&left).len() as u64, expired);
    let again = [
        "campaign", "create", "--name", "again", "--goal", "check_in", "--json",
    ];
    let mut made = Vec::new();
    for list in [&left, &objects] {
        let (code, shown, told) = rig
            .client(&[&again[..], &["--devices", "-"]].concat(), list)
            .await;
        assert_eq!(code, Some(0), "{told}");
        made.push(serde_json::from_str::<Value>(&shown).unwrap());
    }

    // then both have its devices, as has the one that is made without the list
    assert_eq!(made[0]["counts"]["targets"], expired);
    assert_eq!(made[1]["counts"]["targets"], expired);
    let (_, third, _) = rig
        .client(
            &["campaign", "create", "--name", "x", "--left-of", first],
            "",
        )
        .await;
    let (_, run, _) = rig
        .client(&["campaign", "dry-run", third.trim(), "--json"], "")
        .await;
    let run: Value = serde_json::from_str(&run).unwrap();
    assert_eq!(run["targets"], expired);

    // and one that is paused by hand is waited for until it is cancelled, which has a code of its own
    let second = made[0]["id"].as_str().unwrap();
    for (verb, state) in [
        ("start", "running"),
        ("pause", "paused"),
        ("cancel", "cancelled"),
    ] {
        let (code, shown, _) = rig.client(&["campaign", verb, second], "").await;
        assert_eq!(code, Some(0));
        assert!(shown.contains(state), "{verb}: {shown}");
    }
    let (code, table, _) = rig.client(&["campaign", "watch", second], "").await;
    assert_eq!(code, Some(5), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_its_gate_has_paused_ends_a_watch_with_a_code_of_its_own() {
    let rig = rig("100%").await;
    let create = [
        "campaign",
        "create",
        "--name",
        "x",
        "--goal",
        "check_in",
        "--all",
        "--start",
        "--wave",
        "50:hold=1s,checked-in-min=50%",
    ];
    let (code, id, told) = rig.client(&create, "").await;
    assert_eq!(code, Some(0), "{told}");

    let (code, table, _) = rig.client(&["campaign", "watch", id.trim()], "").await;

    assert_eq!(code, Some(6), "{table}");
    assert!(
        table.contains("0 of 50 reachable targets checked in, below 50%"),
        "{table}"
    );
    assert_eq!(rig.reached(), 50, "nothing beyond the wave was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_campaign_whose_targets_could_not_be_read_or_were_none() {
    let rig = rig("0%").await;
    let create = [
        "campaign",
        "create",
        "--name",
        "x",
        "--devices",
        "no-such-file",
    ];

    let (code, id, told) = rig.client(&create, "").await;

    assert_eq!((code, id.as_str()), (Some(2), ""));
    assert!(told.contains("cannot read no-such-file"), "{told}");
    let none = [
        "campaign",
        "create",
        "--name",
        "x",
        "--devices",
        "-",
        "--start",
    ];
    let (code, id, told) = rig.client(&none, "\n").await;
    assert_eq!((code, id.as_str()), (Some(2), ""));
    assert!(told.contains("the campaign has no targets"), "{told}");
    let list = rig.get(&format!("/v1/tenants/{TENANT}/campaigns")).await;
    assert_eq!(list["items"], serde_json::json!([]));
    let (code, shown, _) = rig.client(&["channels", "forecast"], "").await;
    assert_eq!(code, Some(0));
    assert!(
        shown.starts_with("channels that expire within 7 days without renewal: 0"),
        "{shown}"
    );
    let (_, stats, _) = rig.client(&["channels", "stats", "--json"], "").await;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["live"], DEVICES, "{stats}");
}
