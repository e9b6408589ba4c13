//! What a person may do in the page of a request. Plain forms, so that it works without script; each is
//! taken only from a page of this site, with the token of the session that it was shown to
//! ([`Caller::of_form`]).

use alloy::primitives::Address;
use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};

use super::{PageProblem, render, request::RequestPage, simulation::Wish, timeline};
use crate::{
    request::{
        Request,
        ids::{ReplicaId, RequestId},
    },
    review,
    roles::Action,
    store::{StoreError, journal::Actor},
    web::{WebState, api::requests::request_id, gate::Caller, problem::Problem},
};

/// Something to do with a request, by the last part of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Comment,
    Retry,
    Settle,
    Withdraw,
    Reject,
}

impl Act {
    const ALL: [Self; 5] = [Self::Comment, Self::Retry, Self::Settle, Self::Withdraw, Self::Reject];

    pub fn name(self) -> &'static str {
        match self {
            Self::Comment => "comments",
            Self::Retry => "retry",
            Self::Settle => "settle",
            Self::Withdraw => "withdraw",
            Self::Reject => "reject",
        }
    }

    fn action(self) -> Action {
        match self {
            Self::Comment => Action::Comment,
            Self::Retry => Action::Retry,
            Self::Settle => Action::Settle,
            Self::Withdraw => Action::Withdraw,
            Self::Reject => Action::Reject,
        }
    }

    /// What stands on the button.
    pub fn words(self) -> &'static str {
        match self {
            Self::Comment => "Comment",
            Self::Retry => "Try it now",
            Self::Settle => "Settle",
            Self::Withdraw => "Take it back",
            Self::Reject => "Reject",
        }
    }

    /// What comes of it.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Comment => "It stands in the timeline for good, and changes nothing.",
            Self::Retry => "Looks at it at once, and takes back what a person was asked.",
            Self::Settle => "Says how its commit ended, which only a person can tell.",
            Self::Withdraw => "Ends the request: it was a mistake, or is not needed. For good.",
            Self::Reject => "Ends the request: it must not be approved as it is. For good.",
        }
    }

    async fn done(
        self,
        state: &WebState,
        id: RequestId,
        form: &Form,
        actor: &Actor,
    ) -> Result<(), Problem> {
        let (store, now) = (&state.service.store, state.service.clock.now());
        match self {
            Self::Comment => review::comment(store, id, form.text("text")?, actor, now).await?,
            Self::Retry => review::retry(store, id, form.text("reason")?, actor, now).await?,
            Self::Withdraw => review::withdraw(store, id, form.text("reason")?, actor, now).await?,
            Self::Reject => review::reject(store, id, form.text("reason")?, actor, now).await?,
            Self::Settle => {
                let (replica, reason) = (form.replica()?, form.text("reason")?);
                let cloud = &state.service.cloud;
                review::settle(store, cloud, id, replica, reason, actor, now).await?
            }
        };
        Ok(())
    }

    /// Whether the request is where this can be done.
    fn fits(self, request: &Request) -> bool {
        let status = request.status();
        match self {
            Self::Comment => true,
            Self::Retry => !status.is_end(),
            Self::Settle => request.facts.attempt.is_some() && request.facts.attention.is_some(),
            Self::Withdraw | Self::Reject => status.is_before_commit(),
        }
    }
}

/// What whoever looks at the page may do there.
#[derive(Debug, Default)]
pub struct Acts {
    /// Who is signed in.
    pub who: Option<String>,
    pub wallet: Option<Address>,
    /// What stands in each form.
    pub token: String,
    pub may: Vec<Act>,
    /// The form that was just sent and not taken.
    pub refused: Option<Refused>,
}

/// A form that was not taken. It is shown again as it was filled in, with the reason.
#[derive(Debug)]
pub struct Refused {
    act: Act,
    form: Form,
    problem: Problem,
}

impl Acts {
    pub async fn of(
        state: &WebState,
        signed_in: Option<(Caller, String)>,
        request: &Request,
    ) -> Result<Self, StoreError> {
        let Some((caller, token)) = signed_in else { return Ok(Self::default()) };
        let fitting: Vec<Act> = Act::ALL.into_iter().filter(|act| act.fits(request)).collect();
        let actions: Vec<Action> = fitting.iter().map(|act| act.action()).collect();
        let may_do = caller.may_of(state, &actions, request).await?;
        let may = fitting.into_iter().filter(|act| may_do.contains(&act.action())).collect();
        let wallet = caller.session.map(|session| session.address);
        let who = Some(timeline::actor(caller.name()));
        Ok(Self { who, wallet, token, may, refused: None })
    }

