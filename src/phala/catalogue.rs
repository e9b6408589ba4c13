//! What the answers of Phala Cloud that are no success mean: one table, by its own codes first and by
//! HTTP status beside. The flow acts on it, and `docs/phala-codes.md` is written from it.
//!
//! The codes are those of Phala's public error reference. What is not listed is for a person.

use std::{fmt::Write, time::Duration};

use crate::request::step::Pace;

/// How often it is tried again what a person was asked about: it may have been answered elsewhere.
pub const ASK_AGAIN: Duration = Duration::from_mins(15);

/// What to do about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Nothing is wrong with the call itself: try again, with growing pauses.
    RetryNow,
    /// It takes time: try again at this pace.
    RetryLater(Duration),
    /// The commit token is of no use any more: look whether it was used, and prepare again.
    Prepare,
    /// Can succeed once somebody has changed something. Tried again now and then all the same.
    Ask,
    /// Cannot succeed as asked.
    GiveUp,
}

impl Class {
    /// When to try again, unless the server says when. What cannot succeed as asked may do so once
    /// somebody has changed something, where it is tried again at all.
    pub fn pace(self) -> Pace {
        match self {
            Self::RetryNow | Self::Prepare => Pace::Backoff,
            Self::RetryLater(pause) => Pace::After(pause),
            Self::Ask | Self::GiveUp => Pace::After(ASK_AGAIN),
        }
    }

    fn words(self) -> String {
        match self {
            Self::RetryNow => "retry now".into(),
            Self::RetryLater(pace) => format!("retry every {} s", pace.as_secs()),
            Self::Prepare => "look, then prepare again".into(),
            Self::Ask => "ask a person".into(),
            Self::GiveUp => "give up".into(),
        }
    }
}

/// A row of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    pub class: Class,
    pub text: &'static str,
    pub advice: &'static str,
}

const fn row(class: Class, text: &'static str, advice: &'static str) -> Meaning {
    Meaning { class, text, advice }
}

const fn give_up(text: &'static str, advice: &'static str) -> Meaning {
    row(Class::GiveUp, text, advice)
}

const fn ask(text: &'static str, advice: &'static str) -> Meaning {
    row(Class::Ask, text, advice)
}

const fn no_room(text: &'static str) -> Meaning {
    row(
        ROOM,
        text,
        "Wait for room, or prepare on another node, whose device needs its own approval.",
    )
}

/// How long room on a node takes to come about.
const ROOM: Class = Class::RetryLater(Duration::from_mins(2));
/// Phala Cloud reads the chain apart from us; it is seconds behind, not minutes.
const THEIR_VIEW: Class = Class::RetryLater(Duration::from_secs(5));

const FIX_INPUT: &str = "Prepare again with corrected input.";
const OTHER_NODE: &str = "Prepare on another node; its device needs its own approval.";
const ASK_ACCESS: &str = "Check the API key and the workspace it belongs to.";
const NAME_BY_UUID: &str = "Name the CVM by its UUID.";

const NO_SUCH_CVM: Meaning = give_up("The CVM does not exist, or not for this key.", ASK_ACCESS);

