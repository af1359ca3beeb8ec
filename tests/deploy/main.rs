//! What operators deploy: rules, alerts, runbooks, dashboards, image, stack and unit, held to the programs that read them and
//! to the metrics that the broker really has.

mod catalogue;
mod expressions;
mod packaging;
mod rules;
mod tools;
