//! `/operator`: the service itself, on one page: what it depends on, what waits, who is there, and how it is
//! set up.

use askama::Template;
use axum::extract::State;

use super::{Page, parts, refusal::Known, render};
use crate::{
    clock::Time,
    roles::Action,
    web::{
        WebState,
        api::operator::{OperatorView, view},
    },
};

#[derive(Template)]
#[template(path = "operator.html")]
struct Operator {
    view: OperatorView,
}

impl Operator {
    /// How long ago something was, roughly.
    fn age(&self, at: &Time) -> String {
        let seconds = (self.view.at - *at).num_seconds().max(0);
        match seconds {
            0..120 => format!("{seconds} s"),
            120..7_200 => format!("{} min", seconds / 60),
            7_200..172_800 => format!("{} h", seconds / 3_600),
            _ => format!("{} d", seconds / 86_400),
        }
    }

    fn live_tokens(&self) -> usize {
        self.view.tokens.iter().filter(|token| token.revoked_at.is_none()).count()
    }
}

pub async fn page(Known(caller): Known, State(state): State<WebState>) -> Page {
    caller.may(Action::Audit)?;
    render(&Operator { view: view(&state).await? })
}
