//! The gateway to Phala Cloud.

use std::{str::FromStr, time::Duration};

use super::{ConfigError, wrong};

/// How long a caller may keep its own call waiting, beyond what it makes up for by sending or reading on.
const PATIENCE: Duration = Duration::from_mins(1);

/// What becomes of a preparation that cannot be kept in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capture {
    /// It goes on to its caller, who has to submit it by hand.
    #[default]
    BestEffort,
    /// Its caller does not get it.
    Required,
}

impl FromStr for Capture {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "best_effort" => Ok(Self::BestEffort),
            "required" => Ok(Self::Required),
            _ => Err("expected best_effort or required"),
        }
    }
}

/// How the gateway works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewaySettings {
    pub is_on: bool,
    pub capture: Capture,
    pub patience: Duration,
}

impl GatewaySettings {
    pub(super) fn read(on: Option<&str>, capture: Option<&str>) -> Result<Self, ConfigError> {
        let is_on = match on {
            None | Some("on") => true,
            Some("off") => false,
            Some(_) => return Err(wrong("gateway", "expected on or off")),
        };
        let capture = capture.map(str::parse).transpose();
        let capture = capture.map_err(|problem: &str| wrong("gateway_capture", problem))?;
        Ok(Self { is_on, capture: capture.unwrap_or_default(), patience: PATIENCE })
    }
}
