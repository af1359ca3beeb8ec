//! A wave as the command line has it: `1%:hold=10m,checked-in-min=50%`.

use std::str::FromStr;

use serde_json::{Map, Value};

/// What must hold before the next wave: `hold=10m,checked-in-min=50%,errors-max=5%`, each at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GateFlag(Map<String, Value>);

/// How far a wave goes, and its own gate if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WaveFlag {
    size: Value,
    gate: Option<GateFlag>,
}

/// The text is no wave, or no gate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WaveFlagError {
    #[error("the parts of a gate are hold=10m, checked-in-min=50% and errors-max=5%, not {0:?}")]
    Part(String),
    #[error("{0} comes twice")]
    Twice(String),
    #[error("a wave is a number or a share of the targets, such as 1000 or 1%")]
    Size,
}

impl FromStr for GateFlag {
    type Err = WaveFlagError;

    fn from_str(text: &str) -> Result<Self, WaveFlagError> {
        let mut gate = Map::new();
        for part in text.split(',') {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| WaveFlagError::Part(part.to_owned()))?;
            let key = match name.trim() {
                "hold" => "hold",
                "checked-in-min" => "checked_in_min",
                "errors-max" => "errors_max",
                _ => return Err(WaveFlagError::Part(part.to_owned())),
            };
            let value = Value::from(value.trim());
            if gate.insert(key.to_owned(), value).is_some() {
                return Err(WaveFlagError::Twice(name.to_owned()));
            }
        }
        Ok(Self(gate))
    }
}

impl FromStr for WaveFlag {
    type Err = WaveFlagError;

    fn from_str(text: &str) -> Result<Self, WaveFlagError> {
        let (size, gate) = match text.split_once(':') {
            Some((size, gate)) => (size, Some(gate.parse()?)),
            None => (text, None),
        };
        let size = size.trim();
        let size = match size.parse::<u64>() {
            Ok(targets) => Value::from(targets),
            Err(_) if size.ends_with('%') => Value::from(size),
            Err(_) => return Err(WaveFlagError::Size),
        };
        Ok(Self { size, gate })
    }
}

impl GateFlag {
    /// The gate as the API takes it.
    pub(super) fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

impl WaveFlag {
    /// The wave as the API takes it.
    pub(super) fn to_json(&self) -> Value {
        let Some(GateFlag(gate)) = &self.gate else {
            return self.size.clone();
        };
        let mut wave = gate.clone();
        wave.insert("size".to_owned(), self.size.clone());
        Value::Object(wave)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn waves_become_what_the_api_takes() {
        for (text, wave) in [
            ("1%", json!("1%")),
            ("1000", json!(1000)),
            ("2.5%:hold=1h", json!({"size": "2.5%", "hold": "1h"})),
            (
                "500:hold=10m, checked-in-min=50%,errors-max=5%",
                json!({"size": 500, "hold": "10m", "checked_in_min": "50%", "errors_max": "5%"}),
            ),
        ] {
            assert_eq!(text.parse::<WaveFlag>().unwrap().to_json(), wave, "{text}");
        }
    }

    #[test]
    fn what_is_no_wave_is_refused_with_what_would_be() {
        for (text, error) in [
            ("some", WaveFlagError::Size),
            ("", WaveFlagError::Size),
            ("1%:hold", WaveFlagError::Part("hold".to_owned())),
            ("1%:", WaveFlagError::Part(String::new())),
            ("1%:pace=5", WaveFlagError::Part("pace=5".to_owned())),
            (
                "1%:hold=1m,hold=2m",
                WaveFlagError::Twice("hold".to_owned()),
            ),
        ] {
            assert_eq!(text.parse::<WaveFlag>(), Err(error), "{text}");
        }
    }
}
