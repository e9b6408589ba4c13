//! What an honest node answers, from the blocks that it has.

use std::{ops::RangeInclusive, sync::Arc};

use alloy::{
    primitives::{Address, B256, Bloom, Bytes, LogData, U64, U256},
    sol_types::SolValue,
};
use countersign::chain::word_reader_code;
use serde_json::{Value, json};

use super::{Block, Emitted, app::FIRST_OWNER, log::log_data};

/// A JSON-RPC error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: i64,
    pub message: &'static str,
    pub data: Option<&'static str>,
}

impl Refusal {
    pub fn new(code: i64, message: &'static str) -> Self {
        Self { code, message, data: None }
    }

    fn params() -> Self {
        Self::new(-32602, "Invalid params")
    }

    fn unknown_block() -> Self {
        Self::new(-32001, "Resource not found")
    }

    fn reverted() -> Self {
        Self { code: 3, message: "execution reverted", data: Some("0x") }
    }
}

type Answer = Result<Value, Refusal>;

/// The blocks that a node has, the genesis first.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a>(pub &'a [Arc<Block>]);

/// Blocks between the head and what is called safe; finalized lies twice as deep.
const EPOCH: u64 = 32;
/// What stands where an app does, in the place of its code.
const CODE: &str = "0x6080604052";
/// An address, a selector and a word.
const QUESTION: usize = 88;

impl<'a> Node<'a> {
    pub fn answer(self, chain: u64, method: &str, params: &Value) -> Answer {
        match method {
            "eth_chainId" => Ok(json!(U64::from(chain))),
            "eth_blockNumber" => Ok(json!(U64::from(self.head().number))),
            "eth_getBlockByNumber" => Ok(self.by_number(&params[0])?.map_or(Value::Null, block)),
            "eth_getBlockByHash" => Ok(self.by_hash(parse(&params[0])?).map_or(Value::Null, block)),
            "eth_getLogs" => self.logs(&params[0]),
            "eth_call" => self.call(&params[0], &params[1]),
            "eth_getCode" => {
                let has_code =
                    self.at(&params[1])?.apps.contains_key(&parse::<Address>(&params[0])?);
                Ok(json!(if has_code { CODE } else { "0x" }))
            }
            "eth_getStorageAt" => {
                let app = self.at(&params[2])?.apps.get(&parse::<Address>(&params[0])?);
                let slot: U256 = parse(&params[1])?;
                Ok(json!(app.map_or(B256::ZERO, |app| app.storage(slot))))
            }
            "eth_getTransactionReceipt" => Ok(self.receipt(parse(&params[0])?)),
            _ => Err(Refusal::new(-32601, "Method not found")),
        }
    }

    fn head(self) -> &'a Block {
        self.0.last().expect("a node has the genesis")
    }

    fn number(self, number: u64) -> Option<&'a Block> {
        self.0.get(usize::try_from(number).ok()?).map(AsRef::as_ref)
    }

    fn by_hash(self, hash: B256) -> Option<&'a Block> {
        self.0.iter().rev().find(|block| block.hash == hash).map(AsRef::as_ref)
    }

    /// The number that a block has by its role, or that is given outright.
    fn named(self, tag: &Value) -> Result<u64, Refusal> {
        let head = self.head().number;
        Ok(match tag.as_str() {
            None | Some("latest" | "pending") => head,
            Some("safe") => head.saturating_sub(EPOCH),
            Some("finalized") => head.saturating_sub(2 * EPOCH),
            Some("earliest") => 0,
            Some(_) => parse::<U64>(tag)?.to(),
        })
    }

    fn by_number(self, tag: &Value) -> Result<Option<&'a Block>, Refusal> {
        Ok(self.number(self.named(tag)?))
    }

    /// The block whose state is asked for: by number, by tag, or by hash as EIP-1898 has it.
    fn at(self, place: &Value) -> Result<&'a Block, Refusal> {
        let found = match place.get("blockHash") {
            Some(hash) => self.by_hash(parse(hash)?),
            None => self.by_number(place.get("blockNumber").unwrap_or(place))?,
        };
        found.ok_or_else(Refusal::unknown_block)
    }

    /// The blocks that a filter means; those beyond the head are left out without a word.
    fn span(self, filter: &Value) -> Result<RangeInclusive<u64>, Refusal> {
        if let Some(hash) = filter.get("blockHash") {
            let block = self.by_hash(parse(hash)?).ok_or_else(Refusal::unknown_block)?;
            return Ok(block.number..=block.number);
        }
        let bound = |name| self.named(filter.get(name).unwrap_or(&Value::Null));
        Ok(bound("fromBlock")?..=bound("toBlock")?.min(self.head().number))
    }

    fn logs(self, filter: &Value) -> Answer {
        let blocks = self.span(filter)?;
        let addresses: Vec<Address> = one_or_many(&filter["address"])?;
        let topics: Vec<B256> = one_or_many(&filter["topics"][0])?;
        let logs = blocks.filter_map(|number| self.number(number)).flat_map(|block| {
            block.logs.iter().filter_map(|log| {
                let data = log_data(&log.event);
                let is_wanted = (addresses.is_empty() || addresses.contains(&log.app))
                    && (topics.is_empty() || topics.contains(&data.topics()[0]));
                is_wanted.then(|| log_json(block, log, &data))
            })
        });
        Ok(logs.collect())
    }

    fn call(self, request: &Value, place: &Value) -> Answer {
        let input: Bytes = parse(request.get("input").unwrap_or(&request["data"]))?;
        let block = self.at(place)?;
        let Some(to) = request.get("to").filter(|to| !to.is_null()) else {
            return words(block, &input).map(|answers| json!(answers));
        };
        match view(block, parse(to)?, &input) {
            Some(returned) => Ok(json!(returned)),
            None => Err(Refusal::reverted()),
        }
    }

    fn receipt(self, hash: B256) -> Value {
        let holds = |block: &&Arc<Block>| block.txs.iter().any(|tx| tx.hash == hash);
        let Some(block) = self.0.iter().rev().find(holds) else { return Value::Null };
        let place = block.txs.iter().position(|tx| tx.hash == hash).unwrap_or_default();
        let logs: Vec<&Emitted> = block.logs.iter().filter(|log| log.tx == hash).collect();
        json!({
            "transactionHash": hash,
            "transactionIndex": U64::from(place),
            "blockHash": block.hash,
            "blockNumber": U64::from(block.number),
            "type": "0x2",
            // A transaction that reverted emitted nothing.
            "status": U64::from(u64::from(!logs.is_empty())),
            "from": FIRST_OWNER,
            "to": block.txs[place].to,
            "contractAddress": null,
            "gasUsed": "0x5208",
            "cumulativeGasUsed": "0x5208",
            "effectiveGasPrice": "0x1",
            "logsBloom": bloom(logs.iter().copied()),
            "logs": logs
                .iter()
                .map(|log| log_json(block, log, &log_data(&log.event)))
                .collect::<Vec<_>>(),
        })
    }
}

