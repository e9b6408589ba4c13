//! Which calls prepare or commit something, by method and path. Pure.

use axum::http::Method;

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

impl Watched {
    /// `path` is what follows the prefix.
    pub fn read(method: &Method, path: &str) -> Option<Self> {
        let steps: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let (is_post, is_patch) = (*method == Method::POST, *method == Method::PATCH);
        match steps.as_slice() {
            ["cvms", source, "replicas"] | ["apps", _, "cvms", source, "replicas"] if is_post => {
                Some(Self::Replicate { source: (*source).to_owned() })
            }
            ["apps", app, "instances"] if is_post => {
                Some(Self::Instance { app: (*app).to_owned() })
            }
            ["cvms", source] if is_patch => Some(Self::Update { source: (*source).to_owned() }),
            ["cvms", _, "commit-replica"] if is_post => Some(Self::CommitReplica),
            ["cvms", _, "commit-update"] if is_post => Some(Self::CommitUpdate),
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
            (Method::POST, "/cvms//u/replicas", None),
            (Method::POST, "/apps/a/cvms/u/replicas/x", None),
            (Method::POST, "cvms/u/replicas", None),
            (Method::POST, "", None),
        ] {
            assert_eq!(Watched::read(&method, path), expected, "{method} {path}");
        }
    }
}
