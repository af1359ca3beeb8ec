//! The files of the console page and the runbooks, as the program carries them.

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// The page itself.
pub(super) const PAGE: &str = include_str!("static/index.html");

/// The page's parts: name, media type, content.
pub(super) const PARTS: &[(&str, &str, &str)] = &[
    ("api.js", SCRIPT, include_str!("static/api.js")),
    ("apps.js", SCRIPT, include_str!("static/apps.js")),
    ("campaigns.js", SCRIPT, include_str!("static/campaigns.js")),
    ("charts.js", SCRIPT, include_str!("static/charts.js")),
    ("console.css", STYLE, include_str!("static/console.css")),
    ("devices.js", SCRIPT, include_str!("static/devices.js")),
    ("dom.js", SCRIPT, include_str!("static/dom.js")),
    ("format.js", SCRIPT, include_str!("static/format.js")),
    ("icon.svg", PICTURE, include_str!("static/icon.svg")),
    ("live.js", SCRIPT, include_str!("static/live.js")),
    ("main.js", SCRIPT, include_str!("static/main.js")),
    ("metrics.js", SCRIPT, include_str!("static/metrics.js")),
    ("now.js", SCRIPT, include_str!("static/now.js")),
    ("problems.js", SCRIPT, include_str!("static/problems.js")),
    (
        "uPlot.iife.min.js",
        SCRIPT,
        include_str!("static/vendor/uplot/uPlot.iife.min.js"),
    ),
    (
        "uPlot.min.css",
        STYLE,
        include_str!("static/vendor/uplot/uPlot.min.css"),
    ),
];

/// Declares the runbooks by the names of their alerts.
macro_rules! runbooks {
    ($($name:literal),+ $(,)?) => {
        /// Runbooks by the name of their alert.
        pub(super) const RUNBOOKS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../deploy/runbooks/", $name, ".md"))),)+];
    };
}

runbooks![
    "README",
    "ReveilleActorFrozen",
    "ReveilleActorRestartLoop",
    "ReveilleAppHeld",
    "ReveilleAppPausedByHand",
    "ReveilleAppStopped",
    "ReveilleAppThrottled",
    "ReveilleAppThrottledOften",
    "ReveilleChannelsDyingInAWave",
    "ReveilleCheckInClockSkew",
    "ReveilleCrashLoop",
    "ReveilleDown",
    "ReveilleErrorBudgetBurnFast",
    "ReveilleErrorBudgetBurnSlow",
    "ReveilleHostBreakerOpen",
    "ReveilleInboxLag",
    "ReveilleManyChannelsDead",
    "ReveilleMassExpiryAhead",
    "ReveilleNoCheckIns",
    "ReveilleNoToken",
    "ReveilleOldestDuePushFarTooOld",
    "ReveilleOldestDuePushTooOld",
    "ReveillePanics",
    "ReveillePushesNotFlowing",
    "ReveillePushesUnserved",
    "ReveilleRequestsRefused",
    "ReveilleSecretExpiresSoon",
    "ReveilleSecretExpiresVerySoon",
    "ReveilleStoreErrors",
    "ReveilleStoreSlow",
    "ReveilleTokenEndsSoon",
    "ReveilleTokenRefused",
    "ReveilleTracesNotExported",
    "ReveilleWebhookDisabled",
    "ReveilleWebhookLag",
    "ReveilleWnsOutage",
];
