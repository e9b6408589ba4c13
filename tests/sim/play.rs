//! One run: people, owners, strangers, the chain and the cloud do what the seed draws, until calm
//! returns and everything must come to its end.

use alloy::primitives::{Address, B256};
use chrono::TimeDelta;
use countersign::dstack::Generation;
use serde_json::json;
use uuid::Uuid;

use crate::{
    cloud::{Maker, answers::CHAIN},
    director::{Desk, Director, Task},
    instance::Hand,
    scene::Content,
    world::{
        paper_chain::{
            Change, Tx,
            app::{Action, Birth},
            lock,
        },
        tamper::{choices, corrupt},
    },
};

/// Choices of an endpoint that mutates its answers.
const CHOICES: usize = 256;

impl Director<'_> {
    /// The whole run.
    pub async fn play(&mut self) {
        self.set_the_scene();
        for _ in 0..self.outside.scene.rounds {
            self.round().await;
        }
        self.calm().await;
    }

    fn set_the_scene(&mut self) {
        let birth = Birth {
            generation: Generation::G2,
            any_device: false,
            require_tcb: false,
            upgrades_disabled: false,
            device: None,
            compose: None,
        };
        let apps = self.outside.scene.apps.clone();
        let deployments = apps.iter().map(|app| self.tx(*app, Action::Deploy(birth))).collect();
        self.outside.truth.change(Change::Mine(deployments));
        for _ in 0..self.outside.scene.depth {
            self.outside.truth.change(Change::Mine(vec![]));
        }
        for clock in &self.clocks {
            let skew = self.outside.scene.skew;
            clock.set(TimeDelta::seconds(self.rng.between(-skew, skew)));
        }
        lock(&self.outside.cloud).storm = self.outside.scene.storm;
        self.prepare();
    }

    pub fn tx(&mut self, app: Address, action: Action) -> Tx {
        lock(self.outside.truth.paper()).tx(app, action)
    }

    async fn round(&mut self) {
        self.let_time_pass().await;
        self.world_moves();
        if self.rng.percent(4) {
            self.commit_elsewhere().await;
        }
        self.resume(false).await;
        for _ in 0..self.rng.pick(&[1, 2]) {
            let at = self.rng.below(self.instances());
            let pending = self.desk.iter().position(|desk| !desk.is_done);
            let task = match (self.rng.below(100), pending) {
                (0..=29, Some(place)) => Task::Submit(place),
                (30..=54, _) => {
                    // Mostly the leader reads on.
                    let leader = self.readers.iter().position(Option::is_some);
                    let at = leader.filter(|_| self.rng.percent(90)).unwrap_or(at);
                    self.perform(at, Task::Follow).await;
                    // What it has left to be committed at once mostly is.
                    if self.rng.percent(60) {
                        self.perform(at, Task::Work).await;
                    }
                    continue;
                }
                (60..=61, _) => Task::Remind,
                (62..=64, _) => match self.any_open().await {
                    Some(id) => Task::Handle(id, self.rng.pick(&[Hand::Retry, Hand::Withdraw])),
                    None => continue,
                },
                _ => Task::Work,
            };
            self.perform(at, task).await;
        }
        if self.outside.scene.chance > 0 && self.rng.percent(2) {
            let at = self.rng.below(self.instances());
            self.outside.stage.count("fault instance crashed between steps");
            self.crash(at).await;
        }
    }

    /// A request that has not ended.
    async fn any_open(&mut self) -> Option<Uuid> {
        let open: Vec<Uuid> = sqlx::query_scalar(
            "select id from requests where ended_as is null and running_at is null
             order by created_at, id",
        )
        .fetch_all(&mut *self.sql)
        .await
        .expect("the database answers");
        (!open.is_empty()).then(|| self.rng.pick(&open))
    }

    async fn let_time_pass(&mut self) {
        let now = self.outside.time.now();
        let pass = match self.rng.below(100) {
            0..=39 => TimeDelta::milliseconds(self.rng.between(0, 3_000)),
            40..=79 => match self.next_due().await {
                Some(due) if due > now => due - now,
                _ => TimeDelta::seconds(1),
            },
            80..=91 => TimeDelta::seconds(self.rng.between(5, 150)),
            92..=96 => TimeDelta::minutes(self.rng.between(5, 90)),
            97 if self.outside.scene.has_long_waits => {
                self.outside.stage.count("fault a token's life passes");
                TimeDelta::hours(self.rng.between(13 * 24, 20 * 24))
            }
            _ => TimeDelta::hours(self.rng.between(1, 8)),
        };
        self.pass(pass);
        if self.outside.scene.skew > 0 && self.rng.percent(4) {
            self.outside.stage.count("fault clock jumps");
            let skew = self.outside.scene.skew;
            let jump = TimeDelta::seconds(self.rng.between(-skew, skew));
            let at = self.rng.below(self.instances());
            self.clocks[at].set(jump);
        }
    }

    pub fn pass(&self, time: TimeDelta) {
        self.outside.time.pass(time);
        lock(&self.outside.cloud).catch_up(self.outside.time.now());
    }

    /// What others do meanwhile.
    fn world_moves(&mut self) {
        if self.rng.percent(60) {
            self.mine();
        }
        if self.rng.percent(10) {
            self.prepare();
        }
        if self.rng.percent(5) {
            self.reorganise();
        }
        if self.rng.percent(3) {
            self.revoke();
        }
        if self.rng.percent(4) {
            self.stranger();
        }
        if self.rng.percent(self.outside.scene.unrest) {
            self.unrest();
        }
        self.cloud_moves();
    }

    fn cloud_moves(&mut self) {
        let now = self.outside.time.now();
        let mut cloud = lock(&self.outside.cloud);
        if self.outside.scene.storm > 0 && self.rng.percent(4) {
            self.outside.stage.count("fault no room for a while");
            cloud.full_until = Some(now + TimeDelta::seconds(self.rng.between(30, 900)));
        }
        if self.outside.scene.has_firmware_updates && self.rng.percent(8) {
            self.outside.stage.count("fault device of a node changed");
            let node = self.rng.below(cloud.nodes.len());
            cloud.nodes[node].device = B256::from(alloy::primitives::U256::from(self.rng.next()));
        }
    }

    /// A person prepares a replica.
    fn prepare(&mut self) {
        let content = self.rng.pick(&self.outside.scene.contents);
        self.prepare_this(content);
    }

    /// A person prepares this replica and has its preparation on the desk; where it lies.
    pub fn prepare_this(&mut self, content: Content) -> usize {
        let now = self.outside.time.now();
        let mut cloud = lock(&self.outside.cloud);
        let Content { source, node, compose } = content;
        let token = cloud.prepare(source, node, compose, now).expect("the node is there");
        let token = cloud.tokens[token].clone();
        // People do not tell, and have it on their desk for a while.
        let told = (!self.rng.percent(25)).then(|| token.issued.to_rfc3339());
        let body = json!({
            "chain_id": CHAIN,
            "app": cloud.sources[source].app,
            "source_cvm": cloud.sources[source].id,
            "node_id": node,
            "compose_hash": compose,
            "device_id": token.device,
            "commit_token": token.text,
            "prepared_at": told,
        });
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.rng.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.rng.next().to_be_bytes());
        let id = Uuid::from_bytes(bytes);
        self.desk.push(Desk { content, device: token.device, body, id, is_done: false });
        self.desk.len() - 1
    }

    /// A block, perhaps with something that an owner does.
    fn mine(&mut self) {
        let mut txs = vec![];
        if !self.desk.is_empty() && self.rng.percent(45) {
            let place = self.rng.below(self.desk.len());
            let halves = self.rng.pick(&[[true, true], [true, true], [true, false], [false, true]]);
            txs = self.approval(place, halves);
        }
        self.outside.truth.change(Change::Mine(txs));
    }

    fn approval(&mut self, place: usize, [compose, device]: [bool; 2]) -> Vec<Tx> {
        let desk = self.desk[place].clone();
        let app = self.outside.scene.sources[desk.content.source].app;
        let mut txs = vec![];
        if compose {
            txs.push(self.tx(app, Action::AddComposeHash(desk.content.compose)));
        }
        if device {
            txs.push(self.tx(app, Action::AddDevice(desk.device)));
        }
        txs
    }

    fn revoke(&mut self) {
        let Some(place) = self.desk.len().checked_sub(1).map(|most| self.rng.below(most + 1))
        else {
            return;
        };
        self.outside.stage.count("fault owner revokes");
        let desk = self.desk[place].clone();
        let app = self.outside.scene.sources[desk.content.source].app;
        let action = if self.rng.percent(50) {
            Action::RemoveComposeHash(desk.content.compose)
        } else {
            Action::RemoveDevice(desk.device)
        };
        let tx = self.tx(app, action);
        self.outside.truth.change(Change::Mine(vec![tx]));
    }

    /// Blocks are replaced, by at least as many: fewer could not be told from an endpoint that lags.
    fn reorganise(&mut self) {
        let blocks = lock(self.outside.truth.paper()).blocks().to_vec();
        // The deployment stays.
        let most =
            blocks.len().saturating_sub(2 + usize::try_from(self.outside.scene.depth).unwrap());
        let depth = self.rng.pick(&[1, 2, 4, 6]).min(most);
        if depth == 0 {
            return;
        }
        self.outside.stage.count("fault reorganisation");
        let replaced = &blocks[blocks.len() - depth..];
        let mut new: Vec<Vec<Tx>> = vec![vec![]; depth + 1];
        match self.rng.below(3) {
            0 => {}
            1 => new.iter_mut().zip(replaced).for_each(|(new, old)| new.clone_from(&old.txs)),
            _ => new[depth] = replaced.iter().flat_map(|block| block.txs.clone()).collect(),
        }
        self.outside.truth.change(Change::Replace { depth, blocks: new });
    }

    /// Somebody else makes an instance of an app, of another kind than anybody here wants.
    fn stranger(&mut self) {
        let now = self.outside.time.now();
        let app = self.rng.pick(&self.outside.scene.apps);
        let mut cloud = lock(&self.outside.cloud);
        self.outside.stage.count("fault stranger makes an instance");
        let other_hash = B256::repeat_byte(0x77);
        let device = B256::repeat_byte(0x99);
        if self.outside.scene.switches.has_twins && self.rng.percent(60) {
            // Of just the kind that is wanted here.
            let Content { source, node, compose } = self.rng.pick(&self.outside.scene.contents);
            let app = cloud.sources[source].app;
            let device = cloud.nodes.iter().find(|one| one.id == node).map(|one| one.device);
            cloud.make(Maker::Stranger, app, node, compose, device.unwrap_or_default(), now);
        } else if cloud.switches.shows_compose && self.rng.percent(50) {
            let node = self.rng.pick(&cloud.nodes);
            cloud.make(Maker::Stranger, app, node.id, other_hash, node.device, now);
        } else {
            cloud.make(Maker::Stranger, app, 99, B256::repeat_byte(0xc1), device, now);
        }
    }

    fn unrest(&mut self) {
        let at = self.rng.below(self.outside.endpoints.len());
        let may_lie = at < self.outside.scene.liars();
        if may_lie && self.rng.percent(20) {
            self.outside.stage.count("fault endpoint mutates its answers");
            corrupt(&self.outside.endpoints[at], &choices(self.rng.next(), CHOICES));
            return;
        }
        let (fault, kind) = self.outside.scene.clone().endpoint_fault(&mut self.rng, may_lie);
        self.outside.stage.count(kind);
        self.outside.endpoints[at].set(fault);
        self.outside.endpoints[at].tamper(None);
    }
}
