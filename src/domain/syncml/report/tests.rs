mod again;

use std::num::NonZeroU16;

use proptest::prelude::*;

use super::*;
use crate::domain::syncml::commands::numbered;

const URI: &str = "https://wns2-pn1p.notify.windows.com/?token=AwYAAAD%2b%3d";
const ROOT: &str = "./Device/Vendor/MSFT/DMClient/Provider/MyMDM/Push";

fn read(body: &str) -> Result<SyncMlReport, SyncMlError> {
    SyncMlReport::read(body.as_bytes(), None, &HostPolicy::default())
}

fn message(commands: &str) -> SyncMlReport {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><SyncML xmlns=\"SYNCML:SYNCML1.2\"><SyncHdr><VerDTD>1.2</VerDTD>\
         <SessionID>1</SessionID><MsgID>2</MsgID><Target><LocURI>https://mdm.example/omadm</LocURI></Target>\
         <Source><LocURI>urn:uuid:4c4c4544</LocURI></Source></SyncHdr><SyncBody>{commands}<Final/></SyncBody></SyncML>"
    );
    read(&body).unwrap()
}

fn results(leaf: &str, data: &str) -> String {
    format!(
        "<Results><CmdID>4</CmdID><MsgRef>1</MsgRef><CmdRef>3</CmdRef><Item>\
         <Source><LocURI>{ROOT}/{leaf}</LocURI></Source>{data}</Item></Results>"
    )
}

fn answer(verb: &str, cmd_ref: u32, code: u16, target: &str) -> String {
    let target = if target.is_empty() {
        String::new()
    } else {
        format!("<TargetRef>{target}</TargetRef>")
    };
    format!(
        "<Status><CmdID>9</CmdID><MsgRef>1</MsgRef><CmdRef>{cmd_ref}</CmdRef><Cmd>{verb}</Cmd>{target}<Data>{code}</Data></Status>"
    )
}

fn uri(text: &str) -> ChannelFinding {
    ChannelFinding::Uri(ChannelUri::parse(text, &HostPolicy::default()).unwrap())
}

fn sent(how: SetPfn) -> Vec<Command> {
    numbered(Some(how), NonZeroU16::new(2).unwrap())
}

#[test]
fn a_whole_answer_gives_device_channel_and_status() {
    let report = message(&format!(
        "<Status><CmdID>1</CmdID><MsgRef>1</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd><Data>212</Data></Status>{}{}{}{}{}",
        answer("Replace", 2, 200, ""),
        answer("Get", 3, 200, ""),
        results("ChannelURI", &format!("<Data>{URI}</Data>")),
        answer("Get", 4, 200, ""),
        results(
            "Status",
            "<Meta><Format xmlns=\"syncml:metinf\">int</Format></Meta><Data>0</Data>"
        ),
    ));

    assert_eq!(
        report.device.as_ref().unwrap().as_str(),
        "urn:uuid:4c4c4544"
    );
    assert_eq!(report.provider.as_ref().unwrap().as_str(), "MyMDM");
    assert_eq!(report.channel, uri(URI));
    assert_eq!(report.push_status, Some(PushStatus::Success));
    assert_eq!(report.answers.len(), 3);
    assert_eq!(report.next_step(Some(&sent(SetPfn::Again))), None);
    assert!(report.has_channel());
    assert!(!format!("{report:?}").contains("token"));
}

