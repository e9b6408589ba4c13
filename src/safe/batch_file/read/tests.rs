use alloy::primitives::address;
use serde_json::json;

use super::*;
use crate::{
    dstack::Write,
    request::ids::{AppId, ComposeHash, DeviceId},
    safe::BatchFile,
};

const SAFE: Address = address!("F71902B32C9854DB8d6f70Afa6Dcf685F7df8d79");

fn calls() -> Vec<Call> {
    let app = AppId(address!("d8dA6BF26964aF9D7eEd9e03E53415D37aA96045"));
    let writes = [
        Write::AddComposeHash(ComposeHash(B256::repeat_byte(0xaa))),
        Write::AddDevice(DeviceId(B256::repeat_byte(0xbb))),
    ];
    let mut calls: Vec<Call> = writes.iter().map(|write| Call::of_write(app, write)).collect();
    calls.push(Call { value: U256::MAX, data: Bytes::from(vec![1, 2, 3]), ..calls[0].clone() });
    calls.push(Call { value: U256::ZERO, data: Bytes::new(), ..calls[0].clone() });
    calls
}

fn file(calls: &[Call]) -> Value {
    let (name, description) = ("replica approval", "");
    let (chain, created_at_ms) = (ChainId::BASE, 1_700_000_000_000);
    BatchFile { chain, safe: SAFE, name, description, created_at_ms, calls }.to_json()
}

/// With the checksum put right, as whoever changes a file on purpose would.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Batch, BatchFileError> {
    let mut file = file(&calls());
    change(&mut file);
    file["meta"]["checksum"] = checksum(&file).to_string().into();
    read(&file.to_string())
}

#[test]
fn what_is_written_is_read() {
    let expected = Batch { chain: ChainId::BASE, safe: Some(SAFE), calls: calls() };
    assert_eq!(read(&file(&calls()).to_string()), Ok(expected.clone()));
    let renamed = changed(|file| file["meta"]["name"] = "another".into());
    assert_eq!(renamed, Ok(expected.clone()));
    let nobody = changed(|file| file["meta"]["createdFromSafeAddress"] = "".into());
    assert_eq!(nobody, Ok(Batch { safe: None, ..expected }));
}

/// The file of the recorded checksum: one call of each form.
#[test]
fn the_recorded_file_is_read() {
    let (aa, bb) = ("aa".repeat(32), "bb".repeat(32));
    let recorded = json!({
        "version": "1.0", "chainId": "8453", "createdAt": 1_700_000_000_000_u64,
        "meta": {
            "name": "replica approval", "description": "", "txBuilderVersion": "2.0.1",
            "createdFromSafeAddress": SAFE.to_string(), "createdFromOwnerAddress": "",
            "checksum": "0x6778a34f09f59fbccf0c0a16f66f305d656b9c18aaa9d6a2aa8743e687730a7f",
        },
        "transactions": [
            {
                "to": "0x1111111111111111111111111111111111111111", "value": "0", "data": null,
                "contractMethod": {
                    "inputs": [{"internalType": "bytes32", "name": "composeHash", "type": "bytes32"}],
                    "name": "addComposeHash", "payable": false,
                },
                "contractInputsValues": { "composeHash": format!("0x{aa}") },
            },
            {
                "to": "0x1111111111111111111111111111111111111111", "value": "0",
                "data": format!("0x2a819728{bb}"),
                "contractMethod": null, "contractInputsValues": null,
            },
        ],
    });
    let batch = read(&recorded.to_string()).unwrap();
    let data: Vec<String> = batch.calls.iter().map(|call| call.data.to_string()).collect();
    assert_eq!(data, [format!("0xdfc77223{aa}"), format!("0x2a819728{bb}")]);
}

#[test]
fn a_file_that_was_changed_is_refused() {
    for change in [
        |file: &mut Value| file["chainId"] = "1".into(),
        |file: &mut Value| file["createdAt"] = 1.into(),
        |file: &mut Value| file["transactions"][0]["to"] = SAFE.to_string().into(),
        |file: &mut Value| file["transactions"][0]["value"] = "1".into(),
        |file: &mut Value| file["transactions"][2]["data"] = "0x010204".into(),
        |file: &mut Value| file["meta"]["createdFromSafeAddress"] = "".into(),
        |file: &mut Value| drop(file["transactions"].as_array_mut().unwrap().pop()),
    ] {
        let mut file = file(&calls());
        change(&mut file);
        assert_eq!(read(&file.to_string()), Err(BatchFileError::Checksum), "{file}");
    }
}

/// One thing that is wrong, in an otherwise good file with a good checksum.
type Wrong = (fn(&mut Value), BatchFileError);

