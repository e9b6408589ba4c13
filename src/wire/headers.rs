//! Headers that say when, as every HTTP API may send them. Pure.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::header::HeaderMap;

use crate::clock::Time;

/// A server that asks for more patience than this is asked earlier all the same: a commit token does
/// not wait.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// A header that is text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What their clock said.
pub fn date(headers: &HeaderMap) -> Option<Time> {
    text(headers, "date").and_then(http_date)
}

/// How long the server wants to be left alone.
pub fn retry_after_of(headers: &HeaderMap) -> Option<Duration> {
    // Their clock, not ours: the date they name and the date they think it is belong together.
    text(headers, "retry-after").and_then(|text| retry_after(text, date(headers)))
}

/// Both forms of `Retry-After`: seconds, or a date, which counts from `now`.
#[must_use]
pub fn retry_after(header: &str, now: Option<DateTime<Utc>>) -> Option<Duration> {
    let header = header.trim();
    let wait = match header.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (http_date(header)? - now?).to_std().unwrap_or(Duration::ZERO),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The three date forms that a recipient must take (RFC 9110, 5.6.7).
fn http_date(header: &str) -> Option<DateTime<Utc>> {
    let obsolete = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let modern = DateTime::parse_from_rfc2822(header).ok().map(|date| date.with_timezone(&Utc));
    modern.or_else(|| {
        let mut dates = obsolete.iter().filter_map(|form| {
            NaiveDateTime::parse_from_str(header, form).ok().map(|date| date.and_utc())
        });
        dates.next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_comes_as_seconds_or_as_a_date() {
        let now = http_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(now.is_some());
        let rows = [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999999", Some(3_600)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("-5", None),
            ("soon", None),
        ];
        for (header, seconds) in rows {
            assert_eq!(retry_after(header, now), seconds.map(Duration::from_secs), "{header}");
        }
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", None), None);
    }
}