#[test]
fn namespaces_prefixes_and_spellings_do_not_matter() {
    for body in [
        "<SyncML><SyncBody>RESULTS</SyncBody></SyncML>",
        "\u{feff}<?xml version='1.0'?>\n<!-- hello -->\n<SyncML xmlns='SYNCML:SYNCML1.1'><SyncBody>\n RESULTS\n</SyncBody></SyncML>\n",
        "<SyncML xmlns='urn:odd' xmlns:x='urn:odder'><x:Other x:a='&amp;'/><SyncBody><Atomic>RESULTS</Atomic></SyncBody></SyncML>",
    ] {
        for (channel, data) in [
            (
                "./Vendor/MSFT/DMClient/Provider/MyMDM/Push/ChannelURI",
                URI.to_owned(),
            ),
            (
                "./Device/Vendor/MSFT/DMClient/Provider/MyMDM/Push/ChannelURI",
                format!("<![CDATA[{URI}]]>"),
            ),
            (
                "./Vendor/MSFT/DMClient/Provider/%4DyMDM/Push/ChannelURI",
                format!("\n  {URI}\n"),
            ),
            (
                "./Vendor/MSFT/DMClient/Provider/MyMDM/Push/ChannelURI",
                URI.replace('?', "&#x3f;").replace('=', "&#61;"),
            ),
        ] {
            let results = format!(
                "<Results><Item><Source><LocURI>{channel}</LocURI></Source><Data>{data}</Data></Item></Results>"
            );
            assert_eq!(
                read(&body.replace("RESULTS", &results)).unwrap().channel,
                uri(URI),
                "{results}"
            );
        }
    }
    let prefixed = format!(
        "<s:SyncML xmlns:s=\"SYNCML:SYNCML1.2\"><s:SyncBody><s:Results><s:Item><s:Source><s:LocURI>{ROOT}/ChannelURI</s:LocURI>\
         </s:Source><s:Meta><m:Format xmlns:m=\"syncml:metinf\">chr</m:Format></s:Meta><s:Data>{URI}&amp;a=1</s:Data></s:Item>\
         </s:Results></s:SyncBody></s:SyncML>"
    );
    assert_eq!(read(&prefixed).unwrap().channel, uri(&format!("{URI}&a=1")));
}

#[test]
fn a_channel_that_is_not_there_yet_is_empty_and_not_an_error() {
    for data in [
        "",
        "<Data/>",
        "<Data></Data>",
        "<Data> \r\n</Data>",
        "<Data>null</Data>",
    ] {
        assert_eq!(
            message(&results("ChannelURI", data)).channel,
            ChannelFinding::Empty,
            "{data}"
        );
    }
    let both =
        results("ChannelURI", &format!("<Data>{URI}</Data>")) + &results("ChannelURI", "<Data/>");
    assert_eq!(message(&both).channel, uri(URI));
    assert_eq!(
        message(&answer("Get", 3, 200, "")).channel,
        ChannelFinding::NotReported
    );
    assert_eq!(
        message(""),
        SyncMlReport {
            device: Some(Text::known("urn:uuid:4c4c4544")),
            ..SyncMlReport::default()
        }
    );
}

#[test]
fn a_channel_outside_wns_is_refused_by_its_own_rule() {
    let evil = message(&results(
        "ChannelURI",
        "<Data>https://notify.windows.com.evil.example/?token=a</Data>",
    ));
    let long = message(&results(
        "ChannelURI",
        &format!("<Data>{URI}{}</Data>", "a".repeat(9_000)),
    ));

    let host = "notify.windows.com.evil.example".into();
    assert_eq!(
        evil.channel,
        ChannelFinding::Refused(ChannelUriError::HostNotAllowed { host })
    );
    assert_eq!(
        long.channel,
        ChannelFinding::Refused(ChannelUriError::TooLong { bytes: 4097 })
    );
    assert!(!evil.has_channel());
}

#[test]
fn only_the_wanted_provider_counts() {
    let other = results(
        "ChannelURI",
        "<Data>https://a.notify.windows.com/?token=b</Data>",
    )
    .replace("MyMDM", "Other%20MDM");
    let both = format!(
        "<SyncML><SyncBody>{other}{}</SyncBody></SyncML>",
        results("ChannelURI", &format!("<Data>{URI}</Data>"))
    );
    let mine = ProviderId::new("MyMDM").unwrap();

    let wanted = SyncMlReport::read(both.as_bytes(), Some(&mine), &HostPolicy::default()).unwrap();

    assert_eq!((wanted.provider.unwrap(), wanted.channel), (mine, uri(URI)));
    assert_eq!(read(&both), Err(SyncMlError::Ambiguous));
}

