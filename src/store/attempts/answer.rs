//! Answers to commits that leave open what happened, and what is to be done about each.

/// An answer to a commit that leaves open what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub code: String,
    pub reason: String,
    /// The answer as it came, as far as it is kept.
    pub body: Option<String>,
    pub then: Then,
}

/// The code of an attempt whose commit was never sent.
pub const NOT_SENT: &str = "not-sent";

impl Answer {
    /// In the place of an answer, when the commit was not sent and will not be.
    #[must_use]
    pub fn never_sent(reason: String) -> Self {
        Self { code: NOT_SENT.into(), reason, body: None, then: Then::TryAgain }
    }

    /// Whether the commit was never sent. What was answered has a body, whatever code it claims to have.
    #[must_use]
    pub fn is_of_nothing_sent(&self) -> bool {
        self.code == NOT_SENT && self.body.is_none()
    }
}

/// What follows an unclear answer when no replica is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    TryAgain,
    /// The token is of no use any more.
    DropToken,
    /// A person must look.
    Ask,
    /// It cannot succeed.
    Fail,
}

impl Then {
    const ALL: [(Self, &str); 4] = [
        (Self::TryAgain, "try_again"),
        (Self::DropToken, "drop_token"),
        (Self::Ask, "ask"),
        (Self::Fail, "fail"),
    ];

    pub(super) fn as_str(self) -> &'static str {
        let (_, word) =
            Self::ALL.into_iter().find(|(then, _)| *then == self).expect("all are there");
        word
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == word).map(|(then, _)| then)
    }
}

/// Whether a token that is dead was used before: by an earlier commit of ours that was not answered, or by
/// somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedBefore {
    /// There was no such commit, and the token is known to have expired or to have been voided.
    No,
    /// There was one that was refused, if only by a status; or the token has also expired, or been
    /// voided by a newer one. Or there was none, and nothing that is known has killed the token.
    Perhaps,
    /// There was one that was not answered, and nothing else that is known can have killed the token.
    Likely,
}
