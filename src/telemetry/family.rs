//! How a metric is declared: one line gives its handle, its name, its labels, and its HELP text from the doc comment.
//!
//! Values are the `prometheus` crate's atomics and histograms. Its vectors and encoder are not used: they copy every name
//! and label at each scrape, which takes about 100 ms with a thousand apps. Here a family keeps the beginnings of all its
//! lines ready, one after the other as they are written, and a scrape only adds the numbers.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Arc, PoisonError, RwLock},
};

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, core::Metric};

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

/// A metric with all its series.
#[derive(Clone)]
pub(super) struct Family<M>(Arc<Inner<M>>);

struct Inner<M> {
    entry: Entry,
    series: RwLock<AllSeries<M>>,
}

struct AllSeries<M> {
    by_labels: HashMap<Vec<String>, usize>,
    in_order: Vec<M>,
    /// How the lines of all series begin, up to their values.
    starts: String,
    /// Where each of these beginnings ends; every series has equally many.
    ends: Vec<usize>,
}

/// The beginnings of the lines that are still to be written.
pub(super) struct Starts<'a> {
    text: &'a str,
    ends: std::slice::Iter<'a, usize>,
    at: usize,
}

impl Starts<'_> {
    /// Writes the next line.
    fn line(&mut self, out: &mut String, value: impl Value) {
        let end = *self.ends.next().expect("each line was given a beginning");
        out.push_str(&self.text[self.at..end]);
        self.at = end;
        value.write(out);
        out.push('\n');
    }
}

impl<M: Measure> Family<M> {
    pub(super) fn new(entry: Entry) -> Self {
        let series = AllSeries {
            by_labels: HashMap::new(),
            in_order: Vec::new(),
            starts: String::new(),
            ends: Vec::new(),
        };
        Self(Arc::new(Inner {
            entry,
            series: RwLock::new(series),
        }))
    }

    /// The series with these label values, in the order in which the labels are declared; it begins at zero.
    pub(super) fn with(&self, values: &[&str]) -> M {
        let Inner { entry, series } = &*self.0;
        let key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let known = series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = known.by_labels.get(&key) {
            return known.in_order[*at].clone();
        }
        drop(known);
        let mut all = series.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = all.by_labels.get(&key) {
            return all.in_order[*at].clone();
        }
        let names = entry.labels.iter().map(|label| label.name);
        let pairs: Vec<String> = names
            .zip(values)
            .map(|(name, value)| pair(name, value))
            .collect();
        let metric = M::make(entry);
        let at = all.in_order.len();
        all.by_labels.insert(key, at);
        all.in_order.push(metric.clone());
        for start in M::lines(entry, &pairs.join(",")) {
            all.starts.push_str(&start);
            let end = all.starts.len();
            all.ends.push(end);
        }
        metric
    }

    /// Forgets every series.
    pub(super) fn clear(&self) {
        let mut all = self
            .0
            .series
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        all.by_labels.clear();
        all.in_order.clear();
        all.starts.clear();
        all.ends.clear();
    }

    /// Writes the family in the Prometheus text format; nothing if it has no series.
    pub(super) fn render(&self, out: &mut String) {
        let Inner { entry, series } = &*self.0;
        let all = series.read().unwrap_or_else(PoisonError::into_inner);
        if all.in_order.is_empty() {
            return;
        }
        let help = entry.help.replace('\\', "\\\\");
        push(
            out,
            format_args!(
                "# HELP {0} {help}\n# TYPE {0} {1}\n",
                entry.name, entry.kind
            ),
        );
        let mut starts = Starts {
            text: &all.starts,
            ends: all.ends.iter(),
            at: 0,
        };
        for metric in &all.in_order {
            metric.write(&mut starts, out);
        }
    }
}

/// What a series holds.
pub(super) trait Measure: Clone {
    /// The word for it in the text format.
    const KIND: &'static str;

    fn make(entry: &Entry) -> Self;

    /// The beginnings of its lines.
    fn lines(entry: &Entry, pairs: &str) -> Vec<String> {
        vec![format!("{}{} ", entry.name, braced(pairs))]
    }

    /// Writes its lines.
    fn write(&self, starts: &mut Starts<'_>, out: &mut String);
}

const VALID: &str = "the names of the catalogue are valid";

impl Measure for IntCounter {
    const KIND: &'static str = "counter";

    fn make(entry: &Entry) -> Self {
        Self::new(entry.name, entry.kind).expect(VALID)
    }

    fn write(&self, starts: &mut Starts<'_>, out: &mut String) {
        starts.line(out, self.get());
    }
}

impl Measure for IntGauge {
    const KIND: &'static str = "gauge";

    fn make(entry: &Entry) -> Self {
        Self::new(entry.name, entry.kind).expect(VALID)
    }

    fn write(&self, starts: &mut Starts<'_>, out: &mut String) {
        starts.line(out, self.get());
    }
}

impl Measure for Gauge {
    const KIND: &'static str = "gauge";

    fn make(entry: &Entry) -> Self {
        Self::new(entry.name, entry.kind).expect(VALID)
    }

    fn write(&self, starts: &mut Starts<'_>, out: &mut String) {
        starts.line(out, self.get());
    }
}

impl Measure for Histogram {
    const KIND: &'static str = "histogram";

    fn make(entry: &Entry) -> Self {
        let buckets = entry.buckets.unwrap_or_default().to_vec();
        Self::with_opts(HistogramOpts::new(entry.name, entry.kind).buckets(buckets)).expect(VALID)
    }

