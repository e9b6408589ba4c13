//! The name that this site has for browsers and wallets, the cookie that a session stands in, and
//! whether a request came from a page of ours.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::problem::Problem;
use crate::{access::SessionId, config::Settings};

/// What wallets show, browsers compare, and messages say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Host, and port if it is not the usual one.
    pub domain: String,
    pub uri: String,
    /// As browsers write it in `Origin`.
    pub origin: String,
}

impl Site {
    /// By `public_url`; without it, by the host that the caller asked for.
    pub fn of(settings: &Settings, headers: &HeaderMap) -> Result<Self, Problem> {
        let named = match &settings.public_url {
            Some(url) => Some(url.clone()),
            None => headers.get(header::HOST).and_then(host),
        };
        named.and_then(|url| Self::at(&url)).ok_or_else(|| {
            let title = "the request does not say which host it is for: set public_url";
            Problem::new(StatusCode::BAD_REQUEST, "no-host", title)
        })
    }

    /// The site that somebody may sign in to.
    ///
    /// Without `public_url` its name is whatever host the caller says. A page elsewhere could have wallets
    /// sign in to its own name, which they have no reason to warn of, and hand that in here under the same
    /// name. So then only the names of the machine itself are taken: a wallet warns of a page elsewhere
    /// that asks in those. Where the service listens says nothing, since a proxy may stand before it.
    pub fn to_sign_in(settings: &Settings, headers: &HeaderMap) -> Result<Self, Problem> {
        let site = Self::of(settings, headers)?;
        let asked = headers.get(header::HOST).and_then(host);
        if settings.public_url.is_some()
            || settings.is_devnet
            || asked.is_some_and(|url| is_this_machine(&url))
        {
            return Ok(site);
        }
        let title = "nobody signs in by this name before the operator has set public_url to it";
        Err(Problem::new(StatusCode::FORBIDDEN, "no-public-url", title))
    }

    fn at(url: &Url) -> Option<Self> {
        let host = url.host_str()?;
        let domain = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let origin = url.origin().ascii_serialization();
        Some(Self { domain, uri: url.to_string(), origin })
    }
}

/// Whether a host means the machine that asks, whoever that is.
fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A host as it stands in `Host`, and nothing that could be more than that.
fn host(value: &HeaderValue) -> Option<Url> {
    let text = value.to_str().ok()?;
    let is_host = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte));
    if is_host { Url::parse(&format!("http://{text}/")).ok() } else { None }
}

/// Whether people reach the site over TLS, as far as the settings know.
pub fn is_https(settings: &Settings) -> bool {
    settings.public_url.as_ref().is_some_and(|url| url.scheme() == "https")
}

const COOKIE: &str = "countersign";
/// With this prefix a browser takes the cookie over TLS only, and from this very host.
const COOKIE_OVER_TLS: &str = "__Host-countersign";

fn cookie_name(settings: &Settings) -> &'static str {
    if is_https(settings) { COOKIE_OVER_TLS } else { COOKIE }
}

/// The session that a browser sends along.
pub fn session_id(settings: &Settings, headers: &HeaderMap) -> Option<SessionId> {
    let name = cookie_name(settings);
    let mut cookies = headers.get_all(header::COOKIE).iter().flat_map(cookies);
    let cookie = cookies.find(|cookie| name_of(cookie) == name.as_bytes())?;
    let (_, id) = str::from_utf8(cookie).ok()?.split_once('=')?;
    SessionId::parse(id.trim())
}