/// The structured codes, in the order of the published catalogue.
pub(super) const BY_CODE: &[(&str, Meaning)] = &[
    ("ERR-01-001", give_up("The node does not exist.", FIX_INPUT)),
    ("ERR-01-002", give_up("The compose file is missing.", FIX_INPUT)),
    ("ERR-01-003", give_up("The compose file is invalid.", FIX_INPUT)),
    ("ERR-01-004", give_up("The name is taken.", FIX_INPUT)),
    ("ERR-01-005", WAIT_FOR_CHAIN),
    ("ERR-01-006", TOKEN_DEAD),
    ("ERR-01-007", VERIFICATION),
    ("ERR-01-008", NOT_ALLOWED),
    ("ERR-02-001", give_up("The instance type is not valid.", FIX_INPUT)),
    ("ERR-02-002", no_room("The node has no room.")),
    ("ERR-02-003", no_room("The node has too few free vCPUs.")),
    ("ERR-02-004", no_room("The node has too little free memory.")),
    ("ERR-02-005", no_room("The node has no free slot.")),
    ("ERR-02-006", no_room("No GPU is free.")),
    ("ERR-02-007", no_room("The GPU asked for is not free.")),
    ("ERR-02-008", give_up("The request is not valid.", FIX_INPUT)),
    ("ERR-02-009", give_up("The combination asked for is not valid.", FIX_INPUT)),
    ("ERR-02-010", give_up("The OS image is not valid.", FIX_INPUT)),
    ("ERR-02-011", give_up("The node does not know this KMS.", OTHER_NODE)),
    ("ERR-02-012", give_up("The node is closed to this workspace.", OTHER_NODE)),
    ("ERR-02-013", give_up("The OS image is not available.", FIX_INPUT)),
    ("ERR-02-014", give_up("The node has no capacity configured.", OTHER_NODE)),
    ("ERR-02-015", ask("The workspace's quota is used up.", "Raise the quota or free some of it.")),
    ("ERR-02-016", no_room("The GPU is busy.")),
    ("ERR-03-001", NO_SUCH_CVM),
    ("ERR-03-002", give_up("The name matches several CVMs.", NAME_BY_UUID)),
    ("ERR-03-003", NO_SUCH_CVM),
    ("ERR-03-004", NO_SUCH_CVM),
    ("ERR-03-005", NO_SUCH_CVM),
    ("ERR-03-006", give_up("The node lacks the source's OS image.", OTHER_NODE)),
    ("ERR-03-007", give_up("The app id belongs to something else.", "Check which app was meant.")),
    ("ERR-03-008", give_up("The source CVM cannot be reached by this key.", ASK_ACCESS)),
    (
        "ERR-03-009",
        give_up(
            "Several instances run, so the compose hash must be named.",
            "Prepare again and name the compose hash.",
        ),
    ),
    ("ERR-03-010", give_up("The id matches several CVMs.", NAME_BY_UUID)),
    ("ERR-04-001", ask("The workspace's balance is too low.", "Add credit.")),
    (
        "ERR-04-002",
        ask("The workspace has its full number of CVMs.", "Raise the limit or remove a CVM."),
    ),
    (
        "ERR-04-003",
        ask("The workspace's resource limit is reached.", "Raise the limit or free some of it."),
    ),
    ("ERR-05-001", ask("The workspace has too many API keys.", "Remove unused keys.")),
    ("ERR-05-002", ask("API keys are created too fast.", "Wait, then create the key.")),
];

const WAIT_FOR_CHAIN: Meaning = row(
    THEIR_VIEW,
    "Phala Cloud does not see the compose hash or the device on chain yet.",
    "Wait until its view of the chain has caught up.",
);
const TOKEN_DEAD: Meaning = row(
    Class::Prepare,
    "The commit token is unknown, expired, used or superseded, or belongs to another hash.",
    "Look whether the replica exists; when it does not, prepare again and compare the hashes.",
);
const VERIFICATION: Meaning = row(
    THEIR_VIEW,
    "Phala Cloud could not verify the transaction named as evidence.",
    "Try again shortly; then rely on the registered state instead of the transaction.",
);
const NOT_ALLOWED: Meaning = ask(
    "The transaction is there, but the chain does not allow this compose hash.",
    "Check that the executed transaction called the right contract and did not revert inside.",
);
const BUSY: Meaning =
    row(Class::RetryNow, "Another operation is in progress.", "Try again in a moment.");
const SLOW_DOWN: Meaning =
    row(Class::RetryNow, "Too many calls.", "Try again when the server says so.");
const AWAY: Meaning =
    row(Class::RetryNow, "Phala Cloud is not available.", "Try again when the server says so.");
const BROKEN: Meaning = row(
    Class::RetryNow,
    "Phala Cloud failed inside; whether it acted is not known.",
    "Look at what exists before asking for it again.",
);
const NOT_LET_IN: Meaning =
    ask("No API key was sent, or it is not accepted, or its workspace is suspended.", ASK_ACCESS);