/// What a contract returns; none when it reverts. An account without code returns nothing.
fn view(block: &Block, to: Address, input: &[u8]) -> Option<Bytes> {
    match block.apps.get(&to) {
        Some(app) => app.view(input).map(|word| Bytes::from(word.0)),
        None => Some(Bytes::new()),
    }
}

/// Runs the creation code that reads many words, the only one that is known here.
fn words(block: &Block, code: &[u8]) -> Result<Bytes, Refusal> {
    let packed = code.strip_prefix(word_reader_code().as_slice()).ok_or_else(Refusal::params)?;
    let (questions,) = <(Bytes,)>::abi_decode_params(packed).map_err(|_| Refusal::params())?;
    let answer = |question: &[u8]| {
        let (to, input) = question.split_at(Address::len_bytes());
        let returned = view(block, Address::from_slice(to), input);
        let mut head = U256::from(returned.as_ref().map_or(0, |bytes| bytes.len()));
        head.set_bit(255, returned.is_some());
        let word = B256::left_padding_from(&returned.unwrap_or_default());
        [head.to_be_bytes(), word.0].concat()
    };
    Ok(questions.chunks_exact(QUESTION).flat_map(answer).collect())
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Refusal> {
    serde_json::from_value(value.clone()).map_err(|_| Refusal::params())
}

/// A filter's alternatives; none of them means anything.
fn one_or_many<T: serde::de::DeserializeOwned>(value: &Value) -> Result<Vec<T>, Refusal> {
    match value {
        Value::Null => Ok(vec![]),
        Value::Array(values) => values.iter().map(parse).collect(),
        one => Ok(vec![parse(one)?]),
    }
}

fn bloom<'a>(logs: impl Iterator<Item = &'a Emitted>) -> Bloom {
    let mut bloom = Bloom::ZERO;
    for log in logs {
        bloom.accrue_raw_log(log.app, log_data(&log.event).topics());
    }
    bloom
}

fn block(block: &Block) -> Value {
    json!({
        "number": U64::from(block.number),
        "hash": block.hash,
        "parentHash": block.parent,
        "timestamp": U64::from(block.time),
        "sha3Uncles": B256::ZERO,
        "miner": Address::ZERO,
        "stateRoot": block.hash,
        "transactionsRoot": B256::ZERO,
        "receiptsRoot": B256::ZERO,
        "logsBloom": bloom(block.logs.iter()),
        "difficulty": "0x0",
        "gasLimit": "0x1c9c380",
        "gasUsed": "0x0",
        "extraData": "0x",
        "mixHash": B256::ZERO,
        "nonce": "0x0000000000000000",
        "baseFeePerGas": "0x1",
        "size": "0x200",
        "uncles": [],
        "transactions": block.txs.iter().map(|tx| tx.hash).collect::<Vec<_>>(),
    })
}

fn log_json(block: &Block, log: &Emitted, data: &LogData) -> Value {
    json!({
        "address": log.app,
        "topics": data.topics(),
        "data": data.data,
        "blockHash": block.hash,
        "blockNumber": U64::from(block.number),
        "blockTimestamp": U64::from(block.time),
        "transactionHash": log.tx,
        "transactionIndex": U64::from(log.tx_index),
        "logIndex": U64::from(log.log_index),
        "removed": false,
    })
}