/// The cookies of a header, as bytes: what other programs of the same host put there need not be text.
fn cookies(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

fn name_of(cookie: &[u8]) -> &[u8] {
    cookie.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

fn is_session(cookie: &[u8]) -> bool {
    [COOKIE.as_bytes(), COOKIE_OVER_TLS.as_bytes()].contains(&name_of(cookie))
}

/// Takes a session's cookie out of headers that go elsewhere, and leaves the others as they are.
pub fn drop_session(headers: &mut HeaderMap) {
    let all: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    if !all.iter().flat_map(cookies).any(is_session) {
        return;
    }
    headers.remove(header::COOKIE);
    for value in &all {
        let rest: Vec<&[u8]> = cookies(value).filter(|cookie| !is_session(cookie)).collect();
        let rest = HeaderValue::from_bytes(&rest.join(&b"; "[..]));
        headers
            .extend(rest.ok().filter(|rest| !rest.is_empty()).map(|rest| (header::COOKIE, rest)));
    }
}

/// Takes out of an answer from elsewhere what would put another session in the place of ours.
pub fn keep_session(headers: &mut HeaderMap) {
    let all: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    let is_ours = |value: &HeaderValue| cookies(value).next().is_some_and(is_session);
    if all.iter().any(is_ours) {
        headers.remove(header::SET_COOKIE);
        let rest = all.into_iter().filter(|value| !is_ours(value));
        headers.extend(rest.map(|value| (header::SET_COOKIE, value)));
    }
}

/// Tells a browser to keep a session's id for so many seconds, out of the reach of scripts.
pub fn set_cookie(settings: &Settings, id: &str, seconds: i64) -> HeaderValue {
    let (name, secure) = (cookie_name(settings), if is_https(settings) { "; Secure" } else { "" });
    let text = format!("{name}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).expect("a cookie is made of plain characters")
}

/// Where a request came from, as far as a browser tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whence {
    Here,
    Elsewhere,
    /// No browser, or a very old one.
    Untold,
}

/// A form of ours that is sent without script comes with the origin `null`, since our pages tell nobody
/// where they are; then `Sec-Fetch-Site` tells.
pub fn whence(site: &Site, headers: &HeaderMap) -> Whence {
    let told = headers.get(header::ORIGIN).filter(|origin| *origin != "null");
    let same_site = headers.get("sec-fetch-site").map(|value| value == "same-origin");
    match (told.map(|origin| *origin == site.origin.as_str()), same_site) {
        (Some(false), _) | (_, Some(false)) => Whence::Elsewhere,
        (Some(true), _) | (None, Some(true)) => Whence::Here,
        // Any page can have its origin hidden, and without TLS nothing else tells.
        (None, None) if headers.contains_key(header::ORIGIN) => Whence::Elsewhere,
        (None, None) => Whence::Untold,
    }
}

/// Whether a body is said to be JSON, which no form of another site can say.
pub fn is_json(headers: &HeaderMap) -> bool {
    kind_of(headers) == Some("application/json")
}

fn kind_of(headers: &HeaderMap) -> Option<&str> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or_default();
    Some(kind.split(';').next().unwrap_or_default().trim())
}

/// A browser sends the cookie along by itself, so a change must come from a page of ours, and in a form
/// that no page elsewhere can send without being asked about it first.
pub fn check_change(
    settings: &Settings,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    check_whence(settings, headers)?;
    match kind_of(headers) {
        None if method == Method::DELETE => Ok(()),
        Some("application/json" | "application/octet-stream") => Ok(()),
        _ => {
            let title = "a change by a session is sent as application/json";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", title))
        }
    }
}

/// The same for a form that is sent without script. Every page can send one, so whoever calls this has
/// yet to see that it is a form that the session was shown.
pub fn check_form(settings: &Settings, headers: &HeaderMap) -> Result<(), Problem> {
    check_whence(settings, headers)?;
    if kind_of(headers) == Some("application/x-www-form-urlencoded") {
        return Ok(());
    }
    let title = "a form is sent as application/x-www-form-urlencoded";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", title))
}

fn check_whence(settings: &Settings, headers: &HeaderMap) -> Result<(), Problem> {
    if whence(&Site::of(settings, headers)?, headers) == Whence::Here {
        return Ok(());
    }
    let title = "a change by a session must come from a page of this site";
    Err(Problem::new(StatusCode::FORBIDDEN, "cross-site", title))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn settings(public_url: Option<&str>) -> Settings {
        let public_url = public_url.map(str::to_owned);
        Settings::read("", Overrides { public_url, ..Overrides::default() }).unwrap()
    }

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_site_is_the_public_one_or_else_the_host_that_was_asked() {
        let of = |public: Option<&str>, host: &str| {
            let site = Site::of(&settings(public), &headers(&[("host", host)])).ok()?;
            Some((site.domain, site.uri, site.origin))
        };
        for (public, host, expected) in [
            (
                Some("https://countersign.example.org/some/where"),
                "evil.example",
                Some((
                    "countersign.example.org",
                    "https://countersign.example.org/some/where",
                    "https://countersign.example.org",
                )),
            ),
            (
                Some("https://a.example:8443"),
                "",
                Some(("a.example:8443", "https://a.example:8443/", "https://a.example:8443")),
            ),
            (
                None,
                "127.0.0.1:8465",
                Some(("127.0.0.1:8465", "http://127.0.0.1:8465/", "http://127.0.0.1:8465")),
            ),
            (None, "[::1]:8465", Some(("[::1]:8465", "http://[::1]:8465/", "http://[::1]:8465"))),
            (None, "a.example:80", Some(("a.example", "http://a.example/", "http://a.example"))),
            (None, "a.example/b", None),
            (None, "user@a.example", None),
            (None, "", None),
        ] {
            let expected = expected.map(|(a, b, c)| (a.into(), b.into(), c.into()));
            assert_eq!(of(public, host), expected, "{public:?} {host}");
        }
    }

    #[test]
    fn without_a_public_url_only_the_machine_itself_is_signed_in_to() {
        for (public, host, expected) in [
            (None, "127.0.0.1:8465", Ok("127.0.0.1:8465")),
            (None, "127.8.9.10", Ok("127.8.9.10")),
            (None, "[::1]:8465", Ok("[::1]:8465")),
            (None, "localhost:8465", Ok("localhost:8465")),
            (None, "LOCALHOST", Ok("localhost")),
            (None, "192.168.1.5:8465", Err("no-public-url")),
            (None, "0.0.0.0:8465", Err("no-public-url")),
            (None, "evil.example", Err("no-public-url")),
            (None, "localhost.evil.example", Err("no-public-url")),
            (None, "127.0.0.1.evil.example", Err("no-public-url")),
            (None, "", Err("no-host")),
            (Some("https://a.example"), "evil.example", Ok("a.example")),
            (Some("http://192.168.1.5:8465"), "192.168.1.5:8465", Ok("192.168.1.5:8465")),
        ] {
            let site = Site::to_sign_in(&settings(public), &headers(&[("host", host)]));
            let told = site.map(|site| site.domain).map_err(|problem| problem.code);
            assert_eq!(told, expected.map(str::to_owned), "{public:?} {host}");
        }
        let devnet = Settings { is_devnet: true, ..settings(None) };
        assert!(Site::to_sign_in(&devnet, &headers(&[("host", "192.168.1.5")])).is_ok());
    }

    #[test]
    fn a_cookie_is_read_by_its_whole_name() {
        let id = "ab".repeat(32);
        let open = settings(None);
        let read = |settings: &Settings, text: &str| {
            session_id(settings, &headers(&[("cookie", text)])).map(|id| id.expose().to_owned())
        };
        assert_eq!(read(&open, &format!("a=b; countersign={id}; c")), Some(id.clone()));
        assert_eq!(read(&open, &format!("xcountersign={id}")), None);
        assert_eq!(read(&open, "countersign=abc"), None);
        let secure = settings(Some("https://a.example"));
        assert_eq!(
            read(&secure, &format!("countersign={id}")),
            None,
            "anybody on the way could set it"
        );
        assert_eq!(read(&secure, &format!("__Host-countersign={id}")), Some(id.clone()));
        let set = set_cookie(&secure, &id, 60);
        let expected = format!(
            "__Host-countersign={id}; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(set.to_str().unwrap(), expected);
    }

    #[test]
    fn a_session_goes_nowhere_else() {
        for (given, expected) in [
            ("a=b", Some("a=b")),
            ("a=b;c=d", Some("a=b;c=d")),
            ("a=b; countersign=1; c=d", Some("a=b; c=d")),
            ("__Host-countersign=1;a=b", Some("a=b")),
            ("countersign=1", None),
            ("xcountersign=1", Some("xcountersign=1")),
        ] {
            let mut all = headers(&[("cookie", given)]);
            drop_session(&mut all);
            let left = all.get("cookie").map(|left| left.to_str().unwrap());
            assert_eq!(left, expected, "{given}");
        }
    }

    #[test]
    fn a_cookie_that_is_no_text_hides_no_session() {
        let id = "ab".repeat(32);
        let given = [b"x=\xe9; countersign=", id.as_bytes(), b"; c=d"].concat();
        let mut all = HeaderMap::new();
        all.append(header::COOKIE, HeaderValue::from_bytes(&given).unwrap());
        let read = session_id(&settings(None), &all).map(|id| id.expose().to_owned());
        assert_eq!(read, Some(id));
        all.append(header::COOKIE, HeaderValue::from_bytes(b"y=\xff").unwrap());
        drop_session(&mut all);
        let left: Vec<&[u8]> =
            all.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(left, [&b"x=\xe9; c=d"[..], b"y=\xff"]);
    }

    #[test]
    fn nobody_elsewhere_sets_a_session() {
        let mut all = HeaderMap::new();
        for set in
            ["a=b; Path=/", "countersign=1", " __Host-countersign = 2; Secure", "countersign2=3"]
        {
            all.append(header::SET_COOKIE, set.parse().unwrap());
        }
        keep_session(&mut all);
        let left: Vec<_> = all.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(left, ["a=b; Path=/", "countersign2=3"]);
    }

    #[test]
    fn a_page_that_hides_where_it_is_is_elsewhere() {
        let site = Site::of(&settings(Some("http://a.example")), &HeaderMap::new()).unwrap();
        for (given, expected) in [
            (vec![], Whence::Untold),
            (vec![("origin", "null")], Whence::Elsewhere),
            (vec![("origin", "null"), ("sec-fetch-site", "cross-site")], Whence::Elsewhere),
            (vec![("origin", "null"), ("sec-fetch-site", "same-origin")], Whence::Here),
            (vec![("origin", "http://a.example")], Whence::Here),
            (vec![("origin", "http://b.example")], Whence::Elsewhere),
        ] {
            assert_eq!(whence(&site, &headers(&given)), expected, "{given:?}");
        }
    }

    #[test]
    fn a_change_comes_from_here_or_not_at_all() {
        let settings = settings(Some("https://a.example"));
        let json = ("content-type", "application/json");
        for (given, status) in [
            (vec![("origin", "https://a.example"), json], None),
            (vec![("sec-fetch-site", "same-origin"), json], None),
            (vec![("origin", "null"), ("sec-fetch-site", "same-origin"), json], None),
            (
                vec![
                    ("origin", "https://a.example"),
                    ("content-type", "application/json; charset=utf-8"),
                ],
                None,
            ),
            (vec![json], Some(403)),
            (vec![("origin", "null"), json], Some(403)),
            (vec![("origin", "https://b.example"), json], Some(403)),
            (vec![("origin", "http://a.example"), json], Some(403)),
            (vec![("origin", "https://a.example.b.example"), json], Some(403)),
            (
                vec![("origin", "https://b.example"), ("sec-fetch-site", "same-origin"), json],
                Some(403),
            ),
            (
                vec![("origin", "https://a.example"), ("sec-fetch-site", "cross-site"), json],
                Some(403),
            ),
            (vec![("sec-fetch-site", "same-site"), json], Some(403)),
            (vec![("origin", "https://a.example"), ("content-type", "text/plain")], Some(415)),
            (vec![("origin", "https://a.example")], Some(415)),
        ] {
            let told = check_change(&settings, &Method::POST, &headers(&given));
            assert_eq!(told.err().map(|problem| problem.status), status, "{given:?}");
            assert!(check_change(&settings, &Method::GET, &headers(&given)).is_ok());
        }
        let own = headers(&[("origin", "https://a.example")]);
        assert!(check_change(&settings, &Method::DELETE, &own).is_ok());
    }
}