    /// The same after a form was not taken.
    pub fn after(self, refused: Option<Refused>) -> Self {
        Self { refused, ..self }
    }

    /// Why the form of an act was not taken, if it was just sent.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates hand over references")]
    pub fn wrong(&self, act: &Act) -> Option<&str> {
        let refused = self.refused.as_ref().filter(|refused| refused.act == *act)?;
        Some(&refused.problem.title)
    }

    /// What stands in a field of it: nothing, unless it was just sent.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates hand over references")]
    pub fn typed(&self, act: &Act, field: &str) -> &str {
        let refused = self.refused.as_ref().filter(|refused| refused.act == *act);
        refused.and_then(|refused| refused.form.find(field)).unwrap_or_default()
    }

    /// Whether an instance was chosen, or that it is none (an empty id).
    pub fn chose(&self, replica: &str) -> bool {
        let refused = self.refused.as_ref().filter(|refused| refused.act == Act::Settle);
        refused.is_some_and(|refused| refused.form.find("replica") == Some(replica))
    }

    pub fn may_comment(&self) -> bool {
        self.may.contains(&Act::Comment)
    }

    pub fn may_settle(&self) -> bool {
        self.may.contains(&Act::Settle)
    }

    /// Those that need a reason and nothing else.
    pub fn with_a_reason(&self) -> impl Iterator<Item = Act> {
        self.may.iter().copied().filter(|act| !matches!(act, Act::Comment | Act::Settle))
    }
}

/// A form as a browser sends it.
#[derive(Debug)]
struct Form(Vec<(String, String)>);

impl Form {
    fn read(body: &[u8]) -> Self {
        // Browsers end lines of what was typed in two characters.
        let fields = url::form_urlencoded::parse(body);
        Self(fields.map(|(name, text)| (name.into(), text.replace("\r\n", "\n"))).collect())
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str())
    }

    fn text(&self, name: &str) -> Result<&str, Problem> {
        self.find(name).ok_or_else(|| Problem::of_field(name, "missing"))
    }

    /// Which instance it is; none when it says that none is, by an empty field.
    fn replica(&self) -> Result<Option<ReplicaId>, Problem> {
        match self.text("replica")? {
            "" => Ok(None),
            text => {
                let id = text.parse();
                id.map(Some).map_err(|_| Problem::of_field("replica", "not an instance's id"))
            }
        }
    }
}

/// Does what a form asks for, and leads back to the page; or shows it again with what is wrong.
pub async fn act(
    State(state): State<WebState>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PageProblem> {
    let form = Form::read(&body);
    let token = form.find("token").unwrap_or_default().to_owned();
    let caller = Caller::of_form(&headers, &token, &state).await?;
    let act = Act::ALL.into_iter().find(|act| act.name() == name);
    let (act, id) = (act.ok_or_else(|| Problem::not_found("page"))?, request_id(&id)?);
    let actor = caller.may_to(&state, act.action(), id).await?;
    match act.done(&state, id, &form, &actor).await {
        Ok(()) => Ok(Redirect::to(&format!("/requests/{id}#timeline")).into_response()),
        Err(problem) => again(&state, (caller, token), id, Refused { act, form, problem }).await,
    }
}

/// The page with the form that was not taken. Where it is not to be had any more, the problem alone.
async fn again(
    state: &WebState,
    signed_in: (Caller, String),
    id: RequestId,
    refused: Refused,
) -> Result<Response, PageProblem> {
    let problem = refused.problem.clone();
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    let act = refused.act;
    let page = RequestPage::of(state, id, &Wish::default(), Some(signed_in), Some(refused)).await?;
    if !page.acts.may.contains(&act) {
        return Err(problem.into());
    }
    Ok((status, render(&page)?).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_none_by_an_empty_field_and_nothing_by_leaving_it_out() {
        let replica = |text: &str| Form::read(text.as_bytes()).replica();
        assert_eq!(replica("replica=&reason=x").unwrap(), None);
        assert_eq!(replica("replica=a-1").unwrap(), Some("a-1".parse().unwrap()));
        assert!(replica("reason=x").is_err());
        let form = Form::read(b"text=one%0D%0Atwo+%3Cb%3E&text=other");
        assert_eq!(form.find("text"), Some("one\ntwo <b>"));
    }
}
