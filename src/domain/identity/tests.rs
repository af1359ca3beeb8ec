use proptest::prelude::*;

use super::*;

const SEED_SID: &str =
    "S-1-15-2-3928704574-477015729-2320265743-508859788-3584887706-656216416-1642263338";
const COGROW_SID: &str =
    "S-1-15-2-1253093273-833848983-1416962196-922505673-1233200576-2981719577-3762432075";

#[test]
fn family_and_full_names_give_the_same_lower_case_pfn() {
    for text in [
        "52314Publisher.TestWNS_1.1.0.0_x86__t6e9vsyjkrw9w",
        "52314Publisher.TestWNS_1.1.0.0_neutral_~_t6e9vsyjkrw9w",
        "52314Publisher.TestWNS_10.0.65535.1_arm64_split.scale-100_t6e9vsyjkrw9w",
        "52314Publisher.TestWNS_t6e9vsyjkrw9w",
        " 52314publisher.testwns_T6E9VSYJKRW9W\n",
    ] {
        let pfn = Pfn::parse(text).unwrap();
        assert_eq!(pfn.as_str(), "52314publisher.testwns_t6e9vsyjkrw9w");
        assert_eq!(
            (pfn.name(), pfn.publisher_id()),
            ("52314publisher.testwns", "t6e9vsyjkrw9w")
        );
    }
}

#[test]
fn what_is_no_package_name_is_refused_with_the_part() {
    let part = |part| PfnError::Part { part };
    for (text, error) in [
        ("", PfnError::Parts { parts: 1 }),
        ("contoso", PfnError::Parts { parts: 1 }),
        ("a_b_c", PfnError::Parts { parts: 3 }),
        ("a_b_c_d_e_f", PfnError::Parts { parts: 6 }),
        ("ab_t6e9vsyjkrw9w", PfnError::Name),
        ("a b c_t6e9vsyjkrw9w", PfnError::Name),
        ("contosö_t6e9vsyjkrw9w", PfnError::Name),
        ("contoso_t6e9vsyjkrw9", PfnError::PublisherId),
        ("contoso_t6e9vsyjkrw9wx", PfnError::PublisherId),
        ("contoso_i6e9vsyjkrw9w", PfnError::PublisherId),
        ("contoso_u6e9vsyjkrw9w", PfnError::PublisherId),
        ("contoso_1.1.0_x86__t6e9vsyjkrw9w", PfnError::Version),
        ("contoso_1.1.0.+1_x86__t6e9vsyjkrw9w", PfnError::Version),
        ("contoso_1.1.0.70000_x86__t6e9vsyjkrw9w", PfnError::Version),
        ("contoso_1.1.0.0___t6e9vsyjkrw9w", part("architecture")),
        ("contoso_1.1.0.0_x86_a/b_t6e9vsyjkrw9w", part("resource id")),
    ] {
        assert_eq!(Pfn::parse(text), Err(error), "{text}");
    }
    assert_eq!(
        Pfn::parse(&format!("{}_t6e9vsyjkrw9w", "x".repeat(51))),
        Err(PfnError::Name)
    );
}

#[test]
fn a_sid_follows_from_its_family_name() {
    for (pfn, sid) in [
        ("CoGrow.CogrowMDMPush_r2dv7jx02rjxr", COGROW_SID),
        (
            "52314Publisher.TestWNS_1.1.0.0_x86__t6e9vsyjkrw9w",
            SEED_SID,
        ),
    ] {
        let pfn = Pfn::parse(pfn).unwrap();
        let given = PackageSid::parse(sid).unwrap();
        assert_eq!(PackageSid::of(&pfn).bare(), sid);
        assert!(pfn.matches(&given) && given.matches(&pfn));
    }
    let other = Pfn::parse("52314Publisher.TestWNS_t6e9vsyjkrw9w").unwrap();
    assert!(!other.matches(&PackageSid::parse(COGROW_SID).unwrap()));
}

#[test]
fn a_sid_is_taken_with_and_without_its_scheme() {
    let lower = SEED_SID.to_lowercase();
    for text in [
        SEED_SID,
        &lower,
        &format!("ms-app://{SEED_SID}"),
        &format!(" MS-APP://{lower} "),
    ] {
        let sid = PackageSid::parse(text).unwrap();
        assert_eq!(sid, PackageSid::parse(SEED_SID).unwrap());
        assert_eq!(sid.to_string().to_lowercase(), format!("ms-app://{lower}"));
    }
    assert_eq!(
        PackageSid::parse(&lower).unwrap().to_string(),
        format!("ms-app://{lower}")
    );
}

#[test]
fn what_is_no_package_sid_is_refused() {
    for text in [
        "",
        "ms-app://",
        "S-1-15-2-",
        "S-1-15-2-1-2-3-4-5-6",
        "S-1-15-2-1-2-3-4-5-6-7-8",
        "S-1-15-2-1-2-3-4-5-6-",
        "S-1-15-2-1-2-3-4-5-6-4294967296",
        "S-1-15-2-1-2-3-4-5-6-+7",
        "S-1-15-2-1-2-3-4-5-6-07",
        "S-1-15-3-1-2-3-4-5-6-7",
        "ms-app:S-1-15-2-1-2-3-4-5-6-7",
        "S-1-15-2-1-2-3-4-5-6-7 x",
    ] {
        assert_eq!(PackageSid::parse(text), Err(PackageSidError), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_answered_and_what_is_taken_parses_again(text in "\\PC{0,80}|[A-Za-z0-9.-]{1,52}_[0-9a-z]{13}|(ms-app://)?S-1-15-2(-[0-9]{1,11}){6,8}") {
        if let Ok(pfn) = Pfn::parse(&text) {
            prop_assert_eq!(Pfn::parse(pfn.as_str()), Ok(pfn.clone()));
            prop_assert!(pfn.matches(&PackageSid::of(&pfn)));
        }
        if let Ok(sid) = PackageSid::parse(&text) {
            prop_assert_eq!(PackageSid::parse(&sid.to_string()), Ok(sid));
        }
    }
}
