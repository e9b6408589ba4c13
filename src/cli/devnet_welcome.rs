//! What a devnet says when it is ready: what to open and to press, then what to type.

use serde_json::json;

use super::devnet::Devnet;

/// How the owner acts, by kind.
const BY_SAFE: &str = "  countersign devnet sign ID            # two owners sign
  countersign devnet execute ID         # anyone executes";
const BY_ACCOUNT: &str = "  countersign devnet execute ID         # the account makes the calls";

/// Tells people, or a script. `prepared` is the request that it began with.
pub fn print(devnet: &Devnet, prepared: Option<&str>, json: bool) {
    if json {
        let mut description = devnet.description();
        description["request"] = json!(prepared);
        println!("{description}");
        return;
    }
    print_places(devnet);
    print_terminal(devnet);
    // At the end, where a terminal shows it.
    match prepared {
        Some(id) if devnet.is_of_safe() => print_browser(devnet, id),
        Some(id) => println!("{}", by_account(&devnet.url(), id)),
        None => {}
    }
}

fn print_places(devnet: &Devnet) {
    let (chain, cloud) = (&devnet.town.chain, &devnet.town.cloud);
    println!(
        "Countersign devnet is running. Ctrl-C ends it and leaves nothing behind.

  pages         {url}/
  chain         {rpc}  (chain {chain_id}, a block every second or as you chose)
  Safe          {safe}  ({version}, {threshold} of {owners} owners)
  app           {app}  (owned by {owner})
  Phala Cloud   {phala}  (emulated)
  gateway       {gateway}  (the same, and what is prepared there becomes a request)
  webhooks      {webhook}  (secret {secret})
  log           {log}
",
        url = devnet.url(),
        rpc = chain.rpc_url(),
        chain_id = chain.chain_id,
        safe = chain.safe,
        version = chain.safe_version,
        threshold = chain.threshold,
        owners = chain.owners.len(),
        app = chain.app,
        owner = if devnet.is_of_safe() {
            "the Safe".into()
        } else {
            format!("account {}", chain.owner)
        },
        phala = cloud.api_prefix(),
        gateway = devnet.gateway(),
        webhook = devnet.webhook(),
        secret = devnet.webhook_secret,
        log = devnet.log_file.display(),
    );
}

fn print_terminal(devnet: &Devnet) {
    let cloud = &devnet.town.cloud;
    println!(
        "Try it in another terminal:

  export COUNTERSIGN_URL={url} COUNTERSIGN_TOKEN={token}
  export PHALA_CLOUD_API_PREFIX={phala} PHALA_CLOUD_API_KEY={key}
  export DATABASE_URL='{database}'

  countersign prepare {source} --node {node}     # or pipe what the phala CLI prints:
  phala cvms replicate {source} --node-id {node} --prepare-only | \\
    countersign import --source-cvm {source} --node {node}
  countersign list
  countersign payload ID                # what the owners are asked to approve
{act}
  countersign show ID                   # registered, committed, running",
        url = devnet.url(),
        token = devnet.api_token,
        phala = cloud.api_prefix(),
        key = cloud.api_key(),
        database = devnet.database_url,
        source = devnet.town.source,
        // The first one is taken by the request that it may have begun with.
        node = devnet.town.nodes.last().map_or(0, |node| node.id),
        act = if devnet.is_of_safe() { BY_SAFE } else { BY_ACCOUNT },
    );
}

/// What to do with the request that stands ready when nobody signs.
fn by_account(url: &str, id: &str) -> String {
    format!(
        "
A request stands ready. Its app belongs to an account, so nobody signs:

  1. Open   {url}/requests/{id}, which shows the calls that the account is to make
  2. Type   countersign devnet execute {id}   in the other terminal: the account makes them
  3. Watch  the page until the replica is running"
    )
}

/// For somebody with a browser and two minutes.
fn print_browser(devnet: &Devnet, id: &str) {
    println!(
        "
Or in a browser, with nothing to install:

  1. Open   {url}/requests/{id}
  2. Press  \"Sign with Test owner 1\", look at what the test wallet shows, and press \"Sign\" there
  3. Again  with Test owner 2: the Safe asks for {threshold} of its {owners} owners
  4. Press  \"Execute with Test operator\" and \"Send\"; then watch until the replica is running",
        url = devnet.url(),
        threshold = devnet.town.chain.threshold,
        owners = devnet.town.chain.owners.len(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_account_is_to_do_names_the_page_and_the_command() {
        let told = by_account("http://127.0.0.1:1", "ID");
        assert!(told.contains("http://127.0.0.1:1/requests/ID"), "{told}");
        assert!(told.contains("countersign devnet execute ID"), "{told}");
    }
}