const NOT_THERE: Meaning = ask("Phala Cloud knows no such thing, or not for this key.", ASK_ACCESS);
const UNKNOWN: Meaning = ask(
    "Phala Cloud gave an answer that is not in its catalogue.",
    "Read its message and decide whether to try again.",
);

/// Which answers a status speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// Even beside a code that is not known: the status has one meaning.
    AnyCode,
    /// Only without a code of Phala Cloud's.
    NoCode,
}

/// The statuses that mean something on their own.
const BY_STATUS: &[(&[u16], Beside, Meaning)] = &[
    (&[465], Beside::AnyCode, WAIT_FOR_CHAIN),
    (&[466], Beside::AnyCode, TOKEN_DEAD),
    (&[467], Beside::AnyCode, VERIFICATION),
    (&[468], Beside::AnyCode, NOT_ALLOWED),
    (&[429], Beside::AnyCode, SLOW_DOWN),
    (&[503], Beside::AnyCode, AWAY),
    (BROKEN_STATUSES, Beside::AnyCode, BROKEN),
    (&[401, 403], Beside::AnyCode, NOT_LET_IN),
    (&[409, 425], Beside::NoCode, BUSY),
    (&[404], Beside::NoCode, NOT_THERE),
];

/// A server or a proxy that broke after the work was handed over answers like this.
pub(super) const BROKEN_STATUSES: &[u16] =
    &[408, 500, 502, 504, 520, 521, 522, 523, 524, 525, 526, 527];

/// What an answer means. A known code says more than the status; of the statuses, those with one
/// meaning hold even beside an unknown code; all else is for a person.
#[must_use]
pub fn meaning(status: u16, code: Option<&str>) -> Meaning {
    if let Some((_, known)) = BY_CODE.iter().find(|(name, _)| Some(*name) == code) {
        return *known;
    }
    let speaks = |(statuses, beside, _): &&(&[u16], Beside, Meaning)| {
        statuses.contains(&status) && (*beside == Beside::AnyCode || code.is_none())
    };
    BY_STATUS.iter().find(speaks).map_or(UNKNOWN, |(_, _, meaning)| *meaning)
}

/// Whether Phala Cloud's catalogue, as it stands here, has this code.
#[must_use]
pub fn is_known(code: &str) -> bool {
    BY_CODE.iter().any(|(name, _)| *name == code)
}

/// The catalogue for people, as it stands in `docs/phala-codes.md`.
#[must_use]
pub fn markdown() -> String {
    let minutes = ASK_AGAIN.as_secs() / 60;
    let mut text = format!(
        "# What Countersign does about an answer of Phala Cloud\n\n\
         Written from `src/phala/catalogue.rs` by `make fixtures`; do not edit it here.\n\n\
         `retry now` means with pauses of 1, 2, 4 … seconds up to five minutes, or as long as \
         `Retry-After` says.\n`ask a person` means that the request shows `needs attention` and is \
         tried again every {minutes} minutes, or at once\nafter `countersign retry`. `give up` ends the \
         request as `failed`, once no replica of it is to be seen. A code or status that is not listed is looked\ninto first (does the \
         replica exist?) and then for a person.\n\n\
         | answer | class | meaning | what to do |\n|---|---|---|---|\n",
    );
    let mut add = |answer: &str, meaning: &Meaning| {
        let Meaning { class, text: means, advice } = meaning;
        writeln!(text, "| {answer} | {} | {means} | {advice} |", class.words())
            .expect("a text takes everything");
    };
    for (code, meaning) in BY_CODE {
        add(&format!("`{code}`"), meaning);
    }
    for (statuses, beside, meaning) in BY_STATUS {
        let list: Vec<String> = statuses.iter().map(ToString::to_string).collect();
        let only = if *beside == Beside::NoCode { " without a code" } else { "" };
        add(&format!("{}{only}", list.join(", ")), meaning);
    }
    add("anything else", &UNKNOWN);
    text
}