#[test]
fn whatever_could_mean_something_else_is_refused() {
    use BatchFileError as E;
    let wrong: &[Wrong] = &[
        (|file| file["version"] = "2.0".into(), E::Version("2.0".into())),
        (|file| file["chainId"] = "0x2105".into(), E::Chain("0x2105".into())),
        (|file| file["chainId"] = " 8453".into(), E::Chain(" 8453".into())),
        (|file| file["chainId"] = "08453".into(), E::Chain("08453".into())),
        (|file| file["meta"]["createdFromSafeAddress"] = "0x1".into(), E::Safe),
        (|file| file["transactions"] = json!([]), E::Count),
        (
            |file| {
                file["transactions"] = vec![file["transactions"][0].clone(); MAX_CALLS + 1].into();
            },
            E::Count,
        ),
    ];
    for (change, expected) in wrong {
        assert_eq!(changed(change).as_ref(), Err(expected));
    }
    for change in [
        |file: &mut Value| file["chainId"] = 8453.into(),
        |file: &mut Value| file["transactions"][0]["value"] = 0.into(),
        |file: &mut Value| file["transactions"][0]["operation"] = 1.into(),
        |file: &mut Value| *file = json!({ "data": { "a": file.clone() }, "meta": {} }),
    ] {
        assert!(matches!(changed(change), Err(E::Form(_))));
    }
    for part in ["version", "chainId", "meta", "transactions"] {
        let mut file = file(&calls());
        file.as_object_mut().unwrap().shift_remove(part);
        assert!(matches!(read(&file.to_string()), Err(E::Form(_))), "without {part}");
    }
    let mut unsealed = file(&calls());
    unsealed["meta"].as_object_mut().unwrap().shift_remove("checksum");
    assert!(matches!(read(&unsealed.to_string()), Err(E::Form(_))), "without a checksum");
    assert!(matches!(read("[]"), Err(E::Form(_))));
    assert!(matches!(read("nonsense"), Err(E::Form(_))));
}

/// One thing that is wrong with a transaction.
type WrongCall = (fn(&mut Value), CallProblem);

#[test]
fn a_transaction_that_could_mean_something_else_is_refused() {
    use CallProblem as P;
    const LOWER: &str = "0xd8da6bf26964af9d7eed9e03e53415d37aa96045";
    const ZERO: &str = "0x0000000000000000000000000000000000000000";
    let wrong: &[WrongCall] = &[
        (|call| call["to"] = LOWER.into(), P::To),
        (|call| call["to"] = "vitalik.eth".into(), P::To),
        (|call| call["to"] = ZERO.into(), P::ZeroTarget),
        (|call| call["value"] = "0x1".into(), P::Value),
        (|call| call["value"] = "00".into(), P::Value),
        (|call| call["value"] = "-1".into(), P::Value),
        (|call| call["data"] = "dfc77223".into(), P::Data),
        (|call| call["data"] = "0xdfc7722".into(), P::Data),
        (|call| call["data"] = "0xdfc77223".into(), P::DataDiffers),
        (|call| call["contractMethod"]["name"] = "f(bytes32)x".into(), P::Method),
        (|call| call["contractMethod"]["name"] = "".into(), P::Method),
        (|call| call["contractMethod"]["name"] = "receive".into(), P::Method),
        (|call| call["contractMethod"] = Value::Null, P::Arguments),
        (|call| call["contractInputsValues"] = json!({}), P::Arguments),
        (|call| call["contractInputsValues"]["more"] = "1".into(), P::Arguments),
        (|call| call["contractInputsValues"]["composeHash"] = 1.into(), P::Arguments),
        (|call| call["contractInputsValues"]["composeHash"] = "0xaa".into(), P::Argument),
        (|call| call["contractMethod"]["inputs"][0]["type"] = "string".into(), P::Argument),
        (|call| call["contractMethod"]["inputs"][0]["type"] = "bytes33".into(), P::Argument),
    ];
    for (change, problem) in wrong {
        let found = changed(|file| change(&mut file["transactions"][0]));
        assert_eq!(found, Err(BatchFileError::Transaction { index: 0, problem: *problem }));
    }
}

#[test]
fn arguments_are_encoded_by_their_types() {
    let owner = SAFE.to_string();
    let word = format!("{:064x}", 7);
    let padded = format!("{}{}", "0".repeat(24), alloy::hex::encode(SAFE));
    let dynamic = format!("{:064x}{:064x}0102{}", 0x20, 2, "00".repeat(30));
    for (name, kind, text, expected) in [
        ("transferOwnership", "address", owner.as_str(), format!("0xf2fde38b{padded}")),
        ("changeThreshold", "uint256", "7", format!("0x694e80c3{word}")),
        ("setAllowAnyDevice", "bool", "true", format!("0x7c4beeb8{:064x}", 1)),
        ("multiSend", "bytes", "0x0102", format!("0x8d80ff0a{dynamic}")),
    ] {
        let batch = changed(|file| {
            file["transactions"][0]["contractMethod"] =
                json!({ "name": name, "inputs": [{ "name": "a", "type": kind }] });
            file["transactions"][0]["contractInputsValues"] = json!({ "a": text });
        });
        assert_eq!(batch.unwrap().calls[0].data.to_string(), expected, "{name}");
    }
    for (kind, text) in [
        ("uint8", "256"),
        ("uint256", "1e3"),
        ("uint", "1"),
        ("bool", "1"),
        ("address", "0xf71902b32c9854db8d6f70afa6dcf685f7df8d79"),
        ("bytes32[]", "[]"),
        ("int256", "-1"),
    ] {
        let found = changed(|file| {
            file["transactions"][0]["contractMethod"]["inputs"][0]["type"] = kind.into();
            file["transactions"][0]["contractInputsValues"]["composeHash"] = text.into();
        });
        let problem = CallProblem::Argument;
        assert_eq!(found, Err(BatchFileError::Transaction { index: 0, problem }), "{kind}");
    }
}
