//! Somebody who holds the token of a request commits with it past the service, as the `phala` CLI's own
//! printout says to.

use countersign::{
    request::ids::{ReplicaId, RequestId},
    store::{elsewhere::SeenCommit, journal::Actor},
};
use secrecy::SecretString;
use uuid::Uuid;

use crate::{director::Director, instance::vault, laws::made_by, world::paper_chain::lock};

/// The tokens that requests have now, when no commit with an older one is on its way. Who commits with
/// more than one makes several replicas, which nobody can keep him from.
const PRESENT: &str = "select r.id, p.token_fingerprint from preparations p
    join requests r on r.id = p.request_id
    where p.ended_at is null and r.ended_as is null and r.committed_at is null
      and not exists (select 1 from preparations o
        where o.request_id = r.id and o.id <> p.id and o.token_sealed is not null)
    order by p.received_at, p.id";

impl Director<'_> {
    /// Commits with a token that the chain allows; the service may be told, as the gateway does.
    pub async fn commit_elsewhere(&mut self) {
        let present: Vec<(Uuid, Vec<u8>)> =
            sqlx::query_as(PRESENT).fetch_all(&mut *self.sql).await.expect("the database answers");
        if present.is_empty() {
            return;
        }
        let (id, print) = self.rng.pick(&present);
        let owners = self.owners_of_tokens().await;
        let now = self.outside.time.now();
        let vault = vault();
        let replica: Option<ReplicaId> = {
            let mut cloud = lock(&self.outside.cloud);
            let is_it = |text: &str| vault.fingerprint(&SecretString::from(text)).to_vec() == print;
            let place = cloud.tokens.iter().position(|token| is_it(&token.text));
            let is_made = !made_by(&cloud, &owners, RequestId(id)).is_empty();
            let Some(index) = place.filter(|_| !is_made) else { return };
            let token = cloud.tokens[index].clone();
            let app = cloud.sources[token.source].app;
            if !self.outside.truth.allows_now(app, token.compose, token.device) {
                return;
            }
            let made = cloud.commit(Some(index), Some(token.compose), now).ok();
            made.map(|made| {
                // Whoever made it sees it.
                cloud.made[made].listed_at = now;
                cloud.made[made].is_past_us = true;
                cloud.made[made].id.parse().expect("it is an id")
            })
        };
        let Some(replica) = replica else { return };
        // Whoever is held up in the middle of a step may have the row.
        if self.rng.percent(40) && !self.is_anyone_held_up() {
            self.outside.stage.count("fault committed past the service, which is told");
            let seen = SeenCommit { replica: Some(replica), operation: None, how: "told".into() };
            let actor = Actor::service("gateway");
            let prints = [print.try_into().expect("a fingerprint has 32 bytes")];
            let told = self.store.committed_elsewhere(&prints, &seen, &actor, now).await;
            if let Err(error) = told {
                self.errors.push(error.to_string());
            }
        } else {
            self.outside.stage.count("fault committed past the service");
        }
    }
}
