//! Which calls prepare or commit something, by method and path. Pure.

use axum::http::Method;
use percent_encoding::percent_decode_str;

/// Rounds in which a path may be hidden in percent signs.
const DECODINGS: usize = 3;

/// A call that is looked at on its way through. All others only pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// Asks for a replica of a CVM.
    Replicate {
        source: String,
    },
    /// Asks for another instance of an app; with a token in its body it commits one.
    Instance {
        app: String,
    },
    /// Asks for an update of a CVM; with the headers `X-Compose-Hash` and `X-Transaction-Hash` it
    /// commits one.
    Update {
        source: String,
    },
    CommitReplica,
    CommitUpdate,
}

/// A call that some server would take for one that is watched, and that is not written as that one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disguised;

impl Watched {
    /// `path` is what follows the prefix. Whether a server decodes it, once or more, and forgives a slash
    /// too many, is not known here: either all readings are of one call, or it is refused.
    pub fn read(method: &Method, path: &str) -> Result<Option<Self>, Disguised> {
        let steps: Vec<&str> = path.split('/').skip(1).collect();
        let written = Self::of(method.as_str(), &steps);
        let forgiving = method.as_str().to_uppercase();
        let mut spelling = path.to_lowercase();
        for _ in 0..=DECODINGS {
            let read = Self::of(&forgiving, &forgiven(&spelling));
            if read.as_ref().map(Self::route) != written.as_ref().map(Self::route) {
                return Err(Disguised);
            }
            spelling = decoded(&spelling).to_lowercase();
        }
        Ok(written)
    }

    fn of(method: &str, steps: &[&str]) -> Option<Self> {
        match (method, steps) {
            ("POST", ["cvms", source, "replicas"] | ["apps", _, "cvms", source, "replicas"]) => {
                Some(Self::Replicate { source: decoded(source) })
            }
            ("POST", ["apps", app, "instances"]) => Some(Self::Instance { app: decoded(app) }),
            ("PATCH", ["cvms", source]) => Some(Self::Update { source: decoded(source) }),
            ("POST", ["cvms", _, "commit-replica"]) => Some(Self::CommitReplica),
            ("POST", ["cvms", _, "commit-update"]) => Some(Self::CommitUpdate),
            _ => None,
        }
    }

    /// What it is called in logs and metrics, without any id.
    pub fn route(&self) -> &'static str {
        match self {
            Self::Replicate { .. } => "POST cvms/{id}/replicas",
            Self::Instance { .. } => "POST apps/{app}/instances",
            Self::Update { .. } => "PATCH cvms/{id}",
            Self::CommitReplica => "POST cvms/{id}/commit-replica",
            Self::CommitUpdate => "POST cvms/{id}/commit-update",
        }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The steps of a path as a server may read them that minds neither slashes nor parameters in it.
fn forgiven(path: &str) -> Vec<&str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let steps = path.split(['/', '\\']).map(|step| step.split(';').next().unwrap_or_default());
    steps.filter(|step| !step.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_prepares_or_commits_is_looked_at() {
        let source = || "u".to_owned();
        for (method, path, expected) in [
            (Method::POST, "/cvms/u/replicas", Some(Watched::Replicate { source: source() })),
            (
                Method::POST,
                "/apps/a/cvms/u/replicas",
                Some(Watched::Replicate { source: source() }),
            ),
            (Method::POST, "/apps/u/instances", Some(Watched::Instance { app: source() })),
            (Method::PATCH, "/cvms/u", Some(Watched::Update { source: source() })),
            (Method::POST, "/cvms/u/commit-replica", Some(Watched::CommitReplica)),
            (Method::POST, "/cvms/u/commit-update", Some(Watched::CommitUpdate)),
            (Method::GET, "/cvms/u/commit-update", None),
            (Method::GET, "/cvms/u/replicas", None),
            (Method::GET, "/cvms/u", None),
            (Method::POST, "/cvms/u", None),
            (Method::PATCH, "/cvms/u/envs", None),
            (Method::POST, "/apps/a/cvms/u/replicas/x", None),
            (Method::POST, "", None),
            (Method::POST, "/cvms/u/replicas/../x", None),
            (Method::GET, "/cvms/u/%72eplicas/", None),
            (Method::POST, "/cvms/%75/replicas", Some(Watched::Replicate { source: source() })),
            (Method::PATCH, "/cvms/U-%C3%BC", Some(Watched::Update { source: "U-\u{fc}".into() })),
        ] {
            assert_eq!(Watched::read(&method, path), Ok(expected), "{method} {path}");
        }
    }

    #[test]
    fn a_watched_call_that_is_spelled_in_another_way_is_refused() {
        let (post, patch) = (Method::POST, Method::PATCH);
        for (method, path) in [
            (&post, "/cvms/u/replicas/"),
            (&post, "/cvms/u/%72eplicas"),
            (&post, "/cvms/u/%2572eplicas"),
            (&post, "/cvms/u/%252572eplicas"),
            (&post, "/%63vms/u/replicas"),
            (&post, "/cvms%2Fu%2freplicas"),
            (&post, "//cvms/u/replicas"),
            (&post, "/cvms//u/replicas"),
            (&post, "/cvms/u//replicas"),
            (&post, "/cvms/u/replicas%2f"),
            (&post, "/cvms/u%5creplicas"),
            (&post, "/cvms/u/replicas;x=1"),
            (&post, "/cvms/u/replicas%3fx"),
            (&post, "/cvms/u/replicas%23"),
            (&post, "/cvms/u/Replicas"),
            (&post, "/cvms/u/%52eplicas"),
            (&post, "/cvms/a%2Fb/replicas"),
            (&post, "/cvms//replicas"),
            (&post, "/apps/a/cvms/u/replicas/"),
            (&post, "/apps/a//instances"),
            (&post, "/cvms/u/commit-replica/"),
            (&post, "/cvms/u/commit%2dupdate"),
            (&patch, "/cvms/u/"),
            (&patch, "/cvms/"),
            (&patch, "/cvms%2fu"),
            (&Method::from_bytes(b"patch").unwrap(), "/cvms/u"),
        ] {
            assert_eq!(Watched::read(method, path), Err(Disguised), "{method} {path}");
        }
    }
}
