//! Bugs that can be planted, to show that the simulation finds them. They exist with the feature
//! `planted` only, which no release is built with; without it every question here is a plain no.

/// A bug that was made, or nearly made, in programs like this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The call is made, then the intent is written.
    CommitBeforeIntent,
    /// A commit that was not answered counts as one that did nothing.
    IgnoreAmbiguity,
    /// A worker that was overtaken may write.
    NoFencing,
    /// What cannot be read counts as not allowed.
    UnreadableAsFalse,
    /// What was registered once is not read again before the commit.
    CommitWithoutReading,
    /// What the head shows counts as deep.
    HeadInsteadOfDepth,
    /// A new instance is one that the latest attempt did not see.
    LatestBaseline,
    /// Of several instances that fit, one is taken.
    FirstOfSeveral,
    /// A fresh token for another device is used.
    OtherDevice,
    /// What runs is not compared with what was approved.
    BootNotCompared,
    /// A refusal that passes by itself ends the request.
    GiveUpTooSoon,
    /// A change is not written to the journal.
    JournalLeftOut,
    /// An error repeats the token.
    TokenInError,
    /// A newer token is used while a commit with the older one may be on its way.
    NewestTokenFirst,
    /// A replica that is not in the list at once does not exist.
    OneLook,
    /// Who commits again asks nobody whether an earlier token was used by somebody else.
    ForgetEarlierTokens,
    /// A token is used as soon as the one before it is dead, whose replica may not be listed yet.
    SuccessorAtOnce,
}

impl Bug {
    pub const ALL: [Self; 17] = [
        Self::CommitBeforeIntent,
        Self::IgnoreAmbiguity,
        Self::NoFencing,
        Self::UnreadableAsFalse,
        Self::CommitWithoutReading,
        Self::HeadInsteadOfDepth,
        Self::LatestBaseline,
        Self::FirstOfSeveral,
        Self::OtherDevice,
        Self::BootNotCompared,
        Self::GiveUpTooSoon,
        Self::JournalLeftOut,
        Self::TokenInError,
        Self::NewestTokenFirst,
        Self::OneLook,
        Self::ForgetEarlierTokens,
        Self::SuccessorAtOnce,
    ];
}

#[cfg(feature = "planted")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in everything that this thread runs, in the place of the one before.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted here.
#[cfg(feature = "planted")]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted here.
#[cfg(not(feature = "planted"))]
pub const fn planted(_: Bug) -> bool {
    false
}