#[test]
fn of_several_providers_the_only_one_that_reports_its_channel_counts() {
    let of_other = |text: String| text.replace("MyMDM", "Other%20MDM");
    let body = |parts: &[String]| {
        let parts = parts.concat();
        read(&format!("<SyncML><SyncBody>{parts}</SyncBody></SyncML>"))
    };
    let target = |leaf: &str| format!("{ROOT}/{leaf}");
    let status = of_other(results("Status", "<Data>4</Data>"));
    let refused = of_other(answer("Replace", 2, 500, &target("PFN")));
    let elsewhere = answer("Get", 3, 200, "");
    let channel = results("ChannelURI", &format!("<Data>{URI}</Data>"));
    let ours = answer("Replace", 5, 200, &target("PFN"));

    let clear = body(&[
        status.clone(),
        refused.clone(),
        elsewhere.clone(),
        channel.clone(),
        ours,
    ])
    .unwrap();
    assert_eq!(clear.provider.as_ref().unwrap().as_str(), "MyMDM");
    assert_eq!((&clear.channel, clear.push_status), (&uri(URI), None));
    let refs: Vec<u32> = clear.answers.iter().map(|a| a.cmd_ref).collect();
    assert_eq!(refs, [3, 5], "what is said of another provider is left out");

    // Nobody knows whose an empty channel is.
    let empty = of_other(results("ChannelURI", "<Data></Data>"));
    for parts in [
        vec![channel, empty],
        vec![status, answer("Get", 2, 404, &target("ChannelURI"))],
    ] {
        assert_eq!(body(&parts), Err(SyncMlError::Ambiguous));
    }
    let crowd = (0..40).map(|n| {
        let of_one = format!("Provider/P{n}/");
        results("Status", "<Data>0</Data>").replace("Provider/MyMDM/", &of_one)
    });
    assert_eq!(
        body(&crowd.collect::<Vec<_>>()),
        Err(SyncMlError::Ambiguous)
    );
}

#[test]
fn status_and_pfn_are_read_as_they_are() {
    for (data, status) in [
        ("3", Some(PushStatus::RegistrationFailed)),
        (" 8 ", Some(PushStatus::Unknown)),
        ("-2147483648", Some(PushStatus::Other(i32::MIN))),
        ("99999999999", None),
        ("ok", None),
        ("", None),
    ] {
        assert_eq!(
            message(&results("Status", &format!("<Data>{data}</Data>"))).push_status,
            status,
            "{data}"
        );
    }
    let report = message(
        &(results("PFN", "<Data>a.b_c</Data>")
            + &results("", "<Data>PFN/ChannelURI/Status</Data>")),
    );
    assert_eq!(report.pfn.unwrap().as_str(), "a.b_c");
    assert_eq!(report.channel, ChannelFinding::NotReported);
}

#[test]
fn an_answer_is_matched_to_the_command_that_was_sent() {
    use SetPfn::{Again, FirstTime, Recovery};
    for (how, verb, cmd_ref, code, next) in [
        (FirstTime, "Add", 2, 418, None),
        (FirstTime, "Add", 3, 418, Some(Again)),
        (FirstTime, "Add", 3, 500, Some(FirstTime)),
        (Again, "Replace", 2, 200, None),
        (Again, "Replace", 2, 500, Some(Recovery)),
        (Again, "Replace", 2, 405, Some(Recovery)),
        (Again, "Replace", 2, 404, Some(FirstTime)),
        (Again, "Replace", 2, 425, None),
        (Again, "Replace", 7, 500, None),
        (Again, "Add", 2, 500, None),
        (Again, "Get", 3, 404, Some(FirstTime)),
        (Recovery, "Delete", 2, 404, None),
        (Recovery, "Add", 3, 418, None),
    ] {
        let report = message(&answer(verb, cmd_ref, code, ""));
        assert_eq!(
            report.next_step(Some(&sent(how))),
            next,
            "{verb} {cmd_ref} {code}"
        );
        assert!(!report.answers[0].meaning().is_empty());
    }
}

#[test]
fn an_answer_that_names_its_node_needs_no_memory_of_what_was_sent() {
    let pfn = format!("{ROOT}/PFN");
    for (verb, code, target, next) in [
        ("Replace", 500, pfn.as_str(), Some(SetPfn::Recovery)),
        ("Replace", 404, &pfn, Some(SetPfn::FirstTime)),
        ("Add", 418, &pfn, Some(SetPfn::Again)),
        ("Add", 418, ROOT, None),
        (
            "Get",
            404,
            "./Vendor/MSFT/DMClient/Provider/MyMDM/Push/ChannelURI",
            Some(SetPfn::FirstTime),
        ),
        ("Replace", 500, "./Vendor/MSFT/Policy/Config/Browser", None),
        ("Get", 404, "", Some(SetPfn::FirstTime)),
        ("Replace", 404, "", Some(SetPfn::FirstTime)),
        ("Delete", 404, "", None),
        ("Replace", 405, "", None),
    ] {
        assert_eq!(
            message(&answer(verb, 2, code, target)).next_step(None),
            next,
            "{verb} {code} {target}"
        );
    }
}

