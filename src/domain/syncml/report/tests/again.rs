//! When the PFN is to be set again, beside what answers say.

use super::*;

#[test]
fn a_status_that_a_new_registration_cures_sets_the_pfn_again() {
    for code in 0..=9 {
        let report = message(&results("Status", &format!("<Data>{code}</Data>")));
        let again = matches!(code, 1 | 3 | 4 | 5 | 8 | 9).then_some(SetPfn::Again);
        assert_eq!(report.next_step(None), again, "{code}");
    }
}

#[test]
fn a_pfn_that_was_just_set_is_given_until_the_next_session() {
    let status = results("Status", "<Data>4</Data>");
    let named = answer("Replace", 2, 200, &format!("{ROOT}/PFN"));
    assert_eq!(message(&format!("{named}{status}")).next_step(None), None);

    let unnamed = message(&format!("{}{status}", answer("Replace", 2, 200, "")));
    let steps = [
        (Some(sent(SetPfn::Again)), None),
        // Command 2 added the node, 3 the PFN, of which there is no answer.
        (Some(sent(SetPfn::FirstTime)), Some(SetPfn::Again)),
        (None, Some(SetPfn::Again)),
    ];
    for (sent, next) in steps {
        assert_eq!(unnamed.next_step(sent.as_deref()), next, "{sent:?}");
    }
    let query = numbered(None, NonZeroU16::MIN);
    assert_eq!(
        message(&status).next_step(Some(&query)),
        Some(SetPfn::Again)
    );
}

#[test]
fn a_device_without_a_channel_may_have_no_pfn_and_gets_one_in_every_other_session() {
    let set = answer("Replace", 2, 200, &format!("{ROOT}/PFN"));
    let query = Some(numbered(None, NonZeroU16::MIN));
    let again = Some(SetPfn::Again);
    let foreign = "<Data>https://notify.windows.com.evil.example/?token=a</Data>";
    for data in ["<Data/>", foreign] {
        let none = results("ChannelURI", data);
        for (more, next) in [("", again), ("0", again), ("2", None), ("4", again)] {
            let status = match more {
                "" => String::new(),
                code => results("Status", &format!("<Data>{code}</Data>")),
            };
            let asked = format!("{none}{status}");
            assert_eq!(message(&asked).next_step(query.as_deref()), next, "{more}");
            let just_set = message(&format!("{set}{asked}"));
            assert_eq!(just_set.next_step(Some(&sent(SetPfn::Again))), None);
        }
        assert_eq!(message(&none).next_step(None), None, "a PFN may be new");
    }
    let not_asked = message(&answer("Get", 1, 200, ""));
    assert_eq!(not_asked.next_step(query.as_deref()), None);
}
