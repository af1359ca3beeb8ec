//! How a metric is declared: one line gives its handle, its name, its labels, and its HELP text from the doc comment.

use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    core::Collector,
};

/// A label and what it may be.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub(super) name: &'static str,
    pub(super) values: Values,
}

/// What a label may be.
#[derive(Clone, Copy)]
pub(super) enum Values {
    /// One of these.
    Closed(fn() -> Vec<&'static str>),
    /// As many as the words say; never ids of devices or campaigns.
    Bounded(&'static str),
}

/// A metric as documented.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) help: String,
    pub(super) labels: &'static [Label],
    pub(super) buckets: Option<&'static [f64]>,
}

/// A kind of metric that the catalogue can hold.
pub(super) trait Family: Collector + Clone + Sized + 'static {
    /// The word for it in the exposition format.
    const KIND: &'static str;

    fn make(entry: &Entry, labels: &[&str]) -> prometheus::Result<Self>;

    /// Makes the metric of `entry` and has `registry` show it.
    fn register(entry: &Entry, registry: &Registry) -> Self {
        let labels: Vec<&str> = entry.labels.iter().map(|label| label.name).collect();
        let made = Self::make(entry, &labels).expect("names and labels of the catalogue are valid");
        registry
            .register(Box::new(made.clone()))
            .expect("each name stands in the catalogue once");
        made
    }
}

fn opts(entry: &Entry) -> Opts {
    Opts::new(entry.name, entry.help.as_str())
}

impl Family for IntCounterVec {
    const KIND: &'static str = "counter";

    fn make(entry: &Entry, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(opts(entry), labels)
    }
}

impl Family for CounterVec {
    const KIND: &'static str = "counter";

    fn make(entry: &Entry, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(opts(entry), labels)
    }
}

impl Family for IntGaugeVec {
    const KIND: &'static str = "gauge";

    fn make(entry: &Entry, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(opts(entry), labels)
    }
}

impl Family for GaugeVec {
    const KIND: &'static str = "gauge";

    fn make(entry: &Entry, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(opts(entry), labels)
    }
}

impl Family for HistogramVec {
    const KIND: &'static str = "histogram";

    fn make(entry: &Entry, labels: &[&str]) -> prometheus::Result<Self> {
        let buckets = entry
            .buckets
            .expect("every histogram of the catalogue names its buckets");
        Self::new(
            HistogramOpts::from(opts(entry)).buckets(buckets.to_vec()),
            labels,
        )
    }
}

/// Declares all metrics: the struct of their handles, and the catalogue that the documentation is written from.
macro_rules! metrics {
    (
        $(#[$about:meta])+
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $help:literal])+
                $field:ident: $type:ty = $metric:literal, [$($label:expr),*] $(, $buckets:expr)?;
            )+
        }
    ) => {
        $(#[$about])+
        #[derive(Clone)]
        $vis struct $name { $( $(#[doc = $help])+ $vis $field: $type, )+ }

        impl $name {
            /// Makes every metric and has `registry` show it.
            $vis fn new(registry: &prometheus::Registry) -> Self {
                let mut entries = Self::catalogue().into_iter();
                let mut next = || entries.next().expect("the catalogue has an entry for each field");
                Self { $( $field: <$type as $crate::telemetry::family::Family>::register(&next(), registry), )+ }
            }

            /// Every metric, as documented.
            $vis fn catalogue() -> Vec<$crate::telemetry::family::Entry> {
                vec![$( $crate::telemetry::family::Entry {
                    name: $metric,
                    kind: <$type as $crate::telemetry::family::Family>::KIND,
                    help: $crate::telemetry::family::help(&[$($help),+]),
                    labels: &[$($label),*],
                    buckets: $crate::telemetry::family::first(&[$($buckets)?]),
                } ),+]
            }
        }
    };
}
pub(super) use metrics;

/// The HELP text: the doc comment on one line, without its full stop.
pub(super) fn help(lines: &[&str]) -> String {
    let text = lines
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ");
    text.trim_end_matches('.').to_owned()
}

/// The buckets, if the declaration names some.
pub(super) fn first(named: &[&'static [f64]]) -> Option<&'static [f64]> {
    named.first().copied()
}