#[test]
fn an_unnamed_failed_replace_counts_only_without_a_working_channel() {
    let failed = answer("Replace", 2, 500, "");
    let channel = results("ChannelURI", &format!("<Data>{URI}</Data>"));

    assert_eq!(message(&failed).next_step(None), Some(SetPfn::Recovery));
    assert_eq!(message(&format!("{failed}{channel}")).next_step(None), None);
    let expired = format!("{failed}{channel}{}", results("Status", "<Data>5</Data>"));
    assert_eq!(message(&expired).next_step(None), Some(SetPfn::Recovery));
}

#[test]
fn an_unnamed_answer_that_finds_no_node_is_about_another_one_if_push_is_there() {
    let missing = answer("Get", 3, 404, "");
    for there in [
        results("ChannelURI", "<Data></Data>"),
        results("Status", "<Data>0</Data>"),
        results("PFN", "<Data>a.b_c</Data>"),
    ] {
        let report = message(&format!("{missing}{there}"));
        assert_eq!(report.next_step(None), None, "{there}");
    }
}

#[test]
fn an_answer_says_no_more_than_is_known_of_its_node() {
    let report = message(&answer("Get", 3, 404, ""));
    let meaning = report.answers[0].meaning();
    assert!(meaning.contains("if it was one of push"), "{meaning}");
    let [known] = report.answers_to(Some(&sent(SetPfn::Again)))[..] else {
        panic!("one answer");
    };
    assert_eq!(known.node, Some(PushNode::ChannelUri));
    assert!(
        known
            .meaning()
            .starts_with("the Push node has not been made")
    );
}

#[test]
fn what_is_no_syncml_is_a_typed_error() {
    assert_eq!(read("<html/>"), Err(SyncMlError::NotSyncMl));
    assert_eq!(read("<!DOCTYPE SyncML><SyncML/>"), Err(SyncMlError::Dtd));
}

#[test]
fn a_body_at_the_limit_is_read() {
    let fill = "<Status><Cmd>Get</Cmd><CmdRef>1</CmdRef><Data>200</Data></Status>".repeat(20_000);
    let body = format!(
        "<SyncML><SyncBody>{fill}{}</SyncBody></SyncML>",
        results("Status", "<Data>0</Data>")
    );
    let padded = body.replace(
        "</SyncML>",
        &format!("{}</SyncML>", " ".repeat(SYNCML_BYTES_MAX - body.len())),
    );

    let report = read(&padded).unwrap();

    assert_eq!(padded.len(), SYNCML_BYTES_MAX);
    assert_eq!(
        (report.answers.len(), report.push_status),
        (20_000, Some(PushStatus::Success))
    );
}

proptest! {
    #[test]
    fn any_body_is_answered(body in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        "<SyncML>(</?(SyncHdr|SyncBody|Status|Results|Item|Source|LocURI|Data|Cmd)/?>|&[a-z#0-9]{0,5};|[ -~]){0,40}</SyncML>".prop_map(String::into_bytes),
    ]) {
        if let Ok(report) = SyncMlReport::read(&body, None, &HostPolicy::default()) {
            prop_assert!(std::str::from_utf8(&body).unwrap().contains("SyncML"));
            prop_assert!(report.next_step(None).is_none() || !report.answers.is_empty() || report.push_status.is_some());
        }
    }

    #[test]
    fn any_channel_that_xml_can_carry_comes_out_byte_for_byte(token in "[A-Za-z0-9%&+=/;._~-]{1,400}") {
        let text = format!("https://db5p.notify.windows.com/?token={token}");
        let escaped = text.replace('&', "&amp;");
        prop_assert_eq!(message(&results("ChannelURI", &format!("<Data>{escaped}</Data>"))).channel, uri(&text));
    }
}