    /// One for each bucket, one for `+Inf`, then the sum and the count.
    fn lines(entry: &Entry, pairs: &str) -> Vec<String> {
        let name = entry.name;
        let comma = if pairs.is_empty() { "" } else { "," };
        let braced = braced(pairs);
        let bounds = entry.buckets.unwrap_or_default().iter().map(f64::to_string);
        let bounds = bounds.chain(["+Inf".to_owned()]);
        let buckets = bounds.map(|le| format!("{name}_bucket{{{pairs}{comma}le=\"{le}\"}} "));
        let totals = ["sum", "count"].map(|total| format!("{name}_{total}{braced} "));
        buckets.chain(totals).collect()
    }

    fn write(&self, starts: &mut Starts<'_>, out: &mut String) {
        let metric = self.metric();
        let histogram = metric.get_histogram();
        for bucket in histogram.get_bucket() {
            starts.line(out, bucket.cumulative_count());
        }
        starts.line(out, histogram.get_sample_count());
        starts.line(out, histogram.get_sample_sum());
        starts.line(out, histogram.get_sample_count());
    }
}

/// A number as the text format shows it.
trait Value {
    fn write(self, out: &mut String);
}

impl Value for u64 {
    fn write(self, out: &mut String) {
        out.push_str(itoa::Buffer::new().format(self));
    }
}

impl Value for i64 {
    fn write(self, out: &mut String) {
        out.push_str(itoa::Buffer::new().format(self));
    }
}

impl Value for f64 {
    fn write(self, out: &mut String) {
        // Most gauges and sums stand at nothing.
        if self.to_bits() == 0 {
            out.push('0');
        } else {
            push(out, format_args!("{self}"));
        }
    }
}

/// The labels of a series between braces, if it has some.
fn braced(pairs: &str) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    format!("{{{pairs}}}")
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a string does not fail");
}

fn pair(name: &str, value: &str) -> String {
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{name}=\"{escaped}\"")
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
        $vis struct $name { $( $(#[doc = $help])+ $vis $field: $crate::telemetry::family::Family<$type>, )+ }

        impl $name {
            /// Makes every metric, without series.
            $vis fn new() -> Self {
                let mut entries = Self::catalogue().into_iter();
                let mut next = || entries.next().expect("the catalogue has an entry for each field");
                Self { $( $field: $crate::telemetry::family::Family::new(next()), )+ }
            }

            /// Every metric, as documented.
            $vis fn catalogue() -> Vec<$crate::telemetry::family::Entry> {
                vec![$( $crate::telemetry::family::Entry {
                    name: $metric,
                    kind: <$type as $crate::telemetry::family::Measure>::KIND,
                    help: $crate::telemetry::family::help(&[$($help),+]),
                    labels: &[$($label),*],
                    buckets: $crate::telemetry::family::first(&[$($buckets)?]),
                } ),+]
            }

            /// Writes every metric that has series, in the order of the catalogue.
            $vis fn render(&self, out: &mut String) {
                $( self.$field.render(out); )+
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

#[cfg(test)]
mod tests {
    use prometheus::{HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

    use super::*;

    const LABELS: &[Label] = &[
        Label {
            name: "app",
            values: Values::Bounded(""),
        },
        Label {
            name: "outcome",
            values: Values::Bounded(""),
        },
    ];

    fn entry(kind: &'static str, buckets: Option<&'static [f64]>) -> Entry {
        Entry {
            name: "x_total",
            kind,
            help: r"a \ b".into(),
            labels: LABELS,
            buckets,
        }
    }

    fn by_prometheus(collector: Box<dyn prometheus::core::Collector>) -> String {
        let registry = Registry::new();
        registry.register(collector).unwrap();
        TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap()
    }

    #[test]
    fn counters_are_written_as_the_prometheus_crate_writes_them() {
        let values = ["a\"b\\c\nd", "ok"];
        let ours = Family::<IntCounter>::new(entry("counter", None));
        let theirs =
            IntCounterVec::new(Opts::new("x_total", r"a \ b"), &["app", "outcome"]).unwrap();
        ours.with(&values).inc_by(7);
        theirs.with_label_values(&values).inc_by(7);

        let mut text = String::new();
        ours.render(&mut text);

        assert_eq!(text, by_prometheus(Box::new(theirs)));
    }

    #[test]
    fn histograms_are_written_as_the_prometheus_crate_writes_them() {
        const BUCKETS: &[f64] = &[0.005, 1.0, 604_800.0];
        let ours = Family::<Histogram>::new(entry("histogram", Some(BUCKETS)));
        let opts = HistogramOpts::new("x_total", r"a \ b").buckets(BUCKETS.to_vec());
        let theirs = HistogramVec::new(opts, &["app", "outcome"]).unwrap();
        for seconds in [0.001, 0.5, 2.0, 1e9] {
            ours.with(&["a", "b"]).observe(seconds);
            theirs.with_label_values(&["a", "b"]).observe(seconds);
        }

        let mut text = String::new();
        ours.render(&mut text);

        assert_eq!(text, by_prometheus(Box::new(theirs)));
    }

    #[test]
    fn a_metric_without_labels_or_series_is_written_plainly_or_not_at_all() {
        let bare = Entry {
            labels: &[],
            ..entry("gauge", None)
        };
        let family = Family::<IntGauge>::new(bare);
        let mut text = String::new();
        family.render(&mut text);
        assert_eq!(text, "");

        family.with(&[]).set(-3);
        family.render(&mut text);
        assert!(text.ends_with("\nx_total -3\n"), "{text}");
        family.clear();
        text.clear();
        family.render(&mut text);
        assert_eq!(text, "");
    }
}
