//! `countersign devnet --run`: drives a replica from prepared to running, over HTTP as people and
//! programs would, and checks at every step that what is shown is so.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{devnet::Devnet, devnet_act};
use crate::{
    safe::{SafeTx, SafeVersion, hashes},
    store::journal::Verdict,
};

/// How long one step may take.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);

struct Driver<'a> {
    devnet: &'a Devnet,
    http: reqwest::Client,
    json: bool,
    steps: u32,
    started: Instant,
}

/// Drives the flow. An error names the step that differs from what it should be.
pub async fn drive(devnet: &Devnet, json: bool) -> Result<()> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
    let mut driver = Driver { devnet, http, json, steps: 0, started: Instant::now() };
    let result = driver.flow().await;
    if let Err(error) = &result
        && json
    {
        println!("{}", json!({ "summary": true, "ok": false, "error": format!("{error:#}") }));
    }
    result
}

impl Driver<'_> {
    async fn flow(&mut self) -> Result<()> {
        let prepared = self.prepare().await.context("prepare")?;
        let id = self.import(&prepared).await.context("import")?;
        let proposal = self.propose(&id).await.context("propose")?;
        self.sign(&id, &proposal).await.context("sign")?;
        let transaction = self.execute(&id).await.context("execute")?;
        self.watch(&id, &transaction).await.context("watch")?;
        let replica = self.commit(&id, &transaction).await.context("commit")?;
        self.boot(&id, &replica).await.context("boot")?;
        self.journal().await.context("journal")?;
        let seconds = self.started.elapsed().as_secs_f64();
        if self.json {
            let summary = json!({
                "summary": true, "ok": true, "request": id, "replica": replica,
                "transaction": transaction, "steps": self.steps, "seconds": seconds,
            });
            println!("{summary}");
        } else {
            println!(
                "\nThe replica {replica} runs what {} owners approved. {} steps in {seconds:.1} s; \
                 nobody touched anything after the last signature but to execute it.",
                self.devnet.town.chain.threshold, self.steps
            );
        }
        Ok(())
    }

    /// Tells a step that was done, with its evidence.
    fn tell(&mut self, step: &str, words: &str, evidence: &Value) {
        self.steps += 1;
        if self.json {
            println!("{}", json!({ "step": step, "ok": true, "evidence": evidence }));
            return;
        }
        println!("{:>2}. {words}", self.steps);
        for (name, value) in evidence.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            println!("      {name:<16} {value}");
        }
    }

    /// Phala Cloud's 465 answer, as it comes.
    async fn prepare(&mut self) -> Result<Value> {
        let town = &self.devnet.town;
        let url = format!("{}/cvms/{}/replicas", town.cloud.api_prefix(), town.source);
        let node: u64 = town.replica_node().as_str().parse()?;
        let answer = self
            .http
            .post(url)
            .header("X-API-Key", town.cloud.api_key())
            .header("X-Prepare-Only", "true")
            .json(&json!({ "node_id": node }))
            .send()
            .await?;
        ensure!(answer.status().as_u16() == 465, "Phala Cloud answered {}", answer.status());
        let evidence = json!({ "http": 465, "source_cvm": town.source, "node": node, "commit_token": "(not shown)" });
        let body = answer.json().await?;
        self.tell("prepare", "Phala Cloud prepared a replica and gave a commit token", &evidence);
        Ok(body)
    }

    async fn import(&mut self, prepared: &Value) -> Result<String> {
        let town = &self.devnet.town;
        let body = json!({
            "prepare_response": prepared, "source_cvm": town.source, "node_id": town.replica_node(),
        });
        let answer = self
            .http
            .post(format!("{}/v1/requests", self.devnet.url()))
            .bearer_auth(&self.devnet.api_token)
            .json(&body)
            .send()
            .await?;
        let status = answer.status().as_u16();
        let request: Value = answer.json().await?;
        ensure!(status == 201, "the service answered {status}: {request}");
        ensure!(
            request["compose_hash"] == json!(town.compose_hash),
            "the service stored another compose hash"
        );
        let id = request["id"].as_str().context("the request has an id")?.to_owned();
        let evidence = json!({
            "request": id, "app": request["app"], "compose_hash": request["compose_hash"],
            "device_id": request["device_id"], "expires_at": request["expires_at"],
            "page": format!("{}/requests/{id}", self.devnet.url()),
        });
        self.tell("import", "Countersign sealed the token and opened a request", &evidence);
        Ok(id)
    }

    /// Waits for the proposal and hashes it here, from its fields.
    async fn propose(&mut self, id: &str) -> Result<Value> {
        self.wait_for(id, &["proposed"]).await?;
        let proposal = devnet_act::proposal(&self.http, &self.devnet.url(), id).await?;
        let chain = &self.devnet.town.chain;
        let warnings = proposal["warnings"].as_array().into_iter().flatten();
        // Of 1.0.0 the devnet has no code that is on any chain, see `Artifacts::safe`.
        let is_odd = |warning: &&Value| {
            chain.safe_version > SafeVersion::V1_0_0 || warning["code"] != "unknown_singleton"
        };
        let odd: Vec<&Value> = warnings.filter(is_odd).collect();
        ensure!(odd.is_empty(), "there are warnings: {odd:?}");
        let tx: SafeTx = serde_json::from_value(proposal["safe_tx"].clone())?;
        let ours = hashes(&tx, chain.chain_id, chain.safe, chain.safe_version);
        ensure!(
            proposal["safe_tx_hash"] == json!(ours.safe_tx_hash),
            "the service shows another safeTxHash than the fields hash to"
        );
        let theirs = crate::devnet::execute::own_hash(&chain.rpc, chain.safe, &tx).await?;
        ensure!(theirs == ours.safe_tx_hash, "the Safe itself computes another hash");
        let calls = proposal["calls"].as_array().into_iter().flatten();
        let words: Vec<&str> = calls.filter_map(|call| call["words"].as_str()).collect();
        let evidence = json!({
            "safe": chain.safe.to_string(), "nonce": proposal["safe_tx"]["nonce"], "calls": words.join("; "),
            "domain_hash": proposal["domain_hash"], "message_hash": proposal["message_hash"],
            "safe_tx_hash": proposal["safe_tx_hash"],
        });
        let words = "It built the Safe's transaction; the Safe computes the same hash";
        self.tell("propose", words, &evidence);
        Ok(proposal)
    }

    async fn sign(&mut self, id: &str, proposal: &Value) -> Result<()> {
        let hash = devnet_act::safe_tx_hash(proposal)?;
        let chain = &self.devnet.town.chain;
        for (number, owner) in chain.owners[..chain.threshold].iter().enumerate() {
            let request =
                devnet_act::confirm(&self.http, &self.devnet.url(), id, owner, hash).await?;
            let evidence =
                json!({ "owner": owner.address().to_string(), "status": request["status"] });
            let words = format!("Owner {} of {} signed", number + 1, chain.threshold);
            self.tell("sign", &words, &evidence);
        }
        self.wait_for(id, &["approved"]).await.map(|_| ())
    }

    /// Sends the call that the service offers, as anybody may.
    async fn execute(&mut self, id: &str) -> Result<String> {
        let proposal = devnet_act::proposal(&self.http, &self.devnet.url(), id).await?;
        let call = &proposal["execution"];
        let to = call["to"].as_str().context("no execution is offered")?.parse()?;
        let data = call["data"].as_str().context("no execution is offered")?.parse()?;
        let chain = &self.devnet.town.chain;
        let receipt =
            chain.rpc.send_with(&chain.executor, to, data, call["gas_limit"].as_u64()).await?;
        let transaction = receipt.transaction_hash.to_string();
        let evidence = json!({
            "transaction": transaction, "block": receipt.block_number, "gas_used": receipt.gas_used,
        });
        self.tell("execute", "Somebody executed it on the chain", &evidence);
        Ok(transaction)
    }

    async fn watch(&mut self, id: &str, transaction: &str) -> Result<()> {
        let later = ["registered", "committing", "committed", "running"];
        let request = self.wait_for(id, &later).await?;
        let seen = request["executed"]["transaction"].as_str();
        // Where no depth is asked for, what is seen is registered at once.
        let at_once = request["executed"].is_null();
        ensure!(at_once || seen == Some(transaction), "the service saw {seen:?} as the execution");
        let evidence = json!({
            "executed_block": request["executed"]["block"]["number"],
            "read_true_at": request["registered"]["number"],
            "block_hash": request["registered"]["hash"],
        });
        let words = "The chain shows compose hash and device as allowed, at the depth asked for";
        self.tell("registered", words, &evidence);
        Ok(())
    }

    /// Compares what the service says with the cloud's own record.
    async fn commit(&mut self, id: &str, transaction: &str) -> Result<String> {
        let request = self.wait_for(id, &["committed", "running"]).await?;
        let replica = request["replica"]["id"].as_str().context("the replica is known")?.to_owned();
        let cloud = &self.devnet.town.cloud;
        let commits = cloud.commit_log();
        ensure!(commits.len() == 1, "Phala Cloud got {} commits instead of one", commits.len());
        ensure!(
            self.devnet.town.is_evidence(&commits[0].transaction_hash, transaction),
            "the commit named {} as evidence",
            commits[0].transaction_hash
        );
        ensure!(cloud.instances().len() == 2, "there are {} instances", cloud.instances().len());
        let evidence = json!({
            "replica": replica, "evidence": commits[0].transaction_hash, "commits": commits.len(),
        });
        self.tell("commit", "Countersign committed, once", &evidence);
        Ok(replica)
    }

    async fn boot(&mut self, id: &str, replica: &str) -> Result<()> {
        let request = self.wait_for(id, &["running"]).await?;
        let evidence = json!({
            "replica": replica, "compose_hash": request["compose_hash"],
            "device_id": request["device_id"], "status": request["status"],
        });
        let words = "The replica runs the approved compose hash on the approved device";
        self.tell("running", words, &evidence);
        Ok(())
    }

    async fn journal(&mut self) -> Result<()> {
        match self.devnet.service.store.verify_journal(|_| {}).await? {
            Verdict::Intact { entries, head } => {
                let evidence = json!({ "entries": entries, "head": head });
                self.tell(
                    "journal",
                    "Every change is in the journal, and its hashes fit",
                    &evidence,
                );
                Ok(())
            }
            Verdict::Broken { seq, because } => bail!("entry {seq}: {because}"),
            Verdict::Incomplete { request, because, .. } => bail!("request {request}: {because}"),
        }
    }

    async fn wait_for(&self, id: &str, statuses: &[&str]) -> Result<Value> {
        let started = Instant::now();
        loop {
            let url = format!("{}/v1/requests/{id}", self.devnet.url());
            let request: Value = self.http.get(url).send().await?.json().await?;
            let status = request["status"].as_str().unwrap_or_default();
            if statuses.contains(&status) {
                return Ok(request);
            }
            let ended = matches!(status, "failed" | "expired" | "rejected" | "withdrawn");
            if ended || started.elapsed() > PATIENCE {
                bail!(
                    "the request is {status} ({}), not {}",
                    request["reason"],
                    statuses.join(" or ")
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
