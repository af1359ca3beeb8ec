//! What a scrape costs on a large broker.

use super::*;

/// Apps with a tenant each.
const APPS: usize = 1_000;
/// Series and their lines that one app with one tenant may add.
const LINES_PER_APP_MAX: usize = 120;
/// A scrape takes a fraction of 50 ms in a release build; without optimization, on a busy machine, this is generous.
const LONGEST: Duration = Duration::from_secs(2);

fn large(apps: usize) -> Telemetry {
    let telemetry = telemetry();
    for number in 0..apps {
        drop(telemetry.app(&AppId::new(&format!("app-{number}")).unwrap()));
        let tenant = telemetry.tenant(&TenantId::new(&format!("tenant-{number}")).unwrap());
        // A hundred campaigns in all.
        let sample = TenantSample {
            campaigns: vec![(CampaignPhase::Running, u64::from(number < 100))],
            ..TenantSample::default()
        };
        telemetry.tenant_sampled(&tenant, &sample);
    }
    telemetry
}

fn lines(telemetry: &Telemetry) -> usize {
    let text = telemetry.render(Instant::now());
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn a_thousand_apps_and_a_hundred_campaigns_are_a_bounded_number_of_series() {
    let (none, one, all) = (lines(&large(0)), lines(&large(1)), lines(&large(APPS)));
    let each = one - none;
    assert!(each <= LINES_PER_APP_MAX, "{each} lines an app");
    assert_eq!(all, none + APPS * each);
}

#[test]
fn what_happens_adds_no_series_whatever_the_device_or_campaign() {
    let telemetry = large(1);
    finish(&telemetry, &Outcome::Dropped, Instant::now());
    let before = lines(&telemetry);
    for _ in 0..1_000 {
        finish(&telemetry, &Outcome::Dropped, Instant::now());
    }
    assert_eq!(lines(&telemetry), before);
}

#[test]
fn a_scrape_of_a_thousand_apps_is_quick() {
    let telemetry = large(APPS);
    #[expect(clippy::disallowed_methods, reason = "it is real time that counts")]
    let timed = || {
        let began = std::time::Instant::now();
        let bytes = telemetry.render(Instant::now()).len();
        (began.elapsed(), bytes)
    };
    let (took, bytes) = (0..5).map(|_| timed()).min().unwrap();
    println!("a scrape of {APPS} apps: {took:?}, {bytes} bytes");
    assert!(took < LONGEST, "{took:?}");
}
