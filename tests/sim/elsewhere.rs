//! Somebody who holds the token of a request commits with it past the service, as the `phala` CLI's own
//! printout says to.

use countersign::{
    request::ids::{ReplicaId, RequestId},
    store::{elsewhere::SeenCommit, journal::Actor},
};
use secrecy::SecretString;
use uuid::Uuid;

use crate::{
    director::{Director, Task},
    instance::vault,
    laws::made_by,
    scene::Content,
    world::paper_chain::lock,
};

/// The tokens of people that requests have now, when no commit with an older one is on its way. Who
/// commits with more than one makes several replicas, which nobody can keep him from.
///
/// Of one that ought to be void by a newer preparation nobody knows when it was used last, if Phala
/// Cloud does not void it: what it makes is to be seen at once.
const PRESENT: &str = "select r.id, p.token_fingerprint, exists (select 1 from preparations n
        where n.source_cvm = p.source_cvm and n.prepared_at > p.prepared_at)
    from preparations p
    join requests r on r.id = p.request_id
    where p.ended_at is null and not p.is_ours
      and r.ended_as is null and r.committed_at is null
      and not exists (select 1 from preparations o
        where o.request_id = r.id and o.id <> p.id and o.token_sealed is not null)
    order by p.received_at, p.id";

impl Director<'_> {
    /// Commits with a token that the chain allows; the service may be told, as the gateway does.
    pub async fn commit_elsewhere(&mut self) {
        let present: Vec<(Uuid, Vec<u8>, bool)> =
            sqlx::query_as(PRESENT).fetch_all(&mut *self.sql).await.expect("the database answers");
        if present.is_empty() {
            return;
        }
        let (id, print, ought_to_be_void) = self.rng.pick(&present);
        let owners = self.owners_of_tokens().await;
        let now = self.outside.time.now();
        let vault = vault();
        let made: Option<(ReplicaId, Content)> = {
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
                if ought_to_be_void {
                    cloud.made[made].listed_at = now;
                }
                cloud.made[made].is_past_us = true;
                let content =
                    Content { source: token.source, node: token.node, compose: token.compose };
                (cloud.made[made].id.parse().expect("it is an id"), content)
            })
        };
        let Some((replica, content)) = made else { return };
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
            if self.rng.percent(50) {
                self.prepare_once_more(content).await;
            }
        }
    }

    /// Somebody who knows nothing of the commit prepares the same, before its replica is listed perhaps.
    async fn prepare_once_more(&mut self, content: Content) {
        let place = self.prepare_this(content);
        let at = self.rng.below(self.instances());
        self.perform(at, Task::Submit(place)).await;
        for _ in 0..self.rng.pick(&[1, 2, 3]) {
            self.perform(at, Task::Work).await;
        }
    }
}
